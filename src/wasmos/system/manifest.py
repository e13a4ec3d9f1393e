"""What to boot: a TOML file, read and checked.

Law: an unknown key or a value of the wrong type is an error that names the
file, the line and the nearest right one; a manifest that was read without an
error can be booted as far as the manifest goes.
"""

from __future__ import annotations

import os
import re
import tomllib

from wasmos.errors import ManifestError, UsageError
from wasmos.kernel import ALL, Limits
from wasmos.system import units
from wasmos.system.programs import ENDINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any, NoReturn

    from wasmos.kernel import Task

SERVERS = ("vm", "console", "args", "echo", "pong", "fs", "tcpip")
SPAWN_KEYS = (
    "allow", "priority", "memory", "cpu_time", "deadline", "table_elements", "mailbox",
)  # fmt: skip
TASK_KEYS = ("module", "args", "service", *SPAWN_KEYS)
DEMO = os.path.join(os.path.dirname(__file__), "demo.toml")
MAX_COUNT = 1 << 30


class TaskPlan:
    """One task of the manifest, or what `start` gives to others."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.module = name
        self.path: str | None = None  # of the module's file, instead of a program's name
        self.args: list[str] = []
        self.allow: list[str] = []
        self.service: str | None = None
        self.priority = 8
        self.limits = Limits()

    def narrowed(self, parent: Task) -> TaskPlan:
        """This plan for a child of `parent`, within its limits; the kernel sees to it that
        it gives no right that it hasn't."""
        plan = TaskPlan(self.name)
        plan.module, plan.args, plan.service = self.module, self.args, self.service
        plan.allow = self.allow
        plan.priority = self.priority
        plan.limits = self.limits
        if parent.limits is not None:
            plan.priority = min(self.priority, parent.priority)
            plan.limits = self.limits.within(parent.limits)
        return plan


class Manifest:
    """A system as its file describes it; paths are absolute."""

    def __init__(self, path: str, text: str = "") -> None:
        self.path = path
        self.name = os.path.splitext(os.path.basename(path))[0]
        self.programs: list[str] = []
        self.servers: list[str] = list(SERVERS)
        self.fs_load: str | None = None
        self.fs_save: str | None = None
        self.fs_files: dict[str, str] = {}
        self.listen: list[str] = []
        self.connect = ["none"]
        self.tasks: dict[str, TaskPlan] = {}
        self.spawn = TaskPlan("spawn")
        self._lines = text.splitlines()

    def where(self, section: str | None, word: str) -> str:
        """File and line of a word in a section, or of the section.

        tomllib keeps no positions: it is the first line that shows the word."""
        lines = self._lines_of(section)
        if not lines and section is not None:  # written as an inline table, or with dots
            return self.where(None, word)
        word = re.escape(word)
        for pattern in (rf"[\"']{word}[\"']", rf"(?<![\w-]){word}(?![\w-])", ""):
            for number, line in lines:
                if re.search(pattern, line.partition("#")[0]):
                    return f"{self.path}:{number}"
        return self.path

    def _lines_of(self, section: str | None) -> list[tuple[int, str]]:
        """The lines of a section and those below it, with their numbers."""
        found = []
        inside = section is None
        for number, line in enumerate(self._lines, 1):
            if section is not None and (name := _head(line)) is not None:
                inside = name == section or name.startswith(f"{section}.")
            if inside:
                found.append((number, line))
        return found


def _head(line: str) -> str | None:
    """The section that a line begins."""
    match = re.match(r"\s*\[\[?([^]]+)\]", line)
    return None if match is None else re.sub(r"[\s\"']", "", match[1])


def load(path: str | None = None) -> Manifest:
    """Read a manifest; None is the demonstration, whose program folder is
    looked for where you are. Raises ManifestError."""
    base = os.getcwd() if path is None else os.path.dirname(os.path.abspath(path))
    path = path or DEMO
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
        tables = tomllib.loads(text)
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise ManifestError(f"{path}: {problem}") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8, which TOML is, at byte {error.start}") from None
    except ValueError as error:  # TOMLDecodeError is one, numbers that are too long are another
        raise ManifestError(f"{path}: {error}") from None
    except RecursionError:
        raise ManifestError(f"{path}: nested too deeply") from None
    return _Reader(base, Manifest(path, text)).read(tables)


class _Reader:
    """Walks the tables; every method either takes a value or raises."""

    def __init__(self, base: str, manifest: Manifest) -> None:
        self.base = base
        self.manifest = manifest
        self.section: str | None = None  # where we are, for errors

    def read(self, tables: dict[str, Any]) -> Manifest:
        readers: dict[str, Callable[[dict[str, Any]], None]] = {
            "system": self._system,
            "fs": self._fs,
            "tcpip": self._tcpip,
            "task": self._tasks,
            "spawn": lambda table: self._plan(self.manifest.spawn, table, SPAWN_KEYS),
        }
        for name, table in tables.items():
            self.section = None
            self._known(name, readers, "section")
            if not isinstance(table, dict):
                self._fail(name, f"{name} is a section: write [{name}]")
            self.section = name
            readers[name](table)
        return self.manifest

    def _system(self, table: dict[str, Any]) -> None:
        manifest = self.manifest
        for key, value in table.items():
            self._known(key, ("name", "programs", "servers"), "key")
            if key == "name":
                manifest.name = self._text(key, value)
            elif key == "programs":
                manifest.programs = [self._path(item) for item in self._texts(key, value)]
            else:
                manifest.servers = self._texts(key, value)
                for server in manifest.servers:
                    self._known(server, SERVERS, "server")
                    if manifest.servers.count(server) > 1:
                        self._fail(server, f"server {server!r} is listed twice")

    def _fs(self, table: dict[str, Any]) -> None:
        for key, value in table.items():
            self._known(key, ("load", "save", "files"), "key")
            if key == "load":
                self.manifest.fs_load = self._path(self._text(key, value))
            elif key == "save":
                self.manifest.fs_save = self._path(self._text(key, value))
            elif not isinstance(value, dict):
                self._fail(key, 'files is a table: files = { "name" = "text" }')
            else:
                self.manifest.fs_files = {
                    name: self._text(name, text) for name, text in value.items()
                }

    def _tcpip(self, table: dict[str, Any]) -> None:
        from wasmos.servers.tcpip.ports import PortMap
        from wasmos.system.outfit import destinations

        for key, value in table.items():
            self._known(key, ("listen", "connect"), "key")
            if key == "listen":
                self.manifest.listen = texts = self._texts(key, value)
                self._sensible(key, texts, PortMap)
                continue
            rules = [value] if isinstance(value, str) else self._texts(key, value)
            self._sensible(key, rules, destinations)
            self.manifest.connect = rules

    def _sensible(self, key: str, texts: list[str], judge: Callable[[list[str]], object]) -> None:
        """What the server takes: each alone, so that the line is found, and all together."""
        for text in texts:
            try:
                judge([text])
            except UsageError as error:
                self._fail(text, str(error))
        try:
            judge(texts)
        except UsageError as error:
            self._fail(key, str(error))

    def _tasks(self, table: dict[str, Any]) -> None:
        for name, entries in table.items():
            self.section = "task"
            if not isinstance(entries, dict):
                self._fail(name, f"write [task.{name}]")
            if not name.isprintable() or not name:
                self._fail(name, f"{name!r} can't be a task's name")
            plan = TaskPlan(name)
            self.section = f"task.{name}"
            self._plan(plan, entries, TASK_KEYS)
            self.manifest.tasks[name] = plan

    def _plan(self, plan: TaskPlan, table: dict[str, Any], keys: tuple[str, ...]) -> None:
        setters: dict[str, Callable[[str, Any], None]] = {
            "module": lambda k, v: self._module(plan, self._text(k, v)),
            "args": lambda k, v: setattr(plan, "args", self._texts(k, v)),
            "allow": lambda k, v: setattr(plan, "allow", self._names(k, self._texts(k, v))),
            "service": lambda k, v: setattr(plan, "service", self._service(k, v)),
            "priority": lambda k, v: setattr(plan, "priority", self._whole(k, v, 15)),
            "memory": lambda k, v: self._limit(plan, k, v, "memory_bytes", units.size),
            "cpu_time": lambda k, v: self._limit(plan, k, v, "cpu_seconds", units.seconds),
            "deadline": lambda k, v: self._limit(plan, k, v, "deadline_seconds", units.seconds),
            "table_elements": lambda k, v: self._count(plan, k, v),
            "mailbox": lambda k, v: self._count(plan, k, v),
        }
        for key, value in table.items():
            self._known(key, keys, "key")
            setters[key](key, value)

    def _limit(
        self, plan: TaskPlan, key: str, value: object, field: str, parse: Callable[[Any], object]
    ) -> None:
        try:
            plan.limits = plan.limits.replace(**{field: parse(value)})
        except ValueError as error:
            self._fail(key, f"{key}: {error}")

    def _count(self, plan: TaskPlan, key: str, value: object) -> None:
        plan.limits = plan.limits.replace(**{key: self._whole(key, value, MAX_COUNT)})

    def _whole(self, key: str, value: object, most: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            self._fail(key, f"{key} is a number from 0 to {most:,}, not {value!r}")
        return value

    def _module(self, plan: TaskPlan, text: str) -> None:
        """A program's name, or the path of a file, relative to the manifest."""
        plan.module, path = text, self._path(text)
        if os.sep in text or (text.endswith(ENDINGS) and os.path.isfile(path)):
            plan.path = path

    def _service(self, key: str, value: object) -> str:
        return self._names(key, [self._text(key, value)])[0]

    def _names(self, key: str, names: list[str]) -> list[str]:
        for name in names:
            if key == "allow" and name == ALL:
                continue
            if not (name.isprintable() and 0 < len(name.encode()) <= 63):
                self._fail(key, f"{name!r} can't be a service's name")
        return names

    def _text(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            self._fail(key, f'{key} is a string: {key} = "…"')
        return value

    def _texts(self, key: str, value: object) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._fail(key, f'{key} is a list of strings: {key} = ["…"]')
        return value

    def _path(self, text: str) -> str:
        if "\0" in text:
            self._fail("\0", f"{text!r} can't be a path")
        return os.path.join(self.base, os.path.expanduser(text))

    def _known(self, name: str, known: Collection[str], kind: str) -> None:
        if name in known:
            return
        where = f" in [{self.section}]" if self.section and kind == "key" else ""
        self._fail(name, f"unknown {kind} {name!r}{where}; {units.nearest(name, known)}")

    def _fail(self, word: str, problem: str) -> NoReturn:
        raise ManifestError(f"{self.manifest.where(self.section, word)}: {problem}")
