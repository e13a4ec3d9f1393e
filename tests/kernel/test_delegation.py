"""What a task may pass on, and nothing makes it more."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import wasmos
from tests.support.services import NOT_ALLOWED, NOT_SUPPORTED, Anything, Who, heirs, ping, send
from tests.support.wat import SLEEP
from wasmos import abi


class NestPing(abi.Ping):
    """A message of a service that the kernel doesn't know from the start."""

    TYPE, NAME = 1021, "nest_ping"


NEST = SimpleNamespace(
    MESSAGES={NestPing.TYPE: NestPing},
    RPCS={NestPing.NAME: abi.Rpc(NestPing.NAME, NestPing, NestPing)},
    ONEWAYS={}, SERVICES={"nest": (NestPing.NAME,)}, EVENTS={}, COVERED_BY={}, BADGES={},
)  # fmt: skip


# --- passing on ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    ["pong", "*", 'fs(dir="/")', 'fs(dir="/srv/x")', 'fs(dir="/srv", mode="rw")',
     'fs(at="/x")', "fs.write", 'fs.open(dir="/etc", path="/a")'],
)  # fmt: skip
def test_what_is_no_part_is_not_passed_on(kernel: wasmos.Kernel, rule: str) -> None:
    giver = kernel.client("giver", allow=['fs.read(dir="/srv", mode="ro", len=..9)'])
    [heir] = heirs(kernel, 1)
    with pytest.raises(wasmos.CapabilityDenied):
        giver.grants[0].delegate(heir, rule)
    with pytest.raises(wasmos.CapabilityDenied):
        kernel.pass_on(giver, heir, rule, offer=False)
    assert heir.grants == []
    assert giver.grants[0].children == []


def test_who_holds_everything_chooses_no_badge(kernel: wasmos.Kernel) -> None:
    """Nor who holds a service without one: what it stands for is the host's to say."""
    [heir] = heirs(kernel, 1)
    for allow in ("*", "fs"):
        giver = kernel.client("giver", allow=[allow])
        for rule in ('fs(dir="/")', 'fs(dir="/srv", mode="ro")', 'fs.open(dir="/", path="/a")'):
            with pytest.raises(wasmos.CapabilityDenied):
                giver.grants[0].delegate(heir, rule)
            assert kernel.spawn(SLEEP, parent=giver, allow=[rule], trusted=True).grants == []


def test_a_badge_is_inherited(kernel: wasmos.Kernel) -> None:
    giver = kernel.client("giver", allow=['fs(dir="/srv")'])
    a, b = heirs(kernel, 2)
    less = giver.grants[0].delegate(a, 'fs(mode="ro")')
    assert less.badge == {"dir": "/srv", "mode": "ro"}
    with pytest.raises(wasmos.CapabilityDenied):
        less.delegate(b, 'fs(mode="rw")')
    assert less.delegate(b, "fs.read").badge == {"dir": "/srv", "mode": "ro"}


@pytest.mark.parametrize(
    "rule", ["who", "who.ping", "who.ping(value=..100)", "who.ping(value=[0, 7])"]
)
def test_a_wider_rule_gives_no_more(kernel: wasmos.Kernel, rule: str) -> None:
    """What the heir's rule says and the giver's doesn't is nothing."""
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who.ping(value=5..9)"])
    a, b = heirs(kernel, 2)
    giver.grants[0].delegate(a, rule).delegate(b, "who")
    for value in (4, 5, 7, 9, 10):
        right = 5 <= value <= 9 and (rule[-1] != ")" or value == 7 or ".." in rule)
        assert (ping(a, value=value) == 0) == right
        assert (ping(b, value=value) == 0) == right
    assert send(a, "who", (5000).to_bytes(4, "little") + bytes(4)) == NOT_ALLOWED


def test_a_task_passes_on_only_what_it_covers(kernel: wasmos.Kernel) -> None:
    giver = kernel.client("giver", allow=["who.ping(value=5..9)", "pong 2 times"])
    [heir] = heirs(kernel, 1)
    for rule in ("who", "who.ping(value=5..10)", "who.ping", "pong", "pong 3 times", "*"):
        with pytest.raises(wasmos.CapabilityDenied):
            kernel.pass_on(giver, heir, rule, offer=False)
    for rule in ("who.ping(value=6)", "pong once", "who.ping(value=5..9) for 5s"):
        assert str(kernel.pass_on(giver, heir, rule, offer=False).rule) == rule


def test_own_names_are_not_passed_on(kernel: wasmos.Kernel) -> None:
    """The giver may be called what it is called, and the heir would be called something else."""
    kernel.serve(Anything("vm"))
    giver = kernel.client("giver", allow=["vm"])
    [heir] = heirs(kernel, 1)
    giver.grants[0].delegate(heir)
    for name in ("giver", "heir0", "x"):
        assert send(heir, "vm", abi.ServiceRegister(name)) == NOT_ALLOWED
    assert send(heir, "vm", abi.WatchTasks()) != NOT_ALLOWED


@pytest.mark.parametrize("state", ["revoked", "expired", "spent", "left", "offered", "deny"])
def test_what_is_not_held_is_not_passed_on(kernel: wasmos.Kernel, state: str) -> None:
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    a, b = heirs(kernel, 2)
    grant = {
        "expired": lambda: kernel.grant(a, "who", seconds=1),
        "spent": lambda: kernel.grant(a, "who once"),
        "offered": lambda: kernel.pass_on(giver, a, "who", offer=True),
        "deny": lambda: kernel.deny(a, "who"),
    }.get(state, lambda: kernel.grant(a, "who"))()
    if state == "revoked":
        grant.revoke()
    if state == "left":
        grant.delegate(giver)
        a.kill()
    if state == "spent":
        ping(a)
    if state == "expired":
        kernel.run(timeout=2)
    assert grant.state == (state if state != "deny" else "live")
    with pytest.raises(wasmos.UsageError):
        grant.delegate(b)
    if a.exit is None:
        with pytest.raises(wasmos.CapabilityDenied):
            kernel.pass_on(a, b, "who", offer=False)
        assert kernel.spawn(SLEEP, parent=a, allow=["who"], trusted=True).grants == []
    assert b.grants == []


def test_to_a_task_that_has_ended(kernel: wasmos.Kernel) -> None:
    """Nothing is left behind by the attempt, and what was held can be taken back as before."""
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    [heir] = heirs(kernel, 1)
    heir.kill()
    [grant] = giver.grants
    with pytest.raises(LookupError):
        grant.delegate(heir)
    assert grant.children == []
    grant.revoke()
    assert ping(giver) == NOT_ALLOWED


def test_at_most_32_deep(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    clients = heirs(kernel, 34)
    grants = [kernel.grant(clients[0], "who")]
    for client in clients[1:32]:
        grants.append(grants[-1].delegate(client))
    with pytest.raises(wasmos.UsageError, match="32"):
        grants[-1].delegate(clients[32])
    assert grants[-1].depth == 31
    assert [ping(clients[31]), ping(clients[32])] == [0, NOT_ALLOWED]
    grants[0].revoke()
    assert [ping(client) for client in clients] == [NOT_ALLOWED] * 34


def test_at_most_256_passed_on(kernel: wasmos.Kernel) -> None:
    """At once: what is over counts no longer, however it ended."""
    giver = kernel.client("giver", allow=["who"])
    clients = heirs(kernel, 256)
    made = [kernel.pass_on(giver, heir, "who", offer=bool(n % 2)) for n, heir in enumerate(clients)]
    with pytest.raises(wasmos.UsageError, match="256"):
        kernel.pass_on(giver, clients[0], "who", offer=False)
    made[0].revoke()
    clients[1].kill()  # an offer
    clients[2].kill()  # what it held
    for _ in range(3):
        kernel.pass_on(giver, clients[3], "who", offer=False)
    with pytest.raises(wasmos.UsageError, match="256"):
        kernel.pass_on(giver, clients[3], "who", offer=False)


def test_the_whole_tree_goes_with_its_root(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    clients = heirs(kernel, 7)
    root = kernel.grant(clients[0], "who")
    grants = [root]
    for n, client in enumerate(clients[1:], 1):
        grants.append(grants[(n - 1) // 2].delegate(client))
    grants[1].revoke()
    assert [ping(client) for client in clients] == [
        0, NOT_ALLOWED, 0, NOT_ALLOWED, NOT_ALLOWED, 0, 0
    ]  # fmt: skip
    root.revoke()
    assert {grant.state for grant in grants} == {"revoked"}
    assert kernel.grants == []


def test_what_the_holder_passed_on_goes_on_without_it(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    root, giver, heir = heirs(kernel, 3)
    top = kernel.grant(root, "who")
    middle = top.delegate(giver)
    middle.delegate(heir)
    giver.kill()
    assert (middle.state, ping(heir)) == ("left", 0)
    root.kill()
    assert ping(heir) == 0
    assert kernel.grants == [top, middle, heir.grants[0]]
    top.revoke()
    assert ping(heir) == NOT_ALLOWED
    assert kernel.grants == []


def test_what_is_left_goes_with_the_last_heir(kernel: wasmos.Kernel) -> None:
    root, giver, heir = heirs(kernel, 3)
    kernel.grant(root, "who").delegate(giver).delegate(heir)
    for task in (root, giver, heir):
        task.kill()
    assert kernel.grants == []


def test_a_left_grant_still_ends_in_time(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    giver, heir = heirs(kernel, 2)
    kernel.grant(giver, "who for 1s 5 times").delegate(heir, "who")
    giver.kill()
    assert ping(heir) == 0
    kernel.run(timeout=2)
    assert ping(heir) == NOT_ALLOWED
    assert kernel.grants == []


# --- what the giver is denied -------------------------------------------------------------------


@pytest.mark.parametrize("first", ["deny", "delegate"])
def test_a_giver_passes_on_nothing_that_it_is_denied(kernel: wasmos.Kernel, first: str) -> None:
    """Whether it was denied that before or after, and however far it was passed on."""
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    a, b = heirs(kernel, 2)
    if first == "deny":
        kernel.deny(giver, "who.ping(value=5)")
    giver.grants[0].delegate(a).delegate(b, "who.ping")
    if first == "delegate":
        assert ping(b, value=5) == 0
        kernel.deny(giver, "who.ping(value=5)")
    assert [ping(a, value=5), ping(b, value=5), ping(b, value=6)] == [NOT_ALLOWED, NOT_ALLOWED, 0]


def test_an_heirs_other_grants_are_its_own(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    [heir] = heirs(kernel, 1)
    giver.grants[0].delegate(heir)
    kernel.deny(giver, "who")
    assert ping(heir) == NOT_ALLOWED
    kernel.grant(heir, "who")
    assert ping(heir) == 0


def test_a_denial_of_one_service_is_none_of_another(kernel: wasmos.Kernel) -> None:
    for name in ("who", "pong"):
        kernel.serve(Who(), name=name)
    giver = kernel.client("giver", allow=["*"], deny=["pong"])
    a, b = heirs(kernel, 2)
    giver.grants[1].delegate(a, "who")
    giver.grants[1].delegate(b, "pong")
    kernel.deny(giver, "pong.ping")
    assert [ping(a), ping(b, "pong")] == [0, NOT_ALLOWED]


def test_an_inherited_denial_of_what_cannot_be_told(kernel: wasmos.Kernel) -> None:
    kernel.serve(Anything("fs"))
    giver = kernel.client("giver", allow=["fs"], deny=['fs.open(path="/secret/**")'])
    [heir] = heirs(kernel, 1)
    giver.grants[1].delegate(heir)
    for path, right in {"/a": True, "/secret/a": False, "/a/../secret/a": False}.items():
        assert (send(heir, "fs", abi.FsOpen(path, 0)) != NOT_ALLOWED) == right
    raw = abi.FsOpen.TYPE.to_bytes(4, "little") + bytes(4) + b"a" * 256 + bytes(4)
    assert send(heir, "fs", raw) == NOT_ALLOWED


def test_an_offer_inherits_denials_too(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    [heir] = heirs(kernel, 1)
    offer = kernel.pass_on(giver, heir, "who", offer=True)
    kernel.deny(giver, "who.ping(value=5)")
    kernel.accept(heir, offer.id)
    assert [ping(heir, value=5), ping(heir, value=6)] == [NOT_ALLOWED, 0]


# --- offers -------------------------------------------------------------------------------------


def test_an_offer_is_nothing_before_it_is_accepted(kernel: wasmos.Kernel) -> None:
    kernel.serve(Who())
    giver = kernel.client("giver", allow=["who"])
    heir, other = heirs(kernel, 2)
    offer = kernel.pass_on(giver, heir, "who", offer=True)
    assert (heir.grants, ping(heir), kernel.may_look_up(heir.id, "who")) == ([], NOT_ALLOWED, False)
    for task, id in [(other, offer.id), (heir, offer.id + 1), (heir, giver.grants[0].id)]:
        with pytest.raises(LookupError):
            kernel.accept(task, id)
    kernel.accept(heir, offer.id)
    assert (heir.grants, ping(heir)) == ([offer], 0)
    with pytest.raises(LookupError):
        kernel.accept(heir, offer.id)


@pytest.mark.parametrize("how", ["revoke", "parent", "expire", "holder", "giver"])
def test_an_offer_ends(kernel: wasmos.Kernel, how: str) -> None:
    giver = kernel.client("giver", allow=["who for 1s"])
    [heir] = heirs(kernel, 1)
    offer = kernel.pass_on(giver, heir, "who for 1s", offer=True)
    {"revoke": offer.revoke, "parent": giver.grants[0].revoke, "holder": heir.kill,
     "expire": lambda: kernel.run(timeout=2), "giver": giver.kill}[how]()  # fmt: skip
    with pytest.raises(LookupError):
        kernel.accept(heir, offer.id)
    assert offer.state == ("expired" if how == "expire" else "revoked")


def test_a_strangers_offer_is_in_nobodys_way(kernel: wasmos.Kernel) -> None:
    stranger = kernel.client("stranger", allow=["who"])
    task, heir = heirs(kernel, 2)
    kernel.pass_on(stranger, task, "who", offer=True)
    kernel.grant(task, "who")
    assert kernel.pass_on(task, heir, "who", offer=False).parent is task.grants[0]
    child = kernel.spawn(SLEEP, parent=task, allow=["who"], trusted=True)
    assert [grant.parent for grant in child.grants] == task.grants


def test_a_denial_keeps_its_meaning_for_heirs(kernel: wasmos.Kernel) -> None:
    """Said before its service's interface is known, of a name that another message has, too."""
    giver, heir = kernel.client("giver", allow=["nest"]), kernel.client("heir", allow=[])
    early = giver.grants[0].delegate(heir)
    denial = kernel.deny(giver, "nest.ping")
    late = giver.grants[0].delegate(heir)
    kernel.define(NEST)
    kernel.serve(Anything("nest"))
    assert [send(client, "nest", NestPing(1)) for client in (giver, heir)] == [NOT_ALLOWED] * 2
    early.revoke()
    assert send(heir, "nest", NestPing(1)) == NOT_ALLOWED
    denial.revoke()
    assert late.state == "live"
    assert [send(client, "nest", NestPing(1)) for client in (giver, heir)] == [NOT_SUPPORTED] * 2


def test_a_number_has_one_meaning(kernel: wasmos.Kernel) -> None:
    """A rule for a message would be looked at as one for the other, and demand nothing."""
    kernel.define(NEST)
    kernel.define(NEST)

    class OtherPing(NestPing):
        NAME = "other_ping"

    other = SimpleNamespace(
        MESSAGES={OtherPing.TYPE: OtherPing},
        RPCS={OtherPing.NAME: abi.Rpc(OtherPing.NAME, OtherPing, OtherPing)},
        ONEWAYS={}, SERVICES={"other": (OtherPing.NAME,)}, EVENTS={}, COVERED_BY={}, BADGES={},
    )  # fmt: skip
    with pytest.raises(wasmos.UsageError, match=r"is nest_ping of .* can't be other_ping of"):
        kernel.define(other)
    assert not kernel.authority.vocabulary.knows("other")
    giver = kernel.client("giver", allow=["nest.nest_ping"])
    kernel.serve(Anything("nest"))
    assert send(giver, "nest", NestPing(1)) == NOT_SUPPORTED


def test_a_rule_for_a_message_that_turns_out_to_be_none(kernel: wasmos.Kernel) -> None:
    """A task can say so before the interface is known: nothing to whoever makes it known."""
    giver, heir = kernel.client("giver", allow=["nest"]), kernel.client("heir", allow=[])
    kernel.pass_on(giver, heir, "nest.echo", offer=False)
    kernel.define(NEST)
    kernel.serve(Anything("nest"))
    assert send(heir, "nest", NestPing(1)) == NOT_ALLOWED
    assert send(giver, "nest", NestPing(1)) == NOT_SUPPORTED
