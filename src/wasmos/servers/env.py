"""Env: the environment variables a program was started with.

Law: a task learns its own variables and nobody else's; who asks is the kernel's word. Which of
them it may read is the kernel's to check. A list shows only names that asking for would get, so
that it says no more of what is there than asking does.
"""

from __future__ import annotations

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.kernel import Caller, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What fits the messages, with a NUL after it.
MAX_NAME_BYTES = 255
MAX_VALUE_BYTES = 1023


class Env(Service):
    """Hands out variables.

    variables: task id → its variables, value by name; a mapping, which may change while the system
        runs, or a function. A task that isn't in it has none.
    may_get: whether a caller's capabilities let it ask for the variable of a name; without it,
        everyone may ask for all of its own.
    """

    name = "env"

    def __init__(
        self,
        variables: Mapping[int, Mapping[str, str]] | Callable[[int], Mapping[str, str]],
        may_get: Callable[[Caller, str], bool] | None = None,
    ) -> None:
        self._variables = variables
        self._may_get = may_get

    def env_get(self, caller: Caller, name: str) -> str:
        value = self._of(caller.id).get(name)
        if value is None:
            raise ServiceError(ErrorCode.NOT_FOUND)
        if _size(value) > MAX_VALUE_BYTES:
            # Half a value can mean something else than the whole.
            raise ServiceError(ErrorCode.TOO_LARGE)
        return value

    def env_list(self, caller: Caller, index: int) -> str:
        if index < 0:
            raise ServiceError(ErrorCode.INVALID_ARG)
        names = [name for name in sorted(self._of(caller.id)) if self._shows(caller, name)]
        if index >= len(names):
            raise ServiceError(ErrorCode.EOF)
        return names[index]

    def _shows(self, caller: Caller, name: str) -> bool:
        if "\0" in name or _size(name) > MAX_NAME_BYTES:  # no message can ask for it
            return False
        return self._may_get is None or self._may_get(caller, name)

    def _of(self, task: int) -> Mapping[str, str]:
        if callable(self._variables):
            return self._variables(task)
        return self._variables.get(task, {})


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))
