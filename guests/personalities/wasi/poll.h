/* Waiting for one of several things.
 *
 * Law: all subscriptions are looked at again and again until at least one has happened; in between
 * the program waits for a message that says that something may have. Such a message is a hint and
 * no more, so one that is left over from an earlier wait does no harm. Nothing is kept of the
 * subscriptions, which are read anew each time. */
#pragma once

struct wait {
    user_t subscriptions;
    user_t events;
    uint32_t count;
    bool has_clocks;
    bool has_others;
    int64_t began_ns;    /* by the monotonic clock, */
    int64_t realtime_ns; /* and by the other, if that was asked for; else 0 */
    int64_t until_ns;    /* the first clock's end, by the monotonic clock */
    int64_t reached_ns;  /* up to where clocks are over */
};

static errno_t read_clock(int id, int64_t *ns) {
    m.clock_get.id = id;
    TRY(ask(&clock, CLOCK_GET_MSG));
    *ns = m.clock_get_reply.ns;
    return SUCCESS;
}

static errno_t fetch_subscription(const struct wait *w, uint32_t i, struct subscription *s) {
    return fetch(w->subscriptions + i * (uint32_t)sizeof(*s), s, sizeof(*s));
}

/* ---- Clocks --------------------------------------------------------------------------------- */

/* When a clock is over, by the monotonic clock. */
static int64_t end_of(const struct wait *w, const struct clock_subscription *c) {
    int64_t timeout = c->timeout_ns > INT64_MAX ? INT64_MAX : (int64_t)c->timeout_ns;
    int64_t end;
    if (c->flags & ABSTIME) {
        if (c->id == MONOTONIC) {
            return timeout;
        }
        timeout = timeout > w->realtime_ns ? timeout - w->realtime_ns : 0;
    }
    return __builtin_add_overflow(w->began_ns, timeout, &end) ? INT64_MAX : end;
}

static errno_t begin_clock(struct wait *w, const struct clock_subscription *c) {
    if (c->id > MONOTONIC || c->flags & ~ABSTIME) {
        return INVAL;
    }
    if (!w->has_clocks) {
        TRY(read_clock(MONOTONIC, &w->began_ns));
        w->reached_ns = w->began_ns;
        w->until_ns = INT64_MAX;
        w->has_clocks = true;
    }
    if (c->flags & ABSTIME && c->id == REALTIME && w->realtime_ns == 0) {
        TRY(read_clock(REALTIME, &w->realtime_ns));
    }
    int64_t end = end_of(w, c);
    if (end < w->until_ns) {
        w->until_ns = end;
    }
    return SUCCESS;
}

/* ---- Descriptors ---------------------------------------------------------------------------- */

static errno_t begin_descriptor(const struct subscription *s) {
    const struct descriptor *d = descriptor_of(s->fd);
    if (d == NULL || d->kind == DIRECTORY) {
        return BADF;
    }
    if (s->tag == FD_READ_EVENT ? d->kind == OUTPUT : d->kind == INPUT || d->kind == LISTENER) {
        return BADF;
    }
    return SUCCESS;
}

static errno_t poll_file(const struct descriptor *d, struct event *event) {
    int64_t size;
    TRY(size_of(d, &size));
    event->size = size > d->offset ? (uint64_t)(size - d->offset) : 0;
    event->flags = event->size == 0 ? HANGUP : 0;
    return SUCCESS;
}

static errno_t poll_input(struct event *event, bool *is_ready) {
    TRY(ask(&console, CONSOLE_POLL_MSG));
    *is_ready = m.console_poll_reply.is_ready;
    event->size = 1;
    return SUCCESS;
}

static errno_t poll_socket(const struct descriptor *d, struct event *event, bool *is_ready) {
    uint32_t wanted = event->type == FD_READ_EVENT ? 1 : 2;
    m.tcpip_poll.sock = d->handle;
    m.tcpip_poll.wanted = wanted;
    TRY(ask(&tcpip, TCPIP_POLL_MSG));
    uint32_t ready = m.tcpip_poll_reply.ready;
    event->size = event->type == FD_READ_EVENT ? m.tcpip_poll_reply.len : 1;
    event->flags = ready & 4 ? HANGUP : 0;
    *is_ready = ready & (wanted | 4);
    return SUCCESS;
}

/* What it takes to wait: the right to what is waited for as well, if there is one. A listener is
 * neither read nor written. */
static uint64_t rights_to_wait(const struct descriptor *d, uint8_t type) {
    uint64_t right = type == FD_READ_EVENT ? RIGHT_FD_READ : RIGHT_FD_WRITE;
    return RIGHT_POLL_FD_READWRITE | (d->kind == LISTENER ? 0 : right);
}

static errno_t poll_descriptor(uint32_t fd, struct event *event, bool *is_ready) {
    const struct descriptor *d = descriptor_of(fd);
    *is_ready = true;
    if (d == NULL) {
        return BADF;
    }
    TRY(need(d, rights_to_wait(d, event->type)));
    if (d->kind == LISTENER || d->kind == SOCKET) {
        return poll_socket(d, event, is_ready);
    }
    if (event->type == FD_WRITE_EVENT) {
        event->size = 1;
        return SUCCESS;
    }
    return d->kind == INPUT ? poll_input(event, is_ready) : poll_file(d, event);
}

/* ---- Rounds --------------------------------------------------------------------------------- */

static errno_t begin(struct wait *w) {
    struct subscription s;
    TRY(check(w->subscriptions, (uint64_t)w->count * sizeof(s)));
    TRY(check(w->events, (uint64_t)w->count * sizeof(struct event)));
    for (uint32_t i = 0; i < w->count; i++) {
        TRY(fetch_subscription(w, i, &s));
        if (s.tag > FD_WRITE_EVENT) {
            return INVAL;
        }
        if (s.tag == CLOCK_EVENT) {
            TRY(begin_clock(w, &s.clock));
        } else {
            w->has_others = true;
            TRY(begin_descriptor(&s));
        }
    }
    return SUCCESS;
}

/* One look at all of them. An error of one is its event. */
static errno_t look(const struct wait *w, uint32_t *happened) {
    struct subscription s;
    *happened = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        TRY(fetch_subscription(w, i, &s));
        struct event event = {.userdata = s.userdata, .type = s.tag};
        bool is_ready = true;
        if (s.tag == CLOCK_EVENT) {
            is_ready = end_of(w, &s.clock) <= w->reached_ns;
        } else {
            event.error = (uint16_t)poll_descriptor(s.fd, &event, &is_ready);
            is_ready |= event.error != SUCCESS;
        }
        if (is_ready) {
            TRY(store(w->events + *happened * (uint32_t)sizeof(event), &event, sizeof(event)));
            *happened += 1;
        }
    }
    return SUCCESS;
}

/* Only clocks: nothing else can wake us. */
static errno_t wait_for_clock(struct wait *w) {
    m.clock_wait.id = MONOTONIC;
    m.clock_wait.until_ns = w->until_ns;
    TRY(ask(&clock, CLOCK_WAIT_MSG));
    w->reached_ns = w->until_ns;
    return SUCCESS;
}

static errno_t set_alarm(const struct wait *w, int token) {
    m.clock_set_alarm.token = token;
    m.clock_set_alarm.id = MONOTONIC;
    m.clock_set_alarm.until_ns = w->until_ns;
    return ask(&clock, CLOCK_SET_ALARM_MSG);
}

static void clear_alarm(int token) {
    m.clock_clear_alarm.token = token;
    (void)ask(&clock, CLOCK_CLEAR_ALARM_MSG);
}

/* Whoever calls this program as if it were a service is told that it is none, and not kept. */
static void refuse_message(void) {
    task_t sender = m.src;
    if (sender > 0 && m.type != CONSOLE_READY_MSG && m.type != TCPIP_READY_MSG &&
        m.type != TCPIP_DATA_MSG && m.type != TCPIP_CLOSED_MSG && m.type != CLOCK_ALARM_MSG) {
        reply_error(sender, ERR_NOT_SUPPORTED);
    }
}

static errno_t wait_for_message(struct wait *w, int token) {
    error_t err = ipc_recv(IPC_ANY, &m);
    if (IS_ERROR(err)) {
        return errno_of(err);
    }
    if (m.type == CLOCK_ALARM_MSG && m.src == clock.task && m.clock_alarm.token == token) {
        w->reached_ns = w->until_ns;
    }
    refuse_message();
    return SUCCESS;
}

static errno_t wait_for_anything(struct wait *w, uint32_t *happened) {
    static int tokens;
    int token = tokens = tokens % INT32_MAX + 1;
    if (w->has_clocks) {
        TRY(set_alarm(w, token));
    }
    errno_t err = SUCCESS;
    while (err == SUCCESS && *happened == 0) {
        err = wait_for_message(w, token);
        if (err == SUCCESS) {
            err = look(w, happened);
        }
    }
    if (w->has_clocks && w->reached_ns < w->until_ns) {
        clear_alarm(token);
    }
    return err;
}

WASMOS_EXPORT("poll_oneoff")
errno_t poll_oneoff(user_t subscriptions, user_t events, uint32_t count, user_t result) {
    struct wait w = {.subscriptions = subscriptions, .events = events, .count = count};
    uint32_t happened;
    if (count == 0) {
        return INVAL;
    }
    TRY(CHECK_SIZED(result, sizeof(happened)));
    TRY(begin(&w));
    TRY(look(&w, &happened));
    if (happened == 0 && !w.has_others) {
        TRY(wait_for_clock(&w));
        TRY(look(&w, &happened));
    }
    if (happened == 0) {
        TRY(wait_for_anything(&w, &happened));
    }
    return store(result, &happened, sizeof(happened));
}
