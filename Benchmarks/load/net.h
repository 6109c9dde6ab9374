// What the programs of this folder share: small helpers, and how HTTP/1.1 frames a message.

#ifndef LOAD_NET_H
#define LOAD_NET_H

// For memmem and accept4: this header has to be included first.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES = 16384 }; // the longest head of a message that is taken

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static inline void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) die("out of memory");
    return memory;
}

// An argument that must be a whole number within bounds.
static inline int64_t number(const char *text, const char *what, int64_t least, int64_t most) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || *end || end == text || value < least || value > most)
        die("%s must be a number from %lld to %lld, not '%s'", what, (long long)least, (long long)most, text);
    return value;
}

static inline int64_t nanoseconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

// Milliseconds until `deadline`, rounded up, as epoll_wait wants them.
static inline int milliseconds_until(int64_t deadline) {
    int64_t left = deadline - nanoseconds_now();
    return left <= 0 ? 0 : (int)((left + 999999) / 1000000);
}

// Every connection is a descriptor: takes as many as the process may have.
static inline void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

// MARK: Heads

struct head {
    size_t size;            // with the empty line
    int64_t content_length; // -1: there is none
    bool chunked;
    bool close; // no further message on this connection
};

static inline bool is_named(const char *name, size_t size, const char *wanted) {
    return size == strlen(wanted) && strncasecmp(name, wanted, size) == 0;
}

// Reads one header field into `head`; false where it leaves open how long the body is.
static inline bool read_field(struct head *head, const char *line, size_t size) {
    const char *colon = memchr(line, ':', size);
    if (!colon || colon == line) return false;
    size_t name_size = (size_t)(colon - line);
    const char *value = colon + 1, *end = line + size;
    while (value < end && (*value == ' ' || *value == '\t')) value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) end--;
    size_t value_size = (size_t)(end - value);
    if (is_named(line, name_size, "content-length")) {
        int64_t length = 0;
        if (value_size < 1 || value_size > 15) return false;
        for (size_t index = 0; index < value_size; index++) {
            if (value[index] < '0' || value[index] > '9') return false;
            length = 10 * length + (value[index] - '0');
        }
        if (head->content_length >= 0 && head->content_length != length) return false;
        head->content_length = length;
    } else if (is_named(line, name_size, "transfer-encoding")) {
        if (!is_named(value, value_size, "chunked") || head->chunked) return false;
        head->chunked = true;
    } else if (is_named(line, name_size, "connection")) {
        if (is_named(value, value_size, "close")) head->close = true;
    }
    return true;
}

enum progress { MORE, DONE, BAD };

// Reads the head that `bytes` begins with: DONE when it is whole. `seen` bytes were looked at before.
//
// The first line is the caller's. A head with both a length and chunks is refused: who frames it otherwise sees other messages.
static inline enum progress read_head(struct head *head, const char *bytes, size_t size, size_t seen) {
    size_t from = seen > 3 ? seen - 3 : 0;
    const char *end = memmem(bytes + from, size - from, "\r\n\r\n", 4);
    if (!end) return size < HEAD_BYTES ? MORE : BAD;
    *head = (struct head){.size = (size_t)(end - bytes) + 4, .content_length = -1};
    const char *line = memmem(bytes, head->size, "\r\n", 2);
    for (line += 2; line < end;) {
        const char *line_end = memmem(line, head->size - (size_t)(line - bytes), "\r\n", 2);
        if (!read_field(head, line, (size_t)(line_end - line))) return BAD;
        line = line_end + 2;
    }
    return head->chunked && head->content_length >= 0 ? BAD : DONE;
}

// MARK: Bodies

// Where a body is. It takes bytes as they come, and gives the body's own bytes run by run.
struct body {
    enum { BY_LENGTH, UNTIL_CLOSE, CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_LINE_END, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF,
           TRAILER_START, TRAILER, TRAILERS_LF } at;
    uint64_t left;   // of the length or of the chunk
    unsigned digits; // of the chunk's size
    unsigned extra;  // bytes of extensions and trailers: bounded, as nobody needs them
};

// Starts on a body with chunks, or of a known length.
static inline struct body body_of(const struct head *head) {
    if (head->chunked) return (struct body){.at = CHUNK_SIZE};
    return (struct body){.at = BY_LENGTH, .left = head->content_length > 0 ? (uint64_t)head->content_length : 0};
}

static inline int hex_digit(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if ((digit | 32) >= 'a' && (digit | 32) <= 'f') return (digit | 32) - 'a' + 10;
    return -1;
}

// Takes bytes up to the end of the body or of the next run of its own bytes, and leaves `*bytes` after them.
//
// `*run` is the run, `*run_size` 0 where there is none. To be called until it is not MORE or no bytes are left.
static inline enum progress take_body(
    struct body *body, const char **bytes, const char *end, const char **run, size_t *run_size
) {
    *run_size = 0;
    if (body->at == BY_LENGTH && body->left == 0) return DONE;
    while (*bytes < end) {
        if (body->at == BY_LENGTH || body->at == CHUNK_DATA || body->at == UNTIL_CLOSE) {
            uint64_t there = (uint64_t)(end - *bytes);
            if (body->at != UNTIL_CLOSE && there > body->left) there = body->left;
            *run = *bytes;
            *run_size = there;
            *bytes += there;
            if (body->at == UNTIL_CLOSE) return MORE;
            body->left -= there;
            if (body->left > 0) return MORE;
            if (body->at == BY_LENGTH) return DONE;
            body->at = CHUNK_DATA_CR;
            return MORE;
        }
        char byte = *(*bytes)++;
        switch (body->at) {
        case CHUNK_SIZE: {
            int digit = hex_digit(byte);
            if (digit >= 0) {
                if (++body->digits > 15) return BAD;
                body->left = body->left << 4 | (unsigned)digit;
            } else if (body->digits == 0) {
                return BAD;
            } else if (byte == '\r') {
                body->at = CHUNK_LINE_END;
            } else if (byte == ';' || byte == ' ' || byte == '\t') {
                body->at = CHUNK_EXTENSION;
            } else {
                return BAD;
            }
            break;
        }
        case CHUNK_EXTENSION:
            if (byte == '\r') body->at = CHUNK_LINE_END;
            else if (byte == '\n' || ++body->extra > HEAD_BYTES) return BAD;
            break;
        case CHUNK_LINE_END:
            if (byte != '\n') return BAD;
            body->digits = 0;
            body->at = body->left > 0 ? CHUNK_DATA : TRAILER_START;
            break;
        case CHUNK_DATA_CR:
            if (byte != '\r') return BAD;
            body->at = CHUNK_DATA_LF;
            break;
        case CHUNK_DATA_LF:
            if (byte != '\n') return BAD;
            body->at = CHUNK_SIZE;
            break;
        case TRAILER_START:
            body->at = byte == '\r' ? TRAILERS_LF : TRAILER;
            break;
        case TRAILER:
            if (byte == '\n') body->at = TRAILER_START;
            else if (++body->extra > HEAD_BYTES) return BAD;
            break;
        case TRAILERS_LF: return byte == '\n' ? DONE : BAD;
        default: return BAD;
        }
    }
    return MORE;
}

#endif
