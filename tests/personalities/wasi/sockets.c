/* Servers for the tests, with a C library for WASI: the first argument says which. Descriptor 3 is
 * the first port that was granted. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <wasi/api.h>

enum { LISTENER = 3, MOST = 64 };

static char buffer[64 * 1024];

/* What a call gave, or why it failed. */
static void say(const char *what, long result) {
    printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerror(errno) : "");
    fflush(stdout);
}

static bool send_all(int fd, const char *data, ssize_t size) {
    for (ssize_t done = 0; done < size;) {
        ssize_t sent = send(fd, data + done, size - done, 0);
        if (sent < 0) {
            return false;
        }
        done += sent;
    }
    return true;
}

static void tell(int fd, const char *text) {
    send_all(fd, text, strlen(text));
}

static int accepted(void) {
    int fd = accept(LISTENER, NULL, NULL);
    if (fd < 0) {
        say("accept", fd);
        exit(1);
    }
    return fd;
}

/* One visitor after the other, as many as the next argument says, each until it ends. */
static int echo(int argc, char **argv) {
    for (int left = argc > 2 ? atoi(argv[2]) : 1; left > 0; left--) {
        int fd = accepted();
        ssize_t size;
        long total = 0;
        while ((size = recv(fd, buffer, sizeof(buffer), 0)) > 0 && send_all(fd, buffer, size)) {
            total += size;
        }
        say("echoed", size < 0 ? size : total);
        close(fd);
    }
    return 0;
}

/* Several visitors at once, in one thread: a poll over all of them. */
static int together(int argc, char **argv) {
    struct pollfd polled[MOST + 1] = {{.fd = LISTENER, .events = POLLIN}};
    int count = 1;
    int most = 0;
    fcntl(LISTENER, F_SETFL, O_NONBLOCK);
    say("at once", accept(LISTENER, NULL, NULL));
    say("in no time", poll(polled, 1, 0));
    for (int left = argc > 2 ? atoi(argv[2]) : 1; left > 0;) {
        if (poll(polled, count, -1) <= 0) {
            return 1;
        }
        for (int i = count - 1; i > 0; i--) {
            if (!polled[i].revents) {
                continue;
            }
            ssize_t size = recv(polled[i].fd, buffer, sizeof(buffer), 0);
            if (size > 0) {
                send_all(polled[i].fd, buffer, size);
                continue;
            }
            close(polled[i].fd);
            polled[i] = polled[--count];
            left--;
        }
        if (polled[0].revents && count <= MOST) {
            int fd = accept4(LISTENER, NULL, NULL, SOCK_NONBLOCK);
            if (fd >= 0) {
                tell(fd, "hello");
                polled[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
                most = count - 1 > most ? count - 1 : most;
            }
        }
    }
    say("most", most);
    return 0;
}

static void say_what_it_is(int fd) {
    __wasi_fdstat_t stat;
    if (__wasi_fd_fdstat_get(fd, &stat) != 0) {
        return;
    }
    printf("%d: type %d, flags %d, rights:%s%s%s%s\n", fd, stat.fs_filetype, stat.fs_flags,
           stat.fs_rights_base & __WASI_RIGHTS_FD_READ ? " read" : "",
           stat.fs_rights_base & __WASI_RIGHTS_FD_WRITE ? " write" : "",
           stat.fs_rights_base & __WASI_RIGHTS_SOCK_ACCEPT ? " accept" : "",
           stat.fs_rights_base & __WASI_RIGHTS_SOCK_SHUTDOWN ? " shutdown" : "");
    fflush(stdout);
}

static int kinds(int argc, char **argv) {
    int fd = accept4(LISTENER, NULL, NULL, SOCK_NONBLOCK);
    say_what_it_is(LISTENER);
    say_what_it_is(fd);
    say("nothing yet", recv(fd, buffer, 1, 0));
    fcntl(fd, F_SETFL, 0);
    say_what_it_is(fd);
    tell(fd, "go on");
    say("something", recv(fd, buffer, 1, 0));
    return 0;
}

/* Bytes that are looked at, and as many as are asked for, however they come. */
static int whole(int argc, char **argv) {
    int fd = accepted();
    say("peeked", recv(fd, buffer, 4, MSG_PEEK));
    say("again", recv(fd, buffer, 4, MSG_PEEK | MSG_WAITALL));
    tell(fd, "more");
    say("whole", recv(fd, buffer, 10, MSG_WAITALL));
    printf("%.10s\n", buffer);
    tell(fd, "last");
    say("the end of it", recv(fd, buffer, 10, MSG_WAITALL));
    printf("%.3s\n", buffer);
    say("after the end", recv(fd, buffer, 10, MSG_WAITALL));
    return 0;
}

static int shuts(int argc, char **argv) {
    int fd = accepted();
    bool is_reading = argc > 2 && strcmp(argv[2], "reading") == 0;
    tell(fd, "before");
    say("shutdown", shutdown(fd, is_reading ? SHUT_RD : SHUT_WR));
    say("sent", send(fd, "after", 5, 0));
    ssize_t size;
    long total = 0;
    while ((size = recv(fd, buffer, sizeof(buffer), 0)) > 0) {
        total += size;
    }
    say("received", size < 0 ? size : total);
    if (is_reading) {
        accepted(); /* what the visitor says next can't be read any more: it comes once more */
    }
    return 0;
}

/* The first byte says that the visitor is there; then it leaves. */
static int left(int argc, char **argv) {
    int fd = accepted();
    recv(fd, buffer, 1, 0);
    tell(fd, "x");
    say("recv", recv(fd, buffer, 1, 0));
    say("send", send(fd, "x", 1, 0));
    say("shutdown", shutdown(fd, SHUT_RDWR));
    return 0;
}

/* One visitor of each of two ports; each is told the descriptor of the port that it came by. */
static int two(int argc, char **argv) {
    struct pollfd polled[2] = {{.fd = 3, .events = POLLIN}, {.fd = 4, .events = POLLIN}};
    for (int left = 2; left > 0;) {
        if (poll(polled, 2, -1) < 0) {
            return 1;
        }
        for (int i = 0; i < 2; i++) {
            if (polled[i].revents & POLLIN) {
                int fd = accept(polled[i].fd, NULL, NULL);
                tell(fd, i ? "4" : "3");
                close(fd);
                left--;
            }
        }
    }
    return 0;
}

/* Let go of the port; who is there already may stay. */
static int closes(int argc, char **argv) {
    int fd = accepted();
    say("close", close(LISTENER));
    tell(fd, "closed");
    say("recv", recv(fd, buffer, 1, 0));
    say("accept", accept(LISTENER, NULL, NULL));
    return 0;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} programs[] = {
    {"echo", echo},   {"together", together}, {"kinds", kinds}, {"whole", whole},
    {"shuts", shuts}, {"left", left},         {"two", two},     {"closes", closes},
};

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof(programs) / sizeof(*programs); i++) {
        if (argc > 1 && strcmp(argv[1], programs[i].name) == 0) {
            return programs[i].run(argc, argv);
        }
    }
    return 99;
}
