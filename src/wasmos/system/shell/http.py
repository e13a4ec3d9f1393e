"""One HTTP request by messages to `tcpip`: what the shell's `http` does.

Law: the bytes on the wire are h11's business, the socket is tcpip's; this file
only carries them from one to the other.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from wasmos import abi
from wasmos.errors import ServiceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wasmos.system.shell.shell import Shell

MAX_BODY = 1 << 20
CHUNK = 1024
PATIENCE_SECONDS = 30.0


async def get(shell: Shell, url: str) -> str:
    """The body behind an http:// URL, at most a mebibyte of it.

    Raises ServiceError, ConnectionError, ValueError for what isn't HTTP, TimeoutError."""
    import h11

    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url!r}: only http://HOST[:PORT]/PATH can be fetched")
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 << 10)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.netloc.rpartition("@")[2]
    headers = [("Host", host), ("Connection", "close")]
    try:
        request = connection.send(h11.Request(method="GET", target=target, headers=headers))
        request = (request or b"") + (connection.send(h11.EndOfMessage()) or b"")
    except h11.LocalProtocolError as error:
        raise ValueError(f"{url!r} makes no request: {error}") from None
    sock = await _connected(shell, parts.hostname, parts.port or 80)
    try:
        await _send(shell, sock, request)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await _body(shell, sock, connection)
    except h11.RemoteProtocolError as error:
        raise ValueError(f"the answer is not HTTP: {error}") from None
    finally:
        with suppress(ServiceError):  # what went wrong before is what to say
            await shell.call("tcpip", abi.TcpipDestroy(sock))


async def _connected(shell: Shell, host: str, port: int) -> int:
    """A socket. What tcpip answers is a number; what was asked says what it means."""
    codes = abi.ErrorCode
    try:
        address = (await shell.call("tcpip", abi.TcpipDnsResolve(host))).addr
    except ServiceError as error:
        said = {
            codes.NOT_FOUND: f"no host is called {host!r}",
            codes.INVALID_ARG: f"no host can be called {host!r}",
            codes.TRY_AGAIN: f"the name servers don't answer for {host!r}; try it again",
        }
        raise _explained(error, said) from None
    try:
        sock: int = (await shell.call("tcpip", abi.TcpipConnect(address, port))).sock
    except ServiceError as error:
        at = f"{host} port {port}"
        nobody = "connection refused; nobody listens there, or no way leads there"
        said = {
            codes.NOT_FOUND: f"{at}: {nobody}",
            codes.TRY_AGAIN: f"{at}: no answer in time",
        }
        raise _explained(error, said) from None
    return sock


def _explained(error: ServiceError, said: dict[abi.ErrorCode, str]) -> Exception:
    for code, words in said.items():
        if error.code == code:
            return ConnectionError(words)
    return error


async def _send(shell: Shell, sock: int, data: bytes) -> None:
    for start in range(0, len(data), CHUNK):
        await shell.call("tcpip", abi.TcpipWrite(sock, data[start : start + CHUNK]))


async def _body(shell: Shell, sock: int, connection: object) -> str:
    import h11

    assert isinstance(connection, h11.Connection)
    body = bytearray()
    while len(body) < MAX_BODY:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await _received(shell, sock))
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            break
    return bytes(body[:MAX_BODY]).decode("utf-8", "replace").rstrip("\n")


async def _received(shell: Shell, sock: int) -> bytes:
    """The next bytes, b"" at the end: wait for tcpip to say that there are some."""
    while True:
        data: bytes = (await shell.call("tcpip", abi.TcpipRead(sock))).data
        if data:
            return data
        if await _news(shell, sock) == "closed":
            return b""


async def _news(shell: Shell, sock: int) -> str:
    """What tcpip says of this socket. Other mail is late news of earlier ones,
    or a guest's that pretends."""
    client = shell.client
    tcpip = shell.kernel.service_id("tcpip")
    arrived = asyncio.Event()
    client.on_mail = arrived.set
    try:
        while True:
            try:
                mail = client.receive()
            except (ServiceError, ValueError):
                continue  # not from tcpip, which makes no such thing
            if mail is None:
                await arrived.wait()
                arrived.clear()
                continue
            src, message = mail
            if src != tcpip:
                continue
            if message == abi.TcpipClosed(sock):
                return "closed"
            if message == abi.TcpipData(sock):
                return "data"
    finally:
        client.on_mail = None
