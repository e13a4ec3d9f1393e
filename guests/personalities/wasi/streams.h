/* Reading and writing what has no places in it: the console's streams, and sockets.
 *
 * Law: reading answers with what is there, so that a program isn't kept waiting for more than it
 * needs; a length that a server answers with is never more than was asked for. */
#pragma once

/* How `tcpip_receive` is asked. */
enum { RECEIVE_PEEK = 2, RECEIVE_ALL = 4 };

/* A reply's length, which is the server's word. */
static inline errno_t within(uint32_t size, uint32_t most, uint32_t *done) {
    *done = size;
    return size <= most ? SUCCESS : IO;
}

static errno_t wait_for_input(const struct descriptor *d) {
    if (d->flags & NONBLOCK) {
        TRY(ask(&console, CONSOLE_POLL_MSG));
        return m.console_poll_reply.is_ready ? SUCCESS : AGAIN;
    }
    return SUCCESS;
}

static inline errno_t take_input(const struct descriptor *d, struct iovec part, uint32_t *done) {
    TRY(wait_for_input(d));
    m.console_take.into = part.at;
    m.console_take.into_len = part.size;
    TRY(ask(&console, CONSOLE_TAKE_MSG));
    return within(m.console_take_reply.len, part.size, done);
}

static inline errno_t put_output(const struct descriptor *d, struct iovec part, uint32_t *done) {
    m.console_put.stream = d->handle;
    m.console_put.data = part.at;
    m.console_put.data_len = part.size;
    TRY(ask(&console, CONSOLE_PUT_MSG));
    return within(m.console_put_reply.len, part.size, done);
}

static errno_t receive(const struct descriptor *d, struct iovec part, uint32_t flags,
                       uint32_t *done) {
    m.tcpip_receive.sock = d->handle;
    m.tcpip_receive.flags = flags | (d->flags & NONBLOCK ? 1 : 0);
    m.tcpip_receive.into = part.at;
    m.tcpip_receive.into_len = part.size;
    TRY(ask(&tcpip, TCPIP_RECEIVE_MSG));
    return within(m.tcpip_receive_reply.len, part.size, done);
}

static errno_t send(const struct descriptor *d, struct iovec part, uint32_t *done) {
    m.tcpip_send.sock = d->handle;
    m.tcpip_send.flags = d->flags & NONBLOCK ? 1 : 0;
    m.tcpip_send.data = part.at;
    m.tcpip_send.data_len = part.size;
    TRY(ask(&tcpip, TCPIP_SEND_MSG));
    return within(m.tcpip_send_reply.len, part.size, done);
}
