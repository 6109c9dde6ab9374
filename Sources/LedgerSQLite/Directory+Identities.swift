import Crypto
import Foundation
import GRDB
public import Ledger

/// A person at a provider, and the account that they are here.
public struct Identity: Hashable, Sendable {
    /// The provider's name in the configuration.
    public let provider: String
    /// The provider's lasting name of the person.
    public let subject: String
    public let user: AccountID
    public let email: String?
    public let isEmailVerified: Bool
    public let name: String?
    public let avatarURL: String?
    public let createdAt: Timestamp
    public let lastLoginAt: Timestamp?

    public init(
        provider: String, subject: String, user: AccountID, email: String?, isEmailVerified: Bool, name: String?,
        avatarURL: String?, createdAt: Timestamp, lastLoginAt: Timestamp?
    ) {
        self.provider = provider
        self.subject = subject
        self.user = user
        self.email = email
        self.isEmailVerified = isEmailVerified
        self.name = name
        self.avatarURL = avatarURL
        self.createdAt = createdAt
        self.lastLoginAt = lastLoginAt
    }
}

extension Directory {
    /// Finds or makes the account of a person whom a provider has identified, and remembers the identity as it is now.
    ///
    /// One transaction: of two first logins at once, the second finds what the first has made. `choose` decides which account it is, from the one
    /// that the identity is linked to and those that have the same verified e-mail; nil: a new one, of `identity.user`'s id.
    ///
    /// A new account has its sign-up bonus pending unless the person, told by the provider's subject or a verified e-mail, has had one: also
    /// where they were erased since.
    public func signIn(
        _ identity: Identity, at now: Timestamp,
        choose: @escaping @Sendable (_ known: AccountID?, _ sameEmail: Set<AccountID>) -> AccountID?
    ) async throws -> User {
        try await write { db in
            let known = try String.fetchOne(
                db, sql: "SELECT user_id FROM identities WHERE provider = ? AND subject = ?",
                arguments: [identity.provider, identity.subject])
            let sameEmail = try String.fetchAll(
                db,
                sql: "SELECT DISTINCT user_id FROM identities WHERE lower(email) = lower(?) AND email_verified = 1",
                arguments: [identity.email])
            let chosen = choose(
                try known.map(Self.account), Set(try sameEmail.map(Self.account)))
            let user = chosen ?? identity.user
            let marks = Self.bonusMarks(of: identity)
            if chosen == nil { try Self.insertUser(of: identity, marks: marks, at: now, in: db) }
            for mark in marks {
                try db.execute(sql: "INSERT OR IGNORE INTO bonus_marks (mark) VALUES (?)", arguments: [mark.data])
            }
            try db.execute(
                sql: """
                    INSERT INTO identities (provider, subject, user_id, email, email_verified, name, avatar_url, created_at,
                        last_login_at)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                    ON CONFLICT (provider, subject) DO UPDATE SET email = excluded.email,
                        email_verified = excluded.email_verified, name = excluded.name,
                        avatar_url = excluded.avatar_url, last_login_at = excluded.last_login_at
                    """,
                arguments: [
                    identity.provider, identity.subject, user.rawValue, identity.email, identity.isEmailVerified,
                    identity.name, identity.avatarURL, now.microseconds, now.microseconds,
                ])
            // What is shown follows the provider; a verified e-mail is not replaced by one that is not.
            try db.execute(
                sql: """
                    UPDATE users SET last_login_at = ?, name = coalesce(?, name), avatar_url = coalesce(?, avatar_url),
                        email = CASE WHEN email IS NULL OR ? THEN coalesce(?, email) ELSE email END
                    WHERE user_id = ?
                    """,
                arguments: [
                    now.microseconds, identity.name, identity.avatarURL, identity.isEmailVerified, identity.email,
                    user.rawValue,
                ])
            guard let found = try Self.user(user, in: db) else {
                throw StoreError.corrupt("an identity is linked to a user who does not exist")
            }
            return found
        }
    }

    private static func insertUser(
        of identity: Identity, marks: [[UInt8]], at now: Timestamp, in db: Database
    ) throws {
        let hadBonus = try marks.contains { mark in
            try Bool.fetchOne(
                db, sql: "SELECT EXISTS (SELECT 1 FROM bonus_marks WHERE mark = ?)", arguments: [mark.data]) ?? false
        }
        try db.execute(
            sql: """
                INSERT INTO users (user_id, email, name, avatar_url, role, metadata, created_at, updated_at, signup_pending)
                VALUES (?, ?, ?, ?, 'user', '{}', ?, ?, ?)
                """,
            arguments: [
                identity.user.rawValue, identity.email, identity.name, identity.avatarURL, now.microseconds,
                now.microseconds, !hadBonus,
            ])
    }

    /// Remembers that the sign-up bonus of a user is in the ledger.
    public func signupIsDone(_ user: AccountID) async throws {
        try await write { db in
            try db.execute(sql: "UPDATE users SET signup_pending = 0 WHERE user_id = ?", arguments: [user.rawValue])
        }
    }

    /// The identities of a user, the oldest first.
    public func identities(of user: AccountID) async throws -> [Identity] {
        try await pool.read { db in
            try Row.fetchAll(
                db, sql: "SELECT * FROM identities WHERE user_id = ? ORDER BY created_at, provider, subject",
                arguments: [user.rawValue]
            ).map { try Identity(row: $0) }
        }
    }

    /// The identity of that subject.
    public func identity(provider: String, subject: String) async throws -> Identity? {
        try await pool.read { db in
            try Row.fetchOne(
                db, sql: "SELECT * FROM identities WHERE provider = ? AND subject = ?", arguments: [provider, subject]
            ).map { try Identity(row: $0) }
        }
    }

    /// The identities with that e-mail (letters of ASCII in either case), of one provider or of any, at most 100, the oldest first.
    public func identities(email: String, provider: String?) async throws -> [Identity] {
        try await pool.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM identities WHERE lower(email) = lower(?) AND provider = coalesce(?, provider)
                    ORDER BY created_at, provider, subject LIMIT 100
                    """, arguments: [email, provider]
            ).map { try Identity(row: $0) }
        }
    }

    // MARK: Who has had the bonus

    /// The digests by which a person is known to have had the sign-up bonus: of the subject, and of a verified e-mail.
    private static func bonusMarks(of identity: Identity) -> [[UInt8]] {
        var marks = [bonusMark(provider: identity.provider, subject: identity.subject)]
        if identity.isEmailVerified, let email = identity.email {
            let folded = email.utf8.map { (0x41...0x5A).contains($0) ? $0 + 0x20 : $0 }
            marks.append(bonusMark(provider: "e-mail", subject: String(decoding: folded, as: UTF8.self)))
        }
        return marks
    }

    /// The digest by which a provider's subject is known to have had the sign-up bonus.
    public static func bonusMark(provider: String, subject: String) -> [UInt8] {
        Array(SHA256.hash(data: Array("sign-up bonus\u{0}\(provider)\u{0}\(subject)".utf8)))
    }

    private static func account(_ stored: String) throws -> AccountID {
        guard let id = AccountID(rawValue: stored) else { throw StoreError.corrupt("an identity has no valid user") }
        return id
    }

    static func user(_ id: AccountID, in db: Database) throws -> User? {
        try Row.fetchOne(
            db, sql: "SELECT \(userColumns) FROM users WHERE user_id = ? AND deleted_at IS NULL",
            arguments: [id.rawValue]
        ).map { try User(row: $0) }
    }
}

extension Identity {
    init(row: Row) throws {
        let user: String = row["user_id"]
        guard let user = AccountID(rawValue: user) else { throw StoreError.corrupt("an identity has no valid user") }
        let lastLoginAt: Int64? = row["last_login_at"]
        self.init(
            provider: row["provider"], subject: row["subject"], user: user, email: row["email"],
            isEmailVerified: row["email_verified"], name: row["name"], avatarURL: row["avatar_url"],
            createdAt: Timestamp(microseconds: row["created_at"]),
            lastLoginAt: lastLoginAt.map(Timestamp.init(microseconds:)))
    }
}
