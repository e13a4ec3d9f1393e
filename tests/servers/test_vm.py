"""Asking task 1 gives nobody an authority that they hadn't; and the dead are told of."""

from __future__ import annotations

import errno

import pytest

import wasmos
from tests.servers.segments import segment
from tests.support.wat import RECEIVE, SLEEP, SRC, Plus, Reporter, forever, program
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.servers.vm import Vm


def refusal(client: wasmos.Client, message: abi.Message) -> int:
    with pytest.raises(wasmos.ServiceError) as refused:
        client.call("vm", message)
    return refused.value.code


def ask(client: wasmos.Client, message: abi.Message) -> list[bool]:
    """Begin a call that has to wait; the list is filled when it is over."""
    done: list[bool] = []
    client.begin("vm", message, lambda: done.append(True))
    client.kernel.run(lambda: not client.kernel.busy)
    assert client.account()["state"] == "awaiting reply"
    return done


def spawn(kernel: wasmos.Kernel, source: str, *allow: str) -> wasmos.Task:
    task = kernel.spawn(source, trusted=True)
    for service in allow:
        kernel.grant(task, service)
    return task


class Nursery:
    """What a system gives to Vm: programs by name. It remembers who asked."""

    def __init__(self, kernel: wasmos.Kernel, **programs: str) -> None:
        self.kernel = kernel
        self.programs = programs
        self.asked: list[tuple[str, int]] = []

    async def __call__(
        self, name: str, caller: wasmos.Caller, rules: list[wasmos.Rule] | None = None
    ) -> wasmos.Task:
        self.asked.append((name, caller.id))
        return spawn(self.kernel, self.programs[name], "vm", "report")


def test_is_task_1(kernel: wasmos.Kernel) -> None:
    assert kernel.serve(Vm()).id == abi.VM


def test_ping_answers_the_same(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    assert kernel.call("vm", abi.Ping(-7)).value == -7


def test_ping_needs_no_lookup(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    task = spawn(kernel, program("(drop (call $ask #1 #9 #123)) (call $value)"), "vm")
    assert kernel.wait(task).code == 123


@pytest.mark.parametrize("message", [abi.VmMapPhysical(1, 2, 3), abi.VmAllocPhysical(1, 2, 3)])
def test_there_is_no_physical_memory(kernel: wasmos.Kernel, message: abi.Message) -> None:
    kernel.serve(Vm())
    assert refusal(kernel.client(), message) == ErrorCode.NOT_SUPPORTED


# --- lookup and registration ------------------------------------------------------------------


def test_lookup_finds(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    plus = kernel.serve(Plus())
    assert kernel.call("vm", abi.ServiceLookup("plus")).task == plus.id
    assert kernel.call("vm", abi.ServiceLookup("vm")).task == abi.VM


def test_lookup_needs_the_capability(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    kernel.serve(Plus())
    client = kernel.client(allow=["vm"])
    assert refusal(client, abi.ServiceLookup("plus")) == ErrorCode.NOT_ALLOWED
    kernel.grant(client, "plus")
    assert client.call("vm", abi.ServiceLookup("plus")).task == kernel.service_id("plus")
    kernel.revoke(client, "plus")
    assert refusal(client, abi.ServiceLookup("plus")) == ErrorCode.NOT_ALLOWED


def test_lookup_of_nothing(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    assert refusal(kernel.client(), abi.ServiceLookup("")) == ErrorCode.INVALID_ARG


def test_lookup_waits_for_a_guest_to_register(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    asker = kernel.client()
    done = ask(asker, abi.ServiceLookup("late"))
    late = kernel.client("late")
    late.call("vm", abi.ServiceRegister("other"))
    late.call("vm", abi.ServiceRegister("late"))
    kernel.run(lambda: bool(done))
    assert asker.finish().task == late.id


def test_lookup_waits_for_the_host_to_register(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    asker = kernel.client()
    done = ask(asker, abi.ServiceLookup("plus"))
    plus = kernel.serve(Plus())
    kernel.run(lambda: bool(done))
    assert asker.finish().task == plus.id


def test_lookup_that_waits_ends_with_its_right(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    asker = kernel.client(allow=["vm", "late"])
    done = ask(asker, abi.ServiceLookup("late"))
    kernel.revoke(asker, "late")
    kernel.call("vm", abi.ServiceRegister("wakes whoever waits"))
    kernel.run(lambda: bool(done))
    with pytest.raises(wasmos.CapabilityDenied):
        asker.finish()


def test_lookup_is_forgotten_when_the_asker_ends(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    asker = kernel.client()
    ask(asker, abi.ServiceLookup("late"))
    asker.kill()
    late = kernel.client()
    late.call("vm", abi.ServiceRegister("late"))
    assert kernel.call("vm", abi.ServiceLookup("late")).task == late.id


def test_guests_register_and_find_each_other(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    answer = f"(i32.store #1024 #10) (i32.store #1032 #99) (call $reply {SRC} #1024)"
    server = program(
        "(drop (call $call #1 #2048))" + forever(RECEIVE + answer),
        fields=segment(2048, abi.ServiceRegister("late")),
    )
    client = program(
        """(drop (call $call #1 #2048))
        (drop (call $ask (i32.load #2056) #9 #1)) (call $value)""",
        fields=segment(2048, abi.ServiceLookup("late")),
    )
    waiting = spawn(kernel, client, "vm", "late")
    spawn(kernel, server, "vm", 'vm.service_register(name="late")')
    assert kernel.wait(waiting).code == 99


def test_a_name_is_registered_once(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    first, second = kernel.client(), kernel.client()
    first.call("vm", abi.ServiceRegister("mine"))
    assert refusal(second, abi.ServiceRegister("mine")) == ErrorCode.ALREADY_EXISTS
    assert refusal(first, abi.ServiceRegister("mine")) == ErrorCode.ALREADY_EXISTS
    assert refusal(second, abi.ServiceRegister("vm")) == ErrorCode.ALREADY_EXISTS
    first.kill()
    second.call("vm", abi.ServiceRegister("mine"))
    assert kernel.service_id("mine") == second.id


def test_the_empty_name(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    assert refusal(kernel.client(), abi.ServiceRegister("")) == ErrorCode.INVALID_ARG


def test_a_name_without_its_end(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    name = program(
        "(memory.fill #2056 #65 #64) (i32.store #2048 #17) (drop (call $call #1 #2048)) "
        "(i32.load #2048)"
    )
    assert kernel.wait(spawn(kernel, name, "*")).code == ErrorCode.INVALID_ARG
    # Of whom it must be a certain name, it isn't told to be that one.
    refused = spawn(kernel, name, "vm")
    assert kernel.wait(refused).code == abi.ServiceRegister.TYPE  # unchanged, no answer came
    assert [denial.cause for denial in refused.denials] == ["field"]


def test_names_of_one_task_are_bounded(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm(max_names=2))
    client = kernel.client()
    client.call("vm", abi.ServiceRegister("a"))
    client.call("vm", abi.ServiceRegister("b"))
    assert refusal(client, abi.ServiceRegister("c")) == ErrorCode.NO_RESOURCES
    kernel.client().call("vm", abi.ServiceRegister("c"))


def test_the_host_decides_who_may_register(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm(may_register=lambda caller, name: (caller.name, name) == ("net", "tcpip")))
    assert refusal(kernel.client("evil"), abi.ServiceRegister("tcpip")) == ErrorCode.NOT_ALLOWED
    assert refusal(kernel.client("net"), abi.ServiceRegister("fs")) == ErrorCode.NOT_ALLOWED
    kernel.client("net").call("vm", abi.ServiceRegister("tcpip"))


# --- spawning ---------------------------------------------------------------------------------


def test_spawn_asks_the_host(kernel: wasmos.Kernel) -> None:
    nursery = Nursery(kernel, sleeper=SLEEP)
    kernel.serve(Vm(nursery))
    client = kernel.client()
    task = client.call("vm", abi.SpawnTask("sleeper")).task
    assert kernel.find(task) is not None
    assert nursery.asked == [("sleeper", client.id)]


def test_spawn_without_a_host_that_can(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    assert refusal(kernel.client(), abi.SpawnTask("x")) == ErrorCode.NOT_SUPPORTED


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyError("x"), ErrorCode.NOT_FOUND),
        (wasmos.ModuleRefused("no main"), ErrorCode.INVALID_ARG),
        (wasmos.CompileLimitExceeded("too long"), ErrorCode.NO_RESOURCES),
        (wasmos.ServiceError(ErrorCode.NO_MEMORY), ErrorCode.NO_MEMORY),
        (wasmos.CapabilityDenied("x"), ErrorCode.NOT_ALLOWED),
        (FileNotFoundError(errno.ENOENT, "no such file", "x.wasm"), ErrorCode.NOT_FOUND),
        (PermissionError(errno.EACCES, "permission denied", "x.wasm"), ErrorCode.NOT_FOUND),
        (OSError(errno.EMFILE, "too many open files"), ErrorCode.NO_RESOURCES),
    ],
    ids=lambda value: str(value),
)
def test_spawn_that_fails(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture, error: Exception, code: ErrorCode
) -> None:
    async def fail(name: str, caller: wasmos.Caller, rules: object) -> wasmos.Task:
        raise error

    kernel.serve(Vm(fail))
    assert refusal(kernel.client(), abi.SpawnTask("x")) == code
    assert "Traceback" not in caplog.text


def test_a_refused_module_is_logged(
    kernel: wasmos.Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    nursery = Nursery(kernel, bad="(module)")
    kernel.serve(Vm(nursery))
    assert refusal(kernel.client("shell"), abi.SpawnTask("bad")) == ErrorCode.INVALID_ARG
    assert "'shell' can't have 'bad' spawned" in caplog.text
    assert "main" in caplog.text


def test_too_many_tasks(kernel: wasmos.Kernel) -> None:
    nursery = Nursery(kernel, sleeper=SLEEP)
    kernel.serve(Vm(nursery, max_tasks=2))
    client = kernel.client()
    first = client.call("vm", abi.SpawnTask("sleeper")).task
    client.call("vm", abi.SpawnTask("sleeper"))
    assert refusal(client, abi.SpawnTask("sleeper")) == ErrorCode.TOO_MANY_TASKS
    kernel.kill(first)
    client.call("vm", abi.SpawnTask("sleeper"))


def test_too_many_tasks_at_once(kernel: wasmos.Kernel) -> None:
    """Those that are still loading count, until their spawner gives up."""
    nursery = Nursery(kernel, sleeper=SLEEP)

    async def slow(name: str, caller: wasmos.Caller, rules: object) -> wasmos.Task:
        await kernel.sleep(1)
        return await nursery(name, caller)

    kernel.serve(Vm(slow, max_tasks=2))
    first, second = kernel.client(), kernel.client()
    ask(first, abi.SpawnTask("sleeper"))
    done = ask(second, abi.SpawnTask("sleeper"))
    assert refusal(kernel.client(), abi.SpawnTask("sleeper")) == ErrorCode.TOO_MANY_TASKS
    first.kill()
    kernel.run(lambda: bool(done))
    assert kernel.find(second.finish().task) is not None
    kernel.client().call("vm", abi.SpawnTask("sleeper"))
    assert [name for name, _ in nursery.asked] == ["sleeper", "sleeper"]


# --- destroying -------------------------------------------------------------------------------


@pytest.fixture
def family(kernel: wasmos.Kernel, report: Reporter) -> tuple[wasmos.Client, int, int]:
    """A client, the task that it had spawned, and the one that this had spawned."""
    spawner = program(
        "(drop (call $call #1 #2048)) (call $report (i32.load #2056))" + RECEIVE + "#0",
        fields=segment(2048, abi.SpawnTask("sleeper")),
    )
    kernel.serve(Vm(Nursery(kernel, spawner=spawner, sleeper=SLEEP)))
    client = kernel.client()
    child = client.call("vm", abi.SpawnTask("spawner")).task
    kernel.run(lambda: bool(report.rows))
    return client, child, report.numbers[0]


@pytest.mark.parametrize("task", [0, 77, -1, 2**31 - 1, -(2**31)])
def test_destroying_nobody_is_fine(kernel: wasmos.Kernel, task: int) -> None:
    kernel.serve(Vm())
    kernel.client(allow=["vm"]).call("vm", abi.DestroyTask(task))


def test_destroying_a_child(kernel: wasmos.Kernel, family: tuple[wasmos.Client, int, int]) -> None:
    client, child, grandchild = family
    handle = kernel.find(child)
    assert handle is not None
    client.call("vm", abi.DestroyTask(child))
    assert handle.exit is not None and handle.exit.cause == "killed"
    assert f"by task {client.id}" in handle.exit.message
    assert kernel.find(grandchild) is not None


def test_destroying_a_grandchild(
    kernel: wasmos.Kernel, family: tuple[wasmos.Client, int, int]
) -> None:
    client, child, grandchild = family
    client.call("vm", abi.DestroyTask(grandchild))
    assert kernel.find(grandchild) is None
    assert kernel.find(child) is not None


def test_destroying_an_orphaned_grandchild(
    kernel: wasmos.Kernel, family: tuple[wasmos.Client, int, int]
) -> None:
    client, child, grandchild = family
    client.call("vm", abi.DestroyTask(child))
    client.call("vm", abi.DestroyTask(grandchild))
    assert kernel.find(grandchild) is None


def test_not_destroying_others(
    kernel: wasmos.Kernel, family: tuple[wasmos.Client, int, int]
) -> None:
    client, child, grandchild = family
    stranger = kernel.client()
    for task in (child, grandchild, client.id, abi.VM, kernel.service_id("report")):
        assert refusal(stranger, abi.DestroyTask(task)) == ErrorCode.NOT_ALLOWED
        assert kernel.find(task) is not None


def test_not_destroying_ones_parent(kernel: wasmos.Kernel, report: Reporter) -> None:
    body = """(drop (call $ask #1 #13 #{parent})) (call $report (i32.load #1024)) #0"""
    nursery = Nursery(kernel)
    kernel.serve(Vm(nursery))
    parent = kernel.client()
    nursery.programs["child"] = program(body.replace("{parent}", str(parent.id)))
    parent.call("vm", abi.SpawnTask("child"))
    kernel.run(lambda: bool(report.rows))
    assert report.numbers == [ErrorCode.NOT_ALLOWED]
    assert parent.exit is None


def test_destroying_oneself(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    # Ids are handed out in order, so the next task's can be written into its program.
    guest = kernel.spawn(SLEEP, trusted=True)
    suicide = program(f"(drop (call $ask #1 #13 #{guest.id + 1})) #5")
    task = spawn(kernel, suicide, "vm")
    assert task.id == guest.id + 1
    assert kernel.wait(task).cause == "killed"


def test_whom_the_host_trusts_may_destroy(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm(may_destroy=lambda caller, task: caller.name == "shell"))
    victim = kernel.spawn(SLEEP, trusted=True)
    assert refusal(kernel.client("sh"), abi.DestroyTask(victim.id)) == ErrorCode.NOT_ALLOWED
    kernel.client("shell").call("vm", abi.DestroyTask(victim.id))
    assert victim.exit is not None


def test_nobody_destroys_the_hosts_own_tasks(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm(may_destroy=lambda caller, task: True))
    plus = kernel.serve(Plus())
    client = kernel.client()
    for task in (abi.VM, plus.id, client.id):
        assert refusal(client, abi.DestroyTask(task)) == ErrorCode.NOT_ALLOWED


def test_nothing_is_kept_of_tasks_that_ended(kernel: wasmos.Kernel) -> None:
    vm = Vm(Nursery(kernel, sleeper=SLEEP))
    kernel.serve(vm)
    client = kernel.client()
    client.call("vm", abi.WatchTasks())
    client.call("vm", abi.SpawnTask("sleeper"))
    client.kill()
    assert vm._watchers == {}
    assert list(vm._parents.values()) == [0]
    kernel.kill(next(iter(vm._parents)))
    assert vm._parents == {}


# --- watching ---------------------------------------------------------------------------------


def ends(watcher: wasmos.Client) -> list[int]:
    """Everything that the watcher has been told, and will be."""
    found: list[int] = []
    while True:
        while (mail := watcher.receive()) is not None:
            sender, message = mail
            assert sender == abi.VM
            assert isinstance(message, abi.TaskDestroyed)
            found.append(message.task)
        told = len(found)
        watcher.kernel.run(lambda: True)
        watcher.kernel.step(0)
        if watcher.account()["mailbox"] == 0 and len(found) == told:
            return found


def test_watchers_hear_of_each_end(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    before = kernel.spawn(SLEEP, trusted=True)
    kernel.kill(before)
    watcher, other = kernel.client(), kernel.client()
    watcher.call("vm", abi.WatchTasks())
    other.call("vm", abi.WatchTasks())
    tasks = [kernel.spawn(program("#0"), trusted=True) for _ in range(3)]
    kernel.run(lambda: all(task.exit for task in tasks))
    assert sorted(ends(watcher)) == [task.id for task in tasks]
    assert sorted(ends(other)) == [task.id for task in tasks]


def test_watching_twice_is_watching(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    watcher = kernel.client()
    watcher.call("vm", abi.WatchTasks())
    watcher.call("vm", abi.WatchTasks())
    task = kernel.spawn(SLEEP, trusted=True)
    kernel.kill(task)
    assert ends(watcher) == [task.id]


def test_watching_ends_with_the_rights_it_was_asked_for_by(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    watcher = kernel.client("watcher", allow=["vm.ping", "vm.watch_tasks"])
    lasting = watcher.grants[1]
    soon = kernel.grant(watcher, "vm.watch_tasks", seconds=5)
    watcher.call("vm", abi.WatchTasks())
    lasting.revoke()
    kernel.kill(kernel.spawn(SLEEP, trusted=True))
    assert ends(watcher) == []  # it was asked for by what is gone
    watcher.call("vm", abi.WatchTasks())
    heard = kernel.spawn(SLEEP, trusted=True)
    kernel.kill(heard)
    assert ends(watcher) == [heard.id]
    kernel.run(lambda: False, timeout=6)
    assert soon.is_over
    kernel.kill(kernel.spawn(SLEEP, trusted=True))
    assert ends(watcher) == []


def test_who_asked_by_two_rights_watches_as_long_as_one_of_them_lasts(
    kernel: wasmos.Kernel,
) -> None:
    kernel.serve(Vm())
    watcher = kernel.client("watcher", allow=["vm.ping", "vm.watch_tasks for 5s"])
    watcher.call("vm", abi.WatchTasks())
    lasting = kernel.grant(watcher, "vm.watch_tasks")
    watcher.call("vm", abi.WatchTasks())
    kernel.run(lambda: False, timeout=6)
    first = kernel.spawn(SLEEP, trusted=True)
    kernel.kill(first)
    assert ends(watcher) == [first.id]
    lasting.revoke()
    kernel.kill(kernel.spawn(SLEEP, trusted=True))
    assert ends(watcher) == []


def test_who_may_watch_once_goes_on_watching(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    watcher = kernel.client("watcher", allow=["vm.ping", "vm.watch_tasks once"])
    once = watcher.grants[1]
    watcher.call("vm", abi.WatchTasks())
    first = kernel.spawn(SLEEP, trusted=True)
    kernel.kill(first)
    assert ends(watcher) == [first.id]
    kernel.revoke(once)
    kernel.kill(kernel.spawn(SLEEP, trusted=True))
    assert ends(watcher) == []


def test_a_guest_watches(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    guest = program("(drop (call $ask #1 #19 #0))" + RECEIVE + "(call $value)")
    watcher = spawn(kernel, guest, "vm")
    task = kernel.spawn(SLEEP, trusted=True)
    kernel.run(lambda: watcher.account()["state"] == "receiving")
    kernel.kill(task)
    assert kernel.wait(watcher).code == task.id


def test_nothing_is_lost_on_a_full_mailbox(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    watcher = kernel.client()
    watcher.call("vm", abi.WatchTasks())
    dead = []
    for _ in range(600):  # more than twice what a mailbox holds
        client = kernel.client()
        dead.append(client.id)
        client.kill()
    assert watcher.account()["mailbox"] < len(dead)
    assert ends(watcher) == dead


def test_a_slow_watcher_keeps_nobody_waiting(kernel: wasmos.Kernel) -> None:
    kernel.serve(Vm())
    slow, quick = kernel.client(), kernel.client()
    slow.call("vm", abi.WatchTasks())
    quick.call("vm", abi.WatchTasks())
    for _ in range(300):
        client = kernel.client()
        client.kill()
        mail = quick.receive()
        assert mail is not None and mail[1] == abi.TaskDestroyed(client.id)
    slow.kill()
    assert ends(quick) == [slow.id]


def test_a_guest_with_a_full_mailbox_loses_nothing(kernel: wasmos.Kernel, report: Reporter) -> None:
    kernel.serve(Vm())
    count = 40
    body = "(drop (call $ask #1 #19 #0)) (call $report #0)" + "".join(
        RECEIVE + "(call $report (call $value))" for _ in range(count)
    )
    watcher = kernel.spawn(
        program(body + "#0"), trusted=True, limits=wasmos.Limits(mailbox=4), priority=0
    )
    kernel.grant(watcher, "vm")
    kernel.grant(watcher, "report")
    kernel.run(lambda: bool(report.rows))
    dead = []
    for _ in range(count):
        client = kernel.client()
        dead.append(client.id)
        client.kill()
    assert kernel.wait(watcher).code == 0
    assert report.numbers[1:] == dead
