// A stand-in for a model's provider, fast enough not to be what is measured: OpenAI chat completions over HTTP/1.1 keep-alive.
//
//   upstream [--seconds MAX] [--connections MAX] [--max-body BYTES] [--max-chunks N] PORT
//
// It listens on 127.0.0.1 only; PORT 0 takes any free port. The first line of output is {"port":N}, the last one, on SIGTERM,
// SIGINT or after --seconds, {"connections":…,"requests":…,"streams":…}.
//
// Every POST is answered, whatever its path:
//   - with `"stream":true` in its body by a stream of events: the role, N chunks of content, the finish, with
//     `"include_usage":true` the usage, and [DONE]; else by a completion with its usage;
//   - N is that of a model `bench-N`, 16 without one; more than --max-chunks (4096) are answered by 400;
//   - a stream of the model `bench-hold` stops after its first chunk of content until it is released.
// GET /held answers {"held":…}; GET /release lets all held streams run to their end and answers {"released":…}.
//
// A body is searched for these few things and not kept. The answers of a model are made once, so that answering is one send.

#include "net.h"

#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    DEFAULT_CHUNKS = 16, // as the default model's name says
    MODELS = 64,         // distinct models whose answers are kept; a request for one more is refused
    OVERLAP = 63,        // what is looked for in a body is no longer than this and one byte
    WINDOW = 4096,       // how much of a body is searched at a time
    MODEL_NAME = 32,
};

static const char default_model[] = "bench-16", held_model[] = "bench-hold";

struct bytes {
    char *at;
    size_t size;
};

// A model's answers, heads included.
struct model {
    char name[MODEL_NAME];
    bool is_held;
    struct bytes completion, stream, stream_with_usage;
    size_t held_at; // how much of a stream comes before it is held
};

struct connection {
    int fd; // -1: closed, and freed after the events at hand
    uint32_t interest;
    enum { READING_HEAD, READING_BODY, ANSWERING, HOLDING } phase;
    bool closes;   // after the answer
    bool has_ended; // the client sends no more
    char in[HEAD_BYTES];
    size_t in_size, head_seen;
    // The request at hand.
    struct head head;
    struct body body;
    int64_t body_size;
    bool is_post, streams, wants_usage, wants_release, wants_held;
    char model[MODEL_NAME];
    char window[WINDOW];
    size_t window_size;
    // Its answer: bytes of a model, or `reply`.
    const char *out;
    size_t out_at, out_end, out_whole;
    char reply[256];
    struct connection *previous, *next; // among the held, or among those to be freed
};

static struct {
    int epoll, listener;
    bool accepts;
    int64_t most_connections, most_body, most_chunks;
    int64_t open, connections, requests, streams, held;
    struct connection *first_held, *closed;
    struct model models[MODELS];
    int model_count;
} server;

static volatile sig_atomic_t is_stopping;

static void stop(int signal) {
    (void)signal;
    is_stopping = 1;
}

// MARK: What is answered

// One server-sent event as one chunk of the transfer encoding, as providers flush them.
static void put_event(FILE *stream, const char *json) {
    fprintf(stream, "%zx\r\ndata: %s\n\n\r\n", strlen("data: ") + strlen(json) + 2, json);
}

static void put_chunk(FILE *stream, const struct model *model, const char *choices, const char *usage) {
    char json[512];
    snprintf(
        json, sizeof json,
        "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"%s\","
        "\"choices\":[%s]%s}",
        model->name, choices, usage);
    put_event(stream, json);
}

static struct bytes make_stream(struct model *model, int chunks, const char *usage) {
    struct bytes made = {0};
    FILE *stream = open_memstream(&made.at, &made.size);
    if (!stream) die("out of memory");
    fputs("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
          "Transfer-Encoding: chunked\r\n\r\n", stream);
    put_chunk(
        stream, model, "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}", "");
    for (int index = 0; index < chunks; index++) {
        put_chunk(stream, model, "{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}", "");
        if (index == 0) model->held_at = (size_t)ftell(stream);
    }
    put_chunk(stream, model, "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}", "");
    if (usage) put_chunk(stream, model, "", usage);
    put_event(stream, "[DONE]");
    fputs("0\r\n\r\n", stream);
    if (fclose(stream) != 0) die("out of memory");
    return made;
}

static struct bytes make_completion(const struct model *model, int chunks, const char *usage) {
    struct bytes body = {0}, made = {0};
    FILE *stream = open_memstream(&body.at, &body.size);
    if (!stream) die("out of memory");
    fprintf(
        stream,
        "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"%s\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"",
        model->name);
    for (int index = 0; index < chunks; index++) fputs(" word", stream);
    fprintf(stream, "\"},\"finish_reason\":\"stop\"}]%s}", usage);
    if (fclose(stream) != 0) die("out of memory");
    stream = open_memstream(&made.at, &made.size);
    if (!stream) die("out of memory");
    fprintf(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", body.size);
    fwrite(body.at, 1, body.size, stream);
    if (fclose(stream) != 0) die("out of memory");
    free(body.at);
    return made;
}

// The answers of a model; NULL where it asks for more chunks than are allowed, or is one model too many.
static const struct model *model_named(const char *name) {
    for (int index = 0; index < server.model_count; index++)
        if (strcmp(server.models[index].name, name) == 0) return &server.models[index];
    bool is_held = strcmp(name, held_model) == 0;
    int64_t chunks = is_held ? DEFAULT_CHUNKS : strtoll(name + strlen("bench-"), NULL, 10);
    if (chunks < 1 || chunks > server.most_chunks || server.model_count == MODELS) return NULL;
    struct model *model = &server.models[server.model_count++];
    snprintf(model->name, sizeof model->name, "%s", name);
    model->is_held = is_held;
    char usage[128];
    snprintf(
        usage, sizeof usage, ",\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":%d,\"total_tokens\":%d}",
        (int)chunks, (int)chunks + 10);
    model->stream = make_stream(model, (int)chunks, NULL);
    model->stream_with_usage = make_stream(model, (int)chunks, usage);
    model->completion = make_completion(model, (int)chunks, usage);
    return model;
}

// MARK: Connections

static void set_interest(struct connection *connection, uint32_t interest) {
    if (connection->interest == interest) return;
    connection->interest = interest;
    struct epoll_event event = {.events = interest, .data.ptr = connection};
    epoll_ctl(server.epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

// Whether new connections are taken: with all descriptors in use, trying would fail again and again.
static void set_accepting(bool accepts) {
    if (server.accepts == accepts) return;
    server.accepts = accepts;
    struct epoll_event event = {.events = accepts ? EPOLLIN : 0, .data.ptr = NULL};
    epoll_ctl(server.epoll, EPOLL_CTL_MOD, server.listener, &event);
}

static void add_held(struct connection *connection) {
    connection->phase = HOLDING;
    connection->previous = NULL;
    connection->next = server.first_held;
    if (server.first_held) server.first_held->previous = connection;
    server.first_held = connection;
    server.held++;
}

static void remove_held(struct connection *connection) {
    if (connection->previous) connection->previous->next = connection->next;
    else server.first_held = connection->next;
    if (connection->next) connection->next->previous = connection->previous;
    connection->phase = ANSWERING;
    server.held--;
}

static void close_connection(struct connection *connection) {
    if (connection->phase == HOLDING) remove_held(connection);
    close(connection->fd);
    connection->fd = -1;
    connection->next = server.closed;
    server.closed = connection;
    server.open--;
    set_accepting(true);
}

static void free_closed(void) {
    while (server.closed) {
        struct connection *connection = server.closed;
        server.closed = connection->next;
        free(connection);
    }
}

static void accept_connections(void) {
    while (server.open < server.most_connections) {
        int fd = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK) return;
            break;
        }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *connection = allocate(1, sizeof *connection);
        connection->fd = fd;
        connection->interest = EPOLLIN;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll: %s", strerror(errno));
        server.open++;
        server.connections++;
    }
    // Nothing to wait for with no connection open: better to try again at once than never.
    if (server.open > 0) set_accepting(false);
}

// MARK: Requests

static const char *skip_spaces(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
    return at;
}

// Whether the member `name`, which begins at `at` with its quotation mark, is true.
static bool is_true(const char *at, const char *end, const char *name) {
    size_t size = strlen(name);
    if ((size_t)(end - at) < size || memcmp(at, name, size) != 0) return false;
    at = skip_spaces(at + size, end);
    if (at == end || *at != ':') return false;
    at = skip_spaces(at + 1, end);
    return end - at >= 4 && memcmp(at, "true", 4) == 0;
}

// Takes the name out of `"bench-16"` or `"bench-hold"`, where that begins at `at`.
static void read_model(struct connection *connection, const char *at, const char *end) {
    static const char prefix[] = "\"bench-";
    size_t prefix_size = sizeof prefix - 1;
    if ((size_t)(end - at) <= prefix_size || memcmp(at, prefix, prefix_size) != 0) return;
    const char *number = at + prefix_size;
    const char *quote = memchr(number, '"', (size_t)(end - number));
    if (!quote || quote == number || quote - number > 9) return;
    if (!(quote - number == 4 && memcmp(number, "hold", 4) == 0))
        for (const char *digit = number; digit < quote; digit++)
            if (*digit < '0' || *digit > '9') return;
    size_t size = (size_t)(quote - at) - 1;
    memcpy(connection->model, at + 1, size);
    connection->model[size] = 0;
}

// Everything of interest begins with a quotation mark; in text, a quotation mark follows a backslash and matches nothing.
static void search_window(struct connection *connection) {
    const char *at = connection->window, *end = at + connection->window_size;
    for (; (at = memchr(at, '"', (size_t)(end - at))); at++) {
        if (end - at < 2) return;
        switch (at[1]) {
        case 's':
            if (is_true(at, end, "\"stream\"")) connection->streams = true;
            break;
        case 'i':
            if (is_true(at, end, "\"include_usage\"")) connection->wants_usage = true;
            break;
        case 'b': read_model(connection, at, end); break;
        default: break;
        }
    }
}

// Searches a body run by run; what may go on in the next run is looked at again with it.
static void search_body(struct connection *connection, const char *run, size_t size) {
    while (size > 0) {
        size_t there = WINDOW - connection->window_size;
        if (there > size) there = size;
        memcpy(connection->window + connection->window_size, run, there);
        connection->window_size += there;
        run += there;
        size -= there;
        if (connection->window_size < WINDOW) return;
        search_window(connection);
        memmove(connection->window, connection->window + WINDOW - OVERLAP, OVERLAP);
        connection->window_size = OVERLAP;
    }
}

static void begin_answer(struct connection *connection, const char *bytes, size_t size) {
    connection->phase = ANSWERING;
    connection->out = bytes;
    connection->out_at = 0;
    connection->out_end = connection->out_whole = size;
}

__attribute__((format(printf, 3, 4))) static void begin_reply(
    struct connection *connection, const char *status, const char *format, ...
) {
    char body[96];
    va_list arguments;
    va_start(arguments, format);
    int body_size = vsnprintf(body, sizeof body, format, arguments);
    va_end(arguments);
    int size = snprintf(
        connection->reply, sizeof connection->reply,
        "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, body_size, body);
    begin_answer(connection, connection->reply, (size_t)size);
}

static void refuse(struct connection *connection, const char *status) {
    connection->closes = true;
    begin_reply(connection, status, "{\"error\":{\"message\":\"%s\"}}", status);
}

static void begin_request(struct connection *connection) {
    const char *line = connection->in;
    connection->body = body_of(&connection->head);
    connection->closes = connection->head.close;
    connection->is_post = memcmp(line, "POST ", 5) == 0;
    connection->wants_held = memcmp(line, "GET /held ", 10) == 0;
    connection->wants_release = memcmp(line, "GET /release ", 13) == 0;
    connection->streams = connection->wants_usage = false;
    connection->body_size = 0;
    connection->window_size = 0;
    memcpy(connection->model, default_model, sizeof default_model);
    connection->phase = READING_BODY;
}

static void advance(struct connection *connection);

static void release_all(struct connection *connection) {
    // The list is taken over first: who is held again by a request that waited behind this answer stays held.
    struct connection *released = server.first_held;
    for (struct connection *held = released; held; held = held->next) {
        held->phase = ANSWERING;
        held->out_end = held->out_whole;
    }
    int64_t count = server.held;
    server.first_held = NULL;
    server.held = 0;
    while (released) {
        struct connection *next = released->next;
        advance(released);
        released = next;
    }
    begin_reply(connection, "200 OK", "{\"released\":%lld}", (long long)count);
}

static void end_request(struct connection *connection) {
    search_window(connection);
    if (connection->wants_release) {
        release_all(connection);
    } else if (connection->wants_held) {
        begin_reply(connection, "200 OK", "{\"held\":%lld}", (long long)server.held);
    } else if (!connection->is_post) {
        begin_reply(connection, "404 Not Found", "{\"error\":{\"message\":\"not found\"}}");
    } else {
        server.requests++;
        const struct model *model = model_named(connection->model);
        if (!model) {
            begin_reply(connection, "400 Bad Request", "{\"error\":{\"message\":\"no such model\"}}");
        } else if (!connection->streams) {
            begin_answer(connection, model->completion.at, model->completion.size);
        } else {
            server.streams++;
            const struct bytes *stream = connection->wants_usage ? &model->stream_with_usage : &model->stream;
            begin_answer(connection, stream->at, stream->size);
            if (!model->is_held) return;
            connection->out_end = model->held_at;
            add_held(connection);
        }
    }
}

// Drops the first `count` bytes of what has been read.
static void drop_input(struct connection *connection, size_t count) {
    connection->in_size -= count;
    memmove(connection->in, connection->in + count, connection->in_size);
}

static enum progress read_request_head(struct connection *connection) {
    size_t seen = connection->head_seen;
    connection->head_seen = connection->in_size;
    enum progress progress = read_head(&connection->head, connection->in, connection->in_size, seen);
    if (progress == MORE) return MORE;
    connection->head_seen = 0;
    // The shortest request line, which also makes the comparisons with the methods safe.
    if (progress == BAD || connection->head.size < sizeof "GET / HTTP/1.1") {
        refuse(connection, "400 Bad Request");
    } else {
        begin_request(connection);
        drop_input(connection, connection->head.size);
    }
    return DONE;
}

static enum progress read_request_body(struct connection *connection) {
    const char *at = connection->in, *end = at + connection->in_size;
    for (;;) {
        const char *run;
        size_t run_size;
        enum progress progress = take_body(&connection->body, &at, end, &run, &run_size);
        if (run_size > 0) {
            connection->body_size += (int64_t)run_size;
            if (connection->body_size > server.most_body) {
                refuse(connection, "413 Content Too Large");
                return DONE;
            }
            search_body(connection, run, run_size);
        }
        if (progress == MORE && at < end) continue;
        drop_input(connection, (size_t)(at - connection->in));
        if (progress == DONE) end_request(connection);
        if (progress == BAD) refuse(connection, "400 Bad Request");
        return progress == MORE ? MORE : DONE;
    }
}

// MORE where the socket takes no more for now; BAD where the client is gone.
static enum progress send_answer(struct connection *connection) {
    while (connection->out_at < connection->out_end) {
        size_t size = connection->out_end - connection->out_at;
        ssize_t count = send(connection->fd, connection->out + connection->out_at, size, MSG_NOSIGNAL);
        if (count >= 0) connection->out_at += (size_t)count;
        else if (errno == EAGAIN || errno == EWOULDBLOCK) return MORE;
        else if (errno != EINTR) return BAD;
    }
    return DONE;
}

// Goes on as far as what was read and what can be sent allow.
static void advance(struct connection *connection) {
    for (;;) {
        enum progress progress = DONE;
        switch (connection->phase) {
        case READING_HEAD: progress = read_request_head(connection); break;
        case READING_BODY: progress = read_request_body(connection); break;
        case HOLDING:
        case ANSWERING:
            progress = send_answer(connection);
            if (progress == DONE && connection->phase == HOLDING) {
                progress = MORE;
            } else if (progress == DONE) {
                connection->phase = READING_HEAD;
                if (connection->closes) progress = BAD;
            }
            break;
        }
        if (progress == BAD) {
            close_connection(connection);
            return;
        }
        if (progress == MORE) break;
    }
    bool is_sending = connection->out_at < connection->out_end;
    // The end of a client's input is its leaving, unless it still takes an answer: it may have shut down its side only.
    if (connection->has_ended && !is_sending) {
        close_connection(connection);
        return;
    }
    bool can_read = !connection->has_ended && connection->in_size < sizeof connection->in;
    set_interest(connection, (can_read ? EPOLLIN : 0) | (is_sending ? EPOLLOUT : 0));
}

static void handle(struct connection *connection, uint32_t events) {
    if (events & EPOLLERR) {
        close_connection(connection);
        return;
    }
    if (events & (EPOLLIN | EPOLLHUP) && connection->in_size < sizeof connection->in) {
        size_t space = sizeof connection->in - connection->in_size;
        ssize_t count = recv(connection->fd, connection->in + connection->in_size, space, 0);
        if (count > 0) {
            connection->in_size += (size_t)count;
        } else if (count == 0) {
            connection->has_ended = true;
        } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
            close_connection(connection);
            return;
        }
    } else if (events & EPOLLHUP) {
        close_connection(connection);
        return;
    }
    advance(connection);
}

// MARK: Running

static void listen_on(int port) {
    int one = 1;
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setsockopt(server.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(server.listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(server.listener, 4096) != 0
        || getsockname(server.listener, (struct sockaddr *)&address, &size) != 0)
        die("cannot listen on port %d: %s", port, strerror(errno));
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (server.epoll < 0 || epoll_ctl(server.epoll, EPOLL_CTL_ADD, server.listener, &event) != 0)
        die("epoll: %s", strerror(errno));
    server.accepts = true;
    printf("{\"port\":%d}\n", ntohs(address.sin_port));
    fflush(stdout);
}

static void serve_until(int64_t deadline) {
    // Signals are only taken while waiting, so that none is missed between the look at the flag and the wait.
    sigset_t blocked, waiting;
    struct sigaction action = {.sa_handler = stop};
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, &waiting);
    sigdelset(&waiting, SIGTERM);
    sigdelset(&waiting, SIGINT);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    while (!is_stopping) {
        struct epoll_event events[256];
        int timeout = milliseconds_until(deadline);
        if (timeout == 0) return;
        int count = epoll_pwait(server.epoll, events, 256, timeout, &waiting);
        if (count < 0 && errno != EINTR) die("epoll: %s", strerror(errno));
        for (int index = 0; index < count; index++) {
            struct connection *connection = events[index].data.ptr;
            if (!connection) accept_connections();
            else if (connection->fd >= 0) handle(connection, events[index].events);
        }
        free_closed();
    }
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"seconds", required_argument, NULL, 's'},  {"connections", required_argument, NULL, 'c'},
        {"max-body", required_argument, NULL, 'b'}, {"max-chunks", required_argument, NULL, 'n'},
        {NULL, 0, NULL, 0},
    };
    int64_t seconds = 3600;
    server.most_connections = 100000;
    server.most_body = 64 << 20;
    server.most_chunks = 4096;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 's': seconds = number(optarg, "--seconds", 1, 1000000); break;
        case 'c': server.most_connections = number(optarg, "--connections", 1, 1000000); break;
        case 'b': server.most_body = number(optarg, "--max-body", 1, (int64_t)1 << 40); break;
        case 'n': server.most_chunks = number(optarg, "--max-chunks", DEFAULT_CHUNKS, 100000); break;
        default: optind = argc;
        }
    }
    if (argc - optind != 1) {
        fputs("usage: upstream [--seconds MAX] [--connections MAX] [--max-body BYTES] [--max-chunks N] PORT\n", stderr);
        return 2;
    }
    raise_descriptor_limit();
    // These two have their place, however many other models are asked for.
    model_named(held_model);
    model_named(default_model);
    listen_on((int)number(argv[optind], "PORT", 0, 65535));
    serve_until(nanoseconds_now() + seconds * 1000000000);
    printf(
        "{\"connections\":%lld,\"requests\":%lld,\"streams\":%lld}\n", (long long)server.connections,
        (long long)server.requests, (long long)server.streams);
    return 0;
}
