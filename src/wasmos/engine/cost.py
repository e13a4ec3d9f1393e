"""What compiling a module may cost: bounds that can be had without decoding instructions.

Law: the time this takes is bounded, too: by the size of the code and by `MAX_GROUPS`. What the
numbers may be is said in `policy.py`.
"""

from __future__ import annotations

from .info import ModuleInfo, Record, defined_functions
from .reader import BinaryError, Reader

MAX_LOCALS = 50_000  # of one function: the engine's own limit
MAX_GROUPS = 2_000_000  # of locals, in all functions: more than a second to read


class CompileCost(Record):
    """Upper bounds that can be had without decoding instructions; all are counts or bytes."""

    __slots__ = (
        "code_bytes",
        "element_bytes",
        "exports",
        "functions",
        "groups",
        "largest_body",
        "locals_total",
        "types",
        "widest_type",
    )

    def __init__(self, info: ModuleInfo) -> None:
        self.types = len(info.types)
        # Parameters and results of one type: every block and call of it copies them all.
        self.widest_type = max((len(t[0]) + len(t[1]) for t in info.types if t), default=0)
        self.functions = len(info.functions)
        self.exports = len(info.exports)
        self.element_bytes = info.element_bytes
        self.code_bytes = 0
        self.largest_body = 0  # bytes: nesting, stack depth and jump tables can't exceed it
        self.locals_total = 0  # parameters included, as the compiler sees them
        self.groups = 0  # of locals, empty ones too: each costs us a look, whatever it declares


def compile_cost(info: ModuleInfo) -> CompileCost:
    """Sizes and locals of all function bodies: about a microsecond each."""
    cost = CompileCost(info)
    if info.code is None:
        return cost
    reader = Reader(info.data, info.code.start, info.code.end, {})
    cost.code_bytes = reader.end - reader.pos
    params = [0 if found is None else len(found[0]) for found in info.types]
    for function in info.functions[len(info.functions) - defined_functions(info) :]:
        length = reader.u32("function body's length")
        start = reader.skip(length, "function body")
        cost.locals_total += params[function] + _count_locals(reader, start, reader.pos, cost)
        reader.pos = start + length
        cost.largest_body = max(cost.largest_body, length)
    reader.finish("code section")
    return cost


def _count_locals(reader: Reader, start: int, end: int, cost: CompileCost) -> int:
    """Borrows the section's reader: making one for each body would double the time."""
    section_end, reader.pos, reader.end = reader.end, start, end
    total = 0
    groups = reader.count("groups of locals", MAX_LOCALS, 2)
    cost.groups += groups
    if cost.groups > MAX_GROUPS:
        raise BinaryError(start, f"more than {MAX_GROUPS} groups of locals")
    for _ in range(groups):
        total += reader.u32("number of locals")
        reader.value_type()
        if total > MAX_LOCALS:
            raise BinaryError(start, f"a function of more than {MAX_LOCALS} locals")
    reader.end = section_end
    return total
