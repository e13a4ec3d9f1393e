"""What programs are told as a list of strings, their arguments and variables, all at once.

Law: who reads all of them sees those that it could ask for one by one, and no others: the kernel
says which. What it has said counts until the task's rights change, so that it isn't asked about
every string in each call.
"""

from __future__ import annotations

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from wasmos.abi import Message
    from wasmos.kernel import Caller, Lent, Service

# As Linux has it, each with a NUL after it.
MAX_STRING_BYTES = 128 << 10
MAX_STRINGS_BYTES = 1 << 20


def bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def whole(strings: Iterable[bytes]) -> tuple[int, bytes]:
    """How many there are, and all of them as one. Raises ServiceError."""
    ended = [string + b"\0" for string in strings]
    text = b"".join(ended)
    if len(text) > MAX_STRINGS_BYTES:
        raise ServiceError(ErrorCode.TOO_LARGE)
    return len(ended), text


def write(count: int, text: bytes, into: Lent) -> tuple[int, int, int]:
    """The answer to who has lent memory for it. Half a string can mean something else than the
    whole, so none is cut."""
    room = len(into)
    part = text if len(text) <= room else text[: text.rfind(b"\0", 0, room) + 1]
    return count, len(text), into.write(part)


class Shown:
    """What a service shows each task, as long as neither that nor the task's rights change.

    find: makes it of what the task was given, and of what says whether it may send a message.
    """

    def __init__(
        self, service: Service, find: Callable[[Any, Callable[[Message], bool]], Any]
    ) -> None:
        self._service = service
        self._find = find
        self._kept: dict[int, tuple[int, object, Any]] = {}

    def to(self, caller: Caller, given: object) -> Any:
        """`given`: a copy, since it is what it will be compared with."""
        kernel, task = self._service.kernel, caller.id
        rights = kernel.rights(task)
        kept = self._kept.get(task)
        if kept is not None and kept[0] == rights and kept[1] == given:
            return kept[2]
        lasts = True

        def may(message: Message) -> bool:
            nonlocal lasts
            answer = kernel.would_admit(task, self._service.task, kernel.encode(message))
            lasts = lasts and answer != _FOR_NOW
            return answer > 0

        found = self._find(given, may)
        if lasts:
            self._kept[task] = rights, given, found
        return found

    def forget(self, task: int) -> None:
        self._kept.pop(task, None)


_FOR_NOW = 1
