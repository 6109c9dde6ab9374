// The baseline for "durable charges per second": the rows of the same requests with SQLite alone.
//
// It leaves out everything that is the ledger's own work — no queue, no threads, no rules, no JSON parsing, no triggers, no
// look for an earlier event — and keeps what a durable charge needs whoever does it: a hold and a charge as two rows of
// `events` with their links of the hash chain, the account's rows of `balances` and `grants`, and one fsync for each of the
// two. CALLERS requests share a transaction, as an ideal group commit would have them: all of them wait for their hold, then
// all wait for their charge.
//
//   charges DB REQUESTS CALLERS
//
// DB is a ledger of accounts `bench-…`, each open and with one grant as its event of version 2, with at least one price. It
// is no ledger afterwards: the triggers that keep events from being changed are gone. So it refuses a database that has other
// accounts.
//
// Durability is the ledger's: WAL with synchronous=FULL, read back. `wal_autocheckpoint` stays at SQLite's default of 1000
// pages, which the ledger uses too: the commit that takes the log past 4 MB also writes the pages into the database, and that
// cost belongs to the figure. Opening and the checkpoint on closing do not.
//
// Prints {"requests":…,"seconds":…,"requests_per_second":…}.

#include "chain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <sys/random.h>

#define MODEL_BYTES 256
#define REQUEST_BYTES 30 // "req_" and 26 digits
#define RAW_USAGE "{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d}"

static const char key_id[] = "3f0c7d9a-52be-4b16-9d0e-8a6f14c2b7e5";
static const char endpoint[] = "/v1/chat/completions";

// A row of `balances` and the row of its grant, as they stand in the database.
struct account {
    char *name, *plan, *pool, *source;
    char *expired, *reversed, *withdrawn; // decimal text that no charge changes
    char granted[24], charged[24];
    int64_t version, opened_at, balance, debt, held, open_holds, charged_nanos, rate;
    int64_t grant, grant_amount, grant_remaining, expires_at, debt_repaid;
    bool has_plan, is_open, expires;
    int blocked;
};

struct price {
    char model[MODEL_BYTES];
    char json[256]; // as events carry it
    int64_t input, output, dearest_input;
};

// A request under way: what its charge has to know of its hold.
struct request {
    struct account *account;
    char id[REQUEST_BYTES + 1];
    int prompt, completion;
    int64_t held;
};

struct ledger {
    sqlite3 *db;
    sqlite3_stmt *begin, *commit, *append, *save_balance, *save_grant;
    struct chain chain;
    int64_t position, recorded_at;
    uint64_t random;
};

// MARK: Helpers

static char *copy(struct span text) {
    char *copied = malloc(text.size + 1);
    if (!copied) die("out of memory");
    memcpy(copied, text.bytes, text.size);
    copied[text.size] = 0;
    return copied;
}

static int64_t parse(const char *text, const char *what) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || *end || end == text) die("%s: '%s' is no number that fits", what, text);
    return value;
}

static int64_t microseconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

// splitmix64: the ids only have to differ.
static uint64_t next_random(uint64_t *state) {
    uint64_t value = *state += 0x9E3779B97F4A7C15;
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9;
    value = (value ^ value >> 27) * 0x94D049BB133111EB;
    return value ^ value >> 31;
}

// Milliseconds in 48 bits and 80 random bits in Crockford's base 32, as the ledger names requests: keys grow with time.
static void make_request_id(char id[static REQUEST_BYTES + 1], int64_t microseconds, uint64_t *random) {
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    unsigned __int128 value = (unsigned __int128)(uint64_t)(microseconds / 1000) << 80;
    value |= (unsigned __int128)(next_random(random) & 0xFFFF) << 64 | next_random(random);
    memcpy(id, "req_", 4);
    for (int index = REQUEST_BYTES - 1; index >= 4; index--, value >>= 5) id[index] = digits[(int)(value & 31)];
    id[REQUEST_BYTES] = 0;
}

// ⌈pico-USD × rate ÷ 10⁹⌉ nano-credits.
static int64_t credits(int64_t pico_usd, int64_t rate) {
    unsigned __int128 scaled = (unsigned __int128)pico_usd * (uint64_t)rate + 999999999;
    return (int64_t)(scaled / 1000000000);
}

static void execute(sqlite3 *db, const char *sql) {
    char *message = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK) die("%s: %s", sql, message ? message : "failed");
}

static void run(sqlite3 *db, sqlite3_stmt *statement) {
    if (sqlite3_step(statement) != SQLITE_DONE) die("writing failed: %s", sqlite3_errmsg(db));
    sqlite3_reset(statement);
}

static void demand(sqlite3 *db, const char *pragma, const char *value) {
    sqlite3_stmt *row = prepare(db, pragma);
    if (sqlite3_step(row) != SQLITE_ROW || strcmp((const char *)sqlite3_column_text(row, 0), value) != 0)
        die("%s is not %s", pragma, value);
    sqlite3_finalize(row);
}

static void bind_text(sqlite3_stmt *statement, int index, const char *text) {
    sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
}

// MARK: Opening

static sqlite3 *open_database(const char *path) {
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        die("cannot open %s: %s", path, sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, 5000);
    sqlite3_stmt *others = prepare(db, "SELECT account FROM balances WHERE account NOT GLOB 'bench-*' LIMIT 1");
    if (sqlite3_step(others) != SQLITE_DONE) die("%s has accounts that are not bench-…: it is left alone", path);
    sqlite3_finalize(others);
    execute(db, "PRAGMA journal_mode = WAL");
    execute(db, "PRAGMA synchronous = FULL");
    execute(db, "PRAGMA cache_size = -65536");
    demand(db, "PRAGMA journal_mode", "wal");
    demand(db, "PRAGMA synchronous", "2");
    demand(db, "PRAGMA wal_autocheckpoint", "1000");
    execute(db, "DROP TRIGGER IF EXISTS events_are_never_updated");
    execute(db, "DROP TRIGGER IF EXISTS events_are_never_deleted");
    execute(db, "DROP TRIGGER IF EXISTS events_are_appended");
    return db;
}

static void read_head(struct ledger *ledger) {
    sqlite3_stmt *row =
        prepare(ledger->db, "SELECT position, recorded_at, hash FROM events ORDER BY position DESC LIMIT 1");
    if (sqlite3_step(row) == SQLITE_ROW) {
        ledger->position = sqlite3_column_int64(row, 0);
        ledger->recorded_at = sqlite3_column_int64(row, 1);
        struct span hash = column_span(row, 2);
        if (hash.size != HASH_BYTES) die("the last event has no hash");
        memcpy(ledger->chain.head, hash.bytes, HASH_BYTES);
    }
    sqlite3_finalize(row);
}

static struct price read_price(sqlite3 *db) {
    static const char *const names[] = {"input", "output", "cached", "cache_write", "cache_write_1h"};
    struct price price = {0};
    sqlite3_stmt *row = prepare(
        db,
        "SELECT version, data ->> 'model', data ->> 'input', data ->> 'output', data ->> 'cached',"
        " data ->> 'cache_write', data ->> 'cache_write_1h'"
        " FROM events WHERE account = '$prices' AND type = 'price_set.v1' ORDER BY version LIMIT 1");
    if (sqlite3_step(row) != SQLITE_ROW) die("there is no price");
    struct span model = column_span(row, 1);
    if (model.size >= MODEL_BYTES) die("the model's name is too long");
    memcpy(price.model, model.bytes, model.size);
    price.input = sqlite3_column_int64(row, 2);
    price.output = sqlite3_column_int64(row, 3);
    int size = snprintf(price.json, sizeof price.json, "{\"version\":%lld", sqlite3_column_int64(row, 0));
    for (int index = 0; index < 5; index++) {
        if (sqlite3_column_type(row, index + 2) == SQLITE_NULL) continue;
        int64_t figure = sqlite3_column_int64(row, index + 2);
        if (index != 1 && figure > price.dearest_input) price.dearest_input = figure;
        size += snprintf(price.json + size, sizeof price.json - (size_t)size, ",\"%s\":%" PRId64, names[index], figure);
    }
    snprintf(price.json + size, sizeof price.json - (size_t)size, "}");
    sqlite3_finalize(row);
    return price;
}

static size_t read_accounts(sqlite3 *db, struct account **accounts) {
    sqlite3_stmt *row = prepare(
        db,
        "SELECT b.account, b.version, b.plan, b.blocked, b.opened_at, b.balance, b.debt, b.held, b.open_holds,"
        " b.granted, b.expired, b.charged, b.reversed, b.withdrawn,"
        " g.id, g.pool, g.source, g.amount, g.remaining, g.expires_at, g.debt_repaid,"
        " e.data ->> 'micro_credits_per_usd'"
        " FROM balances b JOIN grants g ON g.account = b.account AND g.id = 2"
        " JOIN events e ON e.account = b.account AND e.version = 1 ORDER BY b.account");
    size_t count = 0, capacity = 0;
    int step;
    *accounts = NULL;
    while ((step = sqlite3_step(row)) == SQLITE_ROW) {
        if (count == capacity) {
            capacity = capacity ? 2 * capacity : 1024;
            *accounts = realloc(*accounts, capacity * sizeof **accounts);
            if (!*accounts) die("out of memory");
        }
        struct account *account = &(*accounts)[count++];
        *account = (struct account){
            .name = copy(column_span(row, 0)),
            .version = sqlite3_column_int64(row, 1),
            .has_plan = sqlite3_column_type(row, 2) != SQLITE_NULL,
            .plan = copy(column_span(row, 2)),
            .blocked = sqlite3_column_int(row, 3),
            .is_open = sqlite3_column_type(row, 4) != SQLITE_NULL,
            .opened_at = sqlite3_column_int64(row, 4),
            .balance = sqlite3_column_int64(row, 5),
            .debt = sqlite3_column_int64(row, 6),
            .held = sqlite3_column_int64(row, 7),
            .open_holds = sqlite3_column_int64(row, 8),
            .expired = copy(column_span(row, 10)),
            .reversed = copy(column_span(row, 12)),
            .withdrawn = copy(column_span(row, 13)),
            .grant = sqlite3_column_int64(row, 14),
            .pool = copy(column_span(row, 15)),
            .source = copy(column_span(row, 16)),
            .grant_amount = sqlite3_column_int64(row, 17),
            .grant_remaining = sqlite3_column_int64(row, 18),
            .expires = sqlite3_column_type(row, 19) != SQLITE_NULL,
            .expires_at = sqlite3_column_int64(row, 19),
            .debt_repaid = sqlite3_column_int64(row, 20),
            .rate = sqlite3_column_int64(row, 21),
        };
        snprintf(account->granted, sizeof account->granted, "%s", (const char *)sqlite3_column_text(row, 9));
        account->charged_nanos = parse((const char *)sqlite3_column_text(row, 11), account->name);
        if (account->rate < 1) die("%s has no rate", account->name);
    }
    if (step != SQLITE_DONE) die("reading accounts failed: %s", sqlite3_errmsg(db));
    sqlite3_finalize(row);
    if (!count) die("there is no account with a grant of version 2");
    return count;
}

static void prepare_statements(struct ledger *ledger) {
    ledger->begin = prepare(ledger->db, "BEGIN IMMEDIATE");
    ledger->commit = prepare(ledger->db, "COMMIT");
    ledger->append = prepare(
        ledger->db,
        "INSERT INTO events (position, account, version, type, recorded_at, effective_at, key, data, hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    // The ledger's own statements: the same columns are written, changed or not.
    ledger->save_balance = prepare(
        ledger->db,
        "INSERT INTO balances (account, version, plan, blocked, opened_at, balance, debt, held, open_holds,"
        " granted, expired, charged, reversed, withdrawn) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (account) DO UPDATE SET version = excluded.version, plan = excluded.plan,"
        " blocked = excluded.blocked, opened_at = excluded.opened_at, balance = excluded.balance,"
        " debt = excluded.debt, held = excluded.held, open_holds = excluded.open_holds,"
        " granted = excluded.granted, expired = excluded.expired, charged = excluded.charged,"
        " reversed = excluded.reversed, withdrawn = excluded.withdrawn");
    ledger->save_grant = prepare(
        ledger->db,
        "INSERT INTO grants (account, id, pool, source, amount, remaining, expires_at, debt_repaid)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (account, id) DO UPDATE SET remaining = excluded.remaining, debt_repaid = excluded.debt_repaid");
}

// MARK: Writing

static void begin(struct ledger *ledger) {
    run(ledger->db, ledger->begin);
    // The events of one transaction count as simultaneous, and recorded time never goes back.
    int64_t now = microseconds_now();
    if (now > ledger->recorded_at) ledger->recorded_at = now;
}

static void append(struct ledger *ledger, struct account *account, const char *type, struct span key, struct span data) {
    struct event event = {
        .position = ++ledger->position,
        .version = ++account->version,
        .recorded_at = ledger->recorded_at,
        .effective_at = ledger->recorded_at,
        .account = {account->name, strlen(account->name)},
        .type = {type, strlen(type)},
        .key = key,
        .data = data,
    };
    chain_append(&ledger->chain, &event);
    sqlite3_stmt *row = ledger->append;
    sqlite3_bind_int64(row, 1, event.position);
    sqlite3_bind_text(row, 2, event.account.bytes, (int)event.account.size, SQLITE_STATIC);
    sqlite3_bind_int64(row, 3, event.version);
    sqlite3_bind_text(row, 4, event.type.bytes, (int)event.type.size, SQLITE_STATIC);
    sqlite3_bind_int64(row, 5, event.recorded_at);
    sqlite3_bind_int64(row, 6, event.effective_at);
    sqlite3_bind_text(row, 7, key.bytes, (int)key.size, SQLITE_STATIC);
    sqlite3_bind_text(row, 8, data.bytes, (int)data.size, SQLITE_STATIC);
    sqlite3_bind_blob(row, 9, ledger->chain.head, HASH_BYTES, SQLITE_STATIC);
    run(ledger->db, row);
}

static void save_balance(struct ledger *ledger, struct account *account) {
    snprintf(account->charged, sizeof account->charged, "%" PRId64, account->charged_nanos);
    sqlite3_stmt *row = ledger->save_balance;
    bind_text(row, 1, account->name);
    sqlite3_bind_int64(row, 2, account->version);
    bind_text(row, 3, account->has_plan ? account->plan : NULL);
    sqlite3_bind_int(row, 4, account->blocked);
    if (account->is_open) sqlite3_bind_int64(row, 5, account->opened_at);
    else sqlite3_bind_null(row, 5);
    sqlite3_bind_int64(row, 6, account->balance);
    sqlite3_bind_int64(row, 7, account->debt);
    sqlite3_bind_int64(row, 8, account->held);
    sqlite3_bind_int64(row, 9, account->open_holds);
    bind_text(row, 10, account->granted);
    bind_text(row, 11, account->expired);
    bind_text(row, 12, account->charged);
    bind_text(row, 13, account->reversed);
    bind_text(row, 14, account->withdrawn);
    run(ledger->db, row);
}

static void save_grant(struct ledger *ledger, const struct account *account) {
    sqlite3_stmt *row = ledger->save_grant;
    bind_text(row, 1, account->name);
    sqlite3_bind_int64(row, 2, account->grant);
    bind_text(row, 3, account->pool);
    bind_text(row, 4, account->source);
    sqlite3_bind_int64(row, 5, account->grant_amount);
    sqlite3_bind_int64(row, 6, account->grant_remaining);
    if (account->expires) sqlite3_bind_int64(row, 7, account->expires_at);
    else sqlite3_bind_null(row, 7);
    sqlite3_bind_int64(row, 8, account->debt_repaid);
    run(ledger->db, row);
}

// Formats what fits into `buffer`, which is sized for the longest event there can be.
__attribute__((format(printf, 3, 4))) static struct span text(char *buffer, size_t capacity, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(buffer, capacity, format, arguments);
    va_end(arguments);
    if (size < 0 || (size_t)size >= capacity) die("an event is too long");
    return (struct span){buffer, (size_t)size};
}

static void hold(struct ledger *ledger, const struct price *price, struct request *request) {
    char key[64], data[2048];
    struct account *account = request->account;
    int prompt_bound = 2 * request->prompt, output_bound = 1024;
    request->held = credits(prompt_bound * price->dearest_input + output_bound * price->output, account->rate);
    account->held += request->held;
    account->open_holds++;
    append(
        ledger, account, "hold_placed.v1", text(key, sizeof key, "hold:%s", request->id),
        text(data, sizeof data,
             "{\"request\":\"%s\",\"model\":\"%s\",\"key_id\":\"%s\",\"endpoint\":\"%s\",\"prompt_bound\":%d,"
             "\"output_bound\":%d,\"wanted_output\":%d,\"price\":%s,\"micro_credits_per_usd\":%" PRId64
             ",\"amount\":%" PRId64 "}",
             request->id, price->model, key_id, endpoint, prompt_bound, output_bound, output_bound, price->json,
             account->rate, request->held));
    save_balance(ledger, account);
}

static void charge(struct ledger *ledger, const struct price *price, struct request *request) {
    char key[64], data[2048], usage[128];
    struct account *account = request->account;
    int64_t cost = request->prompt * price->input + request->completion * price->output;
    int64_t amount = credits(cost, account->rate);
    if (amount > account->grant_remaining) die("%s: its grant is used up: prepare larger ones", account->name);
    account->held -= request->held;
    account->open_holds--;
    account->balance -= amount;
    account->charged_nanos += amount;
    account->grant_remaining -= amount;
    text(usage, sizeof usage, RAW_USAGE, request->prompt, request->completion, request->prompt + request->completion);
    append(
        ledger, account, "request_charged.v1", text(key, sizeof key, "settle:%s", request->id),
        text(data, sizeof data,
             "{\"request\":\"%s\",\"model\":\"%s\",\"key_id\":\"%s\",\"endpoint\":\"%s\",\"outcome\":\"finished\","
             "\"prompt_tokens\":%d,\"cached_tokens\":0,\"cache_write_tokens\":0,\"cache_write_1h_tokens\":0,"
             "\"completion_tokens\":%d,\"estimated\":false,\"raw_usage\":%s,\"price\":%s,"
             "\"micro_credits_per_usd\":%" PRId64 ",\"cost_pico_usd\":%" PRId64 ",\"credits\":%" PRId64
             ",\"allocations\":[[%" PRId64 ",%" PRId64 "]],\"shortfall\":0,\"balance\":%" PRId64 "}",
             request->id, price->model, key_id, endpoint, request->prompt, request->completion, usage, price->json,
             account->rate, cost, amount, account->grant, amount, account->balance));
    save_balance(ledger, account);
    save_grant(ledger, account);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fputs("usage: charges DB REQUESTS CALLERS\n", stderr);
        return 2;
    }
    int64_t requests = parse(argv[2], "REQUESTS"), callers = parse(argv[3], "CALLERS");
    if (requests < 1 || requests > 100000000 || callers < 1 || callers > 100000)
        die("REQUESTS must be 1 to 100000000 and CALLERS 1 to 100000");

    struct ledger ledger = {.db = open_database(argv[1])};
    chain_open(&ledger.chain);
    read_head(&ledger);
    struct price price = read_price(ledger.db);
    struct account *accounts;
    size_t account_count = read_accounts(ledger.db, &accounts);
    prepare_statements(&ledger);
    if (getrandom(&ledger.random, sizeof ledger.random, 0) != sizeof ledger.random) die("no random numbers");
    struct request *group = calloc((size_t)callers, sizeof *group);
    if (!group) die("out of memory");

    double began = seconds_now();
    for (int64_t done = 0; done < requests;) {
        int64_t size = requests - done < callers ? requests - done : callers;
        begin(&ledger);
        for (int64_t index = 0; index < size; index++) {
            int64_t number = done + index;
            group[index] = (struct request){
                .account = &accounts[(size_t)number % account_count],
                .prompt = 800 + (int)(number % 400),
                .completion = 200 + (int)(number % 100),
            };
            make_request_id(group[index].id, ledger.recorded_at, &ledger.random);
            hold(&ledger, &price, &group[index]);
        }
        run(ledger.db, ledger.commit);
        begin(&ledger);
        for (int64_t index = 0; index < size; index++) charge(&ledger, &price, &group[index]);
        run(ledger.db, ledger.commit);
        done += size;
    }
    double seconds = seconds_now() - began;

    printf("{\"requests\":%" PRId64 ",\"seconds\":%.6f,\"requests_per_second\":%.0f}\n", requests, seconds,
           (double)requests / seconds);
    sqlite3_stmt *statements[] = {
        ledger.begin, ledger.commit, ledger.append, ledger.save_balance, ledger.save_grant};
    for (size_t index = 0; index < sizeof statements / sizeof *statements; index++) sqlite3_finalize(statements[index]);
    sqlite3_close(ledger.db);
    chain_close(&ledger.chain);
    for (size_t index = 0; index < account_count; index++) {
        struct account *account = &accounts[index];
        free(account->name);
        free(account->plan);
        free(account->pool);
        free(account->source);
        free(account->expired);
        free(account->reversed);
        free(account->withdrawn);
    }
    free(accounts);
    free(group);
    return 0;
}
