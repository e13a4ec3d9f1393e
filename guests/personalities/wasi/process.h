/* What a program knows of itself and the world: arguments, environment, time, chance, its end.
 *
 * Law: who wasn't granted its arguments or its environment has none, which is no error. */
#pragma once

/* ---- Arguments and environment -------------------------------------------------------------- */

/* A list of strings as a service hands it out: all at once, each with a NUL after it. */
struct strings {
    struct service *service;
    int32_t type;
    /* What the program was told that they need, and so has room for. They can become more
     * afterwards, with its rights. */
    bool is_measured;
    uint32_t count;
    uint32_t size;
};

static struct strings arguments = {&args, ARGS_READ_MSG, false, 0, 0};
static struct strings variables = {&env, ENV_READ_MSG, false, 0, 0};

/* The two services have the same messages. */
_Static_assert(sizeof(m.args_read) == sizeof(m.env_read), "the same request");
_Static_assert(sizeof(m.args_read_reply) == sizeof(m.env_read_reply), "the same answer");

/* As many as fit are written to the program's memory; the answer is in m.args_read_reply. */
static errno_t read_strings(const struct strings *strings, user_t into, uint32_t room) {
    m.args_read.into = into;
    m.args_read.into_len = room;
    error_t err = ask_for_code(strings->service, strings->type);
    if (err == ERR_NOT_ALLOWED) {
        m.args_read_reply = (struct args_read_reply_fields){0};
        return SUCCESS;
    }
    return err == ERR_TOO_LARGE ? E2BIG : errno_of(err);
}

static errno_t measure(struct strings *strings) {
    TRY(read_strings(strings, 0, 0));
    strings->is_measured = true;
    strings->count = m.args_read_reply.count;
    strings->size = m.args_read_reply.size;
    return SUCCESS;
}

static errno_t sizes_of(struct strings *strings, user_t count_result, user_t size_result) {
    TRY(measure(strings));
    TRY(check(count_result, sizeof(strings->count)));
    TRY(store(size_result, &strings->size, sizeof(strings->size)));
    return store(count_result, &strings->count, sizeof(strings->count));
}

/* Where each of the strings begins that stand in the program's memory, to `pointers`. */
static errno_t point_to(user_t pointers, uint32_t count, user_t bytes, uint32_t size) {
    static char part[1024];
    user_t begin = bytes;
    for (uint32_t done = 0; done < size; done += sizeof(part)) {
        uint32_t left = size - done;
        uint32_t length = left < sizeof(part) ? left : sizeof(part);
        TRY(fetch(bytes + done, part, length));
        for (uint32_t i = 0; i < length && count > 0; i++) {
            if (part[i] == '\0') {
                TRY(store(pointers, &begin, sizeof(begin)));
                pointers += sizeof(begin);
                begin = bytes + done + i + 1;
                count--;
            }
        }
    }
    return SUCCESS;
}

static errno_t strings_of(struct strings *strings, user_t pointers, user_t bytes) {
    if (!strings->is_measured) {
        TRY(measure(strings));
    }
    if (strings->size == 0) {
        return SUCCESS;
    }
    TRY(check(pointers, (uint64_t)strings->count * sizeof(bytes)));
    TRY(read_strings(strings, bytes, strings->size));
    return point_to(pointers, strings->count, bytes, m.args_read_reply.len);
}

WASMOS_EXPORT("args_sizes_get") errno_t args_sizes_get(user_t count, user_t size) {
    return sizes_of(&arguments, count, size);
}

WASMOS_EXPORT("args_get") errno_t args_get(user_t pointers, user_t bytes) {
    return strings_of(&arguments, pointers, bytes);
}

WASMOS_EXPORT("environ_sizes_get") errno_t environ_sizes_get(user_t count, user_t size) {
    return sizes_of(&variables, count, size);
}

WASMOS_EXPORT("environ_get") errno_t environ_get(user_t pointers, user_t bytes) {
    return strings_of(&variables, pointers, bytes);
}

/* ---- Time and chance ------------------------------------------------------------------------ */

WASMOS_EXPORT("clock_res_get") errno_t clock_res_get(uint32_t id, user_t result) {
    m.clock_resolution.id = (int)id;
    TRY(ask(&clock, CLOCK_RESOLUTION_MSG));
    return store(result, &m.clock_resolution_reply.ns, sizeof(m.clock_resolution_reply.ns));
}

/* The precision is a hint, and a clock that is better than asked for does no harm. */
WASMOS_EXPORT("clock_time_get") errno_t clock_time_get(uint32_t id, uint64_t precision,
                                                       user_t result) {
    (void)precision;
    m.clock_get.id = (int)id;
    TRY(ask(&clock, CLOCK_GET_MSG));
    return store(result, &m.clock_get_reply.ns, sizeof(m.clock_get_reply.ns));
}

enum { RANDOM_AT_ONCE = 1 << 20 }; /* for one message: others run in between */

WASMOS_EXPORT("random_get") errno_t random_get(user_t into, uint32_t size) {
    for (; size > RANDOM_AT_ONCE; into += RANDOM_AT_ONCE, size -= RANDOM_AT_ONCE) {
        TRY(check(into, size));
        m.random_get.into = into;
        m.random_get.into_len = RANDOM_AT_ONCE;
        TRY(ask(&random, RANDOM_GET_MSG));
    }
    m.random_get.into = into;
    m.random_get.into_len = size;
    return ask(&random, RANDOM_GET_MSG);
}

/* ---- Its end -------------------------------------------------------------------------------- */

WASMOS_EXPORT("proc_exit") void proc_exit(uint32_t code) {
    program_exit((int32_t)code);
}

/* There are no signals. */
WASMOS_EXPORT("proc_raise") errno_t proc_raise(uint32_t signal) {
    return signal > LAST_SIGNAL ? INVAL : NOTSUP;
}

/* Nothing to do: every call is a place where others may run, and a loop of them is preempted. */
WASMOS_EXPORT("sched_yield") errno_t sched_yield(void) {
    return SUCCESS;
}
