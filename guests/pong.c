// The smallest active service: a task of its own that waits for messages, and says 42.
//
// The loop is written out here; `ipc_serve` in wasmos.h is the same loop, ready-made. Exit code:
// never, unless it can't be a service at all: 1.
#include <wasmos.h>

int main(void) {
    error_t err = ipc_register("pong");
    if (IS_ERROR(err)) {
        print("pong: can't register the name: ");
        print(error_name(err));
        print("\n");
        return 1;
    }

    struct message m;
    while (IS_OK(ipc_recv(IPC_ANY, &m))) {
        if (m.type != PING_MSG) {
            reply_error(m.src, ERR_NOT_SUPPORTED);
            continue;
        }
        m.type = PING_REPLY_MSG;
        m.ping_reply.value = 42;
        ipc_reply(m.src, &m);
    }
    return 1;
}
