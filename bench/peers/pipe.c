/* Round trips between two processes over a pair of pipes.
 *
 *     pipe BYTES
 *
 * Each line on standard input is a number of round trips; each line of output
 * is the nanoseconds they took and the sum of all answers. The child adds one
 * to the number at the start of each message and sends the message back. Both
 * run where the parent of this process put them: on one core, if it did so. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char message[4096];
static size_t bytes;

static int transfer(int fd, int writes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t n = writes ? write(fd, message + done, bytes - done)
                           : read(fd, message + done, bytes - done);
        if (n <= 0) return 0;
        done += (size_t)n;
    }
    return 1;
}

static void answer(int in, int out) {
    uint32_t value;
    while (transfer(in, 0)) {
        memcpy(&value, message, sizeof value);
        value++;
        memcpy(message, &value, sizeof value);
        if (!transfer(out, 1)) break;
    }
    _exit(0);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(int argc, char **argv) {
    int there[2], back[2];
    char line[64];
    bytes = argc > 1 ? (size_t)atoi(argv[1]) : 32;
    if (bytes < sizeof(uint32_t) || bytes > sizeof message || pipe(there) || pipe(back)) return 1;
    if (fork() == 0) {
        close(there[1]);
        close(back[0]);
        answer(there[0], back[1]);
    }
    while (fgets(line, sizeof line, stdin)) {
        uint32_t count = (uint32_t)atol(line), value;
        uint64_t sum = 0;
        int64_t start = now_ns();
        for (uint32_t i = 0; i < count; i++) {
            memcpy(message, &i, sizeof i);
            if (!transfer(there[1], 1) || !transfer(back[0], 0)) return 1;
            memcpy(&value, message, sizeof value);
            sum += value;
        }
        printf("%lld %llu\n", (long long)(now_ns() - start), (unsigned long long)sum);
        fflush(stdout);
    }
    return 0;
}
