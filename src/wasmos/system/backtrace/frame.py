"""Where a task was when it ended: functions, files and lines.

Law: nothing here is certain but `index` and `offset`, which are the engine's. Names, files and
lines are what the program says about itself.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from wasmos.system.backtrace import rust
from wasmos.system.backtrace.cursor import Budget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wasmos.kernel import Exit, ModuleInfo
    from wasmos.system.backtrace.symbols import Place, Symbols

UNKNOWN = 1 << 32  # offsets from here on: the engine doesn't know where a stack overflow began

# What was learnt of a module stays for as long as the module does.
_symbols: WeakKeyDictionary[ModuleInfo, Symbols] = WeakKeyDictionary()


class Frame:
    """One function of a backtrace.

    function: its name as people write it, "" if there is none. file, line, column: where in its
        source, "" and 0 if that isn't known; `directory` is where the compiler ran. inlined: into
        the next one, which it is a part of. index, offset: the function's number, and the place in
        the module, None if the engine doesn't know it. part: "" for the program's own, else which
        part of wasmos it is.
    """

    __slots__ = (
        "column", "directory", "file", "function", "index", "inlined", "line", "offset", "part",
    )  # fmt: skip

    def __init__(
        self,
        function: str,
        index: int,
        offset: int | None,
        *,
        file: str = "",
        line: int = 0,
        column: int = 0,
        directory: str = "",
        inlined: bool = False,
        part: str = "",
    ) -> None:
        self.function = function
        self.index = index
        self.offset = offset
        self.file = file
        self.line = line
        self.column = column
        self.directory = directory
        self.inlined = inlined
        self.part = part

    @property
    def path(self) -> str:
        """The whole path of its file."""
        if not self.file or self.file.startswith("/") or not self.directory:
            return self.file
        return f"{self.directory.rstrip('/')}/{self.file}"

    def as_dict(self) -> dict[str, Any]:
        """For a JSON document: what isn't known is left out."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value not in ("", None, False)}

    def __repr__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.file else f"byte {self.offset}"
        return f"<Frame {self.function or self.index} {place}>"


def backtrace(exit: Exit) -> list[Frame]:
    """The functions that a task was in when it ended, the innermost first. Files and lines are
    there if the module has DWARF, and while its kernel is."""
    info = exit.module
    symbols = None if info is None else _of(info)
    offsets = [offset for _, _, offset, part in exit.backtrace if offset < UNKNOWN and not part]
    known = {} if symbols is None else symbols.places(offsets)
    budget = Budget(rust.STEPS)
    frames: list[Frame] = []
    for index, name, offset, part in exit.backtrace:
        known_offset = offset if offset < UNKNOWN else None
        raw = name or ("" if info is None or part else _exported(info, index))
        own = rust.deciphered(raw, budget)
        places = [] if part else known.get(offset, [])
        frames += [_placed(place, own, index, known_offset) for place in places]
        if not places:
            frames.append(Frame(own, index, known_offset, part=part))
    return frames


def has_debug_information(exit: Exit) -> bool:
    """Whether its module has any."""
    return exit.module is not None and _of(exit.module).is_there


def build_id(exit: Exit) -> str:
    """What the linker named the module by, in hexadecimal digits, "" if it didn't."""
    info = exit.module
    for section in () if info is None else info.custom_sections:
        if info is not None and section.name == "build_id":
            content = info.data[section.start : section.end]
            # A length of one byte, and the name.
            if content and content[0] == len(content) - 1 <= 64:
                return content[1:].hex()
    return ""


def _of(info: ModuleInfo) -> Symbols:
    found = _symbols.get(info)
    if found is None:
        from wasmos.system.backtrace.symbols import Symbols

        found = _symbols[info] = Symbols(info)
    return found


def _placed(place: Place, name: str, index: int, offset: int | None) -> Frame:
    return Frame(
        place.function or ("" if place.inlined else name),
        index,
        offset,
        file=place.file,
        line=place.line,
        column=place.column,
        directory=place.directory,
        inlined=place.inlined,
    )


def _exported(info: ModuleInfo, index: int) -> str:
    """Without a name, what a function is exported as."""
    for export in info.exports.values():
        if export.kind == "func" and export.index == index:
            return export.name
    return ""
