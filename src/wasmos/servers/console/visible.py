"""What guests print, and what they chose as names, made safe for a terminal.

Law: what comes out is valid UTF-8 without a control character other than newline, return and
tab. The others are shown (`^[`) and not dropped, so that one sees that somebody tried.

What a program prints is its own affair, and may be Hebrew: the marks and isolates that such text
needs stay. They end with the line, while embeddings and overrides are older and turn what others
have written there. A name, or a line of ours with names in it, has no need of any: it would only
say something else than it seems to. So there all is shown that isn't printable.
"""

from __future__ import annotations

import codecs

_SHOWN = {
    code: "^" + chr(code ^ 0x40) for code in (*range(0x20), 0x7F) if chr(code) not in "\n\r\t"
}
# C1: some terminals begin a command at U+009B as at ESC [.
_SHOWN |= {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}
# Line ends that only some programs know, and what turns the direction of others' text.
_SHOWN |= {code: f"\\u{code:04x}" for code in range(0x2028, 0x202F)}


def plain(text: str) -> str:
    """A name, or a line with names in it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\r\t" else _escaped(ord(c)) for c in text)


def _escaped(code: int) -> str:
    if code in _SHOWN:
        return _SHOWN[code]
    return chr(code).encode("unicode_escape").decode("ascii")


class Visible:
    """Makes what one writer prints visible. It remembers a character that has arrived in part: two
    writers' halves must not become a character, least of all one of those above."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def text(self, data: bytes) -> bytes:
        return self._decode(data).translate(_SHOWN).encode()
