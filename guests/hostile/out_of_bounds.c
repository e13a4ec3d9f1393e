// Reads behind the end of its memory. Expected: a trap.
#include "hostile.h"

int main(void) {
    return *(volatile int *)message_at(memory_size());
}
