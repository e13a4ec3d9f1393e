"""Compiling modules that nobody vouches for, in a child process.

Law: what a guest's author wrote is compiled where it can hurt only itself: a
child with limits on memory, time and written files, and nothing of the
parent's but the module: no environment, no open files. Compiling is unbounded
by nature (engine policy: a slow compile is no vulnerability), so the bound is
the child's life. Machine code is loaded only from that child's pipe, or from
where we put it ourselves (`cache.py`).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from wasmos import _core
from wasmos.errors import CompileLimitExceeded, ModuleRefused, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CHILD = os.path.join(os.path.dirname(__file__), "compile_child.py")
_CHUNK = 1 << 20
_CODE_AT = 9  # in an answer, after a mark and its length
_MOST_SAID = 300  # characters of a reason
# What the engine alone finds, inside functions, and what an author can do about it.
_ADVICE = {
    "legacy_exceptions feature required": (
        "it uses the older encoding of exceptions, which is not available here; build with the "
        "standard one (-mllvm -wasm-use-legacy-eh=false; Binaryen: --translate-to-exnref)"
    ),
    "wide arithmetic support is not enabled": (
        "it uses wide arithmetic, which is not available here; build without it "
        "(no -mwide-arithmetic; Rust: without +wide-arithmetic)"
    ),
}
_WAITING_SECONDS = 0.1  # between two calls of who shows that it takes its time
# What a child of the AddressSanitizer build can't do without. Its shadow memory is terabytes of
# address space, too, so that limit is left out.
_SANITIZER = {
    name: os.environ[name]
    for name in ("LD_PRELOAD", "ASAN_OPTIONS")
    if _core.SANITIZED and name in os.environ
}

# What any module may take, and what each of its bytes adds to that: a bomb is small, and a program
# of 69 MB (42 of them code) was seen to take 60 s of one processor, 1.4 GiB, and 162 MiB of code.
COMPILE_SECONDS, SECONDS_PER_MIB = 30.0, 3.0
COMPILE_BYTES, BYTES_PER_BYTE = 2 << 30, 16
CODE_BYTES, CODE_PER_BYTE = 256 << 20, 4
MAX_THREADS = 4  # of the child: each reserves 64 MiB of its address space, and more


def reason(error: str) -> str:
    """Why the engine refuses a module, in a printable line: the innermost cause of an error,
    without what it was doing when it found that."""
    import re

    causes = error.rpartition("Caused by:\n")[2]
    innermost = re.split(r"^ *\d+: ", causes, flags=re.MULTILINE)[-1]
    for what, advice in _ADVICE.items():
        if innermost.startswith(what):
            return advice
    return ascii(" ".join(innermost.split()))[1:-1][:_MOST_SAID]


class CompileLimits:
    """What one compilation may use: `seconds` of time, `memory_bytes` of address space, and
    `code_bytes` of machine code that come out of it, which this process keeps.

    What isn't given depends on the module: 30 s and 3 s for each MiB of it; 2 GiB and 16 times
    its size; 256 MiB or 4 times its size. Raises UsageError for seconds without end.
    """

    __slots__ = ("code_bytes", "memory_bytes", "seconds")

    def __init__(
        self,
        seconds: float | None = None,
        memory_bytes: int | None = None,
        code_bytes: int | None = None,
    ) -> None:
        if seconds is not None and not 0 <= seconds < float("inf"):
            raise UsageError(f"seconds for compiling are a finite number, not {seconds!r}")
        self.seconds = seconds
        self.memory_bytes = memory_bytes
        self.code_bytes = code_bytes

    def seconds_for(self, size: int) -> float:
        """The seconds that a module of so many bytes may take."""
        default = COMPILE_SECONDS + SECONDS_PER_MIB * size / (1 << 20)
        return default if self.seconds is None else self.seconds

    def memory_for(self, size: int) -> int:
        """The bytes of address space."""
        default = COMPILE_BYTES + BYTES_PER_BYTE * size
        return default if self.memory_bytes is None else self.memory_bytes

    def code_for(self, size: int) -> int:
        """The bytes of machine code."""
        default = max(CODE_BYTES, CODE_PER_BYTE * size)
        return default if self.code_bytes is None else self.code_bytes


class Compilation:
    """One child at work. Started at once; `code()` waits for the result."""

    def __init__(
        self,
        wasm: bytes,
        engine: Mapping[str, object],
        library: str,
        limits: CompileLimits | None = None,
    ) -> None:
        limits = limits or CompileLimits()
        self._seconds = limits.seconds_for(len(wasm))
        self._memory_bytes = limits.memory_for(len(wasm))
        self._code_bytes = limits.code_for(len(wasm))
        self._wasm = wasm
        self._deadline = time.monotonic() + self._seconds
        request_in, self._request = os.pipe()
        try:
            self._answer, answer_out = os.pipe()
        except OSError:
            os.close(request_in)
            os.close(self._request)
            raise
        os.set_blocking(self._request, False)
        threads = min(os.cpu_count() or 1, MAX_THREADS)
        argv = [
            sys.executable, "-I", "-S", _CHILD, _core.__file__, library,
            str(-1 if _core.SANITIZED else self._memory_bytes),
            str(int(self._seconds * threads) + 1),
            str(threads),
            *(f"{key}={value}" for key, value in engine.items()),
        ]  # fmt: skip
        try:
            self._pid: int | None = os.posix_spawn(
                sys.executable,
                argv,
                _SANITIZER,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, request_in, 0),
                    (os.POSIX_SPAWN_DUP2, answer_out, 1),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                # Ctrl-C reaches all processes of a terminal. What it means, we decide.
                setsigmask=(signal.SIGINT,),
            )
        except BaseException:
            self._close()
            raise
        finally:
            os.close(request_in)
            os.close(answer_out)

    def code(self, waiting: Callable[[float], object] | None = None) -> bytes:
        """The machine code. `waiting` is called now and then with the seconds that it takes so
        far. Raises ModuleRefused for an invalid module, CompileLimitExceeded if the child hit a
        limit."""
        try:
            answer = self._exchange(waiting)
            status = self._ended()
        finally:
            self.cancel()
        if answer[:1] == b"+" and not status:
            size = int.from_bytes(answer[1:_CODE_AT], "little")
            if len(answer) == _CODE_AT + size:
                return answer[_CODE_AT:]
        if answer[:1] == b"-":
            raise ModuleRefused(reason(answer[1:].decode("utf-8", "replace")))
        raise CompileLimitExceeded(
            f"compiling took more than {self._memory_bytes >> 20} MiB of memory; "
            "to allow more: --compile-memory, or compile_limits"
        )

    def cancel(self) -> None:
        """End the child if it still runs. Idempotent."""
        self._close()
        if self._pid is None:
            return
        pid, self._pid = self._pid, None
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # as in `_ended`

    def _exchange(self, waiting: Callable[[float], object] | None) -> bytes:
        """Feed the module, collect the answer, watch the clock."""
        unsent = memoryview(self._wasm)
        parts: list[bytes] = []
        received = 0
        poll = select.poll()  # not select(): that can't watch descriptors above 1,023
        poll.register(self._answer, select.POLLIN)
        poll.register(self._request, select.POLLOUT)
        while True:
            left = self._deadline - time.monotonic()
            pause = max(left, 0)
            if waiting is not None:
                waiting(self._seconds - left)
                pause = min(pause, _WAITING_SECONDS)
            ready = dict(poll.poll(pause * 1000))
            readable, writable = self._answer in ready, self._request in ready
            if left <= 0:
                raise self._too_slow()
            if writable:
                unsent = self._feed(unsent)
                if not unsent:
                    poll.unregister(self._request)
                    os.close(self._request)
                    self._request = -1
            if readable:
                part = os.read(self._answer, _CHUNK)
                if not part:
                    return b"".join(parts)
                parts.append(part)
                received += len(part)
                if received > self._code_bytes:
                    raise CompileLimitExceeded(
                        f"its machine code is larger than {self._code_bytes >> 20} MiB; "
                        "to allow more: compile_limits"
                    )

    def _feed(self, unsent: memoryview) -> memoryview:
        try:
            return unsent[os.write(self._request, unsent[:_CHUNK]) :]
        except BrokenPipeError:
            return unsent[:0]  # the child is gone: its answer says why

    def _too_slow(self) -> CompileLimitExceeded:
        return CompileLimitExceeded(
            f"compiling took longer than {self._seconds:g} s; "
            "to allow more: --compile-timeout, or compile_limits"
        )

    def _ended(self) -> int | None:
        """The child's exit status, None if nobody can know it: where SIGCHLD is ignored, as whoever
        started us may have left it, children are gone without a word. It has said all; that it
        ends, too, is part of the answer, and waited for no longer than for the rest."""
        assert self._pid is not None
        pause = 0.0002
        while True:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:
                self._pid = None
                return None
            if pid:
                self._pid = None
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > self._deadline:
                raise self._too_slow()
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def _close(self) -> None:
        for name in ("_request", "_answer"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                os.close(descriptor)
                setattr(self, name, -1)
