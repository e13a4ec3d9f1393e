"""Debug information that is damaged, or lies: no exception, no more work than is granted."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.compiled import compiled
from tests.system.backtrace.sources import CPP, C
from wasmos.system.backtrace import dwarf, lines, symbols
from wasmos.system.backtrace.cursor import Budget, Damaged
from wasmos.system.backtrace.symbols import Symbols

STEPS = 20_000
CALLS = 40  # of functions, for a step: each is bounded


class Module:
    """As much of a module as is asked: sections by name."""

    def __init__(self, sections: dict[str, bytes], code_start: int = 0) -> None:
        self.data = b"".join(sections.values())
        self.code_start = code_start
        self.custom_sections = []
        at = 0
        for name, content in sections.items():
            self.custom_sections.append(Section(name, at, at + len(content)))
            at += len(content)


class Section:
    def __init__(self, name: str, start: int, end: int) -> None:
        self.name, self.start, self.end = name, start, end


def sections_of(module: bytes) -> dict[str, bytes]:
    from wasmos.engine import binary

    info = binary.parse(module)
    return {s.name: module[s.start : s.end] for s in info.custom_sections if s.name[0] == "."}


def asked(sections: dict[str, bytes], offsets: range = range(0, 600, 7)) -> Symbols:
    """Ask for a lot; what is counted is what is done."""
    found = Symbols(Module(sections), steps=STEPS, all_steps=STEPS)  # type: ignore[arg-type]
    calls = 0

    def count(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        found.places(offsets)
    finally:
        sys.setprofile(before)
    assert found.steps_left >= 0
    assert calls <= CALLS * (STEPS - found.steps_left) + 2_000
    return found


@pytest.fixture(autouse=True)
def no_surprises(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that isn't `Damaged` is caught, and is a mistake of ours all the same."""
    import logging

    def fail(self: object, *_: object, **__: object) -> None:
        raise AssertionError("see the exception above") from sys.exc_info()[1]

    monkeypatch.setattr(logging.Logger, "debug", fail)


SOURCES = {
    "c4": lambda: compiled(C, "-g", "-gdwarf-4", "-O2"),
    "c5": lambda: compiled(C, "-g", "-gdwarf-5", "-O2"),
    "cpp": lambda: compiled(CPP, "-g", "-O0", name="prog.cpp", command="c++"),
}


@pytest.mark.parametrize("which", SOURCES)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_real_sections_damaged(which: str, data: st.DataObject) -> None:
    sections = {name: bytearray(content) for name, content in sections_of(SOURCES[which]()).items()}
    for _ in range(data.draw(st.integers(1, 6))):
        name = data.draw(st.sampled_from(sorted(sections)))
        content = sections[name]
        if not content:
            continue
        at = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(["flip", "cut", "huge", "insert", "drop"]))
        if how == "flip":
            content[at] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del content[at:]
        elif how == "huge":
            content[at : at + 4] = b"\xff\xff\xff\x7f"
        elif how == "insert":
            content[at:at] = data.draw(st.binary(max_size=16))
        else:
            del sections[name]
            if not sections:
                return
    asked({name: bytes(content) for name, content in sections.items()})


@given(st.fixed_dictionaries({
    name: st.binary(max_size=200)
    for name in (".debug_info", ".debug_abbrev", ".debug_line", ".debug_ranges", ".debug_str")
}))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_sections_of_anything(sections: dict[str, bytes]) -> None:
    asked(sections)


def unit(body: bytes) -> bytes:
    rest = (4).to_bytes(2, "little") + bytes(4) + b"\x04" + body
    return len(rest).to_bytes(4, "little") + rest


# A unit with a line program and code everywhere; functions of two bytes; a namespace.
ABBREVIATIONS = bytes.fromhex(
    "01 11 01 10 17 11 01 12 06 00 0002 2e 00 11 0b 12 0b 00 0003 39 01 03 08 00 0000"
)
ROOT = b"\x01" + bytes(4) + (1).to_bytes(4, "little") + (1 << 20).to_bytes(4, "little")


def program(code: bytes) -> bytes:
    head = bytes.fromhex("01 01 01 fb 0e 0d 00 01 01 01 01 00 00 00 01 00 00 01 00 00")
    rest = (4).to_bytes(2, "little") + len(head).to_bytes(4, "little") + head + code
    return len(rest).to_bytes(4, "little") + rest


BOMBS = {
    "entries without end": (unit(ROOT + b"\x02\x05\x09" * 200_000), b""),
    "scopes in scopes": (unit(ROOT + b"\x03ab\0" * 200_000), b""),
    "units without end": (unit(b"\x00") * 60_000, b""),
    "rows without end": (
        unit(ROOT + b"\0"),
        program(b"\x00\x05\x02\x01\0\0\0" + b"\x01" * 500_000),
    ),
    "sequences without end": (unit(ROOT + b"\0"), program(b"\x00\x01\x01" * 200_000)),
    "files without end": (unit(ROOT + b"\0"), program(b"\x00\x06\x03a\0\0\0\0" * 100_000)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb(bomb: str) -> None:
    info, line = BOMBS[bomb]
    found = asked({".debug_info": info, ".debug_abbrev": ABBREVIATIONS, ".debug_line": line})
    assert found.steps_left == 0 or bomb == "units without end"


def lines_run(found: Symbols, offsets: range) -> int:
    """How many lines of our code run to answer that."""
    count = 0

    def trace(_frame: Any, event: str, _arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        found.places(offsets)
    finally:
        sys.settrace(before)
    return count


def test_operands_without_end() -> None:
    """An opcode that nobody knows may have 255 numbers after it, by the program's own word."""
    head = bytes.fromhex("01 01 01 fb 0e 0d 00 01 01 01 01 00 00 00 01 00 00 ff 00 00")
    rest = (4).to_bytes(2, "little") + len(head).to_bytes(4, "little") + head
    rest += (b"\x0c" + b"\x01" * 255) * 2_000
    line = len(rest).to_bytes(4, "little") + rest
    info = unit(ROOT + b"\0")
    found = asked({".debug_info": info, ".debug_abbrev": ABBREVIATIONS, ".debug_line": line})
    assert found.steps_left == 0


def test_formats_without_end() -> None:
    """Lists that are empty, and say at length how. Many units may share them."""
    head = bytes.fromhex("01 01 01 fb 0e 01") + (b"\xff" + b"\x01\x08" * 255 + b"\0") * 2
    rest = bytes.fromhex("0500 04 00") + len(head).to_bytes(4, "little") + head
    line = len(rest).to_bytes(4, "little") + rest
    sections = {".debug_info": unit(ROOT), ".debug_abbrev": ABBREVIATIONS, ".debug_line": line}
    found = asked(sections, range(7, 8))
    assert found.steps_left <= STEPS - 2 * 255


@pytest.mark.parametrize("where", ["directories", "files", "program"])
def test_too_many_files_in_an_older_list(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Such lists don't say how long they are; each file takes ten times its bytes to remember."""
    directories = b"a\0" * 11 if where == "directories" else b""
    files = b"ab\0\0\0\0" * 11 if where == "files" else b""
    head = bytes.fromhex("01 01 01 fb 0e 0d 00 01 01 01 01 00 00 00 01 00 00 01")
    head += directories + b"\0" + files + b"\0"
    rest = (4).to_bytes(2, "little") + len(head).to_bytes(4, "little") + head
    rest += b"\x00\x06\x03a\0\0\0\0" * (11 if where == "program" else 0)
    line = len(rest).to_bytes(4, "little") + rest
    sections = Symbols(Module({".debug_info": unit(ROOT), ".debug_line": line}))._sections  # type: ignore[arg-type]
    for most in (11, 10):
        monkeypatch.setattr(lines, "MAX_FILES", most)
        budget = Budget(STEPS)
        try:
            lines.Lines(dwarf.Unit(sections, 0, budget), 0, budget).rows([7])
            said = ""
        except Damaged as error:
            said = str(error)
        assert said == ("" if most == 11 else "too many files")


def test_an_origin_in_the_last_of_many_units() -> None:
    """To find the unit that an entry is in takes no walk over all the others."""
    kinds = bytes.fromhex(
        "01 11 01 11 01 12 06 00 0002 2e 00 11 01 12 06 31 10 00 0003 11 00 00 0000"
    )
    small = unit(b"\x03")
    root = b"\x01" + (1).to_bytes(4, "little") + (1 << 20).to_bytes(4, "little")
    count = 2_000
    last = unit(root + b"\0")
    size = len(small) * count
    function = b"\x02" + root[1:] + (size + 11).to_bytes(4, "little")
    info = small * count + last + unit(root + function + b"\0") * 20
    found = Symbols(Module({".debug_info": info, ".debug_abbrev": kinds}))  # type: ignore[arg-type]
    found.places([10_000_000])  # which is nowhere: now the units are known
    assert lines_run(found, range(7, 8)) < 20 * count


def test_many_ranges_and_many_addresses() -> None:
    kinds = bytes.fromhex("01 11 00 55 17 00 0000")
    ranges = (b"\x01\0\0\0\x02\0\0\0" * 2_000) + bytes(8)
    sections = {".debug_info": unit(b"\x01" + bytes(4)), ".debug_abbrev": kinds}
    found = Symbols(Module({**sections, ".debug_ranges": ranges}))  # type: ignore[arg-type]
    found.places(range(5, 6))
    before = found.steps_left
    run = lines_run(found, range(100, 400))
    assert run <= 40 * (before - found.steps_left) + 5_000


def test_one_range_list_for_everybody() -> None:
    """The product of two lengths, each of them within limits."""
    kinds = bytes.fromhex("01 11 01 11 01 12 06 00 0002 2e 00 55 17 00 0000")
    root = b"\x01" + (1).to_bytes(4, "little") + (1 << 20).to_bytes(4, "little")
    ranges = (b"\x01\0\0\0\x02\0\0\0" * 2_000) + bytes(8)
    info = unit(root + (b"\x02" + bytes(4)) * 2_000)
    found = asked({".debug_info": info, ".debug_abbrev": kinds, ".debug_ranges": ranges})
    assert found.steps_left == 0


def test_names_that_refer_to_themselves() -> None:
    kinds = bytes.fromhex("01 11 01 11 01 12 06 00 0002 2e 00 11 01 12 06 47 13 00 0000")
    root = b"\x01" + (1).to_bytes(4, "little") + (1 << 20).to_bytes(4, "little")
    here = 11 + len(root)
    function = b"\x02" + root[1:] + here.to_bytes(4, "little")
    found = asked({".debug_info": unit(root + function + b"\0"), ".debug_abbrev": kinds})
    [place, *_] = found.places([7])[7]
    assert place.function == ""


def test_all_answers_together_have_an_end() -> None:
    info, line = BOMBS["rows without end"]
    sections = {".debug_info": info, ".debug_abbrev": ABBREVIATIONS, ".debug_line": line}
    found = Symbols(Module(sections), steps=1_000, all_steps=5_000)  # type: ignore[arg-type]
    for offset in range(100, 200):
        found.places([offset])
    assert found.steps_left == 0


def test_a_section_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbols.dwarf, "MAX_SECTION_BYTES", 10)
    assert not Symbols(Module({".debug_info": bytes(11)})).is_there  # type: ignore[arg-type]


def test_limits_are_what_they_are() -> None:
    assert (symbols.STEPS, symbols.ALL_STEPS, lines.MAX_FILES) == (2_000_000, 20_000_000, 100_000)
