"""The format: its definition in the documentation, and reading what anybody may have written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.audit import call, written
from wasmos.system.audit.schema import (
    BEGINNING,
    BEGINS,
    CAUSES,
    ENDS,
    EVENTS,
    KEYS,
    digest,
    parse,
    split,
)

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "audit.md").read_text()
BODY = b'{"v":1,"seq":1,"event":"open"'
HASH = digest(BEGINNING, BODY)
LINE = BODY + b',"hash":"' + HASH.encode() + b'"}'


def first_column(title: str) -> list[str]:
    """The words of a section's table."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_the_page_has_every_word() -> None:
    assert first_column("Keys") == list(KEYS)
    assert first_column("Events") == list(EVENTS)
    assert sorted(first_column("Causes of a denial")) == sorted(CAUSES)
    assert {*BEGINS, *ENDS} < set(EVENTS)


def test_the_examples_of_the_page() -> None:
    """Each event has one; keys in order."""
    examples = [json.loads(line) for line in re.findall(r'^\{"v".*\}$', PAGE, re.MULTILINE)]
    assert {example["event"] for example in examples} == set(EVENTS)
    for example in examples:
        assert list(example) == [key for key in KEYS if key in example]


def test_the_check_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = next(c for c in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "hashlib" in c)
    for _ in range(2):
        path = written(tmp_path / "audit.jsonl", [call(1), call(2)])
    exec(compile(code, "audit.md", "exec"), {})
    path.write_bytes(path.read_bytes().replace(b"webapi", b"webapp", 1))
    with pytest.raises(AssertionError):
        exec(compile(code, "audit.md", "exec"), {})


def test_a_line_is_split_where_its_hash_begins() -> None:
    assert split(LINE) == (BODY, HASH)
    assert split(BODY + b',"hash":"x' + LINE[len(BODY) :]) == (BODY + b',"hash":"x', HASH)


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b'"}', LINE[:-1], LINE[:-2], LINE + b" ", LINE + b"\r", LINE[len(BODY) :],
     LINE.replace(HASH.encode(), HASH.upper().encode()),
     LINE.replace(HASH.encode(), HASH[1:].encode()),
     LINE.replace(b'"hash"', b'"hush"'), LINE.replace(HASH[:2].encode(), b"\xc3\xa4")],
)  # fmt: skip
def test_what_has_no_hash_where_it_belongs(line: bytes) -> None:
    assert split(line) is None


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"1", b'"x"', b"{", b"\xff", b"{}{}",
     b'{"a":' * 99_999, b"[" * 99_999, b"9" * 9999],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_record(line: bytes) -> None:
    assert parse(line) is None


def test_a_hash_is_over_the_line_before_and_this_one() -> None:
    assert digest(HASH, BODY) != digest(BEGINNING, BODY) != digest(BEGINNING, BODY + b" ")
