"""What the network's errors are to a guest.

Law: every error of the network has a code, and one that isn't in the table is
-10 unexpected: it is never the guest's fault and never ends the server.
"""

from __future__ import annotations

import errno

from wasmos.abi import ErrorCode
from wasmos.errors import ServiceError

CODES = {
    errno.EADDRINUSE: ErrorCode.ALREADY_USED,
    errno.EACCES: ErrorCode.NOT_ALLOWED,
    errno.EPERM: ErrorCode.NOT_ALLOWED,
    # Nobody is there.
    errno.ECONNREFUSED: ErrorCode.NOT_FOUND,
    errno.EHOSTUNREACH: ErrorCode.NOT_FOUND,
    errno.ENETUNREACH: ErrorCode.NOT_FOUND,
    errno.EHOSTDOWN: ErrorCode.NOT_FOUND,
    errno.ENETDOWN: ErrorCode.NOT_FOUND,
    errno.EADDRNOTAVAIL: ErrorCode.NOT_FOUND,
    errno.ETIMEDOUT: ErrorCode.TRY_AGAIN,
    # The host's limits, which the guest meets as its own.
    errno.EMFILE: ErrorCode.NO_RESOURCES,
    errno.ENFILE: ErrorCode.NO_RESOURCES,
    errno.ENOBUFS: ErrorCode.NO_RESOURCES,
    errno.ENOMEM: ErrorCode.NO_RESOURCES,
    # It was there and left.
    errno.ECONNRESET: ErrorCode.ABORTED,
    errno.ECONNABORTED: ErrorCode.ABORTED,
    errno.EPIPE: ErrorCode.ABORTED,
    errno.ENOTCONN: ErrorCode.ABORTED,
}


# What an open connection says to who asks, where it is more than -21.
BROKEN = {
    errno.ECONNRESET: ErrorCode.CONNECTION_RESET,
    errno.EPIPE: ErrorCode.BROKEN_PIPE,
}


def broken(error: OSError) -> ServiceError:
    """Why a connection is gone, as an answer."""
    code = BROKEN.get(error.errno or 0, ErrorCode.ABORTED)
    return ServiceError(code, error.strerror or type(error).__name__)


def answer(error: OSError) -> ServiceError:
    """An error of the network as an answer."""
    code = CODES.get(error.errno or 0, ErrorCode.UNEXPECTED)
    return ServiceError(code, error.strerror or type(error).__name__)
