"""The services that the tests of lent memory lend to."""

from __future__ import annotations

import pytest

import wasmos
from tests.kernel.lending import Slow, Taker


@pytest.fixture
def taker(kernel: wasmos.Kernel) -> Taker:
    taker = Taker()
    kernel.serve(taker)
    return taker


@pytest.fixture
def slow(kernel: wasmos.Kernel) -> Slow:
    slow = Slow()
    kernel.serve(slow)
    return slow
