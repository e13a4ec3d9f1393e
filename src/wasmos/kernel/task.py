"""Handles on tasks, for the program that owns the kernel.

Law: a handle outlives its task; `exit` tells whether that happened.
"""

from __future__ import annotations

from wasmos import abi
from wasmos.errors import CapabilityDenied, Deadlock, ServiceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wasmos.kernel.denial import Denial
    from wasmos.kernel.exit import Exit
    from wasmos.kernel.grant import Grant
    from wasmos.kernel.kernel import Kernel
    from wasmos.kernel.limits import Limits
    from wasmos.kernel.program import Program
    from wasmos.kernel.timers import Timer

_BLOCKED = ("receiving", "sending", "awaiting reply", "looking up")


class Task:
    """A task: `id`, `name`, the `services` it is, and `exit`, None while it lives."""

    def __init__(self, kernel: Kernel, id: int, name: str) -> None:
        self.kernel = kernel
        self.id = id
        self.name = name
        self.services: list[str] = []
        self.denied: set[str] = set()  # services it looked up in vain
        self.missed: set[str] = set()  # those its adapter looked for in case they are there
        self.denied_by: dict[str, Grant] = {}  # of those: a deny rule, or what has ended
        self.denials: list[Denial] = []  # the first different messages that it was denied
        self.forbidden: list[Grant] = []  # the deny rules that held when it ended
        self.limits: Limits | None = None  # of Wasm tasks
        self.program: Program | None = None  # what one of those is an instance of
        self.priority = 0
        self.exit: Exit | None = None
        self.deadline: Timer | None = None
        self._on_end: list[Callable[[Exit], object]] = []

    def account(self) -> dict[str, Any]:
        """What it is doing (`state`, `peer`) and has used (`cpu_ns`,
        `memory_bytes`, `calls`, `served`, `bytes_sent`, `bytes_received`, …).
        Raises LookupError when it is gone."""
        return self.kernel.account(self.id)

    @property
    def grants(self) -> list[Grant]:
        """What it holds and what it is denied, the oldest first."""
        return self.kernel.authority.of_task(self.id)

    @property
    def left(self) -> list[Grant]:
        """What its former lives held, and somebody else still has from them."""
        return self.kernel.authority.left_of(self.id)

    def kill(self, reason: str = "") -> None:
        """End it now."""
        self.kernel.kill(self, reason)

    def wait(self, *, timeout: float | None = None) -> Exit:
        """Run the kernel until it ends; see `Kernel.wait`."""
        return self.kernel.wait(self, timeout=timeout)

    def when_ended(self, action: Callable[[Exit], object]) -> None:
        """Call `action` with its `Exit`, at once if it has ended."""
        if self.exit is not None:
            action(self.exit)
        else:
            self._on_end.append(action)

    def unwatch(self, action: Callable[[Exit], object]) -> None:
        """End what `when_ended` began."""
        if action in self._on_end:
            self._on_end.remove(action)

    def farewells(self) -> list[Callable[[Exit], object]]:
        """Whom the kernel tells that it is gone."""
        actions, self._on_end = self._on_end, []
        return actions

    @property
    def blocked(self) -> bool:
        """Whether it waits for another task."""
        return self.exit is None and self.account()["state"] in _BLOCKED

    def predicament(self) -> str:
        """What it waits for, in words."""
        account = self.account()
        peer = account["peer"]
        whom = f" {peer} {self.kernel.name_of(peer)!r}" if peer else ""
        return f"task {self.id} {self.name!r} is {account['state']}{whom}"

    def __repr__(self) -> str:
        return f"<Task {self.id} {self.name!r}{'' if self.exit is None else ' ended'}>"


class Client(Task):
    """A task from which Python calls services, one call at a time."""

    def __init__(self, kernel: Kernel, id: int, name: str) -> None:
        super().__init__(kernel, id, name)
        self._result: int | None = None
        self._reply_type = 0
        self.busy = False
        self._done: Callable[[], object] | None = None
        self.on_mail: Callable[[], object] | None = None
        self.when_ended(self._ended)

    def begin(self, service: str, message: abi.Message, done: Callable[[], object]) -> None:
        """Send a request. `done` is called when `finish` has an answer."""
        if self.busy:
            raise ServiceError(abi.ErrorCode.STILL_USED, f"{self.name!r} is in a call already")
        dst = self.kernel.service_id(service)
        self.busy, self._result, self._done = True, None, done
        self._reply_type = message.TYPE + 1  # an rpc's two numbers follow each other
        try:
            result = self.kernel.exchange(self.id, dst, message)
        except BaseException:
            self.busy = False
            raise
        if result is not None:
            self.completed(result)
        self.kernel.kick()

    def completed(self, result: int) -> None:
        """The kernel says that the call is over."""
        self._result = result
        if self._done is not None:
            self._done()

    def _ended(self, _exit: Exit) -> None:
        """Whatever it was to be answered reaches nobody; who waits for that hears of it."""
        if self.busy and self._result is None:
            self.completed(abi.ErrorCode.ABORTED)
        else:
            self._result = abi.ErrorCode.ABORTED

    def finish(self) -> Any:
        """The answer. Raises CapabilityDenied or ServiceError."""
        result, self._result, self.busy = self._result, None, False
        assert result is not None
        reply = self.kernel.answer_to(self.id) if result == 0 else result
        if not isinstance(reply, int):
            if self._reply_type == reply.TYPE:
                return reply
            raise ServiceError(abi.ErrorCode.UNEXPECTED, f"an answer of type {reply.NAME}")
        raise CapabilityDenied(f"{self.name!r}") if reply == -8 else ServiceError(reply)

    def call(self, service: str, message: abi.Message, *, timeout: float | None = None) -> Any:
        """Call a service and wait; see `Kernel.call`. After a TimeoutError, or what else ended
        the wait, this client is spent: the answer would come when nobody waits for it."""
        self.begin(service, message, lambda: None)
        if self._result is None:
            try:
                self._wait(service, timeout)
            except BaseException:
                self.kill("its call was given up")
                raise
        return self.finish()

    def _wait(self, service: str, timeout: float | None) -> None:
        in_time = self.kernel.run(lambda: self._result is not None, timeout=timeout)
        if self._result is None and in_time:
            raise Deadlock(f"{self} waits for {service!r}, and nothing will change that")
        if self._result is None:
            raise TimeoutError(f"no answer from {service!r} after {timeout:g} s")

    def has_mail(self) -> None:
        """The kernel says that a one-way message waits."""
        if self.on_mail is not None:
            self.on_mail()

    def receive(self) -> tuple[int, abi.Message] | None:
        """The oldest one-way message that waits, with its sender's id."""
        raw = self.kernel.take_mail(self.id)
        if raw is None:
            return None
        self.kernel.kick()  # who waits for room in the mailbox wants to know
        return int.from_bytes(raw[4:8], "little", signed=True), self.kernel.decode(raw)
