// A load driver: the same POST over keep-alive connections, each of which sends the next when it has the whole answer.
//
//   drive [--warmup N] [--seconds MAX] HOST PORT PATH REQUESTS CONNECTIONS BODYFILE [HEADER…]
//
// All connections are open before the first request. --warmup requests are made first and count for nothing. A request that
// is answered with another status than 2xx, whose answer is not whole HTTP, or whose connection breaks is an error and made
// only once; a connection that the server closes is opened again. Not later than --seconds (60) after the start all ends.
//
// Latencies run from the first byte sent to the first byte of the body and to the end of the answer, over the requests without
// error; a percentile p is the smallest of them that is not exceeded by p of all. Prints {"requests":…,"errors":…,
// "seconds":…,"rps":…,"first_p50_us":…,"first_p99_us":…,"total_p50_us":…,"total_p99_us":…}; exits with 1 where not all
// requests were done in time.

#include "client.h"

#include <getopt.h>

struct connection {
    int fd; // -1: none
    enum { CONNECTING, SENDING, RECEIVING, IDLE } phase;
    uint32_t interest;
    bool has_request; // one of the requests counted as begun is this connection's
    size_t sent;
    int64_t began, first;
    struct answer answer;
};

static struct {
    int epoll;
    struct target target;
    struct connection *connections;
    int64_t connection_count, deadline;
    // The phase at hand.
    int64_t wanted, begun, done, errors;
    int64_t *first, *total; // of each request without error; NULL while warming up
} driver;

static void set_interest(struct connection *connection, uint32_t interest) {
    if (connection->interest == interest) return;
    connection->interest = interest;
    struct epoll_event event = {.events = interest, .data.ptr = connection};
    epoll_ctl(driver.epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

static void disconnect(struct connection *connection) {
    if (connection->fd >= 0) close(connection->fd);
    connection->fd = -1;
    connection->phase = IDLE;
}

static bool connect_anew(struct connection *connection) {
    connection->fd = start_connecting(&driver.target);
    if (connection->fd < 0) return false;
    connection->phase = CONNECTING;
    connection->interest = EPOLLOUT;
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = connection};
    if (epoll_ctl(driver.epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0) die("epoll: %s", strerror(errno));
    return true;
}

static void finish_request(struct connection *connection) {
    connection->has_request = false;
    driver.done++;
}

static void fail_request(struct connection *connection, const char *what) {
    if (driver.errors++ == 0) fprintf(stderr, "first error: %s\n", what);
    disconnect(connection);
    finish_request(connection);
}

static void send_more(struct connection *connection) {
    enum progress progress = send_request(connection->fd, &driver.target, &connection->sent);
    if (progress == BAD) {
        fail_request(connection, strerror(errno));
        return;
    }
    // An answer can come before the whole request is sent; and what refuses it must be seen.
    if (progress == DONE) connection->phase = RECEIVING;
    set_interest(connection, progress == DONE ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

static void begin_sending(struct connection *connection) {
    connection->phase = SENDING;
    connection->sent = 0;
    connection->first = 0;
    expect_answer(&connection->answer);
    connection->began = nanoseconds_now();
    send_more(connection);
}

// Gives a connection that has nothing to do the next requests, until it is busy with one or all have been begun.
static void take_next(struct connection *connection) {
    while (!connection->has_request && driver.begun < driver.wanted) {
        driver.begun++;
        connection->has_request = true;
        if (connection->fd >= 0) begin_sending(connection);
        else if (!connect_anew(connection)) fail_request(connection, strerror(errno));
    }
}

static void end_request(struct connection *connection, int64_t now) {
    const struct answer *answer = &connection->answer;
    if (answer->status < 200 || answer->status > 299) {
        if (driver.errors++ == 0) fprintf(stderr, "first error: status %d\n", answer->status);
    } else if (driver.first) {
        int64_t place = driver.done - driver.errors;
        driver.first[place] = (connection->first ? connection->first : now) - connection->began;
        driver.total[place] = now - connection->began;
    }
    // An answer before the whole request was sent leaves a rest that belongs to no new request.
    if (answer->head.close || connection->phase != RECEIVING) disconnect(connection);
    connection->phase = IDLE;
    finish_request(connection);
}

static void receive(struct connection *connection) {
    static char bytes[1 << 18];
    ssize_t count = recv(connection->fd, bytes, sizeof bytes, 0);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
    int64_t now = nanoseconds_now();
    if (!connection->has_request) {
        // The server closed an idle connection, or says something that nobody asked for.
        disconnect(connection);
        return;
    }
    if (count < 0) {
        fail_request(connection, strerror(errno));
        return;
    }
    struct answer *answer = &connection->answer;
    enum progress progress = count > 0 ? take_answer(answer, bytes, (size_t)count) : end_answer(answer);
    if (answer->has_begun && !connection->first) connection->first = now;
    if (progress == BAD) fail_request(connection, count > 0 ? "the answer is not HTTP" : "the answer broke off");
    if (progress == DONE) end_request(connection, now);
}

static void handle(struct connection *connection, uint32_t events) {
    if (connection->phase == CONNECTING) {
        if (!is_connected(connection->fd)) {
            if (!connection->has_request) die("cannot connect");
            fail_request(connection, "cannot connect");
        } else if (connection->has_request) {
            begin_sending(connection);
        } else {
            connection->phase = IDLE;
            set_interest(connection, EPOLLIN);
        }
    } else if (connection->phase == SENDING && events & EPOLLOUT) {
        send_more(connection);
    } else {
        receive(connection);
    }
}

// Handles what has happened; false when time is up.
static bool wait_for_events(void) {
    struct epoll_event events[256];
    int timeout = milliseconds_until(driver.deadline);
    if (timeout == 0) return false;
    int count = epoll_wait(driver.epoll, events, 256, timeout);
    if (count < 0 && errno != EINTR) die("epoll: %s", strerror(errno));
    for (int index = 0; index < count; index++) {
        struct connection *connection = events[index].data.ptr;
        if (connection->fd >= 0) handle(connection, events[index].events);
        if (connection->phase == IDLE) take_next(connection);
    }
    return true;
}

static void open_all(void) {
    driver.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (driver.epoll < 0) die("epoll: %s", strerror(errno));
    driver.connections = allocate((size_t)driver.connection_count, sizeof *driver.connections);
    for (int64_t index = 0; index < driver.connection_count; index++) {
        struct connection *connection = &driver.connections[index];
        if (!connect_anew(connection)) die("cannot connect: %s", strerror(errno));
        // One at a time: a burst would only overflow the server's queue of connections.
        while (connection->phase == CONNECTING)
            if (!wait_for_events()) die("not all connections could be opened in time");
    }
}

// Makes so many requests, and gives how many nanoseconds that took.
static int64_t make_requests(int64_t count) {
    driver.wanted = count;
    driver.begun = driver.done = driver.errors = 0;
    int64_t began = nanoseconds_now();
    for (int64_t index = 0; index < driver.connection_count; index++) take_next(&driver.connections[index]);
    while (driver.done < driver.wanted && wait_for_events()) {}
    return nanoseconds_now() - began;
}

static int compare(const void *left, const void *right) {
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

// The nearest-rank percentile of sorted nanoseconds, in microseconds.
static double percentile(const int64_t *sorted, int64_t count, int64_t percent) {
    return count == 0 ? 0 : (double)sorted[(count * percent + 99) / 100 - 1] / 1000;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"warmup", required_argument, NULL, 'w'}, {"seconds", required_argument, NULL, 's'}, {NULL, 0, NULL, 0}};
    int64_t warmup = 0, seconds = 60;
    // The leading + ends the options at the first argument that is none.
    for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
        switch (option) {
        case 'w': warmup = number(optarg, "--warmup", 0, 100000000); break;
        case 's': seconds = number(optarg, "--seconds", 1, 86400); break;
        default: optind = argc;
        }
    }
    if (argc - optind < 6) {
        fputs("usage: drive [--warmup N] [--seconds MAX] HOST PORT PATH REQUESTS CONNECTIONS BODYFILE [HEADER...]\n",
              stderr);
        return 2;
    }
    char **argument = argv + optind;
    int64_t requests = number(argument[3], "REQUESTS", 1, 100000000);
    driver.connection_count = number(argument[4], "CONNECTIONS", 1, 100000);
    driver.deadline = nanoseconds_now() + seconds * 1000000000;
    driver.target =
        make_target(argument[0], argument[1], argument[2], argument[5], argument + 6, argc - optind - 6);
    int64_t *first = allocate((size_t)requests, sizeof *first), *total = allocate((size_t)requests, sizeof *total);
    raise_descriptor_limit();

    open_all();
    make_requests(warmup);
    int64_t elapsed = 0, done = 0, good = 0, errors = 0;
    if (driver.done == warmup) {
        driver.first = first;
        driver.total = total;
        elapsed = make_requests(requests);
        done = driver.done;
        errors = driver.errors;
        good = done - errors;
    }
    if (done < requests) fputs("time was up before all requests were done\n", stderr);
    qsort(first, (size_t)good, sizeof *first, compare);
    qsort(total, (size_t)good, sizeof *total, compare);
    printf(
        "{\"requests\":%lld,\"errors\":%lld,\"seconds\":%.6f,\"rps\":%.0f,\"first_p50_us\":%.1f,\"first_p99_us\":%.1f,"
        "\"total_p50_us\":%.1f,\"total_p99_us\":%.1f}\n",
        (long long)done, (long long)errors, (double)elapsed / 1e9,
        elapsed > 0 ? (double)done * 1e9 / (double)elapsed : 0, percentile(first, good, 50),
        percentile(first, good, 99), percentile(total, good, 50), percentile(total, good, 99));

    for (int64_t index = 0; index < driver.connection_count; index++) disconnect(&driver.connections[index]);
    free(driver.connections);
    free(driver.target.request);
    free(first);
    free(total);
    return done == requests ? 0 : 1;
}
