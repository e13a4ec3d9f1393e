"""The exception tree, split by whose fault it is.

Law: everything wasmos raises on purpose derives from `WasmosError`; whatever
else comes out is a bug of ours. Each message says what happened, to whom, and
what to do next.
"""

from __future__ import annotations


class WasmosError(Exception):
    """Base of every error that wasmos raises on purpose."""


class ModuleRefused(WasmosError):
    """The module was refused before it ran; the message says why."""


class CompileLimitExceeded(ModuleRefused):
    """Compiling the module took more time or memory than it is worth."""


class ManifestError(WasmosError):
    """A manifest is wrong; the message names file, key and the nearest fix."""


class NotGranted(ManifestError):
    """A task asks for more than a policy grants; the message shows the lines to add."""


class AuditError(WasmosError):
    """The audit log can't be written, or isn't what it should be; the message names the file."""


class ControlError(WasmosError):
    """A running system can't be spoken to, or says no; the message says what it says."""


class UsageError(WasmosError):
    """The API was called in a way that can't work."""


class RuleError(UsageError):
    """A rule that can't be read, or asks for what there isn't.

    `text` is the rule and `column` the place in it, counted from 1.
    """

    def __init__(self, message: str, text: str = "", column: int = 0) -> None:
        super().__init__(message)
        self.text = text
        self.column = column


class Deadlock(WasmosError):
    """Nothing can ever happen again, and somebody waits for something."""


class InternalError(WasmosError):
    """An invariant of the kernel is broken: our bug, please report it."""


class ServiceError(WasmosError):
    """A service answers with an error code; raised by Python services, and by
    calls from Python that were answered so.

    `code` is one of `wasmos.abi.ErrorCode`, a negative number. `detail` is for whoever looks into
    it, and names what of a badge stands against it as rules do: `mode="ro"`. `grant`: the number
    of the capability that it is about, 0: the one that admitted the message.
    """

    def __init__(self, code: int, detail: str = "", *, grant: int = 0) -> None:
        self.code = int(code)
        self.detail = detail
        self.grant = grant
        super().__init__(code, detail)

    def __str__(self) -> str:
        from .abi import error_name

        name = error_name(self.code)
        return f"{name}: {self.detail}" if self.detail else name


class CapabilityDenied(ServiceError):
    """The task holds no capability for what it tried (-8)."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(-8, detail)


class TaskFailed(WasmosError):
    """Base of how a task can end badly. `exit` is its `wasmos.Exit`."""

    def __init__(self, message: str, exit: object = None) -> None:
        super().__init__(message)
        self.exit = exit


class GuestExit(TaskFailed):
    """The guest ended by itself with a code other than 0."""


class GuestTrap(TaskFailed):
    """The guest trapped: division by zero, out of bounds, unreachable, …"""


class DeadlineExceeded(TaskFailed):
    """The guest used up its processor time or its deadline."""


class TaskKilled(TaskFailed):
    """The task was killed, or its system was shut down."""
