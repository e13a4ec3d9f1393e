"""What the messages in rules mean: services, their requests, badges, and what covers what.

Law: everything comes from interfaces, `wasmos.abi` or modules that `python -m wasmos.idl` made.
Nothing is built before it is asked for: most rules name a service and nothing else.
"""

from __future__ import annotations

from wasmos import abi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, ClassVar

# What a field stands for, if a rule that doesn't speak of it doesn't allow every value.
WITH_DEFAULT = ("ipv4", "own_name")


class Vocabulary:
    """The messages of some interfaces; those of `wasmos.abi` if none is given.

    A service that no interface knows has a name of its user's own, and may answer any request.
    """

    __slots__ = ("_covers", "_guarded", "_interfaces", "_takes")

    _default: ClassVar[Vocabulary | None] = None

    def __init__(self, *interfaces: Any) -> None:
        self._interfaces: tuple[Any, ...] = interfaces or (abi,)
        self._takes: dict[str, dict[str, type[abi.Message]]] = {}
        self._covers: dict[int, frozenset[int]] = {}
        self._guarded: dict[str, tuple[int, ...]] = {}

    @classmethod
    def default(cls) -> Vocabulary:
        """That of `wasmos.abi`, always the same one."""
        if cls._default is None:
            cls._default = cls()
        return cls._default

    @property
    def services(self) -> tuple[str, ...]:
        return tuple({name: None for module in self._interfaces for name in module.SERVICES})

    def knows(self, service: str) -> bool:
        return any(service in module.SERVICES for module in self._interfaces)

    def takes(self, service: str) -> Mapping[str, type[abi.Message]]:
        """The requests that a task can send to a service, by their full names."""
        found = self._takes.get(service)
        if found is None:
            found = self._takes[service] = self._collect(service)
        return found

    def guarded(self, service: str) -> tuple[int, ...]:
        """The types of the requests that nobody is allowed as they are: with a field that has a
        default where no rule speaks of it."""
        found = self._guarded.get(service)
        if found is None:
            found = self._guarded[service] = tuple(
                request.TYPE
                for request in self.takes(service).values()
                if any(field.meaning in WITH_DEFAULT for field in request.FIELDS)
            )
        return found

    def request(self, service: str, name: str) -> type[abi.Message] | None:
        """`listen` and `tcpip_listen` are the same message of `tcpip`."""
        requests = self.takes(service)
        return requests.get(name) or requests.get(f"{service}_{name}")

    def short(self, service: str, request: type[abi.Message]) -> str:
        """The shortest name of a request that can't be another's."""
        name = request.NAME.removeprefix(f"{service}_")
        return request.NAME if name in self.takes(service) else name or request.NAME

    def message(self, number: int) -> type[abi.Message] | None:
        for module in self._interfaces:
            if number in module.MESSAGES:
                message: type[abi.Message] = module.MESSAGES[number]
                return message
        return None

    def clash(self, interface: Any) -> str:
        """Why its messages can't be known as well: each number is one message's, here as in the
        kernel, or a rule for one would be read as one for the other. "" if they can."""
        for number, message in interface.MESSAGES.items():
            known = self.message(number)
            if known is not None and known is not message:
                return (
                    f"message {number} is {known.NAME} of {known.__module__} already, and can't be "
                    f"{message.NAME} of {message.__module__} as well"
                )
        return ""

    def covers(self, number: int) -> frozenset[int]:
        """The requests that a capability for this one is for: itself, and what acts only on what
        it made."""
        found = self._covers.get(number)
        if found is None:
            found = self._covers[number] = self._closure(number)
        return found

    def badges(self, service: str) -> tuple[str, ...]:
        """The parameters that capabilities for a service can carry."""
        tables: list[dict[str, tuple[str, ...]]] = [
            getattr(module, "BADGES", {}) for module in self._interfaces
        ]
        known = self.knows(service)
        return tuple(
            {
                badge: None
                for table in tables
                for name, badges in table.items()
                if name == service or not known
                for badge in badges
            }
        )

    def _collect(self, service: str) -> dict[str, type[abi.Message]]:
        if not self.knows(service):
            sent = self._sent()
            return {name: request for name, request in self._requests() if name not in sent}
        names = (
            (module, name)
            for module in self._interfaces
            for name in module.SERVICES.get(service, ())
        )
        # Another file's message can be among them, so all are searched, its own module first.
        found = ((name, self._find(name, (module, *self._interfaces))) for module, name in names)
        return {name: request for name, request in found if request is not None}

    @staticmethod
    def _find(name: str, modules: Iterable[Any]) -> type[abi.Message] | None:
        for module in modules:
            rpc = module.RPCS.get(name)
            request: type[abi.Message] | None = rpc.request if rpc else module.ONEWAYS.get(name)
            if request is not None:
                return request
        return None

    def _requests(self) -> Iterable[tuple[str, type[abi.Message]]]:
        for module in reversed(self._interfaces):  # of two with one name, the first one's counts
            for name in (*module.RPCS, *module.ONEWAYS):
                request = self._find(name, (module,))
                if request is not None and request.TYPE not in module.KERNEL_ONLY:
                    yield name, request

    def _sent(self) -> frozenset[str]:
        """What services send, so that no task can."""
        return frozenset(
            name
            for module in self._interfaces
            for events in module.EVENTS.values()
            for name in events
        )

    def _closure(self, number: int) -> frozenset[int]:
        table = [
            (covered, by)
            for module in self._interfaces
            for covered, by in getattr(module, "COVERED_BY", {}).items()
        ]
        found, new = {number}, {number}
        while new:
            new = {covered for covered, by in table if not new.isdisjoint(by)} - found
            found |= new
        return frozenset(found)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for who wrote a name that isn't known."""
    from difflib import get_close_matches

    names = list(known)
    if near := get_close_matches(name, names, 1):
        return f"did you mean {near[0]!r}?"
    if not names:
        return "there is none"
    return f"there {'is' if len(names) == 1 else 'are'}: {', '.join(names)}"
