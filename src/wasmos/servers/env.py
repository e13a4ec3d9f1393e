"""Env: the environment variables a program was started with.

Law: a task learns its own variables and nobody else's; who asks is the kernel's word. Which of
them it may read is the kernel's to check. A list shows only names that asking for would get, so
that it says no more of what is there than asking does, and the same holds for all of them at once.
"""

from __future__ import annotations

from wasmos.abi import EnvGet, EnvList, ErrorCode
from wasmos.errors import ServiceError
from wasmos.kernel import Caller, Lent, Service
from wasmos.servers.strings import MAX_STRING_BYTES, Shown, bytes_of, whole, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wasmos.abi import Message

# What fits the messages about one, with a NUL after it.
MAX_NAME_BYTES = 255
MAX_VALUE_BYTES = 1023


class Env(Service):
    """Hands out variables.

    variables: task id → its variables, value by name; a mapping, which may change while the system
        runs, or a function. A task that isn't in it has none.
    """

    name = "env"

    def __init__(
        self, variables: Mapping[int, Mapping[str, str]] | Callable[[int], Mapping[str, str]]
    ) -> None:
        self._variables = variables
        self._shown = Shown(self, Readable)

    def env_get(self, caller: Caller, name: str) -> str:
        value = self._of(caller.id).get(name)
        if value is None:
            raise ServiceError(ErrorCode.NOT_FOUND)
        if len(bytes_of(value)) > MAX_VALUE_BYTES:
            # Half a value can mean something else than the whole.
            raise ServiceError(ErrorCode.TOO_LARGE)
        return value

    def env_list(self, caller: Caller, index: int) -> str:
        return nth(self._readable(caller).names, index)

    def env_read(self, caller: Caller, into: Lent) -> tuple[int, int, int]:
        count, text = whole(self._readable(caller).entries.values())
        return write(count, text, into)

    def task_ended(self, task: int) -> None:
        self._shown.forget(task)

    def _readable(self, caller: Caller) -> Readable:
        found: Readable = self._shown.to(caller, dict(self._of(caller.id)))
        return found

    def _of(self, task: int) -> Mapping[str, str]:
        if callable(self._variables):
            return self._variables(task)
        return self._variables.get(task, {})


class Readable:
    """The variables that a task may have.

    names: in order. `entries`: of those whose names it may list as well, `NAME=value` by name.
    """

    def __init__(self, variables: Mapping[str, str], may: Callable[[Message], bool]) -> None:
        self.names = [name for name in sorted(variables) if is_askable(name) and may(EnvGet(name))]
        self.entries: dict[str, bytes] = {}
        for index, name in enumerate(self.names):
            if not may(EnvList(index)):
                break
            entry = bytes_of(f"{name}={variables[name]}")
            if b"\0" not in entry and len(entry) < MAX_STRING_BYTES:
                self.entries[name] = entry


def is_askable(name: str) -> bool:
    """Whether a message can ask for it."""
    return "\0" not in name and len(bytes_of(name)) <= MAX_NAME_BYTES


def nth(names: list[str], index: int) -> str:
    """The answer to `env_list`. Raises ServiceError."""
    if index < 0:
        raise ServiceError(ErrorCode.INVALID_ARG)
    if index >= len(names):
        raise ServiceError(ErrorCode.EOF)
    return names[index]
