"""How each server is made for a system: the one place that knows them all.

Law: a server is imported when it is wanted, so that a program that uses one
does not pay for the others.
"""

from __future__ import annotations

import os

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError, UsageError, WasmosError
from wasmos.kernel import file_name
from wasmos.system.units import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from typing import Any, BinaryIO

    from wasmos.kernel import (
        Caller,
        Kernel,
        Personality,
        Program,
        Rule,
        Service,
        Source,
        Task,
    )
    from wasmos.servers.console.sink import Output
    from wasmos.servers.fs import Image
    from wasmos.servers.tcpip import PortMap
    from wasmos.servers.tcpip.addresses import Destinations
    from wasmos.system.audit import Recorder

CONNECT = ("none", "any", "all")
EVERYWHERE = "0.0.0.0/0"
MAX_FILES = 1 << 16  # that one task can be let have open
FILES_BESIDES = 64  # of the host, for the directories of grants and other tasks
# That a program on its own has, unless somebody says how many: as many as programs have elsewhere.
# Where there are others, each has fewer (MAX_OPEN_FILES), as all of them share what the host has.
FILES_OF_ONE = 1024


def vm(
    spawn: Callable[[str, Caller, list[Rule] | None], Awaitable[Task]] | None,
    may_register: Callable[[Caller, str], bool] | None = None,
    given_up: Callable[[int], object] | None = None,
) -> Service:
    if given_up is None:
        from wasmos.servers.vm import Vm

        return Vm(spawn, may_register=may_register)
    from wasmos.system.operator import SharedVm

    return SharedVm(spawn, may_register=may_register, given_up=given_up)


def console(
    output: Output | None,
    source: BinaryIO | None,
    may_read: Callable[[int], bool] | None = None,
    output_limit: int | None = None,
    on_cut: Callable[[int], object] = lambda _: None,
    errors: Output | None = None,
    terminal: bool | None = None,
) -> Service:
    if may_read is None:
        from wasmos.servers.console import Console

        return Console(
            output,
            source,
            errors=errors,
            terminal=terminal,
            output_limit=output_limit,
            on_cut=on_cut,
        )
    from wasmos.system.operator import SharedConsole

    return SharedConsole(output, source, may_read)


def words(args: Sequence[Any], argv0: str | None = None) -> list[str]:
    """The arguments that somebody gives a program, which can be told all of them and `argv0`, if
    that is given. Raises UsageError."""
    if isinstance(args, str | bytes | os.PathLike):
        raise UsageError(f"args is a list of strings, not {args!r}")
    found = [os.fspath(each) if isinstance(each, os.PathLike) else each for each in args]
    if not all(isinstance(each, str) for each in found):
        raise UsageError(f"arguments are strings or paths: {list(args)!r}")
    check_strings("arguments", numbered(found, argv0))
    return found


def numbered(words: Sequence[str], argv0: str | None = None) -> dict[str, str]:
    """Arguments by what they are called in an error."""
    first = {} if argv0 is None else {"argv0": argv0}
    return first | {f"argument {number}": word for number, word in enumerate(words, 1)}


def assigned(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables as a program is told them, by what they are called in an error."""
    return {f"variable {name}": f"{name}={value}" for name, value in variables.items()}


def check_strings(kind: str, strings: Mapping[str, str]) -> None:
    """Whether a program can be told all of these, which are known by their names here. Raises
    UsageError."""
    from wasmos.servers.strings import MAX_STRING_BYTES, MAX_STRINGS_BYTES, bytes_of

    total = 0
    for name, text in strings.items():
        if "\0" in text:
            raise UsageError(f"{name} has a NUL in it, where a program would take it to end")
        try:
            size = len(bytes_of(text)) + 1
        except UnicodeEncodeError:
            raise UsageError(f"{name} has half a character in it") from None
        if size > MAX_STRING_BYTES:
            raise UsageError(
                f"{name} has {size - 1:,} bytes, the most is {MAX_STRING_BYTES - 1:,}; "
                "pass it in a file or as input"
            )
        total += size
    if total > MAX_STRINGS_BYTES:
        raise UsageError(
            f"the {kind} have {total:,} bytes together, the most is {MAX_STRINGS_BYTES:,}; "
            "pass some in a file or as input"
        )


def check_lengths(dialect: str | None, words: Sequence[str], argv0: str | None = None) -> None:
    """Whether the arguments fit what a program asks by. Raises UsageError. One of ours asks for one
    at a time, and would take one that it can't be told for none at all."""
    from wasmos.servers.args import MAX_ARGUMENT_BYTES
    from wasmos.servers.strings import bytes_of

    for name, word in numbered(words, argv0).items():
        size = len(bytes_of(word))
        if dialect is None and size > MAX_ARGUMENT_BYTES:
            raise UsageError(
                f"{name} has {size:,} bytes, the most is {MAX_ARGUMENT_BYTES:,} for a program that "
                "isn't for WASI; pass it in a file or as input"
            )


def args(arguments: Mapping[int, Sequence[str]]) -> Service:
    from wasmos.servers.args import Args

    return Args(arguments)


def argv0(program: Program, source: Source, name: str) -> str:
    """What a program is told that it is called, as the first of its arguments. One of another
    system expects the name of its file, by which some of them choose what they do; ours are told
    the task's name."""
    return (program.shape.dialect and file_name(source)) or name


def env(variables: Mapping[int, Mapping[str, str]]) -> Service:
    from wasmos.servers.env import Env

    return Env(variables)


def clock() -> Service:
    from wasmos.servers.clock import Clock

    return Clock()


def random() -> Service:
    from wasmos.servers.random import Random

    return Random()


def personalities() -> tuple[Personality, ...]:
    """The foreign interfaces that programs may be built for."""
    from wasmos.personalities import wasi

    return wasi.ALL


def echo() -> Service:
    from wasmos.servers.echo import Echo

    return Echo()


def pong() -> Service:
    from wasmos.servers.pong import Pong

    return Pong()


def fs(
    image: Image | None, max_open_files: int | None = None, files_limit: int | None = None
) -> Service:
    """`max_open_files`: how many one task may have open. `files_limit`: how many bytes what is
    changed in an overlay may have. Raises UsageError."""
    from wasmos.servers.fs import Fs

    overlays: dict[str, Any] = {} if files_limit is None else {"max_overlay_bytes": files_limit}
    return Fs(image, **room_for(max_open_files), **overlays)


def check_open_files(files: int | None) -> None:
    """Raises UsageError."""
    if files is not None and not 0 < files <= MAX_FILES:
        raise UsageError(f"{files:,} open files: a task may have 1 to {MAX_FILES:,}")


def room_for(files: int | None) -> dict[str, Any]:
    """Limits of an fs server under which one task may have so many files open; None: the usual
    ones. Raises UsageError."""
    check_open_files(files)
    from wasmos.servers.fs.views import MAX_HOST_FILES, MAX_OPEN_FILES

    most = MAX_OPEN_FILES if files is None else files
    return {"max_open_files": most, "max_host_files": max(MAX_HOST_FILES, most + FILES_BESIDES)}


def tcpip(
    listen: Sequence[str],
    connect: Sequence[str] | None,
    log: Callable[[str], object],
    is_operator: Callable[[int], bool] | None = None,
    unmapped: str = "refuse",
) -> Service:
    """`connect` is a bound on what capabilities allow; None: there is no other. `unmapped` is as
    for PortMap. Raises UsageError for ports and rules that make no sense or can't be had."""
    from wasmos.servers.tcpip import PortMap, Tcpip

    ports = PortMap(listen, unmapped=unmapped)
    _check_free(ports)
    allowed = destinations(["all"] if connect is None else connect)
    options: dict[str, Any] = {
        "ports": ports,
        "on_bound": lambda port, endpoint: log(f"tcpip: port {port} is {endpoint}"),
    }
    if is_operator is None:
        return Tcpip(connect="granted" if connect is None else allowed or "none", **options)
    from wasmos.system.operator import SharedTcpip

    return SharedTcpip(allowed, is_operator, **options)


def destinations(rules: Sequence[str]) -> Destinations | None:
    """Where `tcpip` may connect to; None: nowhere. Raises UsageError."""
    from wasmos.servers.tcpip.addresses import Destinations

    for rule in rules:
        if rule.isalpha() and rule not in CONNECT:
            raise UsageError(f"no destination {rule!r}; {nearest(rule, CONNECT)}")
    if "none" not in rules:
        return Destinations(EVERYWHERE if rule == "all" else rule for rule in rules)
    if len(rules) > 1:
        raise UsageError('destination "none" stands alone')
    return None


def check_ports(listen: Sequence[str]) -> None:
    """Raises UsageError for ports that make no sense or can't be had."""
    from wasmos.servers.tcpip import PortMap

    _check_free(PortMap(listen))


def _check_free(ports: PortMap) -> None:
    """Whoever listens later only hears an error code: say now what the matter is."""
    for guest_port in ports.guest_ports:
        for choice in ports.choices(guest_port):
            errors = [_refusal(endpoint.host, endpoint.port) for endpoint in choice]
            if None not in errors:
                one = choice[0] if len(choice) == 1 else f"{choice[0]} to {choice[-1].port}"
                raise UsageError(
                    f"{one}, for port {guest_port}: {errors[-1]}; choose another host port, "
                    "or 0 for any"
                )


def _refusal(host: str, port: int) -> str | None:
    """Why nobody can listen there."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def audit(kernel: Kernel, path: str | os.PathLike[str], *, calls: bool = False) -> Recorder:
    """Have all that is asked and decided written to a log, which is to be closed in the end.
    Raises AuditError."""
    import time

    from wasmos.system.audit import Recorder

    recorder = Recorder.open(path, offset_ns=time.time_ns() - kernel.now_ns)
    kernel.audit(recorder.record, calls=calls)
    return recorder


def load_image(image: Image, path: str) -> list[str]:
    """Add what is in a host directory or a tar file; what was left out.
    Raises UsageError, which names the path."""
    from wasmos.servers.fs.host import load

    try:
        return [f"{name}, which is {reason}" for name, reason in load(path, image)]
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except WasmosError as error:
        raise UsageError(f"{path}: {error}") from None


def add_files(image: Image, files: Mapping[str, str]) -> None:
    """Add files, but not in place of what was loaded. Raises UsageError."""
    for name, text in files.items():
        try:
            image.put(name, text.encode())
        except ServiceError as error:
            if error.code != ErrorCode.ALREADY_EXISTS:
                raise UsageError(f"{name!r}: {error}") from None


def unset(env: Iterable[str]) -> list[str]:
    """A note for each variable that was to be the host's, and isn't there."""
    return [
        f"note: {getattr(text, 'origin', '--env')}: {text} isn't set here"
        for text in env
        if "=" not in text and text not in os.environ
    ]


def make_image(files_limit: int | None = None) -> Image:
    """An empty image."""
    from wasmos.servers.fs import Image

    return Image() if files_limit is None else Image(max_bytes=files_limit)


def filled_image(
    files: str | os.PathLike[str] | None,
    log: Callable[[str], object],
    files_limit: int | None = None,
) -> Image:
    """An image with what is in a host directory or a tar file; what was left out is logged."""
    image = make_image(files_limit)
    if files is not None:
        for note in load_image(image, os.fspath(files)):
            log(f"fs: left out {note}")
    return image


def would_lose(target: str, source: str | None) -> bool:
    """Whether saving to the directory `target` would delete what isn't ours."""
    if target.endswith(".tar") or not os.path.isdir(target):
        return False
    same = source is not None and os.path.realpath(source) == os.path.realpath(target)
    return not same and bool(os.listdir(target))


def save_image(image: Image, path: str) -> None:
    """Write the image to a host directory, or to a file if it ends in .tar,
    in place of what an earlier shutdown left there."""
    from wasmos.servers.fs.host import save

    save(image, path, replace=True)
