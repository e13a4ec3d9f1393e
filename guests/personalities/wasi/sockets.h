/* Sockets: the ports that were granted, and the connections that come in on them.
 *
 * Law: a program can't open a socket; it has listeners from the beginning, and accepts. */
#pragma once

static void add_listeners(void) {
    for (int index = 0; next < MAX_DESCRIPTORS; index++) {
        m.tcpip_listener.index = index;
        if (ask(&tcpip, TCPIP_LISTENER_MSG) != SUCCESS) {
            return;
        }
        m.tcpip_listen.listen_port = m.tcpip_listener_reply.port;
        if (ask(&tcpip, TCPIP_LISTEN_MSG) != SUCCESS) {
            continue; /* somebody else has the port: it isn't there, the others are */
        }
        put(next, (struct descriptor){
                    .kind = LISTENER,
                    .filetype = SOCKET_STREAM,
                    .handle = m.tcpip_listen_reply.sock,
                });
    }
}

#ifndef UNSTABLE
WASMOS_EXPORT("sock_accept") errno_t sock_accept(uint32_t fd, uint32_t flags, user_t result) {
    struct descriptor *d;
    if (flags & ~ALL_FDFLAGS) {
        return INVAL;
    }
    TRY(socket_of(fd, LISTENER, RIGHT_SOCK_ACCEPT, &d));
    TRY(CHECK_SIZED(result, sizeof(fd)));
    uint32_t new_fd = free_number();
    if (new_fd == MAX_DESCRIPTORS) {
        return MFILE;
    }
    m.tcpip_accept.sock = d->handle;
    m.tcpip_accept.flags = d->flags & NONBLOCK ? 1 : 0;
    TRY(ask_to_open(&tcpip, TCPIP_ACCEPT_MSG));
    put(new_fd, (struct descriptor){
                    .kind = SOCKET,
                    .filetype = SOCKET_STREAM,
                    .flags = (uint16_t)(flags & NONBLOCK),
                    .handle = m.tcpip_accept_reply.sock,
                    .lost = d->lost_on,
                    .lost_on = d->lost_on,
                    .reads = true,
                    .writes = true,
                });
    return store(result, &new_fd, sizeof(new_fd));
}
#endif

WASMOS_EXPORT("sock_recv")
errno_t sock_recv(uint32_t fd, user_t parts, uint32_t count, uint32_t flags, user_t result,
                  user_t flags_result) {
    struct transfer t = {.writes = false};
    const uint16_t none = 0;
    if (flags & ~ALL_RIFLAGS) {
        return INVAL;
    }
    TRY(socket_of(fd, SOCKET, RIGHT_FD_READ, &t.d));
    TRY(CHECK_SIZED(flags_result, sizeof(none)));
    t.flags = (flags & PEEK ? RECEIVE_PEEK : 0) | (flags & WAITALL ? RECEIVE_ALL : 0);
    TRY(transfer(&t, parts, count, result));
    return store(flags_result, &none, sizeof(none));
}

WASMOS_EXPORT("sock_send")
errno_t sock_send(uint32_t fd, user_t parts, uint32_t count, uint32_t flags, user_t result) {
    struct transfer t = {.writes = true};
    TRY(socket_of(fd, SOCKET, RIGHT_FD_WRITE, &t.d));
    if (flags != 0) {
        return INVAL;
    }
    return transfer(&t, parts, count, result);
}

WASMOS_EXPORT("sock_shutdown") errno_t sock_shutdown(uint32_t fd, uint32_t how) {
    struct descriptor *d;
    if (how & ~ALL_SDFLAGS) {
        return INVAL;
    }
    TRY(socket_of(fd, SOCKET, RIGHT_SOCK_SHUTDOWN, &d));
    if (how == 0) {
        return INVAL;
    }
    m.tcpip_shutdown.sock = d->handle;
    m.tcpip_shutdown.how = (int)how;
    return ask(&tcpip, TCPIP_SHUTDOWN_MSG);
}
