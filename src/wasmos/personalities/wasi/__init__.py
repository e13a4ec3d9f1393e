"""WASI: programs that were built for it, unmodified.

Law: what a program asks for is answered by services, by what its capabilities allow; the adapter
in between holds no authority. guests/personalities/wasi/ is its source, `functions` what there is.
"""

from __future__ import annotations

import os

from wasmos.kernel import Personality

_FOLDER = os.path.dirname(__file__)


def _read_preview1() -> bytes:
    return _read("preview1.wasm")


def _read_unstable() -> bytes:
    return _read("unstable.wasm")


def _read(name: str) -> bytes:
    with open(os.path.join(_FOLDER, name), "rb") as file:
        return file.read()


PREVIEW1 = Personality("wasi_snapshot_preview1", _read_preview1)
UNSTABLE = Personality("wasi_unstable", _read_unstable)
ALL = (PREVIEW1, UNSTABLE)

__all__ = ["ALL", "PREVIEW1", "UNSTABLE"]
