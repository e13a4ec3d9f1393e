// A service that answers each ping with 1, then again with 2, and everybody else with 3.
//
// Expected: the first answer counts. The second one is nobody's answer: the client's next call
// doesn't get it, and strangers who await somebody else's answer don't get theirs.
#include "hostile.h"

#define LAST_TASK 70

static void say(task_t task, int value) {
    struct message m;
    m.type = PING_REPLY_MSG;
    m.ping_reply.value = value;
    ipc_reply(task, &m);
}

int main(void) {
    if (IS_ERROR(ipc_register("reply_twice"))) {
        return CANT_BEGIN;
    }
    struct message m;
    while (IS_OK(ipc_recv(IPC_ANY, &m))) {
        task_t client = m.src;
        if (m.type != PING_MSG) {
            continue; // somebody's one-way message
        }
        say(client, 1);
        say(client, 2);
        for (task_t task = 1; task <= LAST_TASK; task++) {
            if (task != client) {
                say(task, 3);
            }
        }
    }
    return 1;
}
