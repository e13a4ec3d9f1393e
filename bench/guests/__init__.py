"""The Wasm programs that are measured, in the text format with numbers left open."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent


def text(name: str, **numbers: int | str) -> str:
    """The program of this name with its `{open}` places filled."""
    source = (HERE / f"{name}.wat").read_text()
    for key, value in numbers.items():
        source = source.replace(f"{{{key}}}", str(value))
    return source
