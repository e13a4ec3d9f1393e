"""The world of each test: a kernel, and the host's network or one in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import wasmos
from tests.servers.tcpip.harness import FakeSide, HostSide, Side, World


def make_world(side: Side) -> Iterator[World]:
    with wasmos.Kernel() as kernel:
        yield World(kernel, side)
    side.close()


@pytest.fixture(params=[HostSide, FakeSide], ids=["host", "fake"])
def world(request: pytest.FixtureRequest, no_leaks: None) -> Iterator[World]:
    yield from make_world(request.param())


@pytest.fixture
def host_world(no_leaks: None) -> Iterator[World]:
    yield from make_world(HostSide())


@pytest.fixture
def fake_world(no_leaks: None) -> Iterator[World]:
    yield from make_world(FakeSide())


@pytest.fixture
def timed_world(no_leaks: None) -> Iterator[World]:
    """In memory, and in virtual time."""
    side = FakeSide()
    with wasmos.Kernel(virtual_clock=True) as kernel:
        yield World(kernel, side)
