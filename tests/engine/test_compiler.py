"""Compiling in a child process: bombs, children that die or lie, and what a child can see."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wasmos
from tests.support import wasmgen as gen
from tests.support.wat import SLEEP, TRAP, program
from wasmos import _core
from wasmos.engine import compiler, library

# What may be left of a module that was refused. The sanitizer keeps freed memory for a while.
MOST_LEFT = (1 << 30) if _core.SANITIZED else (10 << 20)

LIMITS = wasmos.CompileLimits(seconds=2, memory_bytes=512 << 20)
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a child, whatever was compiled before."""
    monkeypatch.setenv("WASMOS_NO_CACHE", "1")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


# --- bombs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", gen.COMPILE_BOMBS)
def test_bomb(kernel: wasmos.Kernel, name: str) -> None:
    """Compiled within the limits, or refused with a reason, and the parent is as it was."""
    data = gen.COMPILE_BOMBS[name]()
    before = resident_bytes()
    try:
        kernel.load(data, compile_limits=LIMITS)
    except wasmos.ModuleRefused as refused:
        assert 10 < len(str(refused)) < 1_000
        assert not isinstance(refused.__cause__, Exception)
        gc.collect()
        # What judging it took is given back, all but a rest.
        assert resident_bytes() - before < MOST_LEFT


def test_all_refused_bombs_together(kernel: wasmos.Kernel) -> None:
    """The process doesn't grow with the number of bombs that it is sent."""
    names = ["many_types", "long_names", "nested_blocks", "huge_custom_section", "many_exports"]

    def send_all() -> None:
        for name in names:
            try:
                kernel.load(gen.COMPILE_BOMBS[name](), compile_limits=LIMITS)
            except wasmos.ModuleRefused:
                continue
        kernel._programs.clear()
        gc.collect()

    send_all()
    before = resident_bytes()
    send_all()
    assert resident_bytes() - before < MOST_LEFT


def test_time_is_limited(kernel: wasmos.Kernel) -> None:
    limits = wasmos.CompileLimits(seconds=0)
    with pytest.raises(wasmos.CompileLimitExceeded, match="longer than 0 s"):
        kernel.load(SLEEP, compile_limits=limits)
    assert kernel.load(SLEEP).info is not None  # not remembered as bad


@pytest.mark.plain_build
def test_memory_is_limited(kernel: wasmos.Kernel) -> None:
    limits = wasmos.CompileLimits(memory_bytes=16 << 20)
    with pytest.raises(wasmos.CompileLimitExceeded, match="memory"):
        kernel.load(SLEEP, compile_limits=limits)


# --- what the engine refuses ------------------------------------------------------------------

INVALID = {
    "type mismatch": gen.program(b""),
    "unknown local": gen.program(b"\x20\x05"),
    "unknown opcode": gen.program(b"\xff"),
    "branch out of depth": gen.program(b"\x0c\x07"),
    "memory without one": gen.module(
        types=[gen.CODE], functions=[0], exports=[gen.exported("main", gen.FUNC, 0)],
        code=[gen.body(gen.i32_const(0) + b"\x28\x02\x00")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", INVALID)
@pytest.mark.parametrize("trusted", [False, True])
def test_invalid_modules(kernel: wasmos.Kernel, what: str, trusted: bool) -> None:
    """The message says what and where, and is the same in this process and in the child."""
    with pytest.raises(wasmos.ModuleRefused, match=r"^module: [^\n]+ \(at offset 0x\w+\)$"):
        kernel.load(INVALID[what], trusted=trusted)


@pytest.mark.plain_build
def test_what_is_invalid_is_found_before_anything_is_compiled(kernel: wasmos.Kernel) -> None:
    """Compiling what comes before it would take more memory than there is."""
    sums = gen.i32_const(0) + b"\x41\x01\x6a" * 300_000
    limits = wasmos.CompileLimits(memory_bytes=512 << 20)

    def load(last: bytes) -> None:
        code = [gen.body(sums)] * 7 + [gen.body(last)]
        kernel.load(gen.program(functions=[0] * 8, code=code), compile_limits=limits)

    with pytest.raises(wasmos.CompileLimitExceeded, match="memory"):
        load(gen.i32_const(0))
    with pytest.raises(wasmos.ModuleRefused, match="unknown local 5"):
        load(b"\x20\x05")


@pytest.mark.parametrize("trusted", [False, True])
def test_older_exceptions_are_told_what_to_do(kernel: wasmos.Kernel, trusted: bool) -> None:
    try_catch_all = b"\x06\x40\x19\x0b" + gen.i32_const(0)
    with pytest.raises(wasmos.ModuleRefused) as seen:
        kernel.load(gen.program(try_catch_all), trusted=trusted)
    assert str(seen.value) == (
        "module: it uses the older encoding of exceptions, which is not available here; build with "
        "the standard one (-mllvm -wasm-use-legacy-eh=false; Binaryen: --translate-to-exnref)"
    )


def test_wide_arithmetic_is_told_what_to_do(kernel: wasmos.Kernel) -> None:
    """It shows only inside functions."""
    with pytest.raises(wasmos.ModuleRefused) as seen:
        kernel.load(program("(i64.mul_wide_u (i64.const 1) (i64.const 1)) (drop) (drop) #0"))
    assert str(seen.value) == (
        "module: it uses wide arithmetic, which is not available here; build without it "
        "(no -mwide-arithmetic; Rust: without +wide-arithmetic)"
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("unknown local 5 (at offset 0x30)", "unknown local 5 (at offset 0x30)"),
        ("failed to compile: wasm[0]::function[7]\n\nCaused by:\n    too large\n", "too large"),
        ("a\n\nCaused by:\n    0: b\n    1: c: 2: d\n       and e\n", "c: 2: d and e"),
        ("no export \u202e\x1b[31m", r"no export \u202e\x1b[31m"),
        ("x" * 1_000, "x" * 300),
        ("", ""),
    ],
)
def test_reason(said: str, reason: str) -> None:
    assert compiler.reason(said) == reason


@pytest.mark.parametrize("text", ["(module", "(module (func (export", "(modul)", "(module))"])
def test_invalid_text(kernel: wasmos.Kernel, text: str) -> None:
    with pytest.raises(wasmos.ModuleRefused, match=r"1:\d+"):
        kernel.load(text)


def test_the_same_bytes_are_compiled_once(
    kernel: wasmos.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kernel.load(SLEEP)
    monkeypatch.setattr(compiler, "_CHILD", "/nonexistent")
    assert kernel.load(SLEEP) is first
    with pytest.raises(wasmos.ModuleRefused):
        kernel.load(TRAP)


# --- children ---------------------------------------------------------------------------------


@pytest.fixture
def child(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uncollected: None
) -> Iterator[Callable[[str], None]]:
    """Replaces the compiler's child by a script; `real()` in it is what the real one answers."""
    real = compiler._CHILD

    def replace(script: str) -> None:
        path = tmp_path / "child.py"
        path.write_text(
            "import os, signal, subprocess, sys\n"
            "def real():\n"
            f"    return subprocess.run([sys.executable, '-I', '-S', {real!r}, *sys.argv[1:]],"
            " stdout=-1).stdout\n"
            "def say(data):\n"
            "    sys.stdout.buffer.write(data); sys.stdout.buffer.flush()\n"
            + textwrap.dedent(script)
        )
        monkeypatch.setattr(compiler, "_CHILD", str(path))

    descriptors = set(os.listdir("/proc/self/fd"))
    yield replace
    assert set(os.listdir("/proc/self/fd")) == descriptors
    with pytest.raises(ChildProcessError):  # no zombie, no orphan
        os.waitpid(-1, os.WNOHANG)


def test_the_stand_in_works(kernel: wasmos.Kernel, child: Callable[[str], None]) -> None:
    """So that the refusals below are those of what the scripts add."""
    child("say(real())")
    assert kernel.wait(kernel.spawn(program("#7"))).code == 7


LIARS = {
    "says nothing": "",
    "exits at once": "os._exit(1)",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "is killed having read": "sys.stdin.buffer.read(); os.kill(os.getpid(), signal.SIGKILL)",
    "crashes": "os.kill(os.getpid(), signal.SIGSEGV)",
    "truncated": "answer = real(); say(answer[:len(answer) // 2])",
    "truncated and killed": (
        "answer = real(); say(answer[:-1]); os.kill(os.getpid(), signal.SIGKILL)"
    ),
    "complete but failed": "say(real()); os._exit(3)",
    "complete but killed": "say(real()); os.kill(os.getpid(), signal.SIGKILL)",
    "only the mark": "say(b'+')",
    "garbage": "say(b'garbage')",
    "marked garbage": "say(b'+' + bytes(range(256)) * 40)",
    "marked text": "say(b'+(module)')",
    "marked module": "say(b'+' + sys.stdin.buffer.read())",
    "wrong mark": "say(b'*' + real()[1:])",
}


@pytest.mark.parametrize("what", LIARS)
def test_children_that_die_or_lie(
    kernel: wasmos.Kernel, child: Callable[[str], None], what: str
) -> None:
    child(LIARS[what])
    with pytest.raises(wasmos.WasmosError):
        kernel.load(SLEEP)
    assert kernel.tasks == []


def test_ctrl_c_is_not_for_the_child(kernel: wasmos.Kernel, child: Callable[[str], None]) -> None:
    """It reaches all processes of a terminal, and may be meant for another program."""
    child("os.kill(os.getpid(), signal.SIGINT); say(real())")
    assert kernel.wait(kernel.spawn(program("#7"))).code == 7


def test_a_child_that_refuses(kernel: wasmos.Kernel, child: Callable[[str], None]) -> None:
    child("say(b'-because')")
    with pytest.raises(wasmos.ModuleRefused, match="because"):
        kernel.load(SLEEP)


@pytest.mark.parametrize(
    "script",
    [
        "signal.pause()",
        "sys.stdin.buffer.read(); signal.pause()",
        "os.close(0); signal.pause()",
        "say(real()); signal.pause()",
        "say(real()); os.close(1); signal.pause()",
    ],
)
def test_children_that_never_end(
    kernel: wasmos.Kernel, child: Callable[[str], None], script: str
) -> None:
    """Killed at the limit."""
    child(script)
    large = gen.program(customs=[gen.custom("x", bytes(1 << 20))])
    with pytest.raises(wasmos.CompileLimitExceeded, match="longer than"):
        kernel.load(large, compile_limits=wasmos.CompileLimits(seconds=0.3))


def test_a_child_that_talks_without_end(
    kernel: wasmos.Kernel, child: Callable[[str], None]
) -> None:
    """Stopped when it has said more than its memory holds, long before its time is over."""
    child("while True: say(b'+' * 65536)")
    limits = wasmos.CompileLimits(seconds=1, memory_bytes=1 << 30, code_bytes=16 << 20)
    with pytest.raises(wasmos.CompileLimitExceeded, match="MiB"):
        kernel.load(SLEEP, compile_limits=limits)


def test_a_child_that_does_not_read(kernel: wasmos.Kernel, child: Callable[[str], None]) -> None:
    """A module larger than a pipe, and a child that answers without having read it."""
    child("say(b'-no'); os._exit(0)")
    with pytest.raises(wasmos.ModuleRefused, match="no"):
        kernel.load(gen.program(customs=[gen.custom("x", bytes(1 << 20))]))


@pytest.fixture
def waiting_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """/proc of a real child that has prepared itself and waits for its module. This process has a
    secret in its environment and one in a file that a child could inherit."""
    monkeypatch.setenv("SECRET", "hunter2")
    limits = wasmos.CompileLimits(seconds=7, memory_bytes=1 << 30)
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        options = {"stack_bytes": 512 << 10, "tick_ns": 0}
        running = compiler.Compilation(b"", options, library.library_path(), limits)
    proc = Path(f"/proc/{running._pid}")
    try:
        while not re.search(r"Max file size +0 +0", (proc / "limits").read_text()):
            assert (proc / "stat").read_text().split()[2] != "Z", "it ended by itself"
        yield proc
    finally:
        running.cancel()


@pytest.mark.plain_build
def test_limits_of_the_child(waiting_child: Path) -> None:
    """Set before it reads the first byte of the module."""
    text = (waiting_child / "limits").read_text()
    cpu = 7 * min(os.cpu_count() or 1, compiler.MAX_THREADS) + 1
    for row in (
        f"Max address space +{1 << 30} +{1 << 30} ",
        f"Max cpu time +{cpu} +{cpu} ",
        "Max core file size +0 +0 ",
        "Max file size +0 +0 ",
    ):
        assert re.search(row, text), text


@pytest.mark.plain_build
def test_what_the_child_can_see(waiting_child: Path) -> None:
    """No environment, no argument but what it needs, and no file of ours but its pipes."""
    assert (waiting_child / "environ").read_bytes() == b""
    arguments = (waiting_child / "cmdline").read_bytes().decode().split("\0")
    assert arguments[1:4] == ["-I", "-S", compiler._CHILD]
    threads = min(os.cpu_count() or 1, compiler.MAX_THREADS)
    limits = ["1073741824", str(7 * threads + 1), str(threads)]
    assert arguments[6:] == [*limits, "stack_bytes=524288", "tick_ns=0", ""]
    files = [os.readlink(link) for link in sorted((waiting_child / "fd").iterdir())]
    assert [file.split(":")[0] for file in files] == ["pipe", "pipe", "/dev/null"]


def test_many_open_files(kernel: wasmos.Kernel) -> None:
    """More than fit the bit sets of `select`."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= 2_048
    resource.setrlimit(resource.RLIMIT_NOFILE, (2_048, hard))
    files = []
    try:
        files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
        assert kernel.wait(kernel.spawn(program("#7"))).code == 7
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_compilation_that_nobody_waits_for() -> None:
    """Cancelled: its child is gone."""
    options = {"stack_bytes": 512 << 10, "tick_ns": 0}
    data = gen.COMPILE_BOMBS["huge_function"]()
    running = compiler.Compilation(data, options, library.library_path())
    running.cancel()
    running.cancel()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def childless() -> Iterator[None]:
    """Children end without a word, as in a program whose parent ignored SIGCHLD."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("childless")
def test_where_nobody_hears_of_the_end_of_children(
    kernel: wasmos.Kernel, child: Callable[[str], None]
) -> None:
    assert kernel.wait(kernel.spawn(program("#7"))).code == 7
    with pytest.raises(wasmos.ModuleRefused):
        kernel.load(b"\0asm\1\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x05\x01\x03\0\x6a\x0b")
    for answer in ("answer", "answer[: len(answer) // 2]", "answer[:-1]", "answer[:5]"):
        child(f"answer = real(); say({answer})")
        if answer == "answer":
            kernel.load(SLEEP)
            kernel._programs.clear()
        else:
            with pytest.raises(wasmos.CompileLimitExceeded):
                kernel.load(SLEEP)


@pytest.mark.usefixtures("childless")
def test_cancelled_where_nobody_hears_of_the_end_of_children() -> None:
    options = {"stack_bytes": 512 << 10, "tick_ns": 0}
    for data in (b"nothing", gen.COMPILE_BOMBS["huge_function"]()):
        running = compiler.Compilation(data, options, library.library_path())
        if data == b"nothing":
            running._exchange(None)
        running.cancel()
        running.cancel()


@pytest.mark.parametrize("seconds", [-1.5, float("inf"), float("nan")])
def test_seconds_that_are_no_limit(seconds: float) -> None:
    with pytest.raises(wasmos.UsageError, match="a finite number"):
        wasmos.CompileLimits(seconds=seconds)


def test_limits_by_the_size_of_the_module() -> None:
    limits = wasmos.CompileLimits()
    assert [limits.seconds_for(mib << 20) for mib in (0, 10, 100)] == [30, 60, 330]
    assert limits.memory_for(64 << 20) == 3 << 30
    assert [limits.code_for(mib << 20) >> 20 for mib in (1, 64, 100)] == [256, 256, 400]
    given = wasmos.CompileLimits(1, 2, 3)
    assert (given.seconds_for(9), given.memory_for(9), given.code_for(9)) == (1, 2, 3)


def test_a_process_that_may_use_less_than_the_child_is_given() -> None:
    """`ulimit -t`: a hard limit can't be raised, which isn't the module's fault."""
    script = (
        "import resource, wasmos\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "wasmos.Kernel().load('(module (func (export \"main\")))')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
