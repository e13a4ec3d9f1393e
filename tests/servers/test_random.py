"""Random bytes: the host's, or a stream that a seed decides. What the core answers itself is in
tests/kernel/test_personality.py."""

from __future__ import annotations

import hashlib

import pytest

import wasmos
from tests.support.wat import program
from wasmos import abi
from wasmos.servers.random import Random, check_badge

# Known answers. They never change: a run with a seed has to repeat in every version.
KNOWN = {
    "": "5c5d42dcf39f71c0226ca720d8d518db",
    "1": "f534527e68800a142880916a733cc893",
    "a seed": "1664c326e937db313882820070353d1c",
    "é": "881e9243fffbf04b0310fc852870a7c2",
}
LONG_SHA256 = "a0be05d0392f5b5e851f2d5602f38d4e4cdaed7941565f9e7babff7e06fc448d"


def take(client: wasmos.Client, size: int) -> bytes:
    room = bytearray(size)
    client.call("random", abi.RandomGet(room))
    return bytes(room)


def seeded(kernel: wasmos.Kernel, seed: str) -> wasmos.Client:
    return kernel.client("seeded", allow=[f'random(seed="{seed}")'])


@pytest.fixture
def served(kernel: wasmos.Kernel) -> Random:
    service = Random()
    kernel.serve(service)
    return service


@pytest.mark.parametrize(("seed", "found"), KNOWN.items())
def test_known_answers(kernel: wasmos.Kernel, served: Random, seed: str, found: str) -> None:
    assert take(seeded(kernel, seed), 16).hex() == found


def test_known_answer_of_many(kernel: wasmos.Kernel, served: Random) -> None:
    found = take(seeded(kernel, "1"), 10_000)
    assert hashlib.sha256(found).hexdigest() == LONG_SHA256


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 64, 10_000])
def test_sizes(kernel: wasmos.Kernel, served: Random, size: int) -> None:
    """Each is the beginning of the same stream; the next goes on after it."""
    whole = take(seeded(kernel, "1"), 10_100)
    client = seeded(kernel, "1")
    assert take(client, size) == whole[:size]
    assert take(client, 100) == whole[size : size + 100]


@pytest.mark.parametrize("sizes", [[1] * 100, [31, 1, 33, 0, 35], [32, 32, 36], [7] * 14 + [2]])
def test_pieces_dont_matter(kernel: wasmos.Kernel, served: Random, sizes: list[int]) -> None:
    client = seeded(kernel, "1")
    assert b"".join(take(client, size) for size in sizes) == take(seeded(kernel, "1"), 100)


def test_tasks_with_one_seed_have_one_stream_each(kernel: wasmos.Kernel, served: Random) -> None:
    one, two = seeded(kernel, "1"), seeded(kernel, "1")
    assert take(one, 40) + take(one, 8) == take(two, 8) + take(two, 40)


def test_seeds_differ(kernel: wasmos.Kernel, served: Random) -> None:
    assert len({take(seeded(kernel, seed), 16) for seed in ("", "0", "1", "01", " 1")}) == 5


def test_a_task_that_is_started_again_begins_anew(kernel: wasmos.Kernel, served: Random) -> None:
    one = seeded(kernel, "1")
    first = take(one, 40)
    one.kill()
    assert served._streams == {}
    assert take(seeded(kernel, "1"), 40) == first


def test_a_service_that_is_started_again_begins_anew(kernel: wasmos.Kernel, served: Random) -> None:
    client = seeded(kernel, "1")
    first = take(client, 40)
    kernel.kill(served.task)
    kernel.serve(Random())
    assert take(client, 40) == first


def test_a_guest_with_a_seed(kernel: wasmos.Kernel, served: Random) -> None:
    guest = program(
        f"(i32.store #1024 #{abi.RandomGet.TYPE}) (i32.store #1032 #2048) (i32.store #1036 #4)"
        "(drop (call $call @random #1024)) (i32.load #2048)"
    )
    wanted = int.from_bytes(bytes.fromhex(KNOWN["1"])[:4], "little", signed=True)
    for _ in range(2):
        task = kernel.spawn(guest, allow=['random(seed="1")'], trusted=True)
        assert kernel.wait(task).code == wanted


def test_without_a_seed_nobody_can_tell(kernel: wasmos.Kernel, served: Random) -> None:
    client = kernel.client()
    assert len({take(client, 16) for _ in range(10)}) == 10
    assert take(client, 0) == b""
    assert any(take(client, 100_000)[-100:])
    assert served._streams == {}


def test_what_a_badge_may_say() -> None:
    for seed in ("", "1", "any text", "\udc80"):
        check_badge({"seed": seed})
    check_badge({})
    with pytest.raises(wasmos.UsageError, match="there is seed"):
        check_badge({"at": "0"})
