"""Calls: from Wasm to passive, active and Python services, and from Python."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import wasmos
from bench import guests
from bench.cases.messages import SERVICE, Caller, Reply32, Request32, Request1040, kernel
from bench.harness import (
    TIMES_FASTER,
    Aim,
    Measure,
    MissingError,
    Row,
    Settings,
    check,
    interleave,
    one_core,
    timed,
)
from bench.peers import process, wheel
from wasmos import abi

PASSIVE_CALLS = 500_000
ACTIVE_CALLS = 200_000
PYTHON_CALLS = 50_000
PIPE_TRIPS = 10_000
ERLANG_TRIPS = 200_000
WHEEL_CALLS = 5_000


class Peers:
    """The peers of a case that are here, and how to install those that aren't."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.measures: list[Measure] = []
        self._entries: dict[str, int | str] = {}  # name → place in measures, or the command

    def add(self, name: str, start: Callable[[], process.RoundTrips], count: int) -> None:
        try:
            peer = self._stack.enter_context(start())
        except MissingError as missing:
            self._entries[name] = missing.install
        else:
            self._entries[name] = len(self.measures)
            self.measures.append(lambda: peer.measure(count))

    def row(self, row: str, ours: float, name: str, times: list[float], aim: Aim) -> Row:
        entry = self._entries[name]
        if isinstance(entry, str):
            return Row(row, ours, name, None, aim, install=entry)
        return Row(row, ours, name, times[entry], aim)


def passive(settings: Settings) -> list[Row]:
    """A Wasm program calls a passive Wasm service, as anybody would: with
    its one capability checked, accounts kept and preemption on."""
    with ExitStack() as stack:
        stack.enter_context(one_core(settings.core))
        our = stack.enter_context(kernel())
        our.spawn(guests.text("passive"), name=SERVICE, service=SERVICE)
        small = Caller(our, settings.count(PASSIVE_CALLS), Request32)
        large = Caller(our, settings.count(PASSIVE_CALLS), Request1040)
        peers = Peers(stack)
        peers.add("pipe same core", lambda: process.pipe(32), settings.count(PIPE_TRIPS))
        peers.add("erlang ping-pong", process.erlang, settings.count(ERLANG_TRIPS))
        peers.add("pipe 1040B same core", lambda: process.pipe(1040), settings.count(PIPE_TRIPS))
        ours, ours_large, *times = interleave(
            [small.measure, large.measure, *peers.measures], settings.turns()
        )
    return [
        peers.row("ipc passive 32B", ours, "pipe same core", times, Aim(">=", 80)),
        peers.row("ipc passive 32B", ours, "erlang ping-pong", times, Aim(">=", 5)),
        peers.row("ipc passive 1040B", ours_large, "pipe 1040B same core", times, TIMES_FASTER),
    ]


def active(settings: Settings) -> list[Row]:
    """A Wasm program calls a Wasm service that has a fibre of its own and
    waits in `ipc_recv`: what two Erlang processes do."""
    with ExitStack() as stack:
        stack.enter_context(one_core(settings.core))
        our = stack.enter_context(kernel())
        our.register(our.spawn(guests.text("active"), name=SERVICE), SERVICE)
        caller = Caller(our, settings.count(ACTIVE_CALLS), Request32)
        peers = Peers(stack)
        peers.add("erlang ping-pong", process.erlang, settings.count(ERLANG_TRIPS))
        ours, *times = interleave([caller.measure, *peers.measures], settings.turns())
    aim = Aim("<=", 1.0, alone=0.45e-6)
    return [peers.row("ipc active 32B", ours, "erlang ping-pong", times, aim)]


class Next(wasmos.Service):
    """Answers a number with the next."""

    name = SERVICE

    def ping(self, caller: wasmos.Caller, value: int) -> int:  # noqa: ARG002
        return value + 1


def python_service(settings: Settings) -> list[Row]:
    """A Wasm program calls a service that is a Python method."""
    count = settings.count(PYTHON_CALLS)
    with one_core(settings.core), kernel() as our:
        our.serve(Next())
        caller = Caller(our, count, abi.Ping)
        peer = wheel.host_function(settings.count(WHEEL_CALLS))
        ours, peers = interleave([caller.measure, peer], settings.turns())
    return [Row("ipc python service", ours, "wheel host function", peers, Aim(">=", 20))]


def from_python(settings: Settings) -> list[Row]:
    """Python calls a passive Wasm service with values, and gets values."""
    count = settings.count(PYTHON_CALLS)
    with one_core(settings.core), kernel() as our:
        our.spawn(guests.text("passive"), name=SERVICE, service=SERVICE)
        client = our.client(allow=[SERVICE])

        def ping() -> None:
            for number in range(count):
                reply = client.call(SERVICE, abi.Ping(number))
                check(reply.value, number + 1, "answer of the passive service")

        def larger() -> None:
            filling = bytes(16)
            for number in range(count):
                reply = client.call(SERVICE, Request32(number, 0, filling))
                check(type(reply), Reply32, "answer of the passive service")

        measures = [
            lambda: timed(ping, count),
            lambda: timed(larger, count),
            wheel.exported_function(settings.count(WHEEL_CALLS)),
        ]
        ours, ours_larger, peer = interleave(measures, settings.turns())
    name = "python -> passive service"
    return [
        Row(f"{name} ping", ours, "wheel exported function", peer, Aim(">=", 10)),
        Row(f"{name} 32B", ours_larger, "wheel exported function", peer),
    ]
