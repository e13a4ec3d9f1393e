"""The capability check: what a call costs with it, with less of it, and with
very many grants beside the one that counts."""

from __future__ import annotations

from bench import guests
from bench.cases.messages import SERVICE, Caller, kernel
from bench.harness import Aim, Row, Settings, interleave, one_core

CALLS = 250_000
OTHERS = 10_000
AIM = Aim("<=", 1.10)


def check_itself(settings: Settings) -> list[Row]:
    """A task that holds exactly one capability against one that holds them
    all, which ends the check at once; and one that holds one other capability
    against one that holds 10,000, the one that counts being the last."""
    count = settings.count(CALLS)
    few = ("other0", SERVICE)
    many = (*(f"other{i}" for i in range(OTHERS)), SERVICE)
    with one_core(settings.core), kernel() as our, kernel() as crowded:
        for each in (our, crowded):
            if each is crowded:
                # Numbers are handed out in the order of the first grant.
                each.client("holder", allow=many)
            each.spawn(guests.text("passive"), name=SERVICE, service=SERVICE)
        caller, in_crowd = Caller(our, count), Caller(crowded, count)
        one, everything, with_one, with_many = interleave(
            [
                caller.allowed((SERVICE,)),
                caller.allowed(("*",)),
                caller.allowed(few),
                in_crowd.allowed(many),
            ],
            settings.turns(3),
        )
    name = "the check itself"
    return [
        Row(f"{name}: one capability", one, "holds everything", everything, AIM),
        Row(f"{name}: {OTHERS:,} other grants", with_many, "1 other grant", with_one, AIM),
    ]
