// Computes for ever and calls nobody. Expected: it is preempted, the others run, its deadline ends
// it.
#include "hostile.h"

int main(void) {
    for (volatile uint32_t i = 0;; i++) {
    }
}
