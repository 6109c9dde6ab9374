import AsyncHTTPClient
import Authentication
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Ledger
import LedgerSQLite
import Logging
import NIOCore
import NIOPosix
import Projections
import Requests
import ServiceLifecycle
import UnixSignals

/// The whole server out of its configuration: everything is made here, and handed to what needs it.
struct Gateway: Sendable {
    let configuration: ServerConfiguration
    let logger: Logger
    private let ledger: SQLiteLedger
    private let writer: LedgerWriter

    /// Opens the ledger and the writer. Nothing is listening yet.
    init(_ configuration: ServerConfiguration, logger: Logger) throws {
        self.configuration = configuration
        self.logger = logger
        ledger = try SQLiteLedger(path: configuration.databasePath)
        if let checkpoints = configuration.checkpoints {
            try CheckpointService.check(checkpoints, try LedgerFile(path: configuration.databasePath))
        }
        var writing = LedgerWriter.Configuration()
        writing.queueLimit = configuration.limits.queueLength
        writing.cachedAccounts = configuration.limits.cachedAccounts
        let windows = CachedWindows(configuration.calendar)
        writing.calendar = { windows.at($0) }
        writer = try LedgerWriter(store: ledger, configuration: writing, clock: SystemClock.now)
    }

    /// Serves until the process is told to stop, then drains and closes.
    func run() async throws {
        for warning in configuration.warnings { logger.warning("\(warning)") }
        let interrupted = try await writer.releaseInterruptedHolds()
        if interrupted.count > 0 {
            logger.warning(
                "released the holds of requests that a crash interrupted; what providers billed for them is unbilled exposure",
                metadata: [
                    "holds": "\(interrupted.count)", "credits_at_most": "\(Credits(clamping: interrupted.credits))",
                ])
        }
        try await seedBooks()
        try await Erasure(writer: writer, directory: Directory(ledger)).finish()
        // What an import, or a crash between a budget and its caps, has left to do.
        try await BudgetCaps(writer: writer, directory: Directory(ledger)).apply(budget: nil, actor: "configuration")
        let client = HTTPClient(
            eventLoopGroupProvider: .shared(MultiThreadedEventLoopGroup.singleton),
            configuration: clientConfiguration)
        do {
            try await serve(client)
        } catch {
            try? await client.shutdown()
            try? ledger.close()
            throw error
        }
        try await client.shutdown()
        try ledger.close()
    }

    private var clientConfiguration: HTTPClient.Configuration {
        var client = HTTPClient.Configuration()
        client.redirectConfiguration = .disallow
        client.decompression = .disabled
        client.timeout.connect = .seconds(Int64(configuration.limits.connectTimeoutSeconds))
        // A stream holds a connection for as long as it lasts: as many as may be under way.
        client.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = configuration.limits.maxConcurrentStreams
        client.connectionPool.retryConnectionEstablishment = false
        return client
    }

    /// Plans and prices of the configuration become events, where the books do not say so already. A price that was set by the API
    /// wins over the file; one that the file set follows the file.
    private func seedBooks() async throws {
        for plan in configuration.plans { _ = try await writer.submit(.setPlan(SetPlan(plan: plan))) }
        let now = SystemClock.now()
        for (model, price) in configuration.pricing.sorted(by: { $0.key < $1.key }) {
            let current = writer.prices.entry(for: model, at: now)
            guard current == nil || current?.actor == "configuration" else { continue }
            _ = try await writer.submit(.setPrice(SetPrice(model: model, price: price, actor: "configuration")))
        }
        let prices = writer.prices
        for model in prices.entries.keys.sorted() where configuration.pricing[model] == nil {
            guard let entry = prices.entry(for: model, at: now), entry.price != nil, entry.actor == "configuration"
            else {
                continue
            }
            logger.warning(
                "a price that is no longer in the configuration stays in force; DELETE /v1/pricing/<model> ends it",
                metadata: ["model": "\(model)"])
        }
    }

    private func serve(_ client: HTTPClient) async throws {
        let limits = configuration.limits
        let directory = Directory(ledger)
        let balances = SQLiteBalances(ledger)
        let usage = SQLiteUsage(ledger)
        let publicURL = PublicURL(configuration.login.publicURL)
        let security = SecurityLog(logger: logger)
        let issuer = await issuer()
        let authenticator = Authenticator(
            masterKeys: configuration.masterKeys, directory: directory, tokens: issuer?.tokens,
            failuresPerMinute: limits.failedCredentialsPerMinute, security: security)
        let registry = RequestRegistry(limits: limits, logger: logger)
        let desk = try LedgerDesk(path: ledger.path)
        let usageService = UsageService(follower: UsageFollower(events: ledger, usage: usage), logger: logger)
        let demoBase = DemoBase()
        let upstreams = configuration.providers.mapValues {
            Upstream($0, client: client, limits: limits, demoBase: demoBase)
        }

        // Read now, and not when the first request comes.
        for (name, table) in RequestTables.all {
            do { _ = try table.get() } catch {
                throw ConfigurationError("is broken: \(error)", key: "the table \(name)")
            }
        }
        let router = Router(context: GatewayContext.self, options: .autoGenerateHeadEndpoints)
        let routes = RouteTable()
        // Outermost, so that a browser may read errors, too.
        router.add(middleware: GatewayCORS(origins: Set(configuration.corsOrigins)))
        router.add(
            middleware: GatewayMiddleware(
                logger: logger, routes: routes, trustedProxies: configuration.trustedProxies))
        let exposure = Exposure(perHour: limits.unbilledRequestsPerHour, logger: logger)
        HealthRoutes(
            writer: writer, registry: registry, follower: usageService, upstreams: upstreams, exposure: exposure,
            authenticator: authenticator
        ).add(to: router)
        let caps = BudgetCaps(writer: writer, directory: directory)
        let users = UserRoutes(
            authenticator: authenticator, writer: writer, directory: directory, balances: balances, usage: usage,
            caps: caps)
        users.add(to: router)
        KeyRoutes(authenticator: authenticator, users: users, directory: directory).add(to: router)
        PricingRoutes(authenticator: authenticator, writer: writer).add(to: router)
        AccountRoutes(authenticator: authenticator, writer: writer, directory: directory, balances: balances).add(
            to: router)
        ProfileRoutes(
            authenticator: authenticator, writer: writer, directory: directory, balances: balances, usage: usage,
            desk: desk
        ).add(
            to: router)
        LimitRoutes(
            authenticator: authenticator, writer: writer, directory: directory, balances: balances,
            calendar: configuration.calendar, zone: configuration.timeZone
        ).add(to: router)
        BudgetRoutes(authenticator: authenticator, directory: directory, caps: caps).add(to: router)
        SubscriptionRoutes(authenticator: authenticator, writer: writer, directory: directory, balances: balances).add(
            to: router)
        ModelRoutes(
            configuration: configuration, authenticator: authenticator, writer: writer,
            admission: Admission(configuration: configuration, writer: writer, exposure: exposure),
            registry: registry, upstreams: upstreams, logger: logger
        ).add(to: router)

        let sweep = RenewalSweep(
            writer: writer, balances: balances, batch: configuration.renewals.batch,
            clock: SystemClock.now)
        CorrectionRoutes(authenticator: authenticator, writer: writer, directory: directory, balances: balances).add(
            to: router)
        let paymentProviders = configuration.payments.map { LemonSqueezy(configuration: $0) }
        let inbox = PaymentInbox(
            providers: Dictionary(uniqueKeysWithValues: paymentProviders.map { ($0.name, $0) }), writer: writer,
            directory: directory, balances: balances, logger: logger)
        WebhookRoutes(authenticator: authenticator, directory: directory).add(to: router)
        RenewalRoutes(authenticator: authenticator, sweep: sweep, inbox: inbox).add(to: router)
        PaymentRoutes(authenticator: authenticator, directory: directory, inbox: inbox).add(to: router)
        LedgerRoutes(authenticator: authenticator, desk: desk, registry: registry).add(to: router)
        ExportRoutes(authenticator: authenticator, desk: desk).add(to: router)
        CheckpointRoutes(authenticator: authenticator, desk: desk, configuration: configuration.checkpoints).add(
            to: router)
        DescriptionRoutes().add(to: router)
        addLogin(to: router, publicURL, authenticator, directory, issuer, client, security)
        routes.fill(from: router)

        var http = ApplicationConfiguration(
            address: .hostname(configuration.host, port: configuration.port), serverName: nil)
        http.availableConnectionsDelegate = .maximum(limits.maxConnections, logger: logger)
        let application = Application(
            responder: TaskPerRequest(base: router.buildResponder()),
            server: HTTPServerBuilder { responder in
                LoopBoundHTTP1(
                    base: HTTP1Channel(
                        responder: responder,
                        configuration: HTTP1Channel.Configuration(
                            additionalChannelHandlers: [ClientPresence()],
                            idleTimeout: .seconds(Int64(limits.clientIdleTimeoutSeconds)),
                            httpDecoderConfiguration: .init(
                                maxHeaderFieldSize: limits.maxHeaderBytes, maxHeaderListSize: limits.maxHeaderBytes))),
                    longestBody: max(limits.maxBodyBytes, BodyFields.maximumBytes))
            },
            configuration: http, onServerRunning: { announce($0, publicURL) }, logger: quiet)

        // Started in this order, stopped in the reverse: requests are drained first, the writer is closed last.
        var services: [any Service] = [
            WriterService(writer: writer), usageService,
            HousekeepingService(authenticator: authenticator, directory: directory, limits: limits, logger: logger),
        ]
        services.append(
            RenewalService(
                sweep: sweep, inbox: inbox, intervalSeconds: configuration.renewals.sweepSeconds, logger: logger))
        services.append(
            NoticeService(
                configuration: configuration.notices, events: ledger, directory: directory,
                client: ProviderClient(client), logger: logger))
        if let checkpoints = configuration.checkpoints {
            services.append(
                CheckpointService(
                    configuration: checkpoints, store: CheckpointStore(ledger), client: client, logger: logger))
        }
        if configuration.providers.values.contains(where: { $0.kind == .demo }) {
            services.append(DemoUpstream(base: demoBase, logger: quiet).service())
        }
        services += [application, registry]
        var group = ServiceGroupConfiguration(
            services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet)
        // Beyond the registry's own bound: something hangs, and what is on disk is all that counts.
        group.maximumGracefulShutdownDuration = .seconds(limits.shutdownGraceSeconds + 30)
        try await ServiceGroup(configuration: group).run()
    }

    /// What makes tokens; nil where only keys are used.
    private func issuer() async -> SessionIssuer? {
        guard let terms = configuration.tokens else { return nil }
        let tokens = await AccessTokens(
            signing: terms.signing, previous: terms.previous,
            issuer: configuration.login.publicURL ?? "credit-ledger-gateway")
        return SessionIssuer(tokens: tokens, terms: terms)
    }

    private func addLogin(
        to router: Router<GatewayContext>, _ publicURL: PublicURL, _ authenticator: Authenticator,
        _ directory: Directory,
        _ issuer: SessionIssuer?, _ client: HTTPClient, _ security: SecurityLog
    ) {
        let login = configuration.login
        let limit = RequestLimit(perMinute: configuration.limits.authRequestsPerMinute, security: security)
        let signUp = SignUp(writer: writer, directory: directory)
        let asking = ProviderClient(client)
        var providers: [String: any LoginProvider] = [:]
        for provider in login.providers {
            switch provider.kind {
            case .oidc: providers[provider.name] = OpenIDProvider(provider, client: asking)
            case .discord: providers[provider.name] = DiscordProvider(configuration: provider, client: asking)
            }
        }
        LoginRoutes(
            login: login, publicURL: publicURL, providers: providers, directory: directory, signUp: signUp,
            authenticator: authenticator,
            limit: limit, security: security
        ).add(to: router)
        TokenRoutes(
            providers: providers, directory: directory, signUp: signUp, authenticator: authenticator, issuer: issuer,
            limit: limit, security: security
        ).add(to: router)
        SessionRoutes(
            authenticator: authenticator, directory: directory,
            publicKeys: issuer?.tokens.publicKeys ?? #"{"keys":[]}"#, security: security
        ).add(to: router)
    }

    /// A logger for libraries: what they have to say is for debugging.
    private var quiet: Logger {
        var logger = logger
        logger.logLevel = max(logger.logLevel, .warning)
        return logger
    }

    private func announce(_ channel: any Channel, _ publicURL: PublicURL) {
        let port = channel.localAddress?.port ?? configuration.port
        publicURL.listens(host: configuration.host, port: port)
        logger.notice("listening on http://\(configuration.host):\(port)")
    }
}
