// Divides by zero. Expected: the task ends with a trap that says so, nobody else notices.
#include "hostile.h"

int main(void) {
    // Both unknown to the compiler, which would otherwise know the result better than to divide.
    volatile int one = 1;
    volatile int zero = 0;
    return one / zero;
}
