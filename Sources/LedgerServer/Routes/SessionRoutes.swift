import Authentication
import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import WireJSON

/// `/v1/auth/me`, `/v1/auth/sessions`, `/v1/users/{id}/sessions`, `/v1/auth/lookup` and the public keys of access tokens.
struct SessionRoutes: Sendable {
    let authenticator: Authenticator
    let directory: Directory
    /// The JSON Web Key Set of access tokens.
    let publicKeys: String
    let security: SecurityLog

    func add(to router: some RouterMethods<GatewayContext>) {
        router.get("/v1/auth/me", use: me)
        router.get("/v1/auth/sessions", use: list)
        router.delete("/v1/auth/sessions", use: revokeAll)
        router.delete("/v1/auth/sessions/:id", use: revoke)
        router.delete("/v1/users/:id/sessions", use: revokeForUser)
        router.get("/v1/auth/lookup", use: lookup)
        router.get("/.well-known/jwks.json") { _, _ in Response.json { $0.raw(publicKeys) } }
    }

    /// Who the credential's person is.
    @Sendable func me(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let (id, _) = try await authenticator.person(of: request, context)
        guard let user = try await directory.user(id) else { throw GatewayError.userNotFound }
        return Response.json { json in
            json.beginObject()
            json.field("success", true)
            json.name("data")
            json.beginObject()
            json.field("id", user.id.rawValue)
            json.nullable("email", user.email)
            json.nullable("displayName", user.name ?? user.alias)
            json.nullable("photoUrl", user.avatarURL)
            json.field("createdAt", user.createdAt.description)
            json.field("updatedAt", user.updatedAt.description)
            json.name("organizations")
            json.beginArray()
            json.endArray()
            json.endObject()
            json.endObject()
        }
    }

    // MARK: Sessions

    @Sendable func list(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let (user, principal) = try await authenticator.person(of: request, context)
        let sessions = try await directory.liveSessions(of: user, at: SystemClock.now())
        var current: String?
        if case .session(let session) = principal { current = session.id }
        return Response.json { json in
            json.beginObject()
            json.field("success", true)
            json.name("data")
            json.beginObject()
            json.name("sessions")
            json.beginArray()
            for session in sessions {
                json.beginObject()
                json.field("id", session.id)
                json.field("createdAt", session.createdAt.description)
                json.field("lastUsedAt", session.lastUsedAt.description)
                json.field("expiresAt", session.expiresAt.description)
                json.field("current", session.id == current)
                json.name("device")
                json.raw(session.device)
                json.endObject()
            }
            json.endArray()
            json.endObject()
            json.endObject()
        }
    }

    @Sendable func revoke(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let (user, principal) = try await authenticator.person(of: request, context)
        let id = context.parameters.get("id") ?? ""
        guard try await directory.revokeSession(id: id, of: user, at: SystemClock.now()) else {
            throw GatewayError(.notFound, "session_not_found", "Session not found")
        }
        authenticator.forget(sessions: [id])
        security.note(.sessionRevoked, context, ["session": id, "user": user.rawValue, "actor": principal.actor])
        return Response(status: .noContent)
    }

    @Sendable func revokeAll(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let (user, principal) = try await authenticator.person(of: request, context)
        try await revokeAll(of: user, by: principal, context)
        return Response(status: .noContent)
    }

    private func revokeAll(of user: AccountID, by principal: Principal, _ context: GatewayContext) async throws {
        let ids = try await directory.revokeSessions(of: user, at: SystemClock.now())
        authenticator.forget(sessions: ids)
        security.note(
            .sessionRevoked, context,
            ["sessions": "\(ids.count)", "user": user.rawValue, "actor": principal.actor])
    }

    /// Ends all sessions of a user, by the operator. Keys are not touched.
    @Sendable func revokeForUser(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try await authenticator.demand(.operate, request, context)
        let name = context.parameters.get("id")?.removingPercentEncoding ?? ""
        guard let user = AccountID(rawValue: name), try await directory.user(user) != nil else {
            throw GatewayError(.notFound, "user_not_found", "User with id '\(name)' not found")
        }
        try await revokeAll(of: user, by: principal, context)
        return Response(status: .noContent)
    }

    // MARK: Looking somebody up

    /// The account of a provider's person, for the operator's programs.
    @Sendable func lookup(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        let provider = request.stated("provider")
        let found: Identity?
        if let subject = request.stated("provider_account_id") {
            guard let provider else {
                throw GatewayError(
                    .badRequest, "lookup_incomplete", "Provide provider with provider_account_id, or email",
                    param: "provider")
            }
            found = try await directory.identity(provider: provider, subject: subject)
        } else if let email = request.stated("email") {
            // Who has it verified comes first. Of those who only say so, it must be one and the same.
            let all = try await directory.identities(email: email, provider: provider)
            let verified = all.filter(\.isEmailVerified)
            let candidates = verified.isEmpty ? all : verified
            guard Set(candidates.map(\.user)).count <= 1 else {
                throw GatewayError(
                    .conflict, "ambiguous_email", "Several users have this e-mail; ask by provider_account_id",
                    param: "email")
            }
            found = candidates.first
        } else {
            throw GatewayError(
                .badRequest, "lookup_incomplete", "Provide provider with provider_account_id, or email",
                param: "provider_account_id")
        }
        guard let found, let user = try await directory.user(found.user) else { throw GatewayError.userNotFound }
        let linked = try await directory.identities(of: user.id)
        return Response.json { json in
            json.beginObject()
            json.field("user_id", user.id.rawValue)
            json.nullable("alias", user.alias)
            json.field("provider", found.provider)
            json.field("provider_account_id", found.subject)
            json.nullable("email", found.email)
            json.nullable("name", found.name)
            json.nullable("avatar_url", found.avatarURL)
            json.name("linked_accounts")
            json.beginArray()
            for identity in linked { identity.write(to: &json) }
            json.endArray()
            json.endObject()
        }
    }
}

extension Identity {
    /// The identity as the contract lists it among a user's linked accounts.
    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.field("provider", provider)
        json.field("provider_account_id", subject)
        json.nullable("email", email)
        json.nullable("name", name)
        json.nullable("avatar_url", avatarURL)
        json.endObject()
    }
}
