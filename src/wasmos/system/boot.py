"""Booting: from a manifest to a running system, and its orderly end.

Law: boot is the flat list of steps in `System.boot`; a step that fails ends the
boot with a message that says which, and takes down what came up before. A task
gets what the policy made of its plan, and each of its lives no more than that.
"""

from __future__ import annotations

import asyncio
import os

from wasmos.abi import ServiceRegister
from wasmos.errors import CapabilityDenied, ManifestError, ModuleRefused, UsageError, WasmosError
from wasmos.kernel import Rule
from wasmos.kernel.aio import AsyncKernel
from wasmos.system import outfit
from wasmos.system.manifest.manifest import DEMO, TaskPlan, registers
from wasmos.system.offer import Offer
from wasmos.system.policy.edit import heading
from wasmos.system.policy.rights import Right
from wasmos.system.programs import Programs
from wasmos.system.supervisor import Lives

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from wasmos.kernel import Cache, Caller, Client, Exit, Grant, Progress, Service, Task
    from wasmos.servers.fs import Image
    from wasmos.system.audit import Recorder
    from wasmos.system.manifest.manifest import Manifest

MAX_TRACES = 16  # backtraces that are still to be read; who fails more often was shown before
TRACES_SECONDS = 2.0  # for those, when the system goes down


class System:
    """A system that was described by a manifest.

    output, input: the console, as binary streams. Input reaches the program in
        the foreground, and nobody else.
    log: takes a line of the boot log.
    audit: a file to write down what is asked and decided, `audit_calls` every message.
    cache, progress: as `Kernel` takes them.
    `on_task`, once set, is called with each program's task, when it has its rights.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        output: BinaryIO,
        input: BinaryIO | None = None,  # noqa: A002 - as in subprocess
        log: Callable[[str], object] = lambda _: None,
        audit: str | os.PathLike[str] | None = None,
        audit_calls: bool = False,
        cache: bool | Cache = True,
        progress: Progress | None = None,
    ) -> None:
        self.manifest = manifest
        self.programs = Programs(manifest.programs)
        self.aio = AsyncKernel(personalities=outfit.personalities(), cache=cache, progress=progress)
        self.foreground: Task | None = None
        self.is_up = False
        self.on_task: Callable[[Task], object] = lambda _: None
        self._log = log
        self._output = output
        self._input = input
        self._image: Image | None = None
        self._audit = audit
        self._audit_calls = audit_calls
        self._book: Recorder | None = None
        self._plans: dict[int, str] = {}  # task → its section of the manifest
        self._owners = _owners(manifest)
        self._arguments: dict[int, list[str]] = {}
        self._variables: dict[int, dict[str, str]] = {}
        self._supervised: dict[str, _Supervised] = {}  # by the section's name
        self._operators: set[int] = set()
        self._followed: dict[int, Callable[[], object]] = {}  # task → call when it is a service
        self._tracing = asyncio.Lock()
        self._traces: set[asyncio.Task[None]] = set()

    async def boot(self) -> None:
        """Bring everything up. Raises WasmosError, and then nothing is up."""
        self._find_modules()  # files first: what isn't there is found before anything runs
        self._load_image()
        await self.aio.__aenter__()
        self.kernel = self.aio.sync
        self.offer = Offer(self.kernel, self.manifest.own_services, others=self.manifest.services)
        self.kernel.watch(self._ended)  # from here on, ends are reported
        try:
            self._begin_audit()  # before anybody has a right
            self._serve()  # servers, in the manifest's order
            for plan in self.manifest.tasks.values():  # programs, likewise
                await self._launch(plan)
        except BaseException:
            self.kernel.unwatch(self._ended)  # why it fails is what to say, not who ends by it
            await self._close()
            raise
        self.is_up = True
        self._log(f"{self.manifest.name} is up: {len(self.kernel.tasks)} tasks")

    def operator(self, name: str) -> Client:
        """A client for a hand of the operator's, whom no rules for guests hold."""
        client = self.kernel.client(name)
        self._operators.add(client.id)
        return client

    async def start(self, name: str, arguments: list[str]) -> Task:
        """Start a program by name, as a section of the manifest says, or as
        [spawn] does. Raises LookupError, ModuleRefused, UsageError."""
        arguments = outfit.words(arguments)
        plan = self._plan_of(name)
        supervised = self._supervised.get(name)
        if supervised is None or supervised.task is not None:
            return await self._spawn(plan, arguments or plan.args)
        supervised.begin_anew()  # it is down, and somebody wants it up: this is its next life
        return await self._live(supervised, arguments or plan.args)

    def _plan_of(self, name: str) -> TaskPlan:
        plan = self.manifest.tasks.get(name)
        return self.manifest.spawn.named(name) if plan is None else plan

    def has_for(self, task: Task, service: str) -> bool:
        """Whether a server has something for a task: it may have been started with no arguments,
        or no variables."""
        given = {
            "args": len(self._arguments.get(task.id, ())) > 1,  # its name comes first
            "env": bool(self._variables.get(task.id)),
        }
        return given.get(service, True)

    async def follow(self, task: Task) -> Exit | None:
        """Have a task in the foreground until it ends, or turns out to be a
        service, which never would: then None."""
        loop = asyncio.get_running_loop()
        registered: asyncio.Future[None] = loop.create_future()
        ended = loop.create_task(self.aio.wait(task))
        self.foreground = task
        # Called just before the name is the task's.
        self._followed[task.id] = lambda: loop.call_soon(registered.cancel)
        try:
            await asyncio.wait((ended, registered), return_when=asyncio.FIRST_COMPLETED)
            return ended.result() if ended.done() else None
        finally:
            ended.cancel()
            registered.cancel()
            self.foreground = None
            del self._followed[task.id]

    async def trace(self, exit: Exit) -> list[str]:
        """The lines that say where a task was when it failed. What a program says about its own
        functions can take seconds to read, so that is done in a thread; one after the other, for
        what was read of a program is kept."""
        # All of it here: on a busy system a thread that imports waits for its turn again and again.
        from wasmos.system.backtrace import symbols, trace  # noqa: F401

        async with self._tracing:
            return await asyncio.to_thread(trace, exit)

    async def shutdown(self) -> None:
        """End all tasks, then save what is to be kept."""
        self.is_up = False
        self.kernel.unwatch(self._ended)
        if self._traces:  # while the kernel has the programs
            _, late = await asyncio.wait(self._traces, timeout=TRACES_SECONDS)
            for each in late:
                each.cancel()
        for supervised in self._supervised.values():
            supervised.end()
        try:
            await self._close()
        finally:
            if self._image is not None and self.manifest.fs_save is not None:
                outfit.save_image(self._image, self.manifest.fs_save)
                self._log(f"fs: saved to {self.manifest.fs_save}")

    async def _close(self) -> None:
        try:
            await self.aio.close()
        finally:
            if self._book is not None:  # it has everybody's end now
                self._book.close()

    # --- steps ---

    def _begin_audit(self) -> None:
        if self._audit is not None:
            self._book = outfit.audit(self.kernel, self._audit, calls=self._audit_calls)

    def _find_modules(self) -> None:
        for folder in self.programs.missing if self.manifest.path != DEMO else ():
            self._log(f"programs: there is no directory {folder}")
        self.programs.find(self.manifest)

    def _load_image(self) -> None:
        manifest = self.manifest
        if "fs" not in manifest.servers:
            return
        self._image = outfit.make_image()
        load, save = manifest.fs_load, manifest.fs_save
        if save is not None:
            self._check_save(save, load)
        if load is not None and load == save and not os.path.exists(load):
            self._log(f"fs: {load} is not there yet")  # the first time
        elif load is not None:
            try:
                notes = outfit.load_image(self._image, load)
            except UsageError as error:
                raise self._wrong("fs", "load", str(error)) from None
            for note in notes:
                if load == save:
                    raise self._wrong("fs", "save", f"save would lose {note}")
                self._log(f"fs: left out {note}")
        try:
            outfit.add_files(self._image, manifest.fs_files)
        except UsageError as error:
            raise self._wrong("fs", "files", str(error)) from None

    def _check_save(self, save: str, load: str | None) -> None:
        """Now, and not when there is something to lose."""
        folder = os.path.dirname(save.rstrip(os.sep))
        if not os.path.isdir(folder):
            raise self._wrong("fs", "save", f"save: there is no directory {folder}; make it")
        if outfit.would_lose(save, load):
            raise self._wrong(
                "fs", "save",
                f"save would replace what is in {save}; "
                "choose an empty directory, or the one that load names",
            )  # fmt: skip

    def _serve(self) -> None:
        manifest = self.manifest
        makers: dict[str, Callable[[], Service]] = {
            "vm": lambda: outfit.vm(self._spawned_by_task, self._registers, self._gave_up),
            "console": lambda: outfit.console(self._output, self._input, self._is_foreground),
            "args": lambda: outfit.args(self._arguments),
            "env": lambda: outfit.env(self._variables),
            "clock": outfit.clock,
            "random": outfit.random,
            "echo": outfit.echo,
            "pong": outfit.pong,
            "fs": lambda: outfit.fs(self._image, manifest.fs_max_open_files),
            "tcpip": lambda: outfit.tcpip(
                manifest.listen, manifest.connect, self._log, self._is_operator
            ),
        }
        for name in manifest.servers:
            try:
                task = self.kernel.serve(makers[name]())
            except UsageError as error:
                raise self._wrong(name, "listen", str(error)) from None
            self._log(f"task {task.id:2} {name}")

    async def _launch(self, plan: TaskPlan) -> None:
        where = f"{self.manifest.where('task', plan.name, 'module')}: {heading('task', plan.name)}"
        supervised = None
        if plan.restart.mode != "never":
            supervised = self._supervised[plan.name] = _Supervised(plan)
        try:
            if supervised is None:
                task = await self._spawn(plan, plan.args)
            else:
                task = await self._live(supervised, plan.args)
        except ModuleRefused as error:
            error.args = (f"{where} {error}",)
            raise
        except OSError as error:
            problem = (error.strerror or str(error)).lower()
            raise ManifestError(f"{where} {error.filename}: {problem}") from None
        except (LookupError, WasmosError) as error:
            raise ManifestError(f"{where} {error}") from None
        allowed = ", ".join(str(right.rule) for right in plan.allow) or "nothing"
        denied = ", ".join(str(right.rule) for right in plan.deny)
        denied = denied and f", but not {denied}"
        self._log(f"task {task.id:2} {plan.name} (may use {allowed}{denied})")

    def _wrong(self, section: str, key: str, problem: str) -> ManifestError:
        return ManifestError(f"{self.manifest.where(section, key)}: {problem}")

    async def _spawn(
        self,
        plan: TaskPlan,
        arguments: list[str],
        parent: Task | None = None,
        supervised: _Supervised | None = None,
    ) -> Task:
        path = plan.path or self.programs.path(plan.module)
        program = await self.aio.load(
            path, limits=plan.limits, trusted=self.programs.packaged(path)
        )
        # A passive service is of no use without a name.
        passive = program.shape.kind == "passive"
        service = plan.service or (plan.name if passive else None)
        if parent is not None and service is not None and not self._may_name(parent, service):
            raise CapabilityDenied(f"{plan.name} would be the service {service}")
        outfit.check_lengths(program.shape.dialect, arguments)
        own = self._own(plan, arguments)
        rules: list[Rule | str] = [*(right.rule for right in plan.allow), *own]
        task = self.kernel.spawn(
            program,
            name=plan.name,
            parent=parent,
            allow=() if parent is None else rules,
            limits=plan.limits,
            priority=plan.priority,
            service=service,
        )
        if task.exit is None:
            self._arguments[task.id] = [outfit.argv0(program, path, plan.name), *arguments]
            self._variables[task.id] = plan.env
            if parent is None and plan.name in self.manifest.tasks:
                self._plans[task.id] = plan.name
            # It runs when the kernel does, so not before it has all this.
            self._forbid(task, plan, supervised)
            if parent is None:
                self._empower(task, plan, own, supervised)
            self.on_task(task)
        return task

    def _own(self, plan: TaskPlan, arguments: list[str]) -> list[str]:
        """The services for what a task was started with, which is its own: no policy has to say
        so."""
        given = {"args": bool(arguments), "env": bool(plan.env)}
        return [name for name in given if given[name] and name in self.manifest.servers]

    def _forbid(self, task: Task, plan: TaskPlan, supervised: _Supervised | None) -> None:
        """Deny a task what the policy says, and what was denied to its last life by hand."""
        if supervised is not None:
            if supervised.last is not None:
                self.kernel.succeed(task, supervised.last)
            supervised.last = task
        denied = [(str(grant.rule), grant.origin) for grant in task.grants if grant.deny]
        for right in plan.deny:
            if (str(right.rule), right.origin) not in denied:
                self.kernel.deny(task, right.rule, origin=right.origin)

    def _empower(
        self, task: Task, plan: TaskPlan, own: list[str], supervised: _Supervised | None
    ) -> None:
        """Give a task what the policy says, less what the ends of its earlier lives tell."""
        grant, now_ns = self.kernel.grant, self.kernel.now_ns
        for name in own:
            grant(task, name, origin=f"its {name}")
        for right in plan.allow:
            if supervised is None:
                grant(task, right.rule, origin=right.origin)
            elif not supervised.is_withheld(right):
                seconds = supervised.seconds_left(right, now_ns)
                made = grant(task, right.rule, origin=right.origin, seconds=seconds)
                supervised.granted(right, made)

    # --- lives ---

    async def _live(self, supervised: _Supervised, arguments: list[str]) -> Task:
        """A life of a supervised task."""
        task = await self._spawn(supervised.plan, arguments, supervised=supervised)
        supervised.live(task, self.kernel.uptime)
        if task.exit is not None:
            self._goes_on(supervised, task.exit)
        return task

    def _goes_on(self, supervised: _Supervised, exit: Exit | None) -> None:
        """A supervised task is down: start it again, by and by, if that is what it is for."""
        name, lives = supervised.plan.name, supervised.lives
        delay = supervised.die(self.kernel.uptime, exit)
        if delay is not None:
            self._log(f"{name}: starts again in {_shown(delay)}")
            timer = self.kernel.call_later(delay, lambda: self._revive_soon(supervised))
            supervised.cancel = timer.cancel
        elif lives.given_up:
            count = lives.restart.max_restarts
            self._log(f"{name}: given up after {count} restarts; `start {name}` tries again")

    def _revive_soon(self, supervised: _Supervised) -> None:
        reviving = asyncio.ensure_future(self._revive(supervised))
        supervised.cancel = reviving.cancel

    async def _revive(self, supervised: _Supervised) -> None:
        plan = supervised.plan
        try:
            task = await self._live(supervised, plan.args)
        except (LookupError, WasmosError, OSError) as error:
            self._log(f"{plan.name}: can't be started again: {error}")
            self._goes_on(supervised, None)
        else:
            self._log(f"task {task.id:2} {plan.name} (again)")

    def _gave_up(self, grant: int) -> None:
        """A task gave up a right itself: its next life may have it."""
        for supervised in self._supervised.values():
            supervised.gave_up(grant)

    # --- what servers ask ---

    async def _spawned_by_task(self, name: str, caller: Caller, rules: list[Rule] | None) -> Task:
        """What `spawn_task` to `vm` does: a task can't give a child more than
        it holds itself, whatever [spawn] or a section says, nor a name that isn't its to
        register."""
        parent = self.kernel.find(caller.id)
        if parent is None:
            raise LookupError(f"task {caller.id} is gone")
        plan = self._plan_of(name).narrowed(parent)
        if rules is not None:
            plan.allow = [Right(rule, caller.name) for rule in rules]
        return await self._spawn(plan, [], parent)

    def _registers(self, caller: Caller, name: str) -> bool:
        """Whether a task may be the service `name`: the names of servers and of
        the manifest's tasks are theirs, also while they are down."""
        if not self._is_theirs(caller.id, name):
            return False
        if (tell := self._followed.get(caller.id)) is not None:
            tell()
        return True

    def _is_theirs(self, task: int, name: str) -> bool:
        owners = self._owners.get(name)
        if owners is None:
            return name not in self.manifest.servers
        return self._plans.get(task) in owners

    def _may_name(self, parent: Task, name: str) -> bool:
        """Whether a task may have a child that is the service `name`: if it may be that service
        itself. Who is supervised is started by its supervisor, and nobody else is it meanwhile."""
        supervised = any(
            plan.restart.mode != "never" and name in (plan.name, plan.service)
            for plan in self.manifest.tasks.values()
        )
        may_be = self._is_theirs(parent.id, name) and not supervised
        asked = self.kernel.encode(ServiceRegister(name))
        vm = self.kernel.service_id("vm")
        return may_be and self.kernel.would_admit(parent.id, vm, asked) > 0

    def _is_foreground(self, task: int) -> bool:
        return self.foreground is not None and self.foreground.id == task

    def _is_operator(self, task: int) -> bool:
        return task in self._operators

    def _ended(self, exit: Exit) -> None:
        self._arguments.pop(exit.task, None)
        self._variables.pop(exit.task, None)
        section = self._plans.pop(exit.task, "")
        if exit.task in self._operators:
            self._operators.remove(exit.task)
        elif not exit.ok and not self._is_foreground(exit.task):  # the shell says it
            self._log(str(exit))
            if exit.backtrace and len(self._traces) < MAX_TRACES:
                tracing = asyncio.ensure_future(self._log_trace(exit))
                self._traces.add(tracing)
                tracing.add_done_callback(self._traces.discard)
        supervised = self._supervised.get(section)
        if supervised is not None and supervised.task == exit.task:
            self._goes_on(supervised, exit)

    async def _log_trace(self, exit: Exit) -> None:
        lines = await self.trace(exit)
        self._log(f"where task {exit.task} {exit.name!r} was:")  # much may have been logged since
        for line in lines:
            self._log(line)


class _Supervised:
    """A task that is restarted: its lives, and what became of what it was granted."""

    def __init__(self, plan: TaskPlan) -> None:
        self.plan = plan
        self.lives = Lives(plan.restart)
        self.task: int | None = None  # while it lives
        self.last: Task | None = None  # its last life, or this one
        self.cancel: Callable[[], object] | None = None  # what is about to begin its next life
        self._given_up: set[int] = set()  # grants of the policy's that a task gave up itself
        self._grants: list[tuple[Right, Grant]] = []  # the last one of each right

    def live(self, task: Task, now: float) -> None:
        self.cancel = None
        self.task = task.id
        self.lives.began(now)

    def die(self, now: float, exit: Exit | None) -> float | None:
        self.task = self.cancel = None
        return self.lives.ended(now, exit)

    def end(self) -> None:
        """There is no next life."""
        if self.cancel is not None:
            self.cancel()
        self.cancel = None

    def begin_anew(self) -> None:
        """As if it had not lived before."""
        self.end()
        self.lives = Lives(self.plan.restart)
        self._grants.clear()

    def granted(self, right: Right, grant: Grant) -> None:
        self._grants = [(old, one) for old, one in self._grants if old is not right]
        self._grants.append((right, grant))

    def gave_up(self, grant: int) -> None:
        """Of others' grants nothing is remembered: tasks can make and give up any number."""
        if any(one.id == grant for _, one in self._grants):
            self._given_up.add(grant)

    def is_withheld(self, right: Right) -> bool:
        """Whether a life before this one is the reason not to grant it again: it was taken back, or
        can be used so many times and not so many times in each life."""
        grant = self._last(right)
        if grant is None:
            return False
        taken_back = grant.state == "revoked" and grant.id not in self._given_up
        return taken_back or grant.uses is not None or grant.state == "expired"

    def seconds_left(self, right: Right, now_ns: int) -> float | None:
        grant = self._last(right)
        if grant is None or grant.expires_ns is None:
            return None
        return max(1, grant.expires_ns - now_ns) / 1e9

    def _last(self, right: Right) -> Grant | None:
        return next((grant for old, grant in self._grants if old is right), None)


def _owners(manifest: Manifest) -> dict[str, set[str]]:
    """A service's name → the sections whose tasks may be it, also while they are down."""
    owners: dict[str, set[str]] = {}
    for plan in manifest.tasks.values():
        asked = [name for right in plan.use for name in registers(right.rule)]
        for name in (plan.name, plan.service, *asked):
            if name is not None:
                owners.setdefault(name, set()).add(plan.name)
    return owners


def _shown(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"
