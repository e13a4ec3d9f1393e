"""A task learns its own arguments and nobody else's."""

from __future__ import annotations

import pytest

import wasmos
from tests.support.wat import program
from wasmos import abi
from wasmos.servers.args import Args


def code_of(call: object, *arguments: object) -> int:
    with pytest.raises(wasmos.ServiceError) as refused:
        call(*arguments)  # type: ignore[operator]
    return refused.value.code


def test_each_task_has_its_own(kernel: wasmos.Kernel) -> None:
    arguments: dict[int, list[str]] = {}
    kernel.serve(Args(arguments))
    one, two = kernel.client("one"), kernel.client("two")
    arguments[one.id] = ["one", "-v"]
    arguments[two.id] = ["two"]
    assert one.call("args", abi.ArgsGet(1)) == abi.ArgsGetReply(2, "-v")
    assert two.call("args", abi.ArgsGet(0)) == abi.ArgsGetReply(1, "two")


@pytest.mark.parametrize("index", [2, 3, 2**31 - 1, -1, -2, -(2**31)])
def test_past_the_end(kernel: wasmos.Kernel, index: int) -> None:
    kernel.serve(Args(lambda task: ["program", "x"]))
    assert code_of(kernel.call, "args", abi.ArgsGet(index)) == abi.ErrorCode.NOT_FOUND


def test_task_without_arguments(kernel: wasmos.Kernel) -> None:
    kernel.serve(Args({}))
    assert code_of(kernel.call, "args", abi.ArgsGet(0)) == abi.ErrorCode.NOT_FOUND


def test_from_a_function_that_is_told_the_task(kernel: wasmos.Kernel) -> None:
    kernel.serve(Args(lambda task: [f"task {task}"]))
    client = kernel.client()
    assert client.call("args", abi.ArgsGet(0)).value == f"task {client.id}"


@pytest.mark.parametrize("value", ["", "ä", "€" * 341, "x" * 1023, "\udcff\udc80"])
def test_any_text(kernel: wasmos.Kernel, value: str) -> None:
    kernel.serve(Args(lambda task: [value]))
    assert kernel.call("args", abi.ArgsGet(0)).value == value


@pytest.mark.parametrize("value", ["x" * 1024, "€" * 342])
def test_too_long_is_an_error_and_not_cut(kernel: wasmos.Kernel, value: str) -> None:
    kernel.serve(Args(lambda task: ["program", value]))
    assert code_of(kernel.call, "args", abi.ArgsGet(1)) == abi.ErrorCode.TOO_LARGE
    assert kernel.call("args", abi.ArgsGet(0)).count == 2


def test_a_guest_reads_them(kernel: wasmos.Kernel) -> None:
    kernel.serve(Args(lambda task: ["program", "A"]))
    guest = program("(drop (call $ask @args #71 #1)) (i32.load offset=12 #1024)")
    assert kernel.wait(kernel.spawn(guest, allow=["args"], trusted=True)).code == ord("A")
