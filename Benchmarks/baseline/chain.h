// What both baselines need: the ledger's hash chain as EventHash.swift defines it, and small helpers.

#ifndef BASELINE_CHAIN_H
#define BASELINE_CHAIN_H

#include <openssl/evp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HASH_BYTES = 32 };

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static inline double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// A stretch of bytes that belongs to somebody else.
struct span {
    const char *bytes;
    size_t size;
};

struct event {
    int64_t position, version, recorded_at, effective_at;
    struct span account, type, key, data;
};

struct chain {
    EVP_MD *sha256; // fetched once: SHA256() would look it up for every event
    EVP_MD_CTX *context;
    unsigned char head[HASH_BYTES];
    unsigned char *buffer;
    size_t capacity;
};

static inline void chain_digest(struct chain *chain, const void *bytes, size_t size) {
    if (!EVP_DigestInit_ex2(chain->context, chain->sha256, NULL) || !EVP_DigestUpdate(chain->context, bytes, size)
        || !EVP_DigestFinal_ex(chain->context, chain->head, NULL))
        die("SHA-256 failed");
}

// Starts at the link before the first event.
static inline void chain_open(struct chain *chain) {
    static const char genesis[] = "credit-ledger genesis v1";
    memset(chain, 0, sizeof *chain);
    chain->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    chain->context = EVP_MD_CTX_new();
    if (!chain->sha256 || !chain->context) die("no SHA-256");
    chain_digest(chain, genesis, sizeof genesis - 1);
}

static inline void chain_close(struct chain *chain) {
    EVP_MD_CTX_free(chain->context);
    EVP_MD_free(chain->sha256);
    free(chain->buffer);
}

static inline unsigned char *put_big_endian(unsigned char *at, uint64_t value, int bytes) {
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) *at++ = (unsigned char)(value >> shift);
    return at;
}

static inline unsigned char *put_text(unsigned char *at, struct span text) {
    at = put_big_endian(at, text.size, 4);
    memcpy(at, text.bytes, text.size);
    return at + text.size;
}

// Moves the head on to the link of `event`.
static inline void chain_append(struct chain *chain, const struct event *event) {
    size_t size = HASH_BYTES + 4 * 8 + 4 * 4 + event->account.size + event->type.size + event->key.size
        + event->data.size;
    if (size > chain->capacity) {
        chain->capacity = 2 * size;
        chain->buffer = realloc(chain->buffer, chain->capacity);
        if (!chain->buffer) die("out of memory");
    }
    unsigned char *at = chain->buffer;
    memcpy(at, chain->head, HASH_BYTES);
    at = put_big_endian(at + HASH_BYTES, (uint64_t)event->position, 8);
    at = put_big_endian(at, (uint64_t)event->version, 8);
    at = put_big_endian(at, (uint64_t)event->recorded_at, 8);
    at = put_big_endian(at, (uint64_t)event->effective_at, 8);
    at = put_text(at, event->account);
    at = put_text(at, event->type);
    at = put_text(at, event->key);
    put_text(at, event->data);
    chain_digest(chain, chain->buffer, size);
}

static inline sqlite3_stmt *prepare(sqlite3 *db, const char *sql) {
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK)
        die("%s: %s", sqlite3_errmsg(db), sql);
    return statement;
}

// A text or blob column of the current row; valid until the next step.
static inline struct span column_span(sqlite3_stmt *row, int column) {
    // The bytes come first: sqlite3_column_bytes gives the size of what the last conversion left.
    const char *bytes = sqlite3_column_blob(row, column);
    return (struct span){bytes ? bytes : "", (size_t)sqlite3_column_bytes(row, column)};
}

#endif
