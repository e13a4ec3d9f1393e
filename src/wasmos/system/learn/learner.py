"""Watching a task, to learn what it needs.

Law: a message is allowed here for what it says and nothing more: a yes is a grant for exactly that
message. So each different one is seen once, whatever the program does; and what a rule denies, or
the world, isn't learnt.
"""

from __future__ import annotations

from wasmos.abi.networks import dotted
from wasmos.kernel import Rule
from wasmos.system.learn.learnt import Line, Need, lines
from wasmos.system.policy.rights import looks_around, rule_for, said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeAlias

    from wasmos.abi import Message
    from wasmos.kernel import Denial, Grant, Kernel, Task

    Ask: TypeAlias = Callable[[Denial], bool | None]
    Key: TypeAlias = tuple[str, tuple[tuple[str, object], ...]]
    NeedKey: TypeAlias = tuple[str, str, bool]  # rule, host, whether it was allowed once

ORIGIN = "learn"
MAX_NEEDS = 4096  # different messages; then nothing new is allowed
MAX_NOTES = 64


class Learner:
    """Give it to `Kernel.ask` for a task that was granted nothing but what is watched.

    ask: asked before anything is allowed, such as a Prompter; what it grants is what is learnt, and
        nothing else: an address stays one, whatever name the guest found it by, and what was
        granted for a number of uses is no rule for good.
    approved: rules whose messages are allowed without a question, if there is an `ask`.
    generalise: allow what can't be written as an exact rule, and say so.
    is_adapted: an adapter speaks for the program, and looks up what that may never use.
    `notes`: what wasn't allowed, and why.
    """

    def __init__(
        self, kernel: Kernel, task: Task, *, ask: Ask | None = None,
        approved: Iterable[Rule] = (), generalise: bool = False, is_adapted: bool = False,
    ) -> None:  # fmt: skip
        self.notes: dict[str, None] = {}
        self.names: dict[str, str] = {}  # address → the name that had it last
        self.binds: dict[int, str] = {}  # guest's port → where it is
        self.idle: set[int] = set()  # guest's ports that an adapter listened on for nobody
        self._kernel = kernel
        self._task = task
        self._ask = ask
        self._approved = tuple(approved)
        self._generalise = generalise
        self._is_adapted = is_adapted
        self._needs: dict[NeedKey, Need] = {}
        self._keys: dict[Key, set[NeedKey]] = {}
        self._named: dict[str, tuple[str, ...]] = {}  # message → its fields that rules name
        self._answered: dict[Key, int] = {}
        self._refused: set[str] = set()  # services that refused something, or a rule for them
        self._hears = True
        kernel.audit(self._heard, calls=True)
        kernel.on_denial(self._denied)

    def __call__(self, denial: Denial) -> bool:
        """Whether the kernel is to look again."""
        if denial.cause == "denied" or not self._hears:
            return False
        if looks_around(denial):
            return self._shown(denial)
        rule = self._rule(denial)
        if rule is None or len(self._needs) >= MAX_NEEDS:
            return False
        asks = self._ask is not None and not any(one.covers(rule) for one in self._approved)
        if asks:
            before = {grant.id for grant in self._task.grants}
            if not self._ask(denial):  # type: ignore[misc]
                return False
            new = [grant for grant in self._task.grants if grant.id not in before]
            is_once, rule = self._answer(new, rule)
            self._learn(denial, rule, is_once=is_once)
        else:
            self._kernel.grant(self._task, rule, origin=ORIGIN)
            self._learn(denial, rule)
        return True

    def _shown(self, denial: Denial) -> bool:
        """Whether it is told what it could use, which is needed by who then uses it and is part of
        that right. A right to files would show it some; one to listen to nobody shows none."""
        if denial.service == "fs":
            return False
        self._kernel.grant(self._task, denial.rule, origin=ORIGIN)
        return True

    def _answer(self, granted: list[Grant], rule: Rule) -> tuple[bool, Rule]:
        """Whether it was granted with an end, and the rule without one."""
        for grant in granted:
            always = grant.rule.replace(uses=None, seconds=None)
            if always.covers(rule, self._task.name):
                return (grant.uses or grant.expires_ns) is not None, always
        return False, rule

    def _rule(self, denial: Denial) -> Rule | None:
        """What would allow it; None if that is more than was asked for, and nobody wants that."""
        rule = rule_for(self._kernel, denial)
        if rule is None:
            return None
        named = [] if denial.cls is None else _meant(denial.cls)
        if len(rule.constraints) == len(named) and denial.cls is not None:
            return rule
        if not self._generalise:
            self._note(
                f"{denial.message}({said(denial)}): no rule is for just this; try --generalise"
            )
            return None
        return rule

    def _learn(self, denial: Denial, rule: Rule, *, is_once: bool = False) -> None:
        cls = denial.cls
        named = () if cls is None else tuple(_meant(cls))
        self._named[denial.message] = named
        wide = cls is None or len(rule.constraints) < len(named)
        comment = "GENERALISED: any such message" if wide else ""
        need = Need(rule, comment=comment, is_once=is_once)
        if not wide and denial.message == "tcpip.connect":
            self._name_host(need, denial.shown_fields)
        key = str(rule), need.badge.get("host", ""), is_once
        self._needs.setdefault(key, need)
        self._keys.setdefault(_key(denial.message, named, denial.shown_fields), set()).add(key)

    def _name_host(self, need: Need, fields: dict[str, Any]) -> None:
        """An address that a name had is known by the name: the next time it may be another. If
        somebody was asked, it was about the address: the name is the guest's choice."""
        address = fields["dst_addr"]
        name = self.names.get(address)
        if name is None:
            return
        if self._ask is not None:
            need.comment = f"it looked up {name} and was told this address"
            return
        from wasmos.servers.tcpip.addresses import is_public

        need.badge["host"] = name
        if is_public(address):  # others are allowed by nobody who doesn't name them
            need.unsaid = ("dst_addr",)

    # --- what is heard ---

    def resolved(self, hostname: str, address: int) -> None:
        """A name was looked up, and this was the answer. Of two names it is the later."""
        text = dotted(address)
        self.names.pop(text, None)
        self.names[text] = hostname
        if len(self.names) > MAX_NEEDS:
            del self.names[next(iter(self.names))]

    def _heard(self, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            message = entry.get("message", "")
            if entry.get("task") != self._task.id or message not in self._named:
                continue
            step = {"call": 1, "denial": -1 if entry.get("cause") == "server" else 0}
            key = _key(message, self._named[message], entry.get("fields", {}))
            count = entry.get("count", 1) * step.get(entry["event"], 0)
            if key in self._keys:
                self._answered[key] = self._answered.get(key, 0) + count

    def _denied(self, denial: Denial) -> None:
        if denial.task == self._task.id and self._hears and not looks_around(denial):
            self._refused.add(denial.service)
            self._note(f"{denial.rule}: {denial.reason}")

    def _note(self, note: str) -> None:
        if len(self.notes) < MAX_NOTES:
            self.notes[note] = None

    # --- what was learnt ---

    def finish(self) -> None:
        """Hear no more. Before the kernel closes: then everybody is answered "no"."""
        if self._hears:
            self._kernel.end_audit(self._heard)
            self._hears = False
        for name in sorted(self._task.denied):
            self._note(f"looked up the service {name}, and there is none")

    @property
    def needs(self) -> list[Need]:
        """What was needed and given. What its service refused each time isn't among it."""
        refused = {
            each
            for key, rules in self._keys.items()
            if self._answered.get(key, 0) < 1
            for each in rules
        }
        found = []
        for key, need in self._needs.items():
            port = _port(need)
            if key in refused or port in self.idle:
                continue
            if port in self.binds:
                need.badge["bind"] = self.binds[port]
            found.append(need)
        return found

    def lines(self, more: Iterable[Need] = ()) -> list[Line]:
        """The rules of the policy. `more`: what others have watched."""
        needs = [need for need in self.needs if not need.is_once]
        found = lines([*needs, *more], self._task.name, generalise=self._generalise)
        used = {line.rule.service for line in (*found, *self.once())}
        if self._is_adapted:
            return found
        mine = "lookup", self._task.id
        events = [e for e in self._kernel.events() if (e.kind, e.task) == mine and e.peer]
        looked_up = {self._kernel.name_of(event.peer) for event in events}
        for name in sorted(looked_up - used - self._refused):  # of these more is said already
            self._note(f"looked up the service {name}, and sent it nothing that is allowed here")
        return found

    def once(self) -> list[Line]:
        """Rules for what was allowed once, which are for people to decide on: one for each."""
        needs = [need for need in self.needs if need.is_once]
        return [line for need in needs for line in lines([need], self._task.name)]


def _meant(cls: type[Message]) -> list[str]:
    return [field.name for field in cls.FIELDS if field.meaning not in ("", "secret")]


def _port(need: Need) -> int:
    """The one that is listened on; 0 if it is none."""
    digits = str(need.rule.constraints.get("listen_port", "")).partition("=")[2]
    return int(digits) if digits.isdigit() else 0


def _key(message: str, named: tuple[str, ...], fields: dict[str, Any]) -> Key:
    return message, tuple((name, fields.get(name)) for name in named)
