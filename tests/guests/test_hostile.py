"""Every hostile guest, one after the other, in one system that goes on serving.

What each tries, and what should come of it, stands in its first lines under guests/hostile/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wasmos
from tests.support import wat
from tests.support.vm import Vm
from tests.support.wat import M, forever, program, repeat
from wasmos import abi

HOSTILE = Path(__file__).parents[2] / "guests" / "hostile"
Find = Callable[[str], Path]

# Processor time of each: five million instructions of the virtual clock.
LIMITS = wasmos.Limits(cpu_seconds=0.005, memory_bytes=4 << 20, table_elements=5_000)

# How each ends when it is alone with the services: cause, exit code or word of the message.
ENDS: dict[str, tuple[str, int | str]] = {
    "div_zero": ("trapped", "division by zero"),
    "fill": ("cpu_limit", ""),
    "flood": ("cpu_limit", ""),
    "flood_oneway": ("cpu_limit", ""),
    "forger": ("returned", 0),
    "grow_during": ("returned", 0),
    "memory_bomb": ("returned", (4 << 20) // 65536),
    "out_of_bounds": ("trapped", "out of bounds"),
    "pointer_edge": ("returned", 0),
    "recursion": ("trapped", "stack overflow"),
    "spin": ("cpu_limit", ""),
    "squatter": ("returned", 0),
    "start_loop": ("cpu_limit", ""),
    "table_grow_bomb": ("returned", 5_000),
    "unaligned": ("returned", 0),
    "unreachable": ("trapped", "unreachable"),
}
REFUSED = {"unknown_import": "launch_missiles", "table_bomb": "200,000,000"}
# Services, and those that need a partner: each has a test of its own below.
PARTNERS = {
    "crash_in_service", "cycle_a", "cycle_b", "exit_in_service", "never_reply", "puppet",
    "reply_twice",
}  # fmt: skip


# Answers pings, and everything else with "not supported", as every good service does.
VICTIM = program(
    forever(
        f"""{wat.RECEIVE} (if (i32.eq (i32.load #{M}) #9)
          (then {wat.answer("(i32.add (call $value) #1)")})
          (else (call $put #{M} #-9 #0) (call $reply {wat.SRC} #{M})))"""
    )
)


class System:
    """`victim` is an active guest, with Python and passive services beside it."""

    def __init__(self, find: Find, seed: int = 0) -> None:
        self.kernel = wasmos.Kernel(virtual_clock=True, seed=seed)
        self.find = find
        self.kernel.serve(Vm(frozenset({"victim"})))
        self.kernel.serve(wat.Plus(), name="console")
        self.kernel.spawn(VICTIM, service="victim", trusted=True)
        self.kernel.spawn(wat.PASSIVE, service="passive", trusted=True)
        self.kernel.spawn(wat.PASSIVE_FIBRE, service="fibre", trusted=True)
        self.settle()

    def source(self, name: str) -> Path:
        text = HOSTILE / f"{name}.wat"
        return text if text.exists() else self.find(name)

    def spawn(self, name: str, **options: object) -> wasmos.Task:
        limits = LIMITS.replace(cpu_seconds=1.0) if name == "forger" else LIMITS  # it has an end
        wanted = {"allow": ["*"], "limits": limits, "trusted": True, "name": name} | options
        return self.kernel.spawn(self.source(name), **wanted)  # type: ignore[arg-type]

    def settle(self) -> None:
        while self.kernel.step(100_000):
            pass

    def check_services(self) -> None:
        """Everyone still answers, Python and guests alike, and nothing is kept for the dead."""
        for name in ("victim", "passive", "fibre", "console"):
            assert self.kernel.call(name, abi.Ping(1)) == abi.PingReply(2)
        body = repeat(
            20,
            """(if (call $ask @victim #9 (local.get $i)) (then (return #1)))
            (if (i32.ne (call $value) (i32.add (local.get $i) #1)) (then (return #2)))
            (if (call $ask @passive #9 (local.get $i)) (then (return #3)))
            (if (call $ask @console #9 (local.get $i)) (then (return #4)))
            (if (i32.ne (call $value) (i32.add (local.get $i) #1)) (then (return #5)))""",
        )
        client = self.kernel.spawn(program(body + "#0"), allow=["*"], trusted=True)
        assert self.kernel.wait(client).code == 0


@pytest.fixture
def system(hostile: Find, no_leaks: None) -> Iterator[System]:
    system = System(hostile)
    yield system
    system.kernel.close()


def check_end(task: wasmos.Task, ended: wasmos.Exit, name: str) -> None:
    cause, detail = ENDS[name]
    assert ended.cause == cause, str(ended)
    if isinstance(detail, int):
        assert ended.code == detail, str(ended)
    else:
        assert detail in ended.message
    assert str(ended).startswith(f"task {task.id} '{name}' ")


def test_every_guest_is_tried() -> None:
    names = {path.stem for path in HOSTILE.iterdir() if path.suffix in (".c", ".wat")}
    assert names == set(ENDS) | set(REFUSED) | PARTNERS


def test_one_after_the_other(system: System) -> None:
    for name in ENDS:
        task = system.spawn(name)
        check_end(task, system.kernel.wait(task), name)
        system.check_services()


def test_all_at_once(system: System) -> None:
    """Each ends as it does alone, and the services are there for the others all the time."""
    tasks = {name: system.spawn(name) for name in ENDS}
    system.check_services()
    for name, task in tasks.items():
        check_end(task, system.kernel.wait(task), name)
    system.check_services()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_all_at_once_in_other_orders(hostile: Find, seed: int) -> None:
    system = System(hostile, seed=seed)
    with system.kernel:
        tasks = {name: system.spawn(name) for name in ENDS}
        for name, task in tasks.items():
            check_end(task, system.kernel.wait(task), name)
        system.check_services()


@pytest.mark.parametrize("name", ENDS)
def test_without_authority(system: System, name: str) -> None:
    """Those that need a service can't even begin; the others end as ever."""
    ended = system.kernel.wait(system.spawn(name, allow=[]))
    if ENDS[name][0] == "returned" and name not in ("memory_bomb", "table_grow_bomb"):
        assert ended.cause == "returned"
    system.check_services()
    assert system.kernel.task_ids() == sorted(task.id for task in system.kernel.tasks)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(system: System, name: str) -> None:
    with pytest.raises(wasmos.ModuleRefused, match=REFUSED[name]):
        system.spawn(name)
    system.check_services()


@pytest.mark.parametrize("name", ["div_zero", "spin", "recursion", "memory_bomb", "start_loop"])
def test_compiled_as_a_stranger(system: System, name: str) -> None:
    """By the compiler's child, as in life."""
    task = system.spawn(name, trusted=False)
    check_end(task, system.kernel.wait(task), name)


# --- those with a partner ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["crash_in_service", "exit_in_service"])
def test_a_service_that_ends_while_its_client_waits(system: System, name: str) -> None:
    service = system.spawn(name)
    body = f"(call $ask @{name} #9 #1)"
    client = system.kernel.spawn(program(body), allow=["*"], trusted=True)
    assert system.kernel.wait(client).code == abi.ErrorCode.ABORTED
    assert service.exit is not None
    assert service.exit.cause == ("trapped" if "crash" in name else "returned")
    assert name not in system.kernel.services
    system.check_services()


def test_a_circle(system: System) -> None:
    first, second = system.spawn("cycle_a"), system.spawn("cycle_b")
    assert [system.kernel.wait(task).code for task in (first, second)] == [0, 0]


def test_a_service_that_never_replies(system: System) -> None:
    """Its clients' deadlines work, and their deaths don't disturb it."""
    system.spawn("never_reply", limits=wasmos.Limits())
    client = system.kernel.spawn(
        program("(call $ask @never_reply #9 #1)"),
        allow=["*"], limits=wasmos.Limits(deadline_seconds=1), trusted=True,
    )  # fmt: skip
    other = system.kernel.spawn(
        program("(call $ask @never_reply #9 #1)"), allow=["*"], trusted=True
    )
    assert system.kernel.wait(client).cause == "deadline"
    other.kill()
    system.check_services()


def test_a_service_that_replies_to_everyone(system: System) -> None:
    """Only the first answer, only to who asked; who waits for somebody else goes on waiting."""
    system.spawn("reply_twice", limits=wasmos.Limits(), allow=["vm"])
    waiting = system.kernel.spawn(wat.SLEEP, allow=[], trusted=True)
    body = repeat(
        30,
        """(if (call $ask @reply_twice #9 #5) (then (return #1)))
        (if (i32.ne (call $value) #1) (then (return #2)))
        (if (call $ask @victim #9 #41) (then (return #3)))
        (if (i32.ne (call $value) #42) (then (return #4)))""",
    )
    clients = [
        system.kernel.spawn(program(body + "#0"), allow=["reply_twice", "victim"], trusted=True)
        for _ in range(3)
    ]
    assert [system.kernel.wait(client).code for client in clients] == [0] * 3
    assert waiting.exit is None


def test_squatting_while_the_service_is_down(system: System) -> None:
    """The name stays with who may hold it, also in the moment between two lives."""
    system.kernel.kill(system.kernel.services["victim"])
    assert system.kernel.wait(system.spawn("squatter")).code == 0
    system.kernel.spawn(VICTIM, service="victim", trusted=True)
    system.check_services()


def test_a_flood_costs_the_flooder(system: System) -> None:
    """While it lasts, what waits stays bounded, and a hundred clients are served."""
    for name in ("flood", "flood_oneway"):
        system.spawn(name, limits=wasmos.Limits())
        victim = system.kernel.find(system.kernel.services["victim"])
        assert victim is not None
        body = program("(drop (call $ask @victim #9 #1)) (call $value)")
        clients = [system.kernel.spawn(body, allow=["*"], trusted=True) for _ in range(100)]
        system.kernel.run(lambda: all(c.exit is not None for c in clients), timeout=0.1)  # noqa: B023
        assert [client.exit and client.exit.code for client in clients] == [2] * 100
        assert victim.account()["mailbox"] == 0


def test_a_flood_of_a_python_service(system: System) -> None:
    """One-way messages that nobody reads in time: the mailbox is bounded, the kernel goes on."""

    system.kernel.kill(system.kernel.services["victim"])
    system.settle()
    victim = system.kernel.serve(wat.Plus(), name="victim")
    system.spawn("flood_oneway", limits=wasmos.Limits())
    for _ in range(200):
        system.kernel.step(100_000)
        assert victim.account()["mailbox"] <= wasmos.Limits().mailbox
    client = system.kernel.client()
    assert client.call("passive", abi.Ping(1)) == abi.PingReply(2)
