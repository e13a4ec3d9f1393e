// Calls a service in an endless loop. Expected: the service's other clients get their share of it.
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
        ipc_call(victim, &m);
    }
}
