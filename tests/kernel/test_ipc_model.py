"""Random stories of up to five puppets, against a model of what the four calls mean.

The model is told the same commands as the puppets, and says what each call must have come to. It
is the definition: a task waits for at most one other, never in a circle; a call is answered once,
by whom it was made to; a message reaches whom it was sent to, or its sender learns why not.
"""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.puppets import CALL, EXIT, LOOKUP, RECV, REPLY, TRAP, Report, Scratch, Stage

NOT_ALLOWED, INVALID_ARG, INVALID_TASK, ABORTED, DEAD_LOCK = -8, -11, -12, -21, -24


# --- the model --------------------------------------------------------------------------------


class Actor:
    """What the model knows of one puppet. `waits`: in what kind of wait it is, and for whom."""

    def __init__(self, id: int, name: str) -> None:
        self.id, self.name, self.alive = id, name, True
        self.held: set[str] = set()  # names of those that it may send to
        self.waits: tuple[str, int] | None = None
        self.wanted = ""  # the name that it looks up
        self.scratch: Scratch = (0, 0, 0)
        self.results: list[Report] = []

    def ends(self, code: int) -> None:
        """The call that it was in returned."""
        self.waits = None
        self.results.append((code, self.scratch))


class Model:
    """The rules. Each method is one command to an actor, or something the kernel's owner does."""

    def __init__(self) -> None:
        self.actors: dict[int, Actor] = {}
        self.senders: list[tuple[int, int]] = []  # (who, to whom), in the order they came

    def living(self, id: int) -> Actor | None:
        actor = self.actors.get(id)
        return actor if actor is not None and actor.alive else None

    def in_range(self, id: int) -> bool:
        return 0 < id <= max(16, *self.actors)

    def waits_for(self, first: Actor | None, last: Actor) -> bool:
        """Whether `last` must do something before `first` can go on."""
        while first is not None and first is not last:
            first = self.living(first.waits[1]) if first.waits else None
        return first is last

    def receives_from(self, receiver: Actor, sender: Actor) -> bool:
        return receiver.waits in (("receiving", 0), ("receiving", sender.id))

    def deliver(self, sender: Actor, receiver: Actor) -> None:
        type, _, value = sender.scratch
        receiver.scratch = (type, sender.id, value)
        sender.waits = ("awaiting reply", receiver.id)

    def call(self, me: Actor, whom: int, type: int, value: int) -> None:
        me.scratch = (type, me.scratch[1], value)
        other = self.living(whom)
        if whom == me.id or not self.in_range(whom):
            me.ends(INVALID_ARG)
        elif other is None:
            me.ends(INVALID_TASK)
        elif type < 0:
            me.ends(INVALID_ARG)
        elif other.name not in me.held:
            me.ends(NOT_ALLOWED)
        elif self.receives_from(other, me):
            self.deliver(me, other)
            other.ends(0)
        elif self.waits_for(other, me):
            me.ends(DEAD_LOCK)
        else:
            me.waits = ("sending", whom)
            self.senders.append((me.id, whom))

    def recv(self, me: Actor, whom: int) -> None:
        other = self.living(whom)
        if whom == me.id or (whom and not self.in_range(whom)):
            return me.ends(INVALID_ARG)
        if whom and other is None:
            return me.ends(INVALID_TASK)
        for who, to in self.senders:
            if to == me.id and whom in (0, who):
                self.senders.remove((who, to))
                self.deliver(self.actors[who], me)
                return me.ends(0)
        if other is not None and self.waits_for(other, me):
            return me.ends(DEAD_LOCK)
        me.waits = ("receiving", whom)
        return None

    def reply(self, me: Actor, whom: int, type: int, value: int) -> None:
        me.scratch = (type, me.scratch[1], value)
        other = self.living(whom)
        if other is not None and other is not me:
            if other.waits == ("awaiting reply", me.id):
                # Of an error only the header arrives.
                other.scratch = (type, me.id, value if type >= 0 else other.scratch[2])
                other.ends(0)
            elif (
                type >= 0
                and self.receives_from(other, me)
                and (other.name in me.held or me.name in other.held)
            ):
                other.scratch = (type, me.id, value)
                other.ends(0)
        me.ends(0)

    def lookup(self, me: Actor, name: str) -> None:
        owner = next((a for a in self.actors.values() if a.alive and a.name == name), None)
        if name not in me.held:
            me.ends(NOT_ALLOWED)
        elif owner is not None:
            me.ends(owner.id)
        else:
            me.waits, me.wanted = ("looking up", 0), name

    def spawn(self, id: int, name: str) -> None:
        self.actors[id] = Actor(id, name)
        for actor in self.actors.values():
            if actor.alive and actor.waits == ("looking up", 0) and actor.wanted == name:
                actor.ends(id)

    def revoke(self, me: Actor, name: str) -> None:
        me.held.discard(name)
        if me.waits == ("looking up", 0) and me.wanted == name:
            me.ends(NOT_ALLOWED)
        elif me.waits and me.waits[0] in ("sending", "awaiting reply"):
            other = self.actors.get(me.waits[1])
            if other is not None and other.name == name:  # also a call that is under way
                self.senders = [row for row in self.senders if row[0] != me.id]
                me.ends(NOT_ALLOWED)

    def end(self, me: Actor) -> None:
        me.alive, me.waits = False, None
        self.senders = [row for row in self.senders if me.id not in row]
        for other in self.actors.values():
            if other.alive and other.waits and other.waits[1] == me.id:
                other.ends(ABORTED)


# --- puppets and model side by side -----------------------------------------------------------


class Both:
    """Tells the puppets and the model the same, and compares."""

    def __init__(self, seed: int = 0) -> None:
        self.stage, self.model = Stage(seed), Model()

    def spawn(self, name: str) -> int:
        id = self.stage.spawn(name).id
        self.model.spawn(id, name)
        return id

    def grant(self, id: int, name: str) -> None:
        self.stage.kernel.grant(self.stage.kernel._tasks[id], name)
        self.model.actors[id].held.add(name)

    def revoke(self, id: int, name: str) -> None:
        self.stage.kernel.revoke(self.stage.kernel._tasks[id], name)
        self.stage.settle()
        self.model.revoke(self.model.actors[id], name)

    def call(self, id: int, whom: int, type: int = 9, value: int = 0) -> None:
        self.stage.tell(id, CALL, whom, type, value)
        self.model.call(self.model.actors[id], whom, type, value)

    def recv(self, id: int, whom: int) -> None:
        self.stage.tell(id, RECV, whom)
        self.model.recv(self.model.actors[id], whom)

    def reply(self, id: int, whom: int, type: int = 10, value: int = 0) -> None:
        self.stage.tell(id, REPLY, whom, type, value)
        self.model.reply(self.model.actors[id], whom, type, value)

    def lookup(self, id: int, name: str) -> None:
        self.stage.tell(id, LOOKUP, name=name)
        self.model.lookup(self.model.actors[id], name)

    def end(self, id: int, op: int | None) -> None:
        if op is None:
            self.stage.kernel.kill(id)
            self.stage.settle()
        else:
            self.stage.tell(id, op, value=7)
        self.model.end(self.model.actors[id])

    def compare(self) -> None:
        living = [actor for actor in self.model.actors.values() if actor.alive]
        assert self.stage.kernel.task_ids() == sorted(
            [self.stage.director.task, *(actor.id for actor in living)]
        )
        for actor in self.model.actors.values():
            assert self.stage.reports(actor.id) == actor.results, actor.name
        for actor in living:
            account = self.stage.kernel.account(actor.id)
            found = (account["state"], account["peer"] or 0)
            assert found == (actor.waits or ("awaiting reply", self.stage.director.task))

    def close(self) -> None:
        self.stage.kernel.close()
        assert self.stage.kernel.live == 0


# --- random stories ---------------------------------------------------------------------------

NAMES = st.sampled_from(["anna", "bob", "cleo", "dan", "eve"])
TYPES = st.sampled_from([9, 9, 10, 700, 5000, 0, -7])
VALUES = st.integers(-(2**31), 2**31 - 1)


class Stories(RuleBasedStateMachine):
    @initialize(seed=st.sampled_from([0, 1, 2, 3]), full=st.booleans())
    def begin(self, seed: int, full: bool) -> None:
        self.both = Both(seed)
        names = ["anna", "bob", "cleo", "dan", "eve"]
        for name in names[: 5 if full else 3]:
            id = self.both.spawn(name)
            for other in names:
                self.both.grant(id, other)

    def teardown(self) -> None:
        if hasattr(self, "both"):
            self.both.close()

    def living(self) -> list[int]:
        return [actor.id for actor in self.both.model.actors.values() if actor.alive]

    def free(self) -> list[int]:
        return [id for id in self.living() if self.both.model.actors[id].waits is None]

    def someone_is_free(self) -> bool:
        return bool(self.free())

    def someone_lives(self) -> bool:
        return bool(self.living())

    def whom(self, data: st.DataObject) -> int:
        """Mostly somebody who is there; also the dead, and ids that make no sense."""
        ids = list(self.both.model.actors)
        return data.draw(st.sampled_from([*ids, *ids, *ids, 0, -1, 1, 99]), "whom")

    @precondition(someone_is_free)
    @rule(data=st.data(), type=TYPES, value=VALUES)
    def call(self, data: st.DataObject, type: int, value: int) -> None:
        self.both.call(data.draw(st.sampled_from(self.free())), self.whom(data), type, value)

    @precondition(someone_is_free)
    @rule(data=st.data(), anyone=st.booleans())
    def recv(self, data: st.DataObject, anyone: bool) -> None:
        id = data.draw(st.sampled_from(self.free()))
        self.both.recv(id, 0 if anyone else self.whom(data))

    @precondition(someone_is_free)
    @rule(data=st.data(), type=TYPES, value=VALUES)
    def reply(self, data: st.DataObject, type: int, value: int) -> None:
        self.both.reply(data.draw(st.sampled_from(self.free())), self.whom(data), type, value)

    @precondition(someone_is_free)
    @rule(data=st.data(), name=NAMES)
    def lookup(self, data: st.DataObject, name: str) -> None:
        self.both.lookup(data.draw(st.sampled_from(self.free())), name)

    @precondition(someone_lives)
    @rule(data=st.data(), name=NAMES, give=st.booleans())
    def change_authority(self, data: st.DataObject, name: str, give: bool) -> None:
        id = data.draw(st.sampled_from(self.living()))
        (self.both.grant if give else self.both.revoke)(id, name)

    @precondition(someone_lives)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        self.both.end(data.draw(st.sampled_from(self.living())), None)

    @precondition(someone_is_free)
    @rule(data=st.data(), op=st.sampled_from([EXIT, TRAP]))
    def end(self, data: st.DataObject, op: int) -> None:
        self.both.end(data.draw(st.sampled_from(self.free())), op)

    @precondition(lambda self: len(self.living()) < 5)
    @rule(name=NAMES, trusting=st.booleans())
    def spawn(self, name: str, trusting: bool) -> None:
        if name not in self.both.stage.kernel.services:
            id = self.both.spawn(name)
            for other in ("anna", "bob", "cleo", "dan", "eve") if trusting else ():
                self.both.grant(id, other)

    @invariant()
    def puppets_are_where_the_model_says(self) -> None:
        if hasattr(self, "both"):
            self.both.compare()


Stories.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, derandomize=True, database=None
)
test_stories = Stories.TestCase


# --- circles ----------------------------------------------------------------------------------

KINDS = ("sending", "awaiting reply", "receiving")


@pytest.mark.parametrize("length", [2, 3, 4, 5])
def test_every_circle_is_refused(length: int) -> None:
    """Of every make: each task waits for the next in each way there is, and the last one calls, or
    receives from, the first."""
    names = ["anna", "bob", "cleo", "dan", "eve"][:length]
    for kinds in itertools.product(KINDS, repeat=length - 1):
        for closing in ("call", "recv"):
            with contextlib.closing(Both()) as both:
                code = circle(both, names, kinds, closing)
            if (closing, kinds) == ("recv", ("sending",)):
                assert code == 0  # it takes the message that the other one sends
            elif (closing, kinds) == ("call", ("receiving",)):
                assert code is None  # the other one takes its message
            else:
                assert code == DEAD_LOCK


def circle(both: Both, names: list[str], kinds: tuple[str, ...], closing: str) -> int | None:
    """What the call that would close it comes to; None if it waits."""
    ids = [both.spawn(name) for name in names]
    for id, name in itertools.product(ids, names):
        both.grant(id, name)
    # Who is to be received from has to be free until then: from the last to the first.
    edges = list(zip(ids, ids[1:], kinds, strict=False))
    for me, following, kind in reversed(edges):
        if kind == "receiving":
            both.recv(me, following)
    for me, following, kind in edges:
        if kind == "awaiting reply" and both.model.actors[following].waits is None:
            both.recv(following, me)
            both.call(me, following)
        elif kind != "receiving":
            both.call(me, following)
    getattr(both, closing)(ids[-1], ids[0])
    both.compare()
    results = both.model.actors[ids[-1]].results
    return results[-1][0] if results else None
