import Foundation
import JWTKit
public import Ledger

/// What an access token says.
public struct AccessClaims: Hashable, Sendable {
    /// Whose it is.
    public let user: AccountID
    /// The session that it was issued in; when that is revoked, the token is void.
    public let session: String
    public let expiresAt: Timestamp

    public init(user: AccountID, session: String, expiresAt: Timestamp) {
        self.user = user
        self.session = session
        self.expiresAt = expiresAt
    }
}

/// Why an access token is not taken.
public enum TokenFault: Error, Hashable, Sendable {
    /// It is no token of ours: of another form, signed by another key or algorithm, or for another audience.
    case invalid
    /// It was ours, and its time is over.
    case expired
}

/// Issues and verifies access tokens: JSON Web Tokens (RFC 7519) of a few minutes, signed with one key and verified with that or an earlier
/// one.
///
/// A token's algorithm is its key's; what its header claims must be that. Nothing but a key of ours, named by `kid`, verifies anything.
public struct AccessTokens: Sendable {
    public static let audience = "gateway"
    /// How far the clock may have been set back since a token was issued.
    static let leewaySeconds: Int64 = 60

    private let keys: JWTKeyCollection
    private let signing: SigningKey
    private let algorithms: [String: String]
    private let issuer: String
    /// The public keys as a JSON Web Key Set (RFC 7517); those of secrets are not in it.
    public let publicKeys: String

    /// `previous` keys still verify; they are kept for as long as tokens of theirs live.
    public init(signing: SigningKey, previous: [SigningKey] = [], issuer: String) async {
        let keys = JWTKeyCollection()
        let all = previous + [signing]
        for key in all { await key.add(to: keys) }
        // Otherwise the first key would verify tokens that name none.
        await keys.clearDefault()
        self.keys = keys
        self.signing = signing
        self.issuer = issuer
        algorithms = Dictionary(all.map { ($0.id, $0.algorithm) }) { _, last in last }
        publicKeys = #"{"keys":[\#(all.compactMap(\.publicJWK).joined(separator: ","))]}"#
    }

    /// A token for a session; `id` makes it unlike any other (`jti`). Instants are cut to whole seconds.
    public func issue(_ claims: AccessClaims, id: String, at now: Timestamp) async throws -> String {
        let payload = Payload(
            iss: issuer, aud: Self.audience, sub: claims.user.rawValue, sid: claims.session, jti: id,
            iat: now.wholeSeconds, nbf: now.wholeSeconds, exp: claims.expiresAt.wholeSeconds)
        var header = JWTHeader()
        header.typ = "JWT"
        return try await keys.sign(payload, kid: JWKIdentifier(string: signing.id), header: header)
    }

    /// What a token says, where it is one of ours and in force at `now`.
    public func verify(_ token: String, at now: Timestamp) async throws(TokenFault) -> AccessClaims {
        guard let header = TokenHeader(token, longest: 4096), let kid = header.kid, let algorithm = algorithms[kid],
            header.algorithm == algorithm
        else { throw .invalid }
        let payload: Payload
        do {
            payload = try await keys.verify(token, as: Payload.self)
        } catch {
            throw .invalid
        }
        guard payload.iss == issuer, payload.aud == Self.audience,
            payload.nbf <= now.wholeSeconds + Self.leewaySeconds, let user = AccountID(rawValue: payload.sub),
            let expiresAt = Timestamp(seconds: payload.exp)
        else { throw .invalid }
        guard expiresAt > now else { throw .expired }
        return AccessClaims(user: user, session: payload.sid, expiresAt: expiresAt)
    }

    /// Whether a credential has the form of a token: three parts of base64url.
    public static func isTokenShaped(_ text: String) -> Bool {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 3 && parts[0].utf8.count > 8
            && parts.allSatisfy { $0.utf8.allSatisfy(Base64URL.isDigit) }
    }

    private struct Payload: JWTPayload {
        let iss, aud, sub, sid, jti: String
        let iat, nbf, exp: Int64

        /// Claims are checked where the instant is known.
        func verify(using algorithm: some JWTAlgorithm) {}
    }
}

extension Timestamp {
    /// Seconds since 1970, rounded down.
    var wholeSeconds: Int64 {
        let (quotient, remainder) = microseconds.quotientAndRemainder(dividingBy: 1_000_000)
        return remainder < 0 ? quotient - 1 : quotient
    }
}
