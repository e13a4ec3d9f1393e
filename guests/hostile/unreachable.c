// Executes `unreachable`, as a failed assertion does. Expected: a trap.
#include "hostile.h"

int main(void) {
    __builtin_trap();
}
