"""The bytes that come back are the bytes that were sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasmos
from wasmos import abi
from wasmos.servers.echo import Echo


@pytest.mark.parametrize("data", [b"", b"\0", b"hello", bytes(range(256)) * 4], ids=len)
def test_same_bytes(kernel: wasmos.Kernel, data: bytes) -> None:
    kernel.serve(Echo())
    assert kernel.call("echo", abi.Echo(data)) == abi.EchoReply(data)


@given(datas=st.lists(st.binary(max_size=1024), max_size=5))
def test_nothing_of_an_earlier_message(datas: list[bytes]) -> None:
    with wasmos.Kernel(virtual_clock=True) as kernel:
        kernel.serve(Echo())
        assert [kernel.call("echo", abi.Echo(data)).data for data in datas] == datas
