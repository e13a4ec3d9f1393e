"""Tasks come and go, and how many there can be at once."""

from __future__ import annotations

import json
import subprocess
import sys

import wasmos
from bench import guests
from bench.cases.live_child import map_limit
from bench.cases.messages import SERVICE
from bench.harness import (
    TIMES_FASTER,
    TIMES_OURS,
    Aim,
    Measure,
    Row,
    Settings,
    WrongResultError,
    check,
    interleave,
    one_core,
    timed,
)
from bench.peers import wheel
from wasmos import abi

INSTANCES = 1_000
LIVE, LIVE_QUICK, LIVE_FULL = 20_000, 300, 120_000
POOL = 64


def fresh(settings: Settings) -> list[Row]:
    """A task is spawned, does the least that such a task can do, and ends."""
    count = settings.count(INSTANCES)
    names = {
        "passive, pool": (POOL, _passive),
        "active, pool": (POOL, _active),
        "passive, on demand": (None, _passive),
        "active, on demand": (None, _active),
    }
    kernels = [wasmos.Kernel(pool_tasks=pool) for pool, _ in names.values()]
    with one_core(settings.core):
        measures = [
            make(our, count) for our, (_, make) in zip(kernels, names.values(), strict=True)
        ]
        peer = wheel.instances(guests.text("trivial"), count)
        *ours, created = interleave([*measures, peer], settings.turns())
    for our in kernels:
        our.close()
    return [
        Row(
            f"fresh instance: {name}",
            seconds,
            "wheel, create only",
            created,
            Aim(">=", 8) if name == "passive, pool" else TIMES_FASTER,
        )
        for name, seconds in zip(names, ours, strict=True)
    ]


def _passive(our: wasmos.Kernel, count: int) -> Measure:
    """Spawned as a service, called once, killed."""
    program = our.load(guests.text("passive"))

    def work() -> None:
        for number in range(count):
            task = our.spawn(program, service=SERVICE)
            check(our.call(SERVICE, abi.Ping(number)).value, number + 1, "fresh service")
            task.kill()

    return lambda: timed(work, count)


def _active(our: wasmos.Kernel, count: int) -> Measure:
    """Spawned, `main` run, buried."""
    program = our.load(guests.text("trivial"))

    def work() -> None:
        for _ in range(count):
            check(our.wait(our.spawn(program)).code, 0, "fresh program")

    return lambda: timed(work, count)


def live(settings: Settings) -> list[Row]:
    """In processes of their own, as both end at a limit of the system, and
    the engine ends the whole process when it can't set up its pool."""
    most = LIVE_QUICK if settings.quick else LIVE_FULL if settings.full else LIVE
    ours = _count_in_child("ours", most)
    peer = _count_in_child("wheel", most)
    return [
        Row(
            f"live blocked tasks (of {most:,})",
            ours.get("live"),
            "wheel, live instances",
            peer.get("live"),
            TIMES_OURS,
            unit="tasks",
            note=_explain(ours, most),
        )
    ]


def _explain(ours: dict[str, float], most: int) -> str:
    maps = map_limit()
    limit = f"vm.max_map_count is {maps:,}; " if maps else ""
    if "live" not in ours:
        return f"the engine can't set up a pool of {most:,}; {limit}"
    ended = "all that were asked for" if ours["live"] >= most else "as many as memory maps allow"
    return (
        f"{ended}; {ours['kib_each']:.1f} KiB and {ours['maps_each']:.2f} memory maps each; "
        f"{limit}--full asks for {LIVE_FULL:,}"
    )


def _count_in_child(side: str, most: int) -> dict[str, float]:
    """What the child found; nothing if it was ended."""
    argv = [sys.executable, "-m", "bench.cases.live_child", side, str(most)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        return {}
    if done.returncode:
        raise WrongResultError(f"{' '.join(argv)}: {done.stderr.strip()}")
    found: dict[str, float] = json.loads(done.stdout)
    return found
