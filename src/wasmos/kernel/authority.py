"""Who may send what to whom: the tree of grants of one kernel.

Law: a task starts with nothing, and what was passed on is never more than what it came from:
what a derived grant demands is what its rule demands and all that its ancestors do. Whatever
changes here is in force in the core before the method returns, and is told to whoever audits.

The core checks; this is its ledger. A grant whose holder ends stays in the tree as long as others
were derived from it: a child of it may go on, and can still be taken back.
"""

from __future__ import annotations

from itertools import islice

from wasmos import abi
from wasmos.errors import CapabilityDenied, RuleError, UsageError
from wasmos.kernel import grant as states
from wasmos.kernel.bounds import (
    COMPARISON,
    MAX_ALTERNATIVES,
    MAX_DEPTH,
    MAX_EFFORT,
    MAX_HELD,
    MAX_PASSED_ON,
    MAX_TOKENS,
    Budget,
    effort,
)
from wasmos.kernel.grant import Grant
from wasmos.kernel.report import Report
from wasmos.kernel.rule import Rule
from wasmos.kernel.vocabulary import Vocabulary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from wasmos.kernel.grant import Compiled
    from wasmos.kernel.kernel import Kernel
    from wasmos.kernel.rule import Sent
    from wasmos.kernel.task import Task
    from wasmos.kernel.timers import Timer

EVERY = "*"
MAX_SWEPT = 64  # that are used up are looked at again at a time
REMEMBERED = 4096  # grants that are over, and may still be explained
MAX_LOST = 64  # of one task, the last that ended: each is asked about each message it is denied
MAX_LOOKED_BACK = 1 << 11  # steps of that, see `bounds`: a tenth of a millisecond


class Authority:
    """The grants of one kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._last = 0
        self.vocabulary = Vocabulary.default()
        self._interfaces: list[Any] = []
        # The same few rules come again and again: what they say is worked out once.
        self._rules: dict[str, Rule] = {}
        self._compiled: dict[tuple[Rule, str, bool], Compiled] = {}
        self.live: dict[int, Grant] = {}  # live, offered, and those left by their holder
        self._of_task: dict[int, dict[int, Grant]] = {}
        self._passed_on: dict[int, set[int]] = {}  # task → what it passed on
        self._former: dict[int, set[int]] = {}  # task → its former lives, as far as left_of needs
        self._over: dict[int, Grant] = {}
        self._lost: dict[int, dict[int, Grant]] = {}  # task → what admitted its messages once
        self._spent: dict[int, Grant] = {}  # used up, but something hangs on it
        self._ended: list[Grant] = []  # of those, the ones whose holder has just ended
        self._timers: dict[int, Timer] = {}
        self.report = Report(kernel, self)

    # --- looking ---

    def parse(self, rule: Rule | str) -> Rule:
        """A rule from its text. Raises RuleError."""
        if isinstance(rule, Rule):
            if rule.vocabulary is self.vocabulary:
                return rule
            rule = str(rule)  # what its messages are may not have been known then
        known = self._rules.get(rule)
        if known is None:
            if len(self._rules) >= REMEMBERED:
                self._rules.clear()
            known = self._rules[rule] = Rule.parse(rule, self.vocabulary)
        return known

    def parse_denial(self, rule: Rule | str) -> Rule:
        """A rule that is to deny. Raises RuleError, UsageError."""
        rule = self.parse(rule)
        if rule.uses or rule.seconds:
            raise UsageError(f"{rule}: a rule that denies has no lifetime")
        if rule.badge:
            # The kernel can't tell what a badge means, so it would deny more than was said.
            raise UsageError(f"{rule}: a rule that denies has no {', '.join(rule.badge)}")
        return rule

    def learn(self, interface: Any) -> bool:
        """Rules may name the messages of one more interface. False if they may already. Raises
        UsageError for one whose numbers are other messages' already."""
        if interface is abi or interface in self._interfaces:
            return False
        if clash := self.vocabulary.clash(interface):
            raise UsageError(f"{clash}; begin with other numbers (`first`), or use one module")
        self._interfaces.append(interface)
        self._rules.clear()
        self._compiled.clear()
        self.vocabulary = Vocabulary(abi, *self._interfaces)
        # Each after what it was derived from.
        changed = {grant for grant in self.live.values() if self._read_again(grant)}
        for heir in self.live.values():
            for rule in changed.intersection(heir.excepts):
                self._kernel.lift_exception(heir.id, rule.id)
                self._except(heir, rule)
            self._weigh(heir)
        return True

    def _read_again(self, grant: Grant) -> bool:
        """Of a service that nobody knew, fields may turn out to have a default, and a name to be
        another message's. Whether that changes what the grant is for."""
        try:
            rule = self.parse(str(grant.rule))
        except RuleError:
            return False  # a message that the service doesn't have: it stays about nothing
        name = grant.holder_name
        if grant.parent is None:
            compiled: Compiled | None = self._compile(rule, name, grant.deny)
        else:
            compiled = derive(grant.parent, rule, name)
        if compiled is None or compiled == grant.compiled:
            return False
        grant.rule, grant.compiled = rule, compiled
        self._kernel.set_demands(grant.id, *compiled)
        return True

    def of_task(self, task: int) -> list[Grant]:
        """What a task holds, and is denied; the oldest first. What it was offered isn't among
        it: that is nothing to it, and nothing in its way, until it accepts."""
        return [grant for grant in self.all_of(task) if grant.state == states.LIVE]

    def held(self, task: int) -> list[Grant]:
        """What a task can use and pass on."""
        return [grant for grant in self.of_task(task) if not grant.deny]

    def former(self, task: int) -> list[Grant]:
        """What a task held and doesn't any more, in the order in which it ended."""
        return [grant for grant in self._over.values() if grant.holder == task]

    def lost(self, task: int, services: Iterable[str], sent: Sent | None) -> Grant | None:
        """What would have admitted a message of a task to whoever is these services, had it not
        ended: the last of those. Without a message: what let it look them up."""
        names = (EVERY, *services)
        steps = MAX_LOOKED_BACK
        for grant in reversed(self._lost.get(task, {}).values()):
            if grant.rule.service not in names:
                continue
            steps -= COMPARISON * (grant.depth + 1) + grant.effort + grant.denied_effort
            if steps < 0:  # no answer is worth what tasks could make of their rules
                return None
            if sent is None or grant.admits(sent):
                return grant
        return None

    def all_of(self, task: int) -> list[Grant]:
        """The same, and what it was offered, and what is used up and still stands behind a call
        or something open."""
        return list(self._of_task.get(task, {}).values())

    def left_of(self, task: int) -> list[Grant]:
        """What its former lives held, and somebody else still has from them."""
        former = self._former.get(task, ())
        left = [g for g in self.live.values() if g.holder in former] if former else []
        return [grant for grant in left if grant.state == states.LEFT]

    def find(self, id: int) -> Grant | None:
        """A grant by its number, also for some time after its end."""
        return self.live.get(id) or self._over.get(id)

    def uses_left(self, grant: Grant) -> int | None:
        """Of its own, or of one that it was derived from, whichever are fewer."""
        at: Grant | None = grant if grant.id in self.live else None
        left = None
        while at is not None:
            left, at = _least(left, self._kernel.uses_left(at.id)), at.parent
        return left

    # --- giving ---

    def grant(
        self,
        task: Task,
        rule: Rule | str,
        *,
        origin: str = "",
        deny: bool = False,
        uses: int | None = None,
        seconds: float | None = None,
    ) -> Grant:
        """A grant by the host, or a rule that denies. Raises RuleError."""
        rule = self.parse_denial(rule) if deny else self.parse(rule)
        grant = self._new(rule, task, self._compile(rule, task.name, deny), uses, seconds)
        grant.deny = deny
        grant.origin = origin
        self._enter(grant, "deny" if deny else "grant")
        if deny:
            self._kernel.names.drop_lookups(task.id)
            for heir in self._heirs(task.id):
                heir.excepts.append(grant)
                self._except(heir, grant)
                self._weigh(heir)
                self._kernel.names.drop_lookups(heir.holder)
        return grant

    def outfit(
        self,
        task: Task,
        allows: list[Rule],
        denies: list[Rule],
        parent: Task | None,
        origin: str,
    ) -> None:
        """What a new task is given; with a parent, out of what that one has."""
        for rule in denies:
            self.grant(task, rule, deny=True, origin=origin)
        if parent is not None:
            self.derive_all(parent, task, allows)
            return
        for rule in allows:
            self.grant(task, rule, origin=origin)

    def delegate(
        self,
        parent: Grant,
        task: Task,
        rule: Rule | str | None = None,
        *,
        by: int | None = None,
        offer: bool = False,
        uses: int | None = None,
        seconds: float | None = None,
        origin: str = "",
    ) -> Grant:
        """Pass on `parent`, or the part of it that `rule` names. See `Grant.delegate`. `by`: the
        task that does it, which has bounds. Raises CapabilityDenied, UsageError."""
        rule = parent.rule if rule is None else self.parse(rule)
        compiled = derive(parent, rule, task.name)
        if compiled is None:
            raise CapabilityDenied(f"{rule} is not part of {parent.rule}")
        self._check(parent, by)
        child = self._new(rule, task, compiled, uses, seconds)
        child.badge = narrowed(parent, rule) or {}
        child.parent = parent
        child.by = parent.holder if by is None else by
        child.origin = origin or parent.origin
        # Once each: the parent may come from what its holder passed on itself.
        child.excepts = list(dict.fromkeys((*parent.excepts, *self._denied(parent.holder))))
        if parent.expires_ns is not None:
            child.expires_ns = min(parent.expires_ns, child.expires_ns or parent.expires_ns)
        child.state = states.OFFERED if offer else states.LIVE
        self._weigh(child)
        if by is not None and not offer:
            self._check_room(child)
        self._enter(child, "offer" if offer else "delegate")
        return child

    def derive_all(self, parent: Task, child: Task, rules: Iterable[Rule]) -> list[Grant]:
        """What a task gives to one that it spawned: of each rule, as much as it holds."""
        made = []
        budget = Budget()
        for rule in rules:
            for grant in self._sources(parent, rule, budget):
                part = grant.rule if rule.service == EVERY else rule
                if derive(grant, part, child.name) is not None:
                    made.append(self.delegate(grant, child, part, by=parent.id))
        return made

    def _sources(self, giver: Task, rule: Rule, budget: Budget) -> list[Grant]:
        """What a rule for a child is derived from: one grant that covers it; of each badge one, if
        the rule doesn't say which; or all, which may have some of it each."""
        found: dict[tuple[object, ...], Grant] = {}
        for grant in self.held(giver.id):
            badge = tuple(grant.badge.items())
            if badge not in found and self._passes_on(grant, rule, budget):
                if rule.badge or not badge:
                    return [grant]
                found[badge] = grant
        budget.check()
        return list(found.values()) or self.held(giver.id)

    def pass_on(self, giver: Task, receiver: Task, rule: Rule | str, *, offer: bool) -> Grant:
        """What a task's own message asks for: it holds one grant that covers the rule.
        Raises CapabilityDenied, RuleError, UsageError."""
        rule = self.parse_of_task(rule)
        budget = Budget()
        for grant in self.held(giver.id):
            if self._passes_on(grant, rule, budget) and derive(grant, rule, receiver.name):
                return self.delegate(grant, receiver, rule, by=giver.id, offer=offer)
        budget.check()
        raise CapabilityDenied(str(rule))

    def check_passes_on(self, giver: Task, rules: Iterable[Rule]) -> None:
        """Each has to be part of one grant that a task holds. Raises as `pass_on`."""
        budget, held = Budget(), self.held(giver.id)
        for rule in rules:
            if not any(self._passes_on(grant, rule, budget) for grant in held):
                budget.check()
                raise CapabilityDenied(str(rule))

    def _passes_on(self, grant: Grant, rule: Rule, budget: Budget) -> bool:
        """Whether a rule that the holder of `grant` names is part of it. One without a badge
        leaves the badge as it is: a task needn't know what its rights stand for."""
        if grant.rule.service not in (EVERY, rule.service):
            return False
        held = grant.rule if rule.badge else grant.rule.bare
        is_known = self._kernel.names.is_known(rule.service)
        return is_known and budget.allows(held.steps(rule)) and held.covers(rule, grant.holder_name)

    def accept(self, task: Task, id: int) -> None:
        """Let a task hold what it was offered. Raises LookupError, UsageError."""
        grant = self.live.get(id)
        if grant is None or grant.state != states.OFFERED or grant.holder != task.id:
            raise LookupError(f"task {task.id} was not offered capability {id}")
        self._check_room(grant)
        self._kernel.hold_cap(id, task.id)
        grant.state = states.LIVE
        self.report.grant("accept", grant)

    def succeed(self, task: Task, former: Task) -> None:
        """Make `task` the next life of one that ended. See `Kernel.succeed`."""
        if former.exit is None:
            raise UsageError(f"{former!r} lives, so it has no next life")
        self._former[task.id] = {former.id, *self._former.pop(former.id, ())}
        self._former[task.id] = {grant.holder for grant in self.left_of(task.id)}
        # The rules of this life take the place of those of the last, also for what was passed on.
        for rule in {rule for heir in self._heirs(task.id) for rule in heir.excepts}:
            if rule.holder == former.id:
                self._lift(rule)
        for rule in former.forbidden:
            self.grant(task, rule.rule, deny=True, origin=rule.origin)

    # --- taking back ---

    def revoke(self, grant: Grant, state: str = states.REVOKED) -> None:
        """Take a grant back, and all that was derived from it."""
        if grant.id not in self.live:
            return
        # All of it before anybody hears of it: who is told may revoke, grant and kill.
        ended = reversed(grant.walk())
        held = [(each, self._remove(each, state)) for each in ended]
        self._leave_parent(grant)
        if grant.deny:
            self._lift(grant)
        for each, was_held in held:
            self.report.grant(_ENDS[state], each)
            if was_held and not each.deny:
                self._kernel.grant_ended(each)

    def holder_ended(self, task: int) -> None:
        """What a task held is nobody's now; what others took of what it passed on goes on."""
        self._lost.pop(task, None)
        for grant in self.all_of(task):
            if grant.state == states.OFFERED:
                self.revoke(grant)
        for id in list(self._passed_on.pop(task, ())):
            offer = self.live.get(id)
            if offer is not None and offer.state == states.OFFERED:
                self.revoke(offer)
        for grant in self._of_task.pop(task, {}).values():
            if grant.state == states.SPENT:
                self._ended.append(grant)
            elif grant.state == states.LIVE:
                grant.state = states.LEFT
                self._forget_if_left(grant)

    def spent(self, ids: list[int]) -> None:
        """The core says that these were used up."""
        for id in sorted(ids):
            grant = self.live.get(id)
            if grant is not None and grant.state == states.LIVE:
                for each in reversed(grant.walk()):
                    self._spend(each)
        self.sweep()

    def _spend(self, grant: Grant) -> None:
        if grant.state == states.LIVE:
            grant.state = states.SPENT
            self._spent[grant.id] = grant
            self._kernel.spend_cap(grant.id)
            self._lose(grant)
            self.report.grant("spend", grant)

    def sweep(self, *, everything: bool = False) -> None:
        """Forget what is used up, as soon as nothing hangs on it: it has to be in the tree as long
        as taking it back would end something, a call of its last use or what that opened. Asked are
        those whose holder has ended, and a few others in turn: many may stay for long."""
        others = islice(self._spent.values(), None if everything else MAX_SWEPT)
        some = {*self._ended, *others}
        self._ended.clear()
        for grant in sorted(some, key=lambda grant: -grant.id):
            self._forget_if_spent(grant)

    def _forget_if_spent(self, grant: Grant | None) -> None:
        while grant is not None and grant.id in self._spent:
            if grant.children or self._kernel.is_in_use(grant):
                self._spent[grant.id] = self._spent.pop(grant.id)  # to the end of the line
                return
            self._remove(grant, states.SPENT)
            self._leave_parent(grant)
            self._kernel.grant_ended(grant)
            grant = grant.parent

    # --- steps ---

    def _compile(self, rule: Rule, own_name: str, deny: bool) -> Compiled:
        key = rule, own_name, deny
        compiled = self._compiled.get(key)
        if compiled is None:
            if len(self._compiled) >= REMEMBERED:
                self._compiled.clear()
            messages = rule.denied if deny else rule.messages
            compiled = self._compiled[key] = messages, rule.tests(own_name, deny=deny)
        return compiled

    def _new(
        self, rule: Rule, task: Task, compiled: Compiled, uses: int | None, seconds: float | None
    ) -> Grant:
        self._last += 1
        grant = Grant(self, self._last, rule, task, compiled)
        seconds = _least(seconds, rule.seconds)
        if seconds is not None:
            grant.expires_ns = self._kernel.now_ns + round(seconds * 1e9)
        grant.uses = _least(uses, rule.uses)
        if grant.uses is not None and grant.uses < 1:
            raise UsageError(f"{rule}: a grant is used at least once, not {grant.uses} times")
        return grant

    def _check(self, parent: Grant, by: int | None) -> None:
        if parent.state != states.LIVE or parent.deny:
            raise UsageError(f"{parent!r} can't be passed on")
        if parent.depth + 1 >= MAX_DEPTH:
            raise UsageError(f"a grant is passed on at most {MAX_DEPTH} times")
        if by is not None and len(self._passed_on.get(by, ())) >= MAX_PASSED_ON:
            raise UsageError(f"a task passes on at most {MAX_PASSED_ON} grants")

    def parse_of_task(self, rule: Rule | str) -> Rule:
        """A rule from a message: not kept, and no pattern in it that takes long to compare."""
        if isinstance(rule, str):
            rule = Rule.parse(rule, self.vocabulary)
        if rule.pattern_tokens > MAX_TOKENS:
            raise UsageError(f"a task's rules have patterns of at most {MAX_TOKENS} characters")
        if rule.alternatives > MAX_ALTERNATIVES:
            raise UsageError(f"a task's rules list at most {MAX_ALTERNATIVES} values")
        return rule

    def _check_room(self, grant: Grant) -> None:
        """A task isn't given more by others than it can carry, nor can it take more."""
        held = self.of_task(grant.holder)
        if len(held) >= MAX_HELD:
            raise UsageError(f"a task is given at most {MAX_HELD} grants by others")
        if (grant.effort or grant.denied_effort) and _total([*held, grant]) > MAX_EFFORT:
            raise UsageError("what a task is given by others would take too long to check")

    def _weigh(self, grant: Grant) -> None:
        if grant.parent is not None:
            service = grant.rule.service
            denied = (
                rule.compiled
                for rule in grant.excepts
                if EVERY in (service, rule.rule.service) or rule.rule.service == service
            )
            grant.effort = effort(grant.compiled)
            grant.denied_effort = sum(map(effort, denied))

    def _denied(self, task: int) -> list[Grant]:
        return [grant for grant in self.of_task(task) if grant.deny]

    def _heirs(self, task: int) -> Iterator[Grant]:
        """What was derived from what a task holds, or its former lives did; each once: it may hold
        some of it itself."""
        held = (grant for grant in (*self.of_task(task), *self.left_of(task)) if not grant.deny)
        return iter({heir: None for grant in held for heir in grant.walk()[1:]})

    def _except(self, heir: Grant, rule: Grant) -> None:
        """What somebody is denied isn't part of what came from them."""
        number = self._number(rule)
        self._kernel.except_cap(heir.id, heir.holder, rule.id, number, *rule.compiled)

    def _lift(self, rule: Grant) -> None:
        """It is denied no longer, and so isn't to those it was passed on to."""
        for heir in self.live.values():
            if rule in heir.excepts:
                heir.excepts = [each for each in heir.excepts if each is not rule]
                self._kernel.lift_exception(heir.id, rule.id)
                self._weigh(heir)

    def _number(self, grant: Grant) -> int:
        service = grant.rule.service
        return -1 if service == EVERY else self._kernel.names.number(service)

    def _enter(self, grant: Grant, event: str) -> None:
        kernel = self._kernel
        offered = grant.state == states.OFFERED
        messages, tests = grant.compiled
        kernel.add_cap(
            grant.id,
            0 if offered else grant.holder,
            self._number(grant),
            deny=grant.deny,
            messages=messages,
            tests=tests,
            uses=grant.uses,
            expires_ns=grant.expires_ns,
            parent=0 if grant.parent is None else grant.parent.id,
            has_badge=bool(grant.badge),
        )
        for rule in grant.excepts:
            self._except(grant, rule)
        self.live[grant.id] = grant
        self._of_task.setdefault(grant.holder, {})[grant.id] = grant
        if grant.parent is not None:
            grant.parent.children.append(grant)
            self._passed_on.setdefault(grant.by, set()).add(grant.id)
        if grant.expires_ns is not None:  # to the nanosecond: seconds would be rounded
            self._timers[grant.id] = kernel.timers.add(
                grant.expires_ns, lambda: self.revoke(grant, states.EXPIRED)
            )
            kernel.kick()
        self.report.grant(event, grant)

    def _remove(self, grant: Grant, state: str) -> bool:
        """Whether it was held."""
        self._forget(grant, abort=state != states.SPENT)
        self._of_task.get(grant.holder, {}).pop(grant.id, None)
        was_held = grant.state in (states.LIVE, states.SPENT)
        if grant.state == states.LIVE:
            self._lose(grant)
        grant.state = state
        return was_held

    def _lose(self, grant: Grant) -> None:
        """Its holder, which lives, is denied from now on what only this admitted."""
        if not grant.deny:
            lost = self._lost.setdefault(grant.holder, {})
            lost[grant.id] = grant
            if len(lost) > MAX_LOST:
                del lost[next(iter(lost))]

    def _forget_if_left(self, grant: Grant) -> None:
        """Nobody holds it, and nothing is derived from it any more."""
        if grant.state == states.LEFT and not grant.children and grant.id in self.live:
            self._forget(grant, abort=False)
            self._leave_parent(grant)

    def _leave_parent(self, grant: Grant) -> None:
        """It is gone, and perhaps was all that its parent was still there for."""
        if grant.parent is not None:
            grant.parent.children.remove(grant)
            self._forget_if_left(grant.parent)

    def _forget(self, grant: Grant, *, abort: bool) -> None:
        """It counts no longer, and is only remembered."""
        del self.live[grant.id]
        self._spent.pop(grant.id, None)
        self._passed_on.get(grant.by, set()).discard(grant.id)
        if (timer := self._timers.pop(grant.id, None)) is not None:
            timer.cancel()
        self._kernel.remove_cap(grant.id, grant.holder, abort)
        self._over[grant.id] = grant
        if len(self._over) > REMEMBERED:
            del self._over[next(iter(self._over))]


_ENDS = {states.REVOKED: "revoke", states.EXPIRED: "expire", states.SPENT: "spend"}


def derive(parent: Grant, rule: Rule, own_name: str) -> Compiled | None:
    """The compiled form of `rule` as a part of `parent`; None if they have nothing in common,
    or the rule wants another badge."""
    if parent.rule.service not in (EVERY, rule.service):
        return None
    if narrowed(parent, rule) is None:
        return None
    messages = rule.messages
    above, demands = parent.compiled
    if messages is None:
        messages = above
    elif above is not None:
        messages = messages & above
        if not messages:
            return None
    tests = rule.tests(own_name)
    both = {
        type: tuple(dict.fromkeys((*tests.get(type, ()), *demands.get(type, ()))))
        for type in {*tests, *demands}
        if messages is None or type in messages
    }
    return messages, both


def narrowed(parent: Grant, rule: Rule) -> dict[str, str] | None:
    """The badge of what is derived: the parent's, or one with fewer rights."""
    badge = dict(parent.badge)
    for key, value in rule.badge.items():
        is_less = key == "mode" and value == "ro" and badge.get("mode", "rw") == "rw"
        if badge.get(key) != value and not is_less:
            return None
        badge[key] = value
    return badge


def _total(held: list[Grant]) -> int:
    """What these take to check. The denials of one grant for each service are no more than what the
    host said, which may be any number: only that they are asked again for the others counts."""
    once: dict[str, int] = {}
    for grant in held:
        service = grant.rule.service
        once[service] = max(once.get(service, 0), grant.denied_effort)
    all_of_it = sum(grant.effort + grant.denied_effort for grant in held)
    return all_of_it - sum(once.values())


def _least(one: Any, other: Any) -> Any:
    return min((each for each in (one, other) if each is not None), default=None)
