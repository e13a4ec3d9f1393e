// Forges: every message that is the kernel's or a server's to send, unknown and negative types, and
// each of them in somebody else's name.
//
// Expected: no receiver takes one for what it says, none is disturbed, the callers of `victim` get
// "not supported" or "invalid argument". Exit code: 0, or 1 if a call with a forged type was answered
// as if it were a good one.
#include "hostile.h"

#define FIRST_TASK (-5)
#define LAST_TASK 70

static const int types[] = {
    // negative: errors, as which they'd answer a call
    -1, -8, -21, -27, -28, -1000, INT32_MIN,
    // the kernel's
    0, 1, 2, 3, 4, 5, 6, 7, 8,
    // answers and events of servers: replies to ping, spawn, lookup, register, watch; task_destroyed
    10, 12, 16, 18, 20, 21,
    // tcpip_listen_reply, tcpip_data, tcpip_closed
    54, 63, 64,
    // defined by nobody
    999, 1000, 0x10000, 0x7ffffffe, INT32_MAX,
};
#define TYPES ((int)(sizeof(types) / sizeof(types[0])))

// In whose name: the kernel's, nobody's, vm's, and that of any early task.
static const int sources[] = {-1, 0, VM_SERVER, 2, 3};
#define SOURCES ((int)(sizeof(sources) / sizeof(sources[0])))

static void forge(struct message *m, int type, int source) {
    m->type = type;
    m->src = source;
    for (uint32_t i = 0; i < sizeof(*m) - 8; i++) {
        ((uint8_t *)m)[8 + i] = 0xff; // lengths too large, strings without an end
    }
}

int main(void) {
    task_t victim = ipc_lookup("victim");
    if (IS_ERROR(victim)) {
        return CANT_BEGIN;
    }

    struct message m;
    for (int t = 0; t < TYPES; t++) {
        for (int s = 0; s < SOURCES; s++) {
            for (task_t task = FIRST_TASK; task <= LAST_TASK; task++) {
                forge(&m, types[t], sources[s]);
                ipc_reply(task, &m);
            }
            forge(&m, types[t], sources[s]);
            if (IS_OK(ipc_call(victim, &m)) && m.type >= 0) {
                return 1;
            }
        }
    }
    return 0;
}
