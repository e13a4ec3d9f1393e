"""`wasmos cache`, and the verbs that use what is kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.command import HELLO, SYSTEM, folder, wasmos_


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """An environment with a cache of its own."""
    return {
        "WASMOS_CACHE_DIR": str(tmp_path / "cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


def names(place: dict[str, str]) -> list[str]:
    document = json.loads(wasmos_("cache", "-o", "json", env=place).stdout)
    assert document["version"] == 1
    assert document["folder"] == place["WASMOS_CACHE_DIR"]
    assert document["bytes"] == sum(entry["bytes"] for entry in document["entries"])
    return [entry["name"] for entry in document["entries"]]


def test_nothing_yet(place: dict[str, str]) -> None:
    done = wasmos_("cache", env=place)
    assert done.stdout == f"0 programs, 0 B, in {place['WASMOS_CACHE_DIR']}\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_what_ran_is_listed_and_can_be_cleared(place: dict[str, str]) -> None:
    assert wasmos_("run", "--allow", "console", HELLO, env=place).returncode == 0
    heading, line, total = wasmos_("cache", env=place).stdout.splitlines()
    assert heading.split() == ["NAME", "SIZE", "USED", "ENGINE", "KEY"]
    assert line.split()[0] == "hello"
    assert " s ago  wasmtime " in line
    assert total.startswith("1 program, ")
    assert names(place) == ["hello"]
    assert wasmos_("cache", "clear", env=place).stdout.startswith("removed 1 program, ")
    assert names(place) == []


def test_pruning(place: dict[str, str], tmp_path: Path) -> None:
    for name in "one", "two":
        text = f'(module (func (export "main") (drop (i32.const {ord(name[0])}))))'
        (tmp_path / f"{name}.wat").write_text(text)
        wasmos_("run", tmp_path / f"{name}.wat", env=place)
    assert names(place) == ["two", "one"]
    old = min(Path(place["WASMOS_CACHE_DIR"]).iterdir(), key=os.path.getmtime)
    os.utime(old, times=(1_000, 1_000))
    done = wasmos_("cache", "prune", "--older-than", "30d", "-o", "json", env=place)
    assert json.loads(done.stdout)["removed"] == [old.stem]
    assert names(place) == ["two"]
    assert wasmos_("cache", "prune", env=place).stdout == "removed 0 programs, 0 B\n"
    wasmos_("cache", "prune", "--max-size", "1k", env=place)
    assert names(place) == []


@pytest.mark.parametrize("verb", ["run", "learn", "boot"])
@pytest.mark.parametrize("how", ["option", "environment", None])
def test_no_cache(place: dict[str, str], tmp_path: Path, verb: str, how: str | None) -> None:
    what = [folder(tmp_path, SYSTEM)] if verb == "boot" else [HELLO]
    flags = ["-q", *(["--no-cache"] if how == "option" else [])]
    if verb == "learn":
        flags += ["-o", "-"]
    env = place | ({"WASMOS_NO_CACHE": "1"} if how == "environment" else {})
    assert wasmos_(verb, *flags, *what, env=env).returncode == 0
    assert bool(names(place)) == (how is None)


def test_a_directory_that_is_not_used(place: dict[str, str]) -> None:
    """It says why, here; a program runs all the same."""
    os.mkdir(place["WASMOS_CACHE_DIR"])
    os.chmod(place["WASMOS_CACHE_DIR"], 0o777)
    done = wasmos_("cache", env=place)
    path = place["WASMOS_CACHE_DIR"]
    assert done.returncode == 2
    assert done.stderr == (
        f"error: the cache is not used: {path} can be written by others (mode 777)\n"
    )
    done = wasmos_("run", "--allow", "console", HELLO, env=place)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(place["WASMOS_CACHE_DIR"]) == []


def test_a_name_that_plays_tricks(place: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\nb.wat"
    path.write_text('(module (func (export "main")))')
    wasmos_("run", path, env=place)
    done = wasmos_("cache", env=place)
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 3


def test_options_that_belong_elsewhere(place: dict[str, str]) -> None:
    done = wasmos_("cache", "clear", "--older-than", "30d", env=place)
    assert done.stderr == "error: --older-than and --max-size belong to wasmos cache prune\n"
    assert done.returncode == 2
