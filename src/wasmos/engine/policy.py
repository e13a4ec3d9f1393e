"""Which modules may run, decided before the engine sees them.

The laws of this file:

* `check_module` returns the `Shape` in which a module is to be run, or raises `ModuleRefused`,
  whose message names the offending thing and says what to do about it.
* No v128 and no reference type in anything imported or exported: the engine's C API aborts the
  whole process when asked about such a type. Inside functions v128 is welcome.
* Features are a list of what we take (the engine's configuration repeats it); whatever
  `binary.parse` noted as a feature is off that list.
* The order of the checks is the order in which an author can act on them: features, sizes,
  imports, exports, and the shape last.

Limits on time and memory while compiling are not here: a child process has those. `check_cost`
only turns away what can be recognised without decoding instructions.
"""

from __future__ import annotations

from wasmos.errors import CompileLimitExceeded, ModuleRefused

from . import binary
from .cost import compile_cost
from .info import FUNC, GLOBAL, MAX_SHOWN_NAME, MEMORY, TAG, GlobalType, quote, show_type
from .reader import GC, MEMORY64, NUMBERS, PAGE_SIZES, SHARED_MEMORY, STACK_SWITCHING, TYPED_REFS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol, TypeAlias

    from .cost import CompileCost
    from .info import Descriptor, FuncType, Import, ModuleInfo

    Offer: TypeAlias = Mapping[tuple[str, str], Descriptor]

    class Dialect(Protocol):
        """What programs may import instead. It is asked for only if one does."""

        @property
        def offer(self) -> Offer: ...

    # By the module that programs import.
    Dialects: TypeAlias = Mapping[str, Dialect]

# The module whose functions are the four calls: they take addresses in the caller's memory.
KERNEL_MODULE = "env"

ACTIVE, PASSIVE, LIBRARY = KINDS = "active", "passive", "library"
MAIN, HANDLE, BUFFER, MEMORY_NAME = "main", "ipc_handle", "ipc_buffer", "memory"
START = "_start"  # what a program that speaks a dialect is called by
INITIALIZE = "_initialize"
_NOTHING: FuncType = ((), ())
_CODE: FuncType = ((), ("i32",))
_PASSIVE_EXPORTS: dict[str, FuncType] = {HANDLE: (("i32",), ()), BUFFER: _CODE}

_NOUN = {FUNC: "function"}
_ADVICE = {
    GC: "build for a linear memory, not for a wasm-gc target",
    TYPED_REFS: "build without the function-references feature",
    STACK_SWITCHING: "build without the stack-switching feature",
    MEMORY64: "build for wasm32 instead of wasm64",
    SHARED_MEMORY: "build without threads (no -pthread, no atomics with shared memory)",
    PAGE_SIZES: "build with the ordinary page size of 64 KiB",
}

# What a message has of names: its own imports, and what there is instead.
MAX_NAMES, MAX_NAMES_LENGTH = 8, 300
MAX_OFFERS, MAX_NEAREST = 8, 3  # more than the former are too many to list

DEFAULT_MODULE_BYTES = 128 << 20  # the largest tools that people build have half of that
DEFAULT_MEMORY_BYTES = 64 << 20
DEFAULT_TABLE_ELEMENTS = 100_000  # a compiler of C++ has 40,000

# By `CompileCost`'s fields. Judged, not measured: far above what a compiler makes of source that
# people wrote, optimized or not. What isn't turned away here and takes long all the same is what
# the child's limits are for. Not here: segments and the locals of a function, of which the parser
# takes as many as the engine does. Go's linker makes so many segments. Neither are locals times
# the bytes of their function: 48 KB of loops over 4,000 locals take 23 s, but an interpreter that
# wasn't optimized has a function of 156 KB with 15,000 locals, and is compiled in a second.
DEFAULT_COST = {
    "functions": 1_000_000,  # Haskell's compiler made 620,000 of a converter of documents
    "element_bytes": 8 << 20,
    "largest_body": 4 << 20,  # a library for images has one of a quarter of that
    "locals_total": 20_000_000,  # a megabyte that wasn't optimized has 50,000
    "widest_type": 250,
}


class Shape:
    """How a module is to be run.

    `ACTIVE`: a program; call `entry` on its own fibre. `PASSIVE`: a service; its client's message
    goes to where `ipc_buffer` says and `entry` handles it on the client's time. `direct` is true
    of a passive module that imports nothing: nothing in it can block, so it needs no fibre.
    `LIBRARY`: nothing in it runs by itself; its caller says which of its functions does.
    `dialect` names the module whose functions a program imports instead of the four calls.
    """

    __slots__ = ("dialect", "direct", "entry", "has_memory", "kind", "returns_code")

    def __init__(
        self,
        kind: str,
        entry: str,
        *,
        direct: bool,
        has_memory: bool,
        returns_code: bool,
        dialect: str | None = None,
    ) -> None:
        self.kind = kind
        self.entry = entry
        self.dialect = dialect
        self.direct = direct
        self.has_memory = has_memory
        self.returns_code = returns_code  # the entry's result is an exit code, else it is 0

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"Shape({fields})"


def admit(
    data: bytes,
    *,
    imports: Offer,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    table_elements: int = DEFAULT_TABLE_ELEMENTS,
    module_bytes_limit: int = DEFAULT_MODULE_BYTES,
    cost_limits: Mapping[str, int] = DEFAULT_COST,
    dialects: Dialects | None = None,
    elsewhere: Mapping[str, str] | None = None,
    library: bool = False,
) -> tuple[ModuleInfo, Shape]:
    """From bytes to a verdict, in the order that keeps each step bounded. `library`: whatever
    might be run in it, only functions are to be called that somebody names. `elsewhere`: modules
    that nobody provides here, and what to tell who imports them."""
    _check_size(len(data), module_bytes_limit)
    info = binary.parse(data)
    shape = check_module(
        info,
        memory_bytes=memory_bytes,
        table_elements=table_elements,
        module_bytes_limit=module_bytes_limit,
        imports=imports,
        dialects=dialects,
        elsewhere=elsewhere,
        library=library,
    )
    check_cost(compile_cost(info), cost_limits)
    return info, shape


def check_module(
    info: ModuleInfo,
    *,
    memory_bytes: int,
    table_elements: int,
    module_bytes_limit: int,
    imports: Offer,
    dialects: Dialects | None = None,
    elsewhere: Mapping[str, str] | None = None,
    library: bool = False,
) -> Shape:
    """The shape of a module that may run."""
    dialects = dialects or {}
    dialect = _dialect(info, dialects)
    _check_size(len(info.data), module_bytes_limit)
    _check_features(info)
    _check_memory(info, memory_bytes)
    _check_tables(info, table_elements)
    for item in info.imports:
        _check_boundary(item.descriptor, item.kind, _import_name(item))
    homes = [*dialects, *dict.fromkeys(module for module, _ in imports)]
    offer = imports if dialect is None else dialects[dialect].offer
    _check_imports(info, offer, homes, elsewhere or {})
    for export in info.exports.values():
        _check_boundary(_exported(info, export.name), export.kind, f"export {quote(export.name)}")
    if library:
        return _library(info, dialect)
    return _shape(info, MAIN) if dialect is None else _foreign(info, dialect)


def needs(info: ModuleInfo) -> tuple[int, int]:
    """The bytes of memory and the table elements that a module begins with: all that the verdict
    on it has to do with a task's limits."""
    memory_bytes = max((memory.min_bytes for memory in info.memories), default=0)
    return memory_bytes, sum(table.minimum for table in info.tables)


def check_cost(cost: CompileCost, limits: Mapping[str, int] = DEFAULT_COST) -> None:
    """Refuse what is bound to be expensive to compile, with `CompileLimitExceeded`."""
    for field, limit in limits.items():
        value: int = getattr(cost, field)
        if value > limit:
            what = field.replace("_", " ")
            raise CompileLimitExceeded(
                f"too expensive to compile: {what} is {value:,}, and {limit:,} is the most that "
                "is taken; split the program into smaller ones"
            )


# --- what it needs ----------------------------------------------------------------------------


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ModuleRefused(
            f"the module has {size:,} bytes, the limit is {limit:,}; "
            "strip its debug information, or raise the limit"
        )


def _check_features(info: ModuleInfo) -> None:
    for feature, offset in info.features.items():
        raise ModuleRefused(
            f"it needs {feature} (seen at byte {offset}), which is not available here; "
            f"{_ADVICE[feature]}"
        )
    if len(info.memories) > 1:
        raise ModuleRefused(
            f"it has {len(info.memories)} memories (the multi-memory feature), "
            "and a task has one; link its parts into one memory"
        )


def _check_memory(info: ModuleInfo, limit: int) -> None:
    for memory in info.memories:
        if memory.min_bytes > limit:
            raise ModuleRefused(
                f"its memory begins with {memory.min_bytes:,} bytes, the limit is {limit:,}; "
                "link it with a smaller initial memory, or raise the task's memory limit "
                "(--max-memory, or Limits.memory_bytes)"
            )


def _check_tables(info: ModuleInfo, limit: int) -> None:
    """Only tables of functions: nothing here could put anything else into one."""
    for table in info.tables:
        if table.element != "funcref":
            raise ModuleRefused(
                f"it has a table of {table.element}, and only tables of funcref are taken; "
                "build without the reference-types feature"
            )
    _, total = needs(info)
    if total > limit:
        raise ModuleRefused(
            f"its tables begin with {total:,} elements, the limit is {limit:,}; "
            "call fewer functions through pointers, or raise the task's table limit "
            "(Limits.table_elements)"
        )


# --- what crosses its boundary ----------------------------------------------------------------


def _check_boundary(descriptor: Descriptor | None, kind: str, what: str) -> None:
    """Whatever the engine might be asked the type of has to be made of numbers."""
    values: tuple[str, ...] = ()
    if isinstance(descriptor, tuple):
        values = descriptor[0] + descriptor[1]
    elif isinstance(descriptor, GlobalType):
        values = (descriptor.value,)
    for value in values:
        if value not in NUMBERS:
            noun = "a vector" if value == "v128" else "a reference"
            raise ModuleRefused(
                f"{what} is a {_NOUN.get(kind, kind)} with {value} in its type; "
                f"{noun} may be used inside a module, but may not be imported or exported: "
                "pass it through memory"
            )


def _exported(info: ModuleInfo, name: str) -> Descriptor | None:
    """None for a memory or a table, which are judged wherever they come from."""
    export = info.exports[name]
    if export.kind == FUNC:
        return info.function_type(export.index)
    if export.kind == TAG:
        return info.types[info.tags[export.index]]
    return info.globals[export.index] if export.kind == GLOBAL else None


def _import_name(item: Import) -> str:
    return f"import {quote(item.module)}.{quote(item.name)}"


def _check_imports(
    info: ModuleInfo, imports: Offer, homes: list[str], elsewhere: Mapping[str, str]
) -> None:
    """`homes`: the modules that programs may import here, one or the other."""
    # A tag's type is a function's, and all that is provided are functions.
    missing = {
        (item.module, item.name): item
        for item in info.imports
        if item.kind == TAG or (item.module, item.name) not in imports
    }
    if missing:
        raise ModuleRefused(_provided_by_nobody([*missing.values()], imports, homes, elsewhere))
    for item in info.imports:
        offered = imports[item.module, item.name]
        if offered != item.descriptor:
            raise ModuleRefused(
                f"{_import_name(item)} is wanted as {_show(item.descriptor)}, "
                f"but provided as {_show(offered)}; correct its declaration"
            )


def _show(descriptor: Descriptor) -> str:
    return f"{'function ' if isinstance(descriptor, tuple) else ''}{show_type(descriptor)}"


def _provided_by_nobody(
    missing: list[Import], imports: Offer, homes: list[str], elsewhere: Mapping[str, str]
) -> str:
    for item in missing:
        if item.module in elsewhere and item.module not in homes:
            return elsewhere[item.module]
    missing.sort(key=lambda item: item.module)
    told = _told(missing, imports, homes)
    if len(missing) == 1:
        wanted = _show(missing[0].descriptor)
        return f"{_import_name(missing[0])}, {wanted}, is provided by nobody; {told}"
    noun = "functions" if all(item.kind == FUNC for item in missing) else "things"
    return (
        f"it imports {len(missing):,} {noun} that are provided by nobody: {_some(missing)}; {told}"
    )


def _some(missing: list[Import]) -> str:
    """By name, as many as fit a message; and how many more of which modules."""
    shown: list[str] = []
    for item in missing[:MAX_NAMES]:
        if sum(map(len, shown)) > MAX_NAMES_LENGTH:
            break
        shown.append(f"{quote(item.module)}.{quote(item.name)}")
    rest = missing[len(shown) :]
    if not rest:
        return ", ".join(shown)
    modules = [*dict.fromkeys(item.module for item in rest)]
    names = ", ".join(map(quote, modules))
    of = names if len(names) <= MAX_NAMES_LENGTH else f"{len(modules):,} modules"
    return f"{', '.join(shown)} and {len(rest):,} more of {of}"


def _told(missing: list[Import], imports: Offer, homes: list[str]) -> str:
    """The nearest thing there is: the same names elsewhere, the modules' other names, or what
    programs may import at all."""
    if not imports:
        return "this task is offered no imports at all"
    names, modules = {item.name for item in missing}, {item.module for item in missing}
    same = [key for key in imports if key[1] in names]
    others = [key for key in imports if key[0] in modules]
    for_others = modules - {module for module, _ in others}  # it is written for another host
    if not same and for_others and (len(homes) > 1 or len(imports) > MAX_OFFERS):
        return f"programs here import {_either(homes)}"
    keys = sorted(same or others or imports)
    if len(keys) > MAX_OFFERS:
        module, count = keys[0][0], len(keys)
        keys = _nearest(missing, keys)
        if not keys:
            return f"{quote(module)} has {count} functions here, none with such a name"
    return f"there is {', '.join(f'{m}.{n}: {show_type(imports[m, n])}' for m, n in keys)}"


def _either(homes: list[str]) -> str:
    names = [
        f"the four calls of {quote(home)}" if home == KERNEL_MODULE else quote(home)
        for home in homes
    ]
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _nearest(missing: list[Import], keys: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of a long list, those with names like what is missing."""
    from difflib import get_close_matches

    offered = [name for _, name in keys]
    near = [
        name
        for item in missing[:MAX_NAMES]
        for name in get_close_matches(item.name[:MAX_NAMES_LENGTH], offered, MAX_NEAREST)
    ]
    return [key for key in keys if key[1] in near][:MAX_NEAREST]


# --- its shape --------------------------------------------------------------------------------


def _shape(info: ModuleInfo, entry: str) -> Shape:
    _check_initialize(info)
    passive = [name for name in _PASSIVE_EXPORTS if name in info.exports]
    if entry in info.exports:
        if passive:
            raise ModuleRefused(
                f"it exports both {quote(entry)} and {quote(passive[0])}, and may be either a "
                "program or a passive service; export only one of them"
            )
        return _active(info, entry)
    if passive:
        return _passive(info)
    wanted = f"{quote(entry)} (a program) or {quote(HANDLE)} and {quote(BUFFER)} (a service)"
    raise ModuleRefused(_nothing_to_run(info, wanted))


def _dialect(info: ModuleInfo, dialects: Dialects) -> str | None:
    """What a module speaks: by its imports, or by its entry if it imports nothing."""
    for item in info.imports:
        if item.module in dialects:
            return item.module
    if not info.imports and START in info.exports and MAIN not in info.exports:
        return next(iter(dialects), None)
    return None


def _foreign(info: ModuleInfo, dialect: str) -> Shape:
    """A program with `_start`, or a reactor, of which only `_initialize` is called."""
    _check_initialize(info)
    if START in info.exports:
        if info.signature(START) != _NOTHING:
            raise ModuleRefused(
                f"its export {quote(START)} is {_what_is(info, START)} instead of a function "
                "() -> (); link it as a command"
            )
    elif INITIALIZE not in info.exports:
        kinds = f"{quote(START)} (a command) or {quote(INITIALIZE)} (a reactor)"
        wanted = f"{kinds}, as it imports {quote(dialect)}"
        raise ModuleRefused(_nothing_to_run(info, wanted))
    has_memory = _exports_memory(info)
    entry = START if START in info.exports else INITIALIZE
    return Shape(
        ACTIVE, entry, direct=False, has_memory=has_memory, returns_code=False, dialect=dialect
    )


def _check_initialize(info: ModuleInfo) -> None:
    """It is called before everything else, as reactors want it; and by a call that doesn't look
    at types, so they are looked at here."""
    if INITIALIZE in info.exports and info.signature(INITIALIZE) != _NOTHING:
        raise ModuleRefused(
            f"its export {quote(INITIALIZE)} is {_what_is(info, INITIALIZE)} instead of a function "
            "() -> (); give it no parameters and no result"
        )


def _active(info: ModuleInfo, entry: str) -> Shape:
    found = info.signature(entry)
    if found not in (_NOTHING, _CODE):
        raise ModuleRefused(
            f"its export {quote(entry)} is {_what_is(info, entry)} instead of a function "
            f"() -> i32 or () -> (); in C, write `int {entry}(void)`"
        )
    has_memory = _has_memory_for_messages(info)
    return Shape(ACTIVE, entry, direct=False, has_memory=has_memory, returns_code=found == _CODE)


def _library(info: ModuleInfo, dialect: str | None) -> Shape:
    _check_initialize(info)
    has_memory = _has_memory_for_messages(info)
    return Shape(
        LIBRARY, "", direct=False, has_memory=has_memory, returns_code=False, dialect=dialect
    )


def _passive(info: ModuleInfo) -> Shape:
    for name, wanted in _PASSIVE_EXPORTS.items():
        if info.signature(name) != wanted:
            found = _what_is(info, name) if name in info.exports else "missing"
            raise ModuleRefused(
                f"a passive service's export {quote(name)} is {found}; "
                f"export a function {quote(name)} of type {show_type(wanted)}"
            )
    if not _exports_memory(info):
        raise ModuleRefused(
            "a passive service without a memory for its messages; "
            f"export its memory as {quote(MEMORY_NAME)}"
        )
    return Shape(PASSIVE, HANDLE, direct=not info.imports, has_memory=True, returns_code=False)


def _has_memory_for_messages(info: ModuleInfo) -> bool:
    has_memory = _exports_memory(info)
    if not has_memory and info.imports_from(KERNEL_MODULE):
        first = info.imports_from(KERNEL_MODULE)[0]
        raise ModuleRefused(
            f"it imports {quote(first.module)}.{quote(first.name)} but exports no memory for its "
            f"messages; export its memory as {quote(MEMORY_NAME)}"
        )
    return has_memory


def _exports_memory(info: ModuleInfo) -> bool:
    export = info.exports.get(MEMORY_NAME)
    if export is not None and export.kind != MEMORY:
        raise ModuleRefused(
            f"its export {quote(MEMORY_NAME)} is a {_NOUN.get(export.kind, export.kind)}; "
            "give that another name, and export its memory under this one"
        )
    return export is not None


def _what_is(info: ModuleInfo, export: str) -> str:
    signature = info.signature(export)
    if signature is None:
        return f"a {info.exports[export].kind}"
    return f"of type {show_type(signature)}"


def _nothing_to_run(info: ModuleInfo, wanted: str) -> str:
    """What a module is that its author thinks complete, and what can be done with it."""
    names = [item.name for item in info.exports.values() if item.kind == FUNC]
    shown = ", ".join(map(quote, names[:8])) if names else "no functions"
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    functions = [name for name in names if name != INITIALIZE]
    if not functions or {MAIN, START} & {*functions}:  # a program, for somebody else
        return f"nothing to run: export {wanted}; it exports {shown}{more}"
    what = "reactor" if INITIALIZE in names else "library"
    return (
        f"nothing to run by itself: it is a {what}, whose functions others call: {shown}{more}; "
        f"to call one: wasmos run {calling(functions[0])}; for a program export {wanted}"
    )


def calling(function: str) -> str:
    """The option that calls a function. It will be copied into a shell, and a guest wrote the name:
    what isn't plain there is left to the user."""
    import shlex

    plain = function.isascii() and function.isprintable() and len(function) <= MAX_SHOWN_NAME
    return f"--invoke {shlex.quote(function) if plain and function[:1] != '-' else 'NAME'}"
