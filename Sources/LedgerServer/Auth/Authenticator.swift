import Authentication
import Crypto
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import Synchronization

/// Tells who sends a request: by a master key, a virtual key or an access token.
///
/// Keys and sessions that were seen lately are kept in memory, bounded; every change of one goes through this process and drops it from there.
///
/// Wrong credentials of an address are counted, but not those that were in force once. Beyond the limit it is told to wait, and is compared with no master key that could be
/// guessed; keys and tokens, which cannot, are always looked at. So nobody is locked out by what others send.
final class Authenticator: Sendable {
    private let masterKeys: [MasterKey]
    private let directory: Directory
    private let tokens: AccessTokens?
    let security: SecurityLog
    private let failures: Mutex<AttemptLimiter>
    private let cache = Mutex(Cache())
    private let uses = Mutex<[String: Timestamp]>([:])
    private static let cachedEntries = 10_000
    /// Why a credential that is one of ours is refused.
    private static let pastCodes: Set<String> = [
        "token_expired", "session_not_found", "session_revoked", "session_expired", "inactive_api_key",
        "expired_api_key",
    ]

    private struct Cache {
        var keys: [[UInt8]: APIKey] = [:]
        var sessions: [String: Session] = [:]
        /// Counts changes: what was read before one must not be kept after it.
        var generation = 0
    }

    init(
        masterKeys: [MasterKey], directory: Directory, tokens: AccessTokens?, failuresPerMinute: Int,
        security: SecurityLog
    ) {
        self.masterKeys = masterKeys
        self.directory = directory
        self.tokens = tokens
        self.security = security
        failures = Mutex(AttemptLimiter(perMinute: failuresPerMinute))
    }

    /// The sender of a request, or a 401 that says what is wrong with its credential.
    func principal(of request: Request, _ context: GatewayContext) async throws -> Principal {
        let header = request.headers[.gatewayKey] ?? request.headers[.authorization]
        guard let header else {
            // Anthropic's clients send their key in a header of its own, without a scheme.
            if let token = request.headers[.apiKey] { return try await principal(token: token, context) }
            throw Self.unauthorized("missing_credentials", "Missing X-AnyLLM-Key or Authorization header")
        }
        // The scheme's name is the same in any case (RFC 9110, section 11.1).
        guard header.prefix(7).lowercased() == "bearer ", header.utf8.count > 7 else {
            throw Self.unauthorized("invalid_header", "Invalid header format. Expected 'Bearer <token>'")
        }
        return try await principal(token: String(header.dropFirst(7)), context)
    }

    /// Whether a request brings any credential.
    static func hasCredential(_ request: Request) -> Bool {
        request.headers[.gatewayKey] != nil || request.headers[.authorization] != nil || request.headers[.apiKey] != nil
    }

    private func principal(token: String, _ context: GatewayContext) async throws -> Principal {
        let address = context.clientAddress.description
        let uptime = SystemClock.uptime()
        let wait = failures.withLock { $0.wait(for: address, at: uptime) }
        do {
            return try await check(token, isLimited: wait != nil, at: SystemClock.now())
        } catch let error as GatewayError where error.status == .unauthorized {
            // Whoever has what was in force once does not guess, and has to be told to renew it.
            if Self.pastCodes.contains(error.code) {
                security.note(.credentialRefused, context, ["code": error.code])
                throw error
            }
            if let wait {
                security.note(.limited, context, ["what": "credentials"])
                throw Self.limited(wait)
            }
            failures.withLock { $0.count(address, at: uptime) }
            security.note(.credentialRefused, context, ["code": error.code])
            throw error
        }
    }

    private func check(_ token: String, isLimited: Bool, at now: Timestamp) async throws -> Principal {
        let digest = SHA256.hash(data: Array(token.utf8))
        // Digests compare in constant time; all are compared, so that the time does not tell which one it is.
        var master: MasterKey?
        for key in masterKeys where !(isLimited && key.isGuessable) && key.hash == digest { master = key }
        if let master { return .master(master) }
        if let tokens, AccessTokens.isTokenShaped(token) { return try await session(token, tokens, at: now) }
        guard SecretToken.isKeyShaped(token), let key = try await key(hash: Array(digest)) else {
            throw Self.unauthorized("invalid_api_key", "Invalid API key")
        }
        guard key.isActive else { throw Self.unauthorized("inactive_api_key", "API key is inactive") }
        if let expiresAt = key.expiresAt, expiresAt <= now {
            throw Self.unauthorized("expired_api_key", "API key has expired")
        }
        uses.withLock { $0[key.id] = now }
        return .key(key)
    }

    private func session(_ token: String, _ tokens: AccessTokens, at now: Timestamp) async throws -> Principal {
        let claims: AccessClaims
        do {
            claims = try await tokens.verify(token, at: now)
        } catch TokenFault.expired {
            throw Self.unauthorized("token_expired", "Session expired")
        } catch {
            throw Self.unauthorized("invalid_token", "Invalid access token")
        }
        guard let session = try await session(id: claims.session), session.user == claims.user else {
            throw Self.unauthorized("session_not_found", "Session not found")
        }
        if session.revokedAt != nil { throw Self.unauthorized("session_revoked", "Session revoked") }
        if session.expiresAt <= now { throw Self.unauthorized("session_expired", "Session expired") }
        return .session(session)
    }

    /// Demands a master key whose role has a right.
    @discardableResult
    func demand(_ right: Right, _ request: Request, _ context: GatewayContext) async throws -> Principal {
        do {
            let principal = try await principal(of: request, context)
            try demand(right, of: principal, context)
            return principal
        } catch let error as GatewayError where error.code == "invalid_api_key" {
            throw Self.unauthorized("invalid_master_key", "Invalid master key")
        }
    }

    /// Refuses who is no operator with that right.
    func demand(_ right: Right, of principal: Principal, _ context: GatewayContext) throws {
        guard case .master(let key) = principal else {
            security.note(.rightMissing, context, ["actor": principal.actor])
            throw GatewayError(.forbidden, "master_key_required", "Master key required")
        }
        guard key.role.has(right) else {
            security.note(.rightMissing, context, ["actor": principal.actor])
            throw GatewayError(.forbidden, "role_not_sufficient", "This master key's role does not allow this")
        }
    }

    /// The user that a request is about: the key's or the session's own, or the one that the operator names in the query.
    func user(of request: Request, _ context: GatewayContext) async throws -> AccountID {
        let principal = try await principal(of: request, context)
        if let user = principal.user { return user }
        guard let name = request.stated("user") else {
            throw GatewayError(
                .badRequest, "user_required", "When using master key, 'user' query parameter is required", param: "user"
            )
        }
        guard let user = AccountID(rawValue: name) else { throw GatewayError.userNotFound }
        return user
    }

    /// The person whose key or session a request brings; the operator is none.
    func person(of request: Request, _ context: GatewayContext) async throws -> (user: AccountID, Principal) {
        let principal = try await principal(of: request, context)
        guard let user = principal.user else {
            throw GatewayError(.forbidden, "master_key_not_allowed", "Master key is not allowed")
        }
        return (user, principal)
    }

    // MARK: What was seen lately

    private func key(hash: [UInt8]) async throws -> APIKey? {
        try await cached(\.keys, hash) { try await directory.key(hash: hash) }
    }

    private func session(id: String) async throws -> Session? {
        try await cached(\.sessions, id) { try await directory.session(id: id) }
    }

    private func cached<Name: Hashable & Sendable, Entry: Sendable>(
        _ entries: any WritableKeyPath<Cache, [Name: Entry]> & Sendable, _ name: Name, _ read: () async throws -> Entry?
    ) async throws -> Entry? {
        let (known, generation) = cache.withLock { ($0[keyPath: entries][name], $0.generation) }
        if let known { return known }
        guard let entry = try await read() else { return nil }
        cache.withLock { cache in
            // What was changed while we read it must not be kept as it was.
            guard cache.generation == generation else { return }
            if cache[keyPath: entries].count >= Self.cachedEntries {
                cache[keyPath: entries].removeAll(keepingCapacity: true)
            }
            cache[keyPath: entries][name] = entry
        }
        return entry
    }

    /// Forgets keys that have changed. To be called after the change is durable.
    func forget(_ hashes: [[UInt8]]) {
        cache.withLock { cache in
            cache.generation += 1
            for hash in hashes { cache.keys[hash] = nil }
        }
    }

    /// Forgets sessions that were revoked; of a user who was erased, all. To be called after the change is durable.
    func forget(sessions ids: [String] = [], of user: AccountID? = nil) {
        cache.withLock { cache in
            cache.generation += 1
            for id in ids { cache.sessions[id] = nil }
            if let user { cache.sessions = cache.sessions.filter { $0.value.user != user } }
        }
    }

    /// Writes when keys were last used: called now and then, not at each request.
    func flushUses() async throws {
        let recent = uses.withLock { uses in
            defer { uses = [:] }
            return uses
        }
        try await directory.touch(recent)
    }

    static func unauthorized(_ code: String, _ message: String) -> GatewayError {
        var error = GatewayError(.unauthorized, code, message, type: "authentication_error")
        error.headers[.wwwAuthenticate] = "Bearer"
        return error
    }

    static func limited(_ seconds: Int) -> GatewayError {
        GatewayError(
            .tooManyRequests, "rate_limited", "Too many attempts from this address; try again in \(seconds) s",
            type: "rate_limit_error"
        ).retrying(afterSeconds: max(1, seconds))
    }
}
