"""Descriptors that guests can't have.

Law: what guests keep open never takes the last descriptors of this process. The host needs some
itself, at any time: to import what it hasn't needed so far, to begin waiting for something, to tell
of a trap. Without them a table full of sockets and files would end not who filled it, but the
system.
"""

from __future__ import annotations

import os

RESERVED = 32  # of few a quarter


def is_short(descriptor: int) -> bool:
    """Whether only the reserve is left. `descriptor` is any that is open: as numbers are given out
    from the lowest on, the one that a copy of it gets tells how many are taken."""
    try:
        copy = os.dup(descriptor)
    except OSError:
        return True
    os.close(copy)
    return is_reserved(copy)


def is_reserved(descriptor: int) -> bool:
    """Whether this one, just opened, is of the reserve."""
    most = os.sysconf("SC_OPEN_MAX")
    return most >= 0 and descriptor >= most - min(RESERVED, most // 4)
