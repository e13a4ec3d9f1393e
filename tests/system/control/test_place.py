"""Where sockets are, and where none is ever put."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from wasmos.errors import ControlError
from wasmos.system.control import place
from wasmos.system.control.later import VARIABLE, is_off

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")


def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def bound(path: Path) -> Path:
    """A socket to which nobody listens any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.bind(str(path))
    return path


@pytest.fixture
def made(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def test_what_is_made_is_the_owners_alone(folder: Path) -> None:
    before = os.umask(0)
    try:
        listening, path = place.listen("demo")
    finally:
        os.umask(before)
    with listening:
        assert path.startswith(f"{folder}/demo-{os.getpid()}")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        assert os.listdir(folder) == [os.path.basename(path)]  # no other name is left


def test_two_systems_of_a_process(folder: Path) -> None:
    first, one = place.listen("demo")
    second, other = place.listen("demo")
    with first, second:
        assert one != other
        assert [(a.name, a.pid) for a in place.addresses()] == [("demo", os.getpid())] * 2


@pytest.mark.parametrize(
    ("name", "file"),
    [("demo", "demo"), ("my demo.toml", "my_demo.toml"), ("../../x", "_.._x"), ("", "system"),
     ("..", "system"), ("a/b\0\n\x1b[2J", "a_b_2J"), ("é" * 99, "_"), ("x" * 99, "x" * 32)],
)  # fmt: skip
def test_a_name_becomes_a_part_of_a_path(folder: Path, name: str, file: str) -> None:
    assert place.short(name) == file
    listening, path = place.listen(name)
    with listening:
        assert os.path.dirname(path) == str(folder)
        assert [address.name for address in place.addresses()] == [file]


# --- planted --------------------------------------------------------------------------------------


def refused() -> str:
    with pytest.raises(ControlError) as one:
        place.listen("demo")
    with pytest.raises(ControlError) as other:
        place.addresses()
    assert str(one.value) == str(other.value)
    return str(one.value)


def test_a_symbolic_link_is_refused(folder: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    folder.symlink_to(tmp_path)
    assert refused() == (
        f"control: {folder} is a symbolic link, so it is not used; "
        f"remove it, or set {VARIABLE} to a directory of your own"
    )
    assert os.listdir(tmp_path) == []


def test_a_file_is_refused(folder: Path) -> None:
    folder.write_text("")
    assert "is not a directory" in refused()


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o777, 0o770, 0o1777])
def test_a_folder_that_is_open_to_others_is_refused(made: Path, mode: int) -> None:
    made.chmod(mode)
    assert f"is open to others (mode {mode:o})" in refused()
    assert os.listdir(made) == []


@ROOT
def test_a_folder_of_somebody_else_is_refused(made: Path) -> None:
    os.chown(made, 65534, 65534)
    assert "belongs to user 65534" in refused()


def test_a_folder_that_others_can_rename_is_refused(made: Path) -> None:
    made.parent.chmod(0o777)
    assert "others can rename it" in refused()
    made.parent.chmod(0o1777)  # as /tmp is
    assert place.addresses() == []


@ROOT
def test_a_folder_in_somebody_elses_is_refused(made: Path) -> None:
    os.chown(made.parent, 65534, 65534)
    assert "others can rename it" in refused()


@pytest.mark.parametrize("first", [False, True])
def test_a_folder_that_is_refused_hides_none_in_the_other(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """Anybody can make the one in /tmp."""
    listening, path = place.listen("demo")
    planted = tmp_path / "planted"
    planted.mkdir(mode=0o777)
    planted.chmod(0o777)
    places = [str(made), str(planted)]
    monkeypatch.setattr(place, "folders", lambda: places[::-1] if first else places)
    with listening:
        assert [address.path for address in place.addresses()] == [path]
    os.unlink(path)
    with pytest.raises(ControlError, match="planted is open to others"):
        place.addresses()  # there may be one after all, but not one to trust


def test_a_path_that_is_too_long(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{folder}/{'x' * 99}")
    with pytest.raises(ControlError, match="too long for a socket"):
        place.listen("demo")


# --- which folder ---------------------------------------------------------------------------------


def test_the_folder_for_runtime_files_comes_first(tmp_path: Path) -> None:
    tmp = f"/tmp/wasmos-{os.geteuid()}"
    tmp_path.chmod(0o700)
    assert place.folders({"XDG_RUNTIME_DIR": str(tmp_path)}) == [f"{tmp_path}/wasmos", tmp]
    assert place.folders({}) == [tmp]
    assert place.folders({"XDG_RUNTIME_DIR": "relative"}) == [tmp]
    assert place.folders({"XDG_RUNTIME_DIR": str(tmp_path / "nowhere")}) == [tmp]
    assert place.folders({VARIABLE: "/x", "XDG_RUNTIME_DIR": str(tmp_path)}) == ["/x"]
    tmp_path.chmod(0o777)
    assert place.folders({"XDG_RUNTIME_DIR": str(tmp_path)}) == [tmp]


@ROOT
def test_another_users_folder_for_runtime_files_is_none(tmp_path: Path) -> None:
    """As `sudo` may leave it in the environment."""
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 65534, 65534)
    assert place.folders({"XDG_RUNTIME_DIR": str(tmp_path)}) == ["/tmp/wasmos-0"]


@pytest.mark.parametrize(
    ("value", "off"), [("0", True), ("no", True), ("", False), ("1", False), ("/x", False)]
)
def test_switched_off_by_the_environment(value: str, off: bool) -> None:
    assert is_off({VARIABLE: value}) is off
    assert not is_off({})


# --- what dead systems left -----------------------------------------------------------------------


def test_what_a_dead_system_left_is_removed_by_who_looks(made: Path) -> None:
    pid = dead_pid()
    left = bound(made / f"demo-{pid}.sock")
    new = bound(made / f"demo-{pid}.sock.new")  # it died before it listened
    assert place.addresses() == []
    assert not left.exists() and new.exists()
    bound(left)
    listening, _ = place.listen("other")
    with listening:
        assert not left.exists() and not new.exists()


def test_what_lives_or_may_live_stays(made: Path) -> None:
    listening, path = place.listen("demo")
    with listening:
        mute = bound(made / f"mute-{os.getpid()}.sock")
        # A process of another container: its number means nothing here, but it listens.
        foreign = made / f"foreign-{dead_pid()}.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.bind(str(foreign))
            other.listen()
            found = {address.name for address in place.addresses()}
            assert found == {"demo", "mute", "foreign"}
        assert os.path.exists(path) and mute.exists()


def test_what_is_no_socket_of_ours_is_left_alone(made: Path, tmp_path: Path) -> None:
    pid = dead_pid()
    (made / f"file-{pid}.sock").write_text("mine")
    (made / "notes.txt").write_text("mine")
    (made / f"link-{pid}.sock").symlink_to(bound(tmp_path / "s"))
    bound(made / "nonumber.sock")
    before = sorted(os.listdir(made))
    assert place.addresses() == []
    listening, path = place.listen("demo")
    with listening:
        assert sorted(os.listdir(made)) == sorted([*before, os.path.basename(path)])
