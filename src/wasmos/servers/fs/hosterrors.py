"""The host's errors in the system's codes.

Law: guests get codes, never the host's words. What isn't in the table is UNEXPECTED.
"""

from __future__ import annotations

import errno

from wasmos.abi import ErrorCode
from wasmos.servers.fs.world import first_code

CODES = {
    errno.ENOENT: ErrorCode.NOT_FOUND,
    errno.EEXIST: ErrorCode.ALREADY_EXISTS,
    errno.ENOTDIR: ErrorCode.NOT_A_DIR,
    errno.EISDIR: ErrorCode.NOT_A_FILE,
    errno.ENOTEMPTY: ErrorCode.NOT_EMPTY,
    errno.EACCES: ErrorCode.NOT_PERMITTED,
    errno.EPERM: ErrorCode.NOT_PERMITTED,
    errno.EROFS: ErrorCode.READ_ONLY,
    errno.EXDEV: ErrorCode.NOT_ALLOWED,  # out of the directory, see resolve.py
    errno.ELOOP: ErrorCode.TOO_MANY_LINKS,
    errno.ENXIO: ErrorCode.NOT_PERMITTED,  # a socket, or a device that isn't there
    errno.ENODEV: ErrorCode.NOT_PERMITTED,
    errno.ENOSPC: ErrorCode.NO_SPACE,
    errno.EDQUOT: ErrorCode.NO_SPACE,
    errno.EMFILE: ErrorCode.NO_RESOURCES,
    errno.ENFILE: ErrorCode.NO_RESOURCES,
    errno.EMLINK: ErrorCode.NO_RESOURCES,
    errno.ENOMEM: ErrorCode.NO_MEMORY,
    errno.ENAMETOOLONG: ErrorCode.NAME_TOO_LONG,
    errno.EFBIG: ErrorCode.TOO_LARGE,
    errno.EOVERFLOW: ErrorCode.TOO_LARGE,
    errno.EINVAL: ErrorCode.INVALID_ARG,
    errno.EILSEQ: ErrorCode.ILLEGAL_SEQUENCE,
    errno.EBUSY: ErrorCode.BUSY,
    errno.ETXTBSY: ErrorCode.BUSY,
    errno.EAGAIN: ErrorCode.TRY_AGAIN,
    errno.EBADF: ErrorCode.BAD_FILE,
    errno.EIO: ErrorCode.IO_ERROR,
    errno.EOPNOTSUPP: ErrorCode.NOT_SUPPORTED,
    errno.ENOSYS: ErrorCode.NOT_SUPPORTED,
}


def code_of(error: OSError) -> ErrorCode:
    """What a guest is told of a host's error."""
    return CODES.get(error.errno or 0, ErrorCode.UNEXPECTED)


def first_code_of(error: OSError) -> ErrorCode:
    """The same, by a message of the first generation."""
    return first_code(code_of(error))
