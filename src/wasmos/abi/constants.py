"""The numbers of the binary interface that no message carries a name for.

Law: they never change. A guest compiled years ago relies on each of them.
"""

from __future__ import annotations

import enum

# A message's size in memory, and where its fields begin.
MESSAGE_SIZE = 1512
HEADER_SIZE = 8

# As a source to receive from: anyone.
IPC_ANY = 0

# As the source of a message: the kernel itself.
FROM_KERNEL = -1

# The task behind the service "vm".
VM = 1


class ErrorCode(enum.IntEnum):
    """What a call returns, or what stands in an answer's type."""

    OK = 0
    """It worked."""
    NO_MEMORY = -1
    """Not enough memory."""
    NO_RESOURCES = -2
    """A limit other than memory's is reached."""
    ALREADY_EXISTS = -3
    """There is one of that name."""
    ALREADY_USED = -4
    """Somebody else has it: a port, for example."""
    ALREADY_DONE = -5
    """Nothing was left to do."""
    STILL_USED = -6
    """It can't go: somebody is using it."""
    NOT_FOUND = -7
    """There is none of that name or number."""
    NOT_ALLOWED = -8
    """The task has no right to it."""
    NOT_SUPPORTED = -9
    """The service knows no such message, or can't do it here."""
    UNEXPECTED = -10
    """The other side did what the protocol doesn't foresee."""
    INVALID_ARG = -11
    """A value makes no sense: a file number nobody opened, a task id out of range."""
    INVALID_TASK = -12
    """No task has that id."""
    INVALID_SYSCALL = -13
    """There is no such call."""
    INVALID_PADDR = -14
    """Not a physical address that could be used."""
    INVALID_UADDR = -15
    """Not an address within the task's memory."""
    TOO_MANY_TASKS = -16
    """The system has as many tasks as it may."""
    TOO_LARGE = -17
    """It doesn't fit."""
    TOO_SMALL = -18
    """Less than is needed."""
    WOULD_BLOCK = -19
    """It would have to wait, and was told not to."""
    TRY_AGAIN = -20
    """Not now; the same request may work later."""
    ABORTED = -21
    """The other side ended before it answered."""
    EMPTY = -22
    """There is nothing in it."""
    NOT_EMPTY = -23
    """There is something in it: a directory to be deleted, for example."""
    DEAD_LOCK = -24
    """Waiting would never end: the other side waits for the caller."""
    NOT_A_FILE = -25
    """It is a directory."""
    NOT_A_DIR = -26
    """It is a file."""
    EOF = -27
    """There is no more: of a file, a directory's entries, the input."""
    TOO_MANY_LINKS = -28
    """A path leads through too many symbolic links, or through one where none may be."""
    NAME_TOO_LONG = -29
    """A name or a path is longer than names or paths can be."""
    ILLEGAL_SEQUENCE = -30
    """A name has bytes in it that no name has here."""
    READ_ONLY = -31
    """The file system can't be written to, whoever asks."""
    CROSS_DEVICE = -32
    """The two places are on different devices, or belong to different capabilities."""
    NO_SPACE = -33
    """The disk is full, or what counts as one."""
    IO_ERROR = -34
    """The device failed."""
    BUSY = -35
    """The system itself is using it."""
    BAD_FILE = -36
    """Nothing is open under that number, or not for that."""
    NOT_PERMITTED = -37
    """The host's own permissions don't allow it."""
    BROKEN_PIPE = -38
    """Nobody is there any more to read it."""
    NOT_CONNECTED = -39
    """The socket has no other side."""
    CONNECTION_RESET = -40
    """The other side broke the connection off."""
    NOT_SEEKABLE = -41
    """It has no places in it: a stream."""


# Where a word of the enum's name was cut short.
_SPELLED_OUT = {
    -11: "invalid argument",
    -13: "invalid system call",
    -14: "invalid physical address",
    -15: "invalid user address",
    -26: "not a directory",
    -27: "end of file",
}


def error_name(code: int) -> str:
    """A code in words: `-7` is "not found"."""
    if code in _SPELLED_OUT:
        return _SPELLED_OUT[code]
    try:
        return ErrorCode(code).name.replace("_", " ").lower()
    except ValueError:
        return f"unknown error {code}"
