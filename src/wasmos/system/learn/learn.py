"""`wasmos learn`: run a program, watch it, and write down what it needed.

Law: the program runs under a rule for each thing that it does, made when it does it; what is denied
stays denied. Whatever ends the run, a signal included, what was learnt until then is not lost.
"""

from __future__ import annotations

import os

from wasmos.errors import Deadlock, UsageError
from wasmos.kernel import Kernel, Rule
from wasmos.system import outfit
from wasmos.system.allowance import STANDARD
from wasmos.system.learn import learnt
from wasmos.system.learn.learner import ORIGIN, Learner
from wasmos.system.learn.watched import WatchedEnv, WatchedFs, WatchedTcpip, variable
from wasmos.system.run import LIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import BinaryIO

    from wasmos.kernel import Cache, CompileLimits, Exit, Limits, Progress, Service, Source, Task
    from wasmos.servers.tcpip.network import Endpoint, Network
    from wasmos.system.flags import Directories
    from wasmos.system.learn.learner import Ask
    from wasmos.system.learn.learnt import Line


class Learnt:
    """What came of a run.

    policy: the text of a policy file; `lines`: its rules that allow, with their comments.
    once: rules for what somebody has allowed once; in the file they are comments.
    name: the program's, and so the section's. `exit`: how it ended, None if it was interrupted.
    notes: what wasn't allowed, and why.
    """

    __slots__ = ("deny", "exit", "lines", "name", "notes", "once")

    def __init__(
        self, name: str, lines: list[Line], once: list[Line], deny: list[Rule], notes: list[str],
        exit: Exit | None,
    ) -> None:  # fmt: skip
        self.name = name
        self.lines = lines
        allowed = {str(line.rule) for line in lines}
        self.once = [line for line in once if str(line.rule) not in allowed]
        self.deny = deny
        self.notes = notes
        self.exit = exit

    @property
    def policy(self) -> str:
        return learnt.text(self.name, self.lines, once=self.once, deny=self.deny, notes=self.notes)

    def __repr__(self) -> str:
        return f"<Learnt {self.name!r}: {len(self.lines)} rules>"


def learn(
    source: Source,
    args: Sequence[str | os.PathLike[str]] = (),
    *,
    ask: Callable[[Kernel, Task], Ask] | None = None,
    allow: Iterable[str] = (),
    deny: Iterable[str] = (),
    generalise: bool = False,
    dirs: Directories = (),
    files: str | os.PathLike[str] | None = None,
    max_open_files: int | None = None,
    listen: Iterable[str] = (),
    env: Iterable[str] = (),
    network: Network | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
    compile_limits: CompileLimits | None = None,
    input: BinaryIO | None = None,  # noqa: A002 - as in subprocess.run
    output: BinaryIO | None = None,
    output_limit: int | None = None,
    name: str | None = None,
    argv0: str | None = None,
    cache: bool | Cache = True,
    progress: Progress | None = None,
    log: Callable[[str], object] = lambda _: None,
) -> Learnt:
    """Run a program until it ends or is interrupted, and say what it needed.

    It may do everything but what `deny` says. With `ask` it may do what that allows, which is
    called with the kernel and the task for what `Kernel.ask` takes: `lambda kernel, task:
    Prompter(…)`; then `allow` is what is allowed without a question, and for a program of another
    system what `run` grants it by itself.

    dirs: host directories, as `run` takes them; without them it has files in memory, `files`
        at first; a program of another system has these only if there are some.
    max_open_files: how many files it may have open, 1,024 by default, as far as the host has them.
    argv0: as for `run`.
    listen: ports, as in `8080:80`; every other port that it wants is any free one of 127.0.0.1.
    env: variables that it finds besides the host's, or instead: NAME=VALUE; a program of another
        system finds these and no others, for it is given all that there are. network: the host's
        own, unless another one is given.
    cache, progress: as `Kernel` takes them.
    generalise: allow more than was seen where a list would be long, and say so.

    Raises ModuleRefused, CompileLimitExceeded, UsageError, OSError.
    """
    allow, env, words = list(allow), list(env), outfit.words(args, argv0)
    if allow and ask is None:  # it would read like a limit, and be none
        raise UsageError("allow= goes with ask=; without it everything is allowed but deny=")
    limits = limits or LIMITS
    if timeout is not None:
        limits = limits.replace(deadline_seconds=timeout)
    with Kernel(personalities=outfit.personalities(), cache=cache, progress=progress) as kernel:
        program = kernel.load(source, limits=limits, compile_limits=compile_limits)
        if program.shape.kind == "passive":
            raise UsageError(f"{program.name} is a passive service, which does nothing by itself")
        outfit.check_lengths(program.shape.dialect, words, argv0)
        denied = [kernel.parse_rule(rule) for rule in deny]
        approved = [kernel.parse_rule(rule) for rule in allow]
        world = _World(kernel, dirs, files, max_open_files, listen, network, log)
        for note in outfit.unset(env):
            log(note)
        is_adapted = program.shape.dialect is not None
        if is_adapted:
            approved += map(Rule.parse, STANDARD)
        variables = _variables(env, is_adapted)
        world.serve(
            input, output, output_limit,
            args=bool(words) or argv0 is not None or is_adapted or ask is None,
            env=bool(variables) or not is_adapted,
        )  # fmt: skip
        task = kernel.spawn(program, name=name, limits=limits)
        for rule in denied:
            kernel.deny(task, rule, origin="--deny")
        watched = world.fs_rules if ask is None else world.dirs
        if is_adapted:  # as in a run: it sees the places that it is given
            watched = world.dirs if files is None else world.fs_rules
        for rule in watched:
            kernel.grant(task, rule, origin=ORIGIN)
        asked = None if ask is None else ask(kernel, task)
        learner = Learner(
            kernel, task, ask=asked, approved=approved, generalise=generalise,
            is_adapted=is_adapted,
        )  # fmt: skip
        if argv0 is None:
            argv0 = outfit.argv0(program, source, task.name)
        world.begin(task, learner, [argv0, *words], variables)
        # What is said with `env=` is granted in a run; of the host's others somebody decides.
        world.shares_all = is_adapted or ask is None
        kernel.ask(task, learner)
        exit = _wait(kernel, task)
        learner.finish()
        learner.binds = world.binds
        if is_adapted:
            learner.idle = world.idle_ports
        used = world.fs.needs(numbered=world.hears) if watched else []
        found = learner.lines([*used, *world.env.needs()])
        return Learnt(task.name, found, learner.once(), denied, list(learner.notes), exit)


def _wait(kernel: Kernel, task: Task) -> Exit | None:
    """None if somebody has interrupted it."""
    try:
        return kernel.wait(task)
    except (KeyboardInterrupt, SystemExit, Deadlock):
        return None


class _World:
    """The servers, with somebody who watches."""

    def __init__(
        self,
        kernel: Kernel,
        dirs: Directories,
        files: str | os.PathLike[str] | None,
        max_open_files: int | None,
        listen: Iterable[str],
        network: Network | None,
        log: Callable[[str], object],
    ) -> None:
        from wasmos.system import flags
        from wasmos.system.policy import rights

        self.binds: dict[int, str] = {}
        self.dirs = [Rule.parse(rule) for _, rule in flags.directories(dirs)]
        for rule in self.dirs:
            rights.check_badge(rule)
        in_memory = [Rule("fs")] if files is not None or not self.dirs else []
        self.fs_rules = [*in_memory, *self.dirs]
        most = outfit.FILES_OF_ONE if max_open_files is None else max_open_files
        self.fs = WatchedFs(outfit.filled_image(files, log), **outfit.room_for(most))
        self._kernel = kernel
        self._log = log
        self._listen = list(listen)
        self._network = network
        self._arguments: dict[int, list[str]] = {}
        self._variables: dict[int, Mapping[str, str]] = {}
        self.env = WatchedEnv(self._variables, self._grant_variables)
        self.shares_all = False  # who reads all variables at once may have them
        self._task: Task | None = None
        self._learner: Learner | None = None
        self._network_server: WatchedTcpip | None = None

    @property
    def idle_ports(self) -> set[int]:
        server = self._network_server
        return set() if server is None else server.offered - server.asked

    @property
    def hears(self) -> bool:
        """Whether a port was of use that it was offered."""
        server = self._network_server
        return server is not None and bool(server.offered & server.asked)

    def serve(
        self,
        source: BinaryIO | None,
        output: BinaryIO | None,
        output_limit: int | None,
        *,
        args: bool,
        env: bool,
    ) -> None:
        """All there is: it is learnt what of it is needed. `args` and `env`, or nobody is asked
        about them in vain."""
        servers: list[Service] = [
            outfit.vm(None),
            outfit.console(output, source, output_limit=output_limit),
            *([outfit.args(self._arguments)] if args else []),
            *([self.env] if env else []),
            outfit.clock(),
            outfit.random(),
            outfit.echo(),
            outfit.pong(),
            self.fs,
            self._tcpip(),
        ]
        for server in servers:
            self._kernel.serve(server)

    def begin(
        self, task: Task, learner: Learner, args: list[str], variables: Mapping[str, str]
    ) -> None:
        self._arguments[task.id] = args
        self._variables[task.id] = variables
        self._task = task
        self._learner = learner

    def _grant_variables(self, names: list[str]) -> None:
        """Nobody asks for them one by one, as that is how it is learnt otherwise."""
        rules = map(variable, names if self.shares_all else ())
        for rule in rules:
            if rule is not None and self._task is not None:
                self._kernel.grant(self._task, rule, origin=ORIGIN)

    def _tcpip(self) -> Service:
        from wasmos.servers.tcpip import PortMap

        ports = PortMap(self._listen, unmapped="any")
        self._network_server = WatchedTcpip(
            self._resolved,
            ports.guest_ports,
            ports=ports,
            network=self._network,
            on_bound=self._bound,
        )
        return self._network_server

    def _resolved(self, hostname: str, address: int) -> None:
        if self._learner is not None:
            self._learner.resolved(hostname, address)

    def _bound(self, port: int, endpoint: Endpoint) -> None:
        given = [text.rpartition(":") for text in self._listen]
        bind = next((host for host, _, guest in given if guest == str(port)), "0")
        self.binds[port] = bind
        self._log(f"tcpip: port {port} is {endpoint}")


def _variables(env: Iterable[str], is_adapted: bool) -> dict[str, str]:
    """As in `run`: which of them it may read there, the policy says, and here it may do all. But an
    adapter reads whatever there is, so that nobody could say what its program needed of it."""
    from wasmos.system import flags

    given = [(name, value) for name, value, _ in map(flags.variable, env)]
    known = {name: value for name, value in given if value is not None}
    if not is_adapted:
        return {**os.environ, **known}
    return {name: os.environ[name] for name, _ in given if name in os.environ} | known
