import Authentication
import Foundation

/// Discord: OAuth 2 without identity tokens; who somebody is, its API says (Discord, "OAuth2", "User Resource").
struct DiscordProvider: LoginProvider {
    let configuration: LoginProviderConfiguration
    let client: ProviderClient

    private struct TokenAnswer: Decodable {
        let access_token: String
    }

    private struct User: Decodable {
        let id: String
        let username: String?
        let global_name: String?
        let avatar: String?
        let email: String?
        let verified: VerifiedFlag?
    }

    private struct Authorization: Decodable {
        struct Application: Decodable { let id: String }
        let application: Application
    }

    func authorizationURL(
        state: String, nonce: String, challenge: String, redirectURI: String
    ) async throws(IdentityFault) -> String {
        authorizationURL(
            configuration.base + "/oauth2/authorize", state: state, challenge: challenge, redirectURI: redirectURI)
    }

    func claims(
        code: String, verifier: String, nonce: String, redirectURI: String
    ) async throws(IdentityFault) -> ProviderClaims {
        let body = try await client.post(
            configuration.base + "/oauth2/token",
            form: [
                ("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirectURI),
                ("code_verifier", verifier), ("client_id", configuration.clientID),
                ("client_secret", configuration.clientSecret),
            ])
        guard let answer = try? JSONDecoder().decode(TokenAnswer.self, from: Data(body)) else {
            throw .provider("the token endpoint gave no access token")
        }
        return try await person(of: answer.access_token)
    }

    /// A token that was issued to another application says who somebody is, but not that they want to log in here.
    func claims(token: String) async throws(IdentityFault) -> ProviderClaims {
        guard (1...2048).contains(token.utf8.count), token.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw .malformed
        }
        let body = try await client.get(configuration.base + "/oauth2/@me", bearer: token)
        guard let authorization = try? JSONDecoder().decode(Authorization.self, from: Data(body)) else {
            throw .provider("the authorization cannot be read")
        }
        guard ([configuration.clientID] + configuration.audiences).contains(authorization.application.id) else {
            throw .audience
        }
        return try await person(of: token)
    }

    private func person(of token: String) async throws(IdentityFault) -> ProviderClaims {
        let body = try await client.get(configuration.base + "/users/@me", bearer: token)
        guard let user = try? JSONDecoder().decode(User.self, from: Data(body)) else {
            throw .provider("the user cannot be read")
        }
        let avatar = user.avatar.map { "https://cdn.discordapp.com/avatars/\(user.id)/\($0).png" }
        let claims = ProviderClaims(
            provider: configuration.name, subject: user.id, email: user.email,
            isEmailVerified: user.verified?.isTrue ?? false,
            name: user.global_name ?? user.username, avatarURL: avatar)
        guard let claims else { throw .subject }
        if configuration.requiresVerifiedEmail, !claims.isEmailVerified { throw .email }
        return claims
    }
}
