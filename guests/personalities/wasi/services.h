/* The services behind the functions, and asking them.
 *
 * Law: a service is looked up when the program first needs it, never before. What a runtime asks for
 * in every program (arguments, environment, directories) is looked up quietly: who wasn't granted
 * it and doesn't use it leaves no trace. What was refused is asked for again the next time, because
 * it may have been granted meanwhile. */
#pragma once

struct service {
    const char *name;
    task_t task;    /* 0 until it was found */
    errno_t denied; /* what a program is told that wasn't granted what it asks for */
    bool quiet;
};

static struct service args = {"args", 0, NOTCAPABLE, true};
static struct service clock = {"clock", 0, NOTCAPABLE, false};
/* As if the stream had been closed: runtimes take that for "nobody listens", and go on. */
static struct service console = {"console", 0, BADF, false};
static struct service env = {"env", 0, NOTCAPABLE, true};
static struct service fs = {"fs", 0, PERM, true};
static struct service random = {"random", 0, NOTCAPABLE, false};
static struct service tcpip = {"tcpip", 0, NOTCAPABLE, true};

/* The one message: a program makes one call at a time. Only the fields of a request are written,
 * and what follows them is left from before; whoever leaves a secret there wipes it. */
static struct message m;

static __attribute__((noinline)) error_t find_service(struct service *service) {
    service->task = 0;
    task_t task = service->quiet ? program_lookup(service->name) : ipc_lookup(service->name);
    if (IS_ERROR(task)) {
        return task;
    }
    service->task = task;
    return OK;
}

/* A service that was restarted has another number: the request is still in m. */
static __attribute__((noinline)) error_t ask_again(struct service *service) {
    error_t err = find_service(service);
    return IS_ERROR(err) ? err : ipc_call(service->task, &m);
}

/* Ask with m, whose fields are set; its answer is in m. A code of the system's. */
static inline error_t ask_for_code(struct service *service, int32_t type) {
    m.type = type;
    error_t err = service->task > 0 ? ipc_call(service->task, &m) : ERR_INVALID_TASK;
    if (err == ERR_INVALID_TASK) {
        err = ask_again(service);
    }
    if (IS_ERROR(err)) {
        return err;
    }
    if (m.type == type + 1) {
        return OK;
    }
    return m.type < 0 ? m.type : ERR_UNEXPECTED;
}

static __attribute__((noinline)) errno_t ask(struct service *service, int32_t type) {
    error_t err = ask_for_code(service, type);
    if (err == OK) {
        return SUCCESS;
    }
    return err == ERR_NOT_ALLOWED ? service->denied : errno_of(err);
}

/* For what opens something: a limit that is reached is one of open files. */
static errno_t ask_to_open(struct service *service, int32_t type) {
    errno_t err = ask(service, type);
    return err != SUCCESS && m.type == ERR_NO_RESOURCES ? MFILE : err;
}
