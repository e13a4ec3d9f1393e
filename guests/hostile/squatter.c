// Registers the name of somebody else's service, `victim`.
//
// Expected: refused, also while the real one is being restarted. Exit code: 0 if so. If not, it
// takes the clients' calls and answers each with 666.
#include "hostile.h"

int main(void) {
    if (IS_ERROR(ipc_register("victim"))) {
        return 0;
    }
    struct message m;
    while (IS_OK(ipc_recv(IPC_ANY, &m))) {
        m.type = PING_REPLY_MSG;
        m.ping_reply.value = 666;
        ipc_reply(m.src, &m);
    }
    return 1;
}
