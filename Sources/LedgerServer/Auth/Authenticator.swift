import Crypto
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import Synchronization

/// Who sends a request.
enum Principal: Sendable {
    case master
    case key(APIKey)

    /// The user whose key it is.
    var user: AccountID? {
        if case .key(let key) = self { key.user } else { nil }
    }

    var keyID: String? {
        if case .key(let key) = self { key.id } else { nil }
    }

    /// Who is recorded as having done something.
    var actor: String {
        switch self {
        case .master: "master"
        case .key(let key): "key:\(key.id)"
        }
    }
}

/// Tells who sends a request by the master key or by a virtual key.
///
/// Keys that were seen lately are kept in memory, bounded; every change of a key goes through this process and drops it from there.
final class Authenticator: Sendable {
    private let masterHash: SHA256.Digest
    private let directory: Directory
    private let cache = Mutex<(keys: [[UInt8]: APIKey], generation: Int)>(([:], 0))
    private let uses = Mutex<[String: Timestamp]>([:])
    private static let cachedKeys = 10_000

    init(masterKey: String, directory: Directory) {
        masterHash = SHA256.hash(data: Array(masterKey.utf8))
        self.directory = directory
    }

    /// The sender of a request, or a 401 that says what is wrong with its credential.
    func principal(of request: Request) async throws -> Principal {
        let header = request.headers[.gatewayKey] ?? request.headers[.authorization]
        guard let header else {
            // Anthropic's clients send their key in a header of its own, without a scheme.
            if let token = request.headers[.apiKey] { return try await principal(token: token) }
            throw Self.unauthorized("missing_credentials", "Missing X-AnyLLM-Key or Authorization header")
        }
        // The scheme's name is the same in any case (RFC 9110, section 11.1).
        guard header.prefix(7).lowercased() == "bearer ", header.utf8.count > 7 else {
            throw Self.unauthorized("invalid_header", "Invalid header format. Expected 'Bearer <token>'")
        }
        return try await principal(token: String(header.dropFirst(7)))
    }

    private func principal(token: String) async throws -> Principal {
        // Digests compare in constant time.
        if SHA256.hash(data: Array(token.utf8)) == masterHash { return .master }
        guard KeyToken.isWellFormed(token), let key = try await key(hash: KeyToken.hash(token)) else {
            throw Self.unauthorized("invalid_api_key", "Invalid API key")
        }
        guard key.isActive else { throw Self.unauthorized("inactive_api_key", "API key is inactive") }
        let now = SystemClock.now()
        if let expiresAt = key.expiresAt, expiresAt <= now {
            throw Self.unauthorized("expired_api_key", "API key has expired")
        }
        uses.withLock { $0[key.id] = now }
        return .key(key)
    }

    /// Demands the master key.
    func demandMaster(_ request: Request) async throws {
        do {
            guard case .master = try await principal(of: request) else {
                throw GatewayError(.forbidden, "master_key_required", "Master key required")
            }
        } catch let error as GatewayError where error.code == "invalid_api_key" {
            throw Self.unauthorized("invalid_master_key", "Invalid master key")
        }
    }

    /// The user that a request is about: the key's own, or the one that the master key names in the query.
    func user(of request: Request) async throws -> AccountID {
        switch try await principal(of: request) {
        case .key(let key): return key.user
        case .master:
            guard let name = request.uri.queryParameters["user"].map(String.init), !name.isEmpty else {
                throw GatewayError(
                    .badRequest, "user_required", "When using master key, 'user' query parameter is required",
                    param: "user")
            }
            guard let user = AccountID(rawValue: name) else { throw GatewayError.userNotFound }
            return user
        }
    }

    private func key(hash: [UInt8]) async throws -> APIKey? {
        let (known, generation) = cache.withLock { ($0.keys[hash], $0.generation) }
        if let known { return known }
        guard let key = try await directory.key(hash: hash) else { return nil }
        cache.withLock { cache in
            // A key that was changed while we read it must not be kept as it was.
            guard cache.generation == generation else { return }
            if cache.keys.count >= Self.cachedKeys { cache.keys.removeAll(keepingCapacity: true) }
            cache.keys[hash] = key
        }
        return key
    }

    /// Forgets keys that have changed. To be called after the change is durable.
    func forget(_ hashes: [[UInt8]]) {
        cache.withLock { cache in
            cache.generation += 1
            for hash in hashes { cache.keys[hash] = nil }
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

    private static func unauthorized(_ code: String, _ message: String) -> GatewayError {
        var error = GatewayError(.unauthorized, code, message, type: "authentication_error")
        error.headers[.wwwAuthenticate] = "Bearer"
        return error
    }
}
