import Foundation
import GRDB
public import Ledger

/// A person or program that uses the gateway, as far as it is known beside the ledger: this can be changed and erased.
public struct User: Hashable, Sendable {
    public let id: AccountID
    public var alias: String?
    public var email: String?
    public var name: String?
    public var avatarURL: String?
    /// `user` where nothing else was given; it gives no right here.
    public var role: String?
    public var budgetID: String?
    /// A JSON object, as it was given.
    public var metadata: String
    public let createdAt: Timestamp
    public var updatedAt: Timestamp
    public internal(set) var lastLoginAt: Timestamp?
    /// Whether a login has made the account and its sign-up bonus is not yet known to be in the ledger.
    public internal(set) var isSignupPending = false

    public init(
        id: AccountID, alias: String? = nil, email: String? = nil, name: String? = nil, avatarURL: String? = nil,
        role: String? = nil, budgetID: String? = nil, metadata: String = "{}", createdAt: Timestamp
    ) {
        self.id = id
        self.alias = alias
        self.email = email
        self.name = name
        self.avatarURL = avatarURL
        self.role = role
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

/// Why a change of the ordinary tables is refused. Nothing is changed then.
public enum DirectoryRefusal: Error, Hashable, Sendable {
    /// The user it is for does not exist, or was erased a moment ago.
    case noUser
    /// There is no budget of that id.
    case noBudget(id: String)
}

/// The ordinary tables about people and their keys: in the ledger's database, and in none of its events.
///
/// Every change is one transaction, durable when it returns.
public struct Directory: Sendable {
    private let ledger: SQLiteLedger

    var pool: DatabasePool { ledger.pool }

    public init(_ ledger: SQLiteLedger) {
        self.ledger = ledger
    }

    // MARK: Users

    static let userColumns = """
        user_id, alias, email, name, avatar_url, role, budget_id, metadata, created_at, updated_at, last_login_at,
        signup_pending
        """

    /// Adds a user; false where there is one of that id. An erased user's id can be used again. Throws ``DirectoryRefusal``.
    public func insert(_ user: User) async throws -> Bool {
        try await write { db in
            try Self.demandBudget(of: user, in: db)
            try db.execute(
                sql: """
                    INSERT INTO users (user_id, alias, email, name, avatar_url, role, budget_id, metadata, created_at,
                        updated_at)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                    ON CONFLICT (user_id) DO UPDATE SET alias = excluded.alias, email = excluded.email,
                        name = excluded.name, avatar_url = excluded.avatar_url, role = excluded.role, budget_id = excluded.budget_id, metadata = excluded.metadata, created_at = excluded.created_at,
                        updated_at = excluded.updated_at, deleted_at = NULL
                    WHERE deleted_at IS NOT NULL
                    """,
                arguments: [
                    user.id.rawValue, user.alias, user.email, user.name, user.avatarURL, user.role, user.budgetID,
                    user.metadata, user.createdAt.microseconds, user.updatedAt.microseconds,
                ])
            return db.changesCount > 0
        }
    }

    public func user(_ id: AccountID) async throws -> User? {
        try await pool.read { try Self.user(id, in: $0) }
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

    /// Changes what an operator can change of a user, in one transaction: what `change` leaves alone stays as others write it meanwhile. Gives the
    /// user as changed; nil where there is none. Throws ``DirectoryRefusal``, or what `change` throws.
    public func updateUser(
        _ id: AccountID, _ change: @escaping @Sendable (inout User) throws -> Void
    ) async throws -> User? {
        try await write { db in
            guard var user = try Self.user(id, in: db) else { return nil }
            try change(&user)
            try Self.demandBudget(of: user, in: db)
            try db.execute(
                sql: """
                    UPDATE users SET alias = ?, budget_id = ?, metadata = ?, updated_at = ?
                    WHERE user_id = ? AND deleted_at IS NULL
                    """,
                arguments: [user.alias, user.budgetID, user.metadata, user.updatedAt.microseconds, id.rawValue])
            return user
        }
    }

    private static func demandBudget(of user: User, in db: Database) throws {
        guard let id = user.budgetID else { return }
        let exists = try Bool.fetchOne(
            db, sql: "SELECT EXISTS (SELECT 1 FROM budgets WHERE budget_id = ?)", arguments: [id])
        guard exists == true else { throw DirectoryRefusal.noBudget(id: id) }
    }

    /// Refuses what is for a user who does not exist, or was erased: in the transaction that would have written it.
    static func demandUser(_ id: AccountID, in db: Database) throws {
        let exists = try Bool.fetchOne(
            db, sql: "SELECT EXISTS (SELECT 1 FROM users WHERE user_id = ? AND deleted_at IS NULL)",
            arguments: [id.rawValue])
        guard exists == true else { throw DirectoryRefusal.noUser }
    }

    /// Notes that a person is to be erased, before anything says that they are; so what a crash interrupts is finished at the next start.
    public func beginErasure(of id: AccountID) async throws {
        try await write { db in
            try db.execute(
                sql: "UPDATE users SET erase_pending = 1 WHERE user_id = ? AND deleted_at IS NULL",
                arguments: [id.rawValue])
        }
    }

    /// The people whose erasure has begun and is not complete.
    public func pendingErasures() async throws -> [User] {
        try await pool.read { db in
            try Row.fetchAll(
                db,
                sql:
                    "SELECT \(Self.userColumns) FROM users WHERE erase_pending = 1 AND deleted_at IS NULL ORDER BY user_id"
            ).map { try User(row: $0) }
        }
    }

    /// Erases what is known of a person, their identities, sessions and their keys' names; gives the hashes of the keys that are void now, or
    /// nil where there is no such user. The rows of the user and the keys stay as tombstones: the usage log refers to them.
    public func erase(_ id: AccountID, at now: Timestamp) async throws -> [[UInt8]]? {
        try await write { db in
            ledger.noteErasure()
            try db.execute(
                sql: """
                    UPDATE users SET alias = NULL, email = NULL, name = NULL, avatar_url = NULL, role = NULL,
                        budget_id = NULL, metadata = '{}', updated_at = ?, deleted_at = ?, last_login_at = NULL,
                        signup_pending = 0, erase_pending = 0
                    WHERE user_id = ? AND deleted_at IS NULL
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
            for statement in [
                "UPDATE api_keys SET key_name = NULL, metadata = '{}' WHERE user_id = ?",
                "DELETE FROM request_keys WHERE account = ?", "DELETE FROM identities WHERE user_id = ?",
                "DELETE FROM login_codes WHERE user_id = ?", "DELETE FROM sessions WHERE user_id = ?",
                "DELETE FROM webhooks WHERE account = ?", "DELETE FROM notices WHERE account = ?",
            ] {
                try db.execute(sql: statement, arguments: [id.rawValue])
            }
            return hashes
        }
    }

    /// Empties the write-ahead log where something was erased since it was last empty: it has pages as they were before. False where
    /// somebody is reading an older state just now, so that it has to be tried again; nobody is waited for.
    public func emptyLogOfErased() async throws -> Bool { try await ledger.emptyLog() }

    // MARK: Keys

    private static let keyColumns =
        "id, key_hash, key_name, user_id, is_active, metadata, created_at, last_used_at, expires_at"

    /// Adds a key of a user. Throws ``DirectoryRefusal/noUser`` where there is none.
    public func insert(_ key: APIKey) async throws {
        try await write { try Self.insert(key, into: $0) }
    }

    private static func insert(_ key: APIKey, into db: Database) throws {
        try demandUser(key.user, in: db)
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

    public func key(id: String) async throws -> APIKey? {
        try await key(where: "id = ?", id.databaseValue)
    }

    public func key(hash: [UInt8]) async throws -> APIKey? {
        try await key(where: "key_hash = ?", hash.data.databaseValue)
    }

    private func key(where condition: String, _ value: DatabaseValue) async throws -> APIKey? {
        try await pool.read { try Self.key(where: condition, value, in: $0) }
    }

    /// `condition` is a literal of ours.
    private static func key(where condition: String, _ value: DatabaseValue, in db: Database) throws -> APIKey? {
        let sql = "SELECT \(keyColumns) FROM api_keys WHERE \(condition) AND deleted_at IS NULL"
        return try Row.fetchOne(db, sql: sql, arguments: [value]).map { try APIKey(row: $0) }
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

    /// Puts a key in the place of its user's keys of the same name, in one transaction; gives the hashes of those, which are void now. Their rows
    /// stay, and with them what the usage log refers to.
    public func replaceKeys(by key: APIKey, at now: Timestamp) async throws -> [[UInt8]] {
        try await write { db in
            let replaced = try Row.fetchAll(
                db,
                sql: """
                    UPDATE api_keys SET is_active = 0, deleted_at = ?
                    WHERE user_id = ? AND key_name = ? AND deleted_at IS NULL RETURNING key_hash
                    """, arguments: [now.microseconds, key.user.rawValue, key.name]
            ).map { row in
                let hash: Data = row["key_hash"]
                return Array(hash)
            }
            try Self.insert(key, into: db)
            return replaced
        }
    }

    /// Changes what can change of a key, in one transaction: of two changes at once, neither takes the other back. Gives the key as changed;
    /// nil where there is none. Throws what `change` throws.
    public func updateKey(
        id: String, _ change: @escaping @Sendable (inout APIKey) throws -> Void
    ) async throws -> APIKey? {
        try await write { db in
            guard var key = try Self.key(where: "id = ?", id.databaseValue, in: db) else { return nil }
            try change(&key)
            try db.execute(
                sql: """
                    UPDATE api_keys SET key_name = ?, is_active = ?, metadata = ?, expires_at = ?
                    WHERE id = ? AND deleted_at IS NULL
                    """,
                arguments: [key.name, key.isActive, key.metadata, key.expiresAt?.microseconds, id])
            return key
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
    func write<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
        let pool = pool
        return try await Task { try await pool.write(body) }.value
    }
}

extension [UInt8] {
    /// As what GRDB binds as a blob.
    var data: Data { Data(self) }
}

extension User {
    init(row: Row) throws {
        let id: String = row["user_id"]
        guard let id = AccountID(rawValue: id) else { throw StoreError.corrupt("a user has no valid id") }
        self.init(
            id: id, alias: row["alias"], email: row["email"], name: row["name"], avatarURL: row["avatar_url"],
            role: row["role"], budgetID: row["budget_id"], metadata: row["metadata"],
            createdAt: Timestamp(microseconds: row["created_at"]))
        updatedAt = Timestamp(microseconds: row["updated_at"])
        let lastLoginAt: Int64? = row["last_login_at"]
        self.lastLoginAt = lastLoginAt.map(Timestamp.init(microseconds:))
        isSignupPending = row["signup_pending"]
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
