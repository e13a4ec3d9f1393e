"""Random trees of capabilities, and messages, against the model of what they mean.

The kernel finds the one among thousands by hash tables, and keeps a ledger in Python of what the
core has in C; the model loops over a list. Each message is a real call, by a Python client or by a
Wasm guest, and everything that is known of the decision is compared: the result, the cause, what
admitted it, what the service is told of it, the uses that are left, and who holds what.
"""

from __future__ import annotations

import ipaddress
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import wasmos
from tests.kernel.authority_model import Cap, Model, Sent
from tests.support.puppets import CALL, Stage
from tests.support.rules import LAB, After, Later, Mix, Names
from wasmos import abi
from wasmos.kernel import Rule
from wasmos.kernel.bounds import MAX_DEPTH

NOT_ALLOWED, NOT_SUPPORTED = -8, -9
MIX, NAMES, AFTER, LATER, PING, UNKNOWN = 1001, 1003, 1005, 1007, 9, 7000
PUBLIC = (0x08080808, 0x01010101)
ADDRESSES = (*PUBLIC, 0x0A000001, 0x0AFFFFFF, 0x7F000001, 0xC0A80001)
NETWORKS = {
    '"10.0.0.0/8"': (0x0A000000, 0x0AFFFFFF), '"all"': (0, 0xFFFFFFFF),
    '"8.8.8.8"': (0x08080808, 0x08080808), '"8.0.0.0/7"': (0x08000000, 0x09FFFFFF),
}  # fmt: skip
EDGES = {
    "whole": (-(2**31), -5, -1, 0, 3, 4, 2**31 - 1), "count": (0, 7, 2**31, 2**32 - 1),
    "port": (0, 80, 443, 65535), "fd": (-1, 0, 3, 4), "value": (-1, 0, 3, 4, 2**31 - 1),
}  # fmt: skip
TEXTS = ("", "a", "ab", "b", "bab", "aaaaa")
DIRECTOR = "director"
WHOLE: dict[str, Any] = {"type": None, "demands": {}, "lengths": {}}


def public(_name: str, value: int) -> bool:
    return ipaddress.IPv4Address(value).is_global


def own_name(name: str, value: str) -> bool:
    return value == name


def new_model() -> Model:
    return Model(
        covers={MIX: {AFTER, LATER}, NAMES: {LATER}, AFTER: {LATER}},
        takes={"lab": {MIX, NAMES, AFTER, LATER}, "lab2": {MIX, PING}, "who": set()},
        defaults={MIX: {"addr": public}, AFTER: {"addr": public}, NAMES: {"me": own_name}},
    )


# --- the services -----------------------------------------------------------------------------


class Witness(wasmos.Service):
    """Notes by which right each message came."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[tuple[int, int, list[int]]] = []
        self.gone: list[int] = []

    def _note(self, caller: wasmos.Caller) -> None:
        self.seen.append((caller.id, caller.grant, [grant.id for grant in caller.grants()]))

    def revoked(self, grant: int) -> None:
        self.gone.append(grant)


class Who(Witness):
    def ping(self, caller: wasmos.Caller, value: int) -> int:
        self._note(caller)
        return value


class Lab(Witness):
    interface: ClassVar[Any] = LAB

    def lab_mix(
        self, caller: wasmos.Caller, whole: int, count: int, port: int, text: str, data: bytes,
        mac: bytes, addr: int,
    ) -> tuple[object, ...]:  # fmt: skip
        self._note(caller)
        return whole, count, port, text, data, mac, addr

    def lab_names(self, caller: wasmos.Caller, host: str, path: str, me: str) -> tuple[str, ...]:
        self._note(caller)
        return host, path, me

    def lab_after(self, caller: wasmos.Caller, addr: int) -> int:
        self._note(caller)
        return addr

    def lab_later(self, caller: wasmos.Caller, fd: int) -> int:
        self._note(caller)
        return fd


# --- what is drawn ----------------------------------------------------------------------------


@st.composite
def ranges(draw: st.DrawFn, edges: tuple[int, ...]) -> list[tuple[int, int]]:
    found = draw(st.lists(st.tuples(st.sampled_from(edges), st.sampled_from(edges)), min_size=1,
                          max_size=3))  # fmt: skip
    return [(min(pair), max(pair)) for pair in found]


def shown(found: list[tuple[int, int]]) -> str:
    return "[" + ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in found) + "]"


@st.composite
def rules(draw: st.DrawFn, *, everything: bool = True, lifetimes: bool = True) -> tuple[str, Any]:
    """A rule as text, and as the model has it."""
    service = draw(st.sampled_from(["lab", "lab", "lab", "lab2", "who", "who", *"*" * everything]))
    names = {"lab": (Mix, Mix, Names, After, Later), "lab2": (Mix,), "who": (abi.Ping,), "*": ()}
    cls = draw(st.sampled_from([None, *names[service]])) if service != "*" else None
    rule = {**WHOLE, "service": service, "type": None if cls is None else cls.TYPE,
            "demands": {}, "lengths": {}, "uses": None, "ns": None}  # fmt: skip
    items = []
    for field in () if cls is None else cls.FIELDS:
        if draw(st.integers(0, 3)):
            continue
        if field.name in EDGES:
            rule["demands"][field.name] = found = draw(ranges(EDGES[field.name]))
            items.append(f"{field.name}={shown(found)}")
        elif field.name == "addr":
            nets = draw(st.lists(st.sampled_from(list(NETWORKS)), min_size=1, max_size=2))
            rule["demands"]["addr"] = [NETWORKS[net] for net in nets]
            items.append(f"addr=[{', '.join(nets)}]")
        elif field.name in ("text", "me"):
            likes = draw(st.lists(st.sampled_from(["a", "ab", "b", "*b", "*a", "*"]), min_size=1,
                                  max_size=2))  # fmt: skip
            rule["demands"][field.name] = likes
            items.append(f"{field.name}=[" + ", ".join(f'"{like}"' for like in likes) + "]")
        if field.name in ("text", "data"):
            rule["lengths"][field.name] = found = draw(ranges((0, 1, 2, 5)))
            items.append(f"len({field.name})={shown(found)}")
    text = service if cls is None else f"{service}.{cls.NAME}"
    text += f"({', '.join(items)})" if items else ""
    if lifetimes and draw(st.integers(0, 2)) == 0:
        rule["uses"] = draw(st.none() | st.integers(1, 3))
        rule["ns"] = draw(st.none() | st.sampled_from([1, 2, 5])) if rule["uses"] else 2
        rule["ns"] = rule["ns"] and rule["ns"] * 10**9
        text += f" for {rule['ns'] // 10**9}s" if rule["ns"] else ""
        text += f" {rule['uses']} times" if rule["uses"] else ""
    return text, rule


CLASSES = {MIX: Mix, NAMES: Names, AFTER: After, LATER: Later, PING: abi.Ping}
USUAL = {
    **EDGES, "addr": (*PUBLIC, *PUBLIC, *ADDRESSES), "text": TEXTS, "me": ("a", "b", "p", ""),
    "data": (b"", b"x", b"xx", b"xxxxx"),
}  # fmt: skip


@st.composite
def requests(draw: st.DrawFn, rule: dict[str, Any]) -> tuple[str, abi.Message | None]:
    """To whom, and what: something that the rule is about, mostly, or that is near to it. None is a
    type that nobody has heard of."""
    service = "who" if rule["service"] == "who" else "lab"
    type = rule["type"]
    if type is None or draw(st.integers(0, 5)) == 0:
        service, type = draw(st.sampled_from([
            ("who", PING), ("who", PING), ("who", None), ("lab", MIX), ("lab", NAMES),
            ("lab", AFTER), ("lab", LATER), ("lab", PING), ("lab", None),
        ]))  # fmt: skip
    if type is None:
        return service, None
    cls = CLASSES[type]
    demands = rule["demands"] if type == rule["type"] else {}
    values = {}
    for field in cls.FIELDS:
        if field.name in demands and draw(st.integers(0, 3)):
            values[field.name] = draw(near(field, draw(st.sampled_from(demands[field.name]))))
        elif field.name in USUAL:
            values[field.name] = draw(st.sampled_from(USUAL[field.name]))
    return service, cls(**values)


def near(field: abi.Field, allowed: Any) -> st.SearchStrategy[Any]:
    """A value that is just allowed, or just not."""
    if isinstance(allowed, str):
        return st.sampled_from([allowed.strip("*"), "b" + allowed.strip("*")])
    least, most = {abi.INT32: (-(2**31), 2**31 - 1), abi.UINT16: (0, 0xFFFF)}.get(
        field.kind, (0, 2**32 - 1)
    )
    low, high = allowed
    return st.sampled_from([low, high, low, high, max(least, low - 1), min(most, high + 1)])


def as_sent(service: str, message: abi.Message | None) -> Sent:
    names = ["who"] if service == "who" else ["lab", "lab2"]
    if message is None:
        return names, UNKNOWN, {}
    return names, message.TYPE, {f.name: getattr(message, f.name) for f in message.FIELDS}


# --- kernel and model side by side ------------------------------------------------------------


class Authority(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.stage = Stage()
        self.kernel = self.stage.kernel
        self.who, self.lab = Who("who"), Lab("lab")
        self.kernel.serve(self.who)
        self.kernel.register(self.kernel.serve(self.lab), "lab2")
        self.model = new_model()
        self.tasks: list[wasmos.Task] = [self.kernel.client(name, allow=[]) for name in "abc"]
        for name in ("p", "q"):
            self.tasks.append(self.puppet(name))
        self.denials: list[wasmos.Denial] = []
        self.kernel.on_denial(self.denials.append)

    def puppet(self, name: str, **options: Any) -> wasmos.Task:
        task = self.kernel.spawn(self.stage.program, name=name, **options)
        self.kernel.grant(task, DIRECTOR)  # no business of the model
        return task

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            self.kernel.close()
            assert self.kernel.live == 0
            assert self.kernel.grants == []

    # --- what may happen ---

    def task(self, data: st.DataObject) -> wasmos.Task:
        return data.draw(st.sampled_from(self.tasks), "task")

    def some(self, data: st.DataObject, *states: str) -> Cap:
        return data.draw(st.sampled_from([c for c in self.model.caps if c["state"] in states]))

    def lives(self, rule: dict[str, Any], parent: Cap | None = None) -> dict[str, Any]:
        """What follows from a rule's lifetime."""
        ends = [] if rule["ns"] is None else [self.kernel.now_ns + rule["ns"]]
        if parent is not None and parent["expires"] is not None:
            ends.append(parent["expires"])
        return {"uses": rule["uses"], "expires": min(ends, default=None)}

    @rule(data=st.data(), rule=rules())
    def grant(self, data: st.DataObject, rule: tuple[str, Any]) -> None:
        task = self.task(data)
        more = self.lives(rule[1])
        made = self.kernel.grant(task, rule[0])
        self.model.add(made.id, task.id, task.name, rule[1], **more)
        self.probe(data, task)

    @rule(data=st.data(), rule=rules(everything=False, lifetimes=False))
    def deny(self, data: st.DataObject, rule: tuple[str, Any]) -> None:
        task = self.task(data)
        made = self.kernel.deny(task, rule[0])
        self.model.add(made.id, task.id, task.name, rule[1], deny=True)
        self.probe(data, task)

    @precondition(lambda self: self.model.caps)
    @rule(data=st.data(), rule=st.none() | rules(), to=st.integers(0, 4))
    def delegate(self, data: st.DataObject, rule: tuple[str, Any] | None, to: int) -> None:
        live = any(cap["state"] == "live" for cap in self.model.caps)
        states = ("live", "offered", "left")
        cap = self.some(data, *(states[:1] if live and data.draw(st.integers(0, 4)) else states))
        task = self.tasks[to % len(self.tasks)]
        grant = self.kernel.find_grant(cap["id"])
        assert grant is not None
        asked = cap["rule"] if rule is None else rule[1]
        more = self.lives(asked, cap)
        fine = cap["state"] == "live" and not cap["deny"]
        fine = fine and len(self.model.chain(cap)) < MAX_DEPTH
        if not self.model.is_part(asked, cap) or not fine:
            with pytest.raises((wasmos.CapabilityDenied, wasmos.UsageError)):
                grant.delegate(task, None if rule is None else rule[0])
        else:
            made = grant.delegate(task, None if rule is None else rule[0])
            self.model.add(made.id, task.id, task.name, asked, parent=cap, **more)
        self.probe(data, task)

    @precondition(lambda self: self.model.caps)
    @rule(data=st.data(), other=st.none() | rules(), to=st.integers(0, 4), offer=st.booleans())
    def pass_on(
        self, data: st.DataObject, other: tuple[str, Any] | None, to: int, offer: bool
    ) -> None:
        """As a guest asks for it: only what one of its grants covers."""
        giver, task = self.task(data), self.tasks[to % len(self.tasks)]
        held = [cap for cap in self.model.held(giver.id) if not cap["deny"]]
        if other is None and held:
            cap = data.draw(st.sampled_from(held), "cap")
            other = str(self.kernel.find_grant(cap["id"]).rule), cap["rule"]  # type: ignore[union-attr]
        text, asked = other or ("who", {**WHOLE, "service": "who", "uses": None, "ns": None})
        wanted = self.kernel.parse_rule(text)
        for cap in held:
            covers = self.rule_of(cap).covers(wanted, giver.name)
            if covers and self.model.is_part(asked, cap) and len(self.model.chain(cap)) < MAX_DEPTH:
                more = self.lives(asked, cap)
                made = self.kernel.pass_on(giver, task, text, offer=offer)
                self.model.add(made.id, task.id, task.name, asked, parent=cap,
                               state="offered" if offer else "live", **more)  # fmt: skip
                break
        else:
            with pytest.raises((wasmos.CapabilityDenied, wasmos.UsageError)):
                self.kernel.pass_on(giver, task, text, offer=offer)
        self.probe(data, task)

    def rule_of(self, cap: Cap) -> Rule:
        grant = self.kernel.find_grant(cap["id"])
        assert grant is not None
        return grant.rule

    @precondition(lambda self: any(cap["state"] == "offered" for cap in self.model.caps))
    @rule(data=st.data(), right=st.booleans())
    def accept(self, data: st.DataObject, right: bool) -> None:
        cap, task = self.some(data, "offered"), self.task(data)
        if right:
            task = next(task for task in self.tasks if task.id == cap["holder"])
        if task.id == cap["holder"]:
            self.kernel.accept(task, cap["id"])
            cap["state"] = "live"
            # Accepting makes nobody's list change its order.
        else:
            with pytest.raises(LookupError):
                self.kernel.accept(task, cap["id"])
        self.probe(data, task)

    @precondition(lambda self: self.model.caps)
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        cap = self.some(data, "live", "offered", "left")
        heirs = [each["holder"] for each in self.model.under(cap)]
        grant = self.kernel.find_grant(cap["id"])
        assert grant is not None
        grant.revoke()
        self.model.revoke(cap)
        for task in [task for task in self.tasks if task.id in heirs][:2]:
            self.probe(data, task)

    @precondition(lambda self: any(cap["expires"] is not None for cap in self.model.caps))
    @rule(data=st.data(), ns=st.sampled_from([-1, 0, 0, 1]))
    def time_passes(self, data: st.DataObject, ns: int) -> None:
        """Until just before some capability ends, or until it has."""
        cap = data.draw(st.sampled_from([c for c in self.model.caps if c["expires"] is not None]))
        holders = [task for task in self.tasks if task.id == cap["holder"]]
        self.kernel.advance(cap["expires"] + ns)
        self.probe(data, holders[0] if holders else self.task(data))

    @precondition(lambda self: len(self.tasks) < 7)
    @rule(data=st.data(), wanted=st.lists(rules(), max_size=2), name=st.sampled_from("abp"))
    def spawn(self, data: st.DataObject, wanted: list[tuple[str, Any]], name: str) -> None:
        """Of each rule as much as its parent holds."""
        parent, expected = self.task(data), []
        wanted = list({text: (text, rule) for text, rule in wanted}.values())
        for text, asked in wanted:
            held = [c for c in self.model.held(parent.id) if not c["deny"]]
            theirs = self.kernel.parse_rule(text)
            whole = [c for c in held if self.rule_of(c).covers(theirs, parent.name)]
            for cap in whole[:1] or held:
                part = cap["rule"] if asked["service"] == "*" else asked
                if self.model.is_part(part, cap):
                    expected.append((cap, part, self.lives(part, cap)))
        if any(len(self.model.chain(cap)) >= MAX_DEPTH for cap, _, _ in expected):
            return
        task = self.puppet(name, parent=parent, allow=[text for text, _ in wanted])
        made = [grant for grant in task.grants if grant.rule.service != DIRECTOR]
        assert len(made) == len(expected)
        for grant, (cap, part, more) in zip(made, expected, strict=True):
            self.model.add(grant.id, task.id, name, part, parent=cap, **more)
        self.tasks.append(task)
        self.probe(data, task)

    @precondition(lambda self: len(self.tasks) > 3)
    @rule(data=st.data())
    def exit(self, data: st.DataObject) -> None:
        task = self.task(data)
        for cap in [c for c in self.model.caps if c["holder"] == task.id]:
            if cap["state"] == "offered":
                self.model.revoke(cap)
        task.kill()
        self.tasks.remove(task)
        self.model.end(task.id)
        self.probe(data, self.task(data))

    # --- messages ---

    def settle(self) -> None:
        """What is over is taken back now."""
        self.stage.settle()
        while any(grant.expires_ns == self.kernel.now_ns for grant in self.kernel.grants):
            self.stage.settle()  # the clock stopped at the very end of one: it goes when it runs on
        self.model.now = self.kernel.now_ns
        self.model.sweep()

    def probe(self, data: st.DataObject, task: wasmos.Task) -> None:
        """Send something from this task and from another one: near what they hold or are denied."""
        holders = [t for t in self.tasks if self.model.held(t.id)]
        others = st.sampled_from(holders or self.tasks)
        for sender in (task, task, data.draw(others, "sender"), data.draw(others, "sender")):
            known = [rule for cap in self.model.held(sender.id)
                     for rule in (cap["rule"], *cap["excepts"])]  # fmt: skip
            rule = data.draw(st.sampled_from(known or [{**WHOLE, "service": "who"}]), "near")
            self.send(sender, *data.draw(requests(rule), "request"))

    def send(self, task: wasmos.Task, service: str, message: abi.Message | None) -> None:
        for witness in (self.who, self.lab):
            witness.seen.clear()
        if not isinstance(task, wasmos.Client):
            self.settle()  # the puppet may have to start
            if not isinstance(message, abi.Ping | After | Later):
                message = None  # a puppet's messages have one number
        self.denials.clear()
        self.model.now = self.kernel.now_ns
        sent = as_sent(service, message)
        found, cause = self.model.decide(task.id, sent)
        self.foresee(task, service, message, sent, cause)
        result = self.code_of(task, service, message)
        if found:
            known = message is not None and (service == "who" or not isinstance(message, abi.Ping))
            assert result == (0 if known else NOT_SUPPORTED), (task, sent)
            self.admitted(task, sent, found, known)
        else:
            assert result == NOT_ALLOWED, (task, sent)
            self.kernel.take_records()
            assert [(d.task, d.cause) for d in self.denials] == [(task.id, cause)]
            assert self.who.seen == self.lab.seen == []
        self.settle()

    def foresee(
        self, task: wasmos.Task, service: str, message: abi.Message | None, sent: Sent, cause: str
    ) -> None:
        """What the kernel says of a message before it is sent."""
        fit = [
            cap for cap in self.model.held(task.id)
            if not cap["deny"] and cap["rule"]["service"] in ("*", *sent[0])
            and self.model.matches(cap, sent) and not self.model.is_over(cap)
            and all(each["uses"] is None for each in self.model.chain(cap))
        ]  # fmt: skip
        lasting = any(not self.model.is_limited(cap) for cap in fit)
        expected = 0 if cause == "denied" or not fit else 2 if lasting else 1
        if message is None:
            raw = UNKNOWN.to_bytes(4, "little").ljust(1512, b"\0")
        else:
            raw = self.kernel.encode(message)
        assert self.kernel.would_admit(task.id, self.kernel.service_id(service), raw) == expected

    def code_of(self, task: wasmos.Task, service: str, message: abi.Message | None) -> int:
        dst = self.kernel.service_id(service)
        if not isinstance(task, wasmos.Client):
            field = {PING: "value", AFTER: "addr", LATER: "fd"}
            type = UNKNOWN if message is None else message.TYPE
            value = 0 if message is None else getattr(message, field[type])
            value = value - 2**32 if value >= 2**31 else value
            self.stage.tell(task.id, CALL, dst, type, value)
            code, scratch = self.stage.reports(task.id)[-1]
            return code or min(scratch[0], 0)
        if message is None:
            raw = UNKNOWN.to_bytes(4, "little") + bytes(8)
        else:
            raw = self.kernel.encode(message)
        result = self.kernel.send(task.id, dst, raw)
        if result is None:
            task.busy = True
            self.kernel.run(lambda: task._result is not None)
            result, task._result, task.busy = task._result, None, False
        reply = int.from_bytes(self.kernel.reply_of(task.id)[:4], "little", signed=True)
        return int(result or min(reply, 0))

    def admitted(self, task: wasmos.Task, sent: Sent, found: list[Cap], known: bool) -> None:
        assert self.denials == []
        if known:
            [(id, grant, grants)] = [*self.who.seen, *self.lab.seen]
            admitting = [
                cap["id"] for cap in self.model.held(task.id)
                if not cap["deny"] and cap["rule"]["service"] in ("*", *sent[0])
                and self.model.matches(cap, sent) and not self.model.is_over(cap)
            ]  # fmt: skip
            assert id == task.id
            assert grant in [cap["id"] for cap in found]
            used = next(cap for cap in found if cap["id"] == grant)
            # The service asks when the use is counted: what that used up is still named.
            self.model.use(used)
            over = [c["id"] for c in self.model.caps if self.model.is_over(c) == "spent"]
            assert [id for id in admitting if id == grant or id not in over] == grants
        elif self.model.is_limited(found[0]):
            self.model.use(found[0])

    # --- who holds what ---

    @invariant()
    def the_ledger_says_the_same(self) -> None:
        if not hasattr(self, "stage"):
            return
        self.settle()
        for task in self.tasks:
            found = [g for g in task.grants if g.rule.service != DIRECTOR]
            expected = self.model.held(task.id)
            assert [grant.id for grant in found] == [cap["id"] for cap in expected]
            for grant, cap in zip(found, expected, strict=True):
                self.compare(grant, cap)
        known = [g for g in self.kernel.grants if g.rule.service != DIRECTOR]
        for cap in self.model.caps:
            assert cap["id"] in [grant.id for grant in known] or cap["state"] == "left"
        assert {grant.id for grant in known} <= {cap["id"] for cap in self.model.caps}

    def compare(self, grant: wasmos.Grant, cap: Cap) -> None:
        left = [c["uses"] for c in self.model.chain(cap) if c["uses"] is not None]
        assert grant.uses_left == min(left, default=None)
        assert grant.expires_ns == cap["expires"]
        assert grant.deny == cap["deny"]
        assert (grant.parent and grant.parent.id) == (cap["parent"] and cap["parent"]["id"])
        heirs = [c["id"] for c in self.model.under(cap) if c is not cap]
        assert sorted(heir.id for heir in grant.walk()[1:] if heir.state != "left") == [
            id
            for id in heirs
            if self.kernel.find_grant(id).state != "left"  # type: ignore[union-attr]
        ]


Authority.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, derandomize=True, database=None
)
test_authority = Authority.TestCase
