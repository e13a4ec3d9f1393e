"""Services written in Python.

Law: a service is an object with one method per message. It gets the caller and
the fields, and returns the answer's; it never sees an offset, and holds no
more authority than its task was granted.

    class Pong(wasmos.Service):
        name = "pong"

        def ping(self, caller: wasmos.Caller, value: int) -> int:
            return 42
"""

from __future__ import annotations

from _weakref import ref  # `weakref` takes longer to import

from wasmos import _core, abi
from wasmos.errors import CapabilityDenied, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FunctionType
    from typing import Any, ClassVar

    from wasmos.kernel.grant import Grant
    from wasmos.kernel.kernel import Kernel

_CO_COROUTINE = 0x80  # as in inspect.CO_COROUTINE, which is slow to import


class Service:
    """Base of services written in Python.

    A method named like a message of the IDL handles it. Its parameters are
    `self`, `caller`, and the message's fields by name and in order. It returns
    the reply's only field, a tuple of all of them, an instance of the reply's
    class, or None for an empty reply; one-way messages return nothing. Raise
    `wasmos.ServiceError(code)` to answer with an error. `async def` methods
    let everyone else run meanwhile and are cancelled when their caller ends;
    a plain one that has to wait only sometimes returns a coroutine then.
    """

    name: ClassVar[str] = ""
    # Whether things outside, a socket or a device, can wake its clients: then
    # a kernel where nobody can go on waits for them, instead of saying so.
    hears_outside: ClassVar[bool] = False
    # Requests that the kernel answers itself, unless they come with a badge: of `clock_get`,
    # `clock_resolution` and `random_get`. Their methods are for the rest; a subclass that has
    # one of its own, and doesn't say this again, answers by that alone.
    native: ClassVar[tuple[str, ...]] = ()
    # Where its messages are defined: `wasmos.abi`, or a module that
    # `python -m wasmos.idl own.idl --python own.py` made.
    interface: ClassVar[Any] = abi
    _methods: ClassVar[dict[str, FunctionType]] = {}

    kernel: Kernel
    task: int

    def __init_subclass__(cls) -> None:
        cls._methods = dict(cls._methods)
        if "native" not in vars(cls):
            cls.native = tuple(name for name in cls.native if name not in vars(cls))
        for name, member in vars(cls).items():
            if name in cls.interface.RPCS or name in cls.interface.ONEWAYS:
                _check_signature(cls, name, member)
                cls._methods[name] = member
            elif _looks_like_a_handler(name, member):
                raise UsageError(_misnamed(cls, name))

    def task_ended(self, task: int) -> None:
        """Task `task` is gone: free what it held. Called for every task."""

    def revoked(self, grant: int) -> None:
        """The capability with this number, for this service, is gone: let go of what was
        opened by it."""

    def unheard(self, task: int) -> None:
        """The call of `task` was taken back when its `async def` method had just returned: what
        that said reaches nobody."""

    def holds(self, grant: int) -> bool:  # noqa: ARG002
        """Whether something that was opened by this capability is still there. One that is
        used up can be taken back as long as that is so."""
        return False

    def started(self) -> None:
        """The service is up: `self.kernel` and `self.task` are set."""

    def stopped(self) -> None:
        """The service's task ended, or its kernel closes: let go of things."""


def _looks_like_a_handler(name: str, member: object) -> bool:
    """A public method that wants a `caller` is meant to be called by one."""
    code = getattr(member, "__code__", None)
    return code is not None and name[0] != "_" and code.co_varnames[1:2] == ("caller",)


def _misnamed(cls: type[Service], name: str) -> str:
    import difflib

    known = [*cls.interface.RPCS, *cls.interface.ONEWAYS]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else "helpers begin with an underscore"
    return f"{cls.__name__}.{name}: there is no such message; {hint}"


def request_of(interface: Any, name: str) -> type[abi.Message]:
    """The class of the message that a method called `name` handles."""
    rpc = interface.RPCS.get(name)
    request: type[abi.Message] = interface.ONEWAYS[name] if rpc is None else rpc.request
    return request


def _check_signature(cls: type[Service], name: str, method: FunctionType) -> None:
    code = getattr(method, "__code__", None)
    if code is None:
        raise UsageError(f"{cls.__name__}.{name} must be a plain method")
    wanted = ("self", "caller", *(field.name for field in request_of(cls.interface, name).FIELDS))
    found = code.co_varnames[: code.co_argcount]
    if found != wanted:
        raise UsageError(
            f"{cls.__name__}.{name}({', '.join(found)}) should be {name}({', '.join(wanted)})"
        )


def handlers(service: Service, core: _core.Core) -> dict[int, _core.Handler]:
    """The kernel's table for a service: message type → handler."""
    table: dict[int, _core.Handler] = {}
    for name, function in service._methods.items():
        rpc = service.interface.RPCS.get(name)
        request = core.layout(request_of(service.interface, name).TYPE)
        reply = None if rpc is None else core.layout(rpc.reply.TYPE)
        assert request is not None
        is_async = bool(function.__code__.co_flags & _CO_COROUTINE)
        if is_async and reply is None:
            raise UsageError(f"{type(service).__name__}.{name} is one-way: make it a plain method")
        table[request.type] = _core.Handler(getattr(service, name), request, reply, is_async)
    return table


class Caller:
    """A task as a service sees it: who it is, by what right it calls, and a way to
    write to it. No authority over the task is in here.

    grant: the number of the capability that admitted the message.
    badge: what that means here, as names and texts; empty if nothing was said.
    """

    __slots__ = ("_kernel", "badge", "grant", "id", "name")

    def __init__(
        self, kernel: Kernel, id: int, name: str, grant: int = 0,
        badge: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        # Weak: the kernel's core keeps callers where no collector can see it.
        self._kernel = ref(kernel)
        self.id = id
        self.name = name
        self.grant = grant
        self.badge = badge or {}

    def grants(self) -> list[Grant]:
        """Every capability of the caller's that admits this very message, the oldest
        first. While it awaits the answer; afterwards nothing, or what admits the next."""
        kernel = self._kernel()
        if kernel is None or kernel.is_over(self.id) or not self._awaits(kernel):
            return []
        found = [kernel.find_grant(id) for id in kernel.admitting(self.id)]
        return [grant for grant in found if grant is not None]

    def _awaits(self, kernel: Kernel) -> bool:
        """Whether the call that it has under way is to what its capability is for."""
        grant = kernel.find_grant(self.grant)
        service = kernel.find(kernel.account(self.id)["peer"] or 0)
        if grant is None or service is None:
            return False
        return grant.rule.service in ("*", *service.services)

    @property
    def alive(self) -> bool:
        kernel = self._kernel()
        return kernel is not None and kernel.find(self.id) is not None

    def act_by(self, grant: int) -> None:
        """The service does what is asked by this one of `grants()`, which costs it a use if
        the kernel admitted the message by another. Raises CapabilityDenied if it has none."""
        kernel = self._kernel()
        if grant != self.grant and kernel is not None and not kernel.act_by(grant):
            raise CapabilityDenied("what grants it is used up")

    def notify(self, service: Service, message: abi.Message) -> bool:
        """Send a one-way message from `service`. False if it can't be taken
        now because the mailbox is full; `Kernel.when_room` tells when. True
        also when it never can: the task is gone or holds no capability."""
        kernel = self._kernel()
        return kernel is None or kernel.notify(service.task, self.id, message)

    def __repr__(self) -> str:
        return f"<Caller {self.id} {self.name!r}>"
