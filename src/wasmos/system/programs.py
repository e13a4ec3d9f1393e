"""The boot directory: programs that can be started by name.

Law: a name is a file's name without its ending, in one of the folders, the
first that has it; a name is never a path.
"""

from __future__ import annotations

import os

ENDINGS = (".wasm", ".wat")
# The programs that come with wasmos.
PACKAGED = os.path.join(os.path.dirname(os.path.dirname(__file__)), "guests")


class Programs:
    """Programs by name, from the given folders and from the packaged ones."""

    def __init__(self, folders: list[str]) -> None:
        self.folders = [*folders, PACKAGED]

    def path(self, name: str) -> str:
        """The file of a program. Raises LookupError."""
        if name and os.sep not in name and "\0" not in name:
            for folder in self.folders:
                for ending in ("", *ENDINGS) if name.endswith(ENDINGS) else ENDINGS:
                    path = os.path.join(folder, name + ending)
                    if os.path.isfile(path):
                        return path
        raise LookupError(
            f"no program {name!r} in {', '.join(self.folders)}; "
            f"there are: {', '.join(self.names())}"
        )

    def packaged(self, path: str) -> bool:
        """Whether a file came with wasmos, and so was compiled from our source."""
        return os.path.dirname(path) == PACKAGED

    def names(self) -> list[str]:
        """All names, sorted."""
        found: set[str] = set()
        for folder in self.folders:
            if os.path.isdir(folder):
                found.update(
                    os.path.splitext(entry)[0]
                    for entry in os.listdir(folder)
                    if entry.endswith(ENDINGS)
                )
        return sorted(found)
