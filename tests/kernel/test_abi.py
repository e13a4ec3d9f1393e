"""What a guest sees of the kernel: the four calls, their results, the bytes they leave alone."""

from __future__ import annotations

import itertools

import pytest

import wasmos
from tests.support import wat
from tests.support.wat import M, answer, forever, passive, program, repeat, settle
from wasmos import abi

BOTH_CLOCKS = True

INVALID_ARG, INVALID_TASK, INVALID_UADDR = -11, -12, -15
NOT_ALLOWED, NOT_SUPPORTED, ABORTED, DEAD_LOCK = -8, -9, -21, -24
PAGE = 65536
MESSAGE = 1512

# A service of every sort that answers a ping with its number plus 1.
SORTS = ("active", "passive", "passive on a fibre", "python")


def serve(kernel: wasmos.Kernel, sort: str, name: str = "plus") -> wasmos.Task:
    if sort == "python":
        return kernel.serve(wat.Plus(), name=name)
    source = {
        "active": wat.SERVER,
        "passive": wat.PASSIVE,
        "passive on a fibre": wat.PASSIVE_FIBRE,
    }[sort]
    return kernel.spawn(source, service=name, trusted=True)


def code(kernel: wasmos.Kernel, body: str, **options: object) -> int | None:
    """The exit code of a program that may send to everyone."""
    task = kernel.spawn(program(body), allow=["*"], trusted=True)
    return kernel.wait(task).code


# --- ipc_call: an answer ----------------------------------------------------------------------


@pytest.mark.parametrize("sort", SORTS)
def test_call_is_answered(kernel: wasmos.Kernel, sort: str) -> None:
    serve(kernel, sort)
    body = "(if (call $ask @plus #9 #41) (then (return #-1))) (call $value)"
    assert code(kernel, body) == 42


@pytest.mark.parametrize("sort", SORTS)
def test_answer_has_type_and_sender(kernel: wasmos.Kernel, report: wat.Reporter, sort: str) -> None:
    """The client can't choose `src`, and the service can't choose the answer's."""
    service = serve(kernel, sort)
    forged = f"(i32.store offset=4 #{M} #77)"
    body = f"""{forged} (call $report (call $ask @plus #9 #1))
        (call $report (i32.load #{M})) (call $report {wat.SRC}) #0"""
    assert code(kernel, body) == 0
    assert report.numbers == [0, wat.PING_REPLY, service.id]


def test_request_carries_the_senders_id(kernel: wasmos.Kernel, report: wat.Reporter) -> None:
    """Whatever the sender wrote into `src`: the kernel stamps it."""
    echo_src = program(forever(wat.RECEIVE + answer(wat.SRC)))
    server = kernel.spawn(echo_src, service="who", trusted=True)
    kernel.spawn(passive(f"(call $answer (i32.load offset=4 #{wat.INBOX}))"),
                 service="passive", trusted=True)  # fmt: skip
    body = "".join(
        f"(i32.store offset=4 #{M} #{forged}) (drop (call $ask {who} #9 #0)) "
        "(call $report (call $value))"
        for forged in (-1, 0, 1, server.id)
        for who in ("@who", "@passive")
    )
    task = kernel.spawn(program(body + "#0"), allow=["*"], trusted=True)
    assert kernel.wait(task).code == 0
    assert report.numbers == [task.id] * 8


def test_error_answer_is_ok_with_a_negative_type(
    kernel: wasmos.Kernel, report: wat.Reporter
) -> None:
    class No(wasmos.Service):
        name = "no"

        def ping(self, caller: wasmos.Caller, value: int) -> int:
            raise wasmos.ServiceError(-7)

    kernel.serve(No())
    body = f"(call $report (call $ask @no #9 #1)) (i32.load #{M})"
    assert code(kernel, body) == -7
    assert report.numbers == [0]


@pytest.mark.parametrize("sort", ["active", "passive", "passive on a fibre"])
def test_error_answer_of_a_guest(kernel: wasmos.Kernel, sort: str) -> None:
    refuse = "(call $put #{at} #-7 #0)"
    source = {
        "active": program(
            forever(wat.RECEIVE + refuse.format(at=M) + f"(call $reply {wat.SRC} #{M})")
        ),
        "passive": passive(refuse.format(at=wat.INBOX)),
        "passive on a fibre": passive(refuse.format(at=wat.INBOX), fibre=True),
    }[sort]
    kernel.spawn(source, service="no", trusted=True)
    assert code(kernel, f"(if (call $ask @no #9 #1) (then (return #1))) (i32.load #{M})") == -7


# --- ipc_call: no answer ----------------------------------------------------------------------


@pytest.mark.parametrize("id", [0, -1, -5, 17, 1000, 2**31 - 1, -(2**31)])
def test_call_out_of_range(kernel: wasmos.Kernel, id: int) -> None:
    """The table of the original had room for 16 tasks; ids are in range up to that, or up to the
    highest that was handed out."""
    assert code(kernel, f"(call $ask #{id} #9 #1)") == INVALID_ARG


def test_call_of_itself(kernel: wasmos.Kernel) -> None:
    task = kernel.spawn(program("(call $ask #2 #9 #1)"), allow=["*"], trusted=True)
    assert task.id == 2
    assert kernel.wait(task).code == INVALID_ARG


@pytest.mark.parametrize("id", [1, 3, 16])
def test_call_of_nobody(kernel: wasmos.Kernel, id: int) -> None:
    assert code(kernel, f"(call $ask #{id} #9 #1)") == INVALID_TASK


def test_call_of_a_task_that_ended(kernel: wasmos.Kernel) -> None:
    gone = [kernel.spawn(program("#0"), trusted=True) for _ in range(20)]
    for task in gone:
        kernel.wait(task)
    assert gone[-1].id > 16
    assert code(kernel, f"(call $ask #{gone[-1].id} #9 #1)") == INVALID_TASK


@pytest.mark.parametrize("id", [0, -1, 2, 9, 99])
def test_failed_call_leaves_the_message(kernel: wasmos.Kernel, id: int) -> None:
    """All 1,512 bytes, `src` included."""
    body = f"""(memory.fill #{M} #0xA5 #{MESSAGE}) (i32.store #{M} #9)
        (if (i32.ge_s (call $call #{id} #{M}) #0) (then (return #1)))
        (if (i32.ne (i32.load #{M}) #9) (then (return #2)))
        {
        repeat(
            MESSAGE - 4,
            f"(if (i32.ne (i32.load8_u offset={M + 4} (local.get $i)) #0xA5) (then (return #3)))",
        )
    } #0"""
    assert code(kernel, body) == 0


ENDINGS = {
    "takes the call and returns": program(f"(call $recv #0 #{M})"),
    "takes the call and traps": program(f"(drop (call $recv #0 #{M})) unreachable"),
    "returns before it receives": program(f"(call $recv @starter #{M})"),
    "traps before it receives": program(f"(drop (call $recv @starter #{M})) unreachable"),
    "passive, traps": passive("unreachable"),
    "passive on a fibre, traps": passive("unreachable", fibre=True),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_call_of_one_who_ends_before_it_answers(kernel: wasmos.Kernel, ending: str) -> None:
    """-21, and the message is still the one that was sent."""
    starter = kernel.serve(wat.Plus(), name="starter")
    server = kernel.spawn(ENDINGS[ending], service="s", allow=["starter"], trusted=True)
    body = """(local.set $i (call $ask @s #9 #41))
        (if (i32.ne (call $value) #41) (then (return #1))) (local.get $i)"""
    task = kernel.spawn(program(body), allow=["s"], trusted=True)
    settle(kernel)
    if server.exit is None:  # it waits for the word to end
        assert task.account()["state"] == "sending"
        assert kernel.notify(starter.id, server.id, abi.TaskDestroyed(0))
    assert kernel.wait(task).code == ABORTED


# --- pointers ---------------------------------------------------------------------------------

# Around every boundary that there is, in one page of memory.
EDGES = (
    0, 1, 3, 4, 7, 8, PAGE - MESSAGE - 1, PAGE - MESSAGE, PAGE - MESSAGE + 1, PAGE - 8, PAGE - 1,
    PAGE, PAGE + 1, 2**31 - 1, 2**31, 2**32 - MESSAGE, 2**32 - 1,
)  # fmt: skip
# As a task's id; the second is a service that exists, the first five are out of range.
PEERS = (
    0, -1, -(2**31), 17, 2**31 - 1, 2, 3, 4, 5, 8, 15, 16, -2, -1512, -65536, 2**30, 65536,
)  # fmt: skip
assert len(EDGES) == len(PEERS) == 17


def fits(address: int) -> bool:
    return address + MESSAGE <= PAGE


@pytest.mark.parametrize("function", ["call", "recv", "reply"])
def test_pointers_at_the_boundary(
    kernel: wasmos.Kernel, report: wat.Reporter, function: str
) -> None:
    """17 addresses times 17 peers: an address that doesn't hold a whole message is -15 whoever
    the peer is, and no byte of the memory changes or is delivered."""
    seen: list[int] = []

    class Sink(wasmos.Service):
        name = "sink"

        def ping(self, caller: wasmos.Caller, value: int) -> int:
            seen.append(value)
            return value

    kernel.serve(Sink())
    outside = [edge for edge in EDGES if not fits(edge)]
    tries = "".join(
        f"(call $reply #{peer} #{edge})"
        if function == "reply"
        else f"(if (i32.ne (call ${function} #{peer} #{edge}) #-15) (then (return #{number})))"
        for number, (edge, peer) in enumerate(
            [(edge, peer) for edge in outside for peer in PEERS], start=1
        )
    )
    pattern = f"(memory.fill #0 #0xA5 #{PAGE})"
    intact = repeat(
        PAGE // 8,
        "(if (i64.ne (i64.load (i32.mul (local.get $i) #8)) (i64.const 0xA5A5A5A5A5A5A5A5))"
        " (then (return #-1)))",
    )
    assert code(kernel, pattern + tries + intact + "#0") == 0
    assert seen == []


@pytest.mark.parametrize("edge", [edge for edge in EDGES if fits(edge)])
def test_messages_up_to_the_boundary(kernel: wasmos.Kernel, edge: int) -> None:
    """Wherever a whole message fits it works, aligned or not."""
    kernel.serve(wat.Plus())
    body = f"""(call $put #{edge} #9 #41) (if (call $call @plus #{edge}) (then (return #1)))
        (if (i32.ne (i32.load #{edge}) #10) (then (return #2))) (i32.load offset=8 #{edge})"""
    assert code(kernel, body) == 42


@pytest.mark.parametrize("edge", [edge for edge in EDGES if fits(edge)])
def test_receiving_up_to_the_boundary(kernel: wasmos.Kernel, edge: int) -> None:
    server = program(
        f"(drop (call $recv #0 #{edge})) (call $put #{edge} #10 (i32.load offset=8 #{edge}))"
        f"(call $reply (i32.load offset=4 #{edge}) #{edge}) #0"
    )
    kernel.spawn(server, service="s", trusted=True)
    assert kernel.call("s", abi.Ping(7)) == abi.PingReply(7)


@pytest.mark.parametrize("edge", [edge for edge in EDGES if edge >= PAGE])
def test_names_outside_the_memory(kernel: wasmos.Kernel, edge: int) -> None:
    assert code(kernel, f"(call $lookup #{edge})") == INVALID_UADDR


def test_name_that_ends_with_the_memory(kernel: wasmos.Kernel) -> None:
    kernel.serve(wat.Plus())
    at = PAGE - len("plus\0")
    body = f"(memory.copy #{at} #{wat.NAMES} #5) (drop @plus) (call $lookup #{at})"
    assert code(kernel, body) == 2


@pytest.mark.parametrize("at", [PAGE - 1, PAGE - 10, PAGE - 64])
def test_name_without_an_end(kernel: wasmos.Kernel, at: int) -> None:
    body = f"(memory.fill #{at} #65 #{PAGE - at}) (call $lookup #{at})"
    assert code(kernel, body) == INVALID_UADDR


@pytest.mark.parametrize(("length", "result"), [(63, NOT_ALLOWED), (64, INVALID_UADDR)])
def test_longest_name(kernel: wasmos.Kernel, length: int, result: int) -> None:
    body = f"(memory.fill #{M} #65 #{length}) (call $lookup #{M})"
    task = kernel.spawn(program(body), trusted=True)
    assert kernel.wait(task).code == result


def test_empty_name(kernel: wasmos.Kernel) -> None:
    assert code(kernel, f"(call $lookup #{M})") == INVALID_ARG


def test_name_that_is_no_text(kernel: wasmos.Kernel) -> None:
    """Denied like any other, and the host doesn't choke on it."""
    task = kernel.spawn(program(f"(i32.store #{M} #0xFEFF) (call $lookup #{M})"), trusted=True)
    assert kernel.wait(task).code == NOT_ALLOWED


def test_reply_outside_the_memory_answers_nobody(kernel: wasmos.Kernel) -> None:
    """The right to reply isn't used up by it."""
    server = wat.RECEIVE + f"(call $reply {wat.SRC} #{PAGE - 1})" + answer("#5")
    kernel.spawn(program(server + "#0"), service="s", trusted=True)
    assert kernel.call("s", abi.Ping(1)) == abi.PingReply(5)


# --- ipc_lookup -------------------------------------------------------------------------------


def test_lookup_waits_for_the_registration(kernel: wasmos.Kernel) -> None:
    task = kernel.spawn(program("@plus"), allow=["plus"], trusted=True)
    settle(kernel)
    assert task.account()["state"] == "looking up"
    service = kernel.serve(wat.Plus())
    assert kernel.wait(task).code == service.id


def test_lookup_of_several_wakes_all_of_them(kernel: wasmos.Kernel) -> None:
    tasks = [kernel.spawn(program("@plus"), allow=["plus"], trusted=True) for _ in range(5)]
    settle(kernel)
    service = kernel.serve(wat.Plus())
    assert [kernel.wait(task).code for task in tasks] == [service.id] * 5


def test_lookup_after_the_service_ended_waits_again(kernel: wasmos.Kernel) -> None:
    kernel.serve(wat.Plus()).kill()
    task = kernel.spawn(program("@plus"), allow=["plus"], trusted=True)
    settle(kernel)
    assert task.blocked
    again = kernel.serve(wat.Plus())
    assert kernel.wait(task).code == again.id


# --- ipc_recv ---------------------------------------------------------------------------------


@pytest.mark.parametrize("id", [-1, -5, 17, 1000, 2**31 - 1, -(2**31), 2])
def test_receive_from_out_of_range_or_itself(kernel: wasmos.Kernel, id: int) -> None:
    assert code(kernel, f"(call $recv #{id} #{M})") == INVALID_ARG


@pytest.mark.parametrize("id", [1, 3, 16])
def test_receive_from_nobody(kernel: wasmos.Kernel, id: int) -> None:
    assert code(kernel, f"(call $recv #{id} #{M})") == INVALID_TASK


def test_receive_from_one_who_ends(kernel: wasmos.Kernel) -> None:
    other = kernel.spawn(wat.SLEEP, trusted=True)
    task = kernel.spawn(program(f"(call $recv #{other.id} #{M})"), trusted=True)
    settle(kernel)
    assert task.account()["peer"] == other.id
    other.kill()
    assert kernel.wait(task).code == ABORTED


def test_closed_receive_lets_the_others_wait(kernel: wasmos.Kernel, report: wat.Reporter) -> None:
    """A receive from one task takes that one's message although others came first."""
    chosen = 6
    server = f"""{wat.RECEIVE} (call $report (call $value)) {answer("#0")}
        (drop (call $recv #{chosen} #{M})) (call $report (call $value)) {answer("#0")}
        {forever(wat.RECEIVE + "(call $report (call $value))" + answer("#0"))}"""
    kernel.spawn(program(server + "#0"), service="s", allow=["report"], trusted=True)
    clients = [
        kernel.spawn(program(f"(call $ask @s #9 #{n})"), allow=["s"], trusted=True)
        for n in range(4, 8)
    ]
    assert clients[2].id == chosen
    for client in clients:
        assert kernel.wait(client).code == 0
    assert report.numbers == [4, 6, 5, 7]


def test_callers_are_received_in_the_order_they_came(
    kernel: wasmos.Kernel, report: wat.Reporter
) -> None:
    server = forever(wat.RECEIVE + "(call $report (call $value))" + answer("#0"))
    kernel.spawn(program(server + "#0"), service="s", allow=["report"], trusted=True)
    clients = [
        kernel.spawn(program(f"(call $ask @s #9 #{n})"), allow=["s"], trusted=True)
        for n in range(8)
    ]
    for client in clients:
        kernel.wait(client)
    assert report.numbers == list(range(8))


# --- ipc_reply --------------------------------------------------------------------------------


def test_second_answer_is_nobodys(kernel: wasmos.Kernel) -> None:
    """Not the answer of the client's next call either, to the same service or to another."""
    server = forever(wat.RECEIVE + answer("(call $value)") + answer("#666"))
    kernel.spawn(program(server + "#0"), service="s", trusted=True)
    kernel.serve(wat.Plus())
    body = repeat(
        20,
        """(if (call $ask @s #9 (local.get $i)) (then (return #1)))
        (if (i32.ne (call $value) (local.get $i)) (then (return #2)))
        (if (call $ask @plus #9 (local.get $i)) (then (return #3)))
        (if (i32.ne (call $value) (i32.add (local.get $i) #1)) (then (return #4)))""",
    )
    assert code(kernel, body + "#0") == 0


def test_stranger_cannot_answer_a_call_that_awaits(kernel: wasmos.Kernel) -> None:
    server = kernel.spawn(
        program(wat.RECEIVE + f"(drop (call $recv @gate #{M}))" + "#0"),
        service="s", allow=["gate"], trusted=True,
    )  # fmt: skip
    kernel.serve(wat.Plus(), name="gate")
    client = kernel.spawn(program("(call $ask @s #9 #1)"), allow=["s"], trusted=True)
    settle(kernel)
    assert client.account() | {"state": "awaiting reply", "peer": server.id} == client.account()
    forged = f"(call $put #{M} #10 #666) (call $reply #{client.id} #{M}) #0"
    kernel.wait(kernel.spawn(program(forged), allow=["*"], trusted=True))
    assert client.account()["state"] == "awaiting reply"


def test_reply_to_an_open_receive_is_one_way(kernel: wasmos.Kernel) -> None:
    receiver = kernel.spawn(program(wat.RECEIVE + "(call $value)"), service="s", trusted=True)
    settle(kernel)
    assert code(kernel, f"(call $put #{M} #9 #33) (call $reply @s #{M}) #0") == 0
    assert kernel.wait(receiver).code == 33


@pytest.mark.parametrize("whom", ["closed", "running", "calling"])
def test_reply_to_one_who_does_not_receive_is_lost_and_logged(
    kernel: wasmos.Kernel, whom: str
) -> None:
    other = kernel.spawn(wat.SLEEP, service="other", trusted=True)
    source = {
        "closed": program(f"(call $recv #{other.id} #{M})"),
        "running": wat.SPIN,
        "calling": program("(call $ask @other #9 #1)"),
    }[whom]
    if whom == "calling":
        other.kill()
        kernel.spawn(program(wat.RECEIVE + forever()), service="other", trusted=True)
    receiver = kernel.spawn(source, allow=["other"], trusted=True)
    state = {"closed": "receiving", "running": "ready", "calling": "awaiting reply"}[whom]
    kernel.run(lambda: receiver.account()["state"] == state)
    sender = kernel.spawn(
        program(f"(call $put #{M} #9 #33) (call $reply #{receiver.id} #{M}) #0"),
        allow=["*"], priority=15, trusted=True,
    )  # fmt: skip
    assert kernel.wait(sender).code == 0
    assert receiver.exit is None
    lost = [event for event in kernel.events() if event.kind == "lost"]
    assert [(event.task, event.peer) for event in lost] == [(sender.id, receiver.id)]


def test_reply_to_nobody_is_logged(kernel: wasmos.Kernel) -> None:
    gone = kernel.spawn(program("#0"), trusted=True)
    kernel.wait(gone)
    task = kernel.spawn(
        program(f"(call $put #{M} #10 #0) (call $reply #{gone.id} #{M}) #0"), trusted=True
    )
    assert kernel.wait(task).code == 0
    assert [event.peer for event in kernel.events() if event.kind == "lost"] == [gone.id]


@pytest.mark.parametrize("id", [0, -1, 2**31 - 1, -(2**31)])
def test_reply_out_of_range_does_nothing(kernel: wasmos.Kernel, id: int) -> None:
    assert code(kernel, f"(call $put #{M} #10 #0) (call $reply #{id} #{M}) #0") == 0


def test_reply_to_itself_does_nothing(kernel: wasmos.Kernel) -> None:
    assert code(kernel, f"(call $put #{M} #10 #0) (call $reply #2 #{M}) #0") == 0


# --- mailboxes --------------------------------------------------------------------------------


def test_mailbox_keeps_the_order(kernel: wasmos.Kernel, report: wat.Reporter) -> None:
    """Python's one-way messages wait for a guest that is busy, and come before callers."""
    source = kernel.serve(wat.Plus(), name="source")
    say = "(call $report (call $value))"
    body = f"(drop (call $recv @source #{M})) {say}" + repeat(10, wat.RECEIVE + say)
    reader = kernel.spawn(
        program(body + answer("#0") + "#0"),
        service="reader",
        allow=["source", "report"],
        trusted=True,
    )
    client = kernel.spawn(program("(call $ask @reader #9 #99)"), allow=["reader"], trusted=True)
    settle(kernel)
    assert client.account()["state"] == "sending"
    assert all(kernel.notify(source.id, reader.id, abi.TaskDestroyed(n)) for n in range(10))
    assert reader.account()["mailbox"] == 9
    assert kernel.wait(reader).code == 0
    assert report.numbers == [*range(10), 99]


def test_mailbox_has_a_limit(kernel: wasmos.Kernel) -> None:
    source = kernel.serve(wat.Plus(), name="source")
    task = kernel.spawn(wat.SLEEP, allow=["source"], limits=wasmos.Limits(mailbox=3), trusted=True)
    taken = [kernel.notify(source.id, task.id, abi.TaskDestroyed(n)) for n in range(5)]
    assert taken == [True, True, True, False, False]
    assert task.account()["mailbox"] == 3


def test_room_in_a_full_mailbox_is_announced(kernel: wasmos.Kernel) -> None:
    source = kernel.serve(wat.Plus(), name="source")
    task = kernel.spawn(
        program(wat.RECEIVE * 2 + "(call $value)"),
        allow=["source"], limits=wasmos.Limits(mailbox=1), trusted=True,
    )  # fmt: skip
    assert kernel.notify(source.id, task.id, abi.TaskDestroyed(1))
    assert not kernel.notify(source.id, task.id, abi.TaskDestroyed(2))
    kernel.when_room(lambda: kernel.notify(source.id, task.id, abi.TaskDestroyed(2)))
    assert kernel.wait(task).code == 2


def test_room_is_announced_when_the_receiver_ends(kernel: wasmos.Kernel) -> None:
    """Who waits to write must learn that there is nobody left to write to."""
    source = kernel.serve(wat.Plus(), name="source")
    task = kernel.spawn(wat.SLEEP, allow=["source"], limits=wasmos.Limits(mailbox=0), trusted=True)
    assert not kernel.notify(source.id, task.id, abi.TaskDestroyed(1))
    told: list[bool] = []
    kernel.when_room(lambda: told.append(True))
    task.kill()
    settle(kernel)
    assert told == [True]


def test_room_is_announced_once_to_who_asks_several_times(kernel: wasmos.Kernel) -> None:
    """So that nobody has to remember that it has asked; then it can ask anew."""
    source = kernel.serve(wat.Plus(), name="source")
    limits = wasmos.Limits(mailbox=0)
    told: list[bool] = []

    def tell() -> None:
        told.append(True)

    for count in (1, 2):
        task = kernel.spawn(wat.SLEEP, allow=["source"], limits=limits, trusted=True)
        assert not kernel.notify(source.id, task.id, abi.TaskDestroyed(1))
        for _ in range(3):
            kernel.when_room(tell)
        task.kill()
        settle(kernel)
        assert told == [True] * count


def test_one_way_from_the_kernels_own_service(kernel: wasmos.Kernel, report: wat.Reporter) -> None:
    """`task_destroyed` reaches an open receive as type 21 from task 1."""

    class VM(wasmos.Service):
        name = "vm"

        def watch_tasks(self, caller: wasmos.Caller) -> None:
            self.watcher = caller

        def task_ended(self, task: int) -> None:
            self.watcher.notify(self, abi.TaskDestroyed(task))

    kernel.serve(VM())
    victim = kernel.spawn(wat.SLEEP, trusted=True)
    body = f"""(drop (call $ask #1 #19 #0)) {wat.RECEIVE} (call $report (i32.load #{M}))
        (call $report {wat.SRC}) (call $value)"""
    task = kernel.spawn(program(body), allow=["*"], trusted=True)
    settle(kernel)
    victim.kill()
    assert kernel.wait(task).code == victim.id
    assert report.numbers == [21, 1]


# --- types ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("type", [-1, -8, -21, -(2**31)])
def test_negative_type_is_refused(kernel: wasmos.Kernel, sort: str, type: int) -> None:
    serve(kernel, sort)
    assert code(kernel, f"(call $ask @plus #{type} #1)") == INVALID_ARG
    assert kernel.call("plus", abi.Ping(1)) == abi.PingReply(2)


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("type", range(1, 9))
def test_the_kernels_types_are_refused(kernel: wasmos.Kernel, sort: str, type: int) -> None:
    serve(kernel, sort)
    assert code(kernel, f"(call $ask @plus #{type} #1)") == NOT_SUPPORTED
    assert kernel.call("plus", abi.Ping(1)) == abi.PingReply(2)


@pytest.mark.parametrize("type", [0, 13, 67, 999, 1000, 2**31 - 1])
def test_python_service_refuses_types_it_does_not_know(kernel: wasmos.Kernel, type: int) -> None:
    kernel.serve(wat.Plus())
    assert code(kernel, f"(drop (call $ask @plus #{type} #1)) (i32.load #{M})") == NOT_SUPPORTED


@pytest.mark.parametrize("type", [-1, -(2**31), *range(1, 9)])
def test_forged_one_way_messages_disturb_nobody(kernel: wasmos.Kernel, type: int) -> None:
    receiver = kernel.spawn(program(wat.RECEIVE + "(call $value)"), service="s", trusted=True)
    settle(kernel)
    assert code(kernel, f"(call $put #{M} #{type} #666) (call $reply @s #{M}) #0") == 0
    assert receiver.exit is None
    assert code(kernel, f"(call $put #{M} #9 #1) (call $reply @s #{M}) #0") == 0
    assert kernel.wait(receiver).code == 1


@pytest.mark.parametrize("sort", ["active", "passive", "passive on a fibre"])
@pytest.mark.parametrize("type", [1, 4])
def test_forged_answers_are_errors(kernel: wasmos.Kernel, sort: str, type: int) -> None:
    """A service that answers with a message of the kernel's: the client hears -10, not a forgery,
    and doesn't wait for ever."""
    put = f"(call $put #{{at}} #{type} #666)"
    source = {
        "active": program(wat.RECEIVE + put.format(at=M) + f"(call $reply {wat.SRC} #{M}) #0"),
        "passive": passive(put.format(at=wat.INBOX)),
        "passive on a fibre": passive(put.format(at=wat.INBOX), fibre=True),
    }[sort]
    kernel.spawn(source, service="s", trusted=True)
    result = code(kernel, f"(if (call $ask @s #9 #1) (then (return #-21))) (i32.load #{M})")
    assert result == -10


def test_only_the_bytes_of_the_message_arrive(kernel: wasmos.Kernel) -> None:
    """What lies behind the fields in the sender's memory stays there."""
    server = f"""(memory.fill #{M} #0x11 #{MESSAGE}) {wat.RECEIVE}
        {
        repeat(
            MESSAGE - 12,
            f"(if (i32.ne (i32.load8_u offset={M + 12} (local.get $i)) #0x11) (then (return #1)))",
        )
    } #0"""
    task = kernel.spawn(program(server), service="s", trusted=True)
    body = f"(memory.fill #{M} #0xEE #{MESSAGE}) (call $ask @s #9 #1)"
    assert code(kernel, body) == ABORTED
    assert kernel.wait(task).code == 0


def test_an_unknown_type_is_carried_whole(kernel: wasmos.Kernel) -> None:
    """Messages of nobody's IDL work between guests."""
    last = M + MESSAGE - 4
    server = f"""{wat.RECEIVE} (i32.store #{last} (i32.add (i32.load #{last}) #1))
        (call $reply {wat.SRC} #{M}) #0"""
    kernel.spawn(program(server), service="s", trusted=True)
    body = f"(i32.store #{last} #41) (drop (call $ask @s #5000 #0)) (i32.load #{last})"
    assert code(kernel, body) == 42


# --- circles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 3, 4, 5])
def test_a_circle_of_calls_is_refused(kernel: wasmos.Kernel, length: int) -> None:
    """The call that would close it gets -24; everyone else then gets an answer."""
    names = [f"ring_{letter}" for letter in "abcde"[:length]]
    tasks = []
    for name, following in itertools.pairwise(names):
        body = f"""(local.set $j @{following}) {wat.RECEIVE} (local.set $i {wat.SRC})
            (drop (call $ask (local.get $j) #9 #0)) (call $put #{M} #10 (call $value))
            (call $reply (local.get $i) #{M}) (call $value)"""
        tasks.append(kernel.spawn(program(body), service=name, allow=["*"], trusted=True))
    last = f"""(local.set $j @{names[0]}) {wat.RECEIVE} (local.set $i {wat.SRC})
        (local.set $j (call $ask (local.get $j) #9 #0))
        (call $put #{M} #10 (local.get $j)) (call $reply (local.get $i) #{M}) (local.get $j)"""
    tasks.append(kernel.spawn(program(last), service=names[-1], allow=["*"], trusted=True))
    assert kernel.call(names[0], abi.Ping(0)) == abi.PingReply(DEAD_LOCK)
    assert [kernel.wait(task).code for task in tasks] == [DEAD_LOCK] * length


def test_receiving_from_a_caller_that_waits_for_us_is_refused(kernel: wasmos.Kernel) -> None:
    server = f"{wat.RECEIVE} (local.set $j (call $recv {wat.SRC} #{M})) " + answer("(local.get $j)")
    kernel.spawn(program(server + "#0"), service="s", trusted=True)
    assert kernel.call("s", abi.Ping(0)) == abi.PingReply(DEAD_LOCK)


def test_two_who_receive_from_each_other(kernel: wasmos.Kernel) -> None:
    first = kernel.spawn(program(f"(call $recv #3 #{M})"), trusted=True)
    second = kernel.spawn(program(f"(call $recv #2 #{M})"), trusted=True)
    assert (first.id, second.id) == (2, 3)
    assert kernel.wait(second).code == DEAD_LOCK
    assert kernel.wait(first).code == ABORTED


# --- programs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 42, 255, 256, -1, 2**31 - 1, -(2**31)])
def test_result_of_main_is_the_exit_code(kernel: wasmos.Kernel, number: int) -> None:
    ended = kernel.wait(kernel.spawn(program(f"#{number}"), trusted=True))
    # As a process's status it has eight bits; no failure may become a 0 by that.
    status = number & 0xFF or (1 if number else 0)
    assert (ended.cause, ended.code, ended.status) == ("returned", number, status)


def test_main_without_a_result(kernel: wasmos.Kernel) -> None:
    task = kernel.spawn('(module (func (export "main")))', trusted=True)
    assert kernel.wait(task).code == 0


def test_initialize_runs_before_main(kernel: wasmos.Kernel) -> None:
    source = """(module (global $ready (mut i32) (i32.const 1))
        (func (export "_initialize") (global.set $ready (i32.const 7)))
        (func (export "main") (result i32) (global.get $ready)))"""
    assert kernel.wait(kernel.spawn(source, trusted=True)).code == 7


def test_calls_work_in_initialize(kernel: wasmos.Kernel) -> None:
    kernel.serve(wat.Plus())
    source = program("(global.get $got)", fields="""(global $got (mut i32) #0)
        (func (export "_initialize") (drop (call $ask @plus #9 #6))
          (global.set $got (call $value)))""")  # fmt: skip
    assert kernel.wait(kernel.spawn(source, allow=["plus"], trusted=True)).code == 7


REFUSED = {
    "no main": ('(module (func (export "other")))', "main"),
    "main with parameters": ('(module (func (export "main") (param i32)))', "main"),
    "main is no function": ('(module (memory (export "main") 1))', "main"),
    "unknown import": (
        '(module (import "env" "exec" (func)) (func (export "main")))', "exec",
    ),
    "wrong import type": (
        '(module (import "env" "ipc_call" (func (param i32))) (memory (export "memory") 1)'
        ' (func (export "main")))', "ipc_call",
    ),
    "memory above the limit": (
        '(module (memory (export "memory") 1025) (func (export "main")))', "memory",
    ),
    "calls without a memory": (
        '(module (import "env" "ipc_reply" (func (param i32 i32))) (func (export "main")))',
        "memory",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused_before_it_runs(kernel: wasmos.Kernel, what: str) -> None:
    source, word = REFUSED[what]
    with pytest.raises(wasmos.ModuleRefused, match=word):
        kernel.spawn(source)
    assert kernel.tasks == []


TRAPS: dict[str, tuple[str, str]] = {
    "division": ("(i32.div_u #1 (local.get $i))", "division by zero"),
    "overflow": ("(i32.div_s (i32.shl #1 #31) (i32.sub (local.get $i) #1))", "overflow"),
    "unreachable": ("unreachable", "unreachable"),
    "out of bounds": ("(i32.load #65533)", "out of bounds"),
    "recursion": ("(call $deep)", "stack overflow"),
    "conversion": ("(i32.trunc_f32_s (f32.const nan))", "conversion"),
}


@pytest.mark.parametrize("what", TRAPS)
def test_traps_end_the_task_alone(
    kernel: wasmos.Kernel, what: str, request: pytest.FixtureRequest
) -> None:
    body, word = TRAPS[what]
    deep = "(func $deep (result i32) (i32.add (call $deep) #1))"
    other = kernel.spawn(wat.SERVER, service="other", trusted=True)
    ended = kernel.wait(kernel.spawn(program(body, fields=deep), name="victim", trusted=True))
    assert (ended.cause, ended.code, ended.status) == ("trapped", None, 134)
    assert word in ended.message and "'victim'" in str(ended)
    assert ended.backtrace
    assert kernel.call("other", abi.Ping(1)) == abi.PingReply(2)
    assert other.exit is None
