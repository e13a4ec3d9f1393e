"""What Tab offers: files where files are meant, programs after `start`, and nothing otherwise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.command import SYSTEM, folder
from tests.system.booted import Booted, drive
from wasmos.system.shell.complete import words

FILES = (
    r'files = { "hello.txt" = "", "hell" = "", "a b" = "", "#1" = "", "d/e/f" = "", "d/g" = "", '
    r'"x\u001b[2J" = "", "ü" = "" }'
)


@pytest.mark.parametrize(
    ("line", "length", "found"),
    [
        ("ser", 3, ["services"]), ("  c", 1, ["caps", "cat"]), ("nothing", 7, []),
        ("cat hel", 3, ["hell", "hello.txt"]), ("cat  hello", 5, ["hello.txt"]),
        ("write hell", 4, ["hell", "hello.txt"]), ("write hell he", 0, []),
        # Names are one word, whatever is in them; what can't be shown isn't offered.
        ("cat a", 1, ["'a b'"]), ("cat #", 1, ["'#1'"]), ("cat x", 1, []), ("cat ü", 1, ["'ü'"]),
        ("cat 'a", 0, []), ("cat a\\", 0, []),
        ("ls d", 1, ["d/"]), ("delete d/", 2, ["d/e/", "d/g"]), ("ls /d/e/", 5, ["/d/e/f"]),
        ("mkdir no/", 3, []), ("cat hello.txt ", 0, []),
        ("start hel", 3, ["hello"]), ("start web", 3, ["webserver"]), ("start mine", 4, ["mine"]),
        ("start hello hel", 0, []), ("echo hel", 0, []), ("kill web", 0, []), ("http h", 0, []),
        ("nothing hel", 0, []), ("", 0, None),
    ],
)  # fmt: skip
def test_words(tmp_path: Path, line: str, length: int, found: list[str] | None) -> None:
    async def work(booted: Booted) -> None:
        some = await words(booted.shell, line)
        assert some[0] == length
        assert some[1] == found or (found is None and "help" in some[1])

    system = re.sub("files = .*", lambda _: FILES, SYSTEM)
    drive(folder(tmp_path, system, mine="(module)"), work)


def test_a_system_without_files(tmp_path: Path) -> None:
    async def work(booted: Booted) -> None:
        assert await words(booted.shell, "cat h") == (1, [])

    drive(folder(tmp_path, '[system]\nservers = ["vm"]'), work)
