"""Which names a definition may use.

Law: a name that passes here can be written unchanged as a struct member in C and as an
argument in Python, and its class and constant collide with nothing the generated files define.
"""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Iterable


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)

# C23's keywords, so that a header still compiles where yesterday's names became tomorrow's words;
# and C++'s for the same reason.
_C_KEYWORDS = _words(
    """
    alignas alignof auto bool break case char const constexpr continue default do double else enum
    extern false float for goto if inline int long nullptr register restrict return short signed
    sizeof static static_assert struct switch thread_local true typedef typeof typeof_unqual union
    unsigned void volatile while asm
    catch class co_await co_return co_yield concept consteval constinit const_cast decltype delete
    dynamic_cast explicit export friend mutable namespace new noexcept operator private protected
    public reinterpret_cast requires static_cast template this throw try typeid typename using
    virtual wchar_t
    """
)

# `main` is a macro in the header, which gives the program's entry its export.
_RESERVED_FIELDS = frozenset({"self", "main"})

# The members that every `struct message` has beside the payloads.
_RESERVED_MESSAGES = frozenset({"type", "src", "data", "main"})

# What a generated Python module has beside the messages' own classes. Capitals can be reached:
# `r_p_c_s` would be the class `RPCS`.
_RESERVED_CLASSES = _words(
    """
    Message Field Rpc None True False
    BADGES BYTES CSTR INT32 INT64 LENT UINT16 UINT32 EVENTS MESSAGES ONEWAYS RPCS SERVICES
    """
)

# Python's built-in classes. A fixed list, because what is generated must not depend on the version
# of Python that generates it.
_BUILTIN_CLASSES = _words(
    """
    ArithmeticError AssertionError AttributeError BaseException BaseExceptionGroup
    BlockingIOError BrokenPipeError BufferError BytesWarning ChildProcessError
    ConnectionAbortedError ConnectionError ConnectionRefusedError ConnectionResetError
    DeprecationWarning EOFError Ellipsis EncodingWarning EnvironmentError Exception
    ExceptionGroup FileExistsError FileNotFoundError FloatingPointError FutureWarning
    GeneratorExit IOError ImportError ImportWarning IndentationError IndexError InterruptedError
    IsADirectoryError KeyError KeyboardInterrupt LookupError MemoryError ModuleNotFoundError
    NameError NotADirectoryError NotImplemented NotImplementedError OSError OverflowError
    PendingDeprecationWarning PermissionError ProcessLookupError PythonFinalizationError
    RecursionError ReferenceError ResourceWarning RuntimeError RuntimeWarning StopAsyncIteration
    StopIteration SyntaxError SyntaxWarning SystemError SystemExit TabError TimeoutError
    TypeError UnboundLocalError UnicodeDecodeError UnicodeEncodeError UnicodeError
    UnicodeTranslateError UnicodeWarning UserWarning ValueError Warning ZeroDivisionError
    """
)


def name_problem(name: str) -> str | None:
    """What is wrong with the spelling of a name, or None."""
    if not _NAME.fullmatch(name):
        return f"'{name}' is not a name: use lower case letters, digits and single underscores"
    if keyword.iskeyword(name):
        return f"'{name}' is a keyword of Python"
    if name in _C_KEYWORDS:
        return f"'{name}' is a keyword of C or C++"
    return None


def field_problem(name: str) -> str | None:
    """What is wrong with a name as a field's, or None."""
    if name in _RESERVED_FIELDS:
        return f"a field can't be called '{name}': the generated code uses that name"
    return name_problem(name)


def message_problem(name: str) -> str | None:
    """What is wrong with a name as a message's, or None."""
    if problem := name_problem(name):
        return problem
    if name in _RESERVED_MESSAGES or class_name(name) in _RESERVED_CLASSES:
        return f"a message can't be called '{name}': the generated code uses that name"
    return None


def hint(name: str, known: Iterable[str]) -> str:
    """The nearest right name, as the beginning of an advice; nothing if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean '{near[0]}'? " if near else ""


def class_name(name: str) -> str:
    """The Python class of a message: `fs_open` is `FsOpen`, `exception` is `Exception_`."""
    class_ = "".join(part.capitalize() for part in name.split("_"))
    return f"{class_}_" if class_ in _BUILTIN_CLASSES else class_


def constant_name(name: str) -> str:
    """The C constant of a message's number: `fs_open` is `FS_OPEN_MSG`."""
    return f"{name.upper()}_MSG"
