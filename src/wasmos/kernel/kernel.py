"""The kernel as its users see it: tasks, services, clients, authority, time.

Law: everything here is built on `_core.Core`; nothing here touches a guest's
memory. A kernel belongs to one thread and shares nothing with other kernels.
It makes progress only while someone waits: in `wait`, `call` or `run`, or in
`step`, which the asyncio front calls from its loop.
"""

from __future__ import annotations

from collections import OrderedDict

from wasmos import _core, abi
from wasmos.engine.cache import user_cache
from wasmos.engine.library import open_library
from wasmos.engine.policy import needs
from wasmos.errors import (
    CapabilityDenied,
    Deadlock,
    ServiceError,
    UsageError,
)
from wasmos.kernel.authority import EVERY, Authority
from wasmos.kernel.driver import Driver, resolve
from wasmos.kernel.event import Event
from wasmos.kernel.exit import Exit
from wasmos.kernel.grant import Grant
from wasmos.kernel.hooks import Hooks
from wasmos.kernel.invocation import prepared
from wasmos.kernel.kept import Kept
from wasmos.kernel.limits import Limits
from wasmos.kernel.names import ServiceNames
from wasmos.kernel.program import FOUR_CALLS, Program, admit, read
from wasmos.kernel.service import Caller, Service, handlers
from wasmos.kernel.task import Client, Task
from wasmos.kernel.timers import Timer, Timers

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, TypeAlias

    from wasmos.engine.cache import Cache
    from wasmos.engine.compiler import CompileLimits
    from wasmos.kernel.denial import Denial
    from wasmos.kernel.hooks import Ask
    from wasmos.kernel.personality import Personality
    from wasmos.kernel.program import Key, Source
    from wasmos.kernel.report import Entry
    from wasmos.kernel.rule import Rule

    # What `allow` and `deny` take: rules, such as "console" and "tcpip.listen(listen_port=80)".
    Rules: TypeAlias = Iterable[str | Rule]
    # Shows that a compilation takes its time.
    Progress: TypeAlias = Callable[[str, int], AbstractContextManager[Callable[[float], object]]]

# How often a running guest is preempted. Each time costs two switches of the
# host's threads: a millisecond would slow computing down by 3 %, this by less than 1.
TICK_NS = 4_000_000
STACK_BYTES = 512 << 10
DEFAULT_PRIORITY = 8
ALL = EVERY


def listed(rules: Rules, what: str) -> list[str | Rule]:
    """What `allow` or `deny` lists. A string would be a list of its letters."""
    if isinstance(rules, str):
        raise UsageError(f"{what} is a list of rules: write [{rules!r}]")
    return list(dict.fromkeys(rules)) if rules else []


class Kernel(Hooks):
    """A kernel: tasks, messages, authority, time.

    seed: a number makes ready tasks run in an order drawn from it, 0 in turn.
    virtual_clock: time passes only as instructions are executed and timers
        skipped to, and preemption counts instructions: with a seed, a whole
        system repeats exactly.
    stack_bytes: how deep each guest may recurse.
    handler_seconds: how long a passive service may take for one message.
    pool_tasks: set aside memory for so many tasks: spawns get several times
        faster, and no more tasks than these can live at once.
    personalities: foreign interfaces that programs may be written for.
    cache: where compiled programs are kept beyond the kernel's life: True for the
        user's cache, unless WASMOS_NO_CACHE is set; False for nowhere; or a `Cache`.
    progress: called with the name and the size of a program that a child compiles; returns
        a context manager, whose value is called again and again with the seconds so far. Maybe
        in another thread.
    """

    def __new__(
        cls,
        *,
        seed: int = 0,
        virtual_clock: bool = False,
        stack_bytes: int = STACK_BYTES,
        handler_seconds: float = 0.1,
        pool_tasks: int | None = None,
        events: int = 4096,
        personalities: Iterable[Personality] = (),
        cache: bool | Cache = True,
        progress: Progress | None = None,
    ) -> Kernel:
        library = open_library()
        pool = None
        if pool_tasks is not None:
            pool = {
                "tasks": pool_tasks,
                "memory_bytes": Limits().memory_bytes,
                "table_elements": Limits().table_elements,
                "keep_resident_bytes": 128 << 10,
            }
        tick_ns = 0 if virtual_clock else TICK_NS
        engine = _core.Engine(stack_bytes=stack_bytes, tick_ns=tick_ns, pool=pool)
        self = super().__new__(
            cls, engine, seed=seed, handler_ns=int(handler_seconds * 1e9), ring=events
        )
        self.library = library
        self._pool_tasks = pool_tasks
        self.engine_options = {"stack_bytes": stack_bytes, "tick_ns": tick_ns}
        self.personalities = {each.name: each for each in personalities}
        self.progress = progress
        found = user_cache() if cache is True else cache or None
        self.kept = None
        if found is not None:
            self.kept = Kept(
                found, library, self.engine_options, FOUR_CALLS, self.personalities.values()
            )
        return self

    _pool_tasks: int | None

    library: str  # path of the engine
    engine_options: dict[str, int]  # how it is set, for whoever compiles
    kept: Kept | None  # what was compiled before
    progress: Progress | None
    personalities: dict[str, Personality]  # by the module that programs import

    def __init__(self, **_options: object) -> None:
        self.names = ServiceNames(self)
        self._tasks: dict[int, Task] = {}
        self._services: dict[int, Service] = {}
        self._clients: dict[int, Client] = {}
        self._idle_hosts: list[Client] = []
        self._programs: dict[Key, Program] = {}
        self._adapters: dict[str, _core.Adapter] = {}
        self._kill_reasons: dict[int, tuple[str, str]] = {}
        # (client, serial of its call) → (service, the coroutine that will answer)
        self._coroutines: dict[tuple[int, int], tuple[int, asyncio.Task[Any]]] = {}
        self._room_wanted: dict[Callable[[], object], None] = {}
        self._watchers: list[Callable[[Exit], object]] = []
        self._remembered: OrderedDict[int, str] = OrderedDict()  # ended tasks' names
        self._asks: dict[int, Ask] = {}
        self._calls_wanted: list[object] = []  # sinks of `audit`
        self.authority = Authority(self)
        self.timers = Timers()
        self.quiet_timers = Timers()  # those that are no reason to go on
        self.driver = Driver(self)
        self.closed = False
        self.started_ns = self.now_ns
        self.define_messages(abi.MESSAGES.values(), abi.KERNEL_ONLY)

    # --- programs and tasks ---

    def load(
        self,
        source: Source | Program,
        *,
        limits: Limits | None = None,
        trusted: bool = False,
        compile_limits: CompileLimits | None = None,
        library: bool = False,
    ) -> Program:
        """Judge and compile a module; the same bytes only once.

        source: a path, the module's bytes, or text in the text format.
        trusted: compile in this process, at once and without limits.
        library: it is enough that its functions can be called, with `spawn(entry=…)`.
        Raises ModuleRefused, CompileLimitExceeded, or OSError for the file.
        """
        if isinstance(source, Program):
            return source
        program = self.prepare(source, limits or Limits(), library=library)
        if program.module is None:
            program.compile_limits = compile_limits
            program.compile(trusted)
        return self.finish_loading(program)

    def prepare(self, source: Source, limits: Limits, *, library: bool = False) -> Program:
        """Judge a module, without compiling it unless that was done before."""
        name, data = read(source)
        key = (data, limits.memory_bytes, limits.table_elements, library)
        if (known := self._programs.get(key)) is not None:
            return known
        kept_as = verdict = None
        if self.kept is not None:
            kept_as = self.kept.program(data, library)
            verdict = self.kept.verdict(kept_as, limits)
        if verdict is None:
            info, shape = admit(name, data, limits, self.personalities.values(), library=library)
            verdict = shape, needs(info)
        return Program(self, key, name, verdict, kept_as)

    def _adapter(self, dialect: str) -> _core.Adapter:
        found = self._adapters.get(dialect)
        if found is None:
            found = self._adapters[dialect] = self.personalities[dialect].load(
                self.engine, self.kept
            )
        return found

    def finish_loading(self, program: Program) -> Program:
        """Remember a program that was compiled."""
        self._programs[program.key] = program
        return program

    def spawn(
        self,
        source: Source | Program,
        *,
        name: str | None = None,
        allow: Rules = (),
        deny: Rules = (),
        parent: Task | None = None,
        origin: str = "",
        limits: Limits | None = None,
        priority: int = DEFAULT_PRIORITY,
        service: str | None = None,
        trusted: bool = False,
        entry: str | None = None,
        arguments: Sequence[int | float] = (),
    ) -> Task:
        """A task from a module. It runs when the kernel runs.

        allow: rules for what it may send, and to whom; nothing else is reachable.
        deny: rules for what it may not, whatever `allow` says.
        parent: a task on whose behalf this is done: the new one is given what `allow`
            and the parent's own grants have in common, and loses it with the parent's.
        origin: where the rules were said, for those who ask.
        priority: 0 (lowest) to 15; a ready task of a higher one runs first.
        service: register the task under this name, as a passive service must.
        entry: the exported function to call instead of `main` or `_start`, with `arguments`;
            what it returns is in `Exit.results`. `_initialize` is called before it.
        Raises what `load` raises, RuleError, ServiceError if the name is taken, and UsageError
        for a function that isn't there or takes other arguments.
        """
        self._check_open()
        limits = limits or Limits()
        if self._pool_tasks is not None and limits.memory_bytes > Limits().memory_bytes:
            raise UsageError(
                "a pool is made for the default memory limit, and no task can have more"
            )
        program = self.load(source, limits=limits, trusted=trusted, library=entry is not None)
        shape = program.shape
        assert program.module is not None
        invoke = prepared(program, entry, arguments)
        if service is not None:
            self.names.check_free(service)
        allows, denies = self._rules(allow, deny)
        if self._pool_tasks is not None and self.stores >= self._pool_tasks:
            raise ServiceError(
                abi.ErrorCode.TOO_MANY_TASKS, f"the pool has room for {self._pool_tasks}"
            )
        id = self._spawn(
            program.module,
            passive=shape.kind == "passive" and invoke is None,
            direct=shape.direct and invoke is None,
            has_result=shape.returns_code and invoke is None,
            priority=priority,
            memory_bytes=limits.memory_bytes,
            table_elements=limits.table_elements,
            mail_limit=limits.mailbox,
            cpu_ns=limits.cpu_ns,
            adapter=None if shape.dialect is None else self._adapter(shape.dialect),
            invoke=invoke,
        )
        task = Task(self, id, name or program.name)
        task.limits, task.priority, task.program = limits, priority, program
        self._enrol(task)
        self.authority.report.task("spawn", task, parent)
        if self.is_over(id):  # a passive service that failed to start: `exit` will say why
            return task
        try:
            self.authority.outfit(task, allows, denies, parent, origin)
        except BaseException:
            self.kill(task, "it can't be given what it was to have")
            raise
        if service is not None:
            self.register(id, service)
        if limits.deadline_seconds is not None:
            task.deadline = self.call_later(
                limits.deadline_seconds,
                lambda: self.kill(id, f"after {limits.deadline_seconds:g} s", cause="deadline"),
            )
        self.kick()
        return task

    def serve(self, service: Service, *, name: str | None = None) -> Task:
        """A task from a Python service, registered under its name. The
        service called "vm" becomes task 1, as guests expect."""
        self._check_open()
        if not isinstance(service, Service):
            raise UsageError(f"serve an instance of a Service, not {service!r}")
        self.define(service.interface)
        name = name or service.name
        if not name:
            raise UsageError(f"{type(service).__name__} has no name")
        self.names.check_free(name)
        id = self.add_service(
            handlers(service, self), Limits().mailbox, abi.VM if name == "vm" else 0
        )
        service.kernel = self
        service.task = id
        if service.native:
            self.answer_natively(id, {abi.RPCS[name].request.TYPE: name for name in service.native})
        self._services[id] = service
        task = Task(self, id, name)
        self._enrol(task)
        self.authority.report.task("spawn", task)
        self.register(id, name)
        service.started()
        return task

    def define(self, interface: Any) -> None:
        """Know the messages of an interface: a module that `python -m wasmos.idl`
        made. Serving a service of it does this, too. Raises UsageError if the number of one is
        another message's already."""
        if self.authority.learn(interface):
            self.define_messages(interface.MESSAGES.values(), ())

    def client(
        self, name: str = "host", *, allow: Rules = (ALL,), deny: Rules = (), origin: str = ""
    ) -> Client:
        """A task from which Python calls services; by default it may call all."""
        self._check_open()
        allows, denies = self._rules(allow, deny)
        client = Client(self, self.add_client(Limits().mailbox), name)
        self._clients[client.id] = client
        self._enrol(client)
        self.authority.report.task("spawn", client)
        self.authority.outfit(client, allows, denies, None, origin)
        return client

    def _rules(self, allow: Rules, deny: Rules) -> tuple[list[Rule], list[Rule]]:
        """What a new task is to be granted and denied: wrong rules are found before it is made."""
        allows = [self.authority.parse(rule) for rule in listed(allow, "allow")]
        denies = [self.authority.parse_denial(rule) for rule in listed(deny, "deny")]
        for rule in (*allows, *denies):
            if rule.service != ALL:
                self.names.number(rule.service)
        return allows, denies

    def _check_open(self) -> None:
        if self.closed:
            raise UsageError("the kernel is closed")

    def _enrol(self, task: Task) -> None:
        self._tasks[task.id] = task

    def find(self, id: int) -> Task | None:
        """The live task with this id."""
        return self._tasks.get(id)

    @property
    def tasks(self) -> list[Task]:
        """All live tasks, services and clients included, by id."""
        return [self._tasks[id] for id in sorted(self._tasks) if not self.is_over(id)]

    def name_of(self, id: int) -> str:
        """A task's name, also for some time after its end; "" if unknown."""
        task = self._tasks.get(id)
        return self._remembered.get(id, "") if task is None else task.name

    def kill(self, task: Task | int, reason: str = "", *, cause: str = "killed") -> None:
        """End a task now. Whoever waits for it gets -21 aborted. Nothing
        happens if it is gone already."""
        id = task if isinstance(task, int) else task.id
        if id not in self._tasks:
            return
        if not self.is_over(id):
            self._kill_reasons[id] = (cause, reason)
        self._kill(id)
        self.kick()

    # --- names and authority ---

    def register(self, task: Task | int, name: str) -> None:
        """Make a task the one behind `name`; who waits for it goes on. The
        name is free again when the task ends. Raises ServiceError (-3)."""
        id = task if isinstance(task, int) else task.id
        self.names.register(id, name)
        self._tasks[id].services.append(name)
        self.authority.report.task("register", self._tasks[id], service=name)
        self.kick()

    async def registered(self, name: str) -> None:
        """Wait until somebody is the service `name`."""
        await self.names.registered(name)

    @property
    def services(self) -> dict[str, int]:
        """Every registered service name and the task behind it."""
        return dict(sorted(self.names.tasks.items()))

    def service_id(self, service: str) -> int:
        """The task behind a service name. Raises LookupError."""
        if service not in self.names.tasks:
            raise LookupError(f"nobody is the service {service!r}")
        return self.names.tasks[service]

    def grant(
        self,
        task: Task,
        rule: Rule | str,
        *,
        origin: str = "",
        uses: int | None = None,
        seconds: float | None = None,
    ) -> Grant:
        """Let a task send what `rule` says ("pong": everything to that service, "*":
        everything to everyone), so many times, for so many seconds. Raises RuleError."""
        return self.authority.grant(task, rule, origin=origin, uses=uses, seconds=seconds)

    def deny(self, task: Task, rule: Rule | str, *, origin: str = "") -> Grant:
        """Let a task never send what `rule` says, whatever it is granted, nor those
        whom it passes something on to. Also ends such a call that is under way."""
        return self.authority.grant(task, rule, origin=origin, deny=True)

    def revoke(self, what: Grant | Task, rule: str | None = None) -> None:
        """Take back a grant, or what a task was granted by this rule, or for the
        service that it names. With it goes all that was passed on, by its former lives,
        too. The next message is refused already, and a call that is under way returns
        "not allowed"."""
        if isinstance(what, Grant):
            self.authority.revoke(what)
            return
        for grant in (*self.authority.all_of(what.id), *what.left):
            if not grant.deny and rule in (None, str(grant.rule), grant.rule.service):
                self.authority.revoke(grant)

    def succeed(self, task: Task, former: Task) -> None:
        """Make `task` the next life of `former`, which has ended. It is denied what that one was
        denied; it is granted nothing. What is denied to it, or revoked from it as a task, is also
        denied to and revoked from those to whom its former lives passed it on."""
        self.authority.succeed(task, former)

    @property
    def grants(self) -> list[Grant]:
        """All that is granted and denied at the moment, the oldest first."""
        return list(self.authority.live.values())

    def find_grant(self, id: int) -> Grant | None:
        """A grant by its number, also for some time after its end."""
        return self.authority.find(id)

    def former_grants(self, task: Task) -> list[Grant]:
        """What a task held and doesn't any more, as far as that is remembered; the first to end
        comes first."""
        return self.authority.former(task.id)

    def parse_rule(self, text: str) -> Rule:
        """A rule that may name the messages of all services here. Raises RuleError."""
        return self.authority.parse(text)

    def parse_rule_of_task(self, text: str) -> Rule:
        """As `parse_rule`, for a text that a task wrote. Raises RuleError, and UsageError for
        what would take long to compare."""
        return self.authority.parse_of_task(text)

    def pass_on(self, giver: Task, receiver: Task, rule: Rule | str, *, offer: bool) -> Grant:
        """Let `giver` pass on what it holds, or a part: one of its grants has to cover the
        rule. With `offer` the receiver holds it once it has accepted. Raises CapabilityDenied,
        RuleError, UsageError."""
        return self.authority.pass_on(giver, receiver, rule, offer=offer)

    def check_passes_on(self, giver: Task, rules: Iterable[Rule]) -> None:
        """Whether `giver` may pass on what each of these says. Raises CapabilityDenied if not, or
        UsageError."""
        self.authority.check_passes_on(giver, rules)

    def accept(self, task: Task, id: int) -> None:
        """Let a task hold what it was offered. Raises LookupError, or UsageError if it
        holds too much."""
        self.authority.accept(task, id)

    def audit(self, sink: Callable[[list[Entry]], object], *, calls: bool = False) -> None:
        """Tell `sink` of every grant, denial, delegation, revocation, spawn and end, in
        lists of records, and with `calls` of every message that is admitted. See
        docs/reference/audit.md."""
        self.authority.report.sinks.append(sink)
        if calls:
            self._calls_wanted.append(sink)
            self.record_calls(True)

    def end_audit(self, sink: Callable[[list[Entry]], object]) -> None:
        """End what `audit` began."""
        self.take_records()
        self.authority.report.sinks.remove(sink)
        if sink in self._calls_wanted:
            self._calls_wanted.remove(sink)
            self.record_calls(bool(self._calls_wanted))

    def on_denial(self, listener: Callable[[Denial], object]) -> None:
        """Call `listener` with each Denial from now on, some time after it happened."""
        self.authority.report.on_denial.append(listener)

    def may_look_up(self, task: int, service: str) -> bool:
        """Whether a task holds anything for a service."""
        return self.names.may(task, service)

    def ask(self, task: Task, ask: Ask | None) -> None:
        """Before `task` is denied a message, call `ask` with the Denial. What it
        grants then counts, if it returns True; with None, `answer_asked` has to be
        called later."""
        if ask is None:
            self._asks.pop(task.id, None)
        else:
            self._asks[task.id] = ask
        self.set_asks(task.id, ask is not None)

    def _concerned(self, grant: Grant) -> list[Service]:
        """The Python services that a grant is for."""
        if grant.rule.service == ALL:
            return list(self._services.values())
        found = self._services.get(self.names.tasks.get(grant.rule.service, 0))
        return [] if found is None else [found]

    def is_in_use(self, grant: Grant) -> bool:
        """Whether a call by this grant is under way, or a service has something of it open."""
        return self.has_call(grant.id, grant.holder) or any(
            service.holds(grant.id) for service in self._concerned(grant)
        )

    def act_by(self, id: int) -> bool:
        """One use of a grant, for a service; False if it can't be used."""
        return id in self.authority.live and self.use_cap(id)

    def grant_ended(self, grant: Grant) -> None:
        """What a held grant was for is over: who serves it lets go of what hangs on it."""
        for service in self._concerned(grant):
            self.tell_one(service.revoked, grant.id)
        self.names.drop_lookups(grant.holder)
        self.kick()

    def _caller(self, id: int, cap: int) -> Caller:
        grant = self.authority.find(cap)
        return Caller(self, id, self.name_of(id), cap, {} if grant is None else grant.badge)

    # --- messages from Python ---

    def call(self, service: str, message: abi.Message, *, timeout: float | None = None) -> Any:
        """Call a service and wait for its answer, a message of the reply's
        class. `timeout` in seconds of the kernel's clock.

        Raises CapabilityDenied, ServiceError with the service's error code,
        TimeoutError, or LookupError if nobody is that service.
        """
        client = self.idle_client()
        try:
            return client.call(service, message, timeout=timeout)
        finally:
            self.release_client(client)

    def idle_client(self) -> Client:
        """A client that may call everything and has no call under way."""
        while self._idle_hosts:
            client = self._idle_hosts.pop()
            if client.exit is None:
                return client
        return self.client("host")

    def release_client(self, client: Client) -> None:
        """Give back what `idle_client` gave. A call that is under way still is given up."""
        if client.busy:
            self.kill(client, "its call was given up")
        elif client.exit is None:
            self._idle_hosts.append(client)

    def encode(self, message: abi.Message) -> bytes:
        """A message as its receiver will see it. Raises ValueError."""
        layout = self.layout(message.TYPE)
        if layout is None:
            raise UsageError(f"{type(message).__name__} is not defined in this kernel")
        return layout.encode(message)

    def decode(self, raw: bytes) -> abi.Message:
        """A message from its bytes. Raises ServiceError for an error code,
        ValueError for a message that is not defined or malformed."""
        type = int.from_bytes(raw[:4], "little", signed=True)
        if type < 0:
            raise CapabilityDenied() if type == -8 else ServiceError(type)
        layout = self.layout(type)
        if layout is None:
            raise ValueError(f"message type {type} is not defined")
        decoded: abi.Message = layout.decode(raw)
        return decoded

    def notify(self, src: int, dst: int, message: abi.Message) -> bool:
        """Send a one-way message from a Python task. False if the mailbox is
        full; True if it was taken, or never could be."""
        if self.is_over(src):
            return True
        error = self._notify(src, dst, self.encode(message))
        self.kick()
        return error != abi.ErrorCode.WOULD_BLOCK

    def when_room(self, action: Callable[[], object]) -> None:
        """Call `action` once, when some mailbox that was full has room, also if that was asked for
        several times meanwhile."""
        self._room_wanted[action] = None

    # --- time ---

    def call_later(
        self, seconds: float, action: Callable[[], object], *, quiet: bool = False
    ) -> Timer:
        """Run `action` after `seconds` of the kernel's clock. A quiet timer is nothing to
        wait for: where only such ones are left, nothing can happen any more."""
        return self.call_at(self.now_ns + int(seconds * 1e9), action, quiet=quiet)

    def call_at(self, when_ns: int, action: Callable[[], object], *, quiet: bool = False) -> Timer:
        """The same when the kernel's clock reads `when_ns`, and not a nanosecond before."""
        timers = self.quiet_timers if quiet else self.timers
        timer = timers.add(when_ns, action)
        self.kick()
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait by the kernel's clock, in a service's `async def` method."""
        import asyncio

        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: resolve(woken))
        try:
            await woken
        finally:
            timer.cancel()

    @property
    def uptime(self) -> float:
        """Seconds of the kernel's clock since it was made."""
        return (self.now_ns - self.started_ns) / 1e9

    # --- running ---

    def wait(self, task: Task, *, timeout: float | None = None) -> Exit:
        """Run until `task` ends; how it ended. Raises TimeoutError (the task
        goes on), or Deadlock if it never can."""
        in_time = self.run(lambda: task.exit is not None, timeout=timeout)
        if task.exit is None and in_time:
            raise Deadlock(f"{task} has nothing to do, and nothing will change that")
        if task.exit is None:
            raise TimeoutError(f"{task} still runs after {timeout:g} s")
        return task.exit

    def run(
        self, until: Callable[[], bool] = lambda: False, *, timeout: float | None = None
    ) -> bool:
        """Run until `until()` is true, or until nothing is left to do if it
        never is. It is asked whenever the kernel has done something. False if
        `timeout` seconds passed first. Raises Deadlock when tasks wait that
        nothing can wake."""
        deadline = None if timeout is None else self.now_ns + int(timeout * 1e9)
        return self.driver.run(until, deadline)

    def interruptible(self) -> AbstractContextManager[None]:
        """For a service or a hook that waits for a person or for the world, without `await`: in
        this context Ctrl-C is raised at once, where elsewhere it waits until `run` has nothing
        half done."""
        return self.driver.interrupts.at_once()

    def kick(self) -> None:
        """Something became ready outside the kernel: look again."""
        self.driver.kick()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that services' coroutines run on: the running one,
        or one of the kernel's own that runs while somebody waits."""
        return self.driver.loop

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine on the kernel's loop, for servers."""
        return self.driver.start(work)

    def waits_for_outside(self) -> bool:
        """Whether a coroutine is at work for a caller, or a service hears of
        things outside: then there is no deadlock, whoever is blocked."""
        return bool(self._coroutines) or any(s.hears_outside for s in self._services.values())

    def watch(self, watcher: Callable[[Exit], object]) -> None:
        """Call `watcher` with the `Exit` of each task that ends from now on."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[Exit], object]) -> None:
        """End what `watch` began."""
        self._watchers.remove(watcher)

    # --- looking ---

    @property
    def pooled(self) -> bool:
        """Whether it was made with `pool_tasks`."""
        return self._pool_tasks is not None

    def events(self, since: int = 0) -> list[Event]:
        """What happened, oldest first, as far as the bounded ring still has
        it; `since` is the number of the first event wanted."""
        return [Event(row, self.name_of(row[3])) for row in self._events(since)]

    # --- the end ---

    def close(self) -> None:
        """End all tasks, programs before the services they use. Idempotent."""
        if self.closed:
            return
        self.check_thread()
        self.closed = True  # first: nobody who hears of an end can begin anew
        for id in sorted(self._tasks):  # also those who are over, and whose end was not told yet
            if id not in self._services:
                self.kill(id, "the kernel was closed")
        for id in sorted(self._services, reverse=True):
            self.kill(id, "the kernel was closed")
        self.driver.close()
        self._programs.clear()

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
