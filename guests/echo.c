// A client of the `echo` service: sends its first argument and prints what comes back.
//
// Exit code: 0 if the same bytes came back, 1 if others did, 2 if nothing did.
#include <wasmos.h>

int main(void) {
    // A task that has no argument, or may not ask for it, has something to say anyhow.
    char text[1024] = "Is anybody there?";
    arg_get(1, text, sizeof(text));
    uint32_t length = (uint32_t)strlen(text);

    task_t echo = ipc_lookup("echo");
    struct message m;
    m.type = ECHO_MSG;
    memcpy(m.echo.data, text, length);
    m.echo.data_len = length;
    error_t err = IS_ERROR(echo) ? echo : ipc_ask(echo, &m);
    if (IS_ERROR(err)) {
        print("echo: no answer: ");
        print(error_name(err));
        print("\n");
        return 2;
    }

    print_bytes(m.echo_reply.data, m.echo_reply.data_len);
    print("\n");
    bool same = m.echo_reply.data_len == length && memcmp(m.echo_reply.data, text, length) == 0;
    return same ? 0 : 1;
}
