import GRDB
import Ledger

/// The ledger's tables, as migrations that only go forward.
///
/// Migrations are appended and never edited once they have shipped. All SQL of a migration is literal.
enum Schema {
    /// The schema that this build writes. A database with a newer one is refused.
    static var version: Int64 { Int64(migrations.count) }

    /// The schema since which cycles and payments are kept.
    static let versionWithCycles: Int64 = 3
    /// The schema since which checkpoints are kept.
    static let versionWithProofs: Int64 = 4

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

    static let migrations: [String] = [ledgerV1, peopleV2, cyclesV3, proofsV4, shopV5]

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

    /// Who people are and how they come in: logins, sessions, budgets.
    ///
    /// Secrets are kept as their SHA-256. Nothing here is in an event, and all of a person's can be erased.
    private static let peopleV2 = """
        ALTER TABLE users ADD COLUMN name TEXT;
        ALTER TABLE users ADD COLUMN avatar_url TEXT;
        ALTER TABLE users ADD COLUMN role TEXT;
        ALTER TABLE users ADD COLUMN last_login_at INTEGER;
        -- 1 from the login that made the account until its sign-up bonus is in the ledger.
        ALTER TABLE users ADD COLUMN signup_pending INTEGER NOT NULL DEFAULT 0 CHECK (signup_pending IN (0, 1));

        -- Until when a cycle of the plan was paid for at the old gateway, be its credits spent.
        ALTER TABLE users ADD COLUMN paid_until INTEGER;
        -- 1 for a key that an import has brought, 2 where a later import has deactivated it.
        ALTER TABLE api_keys ADD COLUMN imported INTEGER NOT NULL DEFAULT 0 CHECK (imported IN (0, 1, 2));

        CREATE TABLE identities (
            provider TEXT NOT NULL,
            subject TEXT NOT NULL,
            user_id TEXT NOT NULL REFERENCES users (user_id),
            email TEXT,
            email_verified INTEGER NOT NULL CHECK (email_verified IN (0, 1)),
            name TEXT,
            avatar_url TEXT,
            created_at INTEGER NOT NULL,
            last_login_at INTEGER,
            PRIMARY KEY (provider, subject)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX identities_by_user ON identities (user_id);
        -- SQLite's lower() changes ASCII letters only: no two e-mails become one that only look alike.
        CREATE INDEX identities_by_email ON identities (lower(email));
        -- Who has had the sign-up bonus, as a digest that outlives an erasure.
        CREATE TABLE bonus_marks (
            mark BLOB PRIMARY KEY CHECK (length(mark) = 32)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE login_attempts (
            state BLOB PRIMARY KEY CHECK (length(state) = 32),
            provider TEXT NOT NULL,
            nonce TEXT NOT NULL,
            verifier TEXT NOT NULL,
            callback TEXT NOT NULL,
            client_type TEXT,
            client_state TEXT,
            challenge TEXT,
            browser BLOB,
            expires_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX login_attempts_by_age ON login_attempts (expires_at);
        CREATE TABLE login_codes (
            hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
            user_id TEXT NOT NULL REFERENCES users (user_id),
            client_type TEXT,
            challenge TEXT,
            expires_at INTEGER NOT NULL,
            used_at INTEGER,
            session TEXT
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX login_codes_by_age ON login_codes (expires_at);
        CREATE INDEX login_codes_by_user ON login_codes (user_id);

        CREATE TABLE sessions (
            id TEXT PRIMARY KEY,
            user_id TEXT NOT NULL REFERENCES users (user_id),
            device TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            last_used_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            revoked_at INTEGER
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX sessions_by_user ON sessions (user_id, created_at, id);
        CREATE INDEX sessions_by_end ON sessions (expires_at);
        -- A session's refresh tokens, each the successor of one before.
        CREATE TABLE refresh_tokens (
            hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
            session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            expires_at INTEGER NOT NULL,
            used_at INTEGER,
            successor BLOB CHECK (length(successor) = 32),
            sealed_successor BLOB
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session);

        CREATE TABLE budgets (
            budget_id TEXT PRIMARY KEY,
            max_budget_micro_usd INTEGER CHECK (max_budget_micro_usd >= 0),
            duration_seconds INTEGER CHECK (duration_seconds > 0),
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX budgets_by_creation ON budgets (created_at, budget_id);
        CREATE INDEX users_by_budget ON users (budget_id) WHERE budget_id IS NOT NULL;

        -- What people see of their usage is by time: imported history has old times at new positions.
        CREATE INDEX usage_log_by_time ON usage_log (account, recorded_at, position);
        DROP INDEX usage_log_by_account;
        """

    /// The life of a credit: cycles and payments.
    private static let cyclesV3 = """
        -- Written in the transaction of the events, where the cycle or what is due next has changed.
        CREATE TABLE cycles (
            account TEXT PRIMARY KEY,
            -- NULL: the account was opened before there were cycles, and its first is to begin.
            number INTEGER,
            began_at INTEGER,
            ends_at INTEGER,
            plan TEXT,
            payment TEXT,
            grace INTEGER NOT NULL CHECK (grace IN (0, 1)),
            next_plan TEXT,
            due_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX cycles_by_due ON cycles (due_at, account);
        INSERT INTO cycles (account, grace, due_at)
            SELECT account, 0, opened_at FROM balances WHERE opened_at IS NOT NULL;
        CREATE TABLE payments (
            account TEXT NOT NULL,
            payment TEXT NOT NULL,
            purchase TEXT NOT NULL,
            plan TEXT,
            credits INTEGER NOT NULL CHECK (credits >= 0),
            micro_usd INTEGER NOT NULL CHECK (micro_usd >= 0),
            recorded_at INTEGER NOT NULL,
            grant_id INTEGER,
            refunded_micro_usd INTEGER NOT NULL,
            refunded_credits INTEGER NOT NULL,
            PRIMARY KEY (account, payment)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX payments_by_id ON payments (payment);
        -- Limits and what was spent under them; of the account where key_id is empty.
        CREATE TABLE spending (
            account TEXT NOT NULL,
            key_id TEXT NOT NULL,
            state TEXT NOT NULL,
            PRIMARY KEY (account, key_id)
        ) STRICT, WITHOUT ROWID;
        -- They are of an older form, and can be made again.
        DELETE FROM snapshots;
        -- Paid cycles of an import are events now.
        ALTER TABLE users DROP COLUMN paid_until;

        -- What a payment provider calls a subscription, and whose it is: its messages name no account, or no plan.
        CREATE TABLE provider_subscriptions (
            provider TEXT NOT NULL,
            subscription TEXT NOT NULL,
            account TEXT NOT NULL,
            plan TEXT,
            status TEXT NOT NULL,
            first_order TEXT,
            first_payment TEXT,
            changed_at INTEGER NOT NULL,
            PRIMARY KEY (provider, subscription)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX provider_subscriptions_by_order ON provider_subscriptions (provider, first_order)
            WHERE first_order IS NOT NULL;
        -- Messages of payment providers: that they came, and what could not be made of some. Only what is needed of them is kept.
        CREATE TABLE deliveries (
            id TEXT PRIMARY KEY,
            provider TEXT NOT NULL,
            name TEXT NOT NULL,
            notice TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('waiting', 'done', 'dead', 'resolved')),
            detail TEXT,
            received_at INTEGER NOT NULL,
            tried_at INTEGER NOT NULL,
            attempts INTEGER NOT NULL,
            resolved_by TEXT
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX deliveries_by_status ON deliveries (status, received_at, id);

        -- Where accounts are told of what happens to their credits. The secret signs what is sent.
        CREATE TABLE webhooks (
            account TEXT PRIMARY KEY,
            url TEXT NOT NULL,
            secret TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        -- What is to be told, to the operator or to the account, until it has been taken.
        CREATE TABLE notices (
            id TEXT NOT NULL,
            operator INTEGER NOT NULL CHECK (operator IN (0, 1)),
            account TEXT NOT NULL,
            body TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            due_at INTEGER NOT NULL,
            attempts INTEGER NOT NULL,
            delivered_at INTEGER,
            PRIMARY KEY (id, operator)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX notices_by_due ON notices (due_at, id) WHERE delivered_at IS NULL;
        CREATE INDEX notices_by_age ON notices (created_at);
        """

    /// What signed checkpoints, and proofs of events against them, are made of.
    private static let proofsV4 = """
        -- The roots of the complete tiles of the Merkle tree over the events' hashes. They can be computed again.
        CREATE TABLE tree_tiles (
            tile INTEGER PRIMARY KEY CHECK (tile >= 0),
            hash BLOB NOT NULL CHECK (length(hash) = 32)
        ) STRICT;
        -- Checkpoints as they were signed: a note cannot be made again, so these are kept.
        CREATE TABLE signed_checkpoints (
            size INTEGER PRIMARY KEY CHECK (size > 0),
            signed_at INTEGER NOT NULL,
            note TEXT NOT NULL,
            -- 0 until everybody who is to have it has it.
            published INTEGER NOT NULL CHECK (published IN (0, 1))
        ) STRICT;
        CREATE INDEX signed_checkpoints_to_publish ON signed_checkpoints (size) WHERE published = 0;
        -- 1 from the moment at which a person is to be erased until nothing of them is left.
        ALTER TABLE users ADD COLUMN erase_pending INTEGER NOT NULL DEFAULT 0 CHECK (erase_pending IN (0, 1));
        """

    /// What invoices pay for, and what messages wait for.
    private static let shopV5 = """
        -- On which plan a subscription was when: an invoice pays for that of its own instant, however late it comes.
        CREATE TABLE provider_subscription_plans (
            provider TEXT NOT NULL,
            subscription TEXT NOT NULL,
            told_at INTEGER NOT NULL,
            plan TEXT NOT NULL,
            PRIMARY KEY (provider, subscription, told_at)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO provider_subscription_plans (provider, subscription, told_at, plan)
            SELECT provider, subscription, changed_at, plan FROM provider_subscriptions WHERE plan IS NOT NULL;
        CREATE INDEX provider_subscriptions_by_account ON provider_subscriptions (account);
        -- What a message is about: what waits for another is about the same.
        ALTER TABLE deliveries ADD COLUMN subject TEXT;
        UPDATE deliveries SET subject = CASE json_extract(notice, '$.kind')
                WHEN 'order_paid' THEN 'order:' || json_extract(notice, '$.id')
                WHEN 'order_refunded' THEN 'order:' || json_extract(notice, '$.id')
                ELSE 'subscription:' || json_extract(notice, '$.subscription') END
            WHERE status = 'waiting';
        CREATE INDEX deliveries_waiting ON deliveries (provider, subject) WHERE status = 'waiting';
        CREATE INDEX deliveries_in_turn ON deliveries (tried_at, id) WHERE status = 'waiting';
        """
}
