"""What the server makes of grants: each task its own tree and rights, as long as they last."""

from __future__ import annotations

import contextlib
import os
import resource
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wasmos
from tests.servers.fs import trees
from tests.servers.fs.callers import Caller, Grant, User
from tests.support.descriptors import descriptors_left, highest_of
from wasmos import abi
from wasmos.abi import ErrorCode
from wasmos.errors import CapabilityDenied, ServiceError
from wasmos.servers.fs import Fs, Image, archive
from wasmos.servers.fs.resolve import Resolver
from wasmos.servers.fs.world import EMPTY, TO_WRITE
from wasmos.servers.reserve import RESERVED

DENIED, INVALID, NOT_FOUND = ErrorCode.NOT_ALLOWED, ErrorCode.INVALID_ARG, ErrorCode.NOT_FOUND


@pytest.fixture
def image() -> Image:
    image = Image()
    image.put("i", b"image")
    return image


@pytest.fixture(params=trees.RESOLVERS, ids=trees.NAMES)
def resolver(request: pytest.FixtureRequest) -> Resolver:
    found: Resolver = request.param
    return found


@pytest.fixture
def fs(image: Image, outside: Path, resolver: Resolver) -> Iterator[Fs]:
    before = trees.open_descriptors()
    fs = Fs(image, max_open_files=4, max_host_files=8, resolver=resolver)
    yield fs
    fs.stopped()
    assert trees.open_descriptors() <= before
    assert not (fs._open or fs._under or fs._trees)
    assert fs._roots._budget.used == 0
    assert not (fs._roots._worlds or fs._roots._of_grant or fs._roots._grants)


def code(call: Callable[..., object], *arguments: object) -> int:
    with pytest.raises(ServiceError) as refused:
        call(*arguments)
    return refused.value.code


def names(user: User, path: str) -> list[str]:
    found: list[str] = []
    with pytest.raises(ServiceError) as end:
        while True:
            found.append(user.readdir(path, len(found))[0])
    assert end.value.code == ErrorCode.EOF
    return found


# --- places -----------------------------------------------------------------------------------


def test_a_directory_in_place_of_the_image(fs: Fs, inside: Path) -> None:
    user = User(fs, Caller(2, Grant(1, {"dir": str(inside)})))
    assert names(user, "/") == ["d", "e", "f"]
    assert user.get("/f") == user.get("f") == b"file"
    assert code(user.open, "i") == NOT_FOUND
    assert user.readdir("/", 2) == ("f", 255, 4)
    assert user.readdir("/", 0) == ("d", 221, 0)
    user.mkfile("/d/new")
    assert user.write(user.open("d/new"), b"hello") == 5
    assert (inside / "d" / "new").read_bytes() == b"hello"
    user.delete("d/new")
    user.mkdir("d/new")
    user.delete("d/new")
    assert os.listdir(inside / "d") == ["sub"]


def test_without_a_badge_it_is_the_image(fs: Fs) -> None:
    user = User(fs, Caller(2, Grant(1, {})))
    assert names(user, "/") == ["i"]
    assert user.get("i") == b"image"


def test_without_a_grant_it_is_nothing(fs: Fs) -> None:
    user = User(fs, Caller(2))
    for path in ("/", "i", "/i", "x/y"):
        assert code(user.open, path) == NOT_FOUND
        assert code(user.readdir, path, 0) == NOT_FOUND
        for change in (user.mkfile, user.mkdir, user.delete):
            assert code(change, path) == DENIED
    assert code(user.open, "..") == INVALID


def test_a_badge_that_makes_no_sense_grants_nothing(fs: Fs) -> None:
    user = User(fs, Caller(2, Grant(1, {"mode": "all"}), Grant(2, {"at": "/x/.."})))
    assert code(user.open, "/i") == NOT_FOUND


def test_each_task_its_own(fs: Fs, tmp_path: Path, inside: Path) -> None:
    (tmp_path / "other").mkdir()
    one = User(fs, Caller(2, Grant(1, {"dir": str(inside)})))
    two = User(fs, Caller(3, Grant(2, {"dir": str(tmp_path / "other")})))
    two.mkfile("f")
    assert code(two.open, "d") == NOT_FOUND
    assert one.get("f") == b"file"
    assert code(one.read, two.open("f")) == INVALID


@pytest.fixture
def user(fs: Fs, inside: Path) -> User:
    """The image, with the directory in it, once to write and once to read."""
    here = str(inside)
    return User(
        fs,
        Caller(
            2,
            Grant(1, {}),
            Grant(2, {"dir": here, "at": "/data"}),
            Grant(3, {"dir": here, "at": "/ro/data", "mode": "ro"}),
        ),
    )


def test_places_are_listed(user: User, image: Image) -> None:
    assert names(user, "/") == ["data", "i", "ro"]
    assert [user.readdir("/", index)[1:] for index in range(3)] == [(221, 0), (255, 5), (221, 0)]
    assert names(user, "/ro") == ["data"]
    assert names(user, "/ro/data") == names(user, "/data") == ["d", "e", "f"]
    assert names(user, "/ro/..") == ["data", "i", "ro"]
    assert code(user.readdir, "/ro", -1) == INVALID
    image.put("ro/more", b"")
    image.put("a", b"")
    image.put("z", b"")
    image.put("data", b"hidden")
    assert names(user, "/") == ["a", "data", "i", "ro", "z"]
    assert [user.readdir("/", index)[1] for index in range(5)] == [255, 221, 255, 221, 255]
    assert names(user, "/ro") == ["data", "more"]


def test_places_without_a_root(fs: Fs, inside: Path) -> None:
    here = {"dir": str(inside)}
    user = User(fs, Caller(2, Grant(1, {**here, "at": "/a/b"}), Grant(2, {**here, "at": "/z"})))
    assert names(user, "/") == names(user, ".") == names(user, "a/..") == ["a", "z"]
    assert names(user, "/a") == ["b"]
    assert user.get("/a/b/f") == b"file"
    for path in ("/b", "/a/c", "/i"):
        assert code(user.open, path) == NOT_FOUND
        assert code(user.mkfile, path) == DENIED
    assert code(user.readdir, "/nothing", 0) == NOT_FOUND


def test_what_is_on_the_way_is_a_directory(user: User, image: Image) -> None:
    for _ in range(2):
        for path in ("/ro", "ro/", "/", "/data/.."):
            fd = user.open(path)
            assert code(user.read, fd) == ErrorCode.NOT_A_FILE
            assert code(user.write, fd, b"x") == ErrorCode.NOT_A_FILE
            user.close(fd)
            assert code(user.mkfile, path) == code(user.mkdir, path) == ErrorCode.ALREADY_EXISTS
        assert code(user.delete, "/ro") == ErrorCode.NOT_EMPTY
        assert code(user.delete, "/") == code(user.delete, "/data/..") == DENIED
        assert names(user, "/ro") == ["data"]
        if "ro" not in image.root.nodes:
            image.put("ro", b"a file in its way")


def test_a_place_itself_stays(user: User) -> None:
    assert code(user.delete, "/data") == code(user.delete, "/ro/data") == DENIED
    assert code(user.mkfile, "/data") == code(user.mkdir, "/data") == ErrorCode.ALREADY_EXISTS


def test_links_lead_to_nothing_of_another_grant(user: User, inside: Path) -> None:
    """Not up into the image, and not to where a directory is seen."""
    (inside / "up").symlink_to("../i")
    (inside / "abs").symlink_to("/data/f")
    assert code(user.open, "/data/up") == code(user.open, "/data/abs") == DENIED
    assert user.get("/data/../i") == b"image"


# --- rights -----------------------------------------------------------------------------------


def test_what_is_read_only(user: User, inside: Path) -> None:
    fd = user.open("/ro/data/f")
    assert user.read(fd) == b"file"
    assert code(user.write, fd, b"x") == code(user.write, fd, b"") == DENIED
    for change in (user.mkfile, user.mkdir, user.delete):
        for path in ("/ro/data/f", "/ro/data/new", "/ro/data/e", "/ro/data/x/y"):
            assert code(change, path) == DENIED
    assert sorted(os.listdir(inside)) == ["d", "e", "f"]


def test_an_image_can_be_read_only(fs: Fs) -> None:
    user = User(fs, Caller(2, Grant(1, {"mode": "ro"})))
    fd = user.open("i")
    assert user.read(fd) == b"image"
    assert code(user.write, fd, b"x") == DENIED
    for change in (user.mkfile, user.mkdir, user.delete):
        assert code(change, "i") == code(change, "new") == DENIED


def test_one_file_by_two_rights(user: User, inside: Path) -> None:
    """A hard link, and the same directory twice: each number has the rights it was opened by."""
    os.link(inside / "f", inside / "d" / "same")
    writing, reading = user.open("/data/f"), user.open("/ro/data/d/same")
    assert user.write(writing, b"FILE") == 4
    assert user.read(reading) == b"FILE"
    assert code(user.write, reading, b"x") == DENIED
    assert code(user.delete, "/ro/data/d/same") == DENIED
    assert (inside / "f").read_bytes() == b"FILE"


def test_hard_links_across_directories(fs: Fs, inside: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    os.link(inside / "f", tmp_path / "other" / "f")
    user = User(
        fs,
        Caller(
            2,
            Grant(1, {"dir": str(inside), "at": "/a", "mode": "ro"}),
            Grant(2, {"dir": str(tmp_path / "other"), "at": "/b"}),
        ),
    )
    fd = user.open("/a/f")
    assert code(user.write, fd, b"x") == DENIED
    assert user.write(user.open("/b/f"), b"new!") == 4
    assert user.read(fd) == b"new!"
    assert code(user.write, fd, b"x") == DENIED


def test_what_the_host_only_lets_be_read(
    fs: Fs, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wasmos.servers.fs.beneath import Beneath

    real = Beneath.open_file
    monkeypatch.setattr(
        Beneath, "open_file", lambda self, path, *, writable: real(self, path, writable=False)
    )
    user = User(fs, Caller(2, Grant(1, {"dir": str(inside)})))
    fd = user.open("f")
    assert user.read(fd) == b"file"
    assert code(user.write, fd, b"x") == DENIED


def test_a_number_needs_its_own_grant(user: User, inside: Path) -> None:
    """One grant admits reading, another one writing: what was opened under the one isn't
    written by the other."""
    fd, other = user.open("/data/f"), user.open("/i")
    user.caller.admitting = {1}
    assert code(user.write, fd, b"x") == code(user.read, fd) == DENIED
    assert user.write(other, b"I") == 1
    user.caller.admitting = set()
    assert code(user.read, other) == DENIED
    user.close(fd)
    user.caller.admitting = None
    assert code(user.read, fd) == INVALID
    assert (inside / "f").read_bytes() == b"file"


def test_another_grant_that_is_to_write(fs: Fs, inside: Path) -> None:
    """What was opened by one grant is written by another one of the same place, if that one is for
    writing itself."""
    here = {"dir": str(inside), "at": "/data"}
    user = User(fs, Caller(2, Grant(1, here), Grant(2, {**here, "mode": "ro"}), Grant(3, here),
                           Grant(4, {"dir": str(inside), "at": "/other"})))  # fmt: skip
    fd = user.open("/data/f")
    for admitting, is_allowed in [({2}, False), ({4}, False), ({2, 4}, False),
                                  ({3}, True), ({2, 3}, True), ({1, 2}, True)]:  # fmt: skip
        user.caller.admitting = admitting
        if is_allowed:
            assert user.write(fd, b"") == 0
        else:
            assert code(user.write, fd, b"x") == code(user.write, fd, b"") == DENIED
    # And the other way round: it stays read-only for those who opened it so.
    user.caller.admitting = {2}
    fd = user.open("/data/f")
    for admitting in ({2, 3}, {3}, {1, 2, 3}):
        user.caller.admitting = admitting
        assert code(user.write, fd, b"x") == DENIED
    assert user.read(fd) == (inside / "f").read_bytes() == b"file"


@pytest.mark.parametrize("above", [{}, {"mode": "ro"}, {"dir": "{other}"}, {"dir": "{here}/d"}])
def test_a_derived_grant_names_no_other_directory(
    fs: Fs, inside: Path, outside: Path, above: dict[str, str]
) -> None:
    """Whoever may use all services, or the image, doesn't make host directories of that."""
    parent = Grant(
        1, {key: value.format(here=inside, other=outside) for key, value in above.items()}
    )
    made = Grant(2, {"dir": str(inside)}, by=7, parent=parent)
    for grant in (made, Grant(3, {"dir": str(inside)}, by=8, parent=made)):
        user = User(fs, Caller(9, grant))
        assert code(user.open, "f") == code(user.readdir, "/", 0) == NOT_FOUND
        assert code(user.mkfile, "new") == DENIED
    # Nor the other way round.
    user = User(fs, Caller(9, Grant(4, {}, by=7, parent=Grant(5, {"dir": str(inside)}))))
    assert code(user.open, "i") == NOT_FOUND


def test_a_derived_grant_has_no_more_rights(fs: Fs, inside: Path) -> None:
    here = {"dir": str(inside)}
    parent = Grant(1, {**here, "mode": "ro"})
    user = User(fs, Caller(9, Grant(3, here, 8, Grant(2, here, 7, parent))))
    assert user.get("f") == b"file"
    assert code(user.write, user.open("f"), b"x") == code(user.delete, "f") == DENIED
    user = User(fs, Caller(9, Grant(6, {**here, "mode": "ro"}, 7, Grant(5, here))))
    assert code(user.delete, "f") == DENIED
    user = User(fs, Caller(9, Grant(8, here, 7, Grant(7, here))))
    user.delete("f")


def test_the_tree_is_of_the_grants_that_admit_the_message(user: User) -> None:
    user.caller.admitting = {1, 3}
    assert names(user, "/") == ["i", "ro"]
    assert code(user.open, "/data/f") == NOT_FOUND
    user.caller.admitting = {2}
    assert names(user, "/") == ["data"]
    assert user.get("/data/f") == b"file"


def test_a_later_grant_hides_nothing(fs: Fs, inside: Path, tmp_path: Path) -> None:
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "sub").write_bytes(b"trap")
    caller = Caller(2, Grant(1, {"dir": str(inside)}))
    user = User(fs, caller)
    assert names(user, "/d") == ["sub"]
    caller.held.insert(0, Grant(5, {"dir": str(tmp_path / "trap"), "at": "/d"}, by=7))
    caller.held.insert(0, Grant(6, {"dir": str(tmp_path / "trap"), "at": "/"}, by=7))
    assert user.readdir("/d", 0) == ("sub", 221, 0)
    assert names(user, "/") == ["d", "e", "f"]
    caller.held.append(Grant(7, {"dir": str(tmp_path / "trap"), "at": "/d"}, by=0))
    assert user.get("/d/sub") == b"trap"


# --- ends -------------------------------------------------------------------------------------


def test_a_revoked_grant_closes_what_was_opened(fs: Fs, user: User, inside: Path) -> None:
    idle = trees.open_descriptors()
    mine, kept, way = user.open("/data/f"), user.open("/i"), user.open("/ro")
    ro = user.open("/ro/data/f")
    assert trees.open_descriptors() == idle + 3  # the directory and two files
    fs.revoked(2)
    user.caller.held = [grant for grant in user.caller.held if grant.id != 2]
    assert trees.open_descriptors() == idle + 2
    assert code(user.read, mine) == code(user.write, mine, b"x") == DENIED
    assert user.read(kept) == b"image"
    assert user.read(ro) == b"file"
    assert code(user.read, way) == ErrorCode.NOT_A_FILE
    assert code(user.open, "/data/f") == NOT_FOUND
    # Its number isn't given to another file before it is closed.
    user.close(kept)
    assert user.open("/i") == kept
    user.close(mine)
    assert code(user.read, mine) == INVALID
    fs.revoked(3)
    assert trees.open_descriptors() == idle
    fs.revoked(3)
    fs.revoked(99)


def test_revoked_while_the_task_still_holds_it(fs: Fs, user: User) -> None:
    """Even if the kernel told us first: what was opened is closed, once."""
    fd = user.open("/data/f")
    fs.revoked(2)
    assert code(user.read, fd) == DENIED
    fs.task_ended(2)
    fs.revoked(2)


def test_nothing_is_left_of_a_task(fs: Fs, user: User) -> None:
    idle = trees.open_descriptors()
    for path in ("/data/f", "/ro/data/f", "/i", "/"):
        user.open(path)
    fs.task_ended(2)
    assert not (fs._open or fs._under or fs._trees)
    # The directory stays for the grants, which end on their own.
    assert trees.open_descriptors() == idle + 1
    fs.revoked(2)
    assert trees.open_descriptors() == idle + 1
    fs.revoked(3)
    assert trees.open_descriptors() == idle


def test_one_directory_for_many_grants(fs: Fs, inside: Path, tmp_path: Path) -> None:
    (tmp_path / "name").symlink_to(inside)
    idle = trees.open_descriptors()
    users = [
        User(fs, Caller(10 + grant, Grant(grant, {"dir": directory})))
        for grant, directory in enumerate([str(inside), f"{inside}/", str(tmp_path / "name")], 1)
    ]
    assert [user.readdir("/", 2)[0] for user in users * 2] == ["f"] * 6
    assert trees.open_descriptors() == idle + 1
    # A new grant is for what has the name now; older ones stay with theirs.
    inside.rename(tmp_path / "moved")
    inside.mkdir()
    late = User(fs, Caller(20, Grant(9, {"dir": str(inside)})))
    assert names(late, "/") == []
    assert names(users[0], "/") == ["d", "e", "f"]
    assert trees.open_descriptors() == idle + 2
    for grant in (1, 2, 9, 3):
        fs.revoked(grant)
    assert trees.open_descriptors() == idle


def test_one_archive_for_many_grants(
    fs: Fs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read once: who passes a right on to many mustn't hold everybody up with each."""
    name = tmp_path / "z"

    def make(member: str) -> None:
        with zipfile.ZipFile(tmp_path / "new", "w") as zipped:
            zipped.writestr(member, b"")
        (tmp_path / "new").rename(name)

    make("old")
    reads: list[str] = []
    read = archive.Archive._read
    monkeypatch.setattr(
        archive.Archive, "_read", lambda self: (reads.append("read"), read(self))[1]
    )
    idle = trees.open_descriptors()
    users = [User(fs, Caller(grant, Grant(grant, {"archive": str(name)}))) for grant in range(1, 4)]
    assert [names(user, "/") for user in users] == [["old"]] * 3
    assert len(reads) == 1
    make("new")
    late = User(fs, Caller(9, Grant(9, {"archive": str(name)})))
    assert names(late, "/") == ["new"]
    assert names(users[0], "/") == ["old"]
    assert len(reads) == 2
    for grant in (1, 2, 9, 3):
        fs.revoked(grant)
    assert trees.open_descriptors() == idle


def test_a_directory_that_is_gone(fs: Fs, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    user = User(fs, Caller(2, Grant(1, {"dir": str(tmp_path / "gone"), "at": "/x"})))
    (tmp_path / "gone").rmdir()
    assert code(user.open, "/x/f") == code(user.readdir, "/x", 0) == NOT_FOUND
    assert names(user, "/") == ["x"]
    (tmp_path / "gone").mkdir()
    assert names(user, "/x") == []


# --- limits -----------------------------------------------------------------------------------


def test_open_files_are_limited_by_task(fs: Fs, user: User) -> None:
    idle = trees.open_descriptors()
    numbers = [user.open("/data/f") for _ in range(4)]
    assert code(user.open, "/data/f") == code(user.open, "/i") == ErrorCode.NO_RESOURCES
    assert trees.open_descriptors() == idle + 5
    user.close(numbers[1])
    assert user.open("/data/f") == numbers[1]
    # Also those whose grant is gone, until they are closed.
    fs.revoked(2)
    assert code(user.open, "/i") == ErrorCode.NO_RESOURCES
    user.close(numbers[0])
    assert user.open("/i") == numbers[0]


def test_descriptors_are_limited_for_all(fs: Fs, inside: Path) -> None:
    users = [User(fs, Caller(task, Grant(task, {"dir": str(inside)}))) for task in (2, 3, 4)]
    numbers: list[int] = []
    for user, count in zip(users, (4, 3, 0), strict=True):
        numbers += [user.open("f") for _ in range(count)]
    assert code(users[1].open, "f") == code(users[2].open, "f") == ErrorCode.NO_RESOURCES
    # A look costs one for a moment only, and names none.
    assert users[2].readdir("/", 0) == ("d", 221, 0)
    users[0].close(numbers[0])
    assert users[2].open("f") == 1


def test_directories_that_are_open_cost_nothing(fs: Fs, user: User) -> None:
    fd = user.open("/data")
    idle = trees.open_descriptors()
    for _ in range(3):
        user.open("/data/d")
    assert trees.open_descriptors() == idle
    assert code(user.read, fd) == ErrorCode.NOT_A_FILE


def test_a_root_needs_a_descriptor_too(inside: Path, image: Image) -> None:
    fs = Fs(image, max_host_files=0)
    user = User(fs, Caller(2, Grant(1, {}), Grant(2, {"dir": str(inside), "at": "/data"})))
    assert code(user.open, "/data/f") == ErrorCode.NO_RESOURCES
    assert user.get("/i") == b"image"


def test_where_the_process_has_no_more(fs: Fs, user: User) -> None:
    user.get("/data/f")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        assert code(user.open, "/data/f") == ErrorCode.NO_RESOURCES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert user.get("/data/f") == b"file"


def test_the_last_descriptors_are_not_for_guests(image: Image, inside: Path) -> None:
    """The host needs some itself: to import a module, to tell of a trap."""
    fs = Fs(image, max_open_files=1000, max_host_files=1000)
    user = User(fs, Caller(2, Grant(1, {"dir": str(inside)})))
    user.get("f")
    with descriptors_left(100) as limit:
        with pytest.raises(ServiceError) as refused:
            for _ in range(100):
                user.open("f")
        assert refused.value.code == ErrorCode.NO_RESOURCES
        assert code(fs.fs_open_file, user.caller, "f", EMPTY | TO_WRITE) == ErrorCode.NO_RESOURCES
        assert (inside / "f").read_bytes() == b"file"
        assert highest_of(inside / "f") == limit - RESERVED - 1
    fs.task_ended(2)
    fs.stopped()


def test_a_size_is_at_most_what_an_answer_tells(fs: Fs, user: User, inside: Path) -> None:
    with (inside / "huge").open("wb") as file:
        file.truncate(1 << 33)
    assert user.readdir("/data", 3) == ("huge", 255, 2**32 - 1)
    assert user.read(user.open("/data/huge"), 2) == b"\0\0"


def test_a_read_is_at_most_a_message(user: User, inside: Path) -> None:
    (inside / "big").write_bytes(bytes(1024) + b"x" * 10)
    fd = user.open("/data/big")
    assert user.read(fd, 2**32 - 1) == bytes(1024)
    assert user.read(fd, 0) == b""
    assert user.read(fd, 4) == b"xxxx"
    assert user.read(fd) == b"x" * 6
    assert code(user.read, fd) == code(user.read, fd, 0) == ErrorCode.EOF
    (inside / "big").write_bytes(b"shorter")
    assert code(user.read, fd) == ErrorCode.EOF


def test_specials_and_links_out(user: User, inside: Path, outside: Path) -> None:
    os.mkfifo(inside / "fifo")
    (inside / "out").symlink_to(outside)
    (inside / "loop").symlink_to("loop")
    for path in ("fifo", "out", "out/secret", "loop", "out/../secret"):
        assert code(user.open, f"/data/{path}") == DENIED
    assert code(user.open, "/data/fifo/x") == ErrorCode.NOT_A_DIR
    assert names(user, "/data") == ["d", "e", "f", "fifo", "loop", "out"]
    assert [user.readdir("/data", index)[1:] for index in (3, 4, 5)] == [(255, 0)] * 3
    for name in ("fifo", "out", "loop"):
        assert code(user.mkfile, f"/data/{name}") == ErrorCode.ALREADY_EXISTS
        user.delete(f"/data/{name}")
    assert sorted(os.listdir(inside)) == ["d", "e", "f"]


# --- by the kernel ----------------------------------------------------------------------------


class Client:
    """A task of a kernel, and what it is answered: the reply, or its error's code."""

    def __init__(self, kernel: wasmos.Kernel, *rules: str) -> None:
        self.task = kernel.client(allow=rules)

    def ask(self, message: abi.Message) -> object:
        try:
            return self.task.call("fs", message)
        except ServiceError as error:
            return error.code


def test_rules_are_places(kernel: wasmos.Kernel, image: Image, inside: Path) -> None:
    kernel.serve(Fs(image))
    client = Client(kernel, f'fs(dir="{inside}", at="/data", mode="ro")', "fs")
    assert client.ask(abi.FsReaddir("/", 0)) == abi.FsReaddirReply("data", 221, 0)
    assert client.ask(abi.FsReaddir("/", 1)) == abi.FsReaddirReply("i", 255, 5)
    assert client.ask(abi.FsOpen("/data/f")) == abi.FsOpenReply(1)
    assert client.ask(abi.FsRead(1, 9)) == abi.FsReadReply(b"file")
    assert client.ask(abi.FsWrite(1, b"x")) == DENIED
    assert client.ask(abi.FsDelete("/data/f")) == DENIED
    other = Client(kernel, "fs")
    assert other.ask(abi.FsOpen("/data/f")) == NOT_FOUND
    assert other.ask(abi.FsRead(1, 9)) == INVALID


def test_a_revoked_rule_closes(kernel: wasmos.Kernel, image: Image, inside: Path) -> None:
    kernel.serve(Fs(image))
    idle = trees.open_descriptors()
    client = Client(kernel, f'fs(dir="{inside}", at="/data")', "fs")
    assert client.ask(abi.FsOpen("/data/f")) == abi.FsOpenReply(1)
    assert trees.open_descriptors() == idle + 2
    client.task.grants[0].revoke()
    assert trees.open_descriptors() == idle
    assert client.ask(abi.FsRead(1, 9)) == DENIED
    assert client.ask(abi.FsOpen("/data/f")) == NOT_FOUND
    assert client.ask(abi.FsClose(1)) == abi.FsCloseReply()


def test_a_rule_that_is_used_up(kernel: wasmos.Kernel, image: Image, inside: Path) -> None:
    kernel.serve(Fs(image))
    idle = trees.open_descriptors()
    client = Client(kernel, f'fs(dir="{inside}") 2 times')
    assert client.ask(abi.FsOpen("f")) == abi.FsOpenReply(1)
    assert client.ask(abi.FsRead(1, 2)) == abi.FsReadReply(b"fi")
    assert client.ask(abi.FsRead(1, 2)) == DENIED
    # What it opened stays open, for who is granted the same directory once more.
    kernel.grant(client.task, f'fs(dir="{inside}")')
    assert client.ask(abi.FsRead(1, 2)) == abi.FsReadReply(b"le")
    client.task.kill()
    assert trees.open_descriptors() == idle


def test_two_rules_for_the_same_files(kernel: wasmos.Kernel, image: Image, inside: Path) -> None:
    kernel.serve(Fs(image))
    here = f'dir="{inside}", at="/data"'
    client = Client(kernel, f"fs.open({here})", f"fs.write({here})")
    assert client.ask(abi.FsOpen("/data/f")) == abi.FsOpenReply(1)
    assert client.ask(abi.FsWrite(1, b"F")) == abi.FsWriteReply(1)
    kernel.revoke(client.task, f"fs.write({here})")
    assert client.ask(abi.FsWrite(1, b"F")) == DENIED
    assert (inside / "f").read_bytes() == b"File"


@pytest.mark.parametrize(
    ("rules", "written"),
    [
        (["fs.open(HERE)", 'fs(HERE, mode="ro")'], 0),
        (["fs(HERE) once", 'fs(HERE, mode="ro")'], 0),
        (['fs.open(HERE, path="/data/f") once', 'fs(HERE, mode="ro")'], 0),
        (["fs.open(HERE)", 'fs(HERE, mode="ro")', 'fs(dir="DIR", at="/other")'], 0),
        (["fs(HERE) 2 times", 'fs(HERE, mode="ro")'], 1),
        (["fs.open(HERE)", 'fs(HERE, mode="ro")', "fs.write(HERE) 2 times"], 2),
        (["fs.open(HERE)", 'fs.write(HERE, mode="ro")', "fs.write(HERE)"], 3),
    ],
)
def test_rights_that_are_none_to_write_make_none_together(
    kernel: wasmos.Kernel, image: Image, inside: Path, rules: list[str], written: int
) -> None:
    """And one that is for so many times is used for them, whatever else is there."""
    kernel.serve(Fs(image))
    places = {"HERE": 'dir="DIR", at="/data"', "DIR": str(inside)}
    for name, place in places.items():
        rules = [rule.replace(name, place) for rule in rules]
    client = Client(kernel, *rules)
    assert client.ask(abi.FsOpen("/data/f")) == abi.FsOpenReply(1)
    answers = [client.ask(abi.FsWrite(1, b"X")) for _ in range(3)]
    assert answers == [abi.FsWriteReply(1)] * written + [DENIED] * (3 - written)
    assert (inside / "f").read_bytes() == b"X" * written + b"file"[written:]


def test_one_rule_to_read_and_another_to_write(
    kernel: wasmos.Kernel, image: Image, inside: Path
) -> None:
    kernel.serve(Fs(image))
    client = Client(kernel, f'fs.open(dir="{inside}", at="/data")', "fs")
    assert client.ask(abi.FsOpen("/data/f")) == abi.FsOpenReply(1)
    assert client.ask(abi.FsOpen("/i")) == abi.FsOpenReply(2)
    assert client.ask(abi.FsRead(1, 9)) == abi.FsReadReply(b"file")
    assert client.ask(abi.FsWrite(1, b"x")) == DENIED
    assert client.ask(abi.FsWrite(2, b"I")) == abi.FsWriteReply(1)
    assert client.ask(abi.FsMkfile("/data/new")) == NOT_FOUND  # in the image
    assert (inside / "f").read_bytes() == b"file"


def test_all_services_are_no_host_directories(
    kernel: wasmos.Kernel, image: Image, inside: Path
) -> None:
    kernel.serve(Fs(image))
    client, child = Client(kernel, "*"), Client(kernel)
    assert client.ask(abi.FsOpen("f")) == NOT_FOUND
    with contextlib.suppress(CapabilityDenied):
        client.task.grants[0].delegate(child.task, f'fs(dir="{inside}")')
    assert child.ask(abi.FsOpen("f")) in (DENIED, NOT_FOUND)


def test_nothing_is_left_with_the_kernel(image: Image, inside: Path) -> None:
    idle = trees.open_descriptors()
    with wasmos.Kernel() as kernel:
        kernel.serve(Fs(image))
        for _ in range(3):
            client = Client(kernel, f'fs(dir="{inside}")')
            assert client.ask(abi.FsOpen("f")) == abi.FsOpenReply(1)
        client.task.kill()
    assert trees.open_descriptors() == idle


def test_the_directories_of_a_task_are_closed_when_it_ends(image: Image, inside: Path) -> None:
    """Not only those that were taken back: a system that lives on would have no more of them."""
    with wasmos.Kernel() as kernel:
        kernel.serve(Fs(image, max_host_files=2))
        idle = trees.open_descriptors()
        for number in range(5):
            directory = inside / str(number)
            directory.mkdir()
            client = Client(kernel, f'fs(dir="{directory}")')
            assert client.ask(abi.FsOpen("f")) == NOT_FOUND
            client.task.kill()
            kernel.wait(client.task)
        assert trees.open_descriptors() == idle
