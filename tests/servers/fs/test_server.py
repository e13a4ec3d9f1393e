"""What guests get from the fs server: the original's codes, and nothing of each other's."""

from __future__ import annotations

import pytest

import wasmos
from tests.servers.segments import segment
from tests.support.wat import Reporter, program
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.servers.fs import Fs, Image


@pytest.fixture
def image() -> Image:
    image = Image()
    image.put("w.txt", b"hello")
    image.put("dir/inner", b"")
    return image


@pytest.fixture
def fs(kernel: wasmos.Kernel, image: Image) -> Fs:
    fs = Fs(image, max_open_files=4)
    kernel.serve(fs)
    return fs


class User:
    """A client of the server, with a method per message; errors are raised."""

    def __init__(self, kernel: wasmos.Kernel) -> None:
        self.client = kernel.client(allow=["fs"])

    def _ask(self, message: abi.Message) -> object:
        return self.client.call("fs", message)

    def open(self, path: str, flags: int = 0) -> int:
        reply = self._ask(abi.FsOpen(path, flags))
        assert isinstance(reply, abi.FsOpenReply)
        return reply.fd

    def close(self, fd: int) -> None:
        self._ask(abi.FsClose(fd))

    def read(self, fd: int, length: int = 1024) -> bytes:
        reply = self._ask(abi.FsRead(fd, length))
        assert isinstance(reply, abi.FsReadReply)
        return reply.data

    def write(self, fd: int, data: bytes) -> int:
        reply = self._ask(abi.FsWrite(fd, data))
        assert isinstance(reply, abi.FsWriteReply)
        return reply.written_len

    def readdir(self, path: str, index: int) -> tuple[str, int, int]:
        reply = self._ask(abi.FsReaddir(path, index))
        assert isinstance(reply, abi.FsReaddirReply)
        return reply.name, reply.type, reply.filesize

    def mkfile(self, path: str) -> None:
        self._ask(abi.FsMkfile(path))

    def mkdir(self, path: str) -> None:
        self._ask(abi.FsMkdir(path))

    def delete(self, path: str) -> None:
        self._ask(abi.FsDelete(path))


@pytest.fixture
def user(kernel: wasmos.Kernel, fs: Fs) -> User:
    return User(kernel)


def code(call: object, *arguments: object) -> int:
    with pytest.raises(wasmos.ServiceError) as refused:
        call(*arguments)  # type: ignore[operator]
    return refused.value.code


# --- the original's behaviour -----------------------------------------------------------------


def test_missing_file(user: User) -> None:
    assert code(user.open, "nope") == -7
    assert code(user.delete, "nope") == -7
    assert code(user.readdir, "nope", 0) == -7
    assert code(user.mkfile, "nope/x") == -7


def test_existing_name(user: User) -> None:
    for make in (user.mkfile, user.mkdir):
        assert code(make, "w.txt") == -3
        assert code(make, "dir") == -3


def test_read_at_the_end(user: User) -> None:
    fd = user.open("w.txt")
    assert user.read(fd) == b"hello"
    assert code(user.read, fd) == -27
    assert code(user.read, fd, 0) == -27


@pytest.mark.parametrize("fd", [0, 2, -1, 100, 2**31 - 1, -(2**31)])
def test_unknown_fd(user: User, fd: int) -> None:
    assert user.open("w.txt") == 1
    assert code(user.read, fd) == -11
    assert code(user.write, fd, b"x") == -11
    assert code(user.close, fd) == -11


def test_delete_of_a_directory(user: User) -> None:
    assert code(user.delete, "dir") == -23
    user.delete("dir/inner")
    user.delete("dir")
    assert code(user.readdir, "dir", 0) == -7


def test_read_of_a_directory(user: User) -> None:
    fd = user.open("dir")
    assert code(user.read, fd) == -25
    assert code(user.write, fd, b"x") == -25
    user.close(fd)


def test_not_a_directory(user: User) -> None:
    assert code(user.readdir, "w.txt", 0) == -26
    assert code(user.mkfile, "w.txt/x") == -26
    assert code(user.mkdir, "w.txt/x") == -26


def test_readdir(user: User) -> None:
    user.mkdir("A")
    entries = [("A", 221, 0), ("dir", 221, 0), ("w.txt", 255, 5)]
    assert [user.readdir("/", index) for index in range(3)] == entries
    assert code(user.readdir, "/", 3) == -27
    assert code(user.readdir, "/", 2**31 - 1) == -27
    assert code(user.readdir, "/", -1) == -11
    assert code(user.readdir, "A", 0) == -27


def test_one_file_two_names(user: User) -> None:
    user.write(user.open("/w.txt"), b"J")
    assert user.read(user.open("w.txt")) == b"Jello"


def test_writes_advance(user: User) -> None:
    fd = user.open("w.txt")
    assert user.write(fd, b"HE") == 2
    assert user.read(fd, 1) == b"l"
    assert user.write(fd, b"LO, world") == 9
    assert user.read(user.open("w.txt")) == b"HElLO, world"
    assert user.readdir("/", 1) == ("w.txt", 255, 12)


@pytest.mark.parametrize("flags", [0, 1, -1, 0x7FFFFFFF])
def test_flags_are_ignored(user: User, flags: int) -> None:
    assert user.read(user.open("w.txt", flags)) == b"hello"
    assert code(user.open, "nope", flags) == -7


# --- reading and writing ----------------------------------------------------------------------


def test_a_read_is_at_most_a_message(user: User) -> None:
    user.mkfile("big")
    fd = user.open("big")
    for number in range(3):
        user.write(fd, bytes([number]) * 1024)
    fd = user.open("big")
    assert user.read(fd, 0) == b""
    assert user.read(fd, 1) == b"\0"
    assert user.read(fd, 2**32 - 1) == b"\0" * 1023 + b"\1"


def test_two_numbers_are_two_offsets(user: User) -> None:
    one, two = user.open("w.txt"), user.open("w.txt")
    assert one != two
    assert user.read(one, 2) == b"he"
    assert user.read(two, 3) == b"hel"
    assert user.read(one) == b"llo"


def test_a_deleted_file_goes_on_for_its_holders(user: User, image: Image) -> None:
    fd = user.open("w.txt")
    user.delete("w.txt")
    assert code(user.open, "w.txt") == -7
    assert user.write(fd, b"still h") == 7
    assert image.used_bytes == 7
    user.mkfile("w.txt")
    assert code(user.read, user.open("w.txt")) == -27
    user.close(fd)
    assert image.used_bytes == 0


def test_a_deleted_directory_stays_deleted(user: User) -> None:
    user.mkdir("gone")
    fd = user.open("gone")
    user.delete("gone")
    assert code(user.mkfile, "gone/x") == -7
    assert code(user.read, fd) == -25
    user.close(fd)


def test_names_that_are_not_text(user: User) -> None:
    user.mkfile("dir/\udcff\udcfe")
    assert user.readdir("dir", 1) == ("\udcff\udcfe", 255, 0)
    user.delete("dir/\udcff\udcfe")


def test_the_longest_name(user: User) -> None:
    user.mkfile("n" * 255)
    assert user.readdir("/", 1)[0] == "n" * 255


# --- each task for itself ---------------------------------------------------------------------


def test_numbers_of_others_mean_nothing(kernel: wasmos.Kernel, user: User) -> None:
    mine = [user.open("w.txt") for _ in range(3)]
    other = User(kernel)
    for fd in mine:
        assert code(other.read, fd) == -11
        assert code(other.write, fd, b"x") == -11
        assert code(other.close, fd) == -11
    assert other.open("dir") == 1
    assert code(other.read, 1) == -25
    assert [user.read(fd) for fd in mine] == [b"hello"] * 3


def test_open_files_are_limited_by_task(kernel: wasmos.Kernel, user: User) -> None:
    numbers = [user.open("w.txt") for _ in range(4)]
    assert code(user.open, "w.txt") == ErrorCode.NO_RESOURCES
    assert User(kernel).open("w.txt") == 1
    user.close(numbers[1])
    assert user.open("w.txt") == numbers[1]


def test_nothing_is_left_of_a_task(user: User, fs: Fs, image: Image) -> None:
    for _ in range(4):
        user.open("w.txt")
    user.delete("w.txt")
    assert image.used_bytes == 5
    user.client.kill()
    assert image.used_bytes == 0
    assert fs._open == {}


def test_a_full_image_is_an_error(kernel: wasmos.Kernel) -> None:
    kernel.serve(Fs(Image(max_bytes=1500, max_file_bytes=1200, max_entries=2)))
    user = User(kernel)
    user.mkfile("a")
    user.mkfile("b")
    assert code(user.mkdir, "c") == ErrorCode.NO_RESOURCES
    a, b = user.open("a"), user.open("b")
    user.write(a, bytes(1024))
    assert code(user.write, a, bytes(1024)) == ErrorCode.TOO_LARGE
    assert code(user.write, b, bytes(1024)) == ErrorCode.NO_RESOURCES
    assert user.write(b, bytes(476)) == 476


# --- guests -----------------------------------------------------------------------------------


def test_a_guest_reads_a_file(kernel: wasmos.Kernel, report: Reporter, fs: Fs) -> None:
    guest = program(
        """(local.set $i @fs)
        (call $report (call $call (local.get $i) #2048))
        (i32.store #1024 #39)
        (i32.store #1032 (i32.load #2056))
        (i32.store #1036 #3)
        (call $report (call $call (local.get $i) #1024))
        (call $report (i32.load #1024)) (call $report (i32.load offset=1032 #1024))
        (call $report (i32.load #1032)) #0""",
        fields=segment(2048, abi.FsOpen("/w.txt")),
    )
    task = kernel.spawn(guest, allow=["fs", "report"], trusted=True)
    assert kernel.wait(task).code == 0
    assert report.numbers == [0, 0, 40, 3, int.from_bytes(b"hel", "little")]


def test_a_path_without_its_end(kernel: wasmos.Kernel, fs: Fs) -> None:
    guest = program(
        """(memory.fill #2056 #65 #256) (i32.store #2048 #35)
        (drop (call $call @fs #2048)) (i32.load #2048)"""
    )
    task = kernel.spawn(guest, allow=["fs"], trusted=True)
    assert kernel.wait(task).code == ErrorCode.INVALID_ARG


def test_more_data_than_a_message_has(kernel: wasmos.Kernel, fs: Fs, image: Image) -> None:
    guest = program(
        """(local.set $i @fs)
        (drop (call $call (local.get $i) #2048))
        (i32.store #4096 #41) (i32.store #4104 (i32.load #2056)) (i32.store #5132 #1025)
        (drop (call $call (local.get $i) #4096)) (i32.load #4096)""",
        fields=segment(2048, abi.FsOpen("w.txt")),
    )
    task = kernel.spawn(guest, allow=["fs"], trusted=True)
    assert kernel.wait(task).code == ErrorCode.INVALID_ARG
    assert image.get("w.txt") == b"hello"
