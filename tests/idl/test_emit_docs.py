"""The page has every number, offset and size, and its tables are whole."""

from __future__ import annotations

from wasmos.idl import lay_out, parse
from wasmos.idl.emit_docs import emit_docs

TEXT = """
/// From the kernel.
kernel { oneway wake(); rpc fault(at: uint32) -> (); }
/// Keeps <things>.
service store {
    /// Fetch one.
    rpc get(
        /// Which.
        key: cstr[32],
    ) -> (value: bytes[64]);
    event changed();
    answers ping;
}
service pong { rpc ping() -> (); }
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
        "## `pong`",
        "### `ping`",
    ]


def test_every_byte_of_a_message_is_on_the_page() -> None:
    lines = page(TEXT)
    start = lines.index("| 4 | `get` | `key` | `cstr[32]` | 8 | 32 |")
    assert lines[start + 1 : start + 3] == [
        "| 5 | `get_reply` | `value` | `bytes[64]` | 8 | 64 |",
        "| | | `value_len` | `uint32` | 72 | 4 |",
    ]
    assert "| 1 | `wake` | none | | | |" in lines


def test_words_of_the_source() -> None:
    lines = page(TEXT)
    assert "`get(key: cstr[32]) -> (value: bytes[64])`: a request and its answer." in lines
    assert "`wake()`: one-way, from the kernel." in lines
    assert "`fault(at: uint32) -> ()`: a request from the kernel and its answer." in lines
    assert "`changed()`: one-way, from the service." in lines
    assert "- `key`: Which." in lines
    assert "Keeps &lt;things>." in lines
    assert "Also answers `ping`." in lines


def test_table_rows_have_six_columns() -> None:
    rows = [line for line in page(TEXT) if line.startswith("|")]
    numbered = rows[rows.index("| number | message | field | type | offset | size |") :]
    assert {row.count("|") for row in numbered} == {7}
