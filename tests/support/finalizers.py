"""Finalizers that run when it is least expected."""

from __future__ import annotations

import gc
from collections.abc import Callable


class Garbage:
    """Ends something as soon as the collector runs."""

    def __init__(self, end: Callable[[], object]) -> None:
        self.itself = self
        self.end = end

    def __del__(self) -> None:
        self.end()


def collecting(threshold: int, end: Callable[[], object], use: Callable[[], object]) -> None:
    """`use`, in which the collector runs at one of the moments at which it may, and so `end`."""
    gc.collect()
    before = gc.get_threshold()
    Garbage(end)
    gc.set_threshold(threshold)
    try:
        use()
    finally:
        gc.set_threshold(*before)
        gc.collect()
