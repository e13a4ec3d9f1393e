// A service that dies by a trap while its client waits. Expected: the client gets "aborted".
#include "hostile.h"

int main(void) {
    if (IS_ERROR(ipc_register("crash_in_service"))) {
        return CANT_BEGIN;
    }
    struct message m;
    ipc_recv(IPC_ANY, &m);
    __builtin_trap();
}
