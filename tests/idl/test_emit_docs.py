"""The page has every number, offset and size, and its tables are whole."""

from __future__ import annotations

import re

from wasmos.idl import lay_out, parse
from wasmos.idl.emit_docs import emit_docs
from wasmos.idl.layout import MEANINGS

TEXT = """
/// From the kernel.
kernel { oneway wake(); rpc fault(at: uint32) -> (); }
/// Keeps <things>.
service store {
    /// Fetch one.
    rpc get(
        /// Which.
        key: cstr[32] as name,
    ) -> (value: bytes[64] as secret);
    event changed();
    answers ping;
    badge root, mode;
}
service pong { rpc ping() -> (); }
/// And more things.
service store { oneway drop() with get, put; rpc put() -> () with get; }
"""


def page(text: str) -> list[str]:
    return emit_docs(lay_out([parse(text, "x.idl")]), ["x.idl"]).splitlines()


def test_sections_follow_the_file() -> None:
    titles = [line for line in page(TEXT) if line.startswith("#")]
    assert titles == [
        "# Messages",
        "## The kernel",
        "### `wake`",
        "### `fault`",
        "## `store`",
        "### `get`",
        "### `changed`",
        "### `drop`",
        "### `put`",
        "## `pong`",
        "### `ping`",
    ]


def test_every_byte_of_a_message_is_on_the_page() -> None:
    lines = page(TEXT)
    start = lines.index("| 4 | `get` | `key` | `cstr[32] as name` | 8 | 32 |")
    assert lines[start + 1 : start + 3] == [
        "| 5 | `get_reply` | `value` | `bytes[64] as secret` | 8 | 64 |",
        "| | | `value_len` | `uint32` | 72 | 4 |",
    ]
    assert "| 1 | `wake` | none | | | |" in lines
    assert "| 9 | `drop` | none | | | |" in lines


def test_64_bit_numbers_and_lent_memory() -> None:
    lines = page(
        "service s { rpc save(at: int64, data: lent) -> (); rpc load(to: lent_out) -> (); }"
    )
    start = lines.index("| 1 | `save` | `at` | `int64` | 8 | 8 |")
    assert lines[start + 1 : start + 3] == [
        "| | | `data` | `lent` | 16 | 4 |",
        "| | | `data_len` | `uint32` | 20 | 4 |",
    ]
    start = lines.index("| 3 | `load` | `to` | `lent_out` | 8 | 4 |")
    assert lines[start + 1] == "| | | `to_len` | `uint32` | 12 | 4 |"
    types = {line.split("`")[1] for line in page("") if re.match(r"\| `\w+(\[N\])?`[ ,]", line)}
    assert {"int64", "lent", "lent_out"} < types


def test_words_of_the_source() -> None:
    lines = page(TEXT)
    signature = "get(key: cstr[32] as name) -> (value: bytes[64] as secret)"
    assert f"`{signature}`: a request and its answer." in lines
    assert "`wake()`: one-way, from the kernel." in lines
    assert "`fault(at: uint32) -> ()`: a request from the kernel and its answer." in lines
    assert "`changed()`: one-way, from the service." in lines
    assert "- `key`: Which." in lines
    assert "Keeps &lt;things>." in lines
    assert "Also answers `ping`." in lines
    start = lines.index("Keeps &lt;things>.")
    assert lines[start : start + 3] == ["Keeps &lt;things>.", "", "And more things."]


def test_what_capabilities_have_to_do_with_it() -> None:
    lines = page(TEXT)
    assert "A capability's badge can have the parameters `root`, `mode`." in lines
    covers = [line for line in lines if line.startswith("A capability for")]
    assert covers == [
        "A capability for `get` or `put` covers this message too.",
        "A capability for `get` covers this message too.",
    ]
    assert lines.index("### `drop`") < lines.index(covers[0]) < lines.index("### `put`")


def test_every_meaning_is_explained() -> None:
    rows = [line.split("`")[1] for line in page("") if line.startswith("| `as ")]
    assert rows == [f"as {meaning}" for meaning in MEANINGS]


def test_table_rows_have_six_columns() -> None:
    rows = [line for line in page(TEXT) if line.startswith("|")]
    numbered = rows[rows.index("| number | message | field | type | offset | size |") :]
    assert {row.count("|") for row in numbered} == {7}
