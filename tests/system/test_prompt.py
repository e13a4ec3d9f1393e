"""Asking: what is shown, what each answer does, and that what isn't a yes is a no."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import wasmos
from tests.support.sender import sends
from tests.support.wat import SERVER, Plus, program
from wasmos import abi
from wasmos.servers.fs import Fs
from wasmos.system.prompt import MAX_TRIES, LaterPrompter, Prompter

LISTEN = ("tcpip", abi.TcpipListen(80))
PING = ("plus", abi.Ping(1))


class Port(wasmos.Service):
    """Listens, without a network."""

    name = "tcpip"

    def tcpip_listen(self, caller: wasmos.Caller, listen_port: int) -> int:
        return listen_port


class You:
    """Somebody who answers questions, as long as there are answers."""

    def __init__(self, kernel: wasmos.Kernel, *answers: str | None) -> None:
        self.kernel = kernel
        self.answers = list(answers)
        self.lines: list[str] = []
        self.asked = 0

    def ask_line(self, prompt: str) -> str | None:
        assert prompt == "answer> "
        self.asked += 1
        return self.answers.pop(0)

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def prompter(self, policy: str | None = None) -> Prompter:
        return Prompter(
            self.kernel, self.ask_line, self.lines.append, policy=policy,
            modules=lambda task: f"/bin/{task.name}.wasm",
        )  # fmt: skip


@pytest.fixture
def world(kernel: wasmos.Kernel) -> wasmos.Kernel:
    kernel.serve(Plus())
    kernel.serve(Port())
    return kernel


def run(
    kernel: wasmos.Kernel, you: You, *messages: tuple[str, abi.Message],
    policy: str | None = None, allow: list[str] | None = None, deny: list[str] | None = None,
) -> tuple[wasmos.Task, int | None]:  # fmt: skip
    """The task, and how many of its messages weren't allowed. All answers are used."""
    task = kernel.spawn(
        sends(*messages), name="web", allow=allow or [], deny=deny or [], trusted=True
    )
    kernel.ask(task, you.prompter(policy))
    code = kernel.wait(task).code
    assert you.answers == []
    return task, code


# --- the question -----------------------------------------------------------------------------


def test_the_question(world: wasmos.Kernel) -> None:
    you = You(world, "n")
    task = world.spawn(sends(LISTEN), name="web", trusted=True)
    world.grant(task, "tcpip.listen(listen_port=443)", origin="policy.toml:7")
    world.ask(task, you.prompter("/etc/policy.toml"))
    world.wait(task)
    assert you.lines == [
        "",
        "web asks: may listen on port 80 (tcpip)?",
        f"  who    task {task.id} 'web', /bin/web.wasm",
        "  rule   tcpip.listen(listen_port=80)",
        "  why    its value isn't allowed: tcpip.listen(listen_port=443) (policy.toml:7)",
        "  holds  tcpip.listen(listen_port=443) (policy.toml:7)",
        "  allow  [o]nce, for this [r]un, [a]lways (adds it to /etc/policy.toml)",
        "  deny   [n]o, [N]ever in this run, [q]uiet: no to all it asks; [?] explains",
        "  WIDER  [1] for this run: tcpip.listen, may listen (tcpip)",
    ]


def test_without_a_policy_always_is_neither_offered_nor_taken(world: wasmos.Kernel) -> None:
    you = You(world, "a", "1a", "always", "n")
    _, denied = run(world, you, LISTEN)
    assert denied == 1
    assert "lways" not in you.said
    assert you.lines.count("  one of o, r, n, N, q, ? or a number") == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[task.web]\ndeny = ["tcpip"]\n', "{path}:2 denies tcpip"),
        ('[default]\ndeny = ["console", "tcpip.listen"]\n', "{path}:2 denies tcpip.listen"),
        ('[run]\ndeny = ["tcpip.listen(listen_port=80)"]\n',
         "{path}:2 denies tcpip.listen(listen_port=80)"),
        ("[task.web]\ndenyy = []\n",
         "{path}:2: unknown key 'denyy' in [task.web]; did you mean 'deny'?"),
    ],
)  # fmt: skip
def test_always_is_not_offered_where_it_would_be_for_nothing(
    world: wasmos.Kernel, tmp_path: Path, text: str, reason: str
) -> None:
    """The file denies it, and a denial there wins over what is added."""
    path = tmp_path / "web.policy.toml"
    path.write_text(text)
    you = You(world, "a", "1a", "r")
    _, denied = run(world, you, LISTEN, policy=str(path))
    assert denied == 0
    assert f"  note   not [a]lways: {reason.format(path=path)}" in you.lines
    assert "  allow  [o]nce, for this [r]un" in you.lines
    assert path.read_text() == text


def test_always_is_offered_where_the_file_denies_others(
    world: wasmos.Kernel, tmp_path: Path
) -> None:
    path = tmp_path / "web.policy.toml"
    path.write_text('[task.web]\ndeny = ["tcpip.listen(listen_port=443)", "console"]\n'
                    '[task.other]\ndeny = ["*"]\n')  # fmt: skip
    you = You(world, "a")
    assert run(world, you, LISTEN, policy=str(path))[1] == 0
    assert tomllib.loads(path.read_text())["task"]["web"]["allow"] == [
        "tcpip.listen(listen_port=80)"
    ]


def test_who_started_it(world: wasmos.Kernel) -> None:
    you = You(world, "n")
    parent = world.spawn(program("(drop (call $recv #0 #1024)) #0"), name="mother",
                         allow=["plus"], trusted=True)  # fmt: skip
    child = world.spawn(sends(LISTEN), parent=parent, allow=["plus"], trusted=True)
    world.ask(child, you.prompter())
    world.wait(child)
    assert f"which 'mother' (task {parent.id}) started" in you.said


def test_of_memory_that_is_lent_its_size_is_shown(kernel: wasmos.Kernel) -> None:
    class Files(wasmos.Service):
        name = "fs"

    kernel.serve(Files())
    you = You(kernel, "n")
    task = kernel.spawn(sends(("fs", abi.FsReadLink("/a/../b"))), name="web")
    fields = {"path": "/a/../b", "into": {"len": 4096}}
    denial = wasmos.Denial(
        task.id, "web", "fs", abi.FsReadLink.TYPE, abi.FsReadLink, fields, "no_capability", None,
        kernel.authority.vocabulary,
    )  # fmt: skip
    assert not you.prompter()(denial)
    assert "web asks: may read a link (fs)?" in you.lines
    assert any("(path='/a/../b', into=4,096 bytes)" in line for line in you.lines)


def test_who_looks_what_there_is_for_him_is_not_asked_about(world: wasmos.Kernel) -> None:
    """An adapter does that for each program."""
    world.serve(Fs())
    you = You(world)
    looks = [("fs", abi.FsRoot(0)), ("tcpip", abi.TcpipListener(0))]
    _, denied = run(world, you, *looks)
    assert (denied, you.lines) == (2, [])


def test_a_message_that_no_rule_can_name_alone(kernel: wasmos.Kernel) -> None:
    class Files(wasmos.Service):
        name = "fs"

        def fs_open(self, caller: wasmos.Caller, path: str, flags: int) -> int:
            return 1

    kernel.serve(Files())
    you = You(kernel, "n")
    run(kernel, you, ("fs", abi.FsOpen("/a/../b", 0)))
    (line,) = [line for line in you.lines if line.startswith("  rule")]
    assert line.startswith("  rule   fs.open, MORE than this message (path='/a/../b'")


def test_a_name_that_would_make_a_yes_mean_everything(kernel: wasmos.Kernel) -> None:
    """Nobody has it, so nobody is asked about it."""
    with pytest.raises(wasmos.UsageError, match="all services"):
        kernel.serve(Plus(), name="*")


def test_files_come_with_a_hint(kernel: wasmos.Kernel) -> None:
    """What is open depends on the grant that it was opened by."""
    kernel.serve(Fs())
    you = You(kernel, "2")
    writing = ("fs", abi.FsWrite(1, b"x"))
    make = kernel.spawn(sends(("fs", abi.FsMkfile("b"))), allow=["fs"], trusted=True)
    assert kernel.wait(make).code == 0
    _, denied = run(kernel, you, ("fs", abi.FsOpen("b", 0)), writing)
    assert denied == 0
    assert "  WIDER  [2] for this run: fs, may use fs" in you.lines
    assert "         allow fs before it is opened, and for more than once" in you.lines
    of_host = [line for line in you.lines if "of this machine" in line]
    assert of_host[0] == (
        "  note   these are files in memory; a directory of this machine is "
        'fs(dir="HOST", at="GUEST")'
    )


# --- the answers ------------------------------------------------------------------------------


def test_once(world: wasmos.Kernel) -> None:
    you = You(world, "o", "once", "n")
    task, denied = run(world, you, PING, PING, PING)
    assert denied == 1 and you.asked == 3
    assert task.grants == []


def test_for_this_run(world: wasmos.Kernel, tmp_path: Path) -> None:
    you = You(world, "r")
    task = world.spawn(sends(PING, PING, PING), trusted=True)
    world.ask(task, you.prompter(str(tmp_path / "p.toml")))
    seen: list[tuple[str, str]] = []
    world.watch(lambda exit: None)
    world.audit(lambda entries: seen.extend(
        (entry["rule"], entry["origin"]) for entry in entries if entry["event"] == "grant"
    ))  # fmt: skip
    assert world.wait(task).code == 0
    assert seen == [("plus.ping", "prompt")]
    assert you.asked == 1 and not (tmp_path / "p.toml").exists()


def test_always(world: wasmos.Kernel, tmp_path: Path) -> None:
    policy = tmp_path / "p.toml"
    policy.write_text("# mine\n[task.web]\nallow = [\n    'console',  # to print\n]\n")
    you = You(world, "a")
    _, denied = run(world, you, LISTEN, LISTEN, policy=str(policy))
    assert denied == 0 and you.asked == 1
    assert policy.read_text() == (
        "# mine\n[task.web]\nallow = [\n    'console',  # to print\n"
        "    'tcpip.listen(listen_port=80)',  # may listen on port 80 (tcpip)\n]\n"
    )
    assert f"{policy}: added tcpip.listen(listen_port=80)" in you.lines


def test_always_where_nothing_can_be_written_is_for_this_run(
    world: wasmos.Kernel, tmp_path: Path
) -> None:
    you = You(world, "a")
    missing = str(tmp_path / "no" / "p.toml")
    _, denied = run(world, you, LISTEN, LISTEN, policy=missing)
    assert denied == 0
    assert f"allowed in this run only; {missing}: no such file or directory" in you.lines


def test_no_is_remembered(world: wasmos.Kernel) -> None:
    you = You(world, "n", "no")
    _, denied = run(world, you, PING, PING, PING, LISTEN, LISTEN)
    assert denied == 5 and you.asked == 2


def test_no_is_one_tasks(world: wasmos.Kernel) -> None:
    you = You(world, "n", "n")
    prompter = you.prompter()
    for _ in range(2):
        task = world.spawn(sends(PING), trusted=True)
        world.ask(task, prompter)
        assert world.wait(task).code == 1
    assert you.asked == 2


def test_never_is_a_rule_that_denies(world: wasmos.Kernel) -> None:
    you = You(world, "N")
    task = world.spawn(sends(PING, PING), trusted=True)
    world.ask(task, you.prompter())
    rules: list[str] = []
    world.audit(lambda entries: rules.extend(e["rule"] for e in entries if e["event"] == "deny"))
    assert world.wait(task).code == 2
    assert rules == ["plus.ping"] and you.asked == 1


def test_n_is_not_N(world: wasmos.Kernel) -> None:  # noqa: N802
    you = You(world, "n")
    task = world.spawn(sends(PING), trusted=True)
    world.ask(task, you.prompter())
    rules: list[str] = []
    world.audit(lambda entries: rules.extend(e["rule"] for e in entries if e["event"] == "deny"))
    world.wait(task)
    assert rules == []


def test_quiet_ends_a_flood(world: wasmos.Kernel) -> None:
    listens = [("tcpip", abi.TcpipListen(port)) for port in range(1, 30)]
    you = You(world, "n", "q")
    _, denied = run(world, you, *listens)
    assert denied == 29 and you.asked == 2


def test_a_flood_that_nobody_ends_is_bounded(
    world: wasmos.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wasmos.system.prompt.MAX_REMEMBERED", 3)
    listens = [("tcpip", abi.TcpipListen(port)) for port in range(1, 30)]
    you = You(world, *["n"] * 4)
    run(world, you, *listens)
    assert you.asked == 4


def test_what_a_task_was_told_is_forgotten_with_it(world: wasmos.Kernel) -> None:
    you = You(world, "n", "q")
    prompter = you.prompter()
    task = world.spawn(sends(PING, LISTEN), trusted=True)
    world.ask(task, prompter)
    world.wait(task)
    assert prompter._refused == set() == prompter._quiet


def test_a_wider_rule(world: wasmos.Kernel) -> None:
    you = You(world, "1")
    listens = [("tcpip", abi.TcpipListen(port)) for port in range(1, 9)]
    _, denied = run(world, you, *listens)
    assert denied == 0 and you.asked == 1


def test_a_wider_rule_always(world: wasmos.Kernel, tmp_path: Path) -> None:
    policy = tmp_path / "p.toml"
    run(world, You(world, "1a"), LISTEN, policy=str(policy))
    assert tomllib.loads(policy.read_text()) == {"task": {"web": {"allow": ["tcpip.listen"]}}}


@pytest.mark.parametrize(
    "answer", ["", " ", "y", "yes", "2", "0", "-1", "1b", "1aa", "O", "A", "٣", "1" * 99]
)
def test_what_is_no_answer_is_asked_again(world: wasmos.Kernel, answer: str) -> None:
    you = You(world, answer, "n")
    _, denied = run(world, you, LISTEN)
    assert denied == 1 and you.asked == 2


def test_no_answer_at_all_is_a_no(world: wasmos.Kernel) -> None:
    you = You(world, *["what?"] * MAX_TRIES)
    _, denied = run(world, you, LISTEN, LISTEN)
    assert denied == 2 and you.lines[-1] == "that is a no"


def test_explaining(world: wasmos.Kernel) -> None:
    you = You(world, "?", "r")
    _, denied = run(world, you, LISTEN)
    assert denied == 0
    assert "  1      grants more than was asked for: tcpip.listen, in this run" in you.lines


def test_the_end_of_input_is_a_no_to_all(world: wasmos.Kernel) -> None:
    you = You(world, None)
    _, denied = run(world, you, PING, LISTEN)
    assert denied == 2 and you.asked == 1


def test_an_interrupt_is_a_no_and_goes_on(world: wasmos.Kernel) -> None:
    def interrupted(_: str) -> str:
        raise KeyboardInterrupt

    task = world.spawn(sends(PING), trusted=True)
    world.ask(task, Prompter(world, interrupted, lambda _: None))
    with pytest.raises(KeyboardInterrupt):
        world.wait(task)
    world.ask(task, None)
    assert world.wait(task).code == 1


def test_what_a_rule_denies_is_never_asked_about(world: wasmos.Kernel) -> None:
    you = You(world)
    _, denied = run(world, you, LISTEN, deny=["tcpip.listen(listen_port=..1023)"])
    assert denied == 1 and you.asked == 0


def test_a_rule_that_denies_wins_over_a_wider_answer(world: wasmos.Kernel) -> None:
    you = You(world, "1")
    low, high = ("tcpip", abi.TcpipListen(25)), ("tcpip", abi.TcpipListen(8080))
    _, denied = run(world, you, high, low, deny=["tcpip.listen(listen_port=..1023)"])
    assert denied == 1 and you.asked == 1


# --- later ------------------------------------------------------------------------------------


class LaterYou:
    """Somebody who takes their time."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.lines: list[str] = []
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def ask_line(self, _: str) -> str | None:
        self.asked.set()
        await self.may_answer.wait()
        return self.answers.pop(0)


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_others_go_on_while_one_is_asked_about(loop: asyncio.Runner) -> None:
    async def main() -> None:
        async with wasmos.AsyncKernel() as aio:
            kernel = aio.sync
            kernel.serve(Plus())
            you = LaterYou("r", "n")
            prompter = LaterPrompter(kernel, you.ask_line, you.lines.append)
            serving = asyncio.ensure_future(prompter.serve())
            tasks = []
            for name in "ab":
                tasks.append(await aio.spawn(sends(PING), name=name, trusted=True))
                kernel.ask(tasks[-1], prompter)
                await you.asked.wait()  # about the first one
            free = await aio.spawn(sends(PING), allow=["plus"], trusted=True)
            assert (await aio.wait(free)).code == 0
            assert [task.exit for task in tasks] == [None, None]
            you.may_answer.set()
            assert [(await aio.wait(task)).code for task in tasks] == [0, 1]
            assert [line for line in you.lines if " asks: " in line] == [
                "a asks: may ping (plus)?", "b asks: may ping (plus)?",
            ]  # fmt: skip
            serving.cancel()

    loop.run(main())


def test_who_ends_meanwhile_needs_no_answer(loop: asyncio.Runner) -> None:
    async def main() -> None:
        async with wasmos.AsyncKernel() as aio:
            kernel = aio.sync
            kernel.serve(Plus())
            you = LaterYou("r")
            prompter = LaterPrompter(kernel, you.ask_line, you.lines.append)
            serving = asyncio.ensure_future(prompter.serve())
            first, second = [await aio.spawn(sends(PING), trusted=True) for _ in range(2)]
            for task in (first, second):
                kernel.ask(task, prompter)
            await you.asked.wait()
            second.kill()
            first.kill()
            you.may_answer.set()
            third = await aio.spawn(sends(PING), allow=["plus"], trusted=True)
            assert (await aio.wait(third)).code == 0
            assert kernel.grants == []
            assert len([line for line in you.lines if " asks: " in line]) == 1
            serving.cancel()

    loop.run(main())


class Desk:
    """Somebody who is asked in a kernel, and answers when the test says so."""

    def __init__(self, aio: wasmos.AsyncKernel) -> None:
        self.aio = aio
        self.kernel = aio.sync
        self.lines: list[str] = []
        self.noted: asyncio.Queue[str] = asyncio.Queue()  # what services there are questions about
        self.is_asked = asyncio.Event()
        self._answers: asyncio.Queue[str] = asyncio.Queue()
        self.prompter = LaterPrompter(self.kernel, self._ask_line, self.lines.append)

    async def _ask_line(self, _: str) -> str:
        self.is_asked.set()
        return await self._answers.get()

    def _note(self, denial: wasmos.Denial) -> bool | None:
        later = self.prompter(denial)
        self.noted.put_nowait(denial.service)
        return later

    async def spawn(self, *services: str) -> wasmos.Task:
        """A task that calls these one after the other, and ends with how many calls failed."""
        source = sends(*((service, abi.Ping(1)) for service in services))
        task = await self.aio.spawn(source, name="web", trusted=True)
        self.kernel.ask(task, self._note)
        return task

    async def serve(self, name: str) -> wasmos.Task:
        return await self.aio.spawn(SERVER, service=name, trusted=True)

    def answer(self, *lines: str) -> None:
        """The question at hand, and those after it."""
        for line in lines:
            self._answers.put_nowait(line)

    @property
    def asked(self) -> list[str]:
        return [line for line in self.lines if " asks: " in line]


@pytest.mark.parametrize(("second", "failed"), [("r", 1), ("n", 2)])
@pytest.mark.parametrize("first", ["n", "r", "o"])
def test_an_answer_is_for_the_question_that_was_asked(
    loop: asyncio.Runner, first: str, second: str, failed: int
) -> None:
    """The service that a question is about ends while somebody thinks, and the task asks for
    something else: the answer isn't for that."""

    async def main() -> None:
        async with wasmos.AsyncKernel() as aio:
            desk = Desk(aio)
            serving = asyncio.ensure_future(desk.prompter.serve())
            gone = await desk.serve("gone")
            await desk.serve("here")
            task = await desk.spawn("gone", "here")
            assert await desk.noted.get() == "gone"
            await desk.is_asked.wait()
            gone.kill()
            assert await desk.noted.get() == "here"
            desk.answer(first, second)
            assert (await aio.wait(task)).code == failed
            assert desk.asked == ["web asks: may ping (gone)?", "web asks: may ping (here)?"]
            serving.cancel()

    loop.run(main())


def test_a_question_that_is_over_is_not_asked(loop: asyncio.Runner) -> None:
    """One that waited behind another's, and whose service has ended meanwhile."""

    async def main() -> None:
        async with wasmos.AsyncKernel() as aio:
            desk = Desk(aio)
            serving = asyncio.ensure_future(desk.prompter.serve())
            gone = await desk.serve("gone")
            await desk.serve("here")
            before = await desk.spawn("here")
            assert await desk.noted.get() == "here"
            await desk.is_asked.wait()
            task = await desk.spawn("gone", "here")
            assert await desk.noted.get() == "gone"
            gone.kill()
            assert await desk.noted.get() == "here"
            desk.answer("n", "r", "n")  # the last one is for a question too many
            assert [(await aio.wait(each)).code for each in (before, task)] == [1, 1]
            assert desk.asked == ["web asks: may ping (here)?"] * 2
            serving.cancel()

    loop.run(main())


def test_a_question_has_its_turn_until_it_is_answered(loop: asyncio.Runner) -> None:
    """What isn't understood is asked again in the same turn, and the question is shown again if
    something else was printed."""
    events: list[str] = []
    answers = ["zzz", "zzz", "r"]

    class Told(LaterPrompter):
        @asynccontextmanager
        async def turn(self) -> AsyncIterator[None]:
            events.append("begin")
            yield
            events.append("end")

        def printed(self) -> int:
            return events.count("printed")

    async def ask_line(_: str) -> str:
        if len(answers) == 2:
            events.append("printed")
        events.append(answers[0])
        return answers.pop(0)

    def say(line: str) -> None:
        events.extend([line] if " asks: " in line else [])

    async def main() -> None:
        async with wasmos.AsyncKernel() as aio:
            aio.sync.serve(Plus())
            prompter = Told(aio.sync, ask_line, say)
            serving = asyncio.ensure_future(prompter.serve())
            task = aio.sync.spawn(sends(PING), name="web", trusted=True)
            aio.sync.ask(task, prompter)
            assert (await aio.wait(task)).code == 0
            serving.cancel()

    loop.run(main())
    question = "web asks: may ping (plus)?"
    assert events == ["begin", question, "zzz", "printed", "zzz", question, "r", "end"]


def test_a_question_about_a_task_that_has_ended(loop: asyncio.Runner) -> None:
    async def main() -> None:
        async with wasmos.AsyncKernel() as aio:
            desk = Desk(aio)
            serving = asyncio.ensure_future(desk.prompter.serve())
            await desk.serve("here")
            task = await desk.spawn("here")
            await desk.is_asked.wait()
            task.kill()
            desk.answer("zzz")
            other = await desk.spawn("here")
            desk.answer("r")
            assert (await aio.wait(other)).code == 0
            assert "  web has ended meanwhile: nothing is changed" in desk.lines
            serving.cancel()

    loop.run(main())


def test_who_is_not_answered_is_denied(loop: asyncio.Runner) -> None:
    async def main() -> None:
        async with wasmos.AsyncKernel() as aio:
            kernel = aio.sync
            kernel.serve(Plus())
            you = LaterYou()
            prompter = LaterPrompter(kernel, you.ask_line, you.lines.append)
            serving = asyncio.ensure_future(prompter.serve())
            task = await aio.spawn(sends(PING), trusted=True)
            kernel.ask(task, prompter)
            await you.asked.wait()
            serving.cancel()
            assert (await aio.wait(task)).code == 1
            later = await aio.spawn(sends(PING), trusted=True)
            kernel.ask(later, prompter)
            assert (await aio.wait(later)).code == 1

    loop.run(main())
