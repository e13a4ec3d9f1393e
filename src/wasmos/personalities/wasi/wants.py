"""Which services a program will want, by what it imports.

Law: it is a guess, for people: nothing is granted by it. A C library imports most of what is about
open descriptors, whatever its program does, so these say nothing but that there are streams.
"""

from __future__ import annotations

from wasmos.personalities.wasi.functions import FUNCTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_STREAMS = ("fd_read", "fd_write")
# What a manifest asks for, so that there is something at each service.
USES = {
    "fs": 'fs(dir="data", at="/data")',
    "tcpip": "tcpip.listen(listen_port=80)",
}


def services(functions: Iterable[str]) -> list[str]:
    """In the order of the alphabet."""
    imported = set(functions)
    found = {"console"} if imported & {*_STREAMS} else set()
    for function in FUNCTIONS:
        if function.name in imported and function.messages and not function.name.startswith("fd_"):
            found.add(function.messages[0].partition("_")[0])
    return sorted(found)


def uses(services: Iterable[str]) -> list[str]:
    """Rules for a task of a manifest. Its own variables it may read without one."""
    return [USES.get(name, name) for name in services if name != "env"]
