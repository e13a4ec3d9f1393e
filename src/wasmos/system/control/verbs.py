"""What a running system can be asked, and told to do.

Law: a verb's words are checked before anything is done; what it answers is plain data. Everything
that is granted or taken here says who did it. The shell does the same by the same functions.
"""

from __future__ import annotations

import os
from time import time

from wasmos.errors import UsageError
from wasmos.system import tasks
from wasmos.system.caps.capmap import grant_row, snapshot
from wasmos.system.policy.rights import check_badge
from wasmos.system.units import MAX_SECONDS, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from wasmos.kernel import Grant, Kernel, Rule, Task
    from wasmos.system.offer import Offer

    Words: TypeAlias = dict[str, Any]

MAX_USES = (1 << 31) - 1
MAX_LISTED = 8  # rules that an error names


class Desk:
    """Where a system is spoken to: its kernel and its name; `by`, for origins, is who speaks;
    `offer` what services it can have, None: nobody knows."""

    def __init__(
        self, kernel: Kernel, name: str, by: str = "control", offer: Offer | None = None
    ) -> None:
        self.kernel = kernel
        self.name = name
        self.by = by
        self.offer = offer


def hello(desk: Desk, _words: Words) -> Words:
    from wasmos import __version__

    return {
        "name": desk.name,
        "pid": os.getpid(),
        "started": time() - desk.kernel.uptime,
        "version": __version__,
        "tasks": len(desk.kernel.tasks),
    }


def ps(desk: Desk, _words: Words) -> Words:
    return {"tasks": tasks.rows(desk.kernel)}


def caps(desk: Desk, _words: Words) -> Words:
    return snapshot(desk.kernel, desk.name)


def kill(desk: Desk, words: Words) -> Words:
    task = tasks.called(desk.kernel, words["task"])
    desk.kernel.kill(task, f"by {desk.by}")
    return {"task": task.id, "name": task.name}


def grant(desk: Desk, words: Words) -> Words:
    task = tasks.called(desk.kernel, words["task"])
    uses, seconds = words.get("uses"), words.get("seconds")
    if uses is not None and not 1 <= uses <= MAX_USES:
        raise UsageError(f"a grant is used 1 to {MAX_USES:,} times, not {uses}")
    if seconds is not None and not 0 < seconds <= MAX_SECONDS:
        raise UsageError(f"a grant lasts more than 0 and at most {MAX_SECONDS:.0f} seconds")
    rule = desk.kernel.parse_rule(words["rule"])
    check_badge(rule)
    if desk.offer is not None:
        desk.offer.check_grant(rule)
        desk.offer.start(rule.service)
    made = desk.kernel.grant(task, rule, origin=desk.by, uses=uses, seconds=seconds)
    return grant_row(desk.kernel, made)


def deny(desk: Desk, words: Words) -> Words:
    task = tasks.called(desk.kernel, words["task"])
    rule = desk.kernel.parse_rule(words["rule"])
    if desk.offer is not None:
        desk.offer.check_denial(rule)
    return grant_row(desk.kernel, desk.kernel.deny(task, rule, origin=desk.by))


def revoke(desk: Desk, words: Words) -> Words:
    """A grant by its number, or of a task what this rule gave it, or with no rule everything."""
    if ("grant" in words) == ("task" in words) or ("grant" in words and "rule" in words):
        raise UsageError('revoke takes "grant", or "task" and if need be "rule"')
    if "grant" in words:
        found = [_live(desk.kernel, words["grant"])]
    else:
        task = tasks.called(desk.kernel, words["task"])
        found = _held(desk.kernel, task, words.get("rule"))
    gone = [each for root in found for each in root.walk()]
    rows = [grant_row(desk.kernel, each) for each in dict.fromkeys(gone)]
    for root in found:
        desk.kernel.revoke(root)
    return {"revoked": rows}


def _live(kernel: Kernel, id: int) -> Grant:
    found = kernel.find_grant(id)
    if found is None:
        raise UsageError(f"there is no grant {id}; caps lists them")
    if found.is_over:
        raise UsageError(f"grant {id} is {found.state} already")
    return found


def _held(kernel: Kernel, task: Task, rule: str | None) -> list[Grant]:
    """What a task holds by a rule, or for the service that is all of it, and what its former
    lives passed on of that."""
    grants = [grant for grant in task.grants if not grant.deny] + task.left
    if rule is None:
        return grants
    wanted = kernel.parse_rule(rule)
    found = _about(grants, wanted)
    if not found:
        raise UsageError(_not_held(kernel, task, wanted, grants))
    return found


def _about(grants: list[Grant], wanted: Rule) -> list[Grant]:
    text = str(wanted)
    return [grant for grant in grants if text in (str(grant.rule), grant.rule.service)]


def _not_held(kernel: Kernel, task: Task, wanted: Rule, grants: list[Grant]) -> str:
    """Why there is nothing to take back."""
    who = f"task {task.id} {task.name!r}"
    former = _about([each for each in kernel.former_grants(task) if not each.deny], wanted)
    if former:
        last = former[-1]
        return f"grant {last.id} of {who}, {last.rule}, is {last.state} already"
    rules = [str(grant.rule) for grant in grants]
    listed = ", ".join(rules[:MAX_LISTED] or ["nothing"]) + ", …" * (len(rules) > MAX_LISTED)
    services = {grant.rule.service for grant in grants}
    hint = nearest(wanted.service, sorted(services - {wanted.service}))
    if wanted.service in services or not hint.startswith("did"):
        hint = "to forbid a part of that, deny it"
    return f"{who} was not granted {wanted}, but {listed}; {hint}"


class Verb:
    """A row of the table: what does it, and the words that it needs and may have."""

    def __init__(
        self,
        run: Callable[[Desk, Words], Words] | None,
        needs: dict[str, tuple[type, ...]] | None = None,
        may: dict[str, tuple[type, ...]] | None = None,
    ) -> None:
        self.run = run
        self.needs = needs or {}
        self.words = self.needs | (may or {})


_TASK = (int, str)
VERBS: dict[str, Verb] = {
    "hello": Verb(hello),
    "ps": Verb(ps),
    "caps": Verb(caps),
    "kill": Verb(kill, {"task": _TASK}),
    "grant": Verb(
        grant, {"task": _TASK, "rule": (str,)}, {"uses": (int,), "seconds": (int, float)}
    ),
    "deny": Verb(deny, {"task": _TASK, "rule": (str,)}),
    "revoke": Verb(revoke, None, {"grant": (int,), "task": _TASK, "rule": (str,)}),
    "audit": Verb(None, None, {"calls": (bool,)}),  # the server streams it
}
_KINDS = {int: "a number", float: "a number", str: "a text", bool: "true or false"}


def check(words: Words) -> Verb:
    """The verb of a request whose words it can take. Raises UsageError."""
    name = words["do"]
    verb = VERBS.get(name)
    if verb is None:
        raise UsageError(f"nobody can do {name[:64]!r} here; {nearest(name[:64], VERBS)}")
    for word, value in words.items():
        if word == "do":
            continue
        kinds = verb.words.get(word)
        if kinds is None:
            known = ", ".join(verb.words) or "no words"
            raise UsageError(f"{name} doesn't know {word[:64]!r}; it takes {known}")
        if type(value) not in kinds:
            raise UsageError(f"{name}: {word!r} is {_KINDS[kinds[-1]]}")
    missing = [word for word in verb.needs if word not in words]
    if missing:
        raise UsageError(f"{name} needs {' and '.join(map(repr, missing))}")
    return verb
