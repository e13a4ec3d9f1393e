// Takes all the memory it can get, and touches every page of the host's under it.
//
// Expected: growing is refused at the task's limit. Exit code: how many pages of 64 KiB it holds.
#include "hostile.h"

int main(void) {
    for (uint32_t step = 1024; step > 0; step /= 2) {
        while (memory_grow(step)) {
        }
    }

    uint32_t first = PAGE; // our own stack and data lie below
    for (uint32_t address = first; address < memory_size(); address += 4096) {
        *(volatile char *)message_at(address) = 1;
    }
    return (int)__builtin_wasm_memory_size(0);
}
