"""What compiling may cost, counted."""

from __future__ import annotations

import pytest

from tests.support import wasmgen as gen
from wasmos.engine.binary import parse
from wasmos.engine.cost import compile_cost
from wasmos.engine.reader import BinaryError


def test_cost_counts_locals_and_parameters() -> None:
    info = parse(
        gen.module(
            types=[gen.functype(gen.I32 * 3), gen.NOTHING],
            imports=[gen.imported("env", "f", gen.FUNC, b"\x01")],
            functions=[0, 1],
            code=[gen.body(b"\x01", [(5, gen.I64), (2, gen.V128)]), gen.body(b"\x01" * 50)],
        )
    )
    cost = compile_cost(info)
    assert (cost.functions, cost.types, cost.locals_total) == (3, 2, 10)
    assert cost.largest_body == 52
    assert cost.widest_type == 3


@pytest.mark.parametrize(
    "code", [b"\x01\x7f\x00\x0b", b"\x01\x02\x01\x0b", b"\x01\x02\x00\x0b\x00", b"\x01\x00\x0b\x0b"]
)
def test_cost_of_broken_code(code: bytes) -> None:
    sections = gen.section(1, b"\x01" + gen.NOTHING), gen.section(3, b"\x01\x00")
    with pytest.raises(BinaryError):
        compile_cost(parse(gen.raw(*sections, gen.section(10, code))))
