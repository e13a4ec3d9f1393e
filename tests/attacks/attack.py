"""Attacks: tests that say what was tried, and show the line that stopped it.

Law: a line counts only if the system under attack produced it while it was attacked: a record of
its audit log as people are shown it, an event of its kernel, the text of an error that it raised
or printed, or, quoted, what it left behind. Nothing here makes one up for it.

    @attack("a forged sender", "A guest writes … into …", stopped_by=r"call evil to victim")
    def test_a_forged_sender(scene: Scene) -> None:

Every line that stopped an attack is kept, and docs/attacks.md is made of them; see table.py.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wasmos
from tests.attacks.agent import AGENT, Agent, Next, serve_hand, settle
from tests.support import wat
from tests.support.audit import BEGIN_NS, rows
from wasmos import abi
from wasmos.cli import shown
from wasmos.servers.vm import Vm
from wasmos.system.audit import AuditLog, Recorder
from wasmos.system.audit.show import show


class Seen:
    """One line of the table. `case`: of an attack in many forms, which."""

    def __init__(self, theme: str, test: str, name: str, how: str, case: str, line: str) -> None:
        self.theme = theme
        self.test = test
        self.name = name
        self.how = how
        self.case = case
        self.line = line


SEEN: dict[tuple[str, str], Seen] = {}  # by test and case


def attack(
    name: str, how: str, *, stopped_by: str, each: str = ""
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test as an attack. After it, a line that matches `stopped_by` must be there. `each`:
    the parameter whose values are attacks of their own."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        theme = test.__module__.rpartition(".test_")[2]

        @functools.wraps(test)
        def played(**given: Any) -> None:
            test(**given)
            line = (given.get("scene") or given["real_scene"]).line(stopped_by)
            case = _case(given[each]) if each else ""
            seen = Seen(theme, test.__name__, name, how, case, line)
            SEEN.setdefault((test.__name__, case), seen)

        return played

    return decorate


def _case(value: object) -> str:
    if not value:
        return "(empty)"
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    text = "".join(c if c.isprintable() and c.isascii() else f"\\x{ord(c):02x}" for c in text)
    return text if len(text) <= 48 else f"{text[:40]}… ({len(text)} bytes)"


class Scene:
    """A system under attack: a kernel that is audited to a file, and agents on it."""

    def __init__(self, kernel: wasmos.Kernel, folder: Path) -> None:
        self.kernel = kernel
        self.folder = folder
        self._path = folder / "audit.jsonl"
        self._log = AuditLog(self._path, fsync="never")
        offset = BEGIN_NS - kernel.now_ns
        self._recorder = Recorder(self._log, offset_ns=offset)
        kernel.audit(self._recorder.record)
        kernel.set_trace(True)
        self._hand = serve_hand(kernel)
        self._program: wasmos.Program | None = None
        self._said: list[str] = []

    # --- who is on it ---

    def agent(self, name: str, *allow: str, **options: Any) -> Agent:
        """A guest that does what the test says, with these rights."""
        if self._program is None:
            self._program = self.kernel.load(AGENT, trusted=True)
        task = self.kernel.spawn(self._program, name=name, allow=["hand"], **options)
        for rule in allow:
            self.kernel.grant(task, rule, origin="policy.toml:3")
        return self.adopt(task)

    def adopt(self, task: wasmos.Task) -> Agent:
        """A guest that was spawned by somebody else, from `program`."""
        settle(self.kernel)
        return Agent(self._hand, task)

    @property
    def program(self) -> wasmos.Program:
        if self._program is None:
            self._program = self.kernel.load(AGENT, trusted=True)
        return self._program

    def guest(self, name: str, source: str, *allow: str, **options: Any) -> wasmos.Task:
        """A guest from WebAssembly text."""
        task = self.kernel.spawn(source, name=name, trusted=True, **options)
        for rule in allow:
            self.kernel.grant(task, rule, origin="policy.toml:3")
        return task

    def serve(self, service: wasmos.Service, **options: Any) -> wasmos.Task:
        return self.kernel.serve(service, **options)

    # --- what it says ---

    def say(self, text: object) -> None:
        """What a person was shown: an error that was raised, a line on stderr."""
        self._said.append(f"error: {text}" if isinstance(text, BaseException) else str(text))

    def line(self, pattern: str) -> str:
        """The first line that matches."""
        lines = self.lines()
        found = next((line for line in lines if re.search(pattern, line)), None)
        assert found is not None, f"nothing says {pattern!r}:\n" + "\n".join(lines[-60:])
        return found.replace(str(self.folder), "…")

    def lines(self) -> list[str]:
        self.kernel.take_records()
        self._recorder.flush()
        audit = [f"audit: {_shown(record)}" for record in rows(self._path)]
        events = [
            f"event: {text}" for event in self.kernel.events() if (text := self._event(event))
        ]
        return [*self._said, *audit, *events]

    def _event(self, event: wasmos.Event) -> str:
        if event.type in (Next.TYPE, Next.TYPE + 1):  # the strings of our puppets
            return ""
        peer = self.kernel.name_of(event.peer)
        who = f"{event.kind} {event.name}[{event.task}]"
        to = f" to {peer}[{event.peer}]" if peer else f" to {event.peer}"
        if event.kind == "denial" and not event.peer:
            return f"{who}: lookup: {abi.error_name(event.code)}"
        if event.kind not in ("call", "reply", "oneway", "denial", "lost", "refused"):
            return who
        kind = abi.MESSAGES.get(event.type)
        if event.type < 0 and not event.code:
            return f"{who}{to}: {abi.error_name(event.type)}"
        code = f": {abi.error_name(event.code)}" if event.code < 0 else ""
        return f"{who}{to} {event.type if kind is None else kind.NAME}{code}"

    def close(self) -> None:
        self.kernel.end_audit(self._recorder.record)
        self._log.close()


def _shown(record: dict[str, Any]) -> str:
    """As `wasmos audit` shows it, without number and time; and the rule, as --explain does."""
    text = " ".join(shown(show(record)).split()[2:])
    if record["event"] in ("denial", "call") and "rule" in record:
        text += f"; rule {record['rule']}"
    return text


class Bank(wasmos.Service):
    """A service with something to lose: notes every message that reaches it, and whose it was."""

    name = "bank"

    def __init__(self, name: str = "bank") -> None:
        self.name = name  # type: ignore[misc]
        self.seen: list[tuple[int, object]] = []

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        self.seen.append((caller.id, value))
        return value

    def echo(self, caller: wasmos.Caller, data: bytes) -> bytes:
        self.seen.append((caller.id, data))
        return data

    def task_destroyed(self, caller: wasmos.Caller, task: int) -> None:
        self.seen.append((caller.id, task))


class Slow(wasmos.Service):
    """Answers a ping when it is told to."""

    name = "slow"

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.seen: list[int] = []

    async def ping(self, caller: wasmos.Caller, value: int) -> int:
        import asyncio

        self.seen.append(caller.id)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.waiting.append(answer)
        return await answer


def serve_vm(scene: Scene, **options: Any) -> None:
    """`vm`, which spawns agents: what they are given is what the spawning task asks for, and
    everything if it doesn't say; and of that, as much as it holds."""

    async def spawn(
        name: str, caller: wasmos.Caller, rules: list[wasmos.Rule] | None
    ) -> wasmos.Task:
        parent = scene.kernel.find(caller.id)
        allow: list[Any] = ["*"] if rules is None else list(rules)
        task = scene.kernel.spawn(scene.program, name=name, parent=parent, allow=allow)
        scene.kernel.grant(task, "hand")
        return task

    scene.serve(Vm(spawn, **options))


__all__ = ["SEEN", "Agent", "Bank", "Scene", "Slow", "attack", "serve_vm", "settle", "wat"]
