"""Counts what can live at once: python -m bench.cases.live_child ours 20000

A process of its own because it goes to the limits of one. Prints JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench import guests
from bench.peers import wheel

# A pool takes two memory maps for each of its stacks from the start, and two for each live memory.
MAPS_EACH = 4
SPARE_MAPS = 2_000


def map_limit() -> int | None:
    """How many memory maps a process may have, where there is such a limit."""
    limit = Path("/proc/sys/vm/max_map_count")
    return int(limit.read_text()) if limit.exists() else None


def ours(most: int) -> int:
    """Tasks that wait in `ipc_recv`; every one of them is looked at."""
    import wasmos

    maps_left = map_limit()
    pool = min(most, (maps_left - SPARE_MAPS) // MAPS_EACH) if maps_left else most
    our = wasmos.Kernel(pool_tasks=pool)
    program = our.load(guests.text("blocked"))
    tasks: list[wasmos.Task] = []
    while len(tasks) < pool:
        task = our.spawn(program)
        while our.step(1_000_000):
            pass
        if task.exit is not None:
            break
        tasks.append(task)
    return sum(task.account()["state"] == "receiving" for task in tasks)


def resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def maps() -> int:
    return Path("/proc/self/maps").read_text().count("\n")


def main() -> None:
    side, most = sys.argv[1], int(sys.argv[2])
    on_linux = Path("/proc/self/maps").exists()
    before = (resident_kib(), maps()) if on_linux else (0, 0)
    live = ours(most) if side == "ours" else wheel.live_instances(guests.text("trivial"), most)
    after = (resident_kib(), maps()) if on_linux else (0, 0)
    each = [(b - a) / max(live, 1) for a, b in zip(before, after, strict=True)]
    print(json.dumps({"live": live, "kib_each": each[0], "maps_each": each[1]}))


if __name__ == "__main__":
    main()
