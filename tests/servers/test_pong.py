"""Whatever the question, the answer is 42."""

from __future__ import annotations

import pytest

import wasmos
from tests.support.wat import program
from wasmos import abi
from wasmos.servers.pong import Pong


@pytest.mark.parametrize("value", [0, 1, -1, 42, 2**31 - 1, -(2**31)])
def test_answers_42(kernel: wasmos.Kernel, value: int) -> None:
    kernel.serve(Pong())
    assert kernel.call("pong", abi.Ping(value)) == abi.PingReply(42)


def test_answers_a_guest(kernel: wasmos.Kernel) -> None:
    kernel.serve(Pong())
    guest = program("(drop (call $ask @pong #9 #7)) (call $value)")
    task = kernel.spawn(guest, allow=["pong"], trusted=True)
    assert kernel.wait(task).code == 42


def test_answers_nothing_else(kernel: wasmos.Kernel) -> None:
    kernel.serve(Pong())
    with pytest.raises(wasmos.ServiceError) as refused:
        kernel.call("pong", abi.Echo(b"x"))
    assert refused.value.code == abi.ErrorCode.NOT_SUPPORTED
