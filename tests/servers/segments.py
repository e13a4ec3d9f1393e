"""Messages as data segments, for guests that send more than a number."""

from __future__ import annotations

from wasmos import _core, abi


def segment(address: int, message: abi.Message) -> str:
    """A message that is in the guest's memory when it starts."""
    raw = _core.Layout(type(message)).encode(message)
    escaped = "".join(f"\\{byte:02x}" for byte in raw)
    return f'(data (i32.const {address}) "{escaped}")'
