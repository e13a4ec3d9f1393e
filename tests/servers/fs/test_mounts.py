"""A badge is a place in a tree, and nobody's later grant hides what an earlier one shows."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError, UsageError
from wasmos.servers.fs import check_badge
from wasmos.servers.fs.mounts import Mount, Tree

# --- badges -----------------------------------------------------------------------------------


def test_badges_that_make_sense(tmp_path: Path) -> None:
    here = str(tmp_path)
    for badge in (
        {},
        {"mode": "ro"},
        {"at": "/x"},
        {"dir": here},
        {"dir": here, "at": "/", "mode": "rw"},
        {"dir": here + "/", "at": "//data//./x/", "mode": "ro"},
    ):
        check_badge(badge)


def test_a_directory_whose_name_is_a_link(tmp_path: Path) -> None:
    """The operator's own names are followed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    check_badge({"dir": str(tmp_path / "link")})


@pytest.mark.parametrize(
    ("badge", "reason"),
    [
        ({"dir": "{here}/none"}, "none': no such file or directory; name a directory"),
        ({"dir": "{here}/file"}, "file': a file and no directory; name a directory"),
        ({"dir": "{here}/fifo"}, "fifo': a fifo and no directory; name a directory"),
        ({"dir": "{here}/socket"}, "socket': a socket and no directory; name a directory"),
        ({"dir": "/dev/zero"}, "zero': a device and no directory; name a directory"),
        ({"dir": "{here}/file/x"}, "not a directory; name a directory"),
        ({"dir": ""}, "dir '' is no absolute path of the host"),
        ({"dir": "data"}, "dir 'data' is no absolute path of the host; write all of it"),
        ({"dir": "./data"}, "no absolute path"),
        ({"dir": "/\0"}, "no absolute path"),
        ({"at": "data"}, "at 'data' is no absolute path; write at=\"/data\""),
        ({"at": ""}, "at '' is no absolute path"),
        ({"at": "/a/../b"}, r"at '/a/../b' has \.\. in it"),
        ({"at": "/.."}, r"has \.\. in it"),
        ({"at": "/a\0"}, "has a NUL in it"),
        ({"at": "/" + "x" * 255}, "longer than a path, 255 bytes"),
        ({"mode": "r"}, "mode 'r' is neither ro .* nor rw"),
        ({"mode": ""}, "mode '' is neither"),
        ({"mode": "RW"}, "neither"),
        ({"mode": "overlay"}, "mode overlay is for a dir or an archive; name one"),
        ({"archive": "x.zip"}, "archive 'x.zip' is no absolute path of the host"),
        ({"archive": "/x", "dir": "/y"}, "dir and archive are two places; write two rules"),
        ({"archive": "/x", "mode": "rw"}, "an archive stays as it is"),
        ({"archive": "{here}/none"}, "none': no such file or directory; name a zip or tar file"),
        ({"archive": "{here}/fifo"}, "fifo': a fifo and no archive"),
        ({"archive": "{here}/socket"}, "socket': a socket and no archive"),
        ({"archive": "/dev/zero"}, "zero': a device and no archive"),
        ({"archive": "{here}"}, "': a directory and no archive"),
        ({"archive": "{here}/file"}, "file': neither a directory nor a zip or tar file"),
        ({"path": "/x"}, "no badge parameter 'path'; there are dir, at, mode, archive"),
    ],
)
def test_badges_that_make_none(tmp_path: Path, badge: dict[str, str], reason: str) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "socket", 0o600 | stat.S_IFSOCK)
    with pytest.raises(UsageError, match=reason):
        check_badge({key: value.format(here=tmp_path) for key, value in badge.items()})


def test_defaults() -> None:
    mount = Mount(1, {})
    assert (mount.at, mount.directory, mount.writable) == ((), "", True)
    assert not Mount(1, {"mode": "ro"}).writable
    assert Mount(1, {"at": "/a//./b/"}).at == ("a", "b")


# --- where a path leads -----------------------------------------------------------------------


def tree(*places: str, by: Mapping[int, int] | None = None) -> Tree:
    """Grants from 1 on, in the order of their ids."""
    return Tree(
        Mount(grant, {"at": at}, (by or {}).get(grant, 0)) for grant, at in enumerate(places, 1)
    )


def found(tree: Tree, path: str) -> tuple[int, str]:
    """The grant, 0 for none, and what its world is asked for."""
    place = tree.find(path)
    return place.mount.grant if place.mount else 0, place.path


PLACES = [
    ("/", (1, "/")),
    ("f", (1, "f")),
    ("/f", (1, "/f")),
    ("d/sub/../f", (1, "d/sub/../f")),
    ("data", (2, ".")),
    ("/data", (2, ".")),
    ("/data/", (2, "")),
    ("//./data/f", (2, "f")),
    ("/data//f", (2, "/f")),
    ("/database/f", (1, "/database/f")),
    ("/data/a/b/c/f", (3, "c/f")),
    ("/data/a/f", (2, "a/f")),
    ("/data/a/x/../b/f", (3, "f")),
    ("/data/a/b/..", (2, "a")),
    ("/data/a/b/../f", (2, "a/f")),
    ("/data/a/b/../../../f", (1, "f")),
    ("/data/..", (1, ".")),
    ("/data/../..", (1, "..")),
    ("/data/../f", (1, "f")),
    ("/data/../data/f", (2, "f")),
    ("/data/x/../..", (1, ".")),
    ("/data/x/../../data/a/b", (3, ".")),
    ("/x/../data/f", (2, "f")),
    ("/data/a/../f", (2, "f")),  # `a` is on the way, whether its world has it or not
    ("/data/a/./../a/x/../f", (2, "a/x/../f")),
    ("..", (1, "..")),
    ("/../data/f", (1, "/../data/f")),
    ("/x/../../data/f", (1, "/x/../../data/f")),
]


@pytest.mark.parametrize(("path", "expected"), PLACES)
def test_the_longest_place_counts(path: str, expected: tuple[int, str]) -> None:
    grant, rest = found(tree("/", "/data", "/data/a/b"), path)
    assert (grant, rest or ".") == (expected[0], expected[1] or ".")


@pytest.mark.parametrize("path", ["/", "//x/..", "f", "../f", "x/../..", "", "\0", "f\0"])
def test_alone_at_the_root_everything_is_its_own(path: str) -> None:
    if not path or "\0" in path:
        with pytest.raises(ServiceError) as refused:
            tree("/").find(path)
        assert refused.value.code == ErrorCode.INVALID_ARG
    else:
        assert found(tree("/"), path) == (1, path)


@pytest.mark.parametrize("path", ["..", "/..", "/data/../..", "x/../../data", "../data/f"])
def test_above_a_root_that_nobody_has(path: str) -> None:
    with pytest.raises(ServiceError) as refused:
        tree("/data").find(path)
    assert refused.value.code == ErrorCode.INVALID_ARG


@pytest.mark.parametrize("path", ["/f", "x/y", "dat", "/data/../x"])
def test_where_nobody_is(path: str) -> None:
    assert found(tree("/data"), path)[0] == 0
    assert found(Tree([]), path)[0] == 0


@pytest.mark.parametrize(
    ("path", "below", "owner"),
    [
        ("/", ("a", "z"), 1),
        ("/a/..", ("a", "z"), 1),
        ("/a", ("b", "c"), 2),
        ("/a/b", ("x",), 4),
        ("/a/b/x/..", ("x",), 4),
        ("/a/b/x", (), 0),
        ("/a/c", (), 0),
        ("/z", (), 0),
        ("/nothing", (), 0),
    ],
)
def test_what_is_on_the_way(path: str, below: tuple[str, ...], owner: int) -> None:
    place = tree("/z", "/a/c", "/a/b", "/a/b/x").find(path)
    assert (place.below, place.owner) == (below, owner)
    assert place.is_root == (path in ("/", "/a/.."))


# --- older and younger ------------------------------------------------------------------------


def test_of_two_at_one_place_the_older_counts() -> None:
    mounts = [Mount(9, {"at": "/x"}), Mount(3, {"at": "/x/"}), Mount(5, {"at": "//x"})]
    both = Tree(mounts)
    assert found(both, "/x/f") == (3, "f")
    assert both.worlds.keys() == {3, 5, 9}


def test_a_later_grant_of_somebody_else_hides_nothing() -> None:
    # 1 and 2 are the host's, 3 task 7's; 4 is task 8's.
    by = {3: 7, 4: 8}
    assert found(tree("/", "/data", "/data/x", by=by), "/data/x/f") == (2, "x/f")
    assert found(tree("/home", "/data", "/home/x", by=by), "/home/x/f") == (1, "x/f")
    assert found(tree("/home", "/data", "/y", "/y/x", by=by), "/y/x/f") == (3, "x/f")
    # Beside, it is seen; and above, but not below.
    assert found(tree("/home", "/data", "/y", by=by), "/y/f") == (3, "f")
    assert found(tree("/home", "/data", "/", by=by), "/y/f") == (3, "/y/f")
    assert found(tree("/home", "/data", "/", by=by), "/data/f") == (2, "f")


def test_it_does_not_make_ways_either() -> None:
    place = tree("/", "/data", "/data/x", by={3: 7}).find("/data")
    assert place.below == ()


def test_everybody_may_rearrange_what_he_gave() -> None:
    assert found(tree("/", "/data", by={1: 7, 2: 7}), "/data/f") == (2, "f")
    # But all that is hidden must be his: also what shines through from further above.
    by = {1: 0, 2: 7, 3: 7}
    assert found(tree("/a", "/a/b", "/a/b/c", by=by), "/a/b/c/f") == (1, "b/c/f")


def test_the_host_may_hide_anything() -> None:
    assert found(tree("/", "/data", by={1: 7, 2: 0}), "/data/f") == (2, "f")


NAMES = st.lists(st.sampled_from("ab"), max_size=3).map(lambda names: "/" + "/".join(names))
PATHS = st.lists(st.sampled_from(["a", "b", "a", "b", ".", "..", ""]), max_size=6).map("/".join)


@given(
    earlier=st.lists(st.tuples(NAMES, st.integers(0, 2)), max_size=4),
    later=st.lists(st.tuples(NAMES, st.integers(1, 2)), max_size=4),
    path=PATHS,
)
def test_what_was_seen_stays_seen(
    earlier: list[tuple[str, int]], later: list[tuple[str, int]], path: str
) -> None:
    """Whatever tasks give later, every path that led somewhere leads there; unless to what the
    same task gave."""

    def made(grants: list[tuple[str, int]]) -> Tree:
        return Tree(Mount(number, {"at": at}, by) for number, (at, by) in enumerate(grants, 1))

    path = "/" + "/".join(name for name in path.split("/") if name != "..")
    before = made(earlier).find(path)
    after = made(earlier + later).find(path)
    if before.mount is None:
        return
    assert after.mount is not None
    if after.mount.grant != before.mount.grant:
        assert after.mount.by == before.mount.by
    else:
        assert after.path == before.path


@given(places=st.lists(NAMES, min_size=1, max_size=4), path=PATHS)
def test_no_path_leads_to_what_is_not_above_it(places: list[str], path: str) -> None:
    """Against the plain reading: take `..` back, then the longest place that begins so."""
    names: list[str] = []
    for name in path.split("/"):
        if name == "..":
            if not names:
                return  # left to the world at the root
            names.pop()
        elif name not in ("", "."):
            names.append(name)
    if not path:
        return
    grants = {at.strip("/"): number for number, at in reversed(list(enumerate(places, 1)))}
    whole = "/".join(names)
    above = [at for at in grants if not at or f"{whole}/".startswith(f"{at}/")]
    expected = grants[max(above, key=len)] if above else 0
    assert found(tree(*places), path)[0] == expected
