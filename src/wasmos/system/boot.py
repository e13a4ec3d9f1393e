"""Booting: from a manifest to a running system, and its orderly end.

Law: boot is the flat list of steps in `System.boot`; a step that fails ends the
boot with a message that says which, and takes down what came up before.
"""

from __future__ import annotations

import asyncio
import os

from wasmos.errors import ManifestError, ModuleRefused, UsageError, WasmosError
from wasmos.kernel import ALL
from wasmos.kernel.aio import AsyncKernel
from wasmos.system import outfit, units
from wasmos.system.manifest import DEMO, SERVERS, TaskPlan
from wasmos.system.programs import Programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from wasmos.kernel import Caller, Client, Exit, Rule, Service, Task
    from wasmos.servers.fs import Image
    from wasmos.system.manifest import Manifest


class System:
    """A system that was described by a manifest.

    output, input: the console, as binary streams. Input reaches the program in
        the foreground, and nobody else.
    log: takes a line of the boot log.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        output: BinaryIO,
        input: BinaryIO | None = None,  # noqa: A002 - as in subprocess
        log: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.manifest = manifest
        self.programs = Programs(manifest.programs)
        self.aio = AsyncKernel()
        self.foreground: Task | None = None
        self.is_up = False
        self._log = log
        self._output = output
        self._input = input
        self._image: Image | None = None
        self._plans: dict[int, str] = {}  # task → its section of the manifest
        # A service's name → the section whose tasks may be it.
        self._owners = {
            name: plan.name
            for plan in manifest.tasks.values()
            for name in (plan.name, plan.service)
            if name is not None
        }
        self._arguments: dict[int, list[str]] = {}
        self._operators: set[int] = set()
        self._followed: dict[int, Callable[[], object]] = {}  # task → call when it is a service

    async def boot(self) -> None:
        """Bring everything up. Raises WasmosError, and then nothing is up."""
        self._load_image()  # files first: a bad image is found before anything runs
        await self.aio.__aenter__()
        self.kernel = self.aio.sync
        try:
            self._serve()  # servers, in the manifest's order
            self.kernel.watch(self._ended)  # from here on, ends are reported
            for plan in self.manifest.tasks.values():  # programs, likewise
                await self._launch(plan)
        except BaseException:
            await self.aio.close()
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
        [spawn] does. Raises LookupError, ModuleRefused."""
        plan = self._plan_of(name)
        return await self._spawn(plan, arguments or plan.args)

    def _plan_of(self, name: str) -> TaskPlan:
        if (plan := self.manifest.tasks.get(name)) is not None:
            return plan
        plan = TaskPlan(name)
        plan.allow = self.manifest.spawn.allow
        plan.limits = self.manifest.spawn.limits
        plan.priority = self.manifest.spawn.priority
        return plan

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

    async def shutdown(self) -> None:
        """End all tasks, then save what is to be kept."""
        self.is_up = False
        self.kernel.unwatch(self._ended)
        try:
            await self.aio.close()
        finally:
            if self._image is not None and self.manifest.fs_save is not None:
                outfit.save_image(self._image, self.manifest.fs_save)
                self._log(f"fs: saved to {self.manifest.fs_save}")

    # --- steps ---

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
            "vm": lambda: outfit.vm(self._spawned_by_task, self._registers),
            "console": lambda: outfit.console(self._output, self._input, self._is_foreground),
            "args": lambda: outfit.args(self._arguments),
            "echo": outfit.echo,
            "pong": outfit.pong,
            "fs": lambda: outfit.fs(self._image),
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
        for folder in manifest.programs:
            if manifest.path != DEMO and not os.path.isdir(folder):
                self._log(f"programs: there is no directory {folder}")

    async def _launch(self, plan: TaskPlan) -> None:
        section = f"task.{plan.name}"
        where = f"{self.manifest.where(section, 'module')}: [{section}]"
        try:
            task = await self._spawn(plan, plan.args)
        except ModuleRefused as error:
            error.args = (f"{where} {error}",)
            raise
        except OSError as error:
            problem = (error.strerror or str(error)).lower()
            raise ManifestError(f"{where} {error.filename}: {problem}") from None
        except (LookupError, WasmosError) as error:
            raise ManifestError(f"{where} {error}") from None
        allowed = ", ".join(plan.allow) or "nothing"
        self._log(f"task {task.id:2} {plan.name} (may use {allowed})")
        self._hint(section, plan)

    def _hint(self, section: str, plan: TaskPlan) -> None:
        """A name that nobody has may still be had by somebody, later."""
        manifest = self.manifest
        names = {name for each in manifest.tasks.values() for name in (each.name, each.service)}
        known = {ALL, *SERVERS, *self.kernel.services, *filter(None, names)}
        for name in plan.allow:
            if name not in known and (hint := units.nearest(name, known)).startswith("did"):
                where = manifest.where(section, name)
                self._log(f"{where}: nobody is the service {name!r} yet; {hint}")

    def _wrong(self, section: str, key: str, problem: str) -> ManifestError:
        return ManifestError(f"{self.manifest.where(section, key)}: {problem}")

    async def _spawn(
        self, plan: TaskPlan, arguments: list[str], parent: Task | None = None
    ) -> Task:
        path = plan.path or self.programs.path(plan.module)
        allow = list(plan.allow)
        if arguments and "args" in self.manifest.servers and ALL not in allow:
            allow.append("args")
        program = await self.aio.load(
            path, limits=plan.limits, trusted=self.programs.packaged(path)
        )
        # A passive service is of no use without a name.
        passive = program.shape.kind == "passive"
        task = self.kernel.spawn(
            program,
            name=plan.name,
            allow=allow,
            parent=parent,
            limits=plan.limits,
            priority=plan.priority,
            service=plan.service or (plan.name if passive else None),
        )
        self._arguments[task.id] = [plan.name, *arguments]
        if plan.name in self.manifest.tasks:
            self._plans[task.id] = plan.name
        return task

    # --- what servers ask ---

    async def _spawned_by_task(
        self, name: str, caller: Caller, rules: list[Rule] | None
    ) -> Task:
        """What `spawn_task` to `vm` does: a task can't give a child more than
        it holds itself, whatever [spawn] says."""
        parent = self.kernel.find(caller.id)
        if parent is None:
            raise LookupError(f"task {caller.id} is gone")
        plan = self._plan_of(name).narrowed(parent)
        if rules is not None:
            plan.allow = [str(rule) for rule in rules]
        return await self._spawn(plan, plan.args, parent)

    def _registers(self, caller: Caller, name: str) -> bool:
        """Whether a task may be the service `name`: the names of servers and of
        the manifest's tasks are theirs, also while they are down."""
        owner = self._owners.get(name, "" if name in self.manifest.servers else None)
        if owner is not None and owner != self._plans.get(caller.id):
            return False
        if (tell := self._followed.get(caller.id)) is not None:
            tell()
        return True

    def _is_foreground(self, task: int) -> bool:
        return self.foreground is not None and self.foreground.id == task

    def _is_operator(self, task: int) -> bool:
        return task in self._operators

    def _ended(self, exit: Exit) -> None:
        self._arguments.pop(exit.task, None)
        self._plans.pop(exit.task, None)
        if exit.task in self._operators:
            self._operators.remove(exit.task)
        elif not exit.ok and not self._is_foreground(exit.task):  # the shell says it
            self._log(str(exit))
