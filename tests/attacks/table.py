"""docs/attacks.md: the attacks that were played, and the line that stopped each of them.

    python -m tests.attacks.table            plays them all and writes the page
    python -m tests.attacks.table --check    plays them all and says whether the page is as it was

Law: nothing in the page is written by hand. A row is there because a test has played the attack in
this run and found the line; what is different in each run (numbers, times, places) is left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.attacks.attack import SEEN, Seen

PAGE = Path(__file__).parents[2] / "docs" / "attacks.md"
MODULES = Path(__file__).parent
MAX_LINE = 170
THEMES = {
    "ids": "Forged ids, types and senders",
    "replies": "Forged, repeated, late and unasked answers",
    "messages": "Messages that change, and values at the edges",
    "deputies": "Confused deputies",
    "delegation": "Delegation beyond what is held",
    "revocation": "Use after revocation",
    "lifetimes": "Replay",
    "exhaustion": "Exhaustion",
    "names": "Names",
    "paths": "Paths",
    "network": "Network",
    "reading": "Reading what is others'",
    "audit": "The audit log",
    "control": "The control socket",
    "policy": "Policies and prompts",
}
HEAD = """# Attacks

What a guest, a peer, or somebody on the same machine could try, and the line by which it was
stopped: a record of the audit log as `wasmos audit` shows it (`audit:`), an event of the kernel
(`event:`), the text of an error, or what the system left behind.

{attacks} attacks in {forms} forms.

This page is generated: `python -m tests.attacks.table` plays them all, from
[tests/attacks/](../tests/attacks/), and takes down the lines. Each test also asserts that nothing
was gained: the victim's state, the messages that arrived, the files outside. `N` is a number that
differs from run to run. Some attacks come in many forms; then each has a row, and its own line.
"""

# What is different in each run.
_VOLATILE = (
    (re.compile(r"\[\d+\]"), ""),
    (re.compile(r"\b(task|tasks|grant|from|pid|process|user|number:) (\d+(?:, \d+)*)"), r"\1 N"),
    (re.compile(r"\bto -?\d+\b"), "to N"),
    (re.compile(r"\(task=-?\d+"), "(task=N"),
    (re.compile(r"\bx\d{2,}$"), "xN"),
    (re.compile(r"unread: \d+"), "unread: N"),
    (re.compile(r"-\d+(-\d+)?\.sock"), "-N.sock"),
    (re.compile(r"/tmp/wasmos-\w+/"), "…/"),
    (re.compile(r"/tmp/[\w./-]*?pytest-[\w./-]*?/(?=[\w.]+)"), "…/"),
    (re.compile(r"(.)\1{20,}"), r"\1\1\1…"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
)


def normal(line: str) -> str:
    for pattern, instead in _VOLATILE:
        line = pattern.sub(instead, line)
    line = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in " ".join(line.split()))
    return line if len(line) <= MAX_LINE else line[:MAX_LINE] + "…"


def order(found: Iterable[Seen]) -> list[Seen]:
    """By theme, and in it as the tests stand in their file."""
    places: dict[str, str] = {
        theme: (MODULES / f"test_{theme}.py").read_text(encoding="utf-8") for theme in THEMES
    }
    themes = list(THEMES)
    return sorted(
        found,
        key=lambda seen: (
            themes.index(seen.theme), places[seen.theme].index(f"def {seen.test}("),
        ),
    )  # fmt: skip


def rows(found: Iterable[Seen]) -> dict[tuple[str, str], str]:
    """The rows without their numbers, by test and case."""
    return {
        (seen.test, seen.case): " | ".join(
            (
                _cell(f"{seen.name}: {_code(seen.case)}" if seen.case else seen.name),
                "" if seen.case else _cell(seen.how),
                _code(normal(seen.line)),
            )
        )
        for seen in found
    }


def page(found: Iterable[Seen]) -> str:
    ordered = order(found)
    texts = rows(ordered)
    attacks = list(dict.fromkeys(seen.test for seen in ordered))
    lines = [HEAD.format(attacks=len(attacks), forms=len(ordered))]
    theme = last = ""
    for seen in ordered:
        number = attacks.index(seen.test) + 1
        if seen.theme != theme:
            theme = seen.theme
            lines += [f"\n## {THEMES[theme]}\n", "| | attack | how it was tried | stopped by |",
                      "| --- | --- | --- | --- |"]  # fmt: skip
        if seen.case and seen.test != last:
            lines.append(f"| {number} | {_cell(seen.name)} | {_cell(seen.how)} | each form below |")
        name, how, line = texts[seen.test, seen.case].split(" | ", 2)
        shown = name.removeprefix(f"{_cell(seen.name)}: ") if seen.case else name
        lines.append(f"| {'' if seen.case else number} | {shown} | {how} | {line} |")
        last = seen.test
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    ticks = "``" if "`" in text else "`"
    edge = " " if "`" in text or text != text.strip() or not text else ""
    return f"{ticks}{edge}{_cell(text)}{edge}{ticks}"


def main(arguments: list[str]) -> int:
    import pytest

    status = pytest.main([str(MODULES), "-q", f"--ignore={MODULES / 'test_table.py'}"])
    if status:
        return int(status)
    text = page(SEEN.values())
    if arguments != ["--check"]:
        PAGE.write_text(text, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != text:
        print(f"{PAGE} is stale: run python -m tests.attacks.table", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
