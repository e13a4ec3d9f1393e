"""`wasmos.run`: one program from Python, in the manner of `subprocess.run`."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path

import pytest

import wasmos
from tests.support import talkers, wat
from tests.support.command import HELLO
from tests.support.talkers import printer, reader
from wasmos import _core


def test_captured_output() -> None:
    done = wasmos.run(HELLO, ["Ann"], allow=["console"], capture_output=True)
    assert (done.returncode, done.stdout, done.denied) == (
        0, b"Hello from WasmOS!\nMy arguments: Ann\n", (),
    )  # fmt: skip
    done.check_returncode()
    assert repr(done) == "<Completed task 4 'hello' exited with code 0>"


def test_output_is_limited() -> None:
    """A program that prints for ever, and one that prints a byte too many."""
    endless = talkers.flooder("1234567")
    done = wasmos.run(
        endless, allow=["console"], capture_output=True, output_limit=5000, timeout=0.2
    )
    assert done.stdout is not None and 4993 <= len(done.stdout) <= 5000
    assert done.exit.cause == "deadline"
    whole = wasmos.run(printer("12345"), allow=["console"], capture_output=True, output_limit=5)
    assert whole.stdout == b"12345"
    cut = wasmos.run(printer("123456"), allow=["console"], capture_output=True, output_limit=5)
    assert cut.stdout in (b"", b"12345")


def test_captured_output_of_a_program_that_prints_nothing() -> None:
    assert wasmos.run(wat.program("#0"), capture_output=True).stdout == b""
    assert wasmos.run(wat.program("#0")).stdout is None


def test_output_to_a_stream(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    stream = io.BytesIO()
    wasmos.run(printer("into it"), allow=["console"], output=stream)
    assert stream.getvalue() == b"into it"
    wasmos.run(printer("out"), allow=["console"])
    assert capfdbinary.readouterr() == (b"out", b"")


@pytest.mark.parametrize("data", [b"", b"abc", b"\0\xff" * 5000])
def test_input_as_bytes_or_a_stream(data: bytes, tmp_path: Path) -> None:
    expected = bytearray(data)
    for start in range(0, len(data), 1024):
        expected[start] ^= 32
    (tmp_path / "input").write_bytes(data)
    with open(tmp_path / "input", "rb") as file:
        for source in (data, io.BytesIO(data), file):
            done = wasmos.run(reader(), allow="console", input=source, capture_output=True)
            assert (done.returncode, done.stdout) == (0, bytes(expected))


def test_without_input_there_is_none() -> None:
    assert wasmos.run(reader(at_end=3), allow=["console"]).returncode == 3


def test_what_was_denied() -> None:
    done = wasmos.run(HELLO)
    assert (done.returncode, done.denied) == (0, ("args", "console"))


@pytest.mark.parametrize(
    ("source", "options", "status", "error"),
    [
        (wat.program("#7"), {}, 7, wasmos.GuestExit),
        (wat.program("#-1"), {}, 255, wasmos.GuestExit),
        (wat.TRAP, {}, 134, wasmos.GuestTrap),
        (wat.SPIN, {"limits": wasmos.Limits(cpu_seconds=0.01)}, 124, wasmos.DeadlineExceeded),
        (wat.SPIN, {"timeout": 0.01}, 124, wasmos.DeadlineExceeded),
        (wat.SLEEP, {"timeout": 0.01}, 124, wasmos.DeadlineExceeded),
        (wat.SLEEP, {"timeout": 0}, 124, wasmos.DeadlineExceeded),
        (wat.SPIN, {"limits": wasmos.Limits(deadline_seconds=0.01)}, 124, wasmos.DeadlineExceeded),
    ],
)
def test_ends_and_their_exceptions(
    source: str, options: dict[str, object], status: int, error: type[wasmos.TaskFailed]
) -> None:
    done = wasmos.run(source, **options)  # type: ignore[arg-type]
    assert done.returncode == status
    with pytest.raises(error) as caught:
        done.check_returncode()
    assert caught.value.exit is done.exit


def test_what_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(wasmos.ModuleRefused):
        wasmos.run("(module)")
    with pytest.raises(wasmos.ModuleRefused):
        wasmos.run(b"\0asm")
    with pytest.raises(FileNotFoundError):
        wasmos.run(tmp_path / "none.wasm")
    with pytest.raises(IsADirectoryError):
        wasmos.run(tmp_path)
    with pytest.raises(wasmos.ModuleRefused, match="limit"):
        wasmos.run(wat.program("#0"), limits=wasmos.Limits(memory_bytes=1))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"allow": ["consol"]}, "did you mean 'console'"),
        ({"args": "text"}, "args is a list of strings"),
        ({"listen": ["80"]}, "write HOST:GUEST"),
        ({"connect": "anny"}, "did you mean 'any'"),
        ({"connect": ["none", "all"]}, "stands alone"),
        ({"files": "/nowhere/at/all"}, "/nowhere/at/all: no such file or directory"),
    ],
)
def test_wrong_use(options: dict[str, object], error: str) -> None:
    with pytest.raises(wasmos.UsageError, match=error):
        wasmos.run(wat.program("#0"), **options)  # type: ignore[arg-type]


def test_a_text_is_a_list_of_one() -> None:
    wasmos.run(wat.program("#0"), allow="console", listen="0:80", connect="any")


def test_a_program_that_waits_for_nothing() -> None:
    with pytest.raises(wasmos.Deadlock, match="'module' is receiving"):
        wasmos.run(wat.SLEEP)


def test_the_name_is_what_it_is_called() -> None:
    assert wasmos.run(wat.TRAP, name="mine").exit.name == "mine"


def test_many_in_a_row_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    before = _core.live_objects()
    for number in range(10):
        wasmos.run(
            printer("x", code=number % 2), ["a"], allow=["console", "vm", "pong"],
            files=tmp_path, listen=["0:80"], timeout=10, capture_output=True,
        )  # fmt: skip
        with pytest.raises(wasmos.ModuleRefused):
            wasmos.run("(module)", allow=["console", "fs"])
        assert _core.live_objects() == before


def test_in_threads_at_once() -> None:
    results: dict[int, bytes | None] = {}

    def work(number: int) -> None:
        guest = printer(f"number {number}", code=number)
        results[number] = wasmos.run(guest, allow=["console"], capture_output=True).stdout

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: f"number {number}".encode() for number in range(8)}


def test_beside_a_running_loop_in_a_thread_of_its_own() -> None:
    async def main() -> bytes | None:
        beats = 0

        async def heart() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0)
                beats += 1

        beating = asyncio.create_task(heart())
        done = await asyncio.to_thread(
            wasmos.run, reader(), allow=["console"], input=b"abc", capture_output=True
        )
        beating.cancel()
        assert beats > 0
        return done.stdout

    assert asyncio.run(main()) == b"Abc"


def test_in_a_running_loop_it_says_what_to_use_instead() -> None:
    async def main() -> None:
        # Nothing here needs the loop: it just takes its time.
        assert wasmos.run(wat.program("#3")).returncode == 3
        with pytest.raises(wasmos.UsageError, match="AsyncKernel"):
            wasmos.run(reader(), allow=["console"], input=b"x")

    asyncio.run(main())


def test_ctrl_c_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(io.BytesIO):
        def write(self, data: object) -> int:
            raise KeyboardInterrupt

    before = _core.live_objects()
    with pytest.raises(KeyboardInterrupt):
        wasmos.run(talkers.ENDLESS, allow=["console"], output=Interrupted())
    assert _core.live_objects() == before


@pytest.mark.parametrize("broken", [OSError(28, "full"), ValueError("closed"), BrokenPipeError()])
def test_an_output_that_is_broken_is_the_guests_error(broken: Exception) -> None:
    class Broken(io.BytesIO):
        def write(self, data: object) -> int:
            raise broken

    assert wasmos.run(printer("x"), allow=["console"], output=Broken()).returncode == 0
