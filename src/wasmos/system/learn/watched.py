"""Servers that remember what was done with them.

Law: what they answer is what they always do. A file is read and written under the grant that it was
opened under, so `fs` is granted whole, and `WatchedFs` tells what is done with it. `WatchedTcpip`
tells which addresses names had, and a program that asks for them the ports that it could listen on.
`WatchedEnv` tells which variables were read all at once.
"""

from __future__ import annotations

from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.kernel import Caller, Lent, Rule, exactly
from wasmos.servers.env import Env, is_askable, nth
from wasmos.servers.fs import Fs
from wasmos.servers.fs.world import CREATE, EMPTY, TO_WRITE
from wasmos.servers.tcpip import Tcpip
from wasmos.servers.tcpip.sockets import Port
from wasmos.system.learn.learnt import Need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from wasmos.kernel import Grant
    from wasmos.servers.fs.views import Handle
    from wasmos.servers.tcpip.sockets import Socket

MAX_USES = 4096  # different paths and rules that are remembered of one grant
MAX_PATHS = 24  # that a comment lists


class _Use:
    """What was done under one grant for fs."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.wrote = False
        self.by_handle = False  # it wrote to a file that was open
        self.paths: dict[str, None] = {}
        self.rules: dict[str, Rule] = {}
        self.inexact: dict[str, None] = {}


class WatchedEnv(Env):
    """An env server that remembers which variables it has shown to who reads all of them.

    on_read: called with their names before they are read for the first time.
    """

    def __init__(
        self,
        variables: Mapping[int, Mapping[str, str]],
        on_read: Callable[[list[str]], object],
    ) -> None:
        super().__init__(variables)
        self._on_read = on_read
        self._read: dict[str, None] | None = None

    def needs(self) -> list[Need]:
        rules = [variable(name) for name in self._read or ()]
        return [Need(rule) for rule in rules if rule is not None]

    def env_list(self, caller: Caller, index: int) -> str:
        """All of them: what it then asks for is what it needs."""
        return nth([name for name in sorted(self._of(caller.id)) if is_askable(name)], index)

    def env_read(self, caller: Caller, into: Lent) -> tuple[int, int, int]:
        if self._read is None:
            self._read = {}
            self._on_read(list(self._of(caller.id)))
        self._read |= dict.fromkeys(self._readable(caller).entries)
        return super().env_read(caller, into)


def variable(name: str) -> Rule | None:
    """The right to one; None if there is none."""
    return exactly("env", abi.EnvGet(name)) if is_askable(name) else None


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
            for id, (_, _, at, _) in worlds.items()
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
    if len(use.paths) < MAX_USES:
        use.paths |= dict.fromkeys(paths.values())
    rule = exactly("fs", (abi.RPCS[name].request.TYPE, dict(paths)))
    if rule is None:
        use.inexact |= dict.fromkeys(paths.values())
    elif len(use.rules) < MAX_USES:
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
