import Authentication
import Foundation
import Ledger
import LedgerSQLite

/// The tokens of a session, as they are handed out once.
struct IssuedTokens: Sendable {
    let access: String
    let accessExpiresAt: Timestamp
    let refresh: String
    let refreshExpiresAt: Timestamp
    let session: Session
}

/// Makes sessions and their tokens.
struct SessionIssuer: Sendable {
    let tokens: AccessTokens
    let terms: TokenConfiguration

    /// A session that is not stored yet, with its first refresh token.
    func newSession(
        of user: AccountID, device: String, token: SecretToken
    ) -> (session: Session, token: RefreshTokenRow) {
        let now = SystemClock.now()
        let session = Session(
            id: UUID().uuidString.lowercased(), user: user, device: device, createdAt: now,
            expiresAt: now.advanced(bySeconds: terms.sessionSeconds))
        return (session, row(of: token, sealed: nil, in: session))
    }

    /// A refresh token as it is stored.
    func row(of token: SecretToken, sealed: [UInt8]?, in session: Session) -> RefreshTokenRow {
        RefreshTokenRow(hash: token.hash, expiresAt: refreshExpiry(session, at: SystemClock.now()), sealed: sealed)
    }

    /// An access token beside a refresh token.
    func issue(_ session: Session, refresh: String) async throws -> IssuedTokens {
        let now = SystemClock.now()
        let expiry = min(now.advanced(bySeconds: terms.accessSeconds), session.expiresAt)
        // Tokens know whole seconds.
        let expiresAt = Timestamp(microseconds: expiry.microseconds / 1_000_000 * 1_000_000)
        let access = try await tokens.issue(
            AccessClaims(user: session.user, session: session.id, expiresAt: expiresAt),
            id: UUID().uuidString.lowercased(), at: now)
        return IssuedTokens(
            access: access, accessExpiresAt: expiresAt, refresh: refresh,
            refreshExpiresAt: refreshExpiry(session, at: now), session: session)
    }

    private func refreshExpiry(_ session: Session, at now: Timestamp) -> Timestamp {
        min(now.advanced(bySeconds: terms.refreshSeconds), session.expiresAt)
    }
}
