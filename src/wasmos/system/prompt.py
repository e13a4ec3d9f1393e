"""Asking a person before a task is denied something.

Law: a question says who wants what of whom and why it isn't allowed, in words that no guest chose
alone; what isn't a clear yes is a no; and what a rule denies is never asked about. Nothing here
knows a terminal: how a line is shown and how an answer is read comes from outside.

    kernel.ask(task, Prompter(kernel, ask_line=input, say=print))

While a Prompter asks, its kernel stands still: it has one thread, and the question is asked on it.
A LaterPrompter takes the questions down instead, and the tasks they are about wait for the answers
while everything else goes on.
"""

from __future__ import annotations

from wasmos.errors import ManifestError
from wasmos.kernel import ALL
from wasmos.system.policy.rights import looks_around, rule_for, said
from wasmos.system.policy.widen import wider

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from typing import TypeAlias

    from wasmos.kernel import Denial, Grant, Kernel, Rule, Task

    # Shows a prompt and returns the line that was typed, without its end; None: there is no more.
    AskLine: TypeAlias = Callable[[str], str | None]
    AskLineLater: TypeAlias = Callable[[str], Awaitable[str | None]]
    Say: TypeAlias = Callable[[str], object]

ORIGIN = "prompt"
MAX_REMEMBERED = 1024  # different questions that were answered with no; then no more are asked
MAX_TRIES = 8  # lines that were no answer
MAX_NEAR = 4  # grants that are shown
PROMPT = "answer> "
DIRECTORY = 'fs(dir="HOST", at="GUEST")'

ONCE, RUN, ALWAYS, NO, NEVER, QUIET, EXPLAIN = "once", "run", "always", "no", "never", "quiet", "?"
_WORDS = {
    "o": ONCE, "once": ONCE, "r": RUN, "run": RUN, "a": ALWAYS, "always": ALWAYS,
    "n": NO, "no": NO, "N": NEVER, "never": NEVER, "Never": NEVER,
    "q": QUIET, "quiet": QUIET, "?": EXPLAIN, "h": EXPLAIN, "help": EXPLAIN,
}  # fmt: skip


# Messages about open files, and what opens them.
_OPENED = [
    ("fs", message)
    for message in ("open", "read", "write", "open_file", "read_at", "write_at", "list", "resize")
]


class Answer:
    """What somebody decided: one of once, run, always, no, never, quiet; and of which rule."""

    __slots__ = ("kind", "rule")

    def __init__(self, kind: str, rule: Rule) -> None:
        self.kind = kind
        self.rule = rule

    @property
    def allows(self) -> bool:
        return self.kind in (ONCE, RUN, ALWAYS)

    def __repr__(self) -> str:
        return f"<Answer {self.kind} {self.rule}>"


class Question:
    """A denial as a question: what is shown, and what each answer means.

    exact: the rule that the message is of. `rule`: what would allow just this, which can have a
    badge as well. `steps`: rules that are one step wider.
    module: where the task's program came from. policy: the file that `always` writes to, or None;
    then `unkept` may say why.
    directory: what grants a directory of the host, which no answer does.
    """

    def __init__(
        self, task: Task, denial: Denial, exact: Rule, rule: Rule, *, module: str = "",
        policy: str | None = None, unkept: str = "", directory: str = DIRECTORY,
    ) -> None:  # fmt: skip
        self.task = task
        self.unkept = unkept
        self.denial = denial
        self.exact = exact
        self.rule = rule
        self.module = module
        self.policy = policy
        self.directory = directory
        self.steps = wider(rule, task.name)

    def lines(self) -> list[str]:
        """The question. Whoever shows it makes the lines safe for where they are shown."""
        found = [
            "",  # a guest may have left a line unfinished
            f"{self.task.name} asks: {self.rule.describe()}?",
            f"  who    {self._who()}",
            f"  rule   {self.rule}{self._inexact()}",
            f"  why    {self._why()}",
        ]
        found += [f"  holds  {_shown(grant)}" for grant in self.near]
        if (self.rule.service, self.rule.message) in _OPENED:
            found.append(
                "  note   a file is used under the grant that it is opened by: to write to it,"
            )
            found.append("         allow fs before it is opened, and for more than once")
        if self.unkept:
            found.append(f"  note   not [a]lways: {self.unkept}")
        if self.exact.service == "fs" and not any(_is_of_host(grant) for grant in self.near):
            of_host = f"a directory of this machine is {self.directory}"
            found.append(f"  note   these are files in memory; {of_host}")
        always = "" if self.policy is None else f", [a]lways (adds it to {self.policy})"
        found.append(f"  allow  [o]nce, for this [r]un{always}")
        found.append("  deny   [n]o, [N]ever in this run, [q]uiet: no to all it asks; [?] explains")
        for number, rule in enumerate(self.steps, 1):
            found.append(f"  WIDER  [{number}] for this run: {rule}, {rule.describe()}")
        return found

    def explanation(self) -> list[str]:
        found = [f"  o      grants {self.rule} once; the next time it is asked again"]
        found.append(f"  r      grants {self.rule} until {self.task.name} ends")
        if self.policy is not None:
            found.append(f"  a      the same, and adds the rule to {self.policy} for later runs")
        found.append('  n      answers it with "not allowed"; this isn\'t asked again in this run')
        found.append("  N      the same, and no grant can allow it in this run any more")
        found.append(f"  q      answers this and all else that {self.task.name} isn't allowed so")
        for number, rule in enumerate(self.steps, 1):
            file = "" if self.policy is None else f"; {number}a: always"
            found.append(
                f"  {number}      grants more than was asked for: {rule}, in this run{file}"
            )
        return found

    def understand(self, line: str) -> Answer | None:
        """What an answer means; None if it is none. The letters' case matters: n isn't N."""
        word = line.strip()
        if word[:1].isdigit() and word.isascii():
            digits, always = word.removesuffix("a"), word.endswith("a")
            if not digits.isdigit() or not 1 <= int(digits[:4]) <= len(self.steps):
                return None
            rule, kind = self.steps[int(digits[:4]) - 1], ALWAYS if always else RUN
        else:
            rule, kind = self.rule, _WORDS.get(word, "")
        if not kind or (kind == ALWAYS and self.policy is None):
            return None
        return Answer(kind, rule)

    @property
    def near(self) -> list[Grant]:
        """What it holds for the same service, the nearest of all first."""
        service, nearest = self.denial.service, self.denial.grant
        held = [g for g in self.task.grants if not g.deny and g.rule.service in (service, ALL)]
        first = [g for g in held if g is nearest]
        return (first + [g for g in held if g is not nearest])[:MAX_NEAR]

    def _who(self) -> str:
        task = self.task
        module = f", {self.module}" if self.module else ""
        parents = dict.fromkeys(g.by for g in task.grants if g.by)
        by = [f"{task.kernel.name_of(parent) or '?'!r} (task {parent})" for parent in parents]
        return f"task {task.id} {task.name!r}{module}" + (f", which {by[0]} started" if by else "")

    def _why(self) -> str:
        denial = self.denial
        grant = denial.grant
        if grant is None:
            return denial.reason
        where = f" ({grant.origin})" if grant.origin else ""
        return f"{denial.reason}: {grant.rule}{where}"

    def _inexact(self) -> str:
        cls = self.denial.cls
        named = cls is not None and any(f.meaning not in ("", "secret") for f in cls.FIELDS)
        if self.rule.constraints or (cls is not None and not named):
            return ""
        return f", MORE than this message ({said(self.denial)[:200]}), which no rule can name alone"


class _Decisions:
    """What was decided already, and doing what is decided. alone: the tasks are run without a
    manifest, so that [run] of a policy is about them, too."""

    alone = True

    def __init__(
        self, kernel: Kernel, say: Say, *, policy: str | None, modules: Callable[[Task], str]
    ) -> None:
        self._kernel = kernel
        self._say = say
        self._policy = policy
        self._modules = modules
        self._refused: set[tuple[int, str]] = set()
        self._quiet: set[int] = set()

    directory = DIRECTORY  # how a directory of the host is written where this is asked

    def amended(self, rule: Rule) -> Rule:
        """What is granted in place of the rule for a message: the same, with a badge perhaps."""
        return rule

    def policy_of(self, task: Task) -> str | None:  # noqa: ARG002
        """The file that "always" writes to; None: it isn't offered."""
        return self._policy

    def misses(self, task: Task, service: str) -> bool:  # noqa: ARG002
        """Whether there is something at a service for this task: nobody is asked about nothing."""
        return True

    def heard(self, question: Question, line: str) -> Answer | None:
        """The answer that a line gives; None, with a word on it, if it gives none yet."""
        answer = question.understand(line)
        if answer is not None and answer.kind != EXPLAIN:
            return answer
        for each in _not_yet(question, answer):
            self._say(each)
        return None

    def question(self, denial: Denial) -> Question | None:
        """What is to be asked; None: it is denied without a question."""
        task = self._kernel.find(denial.task)
        if task is None or denial.cause in ("denied", "server") or task.id in self._quiet:
            return None
        if (task.id, denial.rule) in self._refused or not self.misses(task, denial.service):
            return None
        if looks_around(denial):
            return None
        rule = rule_for(self._kernel, denial)
        if rule is None:
            return None
        policy = self.policy_of(task)
        unkept = "" if policy is None else self._unkept(policy, task, rule)
        return Question(
            task,
            denial,
            rule,
            self.amended(rule),
            module=self._modules(task),
            policy=None if unkept else policy,
            unkept=unkept,
            directory=self.directory,
        )

    def _unkept(self, path: str, task: Task, rule: Rule) -> str:
        """Why adding a rule to a policy would be for nothing; "" if it wouldn't."""
        from wasmos.system.policy import policy

        try:
            against = policy.denied_in(path, task.name, rule, alone=self.alone)
        except ManifestError as error:
            return str(error)
        except OSError as error:
            return f"{path}: {(error.strerror or '?').lower()}"
        return "" if against is None else f"{against.origin} denies {against.rule}"

    def done(self, question: Question, answer: Answer) -> bool:
        """Do what was decided; whether the kernel is to look again."""
        task, rule = question.task, answer.rule
        if task.exit is not None:
            return False
        if not answer.allows:
            self._refuse(question, answer.kind)
            return False
        once = 1 if answer.kind == ONCE else None
        self._kernel.grant(task, rule, uses=once, origin=ORIGIN)
        if answer.kind == ALWAYS and question.policy is not None:
            self._write(question.policy, task.name, rule)
        return True

    def _refuse(self, question: Question, kind: str) -> None:
        task = question.task
        if kind == NEVER:
            self._kernel.deny(task, question.exact, origin=ORIGIN)
        if kind == QUIET or len(self._refused) >= MAX_REMEMBERED:
            if task.id not in self._quiet:
                self._quiet.add(task.id)
                task.when_ended(lambda exit: self._forget(exit.task))
        else:
            if not any(id == task.id for id, _ in self._refused):
                task.when_ended(lambda exit: self._forget(exit.task))
            self._refused.add((task.id, question.denial.rule))

    def _forget(self, task: int) -> None:
        self._quiet.discard(task)
        self._refused = {pair for pair in self._refused if pair[0] != task}

    def _write(self, path: str, task: str, rule: Rule) -> None:
        """It is granted for this run, whatever becomes of the file."""
        from wasmos.system.policy import edit as policy_edit

        try:
            new = policy_edit.add(path, task, str(rule), comment=rule.describe())
            self._say(f"{path}: added {rule}" if new else f"{path}: has {rule} already")
        except ManifestError as error:
            self._say(f"allowed in this run only; {error}")
        except OSError as error:
            self._say(f"allowed in this run only; {path}: {(error.strerror or '?').lower()}")


class Prompter(_Decisions):
    """Asks at once, and the kernel waits. Give it to `Kernel.ask`.

    ask_line: shows a prompt, returns a line, None at the end of input. A KeyboardInterrupt is a no
        and goes on to whoever runs the kernel.
    say: takes a line to show, with guests' names in it.
    policy: the file that "always" adds to; without one it isn't offered.
    modules: says where a task's program came from.
    """

    def __init__(
        self, kernel: Kernel, ask_line: AskLine, say: Say, *, policy: str | None = None,
        modules: Callable[[Task], str] = lambda _: "",
    ) -> None:  # fmt: skip
        super().__init__(kernel, say, policy=policy, modules=modules)
        self._ask_line = ask_line

    def __call__(self, denial: Denial) -> bool:
        question = self.question(denial)
        if question is None:
            return False
        for line in question.lines():
            self._say(line)
        return self.done(question, self._answer(question))

    def _answer(self, question: Question) -> Answer:
        for _ in range(MAX_TRIES):
            with self._kernel.interruptible():
                line = self._ask_line(PROMPT)
            if line is None:
                return Answer(QUIET, question.rule)  # nobody is there to be asked again
            if (answer := self.heard(question, line)) is not None:
                return answer
        self._say("that is a no")
        return Answer(NO, question.rule)


class LaterPrompter(_Decisions):
    """Takes questions down, and asks one after the other while the kernel goes on.

    Like Prompter, with an `ask_line` to await; a KeyboardInterrupt of it is a no. `serve` has to
    run beside the kernel. may_ask: whether now is the time to ask about a task; `look` says that
    this may have changed.
    """

    def __init__(
        self, kernel: Kernel, ask_line: AskLineLater, say: Say, *, policy: str | None = None,
        modules: Callable[[Task], str] = lambda _: "",
        may_ask: Callable[[int], bool] = lambda _: True,
    ) -> None:  # fmt: skip
        import asyncio

        super().__init__(kernel, say, policy=policy, modules=modules)
        self._ask_line = ask_line
        self._may_ask = may_ask
        self._waiting: list[Denial] = []  # a task asks one thing at a time: no more than tasks
        self._latest: dict[int, Denial] = {}  # what each is asked about: what was before is over
        self._changed = asyncio.Event()
        self._is_over = False

    def __call__(self, denial: Denial) -> bool | None:
        if self._is_over or self.question(denial) is None:
            return False
        self._waiting = [each for each in self._waiting if each.task != denial.task]
        self._waiting.append(denial)
        self._latest[denial.task] = denial
        self.look()
        return None

    def turn(self) -> AbstractAsyncContextManager[None]:
        """What is held from when a question is shown until it is answered: the keyboard, say."""
        from contextlib import nullcontext

        return nullcontext()

    def printed(self) -> int:
        """Counts what is shown, by whoever: a question is shown again if something came between."""
        return 0

    def look(self) -> None:
        """Somebody may be asked about now who couldn't before."""
        self._changed.set()

    async def serve(self) -> None:
        """Ask, for ever. Whoever isn't answered when it is cancelled is denied."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                while (denial := self._next()) is not None:
                    try:
                        await self._serve_one(denial)
                    finally:
                        self._answer_kernel(denial)
        finally:
            self._is_over = True
            for denial in self._waiting:
                self._answer_kernel(denial)

    def _next(self) -> Denial | None:
        for denial in self._waiting:
            if self._may_ask(denial.task) or self._kernel.find(denial.task) is None:
                self._waiting.remove(denial)
                return denial
        return None

    def _answer_kernel(self, denial: Denial) -> None:
        if self._latest.get(denial.task) is not denial:
            return  # the service that it was meant for has ended meanwhile
        del self._latest[denial.task]
        if self._kernel.find(denial.task) is not None:
            self._kernel.answer_asked(denial.task)
            self._kernel.kick()

    async def _serve_one(self, denial: Denial) -> None:
        if self.question(denial) is None:  # it was answered meanwhile, or is over
            return
        async with self.turn():
            question = self.question(denial)  # that may have taken a while
            if question is not None:
                self._show(question)
                self.done(question, await self._answer(question))

    def _show(self, question: Question) -> None:
        for each in question.lines():
            self._say(each)

    async def _answer(self, question: Question) -> Answer:
        no = Answer(NO, question.rule)
        for _ in range(MAX_TRIES):
            before = self.printed()
            try:
                line = await self._ask_line(PROMPT)
            except KeyboardInterrupt:
                line = None
            if line is None:
                return no
            if question.task.exit is not None:
                self._say(f"  {question.task.name} has ended meanwhile: nothing is changed")
                return no
            is_in_view = self.printed() == before
            if (answer := self.heard(question, line)) is not None:
                return answer
            if not is_in_view:
                self._show(question)
        self._say("that is a no")
        return no


def _is_of_host(grant: Grant) -> bool:
    return "dir" in grant.badge or "archive" in grant.badge


def _not_yet(question: Question, answer: Answer | None) -> list[str]:
    if answer is not None:
        return question.explanation()
    return ["  one of o, r, " + "a, " * (question.policy is not None) + "n, N, q, ? or a number"]


def _shown(grant: Grant) -> str:
    where = f" ({grant.origin})" if grant.origin else ""
    by = f", from task {grant.by}" if grant.by else ""
    return f"{grant.rule}{where}{by}"
