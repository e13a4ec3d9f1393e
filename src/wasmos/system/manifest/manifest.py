"""What to boot: a TOML file, read and checked, and what it is granted of what it asks for.

Law: an unknown key, a value of the wrong type or a rule that means nothing is an error that names
the file, the line and the nearest right one; a manifest that was loaded without an error can be
booted as far as the manifest goes. It grants nothing: a policy does (`policy`).
"""

from __future__ import annotations

import os

from wasmos.abi import SERVICES, ServiceRegister
from wasmos.errors import UsageError
from wasmos.kernel import Limits
from wasmos.system import units
from wasmos.system.manifest.tables import Tables
from wasmos.system.policy import policy as policies
from wasmos.system.policy import rights
from wasmos.system.policy.edit import heading
from wasmos.system.programs import ENDINGS
from wasmos.system.supervisor import MODES, Restart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import Any, NoReturn

    from wasmos.kernel import Rule, Task
    from wasmos.system.manifest.positions import Place
    from wasmos.system.policy.rights import Right

SERVERS = ("vm", "console", "args", "env", "clock", "random", "echo", "pong", "fs", "tcpip")
SYSTEM_KEYS = ("name", "programs", "servers", "policy")
FS_KEYS = ("load", "save", "files", "max_open_files")
TCPIP_KEYS = ("listen", "connect")
SPAWN_KEYS = (
    "use", "priority", "memory", "cpu_time", "deadline", "table_elements", "mailbox",
)  # fmt: skip
TASK_KEYS = (
    "module", "args", "env", "service", "restart", "backoff", "max_restarts", *SPAWN_KEYS,
)  # fmt: skip
DEMO = os.path.join(os.path.dirname(__file__), "demo.toml")
MAX_COUNT = 1 << 30


class TaskPlan:
    """One task of the manifest, or what `start` gives to others.

    use: what its author asks for. allow, deny: what a policy makes of it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.module = name
        self.path: str | None = None  # of the module's file, instead of a program's name
        self.args: list[str] = []
        self.env: dict[str, str] = {}
        self.use: list[Right] = []
        self.allow: list[Right] = []
        self.deny: list[Right] = []
        self.service: str | None = None
        self.priority = 8
        self.limits = Limits()
        self.restart = Restart()

    def named(self, name: str) -> TaskPlan:
        """This plan for a program that has none of its own."""
        plan = TaskPlan(name)
        plan.allow, plan.deny = self.allow, self.deny
        plan.limits, plan.priority = self.limits, self.priority
        return plan

    def narrowed(self, parent: Task) -> TaskPlan:
        """This plan for a child of `parent`, within its limits; the kernel sees to it that
        it gives no right that it hasn't. What the section's own task is told by `args` and
        `env` isn't the parent's to hand on: it chooses whom the child may tell it."""
        plan = self.named(self.name)
        plan.module, plan.path, plan.service = self.module, self.path, self.service
        if parent.limits is not None:
            plan.priority = min(self.priority, parent.priority)
            plan.limits = self.limits.within(parent.limits)
        return plan


class Manifest:
    """A system as its file describes it; paths are absolute."""

    def __init__(self, tables: Tables) -> None:
        self.path = tables.path
        self.where = tables.where  # file and line of a place in it
        self.name = os.path.splitext(os.path.basename(tables.path))[0]
        self.policy: str | None = None
        self.programs: list[str] = []
        self.servers: list[str] = list(SERVERS)
        self.fs_load: str | None = None
        self.fs_save: str | None = None
        self.fs_files: dict[str, str] = {}
        self.fs_max_open_files: int | None = None  # of one task; None: as usual
        self.listen: list[str] = []
        self.connect: list[str] | None = None  # None: wherever rules allow it
        self.tasks: dict[str, TaskPlan] = {}
        self.spawn = TaskPlan("spawn")

    @property
    def plans(self) -> list[TaskPlan]:
        return [*self.tasks.values(), self.spawn]

    @property
    def services(self) -> list[str]:
        """All names that a service can have, in this system or with other servers."""
        return list(dict.fromkeys((*SERVERS, *SERVICES, *self.own_services)))

    @property
    def own_services(self) -> list[str]:
        """Those that somebody here is or can be: its servers, and what its tasks are called or
        ask to be."""
        names = list(self.servers)
        for plan in self.tasks.values():
            names += filter(None, (plan.name, plan.service))
        for plan in self.plans:
            names += (name for right in plan.use for name in registers(right.rule))
        return list(dict.fromkeys(names))


def registers(rule: Rule) -> list[str]:
    """The names that a rule lets a task be a service of, as far as it lists them."""
    if rule.service != "vm" or rule.message != "service_register":
        return []
    names = rule.constraints.get("name")
    found = [] if names is None else [value.strip('"') for value in names.values()]
    return [name for name in found if rule.admits(ServiceRegister(name)) and "*" not in name]


def load(path: str | None = None, policy: str | None = None) -> Manifest:
    """Read a manifest and its policy: the file `policy`, the one that the manifest names, or the
    one beside it. Raises ManifestError, NotGranted.

    Without a path it is the demonstration, whose program folder is looked for where you are."""
    manifest = read(path)
    named = policy or manifest.policy
    file = named or policies.beside(manifest.path)
    missing = named is None and not os.path.exists(file)
    policies.authorize(manifest, policies.Policy(file) if missing else policies.read(file))
    return manifest


def read(path: str | None = None) -> Manifest:
    """Read a manifest, which grants nothing yet. Raises ManifestError."""
    tables = Tables(DEMO, os.getcwd()) if path is None else Tables(path)
    return _Reader(tables).read()


class _Reader:
    """Walks the tables; every method either takes a value or raises."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.manifest = Manifest(tables)

    def read(self) -> Manifest:
        tables = self.tables
        readers: dict[str, Callable[[dict[str, Any]], None]] = {
            "system": self._system,
            "fs": self._fs,
            "tcpip": self._tcpip,
            "task": self._tasks,
            "spawn": lambda table: self._plan(self.manifest.spawn, ("spawn",), table, SPAWN_KEYS),
        }
        for name, value in tables.tables.items():
            tables.known((name,), name, readers, "section")
            readers[name](tables.table((name,), value, f"{name} is a section: write [{name}]"))
        self._check_services()
        return self.manifest

    def _system(self, table: dict[str, Any]) -> None:
        manifest, tables = self.manifest, self.tables
        for key, value in table.items():
            place = "system", key
            tables.known(place, key, SYSTEM_KEYS, "key")
            if key == "name":
                manifest.name = tables.text(place, value)
            elif key == "policy":
                text = tables.text(place, value)
                tables.file(place, text)
                folder = os.path.dirname(tables.path)  # as it is shown
                manifest.policy = os.path.join(folder, os.path.expanduser(text))
            elif key == "programs":
                manifest.programs = [
                    tables.file((*place, number), item)
                    for number, item in enumerate(tables.texts(place, value))
                ]
            else:
                self._servers(place, tables.texts(place, value))

    def _servers(self, place: Place, names: list[str]) -> None:
        for number, server in enumerate(names):
            self.tables.known((*place, number), server, SERVERS, "server")
            if server in names[:number]:
                self.tables.fail((*place, number), f"server {server!r} is listed twice")
        self.manifest.servers = names

    def _fs(self, table: dict[str, Any]) -> None:
        tables = self.tables
        for key, value in table.items():
            place = "fs", key
            tables.known(place, key, FS_KEYS, "key")
            if key == "load":
                self.manifest.fs_load = tables.file(place, tables.text(place, value))
            elif key == "save":
                self.manifest.fs_save = tables.file(place, tables.text(place, value))
            elif key == "max_open_files":
                self.manifest.fs_max_open_files = self._open_files(place, value)
            else:
                files = tables.table(place, value, 'files is a table: files = { "name" = "text" }')
                self.manifest.fs_files = {
                    name: tables.text((*place, name), text) for name, text in files.items()
                }

    def _open_files(self, place: Place, value: object) -> int:
        from wasmos.system.outfit import check_open_files

        count = self.tables.whole(place, value, MAX_COUNT)
        self._judge(place, check_open_files, count)
        return count

    def _tcpip(self, table: dict[str, Any]) -> None:
        from wasmos.servers.tcpip import PortMap
        from wasmos.system.outfit import destinations

        for key, value in table.items():
            place = "tcpip", key
            self.tables.known(place, key, TCPIP_KEYS, "key")
            if key == "listen":
                self.manifest.listen = texts = self.tables.texts(place, value)
                self._sensible(place, texts, PortMap)
                continue
            rules = [value] if isinstance(value, str) else self.tables.texts(place, value)
            self._sensible(place, rules, destinations)
            self.manifest.connect = rules

    def _sensible(
        self, place: Place, texts: list[str], judge: Callable[[list[str]], object]
    ) -> None:
        """What the server takes: each alone, so that the line is found, and all together."""
        for number, text in enumerate(texts):
            self._judge((*place, number), judge, [text])
        self._judge(place, judge, texts)

    def _judge(self, place: Place, judge: Callable[..., object], *values: object) -> None:
        try:
            judge(*values)
        except UsageError as error:
            self.tables.fail(place, str(error))

    def _tasks(self, table: dict[str, Any]) -> None:
        tables = self.tables
        for name, value in table.items():
            place = "task", name
            entries = tables.table(place, value, f"write {heading('task', name)}")
            plan = TaskPlan(tables.name(place, name, "task"))
            self._plan(plan, place, entries, TASK_KEYS)
            self.manifest.tasks[name] = plan

    def _plan(
        self, plan: TaskPlan, place: Place, table: dict[str, Any], keys: tuple[str, ...]
    ) -> None:
        tables = self.tables
        setters: dict[str, Callable[[Place, Any], None]] = {
            "module": lambda at, v: self._module(plan, at, tables.text(at, v)),
            "args": lambda at, v: setattr(plan, "args", self._args(at, v)),
            "env": lambda at, v: setattr(plan, "env", self._env(at, v)),
            "use": lambda at, v: setattr(plan, "use", rights.read(tables, at, v)),
            "service": lambda at, v: setattr(plan, "service", self._service(at, v)),
            "restart": lambda at, v: self._restart(plan, at, v),
            "backoff": lambda at, v: self._backoff(plan, at, v),
            "max_restarts": lambda at, v: self._max_restarts(plan, at, v),
            "priority": lambda at, v: setattr(plan, "priority", tables.whole(at, v, 15)),
            "memory": lambda at, v: self._limit(plan, at, v, "memory_bytes", units.size),
            "cpu_time": lambda at, v: self._limit(plan, at, v, "cpu_seconds", units.seconds),
            "deadline": lambda at, v: self._limit(plan, at, v, "deadline_seconds", units.seconds),
            "table_elements": lambda at, v: self._count(plan, at, v),
            "mailbox": lambda at, v: self._count(plan, at, v),
        }
        for key, value in table.items():
            at = (*place, key)
            if key == "allow":
                self._refuse_allow(place)
            tables.known(at, key, keys, "key")
            setters[key](at, value)

    def _refuse_allow(self, place: Place) -> NoReturn:
        policy = self.manifest.policy or policies.beside(self.tables.path)
        self.tables.fail(
            (*place, "allow"),
            "a manifest asks, and grants nothing: write `use` here, and let a policy grant it, "
            f"as `allow` of {heading(*place)} in {policy}",
        )

    def _args(self, at: Place, value: object) -> list[str]:
        from wasmos.system.outfit import numbered

        words = self.tables.texts(at, value)
        self._tellable("arguments", at, range(len(words)), numbered(words))
        return words

    def _tellable(
        self, kind: str, at: Place, keys: Iterable[str | int], strings: Mapping[str, str]
    ) -> None:
        """Whether a program can be told these, as `wasmos.run` has it: each alone, so that the line
        is found, and all together."""
        from wasmos.system.outfit import check_strings

        for key, (name, text) in zip(keys, strings.items(), strict=True):
            self._judge((*at, key), check_strings, kind, {name: text})
        self._judge(at, check_strings, kind, strings)

    def _env(self, at: Place, value: object) -> dict[str, str]:
        from wasmos.system.outfit import assigned

        tables = self.tables
        entries = tables.table(at, value, 'env is a table: env = { NAME = "value" }')
        for name, text in entries.items():
            if not name or "=" in name or not name.isprintable():
                tables.fail((*at, name), f"{name!r} can't be a variable's name")
            tables.text((*at, name), text)
        self._tellable("variables", at, entries, assigned(entries))
        return entries

    def _restart(self, plan: TaskPlan, at: Place, value: object) -> None:
        mode = self.tables.text(at, value)
        self.tables.known(at, mode, MODES, "restart")
        plan.restart = plan.restart.replace(mode=mode)

    def _backoff(self, plan: TaskPlan, at: Place, value: Any) -> None:
        try:
            plan.restart = plan.restart.replace(backoff_seconds=units.seconds(value))
        except ValueError as error:
            self.tables.fail(at, f"backoff: {error}")

    def _max_restarts(self, plan: TaskPlan, at: Place, value: object) -> None:
        count = self.tables.whole(at, value, MAX_COUNT)
        plan.restart = plan.restart.replace(max_restarts=count)

    def _limit(
        self, plan: TaskPlan, at: Place, value: object, field: str, parse: Callable[[Any], object]
    ) -> None:
        try:
            plan.limits = plan.limits.replace(**{field: parse(value)})
        except ValueError as error:
            self.tables.fail(at, f"{at[-1]}: {error}")

    def _count(self, plan: TaskPlan, at: Place, value: object) -> None:
        count = self.tables.whole(at, value, MAX_COUNT)
        plan.limits = plan.limits.replace(**{str(at[-1]): count})

    def _module(self, plan: TaskPlan, at: Place, text: str) -> None:
        """A program's name, or the path of a file, relative to the manifest."""
        plan.module, path = text, self.tables.file(at, text)
        if os.sep in text or (text.endswith(ENDINGS) and os.path.isfile(path)):
            plan.path = path

    def _service(self, at: Place, value: object) -> str:
        name = self.tables.text(at, value)
        if not (name.isprintable() and 0 < len(name.encode()) <= 63):
            self.tables.fail(at, f"{name!r} can't be a service's name")
        return name

    def _check_services(self) -> None:
        """After all tasks are known: what they can be services of are names, too."""
        known: Collection[str] = self.manifest.services
        for plan in self.manifest.plans:
            for right in plan.use:
                policies.check_service(right, known)
