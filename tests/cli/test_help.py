"""What the command says of itself, and wrong usage."""

from __future__ import annotations

import pytest

import wasmos
from tests.support.command import HELLO, wasmos_

VERBS = [
    "boot",
    "run",
    "learn",
    "check",
    "audit",
    "ps",
    "caps",
    "kill",
    "grant",
    "deny",
    "revoke",
    "cache",
]


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
                (
                    "HOST[:PORT]",
                    "[:MODE]",
                    "HOST:GUEST",
                    "RULE,...",
                    "}",
                    "NAME|PID",
                    "compile-timeout TIME",
                    "compile-memory SIZE",
                )
            )


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["run"], ["check"], ["boot", "a", "b"], ["run", "--nothing", "x"],
     ["run", "--time", "5s", "x"], ["check", "-o", "xml", "x"], ["--nothing"], ["grant", "x"]],
)  # fmt: skip
def test_wrong_usage_is_2_and_says_what_to_do(arguments: list[str]) -> None:
    done = wasmos_(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    error, action = done.stderr.splitlines()
    assert error.startswith("error: ")
    known = arguments[0] in VERBS
    assert action.startswith(f"wasmos {arguments[0]} --help " if known else "wasmos --help ")


@pytest.mark.parametrize(
    ("arguments", "error", "action"),
    [
        ("run --alow console hello.wasm", "no option --alow of run; did you mean --allow?", "run"),
        ("run --alow=console", "no option --alow of run; did you mean --allow?", "run"),
        ("run -Q", "no option -Q of run", "run"),
        ("run --no-promt --quiet x.wasm", "no option --no-promt of run; did you mean --no-prompt?",
         "run"),
        ("boot --pompt p.toml", "no option --pompt of boot; did you mean --prompt?", "boot"),
        ("ps --sytem x", "no option --sytem of ps; did you mean --system?", "ps"),
        ("learn -o - --mrge", "no option --mrge of learn; did you mean --merge?", "learn"),
        ("run --zzz x.wasm", "no option --zzz of run", "run"),
        ("rn", "no command 'rn'; did you mean 'run'?", ""),
        ("kil stranger", "no command 'kil'; did you mean 'kill'?", ""),
        ("zzz", "no command 'zzz'", ""),
        ("--versoin", "no option --versoin; did you mean --version?", ""),
        ("help rn", "no command 'rn'; did you mean 'run'?", ""),
    ],
)  # fmt: skip
def test_what_is_misspelt(arguments: str, error: str, action: str) -> None:
    done = wasmos_(*arguments.split())
    verb = action and f" {action}"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {error}\nwasmos{verb} --help lists them\n"


def test_what_is_missing() -> None:
    for arguments, verb in (["run"], "run"), (["learn", "--"], "learn"), (["run", "-q"], "run"):
        assert wasmos_(*arguments).stderr == (
            "error: the following arguments are required: FILE.wasm\n"
            f"wasmos {verb} --help says more\n"
        )


def test_an_option_of_the_guests_is_no_mistake() -> None:
    assert wasmos_("run", "-q", HELLO, "--alow").returncode == 0


def test_help_is_a_command_too() -> None:
    assert wasmos_("help").stdout == wasmos_("--help").stdout
    assert wasmos_("help", "run").stdout == wasmos_("run", "--help").stdout
    assert wasmos_("help", "grant").stdout == wasmos_("grant", "--help").stdout


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_without_a_terminal(env: dict[str, str]) -> None:
    done = wasmos_("run", "nowhere.wasm", env=env)
    assert done.stderr == "error: nowhere.wasm: no such file or directory\n"


@pytest.mark.parametrize("name", ["prog.wasm", "dir/prog.wat"])
def test_a_program_is_no_command(name: str) -> None:
    done = wasmos_(name, "--flag")
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"error: no command {name!r}; to run that program: wasmos run FILE"
    )
