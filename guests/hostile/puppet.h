// The protocol between a puppet and its director, for tests that make up what a task does.
//
// The puppet looks up the service `director` and calls it for ever: each request says what the last
// command came to, each answer is the next command. Both are whole messages of 1,512 bytes, of types
// that no IDL defines; offsets are from the start of the message, all fields int32.
#pragma once

#include <wasmos.h>

// Puppet to director.
#define PUPPET_NEXT 2000

struct puppet_result {
    int32_t code;  // @8   what the call returned; 0 for ipc_reply, which returns nothing
    int32_t type;  // @12  of the message, after the call
    int32_t src;   // @16  "
    int32_t value; // @20  its first payload field
    int32_t step;  // @24  how many commands it has done: 0 in the first request, which has no result
};

// Director to puppet; as with every rpc, the answer is the next number. Any other answer, or none,
// and the puppet exits with 100.
#define PUPPET_DO 2001

struct puppet_command {
    int32_t op;     // @8
    int32_t target; // @12  a task id: whom to call, receive from, reply to
    int32_t type;   // @16  of the message to send
    int32_t value;  // @20  its first payload field; the exit code of PUPPET_EXIT
    char name[64];  // @24  for PUPPET_LOOKUP and PUPPET_REGISTER
};

enum puppet_op {
    PUPPET_LOOKUP = 1,   // ipc_lookup(name)
    PUPPET_CALL = 2,     // ipc_call(target, {type, value})
    PUPPET_RECV = 3,     // ipc_recv(target, …)
    PUPPET_REPLY = 4,    // ipc_reply(target, {type, value})
    PUPPET_REGISTER = 5, // ipc_register(name)
    PUPPET_EXIT = 6,     // main returns `value`
    PUPPET_TRAP = 7,     // executes `unreachable`
    PUPPET_SPIN = 8,     // loops for ever
};
