import Foundation
import GRDB
public import Ledger

// What an import brings into the ordinary tables. All of it is added, and nothing is changed but keys that were voided there: what is here
// already was imported before, or has been changed here since, and stays as it is. These calls block their thread: they are for the import's own, not for the
// server.

/// What became of an imported row.
public enum ImportOutcome: Hashable, Sendable {
    case added
    /// The same row is here already.
    case present
    /// Another row has its place; it was not changed.
    case otherwise
    /// A key that is here was deactivated there, or made to end sooner, since: so it is here, too, now.
    case narrowed
    /// A key that an import had deactivated counts there, and so it does here again.
    case restored
    /// It belongs to a user who was erased here.
    case erased
    /// It belongs to a user who is not here.
    case noUser
}

/// A user of the old gateway.
public struct ImportedUser: Hashable, Sendable {
    public var id: AccountID
    public var alias: String?
    public var budgetID: String?
    /// A JSON object.
    public var metadata: String
    public var createdAt: Timestamp
    public var updatedAt: Timestamp

    public init(
        id: AccountID, alias: String?, budgetID: String?, metadata: String, createdAt: Timestamp, updatedAt: Timestamp
    ) {
        self.id = id
        self.alias = alias
        self.budgetID = budgetID
        self.metadata = metadata
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

/// A person of the old gateway, as a provider named them.
public struct ImportedIdentity: Hashable, Sendable {
    public var provider: String
    /// The provider's name of the person.
    public var subject: String
    public var user: AccountID
    /// Nobody says that it was verified: it counts as not verified.
    public var email: String?
    public var name: String?
    public var avatarURL: String?
    public var role: String?
    public var createdAt: Timestamp
    public var lastLoginAt: Timestamp?

    public init(
        provider: String, subject: String, user: AccountID, email: String?, name: String?, avatarURL: String?,
        role: String?, createdAt: Timestamp, lastLoginAt: Timestamp?
    ) {
        self.provider = provider
        self.subject = subject
        self.user = user
        self.email = email
        self.name = name
        self.avatarURL = avatarURL
        self.role = role
        self.createdAt = createdAt
        self.lastLoginAt = lastLoginAt
    }
}

/// A spending limit of the old gateway.
public struct ImportedBudget: Hashable, Sendable {
    public var id: String
    /// Micro-USD a period; nil: no limit.
    public var maximumMicroUSD: Int64?
    public var durationSeconds: Int64?
    public var createdAt: Timestamp
    public var updatedAt: Timestamp

    public init(
        id: String, maximumMicroUSD: Int64?, durationSeconds: Int64?, createdAt: Timestamp, updatedAt: Timestamp
    ) {
        self.id = id
        self.maximumMicroUSD = maximumMicroUSD
        self.durationSeconds = durationSeconds
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

extension Directory {
    /// Adds users with the times that they have in the old gateway, in one transaction; one outcome each, in their order.
    public func importUsers(_ users: [ImportedUser]) throws -> [ImportOutcome] {
        try pool.write { db -> [ImportOutcome] in
            let insert = try db.cachedStatement(
                sql: """
                    INSERT INTO users (user_id, alias, budget_id, metadata, created_at, updated_at)
                    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
                    """)
            return try users.map { user -> ImportOutcome in
                try insert.execute(arguments: [
                    user.id.rawValue, user.alias, user.budgetID, user.metadata, user.createdAt.microseconds,
                    user.updatedAt.microseconds,
                ])
                return db.changesCount > 0 ? .added : .present
            }
        }
    }

    /// Adds identities, and remembers that their people have had the sign-up bonus, in one transaction; one outcome each, in their order.
    ///
    /// What is known of a person is shown with their user, of several identities that of the latest login. A person who was erased here
    /// does not come back, but stays known as one who has had the bonus.
    public func importIdentities(_ identities: [ImportedIdentity]) throws -> [ImportOutcome] {
        try pool.write { db -> [ImportOutcome] in try identities.map { try Self.add($0, in: db) } }
    }

    private static func add(_ identity: ImportedIdentity, in db: Database) throws -> ImportOutcome {
        let own = Data(bonusMark(provider: identity.provider, subject: identity.subject))
        let owner = try String.fetchOne(
            db, sql: "SELECT user_id FROM identities WHERE provider = ? AND subject = ?",
            arguments: [identity.provider, identity.subject])
        if let owner { return owner == identity.user.rawValue ? .present : .otherwise }
        // Who was here before and is no more was erased, and does not come back by moving over, also not to a user of the same id.
        let wasHere = try Bool.fetchOne(
            db, sql: "SELECT EXISTS (SELECT 1 FROM bonus_marks WHERE mark = ?)", arguments: [own])
        if wasHere == true { return .erased }
        let mark = try db.cachedStatement(sql: "INSERT INTO bonus_marks (mark) VALUES (?) ON CONFLICT DO NOTHING")
        try mark.execute(arguments: [own])
        if let email = identity.email { try mark.execute(arguments: [Data(bonusMark(email: email))]) }
        let insert = try db.cachedStatement(
            sql: """
                INSERT INTO identities (provider, subject, user_id, email, email_verified, name, avatar_url, created_at,
                    last_login_at)
                SELECT ?, ?, ?, ?, 0, ?, ?, ?, ?
                WHERE EXISTS (SELECT 1 FROM users WHERE user_id = ? AND deleted_at IS NULL)
                ON CONFLICT DO NOTHING
                """)
        try insert.execute(arguments: [
            identity.provider, identity.subject, identity.user.rawValue, identity.email, identity.name,
            identity.avatarURL, identity.createdAt.microseconds, identity.lastLoginAt?.microseconds,
            identity.user.rawValue,
        ])
        if db.changesCount > 0 {
            let show = try db.cachedStatement(
                sql: """
                    UPDATE users SET email = coalesce(?, email), name = coalesce(?, name),
                        avatar_url = coalesce(?, avatar_url), role = coalesce(?, role),
                        last_login_at = coalesce(?, last_login_at)
                    WHERE user_id = ? AND coalesce(last_login_at, 0) <= ?
                    """)
            try show.execute(arguments: [
                identity.email, identity.name, identity.avatarURL, identity.role, identity.lastLoginAt?.microseconds,
                identity.user.rawValue, identity.lastLoginAt?.microseconds ?? 0,
            ])
            return .added
        }
        return try missing(identity.user, in: db)
    }

    /// Adds keys with their hashes and times, in one transaction; one outcome each, in their order.
    public func importKeys(_ keys: [APIKey]) throws -> [ImportOutcome] {
        try pool.write { db -> [ImportOutcome] in try keys.map { try Self.add($0, in: db) } }
    }

    private static func add(_ key: APIKey, in db: Database) throws -> ImportOutcome {
        let insert = try db.cachedStatement(
            sql: """
                INSERT INTO api_keys (id, key_hash, key_name, user_id, is_active, metadata, created_at, last_used_at,
                    expires_at, imported)
                SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, 1
                WHERE EXISTS (SELECT 1 FROM users WHERE user_id = ? AND deleted_at IS NULL)
                ON CONFLICT DO NOTHING
                """)
        try insert.execute(arguments: [
            key.id, Data(key.hash), key.name, key.user.rawValue, key.isActive, key.metadata,
            key.createdAt.microseconds, key.lastUsedAt?.microseconds, key.expiresAt?.microseconds, key.user.rawValue,
        ])
        if db.changesCount > 0 { return .added }
        let found = try Row.fetchAll(
            db,
            sql: """
                SELECT id, key_hash, user_id, is_active, expires_at, deleted_at, imported FROM api_keys
                WHERE id = ? OR key_hash = ?
                """, arguments: [key.id, Data(key.hash)])
        guard let row = found.first else { return try missing(key.user, in: db) }
        let (id, hash, user): (String, Data, String) = (row["id"], row["key_hash"], row["user_id"])
        guard found.count == 1, id == key.id, Array(hash) == key.hash, user == key.user.rawValue else {
            return .otherwise
        }
        let state: Int64 = row["imported"]
        if state == 2, key.isActive {
            try db.execute(
                sql: "UPDATE api_keys SET is_active = 1, imported = 1 WHERE id = ? AND deleted_at IS NULL",
                arguments: [key.id])
            return .restored
        }
        return try narrow(row, to: key, in: db) ? .narrowed : .present
    }

    /// Takes from a key what was taken from it there: a key that was voided must not live on here.
    private static func narrow(_ row: Row, to key: APIKey, in db: Database) throws -> Bool {
        let isActive: Bool = row["is_active"]
        let (expiry, deletedAt): (Int64?, Int64?) = (row["expires_at"], row["deleted_at"])
        guard deletedAt == nil else { return false }
        let ends = key.expiresAt.map { $0.microseconds < expiry ?? .max } ?? false
        guard (isActive && !key.isActive) || ends else { return false }
        try db.execute(
            sql: """
                UPDATE api_keys SET is_active = ?, expires_at = ?,
                    imported = CASE WHEN imported = 1 AND NOT ? THEN 2 ELSE imported END
                WHERE id = ?
                """,
            arguments: [
                isActive && key.isActive, ends ? key.expiresAt?.microseconds : expiry, key.isActive, key.id,
            ])
        return true
    }

    /// What became of a row of a user who is not here any more, or never was.
    private static func missing(_ user: AccountID, in db: Database) throws -> ImportOutcome {
        let isErased = try Bool.fetchOne(
            db, sql: "SELECT EXISTS (SELECT 1 FROM users WHERE user_id = ? AND deleted_at IS NOT NULL)",
            arguments: [user.rawValue])
        return isErased == true ? .erased : .noUser
    }

    /// The keys that count here, that an earlier import has brought, and whose id is not among `ids`; and how many such keys there are in all.
    public func importedKeys(
        except ids: Set<String>
    ) throws -> (gone: [(id: String, user: String)], count: Int) {
        try pool.read { db in
            let rows = try Row.fetchAll(
                db,
                sql: """
                    SELECT id, user_id FROM api_keys
                    WHERE imported = 1 AND is_active = 1 AND deleted_at IS NULL ORDER BY created_at, id
                    """)
            let all: [(id: String, user: String)] = rows.map { ($0["id"], $0["user_id"]) }
            return (all.filter { !ids.contains($0.id) }, all.count)
        }
    }

    /// Deactivates keys that an earlier import has brought, so that a later one can undo it.
    public func deactivateImportedKeys(_ ids: [String]) throws {
        try pool.write { db in
            let update = try db.cachedStatement(
                sql: "UPDATE api_keys SET is_active = 0, imported = 2 WHERE id = ? AND imported = 1")
            for id in ids { try update.execute(arguments: [id]) }
        }
    }

    /// Adds budgets, in one transaction; one outcome each, in their order.
    public func importBudgets(_ budgets: [ImportedBudget]) throws -> [ImportOutcome] {
        try pool.write { db -> [ImportOutcome] in
            try budgets.map { budget -> ImportOutcome in
                try db.execute(
                    sql: """
                        INSERT INTO budgets (budget_id, max_budget_micro_usd, duration_seconds, created_at, updated_at)
                        VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
                        """,
                    arguments: [
                        budget.id, budget.maximumMicroUSD, budget.durationSeconds, budget.createdAt.microseconds,
                        budget.updatedAt.microseconds,
                    ])
                if db.changesCount > 0 { return .added }
                let isSame = try Bool.fetchOne(
                    db,
                    sql: """
                        SELECT max_budget_micro_usd IS ? AND duration_seconds IS ? FROM budgets WHERE budget_id = ?
                        """, arguments: [budget.maximumMicroUSD, budget.durationSeconds, budget.id])
                return isSame == true ? .present : .otherwise
            }
        }
    }
}

extension SQLiteLedger {
    /// The event under an idempotency key; nil where there is none.
    public func event(key: String) throws -> RecordedEvent? {
        try pool.read { db -> RecordedEvent? in
            let statement = try Statement(
                db.sqliteConnection, "SELECT \(Statement.eventColumns) FROM events WHERE key = ?")
            statement.bind(key, at: 1)
            return try statement.first { row throws(StoreError) in try row.decodedEvent() }
        }
    }

    /// Gives every event whose key begins with `prefix`, in the order of their keys, out of one state of the ledger.
    public func forEachEvent(keyPrefix prefix: String, _ body: (RecordedEvent) throws -> Void) throws {
        try pool.read { db in
            let statement = try Statement(
                db.sqliteConnection,
                "SELECT \(Statement.eventColumns) FROM events WHERE key >= ? AND key < ? ORDER BY key")
            statement.bind(prefix, at: 1)
            statement.bind(prefix.keyBehind, at: 2)
            defer { statement.reset() }
            while try statement.step() { try body(try statement.decodedEvent()) }
        }
    }

    /// Whether each account that was ever blocked still is, and who had the last word of it; without those of people who were erased, which
    /// stay blocked. Reads all events.
    public func lastBlockings() throws -> [String: (isBlocked: Bool, actor: String)] {
        try pool.read { db in
            let rows = try Row.fetchCursor(
                db,
                sql: """
                    SELECT account, type = 'account_blocked.v1' AS blocked, json_extract(data, '$.actor') AS actor FROM events
                    WHERE type IN ('account_blocked.v1', 'account_unblocked.v1')
                        AND account NOT IN (SELECT user_id FROM users WHERE deleted_at IS NOT NULL)
                    ORDER BY position
                    """)
            var last: [String: (isBlocked: Bool, actor: String)] = [:]
            while let row = try rows.next() {
                let account: String = row["account"]
                last[account] = (row["blocked"], row["actor"])
            }
            return last
        }
    }
}

extension String {
    /// The least key that does not begin with this one, which ends in a character of ASCII before `~`.
    var keyBehind: String {
        guard let last = utf8.last, last < 0x7E else { return self }
        return String(decoding: utf8.dropLast(), as: UTF8.self) + String(Character(UnicodeScalar(last + 1)))
    }
}
