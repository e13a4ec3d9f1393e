"""Task ids: handed out once, found again, however many tasks come and go."""

from __future__ import annotations

import random

import pytest

import wasmos
from tests.support import wat
from tests.support.wat import program
from wasmos import abi


class VM(wasmos.Service):
    name = "vm"

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        return value


def test_ids_begin_with_2_and_ascend(kernel: wasmos.Kernel) -> None:
    assert [kernel.client().id for _ in range(5)] == [2, 3, 4, 5, 6]


def test_vm_is_task_1(kernel: wasmos.Kernel) -> None:
    assert kernel.serve(VM()).id == abi.VM == 1
    task = kernel.spawn(program("(drop (call $ask #1 #9 #7)) (call $value)"), allow=["vm"],
                        trusted=True)  # fmt: skip
    assert kernel.wait(task).code == 7


@pytest.mark.parametrize("tasks", [0, 29, 30, 31, 32, 33, 100, 1000])
def test_vm_may_come_late_and_again(kernel: wasmos.Kernel, tasks: int) -> None:
    """Whatever ids are in use, and were."""
    for number in range(tasks):
        client = kernel.client()
        if number % 3:
            client.kill()
    first = kernel.serve(VM())
    first.kill()
    for _ in range(40):
        kernel.client()
    assert kernel.serve(VM()).id == 1


def test_vm_only_once(kernel: wasmos.Kernel) -> None:
    kernel.serve(VM())
    with pytest.raises(wasmos.ServiceError):
        kernel.serve(VM())


@pytest.mark.parametrize("id", [-1, -33, 2, 33, 2**31 - 1])
def test_no_other_id_can_be_asked_for(kernel: wasmos.Kernel, id: int) -> None:
    with pytest.raises(wasmos.UsageError):
        kernel.add_service({}, 8, id)
    assert kernel.live == 0


@pytest.mark.parametrize("seed", range(3))
def test_ids_are_never_used_again(kernel: wasmos.Kernel, seed: int) -> None:
    """Thousands of tasks, most of them gone: each is found by its id and by no other."""
    chance = random.Random(seed)
    living: dict[int, wasmos.Client] = {}
    used: set[int] = set()
    for _ in range(5_000):
        client = kernel.client(allow=[])
        assert client.id not in used
        used.add(client.id)
        living[client.id] = client
        while living and chance.random() < 0.49:
            living.pop(chance.choice(list(living))).kill()
    assert kernel.task_ids() == sorted(living)
    assert kernel.live == len(living)
    for id in used:
        if id in living:
            assert kernel.account(id)["state"] == "idle"
        else:
            with pytest.raises(LookupError):
                kernel.account(id)


def test_the_table_grows_and_all_are_found(kernel: wasmos.Kernel) -> None:
    tasks = [kernel.client(allow=[]) for _ in range(3_000)]
    assert [kernel.account(task.id)["kind"] for task in tasks] == ["host"] * 3_000
    for task in tasks[::2]:
        task.kill()
    assert kernel.task_ids() == [task.id for task in tasks[1::2]]


def test_thousands_of_guests_come_and_go(kernel: wasmos.Kernel) -> None:
    """One after the other, and each one's id is its own."""
    source = kernel.load(program("#0"), trusted=True)
    ids = []
    for _ in range(2_000):
        task = kernel.spawn(source)
        ids.append(task.id)
        assert kernel.wait(task).code == 0
    assert ids == sorted(set(ids))
    assert kernel.live == 0


def test_an_old_id_reaches_nobody_new(kernel: wasmos.Kernel) -> None:
    """A guest that kept the id of a service doesn't reach the next one in its place."""
    old = kernel.spawn(wat.SERVER, service="s", trusted=True)
    old.kill()
    for _ in range(200):
        kernel.spawn(wat.PASSIVE, trusted=True)
    task = kernel.spawn(program(f"(call $ask #{old.id} #9 #1)"), allow=["*"], trusted=True)
    assert kernel.wait(task).code == -12


@pytest.mark.parametrize("id", [0, -1, -(2**31), 2**31 - 1, 31, 34])
def test_ids_that_nobody_has(kernel: wasmos.Kernel, id: int) -> None:
    """2 is there; so is what shares its place in the table."""
    kernel.client()
    assert kernel.find(id) is None
    with pytest.raises(LookupError):
        kernel.account(id)
