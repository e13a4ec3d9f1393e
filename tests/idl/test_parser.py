"""Whatever the text, parsing ends in a model or in an error with a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmos import idl
from wasmos.idl import IdlError, parse, parse_file
from wasmos.idl.model import Flow, Mention, TypeName

WHOLE = """\
// Not part of anything.
first 1000;

/// Keeps values.
/// For ever.
service store {
    /// Fetch one.
    rpc get(
        /// Which one.
        key: cstr[32],
    ) -> (value: bytes[64], found: int);

    oneway forget(key: cstr[32] as name) with get;
    //// A divider is no doc comment.
    event changed();
    answers ping;
    badge root, mode;
    rpc put(
        value: uint16 as
            port,
    ) -> () with get,
        forget;
}

kernel { oneway wake(); }
"""


def test_a_whole_file() -> None:
    document = parse(WHOLE, "store.idl")
    assert (document.file, document.first, document.first_line) == ("store.idl", 1000, 2)
    store, kernel = document.blocks
    assert (store.name, store.line, store.doc) == ("store", 6, ("Keeps values.", "For ever."))
    assert (kernel.name, kernel.line, kernel.doc) == (None, 25, ())
    get, forget, changed, put = store.messages
    assert (get.flow, get.name, get.line, get.doc) == (Flow.RPC, "get", 8, ("Fetch one.",))
    assert (forget.flow, forget.line, forget.reply_fields) == (Flow.ONEWAY, 13, ())
    assert (changed.flow, changed.fields, changed.doc) == (Flow.EVENT, (), ())
    (key,) = get.fields
    assert (key.name, key.type, key.line) == ("key", TypeName("cstr", 32), 10)
    assert key.doc == ("Which one.",)
    assert [(field.name, str(field.type)) for field in get.reply_fields] == [
        ("value", "bytes[64]"),
        ("found", "int"),
    ]
    assert store.answers == (Mention("ping", 16),)
    assert store.badges == (Mention("root", 17), Mention("mode", 17))
    assert [field.meaning for field in (key, *forget.fields, *put.fields)] == ["", "name", "port"]
    assert (get.covered_by, forget.covered_by) == ((), (Mention("get", 13),))
    assert put.covered_by == (Mention("get", 21), Mention("forget", 22))


def test_numbers_begin_at_1_unless_said_otherwise() -> None:
    assert parse("", "empty.idl").first == 1


def test_keywords_are_names_where_no_keyword_may_stand() -> None:
    text = "service rpc { rpc event(first: int, /// Its doc.\n kernel: int) -> (rpc: int); }"
    (block,) = parse(text, "x.idl").blocks
    assert block.name == "rpc"
    assert [field.name for field in block.messages[0].fields] == ["first", "kernel"]


def test_the_words_for_capabilities_are_names_too() -> None:
    text = """service badge {
        rpc badge(as: uint16 as port, with: cstr[9] as name, badge: int) -> (with: int) with with;
        badge badge, with;
        rpc with() -> ();
        answers as;
    }"""
    (block,) = parse(text, "x.idl").blocks
    badge, with_ = block.messages
    assert [field.name for field in badge.fields] == ["as", "with", "badge"]
    assert [field.meaning for field in badge.fields] == ["port", "name", ""]
    assert (badge.reply_fields[0].name, with_.name) == ("with", "with")
    assert [mention.name for mention in badge.covered_by] == ["with"]
    assert [mention.name for mention in block.badges] == ["badge", "with"]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("service a {\n  rpc b()\n}", 3, "unexpected '}'; write '->' here"),
        ("service a {\n  rpc b() -> ()\n}", 3, "write ';' or 'with' here"),
        ("service a {\n  rpc b() -> () with;\n}", 2, "unexpected ';'; write a name here"),
        ("service a {\n  rpc b() -> () with c d;\n}", 2, "unexpected 'd'; write ',' or ';'"),
        ("service a {\n  event b() with c;\n}", 2, "unexpected 'with'; write ';' here"),
        ("service a {\n  badge;\n}", 2, "unexpected ';'; write a name here"),
        ("service a {\n  badge b c;\n}", 2, "unexpected 'c'; write ',' or ';' here"),
        ("service a {\n  /// Why?\n  badge b;\n}", 3, "unexpected 'badge'"),
        ("kernel {\n  badge a;\n}", 2, "unexpected 'badge'"),
        ("service a {\n  oneway b(\n    x: int as,\n  );\n}", 3, "write a name here"),
        ("service a {\n  oneway b(x as int);\n}", 2, "unexpected 'as'; write ':' here"),
        ("service a {\n  oneway b(x: int port);\n}", 2, "unexpected 'port'; write"),
        ("service a {\n  rpcb() -> ();\n}", 2, "'rpc'"),
        ("services a {}", 1, "'service'"),
        ("service a {\n  oneway b(x int);\n}", 2, "unexpected 'int'; write ':' here"),
        ("service a {\n  oneway b(x: int\n", 2, "the file ends too early; add"),
        ("service a {\n  oneway b(x: int);\n\n\n", 2, "the file ends too early"),
        ("service a {}\n/// For whom?\n", 2, "the file ends too early"),
        ("service a {\n  oneway /// Why?\n b();\n}", 2, "a doc comment ('///')"),
        ("service a {}\n\n  'x'", 3, "unexpected character"),
        ("kernel {\n  event a();\n}", 2, "unexpected 'event'"),
        ("service a {}\nfirst 7;", 2, "unexpected 'first'"),
        ("first many;", 1, "'many' is not a number"),
        ("first\n 99999999999999999999;", 2, "is not a number that fits"),
        ("service a {\n  oneway b(\n  x: cstr[big]);\n}", 3, "'big' is not a number"),
        ("service a {\n oneway b(x: cstr[1.5]); }", 2, "'1.5' is not a number"),
        ("service a {\n oneway b(x: cstr[\N{ARABIC-INDIC DIGIT ONE}]); }", 2, "not a number"),
    ],
)
def test_errors_name_their_line(text: str, line: int, part: str) -> None:
    with pytest.raises(IdlError) as caught:
        parse(text, "bad.idl")
    assert str(caught.value).startswith(f"bad.idl:{line}: ")
    assert part in str(caught.value)
    assert (caught.value.file, caught.value.line) == ("bad.idl", line)


# Text that looks nearly right reaches further into the parser than noise.
PIECES = [*WHOLE.split(), "\n", "//", "///", "[", "]", "{", "}", "(", ")", ",", ":", "-", "\0"]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map(" ".join)))
def test_any_text_is_a_model_or_an_error(text: str) -> None:
    try:
        idl.lay_out([parse(text, "any.idl")])
    except IdlError as error:
        assert 1 <= error.line <= text.count("\n") + 1


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(IdlError, match=r"gone\.idl: can't be read: No such file"):
        parse_file(tmp_path / "gone.idl")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.idl"
    path.write_bytes(b"service a {}\n\n\xff\xfe")
    with pytest.raises(IdlError, match=r"x\.idl:3: is not UTF-8 text"):
        parse_file(path)


def test_lark_is_loaded_by_the_first_parse_only() -> None:
    source = Path(idl.__file__).parents[1]
    code = f"""
import sys, types
package = types.ModuleType("wasmos")
package.__path__ = [{str(source)!r}]
sys.modules["wasmos"] = package
import wasmos.idl
assert not any(name == "lark" or name.startswith("wasmos.abi") for name in sys.modules)
wasmos.idl.parse("", "empty.idl")
assert "lark" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
