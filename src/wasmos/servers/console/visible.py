"""What a guest prints, made safe for a terminal.

Law: what comes out is valid UTF-8 without a control character other than newline, return and
tab. The others are shown (`^[`) and not dropped, so that one sees that somebody tried.
"""

from __future__ import annotations

import codecs

_SHOWN = {
    code: "^" + chr(code ^ 0x40) for code in (*range(0x20), 0x7F) if chr(code) not in "\n\r\t"
}
# C1: some terminals begin a command at U+009B as at ESC [.
_SHOWN |= {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}
# Those that turn the direction of text, and so what a line seems to say.
_SHOWN |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


class Visible:
    """Makes one writer's bytes visible. It remembers a character that has arrived in part: two
    writers' halves must not become a character, least of all one of those above."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def text(self, data: bytes) -> bytes:
        return self._decode(data).translate(_SHOWN).encode()
