// Sends a service messages that nobody has to answer, in an endless loop. Expected: what is waiting
// for the service stays bounded, and its other clients get their share of it.
#include "hostile.h"

int main(void) {
    task_t victim = ipc_lookup("victim");
    if (IS_ERROR(victim)) {
        return CANT_BEGIN;
    }
    for (int i = 0;; i++) {
        struct message m;
        m.type = PING_MSG;
        m.ping.value = i;
        ipc_reply(victim, &m);
    }
}
