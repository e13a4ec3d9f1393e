"""What Tab puts in place of the word that is being typed.

Law: a command's usage says what its first word stands for; nothing is offered for others. A name
that somebody else chose is offered as one word of the shell's, quoted if it has to be, and only if
it can be shown as it is. What goes wrong is no more than nothing to offer.
"""

from __future__ import annotations

import asyncio
import shlex

from wasmos import abi
from wasmos.errors import ServiceError, WasmosError
from wasmos.system.shell.commands import COMMANDS, DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from wasmos.system.shell.shell import Shell

MOST = 512  # entries of a directory that are looked at
PATIENCE_SECONDS = 2.0  # the fs may be anybody's
NOTHING: tuple[int, list[str]] = (0, [])


async def words(shell: Shell, line: str) -> tuple[int, list[str]]:
    """How many characters at the end of a line are to be replaced, and what may replace them."""
    name, space, rest = line.lstrip().partition(" ")
    if not space:
        return len(name), _beginning(name, COMMANDS)
    word = rest.lstrip()
    if set(word) & set(" \t'\"\\"):  # there is a second word, or it is quoted
        return NOTHING
    meaning = "" if name not in COMMANDS else COMMANDS[name].usage.partition(" ")[2].strip("[]")
    if meaning.startswith("PATH"):
        return len(word), await _files(shell, word)
    if meaning.startswith("NAME"):
        return len(word), _beginning(word, _programs(shell))
    return NOTHING


def _beginning(start: str, names: Iterable[str]) -> list[str]:
    found = {name for name in names if name.startswith(start) and name.isprintable()}
    return [shlex.quote(name) for name in sorted(found)]


def _programs(shell: Shell) -> list[str]:
    return [*shell.system.manifest.tasks, *shell.system.programs.names()]


async def _files(shell: Shell, word: str) -> list[str]:
    folder, slash, _ = word.rpartition("/")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            names = await _entries(shell, folder or "/")
    except (WasmosError, LookupError, ValueError, TimeoutError):
        return []
    return _beginning(word, (f"{folder}{slash}{name}" for name in names))


async def _entries(shell: Shell, folder: str) -> list[str]:
    found: list[str] = []
    for index in range(MOST):
        try:
            entry = await shell.call("fs", abi.FsReaddir(folder, index))
        except ServiceError as error:
            if error.code == abi.ErrorCode.EOF:
                break
            raise
        found.append(entry.name + ("/" if entry.type == DIRECTORY else ""))
    return found
