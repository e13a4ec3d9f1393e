// The client of a service: finds `pong`, sends it a number, prints what comes back.
//
// Exit code: 0 if it is 42, 1 if another number came, 2 if none did.
#include <wasmos.h>

static int give_up(const char *what, error_t err) {
    print("ping: ");
    print(what);
    print(": ");
    print(error_name(err));
    print("\n");
    return 2;
}

int main(void) {
    task_t pong = ipc_lookup("pong");
    if (IS_ERROR(pong)) {
        return give_up("no way to reach pong", pong);
    }

    // The answer overwrites the question.
    struct message m;
    m.type = PING_MSG;
    m.ping.value = 1;
    error_t err = ipc_ask(pong, &m);
    if (IS_ERROR(err)) {
        return give_up("no answer from pong", err);
    }

    int value = m.ping_reply.value;
    print("ping: pong says ");
    print_int(value);
    print("\n");
    return value == 42 ? 0 : 1;
}
