"""Sets of numbers and of addresses."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmos.abi.networks import NOT_PUBLIC, PUBLIC
from wasmos.kernel import address

_ends = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda ends: tuple(sorted(ends)))
_addresses = st.integers(0, 0xFFFF_FFFF) | st.sampled_from(
    [edge for interval in PUBLIC for edge in interval]
)


@given(intervals=st.lists(_ends, max_size=6))
def test_merged(intervals: list[tuple[int, int]]) -> None:
    found = address.merged(intervals)
    members = {n for low, high in intervals for n in range(low, high + 1)}
    assert {n for low, high in found for n in range(low, high + 1)} == members
    assert all(high + 1 < low for (_, high), (low, _) in itertools.pairwise(found))


@given(number=_addresses)
def test_public(number: int) -> None:
    judged = not any(IPv4Address(number) in IPv4Network(network) for network in NOT_PUBLIC)
    assert any(low <= number <= high for low, high in PUBLIC) == judged


@given(number=_addresses, bits=st.integers(0, 32))
def test_networks_are_read_as_the_standard_library_does(number: int, bits: int) -> None:
    network = IPv4Network((number, bits), strict=False)
    ends = int(network.network_address), int(network.broadcast_address)
    assert address.parse(str(network)) == (ends,)
    if number != ends[0]:
        with pytest.raises(ValueError, match=f'did you mean "{network}"'):
            address.parse(f"{IPv4Address(number)}/{bits}")


@pytest.mark.parametrize(
    "text",
    [
        "", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/8/8",
        "10.0.0", "10", "10.0.0.0.0", "010.0.0.0", "0x0a.0.0.0", "10.0.0.256", "10.0.0. 1",
        " 10.0.0.1", "10.0.0.1 ", "10.0.0.1.", "10..0.1", "①.0.0.0", "10.0.0.0/255.0.0.0", "::1",
        "localhost",
        "Any", "public", "10.0.0.+1", "10.0.0.1/٨",
    ],
)  # fmt: skip
def test_other_forms_are_no_networks(text: str) -> None:
    with pytest.raises(ValueError, match="is no network"):
        address.parse(text)


@given(ends=st.lists(st.tuples(_addresses, _addresses), min_size=1, max_size=5), some=st.booleans())
def test_what_is_shown_is_the_same_set(ends: list[tuple[int, int]], some: bool) -> None:
    pairs = [(min(pair), max(pair)) for pair in ends]
    intervals = address.merged([*pairs, *(PUBLIC if some else ())])
    again: list[tuple[int, int]] = []
    for shown in address.show(intervals):
        if shown[0] == '"':
            again += address.parse(shown.strip('"'))
        else:
            low, _, high = shown.partition("..")
            again.append((int(low or 0), int(high or (0xFFFF_FFFF if ".." in shown else low))))
    assert address.merged(again) == intervals
    if some and intervals != ((0, 0xFFFF_FFFF),):
        assert '"any"' in address.show(intervals)
