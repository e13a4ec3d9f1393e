/* What a program knows of itself and the world: arguments, environment, time, chance, its end.
 *
 * Law: who wasn't granted its arguments or its environment has none, which is no error. */
#pragma once

/* ---- Arguments and environment -------------------------------------------------------------- */

/* One of a list of strings: in m, from where `text` says. NOENT past the last one. */
typedef errno_t (*string_at_t)(uint32_t index, const char **text, uint32_t *size);

static errno_t argument_at(uint32_t index, const char **text, uint32_t *size) {
    m.args_get.index = (int)index;
    error_t err = ask_for_code(&args, ARGS_GET_MSG);
    if (err == ERR_NOT_ALLOWED || err == ERR_NOT_FOUND) {
        return NOENT;
    }
    if (err == ERR_TOO_LARGE) {
        return E2BIG;
    }
    m.args_get_reply.value[sizeof(m.args_get_reply.value) - 1] = '\0';
    *text = m.args_get_reply.value;
    *size = (uint32_t)strlen(*text);
    return errno_of(err);
}

/* "NAME=value". A variable that can't be had, since it is too large or not there any more, is left
 * out by `next`. */
static errno_t variable_at(uint32_t index, const char **text, uint32_t *size) {
    static char name[sizeof(m.env_list_reply.name)];
    m.env_list.index = (int)index;
    error_t err = ask_for_code(&env, ENV_LIST_MSG);
    if (err == ERR_NOT_ALLOWED || err == ERR_EOF) {
        return NOENT;
    }
    if (err != OK) {
        return errno_of(err);
    }
    __builtin_memcpy(name, m.env_list_reply.name, sizeof(name));
    name[sizeof(name) - 1] = '\0';
    uint32_t length = (uint32_t)strlen(name);
    __builtin_memcpy(m.env_get.name, name, length + 1);
    err = ask_for_code(&env, ENV_GET_MSG);
    if (err != OK) {
        *text = NULL;
        return SUCCESS;
    }
    /* The value moves up to make room for its name: both fit a message. */
    m.env_get_reply.value[sizeof(m.env_get_reply.value) - 1] = '\0';
    uint32_t value = (uint32_t)strlen(m.env_get_reply.value);
    char *whole = (char *)m.data;
    __builtin_memmove(whole + length + 1, m.env_get_reply.value, value + 1);
    __builtin_memcpy(whole, name, length);
    whole[length] = '=';
    *text = whole;
    *size = length + 1 + value;
    return SUCCESS;
}

static errno_t sizes_of(string_at_t string_at, user_t count_result, user_t size_result) {
    uint32_t count = 0;
    uint32_t total = 0;
    for (uint32_t index = 0;; index++) {
        const char *text;
        uint32_t size;
        errno_t err = string_at(index, &text, &size);
        if (err == NOENT) {
            break;
        }
        TRY(err);
        if (text != NULL) {
            count++;
            total += size + 1;
        }
    }
    TRY(check(count_result, sizeof(count)));
    TRY(store(size_result, &total, sizeof(total)));
    return store(count_result, &count, sizeof(count));
}

static errno_t strings_of(string_at_t string_at, user_t pointers, user_t bytes) {
    for (uint32_t index = 0;; index++) {
        const char *text;
        uint32_t size;
        errno_t err = string_at(index, &text, &size);
        if (err == NOENT) {
            return SUCCESS;
        }
        TRY(err);
        if (text == NULL) {
            continue;
        }
        TRY(check(pointers, sizeof(bytes)));
        TRY(store(bytes, text, size + 1));
        TRY(store(pointers, &bytes, sizeof(bytes)));
        pointers += sizeof(bytes);
        bytes += size + 1;
    }
}

/* Nothing secret stays in the message, which other services get to see. */
static errno_t wiped(errno_t err) {
    __builtin_memset(m.data, 0, sizeof(m.data));
    return err;
}

WASMOS_EXPORT("args_sizes_get") errno_t args_sizes_get(user_t count, user_t size) {
    return wiped(sizes_of(argument_at, count, size));
}

WASMOS_EXPORT("args_get") errno_t args_get(user_t pointers, user_t bytes) {
    return wiped(strings_of(argument_at, pointers, bytes));
}

WASMOS_EXPORT("environ_sizes_get") errno_t environ_sizes_get(user_t count, user_t size) {
    return wiped(sizes_of(variable_at, count, size));
}

WASMOS_EXPORT("environ_get") errno_t environ_get(user_t pointers, user_t bytes) {
    return wiped(strings_of(variable_at, pointers, bytes));
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

WASMOS_EXPORT("random_get") errno_t random_get(user_t into, uint32_t size) {
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
