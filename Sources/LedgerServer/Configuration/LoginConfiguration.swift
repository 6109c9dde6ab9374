import Authentication
import Crypto
import Foundation
import NIOCore

/// What a master key may do.
enum Role: String, Sendable, CaseIterable {
    /// Everything.
    case `operator`
    /// Reads, and changes what was paid and subscribed.
    case billing
    /// Reads.
    case auditor

    func has(_ right: Right) -> Bool {
        switch (self, right) {
        case (.operator, _), (_, .read), (.billing, .bill): true
        default: false
        }
    }
}

/// What a route of the operator's demands.
enum Right: Sendable {
    /// To see everything.
    case read
    /// To record payments and change subscriptions.
    case bill
    /// To do everything else.
    case operate
}

/// A key of the operator's.
struct MasterKey: Sendable {
    /// Names it in the log and in events.
    let name: String
    let role: Role
    let hash: SHA256.Digest
    /// Whether it can be guessed over the network in a lifetime, as far as its length tells.
    let isGuessable: Bool

    init(name: String, role: Role, key: String) {
        self.name = name
        self.role = role
        hash = SHA256.hash(data: Array(key.utf8))
        isGuessable = key.utf8.count < 32
    }

    /// Who is recorded as having done something.
    var actor: String { name == Self.mainName ? name : "master:\(name)" }

    /// The name of `master_key` itself.
    static let mainName = "master"
}

/// How access and refresh tokens are made.
struct TokenConfiguration: Sendable {
    let signing: SigningKey
    let previous: [SigningKey]
    let accessSeconds: Int64
    let refreshSeconds: Int64
    /// How long a session lasts at most, however much it is used.
    let sessionSeconds: Int64
    /// For how long a refresh token that was used gives the same successor again.
    let retrySeconds: Int64
}

/// A provider that says who people are.
struct LoginProviderConfiguration: Sendable {
    enum Kind: String, Sendable, CaseIterable {
        /// OpenID Connect with discovery.
        case oidc
        case discord
    }

    let name: String
    let kind: Kind
    /// The issuer of an OpenID provider, the API's URL of Discord.
    let base: String
    let clientID: String
    /// Empty: a public client.
    let clientSecret: String
    let scopes: String
    /// Other client ids of ours, whose identity tokens `POST /v1/auth/login` takes, too.
    let audiences: [String]
    let requiresVerifiedEmail: Bool
}

/// How people log in.
struct LoginConfiguration: Sendable {
    /// What a login's deep link carries.
    enum Link: String, Sendable, CaseIterable {
        /// A one-time code, to be exchanged for tokens.
        case code
        /// A virtual key, as desktops that have shipped expect it.
        case key
    }

    /// Where browsers reach this server; nil: where it listens.
    var publicURL: String?
    /// The portal that logs people in, where it is not this server.
    var portalURL: String?
    var callbacks: CallbackList
    /// By `client_type`; others get a code.
    var links: [String: Link] = [:]
    var providers: [LoginProviderConfiguration] = []

    func provider(_ name: String) -> LoginProviderConfiguration? { providers.first { $0.name == name } }
}

extension ServerConfiguration {
    /// Reads `master_key` and `master_keys`.
    static func masterKeys(
        _ file: inout ConfigurationSection, _ warnings: inout [String]
    ) throws(ConfigurationError) -> [MasterKey] {
        guard let main = try file.secret("master_key"), !main.isEmpty else {
            throw ConfigurationError(
                "is missing: set it in the file (for instance to ${GATEWAY_MASTER_KEY}), as GATEWAY_MASTER_KEY or by master_key_file",
                key: "master_key")
        }
        var named = [(MasterKey.mainName, Role.operator, main, "master_key")]
        if var section = try file.section("master_keys") {
            for name in section.keys {
                guard (1...64).contains(name.utf8.count), name != MasterKey.mainName,
                    name.utf8.allSatisfy({ $0.isASCIILetterOrDigit || $0 == 0x2D || $0 == 0x5F })
                else { throw section.error(name, "is no name for a key: use letters, digits, '-' and '_'") }
                let line = section.line(of: name)
                guard var entry = try section.section(name) else { continue }
                guard let key = try entry.secret("key"),
                    let role = try entry.choice("role", Role.allCases.map(\.rawValue)).flatMap(Role.init)
                else {
                    throw ConfigurationError(
                        "needs 'key' (or 'key_file') and 'role'", key: "master_keys.\(name)", line: line)
                }
                try entry.finish()
                named.append((name, role, key, "master_keys.\(name).key"))
            }
        }
        var keys: [MasterKey] = []
        for (name, role, text, place) in named {
            guard text.utf8.count >= 8 else {
                throw ConfigurationError("must have at least 8 characters", key: place)
            }
            let key = MasterKey(name: name, role: role, key: text)
            guard !keys.contains(where: { $0.hash == key.hash }) else {
                throw ConfigurationError("is the same as another master key", key: place)
            }
            if key.isGuessable {
                warnings.append(
                    "'\(place)' has fewer than 32 characters: guesses are limited, but a longer one cannot be guessed")
            }
            keys.append(key)
        }
        return keys
    }

    /// Reads how tokens are made; nil where no secret is configured, and nothing asks for one.
    static func tokens(
        _ file: inout ConfigurationSection, _ warnings: inout [String]
    ) throws(ConfigurationError) -> TokenConfiguration? {
        let accessMinutes = try file.integer("access_token_exp_minutes", in: 1...1440)
        let refreshDays = try file.integer("refresh_token_exp_days", in: 1...365)
        let sessionDays = try file.integer("session_max_days", in: 1...3650)
        let retry = try file.integer("refresh_retry_seconds", in: 0...300)
        let algorithm = try file.choice("jwt_algorithm", ["HS256", "EdDSA"]) ?? "HS256"
        let secret = try file.secret("jwt_secret").flatMap { $0.isEmpty ? nil : $0 }
        let pem = try file.secret("jwt_private_key")
        let oldSecrets = try file.texts("jwt_previous_secrets") ?? []
        let oldPEMs = try file.texts("jwt_previous_private_keys") ?? []
        let signing: SigningKey
        if algorithm == "EdDSA" {
            guard let key = pem.flatMap({ SigningKey(ed25519PEM: $0) }) else {
                throw ConfigurationError(
                    "must be a private Ed25519 key in PEM (openssl genpkey -algorithm ed25519), here or by jwt_private_key_file",
                    key: "jwt_private_key")
            }
            signing = key
        } else if let secret, let key = SigningKey(secret: secret) {
            if secret.utf8.count < SigningKey.secretBytes {
                warnings.append(
                    "'jwt_secret' has fewer than 32 characters and can be found out of a token: take a longer one (openssl rand -base64 48)"
                )
            }
            signing = key
        } else {
            guard accessMinutes == nil, refreshDays == nil else {
                throw ConfigurationError(
                    "is missing, and tokens are configured: set it (openssl rand -base64 48 makes a good one); the master key does not stand in for it",
                    key: "jwt_secret")
            }
            return nil
        }
        var previous: [SigningKey] = []
        for text in oldSecrets {
            guard let key = SigningKey(secret: text) else {
                throw ConfigurationError("has an empty secret", key: "jwt_previous_secrets")
            }
            previous.append(key)
        }
        // Who changes the algorithm keeps the secret of before without naming it again.
        if algorithm == "EdDSA", let secret, let key = SigningKey(secret: secret) { previous.append(key) }
        for text in oldPEMs {
            guard let key = SigningKey(ed25519PEM: text) else {
                throw ConfigurationError("has an entry that is no Ed25519 key in PEM", key: "jwt_previous_private_keys")
            }
            previous.append(key)
        }
        return TokenConfiguration(
            signing: signing, previous: previous, accessSeconds: Int64(accessMinutes ?? 30) * 60,
            refreshSeconds: Int64(refreshDays ?? 14) * 86_400, sessionSeconds: Int64(sessionDays ?? 90) * 86_400,
            retrySeconds: Int64(retry ?? 10))
    }

    /// Reads `auth` and `auth_base_url`.
    static func login(
        _ file: inout ConfigurationSection
    ) throws(ConfigurationError) -> LoginConfiguration {
        let portal = try file.string("auth_base_url")
        if let portal { try checkURL(portal, key: "auth_base_url", isLoopbackHTTPOnly: false) }
        var section = try file.section("auth")
        let publicURL = try section?.string("public_url").map(Self.withoutSlash)
        if let publicURL { try checkURL(publicURL, key: "auth.public_url", isLoopbackHTTPOnly: false) }
        let addresses = try section?.texts("callbacks") ?? ["cafelua://auth"]
        guard let callbacks = CallbackList(addresses) else {
            throw ConfigurationError(
                "must be https addresses, http addresses of the machine itself, or addresses of an application's own scheme, written out",
                key: "auth.callbacks")
        }
        var login = LoginConfiguration(
            publicURL: publicURL, portalURL: portal.map(Self.withoutSlash), callbacks: callbacks)
        if var clients = try section?.section("clients") {
            for name in clients.keys {
                guard var client = try clients.section(name) else { continue }
                let words = LoginConfiguration.Link.allCases.map(\.rawValue)
                login.links[name] = try client.choice("link", words).flatMap(LoginConfiguration.Link.init)
                try client.finish()
            }
        }
        if var providers = try section?.section("providers") {
            for name in providers.keys {
                guard (1...64).contains(name.utf8.count),
                    name.utf8.allSatisfy({ $0.isASCIILetterOrDigit || $0 == 0x2D || $0 == 0x5F })
                else { throw providers.error(name, "is no name for a provider: use letters, digits, '-' and '_'") }
                let line = providers.line(of: name)
                guard var provider = try providers.section(name) else { continue }
                login.providers.append(try loginProvider(&provider, name: name, line: line))
            }
        }
        try section?.finish()
        return login
    }

    private static func loginProvider(
        _ section: inout ConfigurationSection, name: String, line: Int?
    ) throws(ConfigurationError) -> LoginProviderConfiguration {
        let path = "auth.providers.\(name)"
        let words = LoginProviderConfiguration.Kind.allCases.map(\.rawValue)
        let kind =
            try section.choice("kind", words).flatMap(LoginProviderConfiguration.Kind.init)
            ?? (name == "discord" ? .discord : .oidc)
        let base: String?
        switch kind {
        case .oidc: base = try section.string("issuer") ?? (name == "google" ? "https://accounts.google.com" : nil)
        case .discord: base = try section.string("api_base").map(withoutSlash) ?? "https://discord.com/api"
        }
        guard let base else {
            throw ConfigurationError("is missing: the URL of the provider", key: path + ".issuer", line: line)
        }
        try checkURL(base, key: path + (kind == .oidc ? ".issuer" : ".api_base"), isLoopbackHTTPOnly: true)
        guard let clientID = try section.string("client_id"), !clientID.isEmpty else {
            throw ConfigurationError("is missing", key: path + ".client_id", line: line)
        }
        let provider = LoginProviderConfiguration(
            name: name, kind: kind, base: base, clientID: clientID,
            clientSecret: try section.secret("client_secret") ?? "",
            scopes: try section.string("scopes") ?? (kind == .oidc ? "openid email profile" : "identify email"),
            audiences: try section.texts("audiences") ?? [],
            requiresVerifiedEmail: try section.boolean("require_verified_email") ?? false)
        try section.finish()
        return provider
    }

    /// Reads addresses, separated by commas, each as a connection shows it.
    static func addresses(
        _ key: String, _ file: inout ConfigurationSection
    ) throws(ConfigurationError) -> Set<String> {
        var addresses: Set<String> = []
        for text in (try file.string(key) ?? "").split(separator: ",") {
            let text = text.trimmingCharacters(in: .whitespaces)
            guard let address = (try? SocketAddress(ipAddress: text, port: 0))?.ipAddress else {
                throw ConfigurationError(
                    "must be IP addresses, separated by commas (no names, no networks)", key: key)
            }
            addresses.insert(address)
        }
        return addresses
    }

    private static func withoutSlash(_ url: String) -> String { url.hasSuffix("/") ? String(url.dropLast()) : url }

    static func checkURL(
        _ text: String, key: String, isLoopbackHTTPOnly: Bool, mayHaveQuery: Bool = false
    ) throws(ConfigurationError) {
        let url = URL(string: text)
        let isLoopback = ["127.0.0.1", "localhost", "[::1]", "::1"].contains(url?.host ?? "")
        guard let url, let host = url.host, !host.isEmpty, mayHaveQuery || url.query == nil,
            url.fragment == nil, url.user == nil,
            (1...65_535).contains(url.port ?? 80),
            url.scheme == "https" || (url.scheme == "http" && (isLoopback || !isLoopbackHTTPOnly))
        else {
            throw ConfigurationError(
                isLoopbackHTTPOnly
                    ? "must be an https URL (http only for this machine)" : "must be an http or https URL",
                key: key)
        }
    }
}
