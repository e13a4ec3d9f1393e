"""The seam to the host: its errors become codes, and its descriptors are counted."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.servers.fs.beneath import Beneath
from wasmos.servers.fs.hosterrors import CODES
from wasmos.servers.fs.hosterrors import first_code_of as code_of
from wasmos.servers.fs.hostworld import Budget, HostWorld
from wasmos.servers.fs.mounts import Mount
from wasmos.servers.fs.roots import Roots

EXPECTED = {
    "ENOENT": -7,
    "EEXIST": -3,
    "ENOTDIR": -26,
    "EISDIR": -25,
    "ENOTEMPTY": -23,
    "EACCES": -8,
    "EPERM": -8,
    "EROFS": -8,
    "EXDEV": -8,
    "ELOOP": -8,
    "ENXIO": -8,
    "ENODEV": -8,
    "ENOSPC": -2,
    "EDQUOT": -2,
    "EMFILE": -2,
    "ENFILE": -2,
    "EMLINK": -2,
    "ENOMEM": -2,
    "ENAMETOOLONG": -17,
    "EFBIG": -17,
    "EOVERFLOW": -17,
    "EINVAL": -11,
    "EILSEQ": -11,
    "EBUSY": -6,
    "ETXTBSY": -6,
    "EAGAIN": -20,
    "EIO": -10,
    "EBADF": -10,
    "EOPNOTSUPP": -10,
    "ENOTSUP": -10,
    "ENOSYS": -10,
    "ESTALE": -10,
}


@pytest.mark.parametrize(("name", "code"), EXPECTED.items())
def test_errors_of_the_host(name: str, code: int) -> None:
    assert code_of(OSError(getattr(errno, name), "")) == code


def test_the_table_is_all_tested() -> None:
    assert {errno.errorcode[number] for number in CODES} <= set(EXPECTED)
    assert code_of(OSError("without a number")) == ErrorCode.UNEXPECTED


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HostWorld]:
    (tmp_path / "f").write_bytes(b"file")
    world = HostWorld(Beneath(tmp_path), Budget(2))
    yield world
    world.close()


def code(error: pytest.ExceptionInfo[ServiceError]) -> int:
    return error.value.code


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EFBIG])
def test_errors_of_reading_and_writing(
    world: HostWorld, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(number, "no")

    opened = world.open("f", writable=True)
    monkeypatch.setattr(os, "pread", fail)
    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(ServiceError) as refused:
        opened.write(0, b"x")
    assert code(refused) == code_of(OSError(number, ""))
    with pytest.raises(ServiceError) as refused:
        opened.read(0, 1)
    assert code(refused) == code_of(OSError(number, ""))
    opened.close()


def test_a_part_is_what_the_host_says(world: HostWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = world.open("f", writable=True)
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:3], offset))
    assert opened.write(0, b"12345") == 3
    opened.close()


def test_errors_repeat_nothing_but_the_path(tmp_path: Path, world: HostWorld) -> None:
    with pytest.raises(ServiceError) as refused:
        world.open("../secret", writable=True)
    assert str(tmp_path) not in str(refused.value)
    assert refused.value.__cause__ is None
    with pytest.raises(ServiceError) as refused:
        Roots(Budget(1)).world(Mount(1, {"dir": str(tmp_path / "none")}))
    assert str(tmp_path) not in str(refused.value)


def test_a_budget_is_given_back(world: HostWorld) -> None:
    budget = world._budget
    for _ in range(3):
        with pytest.raises(ServiceError):
            world.open("none", writable=True)
        world.open(".", writable=True).close()
    assert budget.used == 0
    opened = [world.open("f", writable=False) for _ in range(2)]
    with pytest.raises(ServiceError) as refused:
        world.open("f", writable=False)
    assert code(refused) == ErrorCode.NO_RESOURCES
    for one in opened:
        one.close()
    assert budget.used == 0


def test_a_budget_of_roots(tmp_path: Path) -> None:
    budget = Budget(1)
    roots = Roots(budget)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    world = roots.world(Mount(1, {"dir": str(tmp_path / "a")}))
    assert roots.world(Mount(1, {"dir": "/whatever"})) is world  # a grant's badge doesn't change
    (tmp_path / "same").symlink_to("a")
    assert roots.world(Mount(3, {"dir": str(tmp_path / "same")})) is world
    for directory, expected in (("b", ErrorCode.NO_RESOURCES), ("none", ErrorCode.NOT_FOUND)):
        with pytest.raises(ServiceError) as refused:
            roots.world(Mount(2, {"dir": str(tmp_path / directory)}))
        assert code(refused) == expected
    for grant in (2, 1, 3):
        assert budget.used == 1
        roots.release(grant)
    assert budget.used == 0
    roots.world(Mount(2, {"dir": str(tmp_path / "b")}))
    roots.close()
    assert budget.used == 0
