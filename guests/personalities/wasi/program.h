/* The program's memory, seen from here: every address in it is the program's word.
 *
 * Law: nothing of it is used before it was copied, and a function that is given a bad address for
 * its result says so before it does anything. */
#pragma once

#define KERNEL(name_) __attribute__((import_module("env"), import_name(name_)))

typedef uint32_t user_t; /* an address in the program's memory */

/* Both are OK, or ERR_INVALID_UADDR and nothing was copied. */
KERNEL("program_read") int32_t program_read(user_t from, void *to, uint32_t size);
KERNEL("program_write") int32_t program_write(user_t to, const void *from, uint32_t size);
/* As ipc_lookup; that the program may not is no denial, since it didn't ask. */
KERNEL("program_lookup") task_t program_lookup(const char *name);
KERNEL("program_exit") _Noreturn void program_exit(int32_t code);

static inline errno_t fetch(user_t from, void *to, uint32_t size) {
    return program_read(from, to, size) == OK ? SUCCESS : FAULT;
}

static inline errno_t store(user_t to, const void *from, uint32_t size) {
    return program_write(to, from, size) == OK ? SUCCESS : FAULT;
}

/* Whether all of a range is the program's. A memory begins at 0 and has no holes, so its last byte
 * tells for the others. */
static inline errno_t check(user_t at, uint64_t size) {
    uint8_t last;
    if (size == 0) {
        return SUCCESS;
    }
    uint64_t end = at + size - 1;
    return end > UINT32_MAX ? FAULT : fetch((user_t)end, &last, 1);
}

/* The same on a path where each call counts: only for sizes that are known here. */
#define CHECK_SIZED(at_, size_)                                                         \
    ({                                                                                  \
        uint8_t there_[size_];                                                          \
        fetch(at_, there_, size_);                                                      \
    })

#define TRY(expression_)                                                                \
    do {                                                                                \
        errno_t errno_ = (expression_);                                                 \
        if (errno_ != SUCCESS) {                                                        \
            return errno_;                                                              \
        }                                                                               \
    } while (0)
