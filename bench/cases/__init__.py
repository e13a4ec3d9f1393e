"""What is measured: a table of cases, each of which makes one row or more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.cases import audit, cache, check, cold, compute, ipc, lives, wasi
from bench.harness import Row, Settings


@dataclass(frozen=True)
class Case:
    """`name` is how it is selected; its rows' names begin with it."""

    name: str
    run: Callable[[Settings], list[Row]]


CASES = (
    Case("ipc passive", ipc.passive),
    Case("ipc active", ipc.active),
    Case("ipc python service", ipc.python_service),
    Case("python -> passive service", ipc.from_python),
    Case("the check itself", check.check_itself),
    Case("grant, pass on, revoke", check.grants),
    Case("audit", audit.audit),
    Case("compute", compute.compute),
    Case("fresh instance", lives.fresh),
    Case("live blocked tasks", lives.live),
    Case("wasi", wasi.functions),
    Case("wasmos run hello", cold.hello),
    Case("second start", cache.second_start),
)
