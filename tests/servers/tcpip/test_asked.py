"""Sockets that are asked: to accept, receive, send, shut down and poll; on the host's network and
in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

import wasmos
from tests.servers.tcpip.harness import Guest, Peer, World, receive_all, receive_exactly
from tests.support.wat import program
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.servers.tcpip import Bounds, Tcpip
from wasmos.servers.tcpip.fake import FakeNetwork
from wasmos.servers.tcpip.sockets import AHEAD

DONT_WAIT, PEEK, WHOLE = 1, 2, 4
READ, SEND, CLOSED = 1, 2, 4
LISTEN_80 = "tcpip.listen(listen_port=80)"


class Asker(Guest):
    """A task that asks."""

    def listener(self, index: int) -> int:
        return int(self.ask(abi.TcpipListener(index)).port)

    def listeners(self) -> list[int]:
        found: list[int] = []
        while not (code := self.error(self.listener, len(found))):
            found.append(self.listener(len(found)))
        assert code == ErrorCode.EOF
        return found

    def accept(self, sock: int = 1, flags: int = 0) -> int:
        return int(self.ask(abi.TcpipAccept(sock, flags)).sock)

    def receive(self, sock: int, size: int = 1024, flags: int = 0) -> bytes:
        room = bytearray(size)
        length: int = self.ask(abi.TcpipReceive(sock, flags, room)).len
        return bytes(room[:length])

    def send(self, sock: int, data: bytes, flags: int = 0) -> int:
        return int(self.ask(abi.TcpipSend(sock, flags, data)).len)

    def shutdown(self, sock: int, how: int) -> None:
        self.ask(abi.TcpipShutdown(sock, how))

    def poll(self, sock: int, wanted: int) -> tuple[int, int]:
        answer = self.ask(abi.TcpipPoll(sock, wanted))
        return answer.ready, answer.len

    def until(self, over: Callable[[], bool]) -> None:
        """Ask over and over: what happens outside doesn't wake the kernel."""
        for _ in range(10_000):
            if over():
                return
            self.world.do(_turns())
        raise AssertionError("it never came to that")

    def begin(self, message: abi.Message) -> Begun:
        return Begun(self, message)

    def mail(self) -> list[tuple[str, int]]:
        """What has come, after everything had its turn."""
        self.world.do(_turns())
        found = []
        while (received := self.client.receive()) is not None:
            message: Any = received[1]
            found.append((message.NAME, message.sock))
        return found


class Begun:
    """A request that has begun, and has gone as far as it can."""

    def __init__(self, asker: Asker, message: abi.Message) -> None:
        self.world = asker.world
        self.client = asker.client
        self.done = False
        self.client.begin("tcpip", message, self._over)
        self.world.do(_turns())

    def _over(self) -> None:
        self.done = True

    def finish(self) -> Any:
        self.world.until(lambda: self.done)
        return self.client.finish()

    def code(self) -> int:
        with pytest.raises(wasmos.ServiceError) as ended:
            self.finish()
        return ended.value.code


async def _turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def asker(world: World, name: str = "asker", **options: Any) -> Asker:
    return Asker(world, world.kernel.client(name, **options))


def listening(world: World, **options: Any) -> Asker:
    """Socket 1 listens, as a program of another system would have it."""
    world.serve(ports=["0:80"], **options)
    guest = asker(world, allow=[LISTEN_80, "tcpip"])
    assert guest.listener(0) == 80
    assert guest.listen() == 1
    return guest


def connected(world: World, **options: Any) -> tuple[Asker, int, Peer]:
    guest = listening(world, **options)
    peer = world.dial()
    return guest, guest.accept(), peer


# --- which listeners ---


@pytest.mark.parametrize(
    ("allow", "ports"),
    [
        ([LISTEN_80], [80]),
        (["tcpip.listen(listen_port=[443, 80, 81])"], [80, 81, 443]),
        (['tcpip.listen(bind="0", listen_port=443)', LISTEN_80, "tcpip"], [80, 443]),
        (["tcpip.listen(listen_port=8000..8015)"], list(range(8000, 8016))),
        (["tcpip.listen(listen_port=8000..8016)"], []),
        (["tcpip.listen(listen_port=0..1)"], [1]),
        (["tcpip"], []),
        (["tcpip.listen"], []),
        (["*"], []),
    ],
)
def test_listeners(fake_world: World, allow: list[str], ports: list[int]) -> None:
    fake_world.serve()
    guest = asker(fake_world, allow=allow)
    assert guest.listeners() == ports
    assert guest.error(guest.listener, -1) == ErrorCode.INVALID_ARG


def test_a_port_that_is_denied_is_no_listener(fake_world: World) -> None:
    fake_world.serve()
    guest = asker(
        fake_world,
        allow=["tcpip.listen(listen_port=[80, 443])"],
        deny=["tcpip.listen(listen_port=443)"],
    )
    assert guest.listeners() == [80]


def test_listeners_that_were_passed_on_and_revoked(fake_world: World) -> None:
    fake_world.serve()
    giver = asker(fake_world, allow=["tcpip.listen(listen_port=[80, 443])"])
    other = asker(fake_world, "other", allow=["tcpip.poll"])
    grant = fake_world.kernel.pass_on(giver.client, other.client, LISTEN_80, offer=False)
    assert other.listeners() == [80]
    fake_world.kernel.revoke(grant)
    assert other.error(other.listener, 0) == ErrorCode.NOT_ALLOWED


def test_who_may_not_listen_has_no_listeners(fake_world: World) -> None:
    fake_world.serve()
    guest = asker(fake_world, allow=["tcpip.connect"])
    assert guest.error(guest.listener, 0) == ErrorCode.NOT_ALLOWED


# --- accepting ---


def test_accept_waits(world: World) -> None:
    guest = listening(world)
    accepting = guest.begin(abi.TcpipAccept(1, 0))
    assert not accepting.done
    peer = world.dial()
    sock = accepting.finish().sock
    world.do(peer.send(b"hello"))
    assert guest.receive(sock) == b"hello"
    assert guest.mail() == []


def test_accept_does_not_wait(world: World) -> None:
    guest = listening(world)
    assert guest.error(guest.accept, 1, DONT_WAIT) == ErrorCode.WOULD_BLOCK
    for flags in (2, -1, 1 << 30):
        assert guest.error(guest.accept, 1, flags & 0xFFFFFFFF) == ErrorCode.INVALID_ARG
    world.dial()
    guest.until(lambda: guest.poll(1, READ)[0] == READ)
    assert guest.accept(1, DONT_WAIT) > 1


def test_connections_that_come_early_are_not_announced(world: World) -> None:
    """They wait, also those that have sent something or have left already."""
    guest = listening(world)
    early, gone = world.dial(), world.dial()
    world.do(early.send(b"early"))
    world.do(gone.send(b"gone"))
    world.do(gone.finish())
    assert guest.mail() == []
    found = {guest.receive(guest.accept()) for _ in range(2)}
    assert found == {b"early", b"gone"}
    assert guest.mail() == []


def test_a_listener_that_told_is_asked_from_the_first_accept_on(world: World) -> None:
    """What was announced stays as it was; what its task hasn't heard of is accepted."""
    world.serve(ports=["0:80"])
    guest = asker(world)
    guest.listen()
    told, silent = world.dial(), world.dial()
    world.do(told.send(b"one"))
    notice = guest.notice()
    assert notice is not None and notice[0] == "data"
    sock = guest.accept()
    assert sock != notice[1]
    world.do(silent.send(b"two"))
    assert guest.receive(sock) == b"two"
    assert guest.read(notice[1]) == b"one"
    world.do(told.send(b"three"))
    assert guest.notice() == ("data", notice[1])
    later = world.dial()
    world.do(later.send(b"four"))
    assert guest.receive(guest.accept()) == b"four"
    assert guest.mail() == []


def test_a_few_come_in_and_the_others_wait_outside(world: World) -> None:
    guest = listening(world)
    endpoint = world.tcpip.bound[80][0]

    async def visits() -> list[Peer]:
        return [await world.side.dial(endpoint.host, endpoint.port) for _ in range(3 * AHEAD)]

    peers = world.do(visits())
    guest.until(lambda: guest.poll(1, READ) == (READ, AHEAD))
    assert guest.mail() == []
    assert guest.poll(1, READ) == (READ, AHEAD)
    socks = {guest.accept() for _ in peers}
    assert len(socks) == len(peers)
    assert guest.error(guest.accept, 1, DONT_WAIT) == ErrorCode.WOULD_BLOCK


def test_those_that_wait_are_no_sockets_yet(world: World) -> None:
    """They don't count, and accepting is refused when there is no room for one more."""
    guest = listening(world, bounds=Bounds(sockets=2))
    for _ in range(2):
        world.dial()
    sock = guest.accept()
    guest.until(lambda: guest.poll(1, READ) == (READ, 1))
    assert guest.error(guest.accept) == ErrorCode.NO_RESOURCES
    assert guest.poll(1, READ) == (READ, 1)
    guest.destroy(sock)
    assert guest.accept() > sock


def test_as_many_may_wait_as_there_may_be_sockets(fake_world: World) -> None:
    """Of all listeners of a task together; when one is accepted, another one may come in."""
    fake_world.serve(ports=["8001:1", "8002:2"], bounds=Bounds(sockets=3))
    guest = asker(fake_world, allow=["tcpip.listen(listen_port=1..2)", "tcpip"])
    socks = {port: guest.listen(port) for port in guest.listeners()}
    for port in (1, 1, 2, 2, 2):
        fake_world.dial(port)
    assert [guest.poll(sock, READ) for sock in socks.values()] == [(READ, 2), (READ, 1)]
    guest.accept(socks[1])
    assert [guest.poll(sock, READ) for sock in socks.values()] == [(READ, 1), (READ, 2)]


def test_who_left_before_it_was_accepted_is_passed_over(fake_world: World) -> None:
    guest = listening(fake_world)
    gone = fake_world.dial()
    fake_world.do(gone.reset())
    assert guest.poll(1, READ) == (0, 0)
    accepting = guest.begin(abi.TcpipAccept(1, 0))
    assert not accepting.done
    fake_world.dial()
    assert accepting.finish().sock > 1


def test_what_is_no_listener_accepts_nothing(world: World) -> None:
    guest, sock, _ = connected(world)
    other = asker(world, "other")
    assert guest.error(guest.accept, sock) == ErrorCode.INVALID_ARG
    assert guest.error(guest.accept, 99) == ErrorCode.INVALID_ARG
    assert other.error(other.accept, 1) == ErrorCode.INVALID_ARG


def test_destroying_a_listener_sends_away_who_waits(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    guest.until(lambda: guest.poll(1, READ)[0] == READ)
    guest.destroy(1)
    assert world.do(receive_all(peer)) == b""
    assert guest.error(guest.accept) == ErrorCode.INVALID_ARG


# --- receiving ---


def test_receive_what_is_there(world: World) -> None:
    guest, sock, peer = connected(world)
    assert guest.error(guest.receive, sock, 10, DONT_WAIT) == ErrorCode.WOULD_BLOCK
    assert guest.receive(sock, 0) == b""
    receiving = guest.begin(abi.TcpipReceive(sock, 0, room := bytearray(100)))
    assert not receiving.done
    world.do(peer.send(b"hello"))
    assert receiving.finish().len == 5
    assert room[:6] == b"hello\0"
    world.do(peer.send(b"more"))
    guest.until(lambda: guest.poll(sock, READ)[1] == 4)
    assert guest.receive(sock, 3, DONT_WAIT) == b"mor"
    assert guest.receive(sock, 3) == b"e"
    world.do(peer.finish())
    assert guest.receive(sock) == b""
    assert guest.receive(sock, 9, WHOLE) == b""
    assert guest.receive(sock, 9, DONT_WAIT) == b""
    assert guest.mail() == []


def test_peek(world: World) -> None:
    guest, sock, peer = connected(world)
    peeking = guest.begin(abi.TcpipReceive(sock, PEEK, room := bytearray(3)))
    world.do(peer.send(b"hello"))
    assert peeking.finish().len == 3
    assert room == b"hel"
    guest.until(lambda: guest.poll(sock, READ)[1] == 5)
    assert guest.receive(sock, 9, PEEK | DONT_WAIT) == b"hello"
    assert guest.receive(sock, 9) == b"hello"


@pytest.mark.parametrize("size", [1, 31, 32, 33, 64, 65, 5000])
def test_wait_for_all(world: World, size: int) -> None:
    """Also for more than may wait to be read."""
    guest, sock, peer = connected(world, bounds=Bounds(receive_bytes=64))
    sent = random.Random(size).randbytes(size)
    receiving = guest.begin(abi.TcpipReceive(sock, WHOLE, room := bytearray(size)))
    sending = world.start(peer.send(sent[:-1]))
    world.do(_turns())
    assert not receiving.done
    world.until(sending.done)
    world.do(peer.send(sent[-1:] + b"next"))
    assert receiving.finish().len == size
    assert room == sent
    assert guest.receive(sock, 4, WHOLE) == b"next"


def test_wait_for_all_that_is_there_already(world: World) -> None:
    guest, sock, peer = connected(world, bounds=Bounds(receive_bytes=64))
    world.do(peer.send(b"x" * 60))
    guest.until(lambda: guest.poll(sock, READ)[1] == 60)
    receiving = guest.begin(abi.TcpipReceive(sock, WHOLE, bytearray(100)))
    assert not receiving.done
    world.do(peer.send(b"y" * 40))
    assert receiving.finish().len == 100


def test_wait_for_all_of_what_ends(world: World) -> None:
    guest, sock, peer = connected(world)
    receiving = guest.begin(abi.TcpipReceive(sock, WHOLE, bytearray(100)))
    world.do(peer.send(b"all there is"))
    world.do(peer.finish())
    assert receiving.finish().len == 12


@pytest.mark.parametrize("size", [3, 64, 65])
def test_peek_at_all(world: World, size: int) -> None:
    guest, sock, peer = connected(world, bounds=Bounds(receive_bytes=64))
    peeking = guest.begin(abi.TcpipReceive(sock, PEEK | WHOLE, bytearray(size)))
    sending = world.start(peer.send(b"x" * 80))
    assert peeking.finish().len == min(size, 64)
    assert guest.receive(sock, 80, WHOLE) == b"x" * 80
    world.until(sending.done)


def test_receive_from_who_broke_off(world: World) -> None:
    guest, sock, peer = connected(world)
    receiving = guest.begin(abi.TcpipReceive(sock, 0, bytearray(9)))
    world.do(peer.reset())
    assert receiving.code() == ErrorCode.CONNECTION_RESET
    assert guest.error(guest.receive, sock) == ErrorCode.CONNECTION_RESET
    assert guest.error(guest.send, sock, b"x") == ErrorCode.CONNECTION_RESET
    assert guest.error(guest.shutdown, sock, SEND) == ErrorCode.NOT_CONNECTED
    assert guest.poll(sock, 0) == (READ | SEND | CLOSED, 0)


def test_receive_what_makes_no_sense(world: World) -> None:
    guest, sock, _ = connected(world)
    assert guest.error(guest.receive, sock, 1, 8) == ErrorCode.INVALID_ARG
    assert guest.error(guest.receive, 99) == ErrorCode.INVALID_ARG
    assert guest.error(guest.receive, 1) == ErrorCode.NOT_CONNECTED
    assert guest.error(guest.send, sock, b"x", 2) == ErrorCode.INVALID_ARG
    assert guest.error(guest.send, 1, b"x") == ErrorCode.NOT_CONNECTED
    assert guest.error(guest.poll, sock, 8) == ErrorCode.INVALID_ARG
    for how in (0, 4, -1):
        assert guest.error(guest.shutdown, sock, how) == ErrorCode.INVALID_ARG
    assert guest.error(guest.shutdown, 1, READ) == ErrorCode.NOT_CONNECTED


def test_sockets_are_each_tasks_own(world: World) -> None:
    _, sock, _ = connected(world)
    other = asker(world, "other")
    for ask in (other.receive, other.accept):
        assert other.error(ask, sock) == ErrorCode.INVALID_ARG
    for ask in (other.poll, other.shutdown):
        assert other.error(ask, sock, 1) == ErrorCode.INVALID_ARG
    assert other.error(other.send, sock, b"x") == ErrorCode.INVALID_ARG


# --- sending ---


def test_send_a_megabyte(world: World) -> None:
    guest, sock, peer = connected(world)
    sent = random.Random(1).randbytes(1 << 20)
    receiving = world.start(receive_exactly(peer, len(sent)))
    at = 0
    while at < len(sent):
        at += guest.send(sock, sent[at:])
    world.until(receiving.done)
    assert receiving.result() == sent
    assert guest.send(sock, b"") == 0


def test_send_to_who_takes_nothing(fake_world: World) -> None:
    """It waits, or says that it would; what is held stays bounded."""
    guest, sock, peer = connected(fake_world, bounds=Bounds(send_bytes=100))
    total = 0
    while not guest.error(guest.send, sock, bytes(1 << 16), DONT_WAIT):
        fake_world.do(_turns())
        total += 100
    assert guest.error(guest.send, sock, b"x", DONT_WAIT) == ErrorCode.WOULD_BLOCK
    assert guest.poll(sock, SEND)[0] == 0
    sending = guest.begin(abi.TcpipSend(sock, 0, b"x" * 1000))
    assert not sending.done
    fake_world.do(receive_exactly(peer, total))
    assert sending.finish().len == 100
    assert fake_world.do(receive_exactly(peer, 100)) == b"x" * 100
    assert guest.mail() == [("tcpip_ready", sock)]


def test_shut_down_sending(world: World) -> None:
    guest, sock, peer = connected(world)
    guest.send(sock, b"last words")
    guest.shutdown(sock, SEND)
    guest.shutdown(sock, SEND)
    assert world.do(receive_all(peer)) == b"last words"
    for _ in range(2):
        assert guest.error(guest.send, sock, b"x") == ErrorCode.BROKEN_PIPE
    assert guest.error(guest.write, sock, b"x") == ErrorCode.ABORTED
    assert guest.poll(sock, SEND)[0] & SEND
    world.do(peer.send(b"answer"))
    assert guest.receive(sock) == b"answer"
    world.do(peer.finish())
    assert guest.receive(sock) == b""
    guest.destroy(sock)
    assert world.tcpip._farewells == {}, "both have ended: there is nothing to wait for"


def test_destroy_after_shutting_down(world: World) -> None:
    guest, sock, peer = connected(world)
    guest.shutdown(sock, SEND)
    guest.destroy(sock)
    assert world.do(receive_all(peer)) == b""
    world.do(peer.finish())
    world.until(lambda: world.tcpip._farewells == {})


def test_shut_down_receiving(world: World) -> None:
    """The peer isn't held up, and its end is heard."""
    guest, sock, peer = connected(world, bounds=Bounds(receive_bytes=64))
    world.do(peer.send(b"unread"))
    guest.until(lambda: guest.poll(sock, READ)[1] == 6)
    guest.shutdown(sock, READ)
    for flags in (0, DONT_WAIT, WHOLE):
        assert guest.receive(sock, 9, flags) == b""
    assert guest.poll(sock, READ) == (READ | SEND, 0)
    world.do(peer.send(bytes(100_000)))
    assert guest.receive(sock) == b""
    assert guest.send(sock, b"still there") == 11
    assert world.do(receive_exactly(peer, 11)) == b"still there"
    world.do(peer.finish())
    guest.until(lambda: bool(guest.poll(sock, 0)[0] & CLOSED))


def test_shut_down_both(world: World) -> None:
    guest, sock, peer = connected(world)
    guest.shutdown(sock, READ | SEND)
    assert world.do(receive_all(peer)) == b""
    assert guest.receive(sock) == b""
    assert guest.error(guest.send, sock, b"x") == ErrorCode.BROKEN_PIPE


def test_a_connection_that_the_task_made(world: World) -> None:
    """It is told of until it is asked."""
    world.serve(connect="127.0.0.0/8")
    guest = asker(world, allow=['tcpip.connect(dst_addr="127.0.0.1")'])
    offer, port = world.side.offer()
    sock = guest.connect(port)
    peer = world.do(offer.accept())
    world.do(peer.send(b"told"))
    assert guest.notice() == ("data", sock)
    assert guest.receive(sock) == b"told"
    world.do(peer.send(b"asked"))
    assert guest.receive(sock, 5, WHOLE) == b"asked"
    assert guest.send(sock, b"answer") == 6
    assert world.do(receive_exactly(peer, 6)) == b"answer"
    world.do(peer.finish())
    assert guest.receive(sock) == b""
    assert guest.mail() == []
    offer.close()


# --- polling ---


def test_poll_a_listener(world: World) -> None:
    guest = listening(world)
    assert guest.poll(1, READ) == (0, 0)
    assert guest.poll(1, READ) == (0, 0)
    world.dial()
    world.until(lambda: world.kernel.account(guest.client.id)["mailbox"] > 0)
    world.dial()
    assert guest.mail() == [("tcpip_ready", 1)]
    assert guest.poll(1, READ)[0] == READ
    assert guest.mail() == []
    guest.accept()
    guest.accept()
    assert guest.poll(1, READ) == (0, 0)


def test_poll_a_connection(world: World) -> None:
    guest, sock, peer = connected(world)
    assert guest.poll(sock, READ | SEND) == (SEND, 0)
    assert guest.poll(sock, READ) == (SEND, 0)
    world.do(peer.send(b"hello"))
    world.until(lambda: world.kernel.account(guest.client.id)["mailbox"] > 0)
    assert guest.mail() == [("tcpip_ready", sock)]
    world.do(peer.send(b"hello"))
    guest.until(lambda: guest.poll(sock, READ) == (READ | SEND, 10))
    assert guest.mail() == []
    assert guest.poll(sock, CLOSED) == (READ | SEND, 10)
    world.do(peer.finish())
    world.until(lambda: world.kernel.account(guest.client.id)["mailbox"] > 0)
    assert guest.mail() == [("tcpip_ready", sock)]
    assert guest.poll(sock, CLOSED) == (READ | SEND | CLOSED, 10)
    assert guest.receive(sock, 99) == b"hello" * 2
    assert guest.poll(sock, READ) == (READ | SEND | CLOSED, 0)


def test_poll_for_nothing(world: World) -> None:
    guest, sock, peer = connected(world)
    assert guest.poll(sock, READ) == (SEND, 0)
    assert guest.poll(sock, 0) == (SEND, 0)  # and so it no longer wants to be told
    world.do(peer.send(b"x"))
    assert guest.receive(sock) == b"x"
    assert guest.mail() == []


def test_a_poll_with_a_full_mailbox(world: World) -> None:
    guest, sock, peer = connected(world)
    assert guest.poll(sock, READ)[0] == SEND
    assert guest.poll(1, READ)[0] == 0
    while world.kernel.notify(world.tcpip.task, guest.client.id, abi.TcpipReady(77)):
        pass
    world.do(peer.send(b"x"))
    world.dial()
    world.until(lambda: len(world.tcpip._unsaid) == 2)
    assert guest.mail() == [("tcpip_ready", 77)] * 256
    assert sorted(guest.mail()) == [("tcpip_ready", 1), ("tcpip_ready", sock)]
    assert guest.mail() == []


def test_a_guest_serves_by_polling(fake_world: World) -> None:
    """In the way of an adapter: poll, wait for the word, accept, receive, send."""
    fake_world.serve(ports=["0:80"])
    message = {
        "listener": f"(i32.store #1024 #{abi.TcpipListener.TYPE}) (i32.store #1032 #0)",
        "listen": f"(i32.store #1024 #{abi.TcpipListen.TYPE}) (i32.store16 #1032 #80)",
        "poll": f"(i32.store #1024 #{abi.TcpipPoll.TYPE}) (i32.store #1032 (local.get $i))"
        "(i32.store #1036 #1)",
        "accept": f"(i32.store #1024 #{abi.TcpipAccept.TYPE}) (i32.store #1032 (local.get $i))"
        "(i32.store #1036 #1)",
        "receive": f"(i32.store #1024 #{abi.TcpipReceive.TYPE}) (i32.store #1032 (local.get $i))"
        "(i32.store #1036 #0) (i32.store #1040 #2048) (i32.store #1044 #64)",
        "send": f"(i32.store #1024 #{abi.TcpipSend.TYPE}) (i32.store #1032 (local.get $i))"
        "(i32.store #1036 #0) (i32.store #1040 #2048) (i32.store #1044 (local.get $j))",
    }
    ask = {name: f"{fill} (drop (call $call @tcpip #1024))" for name, fill in message.items()}
    guest = program(
        f"""{ask["listener"]} {ask["listen"]} (local.set $i (i32.load #1032))
        {ask["poll"]} (drop (call $recv #0 #1024)) {ask["accept"]} (local.set $i (i32.load #1032))
        {ask["receive"]} (local.set $j (i32.load #1032)) {ask["send"]} (i32.load #1032)"""
    )
    task = fake_world.kernel.spawn(guest, allow=[LISTEN_80], trusted=True)
    fake_world.until(lambda: task.account()["state"] == "receiving")
    peer = fake_world.dial()
    fake_world.do(peer.send(b"hello"))
    assert fake_world.kernel.wait(task).code == 5
    assert fake_world.do(receive_all(peer)) == b"hello"


# --- ends ---


@pytest.mark.parametrize("what", ["accept", "receive", "send"])
def test_a_task_that_ends_while_it_waits(fake_world: World, what: str) -> None:
    guest, sock, _ = connected(fake_world, bounds=Bounds(send_bytes=100))
    waiting(fake_world, guest, sock, what)
    guest.client.kill()
    fake_world.do(_turns())
    assert fake_world.tcpip._sockets.tasks == []
    assert fake_world.tcpip._told == {}
    assert fake_world.kernel._coroutines == {}
    assert fake_world.tcpip.bound == {}


@pytest.mark.parametrize("what", ["accept", "receive", "send"])
@pytest.mark.parametrize("else_admitted", [False, True])
def test_a_grant_that_is_revoked_while_somebody_waits(
    fake_world: World, what: str, else_admitted: bool
) -> None:
    fake_world.serve(ports=["0:80"], bounds=Bounds(send_bytes=100))
    allow = [LISTEN_80, "tcpip.poll"]
    if else_admitted:
        allow += ["tcpip.accept", "tcpip.receive", "tcpip.send"]
    guest = asker(fake_world, allow=allow)
    guest.listener(0)
    guest.listen()
    peer = fake_world.dial()
    sock = guest.accept()
    begun = waiting(fake_world, guest, sock, what)
    fake_world.kernel.revoke(guest.client, LISTEN_80)
    assert begun.code() == (ErrorCode.ABORTED if else_admitted else ErrorCode.NOT_ALLOWED)
    with pytest.raises(ConnectionError):
        while True:
            assert fake_world.do(peer.receive())
    assert fake_world.tcpip.bound == {}


def waiting(world: World, guest: Asker, sock: int, what: str) -> Begun:
    """A request that waits."""
    if what == "send":
        while not guest.error(guest.send, sock, bytes(100), DONT_WAIT):
            world.do(_turns())
    message = {
        "accept": abi.TcpipAccept(1, 0),
        "receive": abi.TcpipReceive(sock, 0, bytearray(9)),
        "send": abi.TcpipSend(sock, 0, b"x"),
    }[what]
    begun = guest.begin(message)
    assert not begun.done
    return begun


def test_who_has_polled_hears_of_a_revocation(fake_world: World) -> None:
    """It looks again, and finds the listener gone and the connection broken."""
    fake_world.serve(ports=["0:80"])
    guest = asker(fake_world, allow=[LISTEN_80, "tcpip.poll", "tcpip.receive"])
    guest.listener(0)
    guest.listen()
    fake_world.dial()
    sock = guest.accept()
    for each in (1, sock):
        assert not guest.poll(each, READ)[0] & READ
    fake_world.dial()
    guest.mail()
    guest.accept()
    assert guest.poll(1, READ)[0] == 0
    fake_world.kernel.revoke(guest.client, LISTEN_80)
    assert sorted(guest.mail()) == [("tcpip_ready", 1), ("tcpip_ready", sock)]
    assert guest.error(guest.poll, 1, READ) == ErrorCode.INVALID_ARG
    assert guest.poll(sock, READ)[0] & CLOSED
    assert guest.error(guest.receive, sock) == ErrorCode.ABORTED


def test_revocations_that_nobody_hears_of_are_no_more_than_sockets(
    fake_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a listener is made, polled and taken back again."""
    waits: dict[Callable[[], object], None] = {}
    monkeypatch.setattr(fake_world.kernel, "when_room", waits.setdefault)
    fake_world.serve(ports=["0:80"], bounds=Bounds(sockets=3))
    guest = asker(fake_world, allow=["tcpip.poll"])
    while fake_world.kernel.notify(fake_world.tcpip.task, guest.client.id, abi.TcpipReady(77)):
        pass
    for _ in range(20):
        fake_world.kernel.grant(guest.client, LISTEN_80)
        sock = guest.listen()
        assert guest.poll(sock, READ)[0] == 0
        fake_world.kernel.revoke(guest.client, LISTEN_80)
    assert len(waits) == 1
    assert guest.mail() == [("tcpip_ready", 77)] * 256
    waits.popitem()[0]()
    assert waits == {}
    assert guest.mail() == [("tcpip_ready", each) for each in (sock - 2, sock - 1, sock)]


def test_a_revocation_takes_those_who_wait_outside(fake_world: World) -> None:
    guest = listening(fake_world)
    peer = fake_world.dial()
    fake_world.do(_turns())
    fake_world.kernel.revoke(guest.client)
    with pytest.raises(ConnectionError):
        fake_world.do(peer.receive())


def test_the_service_ends_while_somebody_waits(fake_world: World) -> None:
    guest = listening(fake_world)
    begun = guest.begin(abi.TcpipAccept(1, 0))
    fake_world.kernel.kill(fake_world.tcpip.task)
    assert begun.code() == ErrorCode.ABORTED


def test_a_request_that_begins_as_the_service_ends() -> None:
    """Its coroutine hasn't begun, and never waits for what is gone."""
    with wasmos.Kernel() as kernel:
        kernel.serve(Tcpip(ports=["0:80"], network=FakeNetwork()))
        client = kernel.client()
        client.call("tcpip", abi.TcpipListen(80))
        client.begin("tcpip", abi.TcpipAccept(1, 0), lambda: None)
        kernel.step(0)
