// The same service as pong.c, but passive: no task of its own, no loop. The kernel calls the handler
// on its client's time, like a function. Its manifest says which name it has.
#include <wasmos.h>

WASMOS_PASSIVE(handle);

static void handle(struct message *m) {
    if (m->type != PING_MSG) {
        m->type = ERR_NOT_SUPPORTED;
        return;
    }
    m->type = PING_REPLY_MSG;
    m->ping_reply.value = 42;
}
