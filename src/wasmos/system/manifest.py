"""What to boot: a TOML file, read and checked.

Law: an unknown key or a value of the wrong type is an error that names the
file, the line and the nearest right one; a manifest that was read without an
error can be booted as far as the manifest goes.
"""

from __future__ import annotations

import os
import tomllib

from wasmos.errors import ManifestError
from wasmos.kernel import ALL, Limits
from wasmos.system import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

SERVERS = ("vm", "console", "args", "echo", "pong", "fs", "tcpip")
CONNECT = ("none", "any", "all")
DEMO = os.path.join(os.path.dirname(__file__), "demo.toml")


class TaskPlan:
    """One task of the manifest, or what `start` gives to others."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.module = name
        self.args: list[str] = []
        self.allow: list[str] = []
        self.service: str | None = None
        self.priority = 8
        self.limits = Limits()


class Manifest:
    """A system as its file describes it; paths are absolute."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = os.path.splitext(os.path.basename(path))[0]
        self.programs: list[str] = []
        self.servers: list[str] = list(SERVERS)
        self.fs_load: str | None = None
        self.fs_save: str | None = None
        self.fs_files: dict[str, str] = {}
        self.listen: list[str] = []
        self.connect = "none"
        self.tasks: dict[str, TaskPlan] = {}
        self.spawn = TaskPlan("spawn")


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
        raise ManifestError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: {error}") from None
    return _Reader(path, base, text).read(tables)


class _Reader:
    """Walks the tables; every method either takes a value or raises."""

    def __init__(self, path: str, base: str, text: str) -> None:
        self.base = base
        self.lines = text.splitlines()
        self.manifest = Manifest(path)

    def read(self, tables: dict[str, Any]) -> Manifest:
        readers: dict[str, Callable[[dict[str, Any]], None]] = {
            "system": self._system,
            "fs": self._fs,
            "tcpip": self._tcpip,
            "task": self._tasks,
            "spawn": lambda table: self._plan("spawn", self.manifest.spawn, table),
        }
        for name, table in tables.items():
            self._known(name, readers, "section")
            if not isinstance(table, dict):
                self._fail(name, f"{name} is a section: write [{name}]")
            readers[name](table)
        return self.manifest

    def _system(self, table: dict[str, Any]) -> None:
        manifest = self.manifest
        for key, value in table.items():
            self._known(key, ("name", "programs", "servers"), "key", "system")
            if key == "name":
                manifest.name = self._text(key, value)
            elif key == "programs":
                folders = [self._path(item) for item in self._texts(key, value)]
                manifest.programs = [folder for folder in folders if os.path.isdir(folder)]
            else:
                manifest.servers = self._texts(key, value)
                for server in manifest.servers:
                    self._known(server, SERVERS, "server")

    def _fs(self, table: dict[str, Any]) -> None:
        for key, value in table.items():
            self._known(key, ("load", "save", "files"), "key", "fs")
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
        for key, value in table.items():
            self._known(key, ("listen", "connect"), "key", "tcpip")
            if key == "listen":
                self.manifest.listen = self._texts(key, value)
            else:
                self.manifest.connect = self._text(key, value)
                self._known(self.manifest.connect, CONNECT, "value of connect")

    def _tasks(self, table: dict[str, Any]) -> None:
        for name, entries in table.items():
            if not isinstance(entries, dict):
                self._fail(name, f"write [task.{name}]")
            plan = TaskPlan(name)
            self._plan(f"task.{name}", plan, entries)
            self.manifest.tasks[name] = plan

    def _plan(self, section: str, plan: TaskPlan, table: dict[str, Any]) -> None:
        setters: dict[str, Callable[[str, Any], None]] = {
            "module": lambda k, v: setattr(plan, "module", self._module(self._text(k, v))),
            "args": lambda k, v: setattr(plan, "args", self._texts(k, v)),
            "allow": lambda k, v: setattr(plan, "allow", self._names(k, v)),
            "service": lambda k, v: setattr(plan, "service", self._text(k, v)),
            "priority": lambda k, v: setattr(plan, "priority", self._priority(k, v)),
            "memory": lambda k, v: self._limit(plan, k, v, "memory_bytes", units.size),
            "cpu_time": lambda k, v: self._limit(plan, k, v, "cpu_seconds", units.seconds),
            "deadline": lambda k, v: self._limit(plan, k, v, "deadline_seconds", units.seconds),
            "table_elements": lambda k, v: self._limit(plan, k, v, "table_elements", int),
            "mailbox": lambda k, v: self._limit(plan, k, v, "mailbox", int),
        }
        for key, value in table.items():
            self._known(key, setters, "key", section)
            setters[key](key, value)

    def _limit(
        self, plan: TaskPlan, key: str, value: object, field: str, parse: Callable[[Any], object]
    ) -> None:
        try:
            plan.limits = plan.limits.replace(**{field: parse(value)})
        except (ValueError, TypeError) as error:
            self._fail(key, f"{key}: {error}")

    def _module(self, text: str) -> str:
        """A program's name, or a path relative to the manifest."""
        return self._path(text) if os.sep in text else text

    def _names(self, key: str, value: object) -> list[str]:
        names = self._texts(key, value)
        for name in names:
            if name != ALL and not 0 < len(name.encode()) <= 63:
                self._fail(key, f"{name!r} can't be a service's name")
        return names

    def _priority(self, key: str, value: object) -> int:
        if not isinstance(value, int) or not 0 <= value <= 15:
            self._fail(key, f"{key} is a number from 0 to 15, not {value!r}")
        return value

    def _text(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            self._fail(key, f'{key} is a string: {key} = "…"')
        return value

    def _texts(self, key: str, value: object) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._fail(key, f'{key} is a list of strings: {key} = ["…"]')
        return value

    def _path(self, text: str) -> str:
        return os.path.join(self.base, os.path.expanduser(text))

    def _known(self, name: str, known: Any, kind: str, section: str | None = None) -> None:
        if name in known:
            return
        import difflib

        where = f" in [{section}]" if section else ""
        near = difflib.get_close_matches(name, list(known), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
        self._fail(name, f"unknown {kind} {name!r}{where}; {hint}")

    def _fail(self, key: str, problem: str) -> NoReturn:
        # tomllib keeps no positions: the first line that shows the word is it.
        line = next((n for n, text in enumerate(self.lines, 1) if key in text), 1)
        raise ManifestError(f"{self.manifest.path}:{line}: {problem}")
