"""How a task ended.

Law: every end has a cause and names its task; nobody just disappears.
"""

from __future__ import annotations

from wasmos import _core, errors
from wasmos.engine import binary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from wasmos.engine.info import ModuleInfo
    from wasmos.kernel.program import Program

    Frame: TypeAlias = tuple[int, str | None, int, str]

# What the modules of ours in a task's store are called, before a name of their own.
OURS = "wasmos:"

# cause → (exit status of `wasmos run`, exception, how it reads)
CAUSES: dict[str, tuple[int, type[errors.TaskFailed], str]] = {
    "returned": (0, errors.GuestExit, "exited"),
    "trapped": (134, errors.GuestTrap, "trapped"),
    "refused": (126, errors.GuestTrap, "could not start"),
    "cpu_limit": (124, errors.DeadlineExceeded, "used up its processor time"),
    "deadline": (124, errors.DeadlineExceeded, "reached its deadline"),
    "output_limit": (137, errors.TaskKilled, "printed more than it may"),
    "killed": (137, errors.TaskKilled, "was killed"),
}

_NO_ADDRESSES = (
    "no addresses are left for its memory, which takes 4 GiB of them: a limit on those of this "
    "process (ulimit -v), or too many tasks"
)


def started_not(message: str) -> str:
    """Why a task could not start, in a line."""
    from wasmos.engine.compiler import reason

    return _NO_ADDRESSES if message.startswith("mmap failed to reserve") else reason(message)


def _nothing() -> None:
    return None


class Exit:
    """The end of one task.

    cause: `returned`, `trapped`, `refused`, `cpu_limit`, `deadline`, `output_limit` or `killed`.
    code: what `main` returned, None for every other cause; 0 if another function was called.
    message: the trap or the reason, "" if there is none.
    backtrace: (function index, name or None, offset in the module, whose), innermost first; whose:
        "" for the program itself, or which part of wasmos was called by it. The offset is 1 << 32
        or more if the engine doesn't know it. `wasmos.backtrace` has files and lines.
    cpu_seconds: processor time that it used.
    results: what the function returned that it was spawned to call; None if it was spawned for
        none, or that didn't return.
    memory_bytes, memory_limit: the size of its memory, 0 if it showed none; and what it could have
        been.
    """

    __slots__ = (
        "_program",
        "backtrace",
        "cause",
        "code",
        "cpu_seconds",
        "memory_bytes",
        "memory_limit",
        "message",
        "name",
        "results",
        "task",
    )

    def __init__(
        self,
        task: int,
        name: str,
        cause: str,
        code: int | None = None,
        message: str = "",
        backtrace: tuple[Frame, ...] = (),
        cpu_seconds: float = 0.0,
        program: Program | None = None,
        results: tuple[int | float, ...] | None = None,
        memory_bytes: int = 0,
        memory_limit: int = 0,
    ) -> None:
        self.task = task
        self.name = name
        self.cause = cause
        self.code = code
        self.message = message
        self.backtrace = backtrace
        self.cpu_seconds = cpu_seconds
        self.results = results
        self.memory_bytes = memory_bytes
        self.memory_limit = memory_limit
        self._program: Callable[[], Program | None] = _nothing
        if backtrace and program is not None:
            from weakref import ref

            # Modules are large, and ends are kept: whoever keeps one doesn't keep the other.
            self._program = ref(program)

    @property
    def module(self) -> ModuleInfo | None:
        """What the backtrace is about, while the kernel has it."""
        program = self._program()
        return None if program is None else program.info

    @property
    def ok(self) -> bool:
        """Whether `main` returned 0."""
        return self.code == 0

    @property
    def status(self) -> int:
        """As the exit status of a process: the guest's own code (its low
        eight bits), 124 for limits on time, 126 refused, 134 trap, 137 killed,
        also for a limit on output."""
        if self.code is None:
            return CAUSES[self.cause][0]
        # No failure becomes a success by being cut to eight bits.
        return self.code & 0xFF or (1 if self.code else 0)

    @property
    def may_lack_memory(self) -> bool:
        """Whether it may have ended so for want of memory. The engine tells nobody that it refused
        some; but who trapped with more than half of what there was had asked in vain, if it asked
        for as much again, as most allocators do. Codes of a program's own have other reasons most
        of the time: then it is at most a sixteenth that was left."""
        left = self.memory_limit - self.memory_bytes
        if self.cause == "trapped":
            return left < self.memory_bytes
        return self.cause == "returned" and not self.ok and left < self.memory_limit // 16

    def check(self) -> Exit:
        """Itself if it is `ok`. Raises GuestExit, GuestTrap,
        DeadlineExceeded or TaskKilled otherwise."""
        if self.ok:
            return self
        raise CAUSES[self.cause][1](str(self), self)

    def __str__(self) -> str:
        text = f"task {self.task} {self.name!r} {CAUSES[self.cause][2]}"
        if self.code is not None:
            text += f" with code {self.code}"
        elif self.message:
            text += f": {self.message}"
        if self.may_lack_memory:
            text += f"; it had {self.memory_bytes:,} of {self.memory_limit:,} bytes of memory"
        return text

    def __repr__(self) -> str:
        return f"<Exit {self}>"


def whose(
    frames: list[tuple[int, str | None, int, str | None]], program: Program | None
) -> tuple[Frame, ...]:
    """The engine's frames, told apart, and the program's with the names that it gives them. Of
    those the engine knows nothing: it would write them down whole, and decipher what C++ and Rust
    made of them, for seconds and for gigabytes if their author likes."""
    own = [index for index, _, _, owner in frames if owner is None]
    names = {} if program is None else _names(program.data, own)
    return tuple(
        (index, names.get(index), offset, "")
        if owner is None
        else (index, function, offset, owner.removeprefix(OURS))
        for index, function, offset, owner in frames
    )


def _names(module: bytes, functions: list[int]) -> dict[int, str]:
    # Not `Program.info`: for a program from the cache that would be read now.
    section = binary.names(module)
    if section is None:
        return {}
    return _core.names_of(module, section.start, section.end, functions)
