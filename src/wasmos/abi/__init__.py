"""The binary interface as Python sees it: its numbers, and a class for each message.

Law: this package imports nothing else of wasmos, holds no behaviour, and is cheap to import. What
the classes look like in memory is in their `FIELDS`; turning them into bytes is the codec's part.
"""

from __future__ import annotations

from . import messages
from .constants import (
    FROM_KERNEL,
    HEADER_SIZE,
    IPC_ANY,
    MESSAGE_SIZE,
    VM,
    ErrorCode,
    error_name,
)
from .message import (
    BYTES,
    CSTR,
    INT32,
    INT64,
    LENT,
    LENT_OUT,
    UINT8_ARRAY,
    UINT16,
    UINT32,
    Field,
    Message,
    Rpc,
)
from .messages import *  # noqa: F403 - every message, as the generated __all__ lists them

__all__ = [
    "BYTES",
    "CSTR",
    "FROM_KERNEL",
    "HEADER_SIZE",
    "INT32",
    "INT64",
    "IPC_ANY",
    "LENT",
    "LENT_OUT",
    "MESSAGE_SIZE",
    "UINT8_ARRAY",
    "UINT16",
    "UINT32",
    "VM",
    "ErrorCode",
    "Field",
    "Message",
    "Rpc",
    "error_name",
]
__all__ += messages.__all__
