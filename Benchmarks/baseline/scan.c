// The baseline for `replay verify`: reads all events in order and recomputes the hash chain over their canonical bytes.
//
// It is what the verification cannot be faster than with SQLite and libcrypto: no decoding of events, no fold, no rules.
//
//   scan DB
//
// Prints {"events":…,"seconds":…,"events_per_second":…,"head":"…"}; exits with 1 where a stored hash is not the computed one.

#include "chain.h"

int main(int argc, char **argv) {
    if (argc != 2) {
        fputs("usage: scan DB\n", stderr);
        return 2;
    }
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        die("cannot open %s: %s", argv[1], sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, 5000);
    sqlite3_stmt *row = prepare(
        db,
        "SELECT position, account, version, type, recorded_at, effective_at, key, data, hash "
        "FROM events ORDER BY position");
    struct chain chain;
    chain_open(&chain);

    int64_t events = 0, broken_at = 0;
    int step;
    double began = seconds_now();
    while ((step = sqlite3_step(row)) == SQLITE_ROW) {
        struct event event = {
            .position = sqlite3_column_int64(row, 0),
            .account = column_span(row, 1),
            .version = sqlite3_column_int64(row, 2),
            .type = column_span(row, 3),
            .recorded_at = sqlite3_column_int64(row, 4),
            .effective_at = sqlite3_column_int64(row, 5),
            .key = column_span(row, 6),
            .data = column_span(row, 7),
        };
        struct span stored = column_span(row, 8);
        chain_append(&chain, &event);
        if (stored.size != HASH_BYTES || memcmp(stored.bytes, chain.head, HASH_BYTES) != 0) {
            broken_at = event.position;
            break;
        }
        events++;
    }
    double seconds = seconds_now() - began;
    if (step != SQLITE_DONE && step != SQLITE_ROW) die("reading failed: %s", sqlite3_errmsg(db));
    if (broken_at) fprintf(stderr, "the stored hash of position %lld is not that of its event\n", (long long)broken_at);

    printf("{\"events\":%lld,\"seconds\":%.6f,\"events_per_second\":%.0f,\"head\":\"", (long long)events, seconds,
           seconds > 0 ? (double)events / seconds : 0);
    for (int index = 0; index < HASH_BYTES; index++) printf("%02x", chain.head[index]);
    puts("\"}");
    sqlite3_finalize(row);
    sqlite3_close(db);
    chain_close(&chain);
    return broken_at ? 1 : 0;
}
