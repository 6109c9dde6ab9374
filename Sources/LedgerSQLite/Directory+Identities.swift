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
    ///
    /// `isSecondHand`: a portal says it, and its silence about an e-mail takes nothing back of what a provider has said.
    public func signIn(
        _ identity: Identity, isSecondHand: Bool, at now: Timestamp,
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
            if chosen == nil { try Self.insertUser(of: identity, isSecondHand: isSecondHand, at: now, in: db) }
            for mark in Self.bonusMarks(
                of: identity, byEmail: identity.isEmailVerified || Identity.isNamedByEmail(identity.subject))
            {
                try db.execute(sql: "INSERT OR IGNORE INTO bonus_marks (mark) VALUES (?)", arguments: [mark.data])
            }
            try db.execute(
                sql: """
                    INSERT INTO identities (provider, subject, user_id, email, email_verified, name, avatar_url, created_at,
                        last_login_at)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                    ON CONFLICT (provider, subject) DO UPDATE SET email = coalesce(excluded.email, email),
                        email_verified = CASE
                            WHEN excluded.email IS NULL THEN email_verified
                            WHEN ? AND lower(excluded.email) = lower(email)
                                THEN max(email_verified, excluded.email_verified)
                            ELSE excluded.email_verified END,
                        name = coalesce(excluded.name, name), avatar_url = coalesce(excluded.avatar_url, avatar_url),
                        last_login_at = excluded.last_login_at
                    """,
                arguments: [
                    identity.provider, identity.subject, user.rawValue, identity.email, identity.isEmailVerified,
                    identity.name, identity.avatarURL, now.microseconds, now.microseconds, isSecondHand,
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
        of identity: Identity, isSecondHand: Bool, at now: Timestamp, in db: Database
    ) throws {
        // Who is vouched for by a portal is also known by an e-mail that nobody verified: it can only withhold a bonus.
        let marks = bonusMarks(of: identity, byEmail: identity.isEmailVerified || isSecondHand)
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

    /// The digests by which a person is known to have had the sign-up bonus: of the subject, and of the e-mail.
    private static func bonusMarks(of identity: Identity, byEmail: Bool) -> [[UInt8]] {
        let own = bonusMark(provider: identity.provider, subject: identity.subject)
        guard byEmail, let email = identity.email else { return [own] }
        return [own, bonusMark(email: email)]
    }

    /// The digest by which an e-mail is known as that of somebody who has had the sign-up bonus.
    static func bonusMark(email: String) -> [UInt8] { bonusMark(provider: "e-mail", subject: Identity.folded(email)) }

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
    /// How the subject of a person begins of whom nothing but an e-mail was ever said: no provider's own name of anybody begins so.
    private static let prefixes = (said: "e-mail:", verified: "verified-e-mail:")

    /// The subject of a person who is named by an e-mail. Whose e-mail is verified is another person than who only says so.
    public static func subject(ofEmail email: String, isVerified: Bool) -> String {
        (isVerified ? prefixes.verified : prefixes.said) + folded(email)
    }

    /// Whether a subject stands for a person who is named by an e-mail.
    public static func isNamedByEmail(_ subject: String) -> Bool {
        subject.hasPrefix(prefixes.said) || subject.hasPrefix(prefixes.verified)
    }

    /// An e-mail with its letters of ASCII in lower case, as SQLite's lower() writes it.
    static func folded(_ email: String) -> String {
        String(decoding: email.utf8.map { (0x41...0x5A).contains($0) ? $0 + 0x20 : $0 }, as: UTF8.self)
    }

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
