"""What those who audit are told: all of it, in order."""

from __future__ import annotations

from typing import Any

import pytest

import wasmos
from tests.support.finalizers import collecting
from tests.support.services import NOT_ALLOWED, Anything, Who, ping, send
from tests.support.wat import M, passive, program, repeat, settle
from wasmos import abi


def audited(kernel: wasmos.Kernel, **options: bool) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    kernel.audit(entries.extend, **options)
    return entries


def test_the_same_denial_in_a_row_is_one(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    entries = audited(kernel)
    for value in (1, 1, 1, 2, 1):
        ping(client, value=value)
    kernel.take_records()
    assert [(e["fields"], e.get("count")) for e in entries] == [
        ({"value": 1}, 3), ({"value": 2}, None), ({"value": 1}, None)
    ]  # fmt: skip


@pytest.mark.parametrize("threshold", range(1, 9))
def test_taken_out_while_they_are_taken_out(kernel: wasmos.Kernel, threshold: int) -> None:
    """By a finalizer, whenever the collector may run: each is told, once, and so are later ones."""
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    entries = audited(kernel)
    for value in range(3):
        ping(client, value=value)
    collecting(threshold, kernel.take_records, kernel.take_records)
    ping(client, value=3)
    kernel.take_records()
    assert sorted(entry["fields"]["value"] for entry in entries) == [0, 1, 2, 3]


def test_a_denial_says_all_that_is_known(kernel: wasmos.Kernel) -> None:
    kernel.serve(Anything("tcpip"))
    client = kernel.client("web", allow=['tcpip.connect(dst_addr="10.0.0.0/8")'], origin="here:1")
    entries = audited(kernel)
    send(client, "tcpip", abi.TcpipConnect(0x7F000001, 80))
    kernel.take_records()
    [entry] = entries
    assert entry == {
        "event": "denial", "task": client.id, "name": "web", "service": "tcpip",
        "message": "tcpip.connect", "fields": {"dst_addr": "127.0.0.1", "dst_port": 80},
        "decision": "denied", "cause": "field", "grant": client.grants[0].id,
        "rule": 'tcpip.connect(dst_addr="10.0.0.0/8")', "origin": "here:1",
        "time_ns": entry["time_ns"],
    }  # fmt: skip
    assert client.denials[0].rule == 'tcpip.connect(dst_addr="127.0.0.1", dst_port=80)'


@pytest.mark.parametrize(
    ("allow", "deny", "cause"),
    [
        ([], [], "no_capability"), (["who"], ["who"], "denied"), (["*"], ["x", "*"], "denied"),
        ([], ["who"], "denied"), ([], ["x", "who.ping", "who.echo"], "no_capability"),
    ],
)  # fmt: skip
def test_a_lookup_that_is_denied_says_why(
    kernel: wasmos.Kernel, allow: list[str], deny: list[str], cause: str
) -> None:
    kernel.serve(Who())
    entries = audited(kernel)
    task = kernel.spawn(program("@who"), allow=allow, deny=deny, origin="here:1", trusted=True)
    assert kernel.wait(task).code == NOT_ALLOWED
    kernel.take_records()
    [entry] = [entry for entry in entries if entry["event"] == "denial"]
    assert (entry["message"], entry["cause"]) == ("who (lookup)", cause)
    rules = {e["grant"]: (e["rule"], e["origin"]) for e in entries if e["event"] == "deny"}
    if cause == "denied":
        assert rules[entry["grant"]] == (entry["rule"], entry["origin"]) == (deny[-1], "here:1")
    else:
        assert not {"grant", "rule", "origin"} & entry.keys()


def test_the_rule_of_a_denial_would_have_allowed_it(kernel: wasmos.Kernel) -> None:
    """Or as little more as a rule can say; it is a rule in any case."""
    names = ("who", "tcpip", "fs", "console", "a b")
    for name in names:
        kernel.serve(Anything(name))
    unended = abi.TcpipDnsResolve.TYPE.to_bytes(4, "little") + bytes(4) + b"a" * 256
    for service in names:
        for message in (
            abi.Ping(1), abi.TcpipConnect(0x7F000001, 80), abi.FsOpen("/a/../b", 0),
            abi.TcpipDnsResolve("A.b."), abi.TcpipDnsResolve("*\\?"), unended,
            (5000).to_bytes(4, "little") + bytes(4), abi.FsOpen("x" * 255, 1),
        ):  # fmt: skip
            client = kernel.client("me", allow=[])
            assert send(client, service, message) == NOT_ALLOWED
            kernel.take_records()
            kernel.grant(client, client.denials[0].rule)
            if client.denials[0].cls is not abi.TcpipDnsResolve or message is not unended:
                assert send(client, service, message) != NOT_ALLOWED, (service, message)


def test_calls_are_recorded_if_that_is_asked_for(kernel: wasmos.Kernel) -> None:
    kernel.serve(Anything("tcpip"))
    client = kernel.client("me", allow=["tcpip"])
    quiet, entries = audited(kernel), audited(kernel, calls=True)
    audited(kernel)  # one more that needs no calls takes them from nobody
    send(client, "tcpip", abi.TcpipConnect(0x08080808, 80))
    send(client, "tcpip", abi.TcpipListen(81))
    kernel.notify(client.id, kernel.service_id("tcpip"), abi.TaskDestroyed(4))
    settle(kernel)
    kernel.take_records()
    assert [(e["event"], e["message"], e.get("fields"), e["grant"]) for e in entries] == [
        ("call", "tcpip.connect", {"dst_addr": "8.8.8.8", "dst_port": 80}, client.grants[0].id),
        ("call", "tcpip.listen", {"listen_port": 81}, client.grants[0].id),
        ("call", "tcpip.task_destroyed", None, client.grants[0].id),
    ]
    assert quiet == entries  # once anybody wants them, all hear of them


def test_calls_in_place_are_recorded(kernel: wasmos.Kernel) -> None:
    kernel.spawn(passive("(call $answer (local.get $in))"), service="p", trusted=True)
    client = kernel.client("me", allow=["p"])
    assert ping(client, "p") == 0
    entries = audited(kernel, calls=True)
    assert [ping(client, "p") for _ in range(3)] == [0, 0, 0]
    kernel.take_records()
    assert [e["event"] for e in entries] == ["call"] * 3


def test_what_happens_is_told_in_order(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    entries = audited(kernel)
    client, heir = kernel.client("me", allow=[]), kernel.client("heir", allow=[])
    ping(client)
    grant = kernel.grant(client, "who once")
    kernel.pass_on(client, heir, "who once", offer=True)
    kernel.accept(heir, heir.kernel.grants[-1].id)
    kernel.deny(client, "pong")
    ping(client)
    settle(kernel)
    ping(client)
    client.kill()
    assert grant.state == "spent"
    assert [(e["event"], e["task"] == client.id) for e in entries] == [
        ("spawn", True), ("spawn", False), ("denial", True), ("grant", True), ("offer", False),
        ("accept", False), ("deny", True), ("spend", False), ("spend", True), ("denial", True),
        ("exit", True),
    ]  # fmt: skip
    times = [e["time_ns"] for e in entries]
    assert times == sorted(times)


def test_a_denial_is_told_before_what_came_of_it(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    entries = audited(kernel)
    kernel.on_denial(lambda denial: kernel.grant(client, denial.rule))
    ping(client)
    kernel.take_records()
    assert [e["event"] for e in entries] == ["denial", "grant"]


def test_a_sink_that_fails_is_passed_over(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    kernel.audit(lambda _: 1 // 0)
    kernel.on_denial(lambda _: 1 // 0)
    entries = audited(kernel)
    assert ping(client) == NOT_ALLOWED
    kernel.take_records()
    assert [e["event"] for e in entries] == ["denial"]


def test_a_sink_that_was_taken_out_hears_no_more(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    client = kernel.client("me", allow=[])
    entries: list[dict[str, Any]] = []
    sink = entries.extend
    kernel.audit(sink, calls=True)
    ping(client)
    kernel.end_audit(sink)
    assert len(entries) == 1
    kernel.grant(client, "who")
    ping(client)
    kernel.take_records()
    assert len(entries) == 1


FLOOD = 20_000


def test_a_flood_loses_nothing(real_kernel: wasmos.Kernel) -> None:
    """Different denials, faster than anybody reads: the guest is preempted to let them be read."""
    kernel = real_kernel
    id = kernel.serve(Who()).id
    entries = audited(kernel)
    body = repeat(FLOOD, f"(drop (call $ask #{id} #9 (local.get $i)))")
    assert kernel.wait(kernel.spawn(program(body + "#0"), trusted=True)).code == 0
    kernel.take_records()
    denied = [e for e in entries if e["event"] in ("denial", "dropped")]
    assert [e.get("fields") for e in denied] == [{"value": value} for value in range(FLOOD)]


def test_a_flood_without_a_loop_loses_nothing(real_kernel: wasmos.Kernel) -> None:
    """Denied one-way messages, four times as many as there is room for, and nothing in between that
    checks for preemption but the call itself."""
    kernel, count = real_kernel, 2048
    id = kernel.serve(Who()).id
    entries = audited(kernel)
    body = f"(i32.store #{M} #9)" + "".join(
        f"(i32.store offset=8 #{M} #{value}) (call $reply #{id} #{M})" for value in range(count)
    )
    assert kernel.wait(kernel.spawn(program(body + "#0"), trusted=True)).code == 0
    kernel.take_records()
    denied = [e for e in entries if e["event"] in ("denial", "dropped")]
    assert [e.get("fields") for e in denied] == [{"value": value} for value in range(count)]


def test_a_flood_of_calls_in_place_loses_nothing(real_kernel: wasmos.Kernel) -> None:
    kernel = real_kernel
    kernel.spawn(passive("(call $answer (local.get $in))"), service="p", trusted=True)
    entries = audited(kernel, calls=True)
    body = "(local.set $j @p)" + repeat(
        FLOOD, "(drop (call $ask (local.get $j) #9 (local.get $i)))"
    )
    assert kernel.wait(kernel.spawn(program(body + "#0"), allow=["p"], trusted=True)).code == 0
    kernel.take_records()
    events = [e["event"] for e in entries]
    assert events == ["spawn", "grant", *["call"] * FLOOD, "exit"]
