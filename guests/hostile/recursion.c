// Calls itself for ever. Expected: a trap for lack of stack, and no harm to the host's stack.
#include "hostile.h"

static volatile int work;

// No local has an address, so that this uses up the engine's stack and not the one in our memory.
// The work after the call keeps it from becoming a loop.
static __attribute__((noinline)) int down(int depth) {
    if (depth == work) {
        return 0;
    }
    int below = down(depth + 1);
    work = below;
    return below / 3;
}

int main(void) {
    work = -1;
    return down(0);
}
