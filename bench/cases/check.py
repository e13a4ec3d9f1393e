"""The capability check: what a call costs with it, with demands on fields, and with very many
rules beside the one that counts."""

from __future__ import annotations

import wasmos
from bench import guests
from bench.cases.messages import SERVICE, Caller, Request32, kernel
from bench.harness import Aim, Row, Settings, interleave, one_core

CALLS = 500_000
CHECKS = 2_000_000
OTHERS = 10_000
DEMAND = f"{SERVICE}.{Request32.NAME}(mark=0)"


def check_itself(settings: Settings) -> list[Row]:
    """The check alone, in a loop, against the call that it is part of; and calls of tasks that
    differ only in what they hold."""
    count = settings.count(CALLS)
    crowd = tuple(f"other{i}" for i in range(OTHERS))
    # In no order, and the one that counts somewhere among them.
    rules = tuple(f"{SERVICE}.{Request32.NAME}(mark={i * 7919 % OTHERS})" for i in range(OTHERS))
    with one_core(settings.core), kernel() as our:
        service = our.spawn(guests.text("passive"), name=SERVICE, service=SERVICE)
        caller = Caller(our, count)
        holder = our.client("holder", allow=[SERVICE])
        message = our.encode(Request32(1, 0, bytes(Request32.SIZE - 16)))

        def alone() -> float:
            checks = settings.count(CHECKS)
            return our.time_check(holder.id, service.id, message, checks) / 1e9

        one, check, demanding, crowded, among_many = interleave(
            [
                caller.allowed((SERVICE,)),
                alone,
                caller.allowed((DEMAND,)),
                caller.allowed((*crowd, SERVICE)),
                caller.allowed(rules),
            ],
            settings.turns(3),
        )
    return [
        Row("the check itself: one capability", one, "the call without it", one - check,
            Aim("<=", 1.10)),
        Row("the check itself: a field constrained", demanding, "no field constrained", one,
            Aim("<=", 1.50)),
        Row(f"the check itself: {OTHERS:,} other services", crowded, "one", one,
            Aim("<=", 1.05)),
        Row(f"the check itself: {OTHERS:,} rules for the message", among_many, "one rule",
            demanding, Aim("<=", 1.05)),
    ]  # fmt: skip


def grants(settings: Settings) -> list[Row]:
    """What is done once: a rule is read and granted, and taken back with all that was derived."""
    count = settings.count(2_000)
    with one_core(settings.core), kernel() as our:
        holder, heir = our.client("holder", allow=[]), our.client("heir", allow=[])

        def plain() -> float:
            return _lifetimes(our, holder, heir, SERVICE, count)

        def constrained() -> float:
            return _lifetimes(our, holder, heir, DEMAND, count)

        a_plain, a_constrained = interleave([plain, constrained], settings.turns())
    return [
        Row("grant, pass on, revoke", a_plain, "with a field constrained", a_constrained),
    ]


def _lifetimes(
    our: wasmos.Kernel, holder: wasmos.Task, heir: wasmos.Task, rule: str, count: int
) -> float:
    from bench.harness import check, timed

    def work() -> None:
        for _ in range(count):
            grant = our.grant(holder, rule)
            grant.delegate(heir)
            grant.revoke()

    seconds = timed(work, count)
    check((holder.grants, heir.grants), ([], []), "what is left")
    return seconds
