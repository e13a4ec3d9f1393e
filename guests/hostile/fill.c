// Fills all the memory it can get with single instructions, for ever. An engine can't preempt one
// in the middle.
//
// Expected: the memory limit bounds how long that delays the others; the deadline ends it.
#include "hostile.h"

int main(void) {
    for (uint32_t step = 1024; step > 0; step /= 2) {
        while (memory_grow(step)) {
        }
    }
    // From behind our own data. The compiler makes `memory.fill` of it.
    char *first = (char *)message_at(PAGE);
    for (int value = 0;; value++) {
        __builtin_memset(first, value, memory_size() - PAGE);
    }
}
