/* Error numbers: what WASI calls them, and which of the system's become which.
 *
 * Law: OK becomes 0 and nothing else does. */
#pragma once

typedef int32_t errno_t;

enum {
    SUCCESS = 0,
    E2BIG = 1,
    ACCES = 2,
    ADDRINUSE = 3,
    AGAIN = 6,
    BADF = 8,
    BUSY = 10,
    CONNRESET = 15,
    DEADLK = 16,
    EXIST = 20,
    FAULT = 21,
    FBIG = 22,
    ILSEQ = 25,
    INVAL = 28,
    IO = 29,
    ISDIR = 31,
    LOOP = 32,
    MFILE = 33,
    NAMETOOLONG = 37,
    NOENT = 44,
    NOMEM = 48,
    NOSPC = 51,
    NOSYS = 52,
    NOTCONN = 53,
    NOTDIR = 54,
    NOTEMPTY = 55,
    NOTSOCK = 57,
    NOTSUP = 58,
    OVERFLOW = 61,
    PERM = 63,
    PIPE = 64,
    ROFS = 69,
    SPIPE = 70,
    XDEV = 75,
    NOTCAPABLE = 76,
};

/* By the code's number without its sign. */
static const uint8_t errno_of_code[] = {
    [-ERR_NO_MEMORY] = NOMEM,
    [-ERR_NO_RESOURCES] = NOMEM,
    [-ERR_ALREADY_EXISTS] = EXIST,
    [-ERR_ALREADY_USED] = ADDRINUSE,
    [-ERR_STILL_USED] = BUSY,
    [-ERR_NOT_FOUND] = NOENT,
    [-ERR_NOT_ALLOWED] = PERM,
    [-ERR_NOT_SUPPORTED] = NOTSUP,
    [-ERR_INVALID_ARG] = INVAL,
    [-ERR_INVALID_UADDR] = FAULT,
    [-ERR_TOO_LARGE] = FBIG,
    [-ERR_WOULD_BLOCK] = AGAIN,
    [-ERR_TRY_AGAIN] = AGAIN,
    [-ERR_NOT_EMPTY] = NOTEMPTY,
    [-ERR_DEAD_LOCK] = DEADLK,
    [-ERR_NOT_A_FILE] = ISDIR,
    [-ERR_NOT_A_DIR] = NOTDIR,
    [-ERR_TOO_MANY_LINKS] = LOOP,
    [-ERR_NAME_TOO_LONG] = NAMETOOLONG,
    [-ERR_ILLEGAL_SEQUENCE] = ILSEQ,
    [-ERR_READ_ONLY] = ROFS,
    [-ERR_CROSS_DEVICE] = XDEV,
    [-ERR_NO_SPACE] = NOSPC,
    [-ERR_BUSY] = BUSY,
    [-ERR_BAD_FILE] = BADF,
    [-ERR_NOT_PERMITTED] = ACCES,
    [-ERR_BROKEN_PIPE] = PIPE,
    [-ERR_NOT_CONNECTED] = NOTCONN,
    [-ERR_CONNECTION_RESET] = CONNRESET,
    [-ERR_NOT_SEEKABLE] = SPIPE,
};

/* A code that isn't named above says that a server did what the protocol doesn't foresee: as far as
 * a program can tell, the device is broken. */
static errno_t errno_of(error_t code) {
    uint32_t at = 0 - (uint32_t)code;
    if (code == OK) {
        return SUCCESS;
    }
    return at < sizeof(errno_of_code) && errno_of_code[at] ? errno_of_code[at] : IO;
}
