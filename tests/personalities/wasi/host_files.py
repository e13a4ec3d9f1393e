"""The real file server over a directory of the test's own, and what tests ask of both."""

from __future__ import annotations

import os
from pathlib import Path

import wasmos
from wasmos.servers.fs import Fs
from wasmos.servers.fs.image import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    # path → the bytes of a file, None for a directory, or a string for a link
    Tree: TypeAlias = Mapping[str, bytes | str | None]


def plant(root: Path, tree: Tree) -> None:
    """Make what a tree says, in its order. All of it gets the same times."""
    root.mkdir(exist_ok=True)
    for path, content in tree.items():
        if content is None:
            (root / path).mkdir()
        elif isinstance(content, str):
            (root / path).symlink_to(content)
        else:
            (root / path).write_bytes(content)
    for path in ["", *tree]:
        os.utime(root / path, ns=(1_000, 2_000), follow_symlinks=False)


class RecordingFs(Fs):
    """asked: some of what came in, for tests that want to know.
    left_open: how many files were opened and not closed by a message.
    """

    def __init__(self, image: Image | None = None, *, max_open_files: int = 64) -> None:
        super().__init__(image, max_open_files=max_open_files)
        self.asked: list[tuple[object, ...]] = []
        self.left_open = 0

    def fs_open_file(self, caller: wasmos.Caller, path: str, flags: int) -> tuple[int, int]:
        self.asked.append(("open", path, flags))
        opened = super().fs_open_file(caller, path, flags)
        self.left_open += 1
        return opened

    def fs_close_file(self, caller: wasmos.Caller, fd: int) -> None:
        super().fs_close_file(caller, fd)
        self.left_open -= 1

    def fs_make_directory(self, caller: wasmos.Caller, path: str) -> None:
        self.asked.append(("mkdir", path))
        super().fs_make_directory(caller, path)

    def fs_advise(
        self, caller: wasmos.Caller, fd: int, offset: int, size: int, advice: int
    ) -> None:
        self.asked.append(("advise", offset, size, advice))
        super().fs_advise(caller, fd, offset, size, advice)

    def fs_sync(self, caller: wasmos.Caller, fd: int, flags: int) -> None:
        self.asked.append(("sync", flags))
        super().fs_sync(caller, fd, flags)
