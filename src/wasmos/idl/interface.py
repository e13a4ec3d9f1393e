"""All the files of a system together: messages numbered, laid out, and free of contradictions.

Law: what is in an `Interface` is right. Every name, number and reference was checked against every
file of it, so what reads one (the emitters) has nothing left to check.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NoReturn

from .errors import IdlError
from .layout import LENT_TYPES, Layout, lay_out_fields
from .model import BlockDef, Document, FieldDef, Flow, MessageDef
from .names import class_name, hint, message_problem, name_problem

# A type is an int32 and a negative one is an error code.
MAX_NUMBER = 2**31 - 1

# A name must fit the cstr[64] it is registered with, its NUL included.
MAX_SERVICE_NAME = 63


@dataclass(frozen=True, slots=True)
class Message:
    """One message: a request, a reply, a oneway or an event."""

    number: int
    name: str
    layout: Layout
    flow: Flow
    doc: tuple[str, ...]
    file: str
    line: int
    kernel_only: bool
    reply_to: str | None = None
    covered_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exchange:
    """One line of a block: a message, and the reply to it if it is an rpc."""

    message: Message
    reply: Message | None

    @property
    def messages(self) -> tuple[Message, ...]:
        return (self.message,) if self.reply is None else (self.message, self.reply)


@dataclass(frozen=True, slots=True)
class Block:
    """A service with all that the file says of it, or messages of the kernel if it has no name."""

    name: str | None
    exchanges: tuple[Exchange, ...]
    also_answers: tuple[str, ...]
    doc: tuple[str, ...]
    file: str
    line: int
    badges: tuple[str, ...] = ()

    @property
    def answers(self) -> tuple[str, ...]:
        """The messages this service takes: its rpcs and oneways, and those defined elsewhere."""
        own = (e.message for e in self.exchanges if e.message.flow is not Flow.EVENT)
        return (*(message.name for message in own), *self.also_answers)

    @property
    def sends(self) -> tuple[str, ...]:
        """The messages this service sends without being asked."""
        own = (e.message for e in self.exchanges if e.message.flow is Flow.EVENT)
        return tuple(message.name for message in own)

    def and_more(self, more: Block) -> Block:
        """This service with what a later block of the file adds to it."""
        between = ("",) if self.doc and more.doc else ()
        return replace(
            self,
            exchanges=self.exchanges + more.exchanges,
            also_answers=self.also_answers + more.also_answers,
            doc=self.doc + between + more.doc,
            badges=self.badges + more.badges,
        )


@dataclass(frozen=True, slots=True)
class Interface:
    """The blocks of all files, in order; each service is one, wherever its messages stand."""

    blocks: tuple[Block, ...]

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """In the order of their numbers, which is that of the file."""
        found = (exchange for block in self.blocks for exchange in block.exchanges)
        return tuple(sorted(found, key=lambda exchange: exchange.message.number))

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(message for exchange in self.exchanges for message in exchange.messages)

    @property
    def services(self) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.name is not None)

    def only(self, files: Iterable[str]) -> Interface:
        """What the named files define; references into the others stay as names."""
        wanted = frozenset(files)
        return Interface(tuple(block for block in self.blocks if block.file in wanted))


def lay_out(documents: Iterable[Document]) -> Interface:
    """Number, place and check the messages of several files as one system."""
    builder = _Builder()
    documents = tuple(documents)
    blocks = tuple(block for document in documents for block in builder.blocks(document))
    for document in documents:
        for definition in document.blocks:
            builder.check_mentions(definition, document.file)
    return Interface(blocks)


class _Builder:
    """Builds the blocks; remembers what is taken, by name, number, class and service."""

    def __init__(self) -> None:
        self._by_name: dict[str, Message] = {}
        self._by_class: dict[str, Message] = {}
        self._by_number: dict[int, Message] = {}
        self._services: dict[str, tuple[str, int]] = {}
        # Service → its own messages, what it answers beside them, and its badge parameters.
        self._own: dict[str | None, dict[str, MessageDef]] = {}
        self._answered: dict[str | None, set[str]] = {}
        self._badges: dict[str | None, set[str]] = {}

    def blocks(self, document: Document) -> list[Block]:
        if not 1 <= document.first <= MAX_NUMBER:
            problem = f"{document.first} can't be the number of a message"
            advice = f"write a number from 1 to {MAX_NUMBER}"
            raise IdlError(document.file, document.first_line, problem, advice)
        number = document.first
        blocks: dict[str | int, Block] = {}
        for at, definition in enumerate(document.blocks):
            block = self._block(definition, number, document.file)
            number += sum(len(exchange.messages) for exchange in block.exchanges)
            key = at if block.name is None else block.name
            blocks[key] = blocks[key].and_more(block) if key in blocks else block
        return list(blocks.values())

    def _block(self, definition: BlockDef, number: int, file: str) -> Block:
        if definition.name is not None:
            self._take_service(definition.name, file, definition.line)
        exchanges = []
        for message in definition.messages:
            self._own.setdefault(definition.name, {})[message.name] = message
            exchange = self._exchange(message, number, file, definition.name is None)
            exchanges.append(exchange)
            number += len(exchange.messages)
        return Block(
            name=definition.name,
            exchanges=tuple(exchanges),
            also_answers=tuple(answers.name for answers in definition.answers),
            doc=definition.doc,
            file=file,
            line=definition.line,
            badges=tuple(badge.name for badge in definition.badges),
        )

    def _exchange(
        self, definition: MessageDef, number: int, file: str, kernel_only: bool
    ) -> Exchange:
        if problem := message_problem(definition.name):
            raise IdlError(file, definition.line, problem, "choose another name")
        _check_lending(definition, file, kernel_only)
        message = Message(
            number=number,
            name=definition.name,
            layout=lay_out_fields(definition.fields, file),
            flow=definition.flow,
            doc=definition.doc,
            file=file,
            line=definition.line,
            kernel_only=kernel_only,
            covered_by=tuple(mention.name for mention in definition.covered_by),
        )
        self._take(message)
        if definition.flow is not Flow.RPC:
            return Exchange(message, None)
        reply = Message(
            number=number + 1,
            name=f"{definition.name}_reply",
            layout=lay_out_fields(definition.reply_fields, file),
            flow=definition.flow,
            doc=(),
            file=file,
            line=definition.line,
            kernel_only=kernel_only,
            reply_to=definition.name,
        )
        self._take(reply)
        return Exchange(message, reply)

    def _take(self, message: Message) -> None:
        """Claim the message's name, class and number; each may have one owner."""
        if message.number > MAX_NUMBER:
            problem = f"'{message.name}' would be number {message.number}"
            advice = f"start the file at a lower one: {MAX_NUMBER} is the last"
            raise IdlError(message.file, message.line, problem, advice)
        if other := self._by_name.setdefault(message.name, message):
            _refuse_second(message, other, f"two messages are called '{message.name}'")
        class_ = class_name(message.name)
        if other := self._by_class.setdefault(class_, message):
            _refuse_second(message, other, f"two messages would be the class '{class_}'")
        other = self._by_number.setdefault(message.number, message)
        if other is not message:
            problem = f"number {message.number} is '{message.name}' and '{other.name}'"
            advice = f"begin the file with a free one, 'first N;' ({_place(other)} has this one)"
            raise IdlError(message.file, message.line, problem, advice)

    def _take_service(self, name: str, file: str, line: int) -> None:
        if problem := name_problem(name):
            raise IdlError(file, line, problem, "choose another name")
        if len(name) > MAX_SERVICE_NAME:
            problem = f"the service name '{name}' is too long"
            raise IdlError(file, line, problem, f"use at most {MAX_SERVICE_NAME} letters")
        other_file, other_line = self._services.setdefault(name, (file, line))
        if other_file != file:
            problem = f"two services are called '{name}'"
            advice = f"rename one of them (the other is at {other_file}:{other_line})"
            raise IdlError(file, line, problem, advice)

    def check_mentions(self, definition: BlockDef, file: str) -> None:
        """What a block mentions must be there: to be called once all blocks are built."""
        self._check_answers(definition, file)
        self._check_badges(definition, file)
        for message in definition.messages:
            self._check_covered(definition, message, file)

    def _check_answers(self, definition: BlockDef, file: str) -> None:
        """Every `answers` names a message that somebody may send, and names it once."""
        own = self._own.get(definition.name, {})
        seen = self._answered.setdefault(definition.name, set(own))
        for answers in definition.answers:
            message = self._by_name.get(answers.name)
            if message is None:
                problem = f"there is no message '{answers.name}' to answer"
                raise IdlError(file, answers.line, problem, "correct the name, or define it")
            if message.flow is Flow.EVENT or message.reply_to or message.kernel_only:
                problem = f"'{answers.name}' is not a request that a service could answer"
                raise IdlError(file, answers.line, problem, "name an rpc or a oneway of a service")
            if answers.name in seen:
                problem = f"'{answers.name}' is answered twice"
                raise IdlError(file, answers.line, problem, "remove this line")
            seen.add(answers.name)

    def _check_badges(self, definition: BlockDef, file: str) -> None:
        """A badge parameter stands beside the fields in a capability: no two have one name."""
        own = self._own.get(definition.name, {}).values()
        fields = {field.name: message.name for message in own for field in message.fields}
        seen = self._badges.setdefault(definition.name, set())
        for badge in definition.badges:
            problem = name_problem(badge.name)
            if problem is None and badge.name in seen:
                problem = f"two badge parameters are called '{badge.name}'"
            if problem is None and badge.name in fields:
                problem = f"'{badge.name}' is a field of '{fields[badge.name]}' already"
            if problem is not None:
                raise IdlError(file, badge.line, problem, "choose another name")
            seen.add(badge.name)

    def _check_covered(self, definition: BlockDef, message: MessageDef, file: str) -> None:
        """Every name after `with` is another rpc of the service, and stands there once."""
        own = self._own[definition.name]
        rpcs = [name for name, other in own.items() if other.flow is Flow.RPC]
        seen = {message.name}
        for mention in message.covered_by:
            problem, advice = None, "remove the name"
            if definition.name is None:
                problem = "no capability is needed for what the kernel sends"
                advice = "remove 'with' and what follows it"
            elif mention.name not in rpcs:
                problem = f"the service '{definition.name}' has no rpc '{mention.name}'"
                near = hint(mention.name, (name for name in rpcs if name != message.name))
                advice = f"{near}name rpcs that stand in this service"
            elif mention.name in seen:
                problem = f"'{message.name}' is covered by '{mention.name}' anyway"
            if problem is not None:
                raise IdlError(file, mention.line, problem, advice)
            seen.add(mention.name)


def _check_lending(definition: MessageDef, file: str, kernel_only: bool) -> None:
    """Memory is lent by who waits for an answer, until the answer, and one range at a time."""
    name = definition.name
    lent = [field for field in definition.fields if field.type.name in LENT_TYPES]
    for field in definition.reply_fields:
        if field.type.name in LENT_TYPES:
            problem = f"the answer to '{name}' can't lend memory: nobody waits on what it lends"
            _refuse_lent(field, file, problem, "lend from the request, a lent_out to be filled")
    if not lent:
        return
    if kernel_only:
        problem = f"the kernel sends '{name}' and has no memory to lend"
        _refuse_lent(lent[0], file, problem, "make it bytes[N]")
    if definition.flow is not Flow.RPC:
        problem = f"nobody answers '{name}', and memory is lent until the answer"
        _refuse_lent(lent[0], file, problem, "make it an rpc, or the field bytes[N]")
    if len(lent) > 1:
        problem = f"'{name}' lends twice (first on line {lent[0].line})"
        _refuse_lent(lent[1], file, problem, "lend one range, or split the message in two")


def _refuse_lent(field: FieldDef, file: str, problem: str, advice: str) -> NoReturn:
    raise IdlError(file, field.line, f"'{field.name}': {problem}", advice)


def _refuse_second(message: Message, other: Message, problem: str) -> None:
    if other is not message:
        advice = f"rename one of them (the other is at {_place(other)})"
        raise IdlError(message.file, message.line, problem, advice)


def _place(message: Message) -> str:
    return f"{message.file}:{message.line}"
