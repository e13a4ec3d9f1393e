"""Ways out of a directory."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.attacks.agent import offer, raw
from tests.attacks.attack import Agent, Scene, attack, serve_vm
from tests.servers.fs import trees
from wasmos import abi
from wasmos.servers.fs import Fs
from wasmos.servers.fs.resolve import Resolver

SECRET = trees.SECRET
PATHS = [
    "../outside/secret", "/../outside/secret", "/data/../outside/secret",
    "data/../../outside/secret",
    "/data/../../../../../../../../outside/secret", "/data/d/../../outside/secret",
    "/data/d/sub/../../../outside/secret", "/data/./../outside/secret", "/data/.././outside/secret",
    "/data//..//outside//secret", "/data/../inside/../outside/secret",
    "/data/f/../../outside/secret",
    "/data/e/../../outside", "/data/..", "/data/../", "/data/../.", "..", "/..", "/data/d/../..",
    "{outside}/secret", "/data{outside}/secret", "/data/{outside}/secret",
    "/data//{outside}/secret",
    "//{outside}/secret", "/etc/passwd", "/data/etc/passwd", "/data/../etc/passwd",
    "/proc/self/root{outside}/secret", "/proc/self/cwd/outside/secret",
    "/data/../proc/self/environ",
    "/dev/fd/0", "/data/../dev/fd/3", "/proc/self/fd", "/data/procroot{outside}/secret",
    "/data/up/outside/secret", "/data/up/inside/../outside/secret", "/data/absdir/secret",
    "/data/reldir/secret", "/data/reldir/sub/deep", "/data/d/up2/outside/secret",
    "/data/%2e%2e/outside/secret", "/data/..%2foutside/secret", "/data/..\\outside\\secret",
    "/data/\uff0e\uff0e/outside/secret", "/data/..\u2215outside/secret", "/data/.. /outside/secret",
    "/data/..;/outside/secret", "~/outside/secret", "file://{outside}/secret",
    "/data/.../outside/secret",
    *(f"/data/{name}" for name in trees.LINKS if name not in ("inabs", "back")),
    *(f"/data/{name}" for name in trees.LOOPS),
]  # fmt: skip
RAW = [
    b"/data/f\0/../../outside/secret", b"/data\0", b"\0", b"",
    b"/data/\xc0\xae\xc0\xae/outside/secret",
    b"/data/\xe0\x80\xae\xe0\x80\xae/outside/secret", b"/data/\xff\xfe/../../outside/secret",
    b"/data/" + b"d/../" * 48 + b"../f", b"/data/" + b"x" * 250, b"/data/" + b"../" * 83 + b"f",
]  # fmt: skip


class Trees:
    """A directory inside, full of ways out; and what is outside, which nobody may touch."""

    def __init__(self, where: Path) -> None:
        self.outside = trees.make_outside(where)
        self.inside = trees.make_inside(where)
        trees.plant(self.inside, self.outside)
        self.before = trees.digest(self.outside)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Trees]:
    tree = Trees(tmp_path)
    yield tree
    assert trees.digest(tree.outside) == tree.before, "what is outside was changed"


@pytest.fixture(params=trees.RESOLVERS, ids=trees.NAMES)
def resolver(request: pytest.FixtureRequest) -> Resolver:
    found: Resolver = request.param
    return found


def settler(scene: Scene, tree: Trees, resolver: Resolver, mode: str = "rw") -> Agent:
    """Somebody who may use what is inside."""
    scene.serve(Fs(resolver=resolver))
    return scene.agent("evil", f'fs(dir="{tree.inside}", at="/data", mode="{mode}")')


def everything_with(evil: Agent, path: bytes) -> list[int]:
    """All that can be done with a path; the errors. Nothing that is outside may come back."""
    text = path.ljust(256, b"\0")[:256]
    errors = []
    opened = evil.call("fs", raw(abi.FsOpen.TYPE) + text)
    errors.append(opened.error)
    if not opened.error and isinstance(opened.message, abi.FsOpenReply):
        fd = opened.message.fd
        read = evil.call("fs", abi.FsRead(fd, 1024))
        assert SECRET not in read.data[8:] and b"root:" not in read.data, "a file outside was read"
        errors.append(evil.call("fs", abi.FsWrite(fd, b"OVERWRITTEN")).error)
        evil.call("fs", abi.FsClose(fd))
    for index in range(3):
        listed = evil.call("fs", raw(abi.FsReaddir.TYPE) + text + index.to_bytes(4, "little"))
        errors.append(listed.error)
        if not listed.error:
            assert isinstance(listed.message, abi.FsReaddirReply)
            assert listed.message.name not in ("secret", "deep", "outside", "proc", "etc")
    for below in (b"", b"/new"):
        name = (path.partition(b"\0")[0] + below).ljust(256, b"\0")[:256] if below else text
        for kind in (abi.FsMkfile, abi.FsMkdir, abi.FsDelete):
            errors.append(evil.call("fs", raw(kind.TYPE) + name).error)
    return errors


@pytest.mark.parametrize("path", PATHS)
@attack(
    "a path out",
    "open, read, write, readdir, mkfile, mkdir and delete of a path that leads out, by a "
    "holder of a directory as /data",
    stopped_by=r"denial evil.* fs\.\w+\(.*\) server|reply fs.* to evil.*: (not|invalid|end of|too)",
    each="path",
)
def test_a_path_out(scene: Scene, tree: Trees, resolver: Resolver, path: str) -> None:
    evil = settler(scene, tree, resolver)
    written = path.format(outside=tree.outside).encode()
    errors = everything_with(evil, written)
    assert any(errors)


@pytest.mark.parametrize("path", RAW)
@attack(
    "a path that is no text",
    "The same with NUL, overlong UTF-8, bytes that are no UTF-8, and more than fits",
    stopped_by=r"denial evil.* fs\.\w+\(.*\) server|reply fs.* to evil.*: (not|invalid|too)",
    each="path",
)
def test_a_path_that_is_no_text(scene: Scene, tree: Trees, resolver: Resolver, path: bytes) -> None:
    assert any(everything_with(settler(scene, tree, resolver), path))


@pytest.mark.parametrize("name", ["fifo", "socket", "tofifo", "tosocket", "chr", "blk", "devnull"])
@attack(
    "a file that does things",
    "A fifo (which blocks), a socket and devices in the granted directory, and links to them",
    stopped_by=r'denial evil.* fs\.open\(path="/data/\w+".*\) server|'
    r"reply fs.* to evil.*: not found",
    each="name",
)
def test_a_file_that_does_things(
    scene: Scene, tree: Trees, resolver: Resolver, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree.inside.parent)
    with trees.plant_specials(tree.inside) as planted:
        if name in ("chr", "blk") and name not in planted:
            pytest.skip("makes a device")
        evil = settler(scene, tree, resolver)
        assert evil.call("fs", abi.FsOpen(f"/data/{name}", 0)).error in (-8, -7)


@attack(
    "to write where one may read",
    "write, mkfile, mkdir and delete in a read-only directory, also with files opened before",
    stopped_by=r'denial evil.* fs\.mkfile\(path="/data/new"\) server',
)
def test_writing_where_one_may_read(scene: Scene, tree: Trees, resolver: Resolver) -> None:
    before = trees.digest(tree.inside)
    evil = settler(scene, tree, resolver, "ro")
    fd = evil.call("fs", abi.FsOpen("/data/f", 2)).message.fd
    assert evil.call("fs", abi.FsWrite(fd, b"OVERWRITTEN")).error == -8
    for kind in (abi.FsMkfile, abi.FsMkdir, abi.FsDelete):
        for path in ("/data/new", "/data/f", "/data/e", "/data/d/sub/deep", "/data"):
            assert evil.call("fs", kind(path)).error in (-8, -3, -7, -23, -25)
    assert trees.digest(tree.inside) == before


CONSTRAINED = [
    "/data/secret", "/data/d/../secret", "/data/d/sub/../../secret", "/data/./secret",
    "//data//secret", "/data/d/./../secret", "/data/d", "/data/dx", "/data/d//sub/deep",
    "/data/d/sub/", "/data/d/..", "/data/D/sub/deep", "/data/d\u2215sub",
    "/data/d/\uff0e\uff0e/secret",
]  # fmt: skip


@pytest.mark.parametrize("path", CONSTRAINED)
@attack(
    "a path past a pattern",
    'open of what isn\'t below /data/d, or only after `..`, with a right to path="/data/d/**"',
    stopped_by=r"denial evil.* fs\.open\(.*\) field|reply fs.* to evil.*: not",
    each="path",
)
def test_a_path_past_a_pattern(scene: Scene, tree: Trees, resolver: Resolver, path: str) -> None:
    (tree.inside / "secret").write_bytes(SECRET)
    scene.serve(Fs(resolver=resolver))
    evil = scene.agent("evil", f'fs.open(path="/data/d/**", dir="{tree.inside}", at="/data")')
    opened = evil.call("fs", abi.FsOpen(path, 0))
    if not opened.error:  # a directory of its own, perhaps
        assert SECRET not in evil.call("fs", abi.FsRead(opened.message.fd, 100)).data[8:]
    assert opened.error or path == "/data/d/sub/"
    assert evil.call("fs", abi.FsOpen("/data/d/none", 0)).error == -7
    assert evil.call("fs", abi.FsDelete("/data/d/sub/deep")).error == -8


PAST_DENIAL = [
    "/data/secret", "data/secret", "/data/secret/", "/data//secret", "//data/secret",
    "/data/./secret", "/data/d/../secret", "/data/../data/secret", "/data/secret/.",
    "/./data/secret", "/data/secret//", "/data/d/sub/../../secret", "/data/nowhere/../secret",
]  # fmt: skip


@pytest.mark.parametrize("path", PAST_DENIAL)
@attack(
    "a path past a deny rule",
    'open of /data/secret, written so, against deny fs.open(path="/data/secret")',
    stopped_by=r"denial evil.* fs\.open\(.*\) denied grant \d+ \(policy\.toml:9\)",
    each="path",
)
def test_a_path_past_a_deny_rule(scene: Scene, tree: Trees, resolver: Resolver, path: str) -> None:
    (tree.inside / "secret").write_bytes(SECRET)
    evil = settler(scene, tree, resolver)
    scene.kernel.deny(evil.task, 'fs.open(path="/data/secret")', origin="policy.toml:9")
    assert evil.call("fs", abi.FsOpen(path, 0)).error == -8


@attack(
    "to write by a child",
    "A holder of a read-only directory starts a program that may do everything, or write there",
    stopped_by=r"denial child.* fs\.(write|mkfile)\(.*\) server",
)
def test_writing_by_a_child(scene: Scene, tree: Trees, resolver: Resolver) -> None:
    serve_vm(scene)
    scene.serve(Fs(resolver=resolver))
    before = trees.digest(tree.inside)
    evil = scene.agent("evil", "vm", f'fs(dir="{tree.inside}", at="/data", mode="ro")')
    for wider in (f'fs(dir="{tree.inside}", at="/data")', f'fs(dir="{tree.inside.parent}")'):
        assert evil.call("vm", abi.SpawnGranted("child", wider)).error == -8
    id = evil.call("vm", abi.SpawnTask("child")).message.task
    child = scene.adopt(scene.kernel.find(id))
    fd = child.call("fs", abi.FsOpen("/data/f", 2)).message.fd
    assert child.call("fs", abi.FsWrite(fd, b"OVERWRITTEN")).error == -8
    assert child.call("fs", abi.FsMkfile("/data/new")).error == -8
    assert child.call("fs", abi.FsOpen("/outside/secret", 0)).error
    assert trees.digest(tree.inside) == before


@attack(
    "two rights, together more than each",
    "It holds one directory to read and another to write, and writes to the first by way of "
    "the second",
    stopped_by=r"denial evil.* fs\.\w+\(.*\) server",
)
def test_two_rights_together(scene: Scene, tree: Trees, resolver: Resolver) -> None:
    (tree.inside.parent / "own").mkdir()
    (tree.inside.parent / "own" / "link").symlink_to(tree.inside)
    evil = settler(scene, tree, resolver, "ro")
    own = f'fs(dir="{tree.inside.parent}/own", at="/own", mode="rw")'
    scene.kernel.grant(evil.task, own)
    before = trees.digest(tree.inside)
    for path in ("/own/link/f", "/own/../data/f", "/data/../own/../data/f"):
        opened = evil.call("fs", abi.FsOpen(path, 2))
        if not opened.error:
            assert evil.call("fs", abi.FsWrite(opened.message.fd, b"OVERWRITTEN")).error == -8
        for kind in (abi.FsMkfile, abi.FsMkdir, abi.FsDelete):
            assert evil.call("fs", kind(path)).error
    assert trees.digest(tree.inside) == before


@attack(
    "a directory laid over another one",
    "A stranger passes on its own directory, to be seen in the middle of the victim's",
    stopped_by=r"accept victim.* fs\(dir=.*/data/d",
)
def test_a_directory_over_another(scene: Scene, tree: Trees, resolver: Resolver) -> None:
    """The victim has accepted it, and still sees its own files there."""
    serve_vm(scene)
    scene.serve(Fs(resolver=resolver))
    theirs = tree.inside.parent / "theirs"
    (theirs / "sub").mkdir(parents=True)
    (theirs / "sub" / "deep").write_bytes(b"FORGED")
    rule = f'fs(dir="{theirs}", at="/data/d", mode="rw")'
    evil = scene.agent("evil", "vm", rule)
    victim = scene.agent("victim", "vm", f'fs(dir="{tree.inside}", at="/data", mode="rw")')
    assert victim.call("vm", abi.CapAccept(offer(evil, victim, rule))).error == 0
    fd = victim.call("fs", abi.FsOpen("/data/d/sub/deep", 0)).message.fd
    assert victim.call("fs", abi.FsRead(fd, 100)).message == abi.FsReadReply(b"deep")


@attack(
    "the directory itself exchanged",
    "The granted directory is moved away and a link to another one takes its name",
    stopped_by=r"reply fs.* to evil.*: not found",
)
def test_the_directory_exchanged(scene: Scene, tree: Trees, resolver: Resolver) -> None:
    evil = settler(scene, tree, resolver)
    fd = evil.call("fs", abi.FsOpen("/data/f", 0)).message.fd
    assert evil.call("fs", abi.FsClose(fd)).error == 0
    tree.inside.rename(tree.inside.parent / "moved")
    tree.inside.symlink_to(tree.outside)
    assert evil.call("fs", abi.FsOpen("/data/secret", 0)).error == -7
    assert evil.call("fs", abi.FsOpen("/data/f", 0)).error == 0


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """The action over and over, in another thread; it has been done once when this begins."""
    begun, over = threading.Event(), threading.Event()

    def run() -> None:
        while not over.is_set():
            action()
            begun.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        begun.wait()
        yield
    finally:
        over.set()
        thread.join()


def exchange(one: Path, other: Path) -> None:
    """What two names are for, so that each of them is always there as far as the host can."""
    third = one.with_name("third")
    os.rename(one, third)
    os.rename(other, one)
    os.rename(third, other)


RACES = {
    "a directory and a link to one outside": ("race/sub/deep", "race", "link"),
    "a file and a link to one outside": ("race", "race", "link"),
    "a directory moved out of the tree": ("race/a/b/../../../d/sub/deep", "race", "out"),
}


@pytest.mark.parametrize("race", RACES)
@attack(
    "a race",
    "What a path leads through is exchanged by another thread while it is opened 100 times",
    stopped_by=r'denial evil.* fs\.open\(path="/data/link.*\) server|'
    r"reply fs.* to evil.*: not found",
    each="race",
)
def test_a_race(scene: Scene, tree: Trees, resolver: Resolver, race: str) -> None:
    path, name, other = RACES[race]
    evil = settler(scene, tree, resolver)
    one = tree.inside / name
    if "file" in race:
        one.write_bytes(b"file")
    else:
        (one / "sub").mkdir(parents=True)
        (one / "a" / "b").mkdir(parents=True)
        (one / "sub" / "deep").write_bytes(b"deep")
    if other == "out":
        two = tree.inside.parent / "out"
        (two / "a" / "b").mkdir(parents=True)
        (tree.inside.parent / "d" / "sub").mkdir(parents=True)  # where it would end up
        (tree.inside.parent / "d" / "sub" / "deep").write_bytes(SECRET)
    else:
        two = tree.inside / "link"
        two.symlink_to(tree.outside / ("secret" if "file" in race else ""))
        assert evil.call("fs", abi.FsOpen("/data/link" + path.removeprefix("race"), 0)).error == -8
    with meanwhile(lambda: exchange(one, two)):
        for _ in range(100):
            opened = evil.call("fs", abi.FsOpen(f"/data/{path}", 0))
            if not opened.error:
                fd = opened.message.fd
                assert SECRET not in evil.call("fs", abi.FsRead(fd, 100)).data[8:]
                evil.call("fs", abi.FsWrite(fd, b"x"))
                evil.call("fs", abi.FsClose(fd))
            evil.call("fs", abi.FsMkfile(f"/data/{path}x"))
            evil.call("fs", abi.FsDelete(f"/data/{path}x"))
    assert evil.call("fs", abi.FsOpen("/data/../outside/secret", 0)).error
