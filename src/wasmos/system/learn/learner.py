"""Watching a task, to learn what it needs.

Law: a message is allowed here for what it says and nothing more: a yes is a grant for exactly that
message. So each different one is seen once, whatever the program does; and what a rule denies, or
the world, isn't learnt.

A file is read and written under the grant that it was opened under, so `fs` is granted whole, and
`WatchedFs` tells what is done with it. `WatchedTcpip` tells which addresses names had, and a
program that asks for them the ports that it could listen on.
"""

from __future__ import annotations

from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.abi.networks import dotted
from wasmos.errors import ServiceError
from wasmos.kernel import Caller, Rule, exactly
from wasmos.servers.fs import Fs
from wasmos.servers.fs.world import CREATE, EMPTY, TO_WRITE
from wasmos.servers.tcpip import Tcpip
from wasmos.servers.tcpip.sockets import Port
from wasmos.system.learn.learnt import Line, Need, lines
from wasmos.system.policy.rights import looks_around, rule_for, said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeAlias

    from wasmos.abi import Message
    from wasmos.kernel import Denial, Grant, Kernel, Task
    from wasmos.servers.fs.views import Handle
    from wasmos.servers.tcpip.sockets import Socket

    Ask: TypeAlias = Callable[[Denial], bool | None]
    Key: TypeAlias = tuple[str, tuple[tuple[str, object], ...]]
    NeedKey: TypeAlias = tuple[str, str, bool]  # rule, host, whether it was allowed once

ORIGIN = "learn"
MAX_NEEDS = 4096  # different messages; then nothing new is allowed
MAX_NOTES = 64
MAX_PATHS = 24  # that a comment lists


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


# --- what is watched in servers ---


class _Use:
    """What was done under one grant for fs."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.wrote = False
        self.by_handle = False  # it wrote to a file that was open
        self.paths: dict[str, None] = {}
        self.rules: dict[str, Rule] = {}
        self.inexact: dict[str, None] = {}


class WatchedFs(Fs):
    """An fs server that remembers what was done under which grant."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._uses: dict[int, _Use] = {}
        self._shown: dict[int, _Use] = {}  # of the places that somebody asked for
        for name in (*_BY_PATH, *_BY_NUMBER):
            watch = self._watched if name in _BY_PATH else self._watched_open
            setattr(self, name, watch(name, getattr(self, name)))

    def needs(self, *, numbered: bool = False) -> list[Need]:
        """What was needed, in order of the grants. `numbered`: what was shown was, too, if only so
        that what comes after it, a socket, has the number that it had."""
        found = {**self._shown, **self._uses} if numbered else self._uses
        return [need for id, use in sorted(found.items()) for need in self._needs_of(id, use)]

    def _needs_of(self, id: int, use: _Use) -> list[Need]:
        return _needs_of(use, was_shown=id in self._shown)

    def fs_root(self, caller: Caller, index: int) -> str:
        place = super().fs_root(caller, index)
        if (use := self._place_of(caller, place)) is not None:
            self._shown[use.grant.id] = use
        return place

    def _watched(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, with a note of what it was asked for."""
        fields, paths = _BY_PATH[name]

        def watched(caller: Caller, *values: Any) -> Any:
            said = dict(zip(fields, values, strict=True))
            asked = {path: said[path] for path in paths}
            uses = [use for path in asked.values() for use in self._used_by(caller, name, path)]
            code = None
            try:
                return method(caller, *values)
            except ServiceError as error:
                code = error.code
                raise
            finally:
                for use in uses:
                    if code == ErrorCode.NOT_ALLOWED:
                        use.paths |= dict.fromkeys(asked.values())  # and nothing came of it
                    else:
                        writes = _writes(name, said) and code != ErrorCode.CROSS_DEVICE
                        _note(use, name, asked, writes=writes)

        return watched

    def _watched_open(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """The same for what changes a file that is open."""

        def watched(caller: Caller, fd: int, *values: Any) -> Any:
            answer = method(caller, fd, *values)
            use = self._uses.get(self._held(name, caller, fd).grant)
            if use is not None:
                use.wrote = use.by_handle = True
            return answer

        return watched

    def _held(self, name: str, caller: Caller, fd: int) -> Handle:
        return self._handle(caller, fd) if name == "fs_write" else self._file(caller, fd)

    def _used_by(self, caller: Caller, name: str, path: str) -> list[_Use]:
        """What a message about a path makes use of; of a directory on the way to several places
        that is listed, each of them."""
        found = [self._place_of(caller, path)]
        if name in _TO_LIST:
            found += map(self._use_of, self._below(caller, path))
        return [self._uses.setdefault(use.grant.id, use) for use in found if use is not None]

    def _below(self, caller: Caller, path: str) -> list[int]:
        """The grants whose places a directory is on the way to."""
        names = tuple(name for name in path.split("/") if name not in ("", "."))
        worlds = self._worlds(caller).worlds
        return [
            id
            for id, (_, _, at) in worlds.items()
            if len(at) > len(names) and at[: len(names)] == names
        ]

    def _place_of(self, caller: Caller, path: str) -> _Use | None:
        """A new use of what a path belongs to."""
        try:
            place = self._worlds(caller).find(path)
        except ServiceError:
            return None
        return self._use_of(place.owner if place.mount is None else place.mount.grant)

    def _use_of(self, id: int) -> _Use | None:
        grant = self.kernel.find_grant(id)
        return None if grant is None else _Use(grant)


def _note(use: _Use, name: str, paths: dict[str, str], *, writes: bool) -> None:
    use.wrote = use.wrote or writes
    if len(use.paths) < MAX_NEEDS:
        use.paths |= dict.fromkeys(paths.values())
    rule = exactly("fs", (abi.RPCS[name].request.TYPE, dict(paths)))
    if rule is None:
        use.inexact |= dict.fromkeys(paths.values())
    elif len(use.rules) < MAX_NEEDS:
        use.rules[str(rule)] = rule


def _writes(name: str, said: dict[str, Any]) -> bool:
    if name == "fs_open_file":
        return bool(said["flags"] & (CREATE | EMPTY | TO_WRITE))
    return name not in _TO_LOOK


def _needs_of(use: _Use, *, was_shown: bool) -> list[Need]:
    badge = dict(use.grant.badge)
    shown = sorted(use.paths)
    listed = ", ".join(shown[:MAX_PATHS]) + (", …" if len(shown) > MAX_PATHS else "")
    is_host = "dir" in badge or "archive" in badge
    if not is_host and not use.by_handle and not use.inexact:
        # Who was shown the place has to be shown it again, and few of these rules do that, too.
        shown_again = [_TO_BE_SHOWN] if was_shown else []
        return [Need(rule) for rule in (*use.rules.values(), *shown_again)]
    if is_host:
        if not use.wrote:
            badge["mode"] = "ro"
        comment = f"used: {listed}" if listed else "its place comes before a socket"
        return [Need(Rule("fs", badge=badge), comment=comment)]
    why = "a path that no rule can name" if use.inexact else "a file is written to as it was opened"
    comment = f"GENERALISED, all files: {why}; used: {listed}"
    return [Need(Rule("fs", badge=badge if use.wrote else {"mode": "ro"}), comment=comment)]


class WatchedTcpip(Tcpip):
    """A tcpip server that tells which address a task was given for a name.

    offered: the ports that `tcpip_listener` tells, as if there were a right to listen on each.
    asked: the ports that somebody wanted to have connections from. An adapter listens on whatever
        it is told, and its program may never look.
    """

    def __init__(
        self, resolved: Callable[[str, int], object], offered: Sequence[int] = (), **options: Any
    ) -> None:
        super().__init__(**options)
        self._resolved = resolved
        self.offered = set(offered)
        self.asked: set[int] = set()

    def tcpip_listener(self, caller: Caller, index: int) -> int:
        if not 0 <= index < len(self.offered):
            return super().tcpip_listener(caller, index)
        port = sorted(self.offered)[index]
        self._told.setdefault(caller.id, set()).add(port)
        return port

    def _ask(self, socket: Socket) -> None:
        if isinstance(socket, Port):
            self.asked.add(socket.guest_port)
        super()._ask(socket)

    async def tcpip_dns_resolve(self, caller: Caller, hostname: str) -> int:
        address = await super().tcpip_dns_resolve(caller, hostname)
        self._resolved(hostname, address)
        return address


def _by_path() -> dict[str, tuple[list[str], list[str]]]:
    """The messages that name files, what else they say, and the fields that are paths."""
    found = {}
    for name, rpc in abi.RPCS.items():
        fields = rpc.request.FIELDS
        paths = [field.name for field in fields if field.meaning == "path"]
        if name.startswith("fs_") and paths:
            found[name] = [field.name for field in fields], paths
    return found


_BY_PATH = _by_path()
_TO_BE_SHOWN = Rule.parse("fs.root")
# What changes nothing, of these; and what changes something, of those about open files.
_TO_LOOK = ("fs_open", "fs_readdir", "fs_stat", "fs_read_link")
_TO_LIST = ("fs_readdir", "fs_open_file")
_BY_NUMBER = ("fs_write", "fs_write_at", "fs_resize", "fs_allocate", "fs_set_file_times")
