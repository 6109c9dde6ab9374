import GRDB
import Ledger

/// The ledger's tables, as migrations that only go forward.
///
/// Migrations are appended and never edited once they have shipped. All SQL of a migration is literal.
enum Schema {
    /// The schema that this build writes. A database with a newer one is refused.
    static var version: Int64 { Int64(migrations.count) }

    /// `PRAGMA application_id` of a ledger: "CRLG".
    static let applicationID: Int64 = 0x4352_4C47

    /// Brings a database to ``version``; each migration is one transaction, which also sets `user_version`.
    static func migrate(_ db: Database) throws {
        try migrate(db, to: version)
    }

    /// The definitions of all tables, indexes and triggers of a schema, by name.
    static func definitions(of version: Int64) throws -> [String: String] {
        try DatabaseQueue().writeWithoutTransaction { db in
            try migrate(db, to: version)
            return try definitions(in: db)
        }
    }

    /// The definitions that a database has. Quotation marks and white space do not count: SQLite adds some where a table is renamed.
    static func definitions(in db: Database) throws -> [String: String] {
        var definitions: [String: String] = [:]
        let statement = try Statement(db.sqliteConnection, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        try statement.forEach { row throws(StoreError) in
            definitions[row.text(0)] =
                row.text(1).split { $0.isWhitespace || $0 == "\"" || $0 == "(" || $0 == ")" }.joined(separator: " ")
        }
        return definitions
    }

    private static func migrate(_ db: Database, to version: Int64) throws {
        let current = try Int64.fetchOne(db, sql: "PRAGMA user_version") ?? 0
        for (index, migration) in migrations.enumerated().prefix(Int(clamping: version)).dropFirst(
            Int(clamping: current))
        {
            try db.inTransaction(.immediate) {
                try db.execute(sql: migration)
                // PRAGMA takes no bound parameters; both figures are our own integers.
                try db.execute(sql: "PRAGMA user_version = \(index + 1)")
                try db.execute(sql: "PRAGMA application_id = \(applicationID)")
                return .commit
            }
        }
    }

    static let migrations: [String] = [ledgerV1]

    private static let ledgerV1 = """
        CREATE TABLE events (
            position INTEGER PRIMARY KEY CHECK (position > 0),
            account TEXT NOT NULL,
            version INTEGER NOT NULL CHECK (version > 0),
            type TEXT NOT NULL,
            recorded_at INTEGER NOT NULL,
            effective_at INTEGER NOT NULL,
            key TEXT NOT NULL,
            data TEXT NOT NULL,
            hash BLOB NOT NULL CHECK (length(hash) = 32)
        ) STRICT;
        CREATE UNIQUE INDEX events_by_account ON events (account, version);
        CREATE UNIQUE INDEX events_by_key ON events (key);

        CREATE TRIGGER events_are_never_updated BEFORE UPDATE ON events
        BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
        CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
        BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;
        -- Also keeps INSERT OR REPLACE from deleting: its conflicts are refused before they are resolved.
        CREATE TRIGGER events_are_appended BEFORE INSERT ON events
        WHEN NEW.position <> (SELECT coalesce(max(position), 0) + 1 FROM events)
            OR EXISTS (SELECT 1 FROM events WHERE key = NEW.key)
            OR EXISTS (SELECT 1 FROM events WHERE account = NEW.account AND version = NEW.version)
        BEGIN SELECT RAISE(ABORT, 'events are only appended, each once, without gaps'); END;

        -- Written in the transaction of the events: never behind them.
        CREATE TABLE balances (
            account TEXT PRIMARY KEY,
            version INTEGER NOT NULL,
            plan TEXT,
            blocked INTEGER NOT NULL CHECK (blocked IN (0, 1)),
            opened_at INTEGER,
            balance INTEGER NOT NULL,
            debt INTEGER NOT NULL CHECK (debt >= 0),
            held INTEGER NOT NULL CHECK (held >= 0),
            open_holds INTEGER NOT NULL CHECK (open_holds >= 0),
            granted INTEGER NOT NULL,
            expired INTEGER NOT NULL,
            charged INTEGER NOT NULL,
            reversed INTEGER NOT NULL,
            withdrawn INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX balances_with_open_holds ON balances (account) WHERE open_holds > 0;
        CREATE TABLE grants (
            account TEXT NOT NULL,
            id INTEGER NOT NULL,
            pool TEXT NOT NULL,
            source TEXT NOT NULL,
            amount INTEGER NOT NULL CHECK (amount > 0),
            remaining INTEGER NOT NULL CHECK (remaining BETWEEN 0 AND amount),
            expires_at INTEGER,
            debt_repaid INTEGER NOT NULL,
            PRIMARY KEY (account, id)
        ) STRICT, WITHOUT ROWID;

        -- A cache of the fold; losing it loses nothing.
        CREATE TABLE snapshots (
            account TEXT PRIMARY KEY,
            version INTEGER NOT NULL,
            format INTEGER NOT NULL,
            state TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;

        -- Follow the events from a checkpoint; can be rebuilt.
        CREATE TABLE checkpoints (
            projection TEXT PRIMARY KEY,
            position INTEGER NOT NULL CHECK (position >= 0)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE usage_log (
            position INTEGER PRIMARY KEY,
            account TEXT NOT NULL,
            request TEXT NOT NULL,
            recorded_at INTEGER NOT NULL,
            key_id TEXT,
            model TEXT NOT NULL,
            endpoint TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('success', 'error')),
            detail TEXT NOT NULL,
            prompt_tokens INTEGER NOT NULL,
            cached_tokens INTEGER NOT NULL,
            completion_tokens INTEGER NOT NULL,
            estimated INTEGER NOT NULL CHECK (estimated IN (0, 1)),
            cost_pico_usd TEXT NOT NULL,
            credits INTEGER NOT NULL,
            reversed INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX usage_log_by_account ON usage_log (account, position);
        CREATE UNIQUE INDEX usage_log_by_request ON usage_log (request);
        CREATE TABLE usage_days (
            account TEXT NOT NULL,
            day INTEGER NOT NULL,
            model TEXT NOT NULL,
            requests INTEGER NOT NULL,
            errors INTEGER NOT NULL,
            prompt_tokens INTEGER NOT NULL,
            cached_tokens INTEGER NOT NULL,
            completion_tokens INTEGER NOT NULL,
            cost_pico_usd TEXT NOT NULL,
            credits INTEGER NOT NULL,
            PRIMARY KEY (account, day, model)
        ) STRICT, WITHOUT ROWID;

        -- Ordinary data about people and their keys: it can be changed and erased, and is in no event.
        CREATE TABLE users (
            user_id TEXT PRIMARY KEY,
            alias TEXT,
            email TEXT,
            budget_id TEXT,
            metadata TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL,
            deleted_at INTEGER
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX users_by_creation ON users (created_at, user_id) WHERE deleted_at IS NULL;
        CREATE TABLE api_keys (
            id TEXT PRIMARY KEY,
            key_hash BLOB NOT NULL UNIQUE CHECK (length(key_hash) = 32),
            key_name TEXT,
            user_id TEXT NOT NULL REFERENCES users (user_id),
            is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
            metadata TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            last_used_at INTEGER,
            expires_at INTEGER,
            deleted_at INTEGER
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX api_keys_by_user ON api_keys (user_id, created_at, id);
        CREATE INDEX api_keys_by_creation ON api_keys (created_at, id) WHERE deleted_at IS NULL;
        CREATE TABLE request_keys (
            account TEXT NOT NULL,
            key TEXT NOT NULL,
            body_hash BLOB NOT NULL CHECK (length(body_hash) = 32),
            request TEXT NOT NULL UNIQUE,
            created_at INTEGER NOT NULL,
            settled INTEGER NOT NULL CHECK (settled IN (0, 1)),
            content_type TEXT,
            body BLOB,
            charged INTEGER,
            balance INTEGER,
            PRIMARY KEY (account, key)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX request_keys_by_age ON request_keys (created_at);
        """
}
