/* Descriptors: what a program's small numbers stand for.
 *
 * Law: 0 to 2 are the streams, then come the directories that the program was granted (where names
 * are texts, all of them again under their relative names), then the ports it may listen on;
 * whatever is opened later gets the highest number that was freed, or else the next one.
 *
 * Rights are reported as today's engines do, generously, and a program can give some up; it is
 * those, and only those, that are missing when they are needed. What it may really do is decided
 * by its capabilities, where the messages arrive. */
#pragma once

enum { MAX_DESCRIPTORS = 1024, PATH_BYTES = 64 * 1024 };

enum kind { FREE, INPUT, OUTPUT, DIRECTORY, FILE_, LISTENER, SOCKET };

struct descriptor {
    uint8_t kind;
    uint8_t filetype;
    uint16_t flags;   /* FDFLAGS */
    int32_t handle;   /* the server's number; a stream's; -1 for a directory nobody opened yet */
    int64_t offset;   /* of a file */
    uint32_t lost;    /* rights that were given up: bits of `base`, */
    uint32_t lost_on; /* and those that nothing opened below gets */
    uint32_t path;    /* of a directory: where in `paths` */
    uint16_t path_size;
    bool is_root;     /* a directory that was granted */
    bool is_relative; /* its name has no slash at the beginning; its path has */
    bool reads;
    bool writes;
};

static struct descriptor descriptors[MAX_DESCRIPTORS];
static uint32_t usable;   /* how many of them are initialized: 0, the streams alone, or all */
static uint32_t next = 3; /* no number from this one on was ever used */
static uint32_t freed;    /* how many below it are free again */

/* The paths of open directories, one after the other, without gaps. Each has one of its own, also
 * where two are the same. */
static char paths[PATH_BYTES];
static uint32_t paths_size;

static void add_roots(void);
static void add_listeners(void);

static __attribute__((noinline)) void prepare(uint32_t fd) {
    if (usable == 0) {
        descriptors[0] = (struct descriptor){.kind = INPUT, .handle = 0, .reads = true};
        descriptors[1] = (struct descriptor){.kind = OUTPUT, .handle = 1, .writes = true};
        descriptors[2] = (struct descriptor){.kind = OUTPUT, .handle = 2, .writes = true};
        usable = 3;
    }
    if (fd >= 3 && usable == 3) {
        usable = MAX_DESCRIPTORS;
        add_roots();
        add_listeners();
    }
}

/* NULL if nothing is open under that number. */
static inline struct descriptor *descriptor_of(uint32_t fd) {
    if (fd >= usable) {
        prepare(fd);
        if (fd >= usable) {
            return NULL;
        }
    }
    return descriptors[fd].kind == FREE ? NULL : &descriptors[fd];
}

/* The number that what is opened now gets, or MAX_DESCRIPTORS if all are in use. Like the engine,
 * and unlike POSIX, not the lowest: a program that has moved its output away would find a file of
 * its own there, with all that it prints in it. */
static uint32_t free_number(void) {
    prepare(3);
    uint32_t fd = next;
    while (freed > 0 && descriptors[--fd].kind != FREE) {
    }
    return fd;
}

static void put(uint32_t fd, struct descriptor d) {
    if (fd == next) {
        next++;
    } else {
        freed--;
    }
    descriptors[fd] = d;
}

static void set_free(struct descriptor *d) {
    d->kind = FREE;
    freed++;
}

/* ---- Rights --------------------------------------------------------------------------------- */

#define ROOT_BASE                                                                       \
    (RIGHT_PATH_CREATE_DIRECTORY | RIGHT_PATH_CREATE_FILE | RIGHT_PATH_LINK_SOURCE |    \
     RIGHT_PATH_LINK_TARGET | RIGHT_PATH_OPEN | RIGHT_FD_READDIR | RIGHT_PATH_READLINK | \
     RIGHT_PATH_RENAME_SOURCE | RIGHT_PATH_RENAME_TARGET | RIGHT_PATH_SYMLINK |         \
     RIGHT_PATH_REMOVE_DIRECTORY | RIGHT_PATH_UNLINK_FILE | RIGHT_PATH_FILESTAT_GET |   \
     RIGHT_PATH_FILESTAT_SET_TIMES | RIGHT_FD_FILESTAT_GET | RIGHT_FD_FILESTAT_SET_TIMES)
#define INHERITING                                                                      \
    (ROOT_BASE | RIGHT_FD_DATASYNC | RIGHT_FD_READ | RIGHT_FD_SEEK |                    \
     RIGHT_FD_FDSTAT_SET_FLAGS | RIGHT_FD_SYNC | RIGHT_FD_TELL | RIGHT_FD_WRITE |       \
     RIGHT_FD_ADVISE | RIGHT_FD_ALLOCATE | RIGHT_FD_FILESTAT_SET_SIZE |                 \
     RIGHT_POLL_FD_READWRITE)

/* What is reported of a descriptor of which nothing was given up. */
static uint64_t rights_of(const struct descriptor *d) {
    uint64_t rights = ALL_RIGHTS;
    if (d->kind == INPUT) {
        return RIGHT_FD_READ;
    }
    if (d->kind == OUTPUT) {
        return RIGHT_FD_WRITE;
    }
    if (d->is_root) {
        return ROOT_BASE;
    }
    if (d->kind == DIRECTORY) {
        rights &= ~(RIGHT_FD_SEEK | RIGHT_FD_FILESTAT_SET_SIZE | RIGHT_PATH_FILESTAT_SET_SIZE);
    }
    rights &= d->reads ? ALL_RIGHTS : ~(RIGHT_FD_READ | RIGHT_FD_READDIR);
    return rights & (d->writes ? ALL_RIGHTS : ~RIGHT_FD_WRITE);
}

static uint64_t base_of(const struct descriptor *d) {
    return rights_of(d) & ~(uint64_t)d->lost;
}

/* What is opened in a directory, or accepted, can be read and written, whatever that was itself
 * opened for: C libraries ask for no more than is reported here. */
static uint64_t inheriting_of(const struct descriptor *d) {
    uint64_t rights = d->kind == DIRECTORY  ? INHERITING
                      : d->kind == LISTENER ? ALL_RIGHTS
                                            : rights_of(d);
    return rights & ~(uint64_t)d->lost_on;
}

static inline errno_t need(const struct descriptor *d, uint64_t rights) {
    return d->lost & rights ? NOTCAPABLE : SUCCESS;
}

/* To be told where one is: who may go elsewhere may know it, too. */
static inline errno_t need_to_tell(const struct descriptor *d) {
    const uint64_t either = RIGHT_FD_TELL | RIGHT_FD_SEEK;
    return (d->lost & either) == either ? NOTCAPABLE : SUCCESS;
}

/* ---- Finding one of a kind ------------------------------------------------------------------ */

/* A file, to do what needs these rights. */
static inline errno_t file_of(uint32_t fd, uint64_t rights, struct descriptor **found) {
    struct descriptor *d = descriptor_of(fd);
    if (d == NULL || d->kind != FILE_) {
        return BADF;
    }
    *found = d;
    return need(d, rights);
}

static inline errno_t directory_of(uint32_t fd, uint64_t rights, struct descriptor **found) {
    struct descriptor *d = descriptor_of(fd);
    if (d == NULL || d->kind != DIRECTORY) {
        return BADF;
    }
    *found = d;
    return need(d, rights);
}

static inline errno_t socket_of(uint32_t fd, enum kind kind, uint64_t rights,
                                struct descriptor **found) {
    struct descriptor *d = descriptor_of(fd);
    if (d == NULL) {
        return BADF;
    }
    if (d->kind != LISTENER && d->kind != SOCKET) {
        return NOTSOCK;
    }
    if (d->kind != kind) {
        return kind == LISTENER ? INVAL : NOTCONN;
    }
    *found = d;
    return need(d, rights);
}

/* ---- Paths of directories ------------------------------------------------------------------- */

/* What has been written behind the last path becomes a directory's. */
static void keep_path(struct descriptor *d, uint32_t size) {
    d->path = paths_size;
    d->path_size = (uint16_t)size;
    paths_size += size;
}

static void forget_path(const struct descriptor *gone) {
    uint32_t end = gone->path + gone->path_size;
    __builtin_memmove(paths + gone->path, paths + end, paths_size - end);
    paths_size -= gone->path_size;
    for (uint32_t fd = 0; fd < next; fd++) { /* one can have a stream's number */
        if (descriptors[fd].kind == DIRECTORY && descriptors[fd].path > gone->path) {
            descriptors[fd].path -= gone->path_size;
        }
    }
}

/* ---- Closing -------------------------------------------------------------------------------- */

/* The number is free whatever the server says. */
static errno_t close_descriptor(struct descriptor *d) {
    struct descriptor was = *d;
    set_free(d);
    if (was.kind == DIRECTORY) {
        forget_path(&was);
    }
    if (was.kind == LISTENER || was.kind == SOCKET) {
        m.tcpip_destroy.sock = was.handle;
        return ask(&tcpip, TCPIP_DESTROY_MSG);
    }
    if (was.kind == FILE_ || (was.kind == DIRECTORY && was.handle >= 0)) {
        m.fs_close_file.fd = was.handle;
        return ask(&fs, FS_CLOSE_FILE_MSG);
    }
    return SUCCESS;
}

WASMOS_EXPORT("fd_close") errno_t fd_close(uint32_t fd) {
    struct descriptor *d = descriptor_of(fd);
    return d == NULL ? BADF : close_descriptor(d);
}

WASMOS_EXPORT("fd_renumber") errno_t fd_renumber(uint32_t fd, uint32_t to) {
    struct descriptor *from = descriptor_of(fd);
    struct descriptor *target = descriptor_of(to);
    if (from == NULL || target == NULL) {
        return BADF;
    }
    if (from == target) {
        return SUCCESS;
    }
    errno_t closed = close_descriptor(target);
    put(to, *from);
    set_free(from);
    return closed;
}

/* ---- What is known of them ------------------------------------------------------------------ */

/* Whether a stream is a terminal; the error of a console that wasn't granted. A console that
 * doesn't know the question has none. */
static errno_t terminal(const struct descriptor *d, bool *is_terminal) {
    error_t err = ask_for_code(&console, CONSOLE_TERMINALS_MSG);
    if (err == ERR_NOT_ALLOWED) {
        return console.denied;
    }
    *is_terminal = err == OK && (m.console_terminals_reply.bits >> d->handle & 1);
    return SUCCESS;
}

static errno_t filetype_of(const struct descriptor *d, uint8_t *type) {
    if (d->kind == INPUT || d->kind == OUTPUT) {
        bool is_terminal;
        TRY(terminal(d, &is_terminal));
        *type = is_terminal ? CHARACTER_DEVICE : UNKNOWN_TYPE;
    } else {
        *type = d->filetype;
    }
    return SUCCESS;
}

WASMOS_EXPORT("fd_fdstat_get") errno_t fd_fdstat_get(uint32_t fd, user_t result) {
    struct descriptor *d = descriptor_of(fd);
    if (d == NULL) {
        return BADF;
    }
    struct fdstat stat = {
        .flags = d->flags,
        .base = base_of(d),
        .inheriting = inheriting_of(d),
    };
    TRY(filetype_of(d, &stat.filetype));
    return store(result, &stat, sizeof(stat));
}

/* What the server keeps of the flags, in its numbers. */
static uint32_t server_flags(uint32_t flags) {
    return (flags & APPEND ? 128 : 0) | (flags & (DSYNC | RSYNC) ? 256 : 0) |
           (flags & SYNC ? 512 : 0) | (flags & NONBLOCK ? 1024 : 0);
}

WASMOS_EXPORT("fd_fdstat_set_flags") errno_t fd_fdstat_set_flags(uint32_t fd, uint32_t flags) {
    if (flags & ~ALL_FDFLAGS) {
        return INVAL;
    }
    struct descriptor *d = descriptor_of(fd);
    if (d == NULL || d->kind == DIRECTORY || d->kind == OUTPUT) {
        return BADF;
    }
    TRY(need(d, RIGHT_FD_FDSTAT_SET_FLAGS));
    if (d->kind == FILE_) {
        m.fs_set_flags.fd = d->handle;
        m.fs_set_flags.flags = server_flags(flags);
        TRY(ask(&fs, FS_SET_FLAGS_MSG));
    } else if (flags & ~NONBLOCK) {
        return INVAL;
    }
    d->flags = (uint16_t)flags;
    return SUCCESS;
}

WASMOS_EXPORT("fd_fdstat_set_rights") errno_t fd_fdstat_set_rights(uint32_t fd, uint64_t base,
                                                                   uint64_t inheriting) {
    if ((base | inheriting) & ~ALL_RIGHTS) {
        return INVAL;
    }
    struct descriptor *d = descriptor_of(fd);
    if (d == NULL) {
        return BADF;
    }
    uint64_t has = base_of(d);
    uint64_t has_on = inheriting_of(d);
    if ((base & ~has) || (inheriting & ~has_on)) {
        return NOTCAPABLE;
    }
    /* Who gives up anything keeps what it names: the others that weren't reported go, too. */
    if (base != has) {
        d->lost = (uint32_t)(ALL_RIGHTS & ~base);
    }
    if (inheriting != has_on) {
        d->lost_on = (uint32_t)(ALL_RIGHTS & ~inheriting);
    }
    return SUCCESS;
}

/* What a program finds a granted directory by. */
struct name {
    const char *text;
    uint32_t size;
};

static struct name name_of(const struct descriptor *d) {
    const char *path = paths + d->path;
    if (!d->is_relative) {
        return (struct name){path, d->path_size};
    }
    return d->path_size == 1 ? (struct name){".", 1} : (struct name){path + 1, d->path_size - 1u};
}

WASMOS_EXPORT("fd_prestat_get") errno_t fd_prestat_get(uint32_t fd, user_t result) {
    struct descriptor *d = descriptor_of(fd);
    if (d == NULL || !d->is_root) {
        return BADF;
    }
    struct prestat prestat = {.tag = 0, .name_size = name_of(d).size};
    return store(result, &prestat, sizeof(prestat));
}

WASMOS_EXPORT("fd_prestat_dir_name") errno_t fd_prestat_dir_name(uint32_t fd, user_t into,
                                                                 uint32_t size) {
    struct descriptor *d = descriptor_of(fd);
    if (d == NULL) {
        return BADF;
    }
    if (!d->is_root) {
        return NOTDIR;
    }
    struct name name = name_of(d);
    return size < name.size ? NAMETOOLONG : store(into, name.text, name.size);
}
