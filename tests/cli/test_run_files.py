"""`wasmos run`: files in memory and directories of the host."""

from __future__ import annotations

import os
import re
import stat
import tarfile
from pathlib import Path

import pytest

from tests.support import wat
from tests.support.command import HELLO, Make, wasmos_
from tests.support.sender import sends
from wasmos import abi

READS = wat.program(
    f"""
    (i32.store #1024 #{abi.FsOpen.TYPE})
    (memory.copy (i32.const 1032) (i32.const 512) (i32.const 8))
    (drop (call $call @fs #1024))
    (if (i32.lt_s (i32.load #1024) #0) (then (return (i32.load #1024))))
    (local.set $i (i32.load offset=8 #1024))
    (i32.store #1024 #{abi.FsRead.TYPE}) (i32.store offset=8 #1024 (local.get $i))
    (i32.store offset=12 #1024 #100)
    (drop (call $call @fs #1024))
    (i32.store #1024 #{abi.ConsoleWrite.TYPE})
    (drop (call $call @console #1024)) #0""",
    fields='(data (i32.const 512) "note.txt")',
)


@pytest.mark.parametrize("kind", ["directory", "tar"])
def test_files_are_a_copy(made: Make, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "files"
    source.mkdir()
    (source / "note.txt").write_text("a note")
    (source / "link").symlink_to("note.txt")
    if kind == "tar":
        (source / "link").unlink()
        with tarfile.open(tmp_path / "files.tar", "w") as archive:
            archive.add(source / "note.txt", "note.txt")
        source = tmp_path / "files.tar"
    done = wasmos_("run", "--files", source, "--allow", "console", made(READS))
    assert (done.returncode, done.stdout) == (0, "a note")
    expected = "fs: left out link, which is a symbolic link\n" if kind == "directory" else ""
    assert done.stderr == expected
    # Without the flag there are no files, but there is a server to say so.
    assert wasmos_("run", "-q", "--allow", "fs", made(READS)).returncode == 256 - 7


IN_MEMORY = "  these are files in memory; for a directory of this machine: --dir HOST::GUEST\n"


@pytest.mark.parametrize(
    ("flags", "notes"),
    [
        ([], "note: guest was refused fs; to allow: --allow fs\n" + IN_MEMORY),
        (["--allow", "fs.mkfile"],
         "note: guest was refused fs.open(path=\"/note.txt\")\n  asked by  task 3 'guest'\n"
         "  rule      what it holds is for other messages: fs.mkfile    (--allow)\n"
         "  to allow  --allow 'fs.open(path=\"/note.txt\")'\n" + IN_MEMORY),
        (["--dir", "{tmp}::/d", "--deny", "fs.open"],
         "note: guest was refused fs.open(path=\"/note.txt\")\n  asked by  task 3 'guest'\n"
         "  rule      a rule denies it: fs.open    (--deny)\n"
         "  to allow  take out fs.open (--deny)\n"),
    ],
)  # fmt: skip
def test_what_the_right_to_files_is_for(
    made: Make, tmp_path: Path, flags: list[str], notes: str
) -> None:
    guest = made(sends(("fs", abi.FsOpen("note.txt", 0))))
    done = wasmos_("run", *(flag.format(tmp=tmp_path) for flag in flags), guest)
    assert re.sub(r"task \d+", "task 3", done.stderr) == notes


@pytest.mark.parametrize("flag", ["--dir", "--files"])
def test_what_is_neither_a_directory_nor_an_archive(tmp_path: Path, flag: str) -> None:
    """Whatever there is: an answer, at once, and what to name instead."""
    (tmp_path / "empty").touch()
    (tmp_path / "text.txt").write_text("text\n" * 1000)
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "socket", 0o600 | stat.S_IFSOCK)
    kinds = "a zip or tar file" if flag == "--dir" else "a tar file"
    what = "directory; name a directory" if flag == "--dir" else "archive"
    for name, said in [
        ("empty", f"neither a directory nor {kinds}"),
        ("text.txt", f"neither a directory nor {kinds}"),
        ("fifo", f"a fifo and no {what}"),
        ("socket", f"a socket and no {what}"),
        ("/dev/tty", f"a device and no {what}"),
    ]:
        done = wasmos_("run", flag, tmp_path / name, HELLO)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert f"{name}" in done.stderr and done.stderr.rstrip("'\n?").endswith(said), done.stderr


def test_files_that_are_none(tmp_path: Path) -> None:
    done = wasmos_("run", "--files", tmp_path / "none", HELLO)
    assert (done.returncode, done.stderr) == (
        2, f"error: {tmp_path}/none: no such file or directory\n",
    )  # fmt: skip
    (tmp_path / "broken.tar").write_text("not an archive" * 100)
    done = wasmos_("run", "--files", tmp_path / "broken.tar", HELLO)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {tmp_path}/broken.tar: ")
