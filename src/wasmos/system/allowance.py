"""What a program on its own is allowed, before it runs: rules, from wherever they were said.

Law: each rule knows who said it, and one that makes no sense is an error before anything starts.
"""

from __future__ import annotations

import os

from wasmos.errors import UsageError
from wasmos.kernel import ALL, Rule
from wasmos.system import outfit
from wasmos.system.units import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from wasmos.kernel import Kernel, Task
    from wasmos.system.flags import Directories

# What `allow` can name here. `vm` lets a program register services and spawn
# nothing: there is no boot directory.
SERVICES = ("console", "args", "env", "fs", "tcpip", "clock", "random", "echo", "pong", "vm")
# What a program of another system takes for granted, and is granted unless a policy decides: its
# standard streams, its arguments, the variables that it was given, time and randomness. None of
# that reaches a file, a socket, or another program.
STANDARD = ("console", "args", "env.list", "clock", "random")
STANDARD_ORIGIN = "standard for WASI"
_ALL_OF_TCPIP = (Rule(ALL), Rule("tcpip"))


class Said(str):
    """A text that knows where it was said, such as "--allow"."""

    origin: str

    def __new__(cls, text: str, origin: str) -> Said:
        said = super().__new__(cls, text)
        said.origin = origin
        return said


class Allowance:
    """What a program may and may not do: rules, each with where it was said.

    ports: what is left for a port map. variables: of the environment, that were given a value.
    """

    def __init__(self) -> None:
        self.ports: list[str] = []
        self.variables: dict[str, str] = {}
        self._allow: list[tuple[Rule, str]] = []
        self._deny: list[tuple[Rule, str]] = []

    @property
    def services(self) -> Sequence[str]:
        """Which servers it takes, in the usual order."""
        named = {rule.service for rule, _ in self._allow}
        return SERVICES if ALL in named else [name for name in SERVICES if name in named]

    @property
    def asked_services(self) -> Sequence[str]:
        """Those that there are if somebody is asked: all. But who is given no arguments misses
        nothing without `args`, and isn't worth a question."""
        return [name for name in SERVICES if name != "args" or name in self.services]

    @property
    def has_directories(self) -> bool:
        """Whether some of its files are the host's, or an archive's."""
        return any({"dir", "archive"} & set(rule.badge) for rule, _ in self._allow)

    @property
    def unmapped(self) -> str:
        """What becomes of a port that nothing says the place of: who may use all of tcpip may
        listen, so it is somewhere; whoever wrote a rule for ports alone says where."""
        return "any" if any(rule in _ALL_OF_TCPIP for rule, _ in self._allow) else "refuse"

    def add(self, texts: str | Iterable[str], origin: str, *, denies: bool = False) -> None:
        """Rules. Raises UsageError."""
        into = self._deny if denies else self._allow
        for text in listed(texts):
            rule = Rule.parse(str(text)) if text else Rule("")
            if rule.service not in SERVICES and rule.service != ALL:
                what = "deny" if denies else "allow"
                hint = nearest(rule.service, SERVICES)
                raise UsageError(f"no service {rule.service!r} to {what}; {hint}")
            if rule.badge or denies:
                rule = _checked(rule, denies)
            into.append((rule, getattr(text, "origin", origin)))

    def imply(self, service: str, is_given: bool, origin: str) -> None:
        """What needs a service grants it."""
        if is_given:
            self._allow.append((Rule(service), origin))

    def repeat(self, clock: str | None, seed: str | int | None) -> None:
        """Time and randomness that are the same in each run. Raises UsageError."""
        if clock is None and seed is None:
            return
        from wasmos.system.flags import quoted

        if clock is not None:
            kind, colon, at = clock.partition(":")
            if kind != "fixed" or not colon:
                raise UsageError(f"clock {clock!r}: write fixed:2026-01-02T03:04:05")
            self.add((f"clock(at={quoted(at)})",), _origin(clock, "--clock"))
        if seed is not None:
            self.add((f"random(seed={quoted(str(seed))})",), _origin(str(seed), "--seed"))

    def add_standard(self) -> None:
        """What a program of another system takes for granted, as far as nothing was said of it."""
        said = {rule.service for rule, _ in self._allow}
        for text in STANDARD:
            rule = Rule.parse(text)
            if rule.service not in said or rule.service == "env":
                self._allow.append((rule, STANDARD_ORIGIN))

    def add_flags(
        self,
        dirs: Directories,
        listen: list[str],
        connect: list[str],
        env: str | Iterable[str] | Mapping[str, str],
    ) -> None:
        """What is written instead of rules. Raises UsageError."""
        from wasmos.system import flags

        for text, rule in flags.directories(dirs):
            self.add(rule, _origin(text, "--dir"))
        if listen:
            outfit.check_ports(listen)
            rules, self.ports = flags.listening(listen)
            self.add(rules, _origin(listen[0], "--listen"))
        if "none" in connect and len(connect) > 1:
            raise UsageError('destination "none" stands alone')
        for text in connect:
            if text == "none":
                nowhere = "tcpip.connect", "tcpip.dns_resolve"
                self.add(nowhere, _origin(text, "--connect none"), denies=True)
            self.add(flags.connecting(text), _origin(text, "--connect"))
        for text in variables(env):
            name, value, rule = flags.variable(text)
            if value is not None:
                self.variables[name] = value
            self.add(rule, _origin(text, "--env"))

    def add_policy(self, path: str | os.PathLike[str], name: str, *, needed: bool) -> None:
        """What a file says of a program. Raises ManifestError, NotGranted."""
        from wasmos.system.policy import policy

        allow, deny = policy.for_run(os.fspath(path), name, SERVICES, needed=needed)
        if any(_is_in_memory(right.rule) for right in allow):
            # It says what of these files: that there are some is no reason for more.
            self._allow = [each for each in self._allow if each != _IMPLIED_FILES]
        self._allow += ((right.rule, right.origin) for right in allow)
        self._deny += ((right.rule, right.origin) for right in deny)

    def give(self, kernel: Kernel, task: Task) -> None:
        for rule, origin in self._deny:
            kernel.deny(task, rule, origin=origin)
        given: set[Rule] = set()
        for rule, origin in self._allow:
            if rule not in given:
                given.add(rule)
                kernel.grant(task, rule, origin=origin)


_IMPLIED_FILES = Rule("fs"), "--files"


def _is_in_memory(rule: Rule) -> bool:
    """Whether it is for files, and not for those of a host directory or an archive."""
    return rule.service in ("fs", ALL) and not {"dir", "archive"} & set(rule.badge)


def _origin(text: str, origin: str) -> str:
    return str(getattr(text, "origin", origin))


def _checked(rule: Rule, denies: bool) -> Rule:
    from wasmos.system.policy import rights

    if denies:
        rights.check_denial(rule)
    rule = rights.beneath(os.getcwd(), rule)
    rights.check_badge(rule)
    return rule


def variables(env: str | Iterable[str] | Mapping[str, str]) -> list[str]:
    if isinstance(env, str):
        return [env]
    items: Any = getattr(env, "items", None)
    return list(env) if items is None else [f"{name}={value}" for name, value in items()]


def listed(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
