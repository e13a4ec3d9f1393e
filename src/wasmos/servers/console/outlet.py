"""Where one stream of guests' bytes goes.

Law: bytes are sent in the order in which they came, and what a stream that doesn't block had no
room for is sent before anything else.
"""

from __future__ import annotations

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError
from wasmos.servers.console.visible import Visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import RawIOBase
    from typing import BinaryIO


class Outlet:
    """Writes to a stream, flushed each time. `terminal`: whether control characters are to be
    shown instead of sent; by default if the stream is a terminal."""

    def __init__(self, stream: BinaryIO, terminal: bool | None = None) -> None:
        # Past the stream's buffer, which is to be empty after each write anyway: that is faster.
        raw: RawIOBase | BinaryIO = getattr(stream, "raw", stream)
        self._is_raw = raw is not stream
        self._write = raw.write
        self._flush = stream.flush
        self.terminal = stream.isatty() if terminal is None else terminal
        self._unsent = b""
        self._visible: dict[int, Visible] = {}  # by task

    def write(self, task: int, data: bytes) -> None:
        """Raises ServiceError: "try again" as long as what came before isn't sent."""
        if self._unsent and not self.send():
            raise ServiceError(ErrorCode.TRY_AGAIN)
        if self.terminal:
            data = self._visible.setdefault(task, Visible()).text(data)
        self._unsent = data
        self.send()

    def send(self) -> bool:
        """Hand what is unsent to the stream. False if some is left, because a stream that doesn't
        block is full; a stream that is broken or closed is an error."""
        try:
            self._flush()  # what somebody else has left in its buffer
            while self._unsent:
                taken = self._write(self._unsent)
                if taken is None:  # how raw streams say that they would block
                    return False
                self._unsent = self._unsent[taken:]
            if not self._is_raw:
                self._flush()
        except BlockingIOError as error:
            if not self._is_raw:
                self._unsent = self._unsent[error.characters_written :]
            return not self._unsent
        except (OSError, ValueError) as error:
            self._unsent = b""
            raise ServiceError(ErrorCode.UNEXPECTED, str(error)) from None
        return True

    def task_ended(self, task: int) -> None:
        self._visible.pop(task, None)
