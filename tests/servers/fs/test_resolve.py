"""Which way is taken, and what the walk does if the tree changes at the worst moment."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.fs import trees
from wasmos.servers.fs import resolve
from wasmos.servers.fs.resolve import DIRECTORY, PATH, Openat2, Resolver, Walk, best

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux")


@pytest.fixture
def root(inside: Path, outside: Path) -> Iterator[int]:
    before = trees.open_descriptors()
    descriptor = os.open(inside, DIRECTORY)
    yield descriptor
    os.close(descriptor)
    assert trees.open_descriptors() == before


def read(root: int, path: bytes, resolver: Resolver | None = None) -> bytes:
    descriptor = (resolver or Walk()).open(root, path, os.O_RDONLY)
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


def error(root: int, path: bytes, flags: int = os.O_RDONLY) -> int | None:
    with pytest.raises(OSError) as refused:
        Walk().open(root, path, flags)
    return refused.value.errno


# --- the choice -------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM, errno.EINVAL])
def test_where_there_is_no_openat2(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(self: Openat2, root: int, path: bytes, how: bytes) -> int:
        raise resolve.failure(code)

    monkeypatch.setattr(Openat2, "_call", refuse)
    assert type(best.__wrapped__()) is Walk


def test_elsewhere_no_number_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(resolve, "Openat2", None)
    assert type(best.__wrapped__()) is Walk


@linux
def test_it_is_asked_once() -> None:
    assert best() is best()


@linux
@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EINTR])
@pytest.mark.parametrize("failures", [1, resolve.ATTEMPTS - 1, resolve.ATTEMPTS])
def test_what_moved_is_tried_again(root: int, failures: int, code: int) -> None:
    resolver = Openat2()
    real, left = resolver._call, [code] * failures

    def call(root: int, path: bytes, how: bytes) -> int:
        if left:
            raise resolve.failure(left.pop())
        return real(root, path, how)

    resolver._call = call  # type: ignore[method-assign]
    if failures < resolve.ATTEMPTS:
        assert read(root, b"f", resolver) == b"file"
    else:
        with pytest.raises(BlockingIOError):
            resolver.open(root, b"f", os.O_RDONLY)
    assert not left


# --- between two steps of the walk ------------------------------------------------------------


@pytest.fixture
def before_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[bytes, Callable[[], object]]]:
    """What happens, once, after a name was found to be no link and before it is opened."""
    actions: dict[bytes, Callable[[], object]] = {}
    real = resolve._Trail._step

    def step(self: resolve._Trail, name: bytes, flags: int) -> int:
        actions.pop(name, lambda: None)()
        return real(self, name, flags)

    monkeypatch.setattr(resolve._Trail, "_step", step)
    yield actions
    assert not actions, "it never happened"


Actions = dict[bytes, Callable[[], object]]


def test_a_parent_is_moved_out(
    root: int, inside: Path, tmp_path: Path, before_step: Actions
) -> None:
    before_step[b"deep"] = lambda: (inside / "d").rename(tmp_path / "away")
    assert error(root, b"d/sub/deep") == errno.ENOENT


def test_a_parent_is_moved_out_before_dots(
    root: int, inside: Path, tmp_path: Path, before_step: Actions
) -> None:
    """`..` is where we came from, and not what is above now."""
    (tmp_path / "f").write_bytes(trees.SECRET)
    before_step[b"sub"] = lambda: (inside / "d").rename(tmp_path / "away")
    assert read(root, b"d/sub/../../f") == b"file"


@pytest.mark.parametrize("path", [b"d/sub/deep", b"d/sub", b"d/../f", b"d/", b"d"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, PATH, DIRECTORY])
def test_a_directory_becomes_a_link(
    root: int, inside: Path, outside: Path, before_step: Actions, path: bytes, flags: int
) -> None:
    def swap() -> None:
        (inside / "d").rename(inside / "was")
        (inside / "d").symlink_to(outside)

    before_step[b"d"] = swap
    assert error(root, path, flags) == errno.EXDEV


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR, PATH])
def test_a_file_becomes_a_link(root: int, inside: Path, before_step: Actions, flags: int) -> None:
    def swap() -> None:
        (inside / "f").unlink()
        (inside / "f").symlink_to("../outside/secret")

    before_step[b"f"] = swap
    assert error(root, b"f", flags) == errno.EXDEV


def test_a_directory_is_exchanged(root: int, inside: Path, before_step: Actions) -> None:
    """What is found then is what is there then."""

    def swap() -> None:
        (inside / "d" / "sub").rename(inside / "was")
        (inside / "d" / "sub").mkdir()
        (inside / "d" / "sub" / "deep").write_bytes(b"new")

    before_step[b"deep"] = swap
    assert read(root, b"d/sub/deep") == b"new"


def test_a_directory_becomes_a_file(root: int, inside: Path, before_step: Actions) -> None:
    def swap() -> None:
        (inside / "d" / "sub").rename(inside / "was")
        (inside / "d" / "sub").write_bytes(b"")

    before_step[b"deep"] = swap
    assert error(root, b"d/sub/deep") == errno.ENOTDIR


def test_a_tree_that_never_rests(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[None] = []

    def moved(self: resolve._Trail) -> None:
        tries.append(None)
        raise resolve._Moved

    monkeypatch.setattr(resolve._Trail, "_check", moved)
    assert error(root, b"d/sub") == errno.EAGAIN
    assert len(tries) == resolve.ATTEMPTS


def test_another_device_is_another_tree(
    root: int, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the device's number; of directories only."""
    real = resolve._Trail.__init__

    def elsewhere(self: resolve._Trail, root: int) -> None:
        real(self, root)
        self._device += 1

    monkeypatch.setattr(resolve._Trail, "__init__", elsewhere)
    assert error(root, b"d") == error(root, b"d/sub/deep") == error(root, b"d/..") == errno.EXDEV
    assert read(root, b"f") == b"file"


def test_depth_is_bounded(root: int, inside: Path) -> None:
    (inside / "wide").symlink_to("e/../" * 300 + "f")
    assert read(root, b"wide") == b"file"
    path = inside / "e"
    for _ in range(resolve.MAX_DEPTH):
        path = path / "e"
        path.mkdir()
    (inside / "deep").symlink_to("e/" * (resolve.MAX_DEPTH + 1))
    assert error(root, b"deep") == errno.ENAMETOOLONG
    (inside / "less").symlink_to("e/" * resolve.MAX_DEPTH)
    os.close(Walk().open(root, b"less", DIRECTORY))


def test_links_that_multiply_end(root: int, inside: Path) -> None:
    """Each doubles the one before: forty would be a trillion names."""
    (inside / "l0").symlink_to("e/..")
    for number in range(1, 40):
        (inside / f"l{number}").symlink_to(f"l{number - 1}/../l{number - 1}")
    assert error(root, b"l39/f") in (errno.ELOOP, errno.EXDEV)
