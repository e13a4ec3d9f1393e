"""Ending tasks: at every moment of every call, by whomever, and nobody waits for the dead."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

import wasmos
from tests.kernel import lending
from tests.support import wat
from tests.support.finalizers import collecting
from tests.support.wat import M, answer, forever, passive, program, repeat, settle
from wasmos import abi

BOTH_CLOCKS = True

ABORTED, INVALID_TASK = -21, -12

# A client that makes its ten calls again and again, and counts those that failed.
CALLS = repeat(
    10,
    "(if (call $ask @s #9 #1) (then (local.set $j (i32.add (local.get $j) #1))))",
)
CLIENT = program(CALLS + "(local.get $j)")
SERVICES = {
    "active": wat.SERVER,
    "passive": wat.PASSIVE,
    "passive on a fibre": wat.PASSIVE_FIBRE,
    "nested": passive("(call $answer (call $ask @inner #9 #1))", fibre=True),
    "receives from one": program(forever(wat.RECEIVE + f"(local.set $i {wat.SRC})" + answer("#1"))),
}


def system(kernel: wasmos.Kernel, sort: str) -> tuple[wasmos.Task, list[wasmos.Task]]:
    if sort == "python":
        service = kernel.serve(wat.Plus(), name="s")
    else:
        kernel.spawn(wat.SERVER, service="inner", trusted=True)
        service = kernel.spawn(SERVICES[sort], service="s", allow=["*"], trusted=True)
    return service, [kernel.spawn(CLIENT, allow=["s"], trusted=True) for _ in range(3)]


def finish(kernel: wasmos.Kernel, tasks: list[wasmos.Task]) -> None:
    """Everyone who isn't dead gets to an end, or waits for a name that is free again."""
    for _ in range(1000):
        if not kernel.step(1_000_000):
            break
    for task in tasks:
        assert task.exit is not None or task.account()["state"] == "looking up", task.predicament()


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("sort", [*SERVICES, "python"])
@pytest.mark.parametrize("victim", ["service", "client"])
def test_killed_after_every_step(sort: str, victim: str, seed: int) -> None:
    """The same system is stopped after 1, 2, 3, … slices of a few instructions, and one of its
    tasks killed there: during its start, between calls, in each phase of each."""
    states = set()
    for moment in range(1, 400):
        with wasmos.Kernel(virtual_clock=True, seed=seed) as kernel:
            service, clients = system(kernel, sort)
            more = True
            for _ in range(moment):
                more = kernel.step(1)
            chosen = service if victim == "service" else clients[1]
            if chosen.exit is None:
                states.add((chosen.account()["state"], clients[0].exit is None))
            others = [task for task in clients if task is not chosen]
            chosen.kill("the test")
            assert chosen.exit is not None
            assert all(task.exit is None or task.exit.cause == "returned" for task in others)
            finish(kernel, others)
            if victim == "client":
                assert [task.exit and task.exit.code for task in others] == [0, 0]
            if not more:
                break
    else:
        pytest.fail("the system never comes to rest")
    assert moment > 20
    assert len(states) >= (1 if sort == "python" else 2)


PHASES: dict[str, tuple[str, str]] = {
    "call: sending": ("(call $ask @busy #9 #1)", "sending"),
    "call: awaiting reply": ("(call $ask @never #9 #1)", "awaiting reply"),
    "call: awaiting a Python reply": ("(call $ask @slow #9 #1)", "awaiting reply"),
    "recv: open": (f"(call $recv #0 #{M})", "receiving"),
    "recv: closed": (f"(call $recv @never #{M})", "receiving"),
    "lookup": ("@nobody", "looking up"),
    "reply": (f"(local.set $i @never) {forever(f'(call $reply (local.get $i) #{M})')}", "ready"),
}


class Slow(wasmos.Service):
    """Answers when it is told to."""

    name = "slow"
    cancelled = 0

    async def ping(self, caller: wasmos.Caller, value: int) -> int:
        try:
            await self.kernel.sleep(1000)
        except BaseException:
            self.cancelled += 1
            raise
        return value


def cast(kernel: wasmos.Kernel) -> dict[str, wasmos.Task]:
    """`never` takes a call and keeps it, `busy` doesn't receive, `slow` thinks."""
    taken = program(forever(wat.RECEIVE))
    tasks = {
        "never": kernel.spawn(taken, service="never", allow=["*"], trusted=True),
        "busy": kernel.spawn(
            program(f"(call $recv @never #{M})"), service="busy", allow=["*"], trusted=True
        ),
        "slow": kernel.serve(Slow()),
    }
    settle(kernel)
    return tasks


@pytest.mark.parametrize("phase", PHASES)
def test_killed_in_each_phase(kernel: wasmos.Kernel, phase: str) -> None:
    body, state = PHASES[phase]
    tasks = cast(kernel)
    before = {name: task.account()["state"] for name, task in tasks.items()}
    victim = kernel.spawn(program(body), allow=["*"], trusted=True)
    for _ in range(5):
        kernel.step(1_000_000)
    assert victim.account()["state"] == state
    victim.kill("enough")
    assert victim.exit is not None and victim.exit.message == "enough"
    settle(kernel)
    assert {name: task.account()["state"] for name, task in tasks.items()} == before


@pytest.mark.parametrize("phase", [phase for phase in PHASES if "never" in PHASES[phase][0]])
def test_the_other_side_is_killed(kernel: wasmos.Kernel, phase: str) -> None:
    tasks = cast(kernel)
    waiting = kernel.spawn(program(PHASES[phase][0]), allow=["*"], trusted=True)
    for _ in range(5):
        kernel.step(1_000_000)
    tasks["never"].kill()
    if phase == "reply":
        kernel.step(1_000_000)
        assert waiting.exit is None and waiting.account()["state"] == "ready"
    else:
        assert kernel.wait(waiting).code == ABORTED
    # `busy` received from `never` alone.
    assert kernel.wait(tasks["busy"]).code == ABORTED


def test_several_wait_for_the_one_that_is_killed(kernel: wasmos.Kernel) -> None:
    tasks = cast(kernel)
    names = ["never", "busy", "slow"] * 3
    waiting = [
        kernel.spawn(program(f"(call $ask @{name} #9 #1)"), allow=["*"], trusted=True)
        for name in names
    ]
    settle(kernel)
    for task in tasks.values():
        task.kill()
    assert [kernel.wait(task).code for task in waiting] == [ABORTED] * 9


def test_killing_the_dead_does_nothing(kernel: wasmos.Kernel) -> None:
    task = kernel.spawn(program("#3"), trusted=True)
    assert kernel.wait(task).code == 3
    task.kill("too late")
    kernel.kill(task.id)
    assert task.exit is not None and task.exit.code == 3


@pytest.mark.parametrize("source", [wat.TRAP, passive("unreachable"), passive("", inbox=2**31)])
def test_killed_at_birth(kernel: wasmos.Kernel, source: str) -> None:
    kernel.spawn(source, name="victim", service="s", trusted=True).kill()
    assert kernel.tasks == [] and kernel.services == {}


# --- from within a service --------------------------------------------------------------------


class Killer(wasmos.Service):
    """Each ping ends the task of that number, then answers."""

    name = "killer"

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        self.kernel.kill(value or caller.id, "by killer")
        return 1


class AsyncKiller(wasmos.Service):
    name = "killer"

    async def ping(self, caller: wasmos.Caller, value: int) -> int:
        await self.kernel.sleep(0.001)
        self.kernel.kill(value or caller.id, "by killer")
        return 1


KILLERS: list[Callable[[], wasmos.Service]] = [Killer, AsyncKiller]


@pytest.mark.parametrize("make", KILLERS)
def test_a_service_kills_its_caller(
    kernel: wasmos.Kernel, make: Callable[[], wasmos.Service]
) -> None:
    kernel.serve(make())
    task = kernel.spawn(program("(call $ask @killer #9 #0)"), allow=["killer"], trusted=True)
    ended = kernel.wait(task)
    assert (ended.cause, ended.message, ended.status) == ("killed", "by killer", 137)
    assert kernel.find(kernel.services["killer"]) is not None


@pytest.mark.parametrize("make", KILLERS)
def test_a_service_kills_a_third(kernel: wasmos.Kernel, make: Callable[[], wasmos.Service]) -> None:
    kernel.serve(make())
    for third in (wat.SLEEP, wat.SPIN, wat.SERVER, wat.PASSIVE, wat.PASSIVE_FIBRE):
        victim = kernel.spawn(third, trusted=True)
        kernel.step(1_000_000)
        assert kernel.call("killer", abi.Ping(victim.id)) == abi.PingReply(1)
        assert victim.exit is not None


@pytest.mark.parametrize("make", KILLERS)
def test_a_service_kills_itself(kernel: wasmos.Kernel, make: Callable[[], wasmos.Service]) -> None:
    """Its caller and everyone in the queue hear -21, whatever its method returns."""
    service = kernel.serve(make())
    body = f"(call $ask #{service.id} #9 #{service.id})"
    tasks = [kernel.spawn(program(body), allow=["*"], trusted=True) for _ in range(3)]
    codes = [kernel.wait(task).code for task in tasks]
    assert codes[0] == ABORTED and set(codes) <= {ABORTED, INVALID_TASK}
    assert kernel.services == {}


def test_a_service_ends_with_two_callers_in_its_queue(kernel: wasmos.Kernel) -> None:
    """The server answers its client, and both call the same service in one turn."""
    service = kernel.serve(Killer())
    relay = program(wat.RECEIVE + answer("#0") + f"(call $ask #{service.id} #9 #{service.id})")
    first = kernel.spawn(relay, service="relay", allow=["*"], trusted=True)
    body = f"(drop (call $ask @relay #9 #0)) (call $ask #{service.id} #9 #{service.id})"
    second = kernel.spawn(program(body), allow=["*"], trusted=True)
    assert [kernel.wait(first).code, kernel.wait(second).code] == [ABORTED, ABORTED]


def test_a_service_closes_the_kernel(no_leaks: None) -> None:
    class Closer(wasmos.Service):
        name = "closer"

        def ping(self, caller: wasmos.Caller, value: int) -> int:
            self.kernel.close()
            return value

    kernel = wasmos.Kernel(virtual_clock=True)
    kernel.serve(Closer())
    task = kernel.spawn(program("(call $ask @closer #9 #0)"), allow=["closer"], trusted=True)
    assert kernel.wait(task).cause == "killed"
    assert kernel.tasks == [] and kernel.closed


def kill_next(task: wasmos.Task, ended: wasmos.Exit) -> None:
    task.kill("its turn")


def test_a_chain_of_watchers(kernel: wasmos.Kernel) -> None:
    """Each end kills the next, also those that died in the same turn."""
    bad = kernel.spawn(passive("unreachable"), service="bad", trusted=True)
    client = kernel.spawn(program("(drop (call $ask @bad #9 #1)) #3"), allow=["bad"], trusted=True)
    sleepers = [kernel.spawn(wat.SLEEP, trusted=True) for _ in range(5)]
    chain = [bad, client, *sleepers]
    for this, following in zip(chain, [*chain[1:], bad], strict=True):
        this.when_ended(partial(kill_next, following))
    assert kernel.wait(sleepers[-1]).message == "its turn"
    assert [task.exit is not None for task in chain] == [True] * 7
    assert client.exit is not None and client.exit.cause in ("returned", "killed")
    assert bad.exit is not None and bad.exit.cause == "trapped"


def test_closing_with_everything_under_way(no_leaks: None) -> None:
    """Tasks in every state, and nothing of them is left."""
    kernel = wasmos.Kernel(virtual_clock=True)
    cast(kernel)
    tasks = [kernel.spawn(program(body), allow=["*"], trusted=True) for body, _ in PHASES.values()]
    tasks += [kernel.spawn(source, trusted=True) for source in (wat.SPIN, wat.PASSIVE_FIBRE)]
    kernel.step(300_000)
    fresh = kernel.spawn(wat.SLEEP, trusted=True)
    kernel.close()
    kernel.close()
    assert all(task.exit is not None for task in [*tasks, fresh])
    assert kernel.live == 0


def test_who_died_in_a_call_from_python_is_no_live_task(kernel: wasmos.Kernel) -> None:
    """Though nobody was told yet: that is for when the kernel runs."""
    task = kernel.spawn(passive("unreachable"), service="bad", trusted=True)
    client = kernel.client()
    client.begin("bad", abi.Ping(1), lambda: None)
    assert task.exit is None
    assert [(each, each.account()["state"]) for each in kernel.tasks] == [(client, "idle")]
    settle(kernel)
    assert task.exit is not None and task.exit.cause == "trapped"


def test_closing_after_a_passive_service_died(no_leaks: None) -> None:
    """It is over, but not yet buried, when the kernel is closed."""
    with wasmos.Kernel(virtual_clock=True) as kernel:
        task = kernel.spawn(passive("unreachable"), service="bad", trusted=True)
        with pytest.raises(wasmos.ServiceError) as seen:
            kernel.call("bad", abi.Ping(1))
        assert seen.value.code == ABORTED
    assert task.exit is not None and task.exit.cause == "trapped"


class KillsCaller(wasmos.Service):
    name = "kills"

    def __init__(self, when: str) -> None:
        self.when = when

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        if self.when == "later":  # it has its answer, and has not looked at it yet
            self.kernel.call_later(0, lambda: self.kernel.kill(caller.id))
        elif self.when == "close":
            self.kernel.close()
        else:
            self.kernel.kill(caller.id)
        return value


@pytest.mark.parametrize("when", ["now", "later", "close"])
def test_a_python_client_that_its_service_ends(kernel: wasmos.Kernel, when: str) -> None:
    """Its call is aborted as any other."""
    kernel.serve(KillsCaller(when))
    client = kernel.client()
    done: list[bool] = []
    client.begin("kills", abi.Ping(1), lambda: done.append(True))
    kernel.run(lambda: client.exit is not None)
    assert done == [True]
    with pytest.raises(wasmos.ServiceError) as seen:
        client.finish()
    assert seen.value.code == ABORTED


@pytest.mark.parametrize("way", ["call", "run", "wait"])
def test_closed_by_a_coroutine(no_leaks: None, way: str) -> None:
    """On a loop of the kernel's own, which ends when it has run out."""

    class Closes(wasmos.Service):
        name = "closes"

        async def ping(self, caller: wasmos.Caller, value: int) -> int:
            await self.kernel.sleep(0.001)
            self.kernel.close()
            return value

    kernel = wasmos.Kernel(virtual_clock=True)
    kernel.serve(Closes())
    task = kernel.spawn(program("(call $ask @closes #9 #1)"), allow=["closes"], trusted=True)
    loop = kernel.loop
    if way == "run":
        assert kernel.run()
    elif way == "wait":
        assert kernel.wait(task).cause == "killed"
    else:
        with pytest.raises(wasmos.ServiceError, match="aborted"):
            kernel.call("closes", abi.Ping(1))
    assert kernel.closed and kernel.live == 0
    assert loop.is_closed()
    kernel.close()


def test_a_call_whose_client_ends(kernel: wasmos.Kernel) -> None:
    kernel.serve(KillsCaller("now"))
    with pytest.raises(wasmos.ServiceError) as seen:
        kernel.call("kills", abi.Ping(1))
    assert seen.value.code == ABORTED


@pytest.mark.parametrize("whose", ["the kernel's", "mine"])
def test_a_call_that_ends_with_an_error_leaves_no_client(kernel: wasmos.Kernel, whose: str) -> None:
    """What ended the run may be anybody's. Nobody would be told the answer."""
    kernel.serve(Slow())
    live = kernel.live
    client = kernel.client() if whose == "mine" else kernel

    def interrupt() -> None:
        raise KeyboardInterrupt

    kernel.call_later(0.001, interrupt)
    with pytest.raises(KeyboardInterrupt):
        client.call("slow", abi.Ping(1))
    assert kernel.live == live


# --- what finalizers do ---------------------------------------------------------------------------


class Buffer(bytearray):
    """Ends something with itself."""

    end: Callable[[], object]

    def __del__(self) -> None:
        self.end()


def lending_client(kernel: wasmos.Kernel) -> wasmos.Client:
    """Whose call to `taker` lends a buffer that kills it."""
    client = kernel.client()
    buffer = Buffer(4)
    buffer.end = client.kill
    client.begin("taker", abi.ConsoleTake(buffer), lambda: None)
    return client


def test_a_buffer_that_kills_whom_it_was_lent_by(kernel: wasmos.Kernel) -> None:
    """It goes with its client, which is over then and can't be ended again."""
    kernel.serve(lending.Slow())
    ends: list[wasmos.Exit] = []
    kernel.watch(ends.append)
    lending_client(kernel).kill("once")
    settle(kernel)
    assert [end.message for end in ends] == ["once"]


class Fills(wasmos.Service):
    name = "taker"

    def console_take(self, caller: wasmos.Caller, into: wasmos.Lent) -> int:
        return into.write(b"fill")


def test_it_kills_it_with_the_answer(kernel: wasmos.Kernel) -> None:
    kernel.serve(Fills())
    client = lending_client(kernel)
    settle(kernel)
    assert client.exit is None
    assert client.finish() == abi.ConsoleTakeReply(4)
    assert client.exit is not None


def test_it_kills_it_with_an_error(kernel: wasmos.Kernel) -> None:
    slow = lending.Slow()
    kernel.serve(slow)
    client = lending_client(kernel)
    kernel.kill(slow.task)
    settle(kernel)
    assert client.exit is not None
    with pytest.raises(wasmos.ServiceError, match="aborted"):
        client.finish()


class Caps(wasmos.Service):
    """Its answer has several fields."""

    name = "vm"

    def cap_get(self, caller: wasmos.Caller, index: int) -> tuple[int, str]:
        return 7, "x" * 1000


@pytest.mark.parametrize("threshold", range(1, 9))
def test_killed_while_its_answer_is_read(kernel: wasmos.Kernel, threshold: int) -> None:
    kernel.serve(Caps())
    client = kernel.client()
    client.begin("vm", abi.CapGet(0), lambda: None)
    settle(kernel)
    answers: list[object] = []
    collecting(threshold, client.kill, lambda: answers.append(kernel.answer_to(client.id)))
    assert answers == [abi.CapGetReply(7, "x" * 1000)]


@pytest.mark.parametrize("threshold", range(1, 9))
def test_killed_while_it_is_looked_at(kernel: wasmos.Kernel, threshold: int) -> None:
    client = kernel.client()
    before = client.account()
    accounts: list[object] = []
    collecting(threshold, client.kill, lambda: accounts.append(kernel.account(client.id)))
    assert accounts == [before]
