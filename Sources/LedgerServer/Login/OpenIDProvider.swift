import Authentication
import Foundation
import Ledger

/// A provider of OpenID Connect, found by its discovery document (OpenID Connect Discovery 1.0).
///
/// The document and the keys are kept for an hour. A token that no kept key verifies makes the keys be fetched anew, a few times a minute at
/// most: that is how a provider's rotation of its keys is followed. Tokens that anybody may send are counted apart from those of logins, so
/// that they cannot hold up what a login has to learn.
actor OpenIDProvider: LoginProvider {
    nonisolated let configuration: LoginProviderConfiguration
    private let client: ProviderClient
    private let document: Kept<Document>
    private let keys: Kept<ProviderKeys>
    /// When keys were last fetched because of a token that no kept key verified, by where it came from.
    private var refetches: [Origin: [ContinuousClock.Instant]] = [:]

    private enum Origin {
        /// The provider's own answer to a code.
        case login
        case anybody
    }

    private static let refetchesPerMinute = 5

    init(_ configuration: LoginProviderConfiguration, client: ProviderClient) {
        self.configuration = configuration
        self.client = client
        let document = Kept { () async throws(IdentityFault) in try await Document(of: configuration, client) }
        self.document = document
        keys = Kept { () async throws(IdentityFault) in
            guard let keys = ProviderKeys(jwks: try await client.get(try await document.value().jwks_uri)) else {
                throw .provider("the key set cannot be read")
            }
            return keys
        }
    }

    private struct Document: Decodable, Sendable {
        let issuer: String
        let authorization_endpoint: String
        let token_endpoint: String
        let jwks_uri: String
        let token_endpoint_auth_methods_supported: [String]?

        /// The document of a provider, fetched and checked.
        init(of provider: LoginProviderConfiguration, _ client: ProviderClient) async throws(IdentityFault) {
            let base = provider.base.hasSuffix("/") ? String(provider.base.dropLast()) : provider.base
            let body = try await client.get(base + "/.well-known/openid-configuration")
            guard let document = try? JSONDecoder().decode(Document.self, from: Data(body)) else {
                throw .provider("the discovery document cannot be read")
            }
            // Section 4.3: or else one provider could speak for another.
            guard document.issuer == provider.base else { throw .issuer }
            for endpoint in [document.authorization_endpoint, document.token_endpoint, document.jwks_uri] {
                guard Self.isSafe(endpoint, of: provider) else { throw .provider("an endpoint is not https") }
            }
            self = document
        }

        /// `https`; `http` to this machine only for a provider that is on it itself.
        private static func isSafe(_ endpoint: String, of provider: LoginProviderConfiguration) -> Bool {
            guard let url = URL(string: endpoint), let host = url.host, !host.isEmpty else { return false }
            let isLocal = url.scheme == "http" && ["127.0.0.1", "localhost", "::1", "[::1]"].contains(host)
            return url.scheme == "https" || (isLocal && provider.base.hasPrefix("http://"))
        }
    }

    private struct TokenAnswer: Decodable {
        let id_token: String
    }

    func authorizationURL(
        state: String, nonce: String, challenge: String, redirectURI: String
    ) async throws(IdentityFault) -> String {
        authorizationURL(
            try await document.value().authorization_endpoint, state: state, challenge: challenge,
            redirectURI: redirectURI,
            more: [("nonce", nonce)])
    }

    func claims(
        code: String, verifier: String, nonce: String, redirectURI: String
    ) async throws(IdentityFault) -> ProviderClaims {
        let document = try await document.value()
        var form = [
            ("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirectURI),
            ("code_verifier", verifier),
        ]
        var basic: (String, String)?
        let methods = document.token_endpoint_auth_methods_supported ?? ["client_secret_basic"]
        if configuration.clientSecret.isEmpty {
            form.append(("client_id", configuration.clientID))
        } else if methods.contains("client_secret_basic") {
            basic = (configuration.clientID, configuration.clientSecret)
        } else {
            form += [("client_id", configuration.clientID), ("client_secret", configuration.clientSecret)]
        }
        let body = try await client.post(document.token_endpoint, form: form, basic: basic)
        guard let answer = try? JSONDecoder().decode(TokenAnswer.self, from: Data(body)) else {
            throw .provider("the token endpoint gave no id_token")
        }
        return try await verify(answer.id_token, nonce: nonce, audiences: [configuration.clientID], from: .login)
    }

    func claims(token: String) async throws(IdentityFault) -> ProviderClaims {
        // Nothing is fetched for what cannot be a token of the provider's.
        try IDTokenRules.checkForm(of: token)
        return try await verify(
            token, nonce: nil, audiences: [configuration.clientID] + configuration.audiences, from: .anybody)
    }

    private func verify(
        _ token: String, nonce: String?, audiences: [String], from origin: Origin
    ) async throws(IdentityFault) -> ProviderClaims {
        let rules = IDTokenRules(
            provider: configuration.name, issuer: configuration.base, audiences: audiences, nonce: nonce,
            requiresVerifiedEmail: configuration.requiresVerifiedEmail)
        do {
            return try await rules.verify(token, keys: try await keys.value(), at: SystemClock.now())
        } catch {
            switch error {
            case .unknownKey, .signature: guard mayRefetch(for: origin) else { throw error }
            default: throw error
            }
            return try await rules.verify(token, keys: try await keys.fetched(), at: SystemClock.now())
        }
    }

    private func mayRefetch(for origin: Origin) -> Bool {
        let recent = (refetches[origin] ?? []).filter { $0.duration(to: .now) < .seconds(60) }
        guard recent.count < Self.refetchesPerMinute else { return false }
        refetches[origin] = recent + [.now]
        return true
    }
}
