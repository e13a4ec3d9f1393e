"""Numbers in a binary: every width, padded or not, and none that doesn't fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import wasmgen as gen
from wasmos.engine.reader import BinaryError, Reader


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_unsigned_numbers_round_trip(value: int, width: int) -> None:
    encoded = gen.uleb(value, width)
    reader = Reader(encoded, 0, len(encoded), {})
    assert reader.u32("number") == value and reader.pos == len(encoded)


@given(st.sampled_from([32, 33, 64]), st.data())
def test_signed_numbers_round_trip(bits: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    encoded = gen.sleb(value)
    reader = Reader(encoded, 0, len(encoded), {})
    assert reader.signed(bits, "number") == value and reader.pos == len(encoded)


@pytest.mark.parametrize(
    ("encoded", "bits"),
    [
        (b"\x80\x80\x80\x80\x08", 32),
        (b"\xff\xff\xff\xff\x77", 32),
        (b"\x80\x80\x80\x80\x10", 33),
        (b"\x80" * 9 + b"\x02", 64),
        (b"\x80" * 5 + b"\x00", 32),
        (b"\x80" * 10 + b"\x00", 64),
    ],
)
def test_signed_numbers_out_of_range(encoded: bytes, bits: int) -> None:
    with pytest.raises(BinaryError):
        Reader(encoded, 0, len(encoded), {}).signed(bits, "number")
