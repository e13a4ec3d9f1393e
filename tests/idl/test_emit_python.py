"""The generated module says the same as the interface, and imports cleanly."""

from __future__ import annotations

import types

import pytest

from wasmos.abi import BYTES, CSTR, INT32, INT64, LENT, LENT_OUT, Message
from wasmos.idl import lay_out, parse
from wasmos.idl.emit_python import emit_python

TEXT = r'''first 1000;
/// Keeps "values".
service store {
    /// Says \ and """ in its doc.
    ///
    /// And "this"
    rpc get(
        /// A "key\".
        key: cstr[32],
        limit: uint16 as port,
    ) -> (value: bytes[64] as secret);
    oneway key_error(code: int) with get;
    event changed();
    answers ping;
    badge root, mode;
}
service ping { rpc ping() -> (); }
/// With more messages than at first.
service store { rpc put() -> () with get, add; rpc add() -> (); }
'''


def module(text: str) -> types.ModuleType:
    source = emit_python(lay_out([parse(text, "x.idl")]), ["x.idl"])
    made = types.ModuleType("generated")
    exec(compile(source, "generated.py", "exec"), made.__dict__)
    return made


def test_a_class_holds_what_the_definition_says() -> None:
    made = module(TEXT)
    cls = made.Get
    assert issubclass(cls, Message)
    assert (cls.TYPE, cls.NAME, cls.SIZE) == (1000, "get", 42)
    assert [(f.name, f.kind, f.offset, f.size, f.len_offset) for f in cls.FIELDS] == [
        ("key", CSTR, 8, 32, 0),
        ("limit", 2, 40, 2, 0),
    ]
    (value,) = made.GetReply.FIELDS
    assert (value.kind, value.offset, value.size, value.len_offset) == (BYTES, 8, 64, 72)
    assert [field.meaning for field in (*cls.FIELDS, value)] == ["", "port", "secret"]
    assert made.KeyError_.FIELDS[0].kind == INT32
    assert made.Changed.FIELDS == ()


LENDING = """first 1000;
service store {
    rpc save(at: int64, data: lent) -> (end: int64);
    rpc load(count: uint16, into: lent_out) -> (len: uint32);
}
"""


def test_64_bit_numbers_and_lent_memory() -> None:
    made = module(LENDING)
    fields = {
        cls.NAME: [(f.name, f.kind, f.offset, f.size, f.len_offset) for f in cls.FIELDS]
        for cls in made.MESSAGES.values()
    }
    assert fields == {
        "save": [("at", INT64, 8, 8, 0), ("data", LENT, 16, 4, 20)],
        "save_reply": [("end", INT64, 8, 8, 0)],
        "load": [("count", 2, 8, 2, 0), ("into", LENT_OUT, 12, 4, 16)],
        "load_reply": [("len", 1, 8, 4, 0)],
    }
    # As a client makes them: without arguments, with nothing to lend.
    assert (made.Save().at, made.Save().data) == (0, b"")
    assert made.Load().into == b""
    assert not made.Load().into.readonly
    with pytest.raises(AttributeError):  # it is one for all, so it can't grow
        made.Load().into.extend(b"x")


def test_what_may_be_lent() -> None:
    """A client lends any buffer; one that is to be filled has to be writable."""
    source = emit_python(lay_out([parse(LENDING, "x.idl")]), ["x.idl"])
    assert 'data: bytes | bytearray | memoryview = b""' in source
    assert "into: bytearray | memoryview = memoryview(bytearray())" in source


def test_docs_survive_quotes_and_backslashes() -> None:
    doc = module(TEXT).Get.__doc__
    assert 'Says \\ and """ in its doc.' in doc
    assert 'And "this"' in doc
    assert 'key: A "key\\".' in doc


def test_tables() -> None:
    made = module(TEXT)
    assert list(made.MESSAGES) == list(range(1000, 1010))
    assert [made.MESSAGES[number].NAME for number in (1004, 1006, 1008)] == ["ping", "put", "add"]
    assert made.RPCS["get"].reply is made.GetReply
    assert list(made.ONEWAYS) == ["key_error", "changed"]
    answers = ("get", "key_error", "put", "add", "ping")
    assert {"store": answers, "ping": ("ping",)} == made.SERVICES
    assert made.EVENTS == {"store": ("changed",)}
    assert made.COVERED_BY == {1002: (1000,), 1006: (1000, 1008)}
    assert made.BADGES == {"store": ("root", "mode")}
    assert frozenset() == made.KERNEL_ONLY
    assert set(made.__all__) <= set(vars(made))


def test_nothing_defined() -> None:
    made = module("")
    assert made.MESSAGES == made.RPCS == made.ONEWAYS == made.SERVICES == made.EVENTS == {}
    assert made.COVERED_BY == made.BADGES == {}


def test_long_names_and_many_fields_are_still_python() -> None:
    fields = ", ".join(f"a_rather_long_field_name_{i}: uint8[{i + 1}]" for i in range(16))
    name = "a_message_whose_name_goes_on_and_on_for_longer_than_anyone_would_like"
    made = module(f"service s {{ rpc {name}({fields}) -> (); rpc {name}2() -> ({fields}); }}")
    assert len(made.RPCS[name].request.FIELDS) == 16
    assert made.RPCS[name].request().a_rather_long_field_name_3 == bytes(4)
