// Imports a function that nobody provides. Expected: refused before it runs, and the refusal names
// `env.launch_missiles`.
#include "hostile.h"

__attribute__((import_module("env"), import_name("launch_missiles"))) int launch_missiles(int);

int main(void) {
    return launch_missiles(1);
}
