// Messages at addresses that aren't multiples of 4. `vm` should be granted.
//
// Expected: WebAssembly has no alignment faults, so the kernel treats them like any other.
// Exit code: 0, or the offset at which the call failed, or 10 + the offset at which the answer was
// wrong.
#include "hostile.h"

typedef struct message unaligned_message __attribute__((aligned(1)));

static char buffer[sizeof(struct message) + 4];

int main(void) {
    for (int offset = 0; offset < 4; offset++) {
        unaligned_message *m = (unaligned_message *)message_at((uint32_t)(buffer + offset));
        m->type = PING_MSG;
        m->ping.value = 1000 + offset;
        if (ipc_call(VM_SERVER, (struct message *)m) != 0) {
            return offset == 0 ? CANT_BEGIN : offset;
        }
        if (m->type != PING_REPLY_MSG || m->ping_reply.value != 1000 + offset) {
            return 10 + offset;
        }
    }
    return 0;
}
