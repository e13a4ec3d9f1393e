"""Args: the arguments that a program was started with.

Law: a task learns its own arguments and nobody else's; who asks is the kernel's word.
"""

from __future__ import annotations

from wasmos.abi import ArgsGet, ErrorCode
from wasmos.errors import ServiceError
from wasmos.kernel import Caller, Lent, Service
from wasmos.servers.strings import MAX_STRING_BYTES, Shown, bytes_of, whole, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wasmos.abi import Message

MAX_ARGUMENT_BYTES = 1023  # what fits the answer that has one, with a NUL after it


class Args(Service):
    """Hands out arguments.

    arguments: task id → its arguments, the program's name first; a mapping, which may change
        while the system runs, or a function. A task that isn't in it has none.
    """

    name = "args"

    def __init__(
        self, arguments: Mapping[int, Sequence[str]] | Callable[[int], Sequence[str]]
    ) -> None:
        self._arguments = arguments
        self._shown = Shown(self, _readable)

    def args_get(self, caller: Caller, index: int) -> tuple[int, str]:
        arguments = self._of(caller.id)
        if not 0 <= index < len(arguments):
            raise ServiceError(ErrorCode.NOT_FOUND)
        value = arguments[index]
        if len(bytes_of(value)) > MAX_ARGUMENT_BYTES:
            # Half an argument can mean something else than the whole.
            raise ServiceError(ErrorCode.TOO_LARGE)
        return len(arguments), value

    def args_read(self, caller: Caller, into: Lent) -> tuple[int, int, int]:
        count, text = self._shown.to(caller, tuple(self._of(caller.id)))
        return write(count, text, into)

    def task_ended(self, task: int) -> None:
        self._shown.forget(task)

    def _of(self, task: int) -> Sequence[str]:
        if callable(self._arguments):
            return self._arguments(task)
        return self._arguments.get(task, ())


def _readable(arguments: Sequence[str], may: Callable[[Message], bool]) -> tuple[int, bytes]:
    """Those before the first that may not be asked for: each has its place."""
    found = []
    for index, text in enumerate(arguments):
        if not may(ArgsGet(index)):
            break
        if "\0" in text:  # it would be two
            raise ServiceError(ErrorCode.INVALID_ARG)
        found.append(bytes_of(text))
        if len(found[-1]) >= MAX_STRING_BYTES:
            raise ServiceError(ErrorCode.TOO_LARGE)
    return whole(found)
