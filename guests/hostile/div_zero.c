// Divides by zero. Expected: the task ends with a trap that says so, nobody else notices.
#include "hostile.h"

int main(void) {
    volatile int zero = 0;
    return 1 / zero;
}
