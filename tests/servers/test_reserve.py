"""The descriptors that guests can't have."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator

import pytest

from tests.support.descriptors import descriptors_left
from wasmos.servers.reserve import RESERVED, is_reserved, is_short


@pytest.fixture
def most() -> Iterator[Callable[[int], None]]:
    """Set how many descriptors this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda count: resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("count", "first"),
    [(1024, 1024 - RESERVED), (4 * RESERVED, 3 * RESERVED), (100, 75), (8, 6), (3, 3)],
)
def test_of_few_a_quarter(most: Callable[[int], None], count: int, first: int) -> None:
    most(count)
    assert not is_reserved(first - 1)
    assert is_reserved(first)


@pytest.mark.parametrize(
    ("left", "short"), [(0, True), (1, True), (RESERVED, True), (RESERVED + 1, False)]
)
def test_what_is_left_is_found_out_by_taking_one(left: int, short: bool) -> None:
    with descriptors_left(left):
        assert is_short(0) is short
        assert is_short(0) is short  # what it took it gave back
