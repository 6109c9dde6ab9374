import Foundation
import GRDB
public import Ledger

/// A person or program that uses the gateway, as far as it is known beside the ledger: this can be changed and erased.
public struct User: Hashable, Sendable {
    public let id: AccountID
    public var alias: String?
    public var email: String?
    public var budgetID: String?
    /// A JSON object, as it was given.
    public var metadata: String
    public let createdAt: Timestamp
    public var updatedAt: Timestamp

    public init(
        id: AccountID, alias: String? = nil, email: String? = nil, budgetID: String? = nil, metadata: String = "{}",
        createdAt: Timestamp
    ) {
        self.id = id
        self.alias = alias
        self.email = email
        self.budgetID = budgetID
        self.metadata = metadata
        self.createdAt = createdAt
        updatedAt = createdAt
    }
}

/// A virtual key. The key itself is shown once and never stored.
public struct APIKey: Hashable, Sendable {
    public let id: String
    /// The SHA-256 of the whole key.
    public let hash: [UInt8]
    public var name: String?
    public let user: AccountID
    public var isActive: Bool
    /// A JSON object, as it was given.
    public var metadata: String
    public let createdAt: Timestamp
    public var lastUsedAt: Timestamp?
    public var expiresAt: Timestamp?

    public init(
        id: String, hash: [UInt8], name: String?, user: AccountID, isActive: Bool = true, metadata: String = "{}",
        createdAt: Timestamp, expiresAt: Timestamp?
    ) {
        self.id = id
        self.hash = hash
        self.name = name
        self.user = user
        self.isActive = isActive
        self.metadata = metadata
        self.createdAt = createdAt
        self.expiresAt = expiresAt
    }
}

/// The ordinary tables about people and their keys: in the ledger's database, and in none of its events.
///
/// Every change is one transaction, durable when it returns.
public struct Directory: Sendable {
    let pool: DatabasePool

    public init(_ ledger: SQLiteLedger) {
        pool = ledger.pool
    }

    // MARK: Users

    private static let userColumns = "user_id, alias, email, budget_id, metadata, created_at, updated_at"

    /// Adds a user; false where there is one of that id. An erased user's id can be used again.
    public func insert(_ user: User) async throws -> Bool {
        try await write { db in
            try db.execute(
                sql: """
                    INSERT INTO users (user_id, alias, email, budget_id, metadata, created_at, updated_at)
                    VALUES (?, ?, ?, ?, ?, ?, ?)
                    ON CONFLICT (user_id) DO UPDATE SET alias = excluded.alias, email = excluded.email,
                        budget_id = excluded.budget_id, metadata = excluded.metadata, created_at = excluded.created_at,
                        updated_at = excluded.updated_at, deleted_at = NULL
                    WHERE deleted_at IS NOT NULL
                    """,
                arguments: [
                    user.id.rawValue, user.alias, user.email, user.budgetID, user.metadata,
                    user.createdAt.microseconds, user.updatedAt.microseconds,
                ])
            return db.changesCount > 0
        }
    }

    public func user(_ id: AccountID) async throws -> User? {
        try await pool.read { db in
            try Row.fetchOne(
                db, sql: "SELECT \(Self.userColumns) FROM users WHERE user_id = ? AND deleted_at IS NULL",
                arguments: [id.rawValue]
            ).map { try User(row: $0) }
        }
    }

    /// Users in the order of their creation: pages do not shift when others are added.
    public func users(skip: Int, limit: Int) async throws -> [User] {
        try await pool.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT \(Self.userColumns) FROM users WHERE deleted_at IS NULL
                    ORDER BY created_at, user_id LIMIT ? OFFSET ?
                    """, arguments: [limit, skip]
            ).map { try User(row: $0) }
        }
    }

    /// Writes what can change of a user; false where there is none.
    public func update(_ user: User) async throws -> Bool {
        try await write { db in
            try db.execute(
                sql: """
                    UPDATE users SET alias = ?, email = ?, budget_id = ?, metadata = ?, updated_at = ?
                    WHERE user_id = ? AND deleted_at IS NULL
                    """,
                arguments: [
                    user.alias, user.email, user.budgetID, user.metadata, user.updatedAt.microseconds, user.id.rawValue,
                ])
            return db.changesCount > 0
        }
    }

    /// Erases what is known of a person, and their keys' names; gives the hashes of the keys that are void now, or nil where there is
    /// no such user. The rows stay as tombstones: the usage log refers to them.
    public func erase(_ id: AccountID, at now: Timestamp) async throws -> [[UInt8]]? {
        try await write { db in
            try db.execute(
                sql: """
                    UPDATE users SET alias = NULL, email = NULL, budget_id = NULL, metadata = '{}', updated_at = ?,
                        deleted_at = ? WHERE user_id = ? AND deleted_at IS NULL
                    """, arguments: [now.microseconds, now.microseconds, id.rawValue])
            guard db.changesCount > 0 else { return nil }
            let hashes = try Row.fetchAll(
                db, sql: "SELECT key_hash FROM api_keys WHERE user_id = ? AND deleted_at IS NULL",
                arguments: [id.rawValue]
            ).map { row in
                let hash: Data = row["key_hash"]
                return Array(hash)
            }
            try db.execute(
                sql: """
                    UPDATE api_keys SET is_active = 0, key_name = NULL, metadata = '{}', deleted_at = ?
                    WHERE user_id = ? AND deleted_at IS NULL
                    """, arguments: [now.microseconds, id.rawValue])
            try db.execute(sql: "DELETE FROM request_keys WHERE account = ?", arguments: [id.rawValue])
            return hashes
        }
    }

    // MARK: Keys

    private static let keyColumns =
        "id, key_hash, key_name, user_id, is_active, metadata, created_at, last_used_at, expires_at"

    /// Adds a key of a user that exists.
    public func insert(_ key: APIKey) async throws {
        try await write { db in
            try db.execute(
                sql: """
                    INSERT INTO api_keys (id, key_hash, key_name, user_id, is_active, metadata, created_at, expires_at)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    key.id, key.hash.data, key.name, key.user.rawValue, key.isActive, key.metadata,
                    key.createdAt.microseconds, key.expiresAt?.microseconds,
                ])
        }
    }

    public func key(id: String) async throws -> APIKey? {
        try await key(where: "id = ?", id.databaseValue)
    }

    public func key(hash: [UInt8]) async throws -> APIKey? {
        try await key(where: "key_hash = ?", hash.data.databaseValue)
    }

    /// `condition` is a literal of ours.
    private func key(where condition: String, _ value: DatabaseValue) async throws -> APIKey? {
        try await pool.read { db in
            let sql = "SELECT \(Self.keyColumns) FROM api_keys WHERE \(condition) AND deleted_at IS NULL"
            return try Row.fetchOne(db, sql: sql, arguments: [value]).map { try APIKey(row: $0) }
        }
    }

    /// Keys in the order of their creation, of one user or of all.
    public func keys(of user: AccountID?, skip: Int, limit: Int) async throws -> [APIKey] {
        try await pool.read { db in
            var sql = "SELECT \(Self.keyColumns) FROM api_keys WHERE deleted_at IS NULL"
            var arguments: StatementArguments = []
            if let user {
                sql += " AND user_id = ?"
                arguments += [user.rawValue]
            }
            sql += " ORDER BY created_at, id LIMIT ? OFFSET ?"
            arguments += [limit, skip]
            return try Row.fetchAll(db, sql: sql, arguments: arguments).map { try APIKey(row: $0) }
        }
    }

    /// Writes what can change of a key; false where there is none.
    public func update(_ key: APIKey) async throws -> Bool {
        try await write { db in
            try db.execute(
                sql: """
                    UPDATE api_keys SET key_name = ?, is_active = ?, metadata = ?, expires_at = ?
                    WHERE id = ? AND deleted_at IS NULL
                    """,
                arguments: [key.name, key.isActive, key.metadata, key.expiresAt?.microseconds, key.id])
            return db.changesCount > 0
        }
    }

    /// Voids a key for ever; false where there is none. Its row stays, and with it what the usage log refers to.
    public func deleteKey(id: String, at now: Timestamp) async throws -> Bool {
        try await write { db in
            try db.execute(
                sql: "UPDATE api_keys SET is_active = 0, deleted_at = ? WHERE id = ? AND deleted_at IS NULL",
                arguments: [now.microseconds, id])
            return db.changesCount > 0
        }
    }

    /// Writes when keys were last used: many at once, not one write a request.
    public func touch(_ uses: [String: Timestamp]) async throws {
        guard !uses.isEmpty else { return }
        try await write { db in
            let update = try db.cachedStatement(sql: "UPDATE api_keys SET last_used_at = ? WHERE id = ?")
            for (id, instant) in uses { try update.execute(arguments: [instant.microseconds, id]) }
        }
    }

    /// Forgets clients' request keys that were settled before an instant; gives how many.
    public func pruneRequestKeys(before instant: Timestamp) async throws -> Int {
        try await write { db in
            try db.execute(
                sql: "DELETE FROM request_keys WHERE settled = 1 AND created_at < ?",
                arguments: [instant.microseconds])
            return db.changesCount
        }
    }

    /// A write that runs to its end also where the caller's task is cancelled (GRDB would roll it back).
    private func write<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
        let pool = pool
        return try await Task { try await pool.write(body) }.value
    }
}

extension [UInt8] {
    /// As what GRDB binds as a blob.
    fileprivate var data: Data { Data(self) }
}

extension User {
    fileprivate init(row: Row) throws {
        let id: String = row["user_id"]
        guard let id = AccountID(rawValue: id) else { throw StoreError.corrupt("a user has no valid id") }
        self.init(
            id: id, alias: row["alias"], email: row["email"], budgetID: row["budget_id"], metadata: row["metadata"],
            createdAt: Timestamp(microseconds: row["created_at"]))
        updatedAt = Timestamp(microseconds: row["updated_at"])
    }
}

extension APIKey {
    fileprivate init(row: Row) throws {
        let user: String = row["user_id"]
        guard let user = AccountID(rawValue: user) else { throw StoreError.corrupt("a key has no valid user") }
        let expiresAt: Int64? = row["expires_at"]
        let lastUsedAt: Int64? = row["last_used_at"]
        let hash: Data = row["key_hash"]
        self.init(
            id: row["id"], hash: Array(hash), name: row["key_name"], user: user, isActive: row["is_active"],
            metadata: row["metadata"], createdAt: Timestamp(microseconds: row["created_at"]),
            expiresAt: expiresAt.map(Timestamp.init(microseconds:)))
        self.lastUsedAt = lastUsedAt.map(Timestamp.init(microseconds:))
    }
}
