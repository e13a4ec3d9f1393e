"""The network in memory, where it shows something that a host's doesn't."""

from __future__ import annotations

import asyncio

import pytest

import wasmos
from tests.servers.tcpip.harness import receive_all
from wasmos import abi
from wasmos.servers.tcpip import Tcpip
from wasmos.servers.tcpip.fake import FakeNetwork

TCPIP_GREETER = """
  (module
    (import "env" "ipc_lookup" (func $lookup (param i32) (result i32)))
    (import "env" "ipc_call" (func $call (param i32 i32) (result i32)))
    (import "env" "ipc_recv" (func $recv (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "tcpip")
    (data (i32.const 4108) "hello")
    (func (export "main") (result i32) (local $tcpip i32)
      (local.set $tcpip (call $lookup (i32.const 16)))
      (i32.store (i32.const 1024) (i32.const 53))
      (i32.store16 (i32.const 1032) (i32.const 80))
      (drop (call $call (local.get $tcpip) (i32.const 1024)))
      (drop (call $recv (i32.const 0) (i32.const 1024)))
      (i32.store (i32.const 4096) (i32.const 57))
      (i32.store (i32.const 4104) (i32.load (i32.const 1032)))
      (i32.store (i32.const 5132) (i32.const 5))
      (drop (call $call (local.get $tcpip) (i32.const 4096)))
      (i32.load (i32.const 4096))))
"""


def visit(seed: int) -> list[tuple[object, ...]]:
    """A whole visit in virtual time, and everything that happened in it."""
    network = FakeNetwork()
    with wasmos.Kernel(virtual_clock=True, seed=seed) as kernel:
        kernel.set_trace(True)
        kernel.serve(Tcpip(ports=["8080:80"], network=network))
        task = kernel.spawn(TCPIP_GREETER, allow=["tcpip"], trusted=True)
        kernel.run(lambda: kernel.account(task.id)["state"] == "receiving")

        async def talk() -> bytes:
            peer = await network.dial("127.0.0.1", 8080)
            await peer.send(b"anyone?")
            return await receive_all(peer)

        talking = kernel.start(talk())
        kernel.run(talking.done)
        assert talking.result() == b"hello"
        assert kernel.wait(task).code == abi.TcpipWriteReply.TYPE
        return [(e.kind, e.task, e.peer, e.type, e.code, e.time_ns) for e in kernel.events()]


def test_a_run_repeats_exactly() -> None:
    assert visit(7) == visit(7)


def test_two_systems_on_one_network(no_leaks: None) -> None:
    """A task of one is the peer of a task of the other; both share a loop."""
    import asyncio

    async def both() -> None:
        network = FakeNetwork({"server.example": "10.0.0.1"})
        async with wasmos.AsyncKernel() as one, wasmos.AsyncKernel() as two:
            one.sync.serve(Tcpip(ports=["10.0.0.1:80:80"], network=network))
            two.sync.serve(Tcpip(connect="10.0.0.0/8", network=network))
            server, client = one.sync.client("server"), two.sync.client("client")

            async def ask(kernel: wasmos.AsyncKernel, who: wasmos.Client, what: abi.Message):  # type: ignore[no-untyped-def]
                done = asyncio.Event()
                who.begin("tcpip", what, done.set)
                await asyncio.wait_for(done.wait(), 30)
                return who.finish()

            await ask(one, server, abi.TcpipListen(80))
            found = await ask(two, client, abi.TcpipDnsResolve("server.example"))
            sock = (await ask(two, client, abi.TcpipConnect(found.addr, 80))).sock
            came = asyncio.Event()
            server.on_mail = came.set
            await ask(two, client, abi.TcpipWrite(sock, b"across"))
            await asyncio.wait_for(came.wait(), 30)
            mail = server.receive()
            assert mail is not None
            assert isinstance(mail[1], abi.TcpipData)
            assert (await ask(one, server, abi.TcpipRead(mail[1].sock))).data == b"across"

    asyncio.run(both())


def test_dialling_nobody() -> None:
    with wasmos.Kernel() as kernel:
        dialling = kernel.start(FakeNetwork().dial("127.0.0.1", 80))
        kernel.run(dialling.done, timeout=30)
        with pytest.raises(ConnectionRefusedError):
            dialling.result()


def test_what_the_name_servers_say_can_be_written_down() -> None:
    network = FakeNetwork({"one.example": "1.1.1.1", "two.example": ["1.1.1.1", "1.1.1.2"]})
    network.answers("flips.example", "1.1.1.1", ["2.2.2.2", "2.2.2.3"], [])

    async def ask(*names: str) -> list[list[str]]:
        return [await network.resolve(name) for name in names]

    flips = ["flips.example"] * 4
    found = asyncio.run(ask("one.example", "TWO.example.", "three.example", *flips))
    two = ["1.1.1.1", "1.1.1.2"]
    assert found == [["1.1.1.1"], two, [], ["1.1.1.1"], ["2.2.2.2", "2.2.2.3"], [], []]
    assert network.asked == ["one.example", "TWO.example.", "three.example", *flips]
