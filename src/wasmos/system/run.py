"""Running one program with exactly the authority that is listed.

Law: what isn't granted isn't there: the server for it is not even started, unless somebody is asked
before something is denied; what is granted while it runs is started then. Each right knows who said
so.
"""

from __future__ import annotations

import os

from wasmos.errors import TaskFailed, UsageError
from wasmos.kernel import ALL, Kernel, Limits, Rule
from wasmos.system import outfit
from wasmos.system.control.later import Later
from wasmos.system.offer import Offer
from wasmos.system.units import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, BinaryIO, TypeAlias

    from wasmos.kernel import (
        Cache,
        CompileLimits,
        Denial,
        Exit,
        Grant,
        Program,
        Progress,
        Service,
        Source,
        Task,
    )
    from wasmos.system.backtrace import Frame
    from wasmos.system.flags import Directories

    # Makes what `Kernel.ask` takes.
    Ask: TypeAlias = Callable[[Kernel, Task], Callable[[Denial], bool | None]]

MAX_CAPTURED = 64 << 20  # bytes of output
# What `allow` can name here. `vm` lets a program register services and spawn
# nothing: there is no boot directory.
SERVICES = ("console", "args", "env", "fs", "tcpip", "clock", "random", "echo", "pong", "vm")
# What a program of another system takes for granted, and is granted unless a policy decides: its
# standard streams, its arguments, the variables that it was given, time and randomness. None of
# that reaches a file, a socket, or another program.
STANDARD = ("console", "args", "env.list", "clock", "random")
STANDARD_ORIGIN = "standard for WASI"
_ALL_OF_TCPIP = (Rule(ALL), Rule("tcpip"))


class Said(str):
    """A text that knows where it was said, such as "--allow"."""

    origin: str

    def __new__(cls, text: str, origin: str) -> Said:
        said = super().__new__(cls, text)
        said.origin = origin
        return said


class Completed:
    """How a run ended, in the manner of `subprocess.CompletedProcess`.

    returncode: the guest's own exit code, 124 time limit, 126 could not start,
        134 trap, 137 killed or output limit. exit: all about it. backtrace: where it was when it
        ended, if it was stopped. stdout, stderr: what it printed, if that was captured.
        denied: the services it asked for in vain. denied_by: of those, the deny rules that
        hid some. denials: the first different messages that were refused. lacked: of a
        program for another system that ended badly, "fs" if it looked for directories and was
        given none, "tcpip" for ports.
    """

    __slots__ = (
        "_result_types", "_trace", "backtrace", "denials", "denied", "denied_by", "exit", "lacked",
        "stderr", "stdout",
    )  # fmt: skip

    def __init__(
        self,
        exit: Exit,
        stdout: bytes | None,
        denied: tuple[str, ...],
        denials: Iterable[Denial] = (),
        denied_by: Mapping[str, Grant] | None = None,
        stderr: bytes | None = None,
        result_types: Sequence[str] = (),
        lacked: tuple[str, ...] = (),
    ) -> None:
        self.exit = exit
        self._result_types = result_types
        self.stdout = stdout
        self.stderr = stderr
        self.denied = denied
        self.denied_by = dict(denied_by or {})
        self.denials = list(denials)
        self.lacked = lacked
        self.backtrace: list[Frame] = []
        self._trace: list[list[str]] = [[], []]
        if exit.backtrace:  # now: who keeps this doesn't keep the module
            from wasmos.system.backtrace import backtrace, trace

            self.backtrace = backtrace(exit)
            self._trace = [trace(exit), trace(exit, details=True)]

    def trace(self, *, details: bool = False) -> list[str]:
        """The backtrace as people read it, a line for each function."""
        return self._trace[details]

    def show_results(self) -> list[str]:
        """What the function returned that was called, `exit.results`, as text; [] without one."""
        if not self.exit.results:
            return []
        from wasmos.system.invoke import shown

        return shown(self._result_types, self.exit.results)

    @property
    def returncode(self) -> int:
        return self.exit.status

    def check_returncode(self) -> None:
        """Raises GuestExit, GuestTrap, DeadlineExceeded or TaskKilled, with the backtrace as a
        note."""
        try:
            self.exit.check()
        except TaskFailed as error:
            if self._trace[0]:
                error.add_note("\n".join(self._trace[0]))
            raise

    def __repr__(self) -> str:
        return f"<Completed {self.exit}>"


def run(
    source: Source,
    args: Sequence[str | os.PathLike[str]] = (),
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
    input: BinaryIO | bytes | None = None,  # noqa: A002 - as in subprocess.run
    capture_output: bool = False,
    output: BinaryIO | None = None,
    errors: BinaryIO | None = None,
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
    input: what it reads from `console`; nothing by default.
    capture_output: return what it prints as `stdout` and `stderr` instead of printing it.
    output, errors: binary streams for what it prints, instead of this process's own.
    clock: "fixed:2026-01-02T03:04:05" or so: clocks begin then and stand still.
    seed: its randomness is what this decides; with both, and no other input, a run repeats.
    output_limit: how many bytes it may print: then a WASI program is ended, and any other hears
        -2 from `console`. By default 64 MiB of what is captured, and no limit otherwise.
    files_limit: how many bytes its files in memory may have together: those of `files` and
        what it makes beside them, and those of each overlay; 64 MiB by default.
    argv0: the first of its arguments, by which some programs choose what they do; otherwise the
        name of its file for a program of another system, and the task's for any other.
    invoke: the exported function to call instead of the program's entry; `args` are its
        arguments then, as text: decimal, or hexadecimal with 0x. `exit.results` is what it returns.
    control: let its owner speak to it, as `wasmos ps` and others do, once it
        has run for a moment.
    cache, progress: as `Kernel` takes them.

    Raises ModuleRefused, CompileLimitExceeded, UsageError, NotGranted if the policy
    says nothing of it, other ManifestErrors, OSError.
    """
    import io

    words = outfit.words(args)
    outfit.check_strings("arguments", _numbered(words))
    authority = _Authority()
    authority.add(allow, "allow=")
    authority.add(deny, "deny=", denies=True)
    its_own = bool(words) and invoke is None  # and not the function's
    authority.imply("args", its_own or argv0 is not None, "its args")
    authority.imply("fs", files is not None, "--files")
    outfit.check_open_files(max_open_files)
    if env:
        for note in outfit.unset(_variables(env)):
            log(note)
    if dirs or listen or connect or env:
        authority.add_flags(dirs, _listed(listen), _listed(connect), env)
        said = authority.variables.items()
        outfit.check_strings("variables", {f"variable {n}": f"{n}={value}" for n, value in said})
    limits = limits or Limits()
    if timeout is not None:
        limits = limits.replace(deadline_seconds=timeout)
    captured = (io.BytesIO(), io.BytesIO()) if capture_output else None
    if captured is not None:
        output, errors = captured
    authority.repeat(clock, seed)
    if capture_output and output_limit is None:
        output_limit = MAX_CAPTURED
    stdin = io.BytesIO(input) if isinstance(input, bytes) else input
    given = _Given(words, authority.variables, argv0)
    makers: dict[str, Callable[[], Service]] = {
        "console": lambda: outfit.console(
            output,
            stdin,
            errors=errors,
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
            if program.shape.dialect is None and invoke is None:
                _check_lengths(words)
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
    stdout, stderr = (each.getvalue() for each in captured) if captured else (None, None)
    denied = tuple(sorted(task.denied))
    lacked = _lacked(program, task, exit)
    return Completed(
        exit, stdout, denied, task.denials, task.denied_by, stderr, result_types, lacked
    )


def _cut(
    kernel: Kernel, task: Task, program: Program, most: int, log: Callable[[str], object]
) -> None:
    """A program has printed all that it may, and wants to go on. Those of other systems couldn't
    tell why they can't, and few would stop for it."""
    if program.shape.dialect is not None:
        reason = f"{most:,} bytes; to allow more: --max-output"
        kernel.kill(task, reason, cause="output_limit")
    else:
        log(
            f"note: {task.name} may print {most:,} bytes, and the rest was left out; "
            "to allow more: --max-output"
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
    return values, program.signature(invoke, len(texts))[1]


def _lacked(program: Program, task: Task, exit: Exit) -> tuple[str, ...]:
    """Files and ports aren't denied to a program of another system: there are none. That its
    adapter looked for them is no need, as C libraries have it look in every program that may open
    a file. It may have been the reason if the program failed, imports functions that are for
    nothing else, and nobody has said that it should have none. An interpreter can do both, and
    most of its programs want no port."""
    if exit.ok or exit.cause not in ("returned", "trapped") or program.shape.dialect is None:
        return ()
    from wasmos.personalities.wasi import wants
    from wasmos.system.policy.rights import looks_around

    missed = task.missed | {each.service for each in task.denials if looks_around(each)}
    refused = {grant.rule.service for grant in task.forbidden if grant.rule.denied is None}
    missed = (missed - refused) & {"fs", "tcpip"}
    if not missed or ALL in refused:
        return ()
    imported = (item.name for item in program.info.imports_from(program.shape.dialect))
    wanted = wants.services(imported)
    likely = "fs" if "fs" in wanted else "tcpip"
    return (likely,) if likely in wanted and likely in missed else ()


def _only_initialized(program: Program, name: str) -> str:
    """For who expected that something would be done."""
    note = f"note: {name} is a reactor, which was initialized and does nothing more by itself"
    if not program.functions:
        return note
    return f"{note}; to call one of its functions: --invoke {program.functions[0]!a}"


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


def _numbered(words: Sequence[str]) -> dict[str, str]:
    return {f"argument {number}": word for number, word in enumerate(words, 1)}


def _check_lengths(words: Sequence[str]) -> None:
    """Raises UsageError. A program of ours asks for one at a time, and would take one that it can't
    be told for none at all."""
    from wasmos.servers.args import MAX_ARGUMENT_BYTES
    from wasmos.servers.strings import bytes_of

    for name, word in _numbered(words).items():
        size = len(bytes_of(word))
        if size > MAX_ARGUMENT_BYTES:
            raise UsageError(
                f"{name} has {size:,} bytes, the most is {MAX_ARGUMENT_BYTES:,} for a program that "
                "isn't for WASI; pass it in a file or as input"
            )


def _listed(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


class _Authority:
    """What a program may and may not do: rules, each with where it was said.

    ports: what is left for a port map. variables: of the environment, that were given a value.
    """

    def __init__(self) -> None:
        self.ports: list[str] = []
        self.variables: dict[str, str] = {}
        self._allow: list[tuple[Rule, str]] = []
        self._deny: list[tuple[Rule, str]] = []

    @property
    def services(self) -> Sequence[str]:
        """Which servers it takes, in the usual order."""
        named = {rule.service for rule, _ in self._allow}
        return SERVICES if ALL in named else [name for name in SERVICES if name in named]

    @property
    def asked_services(self) -> Sequence[str]:
        """Those that there are if somebody is asked: all. But who is given no arguments misses
        nothing without `args`, and isn't worth a question."""
        return [name for name in SERVICES if name != "args" or name in self.services]

    @property
    def unmapped(self) -> str:
        """What becomes of a port that nothing says the place of: who may use all of tcpip may
        listen, so it is somewhere; whoever wrote a rule for ports alone says where."""
        return "any" if any(rule in _ALL_OF_TCPIP for rule, _ in self._allow) else "refuse"

    def add(self, texts: str | Iterable[str], origin: str, *, denies: bool = False) -> None:
        """Rules. Raises UsageError."""
        into = self._deny if denies else self._allow
        for text in _listed(texts):
            rule = Rule.parse(str(text)) if text else Rule("")
            if rule.service not in SERVICES and rule.service != ALL:
                what = "deny" if denies else "allow"
                hint = nearest(rule.service, SERVICES)
                raise UsageError(f"no service {rule.service!r} to {what}; {hint}")
            if rule.badge or denies:
                rule = _checked(rule, denies)
            into.append((rule, getattr(text, "origin", origin)))

    def imply(self, service: str, is_given: bool, origin: str) -> None:
        """What needs a service grants it."""
        if is_given:
            self._allow.append((Rule(service), origin))

    def repeat(self, clock: str | None, seed: str | int | None) -> None:
        """Time and randomness that are the same in each run. Raises UsageError."""
        if clock is not None:
            kind, colon, at = clock.partition(":")
            if kind != "fixed" or not colon:
                raise UsageError(f"clock {clock!r}: write fixed:2026-01-02T03:04:05")
            self.add((f'clock(at="{at}")',), _origin(clock, "--clock"))
        if seed is not None:
            self.add((f'random(seed="{seed}")',), _origin(str(seed), "--seed"))

    def add_standard(self) -> None:
        """What a program of another system takes for granted, as far as nothing was said of it."""
        said = {rule.service for rule, _ in self._allow}
        for text in STANDARD:
            rule = Rule.parse(text)
            if rule.service not in said or rule.service == "env":
                self._allow.append((rule, STANDARD_ORIGIN))

    def add_flags(
        self,
        dirs: Directories,
        listen: list[str],
        connect: list[str],
        env: str | Iterable[str] | Mapping[str, str],
    ) -> None:
        """What is written instead of rules. Raises UsageError."""
        from wasmos.system import flags

        for text, rule in flags.directories(dirs):
            self.add(rule, _origin(text, "--dir"))
        if listen:
            outfit.check_ports(listen)
            rules, self.ports = flags.listening(listen)
            self.add(rules, _origin(listen[0], "--listen"))
        if "none" in connect and len(connect) > 1:
            raise UsageError('destination "none" stands alone')
        for text in connect:
            if text == "none":
                nowhere = "tcpip.connect", "tcpip.dns_resolve"
                self.add(nowhere, _origin(text, "--connect none"), denies=True)
            self.add(flags.connecting(text), _origin(text, "--connect"))
        for text in _variables(env):
            name, value, rule = flags.variable(text)
            if value is not None:
                self.variables[name] = value
            self.add(rule, _origin(text, "--env"))

    def add_policy(self, path: str | os.PathLike[str], name: str, *, needed: bool) -> None:
        """What a file says of a program. Raises ManifestError, NotGranted."""
        from wasmos.system.policy import policy

        allow, deny = policy.for_run(os.fspath(path), name, SERVICES, needed=needed)
        if any(_is_in_memory(right.rule) for right in allow):
            # It says what of these files: that there are some is no reason for more.
            self._allow = [each for each in self._allow if each != _IMPLIED_FILES]
        self._allow += ((right.rule, right.origin) for right in allow)
        self._deny += ((right.rule, right.origin) for right in deny)

    def give(self, kernel: Kernel, task: Task) -> None:
        for rule, origin in self._deny:
            kernel.deny(task, rule, origin=origin)
        given: set[Rule] = set()
        for rule, origin in self._allow:
            if rule not in given:
                given.add(rule)
                kernel.grant(task, rule, origin=origin)


_IMPLIED_FILES = Rule("fs"), "--files"


def _is_in_memory(rule: Rule) -> bool:
    """Whether it is for files, and not for those of a host directory or an archive."""
    return rule.service in ("fs", ALL) and not {"dir", "archive"} & set(rule.badge)


def _origin(text: str, origin: str) -> str:
    return str(getattr(text, "origin", origin))


def _checked(rule: Rule, denies: bool) -> Rule:
    from wasmos.system.policy import rights

    if denies:
        rights.check_denial(rule)
    rule = rights.beneath(os.getcwd(), rule)
    rights.check_badge(rule)
    return rule


def _variables(env: str | Iterable[str] | Mapping[str, str]) -> list[str]:
    if isinstance(env, str):
        return [env]
    items: Any = getattr(env, "items", None)
    return list(env) if items is None else [f"{name}={value}" for name, value in items()]
