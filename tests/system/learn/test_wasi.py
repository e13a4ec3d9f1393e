"""Learning what a program for WASI needs: of what its adapter asks for, what it uses."""

from __future__ import annotations

import io
import os
import resource
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import wasmos
from tests.personalities.wasi.languages import toolchains
from tests.support.talkers import SAYS_ARGUMENTS
from tests.system.learn.harness import rules, visit
from wasmos.servers.args import Args
from wasmos.servers.clock import Clock
from wasmos.servers.console import Console
from wasmos.servers.fs import Fs
from wasmos.servers.random import Random
from wasmos.system import outfit
from wasmos.system.learn.learn import Learnt, learn
from wasmos.system.prompt import Prompter

SOURCE = r"""
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv) {
    struct stat known;
    if (argc < 2) return 100;
    if (!strcmp(argv[1], "hello")) return puts("hello") < 0;
    if (!strcmp(argv[1], "env")) {
        for (char **each = environ; *each != NULL; each++) puts(*each);
        return 0;
    }
    if (!strcmp(argv[1], "ls")) {
        DIR *folder = opendir(argv[2]);
        if (folder == NULL) return 1;
        for (struct dirent *entry; (entry = readdir(folder)) != NULL;) puts(entry->d_name);
        return closedir(folder);
    }
    if (!strcmp(argv[1], "cp")) {
        FILE *from = fopen(argv[2], "r"), *to = fopen(argv[3], "w");
        if (from == NULL || to == NULL) return 1;
        for (int c; (c = fgetc(from)) != EOF;) fputc(c, to);
        return fclose(to);
    }
    if (!strcmp(argv[1], "mv")) return rename(argv[2], argv[3]) || stat(argv[3], &known);
    if (!strcmp(argv[1], "ln")) return symlink(argv[2], argv[3]);
    if (!strcmp(argv[1], "serve")) {
        int peer = accept(argc < 3 ? 3 : 4, NULL, NULL);
        return peer < 0 || write(peer, "hello", 5) != 5 || close(peer) != 0;
    }
    if (!strcmp(argv[1], "open")) {
        int count = 0;
        while (fopen("/data/a", "r") != NULL) count++;
        return count;
    }
    return 100;
}
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("learn")
    source, program = folder / "programs.c", folder / "programs.wasm"
    source.write_text(SOURCE)
    toolchains.c(source, program)
    return str(program)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Trial:
    """A program, what it is started with, and a directory that each run has a copy of."""

    def __init__(self, program: str, arguments: list[str], folder: Path, **options: object) -> None:
        self.program = program
        self.arguments = arguments
        self.kept = folder.with_name("kept")
        self.folder = folder
        folder.rename(self.kept)
        self.options = options

    def learn(self) -> Learnt:
        self._renew()
        found = learn(self.program, self.arguments, output=io.BytesIO(), **self.options)  # type: ignore[arg-type]
        assert found.exit is not None and found.exit.code == 0, found.notes
        assert found.notes == []
        return found

    def run(self, allow: list[str]) -> tuple[int | None, bytes, list[str]]:
        """Its exit code, what it printed, and what is in the directory then. With nothing but
        these rules: `wasmos.run` would grant what goes with its options."""
        self._renew()
        output = io.BytesIO()
        arguments: dict[int, list[str]] = {}
        variables: dict[int, dict[str, str]] = {}
        with wasmos.Kernel(personalities=outfit.personalities()) as kernel:
            image = outfit.filled_image(self.options.get("files"), print)  # type: ignore[arg-type]
            for service in (
                Console(output), Args(arguments), outfit.env(variables), Clock(), Random(),
                Fs(image),
            ):  # fmt: skip
                kernel.serve(service)
            task = kernel.spawn(self.program, allow=allow)
            arguments[task.id] = [task.name, *self.arguments]
            variables[task.id] = dict(os.environ)
            code = kernel.wait(task).code
        return code, output.getvalue(), sorted(each.name for each in self.folder.iterdir())

    def _renew(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.kept, self.folder)


def needed(trial: Trial) -> list[str]:
    """What is learnt: by that it does the same as it did, and by no less."""
    allow = rules(trial.learn())
    whole = trial.run(allow)
    assert whole[0] == 0, whole
    for line in allow:
        assert trial.run([rule for rule in allow if rule != line]) != whole, line
    return allow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a").write_text("text")
    return folder


@pytest.mark.parametrize(
    ("arguments", "mode", "used"),
    [
        (["cp", "/data/a", "/data/b"], "rw", "/data/a, /data/b"),
        (["ls", "/data"], "ro", "/data"),
        (["mv", "/data/a", "/data/b"], "rw", "/data/a, /data/b"),
        (["ln", "a", "/data/b"], "rw", "/data/b"),
    ],
)
def test_files_of_a_directory(
    programs: str, folder: Path, arguments: list[str], mode: str, used: str
) -> None:
    trial = Trial(programs, arguments, folder, dirs=[f"{folder}::/data"])
    allow = needed(trial)
    assert allow[-1] == f'fs(dir="{folder}", at="/data", mode="{mode}")'
    assert set(allow[:-1]) <= {"args.get", "console.put"}
    assert trial.learn().policy.rstrip("]\n").endswith(f"; used: {used}")


def test_changes_that_stay_in_memory(programs: str, folder: Path) -> None:
    trial = Trial(programs, ["mv", "/data/a", "/data/b"], folder, dirs=[f"{folder}::/data:overlay"])
    assert needed(trial) == ["args.get", f'fs(dir="{folder}", at="/data", mode="overlay")']


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["ls", "/"], ["console.put", 'fs.open_file(path="/")']),
        (["cp", "/a", "/b"], ["fs"]),
        (["mv", "/a", "/b"],
         ['fs.rename(path="/a", new_path="/b")', "fs.root", 'fs.stat(path="/b")']),
    ],
)  # fmt: skip
def test_files_in_memory(
    programs: str, folder: Path, arguments: list[str], wanted: list[str]
) -> None:
    trial = Trial(programs, arguments, folder, files=str(folder))
    assert needed(trial) == ["args.get", *wanted]


def test_hello_needs_what_it_says(programs: str, folder: Path) -> None:
    """And neither the directory nor the port that its adapter found for it."""
    trial = Trial(programs, ["hello"], folder, dirs=[f"{folder}::/data"], listen=["0:80"])
    assert needed(trial) == ["args.get", "console.put"]


def test_it_finds_the_variables_that_it_is_given_and_no_others(
    programs: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter takes all that there are: nobody could say which of the host's were of use."""
    monkeypatch.setenv("HOME", "/home")
    allow = needed(Trial(programs, ["env"], folder, env=["HOME"]))
    assert allow == ["args.get", "console.put", 'env.get(name="HOME")', "env.list"]


def test_a_variable_that_it_is_denied_is_not_learnt(programs: str) -> None:
    output = io.BytesIO()
    found = learn(programs, ["env"], env=["A=1", "B=2"], deny=['env.get(name="B")'], output=output)
    assert output.getvalue() == b"A=1\n"
    assert rules(found) == ["args.get", "console.put", 'env.get(name="A")', "env.list"]
    assert found.notes == []


def test_without_variables_there_is_nothing_to_be_told(programs: str, folder: Path) -> None:
    assert rules(Trial(programs, ["env"], folder).learn()) == ["args.get"]


@pytest.mark.parametrize("dirs", [0, 1])
def test_a_port_that_it_takes_connections_from(programs: str, folder: Path, dirs: int) -> None:
    """The directory, too: it has the number that the socket would have without it."""
    pages: list[bytes] = []

    def log(line: str) -> None:
        if line.startswith("tcpip: port 80 is 127.0.0.1:"):
            port = int(line.rpartition(":")[2])
            threading.Thread(target=lambda: pages.append(visit(port))).start()

    found = learn(
        programs, ["serve", "4"][: 1 + dirs], dirs=[f"{folder}::/data"] * dirs,
        listen=["0:80"], output=io.BytesIO(), log=log,
    )  # fmt: skip
    assert found.exit is not None and found.exit.code == 0, found.notes
    shown = [f'fs(dir="{folder}", at="/data", mode="ro")'] * dirs
    assert rules(found) == ["args.get", *shown, 'tcpip.listen(bind="0", listen_port=80)']


def test_files_in_memory_beside_a_directory(programs: str, tmp_path: Path) -> None:
    """As in a run, each is there."""
    (tmp_path / "a").write_text("x")
    given = {"files": tmp_path, "dirs": {tmp_path: "/data:ro"}}
    assert wasmos.run(programs, ["cp", Path("/data/a"), "/b"], **given).returncode == 0  # type: ignore[arg-type]
    found = learn(programs, ["cp", Path("/data/a"), "/b"], **given)  # type: ignore[arg-type]
    assert found.exit is not None and found.exit.code == 0
    assert [rule for rule in rules(found) if rule.startswith("fs")] == [
        "fs", f'fs(dir="{tmp_path}", at="/data", mode="ro")',
    ]  # fmt: skip


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize(("most", "count"), [(None, 1020), (5, 5), (100, 100)])
def test_how_many_files_may_be_open(
    programs: str, folder: Path, most: int | None, count: int
) -> None:
    """1,024 numbers, of which three are streams and one is the directory; or what was said."""
    dirs = [f"{folder}::/data:ro"]
    done = wasmos.run(programs, ["open"], dirs=dirs, max_open_files=most)
    assert done.exit.code == count
    found = learn(programs, ["open"], dirs=dirs, max_open_files=most)
    assert found.exit is not None and found.exit.code == count


# --- asking -----------------------------------------------------------------------------------


def asked(kernel: wasmos.Kernel, *answers: str) -> tuple[Prompter, list[str]]:
    left, lines = list(answers), []  # type: ignore[var-annotated]
    return Prompter(kernel, lambda _: left.pop(0), lines.append), lines


def test_nobody_is_asked_about_what_a_run_grants_by_itself(programs: str, folder: Path) -> None:
    def ask(kernel: wasmos.Kernel, _: wasmos.Task) -> Prompter:
        return asked(kernel)[0]

    trial = Trial(programs, ["hello"], folder, ask=ask)
    assert rules(trial.learn()) == ["args.get", "console.put"]


def test_nobody_is_asked_about_a_variable_that_it_is_given(programs: str, folder: Path) -> None:
    def ask(kernel: wasmos.Kernel, _: wasmos.Task) -> Prompter:
        return asked(kernel)[0]

    allow = rules(Trial(programs, ["env"], folder, env=["A=1"], ask=ask).learn())
    assert allow == ["args.get", "console.put", 'env.get(name="A")', "env.list"]


def test_a_prompt_is_not_about_what_an_adapter_looks_for(programs: str) -> None:
    lines: list[str] = []

    def ask(kernel: wasmos.Kernel, _: wasmos.Task) -> Prompter:
        prompter, said = asked(kernel)
        lines.append("")
        lines.extend(said)
        return prompter

    done = wasmos.run(programs, ["ls", "/"], ask=ask, capture_output=True)
    assert done.returncode == 1
    assert lines == [""]


def test_it_is_called_as_in_a_run(tmp_path: Path) -> None:
    path = tmp_path / "prog.wasm"
    path.write_text(SAYS_ARGUMENTS)
    for argv0, said in ((None, b"prog.wasm "), ("ls", b"ls ")):
        output = io.BytesIO()
        learn(str(path), argv0=argv0, output=output)
        assert output.getvalue() == said
