import Foundation
import Ledger
import Projections
import Requests

/// The bounds of the server: each has its default here, and is a key of `limits:` in the file.
struct Limits: Sendable {
    /// `max_body_bytes`: the longest request body.
    var maxBodyBytes = 20 << 20
    /// `max_header_bytes`: the longest head of a request.
    var maxHeaderBytes = 64 << 10
    /// `max_answer_bytes`: the longest answer of an upstream that is not a stream.
    var maxAnswerBytes = 64 << 20
    /// `max_concurrent_streams`: requests to upstreams under way at once.
    var maxConcurrentStreams = 4096
    /// `max_connections`: connections of clients at once.
    var maxConnections = 16_384
    /// `stream_duration_seconds`: how long a request to an upstream may take in all.
    var streamDurationSeconds = 900
    /// `connect_timeout_seconds`
    var connectTimeoutSeconds = 10
    /// `first_byte_timeout_seconds`: how long an upstream may take to begin its answer.
    var firstByteTimeoutSeconds = 300
    /// `idle_timeout_seconds`: how long an upstream may pause within its answer, and a client within taking it.
    var idleTimeoutSeconds = 120
    /// `client_idle_timeout_seconds`: how long a connection may be idle between requests, or dawdle over one.
    var clientIdleTimeoutSeconds = 75
    /// `max_abandoned_requests`: upstreams that are listened to at once, for their usage, although the client has gone.
    var maxAbandonedRequests = 1024
    /// `unbilled_requests_per_hour`: how many requests of an account may end by our bounds, without an answer and a charge, before it has to wait;
    /// 0: any number.
    var unbilledRequestsPerHour = 20
    /// `shutdown_grace_seconds`: how long requests under way may go on after SIGTERM.
    var shutdownGraceSeconds = 30
    /// `queue_length`: commands that may wait for the writer.
    var queueLength = 4096
    /// `cached_accounts`: accounts kept in memory by the writer.
    var cachedAccounts = 100_000
    /// `idempotency_hours`: how long a client's `Idempotency-Key` is remembered.
    var idempotencyHours = 24
    /// `max_replay_bytes`: the longest answer that is kept to be replayed under its key.
    var maxReplayBytes = 1 << 20
    /// `upstream_attempts`: how often an upstream is asked at most, where it fails in a way that may pass.
    var upstreamAttempts = 3
    /// `retry_wait_seconds`: the longest wait between two of them; an upstream that demands a longer one is not asked again.
    var retryWaitSeconds = 10
    /// `circuit_failures`: after how many failures in a row an upstream is given up for a while; 0: never.
    var circuitFailures = 5
    /// `circuit_open_seconds`: for how long.
    var circuitOpenSeconds = 30
    /// `failed_credentials_per_minute`: wrong credentials that an address may send before it is told to wait; 0: any number.
    var failedCredentialsPerMinute = 60
    /// `auth_requests_per_minute`: calls of the login's routes from one address; 0: any number.
    var authRequestsPerMinute = 60

    init() {}

    init(_ section: ConfigurationSection?, warnings: inout [String]) throws(ConfigurationError) {
        guard var section else { return }
        maxBodyBytes = try section.integer("max_body_bytes", in: 1024...(1 << 30)) ?? maxBodyBytes
        maxHeaderBytes = try section.integer("max_header_bytes", in: 1024...(1 << 20)) ?? maxHeaderBytes
        maxAnswerBytes = try section.integer("max_answer_bytes", in: 1024...(1 << 30)) ?? maxAnswerBytes
        maxConcurrentStreams = try section.integer("max_concurrent_streams", in: 1...100_000) ?? maxConcurrentStreams
        maxConnections = try section.integer("max_connections", in: 1...100_000) ?? maxConnections
        streamDurationSeconds = try section.integer("stream_duration_seconds", in: 1...86_400) ?? streamDurationSeconds
        connectTimeoutSeconds = try section.integer("connect_timeout_seconds", in: 1...600) ?? connectTimeoutSeconds
        firstByteTimeoutSeconds =
            try section.integer("first_byte_timeout_seconds", in: 1...3600) ?? firstByteTimeoutSeconds
        idleTimeoutSeconds = try section.integer("idle_timeout_seconds", in: 1...3600) ?? idleTimeoutSeconds
        clientIdleTimeoutSeconds =
            try section.integer("client_idle_timeout_seconds", in: 1...3600) ?? clientIdleTimeoutSeconds
        maxAbandonedRequests = try section.integer("max_abandoned_requests", in: 0...100_000) ?? maxAbandonedRequests
        unbilledRequestsPerHour =
            try section.integer("unbilled_requests_per_hour", in: 0...1_000_000) ?? unbilledRequestsPerHour
        // An upstream is listened to until it ends.
        if section.ignore("drain_timeout_seconds") { warnings.append("'limits.drain_timeout_seconds' is ignored") }
        shutdownGraceSeconds = try section.integer("shutdown_grace_seconds", in: 0...3600) ?? shutdownGraceSeconds
        queueLength = try section.integer("queue_length", in: 1...1_000_000) ?? queueLength
        cachedAccounts = try section.integer("cached_accounts", in: 2...10_000_000) ?? cachedAccounts
        idempotencyHours = try section.integer("idempotency_hours", in: 1...8760) ?? idempotencyHours
        maxReplayBytes = try section.integer("max_replay_bytes", in: 0...(64 << 20)) ?? maxReplayBytes
        upstreamAttempts = try section.integer("upstream_attempts", in: 1...10) ?? upstreamAttempts
        retryWaitSeconds = try section.integer("retry_wait_seconds", in: 0...300) ?? retryWaitSeconds
        circuitFailures = try section.integer("circuit_failures", in: 0...1000) ?? circuitFailures
        circuitOpenSeconds = try section.integer("circuit_open_seconds", in: 1...3600) ?? circuitOpenSeconds
        failedCredentialsPerMinute =
            try section.integer("failed_credentials_per_minute", in: 0...1_000_000) ?? failedCredentialsPerMinute
        authRequestsPerMinute =
            try section.integer("auth_requests_per_minute", in: 0...1_000_000) ?? authRequestsPerMinute
        try section.finish()
    }
}

/// What is configured of one model.
struct ModelConfiguration: Sendable {
    /// `default_max_output_tokens`: the output bound where the client gives none.
    var defaultMaxOutputTokens: Int
    /// `context_tokens`: the context window, which no prompt is longer than; nil: by the model's family, where that is known.
    var contextTokens: Int?
    /// `image_tokens`, `audio_tokens`, `file_tokens`: what one such part of a prompt counts at most; nil: by what it is, and the model's family.
    var imageTokens: Int?
    var audioTokens: Int?
    var fileTokens: Int?
    /// `search_tokens`: what one web search may add to a prompt.
    var searchTokens = 20_000
    /// `reasoning_tokens`: what it may think beyond the bound of the output; nil: by the provider.
    var reasoningTokens: Int?
    /// `refuse_parts`: kinds of parts that are not sent to it.
    var refusedParts: Set<PartKind> = []
    /// `fallbacks`: the models that answer in its place, in this order, where its provider does not.
    var fallbacks: [ModelKey] = []

    /// What parts of a prompt count at most, for a model of that name.
    func figures(of model: String, isMaker: Bool) -> PartFigures {
        PartFigures(
            model: model, isMaker: isMaker, contextTokens: contextTokens.map(Int64.init),
            imageTokens: imageTokens.map(Int64.init),
            audioTokens: audioTokens.map(Int64.init), fileTokens: fileTokens.map(Int64.init),
            searchTokens: Int64(searchTokens))
    }
}

/// The whole configuration, checked: nothing in it can fail later.
struct ServerConfiguration: Sendable {
    var databasePath: String
    var host: String
    var port: Int
    /// The operator's keys; the first is `master_key`.
    var masterKeys: [MasterKey]
    /// nil: there are no tokens, only keys.
    var tokens: TokenConfiguration?
    var login: LoginConfiguration
    /// The addresses of proxies whose `X-Forwarded-For` is believed.
    var trustedProxies: Set<String>
    var providers: [String: ProviderConfiguration] = [:]
    /// Prices that seed the book, by `provider:model`.
    var pricing: [String: Price] = [:]
    var models: [String: ModelConfiguration] = [:]
    /// Plans that seed the book.
    var plans: [Plan]
    var renewals: RenewalConfiguration
    /// `time_zone`: whose days and months spending limits are counted by.
    var timeZone: String
    var calendar: UsageCalendar
    var payments: [PaymentProviderConfiguration]
    var notices: NoticeConfiguration
    /// nil: no checkpoints are signed.
    var checkpoints: CheckpointConfiguration?
    /// Bare model names and what they stand for.
    var modelMap: [String: ModelKey] = [:]
    var defaultModel: ModelConfiguration
    var limits: Limits
    var allowUnpriced: Bool
    /// 402, or 403 as the old gateway answered.
    var insufficientCreditsStatus: Int
    var corsOrigins: [String]
    /// What the operator should know about the file.
    var warnings: [String] = []

    /// Reads and checks a file. What the command line says wins over the environment, which wins over the file.
    init(
        yaml: String, environment: [String: String], host: String? = nil, port: Int? = nil, databaseURL: String? = nil
    ) throws(ConfigurationError) {
        var file = try ConfigurationSection(yaml: yaml, environment: environment)
        var warnings: [String] = []
        let fileURL = try file.string("database_url")
        if databaseURL == nil, let fileURL, fileURL.hasPrefix("postgres") {
            warnings.append(
                "'database_url' names a PostgreSQL database, which is the old gateway's: the ledger is ledger.sqlite; `LedgerServer import --from` brings over what is there"
            )
            databasePath = "ledger.sqlite"
        } else {
            databasePath = try Self.path(ofDatabaseURL: databaseURL ?? fileURL ?? "sqlite:///ledger.sqlite")
        }
        let fileHost = try file.string("host")
        self.host = host ?? fileHost ?? "127.0.0.1"
        let filePort = try file.integer("port", in: 0...65_535)
        if let port, !(0...65_535).contains(port) {
            throw ConfigurationError("must be a whole number from 0 to 65535", key: "--port")
        }
        self.port = port ?? filePort ?? 8000
        masterKeys = try Self.masterKeys(&file, &warnings)
        tokens = try Self.tokens(&file, &warnings)
        login = try Self.login(&file)
        guard tokens != nil || (login.providers.isEmpty && login.portalURL == nil) else {
            throw ConfigurationError(
                "is missing, and people are to log in: set it (openssl rand -base64 48 makes a good one); the master key does not stand in for it",
                key: "jwt_secret")
        }
        trustedProxies = try Self.addresses("trusted_proxies", &file)
        for key in ["auto_migrate", "image_dump_enabled", "image_dump_dir", "test_model_override"]
        where file.ignore(key) {
            warnings.append("'\(key)' is ignored")
        }
        timeZone = try file.string("time_zone") ?? "UTC"
        guard let calendar = UsageCalendar(zone: timeZone) else {
            throw ConfigurationError(
                "must be a time zone of IANA's, or an offset from UTC like +09:00", key: "time_zone")
        }
        self.calendar = calendar
        plans = try Self.plans(&file)
        renewals = try Self.renewals(&file)
        payments = try Self.payments(&file, plans: plans)
        notices = try Self.notices(&file)
        checkpoints = try Self.checkpoints(&file)
        limits = try Limits(file.section("limits", overriddenByEnvironment: true), warnings: &warnings)
        allowUnpriced = try file.boolean("allow_unpriced") ?? false
        let status = try file.choice("insufficient_credits_status", ["402", "403"])
        insufficientCreditsStatus = status == "403" ? 403 : 402
        corsOrigins = (try file.string("cors_origins") ?? "tauri://localhost, http://tauri.localhost")
            .split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        let outputTokens = try file.integer("default_max_output_tokens", in: 1...1_000_000) ?? 8192
        defaultModel = ModelConfiguration(defaultMaxOutputTokens: outputTokens)
        try readProviders(&file, &warnings)
        try readPricing(&file)
        try readModels(&file)
        try file.finish()
        // Others may serve as `${…}`, or another program.
        for name in file.strayVariables where !yaml.contains("${" + name) {
            warnings.append("the environment variable \(name) overrides no key")
        }
        self.warnings = warnings
    }

    private mutating func readProviders(
        _ file: inout ConfigurationSection, _ warnings: inout [String]
    ) throws(ConfigurationError) {
        guard var section = try file.section("providers") else { return }
        for name in section.keys {
            guard ModelKey(provider: name, model: "any") != nil else {
                throw section.error(name, "is no name for a provider: use letters, digits, '-' and '_'")
            }
            let line = section.line(of: name)
            guard var provider = try section.section(name) else { continue }
            providers[name] = try ProviderConfiguration(&provider, name: name, line: line, warnings: &warnings)
        }
    }

    private mutating func readPricing(_ file: inout ConfigurationSection) throws(ConfigurationError) {
        let usesDefaults = try file.boolean("default_pricing") ?? true
        if usesDefaults {
            pricing = Price.defaults.filter { model, _ in ModelKey(model).map { providers[$0.provider] != nil } ?? false
            }
        }
        guard var section = try file.section("pricing") else { return }
        var named: Set<String> = []
        for name in section.keys {
            let line = section.line(of: name)
            guard let model = ModelKey(name) else {
                throw ConfigurationError("must be named provider:model", key: "pricing.\(name)", line: line)
            }
            guard providers[model.provider] != nil else {
                throw ConfigurationError(
                    "prices a provider that is not configured under 'providers'", key: "pricing.\(name)", line: line)
            }
            guard var entry = try section.section(name) else { continue }
            let rates = try Self.rates(&entry)
            var tier: Price.LongContext?
            if var long = try entry.section("long_context") {
                let above = try long.integer("above_prompt_tokens", in: 1...Int(Usage.maximumTokens))
                tier = try Self.rates(&long).flatMap { rates in
                    above.flatMap { Price.LongContext(above: Int64($0), rates: rates) }
                }
                try long.finish()
                guard tier != nil else {
                    throw ConfigurationError(
                        "needs above_prompt_tokens, input_price_per_million and output_price_per_million",
                        key: "pricing.\(name).long_context", line: line)
                }
            }
            let search = try entry.price("web_search_price_per_thousand")
            try entry.finish()
            guard let price = Price(rates: rates, longContext: tier, webSearch: search) else {
                throw ConfigurationError(
                    "needs input_price_per_million and output_price_per_million", key: "pricing.\(name)", line: line)
            }
            guard named.insert(model.description).inserted else {
                throw ConfigurationError("prices a model twice", key: "pricing.\(name)", line: line)
            }
            pricing[model.description] = price
        }
    }

    private static func rates(_ section: inout ConfigurationSection) throws(ConfigurationError) -> TokenRates? {
        let input = try section.price("input_price_per_million")
        let output = try section.price("output_price_per_million")
        let cached = try section.price("cached_price_per_million")
        let write = try section.price("cache_write_price_per_million")
        let writeHour = try section.price("cache_write_1h_price_per_million")
        let modal = ModalRates(
            audio: try section.price("audio_input_price_per_million"),
            audioCached: try section.price("audio_cached_price_per_million"),
            audioOutput: try section.price("audio_output_price_per_million"),
            imageOutput: try section.price("image_output_price_per_million"))
        guard let input, let output else { return nil }
        return TokenRates(
            input: input, output: output, cached: cached, cacheWrite: write, cacheWriteHour: writeHour, modal: modal)
    }

    private mutating func readModels(_ file: inout ConfigurationSection) throws(ConfigurationError) {
        if var section = try file.section("models") {
            for name in section.keys {
                guard let model = ModelKey(name) else { throw section.error(name, "must be named provider:model") }
                let line = section.line(of: name)
                guard var entry = try section.section(name) else { continue }
                var settings = defaultModel
                settings.defaultMaxOutputTokens =
                    try entry.integer("default_max_output_tokens", in: 1...1_000_000) ?? settings.defaultMaxOutputTokens
                settings.contextTokens =
                    try entry.integer("context_tokens", in: 1...100_000_000) ?? settings.contextTokens
                for kind in try entry.texts("refuse_parts") ?? [] {
                    guard let part = PartKind(rawValue: kind), part != .text else {
                        throw ConfigurationError(
                            "must be some of image, audio, video, document and other",
                            key: "models.\(name).refuse_parts", line: line)
                    }
                    settings.refusedParts.insert(part)
                }
                settings.imageTokens = try entry.integer("image_tokens", in: 0...10_000_000) ?? settings.imageTokens
                settings.audioTokens = try entry.integer("audio_tokens", in: 0...10_000_000) ?? settings.audioTokens
                settings.fileTokens = try entry.integer("file_tokens", in: 0...10_000_000) ?? settings.fileTokens
                settings.searchTokens =
                    try entry.integer("search_tokens", in: 0...10_000_000) ?? settings.searchTokens
                settings.reasoningTokens =
                    try entry.integer("reasoning_tokens", in: 0...10_000_000) ?? settings.reasoningTokens
                for fallback in try entry.texts("fallbacks") ?? [] {
                    guard let other = ModelKey(fallback), other != model, providers[other.provider] != nil,
                        !settings.fallbacks.contains(other), settings.fallbacks.count < 8
                    else {
                        throw ConfigurationError(
                            "must be up to 8 other models, each named provider:model once, whose providers are configured",
                            key: "models.\(name).fallbacks", line: line)
                    }
                    settings.fallbacks.append(other)
                }
                try entry.finish()
                models[model.description] = settings
            }
        }
        if var section = try file.section("model_map") {
            for name in section.keys {
                let line = section.line(of: name)
                guard let target = try section.string(name).flatMap({ ModelKey($0) }), providers[target.provider] != nil
                else {
                    throw ConfigurationError(
                        "must stand for a provider:model whose provider is configured", key: "model_map.\(name)",
                        line: line)
                }
                modelMap[name] = target
            }
        }
    }

    /// `sqlite:///relative` or `sqlite:////absolute`, as SQLAlchemy writes them, with a driver (`sqlite+aiosqlite`) and options or without.
    static func path(ofDatabaseURL url: String) throws(ConfigurationError) -> String {
        guard url.hasPrefix("sqlite"), let separator = url.range(of: ":///"),
            url[..<separator.lowerBound].utf8.allSatisfy({ $0.isASCIILetterOrDigit || $0 == 0x2B || $0 == 0x5F })
        else {
            throw ConfigurationError("must be sqlite:///path/to/ledger.sqlite", key: "database_url")
        }
        let path = url[separator.upperBound...].prefix { $0 != "?" }
        guard !path.isEmpty else {
            throw ConfigurationError("must be sqlite:///path/to/ledger.sqlite", key: "database_url")
        }
        return String(path)
    }

    func settings(of model: ModelKey) -> ModelConfiguration { models[model.description] ?? defaultModel }

}
