"""What rustc calls functions, as people write it: `<std::path::PathBuf>::new`.

Law: whatever a name is, reading it raises nothing and has an end. Each thing in it is paid for
(`cursor`), what comes out has a limit, and nothing recurses: what is still to be read stands in a
list. A name that isn't rustc's, is damaged, or takes more than that, stays as it is. So do names of
C++, which look much like the older ones of rustc: its linkers decipher them.

The facts of the newer encoding, "v0", are from the chapter "v0 Symbol Format" of the rustc book; of
constants that are strings or structures, from the amendment to RFC 2603 that adds them. The older
encoding is written down nowhere: it is the one of C++ for a name in namespaces, with escapes, and a
hash as the last of them.

Left out is what only tells functions of the same name apart: hashes, numbers of crates, the crate
that one was made for, and what LLVM appended.
"""

from __future__ import annotations

import re

from wasmos.system.backtrace.cursor import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from wasmos.system.backtrace.cursor import Budget

    # Something to say, or to do, which is mostly to read.
    Work: TypeAlias = str | Callable[[], None]

MAX_SYMBOL = 4096  # bytes
MAX_TEXT = 16_384  # characters: references back make much of little
STEPS = 20_000  # for the twenty names of a backtrace, where a long one takes 800: about 50 ms

_BASIC = {
    "a": "i8", "b": "bool", "c": "char", "d": "f64", "e": "str", "f": "f32", "h": "u8",
    "i": "isize", "j": "usize", "l": "i32", "m": "u32", "n": "i128", "o": "u128", "p": "_",
    "s": "i16", "t": "u16", "u": "()", "v": "...", "x": "i64", "y": "u64", "z": "!",
}  # fmt: skip
_SIGNED, _UNSIGNED = frozenset("ailnsx"), frozenset("hjmoty")
_SPACES = {"C": "closure", "S": "shim"}
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DECIMAL = re.compile("0|[1-9][0-9]*")
_BASE_62 = re.compile("([0-9a-zA-Z]{0,11})_")
_HEX = re.compile("([0-9a-f]*)_")
_PUNYCODE = re.compile("(?:[0-9a-zA-Z_]*_)?[0-9a-z]+")
_HASH = re.compile("h[0-9a-f]{16}")
_ESCAPE = re.compile(r"\$(SP|BP|RF|LT|GT|LP|RP|C|u[0-9a-f]{1,6})\$|\.\.")
_ESCAPES = {
    "SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ",",
    None: "::",
}  # fmt: skip
_QUOTED = {"\0": "\\0", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}


def deciphered(name: str, budget: Budget) -> str:
    """A name that rustc made, as people write it; any other as it is."""
    if len(name) > MAX_SYMBOL or not name.startswith(("_R", "_ZN")):
        return name
    # Lengths in a name count bytes. A character for each is easier to look at than they are.
    symbol = name.encode("utf-8", "surrogatepass").decode("latin-1")
    try:
        is_newer = name.startswith("_R")
        said = _Symbol(symbol[2:], budget).read() if is_newer else _older(symbol, budget)
    except Damaged:
        return name
    return said or name


def _text(part: str) -> str:
    """What a part of a symbol says."""
    try:
        return part if part.isascii() else part.encode("latin-1").decode()
    except UnicodeError:
        raise Damaged("not UTF-8") from None


def _size(digits: re.Match[str]) -> int:
    # A number of thousands of digits would be dear, and raise.
    if len(digits[0]) > len(str(MAX_SYMBOL)):
        raise Damaged("longer than anything")
    return int(digits[0])


# --- the older encoding ---------------------------------------------------------------------------


def _older(symbol: str, budget: Budget) -> str:
    budget.spend(1 + len(symbol) // 8)
    parts: list[str] = []
    pos = len("_ZN")
    while size := _DECIMAL.match(symbol, pos):
        pos = size.end() + _size(size)
        parts.append(symbol[size.end() : pos])
    # In C++ there are the types behind it that a function takes.
    if symbol[pos : pos + 2] not in ("E", "E.") or len(parts) < 2 or not _HASH.fullmatch(parts[-1]):
        raise Damaged("not rustc's")
    return "::".join(_unescaped(_text(part)) for part in parts[:-1])


def _unescaped(part: str) -> str:
    # An identifier doesn't begin with an escape: there is a `_` before it then.
    return _ESCAPE.sub(_meant, part.removeprefix("_") if part.startswith("_$") else part)


def _meant(escape: re.Match[str]) -> str:
    if escape[1] in _ESCAPES:
        return _ESCAPES[escape[1]]
    code = int(escape[1][1:], 16)
    return chr(code) if code <= 0x10FFFF and chr(code).isprintable() else escape[0]


# --- the newer one --------------------------------------------------------------------------------


class _Symbol:
    """A name from behind its `_R`: how far it is read, what is left to do, and what was said."""

    def __init__(self, symbol: str, budget: Budget) -> None:
        self._symbol = symbol
        self._budget = budget
        self._pos = 0
        self._work: list[Work] = []  # what comes next is the last
        self._said: list[str] = []
        self._room = MAX_TEXT
        self._mutes = 0  # of what is read now: it isn't said if there is one
        self._bound = 0  # lifetimes that have a name here
        self._is_open = False  # of the trait that was read: its `<` waits for more

    def read(self) -> str:
        """All of it. Raises Damaged."""
        self._do(lambda: self._path("::<"))
        if self._next.isalpha():
            self._mute(1)
            self._do(self._path)  # the crate that it was made for
        if self._next not in ("", ".", "$"):
            raise Damaged("more than a name")
        return "".join(self._said)

    def _do(self, work: Work) -> None:
        self._work.append(work)
        while self._work:
            self._budget.spend()
            each = self._work.pop()
            if isinstance(each, str):
                self._say(each)
            else:
                each()

    def _then(self, *work: Work) -> None:
        """Before all that is left to do anyway."""
        self._work.extend(reversed(work))

    def _say(self, text: str) -> None:
        if not self._mutes:
            self._room -= len(text)
            if self._room < 0:
                raise Damaged("too much to say")
            self._said.append(text)

    def _mute(self, by: int) -> None:
        self._mutes += by

    # --- what everything is made of ---

    @property
    def _next(self) -> str:
        return self._symbol[self._pos : self._pos + 1]

    def _take(self) -> str:
        found = self._next
        self._pos += 1
        return found

    def _eat(self, tag: str) -> bool:
        is_there = self._next == tag
        self._pos += is_there
        return is_there

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._symbol, self._pos)
        if found is None:
            raise Damaged("no number")
        self._budget.spend(len(found[0]) // 64)
        self._pos = found.end()
        return found

    def _number(self) -> int:
        value = 0
        digits = self._match(_BASE_62)[1]
        for digit in digits:
            value = value * 62 + _DIGITS.index(digit)
        if value >= 1 << 64:
            raise Damaged("more than rustc counts")
        return value + 1 if digits else 0

    def _optional(self, tag: str) -> int:
        """A number behind its tag, counted from 1; 0 if there is none."""
        return self._number() + 1 if self._eat(tag) else 0

    def _hex(self) -> str:
        return self._match(_HEX)[1].lstrip("0") or "0"

    def _identifier(self) -> str:
        is_punycode = self._eat("u")
        size = _size(self._match(_DECIMAL))
        self._eat("_")
        found = self._symbol[self._pos : self._pos + size]
        if len(found) < size:
            raise Damaged("cut off")
        self._pos += size
        return self._unicode(found) if is_punycode else _text(found)

    def _unicode(self, punycode: str) -> str:
        self._budget.spend(len(punycode))  # each may move all that was there before
        if not _PUNYCODE.fullmatch(punycode):
            raise Damaged("not punycode")
        plain, between, rest = punycode.rpartition("_")
        try:
            found = (f"{plain}-{rest}" if between else rest).encode().decode("punycode")
            found.encode()  # there are no halves of characters in it
        except UnicodeError:
            raise Damaged("not punycode") from None
        return found

    def _list(
        self, each: Work, between: str, end: str, end_of_one: str = "", count: int = 0
    ) -> None:
        """What comes until an `E`."""
        if self._eat("E"):
            self._say(end_of_one if end_of_one and count == 1 else end)
            return
        self._then(
            between if count else "",
            each,
            lambda: self._list(each, between, end, end_of_one, count + 1),
        )

    def _tuple(self, each: Work) -> None:
        self._say("(")
        self._list(each, ", ", ")", ",)")

    def _again(self, work: Work) -> None:
        """What was written there already, behind a `B`."""
        here = self._pos - 1
        there = self._number()
        if there >= here:
            raise Damaged("a reference that isn't back")
        if self._mutes:
            return  # one has read that
        after, self._pos = self._pos, there
        self._then(work, lambda: self._go(after))

    def _go(self, pos: int) -> None:
        self._pos = pos

    # --- lifetimes ---

    def _lifetime(self, index: int) -> str:
        """By how many others were named since; 0 is of nobody."""
        level = self._bound - index
        if level < 0:
            raise Damaged("a lifetime without a name")
        if index == 0:
            return "'_"
        return f"'{chr(ord('a') + level)}" if level < 26 else f"'_{level}"

    def _binder(self, work: Work) -> None:
        """Something that may have names for lifetimes."""
        count = self._optional("G")
        self._budget.spend(count)
        self._bind(count)
        if count:
            names = ", ".join(self._lifetime(index) for index in range(count, 0, -1))
            self._say(f"for<{names}> ")
        self._then(work, lambda: self._bind(-count))

    def _bind(self, count: int) -> None:
        self._bound += count

    # --- paths ---

    def _path(self, arguments: str = "<") -> None:
        """A path; in one that isn't a type's, `arguments` of a function are behind `::<`."""
        tag = self._take()
        if tag == "C":
            self._optional("s")
            self._say(self._identifier())
        elif tag == "N":
            space = self._take()
            self._then(lambda: self._path(arguments), lambda: self._nested(space))
        elif tag == "M":
            self._then(self._where, "<", self._type, ">")
        elif tag == "X":
            self._then(self._where, "<", self._type, " as ", self._path, ">")
        elif tag == "Y":
            self._then("<", self._type, " as ", self._path, ">")
        elif tag == "I":
            self._then(lambda: self._path(arguments), arguments, self._arguments)
        elif tag == "B":
            self._again(lambda: self._path(arguments))
        else:
            raise Damaged("no path")

    def _where(self) -> None:
        """Of an `impl`, where it stands: not shown."""
        self._optional("s")
        self._then(lambda: self._mute(1), self._path, lambda: self._mute(-1))

    def _nested(self, space: str) -> None:
        if not (space.isascii() and space.isalpha()):
            raise Damaged("no namespace")
        number = self._optional("s")
        name = self._identifier()
        if space.isupper():
            kind = _SPACES.get(space, space) + (f":{name}" if name else "")
            self._say(f"::{{{kind}#{number}}}")
        elif name:
            self._say(f"::{name}")

    def _arguments(self) -> None:
        self._list(self._argument, ", ", ">")

    def _argument(self) -> None:
        if self._eat("L"):
            self._say(self._lifetime(self._number()))
        elif self._eat("K"):
            self._const()
        else:
            self._type()

    # --- types ---

    def _type(self) -> None:
        tag = self._take()
        if tag in _BASIC:
            self._say(_BASIC[tag])
        elif tag in ("R", "Q"):
            self._say("&")
            if self._eat("L") and (index := self._number()):
                self._say(f"{self._lifetime(index)} ")
            self._then("mut " if tag == "Q" else "", self._type)
        elif tag in ("P", "O"):
            self._then("*const " if tag == "P" else "*mut ", self._type)
        elif tag == "A":
            self._then("[", self._type, "; ", self._value, "]")
        elif tag == "S":
            self._then("[", self._type, "]")
        elif tag == "T":
            self._tuple(self._type)
        elif tag == "F":
            self._binder(self._function)
        elif tag == "D":
            self._then("dyn ", lambda: self._binder(self._traits), self._trait_lifetime)
        elif tag == "B":
            self._again(self._type)
        else:
            self._pos -= 1
            self._path()

    def _function(self) -> None:
        self._say("unsafe " if self._eat("U") else "")
        if self._eat("K"):
            convention = "C" if self._eat("C") else self._identifier().replace("_", "-")
            self._say(f'extern "{convention}" ')
        self._say("fn(")
        self._then(lambda: self._list(self._type, ", ", ")"), self._result)

    def _result(self) -> None:
        if not self._eat("u"):
            self._then(" -> ", self._type)

    def _traits(self) -> None:
        self._list(self._trait, " + ", "")

    def _trait(self) -> None:
        self._then(self._trait_path, self._bindings)

    def _trait_path(self) -> None:
        """The types that a trait has stand beside its arguments: they may go on after an `E`."""
        if self._eat("B"):
            self._again(self._trait_path)
        elif self._eat("I"):
            self._then(
                self._path,
                "<",
                lambda: self._list(self._argument, ", ", ""),
                lambda: self._open(True),
            )
        else:
            self._then(self._path, lambda: self._open(False))

    def _bindings(self) -> None:
        if self._eat("p"):
            name = self._identifier()
            self._say(f"{', ' if self._is_open else '<'}{name} = ")
            self._then(self._type, lambda: self._open(True), self._bindings)
        elif self._is_open:
            self._say(">")

    def _open(self, is_open: bool) -> None:
        self._is_open = is_open

    def _trait_lifetime(self) -> None:
        if not self._eat("L"):
            raise Damaged("no lifetime")
        if index := self._number():
            self._say(f" + {self._lifetime(index)}")

    # --- constants ---

    def _const(self) -> None:
        """As an argument: what isn't a plain one stands in braces."""
        self._constant("{", "}")

    def _value(self) -> None:
        self._constant("", "")

    def _constant(self, before: str, after: str) -> None:
        tag = self._take()
        if tag == "p":
            self._say("_")
        elif tag in _SIGNED or tag in _UNSIGNED:
            self._say("-" if tag in _SIGNED and self._eat("n") else "")
            digits = self._hex()
            self._say(str(int(digits, 16)) if len(digits) <= 16 else f"0x{digits}")
        elif tag == "b":
            self._say("true" if self._code(1) else "false")
        elif tag == "c":
            self._say(_quoted(self._character(), "'"))
        elif tag == "B":
            self._again(lambda: self._constant(before, after))
        elif tag == "R" and self._eat("e"):
            self._say(self._string())
        else:
            self._then(before, lambda: self._structure(tag), after)

    def _code(self, most: int) -> int:
        digits = self._hex()
        if len(digits) > 6 or int(digits, 16) > most:
            raise Damaged("no such value")
        return int(digits, 16)

    def _character(self) -> str:
        code = self._code(0x10FFFF)
        if 0xD800 <= code < 0xE000:
            raise Damaged("half a character")
        return chr(code)

    def _string(self) -> str:
        digits = self._match(_HEX)[1]
        self._budget.spend(len(digits) // 2)
        try:
            return _quoted(bytes.fromhex(digits).decode(), '"')
        except ValueError:
            raise Damaged("no string") from None

    def _structure(self, tag: str) -> None:
        if tag == "e":
            self._say(f"*{self._string()}")
        elif tag in ("R", "Q"):
            self._then("&mut " if tag == "Q" else "&", self._value)
        elif tag == "A":
            self._say("[")
            self._list(self._value, ", ", "]")
        elif tag == "T":
            self._tuple(self._value)
        elif tag == "V":
            self._then(lambda: self._path("::<"), self._fields)
        else:
            raise Damaged("no constant")

    def _fields(self) -> None:
        if self._eat("T"):
            self._say("(")
            self._list(self._value, ", ", ")")
        elif self._eat("S"):
            self._say(" { ")
            self._list(self._field, ", ", " }")
        elif not self._eat("U"):
            raise Damaged("no fields")

    def _field(self) -> None:
        self._optional("s")
        self._then(f"{self._identifier()}: ", self._value)


def _quoted(text: str, quote: str) -> str:
    def shown(character: str) -> str:
        if character == quote:
            return f"\\{quote}"
        if character in _QUOTED or character.isprintable():
            return _QUOTED.get(character, character)
        return f"\\u{{{ord(character):x}}}"

    return f"{quote}{''.join(map(shown, text))}{quote}"
