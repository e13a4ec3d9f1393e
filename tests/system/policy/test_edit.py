"""Adding a rule to a file that people write: nothing else in it changes."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasmos
from wasmos.system.policy import edit as policy_edit
from wasmos.system.policy.edit import add, added, heading, quoted, quoted_key

RULE = 'tcpip.dns_resolve(hostname="*.example.com")'
LINE = f"    '{RULE}',  # why\n"
ARRAY = f"allow = [\n{LINE}]\n"


def edited(text: str) -> str:
    found = added(text, "a", RULE, comment="why")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"[task.a]\n{ARRAY}"),
        ("# mine\n", f"# mine\n\n[task.a]\n{ARRAY}"),
        ("# mine", f"# mine\n\n[task.a]\n{ARRAY}"),
        ("[task.a]", f"[task.a]\n{ARRAY}"),
        ("[ task . 'a' ] # x\nb = 1\n[c]\n", f"[ task . 'a' ] # x\n{ARRAY}b = 1\n[c]\n"),
        ("[task.b]\nallow = ['x']\n", f"[task.b]\nallow = ['x']\n\n[task.a]\n{ARRAY}"),
        ("[task.a]\nallow = []\n", f"[task.a]\nallow = ['{RULE}']\n"),
        ("[task.a]\nallow = ['x']  # c\nd=1\n", f"[task.a]\nallow = ['x', '{RULE}']  # c\nd=1\n"),
        ("[task.a]\nallow = [ 'x', ]\n", f"[task.a]\nallow = [ 'x', '{RULE}']\n"),
        ("[task.a]\nallow = [\n  'x' # no ] comma\n]\n",
         f"[task.a]\nallow = [\n  'x', # no ] comma\n{LINE}]\n"),
        ("[task.a]\nallow = [\n  'x',\n  'y']\n",
         f"[task.a]\nallow = [\n  'x',\n  'y',\n{LINE}]\n"),
        ("[task.a]\r\nallow = [\r\n  'x',\r\n]\r\n",
         f"[task.a]\r\nallow = [\r\n  'x',\r\n{LINE[:-1]}\r\n]\r\n"),
        ("[task.a]\nallow = [ # ]\n# ]\n]\ndeny = []\n",
         f"[task.a]\nallow = [ # ]\n# ]\n{LINE}]\ndeny = []\n"),
        # What looks like the section isn't it.
        ('n = """\n[task.a]\nallow = [\n"""\n[task.a]\nallow = []\n',
         f'n = """\n[task.a]\nallow = [\n"""\n[task.a]\nallow = [\'{RULE}\']\n'),
        ("[task.a.b]\nc = 1\n", f"[task.a.b]\nc = 1\n\n[task.a]\n{ARRAY}"),
        ("[task.a]\nallow = ['[', ']', \"\\\"]\"]\n",
         f"[task.a]\nallow = ['[', ']', \"\\\"]\", '{RULE}']\n"),
    ],
)  # fmt: skip
def test_edits(before: str, after: str) -> None:
    assert edited(before) == after


@pytest.mark.parametrize(
    "text",
    ["[task]\na = {allow = []}\n", "task.a.allow = ['x']\n", "[task.a]\nallow = 'console'\n",
     "task = 1\n", "[task]\na = 1\n"],
)  # fmt: skip
def test_what_cannot_be_edited_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(wasmos.ManifestError) as seen:
        add(str(path), "a", RULE)
    assert str(seen.value).endswith(f"add to [task.a]: allow = ['{RULE}']")
    assert path.read_text() == text


def test_what_is_there_already() -> None:
    once = edited("")
    assert added(once, "a", RULE) is None
    assert added(once, "b", RULE) is not None
    assert added(once, "a", RULE, key="deny") is not None


@given(
    before=st.sampled_from(
        ["", "[task.x]\nallow = ['console'] # c\n", "[task.x]\n", "# [task.x]\n"]
    ),
    task=st.text(min_size=1, max_size=8) | st.sampled_from(["x", "a.b", "]", '"', "'\n[y]"]),
    rule=st.text(max_size=20),
    comment=st.text(max_size=20) | st.just("\n[task.y]\nallow = ['*']"),
)
def test_nothing_but_the_rule_is_added(before: str, task: str, rule: str, comment: str) -> None:
    """Whatever names and rules hold."""
    try:
        text = added(before, task, rule, comment=comment)
    except wasmos.ManifestError:
        return
    old: dict[str, Any] = tomllib.loads(before).get("task", {})
    section = old.get(task, {})
    if text is None:
        assert rule in section["allow"]
        return
    wanted = {**old, task: {**section, "allow": [*section.get("allow", []), rule]}}
    assert tomllib.loads(text) == {"task": wanted}
    assert [line for line in before.splitlines() if "#" in line and "[" not in line] == []


@given(st.text())
def test_strings_read_back(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert tomllib.loads(f"{quoted_key(text)} = {quoted(text)}") == {text: text}
    assert quoted(text).isprintable()


@given(st.text())
def test_headings_read_back(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert tomllib.loads(heading("task", text)) == {"task": {text: {}}}
    assert heading("task", text).isprintable()


def test_a_file_is_made_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    assert add(str(path), "a", RULE)
    path.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    assert add(str(link), "a", "console")
    assert not add(str(link), "a", "console")
    assert link.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert tomllib.loads(path.read_text()) == {"task": {"a": {"allow": [RULE, "console"]}}}
    assert sorted(os.listdir(tmp_path)) == ["link.toml", "p.toml"]


def test_what_is_no_file_of_its_own_is_not_replaced(tmp_path: Path) -> None:
    """Neither a link, also one that leads nowhere yet, nor a pipe or a device."""
    file, link, pipe = (tmp_path / name for name in ("p.toml", "link.toml", "pipe"))
    link.symlink_to(file)
    for text in ("one", "two"):
        policy_edit.replace(str(link), text)
        assert link.is_symlink() and file.read_text() == text
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        policy_edit.replace(str(pipe), "three")
        assert os.read(reader, 100) == b"three"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_file_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.toml"
    path.write_text("# one\n")
    parsed = policy_edit._parsed

    def meanwhile(text: str, where: str) -> dict[str, Any]:
        path.write_text("# two\n")
        return parsed(text, where)

    monkeypatch.setattr(policy_edit, "_parsed", meanwhile)
    with pytest.raises(wasmos.ManifestError, match="somebody else has changed it"):
        add(str(path), "a", RULE)
    assert path.read_text() == "# two\n"


def test_there_is_never_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.toml"
    path.write_text("# one\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        add(str(path), "a", RULE)
    assert path.read_text() == "# one\n"
    assert os.listdir(tmp_path) == ["p.toml"]


@pytest.mark.parametrize("text", ["[task.a\n", "a = 1\na = 2\n"])
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(wasmos.ManifestError, match=r"p\.toml"):
        add(str(path), "a", RULE)
    path.write_bytes(b"\xff")
    with pytest.raises(wasmos.ManifestError, match="not UTF-8"):
        add(str(path), "a", RULE)
