"""Args: the arguments that a program was started with.

Law: a task learns its own arguments and nobody else's; who asks is the kernel's word.
"""

from __future__ import annotations

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.kernel import Caller, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_ARGUMENT_BYTES = 1023  # what fits the answer, with a NUL after it


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

    def args_get(self, caller: Caller, index: int) -> tuple[int, str]:
        arguments = self._of(caller.id)
        if not 0 <= index < len(arguments):
            raise ServiceError(ErrorCode.NOT_FOUND)
        value = arguments[index]
        if len(value.encode("utf-8", "surrogateescape")) > MAX_ARGUMENT_BYTES:
            # Half an argument can mean something else than the whole.
            raise ServiceError(ErrorCode.TOO_LARGE)
        return len(arguments), value

    def _of(self, task: int) -> Sequence[str]:
        if callable(self._arguments):
            return self._arguments(task)
        return self._arguments.get(task, ())
