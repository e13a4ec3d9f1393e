"""Secrets that stand in rules.

Law: what is masked shows that it was there. Which fields of a message are shown at all is the
kernel's to say (`wasmos.kernel.denial.shown`): it alone has the message.
"""

from __future__ import annotations

from wasmos.abi import RPCS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

MASKED = "***"
MAX_TEXT = 256  # characters of a field
CUT = "…"


def secret_names() -> frozenset[str]:
    """The fields that are secret in some request of the system: rules name no others."""
    return frozenset(
        field.name
        for rpc in RPCS.values()
        for field in rpc.request.FIELDS
        if field.meaning == "secret"
    )


def without(names: Collection[str], text: str) -> str:
    """A rule, or a text with one in it, without the values that it names for these fields: the
    rule that would allow a message has the message's values in it."""
    if not names:
        return text
    import re

    words = "|".join(map(re.escape, names))
    value = r'"(?:[^"\\]|\\.)*(?:"|$)|\[(?:"(?:[^"\\]|\\.)*(?:"|$)|[^]"])*(?:\]|$)|[^,)\s]+'
    return re.sub(rf"\b({words})(\s*=\s*)(?:{value})", rf"\1\2{MASKED}", text)
