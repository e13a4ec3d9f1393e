"""Text to model.

Law: whatever the text, the outcome is a `Document` or an `IdlError` with a line. lark is
loaded when the first text is parsed and not before: a running system has no use for it.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import IdlError
from .model import BlockDef, Document, FieldDef, Flow, Mention, MessageDef, TypeName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lark import Lark, Token, Tree
    from lark.exceptions import UnexpectedInput

# Long enough for every number that can be right; int() is quadratic in the rest.
_NUMBER = re.compile(r"-?[0-9]{1,10}", re.ASCII)

# How to write what the grammar expected, where its own name for it would puzzle the reader.
_SPELLING = {"WORD": "a name", "DOC": "a doc comment", "_ARROW": "'->'", "$END": "the end"}


def parse(text: str, file: str) -> Document:
    """Parse the text of one file; `file` is what errors call it."""
    from lark.exceptions import UnexpectedInput

    try:
        tree = _grammar().parse(text)
    except UnexpectedInput as error:
        raise _syntax_error(error, text, file) from None
    return _Reader(file).document(tree)


def parse_file(path: Path, file: str | None = None) -> Document:
    """Parse the file at a path."""
    file = file or str(path)
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise IdlError(file, 0, f"can't be read: {error.strerror}", "check the path") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise IdlError(file, line, "is not UTF-8 text", "save the file as UTF-8") from None
    return parse(text, file)


@functools.cache
def _grammar() -> Lark:
    from lark import Lark

    grammar = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=False)


def _syntax_error(error: UnexpectedInput, text: str, file: str) -> IdlError:
    from lark.exceptions import UnexpectedToken

    if not isinstance(error, UnexpectedToken):
        return IdlError(file, error.line, "unexpected character", "remove it, or comment it out")
    expected = sorted({_spell(name) for name in error.accepts or error.expected})
    if error.token.type == "$END":
        line = text.rstrip().count("\n") + 1
        return IdlError(file, line, "the file ends too early", f"add {' or '.join(expected)}")
    if error.token.type == "DOC":
        advice = "put it above a block, message or field, or write '//'"
        return IdlError(file, error.line, "a doc comment ('///') documents nothing here", advice)
    problem = f"unexpected '{error.token}'"
    return IdlError(file, error.line, problem, f"write {' or '.join(expected)} here")


def _spell(terminal: str) -> str:
    """A terminal as an author would write it: `_RPC` is 'rpc', `SEMICOLON` is ';'."""
    if terminal in _SPELLING:
        return _SPELLING[terminal]
    if terminal.startswith("_"):
        return f"'{terminal[1:].lower()}'"
    return f"'{_grammar().get_terminal(terminal).pattern.value}'"


class _Reader:
    """Turns the tree of one file into its model."""

    def __init__(self, file: str) -> None:
        self._file = file

    def document(self, tree: Tree[Token]) -> Document:
        first, first_line = 1, 1
        for node in _nodes(tree, "first"):
            word = _word(node)
            first, first_line = self._number(word), _line(word)
        blocks = tuple(self._block(node) for node in _nodes(tree, "kernel", "service"))
        return Document(self._file, first, first_line, blocks)

    def _block(self, tree: Tree[Token]) -> BlockDef:
        return BlockDef(
            name=str(_word(tree)) if tree.data == "service" else None,
            messages=tuple(self._message(node) for node in _nodes(tree, *(f.value for f in Flow))),
            answers=_mentions(tree, "answers"),
            doc=_doc(tree),
            line=_code_line(tree),
            badges=_mentions(tree, "badge"),
        )

    def _message(self, tree: Tree[Token]) -> MessageDef:
        word = _word(tree)
        fields = [self._fields(node) for node in _nodes(tree, "fields")]
        return MessageDef(
            flow=Flow(str(tree.data)),
            name=str(word),
            fields=fields[0],
            reply_fields=fields[1] if len(fields) == 2 else (),
            doc=_doc(tree),
            line=_line(word),
            covered_by=_mentions(tree, "covered"),
        )

    def _fields(self, tree: Tree[Token]) -> tuple[FieldDef, ...]:
        return tuple(self._field(node) for node in _nodes(tree, "field"))

    def _field(self, tree: Tree[Token]) -> FieldDef:
        word = _word(tree)
        (type_,) = _nodes(tree, "type")
        name, *length = _words(type_)
        return FieldDef(
            name=str(word),
            type=TypeName(str(name), self._number(length[0]) if length else None),
            doc=_doc(tree),
            line=_line(word),
            meaning="".join(mention.name for mention in _mentions(tree, "meaning")),
        )

    def _number(self, word: Token) -> int:
        if not _NUMBER.fullmatch(word):
            problem = f"'{word}' is not a number that fits here"
            raise IdlError(self._file, _line(word), problem, "write a decimal number, such as 64")
        return int(word)


def _nodes(tree: Tree[Token], *kinds: str) -> Iterator[Tree[Token]]:
    for child in tree.children:
        if not isinstance(child, str) and child.data in kinds:
            yield child


def _words(tree: Tree[Token]) -> Iterator[Token]:
    for child in tree.children:
        if isinstance(child, str):
            yield child


def _word(tree: Tree[Token]) -> Token:
    return next(_words(tree))


def _mentions(tree: Tree[Token], kind: str) -> tuple[Mention, ...]:
    """Every word that stands in the nodes of this kind."""
    return tuple(
        Mention(str(word), _line(word)) for node in _nodes(tree, kind) for word in _words(node)
    )


def _line(token: Token) -> int:
    assert token.line is not None, "the lexer numbers every token"
    return token.line


def _code_line(tree: Tree[Token]) -> int:
    """The line of a block's own first word, below its doc comment."""
    for word in _words(tree):
        return _line(word)
    return tree.meta.line if not tree.meta.empty else 1


def _doc(tree: Tree[Token]) -> tuple[str, ...]:
    """The lines of the doc comment above, without slashes and the space that follows them."""
    return tuple(
        word.removeprefix("///").removeprefix(" ").rstrip()
        for docs in _nodes(tree, "docs", "notes")
        for word in _words(docs)
    )
