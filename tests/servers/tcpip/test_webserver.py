"""Web servers that are guests, visited through the host's network."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import wasmos
from tests.servers.tcpip.harness import World
from tests.support import wat

PROGRAM = Path(wasmos.__file__).parent / "guests" / "webserver.wasm"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = "HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello"
ANSWER_BYTES = ANSWER.encode().decode("unicode_escape").encode()

# What the original's web server does: one read and one write for each tcpip_data, whatever was
# asked, and a destroy on tcpip_closed. It never closes first.
TCPIP, SOCK = "(local.get $i)", "(local.get $j)"
ORIGINAL = wat.program(
    f"""
    (local.set $i @tcpip)
    (i32.store16 offset=8 #1024 #80)
    (i32.store #1024 #53)
    (drop (call $call {TCPIP} #1024))
    (if (i32.ne (i32.load #1024) #54) (then (return (i32.load #1024))))
    (loop $serve
      (drop (call $recv #0 #1024))
      (local.set $j (call $value))
      (if (i32.eq (i32.load #1024) #63)
        (then
          (drop (call $ask {TCPIP} #59 {SOCK}))
          (i32.store #20480 #57)
          (i32.store offset=8 #20480 {SOCK})
          (i32.store offset=1036 #20480 #{len(ANSWER_BYTES)})
          (drop (call $call {TCPIP} #20480)))
        (else
          (drop (call $ask {TCPIP} #55 {SOCK}))))
      (br $serve))
    #0""",
    fields=f'(data #20492 "{ANSWER}")',
)


async def get(port: int, request: bytes = REQUEST) -> bytes:
    """The body of an answer, by its length; then the client closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    header = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = dict(line.split(": ", 1) for line in header.split("\r\n")[1:] if line)
    body = await reader.readexactly(int(lines["Content-Length"]))
    writer.close()
    await writer.wait_closed()
    return header.split("\r\n")[0].encode() + b"\n" + body


def spawn(world: World, program: str | bytes | Path) -> tuple[wasmos.Task, int]:
    world.serve(ports=["0:80"])
    task = world.kernel.spawn(program, name="webserver", allow=["tcpip"], trusted=True)
    world.until(lambda: 80 in world.tcpip.bound or task.exit is not None)
    assert task.exit is None, task.exit
    return task, world.tcpip.bound[80][0].port


def test_the_web_server(host_world: World) -> None:
    if not PROGRAM.exists():
        pytest.fail(f"{PROGRAM} isn't built: run `make build`, which compiles the guests")
    task, port = spawn(host_world, PROGRAM)

    async def visits() -> list[bytes]:
        return list(await asyncio.gather(*(get(port) for _ in range(200))))

    answers = host_world.do(visits())
    assert len(answers) == 200
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 200 OK\n")
        assert b"Hello from WasmOS" in answer
    assert len({answer.split(b"Request number ")[1] for answer in answers}) == 200
    host_world.until(lambda: len(host_world.tcpip._sockets._sockets) == 1)
    assert task.exit is None


def test_the_web_server_of_the_original(host_world: World) -> None:
    _, port = spawn(host_world, ORIGINAL)

    async def visits() -> list[bytes]:
        return list(await asyncio.gather(*(get(port) for _ in range(100))))

    assert host_world.do(visits()) == [b"HTTP/1.1 200 OK\nhello"] * 100
    host_world.until(lambda: len(host_world.tcpip._sockets._sockets) == 1)


def test_a_client_that_asks_and_leaves_at_once(host_world: World) -> None:
    """Its end arrives with its question: the answer is sent all the same."""
    _, port = spawn(host_world, ORIGINAL)

    async def visit() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    assert host_world.do(visit()) == ANSWER_BYTES
