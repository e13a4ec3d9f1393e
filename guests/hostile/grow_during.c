// Grows its memory between calls, with messages before, across and behind where it ended. `vm`
// should be granted.
//
// Expected: the kernel takes the memory's base and size anew for each call. Exit code: 0, or the
// round in which an answer was wrong; 100 if not even the first call worked.
#include "hostile.h"

#define ROUNDS 20 // each grows by a page; a memory that can't is good enough for the calls before

static bool ping_at(uint32_t address, int value) {
    struct message *m = message_at(address);
    m->type = PING_MSG;
    m->ping.value = value;
    return IS_OK(ipc_ask(VM_SERVER, m)) && m->ping_reply.value == value;
}

int main(void) {
    const uint32_t length = sizeof(struct message);
    if (!ping_at(memory_size() - length, 0)) {
        return CANT_BEGIN;
    }
    for (int round = 1; round <= ROUNDS; round++) {
        uint32_t old_end = memory_size();
        if (!ping_at(old_end - length, round)) {
            return round;
        }
        if (!memory_grow(1)) {
            return 0;
        }
        if (!ping_at(old_end - length, round) || !ping_at(old_end - length / 2, round) ||
            !ping_at(old_end, round) || !ping_at(memory_size() - length, round)) {
            return round;
        }
    }
    return 0;
}
