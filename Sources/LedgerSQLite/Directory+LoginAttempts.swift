import Foundation
import GRDB
public import Ledger

/// A login that has begun and waits for the provider's answer.
public struct LoginAttempt: Hashable, Sendable {
    /// The SHA-256 of the `state` that the provider sends back.
    public let stateHash: [UInt8]
    public let provider: String
    /// What the identity token must name (OpenID Connect Core 1.0, section 3.1.2.1).
    public let nonce: String
    /// Our proof key towards the provider (RFC 7636).
    public let verifier: String
    /// Where the login leads back to.
    public let callback: String
    public let clientType: String?
    /// The client's own `state`, to come back as it is.
    public let clientState: String?
    /// The client's proof key towards us.
    public let challenge: String?
    /// The SHA-256 of the cookie of the browser that began it; nil where a program did.
    public let browserHash: [UInt8]?
    public let expiresAt: Timestamp

    public init(
        stateHash: [UInt8], provider: String, nonce: String, verifier: String, callback: String, clientType: String?,
        clientState: String?, challenge: String?, browserHash: [UInt8]?, expiresAt: Timestamp
    ) {
        self.stateHash = stateHash
        self.provider = provider
        self.nonce = nonce
        self.verifier = verifier
        self.callback = callback
        self.clientType = clientType
        self.clientState = clientState
        self.challenge = challenge
        self.browserHash = browserHash
        self.expiresAt = expiresAt
    }
}

extension Directory {
    public func insert(_ attempt: LoginAttempt) async throws {
        try await write { db in
            try db.execute(
                sql: """
                    INSERT INTO login_attempts (state, provider, nonce, verifier, callback, client_type, client_state,
                        challenge, browser, expires_at)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    attempt.stateHash.data, attempt.provider, attempt.nonce, attempt.verifier, attempt.callback,
                    attempt.clientType, attempt.clientState, attempt.challenge, attempt.browserHash?.data,
                    attempt.expiresAt.microseconds,
                ])
        }
    }

    /// Takes the login of a state away, so that it can be answered once; nil where there is none that is in time and of that browser.
    ///
    /// Another browser's answer leaves it: who has only overheard the state cannot spoil it.
    public func takeLoginAttempt(
        stateHash: [UInt8], browserHash: [UInt8]?, at now: Timestamp
    ) async throws -> LoginAttempt? {
        try await write { db in
            let row = try Row.fetchOne(
                db,
                sql: """
                    DELETE FROM login_attempts WHERE state = ? AND (browser IS NULL OR browser = ?) AND expires_at > ?
                    RETURNING *
                    """, arguments: [stateHash.data, browserHash?.data, now.microseconds])
            guard let row else { return nil }
            let browser: Data? = row["browser"]
            return LoginAttempt(
                stateHash: stateHash, provider: row["provider"], nonce: row["nonce"], verifier: row["verifier"],
                callback: row["callback"], clientType: row["client_type"], clientState: row["client_state"],
                challenge: row["challenge"], browserHash: browser.map(Array.init),
                expiresAt: Timestamp(microseconds: row["expires_at"]))
        }
    }

    /// Forgets logins, codes and sessions whose time is long over: a bounded part of them at each call; says whether there may be more.
    ///
    /// A session that has ended is remembered for 30 days more, so that its tokens are told that it has ended; a code for a day, so that its
    /// second use is told.
    public func pruneLogins(at now: Timestamp) async throws -> Bool {
        try await write { db in
            var isMore = false
            for (sql, instant) in [
                (
                    "DELETE FROM login_attempts WHERE state IN (SELECT state FROM login_attempts WHERE expires_at < ? LIMIT 1000)",
                    now
                ),
                (
                    "DELETE FROM login_codes WHERE hash IN (SELECT hash FROM login_codes WHERE expires_at < ? LIMIT 1000)",
                    now.advanced(bySeconds: -86_400)
                ),
                (
                    "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < ? LIMIT 100)",
                    now.advanced(bySeconds: -30 * 86_400)
                ),
            ] {
                try db.execute(sql: sql, arguments: [instant.microseconds])
                isMore = isMore || db.changesCount >= 100
            }
            return isMore
        }
    }
}
