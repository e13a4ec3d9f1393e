// Does what the service `director` tells it, one call after another, and reports what each came to.
// The protocol is in puppet.h.
//
// Exit code: what PUPPET_EXIT says; 100 if there is no director, or no command from it.
#include "puppet.h"

#include "hostile.h"

// Bytes, not fields: these messages are in no IDL.
static void *payload(struct message *m) {
    return (char *)m + 8;
}

// The scratch message of the commands. Static, so that it starts as zeros and what one command left
// there shows in the result of the next, as it would in a real program.
static struct message scratch;

static void fill_in(const struct puppet_command *command) {
    scratch.type = command->type;
    *(int32_t *)payload(&scratch) = command->value;
}

static int32_t perform(const struct puppet_command *command) {
    switch (command->op) {
    case PUPPET_LOOKUP:
        return ipc_lookup(command->name);
    case PUPPET_CALL:
        fill_in(command);
        return ipc_call(command->target, &scratch);
    case PUPPET_RECV:
        return ipc_recv(command->target, &scratch);
    case PUPPET_REPLY:
        fill_in(command);
        ipc_reply(command->target, &scratch);
        return 0;
    case PUPPET_REGISTER:
        return ipc_register(command->name);
    case PUPPET_SPIN:
        for (volatile int i = 0;; i++) {
        }
    case PUPPET_TRAP:
        __builtin_trap();
    default:
        return ERR_NOT_SUPPORTED;
    }
}

int main(void) {
    task_t director = ipc_lookup("director");
    if (IS_ERROR(director)) {
        return CANT_BEGIN;
    }

    static struct message m;
    int32_t code = 0;
    for (int32_t step = 0;; step++) {
        m.type = PUPPET_NEXT;
        *(struct puppet_result *)payload(&m) = (struct puppet_result){
            .code = code,
            .type = scratch.type,
            .src = scratch.src,
            .value = *(int32_t *)payload(&scratch),
            .step = step,
        };
        if (IS_ERROR(ipc_ask(director, &m))) {
            return CANT_BEGIN;
        }

        struct puppet_command command = *(struct puppet_command *)payload(&m);
        if (command.op == PUPPET_EXIT) {
            return command.value;
        }
        code = perform(&command);
    }
}
