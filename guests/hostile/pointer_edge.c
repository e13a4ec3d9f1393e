// Gives each of the four calls pointers around the end of its memory.
//
// Expected: "invalid user address" for exactly those where the 1,512 bytes of a message, or the NUL
// of a name, aren't all inside the memory; for the others anything but that. `vm` and `console`
// should be granted, so that the good ones go all the way.
//
// Exit code: 0, or 10 * call + pointer of the first that went wrong; the calls count from 1.
#include "hostile.h"

#define POINTERS 6

static struct {
    uint32_t address;
    bool holds_message;
    bool holds_name;
} pointers[POINTERS];

static void prepare(void) {
    uint32_t size = memory_size();
    const uint32_t addresses[POINTERS] = {
        size - sizeof(struct message), size - sizeof(struct message) + 1, size - 1, size,
        0xffffffffu, 0u - (uint32_t)sizeof(struct message),
    };
    for (int i = 0; i < POINTERS; i++) {
        pointers[i].address = addresses[i];
        pointers[i].holds_message = i == 0;
        pointers[i].holds_name = i < 2;
    }
}

static void fill_in_message(uint32_t address) {
    struct message *m = message_at(address);
    m->type = PING_MSG;
    m->ping.value = 1;
}

// The name is a good one, and the memory's last byte isn't a NUL: a name that begins there has no
// end.
static void fill_in_name(uint32_t address) {
    const char *name = "console";
    char *at = (char *)message_at(address);
    do {
        *at++ = *name;
    } while (*name++);
    *(volatile char *)message_at(memory_size() - 1) = 'x';
}

static bool is_fault(error_t result) {
    return result == ERR_INVALID_UADDR;
}

static bool try_lookup(int i) {
    if (pointers[i].holds_name) {
        fill_in_name(pointers[i].address);
    }
    task_t result = ipc_lookup((const char *)message_at(pointers[i].address));
    return is_fault(result) == !pointers[i].holds_name;
}

static bool try_call(int i) {
    if (pointers[i].holds_message) {
        fill_in_message(pointers[i].address);
    }
    error_t result = ipc_call(VM_SERVER, message_at(pointers[i].address));
    return is_fault(result) == !pointers[i].holds_message;
}

// A good pointer would wait for a message, so it comes with a source that can't be: checked too, but
// answered with another error.
static bool try_recv(int i) {
    task_t from = pointers[i].holds_message ? 0x7fffffff : IPC_ANY;
    error_t result = ipc_recv(from, message_at(pointers[i].address));
    return is_fault(result) == !pointers[i].holds_message;
}

// Has no result: it is enough to get here again.
static bool try_reply(int i) {
    ipc_reply(VM_SERVER, message_at(pointers[i].address));
    return true;
}

int main(void) {
    bool (*const tries[])(int) = {try_lookup, try_call, try_recv, try_reply};
    prepare();
    for (int call = 0; call < 4; call++) {
        for (int i = 0; i < POINTERS; i++) {
            if (!tries[call](i)) {
                return 10 * (call + 1) + i;
            }
        }
    }
    return 0;
}
