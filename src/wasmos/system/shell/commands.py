"""What the shell can do: a table of commands.

Law: one function a command; its docstring's first line is its help, the second
its usage. It raises `Usage` for wrong arguments and lets errors through.
"""

from __future__ import annotations

from wasmos import abi
from wasmos.errors import ServiceError
from wasmos.system import tasks, units
from wasmos.system.caps import capmap
from wasmos.system.control import verbs
from wasmos.system.policy.rights import from_here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from wasmos.kernel import Task
    from wasmos.system.shell.shell import Shell

DIRECTORY = 221
CHUNK = 1024
MOST_SHOWN = 1 << 20  # of a file, or entries of a directory: the fs may be anybody's


class Usage(Exception):
    """The arguments don't fit the command."""


class Command:
    """A row of the table."""

    def __init__(self, function: Callable[[Any, list[str]], Awaitable[None]]) -> None:
        lines = [line.strip() for line in (function.__doc__ or "").splitlines()]
        self.run = function
        self.help, self.usage = lines[0], lines[1]
        self.name = self.usage.split()[0]


COMMANDS: dict[str, Command] = {}


def command(function: Callable[[Any, list[str]], Awaitable[None]]) -> None:
    row = Command(function)
    COMMANDS[row.name] = row


def exactly(arguments: list[str], count: int) -> list[str]:
    if len(arguments) != count:
        raise Usage
    return arguments


@command
async def help_(shell: Shell, arguments: list[str]) -> None:
    """Show this help.
    help"""
    exactly(arguments, 0)
    width = max(len(row.usage) for row in COMMANDS.values())
    for row in COMMANDS.values():
        shell.say(f"  {row.usage:{width}}  {row.help}")


@command
async def echo(shell: Shell, arguments: list[str]) -> None:
    """Print words, by way of the echo server.
    echo TEXT..."""
    reply = await shell.call("echo", abi.Echo(" ".join(arguments).encode()[:CHUNK]))
    shell.show(reply.data.decode("utf-8", "replace"))


@command
async def http_(shell: Shell, arguments: list[str]) -> None:
    """Fetch a URL, by way of tcpip.
    http URL"""
    [url] = exactly(arguments, 1)
    from wasmos.system.shell import http

    shell.show(await http.get(shell, url))


@command
async def cat(shell: Shell, arguments: list[str]) -> None:
    """Show what is in a file.
    cat PATH"""
    [path] = exactly(arguments, 1)
    fd = (await shell.call("fs", abi.FsOpen(path, 0))).fd
    data = bytearray()
    try:
        while len(data) < MOST_SHOWN:
            data += (await shell.call("fs", abi.FsRead(fd, CHUNK))).data
        shell.complain(f"cat: the first {len(data)} bytes of it")
    except ServiceError as error:
        if error.code != abi.ErrorCode.EOF:
            raise
    finally:
        await shell.call("fs", abi.FsClose(fd))
    shell.show(data.decode("utf-8", "replace").rstrip("\n"))


@command
async def write(shell: Shell, arguments: list[str]) -> None:
    """Write a text to a file, which is made if it isn't there.
    write PATH TEXT"""
    path, text = exactly(arguments, 2)
    try:
        await shell.call("fs", abi.FsMkfile(path))
    except ServiceError as error:
        if error.code != abi.ErrorCode.ALREADY_EXISTS:
            raise
    fd = (await shell.call("fs", abi.FsOpen(path, 0))).fd
    try:
        data = text.encode()
        while data:
            reply = await shell.call("fs", abi.FsWrite(fd, data[:CHUNK]))
            if not 0 < reply.written_len <= len(data):
                raise ServiceError(abi.ErrorCode.UNEXPECTED, f"wrote {reply.written_len} bytes")
            data = data[reply.written_len :]
    finally:
        await shell.call("fs", abi.FsClose(fd))


@command
async def ls(shell: Shell, arguments: list[str]) -> None:
    """List the files of a directory.
    ls [PATH]"""
    if len(arguments) > 1:
        raise Usage
    path = arguments[0] if arguments else "/"
    for index in range(MOST_SHOWN):
        try:
            entry = await shell.call("fs", abi.FsReaddir(path, index))
        except ServiceError as error:
            if error.code != abi.ErrorCode.EOF:
                raise
            return
        size = "directory" if entry.type == DIRECTORY else f"{entry.filesize} bytes"
        shell.say(f"  {size:>12}  {entry.name}")


@command
async def mkdir(shell: Shell, arguments: list[str]) -> None:
    """Make a directory.
    mkdir PATH"""
    await shell.call("fs", abi.FsMkdir(exactly(arguments, 1)[0]))


@command
async def delete(shell: Shell, arguments: list[str]) -> None:
    """Delete a file or an empty directory.
    delete PATH"""
    await shell.call("fs", abi.FsDelete(exactly(arguments, 1)[0]))


@command
async def start(shell: Shell, arguments: list[str]) -> None:
    """Run a program until it ends or is a service; with & at the end, don't wait.
    start NAME [ARGS...] [&]"""
    background = arguments[-1:] == ["&"]
    words = arguments[:-1] if background else arguments
    if not words:
        raise Usage
    task = await shell.system.start(words[0], words[1:])
    if task.services:
        shell.say(f"task {task.id} is the service {', '.join(task.services)}")
    elif background:
        shell.say(f"task {task.id}")
    else:
        await shell.follow(task)


@command
async def sleep(shell: Shell, arguments: list[str]) -> None:
    """Pause for some seconds.
    sleep SECONDS"""
    await shell.kernel.sleep(units.seconds(exactly(arguments, 1)[0]))


@command
async def ping(shell: Shell, arguments: list[str]) -> None:
    """Send a value to the pong service.
    ping VALUE"""
    [text] = exactly(arguments, 1)
    try:
        value = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not -(1 << 31) <= value < 1 << 31:
        raise ValueError(f"{text} doesn't fit 32 bits")
    reply = await shell.call("pong", abi.Ping(value))
    shell.say(f"pong answers {reply.value}")


@command
async def uptime(shell: Shell, arguments: list[str]) -> None:
    """Show the seconds since boot.
    uptime"""
    exactly(arguments, 0)
    shell.say(f"{shell.kernel.uptime:.0f} seconds")


@command
async def ps(shell: Shell, arguments: list[str]) -> None:
    """List the tasks: state, processor time, memory, messages.
    ps"""
    exactly(arguments, 0)
    for line in tasks.show(tasks.rows(shell.kernel)):
        shell.say(line)


@command
async def kill(shell: Shell, arguments: list[str]) -> None:
    """End a task, by its number or its name.
    kill TASK"""
    [which] = exactly(arguments, 1)
    for task in _tasks_called(shell, which):
        shell.kernel.kill(task, "killed from the shell")


def _tasks_called(shell: Shell, which: str) -> list[Task]:
    tasks = [t for t in shell.kernel.tasks if which in (str(t.id), t.name)]
    if not tasks:
        raise LookupError(f"no task {which!r}; ps lists them")
    if any(task is shell.client for task in tasks):
        raise ValueError("that is this shell; use shutdown")
    return tasks


@command
async def caps(shell: Shell, arguments: list[str]) -> None:
    """Show who holds what, and through whom; in a format, as in `caps dot`.
    caps [FORMAT]"""
    if len(arguments) > 1:
        raise Usage
    found = verbs.caps(_desk(shell), {})
    for line in capmap.render(found, arguments[0] if arguments else "tree").split("\n"):
        shell.say(line)


@command
async def grant(shell: Shell, arguments: list[str]) -> None:
    """Let a task do what a rule says, as in `grant web console for 60s`.
    grant TASK RULE"""
    shell.say(capmap.grant_text(verbs.grant(_desk(shell), _task_and_rule(arguments))))


@command
async def deny(shell: Shell, arguments: list[str]) -> None:
    """Forbid a task what a rule says, whatever it is granted.
    deny TASK RULE"""
    shell.say(capmap.grant_text(verbs.deny(_desk(shell), _task_and_rule(arguments))))


@command
async def revoke(shell: Shell, arguments: list[str]) -> None:
    """Take back a grant by its number, what a rule granted, or all from a task.
    revoke GRANT|TASK [RULE]"""
    if len(arguments) == 1:
        [what] = arguments
        words = {"grant": int(what)} if what.isdecimal() else {"task": what}
    else:
        words = _task_and_rule(arguments)
    for row in verbs.revoke(_desk(shell), words)["revoked"]:
        shell.say(f"revoked: {capmap.grant_text(row)}")


def _task_and_rule(arguments: list[str]) -> dict[str, Any]:
    """The rule is all that follows: its lifetime is words of its own."""
    if len(arguments) < 2:
        raise Usage
    return {"task": arguments[0], "rule": from_here(" ".join(arguments[1:]))}


def _desk(shell: Shell) -> verbs.Desk:
    return verbs.Desk(shell.kernel, shell.system.manifest.name, "the shell", shell.system.offer)


@command
async def services(shell: Shell, arguments: list[str]) -> None:
    """List the services and the tasks behind them.
    services"""
    exactly(arguments, 0)
    for name, id in shell.kernel.services.items():
        shell.say(f"  {name:16}  task {id} {shell.kernel.name_of(id)}")


@command
async def shutdown(shell: Shell, arguments: list[str]) -> None:
    """End all tasks and leave.
    shutdown"""
    exactly(arguments, 0)
    shell.done = True
