"""What the command says of itself, and wrong usage."""

from __future__ import annotations

import pytest

import wasmos
from tests.support.command import wasmos_

VERBS = ["boot", "run", "learn", "check", "audit", "ps", "caps", "kill", "grant", "deny", "revoke"]


def test_the_version() -> None:
    assert wasmos_("--version").stdout == f"wasmos {wasmos.__version__}\n"


def test_no_command_shows_the_usage() -> None:
    done = wasmos_()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: wasmos [-h] [--version] COMMAND")


def test_help_names_the_commands() -> None:
    done = wasmos_("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for verb in VERBS:
        assert f"\n    {verb} " in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_command(verb: str) -> None:
    done = wasmos_(verb, "--help", env={"COLUMNS": "80"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: wasmos {verb} [-h]")
    assert "exit codes" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    # Each option says what it does.
    for line in done.stdout.split("options:")[1].splitlines():
        if line.startswith("  -") and "  " not in line.strip():
            assert line.strip().endswith(
                ("HOST[:PORT]", "[:ro|:rw]", "HOST:GUEST", "RULE,...", "}", "NAME|PID")
            )


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["run"], ["check"], ["boot", "a", "b"], ["run", "--nothing", "x"],
     ["run", "--time", "5s", "x"], ["check", "-o", "xml", "x"], ["--nothing"]],
)  # fmt: skip
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = wasmos_(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: wasmos")


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_without_a_terminal(env: dict[str, str]) -> None:
    done = wasmos_("run", "nowhere.wasm", env=env)
    assert done.stderr == "error: nowhere.wasm: no such file or directory\n"
