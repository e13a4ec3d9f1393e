"""Fields lie where C puts them; ctypes, which follows the C compiler, is the witness."""

from __future__ import annotations

import ctypes
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmos.idl import IdlError, parse
from wasmos.idl.layout import (
    HEADER_SIZE,
    MAX_FIELDS,
    MEANINGS,
    MESSAGE_SIZE,
    Layout,
    lay_out_fields,
)

SCALARS: dict[str, type[ctypes._SimpleCData[int]]] = {
    "int": ctypes.c_int32,
    "task": ctypes.c_int32,
    "uint32": ctypes.c_uint32,
    "uint16": ctypes.c_uint16,
    "int64": ctypes.c_int64,
    "lent": ctypes.c_uint32,
    "lent_out": ctypes.c_uint32,
}
WITH_LENGTH = ("bytes", "lent", "lent_out")


def lay_out(*types: str) -> Layout:
    """The layout of a message whose fields f0, f1, … have these types."""
    fields = ",\n".join(f"f{index}: {type_}" for index, type_ in enumerate(types))
    document = parse(f"service s {{ oneway m(\n{fields}\n); }}", "x.idl")
    return lay_out_fields(document.blocks[0].messages[0].fields, "x.idl")


def c_struct(types: list[str]) -> type[ctypes.Structure]:
    """The payload as a C programmer would declare it."""
    members: list[tuple[str, type]] = []
    for index, type_ in enumerate(types):
        name, _, length = type_.rstrip("]").partition("[")
        if name in SCALARS:
            members.append((f"f{index}", SCALARS[name]))
        else:
            element = ctypes.c_char if name == "cstr" else ctypes.c_uint8
            members.append((f"f{index}", element * int(length)))
        if name in WITH_LENGTH:
            members.append((f"f{index}_len", ctypes.c_uint32))
    # A message is aligned to 4 bytes, and so are the 64-bit numbers in it.
    return type("Payload", (ctypes.Structure,), {"_pack_": 4, "_fields_": members})


ARRAY = st.tuples(st.sampled_from(["cstr", "bytes", "uint8"]), st.integers(1, 300))
TYPE = st.one_of(
    st.sampled_from(sorted(SCALARS)), ARRAY.map(lambda array: f"{array[0]}[{array[1]}]")
)


@given(st.lists(TYPE, max_size=MAX_FIELDS))
def test_layout_is_that_of_c(types: list[str]) -> None:
    struct = c_struct(types)
    if HEADER_SIZE + ctypes.sizeof(struct) > MESSAGE_SIZE:
        with pytest.raises(IdlError, match="is the last possible end"):
            lay_out(*types)
        return
    layout = lay_out(*types)
    assert layout.payload_size == ctypes.sizeof(struct)
    for field in layout.fields:
        member = getattr(struct, field.name)
        assert (field.offset, field.size) == (HEADER_SIZE + member.offset, member.size)
        if field.len_offset is not None:
            assert field.len_offset == HEADER_SIZE + getattr(struct, f"{field.name}_len").offset


def test_64_bit_numbers_are_aligned_to_4() -> None:
    assert [field.offset for field in lay_out("int", "int64", "uint16", "int64").fields] == [
        8,
        12,
        20,
        24,
    ]
    assert lay_out("uint16", "int64").size == 20


def test_what_is_lent_is_an_address_and_a_length() -> None:
    (number, lent, after) = lay_out("uint16", "lent_out", "uint16").fields
    assert (number.len_offset, after.len_offset) == (None, None)
    assert (lent.offset, lent.size, lent.len_offset) == (12, 4, 16)
    assert after.offset == 20


def test_no_fields_is_a_bare_header() -> None:
    assert lay_out() == Layout((), HEADER_SIZE)


def test_the_largest_messages() -> None:
    assert lay_out("cstr[1504]").size == MESSAGE_SIZE
    assert lay_out("bytes[1500]").size == MESSAGE_SIZE
    # Three bytes of padding, then the length: the end is the same.
    assert lay_out("bytes[1497]").size == MESSAGE_SIZE


@pytest.mark.parametrize("types", [["cstr[1505]"], ["bytes[1501]"], ["cstr[1501]", "int"]])
def test_one_byte_more_is_too_large(types: list[str]) -> None:
    with pytest.raises(IdlError, match=rf"x\.idl:{len(types) + 1}: 'f\d' ends at"):
        lay_out(*types)


@pytest.mark.parametrize(
    ("type_", "part"),
    [
        ("i64", "unknown type 'i64'; did you mean 'int64'? the types are int"),
        ("unit32", "did you mean 'uint32'"),
        ("uint8", "'uint8' needs a length; write uint8[N]"),
        ("cstr", "'cstr' needs a length; write cstr[N]"),
        ("bytes", "'bytes' needs a length"),
        ("int[4]", "'int' takes no length; write 'int', or use bytes[N]"),
        ("int64[4]", "'int64' takes no length; write 'int64', or use bytes[N]"),
        (
            "lent[4]",
            "'lent' takes no length: each message says how much it lends; write 'lent', and",
        ),
        (
            "lent_out[4]",
            "'lent_out' takes no length: each message says how much it lends; write 'lent",
        ),
        ("lend", "unknown type 'lend'; did you mean 'lent'?"),
        ("cstr[0]", "cstr[0] has no room"),
        ("bytes[-4]", "bytes[-4] has no room"),
        ("uint8[9999999999]", "ends at byte 10000000011"),
    ],
)
def test_types_that_are_none(type_: str, part: str) -> None:
    with pytest.raises(IdlError) as caught:
        lay_out("int", type_)
    assert str(caught.value).startswith("x.idl:3: ")
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "line", "part"),
    [
        ("a: int,\na: int", 2, "two fields are called 'a'"),
        ("a: bytes[4],\na_len: int", 2, "two fields are called 'a_len'"),
        ("a_len: int,\na: bytes[4]", 2, "two fields are called 'a_len'"),
        ("a: lent,\na_len: uint32", 2, "two fields are called 'a_len'; rename one of them (the"),
        ("a_len: uint32,\na: lent", 2, "two fields are called 'a_len'"),
        ("a: lent_out,\na_len: int64", 2, "two fields are called 'a_len'"),
        ("a: bytes[4],\na_len: lent", 2, "two fields are called 'a_len'"),
        ("a: int,\nclass: int", 2, "'class' is a keyword of Python"),
        ("a: int,\nregister: int", 2, "'register' is a keyword of C"),
        ("a: int,\nself: int", 2, "can't be called 'self'"),
        ("a: int,\nmain: int", 2, "can't be called 'main'"),
        ("2fast: int", 1, "'2fast' is not a name"),
        ("Size: int", 1, "'Size' is not a name"),
        ("na-me: int", 1, "'na-me' is not a name"),
        ("_a: int", 1, "'_a' is not a name"),
        ("a__b: int", 1, "'a__b' is not a name"),
        ("größe: int", 1, "'größe' is not a name"),
    ],
)
def test_names_that_are_none(fields: str, line: int, part: str) -> None:
    document = parse(f"service s {{ oneway m({fields}); }}", "x.idl")
    with pytest.raises(IdlError) as caught:
        lay_out_fields(document.blocks[0].messages[0].fields, "x.idl")
    assert str(caught.value).startswith(f"x.idl:{line}: ")
    assert part in str(caught.value)


def test_more_fields_than_the_kernel_keeps() -> None:
    assert len(lay_out(*["int"] * MAX_FIELDS).fields) == MAX_FIELDS
    with pytest.raises(IdlError, match=rf"x\.idl:{MAX_FIELDS + 2}: a message has at most"):
        lay_out(*["int"] * (MAX_FIELDS + 1))


def test_a_layout_is_a_value() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        lay_out("int").size = 0  # type: ignore[misc]


RIGHT = [
    "uint32 as ipv4",
    "uint16 as port",
    "cstr[9] as hostname",
    "cstr[9] as path",
    "cstr[9] as name",
    "cstr[9] as own_name",
    "cstr[9] as secret",
    "bytes[9] as secret",
]


def test_a_meaning_moves_nothing() -> None:
    with_ = lay_out(*RIGHT)
    without = lay_out(*(type_.partition(" as ")[0] for type_ in RIGHT))
    assert [field.meaning for field in with_.fields] == [t.partition(" as ")[2] for t in RIGHT]
    plain = [dataclasses.replace(field, meaning="") for field in with_.fields]
    assert (tuple(plain), with_.size) == (without.fields, without.size)


ALLOWED = {tuple(type_.replace("[9]", "").split(" as ")) for type_ in RIGHT}
TYPES = ["int", "task", "uint32", "uint16", "int64", "lent", "lent_out", "cstr", "bytes", "uint8"]


@pytest.mark.parametrize("meaning", MEANINGS)
@pytest.mark.parametrize("type_", TYPES)
def test_which_types_can_have_which_meaning(type_: str, meaning: str) -> None:
    written = f"{type_}[9]" if type_ in ("cstr", "bytes", "uint8") else type_
    if (type_, meaning) in ALLOWED:
        assert lay_out(f"{written} as {meaning}").fields[0].meaning == meaning
        return
    with pytest.raises(IdlError, match=f"can't be read as '{meaning}'; make it a ") as caught:
        lay_out("int", f"{written} as {meaning}")
    assert caught.value.line == 3


@pytest.mark.parametrize(
    ("type_", "part"),
    [
        ("uint16 as prot", "unknown meaning 'prot'; did you mean 'port'? the meanings are ipv4, "),
        ("cstr[9] as as", "unknown meaning 'as'; "),
        (
            "uint32 as port",
            "'uint32' can't be read as 'port'; make it a uint16, or write 'as ipv4'",
        ),
        ("int as port", "make it a uint16, or remove 'as port'"),
        ("bytes[4] as path", "'bytes[4]' can't be read as 'path'; make it a cstr, or write 'as se"),
        ("uint32 as secret", "make it a cstr or bytes, or write 'as ipv4'"),
        ("what as port", "unknown type 'what'"),
        ("int64 as port", "'int64' can't be read as 'port'; make it a uint16, or remove 'as port'"),
        ("lent as path", "'lent' can't be read as 'path'; make it a cstr, or remove 'as path'"),
        ("lent as secret", "'lent' can't be read as 'secret'; make it a cstr or bytes, or remove "),
        ("lent_out as data", "unknown meaning 'data'"),
    ],
)
def test_a_wrong_meaning(type_: str, part: str) -> None:
    with pytest.raises(IdlError) as caught:
        lay_out("int", type_)
    assert str(caught.value).startswith("x.idl:3: ")
    assert part in str(caught.value)
