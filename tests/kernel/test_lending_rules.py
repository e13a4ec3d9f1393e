"""Lent memory and rights: what rules say of it, when somebody is asked, and what an audit has."""

from __future__ import annotations

from typing import Any

import pytest

import wasmos
from tests.kernel.lending import (
    ABORTED,
    NOT_ALLOWED,
    Taker,
    assert_over,
    code,
    fill,
    lend,
    lender,
    spawn,
)
from tests.support.wat import settle
from wasmos import abi
from wasmos.kernel.rule import Rule

BOTH_CLOCKS = True


# --- rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "admitted"), [(0, True), (64, True), (65, False), (-1, False)])
def test_a_rule_bounds_what_is_lent(
    kernel: wasmos.Kernel, taker: Taker, size: int, admitted: bool
) -> None:
    source = lender(lend(0, size))
    result = code(kernel, source, "taker.console_put(len(data)=..64)")
    assert result == (size if admitted else NOT_ALLOWED)
    with_a_denial = spawn(kernel, source, "taker", deny=["taker.console_put(len(data)=65..)"])
    assert kernel.wait(with_a_denial).code == result
    assert len(taker.lents) == 2 * admitted


def test_a_rule_bounds_what_is_lent_to_be_filled(kernel: wasmos.Kernel, taker: Taker) -> None:
    rule = "taker.console_take(len(into)=[1..3, 16])"
    for size, result in ((0, NOT_ALLOWED), (3, 3), (4, NOT_ALLOWED), (16, 16), (17, NOT_ALLOWED)):
        assert code(kernel, lender(fill(0, size)), rule) == result
    client = kernel.client("c", allow=[rule])
    assert client.call("taker", abi.ConsoleTake(bytearray(16))).len == 16
    with pytest.raises(wasmos.CapabilityDenied):
        client.call("taker", abi.ConsoleTake(bytearray(4)))


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("console.put(data=5)", r"only its length has bounds, as in len\(data\)=..4294967295"),
        ('console.put(data="x")', "only its length has bounds"),
        ("console.put(len(data)=-1)", "from 0 to 4,294,967,295, not -1"),
        ("console.put(len(data)=4294967296)", "from 0 to 4,294,967,295"),
        ("fs.read_at(offset=9223372036854775808)", "9,223,372,036,854,775,807"),
        ("fs.read_at(len(offset)=1)", "is a number and has no length"),
    ],
)
def test_a_rule_that_makes_no_sense(rule: str, problem: str) -> None:
    with pytest.raises(wasmos.RuleError, match=problem):
        Rule.parse(rule)


class Files(wasmos.Service):
    name = "fs"

    def fs_read_at(self, caller: wasmos.Caller, fd: int, offset: int, into: wasmos.Lent) -> int:
        return len(into)


TOP = 1 << 62
# Numbers that are alike in 32 bits, or nearly so.
OFFSETS = (0, 1, 5, 1023, 1024, -1, -5, -1024, -1025, (1 << 32) - 1, 1 << 32, (1 << 32) + 5,
           -(1 << 32), 5 - (1 << 32), TOP - 1, TOP, TOP + 1, TOP + 1023, TOP + 1024, -TOP, -TOP + 5,
           (1 << 63) - 1, -(1 << 63))  # fmt: skip


@pytest.mark.parametrize(
    "wanted",
    ["0", "5", "-1", "-5", "0..1023", "-1024..-1", "-1024..1023", "..-1", "0..", "4294967296",
     "4294967295", f"{TOP}", f"{TOP}..{TOP + 1023}", f"-{TOP}", f"..-{TOP}", f"{TOP}..",
     "[0, 4294967296]", f"[-1, 5, {TOP}]", f"[-{TOP}, 0..1023, 4294967301]",
     "-9223372036854775808", "9223372036854775807", "0..4294967295"],
)  # fmt: skip
def test_a_rule_about_64_bits(kernel: wasmos.Kernel, wanted: str) -> None:
    """All of them count: a table by 32 of them must not decide."""
    kernel.serve(Files())
    rule = Rule.parse(f"fs.read_at(fd=3, offset={wanted})")
    others = [f"fs.read_at(fd={fd}, offset={fd})" for fd in range(10, 30)]
    allowed = kernel.client("allowed", allow=[*others, rule])
    denied = kernel.client("denied", allow=["fs"], deny=[f"fs.read_at(offset={wanted})"])
    verdicts = []
    for offset in OFFSETS:
        message = abi.FsReadAt(3, offset, bytearray(4))
        row = []
        for client in (allowed, denied):
            try:
                row.append(client.call("fs", message).len == 4)
            except wasmos.CapabilityDenied:
                row.append(False)
        verdicts.append(row)
    assert verdicts == [[expected(wanted, n), not expected(wanted, n)] for n in OFFSETS]
    admits = [rule.admits(abi.FsReadAt(3, offset)) for offset in OFFSETS]
    assert admits == [row[0] for row in verdicts]


def expected(wanted: str, number: int) -> bool:
    """What the words of a rule say, read in the simplest way."""
    for part in wanted.strip("[]").split(", "):
        low, dots, high = part.partition("..")
        least = int(low) if low else -(1 << 63)
        most = (int(high) if high else (1 << 63) - 1) if dots else least
        if least <= number <= most:
            return True
    return False


# --- denied, and asked about ---------------------------------------------------------------------


def test_what_was_sent_is_lent_when_somebody_was_asked(kernel: wasmos.Kernel, taker: Taker) -> None:
    """The message is what it was when it was sent, whatever becomes of the object."""
    client = kernel.client("c", allow=[])
    message = abi.ConsolePut(1, b"as it was sent")

    def ask(denial: wasmos.Denial) -> bool:
        assert denial.fields == {"stream": 1, "data": {"len": 14}}
        message.data, message.stream = b"something else", 2
        kernel.grant(client, denial.rule)
        return True

    kernel.ask(client, ask)
    assert client.call("taker", message).len == 14
    assert taker.got == [b"as it was sent"]
    assert_over(taker.lents[0])


def test_a_program_lends_when_somebody_was_asked(kernel: wasmos.Kernel, taker: Taker) -> None:
    """Later, and by another rule: what it lends is what its message said."""
    task = spawn(kernel, lender(f"(drop {fill(200, 4)}) {lend(100, 16)}"), "taker.console_take")
    denials: list[wasmos.Denial] = []
    kernel.ask(task, denials.append)  # type: ignore[arg-type]
    kernel.run(lambda: bool(denials))
    settle(kernel)
    assert task.account()["state"] == "asking"
    assert_over(taker.lents[0])
    assert kernel.read_lent(task.id, taker.task, 0, 4) is None
    kernel.grant(task, "taker.console_put(len(data)=16)")
    kernel.answer_asked(task.id)
    assert kernel.wait(task).code == 16
    assert taker.got == [b"from the program"]


def test_a_no_lends_nothing(kernel: wasmos.Kernel, taker: Taker) -> None:
    task = spawn(kernel, lender(lend(100, 16)), "taker.ping")
    kernel.ask(task, lambda denial: False)
    assert kernel.wait(task).code == NOT_ALLOWED
    room = bytearray(4)
    client = kernel.client("c", allow=["taker.ping"])
    kernel.ask(client, lambda denial: False)
    with pytest.raises(wasmos.CapabilityDenied):
        client.call("taker", abi.ConsoleTake(room))
    room.extend(b"!")
    assert not taker.lents


def test_the_service_ends_while_somebody_is_asked(kernel: wasmos.Kernel, taker: Taker) -> None:
    task = spawn(kernel, lender(lend(100, 16)), "taker.ping")
    denials: list[wasmos.Denial] = []
    kernel.ask(task, denials.append)  # type: ignore[arg-type]
    kernel.run(lambda: bool(denials))
    kernel.kill(taker.task)
    assert kernel.wait(task).code == ABORTED
    assert not taker.lents


# --- audit ---------------------------------------------------------------------------------------


def test_of_what_is_lent_an_audit_has_the_length(kernel: wasmos.Kernel, taker: Taker) -> None:
    entries: list[dict[str, Any]] = []
    kernel.audit(entries.extend, calls=True)
    client = kernel.client("c", allow=["taker.console_take", "fs"])
    kernel.serve(Files())
    client.call("taker", abi.ConsoleTake(bytearray(b"secret")))
    client.call("fs", abi.FsReadAt(3, -TOP, bytearray(b"secret")))
    with pytest.raises(wasmos.CapabilityDenied):
        client.call("taker", abi.ConsolePut(2, b"a secret"))
    assert code(kernel, lender(lend(100, 16)), "taker.ping") == NOT_ALLOWED
    kernel.take_records()
    kernel.end_audit(entries.extend)
    told = [(e["event"], e["message"], e.get("fields")) for e in entries if "decision" in e]
    assert told == [
        ("call", "taker.console_take", None),
        ("call", "fs.read_at", None),
        ("denial", "taker.console_put", {"stream": 2, "data": {"len": 8}}),
        ("denial", "taker.console_put", {"stream": 1, "data": {"len": 16}}),
    ]
    assert "secret" not in repr(entries)


def test_a_denial_names_the_rule_that_would_allow_it(kernel: wasmos.Kernel, taker: Taker) -> None:
    client = kernel.client("c", allow=["taker.ping"])
    with pytest.raises(wasmos.CapabilityDenied):
        client.call("taker", abi.ConsolePut(2, b"a secret"))
    kernel.take_records()
    (denial,) = client.denials
    assert "secret" not in denial.rule
    kernel.grant(client, denial.rule)
    assert client.call("taker", abi.ConsolePut(2, b"a secret")).len == 8
