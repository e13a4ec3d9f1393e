// Calls cycle_b, which calls back instead of answering.
//
// Expected: the kernel refuses the call that closes the circle ("dead lock"), so that this one gets
// its answer. Exit code: 0 if cycle_b got that error, 1 if it got another one, 2 without an answer.
#include "hostile.h"

int main(void) {
    if (IS_ERROR(ipc_register("cycle_a"))) {
        return CANT_BEGIN;
    }
    task_t other = ipc_lookup("cycle_b");
    if (IS_ERROR(other)) {
        return CANT_BEGIN;
    }

    struct message m;
    m.type = PING_MSG;
    m.ping.value = 1;
    if (IS_ERROR(ipc_ask(other, &m))) {
        return 2;
    }
    return m.ping_reply.value == ERR_DEAD_LOCK ? 0 : 1; // cycle_b tells what it got
}
