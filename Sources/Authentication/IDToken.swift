import Crypto
import Foundation
import JWTKit
public import Ledger

/// Why a provider's proof of somebody's identity is not taken.
public enum IdentityFault: Error, Hashable, Sendable, CustomStringConvertible {
    /// It is no token that can be read.
    case malformed
    /// It is signed with another algorithm than RS256.
    case algorithm
    /// It names a key that the provider does not publish (any more).
    case unknownKey
    case signature
    /// It comes from another provider.
    case issuer
    /// It was issued for another client.
    case audience
    /// Its time is over, or has not come.
    case time
    /// It answers another login.
    case nonce
    case subject
    /// It has no e-mail that the provider has verified.
    case email
    /// The provider could not be asked, or gave no answer that can be used.
    case provider(String)

    public var description: String {
        switch self {
        case .malformed: "malformed token"
        case .algorithm: "algorithm not allowed"
        case .unknownKey: "unknown key"
        case .signature: "wrong signature"
        case .issuer: "wrong issuer"
        case .audience: "wrong audience"
        case .time: "expired or not yet valid"
        case .nonce: "wrong nonce"
        case .subject: "no usable subject"
        case .email: "no verified e-mail"
        case .provider(let what): "provider: \(what)"
        }
    }
}

/// The keys that a provider signs identity tokens with, out of its JSON Web Key Set (RFC 7517).
///
/// Only RSA keys for RS256 are taken. A key without `alg` is one for RS256, and is pinned to it; what cannot be read (other key types, curves
/// or uses) is passed over, and costs the others nothing.
public struct ProviderKeys: Sendable {
    private let keys: [String: JWK]
    private let only: JWK?

    /// The usable keys of a set; nil where it is no key set.
    public init?(jwks: [UInt8]) {
        guard let set = try? JSONDecoder().decode(KeySet.self, from: Data(jwks)) else { return nil }
        var keys: [String: JWK] = [:]
        var all: [JWK] = []
        for entry in set.keys {
            guard var jwk = entry.jwk, jwk.keyType == .rsa, entry.use ?? "sig" == "sig",
                jwk.algorithm ?? .rs256 == .rs256
            else { continue }
            jwk.algorithm = .rs256
            // A set that publishes private halves is broken: only the public ones are used.
            jwk.privateExponent = nil
            let kid = jwk.keyIdentifier?.string
            if kid == nil { jwk.keyIdentifier = JWKIdentifier(string: "") }
            all.append(jwk)
            if let kid { keys[kid] = jwk }
        }
        self.keys = keys
        only = all.count == 1 ? all.first : nil
    }

    /// The key of that name; of none, the only one.
    func key(named kid: String?) -> JWK? {
        guard let kid else { return only }
        return keys[kid]
    }

    private struct KeySet: Decodable {
        let keys: [Entry]
    }

    private struct Entry: Decodable {
        let jwk: JWK?
        let use: String?

        private enum Keys: String, CodingKey { case use }

        init(from decoder: any Decoder) {
            jwk = try? JWK(from: decoder)
            use = try? decoder.container(keyedBy: Keys.self).decode(String.self, forKey: .use)
        }
    }
}

/// What an identity token (OpenID Connect Core 1.0, section 2) must say to be taken.
public struct IDTokenRules: Sendable {
    /// The provider's name in the configuration.
    public let provider: String
    /// The issuer, as the configuration has it.
    public let issuer: String
    /// Our client ids at the provider: the one that logs in, then those of other clients of the same operator.
    public let audiences: [String]
    /// What the login sent along; nil where the token did not come out of a login of ours.
    public let nonce: String?
    public let requiresVerifiedEmail: Bool
    /// How far clocks may differ.
    static let leewaySeconds = 60.0

    public init(provider: String, issuer: String, audiences: [String], nonce: String?, requiresVerifiedEmail: Bool) {
        self.provider = provider
        self.issuer = issuer
        self.audiences = audiences
        self.nonce = nonce
        self.requiresVerifiedEmail = requiresVerifiedEmail
    }

    /// What a token's header says, where it can be one of a provider's at all: no key needs to be fetched for any other.
    @discardableResult
    static func header(of token: String) throws(IdentityFault) -> TokenHeader {
        guard let header = TokenHeader(token, longest: 64 << 10) else { throw .malformed }
        guard header.algorithm == "RS256" else { throw .algorithm }
        return header
    }

    /// Refuses what cannot be an identity token, whatever keys there are.
    public static func checkForm(of token: String) throws(IdentityFault) { try header(of: token) }

    /// Who a token is about, where it is signed by one of the keys and says what it must at `now` (section 3.1.3.7).
    public func verify(
        _ token: String, keys: ProviderKeys, at now: Timestamp
    ) async throws(IdentityFault) -> ProviderClaims {
        let header = try Self.header(of: token)
        guard let jwk = keys.key(named: header.kid) else { throw .unknownKey }
        let payload: Payload
        do {
            let collection = try await JWTKeyCollection().add(jwk: jwk, isDefault: true)
            payload = try await collection.verify(token, as: Payload.self)
        } catch let error as JWTError where error.errorType == .malformedToken {
            throw .malformed
        } catch {
            throw .signature
        }
        return try check(payload, at: now)
    }

    private func check(_ payload: Payload, at now: Timestamp) throws(IdentityFault) -> ProviderClaims {
        guard payload.iss == issuer || (issuer == "https://accounts.google.com" && payload.iss == "accounts.google.com")
        else { throw .issuer }
        let audience = payload.aud.values
        guard let client = audience.first(where: audiences.contains) else { throw .audience }
        // Of several audiences, the one that the token was issued to must be ours, too.
        if audience.count > 1 || payload.azp != nil {
            guard let party = payload.azp, party == client || audiences.contains(party) else { throw .audience }
        }
        let instant = Double(now.microseconds) / 1_000_000
        guard payload.exp > instant - Self.leewaySeconds, payload.iat <= instant + Self.leewaySeconds,
            payload.nbf.map({ $0 <= instant + Self.leewaySeconds }) ?? true
        else { throw .time }
        if let nonce {
            guard let answered = payload.nonce, SHA256.areSame(answered, nonce) else { throw .nonce }
        }
        let claims = ProviderClaims(
            provider: provider, subject: payload.sub, email: payload.email,
            isEmailVerified: payload.email_verified?.isTrue ?? false, name: payload.name, avatarURL: payload.picture)
        guard let claims else { throw .subject }
        if requiresVerifiedEmail, !claims.isEmailVerified { throw .email }
        return claims
    }

    /// The claims as they come. Numbers are compared as they are: an absurd one must not trap in a conversion.
    private struct Payload: JWTPayload {
        let iss: String
        let sub: String
        let aud: Audience
        let azp: String?
        let exp: Double
        let iat: Double
        let nbf: Double?
        let nonce: String?
        let email: String?
        let email_verified: VerifiedFlag?
        let name: String?
        let picture: String?

        func verify(using algorithm: some JWTAlgorithm) {}
    }

    /// One audience or several; none are no reason to stop.
    private struct Audience: Codable {
        let values: [String]

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let one = try? container.decode(String.self) {
                values = [one]
            } else {
                values = try container.decode([String].self)
            }
        }

        func encode(to encoder: any Encoder) throws { try values.encode(to: encoder) }
    }
}

/// Whether a provider has verified an e-mail: `true` and nothing else, whatever else it may write there.
public struct VerifiedFlag: Codable, Sendable {
    public let isTrue: Bool

    public init(from decoder: any Decoder) throws {
        isTrue = (try? decoder.singleValueContainer().decode(Bool.self)) ?? false
    }

    public func encode(to encoder: any Encoder) throws { try isTrue.encode(to: encoder) }
}
