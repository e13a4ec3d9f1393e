"""Running one program with exactly the authority that is listed.

Law: what isn't granted isn't there: the server for it is not even started, unless somebody is asked
before something is denied; what is granted while it runs is started then. Each right knows who said
so.
"""

from __future__ import annotations

import os

from wasmos.errors import UsageError
from wasmos.kernel import ALL, Kernel, Limits
from wasmos.system import outfit
from wasmos.system.allowance import SERVICES, Allowance, listed, variables
from wasmos.system.completed import Completed
from wasmos.system.control.later import Later
from wasmos.system.offer import Offer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, BinaryIO, TypeAlias

    from wasmos.kernel import (
        Cache,
        CompileLimits,
        Denial,
        Exit,
        Program,
        Progress,
        Service,
        Source,
        Task,
    )
    from wasmos.servers.console.sink import Output
    from wasmos.system.flags import Directories

    # Makes what `Kernel.ask` takes.
    Ask: TypeAlias = Callable[[Kernel, Task], Callable[[Denial], bool | None]]

MAX_CAPTURED = 64 << 20  # bytes of output
# More than a task has otherwise: here is one program, and large tools are among those.
LIMITS = Limits(memory_bytes=1 << 30, table_elements=1_000_000)


def run(
    source: Source,
    args: Sequence[str | os.PathLike[str] | int | float] = (),
    *,
    allow: str | Iterable[str] = (),
    deny: str | Iterable[str] = (),
    policy: str | os.PathLike[str] | None = None,
    dirs: Directories = (),
    listen: str | Sequence[str] = (),
    connect: str | Sequence[str] = (),
    env: str | Iterable[str] | Mapping[str, str] = (),
    files: str | os.PathLike[str] | None = None,
    max_open_files: int | None = None,
    ask: Ask | None = None,
    audit: str | os.PathLike[str] | None = None,
    audit_calls: bool = False,
    timeout: float | None = None,
    limits: Limits | None = None,
    compile_limits: CompileLimits | None = None,
    input: BinaryIO | bytes | str | None = None,  # noqa: A002 - as in subprocess.run
    capture_output: bool = False,
    output: Output | None = None,
    errors: Output | None = None,
    terminal: bool | None = None,
    clock: str | None = None,
    seed: str | int | None = None,
    output_limit: int | None = None,
    files_limit: int | None = None,
    name: str | None = None,
    argv0: str | None = None,
    invoke: str | None = None,
    control: bool = False,
    cache: bool | Cache = True,
    progress: Progress | None = None,
    log: Callable[[str], object] = lambda _: None,
) -> Completed:
    """Run a program until it ends.

    source: a path, a module's bytes, or WebAssembly text.
    args: its arguments, strings or paths; giving some grants `args`.
    allow: rules for what it may do, such as "console" and
        "tcpip.listen(listen_port=80)", of SERVICES; nothing by default.
    deny: rules for what it may not, whatever is allowed.
    policy: a file whose [task.NAME] and [run] say more of both.
    dirs: host directories, as in `./data::/data:ro`, or zip and tar files; paths, which are
        seen by their own name; or a mapping of paths to `/data` or `/data:ro`.
    listen: ports, as in `8080:80`.
    connect: where it may connect to: names as in "example.com:443", addresses,
        networks, "any" for public ones, "all"; "none": nowhere, whatever is allowed.
    env: variables that it may read: the host's by name, or NAME=VALUE.
    files: a host directory or tar file that `fs` starts with, in memory;
        giving it grants `fs`, unless the policy says what of these files it may use. The original
        is never changed.
    max_open_files: how many files it may have open, 1,024 by default, as far as the host has them.
    ask: called with the kernel and the task for what `Kernel.ask` takes: it decides
        about what would be denied. All servers are up then; `args` if there are some.
    audit: a file to write down who was granted and denied what, `audit_calls` also
        what was allowed.
    timeout: seconds until it is ended, whatever it waits for.
    input: what it reads from `console`, bytes, a text or a binary stream; nothing by default.
    capture_output: return what it prints as `stdout` and `stderr` instead of printing it.
    output, errors: binary streams for what it prints, or functions of the bytes, instead of this
        process's own; `output` alone takes both. What a function raises ends the program, and is
        raised here.
    terminal: whether control characters that it prints are to be shown instead of sent; by default
        if the stream is a terminal.
    clock: "fixed:2026-01-02T03:04:05" or so: clocks begin then, and go on only when it waits.
    seed: its randomness is what this decides; with both, and no other input, a run repeats.
    output_limit: how many bytes it may print: then a WASI program is ended, and any other hears
        -2 from `console`. By default 64 MiB of what is captured, and no limit otherwise.
    files_limit: how many bytes its files in memory may have together: those of `files` and
        what it makes beside them, and those of each overlay; 64 MiB by default.
    argv0: the first of its arguments, by which some programs choose what they do; otherwise the
        name of its file for a program of another system, and the task's for any other.
    invoke: the exported function to call instead of the program's entry; `args` are its
        arguments then, numbers or text: decimal, or hexadecimal with 0x. `exit.results` is what it
        returns.
    control: let its owner speak to it, as `wasmos ps` and others do, once it
        has run for a moment.
    cache, progress: as `Kernel` takes them.

    Raises ModuleRefused, CompileLimitExceeded, UsageError, NotGranted if the policy
    says nothing of it, other ManifestErrors, OSError.
    """
    import io

    failures: list[Exception] = []

    def fail(error: Exception) -> None:
        failures.append(error)
        kernel.kill(task, f"its output can't be taken: {error!r}")

    words = outfit.words(args if invoke is None else [_text(each) for each in args], argv0)
    authority = Allowance()
    authority.add(allow, "allow=")
    authority.add(deny, "deny=", denies=True)
    its_own = bool(words) and invoke is None  # and not the function's
    authority.imply("args", its_own or argv0 is not None, "its args")
    authority.imply("fs", files is not None, "--files")
    outfit.check_open_files(max_open_files)
    if env:
        for note in outfit.unset(variables(env)):
            log(note)
    if dirs or listen or connect or env:
        authority.add_flags(dirs, listed(listen), listed(connect), env)
        outfit.check_strings("variables", outfit.assigned(authority.variables))
    limits = limits or LIMITS
    if timeout is not None:
        if not isinstance(timeout, int | float):
            raise UsageError(f"timeout is a number of seconds, not {timeout!r}")
        limits = limits.replace(deadline_seconds=timeout)
    captured = (io.BytesIO(), io.BytesIO()) if capture_output else None
    if captured is not None:
        output, errors = captured
    authority.repeat(clock, seed)
    if capture_output and output_limit is None:
        output_limit = MAX_CAPTURED
    if isinstance(input, str):
        input = input.encode()  # noqa: A001
    stdin = io.BytesIO(input) if isinstance(input, bytes) else input
    given = _Given(words, authority.variables, argv0)
    makers: dict[str, Callable[[], Service]] = {
        "console": lambda: outfit.console(
            _guarded(output, fail),
            stdin,
            errors=_guarded(errors, fail),
            terminal=terminal,
            output_limit=output_limit,
            on_cut=lambda _: _cut(kernel, task, program, output_limit or 0, log),
        ),
        "args": lambda: outfit.args(given.arguments),
        "env": lambda: outfit.env(given.variables),
        "fs": lambda: outfit.fs(
            outfit.filled_image(files, log, files_limit),
            outfit.FILES_OF_ONE if max_open_files is None else max_open_files,
            files_limit,
        ),
        "tcpip": lambda: outfit.tcpip(authority.ports, None, log, unmapped=authority.unmapped),
        "clock": outfit.clock,
        "random": outfit.random,
        "echo": outfit.echo,
        "pong": outfit.pong,
        "vm": lambda: outfit.vm(None),
    }
    with Kernel(personalities=outfit.personalities(), cache=cache, progress=progress) as kernel:
        offer = Offer(kernel, SERVICES, makers=makers)
        book = None if audit is None else outfit.audit(kernel, audit, calls=audit_calls)
        try:
            program = kernel.prepare(source, limits, library=invoke is not None)
            _check_kind(program)
            if invoke is None:
                outfit.check_lengths(program.shape.dialect, words, argv0)
            values, result_types = _called(program, invoke, words)
            if policy is not None:
                authority.add_policy(policy, name or program.name, needed=ask is None)
                if env and program.shape.dialect is not None:
                    # Such a program reads all that there is, and nothing without a list.
                    authority.add(("env.list",), "--env")
            elif program.shape.dialect is not None:
                authority.add_standard()
            wanted = authority.services if ask is None else authority.asked_services
            program.compile_limits = compile_limits
            _compile(kernel, program, offer, wanted)
            task = kernel.spawn(program, name=name, limits=limits, entry=invoke, arguments=values)
            authority.give(kernel, task)
            given.to(task, outfit.argv0(program, source, task.name))
            if ask is not None:
                kernel.ask(task, ask(kernel, task))
            later = Later(kernel, task.name, log, offer=offer) if control else None
            exit = _wait(kernel, task, later)
            if program.is_reactor and exit.ok:
                log(_only_initialized(program, task.name))
        finally:
            if book is not None:
                kernel.close()  # so that it has everybody's end
                book.close()
    if failures:
        raise failures[0]
    stdout, stderr = (each.getvalue() for each in captured) if captured else (None, None)
    denied = tuple(sorted(task.denied))
    has_files = files is not None or authority.has_directories
    lacked = () if invoke is not None else _lacked(program, task, exit, words, has_files)
    return Completed(
        exit, stdout, denied, task.denials, task.denied_by, stderr, result_types, lacked
    )


def _guarded(output: Output | None, fail: Callable[[Exception], None]) -> Output | None:
    """An output of which `fail` hears what it raises, if it is a function: a mistake of the host's
    is no answer to a program. Streams do say what is for programs: that a disk is full."""
    if not callable(output) or hasattr(output, "write"):
        return output

    def write(data: bytes) -> object:
        try:
            return output(data)
        except Exception as error:
            fail(error)
            raise BrokenPipeError from None

    return write


def _cut(
    kernel: Kernel, task: Task, program: Program, most: int, log: Callable[[str], object]
) -> None:
    """A program has printed all that it may, and wants to go on. Those of other systems couldn't
    tell why they can't, and few would stop for it."""
    if program.shape.dialect is not None:
        reason = f"{most:,} bytes; to allow more: --max-output, or output_limit"
        kernel.kill(task, reason, cause="output_limit")
    else:
        log(
            f"note: {task.name} may print {most:,} bytes, and the rest was left out; "
            "to allow more: --max-output, or output_limit"
        )


def _check_kind(program: Program) -> None:
    if program.shape.kind == "passive":
        raise UsageError(
            f"{program.name} is a passive service, which runs when it is called: "
            "give it a [task] in a manifest and boot that"
        )


def _called(
    program: Program, invoke: str | None, texts: Sequence[str]
) -> tuple[list[int | float], tuple[str, ...]]:
    """The values of a function's arguments and the types of its results. Raises UsageError, before
    anything takes its time."""
    if invoke is None:
        return [], ()
    from wasmos.system.invoke import arguments

    values = arguments(program, invoke, texts)
    return values, program.signature(invoke, len(values))[1]


def _lacked(
    program: Program, task: Task, exit: Exit, words: Sequence[str], has_files: bool
) -> tuple[str, ...]:
    """Files and ports aren't denied to a program of another system: there are none. That its
    adapter looked for them is no need, as C libraries have it look in every program that may open
    a file. They may have been the reason if the program failed, imports functions that are for
    nothing else, was asked for a file, and nobody has said that it should have none. An
    interpreter can do all that, and most of its programs want no port."""
    if exit.ok or exit.cause not in ("returned", "trapped") or program.shape.dialect is None:
        return ()
    from wasmos.personalities.wasi import wants
    from wasmos.system.policy.rights import looks_around

    imported = (item.name for item in program.info.imports_from(program.shape.dialect))
    wanted = wants.services(imported)
    refused = {grant.rule.service for grant in task.forbidden if grant.rule.denied is None}
    likely = "fs" if "fs" in wanted else "tcpip"
    if likely not in wanted or refused & {likely, ALL}:
        return ()
    if likely == "fs":
        is_missed = not has_files and any(map(_names_a_file, words))
    else:
        looked = task.missed | {each.service for each in task.denials if looks_around(each)}
        is_missed = likely in looked
    return (likely,) if is_missed else ()


def _names_a_file(word: str) -> bool:
    return ("/" in word and "://" not in word) or os.path.exists(word)


def _only_initialized(program: Program, name: str) -> str:
    """For who expected that something would be done."""
    note = f"note: {name} is a reactor, which was initialized and does nothing more by itself"
    if not program.functions:
        return note
    return f"{note}; to call one of its functions: {program.calling}"


def _compile(kernel: Kernel, program: Program, offer: Offer, services: Iterable[str]) -> None:
    """The child compiles while the servers come up."""
    compilation = program.begin()
    try:
        for service in services:
            offer.start(service)
        program.finish(compilation)
    finally:
        if compilation is not None:
            compilation.cancel()
    kernel.finish_loading(program)


class _Given:
    """What a program is started with, as its servers know it: by task."""

    def __init__(
        self, args: Sequence[str], variables: Mapping[str, str], argv0: str | None
    ) -> None:
        self.arguments: dict[int, list[str]] = {}
        self.variables: dict[int, Mapping[str, str]] = {}
        self._args = args
        self._variables = variables  # that were given a value; the others are the host's
        self._argv0 = argv0

    def to(self, task: Task, argv0: str) -> None:
        """`argv0`: what it is called if nothing else was said."""
        first = argv0 if self._argv0 is None else self._argv0
        self.arguments[task.id] = [first, *self._args]
        self.variables[task.id] = {**os.environ, **self._variables}


def _wait(kernel: Kernel, task: Task, later: Later | None) -> Exit:
    try:
        return kernel.wait(task)
    except (KeyboardInterrupt, SystemExit):
        kernel.kill(task, "interrupted")
        raise
    finally:
        if later is not None:
            later.close()


def _text(argument: Any) -> Any:
    """A number for a function that is called, as it is written."""
    is_number = isinstance(argument, int | float) and not isinstance(argument, bool)
    return repr(argument) if is_number else argument
