/* Paths, and what is done with them.
 *
 * Law: a program names things relative to a directory, and a message has the whole path as the task
 * sees it, without "." and empty names, so that rules can speak of it. ".." stays, because what is
 * before it may be a link: where it leads is for the server to say, which lets nobody out of what
 * was granted. More ".." than names before them is refused here, without asking. */
#pragma once

enum { MAX_PATH = 1024, MAX_PATH_OF_TWO = 736 };
_Static_assert(sizeof(m.fs_open_file.path) == MAX_PATH, "as in messages.idl");
_Static_assert(sizeof(m.fs_rename.path) == MAX_PATH_OF_TWO, "as in messages.idl");

/* What a path was, before it was made simpler. */
struct shape {
    bool ends_in_dot; /* its last name is ".": there is a directory, but not under that name */
};

/* ---- Text ----------------------------------------------------------------------------------- */

/* How many bytes a character has that begins with this one; 0 if none begins so. */
static uint32_t character_size(uint8_t first) {
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xc2) {
        return 0;
    }
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

/* The least and the most that may follow: neither a longer way to say something, nor half of a
 * pair, nor what is past the last character. */
static bool may_follow(uint8_t first, uint8_t second) {
    uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    return second >= least && second <= most;
}

static errno_t check_text(const char *text, uint32_t size) {
    const uint8_t *at = (const uint8_t *)text;
    const uint8_t *end = at + size;
    while (at < end) {
        uint32_t bytes = character_size(*at);
        if (bytes == 0 || bytes > (uint32_t)(end - at)) {
            return ILSEQ;
        }
        if (bytes > 1 && !may_follow(at[0], at[1])) {
            return ILSEQ;
        }
        for (uint32_t i = 2; i < bytes; i++) {
            if (at[i] >> 6 != 2) {
                return ILSEQ;
            }
        }
        at += bytes;
    }
    return SUCCESS;
}

/* ---- From a program's path to the task's ---------------------------------------------------- */

/* Leave out "." and empty names: from `path`, of `size` bytes, to `into`, which may be the same
 * place. How long it is now, in `size`. A slash at the end stays. */
static errno_t simplify(const char *path, uint32_t *size, char *into, struct shape *shape) {
    const char *end = path + *size;
    char *to = into;
    uint32_t depth = 0;
    *shape = (struct shape){false};
    while (path < end) {
        const char *name = path;
        while (path < end && *path != '/') {
            if (*path == '\0') {
                return INVAL;
            }
            path++;
        }
        uint32_t length = (uint32_t)(path - name);
        bool slash = path < end;
        path += slash;
        if (length == 0) {
            continue;
        }
        shape->ends_in_dot = length == 1 && name[0] == '.';
        if (shape->ends_in_dot) {
            continue;
        }
        if (length == 2 && name[0] == '.' && name[1] == '.') {
            if (depth == 0) {
                return PERM;
            }
            depth--;
        } else {
            depth++;
        }
        __builtin_memmove(to, name, length);
        to += length;
        if (slash) {
            *to++ = '/';
        }
    }
    *size = (uint32_t)(to - into);
    return SUCCESS;
}

/* The path of a directory, ready for a name to be added. How long it is. */
static uint32_t put_directory(const struct descriptor *d, char *into) {
    uint32_t size = d->path_size;
    __builtin_memcpy(into, paths + d->path, size);
    if (size == 0 || into[size - 1] != '/') {
        into[size++] = '/';
    }
    return size;
}

/* A program's path, in a directory, as the task's path: a string of at most `capacity` bytes with
 * its end. How long it is without, in `total`. */
static errno_t take_path(const struct descriptor *d, user_t at, uint32_t size, char *into,
                         uint32_t capacity, uint32_t *total, struct shape *shape) {
    if (d->path_size + 2u > capacity) {
        return NAMETOOLONG;
    }
    uint32_t prefix = put_directory(d, into);
    if (size > capacity - prefix - 1) {
        TRY(check(at, size));
        return NAMETOOLONG;
    }
    TRY(fetch(at, into + prefix, size));
    TRY(check_text(into + prefix, size));
    if (size == 0) {
        return NOENT;
    }
    if (into[prefix] == '/') {
        return PERM;
    }
    TRY(simplify(into + prefix, &size, into + prefix, shape));
    if (size == 0 && prefix > 1) {
        prefix--; /* the directory itself */
    }
    into[prefix + size] = '\0';
    *total = prefix + size;
    return SUCCESS;
}

/* For what gives a name to something or takes one away: "d/." isn't a name, and the server says so,
 * or what else is wrong with it. */
static void put_back_dot(char *path, const struct shape *shape) {
    if (shape->ends_in_dot) {
        uint32_t size = (uint32_t)strlen(path); /* there was room for the dot */
        if (path[size - 1] != '/') {
            path[size++] = '/';
        }
        path[size++] = '.';
        path[size] = '\0';
    }
}

/* A path for a message that has one. `right` is what it takes in the directory. */
static errno_t path_in(uint32_t fd, uint64_t right, user_t at, uint32_t size, char *into,
                       struct shape *shape) {
    struct descriptor *d;
    uint32_t total;
    TRY(directory_of(fd, right, &d));
    return take_path(d, at, size, into, MAX_PATH, &total, shape);
}

/* A path for a message that has two. */
static errno_t path_of_two(uint32_t fd, uint64_t right, user_t at, uint32_t size, char *into,
                           struct shape *shape) {
    struct descriptor *d;
    uint32_t total;
    TRY(directory_of(fd, right, &d));
    return take_path(d, at, size, into, MAX_PATH_OF_TWO, &total, shape);
}

/* ---- The directories that were granted ------------------------------------------------------ */

/* Whether there was room for it. */
static bool add_root(const char *path, uint32_t size, bool is_relative) {
    if (next == MAX_DESCRIPTORS || size > PATH_BYTES - paths_size) {
        return false;
    }
    struct descriptor d = {
        .kind = DIRECTORY,
        .filetype = DIRECTORY_TYPE,
        .handle = -1,
        .is_root = true,
        .is_relative = is_relative,
    };
    __builtin_memcpy(paths + paths_size, path, size);
    keep_path(&d, size);
    put(next, d);
    return true;
}

/* All of them again, each with the same path, so that messages say the same whichever a program
 * uses. */
static void add_relative_roots(void) {
    uint32_t end = next;
    for (uint32_t fd = 3; fd < end; fd++) {
        const char *path = paths + descriptors[fd].path;
        if (path[0] == '/' && !add_root(path, descriptors[fd].path_size, true)) {
            return;
        }
    }
}

static void add_roots(void) {
    for (int index = 0; next < MAX_DESCRIPTORS; index++) {
        m.fs_root.index = index;
        if (ask(&fs, FS_ROOT_MSG) != SUCCESS) {
            break;
        }
        m.fs_root_reply.path[sizeof(m.fs_root_reply.path) - 1] = '\0';
        uint32_t size = (uint32_t)strlen(m.fs_root_reply.path);
        if (size == 0 || !add_root(m.fs_root_reply.path, size, false)) {
            break;
        }
    }
    if (NAMES_ARE_TEXTS) {
        add_relative_roots();
    }
}

/* ---- Opening -------------------------------------------------------------------------------- */

/* What a directory must still allow for these flags. */
static uint64_t rights_to_open(uint32_t oflags) {
    return RIGHT_PATH_OPEN | (oflags & CREAT ? RIGHT_PATH_CREATE_FILE : 0);
}

/* What must be passed on for these: to write to the disk each time is a right of its own. To empty
 * a file is one of the directory, RIGHT_PATH_FILESTAT_SET_SIZE, but none reports that, and so nobody
 * can keep it: what counts is whether the file's size may be changed. */
static uint64_t rights_to_pass_on(uint32_t oflags, uint32_t fdflags) {
    return (oflags & TRUNC ? RIGHT_FD_FILESTAT_SET_SIZE : 0) |
           (fdflags & DSYNC ? RIGHT_FD_DATASYNC : 0) |
           (fdflags & (RSYNC | SYNC) ? RIGHT_FD_SYNC : 0);
}

static uint32_t open_flags(uint32_t follow, uint32_t oflags, uint64_t rights, uint32_t fdflags) {
    uint32_t flags = server_flags(fdflags);
    flags |= oflags & CREAT ? OPEN_CREATE : 0;
    flags |= oflags & DIRECTORY_ONLY ? OPEN_DIRECTORY : 0;
    flags |= oflags & EXCL ? OPEN_NEW : 0;
    flags |= oflags & TRUNC ? OPEN_EMPTY : 0;
    flags |= follow & FOLLOW ? 0 : OPEN_NO_LINK;
    flags |= rights & RIGHT_FD_WRITE ? OPEN_WRITE : 0;
    /* What isn't to be written is read: a file that is open for neither doesn't exist. */
    flags |= rights & RIGHT_FD_READ || !(rights & RIGHT_FD_WRITE) ? OPEN_READ : 0;
    return flags;
}

/* A directory's path is kept without the slash at its end. */
static uint32_t without_slash(const char *path, uint32_t size) {
    while (size > 1 && path[size - 1] == '/') {
        size--;
    }
    return size;
}

static errno_t check_open(uint32_t follow, uint32_t oflags, uint64_t rights, uint32_t fdflags) {
    if (follow & ~ALL_LOOKUPFLAGS || oflags & ~ALL_OFLAGS || rights & ~ALL_RIGHTS ||
        fdflags & ~ALL_FDFLAGS) {
        return INVAL;
    }
    return SUCCESS;
}

/* What is to be opened in which directory: like `directory_of`, but a file is told from nothing. */
static errno_t directory_to_open_in(uint32_t fd, uint64_t right, struct descriptor **found) {
    struct descriptor *d = descriptor_of(fd);
    if (d != NULL && d->kind == FILE_) {
        return NOTDIR;
    }
    return directory_of(fd, right, found);
}

/* The server has opened it: give it a number. */
static errno_t add_opened(uint32_t fd, const struct descriptor *in, uint32_t flags,
                          uint32_t fdflags, uint32_t path_size) {
    int kind = m.fs_open_file_reply.kind;
    struct descriptor d = {
        .kind = kind == DIRECTORY_TYPE ? DIRECTORY : FILE_,
        .filetype = (uint8_t)kind,
        .flags = kind == DIRECTORY_TYPE ? 0 : (uint16_t)fdflags,
        .handle = m.fs_open_file_reply.fd,
        .lost = in->lost_on,
        .lost_on = in->lost_on,
        .reads = flags & OPEN_READ,
        .writes = flags & OPEN_WRITE && kind != DIRECTORY_TYPE,
    };
    if (d.handle < 0) {
        return IO;
    }
    if (d.kind == DIRECTORY) {
        keep_path(&d, path_size); /* copied before: the answer overwrote it */
    }
    put(fd, d);
    return SUCCESS;
}

WASMOS_EXPORT("path_open")
errno_t path_open(uint32_t in, uint32_t follow, user_t path, uint32_t size, uint32_t oflags,
                  uint64_t base, uint64_t inheriting, uint32_t fdflags, user_t result) {
    struct descriptor *d;
    struct shape shape;
    uint32_t total;
    TRY(check_open(follow, oflags, base | inheriting, fdflags));
    TRY(directory_to_open_in(in, rights_to_open(oflags), &d));
    TRY(CHECK_SIZED(result, sizeof(in)));
    if ((base | inheriting | rights_to_pass_on(oflags, fdflags)) & d->lost_on) {
        return NOTCAPABLE;
    }
    if (oflags & DIRECTORY_ONLY && oflags & (CREAT | EXCL | TRUNC)) {
        return INVAL;
    }
    TRY(take_path(d, path, size, m.fs_open_file.path, MAX_PATH, &total, &shape));
    if (oflags & CREAT) {
        put_back_dot(m.fs_open_file.path, &shape);
    }
    uint32_t fd = free_number();
    if (fd == MAX_DESCRIPTORS) {
        return MFILE;
    }
    total = without_slash(m.fs_open_file.path, total);
    if (total > PATH_BYTES - paths_size) {
        return NOMEM;
    }
    __builtin_memcpy(paths + paths_size, m.fs_open_file.path, total);
    uint32_t flags = open_flags(follow, oflags, base, fdflags);
    m.fs_open_file.flags = flags;
    TRY(ask_to_open(&fs, FS_OPEN_FILE_MSG));
    TRY(add_opened(fd, d, flags, fdflags, total));
    return store(result, &fd, sizeof(fd));
}

/* ---- What is known of a path ---------------------------------------------------------------- */

WASMOS_EXPORT("path_filestat_get")
errno_t path_filestat_get(uint32_t fd, uint32_t follow, user_t path, uint32_t size,
                          user_t result) {
    struct shape shape;
    if (follow & ~ALL_LOOKUPFLAGS) {
        return INVAL;
    }
    TRY(path_in(fd, RIGHT_PATH_FILESTAT_GET, path, size, m.fs_stat.path, &shape));
    m.fs_stat.flags = follow;
    TRY(ask(&fs, FS_STAT_MSG));
    return store_filestat(result);
}

WASMOS_EXPORT("path_filestat_set_times")
errno_t path_filestat_set_times(uint32_t fd, uint32_t follow, user_t path, uint32_t size,
                                uint64_t accessed, uint64_t modified, uint32_t flags) {
    struct shape shape;
    int64_t times[2];
    if (follow & ~ALL_LOOKUPFLAGS) {
        return INVAL;
    }
    TRY(times_of(accessed, modified, flags, times));
    TRY(path_in(fd, RIGHT_PATH_FILESTAT_SET_TIMES, path, size, m.fs_set_times.path, &shape));
    m.fs_set_times.flags = follow;
    m.fs_set_times.accessed_ns = times[0];
    m.fs_set_times.modified_ns = times[1];
    return ask(&fs, FS_SET_TIMES_MSG);
}

WASMOS_EXPORT("path_readlink")
errno_t path_readlink(uint32_t fd, user_t path, uint32_t size, user_t into, uint32_t into_size,
                      user_t result) {
    struct shape shape;
    uint32_t done;
    TRY(CHECK_SIZED(result, sizeof(done)));
    TRY(check(into, into_size));
    TRY(path_in(fd, RIGHT_PATH_READLINK, path, size, m.fs_read_link.path, &shape));
    m.fs_read_link.into = into;
    m.fs_read_link.into_len = into_size;
    TRY(ask(&fs, FS_READ_LINK_MSG));
    TRY(within(m.fs_read_link_reply.len, into_size, &done));
    return store(result, &done, sizeof(done));
}

/* ---- Changing what is there ----------------------------------------------------------------- */

WASMOS_EXPORT("path_create_directory")
errno_t path_create_directory(uint32_t fd, user_t path, uint32_t size) {
    struct shape shape;
    TRY(path_in(fd, RIGHT_PATH_CREATE_DIRECTORY, path, size, m.fs_make_directory.path, &shape));
    put_back_dot(m.fs_make_directory.path, &shape);
    return ask(&fs, FS_MAKE_DIRECTORY_MSG);
}

WASMOS_EXPORT("path_remove_directory")
errno_t path_remove_directory(uint32_t fd, user_t path, uint32_t size) {
    struct shape shape;
    TRY(path_in(fd, RIGHT_PATH_REMOVE_DIRECTORY, path, size, m.fs_remove_directory.path, &shape));
    put_back_dot(m.fs_remove_directory.path, &shape);
    errno_t err = ask(&fs, FS_REMOVE_DIRECTORY_MSG);
    return err == BUSY && shape.ends_in_dot ? INVAL : err; /* "." of a root is "." first */
}

WASMOS_EXPORT("path_unlink_file")
errno_t path_unlink_file(uint32_t fd, user_t path, uint32_t size) {
    struct shape shape;
    TRY(path_in(fd, RIGHT_PATH_UNLINK_FILE, path, size, m.fs_remove_file.path, &shape));
    put_back_dot(m.fs_remove_file.path, &shape);
    return ask(&fs, FS_REMOVE_FILE_MSG);
}

/* An open directory that was renamed, or that is below one: its path is another one now. */
static void rename_open(const char *old, uint32_t old_size, const char *new, uint32_t new_size) {
    for (uint32_t fd = 0; fd < next; fd++) {
        struct descriptor *d = &descriptors[fd];
        if (d->kind != DIRECTORY || d->is_root || d->path_size < old_size ||
            memcmp(paths + d->path, old, old_size) != 0) {
            continue;
        }
        uint32_t rest = d->path_size - old_size;
        if (rest > 0 && paths[d->path + old_size] != '/') {
            continue;
        }
        if (new_size + rest >= MAX_PATH || new_size + rest > PATH_BYTES - paths_size) {
            continue; /* there is no way to say where it is */
        }
        __builtin_memcpy(paths + paths_size, new, new_size);
        __builtin_memcpy(paths + paths_size + new_size, paths + d->path + old_size, rest);
        struct descriptor before = *d;
        keep_path(d, new_size + rest);
        forget_path(&before);
    }
}

WASMOS_EXPORT("path_rename")
errno_t path_rename(uint32_t fd, user_t path, uint32_t size, uint32_t new_fd, user_t new_path,
                    uint32_t new_size) {
    static char old[MAX_PATH_OF_TWO], new[MAX_PATH_OF_TWO];
    struct descriptor *in;
    struct shape shape, new_shape;
    TRY(directory_of(new_fd, RIGHT_PATH_RENAME_TARGET, &in));
    TRY(path_of_two(fd, RIGHT_PATH_RENAME_SOURCE, path, size, m.fs_rename.path, &shape));
    TRY(path_of_two(new_fd, RIGHT_PATH_RENAME_TARGET, new_path, new_size, m.fs_rename.new_path,
                    &new_shape));
    put_back_dot(m.fs_rename.path, &shape);
    put_back_dot(m.fs_rename.new_path, &new_shape);
    uint32_t old_size = without_slash(m.fs_rename.path, (uint32_t)strlen(m.fs_rename.path));
    new_size = without_slash(m.fs_rename.new_path, (uint32_t)strlen(m.fs_rename.new_path));
    __builtin_memcpy(old, m.fs_rename.path, old_size);
    __builtin_memcpy(new, m.fs_rename.new_path, new_size);
    TRY(ask(&fs, FS_RENAME_MSG));
    rename_open(old, old_size, new, new_size);
    return SUCCESS;
}

WASMOS_EXPORT("path_link")
errno_t path_link(uint32_t fd, uint32_t follow, user_t path, uint32_t size, uint32_t new_fd,
                  user_t new_path, uint32_t new_size) {
    struct descriptor *in;
    struct shape shape;
    if (follow & ~ALL_LOOKUPFLAGS) {
        return INVAL;
    }
    TRY(directory_of(new_fd, RIGHT_PATH_LINK_TARGET, &in));
    TRY(path_of_two(fd, RIGHT_PATH_LINK_SOURCE, path, size, m.fs_link.path, &shape));
    TRY(path_of_two(new_fd, RIGHT_PATH_LINK_TARGET, new_path, new_size, m.fs_link.new_path,
                    &shape));
    put_back_dot(m.fs_link.new_path, &shape);
    m.fs_link.flags = follow;
    return ask(&fs, FS_LINK_MSG);
}

/* The text of a link: not resolved now, and so not made simpler. */
static errno_t take_target(user_t at, uint32_t size, char *into) {
    if (size >= MAX_PATH_OF_TWO) {
        TRY(check(at, size));
        return NAMETOOLONG;
    }
    TRY(fetch(at, into, size));
    TRY(check_text(into, size));
    if (size == 0) {
        return NOENT;
    }
    into[size] = '\0';
    if (into[0] == '/') {
        return PERM;
    }
    return strlen(into) == size ? SUCCESS : INVAL;
}

WASMOS_EXPORT("path_symlink")
errno_t path_symlink(user_t target, uint32_t target_size, uint32_t fd, user_t path,
                     uint32_t size) {
    struct shape shape;
    TRY(path_of_two(fd, RIGHT_PATH_SYMLINK, path, size, m.fs_make_link.path, &shape));
    TRY(take_target(target, target_size, m.fs_make_link.target));
    put_back_dot(m.fs_make_link.path, &shape);
    return ask(&fs, FS_MAKE_LINK_MSG);
}
