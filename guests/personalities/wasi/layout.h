/* What lies in the program's memory, by version of the interface.
 *
 * Law: only this file knows what differs between `wasi_snapshot_preview1` and `wasi_unstable`. */
#pragma once

struct iovec {
    user_t at;
    uint32_t size;
};

enum filetype {
    UNKNOWN_TYPE = 0,
    CHARACTER_DEVICE = 2,
    DIRECTORY_TYPE = 3,
    SOCKET_STREAM = 6,
};

enum fdflags {
    APPEND = 1 << 0,
    DSYNC = 1 << 1,
    NONBLOCK = 1 << 2,
    RSYNC = 1 << 3,
    SYNC = 1 << 4,
    ALL_FDFLAGS = (1 << 5) - 1,
};

enum lookupflags { FOLLOW = 1 << 0, ALL_LOOKUPFLAGS = 1 };
enum oflags { CREAT = 1, DIRECTORY_ONLY = 2, EXCL = 4, TRUNC = 8, ALL_OFLAGS = 15 };
enum fstflags { ATIM = 1, ATIM_NOW = 2, MTIM = 4, MTIM_NOW = 8, ALL_FSTFLAGS = 15 };
enum riflags { PEEK = 1, WAITALL = 2, ALL_RIFLAGS = 3 };
enum sdflags { SHUT_RD = 1, SHUT_WR = 2, ALL_SDFLAGS = 3 };
enum clockid { REALTIME, MONOTONIC, PROCESS_CPU, THREAD_CPU };
enum eventtype { CLOCK_EVENT, FD_READ_EVENT, FD_WRITE_EVENT };
enum subclockflags { ABSTIME = 1 };
enum eventrwflags { HANGUP = 1 };
enum { LAST_ADVICE = 5, LAST_SIGNAL = 30 };

/* Whether a directory has to be there under its relative name, too: 2019's C library compares the
 * names with a program's path as texts, and so finds "data/f" in "data" but not in "/data". */
#ifdef UNSTABLE
enum { NAMES_ARE_TEXTS = true };
#else
enum { NAMES_ARE_TEXTS = false };
#endif

#ifdef UNSTABLE
enum whence { FROM_HERE, FROM_END, FROM_START };
#else
enum whence { FROM_START, FROM_HERE, FROM_END };
#endif

/* Rights, a bit each. */
#define RIGHT_FD_DATASYNC (1ull << 0)
#define RIGHT_FD_READ (1ull << 1)
#define RIGHT_FD_SEEK (1ull << 2)
#define RIGHT_FD_FDSTAT_SET_FLAGS (1ull << 3)
#define RIGHT_FD_SYNC (1ull << 4)
#define RIGHT_FD_TELL (1ull << 5)
#define RIGHT_FD_WRITE (1ull << 6)
#define RIGHT_FD_ADVISE (1ull << 7)
#define RIGHT_FD_ALLOCATE (1ull << 8)
#define RIGHT_PATH_CREATE_DIRECTORY (1ull << 9)
#define RIGHT_PATH_CREATE_FILE (1ull << 10)
#define RIGHT_PATH_LINK_SOURCE (1ull << 11)
#define RIGHT_PATH_LINK_TARGET (1ull << 12)
#define RIGHT_PATH_OPEN (1ull << 13)
#define RIGHT_FD_READDIR (1ull << 14)
#define RIGHT_PATH_READLINK (1ull << 15)
#define RIGHT_PATH_RENAME_SOURCE (1ull << 16)
#define RIGHT_PATH_RENAME_TARGET (1ull << 17)
#define RIGHT_PATH_FILESTAT_GET (1ull << 18)
#define RIGHT_PATH_FILESTAT_SET_SIZE (1ull << 19)
#define RIGHT_PATH_FILESTAT_SET_TIMES (1ull << 20)
#define RIGHT_FD_FILESTAT_GET (1ull << 21)
#define RIGHT_FD_FILESTAT_SET_SIZE (1ull << 22)
#define RIGHT_FD_FILESTAT_SET_TIMES (1ull << 23)
#define RIGHT_PATH_SYMLINK (1ull << 24)
#define RIGHT_PATH_REMOVE_DIRECTORY (1ull << 25)
#define RIGHT_PATH_UNLINK_FILE (1ull << 26)
#define RIGHT_POLL_FD_READWRITE (1ull << 27)
#define RIGHT_SOCK_SHUTDOWN (1ull << 28)
#define RIGHT_SOCK_ACCEPT (1ull << 29)
#ifdef UNSTABLE
#define ALL_RIGHTS (RIGHT_SOCK_ACCEPT - 1)
#else
#define ALL_RIGHTS (2 * RIGHT_SOCK_ACCEPT - 1)
#endif

struct fdstat {
    uint8_t filetype;
    uint8_t unused;
    uint16_t flags;
    uint32_t unused_too;
    uint64_t base;
    uint64_t inheriting;
};
_Static_assert(sizeof(struct fdstat) == 24, "as in WASI");

struct filestat {
    uint64_t device;
    uint64_t inode;
#ifdef UNSTABLE
    uint8_t filetype;
    uint8_t unused[3];
    uint32_t links;
#else
    uint8_t filetype;
    uint8_t unused[7];
    uint64_t links;
#endif
    uint64_t size;
    uint64_t accessed_ns;
    uint64_t modified_ns;
    uint64_t changed_ns;
};

struct prestat {
    uint32_t tag; /* 0: a directory; there is nothing else */
    uint32_t name_size;
};

struct clock_subscription {
#ifdef UNSTABLE
    uint64_t identifier;
#endif
    uint32_t id;
    uint64_t timeout_ns;
    uint64_t precision_ns;
    uint16_t flags;
};

struct subscription {
    uint64_t userdata;
    uint8_t tag;
    union {
        struct clock_subscription clock;
        uint32_t fd;
    };
};

struct event {
    uint64_t userdata;
    uint16_t error;
    uint8_t type;
    uint8_t unused[5];
    uint64_t size; /* how many bytes can be read, or written */
    uint16_t flags;
    uint8_t unused_too[6];
};
_Static_assert(sizeof(struct event) == 32, "as in WASI");

#ifdef UNSTABLE
_Static_assert(sizeof(struct filestat) == 56, "as in WASI");
_Static_assert(sizeof(struct subscription) == 56, "as in WASI");
#else
_Static_assert(sizeof(struct filestat) == 64, "as in WASI");
_Static_assert(sizeof(struct subscription) == 48, "as in WASI");
#endif
