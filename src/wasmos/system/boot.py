"""Booting: from a manifest to a running system, and its orderly end.

Law: boot is the flat list of steps in `System.boot`; a step that fails ends the
boot with a message that says which, and takes down what came up before.
"""

from __future__ import annotations

import os

from wasmos.errors import ManifestError, UsageError, WasmosError
from wasmos.kernel import ALL
from wasmos.kernel.aio import AsyncKernel
from wasmos.system import outfit
from wasmos.system.manifest import TaskPlan
from wasmos.system.programs import Programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from wasmos.kernel import Caller, Exit, Service, Task
    from wasmos.servers.fs import Image
    from wasmos.system.manifest import Manifest


class System:
    """A system that was described by a manifest.

    output, input: the console, as binary streams.
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
        self._log = log
        self._output = output
        self._input = input
        self._image: Image | None = None
        self._arguments: dict[int, list[str]] = {}

    async def boot(self) -> None:
        """Bring everything up. Raises WasmosError, and then nothing is up."""
        await self.aio.__aenter__()
        self.kernel = self.aio.sync
        try:
            self._load_image()  # files first: a bad image is found before anything runs
            self._serve()  # servers, in the manifest's order
            self.kernel.watch(self._ended)  # from here on, ends are reported
            for plan in self.manifest.tasks.values():  # programs, likewise
                await self._launch(plan)
        except BaseException:
            await self.aio.close()
            raise
        self._log(f"{self.manifest.name} is up: {len(self.kernel.tasks)} tasks")

    async def start(self, name: str, arguments: list[str]) -> Task:
        """Start a program by name, as a section of the manifest says, or as
        [spawn] does. Raises LookupError, ModuleRefused."""
        plan = self.manifest.tasks.get(name)
        if plan is None:
            plan = TaskPlan(name)
            plan.allow = self.manifest.spawn.allow
            plan.limits = self.manifest.spawn.limits
            plan.priority = self.manifest.spawn.priority
        return await self._spawn(plan, arguments or plan.args)

    async def shutdown(self) -> None:
        """End all tasks, then save what is to be kept."""
        self.kernel.unwatch(self._ended)
        await self.aio.close()
        if self._image is not None and self.manifest.fs_save is not None:
            outfit.save_image(self._image, self.manifest.fs_save)
            self._log(f"fs: saved to {self.manifest.fs_save}")

    # --- steps ---

    def _load_image(self) -> None:
        if "fs" not in self.manifest.servers:
            return
        self._image = outfit.make_image(self.manifest.fs_files)
        manifest = self.manifest
        lost = manifest.fs_save is not None and outfit.would_lose(
            manifest.fs_save, manifest.fs_load
        )
        if lost:
            raise ManifestError(
                f"{manifest.path}: [fs] save would replace what is in {manifest.fs_save}; "
                "choose an empty directory, or the one that load names"
            )
        if self.manifest.fs_load is not None:
            for note in outfit.load_image(self._image, self.manifest.fs_load):
                if manifest.fs_load == manifest.fs_save:
                    raise ManifestError(f"{manifest.path}: [fs] save would lose {note}")
                self._log(f"fs: left out {note}")

    def _serve(self) -> None:
        manifest = self.manifest
        makers: dict[str, Callable[[], Service]] = {
            "vm": lambda: outfit.vm(self._spawned_by_task),
            "console": lambda: outfit.console(self._output, self._input),
            "args": lambda: outfit.args(self._arguments),
            "echo": outfit.echo,
            "pong": outfit.pong,
            "fs": lambda: outfit.fs(self._image),
            "tcpip": lambda: outfit.tcpip(manifest.listen, manifest.connect, self._log),
        }
        for name in manifest.servers:
            try:
                task = self.kernel.serve(makers[name]())
            except UsageError as error:
                raise ManifestError(f"{manifest.path}: {error}") from None
            self._log(f"task {task.id:2} {name}")

    async def _launch(self, plan: TaskPlan) -> None:
        try:
            task = await self._spawn(plan, plan.args)
        except (LookupError, OSError, WasmosError) as error:
            raise ManifestError(f"{self.manifest.path}: [task.{plan.name}] {error}") from None
        allowed = ", ".join(plan.allow) or "nothing"
        self._log(f"task {task.id:2} {plan.name} (may use {allowed})")

    async def _spawn(self, plan: TaskPlan, arguments: list[str]) -> Task:
        path = plan.module if os.path.isabs(plan.module) else self.programs.path(plan.module)
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
            limits=plan.limits,
            priority=plan.priority,
            service=plan.service or (plan.name if passive else None),
        )
        self._arguments[task.id] = [plan.name, *arguments]
        return task

    async def _spawned_by_task(self, name: str, caller: Caller) -> Task:
        """What `spawn_task` to `vm` does: a task can't give a child more than
        it holds itself, whatever [spawn] says."""
        task = await self.start(name, [])
        parent = self.kernel.find(caller.id)
        held = set() if parent is None else parent.allowed
        if ALL in held:
            return task
        # It has not run yet: this is still the slice in which it was spawned.
        granted = held if ALL in task.allowed else held & task.allowed
        for service in task.allowed - granted:
            self.kernel.revoke(task, service)
        for service in granted - task.allowed:
            self.kernel.grant(task, service)
        return task

    def _ended(self, exit: Exit) -> None:
        self._arguments.pop(exit.task, None)
        if not exit.ok:
            self._log(str(exit))
