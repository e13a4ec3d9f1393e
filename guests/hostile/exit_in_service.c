// A service that ends, in good order, while its client waits. Expected: the client gets "aborted".
// Exit code: 0.
#include "hostile.h"

int main(void) {
    if (IS_ERROR(ipc_register("exit_in_service"))) {
        return CANT_BEGIN;
    }
    struct message m;
    return ipc_recv(IPC_ANY, &m);
}
