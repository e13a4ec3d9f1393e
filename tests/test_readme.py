"""What the README shows is what happens.

Law: every Python block, those of the how-tos too, runs as it stands, from the top folder, and
prints what its comments say, or what stands below it. Of the README's transcripts those are played
that need no network, no terminal and no compiler. Files that a page speaks of are there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wasmos.idl.outputs import generate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
HOWTO = (ROOT / "docs" / "howto.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[tuple[str, str]]:
    """Each command of the transcripts, and what it printed."""
    found = []
    for block in blocks(text, ""):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def is_promised(comment: str, printed: list[str]) -> bool:
    """Whether one of the lines is what a comment says; "…" at its end is for the rest."""
    return any(
        line.startswith(comment[:-1]) if comment.endswith("…") else line == comment
        for line in printed
    )


PYTHON = blocks(README, "python")
# What is printed stands behind the statement that does it, or below it on a line of its own.
PRINTED = re.compile(r"(?:print|revoke)\(.*\)  # (.*)$|^ *# (\[.*|reader .*|console\..*)$")


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python(number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PYTHON[number]],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    found = map(PRINTED.search, PYTHON[number].splitlines())
    promised = [each[1] or each[2] for each in found if each]
    assert promised or "asyncio" in PYTHON[number], "it promises nothing"
    for comment in promised:
        assert is_promised(comment, printed), f"{comment!r} is not in {printed}"


# Each with what it prints, if that stands below it.
RECIPES = re.findall(
    r"^```python\n(.*?)^```\n(?:\n```\n(?!\$)(.*?)^```$)?", HOWTO, re.DOTALL | re.MULTILINE
)


@pytest.fixture(scope="module")
def own_messages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The definitions of the page, and the module that is made of them."""
    folder = tmp_path_factory.mktemp("own")
    (text,) = [block for block in blocks(HOWTO, "") if block.startswith("first 1000;")]
    (folder / "store.idl").write_text(text)
    generate([folder / "store.idl"], python=folder / "store_messages.py")
    return folder


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_recipes(number: int, own_messages: Path) -> None:
    code, promised = RECIPES[number]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(own_messages)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if promised:
        assert done.stdout == promised


def test_recipes_promise_something() -> None:
    assert sum(bool(promised) for _, promised in RECIPES) >= 8


# Between two commands, and nothing to the second.
MARK = "last=$?; printf '\\0'; (exit $last)"
QUIET = ("wasmos run", "wasmos check", "echo")
ELSEWHERE = ("--listen", "--prompt", "--policy", "--connect", "boot/", "sum.wasm")
PLAYED = [
    (command, output)
    for command, output in commands(README)
    if command.startswith(QUIET) and not any(word in command for word in ELSEWHERE)
]


def test_enough_is_played() -> None:
    names = [command for command, _ in PLAYED]
    assert "wasmos run stranger.wasm" in names
    assert "wasmos check stranger.wasm" in names
    assert "wasmos run --allow console.write,tcpip.connect stranger.wasm" in names
    assert "echo $?" in names
    assert len(names) >= 8


def test_transcripts(tmp_path: Path) -> None:
    (tmp_path / "src").symlink_to(ROOT / "src")
    (tmp_path / "stranger.wasm").write_bytes(
        (ROOT / "src" / "wasmos" / "guests" / "webserver.wasm").read_bytes()
    )
    prepare_count(tmp_path)
    # One shell for all: `$?` is that of the command before, and files stay.
    script = "".join(f"{MARK}\n{command}\n" for command, _ in PLAYED)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec 2>&1\n{script}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": path, "WASMOS_CONTROL": "0"},
    )  # fmt: skip
    shown = done.stdout.split("\0")[1:]
    assert len(shown) == len(PLAYED)
    for (command, promised), printed in zip(PLAYED, shown, strict=True):
        assert printed == promised, command


def prepare_count(folder: Path) -> None:
    """The program for WASI, from the source that is shown, and the file that it counts."""
    (source,) = re.findall(r"^\$ cat count\.c\n(.*?)^\$ ", README, re.DOTALL | re.MULTILINE)
    (folder / "count.c").write_text(source)
    (folder / "data").mkdir()
    (folder / "data" / "text.txt").write_text("one two\nthree\n")
    compiler = ["ziglang", "cc", "-target", "wasm32-wasi", "-Os", "-o", "count.wasm", "count.c"]
    subprocess.run([sys.executable, "-m", *compiler], cwd=folder, check=True)


def test_what_the_examples_write_is_ignored() -> None:
    """Who follows the README has a clean working tree afterwards."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    for name in ("spin.wat", "boot/sum.c", "boot/sum.wasm"):
        assert name in README
        done = subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT, check=False)
        assert done.returncode == 0, name
    assert " sum.c" not in README and "`sum.c`" not in README


@pytest.mark.parametrize("page", sorted(p.relative_to(ROOT) for p in ROOT.glob("docs/**/*.md")))
def test_links(page: Path) -> None:
    check_links(page)


def test_links_of_the_readme() -> None:
    check_links(Path("README.md"))
    check_links(Path("CONTRIBUTING.md"))


def check_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
        if "://" not in target:
            assert (ROOT / page.parent / target).exists(), f"{page}: {target}"
