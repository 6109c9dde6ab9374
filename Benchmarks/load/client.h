// The client's side of HTTP/1.1: one request's bytes, sent again and again, and the answers to it.

#ifndef LOAD_CLIENT_H
#define LOAD_CLIENT_H

#include "net.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

struct target {
    struct sockaddr_storage address;
    socklen_t address_size;
    char *request; // head and body
    size_t request_size;
};

static inline char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) die("cannot open %s: %s", path, strerror(errno));
    size_t capacity = 65536, used = 0;
    char *bytes = allocate(1, capacity);
    for (size_t count; (count = fread(bytes + used, 1, capacity - used, file)) > 0;) {
        used += count;
        if (used < capacity) continue;
        bytes = realloc(bytes, capacity *= 2);
        if (!bytes) die("out of memory");
    }
    if (ferror(file)) die("cannot read %s", path);
    fclose(file);
    *size = used;
    return bytes;
}

// Resolves the host and puts the request together: a POST of the file, with the header lines given.
static inline struct target make_target(
    const char *host, const char *port, const char *path, const char *body_path, char *const *headers, int header_count
) {
    struct target target = {0};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int error = getaddrinfo(host, port, &hints, &found);
    if (error) die("cannot resolve %s: %s", host, gai_strerror(error));
    memcpy(&target.address, found->ai_addr, found->ai_addrlen);
    target.address_size = found->ai_addrlen;
    freeaddrinfo(found);

    size_t body_size, head_size = 0;
    char *body = read_file(body_path, &body_size), *head = NULL;
    FILE *stream = open_memstream(&head, &head_size);
    if (!stream) die("out of memory");
    fprintf(stream, "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Length: %zu\r\n", path, host, port, body_size);
    bool has_type = false;
    for (int index = 0; index < header_count; index++) {
        if (!strchr(headers[index], ':') || strpbrk(headers[index], "\r\n"))
            die("a header must be 'Name: value', not '%s'", headers[index]);
        if (strncasecmp(headers[index], "content-type:", 13) == 0) has_type = true;
        fprintf(stream, "%s\r\n", headers[index]);
    }
    fprintf(stream, "%s\r\n", has_type ? "" : "Content-Type: application/json\r\n");
    fclose(stream);
    target.request_size = head_size + body_size;
    target.request = realloc(head, target.request_size);
    if (!target.request) die("out of memory");
    memcpy(target.request + head_size, body, body_size);
    free(body);
    return target;
}

// Begins to connect; -1 where that fails at once. The socket can be written to when it is connected.
static inline int start_connecting(const struct target *target) {
    int one = 1;
    int fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (const struct sockaddr *)&target->address, target->address_size) == 0 || errno == EINPROGRESS)
        return fd;
    close(fd);
    return -1;
}

// Whether a socket that began to connect, and can be written to now, is connected.
static inline bool is_connected(int fd) {
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

// Sends what can be sent of the request; MORE where the socket takes no more for now.
static inline enum progress send_request(int fd, const struct target *target, size_t *sent) {
    while (*sent < target->request_size) {
        ssize_t count = send(fd, target->request + *sent, target->request_size - *sent, MSG_NOSIGNAL);
        if (count > 0) *sent += (size_t)count;
        else if (count < 0 && errno == EINTR) continue;
        else return count < 0 && errno == EAGAIN ? MORE : BAD;
    }
    return DONE;
}

// MARK: Answers

struct answer {
    char head_bytes[HEAD_BYTES];
    size_t head_seen;
    struct head head;
    int status; // 0: its head is not whole yet
    bool has_begun; // a byte of the body has come
    struct body body;
};

static inline void expect_answer(struct answer *answer) {
    answer->head_seen = 0;
    answer->status = 0;
    answer->has_begun = false;
}

static inline enum progress take_answer_head(struct answer *answer, const char **bytes, const char *end) {
    size_t before = answer->head_seen, there = (size_t)(end - *bytes);
    if (there > HEAD_BYTES - before) there = HEAD_BYTES - before;
    memcpy(answer->head_bytes + before, *bytes, there);
    answer->head_seen += there;
    enum progress progress = read_head(&answer->head, answer->head_bytes, answer->head_seen, before);
    if (progress != DONE) {
        *bytes += there;
        return progress;
    }
    *bytes += answer->head.size - before;
    const char *line = answer->head_bytes;
    if (answer->head.size < 16 || memcmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ') return BAD;
    int status = 0;
    for (int index = 9; index < 12; index++) {
        if (line[index] < '0' || line[index] > '9') return BAD;
        status = 10 * status + (line[index] - '0');
    }
    if (status < 200) { // an interim answer: the real one follows
        expect_answer(answer);
        return status == 100 || status == 102 || status == 103 ? MORE : BAD;
    }
    if (line[7] == '0') answer->head.close = true;
    answer->status = status;
    if (status == 204 || status == 304) answer->head.content_length = 0;
    answer->body = body_of(&answer->head);
    if (!answer->head.chunked && answer->head.content_length < 0) {
        answer->body.at = UNTIL_CLOSE;
        answer->head.close = true;
    }
    return DONE;
}

// Takes bytes of an answer. Bytes after its end are BAD: only one request is ever under way.
static inline enum progress take_answer(struct answer *answer, const char *bytes, size_t size) {
    const char *end = bytes + size;
    while (!answer->status) {
        if (bytes == end) return MORE;
        if (take_answer_head(answer, &bytes, end) == BAD) return BAD;
    }
    for (;;) {
        const char *run;
        size_t run_size;
        enum progress progress = take_body(&answer->body, &bytes, end, &run, &run_size);
        if (run_size > 0) answer->has_begun = true;
        if (progress == DONE) return bytes == end ? DONE : BAD;
        if (progress == BAD || bytes == end) return progress;
    }
}

// What the end of the connection means for an answer under way.
static inline enum progress end_answer(const struct answer *answer) {
    return answer->status && answer->body.at == UNTIL_CLOSE ? DONE : BAD;
}

#endif
