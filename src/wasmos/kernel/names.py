"""Service names: who is who, who waits for whom, and the numbers behind them.

Law: a name has one task, and is free again when that task ends. In
capabilities a service is a number; a name gets one when it is granted or
registered, never by being looked up: guests can't make this table grow.
"""

from __future__ import annotations

from wasmos import abi
from wasmos.errors import ServiceError, UsageError
from wasmos.kernel.driver import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

    from wasmos import _core

MAX_NAME_BYTES = 63
EVERY = "*"
NO_SERVICE = 0x7FFFFFFF  # a number that nobody was granted


class ServiceNames:
    """The registry of one kernel. `tasks`: service name → task id."""

    def __init__(self, core: _core.Core) -> None:
        self._core = core
        self.tasks: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []  # by number
        self._waiting: dict[str, dict[int, None]] = {}  # guests in ipc_lookup, the first come first
        self._wanted: dict[str, list[asyncio.Future[None]]] = {}  # coroutines

    def number(self, name: str) -> int:
        """The number of a service in capabilities. Raises UsageError."""
        if not name or len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
            raise UsageError(f"a service name has 1 to {MAX_NAME_BYTES} bytes: {name!r}")
        if name == EVERY:
            raise UsageError(f"{EVERY!r} is all services, and the name of none")
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number

    def is_known(self, name: str) -> bool:
        """Whether somebody was granted or is the service of this name. Tasks can't speak of
        others: the table would grow by it."""
        return name == EVERY or name in self._numbers

    def name_of_number(self, number: int) -> str:
        """What `number` was given for; "" for what nobody has."""
        return self._names[number] if 0 <= number < len(self._names) else ""

    def check_free(self, name: str) -> None:
        """Raises ServiceError (-3) if somebody has the name."""
        self.number(name)
        if name in self.tasks:
            raise ServiceError(abi.ErrorCode.ALREADY_EXISTS, f"service {name!r}")

    def register(self, id: int, name: str) -> None:
        """Make task `id` the one behind `name`, and tell who waits for it."""
        self.check_free(name)
        self._core.set_service(id, self.number(name))
        self.tasks[name] = id
        for waiter in self._waiting.pop(name, ()):
            self._core.answer_lookup(waiter, id)
        for known in self._wanted.pop(name, []):
            resolve(known)

    def forget(self, id: int, names: list[str]) -> None:
        """Task `id`, which was these services, is gone."""
        for name in names:
            del self.tasks[name]
        self._stop_waiting(id)

    def look_up(self, id: int, name: str, quietly: bool = False) -> int | None:
        """What to answer task `id`: a task, an error code, or None: it waits. `quietly`: that it
        isn't allowed is no denial."""
        if not name:
            return int(abi.ErrorCode.INVALID_ARG)
        if not self.may(id, name):
            if not quietly:
                self._core.record_denial(id, self._numbers.get(name, NO_SERVICE))
            return int(abi.ErrorCode.NOT_ALLOWED)
        if name in self.tasks:
            return self.tasks[name]
        self._waiting.setdefault(name, {})[id] = None  # once, if it is asked again after Ctrl-C
        return None

    def drop_lookups(self, id: int) -> bool:
        """Refuse what task `id` waits to look up, if it no longer may."""
        name = next((n for n, ids in self._waiting.items() if id in ids), None)
        if name is None or self._core.is_over(id) or self.may(id, name):
            return False
        self._stop_waiting(id)
        self._core.answer_lookup(id, int(abi.ErrorCode.NOT_ALLOWED))
        return True

    async def registered(self, name: str) -> None:
        """Wait until somebody is the service `name`."""
        import asyncio

        while name not in self.tasks:
            known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            wanted = self._wanted.setdefault(name, [])
            wanted.append(known)
            try:
                await known
            except asyncio.CancelledError:
                wanted.remove(known)
                if not wanted and self._wanted.get(name) is wanted:
                    del self._wanted[name]
                raise

    def may(self, id: int, name: str) -> bool:
        """Whether task `id` holds anything for a service."""
        return self._core.holds(id, self._numbers.get(name, NO_SERVICE))

    def _stop_waiting(self, id: int) -> None:
        for name, ids in list(self._waiting.items()):
            if id in ids:
                del ids[id]
                if not ids:
                    del self._waiting[name]
