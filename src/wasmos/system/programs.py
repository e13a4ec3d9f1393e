"""The boot directory: programs that can be started by name.

Law: a name is a file's name without its ending, in one of the folders, the
first that has it; a name is never a path.
"""

from __future__ import annotations

import os

from wasmos.errors import ManifestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wasmos.system.manifest.manifest import Manifest

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
        looked = ", ".join(
            folder if os.path.isdir(folder) else f"{folder} (there is no such directory)"
            for folder in self.folders
        )
        raise LookupError(f"no program {name!r} in {looked}; there are: {', '.join(self.names())}")

    @property
    def missing(self) -> list[str]:
        """The folders that aren't there."""
        return [folder for folder in self.folders if not os.path.isdir(folder)]

    def find(self, manifest: Manifest) -> None:
        """Look for each task's module. Raises ManifestError for what isn't there."""
        for plan in manifest.tasks.values():
            where = f"{manifest.where('task', plan.name, 'module')}: [task.{plan.name}]"
            try:
                path = plan.path or self.path(plan.module)
            except LookupError as error:
                raise ManifestError(f"{where} {error}") from None
            is_there, is_folder = os.path.exists(path), os.path.isdir(path)
            if is_folder or not is_there:
                problem = "is a directory" if is_folder else "no such file or directory"
                raise ManifestError(f"{where} {path}: {problem}")

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
