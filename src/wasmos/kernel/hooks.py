"""What the core asks of Python, and tells it.

Law: each method here is called by `_core.Core`, on the thread's own stack, with no guest running;
what goes wrong in whoever is told is logged and ends nothing.
"""

from __future__ import annotations

from wasmos import _core, abi
from wasmos.errors import ServiceError
from wasmos.kernel.exit import Exit, started_not, whose
from wasmos.kernel.invocation import value_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections import OrderedDict
    from collections.abc import Callable, Coroutine
    from typing import Any, TypeAlias

    from wasmos.kernel.authority import Authority
    from wasmos.kernel.denial import Denial
    from wasmos.kernel.names import ServiceNames
    from wasmos.kernel.service import Service
    from wasmos.kernel.task import Client, Task
    from wasmos.kernel.timers import Timers

    # Who is asked before a task is denied something: True to look again, None to answer later.
    Ask: TypeAlias = Callable[[Denial], bool | None]

RECORDS_NS = 50_000_000  # so long may admitted messages wait to be told to who audits
REMEMBERED = 4096  # ended tasks whose names and exits are still known
MAX_DENIED = 64  # names that are remembered of a task's denied lookups


class Hooks(_core.Core):
    """The core, with its hooks given their meaning. `Kernel` is made of it."""

    names: ServiceNames
    authority: Authority
    quiet_timers: Timers
    closed: bool
    _tasks: dict[int, Task]
    _services: dict[int, Service]
    _clients: dict[int, Client]
    _kill_reasons: dict[int, tuple[str, str]]
    _coroutines: dict[tuple[int, int], tuple[int, asyncio.Task[Any]]]
    _room_wanted: dict[Callable[[], object], None]
    _watchers: list[Callable[[Exit], object]]
    _remembered: OrderedDict[int, str]
    _asks: dict[int, Ask]

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        raise NotImplementedError

    def name_of(self, id: int) -> str:
        raise NotImplementedError

    # --- names ---

    def _lookup(self, id: int, name: str, quietly: bool) -> int | None:
        """A guest's `ipc_lookup`: refused, answered, or left waiting."""
        result = self.names.look_up(id, name, quietly)
        task = self._tasks[id]
        if result != abi.ErrorCode.NOT_ALLOWED:
            return result
        if id in self._asks and name in self.names.tasks:
            return self.names.tasks[name]  # a name is no right: asked is when it is used
        if quietly:
            if len(task.missed) < MAX_DENIED:
                task.missed.add(name)
        else:
            report = self.authority.report
            is_new = name not in task.denied and len(task.denied) < MAX_DENIED
            why = report.hidden_by(task, name) if is_new or report.sinks else None
            if is_new:
                task.denied.add(name)
                if why is not None:
                    task.denied_by[name] = why
            report.lookup_denied(task, name, why)
        return result

    # --- calls of services ---

    def _spawned_async(
        self,
        service: int,
        client: int,
        serial: int,
        handler: _core.Handler,
        coroutine: Coroutine[Any, Any, Any],
    ) -> None:
        task = self.start(coroutine)
        self._coroutines[client, serial] = service, task
        task.add_done_callback(
            lambda done: self._async_done(service, client, serial, handler, done)
        )

    def _async_done(
        self,
        service: int,
        client: int,
        serial: int,
        handler: _core.Handler,
        done: asyncio.Task[Any],
    ) -> None:
        self._coroutines.pop((client, serial), None)
        if self.closed:
            return
        if done.cancelled():
            self.answer_error(service, client, serial, handler, ServiceError(abi.ErrorCode.ABORTED))
        elif (error := done.exception()) is not None:
            self.answer_error(service, client, serial, handler, error)
        else:
            self.answer(service, client, serial, handler, done.result())

    def _completed(self, id: int, result: int) -> None:
        self._clients[id].completed(result)

    def _mail(self, id: int) -> None:
        self._clients[id].has_mail()

    def _spent(self, ids: list[int]) -> None:
        self.authority.spent(ids)

    def _recorded(self, rows: list[tuple[Any, ...]], lost: int) -> None:
        self.authority.report.recorded(rows, lost)

    def _records_later(self) -> None:
        self.quiet_timers.add(self.now_ns + RECORDS_NS, self.take_records)

    def _asked(self, id: int, dst: int) -> bool | None:
        ask = self._asks.get(id)
        if ask is None:
            return False
        service, type, cause, cap, data = self.asked(id)
        return ask(self.authority.report.make_denial(id, dst, service, type, cause, cap, data))

    def _aborted(self, service: int, client: int, serial: int) -> None:
        found = self._coroutines.get((client, serial))
        if found is not None and not found[1].cancel() and service in self._services:
            self.tell_one(self._services[service].unheard, client)

    def _refused(
        self, service: int, client: int, handler: _core.Handler, error: BaseException
    ) -> None:
        assert isinstance(error, ServiceError)
        self.authority.report.refused(service, client, handler.request.cls, error)

    def _failed(
        self, service: int, client: int, handler: _core.Handler, error: BaseException
    ) -> None:
        import logging

        logging.getLogger("wasmos").error(
            "service %r failed on %s from task %d %r",
            self.name_of(service),
            handler.request.cls.__name__,
            client,
            self.name_of(client),
            exc_info=error,
        )

    def _room(self) -> None:
        wanted, self._room_wanted = self._room_wanted, {}
        for action in wanted:
            self.tell_one(action)

    def _exited(
        self,
        id: int,
        cause: str,
        code: int | None,
        message: str,
        frames: list[Any],
        cpu_ns: int,
        results: list[tuple[int, int]] | None,
        memory_bytes: int,
    ) -> None:
        task = self._tasks.pop(id)
        self._remembered[id] = task.name
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        if id in self._kill_reasons:
            cause, message = self._kill_reasons.pop(id)
        if task.deadline is not None:
            task.deadline.cancel()
        self.names.forget(id, task.services)
        task.forbidden = [grant for grant in task.grants if grant.deny]
        self.authority.holder_ended(id)
        self._clients.pop(id, None)
        self._asks.pop(id, None)
        for (client, _), (service_id, coroutine) in list(self._coroutines.items()):
            if id in (client, service_id):
                coroutine.cancel()
        task.exit = Exit(
            id,
            task.name,
            cause,
            code,
            started_not(message) if cause == "refused" else message,
            whose(frames, task.program) if frames else (),
            cpu_ns / 1e9,
            task.program,
            None if results is None else tuple(value_of(*result) for result in results),
            memory_bytes,
            0 if task.limits is None else task.limits.memory_bytes,
        )
        if self.authority.report.sinks:
            more: dict[str, Any] = {"backtrace": task.exit.backtrace} if task.exit.backtrace else {}
            self.authority.report.task("exit", task, reason=str(task.exit), **more)
        if (ended := self._services.pop(id, None)) is not None:
            self.tell_one(ended.stopped)
        for service in list(self._services.values()):
            self.tell_one(service.task_ended, id)
        # Nothing is open any more: of this task, or of all for whom this service had something.
        self.authority.sweep(everything=ended is not None)
        for watcher in list(self._watchers):
            self.tell_one(watcher, task.exit)
        for action in task.farewells():
            self.tell_one(action, task.exit)

    def tell_one(self, action: Callable[..., object], *news: object) -> None:
        """Tell one of many: what goes wrong there is no reason not to tell the
        next."""
        try:
            action(*news)
        except Exception:
            import logging

            logging.getLogger("wasmos").exception("%r failed, and was passed over", action)
