import Authentication
import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import WireJSON

/// `POST /v1/auth/login`, `/token`, `/refresh`, `/logout`: how tokens come and go.
struct TokenRoutes: Sendable {
    let providers: [String: any LoginProvider]
    let directory: Directory
    let signUp: SignUp
    let authenticator: Authenticator
    /// nil: no secret is configured, and there are no tokens.
    let issuer: SessionIssuer?
    let limit: RequestLimit
    let security: SecurityLog

    func add(to router: some RouterMethods<GatewayContext>) {
        router.post("/v1/auth/login", use: logIn)
        router.post("/v1/auth/token", use: exchange)
        router.post("/v1/auth/refresh", use: refresh)
        router.post("/v1/auth/logout", use: logOut)
    }

    private func configuredIssuer() throws -> SessionIssuer {
        guard let issuer else {
            throw GatewayError(
                .notFound, "login_not_configured",
                "There are no tokens here: the operator has to configure 'jwt_secret'")
        }
        return issuer
    }

    // MARK: Logging in

    /// Logs a person in whom a portal with the master key vouches for, or who brings a token of a provider that is verified here.
    @Sendable func logIn(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let refusal = try await portalRefusal(request, context)
        let isTrusted = refusal == nil
        let fields = try await BodyFields(request)
        // A client that still sends the key or token that it had may log in again all the same.
        if let refusal, try fields.string("provider_token") == nil {
            throw Authenticator.hasCredential(request) ? refusal : limit.refusal(refusal, context)
        }
        if !isTrusted { try limit.admit(context) }
        let issuer = try configuredIssuer()
        let provider = try fields.requiredString("provider")
        let claims =
            isTrusted ? try await trusted(fields, provider) : try await verified(fields, provider, context)
        let user: User
        do {
            user = try await signUp.user(claims, isSecondHand: isTrusted)
        } catch let fault as IdentityFault {
            throw self.refusal(of: fault, context)
        }
        security.note(
            .loginSucceeded, context,
            ["provider": provider, "user": user.id.rawValue, "by": isTrusted ? "portal" : "token"])
        let device = Device(
            type: try fields.string("device_type"), os: try fields.string("os"),
            appVersion: try fields.string("app_version"), userAgent: try fields.string("user_agent"))
        let token = SecretToken(.refresh)
        let opened = issuer.newSession(of: user.id, device: device.json, token: token)
        try await directory.open(opened.session, opened.token)
        let tokens = try await issuer.issue(opened.session, refresh: token.text)
        return Response.json(headers: [.cacheControl: "no-store"]) { json in
            json.beginObject()
            json.name("tokens")
            json.beginObject()
            json.field("access_token", tokens.access)
            json.field("access_token_expires_at", tokens.accessExpiresAt.description)
            json.field("refresh_token", tokens.refresh)
            json.field("refresh_token_expires_at", tokens.refreshExpiresAt.description)
            json.endObject()
            json.endObject()
        }
    }

    /// Why this is no portal with an operator's key; nil: it is one.
    private func portalRefusal(_ request: Request, _ context: GatewayContext) async throws -> GatewayError? {
        do {
            try await authenticator.demand(.operate, request, context)
            return nil
        } catch let refusal as GatewayError where [401, 403].contains(refusal.status.code) {
            return refusal
        }
    }

    /// What a trusted portal says.
    ///
    /// Without the provider's name of the person, the e-mail names them: where the portal says that it is verified, among those of that provider
    /// who have it verified, else among those of whom a portal never said more. Whoever merely wrote an e-mail into a profile is not found by it.
    private func trusted(_ fields: BodyFields, _ provider: String) async throws -> ProviderClaims {
        let email = try fields.string("email")
        let isVerified = try fields.bool("email_verified") ?? false
        var subject = try fields.string("provider_account_id").flatMap { $0.isEmpty ? nil : $0 }
        if let subject, Identity.isNamedByEmail(subject) {
            throw GatewayError.validation(
                kind: "string_pattern", field: "provider_account_id",
                message:
                    "Input should not begin with 'e-mail:' or 'verified-e-mail:', which stand for people named by an e-mail"
            )
        }
        if subject == nil, let email {
            let known = isVerified ? try await directory.identities(email: email, provider: provider) : []
            let verified = known.filter { $0.isEmailVerified && !Identity.isNamedByEmail($0.subject) }
            guard verified.count <= 1 else {
                throw GatewayError(
                    .conflict, "ambiguous_email",
                    "Several people have this e-mail at the provider; send provider_account_id", param: "email")
            }
            subject = verified.first?.subject ?? Identity.subject(ofEmail: email, isVerified: isVerified)
        }
        guard let subject else { throw GatewayError.missing("provider_account_id") }
        let claims = ProviderClaims(
            provider: provider, subject: subject, email: email, isEmailVerified: isVerified,
            name: try fields.string("name"), avatarURL: try fields.string("avatar_url"))
        guard let claims else {
            throw GatewayError.validation(
                kind: "string_pattern", field: "provider_account_id",
                message: "Input should have 1 to 255 bytes (the provider's name 1 to 64) without control characters")
        }
        return claims
    }

    /// What a provider's own token says; claims that somebody merely sends count for nothing.
    private func verified(
        _ fields: BodyFields, _ name: String, _ context: GatewayContext
    ) async throws -> ProviderClaims {
        guard let token = try fields.string("provider_token") else {
            throw Authenticator.unauthorized("missing_credentials", "Missing X-AnyLLM-Key or Authorization header")
        }
        do {
            guard let provider = providers[name] else { throw IdentityFault.provider("not configured") }
            return try await provider.claims(token: token)
        } catch let fault as IdentityFault {
            throw refusal(of: fault, context)
        }
    }

    private func refusal(of fault: IdentityFault, _ context: GatewayContext) -> GatewayError {
        security.note(.loginFailed, context, ["why": "\(fault)", "by": "token"])
        return Authenticator.unauthorized("provider_token_invalid", "The provider's token is not valid here")
    }

    // MARK: Codes and refresh tokens

    /// Exchanges a login's code for tokens, once.
    @Sendable func exchange(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let fields = try await BodyFields(request)
        let text = try fields.requiredString("code")
        let verifier = try fields.string("code_verifier")
        let clientType = try fields.string("client_type")
        let issuer = try configuredIssuer()
        let refused = Authenticator.unauthorized("invalid_code", "invalid or expired code")
        guard SecretToken.isWhole(text, .code) else { throw limit.refusal(refused, context) }
        let device = Device(type: clientType, userAgent: request.headers[.userAgent]).json
        // A code names its user only in the transaction that uses it up: the first token is made before.
        let token = SecretToken(.refresh)
        let result = try await directory.redeem(code: SecretToken.hash(text), at: SystemClock.now()) { code in
            // A proof without a challenge is a client's that had one: somebody has exchanged the code for that of another login
            // (RFC 9700, section 4.8.2).
            guard (verifier == nil) == (code.challenge == nil) else { return nil }
            if let verifier, let challenge = code.challenge {
                guard ProofKey.isVerifier(verifier), ProofKey.challenge(of: verifier) == challenge else { return nil }
            }
            return issuer.newSession(of: code.user, device: device, token: token)
        }
        switch result {
        case .opened(let session):
            security.note(.codeExchanged, context, ["session": session.id, "user": session.user.rawValue])
            return try await answer(issuer.issue(session, refresh: token.text))
        case .reused(let session):
            if let session { authenticator.forget(sessions: [session]) }
            security.note(.codeReused, context, ["session": session ?? ""])
            throw limit.refusal(refused, context)
        case .refused:
            security.note(.loginFailed, context, ["why": "code"])
            throw limit.refusal(refused, context)
        }
    }

    /// Exchanges a refresh token for new tokens.
    @Sendable func refresh(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let fields = try await BodyFields(request)
        let presented = try fields.refreshToken("refreshToken")
        let issuer = try configuredIssuer()
        do {
            return try await answer(rotate(presented, issuer, context))
        } catch let refusal as GatewayError where refusal.status == .unauthorized {
            throw limit.refusal(refusal, context)
        }
    }

    private func rotate(
        _ presented: String, _ issuer: SessionIssuer, _ context: GatewayContext
    ) async throws -> IssuedTokens {
        let unknown = Authenticator.unauthorized("invalid_refresh_token", "Invalid refresh token")
        let revoked = Authenticator.unauthorized("refresh_token_revoked", "Refresh token revoked")
        guard SecretToken.isWhole(presented, .refresh) else { throw unknown }
        let successor = SecretToken(.refresh)
        let sealed = try successor.sealed(for: presented)
        let result = try await directory.rotate(
            SecretToken.hash(presented), retrySeconds: issuer.terms.retrySeconds, at: SystemClock.now()
        ) { session in issuer.row(of: successor, sealed: sealed, in: session) }
        switch result {
        case .rotated(let session): return try await issuer.issue(session, refresh: successor.text)
        case .repeated(let session, let sealed):
            guard let earlier = SecretToken.opened(sealed, with: presented) else { throw revoked }
            return try await issuer.issue(session, refresh: earlier)
        case .unknown:
            security.note(.refreshRefused, context, ["why": "unknown"])
            throw unknown
        case .expired:
            security.note(.refreshRefused, context, ["why": "expired"])
            throw Authenticator.unauthorized("refresh_token_expired", "Refresh token expired")
        case .revoked:
            security.note(.refreshRefused, context, ["why": "revoked"])
            throw revoked
        case .reused(let session):
            authenticator.forget(sessions: [session.id])
            security.note(.tokenReused, context, ["session": session.id, "user": session.user.rawValue])
            throw revoked
        }
    }

    /// Ends the session of a refresh token. The answer is the same for a token that is none: it tells nobody anything.
    @Sendable func logOut(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let fields = try await BodyFields(request)
        let text = try fields.refreshToken("refresh_token")
        guard SecretToken.isWhole(text, .refresh),
            let session = try await directory.revokeSession(ofToken: SecretToken.hash(text), at: SystemClock.now())
        else { return Response(status: .noContent) }
        authenticator.forget(sessions: [session])
        security.note(.sessionRevoked, context, ["session": session, "why": "logout"])
        return Response(status: .noContent)
    }

    private func answer(_ tokens: IssuedTokens) async throws -> Response {
        let user = try await directory.user(tokens.session.user)
        return Response.json(headers: [.cacheControl: "no-store"]) { json in
            json.beginObject()
            json.field("success", true)
            json.name("data")
            json.beginObject()
            json.field("accessToken", tokens.access)
            json.field("refreshToken", tokens.refresh)
            json.field("tokenType", "Bearer")
            json.field("expiresAt", tokens.accessExpiresAt.description)
            json.name("userInfo")
            json.beginObject()
            json.field("id", tokens.session.user.rawValue)
            json.nullable("email", user?.email)
            json.nullable("name", user?.name)
            json.field("subject", tokens.session.user.rawValue)
            json.nullable("photoUrl", user?.avatarURL)
            json.name("accounts")
            json.beginArray()
            json.endArray()
            json.endObject()
            json.endObject()
            json.endObject()
        }
    }
}

extension BodyFields {
    /// A refresh token; some clients write `Bearer ` before it.
    fileprivate func refreshToken(_ field: String) throws -> String {
        let text = try requiredString(field)
        return text.prefix(7).lowercased() == "bearer " ? String(text.dropFirst(7)) : text
    }
}

/// What a client says of the device that it runs on, to be shown in the list of sessions; texts that are too long are cut.
struct Device {
    var type: String?
    var os: String?
    var appVersion: String?
    var userAgent: String?

    var json: String {
        var json = JSONWriter()
        json.beginObject()
        json.nullable("type", type?.cut(toBytes: 64))
        json.nullable("os", os?.cut(toBytes: 64))
        json.nullable("appVersion", appVersion?.cut(toBytes: 64))
        json.nullable("userAgent", userAgent?.cut(toBytes: 255))
        json.endObject()
        return json.text
    }
}
