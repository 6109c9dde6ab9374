// Opens many answers at once and keeps them open: a POST each, up to the first byte of its body.
//
//   hold [--wave N] [--seconds MAX] HOST PORT PATH STREAMS BODYFILE [HEADER…]
//
// No more than --wave (64) wait for their first byte at a time. When all have it, or have failed, prints {"open":N} and keeps
// them until a line comes on standard input, or its end; what arrives meanwhile is read. At the line `drain` the answers are
// read to their ends, at any other they are dropped. Not later than --seconds (120) after the start all ends.
//
// The last line is {"streams":…,"opened":…,"ended":…,"broken":…,"seconds":…}: how many had their first byte, came whole to
// their end, and broke off or were refused. Exits with 1 where any broke, was not opened, or was not drained in time.

#include "client.h"

#include <getopt.h>

struct stream {
    int fd;
    enum { CONNECTING, SENDING, WAITING, OPEN, CLOSED } phase;
    uint32_t interest;
    size_t sent;
    struct answer answer;
};

static struct {
    int epoll;
    struct target target;
    struct stream *streams;
    int64_t count, wave, deadline;
    int64_t begun, opening, opened, open, ended, broken;
    bool has_line, drains;
} holder;

static void watch(int operation, int fd, void *owner, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = owner};
    if (epoll_ctl(holder.epoll, operation, fd, &event) != 0) die("epoll: %s", strerror(errno));
}

// Takes the stream out of the count of its phase.
static void leave_phase(struct stream *stream) {
    if (stream->phase == OPEN) holder.open--;
    else holder.opening--;
}

static void close_stream(struct stream *stream) {
    leave_phase(stream);
    stream->phase = CLOSED;
    if (stream->fd >= 0) close(stream->fd);
    stream->fd = -1;
}

static void break_stream(struct stream *stream, const char *what) {
    if (holder.broken++ == 0) fprintf(stderr, "first broken: %s\n", what);
    close_stream(stream);
}

static void send_more(struct stream *stream) {
    enum progress progress = send_request(stream->fd, &holder.target, &stream->sent);
    if (progress == BAD) {
        break_stream(stream, strerror(errno));
        return;
    }
    if (progress == DONE) stream->phase = WAITING;
    uint32_t interest = progress == DONE ? EPOLLIN : EPOLLIN | EPOLLOUT;
    if (interest != stream->interest) watch(EPOLL_CTL_MOD, stream->fd, stream, interest);
    stream->interest = interest;
}

static void receive(struct stream *stream) {
    static char bytes[1 << 18];
    ssize_t count = recv(stream->fd, bytes, sizeof bytes, 0);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
    if (count < 0) {
        break_stream(stream, strerror(errno));
        return;
    }
    struct answer *answer = &stream->answer;
    enum progress progress = count > 0 ? take_answer(answer, bytes, (size_t)count) : end_answer(answer);
    if (progress == BAD) {
        break_stream(stream, count > 0 ? "the answer is not HTTP" : "the answer broke off");
        return;
    }
    if (answer->status && (answer->status < 200 || answer->status > 299)) {
        char what[32];
        snprintf(what, sizeof what, "status %d", answer->status);
        break_stream(stream, what);
        return;
    }
    if (answer->has_begun && stream->phase != OPEN) {
        leave_phase(stream);
        stream->phase = OPEN;
        holder.opened++;
        holder.open++;
    }
    if (progress == DONE) {
        holder.ended++;
        close_stream(stream);
    }
}

static void handle(struct stream *stream, uint32_t events) {
    if (stream->phase == CONNECTING) {
        if (!is_connected(stream->fd)) {
            break_stream(stream, "cannot connect");
            return;
        }
        stream->phase = SENDING;
        send_more(stream);
    } else if (stream->phase == SENDING && events & EPOLLOUT) {
        send_more(stream);
    } else if (stream->phase != CLOSED) {
        receive(stream);
    }
}

static void begin_stream(struct stream *stream) {
    holder.begun++;
    holder.opening++;
    expect_answer(&stream->answer);
    stream->phase = CONNECTING;
    stream->fd = start_connecting(&holder.target);
    if (stream->fd < 0) {
        break_stream(stream, strerror(errno));
        return;
    }
    stream->interest = EPOLLOUT;
    watch(EPOLL_CTL_ADD, stream->fd, stream, EPOLLOUT);
}

// Reads the line that says how to end, which is not longer than one read.
static void read_line(void) {
    char line[256];
    ssize_t count = read(STDIN_FILENO, line, sizeof line);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    holder.has_line = true;
    holder.drains = count >= 5 && memcmp(line, "drain", 5) == 0 && (count == 5 || line[5] == '\n' || line[5] == '\r');
}

// Handles what has happened; false when time is up.
static bool wait_for_events(void) {
    struct epoll_event events[256];
    int timeout = milliseconds_until(holder.deadline);
    if (timeout == 0) return false;
    int count = epoll_wait(holder.epoll, events, 256, timeout);
    if (count < 0 && errno != EINTR) die("epoll: %s", strerror(errno));
    for (int index = 0; index < count; index++) {
        struct stream *stream = events[index].data.ptr;
        if (stream) handle(stream, events[index].events);
        else read_line();
    }
    return true;
}

// Opens all streams, in waves; false when time is up.
static bool open_all(void) {
    while (holder.begun < holder.count || holder.opening > 0) {
        while (holder.begun < holder.count && holder.opening < holder.wave) begin_stream(&holder.streams[holder.begun]);
        if (holder.opening > 0 && !wait_for_events()) return false;
    }
    return true;
}

// Keeps the streams until the line comes; false when time is up.
static bool keep_all(void) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(holder.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0) {
        // A file, which can always be read.
        if (errno != EPERM) die("epoll: %s", strerror(errno));
        read_line();
    }
    while (!holder.has_line)
        if (!wait_for_events()) return false;
    // At its end, standard input would be ready for ever.
    epoll_ctl(holder.epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    return true;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"wave", required_argument, NULL, 'w'}, {"seconds", required_argument, NULL, 's'}, {NULL, 0, NULL, 0}};
    int64_t seconds = 120;
    holder.wave = 64;
    // The leading + ends the options at the first argument that is none.
    for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
        switch (option) {
        case 'w': holder.wave = number(optarg, "--wave", 1, 4096); break;
        case 's': seconds = number(optarg, "--seconds", 1, 86400); break;
        default: optind = argc;
        }
    }
    if (argc - optind < 5) {
        fputs("usage: hold [--wave N] [--seconds MAX] HOST PORT PATH STREAMS BODYFILE [HEADER...]\n", stderr);
        return 2;
    }
    char **argument = argv + optind;
    holder.count = number(argument[3], "STREAMS", 1, 100000);
    int64_t began = nanoseconds_now();
    holder.deadline = began + seconds * 1000000000;
    holder.target =
        make_target(argument[0], argument[1], argument[2], argument[4], argument + 5, argc - optind - 5);
    holder.streams = allocate((size_t)holder.count, sizeof *holder.streams);
    raise_descriptor_limit();
    holder.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (holder.epoll < 0) die("epoll: %s", strerror(errno));

    bool in_time = open_all();
    printf("{\"open\":%lld}\n", (long long)holder.open);
    fflush(stdout);
    in_time = in_time && keep_all();
    while (in_time && holder.drains && holder.open > 0) in_time = wait_for_events();

    for (int64_t index = 0; index < holder.begun; index++)
        if (holder.streams[index].phase != CLOSED) close_stream(&holder.streams[index]);
    printf(
        "{\"streams\":%lld,\"opened\":%lld,\"ended\":%lld,\"broken\":%lld,\"seconds\":%.6f}\n", (long long)holder.count,
        (long long)holder.opened, (long long)holder.ended, (long long)holder.broken,
        (double)(nanoseconds_now() - began) / 1e9);
    free(holder.streams);
    free(holder.target.request);
    return in_time && holder.opened == holder.count && holder.broken == 0 ? 0 : 1;
}
