import Foundation
import GRDB
public import Ledger

/// A login that lasts: its access tokens name it, and its refresh tokens follow one another.
public struct Session: Hashable, Sendable {
    public let id: String
    public let user: AccountID
    /// What the client said of itself: a JSON object.
    public let device: String
    public let createdAt: Timestamp
    public let lastUsedAt: Timestamp
    /// The instant at which it ends, however much it is used.
    public let expiresAt: Timestamp
    public let revokedAt: Timestamp?

    public init(id: String, user: AccountID, device: String, createdAt: Timestamp, expiresAt: Timestamp) {
        self.init(
            id: id, user: user, device: device, createdAt: createdAt, lastUsedAt: createdAt, expiresAt: expiresAt,
            revokedAt: nil)
    }

    fileprivate init(
        id: String, user: AccountID, device: String, createdAt: Timestamp, lastUsedAt: Timestamp, expiresAt: Timestamp,
        revokedAt: Timestamp?
    ) {
        self.id = id
        self.user = user
        self.device = device
        self.createdAt = createdAt
        self.lastUsedAt = lastUsedAt
        self.expiresAt = expiresAt
        self.revokedAt = revokedAt
    }
}

/// A refresh token as it is stored.
public struct RefreshTokenRow: Hashable, Sendable {
    public let hash: [UInt8]
    public let expiresAt: Timestamp
    /// The token's own text, enclosed so that only its predecessor opens it; nil for the first of a session.
    public let sealed: [UInt8]?

    public init(hash: [UInt8], expiresAt: Timestamp, sealed: [UInt8]? = nil) {
        self.hash = hash
        self.expiresAt = expiresAt
        self.sealed = sealed
    }
}

/// What became of a refresh token that was presented.
public enum Refresh: Hashable, Sendable {
    /// It was in force, and its successor is from now on.
    case rotated(Session)
    /// It had been exchanged a moment ago, and its successor has not been used: here it is again, enclosed for who has the token.
    case repeated(Session, sealed: [UInt8])
    case unknown
    case expired
    case revoked
    /// It had been exchanged, and its successor used: somebody has a copy. The session is revoked now.
    case reused(Session)
}

/// What became of a one-time code that was presented.
public enum Redemption: Hashable, Sendable {
    /// It made this session.
    case opened(Session)
    /// It is none, its time is over, or the proof that belongs to it is missing; in the last case it is used up.
    case refused
    /// It was used before; the session that it made then is revoked now.
    case reused(session: String?)
}

/// A one-time code that a login ended with.
public struct LoginCode: Hashable, Sendable {
    public let hash: [UInt8]
    public let user: AccountID
    public let clientType: String?
    /// The client's proof key (RFC 7636, S256), where it sent one.
    public let challenge: String?
    public let expiresAt: Timestamp

    public init(hash: [UInt8], user: AccountID, clientType: String?, challenge: String?, expiresAt: Timestamp) {
        self.hash = hash
        self.user = user
        self.clientType = clientType
        self.challenge = challenge
        self.expiresAt = expiresAt
    }
}

extension Directory {
    // MARK: Codes

    /// Adds a code. Throws ``DirectoryRefusal/noUser`` where its user was erased.
    public func insert(_ code: LoginCode) async throws {
        try await write { db in
            try Self.demandUser(code.user, in: db)
            try db.execute(
                sql: """
                    INSERT INTO login_codes (hash, user_id, client_type, challenge, expires_at) VALUES (?, ?, ?, ?, ?)
                    """,
                arguments: [
                    code.hash.data, code.user.rawValue, code.clientType, code.challenge, code.expiresAt.microseconds,
                ])
        }
    }

    /// Uses a code up, and opens the session that `opening` makes for it; where that gives nil, the code is used up all the same.
    ///
    /// One transaction: a code makes one session, however often and by how many at once it is presented. The second time revokes it.
    public func redeem(
        code hash: [UInt8], at now: Timestamp,
        opening: @escaping @Sendable (LoginCode) -> (session: Session, token: RefreshTokenRow)?
    ) async throws -> Redemption {
        try await write { db in
            guard
                let row = try Row.fetchOne(
                    db, sql: "SELECT * FROM login_codes WHERE hash = ?", arguments: [hash.data])
            else { return .refused }
            let usedAt: Int64? = row["used_at"]
            if usedAt != nil {
                let session: String? = row["session"]
                try Self.revoke(session, at: now, in: db)
                return .reused(session: session)
            }
            let expiry: Int64 = row["expires_at"]
            guard Timestamp(microseconds: expiry) > now else { return .refused }
            let name: String = row["user_id"]
            guard let user = AccountID(rawValue: name) else { throw StoreError.corrupt("a code has no valid user") }
            let code = LoginCode(
                hash: hash, user: user, clientType: row["client_type"], challenge: row["challenge"],
                expiresAt: Timestamp(microseconds: expiry))
            let opened = opening(code)
            try db.execute(
                sql: "UPDATE login_codes SET used_at = ?, session = ? WHERE hash = ?",
                arguments: [now.microseconds, opened?.session.id, hash.data])
            guard let opened else { return .refused }
            try Self.insert(opened.session, opened.token, in: db)
            return .opened(opened.session)
        }
    }

    // MARK: Sessions

    /// Opens a session with its first refresh token. Throws ``DirectoryRefusal/noUser`` where its user was erased.
    public func open(_ session: Session, _ token: RefreshTokenRow) async throws {
        try await write { try Self.insert(session, token, in: $0) }
    }

    private static func insert(_ session: Session, _ token: RefreshTokenRow, in db: Database) throws {
        try demandUser(session.user, in: db)
        try db.execute(
            sql: """
                INSERT INTO sessions (id, user_id, device, created_at, last_used_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                session.id, session.user.rawValue, session.device, session.createdAt.microseconds,
                session.lastUsedAt.microseconds, session.expiresAt.microseconds,
            ])
        try insert(token, of: session.id, in: db)
    }

    private static func insert(_ token: RefreshTokenRow, of session: String, in db: Database) throws {
        try db.execute(
            sql: "INSERT INTO refresh_tokens (hash, session, expires_at) VALUES (?, ?, ?)",
            arguments: [token.hash.data, session, token.expiresAt.microseconds])
    }

    public func session(id: String) async throws -> Session? {
        try await pool.read { db in
            try Row.fetchOne(db, sql: "SELECT * FROM sessions WHERE id = ?", arguments: [id]).map {
                try Session(row: $0)
            }
        }
    }

    /// The sessions of a user that are in force, the newest first, at most 1,000.
    public func liveSessions(of user: AccountID, at now: Timestamp) async throws -> [Session] {
        try await pool.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM sessions WHERE user_id = ? AND revoked_at IS NULL AND expires_at > ?
                    ORDER BY created_at DESC, id DESC LIMIT 1000
                    """, arguments: [user.rawValue, now.microseconds]
            ).map { try Session(row: $0) }
        }
    }

    /// Revokes a user's session; false where there is none of that id that is theirs and in force.
    public func revokeSession(id: String, of user: AccountID, at now: Timestamp) async throws -> Bool {
        try await write { db in
            try db.execute(
                sql: """
                    UPDATE sessions SET revoked_at = ?
                    WHERE id = ? AND user_id = ? AND revoked_at IS NULL AND expires_at > ?
                    """, arguments: [now.microseconds, id, user.rawValue, now.microseconds])
            return db.changesCount > 0
        }
    }

    /// Revokes all of a user's sessions; gives their ids.
    public func revokeSessions(of user: AccountID, at now: Timestamp) async throws -> [String] {
        try await write { db in
            try String.fetchAll(
                db,
                sql: "UPDATE sessions SET revoked_at = ? WHERE user_id = ? AND revoked_at IS NULL RETURNING id",
                arguments: [now.microseconds, user.rawValue])
        }
    }

    private static func revoke(_ session: String?, at now: Timestamp, in db: Database) throws {
        try db.execute(
            sql: "UPDATE sessions SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL",
            arguments: [now.microseconds, session])
    }

    // MARK: Refresh tokens

    /// Exchanges a refresh token for `successor`, once.
    ///
    /// One transaction. A token that was exchanged at most `retrySeconds` ago gives the same successor again, as long as that has not been
    /// used: the answer may have been lost. Any later use means that there are two who have it, and revokes the session.
    public func rotate(
        _ hash: [UInt8], retrySeconds: Int64, at now: Timestamp,
        successor: @escaping @Sendable (Session) -> RefreshTokenRow
    ) async throws -> Refresh {
        try await write { db in
            guard
                let row = try Row.fetchOne(
                    db,
                    sql: """
                        SELECT sessions.*, token.expires_at AS token_expires_at, token.used_at, token.sealed_successor,
                            next.used_at AS successor_used_at
                        FROM refresh_tokens AS token JOIN sessions ON sessions.id = token.session
                        LEFT JOIN refresh_tokens AS next ON next.hash = token.successor
                        WHERE token.hash = ?
                        """, arguments: [hash.data])
            else { return .unknown }
            let session = try Session(row: row)
            if session.revokedAt != nil { return .revoked }
            if session.expiresAt <= now { return .expired }
            let usedAt: Int64? = row["used_at"]
            if let usedAt {
                let sealed: Data? = row["sealed_successor"]
                let successorUsedAt: Int64? = row["successor_used_at"]
                if let sealed, successorUsedAt == nil,
                    now <= Timestamp(microseconds: usedAt).advanced(bySeconds: retrySeconds)
                {
                    return .repeated(session, sealed: Array(sealed))
                }
                try Self.revoke(session.id, at: now, in: db)
                return .reused(session)
            }
            let expiry: Int64 = row["token_expires_at"]
            guard Timestamp(microseconds: expiry) > now else { return .expired }
            let next = successor(session)
            try Self.insert(next, of: session.id, in: db)
            try db.execute(
                sql: "UPDATE refresh_tokens SET used_at = ?, successor = ?, sealed_successor = ? WHERE hash = ?",
                arguments: [now.microseconds, next.hash.data, next.sealed?.data, hash.data])
            // Whoever has used a token has received it.
            try db.execute(
                sql: "UPDATE refresh_tokens SET sealed_successor = NULL WHERE session = ? AND successor = ?",
                arguments: [session.id, hash.data])
            try db.execute(
                sql: "UPDATE sessions SET last_used_at = ? WHERE id = ?", arguments: [now.microseconds, session.id])
            return .rotated(session)
        }
    }

    /// Ends the session that a refresh token belongs to; gives its id, nil where the token is none.
    public func revokeSession(ofToken hash: [UInt8], at now: Timestamp) async throws -> String? {
        try await write { db in
            let session = try String.fetchOne(
                db, sql: "SELECT session FROM refresh_tokens WHERE hash = ?", arguments: [hash.data])
            try Self.revoke(session, at: now, in: db)
            return session
        }
    }
}

extension Session {
    fileprivate init(row: Row) throws {
        let user: String = row["user_id"]
        guard let user = AccountID(rawValue: user) else { throw StoreError.corrupt("a session has no valid user") }
        let revokedAt: Int64? = row["revoked_at"]
        self.init(
            id: row["id"], user: user, device: row["device"], createdAt: Timestamp(microseconds: row["created_at"]),
            lastUsedAt: Timestamp(microseconds: row["last_used_at"]),
            expiresAt: Timestamp(microseconds: row["expires_at"]),
            revokedAt: revokedAt.map(Timestamp.init(microseconds:)))
    }
}
