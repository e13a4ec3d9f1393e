// A service that takes every call and answers none. Expected: its clients wait, but nobody else;
// a client's deadline, or its end, works as ever.
#include "hostile.h"

int main(void) {
    if (IS_ERROR(ipc_register("never_reply"))) {
        return CANT_BEGIN;
    }
    struct message m;
    while (IS_OK(ipc_recv(IPC_ANY, &m))) {
    }
    return 1;
}
