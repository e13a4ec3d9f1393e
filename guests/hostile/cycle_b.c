// The other half of cycle_a: on a call from it, calls back, and tells in its answer what came of it.
//
// Exit code: 0 if the kernel refused with "dead lock", 1 if anything else happened.
#include "hostile.h"

int main(void) {
    if (IS_ERROR(ipc_register("cycle_b"))) {
        return CANT_BEGIN;
    }
    task_t other = ipc_lookup("cycle_a");
    if (IS_ERROR(other)) {
        return CANT_BEGIN;
    }

    struct message m;
    do {
        if (IS_ERROR(ipc_recv(IPC_ANY, &m))) {
            return 1;
        }
    } while (m.src != other);

    m.type = PING_MSG;
    m.ping.value = 2;
    error_t result = ipc_ask(other, &m);

    m.type = PING_REPLY_MSG;
    m.ping_reply.value = result;
    ipc_reply(other, &m);
    return result == ERR_DEAD_LOCK ? 0 : 1;
}
