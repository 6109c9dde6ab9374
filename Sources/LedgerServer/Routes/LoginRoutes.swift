import Authentication
import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import NIOCore
import WireJSON

/// `/v1/auth/authorize`, the page of providers, and `/v1/auth/callback`: a login by an authorization code, with state, nonce and proof keys.
///
/// OAuth 2.1; OpenID Connect Core 1.0, section 3.1; RFC 7636; RFC 8252 for native applications.
struct LoginRoutes: Sendable {
    let login: LoginConfiguration
    let publicURL: PublicURL
    let providers: [String: any LoginProvider]
    let directory: Directory
    let signUp: SignUp
    let authenticator: Authenticator
    let limit: RequestLimit
    let security: SecurityLog

    static let callbackPath = "/v1/auth/callback"
    static let pagePath = "/v1/auth/login"
    /// How long a person may take to log in.
    static let attemptSeconds: Int64 = 600
    /// How long a code may wait to be exchanged.
    static let codeSeconds: Int64 = 60

    func add(to router: some RouterMethods<GatewayContext>) {
        router.get("/v1/auth/authorize") { try await onlyGet($0, $1, authorize) }
        router.get(RouterPath(Self.pagePath), use: page)
        router.get(RouterPath(Self.callbackPath)) { try await onlyGet($0, $1, callback) }
    }

    /// HEAD is GET without its effect, and these have one: what looks ahead at an address must not use up a login.
    private func onlyGet(
        _ request: Request, _ context: GatewayContext,
        _ handle: @Sendable (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        guard request.method == .get else {
            var error = GatewayError(.methodNotAllowed, "method_not_allowed", "Method Not Allowed")
            error.headers[.allow] = "GET"
            throw error
        }
        return try await handle(request, context)
    }

    private var redirectURI: String { publicURL.text + Self.callbackPath }

    // MARK: Beginning

    /// What a client wants of a login, checked.
    private struct Wish {
        let callback: String
        let provider: String?
        let clientType: String?
        /// As it was written in the query: it comes back to the letter, however the client escapes.
        let state: String?
        let challenge: String?
        /// The query's members, to be handed on.
        let members: [(name: String, value: String)]
    }

    private func wish(_ request: Request) throws -> Wish {
        guard let callback = request.stated("callback_url") ?? request.stated("redirect_uri") else {
            throw GatewayError.query("callback_url", kind: "missing", "Field required")
        }
        guard login.callbacks.allows(callback) else {
            throw GatewayError(
                .badRequest, "callback_not_allowed",
                "The callback is not one that the operator has allowed (auth.callbacks)", param: "callback_url")
        }
        let state = request.written("state")
        guard state.map(Self.isBearable) ?? true else {
            throw GatewayError(
                .badRequest, "invalid_state",
                "'state' must be at most 512 characters, escaped as a query wants it, and none of them a control character",
                param: "state")
        }
        let challenge = request.stated("code_challenge")
        guard challenge.map(ProofKey.isChallenge) ?? true, request.stated("code_challenge_method") ?? "S256" == "S256"
        else {
            throw GatewayError(
                .badRequest, "invalid_code_challenge",
                "'code_challenge' must be the base64url of a SHA-256, and its method S256", param: "code_challenge")
        }
        let clientType = request.stated("client_type")?.cut(toBytes: 64)
        guard link(of: clientType) == .code || CallbackList.isOnOwnMachine(callback) else {
            throw GatewayError(
                .badRequest, "callback_not_allowed",
                "A key is handed to an application on the person's own machine only, not to a web address",
                param: "callback_url")
        }
        var members = [("callback_url", callback)]
        if let clientType { members.append(("client_type", clientType)) }
        if let challenge { members += [("code_challenge", challenge), ("code_challenge_method", "S256")] }
        return Wish(
            callback: callback, provider: request.stated("provider"), clientType: clientType, state: state,
            challenge: challenge,
            members: members)
    }

    private func link(of clientType: String?) -> LoginConfiguration.Link {
        clientType.flatMap { login.links[$0] } ?? .code
    }

    /// Whether a state may come back as it was written: also once its escapes are resolved, it holds no control character.
    private static func isBearable(_ state: String) -> Bool {
        guard state.utf8.count <= 512, state.utf8.allSatisfy({ (0x21...0x7E).contains($0) }),
            let text = state.removingPercentEncoding
        else { return false }
        return text.unicodeScalars.allSatisfy { $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) }
    }

    /// Where the client's user is to go: to the portal that the operator has, to the provider, or to a page of several.
    @Sendable func authorize(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try limit.admit(context)
        let wish = try wish(request)
        let isNavigation = request.headers[.accept]?.contains("text/html") ?? false
        if let portal = login.portalURL {
            var members = wish.members
            if let provider = wish.provider { members.append(("provider", provider)) }
            members.sort { $0.name == "client_type" && $1.name != "client_type" }
            return answer(with(wish.state, CallbackList.appending(members, to: portal + "/login")), isNavigation)
        }
        guard !providers.isEmpty else {
            throw GatewayError(
                .notFound, "login_not_configured", "There is no login here: the operator has to configure 'auth'")
        }
        guard let name = wish.provider ?? (providers.count == 1 ? providers.keys.first : nil) else {
            let page = CallbackList.appending(wish.members, to: publicURL.text + Self.pagePath)
            return answer(with(wish.state, page), isNavigation)
        }
        guard let provider = providers[name] else {
            throw GatewayError(
                .badRequest, "unknown_provider",
                "There is no provider of that name: use \(providers.keys.sorted().joined(separator: ", "))",
                param: "provider")
        }
        return try await begin(wish, provider, isNavigation, request, context)
    }

    private func begin(
        _ wish: Wish, _ provider: any LoginProvider, _ isNavigation: Bool, _ request: Request, _ context: GatewayContext
    ) async throws -> Response {
        let state = SecretToken(.state)
        let (nonce, verifier) = (SecretToken(.state).text, SecretToken(.state).text)
        let url: String
        do {
            url = try await provider.authorizationURL(
                state: state.text, nonce: nonce, challenge: ProofKey.challenge(of: verifier), redirectURI: redirectURI)
        } catch {
            security.note(.loginFailed, context, ["provider": provider.configuration.name, "why": "\(error)"])
            throw GatewayError(
                .badGateway, "login_provider_unavailable", "The login's provider cannot be reached; try again shortly"
            ).retrying(afterSeconds: 5)
        }
        // Two logins in one browser share its cookie.
        let browser = isNavigation ? cookie(of: request) ?? SecretToken(.state).text : nil
        try await directory.insert(
            LoginAttempt(
                stateHash: state.hash, provider: provider.configuration.name, nonce: nonce, verifier: verifier,
                callback: wish.callback, clientType: wish.clientType, clientState: wish.state,
                challenge: wish.challenge, browserHash: browser.map(SecretToken.hash),
                expiresAt: SystemClock.now().advanced(bySeconds: Self.attemptSeconds)))
        security.note(.loginStarted, context, ["provider": provider.configuration.name])
        var response = answer(url, isNavigation)
        if let browser {
            let secure = publicURL.text.hasPrefix("https://") ? "; Secure" : ""
            response.headers[.setCookie] =
                "\(cookieName)=\(browser); Max-Age=\(Self.attemptSeconds); Path=/; HttpOnly; SameSite=Lax\(secure)"
        }
        return response
    }

    private func answer(_ url: String, _ isNavigation: Bool) -> Response {
        if isNavigation { return redirect(to: url) }
        return Response.json(headers: [.cacheControl: "no-store"]) { json in
            json.beginObject()
            json.field("redirect_url", url)
            json.endObject()
        }
    }

    private func redirect(to url: String) -> Response {
        Response(
            status: .found, headers: [.location: url, .cacheControl: "no-store", .referrerPolicy: "no-referrer"])
    }

    /// Adds a state to an address as it was written.
    private func with(_ state: String?, _ url: String) -> String {
        guard let state else { return url }
        return url + (url.contains("?") ? "&" : "?") + "state=" + state
    }

    /// A browser sends a cookie with this prefix back to nobody else (RFC 6265bis, section 4.1.3.2); without TLS there is none.
    private var cookieName: String {
        publicURL.text.hasPrefix("https://") ? "__Host-gateway_login" : "gateway_login"
    }

    private func cookie(of request: Request) -> String? {
        request.cookies[cookieName].map { $0.value }.flatMap { SecretToken.isWhole($0, .state) ? $0 : nil }
    }

    /// The providers, for a person to choose from.
    @Sendable func page(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try limit.admit(context)
        let wish = try wish(request)
        guard !providers.isEmpty else {
            throw GatewayError(
                .notFound, "login_not_configured", "There is no login here: the operator has to configure 'auth'")
        }
        let links = providers.keys.sorted().map { name in
            // Beside this page, also behind a proxy that puts a path before ours.
            let link = CallbackList.appending(wish.members + [("provider", name)], to: "authorize")
            return "<li><a href=\"\(Self.escaped(with(wish.state, link)))\">\(Self.escaped(name))</a></li>"
        }
        return Self.html(.ok, title: "Log in", body: "<ul>\(links.joined())</ul>")
    }

    // MARK: Coming back

    /// The provider's answer: it leads back to the client with a code or a key, or with why there is none.
    @Sendable func callback(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try limit.admit(context)
        let state = request.query("state") ?? ""
        let browser = cookie(of: request)
        guard SecretToken.isWhole(state, .state),
            let attempt = try await directory.takeLoginAttempt(
                stateHash: SecretToken.hash(state), browserHash: browser.map(SecretToken.hash), at: SystemClock.now())
        else {
            security.note(.loginFailed, context, ["why": "unknown state"])
            throw GatewayError(
                .badRequest, "invalid_state",
                "This login is not known here, took too long or has been answered; begin it again", param: "state")
        }
        if let error = request.query("error") {
            let isDenied = error == "access_denied"
            security.note(
                .loginFailed, context,
                ["provider": attempt.provider, "why": isDenied ? "access denied" : "the provider's error"])
            return back(to: attempt, [("error", isDenied ? "access_denied" : "login_failed")])
        }
        do {
            guard let provider = providers[attempt.provider] else { throw IdentityFault.provider("not configured") }
            // RFC 9207: an answer that says whose it is must be that provider's.
            if let issuer = request.stated("iss"), issuer != provider.configuration.base { throw IdentityFault.issuer }
            guard let code = request.stated("code") else {
                throw IdentityFault.provider("no code")
            }
            let claims = try await provider.claims(
                code: code, verifier: attempt.verifier, nonce: attempt.nonce, redirectURI: redirectURI)
            return try await finish(attempt, claims, context)
        } catch let fault as IdentityFault {
            security.note(.loginFailed, context, ["provider": attempt.provider, "why": "\(fault)"])
            return back(to: attempt, [("error", "login_failed")])
        }
    }

    private func finish(
        _ attempt: LoginAttempt, _ claims: ProviderClaims, _ context: GatewayContext
    ) async throws -> Response {
        let user = try await signUp.user(claims)
        let link = link(of: attempt.clientType)
        security.note(
            .loginSucceeded, context,
            ["provider": attempt.provider, "user": user.id.rawValue, "link": link.rawValue])
        switch link {
        case .code:
            let code = SecretToken(.code)
            try await directory.insert(
                LoginCode(
                    hash: code.hash, user: user.id, clientType: attempt.clientType, challenge: attempt.challenge,
                    expiresAt: SystemClock.now().advanced(bySeconds: Self.codeSeconds)))
            return back(to: attempt, [("code", code.text)])
        case .key:
            let token = SecretToken(.key)
            let key = APIKey(
                id: UUID().uuidString.lowercased(), hash: token.hash, name: "desktop-\(user.id)", user: user.id,
                createdAt: SystemClock.now(), expiresAt: nil)
            authenticator.forget(try await directory.replaceKeys(by: key, at: SystemClock.now()))
            security.note(.keyCreated, context, ["key": key.id, "user": user.id.rawValue, "actor": "login"])
            return back(to: attempt, [("key", token.text), ("user_id", user.id.rawValue)])
        }
    }

    private func back(to attempt: LoginAttempt, _ members: [(name: String, value: String)]) -> Response {
        redirect(to: with(attempt.clientState, CallbackList.appending(members, to: attempt.callback)))
    }

    // MARK: Pages

    private static func html(_ status: HTTPResponse.Status, title: String, body: String) -> Response {
        let text = """
            <!doctype html><html lang="en"><head><meta charset="utf-8"><title>\(title)</title>\
            <meta name="viewport" content="width=device-width"></head><body><h1>\(title)</h1>\(body)</body></html>
            """
        return Response(
            status: status,
            headers: [
                .contentType: "text/html; charset=utf-8", .cacheControl: "no-store", .referrerPolicy: "no-referrer",
                .contentSecurityPolicy: "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
                .xContentTypeOptions: "nosniff",
            ], body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }

    private static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&#39;"
            default: result.append(character)
            }
        }
        return result
    }
}
