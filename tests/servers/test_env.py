"""A task learns its own variables, those it may, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import wasmos
from tests.support.wat import program
from wasmos import abi
from wasmos.servers.env import Env


def code_of(call: Callable[..., object], *arguments: object) -> int:
    with pytest.raises(wasmos.ServiceError) as refused:
        call(*arguments)
    return refused.value.code


def names(client: wasmos.Kernel | wasmos.Client) -> list[str]:
    """Every name of the list, and after them the end of it."""
    found: list[str] = []
    with pytest.raises(wasmos.ServiceError) as end:
        while True:
            found.append(client.call("env", abi.EnvList(len(found))).name)
    assert end.value.code == abi.ErrorCode.EOF
    return found


def test_each_task_has_its_own(kernel: wasmos.Kernel) -> None:
    variables: dict[int, dict[str, str]] = {}
    kernel.serve(Env(variables))
    one, two = kernel.client("one"), kernel.client("two")
    variables[one.id] = {"HOME": "/one", "ONLY": "one"}
    variables[two.id] = {"HOME": "/two"}
    assert one.call("env", abi.EnvGet("HOME")) == abi.EnvGetReply("/one")
    assert two.call("env", abi.EnvGet("HOME")) == abi.EnvGetReply("/two")
    assert code_of(two.call, "env", abi.EnvGet("ONLY")) == abi.ErrorCode.NOT_FOUND
    assert names(two) == ["HOME"]


@pytest.mark.parametrize("name", ["", "home", "HOM", "HOME ", "HOME=/"])
def test_not_found(kernel: wasmos.Kernel, name: str) -> None:
    kernel.serve(Env(lambda task: {"HOME": "/"}))
    assert code_of(kernel.call, "env", abi.EnvGet(name)) == abi.ErrorCode.NOT_FOUND


def test_task_without_variables(kernel: wasmos.Kernel) -> None:
    kernel.serve(Env({}))
    assert code_of(kernel.call, "env", abi.EnvGet("HOME")) == abi.ErrorCode.NOT_FOUND
    assert names(kernel) == []


def test_from_a_function_that_is_told_the_task(kernel: wasmos.Kernel) -> None:
    kernel.serve(Env(lambda task: {"ID": str(task)}))
    client = kernel.client()
    assert client.call("env", abi.EnvGet("ID")).value == str(client.id)


def test_what_changes_is_seen(kernel: wasmos.Kernel) -> None:
    variables = {"A": "1"}
    kernel.serve(Env(lambda task: variables))
    assert names(kernel) == ["A"]
    variables["B"] = "2"
    del variables["A"]
    assert names(kernel) == ["B"]


@pytest.mark.parametrize("value", ["", "ä", "€" * 341, "x" * 1023, "\udcff\udc80", "a=b\n"])
def test_any_text(kernel: wasmos.Kernel, value: str) -> None:
    kernel.serve(Env(lambda task: {"V": value}))
    assert kernel.call("env", abi.EnvGet("V")).value == value


@pytest.mark.parametrize("value", ["x" * 1024, "€" * 342])
def test_too_long_is_an_error_and_not_cut(kernel: wasmos.Kernel, value: str) -> None:
    kernel.serve(Env(lambda task: {"V": value}))
    assert code_of(kernel.call, "env", abi.EnvGet("V")) == abi.ErrorCode.TOO_LARGE


def test_names_are_sorted(kernel: wasmos.Kernel) -> None:
    kernel.serve(Env(lambda task: dict.fromkeys(["B", "a", "Ä", "A", "AB"], "")))
    assert names(kernel) == ["A", "AB", "B", "a", "Ä"]


@pytest.mark.parametrize("index", [-1, -2, -(2**31)])
def test_no_index_counts_from_the_end(kernel: wasmos.Kernel, index: int) -> None:
    kernel.serve(Env(lambda task: {"A": "", "B": ""}))
    assert code_of(kernel.call, "env", abi.EnvList(index)) == abi.ErrorCode.INVALID_ARG


@pytest.mark.parametrize("index", [2, 3, 2**31 - 1])
def test_past_the_end(kernel: wasmos.Kernel, index: int) -> None:
    kernel.serve(Env(lambda task: {"A": "", "B": ""}))
    assert code_of(kernel.call, "env", abi.EnvList(index)) == abi.ErrorCode.EOF


def test_a_list_has_no_gap_where_a_name_is_kept_back(kernel: wasmos.Kernel) -> None:
    kernel.serve(Env(lambda task: dict.fromkeys(["A", "SECRET_1", "Z"], "")))
    assert names(kernel.client(deny=['env.get(name="SECRET*")'])) == ["A", "Z"]
    assert names(kernel.client(allow=["env.list", 'env.get(name="SECRET*")'])) == ["SECRET_1"]


def test_names_that_no_message_can_ask_for_are_not_listed(kernel: wasmos.Kernel) -> None:
    kernel.serve(Env(lambda task: dict.fromkeys(["n" * 255, "n" * 256, "€" * 86, "N\0", "Z"], "")))
    assert names(kernel) == ["Z", "n" * 255]


def test_a_guest_reads_them(kernel: wasmos.Kernel) -> None:
    kernel.serve(Env(lambda task: {"V": "A"}))
    # "V" as the name: its bytes are the number that a one-letter string is.
    guest = program(f"(drop (call $ask @env #85 #{ord('V')})) (i32.load offset=8 #1024)")
    assert kernel.wait(kernel.spawn(guest, allow=["env"], trusted=True)).code == ord("A")
