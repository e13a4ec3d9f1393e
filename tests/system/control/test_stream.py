"""The audit, live: what happens is told, nothing that is secret is, and who is slow misses some."""

from __future__ import annotations

import re
from typing import Any

import pytest

import wasmos
from tests.support import wat
from tests.support.control import Talker, turn
from tests.system.control.conftest import Connect
from wasmos.system.audit.schema import EVENTS, KEYS
from wasmos.system.audit.show import show
from wasmos.system.control import stream
from wasmos.system.control.server import Control


def listen(connect: Connect, **words: Any) -> Talker:
    talker = connect()
    assert talker.ask("audit", **words) == {"stream": "audit"}
    return talker


def records(listener: Talker) -> list[dict[str, Any]]:
    turn(listener.control.kernel)
    lines = listener.lines()
    assert all(set(line) == {"v", "record"} for line in lines)
    return [line["record"] for line in lines]


def test_what_happens_is_told(control: Control, connect: Connect) -> None:
    kernel = control.kernel
    listener = listen(connect)
    kernel.serve(wat.Plus())
    asks = "(drop (call $ask @plus #9 #1)) (i32.sub #0 @pong)"
    task = kernel.spawn(wat.program(asks), name="asks", allow=["plus once"], origin="p.toml:1")
    kernel.wait(task)
    found = records(listener)
    assert [(r["event"], r["name"]) for r in found] == [
        ("spawn", "plus"), ("register", "plus"), ("spawn", "asks"), ("grant", "asks"),
        ("spend", "asks"), ("denial", "asks"), ("exit", "asks"),
    ]  # fmt: skip
    for record in found:
        assert set(record) <= set(KEYS) and record["event"] in EVENTS
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record["time"])
        assert show(record)
    grant = found[3]
    assert (grant["rule"], grant["origin"]) == ("plus once", "p.toml:1")


def test_what_is_done_over_the_socket_is_told_with_who_did_it(
    control: Control, connect: Connect
) -> None:
    control.kernel.spawn(wat.SLEEP, name="sleeper")
    listener, talker = listen(connect), connect()
    talker.ask("grant", task="sleeper", rule="pong")
    talker.ask("revoke", task="sleeper")
    talker.ask("kill", task="sleeper")
    grant, revoke, exit = records(listener)
    assert [grant["event"], revoke["event"], exit["event"]] == ["grant", "revoke", "exit"]
    assert grant["origin"].startswith("control (pid ")
    assert "was killed: by control (pid " in exit["reason"]


def test_every_call_only_for_who_asks(control: Control, connect: Connect) -> None:
    kernel = control.kernel
    kernel.serve(wat.Plus())
    plain, all_ = listen(connect), listen(connect, calls=True)
    other = listen(connect)  # that begins later doesn't end it for others
    body = "(call $ask @plus #9 #1)"
    kernel.wait(kernel.spawn(wat.program(body), name="asks", allow=["plus"]))
    events = [[r["event"] for r in records(each)] for each in (plain, all_, other)]
    assert events[0] == events[2] == ["spawn", "grant", "exit"]
    assert events[1] == ["spawn", "grant", "call", "exit"]
    all_.close()
    before = len(control._clients)
    kernel.wait(kernel.spawn(wat.program(body), name="asks", allow=["plus"]))
    assert [r["event"] for r in records(plain)] == ["spawn", "grant", "exit"]
    assert before == 2


def test_another_audit_keeps_its_calls(control: Control, connect: Connect) -> None:
    """The log wants every call; somebody who follows them for a while doesn't end that."""
    kernel = control.kernel
    kernel.serve(wat.Plus())
    found: list[str] = []
    kernel.audit(lambda entries: found.extend(entry["event"] for entry in entries), calls=True)
    listen(connect).close()
    listen(connect, calls=True).close()
    kernel.wait(kernel.spawn(wat.program("(call $ask @plus #9 #1)"), allow=["plus"]))
    assert found.count("call") == 1


def test_no_secret_and_no_data_is_told() -> None:
    """As in the log: see tests/system/audit."""
    with wasmos.Kernel(virtual_clock=True) as kernel:
        heard = stream.AuditStream(kernel, False, lambda: None)
        [secret] = list(stream.secret_names())[:1] or ["token"]
        heard._secrets = frozenset(["token", secret])
        kernel.authority.report.tell(
            [{"event": "denial", "task": 1, "message": "tcpip.write", "rule": 'x(token="hidden")',
              "reason": 'no token="hidden"', "unknown": "hidden",
              "fields": {"data": {"len": 6}, "rule": 'x(token="hidden")'}}]
        )  # fmt: skip
        line = heard.fetch()
        assert b"hidden" not in line and b'"len":6' in line and line.count(b"***") == 3
        heard.close()


def test_who_listens_too_slowly_misses_some_and_is_told_how_many(
    control: Control, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_WAITING", 20_000)
    kernel = control.kernel
    task = kernel.spawn(wat.SLEEP, name="sleeper")
    deaf, other = listen(connect), listen(connect)
    total, heard = 20_000, 0
    for number in range(total):
        kernel.grant(task, "pong").revoke()
        if number % 20 == 0:
            heard += len(records(other))
    heard += len(records(other))
    [client] = [c for c in control._clients if c.stream is not None and c.stream._size]
    assert client.stream is not None and client.stream._size <= 20_000 + 1000
    found = [r for _ in range(3) for r in records(deaf)]
    dropped = [r for r in found if r["event"] == "dropped"]
    assert dropped and dropped[0]["reason"] == "read too slowly"
    told = len(found) - len(dropped)
    assert told > 100
    assert told + sum(r["count"] for r in dropped) == 2 * total
    assert heard == 2 * total  # nobody else missed any
    kernel.grant(task, "pong")
    assert [r["event"] for r in records(deaf)] == ["grant"]  # and it goes on


def test_the_audit_ends_with_the_connection(control: Control, connect: Connect) -> None:
    listener = listen(connect)
    assert len(control.kernel.authority.report.sinks) == 1
    listener.send(b"whatever it says is not wanted any more\n" * 10)
    assert records(listener) == []
    listener.close()
    assert control.kernel.authority.report.sinks == []


def test_a_stamp() -> None:
    assert stream.stamp(1795685400_004127_999) == "2026-11-26T09:30:00.004127Z"
    assert stream.stamp(0) == "1970-01-01T00:00:00.000000Z"
