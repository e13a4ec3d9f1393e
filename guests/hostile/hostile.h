// What the hostile guests share.
//
// They are programs for the tests: each tries one thing that a kernel must survive, and says in its
// first lines what should happen. Their exit codes, where they come to exit:
//
//   0         the kernel did what it should
//   1 to 99   it didn't; the number tells which of the attempts got through
//   100       the guest couldn't begin (a name it may not look up or register)
//
// Those that need a service to attack look up `victim`; a test grants and registers it.
#pragma once

#include <wasmos.h>

#define CANT_BEGIN 100
#define PAGE 65536u

// In bytes. Wraps to 0 at 4 GiB, which no test allows.
static inline uint32_t memory_size(void) {
    return (uint32_t)__builtin_wasm_memory_size(0) * PAGE;
}

static inline bool memory_grow(uint32_t pages) {
    return __builtin_wasm_memory_grow(0, pages) != (size_t)-1;
}

// A message at any address, valid or not. Volatile so that the compiler doesn't reason about it.
static inline struct message *message_at(uint32_t address) {
    volatile uint32_t opaque = address;
    return (struct message *)opaque;
}
