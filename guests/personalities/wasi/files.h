/* Open files and directories: reading, writing, and what is known of them.
 *
 * Law: the offset of a file is kept here and moves only when the server has done what was asked. */
#pragma once

/* How `fs_open_file` is asked. */
enum {
    OPEN_CREATE = 1,
    OPEN_DIRECTORY = 2,
    OPEN_NEW = 4,
    OPEN_EMPTY = 8,
    OPEN_NO_LINK = 16,
    OPEN_READ = 32,
    OPEN_WRITE = 64,
};

/* ---- Reading and writing at a place --------------------------------------------------------- */

static inline errno_t read_at(const struct descriptor *d, struct iovec part, int64_t offset,
                              uint32_t *done) {
    m.fs_read_at.fd = d->handle;
    m.fs_read_at.offset = offset;
    m.fs_read_at.into = part.at;
    m.fs_read_at.into_len = part.size;
    TRY(ask(&fs, FS_READ_AT_MSG));
    return within(m.fs_read_at_reply.len, part.size, done);
}

/* `end` is where it ended: not `offset` and what was written, if that goes to the end. */
static inline errno_t write_at(const struct descriptor *d, struct iovec part, int64_t offset,
                               uint32_t *done, int64_t *end) {
    m.fs_write_at.fd = d->handle;
    m.fs_write_at.offset = offset;
    m.fs_write_at.data = part.at;
    m.fs_write_at.data_len = part.size;
    TRY(ask(&fs, FS_WRITE_AT_MSG));
    *end = m.fs_write_at_reply.offset;
    return within(m.fs_write_at_reply.len, part.size, done);
}

/* ---- One part after the other --------------------------------------------------------------- */

/* What is done with the parts of a read or a write. */
struct transfer {
    struct descriptor *d;
    int64_t offset; /* of a file; moves on */
    uint32_t flags; /* of a receive */
    bool writes;
};

static __attribute__((noinline)) errno_t transfer_part(struct transfer *t, struct iovec part, uint32_t *done) {
    errno_t err;
    switch (t->d->kind) {
    case INPUT:
        return take_input(t->d, part, done);
    case OUTPUT:
        return put_output(t->d, part, done);
    case SOCKET:
        return t->writes ? send(t->d, part, done) : receive(t->d, part, t->flags, done);
    case FILE_:
        if (t->writes) {
            return write_at(t->d, part, t->offset, done, &t->offset);
        }
        err = read_at(t->d, part, t->offset, done);
        if (err == SUCCESS) {
            t->offset += *done;
        }
        return err;
    default:
        return BADF;
    }
}

/* Whether one part comes after the other, until one isn't full. Reading from what may keep us
 * waiting ends with the first that isn't empty, unless the program wants to wait for all. */
static inline bool goes_on(const struct transfer *t) {
    return t->writes || t->d->kind == FILE_ || t->flags == RECEIVE_ALL;
}

/* Several parts: all of them are looked at before the first is used. */
static __attribute__((noinline)) errno_t transfer_parts(struct transfer *t, user_t parts,
                                                        uint32_t count, uint32_t *total) {
    struct iovec part;
    uint32_t done;
    TRY(check(parts, (uint64_t)count * sizeof(part)));
    for (uint32_t i = 0; i < count; i++) {
        TRY(fetch(parts + i * sizeof(part), &part, sizeof(part)));
        TRY(check(part.at, part.size));
    }
    *total = 0;
    for (uint32_t i = 0; i < count; i++) {
        TRY(fetch(parts + i * sizeof(part), &part, sizeof(part)));
        if (part.size == 0) {
            continue;
        }
        if (part.size > UINT32_MAX - *total) {
            break; /* more than the result can say: what was done so far is an answer */
        }
        errno_t err = transfer_part(t, part, &done);
        if (err != SUCCESS) {
            return *total > 0 ? SUCCESS : err;
        }
        *total += done;
        if (done < part.size || !goes_on(t)) {
            break;
        }
    }
    return SUCCESS;
}

static __attribute__((noinline)) errno_t transfer(struct transfer *t, user_t parts, uint32_t count, user_t result) {
    struct iovec part;
    uint32_t total;
    TRY(CHECK_SIZED(result, sizeof(total)));
    if (count == 1) {
        TRY(fetch(parts, &part, sizeof(part)));
        if (part.size > 0) {
            TRY(transfer_part(t, part, &total));
            return store(result, &total, sizeof(total));
        }
    }
    TRY(transfer_parts(t, parts, count, &total));
    return store(result, &total, sizeof(total));
}

/* A descriptor to be read or written, whatever it is. */
static inline errno_t readable(uint32_t fd, struct descriptor **found) {
    *found = descriptor_of(fd);
    if (*found == NULL || (*found)->kind == DIRECTORY) {
        return BADF;
    }
    TRY(need(*found, RIGHT_FD_READ));
    return (*found)->reads ? SUCCESS : BADF;
}

static inline errno_t writable(uint32_t fd, struct descriptor **found) {
    *found = descriptor_of(fd);
    if (*found == NULL || (*found)->kind == DIRECTORY) {
        return BADF;
    }
    TRY(need(*found, RIGHT_FD_WRITE));
    return (*found)->writes ? SUCCESS : BADF;
}

/* The descriptor of a transfer, opened for what that does. */
static inline errno_t open_for(struct transfer *t, uint32_t fd) {
    return t->writes ? writable(fd, &t->d) : readable(fd, &t->d);
}

/* At the descriptor's own offset, which moves on. */
static errno_t transfer_here(uint32_t fd, bool writes, user_t parts, uint32_t count,
                             user_t result) {
    struct transfer t = {.writes = writes};
    TRY(open_for(&t, fd));
    t.offset = t.d->offset;
    errno_t err = transfer(&t, parts, count, result);
    t.d->offset = t.offset;
    return err;
}

WASMOS_EXPORT("fd_read") errno_t fd_read(uint32_t fd, user_t parts, uint32_t count,
                                         user_t result) {
    return transfer_here(fd, false, parts, count, result);
}

WASMOS_EXPORT("fd_write") errno_t fd_write(uint32_t fd, user_t parts, uint32_t count,
                                           user_t result) {
    return transfer_here(fd, true, parts, count, result);
}

static errno_t check_offset(const struct descriptor *d, uint64_t offset) {
    if (d->kind != FILE_) {
        return SPIPE;
    }
    TRY(need(d, RIGHT_FD_SEEK));
    return offset > INT64_MAX ? INVAL : SUCCESS;
}

static errno_t transfer_at(uint32_t fd, bool writes, user_t parts, uint32_t count,
                           uint64_t offset, user_t result) {
    struct transfer t = {.offset = (int64_t)offset, .writes = writes};
    TRY(open_for(&t, fd));
    TRY(check_offset(t.d, offset));
    return transfer(&t, parts, count, result);
}

WASMOS_EXPORT("fd_pread") errno_t fd_pread(uint32_t fd, user_t parts, uint32_t count,
                                           uint64_t offset, user_t result) {
    return transfer_at(fd, false, parts, count, offset, result);
}

WASMOS_EXPORT("fd_pwrite") errno_t fd_pwrite(uint32_t fd, user_t parts, uint32_t count,
                                             uint64_t offset, user_t result) {
    return transfer_at(fd, true, parts, count, offset, result);
}

/* ---- Places --------------------------------------------------------------------------------- */

static errno_t seekable(uint32_t fd, struct descriptor **found) {
    *found = descriptor_of(fd);
    if (*found == NULL || (*found)->kind == DIRECTORY) {
        return BADF;
    }
    return (*found)->kind == FILE_ ? SUCCESS : SPIPE;
}

static errno_t size_of(const struct descriptor *d, int64_t *size) {
    m.fs_stat_file.fd = d->handle;
    TRY(ask(&fs, FS_STAT_FILE_MSG));
    *size = m.fs_stat_file_reply.size;
    return SUCCESS;
}

WASMOS_EXPORT("fd_seek") errno_t fd_seek(uint32_t fd, int64_t delta, uint32_t whence,
                                         user_t result) {
    struct descriptor *d;
    int64_t start = 0;
    int64_t offset;
    if (whence > 2) {
        return INVAL;
    }
    TRY(seekable(fd, &d));
    TRY(whence == FROM_HERE && delta == 0 ? need_to_tell(d) : need(d, RIGHT_FD_SEEK));
    TRY(CHECK_SIZED(result, sizeof(offset)));
    if (whence == FROM_HERE) {
        start = d->offset;
    } else if (whence == FROM_END) {
        TRY(size_of(d, &start));
    }
    if (__builtin_add_overflow(start, delta, &offset) || offset < 0) {
        return INVAL;
    }
    d->offset = offset;
    return store(result, &offset, sizeof(offset));
}

WASMOS_EXPORT("fd_tell") errno_t fd_tell(uint32_t fd, user_t result) {
    struct descriptor *d;
    TRY(seekable(fd, &d));
    TRY(need_to_tell(d));
    return store(result, &d->offset, sizeof(d->offset));
}

/* ---- What is known of them ------------------------------------------------------------------ */

static errno_t store_filestat(user_t result) {
    /* The two answers have the same fields, in the same places. */
    const struct fs_stat_reply_fields *known = &m.fs_stat_reply;
    struct filestat stat = {
        .device = (uint64_t)known->device,
        .inode = (uint64_t)known->inode,
        .filetype = (uint8_t)known->kind,
        .size = (uint64_t)known->size,
        .accessed_ns = (uint64_t)known->accessed_ns,
        .modified_ns = (uint64_t)known->modified_ns,
        .changed_ns = (uint64_t)known->changed_ns,
    };
#ifdef UNSTABLE
    stat.links = known->links > UINT32_MAX ? UINT32_MAX : (uint32_t)known->links;
#else
    stat.links = (uint64_t)known->links;
#endif
    return store(result, &stat, sizeof(stat));
}

/* The server's number for a directory, which is opened when it is first needed. */
static errno_t open_root(struct descriptor *d) {
    if (d->handle >= 0) {
        return SUCCESS;
    }
    __builtin_memcpy(m.fs_open_file.path, paths + d->path, d->path_size);
    m.fs_open_file.path[d->path_size] = '\0';
    m.fs_open_file.flags = OPEN_DIRECTORY | OPEN_READ;
    TRY(ask_to_open(&fs, FS_OPEN_FILE_MSG));
    d->handle = m.fs_open_file_reply.fd;
    return SUCCESS;
}

WASMOS_EXPORT("fd_filestat_get") errno_t fd_filestat_get(uint32_t fd, user_t result) {
    struct descriptor *d = descriptor_of(fd);
    if (d == NULL) {
        return BADF;
    }
    TRY(need(d, RIGHT_FD_FILESTAT_GET));
    if (d->kind == FILE_ || d->kind == DIRECTORY) {
        TRY(open_root(d));
        m.fs_stat_file.fd = d->handle;
        TRY(ask(&fs, FS_STAT_FILE_MSG));
        return store_filestat(result);
    }
    struct filestat stat = {0};
    TRY(filetype_of(d, &stat.filetype));
    return store(result, &stat, sizeof(stat));
}

/* A time as messages have it: -1 leaves it, -2 is now. */
static errno_t time_of(uint64_t ns, bool set, bool now, int64_t *time) {
    if ((set && now) || (set && ns > INT64_MAX)) {
        return INVAL;
    }
    *time = set ? (int64_t)ns : now ? -2 : -1;
    return SUCCESS;
}

static errno_t times_of(uint64_t accessed, uint64_t modified, uint32_t flags, int64_t times[2]) {
    if (flags & ~ALL_FSTFLAGS) {
        return INVAL;
    }
    TRY(time_of(accessed, flags & ATIM, flags & ATIM_NOW, &times[0]));
    return time_of(modified, flags & MTIM, flags & MTIM_NOW, &times[1]);
}

WASMOS_EXPORT("fd_filestat_set_times") errno_t fd_filestat_set_times(uint32_t fd,
                                                                     uint64_t accessed,
                                                                     uint64_t modified,
                                                                     uint32_t flags) {
    int64_t times[2];
    TRY(times_of(accessed, modified, flags, times));
    struct descriptor *d = descriptor_of(fd);
    if (d == NULL || (d->kind != FILE_ && d->kind != DIRECTORY)) {
        return BADF;
    }
    TRY(need(d, RIGHT_FD_FILESTAT_SET_TIMES));
    TRY(open_root(d));
    m.fs_set_file_times.fd = d->handle;
    m.fs_set_file_times.accessed_ns = times[0];
    m.fs_set_file_times.modified_ns = times[1];
    return ask(&fs, FS_SET_FILE_TIMES_MSG);
}

WASMOS_EXPORT("fd_filestat_set_size") errno_t fd_filestat_set_size(uint32_t fd, uint64_t size) {
    struct descriptor *d;
    TRY(file_of(fd, RIGHT_FD_FILESTAT_SET_SIZE, &d));
    if (size > INT64_MAX) {
        return INVAL;
    }
    m.fs_resize.fd = d->handle;
    m.fs_resize.size = (int64_t)size;
    return ask(&fs, FS_RESIZE_MSG);
}

/* ---- Room, advice, and the disk ------------------------------------------------------------- */

static errno_t check_range(uint64_t offset, uint64_t size) {
    return offset > INT64_MAX || size > INT64_MAX - offset ? INVAL : SUCCESS;
}

WASMOS_EXPORT("fd_allocate") errno_t fd_allocate(uint32_t fd, uint64_t offset, uint64_t size) {
    struct descriptor *d;
    TRY(file_of(fd, RIGHT_FD_ALLOCATE, &d));
    TRY(check_range(offset, size));
    m.fs_allocate.fd = d->handle;
    m.fs_allocate.offset = (int64_t)offset;
    m.fs_allocate.size = (int64_t)size;
    return ask(&fs, FS_ALLOCATE_MSG);
}

WASMOS_EXPORT("fd_advise") errno_t fd_advise(uint32_t fd, uint64_t offset, uint64_t size,
                                             uint32_t advice) {
    struct descriptor *d;
    if (advice > LAST_ADVICE) {
        return INVAL;
    }
    TRY(file_of(fd, RIGHT_FD_ADVISE, &d));
    if (check_range(offset, size) != SUCCESS) {
        return SUCCESS; /* advice on what no file has */
    }
    m.fs_advise.fd = d->handle;
    m.fs_advise.offset = (int64_t)offset;
    m.fs_advise.size = (int64_t)size;
    m.fs_advise.advice = (int)advice;
    return ask(&fs, FS_ADVISE_MSG);
}

static errno_t sync_file(uint32_t fd, uint64_t right, uint32_t flags) {
    struct descriptor *d;
    TRY(file_of(fd, right, &d));
    m.fs_sync.fd = d->handle;
    m.fs_sync.flags = flags;
    return ask(&fs, FS_SYNC_MSG);
}

WASMOS_EXPORT("fd_sync") errno_t fd_sync(uint32_t fd) {
    return sync_file(fd, RIGHT_FD_SYNC, 0);
}

WASMOS_EXPORT("fd_datasync") errno_t fd_datasync(uint32_t fd) {
    return sync_file(fd, RIGHT_FD_DATASYNC, 1);
}

/* ---- Entries -------------------------------------------------------------------------------- */

WASMOS_EXPORT("fd_readdir") errno_t fd_readdir(uint32_t fd, user_t into, uint32_t size,
                                               uint64_t cookie, user_t result) {
    struct descriptor *d;
    uint32_t done = 0;
    TRY(directory_of(fd, RIGHT_FD_READDIR, &d));
    TRY(CHECK_SIZED(result, sizeof(done)));
    TRY(check(into, size));
    TRY(open_root(d));
    m.fs_list.fd = d->handle;
    m.fs_list.cookie = cookie <= INT64_MAX ? (int64_t)cookie : INT64_MAX; /* both are past the end */
    m.fs_list.into = into;
    m.fs_list.into_len = size;
    TRY(ask(&fs, FS_LIST_MSG));
    TRY(within(m.fs_list_reply.len, size, &done));
    return store(result, &done, sizeof(done));
}
