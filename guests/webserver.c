// An HTTP/1.1 server in one file: a page on port 80, to many connections at once.
//
// The law of this file: whoever connects gets an answer, unless they leave first. What is refused
// is refused with a status, and nothing that a peer or another task sends ends this program.
//
// A connection lives from the first `tcpip_data` with its socket to the `tcpip_destroy` after the
// answer; between them it is a buffer that fills with a request. Nothing here waits for one peer:
// `tcpip_read` takes what there is, and the loop goes on to the next message.
//
// Exit code: never, unless there is no port 80 to listen on or `tcpip` itself is gone: 1.
#include <wasmos.h>

#define PORT 80
#define MAX_CONNECTIONS 64
#define MAX_HEADER 4096 // of a request, with its first line

struct connection {
    bool used;
    int sock;
    uint32_t since; // when it came, in connections: the smaller, the older
    uint32_t length;
    char request[MAX_HEADER];
};

static struct connection connections[MAX_CONNECTIONS];
static uint32_t connections_seen;
static uint32_t requests_answered;

static task_t tcpip;
static bool tcpip_gone; // set when a call can't be answered any more, by anyone

// --- tcpip -----------------------------------------------------------------------------------

// As `ipc_ask`, but keeps apart that tcpip has ended and that it says "aborted" of a connection.
static error_t ask_tcpip(struct message *m) {
    int32_t asked = m->type;
    error_t err = ipc_call(tcpip, m);
    if (IS_ERROR(err)) {
        tcpip_gone = err == ERR_ABORTED || err == ERR_INVALID_TASK;
        return err;
    }
    if (IS_ERROR(m->type)) {
        return m->type;
    }
    return m->type == asked + 1 ? OK : ERR_UNEXPECTED;
}

static error_t listen(uint16_t port) {
    struct message m;
    m.type = TCPIP_LISTEN_MSG;
    m.tcpip_listen.listen_port = port;
    return ask_tcpip(&m);
}

// What is written before is sent before.
static void destroy(int sock) {
    struct message m;
    m.type = TCPIP_DESTROY_MSG;
    m.tcpip_destroy.sock = sock;
    ask_tcpip(&m);
}

static error_t write(int sock, const char *data, uint32_t length) {
    while (length > 0) {
        struct message m;
        uint32_t part = sizeof(m.tcpip_write.data);
        if (part > length) {
            part = length;
        }
        m.type = TCPIP_WRITE_MSG;
        m.tcpip_write.sock = sock;
        memcpy(m.tcpip_write.data, data, part);
        m.tcpip_write.data_len = part;
        error_t err = ask_tcpip(&m);
        if (IS_ERROR(err)) {
            return err;
        }
        data += part;
        length -= part;
    }
    return OK;
}

// --- Text ------------------------------------------------------------------------------------

// Text in a buffer of fixed size, large enough for all that is put there. Were it not, the rest
// would be missing: never written past the end.
struct text {
    char *chars;
    uint32_t length;
    uint32_t size; // of the buffer
};

#define EMPTY_TEXT(array) ((struct text){.chars = (array), .length = 0, .size = sizeof(array)})

static void put_char(struct text *text, char c) {
    if (text->length < text->size) {
        text->chars[text->length++] = c;
    }
}

static void put(struct text *text, const char *string) {
    while (*string) {
        put_char(text, *string++);
    }
}

static void put_uint(struct text *text, uint32_t value) {
    char digits[10]; // 2^32 has ten; the last one first
    int count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    while (count > 0) {
        put_char(text, digits[--count]);
    }
}

// --- Answers ---------------------------------------------------------------------------------

static char page_buffer[2048];
static char header_buffer[256];

static void put_page_start(struct text *page, const char *title) {
    put(page, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
              "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    put(page, title);
    put(page, "</title>\n<style>\n"
              "  body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 34rem;\n"
              "         margin: 18vh auto 0; padding: 0 1.5rem; color: #223; background: #fafaf7 }\n"
              "  h1 { font-weight: 600; letter-spacing: -.02em }\n"
              "  .count { color: #667 }\n"
              "</style>\n<h1>");
    put(page, title);
    put(page, "</h1>\n");
}

static void put_home(struct text *page) {
    put_page_start(page, "Hello from WasmOS");
    put(page, "<p>This page was served by a WebAssembly task. It has never seen a file, a clock or\n"
              "a system call: every byte it got or sent was a message to the service\n"
              "<code>tcpip</code>.</p>\n<p class=\"count\">Request number ");
    put_uint(page, requests_answered);
    put(page, " since it was started.</p>\n");
}

// Sends a whole answer and closes. A peer that is gone by now doesn't matter.
static void answer(int sock, const char *status, bool with_body) {
    requests_answered++;

    struct text page = EMPTY_TEXT(page_buffer);
    if (status[0] == '2') {
        put_home(&page);
    } else {
        put_page_start(&page, status);
    }

    struct text header = EMPTY_TEXT(header_buffer);
    put(&header, "HTTP/1.1 ");
    put(&header, status);
    put(&header, "\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: ");
    put_uint(&header, page.length);
    put(&header, "\r\nConnection: close\r\n");
    if (status[0] == '4' && status[2] == '5') {
        put(&header, "Allow: GET, HEAD\r\n");
    }
    put(&header, "\r\n");

    if (IS_OK(write(sock, header.chars, header.length)) && with_body) {
        write(sock, page.chars, page.length);
    }
    destroy(sock);
}

// --- Requests --------------------------------------------------------------------------------

static bool starts_with(const char *at, const char *end, const char *prefix) {
    while (*prefix) {
        if (at == end || *at++ != *prefix++) {
            return false;
        }
    }
    return true;
}

static const char *find(const char *at, const char *end, char c) {
    while (at < end && *at != c) {
        at++;
    }
    return at;
}

// Is the empty line there that ends the header? A bare newline counts, as RFC 9112 allows. `from`
// is where the bytes begin that nobody has looked at.
static bool header_ends(const struct connection *c, uint32_t from) {
    for (uint32_t i = from; i < c->length; i++) {
        if (c->request[i] != '\n' || i == 0) {
            continue;
        }
        char before = c->request[i - 1];
        if (before == '\n' || (before == '\r' && i >= 2 && c->request[i - 2] == '\n')) {
            return true;
        }
    }
    return false;
}

// `METHOD TARGET HTTP/1.x`: the rest of the header doesn't change our answer.
static void answer_request(const struct connection *c) {
    const char *method = c->request;
    const char *end = find(method, c->request + c->length, '\n');
    const char *method_end = find(method, end, ' ');
    const char *target = method_end < end ? method_end + 1 : end;
    const char *target_end = find(target, end, ' ');
    const char *version = target_end < end ? target_end + 1 : end;

    if (method == method_end || target == target_end || !starts_with(version, end, "HTTP/1.")) {
        answer(c->sock, "400 Bad Request", true);
        return;
    }

    bool is_get = starts_with(method, end, "GET ");
    bool is_head = starts_with(method, end, "HEAD ");
    const char *path_end = find(target, target_end, '?');
    bool is_home = path_end - target == 1 && *target == '/';
    if (!is_get && !is_head) {
        answer(c->sock, "405 Method Not Allowed", true);
    } else if (!is_home) {
        answer(c->sock, "404 Not Found", is_get);
    } else {
        answer(c->sock, "200 OK", is_get);
    }
}

// --- Connections -----------------------------------------------------------------------------

static struct connection *connection_of(int sock) {
    for (int i = 0; i < MAX_CONNECTIONS; i++) {
        if (connections[i].used && connections[i].sock == sock) {
            return &connections[i];
        }
    }
    return NULL;
}

// A place for a new connection. If there is none, the oldest unfinished request gives way: a peer
// that sends slowly on purpose can't keep the others out.
static struct connection *accept(int sock) {
    struct connection *place = &connections[0];
    for (int i = 0; i < MAX_CONNECTIONS; i++) {
        if (!connections[i].used) {
            place = &connections[i];
            break;
        }
        if (connections[i].since < place->since) {
            place = &connections[i];
        }
    }
    if (place->used) {
        answer(place->sock, "408 Request Timeout", true);
    }
    place->used = true;
    place->sock = sock;
    place->since = connections_seen++;
    place->length = 0;
    return place;
}

// Adds bytes to a request, and answers it when it is complete or can't become it any more.
static void receive(struct connection *c, const uint8_t *data, uint32_t length) {
    // An empty line may be split between two pieces: look at the end of the last one again.
    uint32_t from = c->length;
    for (uint32_t i = 0; i < length && c->length < MAX_HEADER; i++) {
        // Empty lines before a request are to be ignored (RFC 9112, 2.2).
        if (c->length == 0 && (data[i] == '\r' || data[i] == '\n')) {
            continue;
        }
        c->request[c->length++] = (char)data[i];
    }

    if (header_ends(c, from)) {
        answer_request(c);
    } else if (c->length == MAX_HEADER) {
        answer(c->sock, "400 Bad Request", true);
    } else {
        return; // there is more to come
    }
    c->used = false;
}

// Reads all there is now. The length of a header bounds how much that can be.
static void on_data(int sock) {
    struct connection *c = connection_of(sock);
    do {
        struct message m;
        m.type = TCPIP_READ_MSG;
        m.tcpip_read.sock = sock;
        if (IS_ERROR(ask_tcpip(&m))) {
            // It broke, so there is nobody to answer; or it is one that we have closed already, and
            // closing it again does no harm.
            if (c) {
                c->used = false;
            }
            destroy(sock);
            return;
        }
        uint32_t length = m.tcpip_read_reply.data_len;
        if (!c) {
            c = accept(sock); // with no data yet, it may be
        }
        if (length == 0 || length > sizeof(m.tcpip_read_reply.data)) {
            return;
        }
        receive(c, m.tcpip_read_reply.data, length);
    } while (c->used);
}

static void on_closed(int sock) {
    // A peer may send its request and close in one go: what it sent deserves an answer.
    struct connection *c = connection_of(sock);
    if (!c) {
        return;
    }
    on_data(sock);
    if (c->used) {
        c->used = false;
        destroy(sock);
    }
}

// --- The loop --------------------------------------------------------------------------------

int main(void) {
    tcpip = ipc_lookup("tcpip");
    if (IS_ERROR(tcpip)) {
        print("webserver: no way to reach tcpip\n");
        return 1;
    }
    if (IS_ERROR(listen(PORT))) {
        print("webserver: can't listen on port 80\n");
        return 1;
    }
    print("webserver: listening on port 80\n");

    while (!tcpip_gone) {
        struct message m;
        if (IS_ERROR(ipc_recv(IPC_ANY, &m))) {
            break;
        }

        if (m.src == tcpip && m.type == TCPIP_DATA_MSG) {
            on_data(m.tcpip_data.sock);
        } else if (m.src == tcpip && m.type == TCPIP_CLOSED_MSG) {
            on_closed(m.tcpip_closed.sock);
        } else if (m.src > 0 && m.src != tcpip) {
            // Somebody takes us for a service. We aren't one, but they shall not wait.
            reply_error(m.src, ERR_NOT_SUPPORTED);
        }
    }
    print("webserver: tcpip is gone\n");
    return 1;
}
