"""`tcpip` as its tasks and their peers see it, on the host's network and in memory."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter

import pytest

import wasmos
from tests.servers.tcpip.harness import Guest, Peer, Void, World, receive_all, receive_exactly
from tests.servers.tcpip.inside import fill, link
from wasmos import abi
from wasmos.servers.tcpip import Bounds, PortMap

ANY_PORT = "0:80"
LOOPBACK = "127.0.0.0/8"


def listening(world: World, **options: object) -> Guest:
    world.serve(ports=[ANY_PORT], **options)
    guest = world.guest()
    guest.listen()
    return guest


# --- bytes ---


def test_echo_of_a_megabyte_read_by_1024(world: World) -> None:
    guest = listening(world)
    sent = random.Random(1).randbytes(1 << 20)

    async def visit(peer: Peer) -> bytes:
        sending = asyncio.ensure_future(peer.send(sent))
        received = await receive_exactly(peer, len(sent))
        await sending
        return received

    visiting = world.start(visit(world.dial()))
    guest.echo(visiting.done)
    assert hashlib.sha256(visiting.result()).digest() == hashlib.sha256(sent).digest()


def test_fifty_connections_at_once(world: World) -> None:
    guest = listening(world)
    endpoint = world.tcpip.bound[80][0]

    async def visit(number: int) -> bool:
        peer = await world.side.dial(endpoint.host, endpoint.port)
        sent = random.Random(number).randbytes(5000)
        await peer.send(sent)
        received = await receive_exactly(peer, len(sent))
        await peer.finish()
        return received == sent and await receive_all(peer) == b""

    async def visits() -> list[bool]:
        return list(await asyncio.gather(*(visit(number) for number in range(50))))

    visiting = world.start(visits())
    guest.echo(visiting.done)
    assert visiting.result() == [True] * 50


def test_read_takes_at_most_1024_and_nothing_when_there_is_nothing(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(b"x" * 1500))
    sock = guest.accept()
    world.until(lambda: link(world, sock).connection.room() == (64 << 10) - 1500)
    assert [len(guest.read(sock)) for _ in range(3)] == [1024, 476, 0]


def test_order_survives_a_slow_reader(world: World) -> None:
    """A receive buffer of 16 bytes holds the peer up, and loses nothing."""
    guest = listening(world, bounds=Bounds(receive_bytes=16))
    sent = bytes(range(256)) * 8
    peer = world.dial()
    sending = world.start(peer.send(sent))
    sock = guest.accept()
    received = b""
    while len(received) < len(sent):
        data = guest.read(sock)
        assert len(data) <= 16
        received += data
        if not data:
            assert guest.notice() == ("data", sock)
    assert received == sent
    world.until(sending.done)


def test_the_receive_buffer_is_bounded(world: World) -> None:
    guest = listening(world, bounds=Bounds(receive_bytes=5000))
    peer = world.dial()
    sending = world.start(peer.send(bytes(200_000)))
    sock = guest.accept()
    connection = link(world, sock).connection
    world.until(lambda: connection.room() == 0)
    guest.settle()
    assert connection.room() == 0
    assert len(guest.read_all(sock)) >= 5000
    guest.destroy(sock)
    world.until(sending.done)


# --- notices ---


def test_one_data_until_the_next_read(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(b"one"))
    sock = guest.accept()
    connection = link(world, sock).connection
    for count in range(20):
        world.do(peer.send(b"more"))
        world.until(lambda seen=count: connection.room() == (64 << 10) - 3 - 4 * (seen + 1))  # type: ignore[misc]
    assert guest.settle() == []
    guest.read(sock)
    world.do(peer.send(b"again"))
    assert guest.notice() == ("data", sock)


def test_data_again_while_bytes_are_left(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(bytes(3000)))
    sock = guest.accept()
    world.until(lambda: link(world, sock).connection.room() == (64 << 10) - 3000)
    sizes = [len(guest.read(sock))]
    for _ in range(2):
        assert guest.notice() == ("data", sock)
        sizes.append(len(guest.read(sock)))
    assert sizes == [1024, 1024, 952]
    assert guest.settle() == []


def test_a_flood_is_one_message(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.start(peer.send(bytes(10 << 20)))
    guest.settle(0)
    world.until(lambda: world.kernel.account(guest.client.id)["mailbox"] == 1)
    sock = guest.accept()
    world.until(lambda: link(world, sock).connection.room() == 0)
    assert guest.settle() == []
    guest.destroy(sock)


def test_reading_without_looking_at_the_mail(world: World) -> None:
    """The mailbox fills, by the task's own doing; it still hears of everything."""
    guest = listening(world, bounds=Bounds(receive_bytes=8))
    peer = world.dial()
    sending = world.start(peer.send(bytes(8000)))
    sock = guest.accept()
    read = 0
    while read < 8000 - 8:
        read += len(guest.read(sock))
    world.until(sending.done)
    world.do(peer.finish())
    while (notice := guest.notice()) != ("closed", sock):
        assert notice == ("data", sock)
        read += len(guest.read(sock))
    assert read == 8000


def test_nothing_is_lost_when_the_mailbox_is_full(world: World) -> None:
    """More connections than the mailbox has room for, and nobody reads it."""
    guest = listening(world, bounds=Bounds(sockets=400))
    endpoint = world.tcpip.bound[80][0]

    async def visit() -> Peer:
        peer = await world.side.dial(endpoint.host, endpoint.port)
        await peer.send(b"hello")
        await peer.finish()
        return peer

    async def visits() -> list[Peer]:
        return [await visit() for _ in range(300)]

    peers = world.do(visits())
    world.until(lambda: len(world.tcpip._unsaid) == 300 - 256)
    heard: Counter[tuple[str, int]] = Counter()
    closed = 0
    while closed < 300:
        notice = guest.notice()
        assert notice is not None
        heard[notice] += 1
        if notice[0] == "data":
            assert guest.read(notice[1]) == b"hello"
        else:
            closed += 1
            guest.destroy(notice[1])
    assert set(heard.values()) == {1}
    assert len(heard) == 600
    assert world.tcpip._unsaid == {}
    for peer in peers:
        assert world.do(receive_all(peer)) == b""


def test_no_notices_without_a_capability(world: World) -> None:
    world.serve(ports=[ANY_PORT])
    guest = world.guest(allow=["tcpip.listen once"])
    guest.listen()
    world.do(world.dial().send(b"hello"))
    assert guest.settle() == []


# --- ends ---


def test_half_close(world: World) -> None:
    """The peer has ended; it can still be written to, for as long as we like."""
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(b"question"))
    sock = guest.accept()
    world.do(peer.finish())
    assert guest.read(sock) == b"question"
    assert guest.notice() == ("closed", sock)
    assert guest.read(sock) == b""
    guest.write(sock, b"ans")
    guest.write(sock, b"wer")
    assert world.do(receive_exactly(peer, 6)) == b"answer"
    guest.destroy(sock)
    assert world.do(receive_all(peer)) == b""
    assert guest.settle() == []


def test_closed_comes_after_all_was_read(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(bytes(2000)))
    world.do(peer.finish())
    sock = guest.accept()
    world.until(lambda: link(world, sock).connection.heard_end)
    assert guest.settle() == []
    heard = []
    while ("closed", sock) not in heard:
        guest.read(sock)
        heard += guest.settle()
    assert heard == [("data", sock), ("closed", sock)]


def test_an_end_without_bytes_shows_itself_too(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.finish())
    sock = guest.accept()
    assert guest.notice() == ("closed", sock)
    guest.write(sock, b"goodbye")
    guest.destroy(sock)
    assert world.do(receive_all(peer)) == b"goodbye"


def test_reset_is_told_at_once(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(b"unread"))
    sock = guest.accept()
    world.do(peer.reset())
    assert guest.notice() == ("closed", sock)
    assert guest.read(sock) == b"unread"
    assert guest.error(guest.write, sock, b"late") == abi.ErrorCode.ABORTED
    guest.destroy(sock)
    assert guest.error(guest.read, sock) == abi.ErrorCode.INVALID_ARG
    assert guest.settle() == []


def test_a_reset_before_the_first_byte_is_nobodys_business(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.until(lambda: len(world.tcpip._sockets._sockets) == 2)
    world.do(peer.reset())
    world.until(lambda: len(world.tcpip._sockets._sockets) == 1)
    assert guest.settle() == []


def test_write_to_a_peer_that_left(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(b"hello"))
    sock = guest.accept()
    guest.read(sock)
    world.do(peer.finish())
    assert guest.notice() == ("closed", sock)
    world.do(peer.reset())
    codes = [0]
    while codes[-1] == 0:  # the host may take the first one
        codes.append(guest.error(guest.write, sock, b"late"))
        guest.settle()
    assert codes[-1] == abi.ErrorCode.ABORTED
    assert guest.settle() == []


def test_destroy_sends_what_was_written(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(b"question"))
    sock = guest.accept()
    answer = random.Random(2).randbytes(60_000)
    guest.write(sock, answer)
    guest.destroy(sock)
    assert guest.error(guest.read, sock) == abi.ErrorCode.INVALID_ARG
    assert world.do(receive_all(peer)) == answer


def test_destroy_with_unread_bytes_is_no_reset(world: World) -> None:
    """The peer's upload wasn't read; the answer arrives all the same."""
    guest = listening(world, bounds=Bounds(receive_bytes=1000))
    peer = world.dial()
    upload = world.start(peer.send(bytes(300_000)))
    sock = guest.accept()
    guest.write(sock, b"too large")
    guest.destroy(sock)
    assert world.do(receive_all(peer)) == b"too large"
    world.until(upload.done)
    upload.result()


def test_what_an_ended_task_wrote_is_sent(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(b"question"))
    guest.write(guest.accept(), b"last words")
    world.kernel.kill(guest.client)
    assert world.tcpip._sockets.tasks == []
    assert world.do(receive_all(peer)) == b"last words"


def test_a_peer_that_never_leaves_is_cut(world: World) -> None:
    guest = listening(world, bounds=Bounds(linger_seconds=0))
    peer = world.dial()
    world.do(peer.send(b"hello"))
    guest.destroy(guest.accept())
    world.until(lambda: not world.tcpip._farewells)
    assert world.do(receive_all(peer)) == b""


def test_few_may_linger(world: World) -> None:
    guest = listening(world, bounds=Bounds(lingering=2))
    peers = [world.dial() for _ in range(5)]
    for peer in peers:
        world.do(peer.send(b"hello"))
    for _ in peers:
        guest.destroy(guest.accept())
    assert [len(said) for said in world.tcpip._farewells.values()] == [2]


def test_a_silent_connection_is_dropped(world: World) -> None:
    guest = listening(world, bounds=Bounds(silent_seconds=0))
    peer = world.dial()
    assert world.do(receive_all(peer)) == b""
    assert guest.settle() == []


# --- writing to a slow peer ---


def test_write_waits_for_the_peer(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(b"hello"))
    sock = guest.accept()
    stream = link(world, sock).connection.stream
    data = random.Random(3).randbytes(1024)
    written = 0

    def write() -> None:
        guest.client.begin("tcpip", abi.TcpipWrite(sock, data), done)

    def done() -> None:
        nonlocal written
        written += 1

    while not stream.full:
        count = written
        write()
        world.until(lambda seen=count: written > seen)  # type: ignore[misc]
        guest.client.finish()
    write()
    guest.settle()
    held = written
    assert link(world, sock).wake is not None
    received = world.start(receive_exactly(peer, (held + 1) * 1024))
    world.until(lambda: written > held)
    guest.client.finish()
    world.until(received.done)
    assert received.result() == data * (held + 1)


def test_write_gives_up_and_nothing_of_it_was_sent(world: World) -> None:
    guest = listening(world, bounds=Bounds(write_seconds=0))
    peer = world.dial()
    world.do(peer.send(b"hello"))
    sock = guest.accept()
    fill(guest, sock)
    assert guest.error(guest.write, sock, b"x") == abi.ErrorCode.TRY_AGAIN
    guest.destroy(sock)
    assert b"x" not in world.do(receive_all(peer))


def test_a_waiting_write_hears_of_a_reset(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(b"hello"))
    sock = guest.accept()
    fill(guest, sock)
    guest.client.begin("tcpip", abi.TcpipWrite(sock, b"x"), lambda: None)
    world.until(lambda: link(world, sock).wake is not None)
    world.do(peer.reset())
    world.until(lambda: guest.client._result is not None)
    with pytest.raises(wasmos.ServiceError, match="aborted"):
        guest.client.finish()


def test_a_task_killed_while_it_writes(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(b"hello"))
    sock = guest.accept()
    fill(guest, sock)
    guest.client.begin("tcpip", abi.TcpipWrite(sock, b"x"), lambda: None)
    world.until(lambda: link(world, sock).wake is not None)
    guest.client.kill()
    assert world.tcpip._sockets.tasks == []
    assert set(world.do(receive_all(peer))) == {0}


# --- ports ---


def test_listening_twice(world: World) -> None:
    guest = listening(world)
    other = world.guest("other")
    assert guest.error(guest.listen) == abi.ErrorCode.ALREADY_USED
    assert other.error(other.listen) == abi.ErrorCode.ALREADY_USED


def test_the_host_port_is_taken(world: World) -> None:
    offer, port = world.side.offer()
    world.serve(ports=["0:80", f"{port}:80"])
    guest = world.guest()
    assert guest.error(guest.listen) == abi.ErrorCode.ALREADY_USED
    assert world.tcpip.bound == {}
    offer.close()
    assert guest.error(guest.listen) == 0
    assert [endpoint.port == port for endpoint in world.tcpip.bound[80]] == [False, True]


def test_ports_and_sockets_are_freed_when_the_task_ends(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(b"hello"))
    guest.accept()
    silent = world.dial()
    world.until(lambda: len(world.tcpip._sockets._sockets) == 3)
    guest.client.kill()
    assert world.tcpip.bound == {}
    assert world.tcpip._sockets._sockets == {}
    assert world.do(receive_all(peer)) == b""
    assert world.do(receive_all(silent)) == b""
    other = world.guest("other")
    other.listen()
    world.do(world.dial().send(b"hello"))
    other.accept()


def test_destroy_closes_the_port(world: World) -> None:
    world.serve(ports=[ANY_PORT])
    guest = world.guest()
    sock = guest.listen()
    endpoint = world.tcpip.bound[80][0]
    guest.destroy(sock)
    assert world.tcpip.bound == {}
    with pytest.raises(ConnectionRefusedError):
        world.do(world.side.dial(endpoint.host, endpoint.port))
    guest.listen()


def test_unmapped_ports(world: World) -> None:
    world.serve(ports=[ANY_PORT])
    guest = world.guest()
    assert guest.error(guest.listen, 81) == abi.ErrorCode.NOT_ALLOWED
    assert guest.error(guest.listen, 0) == abi.ErrorCode.INVALID_ARG


def test_unmapped_ports_on_loopback(world: World) -> None:
    port = world.side.closed_port()
    world.serve(ports=PortMap(unmapped="loopback"))
    guest = world.guest()
    guest.listen(port)
    assert str(world.tcpip.bound[port][0]) == f"127.0.0.1:{port}"


def test_one_guest_port_at_several_endpoints(world: World) -> None:
    told = []
    world.serve(ports=["0:80", "[::1]:0:80"], on_bound=lambda *row: told.append(row))
    guest = world.guest()
    guest.listen()
    endpoints = world.tcpip.bound[80]
    assert [endpoint.host for endpoint in endpoints] == ["127.0.0.1", "::1"]
    assert told == [(80, endpoint) for endpoint in endpoints]
    for endpoint in endpoints:
        peer = world.do(world.side.dial(endpoint.host, endpoint.port))
        world.do(peer.send(b"hello"))
        assert guest.read(guest.accept()) == b"hello"


# --- sockets ---


def test_unknown_and_foreign_sockets(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(b"secret"))
    sock = guest.accept()
    stranger = world.guest("stranger")
    for number in (-(1 << 31), -1, 0, 1, sock, sock + 1, (1 << 31) - 1):
        for action in (stranger.read, stranger.destroy):
            assert stranger.error(action, number) == abi.ErrorCode.INVALID_ARG
        assert stranger.error(stranger.write, number, b"x") == abi.ErrorCode.INVALID_ARG
    assert guest.read(sock) == b"secret"


def test_a_listening_socket_is_no_connection(world: World) -> None:
    world.serve(ports=[ANY_PORT])
    guest = world.guest()
    sock = guest.listen()
    assert guest.error(guest.read, sock) == abi.ErrorCode.INVALID_ARG
    assert guest.error(guest.write, sock, b"x") == abi.ErrorCode.INVALID_ARG


def test_with_all_sockets_in_use_others_wait_outside(world: World) -> None:
    guest = listening(world, bounds=Bounds(sockets=3), connect=LOOPBACK)
    other = world.guest("other")
    peers = [world.dial() for _ in range(4)]
    for peer in peers:
        world.do(peer.send(b"hello"))
    socks = [guest.accept(), guest.accept()]
    assert guest.settle() == []
    assert guest.error(guest.connect, 1) == abi.ErrorCode.NO_RESOURCES
    assert other.error(other.connect, world.side.closed_port()) == abi.ErrorCode.NOT_FOUND
    for sock in socks:
        assert guest.read(sock) == b"hello"
        guest.destroy(sock)
        assert guest.read(guest.accept()) == b"hello"


def test_numbers_are_not_given_again_soon(world: World) -> None:
    world.serve(ports=[ANY_PORT])
    guest = world.guest()
    numbers = []
    for _ in range(100):
        numbers.append(guest.listen())
        guest.destroy(numbers[-1])
    assert len(set(numbers)) == 100


# --- connecting ---


def test_connect_and_talk(world: World) -> None:
    world.serve(connect=LOOPBACK)
    guest = world.guest()
    offer, port = world.side.offer()

    async def serve() -> bytes:
        peer = await offer.accept()
        await peer.send(b"220 ready\r\n")
        question = await receive_exactly(peer, 4)
        await peer.finish()
        return question + await receive_all(peer)

    serving = world.start(serve())
    sock = guest.connect(port)
    assert guest.notice() == ("data", sock)
    assert guest.read(sock) == b"220 ready\r\n"
    guest.write(sock, b"QUIT")
    assert guest.notice() == ("closed", sock)
    guest.write(sock, b"!")
    guest.destroy(sock)
    world.until(serving.done)
    assert serving.result() == b"QUIT!"
    offer.close()


def test_connect_refused(world: World) -> None:
    world.serve(connect=LOOPBACK)
    guest = world.guest()
    assert guest.error(guest.connect, world.side.closed_port()) == abi.ErrorCode.NOT_FOUND
    assert guest.error(guest.connect, 0) == abi.ErrorCode.INVALID_ARG
    assert world.tcpip._sockets.tasks == []


@pytest.mark.parametrize("connect", ["none", "any", "10.0.0.0/8", "127.0.0.1:1"])
def test_connect_not_allowed(world: World, connect: str) -> None:
    world.serve(connect=connect)
    guest = world.guest()
    offer, port = world.side.offer()
    assert guest.error(guest.connect, port) == abi.ErrorCode.NOT_ALLOWED
    offer.close()


def test_connect_by_a_function(world: World) -> None:
    asked = []

    def may_connect(caller: wasmos.Caller, ip: object, port: int) -> bool:
        asked.append((caller.name, str(ip), port))
        return caller.name == "friend"

    world.serve(connect=may_connect)
    offer, port = world.side.offer()
    friend, stranger = world.guest("friend"), world.guest("stranger")
    assert friend.error(friend.connect, port) == 0
    assert stranger.error(stranger.connect, port) == abi.ErrorCode.NOT_ALLOWED
    assert asked == [(name, "127.0.0.1", port) for name in ("friend", "stranger")]
    offer.close()


def test_a_task_killed_while_it_connects(world: World) -> None:
    world.serve(connect=LOOPBACK)
    guest = world.guest()
    offer, port = world.side.offer()
    guest.client.begin("tcpip", abi.TcpipConnect(0x7F000001, port), lambda: None)
    world.until(lambda: bool(world.tcpip._sockets.tasks))
    guest.client.kill()
    assert world.tcpip._sockets.tasks == []
    world.do(asyncio.sleep(0))
    offer.close()


# --- names ---


def test_the_address_of_localhost(world: World) -> None:
    world.serve(connect="any")
    guest = world.guest()
    assert guest.resolve("localhost") == 0x7F000001


@pytest.mark.parametrize("name", ["", "a" * 254, "a" * 64 + ".example", "\udcff.example"])
def test_what_is_no_hostname(host_world: World, name: str) -> None:
    host_world.serve(connect="any")
    guest = host_world.guest()
    assert guest.error(guest.resolve, name) == abi.ErrorCode.INVALID_ARG


def test_no_names_when_connecting_is_off(world: World) -> None:
    world.serve(connect="none")
    guest = world.guest()
    assert guest.error(guest.resolve, "localhost") == abi.ErrorCode.NOT_ALLOWED


def test_a_name_that_does_not_exist(fake_world: World) -> None:
    fake_world.serve(connect="any")
    guest = fake_world.guest()
    assert guest.error(guest.resolve, "nowhere.invalid") == abi.ErrorCode.NOT_FOUND


def test_a_name_that_turns_private_is_not_connected_to(fake_world: World) -> None:
    """Rebinding: whatever a name says today, what is connected to is checked."""
    assert hasattr(fake_world.side, "fake")
    names = fake_world.side.fake.names
    fake_world.serve(connect="any")
    guest = fake_world.guest()
    for address in ("93.184.215.14", "127.0.0.1", "10.0.0.1", "169.254.169.254"):
        names["flips.example"] = address
        found = guest.resolve("flips.example")
        code = guest.error(guest.connect, 80, found)
        public = address.startswith("93.")
        assert code == (abi.ErrorCode.NOT_FOUND if public else abi.ErrorCode.NOT_ALLOWED)


# --- a network that never answers ---


def test_nobody_answers(fake_world: World) -> None:
    fake_world.side.network = Void()
    fake_world.serve(connect="any", bounds=Bounds(connect_seconds=0))
    guest = fake_world.guest()
    assert guest.error(guest.connect, 80, 0x08080808) == abi.ErrorCode.TRY_AGAIN
    assert guest.error(guest.resolve, "example.org") == abi.ErrorCode.TRY_AGAIN
    assert fake_world.tcpip._sockets.tasks == []


@pytest.mark.parametrize(
    "request_",
    [abi.TcpipConnect(0x08080808, 80), abi.TcpipDnsResolve("example.org")],
    ids=["connect", "resolve"],
)
@pytest.mark.parametrize("end", ["task", "service", "kernel"])
def test_the_end_of_waiting(fake_world: World, request_: abi.Message, end: str) -> None:
    fake_world.side.network = Void()
    fake_world.serve(connect="any")
    guest = fake_world.guest()
    guest.client.begin("tcpip", request_, lambda: None)
    guest.settle()
    if end == "task":
        guest.client.kill()
    elif end == "service":
        fake_world.kernel.kill(fake_world.tcpip.task)
    else:
        fake_world.kernel.close()
    assert fake_world.tcpip._sockets.tasks == []
    if end != "kernel":
        fake_world.do(asyncio.sleep(0))


# --- closing ---


def test_closing_the_kernel_in_the_middle_of_everything(world: World) -> None:
    guest = listening(world, connect=LOOPBACK)
    peers = [world.dial() for _ in range(3)]
    for peer in peers[:2]:
        world.do(peer.send(b"hello"))
    lingering = guest.accept()
    blocked = guest.accept()
    guest.destroy(lingering)
    fill(guest, blocked)
    guest.client.begin("tcpip", abi.TcpipWrite(blocked, b"x"), lambda: None)
    world.until(lambda: link(world, blocked).wake is not None)
    world.kernel.close()
    assert world.tcpip._sockets.tasks == []
    assert world.tcpip._farewells == {}


def test_the_service_is_killed_while_it_is_asked(world: World) -> None:
    guest = listening(world)
    peer = world.dial()
    world.do(peer.send(b"hello"))
    sock = guest.accept()
    fill(guest, sock)
    guest.client.begin("tcpip", abi.TcpipWrite(sock, b"x"), lambda: None)
    world.until(lambda: link(world, sock).wake is not None)
    world.kernel.kill(world.tcpip.task)
    world.until(lambda: guest.client._result is not None)
    assert guest.client._result == abi.ErrorCode.ABORTED
    world.do(asyncio.sleep(0))
    assert set(world.do(receive_all(peer))) <= {0}


def test_nothing_happens_before_it_is_used() -> None:
    """A system that boots `tcpip` doesn't pay for an event loop."""
    with wasmos.Kernel() as kernel:
        from wasmos.servers.tcpip import Tcpip

        kernel.serve(Tcpip(ports=[ANY_PORT]))
        assert kernel.run()
        assert kernel.driver._loop is None
