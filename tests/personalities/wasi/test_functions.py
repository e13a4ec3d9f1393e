"""The table of functions, and what is made from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.personalities.wasi.conftest import Machine
from tests.personalities.wasi.fakes import FakeTcpip
from tests.personalities.wasi.signatures import SIGNATURES, N
from tests.personalities.wasi.valid import VALID, prepared
from wasmos import abi
from wasmos.engine import binary
from wasmos.kernel import Personality
from wasmos.personalities import wasi
from wasmos.personalities.wasi.functions import FUNCTIONS, PREPARING
from wasmos.personalities.wasi.page import page

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("personality", wasi.ALL, ids=lambda each: each.name)
def test_the_adapter_exports_what_the_table_says(personality: Personality) -> None:
    info = binary.parse(personality.wasm)
    found = {name: info.signature(name) for name in info.exports if name != "memory"}
    wanted = {
        function.name: (SIGNATURES[function.name], () if function.name == "proc_exit" else (N,))
        for function in FUNCTIONS
        if function.unstable or personality is wasi.PREVIEW1
    }
    assert found == wanted


def test_there_are_46_functions() -> None:
    assert len(FUNCTIONS) == len({function.name for function in FUNCTIONS}) == 46
    assert {function.name for function in FUNCTIONS} == set(SIGNATURES)


def test_the_messages_exist() -> None:
    assert {name for function in FUNCTIONS for name in function.messages} <= set(abi.RPCS)


@pytest.mark.parametrize(("name", "arguments"), VALID)
def test_no_other_messages_are_sent(
    machine: Machine, name: str, arguments: tuple[int, ...]
) -> None:
    machine.plant({"f": b"0123", "l": "f", "d": None})
    machine.tcpip = FakeTcpip([80], [b"hello", b"again"])
    machine.arguments, machine.environment = ["program"], {"A": "1"}
    calls, _ = prepared()
    machine.kernel.set_trace(True)
    before = {"path_open", "sock_accept", "fd_write"}  # what `prepared` and the last print use
    calls.add(name, *map(int, arguments))
    assert machine.run(calls).errnos[-1] == 0
    allowed = {
        message
        for function in FUNCTIONS
        if function.name in {name, *before}
        for message in function.messages
    }
    names = {rpc.request.TYPE: message for message, rpc in abi.RPCS.items()}
    sent = {names[event.type] for event in machine.kernel.events() if event.kind == "call"}
    assert sent <= allowed | set(PREPARING)
    assert len(sent) > 5


def test_the_page_is_up_to_date() -> None:
    path = ROOT / "docs/reference/wasi.md"
    assert path.read_text() == page(), "run python -m wasmos.personalities.wasi"
