// The `echo` service as an active guest: answers with the bytes it was sent.
//
// Exit code: never, unless it can't be a service at all: 1.
#include <wasmos.h>

static void handle(struct message *m) {
    // The request and its answer have the same layout, so the bytes are in place already. The
    // kernel has checked their length.
    m->type = m->type == ECHO_MSG ? ECHO_REPLY_MSG : ERR_NOT_SUPPORTED;
}

int main(void) {
    if (IS_ERROR(ipc_register("echo"))) {
        print("echo_server: can't register the name\n");
        return 1;
    }
    ipc_serve(handle);
    return 1;
}
