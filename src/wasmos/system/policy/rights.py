"""Rules as they stand in files: what an author asks for, what an operator grants and denies.

Law: a rule is understood in full or refused with its line: the service is known, the messages,
fields and badge parameters are, and a badge means something to its server. Directories and archives
are absolute from here on, so that rules from different files can be compared.
"""

from __future__ import annotations

import os

from wasmos.errors import RuleError, UsageError
from wasmos.kernel import ALL, Rule
from wasmos.system import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from wasmos.kernel import Denial, Kernel
    from wasmos.system.manifest.positions import Place
    from wasmos.system.manifest.tables import Tables


OF_HOST = ("dir", "archive")  # badge parameters that are paths of the host


class Right:
    """A rule and where it was said, such as "policy.toml:12" or "--allow"."""

    __slots__ = ("origin", "rule", "text")

    def __init__(self, rule: Rule, origin: str, text: str = "") -> None:
        self.rule = rule
        self.origin = origin
        self.text = text or str(rule)  # as it was written

    def __repr__(self) -> str:
        return f"<Right {self.rule} ({self.origin})>"


def rule_for(kernel: Kernel, denial: Denial) -> Rule | None:
    """The rule that would allow what was denied, and only that; None if there is none. A guest may
    have chosen the service's name so that a yes to it would mean everything."""
    try:
        rule = kernel.parse_rule(denial.rule)
    except RuleError:
        return None
    return None if rule.service != denial.service or rule.service == ALL else rule


def said(denial: Denial) -> str:
    """What a message that no rule can name says: of bytes, and of memory that is lent, how many."""
    return ", ".join(
        f"{name}={value['len']:,} bytes" if isinstance(value, dict) else f"{name}={value!r}"
        for name, value in denial.shown_fields.items()
    )


def looks_around(denial: Denial) -> bool:
    """Whether somebody only wanted to know what there is for him to use. An adapter does that for
    each program; who has no right to files or ports has none to be told of, and misses nothing."""
    return denial.message in ("fs.root", "tcpip.listener")


def read(tables: Tables, place: Place, value: object, *, deny: bool = False) -> list[Right]:
    """The rules of a list, each with its line. Raises ManifestError."""
    found = []
    for number, text in enumerate(tables.texts(place, value)):
        here = (*place, number)
        try:
            rule = beneath(tables.base, Rule.parse(text))
            check_badge(rule)
            if deny:
                check_denial(rule)
        except UsageError as error:
            tables.fail(here, str(error))
        found.append(Right(rule, tables.where(*here), text))
    return found


def check_denial(rule: Rule) -> None:
    """Raises UsageError for a rule that can't be there to deny."""
    if rule.badge:
        name = next(iter(rule.badge))
        raise UsageError(
            f'rule "{rule}": a rule that denies is about messages, whatever their {name}; '
            f"leave {name} out"
        )
    if rule.uses is not None or rule.seconds is not None:
        raise UsageError(f'rule "{rule}": a rule that denies has no end; leave the lifetime out')


def check_service(rule: Rule, known: Collection[str]) -> None:
    """Raises UsageError."""
    if rule.service not in known and rule.service != ALL:
        raise UsageError(f"no service {rule.service!r}; {units.nearest(rule.service, known)}")


def check_badge(rule: Rule) -> None:
    """Ask the server whether a badge means something. Raises UsageError."""
    if not rule.badge:
        return
    try:
        if rule.service == "fs":
            from wasmos.servers.fs import check_badge as check_directory

            check_directory(rule.badge)
        elif rule.service == "tcpip":
            from wasmos.servers.tcpip.badges import check_badge as check_address

            check_address(rule.badge)
        elif rule.service == "clock":
            from wasmos.servers.clock import check_badge as check_time

            check_time(rule.badge)
        elif rule.service == "random":
            from wasmos.servers.random import check_badge as check_seed

            check_seed(rule.badge)
    except UsageError as error:
        raise RuleError(f'rule "{rule}": {error}', str(rule)) from None


def beneath(base: str, rule: Rule) -> Rule:
    """The same rule with the directory or archive of the host, if it is relative, from `base`."""
    if rule.service == ALL:
        return rule
    badge = {
        key: _from(base, value) if key in OF_HOST and "\0" not in value else value
        for key, value in rule.badge.items()
    }
    return rule if badge == rule.badge else _with_badge(rule, badge)


def _from(base: str, path: str) -> str:
    path = os.path.join(base, os.path.expanduser(path))
    # `link/..` is not where it seems to be.
    return os.path.realpath(path) if ".." in path.split(os.sep) else os.path.normpath(path)


def from_here(text: str) -> str:
    """The text of a rule that somebody typed, with its directory from where he is. What can't be
    read here is left as it is: who knows all messages says what is wrong with it."""
    if not any(key in text for key in OF_HOST):
        return text
    try:
        rule = Rule.parse(text)
        made = beneath(os.getcwd(), rule)
    except (UsageError, OSError):
        return text
    return text if made is rule else str(made)


def _with_badge(rule: Rule, badge: dict[str, str]) -> Rule:
    request = None
    if rule.message is not None:
        request = rule.vocabulary.request(rule.service, rule.message)
    made = Rule(rule.service, request, rule.constraints, badge, vocabulary=rule.vocabulary)
    if rule.uses is None and rule.seconds is None:
        return made
    return made.replace(uses=rule.uses, seconds=rule.seconds)
