"""Vm: names, tasks and their lives. It is task 1, so nobody has to look it up.

Law: asking it gives a task no authority that nobody gave it. A lookup needs a capability for what
is looked up; what a task passes on is part of what it holds; and only a task's ancestors, itself,
or whom the host trusts can end it.
"""

from __future__ import annotations

import errno
from collections import deque

from wasmos.abi import ErrorCode, TaskDestroyed
from wasmos.errors import (
    CapabilityDenied,
    CompileLimitExceeded,
    ModuleRefused,
    RuleError,
    ServiceError,
    UsageError,
)
from wasmos.kernel import ALL, Caller, Grant, Rule, Service, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MAX_TASKS = 256
MAX_NAMES = 16
MAX_LENT_BYTES = 1024  # what fits an answer
MAX_RULE_BYTES = 1023  # what fits a message, with a NUL after it
MAX_UNTOLD = 4096  # ends that a watcher's mailbox had no room for
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)  # what the host is, of something


class Vm(Service):
    """The server behind task 1.

    spawn: makes a task from a program's name, the task that asks for it, and the rules it
        names, None for what the host decides; it gives no right that the asking task hasn't.
        Others go on meanwhile. May raise LookupError for an unknown name, OSError for a file that
        can't be read, ModuleRefused, ServiceError. Without it nothing can be spawned.
    may_destroy: whether a caller may end a task that neither is itself nor descends from it.
    may_register: whether a caller may become the service of a name; without it, everyone may.
    max_tasks: how many tasks that were spawned through this server may live at once.
    max_names: how many services one task may be.
    """

    name = "vm"

    def __init__(
        self,
        spawn: Callable[[str, Caller, list[Rule] | None], Awaitable[Task]] | None = None,
        *,
        may_destroy: Callable[[Caller, int], bool] | None = None,
        may_register: Callable[[Caller, str], bool] | None = None,
        max_tasks: int = MAX_TASKS,
        max_names: int = MAX_NAMES,
    ) -> None:
        self._spawn = spawn
        self._may_destroy = may_destroy
        self._may_register = may_register
        self._max_tasks = max_tasks
        self._max_names = max_names
        # Live task → the nearest of its ancestors that lives, 0 if none does.
        self._parents: dict[int, int] = {}
        self._spawning = 0  # tasks that count already, and aren't there yet
        self._watchers: dict[int, _Watcher] = {}  # by its task

    def ping(self, caller: Caller, value: int) -> int:  # noqa: ARG002
        return value

    # --- names ---

    async def service_lookup(self, caller: Caller, name: str) -> int:
        while True:
            # Again after each wait: the right may have been taken back meanwhile.
            self._check_lookup(caller, name)
            try:
                return self.kernel.service_id(name)
            except LookupError:
                await self.kernel.registered(name)

    def _check_lookup(self, caller: Caller, name: str) -> None:
        if not name:
            raise ServiceError(ErrorCode.INVALID_ARG)
        if not caller.alive or not self.kernel.may_look_up(caller.id, name):
            raise CapabilityDenied(name)

    def service_register(self, caller: Caller, name: str) -> None:
        task = self.kernel.find(caller.id)
        if task is None:
            return
        if name == ALL or not name.isprintable():
            raise ServiceError(ErrorCode.INVALID_ARG)
        if name in self.kernel.services:
            raise ServiceError(ErrorCode.ALREADY_EXISTS, name)
        if self._may_register is not None and not self._may_register(caller, name):
            raise CapabilityDenied(name)
        if len(task.services) >= self._max_names:
            raise ServiceError(ErrorCode.NO_RESOURCES)
        try:
            self.kernel.register(task, name)
        except UsageError as error:
            raise ServiceError(ErrorCode.INVALID_ARG, str(error)) from None

    # --- lives ---

    async def spawn_task(self, caller: Caller, name: str) -> int:
        return await self._spawned(caller, name, None)

    async def spawn_granted(self, caller: Caller, name: str, rules: str) -> int:
        try:
            lines = [line for line in rules.split("\n") if line.strip()]
            wanted = [self.kernel.parse_rule_of_task(line) for line in lines]
            self.kernel.check_passes_on(self._task(caller), wanted)
        except RuleError as error:
            raise ServiceError(ErrorCode.INVALID_ARG, str(error)) from None
        except UsageError as error:
            raise ServiceError(ErrorCode.NO_RESOURCES, str(error)) from None
        return await self._spawned(caller, name, wanted)

    async def _spawned(self, caller: Caller, name: str, rules: list[Rule] | None) -> int:
        if self._spawn is None:
            raise ServiceError(ErrorCode.NOT_SUPPORTED)
        if len(self._parents) + self._spawning >= self._max_tasks:
            raise ServiceError(ErrorCode.TOO_MANY_TASKS)
        self._spawning += 1
        try:
            task = await self._spawn(name, caller, rules)
        except LookupError:
            raise ServiceError(ErrorCode.NOT_FOUND, name) from None
        except (ModuleRefused, OSError) as error:
            raise _refusal(name, caller, error) from None
        except UsageError as error:  # what it passes on would be passed on too often
            raise ServiceError(ErrorCode.NO_RESOURCES, str(error)) from None
        finally:
            self._spawning -= 1
        # It may have ended already: then nobody is left to remember.
        if not self.kernel.is_over(task.id):
            self._parents[task.id] = caller.id
        return task.id

    def _task(self, caller: Caller) -> Task:
        task = self.kernel.find(caller.id)
        if task is None:
            raise ServiceError(ErrorCode.ABORTED)
        return task

    def destroy_task(self, caller: Caller, task: int) -> None:
        if self.kernel.is_over(task):
            return
        if not self._may_end(caller, task):
            raise CapabilityDenied(f"destroy_task({task})")
        self.kernel.kill(task, f"destroyed by task {caller.id} {caller.name!r}")

    def _may_end(self, caller: Caller, task: int) -> bool:
        # The host's own tasks are not a guest's to end, whoever trusts it.
        if self._is_the_hosts(task):
            return False
        if task == caller.id or self._descends(task, caller.id):
            return True
        return self._may_destroy is not None and self._may_destroy(caller, task)

    def _descends(self, task: int, ancestor: int) -> bool:
        while task in self._parents:
            task = self._parents[task]
            if task == ancestor:
                return True
        return False

    def task_ended(self, task: int) -> None:
        heir = self._parents.pop(task, 0)
        for child, parent in self._parents.items():
            if parent == task:
                self._parents[child] = heir
        self._watchers.pop(task, None)
        for id, watcher in list(self._watchers.items()):
            watcher.ends.append(task)
            if len(watcher.ends) > MAX_UNTOLD:  # it doesn't listen: it is no watcher any more
                del self._watchers[id]
        self._tell_watchers()

    def stopped(self) -> None:
        self._watchers.clear()

    # --- capabilities ---

    def cap_get(self, caller: Caller, index: int) -> tuple[int, str]:
        held = [grant for grant in self._task(caller).grants if not grant.deny]
        if not 0 <= index < len(held):
            raise ServiceError(ErrorCode.EOF)
        rule = str(held[index].rule.bare)  # what it stands for on the host is no task's business
        if len(rule.encode("utf-8", "surrogateescape")) > MAX_RULE_BYTES:
            raise ServiceError(ErrorCode.TOO_LARGE)
        return held[index].id, rule

    def cap_grant(self, caller: Caller, task: int, rule: str) -> int:
        receiver = self.kernel.find(task)
        if receiver is None or task == caller.id or self._is_the_hosts(task):
            raise ServiceError(ErrorCode.INVALID_TASK)
        # To a stranger it is an offer: what it never asked for can't get in its way.
        offer = not self._descends(task, caller.id)
        try:
            return self.kernel.pass_on(self._task(caller), receiver, rule, offer=offer).id
        except RuleError as error:
            raise ServiceError(ErrorCode.INVALID_ARG, str(error)) from None
        except UsageError as error:  # too many, or too deep
            raise ServiceError(ErrorCode.NO_RESOURCES, str(error)) from None

    def cap_accept(self, caller: Caller, cap: int) -> None:
        try:
            self.kernel.accept(self._task(caller), cap)
        except LookupError as error:
            raise ServiceError(ErrorCode.NOT_FOUND, str(error)) from None
        except UsageError as error:
            raise ServiceError(ErrorCode.NO_RESOURCES, str(error)) from None

    def cap_revoke(self, caller: Caller, cap: int) -> None:
        grant = self.kernel.find_grant(cap)
        # Its own, and what came of what it passed on. Anything else is nothing to it; nor is what
        # is over: that was ended by somebody else, or before.
        if grant is None or grant.is_over or grant.deny or not self._may_revoke(caller, grant):
            raise ServiceError(ErrorCode.NOT_FOUND)
        grant.revoke()

    def _may_revoke(self, caller: Caller, grant: Grant) -> bool:
        at: Grant | None = grant
        while at is not None:
            if caller.id == at.by or (caller.id == at.holder and at.state != "left"):
                return True
            at = at.parent
        return False

    def cap_badge(self, caller: Caller, task: int) -> tuple[int, str]:
        if self.kernel.is_over(task) or self.kernel.account(task)["peer"] != caller.id:
            raise ServiceError(ErrorCode.NOT_FOUND)
        grant = self.kernel.find_grant(self.kernel.capability_under_way(task))
        if grant is None or self.kernel.account(task)["state"] != "awaiting reply":
            raise ServiceError(ErrorCode.NOT_FOUND)
        badge = grant.shown_badge
        if len(badge.encode("utf-8", "surrogateescape")) > MAX_RULE_BYTES:
            raise ServiceError(ErrorCode.TOO_LARGE)
        return grant.id, badge

    def lent_read(self, caller: Caller, task: int, offset: int, len: int) -> bytes:  # noqa: A002
        data = self.kernel.read_lent(task, caller.id, offset, min(len, MAX_LENT_BYTES))
        if data is None:
            raise ServiceError(ErrorCode.NOT_FOUND)
        return data

    def lent_write(self, caller: Caller, task: int, offset: int, data: bytes) -> None:
        try:
            written = self.kernel.write_lent(task, caller.id, offset, data)
        except BufferError:
            raise ServiceError(ErrorCode.NOT_ALLOWED, "it was lent to be read") from None
        if written is None:
            raise ServiceError(ErrorCode.NOT_FOUND)
        if written < data.__len__():
            raise ServiceError(ErrorCode.TOO_LARGE)

    def _is_the_hosts(self, task: int) -> bool:
        return self.kernel.account(task)["kind"] in ("service", "host")

    # --- watching ---

    def watch_tasks(self, caller: Caller) -> None:
        if caller.alive:
            watcher = self._watchers.setdefault(caller.id, _Watcher(caller))
            watcher.grants.add(caller.grant)

    def _tell_watchers(self) -> None:
        """Send what can be sent; the rest when there is room."""
        for watcher in self._watchers.values():
            ends = watcher.ends
            while ends and watcher.caller.notify(self, TaskDestroyed(ends[0])):
                ends.popleft()
            if ends:
                self.kernel.when_room(self._tell_watchers)

    def revoked(self, grant: int) -> None:
        """Who has asked to watch by this grant and no other is told of no more ends."""
        for id, watcher in list(self._watchers.items()):
            watcher.grants.discard(grant)
            if not watcher.grants:
                del self._watchers[id]

    def holds(self, grant: int) -> bool:
        return any(grant in watcher.grants for watcher in self._watchers.values())


class _Watcher:
    """Who watches, by which grants, and the ends that its mailbox had no room for yet."""

    __slots__ = ("caller", "ends", "grants")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.ends: deque[int] = deque()
        self.grants: set[int] = set()


def _refusal(name: str, caller: Caller, error: ModuleRefused | OSError) -> ServiceError:
    import logging

    logging.getLogger("wasmos").warning(
        "task %d %r can't have %r spawned: %s", caller.id, caller.name, name, error
    )
    if isinstance(error, CompileLimitExceeded) or getattr(error, "errno", 0) in _SHORT:
        return ServiceError(ErrorCode.NO_RESOURCES, str(error))
    is_there = isinstance(error, ModuleRefused)
    return ServiceError(ErrorCode.INVALID_ARG if is_there else ErrorCode.NOT_FOUND, str(error))
