import HTTPTypes
import Hummingbird
import Ledger
import Logging
import Metering
import NIOCore
import WireJSON

/// The doors to models, one for each ``Endpoint``, and `GET /v1/models`.
struct ModelRoutes: Sendable {
    let configuration: ServerConfiguration
    let authenticator: Authenticator
    let writer: LedgerWriter
    let admission: Admission
    let registry: RequestRegistry
    let upstreams: [String: Upstream]
    let logger: Logger

    func add(to router: some RouterMethods<GatewayContext>) {
        for endpoint in Endpoint.allCases {
            router.post(RouterPath(endpoint.path)) { request, context in try await ask(endpoint, request, context) }
        }
        router.get("/v1/models", use: models)
    }

    // MARK: Asking a model

    private func ask(_ endpoint: Endpoint, _ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try await authenticator.principal(of: request, context)
        if principal.user == nil { try authenticator.demand(.operate, of: principal, context) }
        let bytes = try await request.wholeBody(upTo: configuration.limits.maxBodyBytes)
        let read = try await EventLoopTaskExecutor.offLoop(bytes.count) {
            () throws -> (request: ModelRequest, candidates: [Attempts.Candidate]) in
            // What a request may say depends on the model, which the body names: it is looked up in a first, cheap pass.
            let name = try ModelRequest.modelName(in: bytes)
            let candidates = try self.candidates(for: name, endpoint)
            guard let first = candidates.first else { throw Self.modelNotFound(name) }
            let request = try ModelRequest(
                bytes, endpoint: endpoint, for: first.upstream.configuration,
                configuration.settings(of: first.model), model: first.model.model)
            return (request, candidates)
        }
        let asked = read.request
        let account = try account(of: principal, asked)
        let attempts = Attempts(
            Attempts.Terms(
                request: asked, id: context.requestID, account: account, keyID: principal.keyID,
                requestKey: try requestKey(request, account: account, asked), headers: request.headers),
            candidates: read.candidates, admission: admission)
        let watch = try registry.begin()
        context.channel.whenClientIsAbsent { absence in
            switch absence {
            case .sendsNoMore: watch.clientInputClosed()
            case .gone: watch.clientLost()
            }
        }
        let first: (Attempt, UpstreamCall)
        do {
            try await checkPace(of: attempts, at: read.candidates)
            first = try await attempts.first()
        } catch LedgerError.requestAnswered(let record) {
            registry.end(watch)
            guard let answer = record.answer else { throw LedgerError.requestAnswered(record) }
            return Self.response(answer, context.requestID, isReplay: true)
        } catch let error as LedgerError {
            registry.end(watch)
            throw GatewayError(error, insufficientCreditsStatus: configuration.insufficientCreditsStatus)
        } catch {
            registry.end(watch)
            throw error
        }
        let exchange = Exchange(attempts, registry: registry, logger: logger)
        let mailbox = exchange.start(first.0, first.1, watch, on: context.channel.eventLoop)
        return try await respond(with: mailbox, endpoint, watch)
    }

    /// Refuses an account whose requests to that provider ended again and again by our bounds; an answer that it has paid for it gets all the same.
    private func checkPace(of attempts: Attempts, at candidates: [Attempts.Candidate]) async throws {
        guard let provider = candidates.first?.upstream.configuration.name,
            let delay = admission.exposure.delay(for: attempts.account, at: provider)
        else { return }
        if let key = attempts.requestKey { try await writer.look(for: key) }
        throw GatewayError(
            .tooManyRequests, "too_many_unfinished",
            "Too many requests of yours ended without an answer although the provider had them: wait, or ask for shorter answers",
            type: "rate_limit_error"
        ).retrying(afterSeconds: Int(max(1, delay.components.seconds)))
    }

    /// The model that is asked for, then its fallbacks, as far as they can be asked by that route.
    private func candidates(for name: String, _ endpoint: Endpoint) throws -> [Attempts.Candidate] {
        let model = try model(named: name)
        guard let upstream = upstreams[model.provider] else { throw Self.modelNotFound(name) }
        guard UpstreamCall.supports(endpoint, upstream.configuration.kind) else {
            let other = Endpoint.allCases.filter { UpstreamCall.supports($0, upstream.configuration.kind) }
            throw GatewayError(
                .badRequest, "unsupported_endpoint",
                "The model '\(name.cut(toBytes: 255))' cannot be asked by \(endpoint.path): use \(other.map(\.path).joined(separator: " or "))",
                param: "model")
        }
        let fallbacks = configuration.settings(of: model).fallbacks.compactMap { model -> Attempts.Candidate? in
            guard let upstream = upstreams[model.provider],
                UpstreamCall.supports(endpoint, upstream.configuration.kind)
            else { return nil }
            return Attempts.Candidate(model: model, upstream: upstream)
        }
        return [Attempts.Candidate(model: model, upstream: upstream)] + fallbacks
    }

    /// Turns the parts of an exchange into an answer.
    private func respond(
        with mailbox: Mailbox<Exchange.Part>, _ endpoint: Endpoint, _ watch: RequestWatch
    ) async throws -> Response {
        switch await mailbox.next(atMost: 1).first {
        case .answer(let answer, let attempt):
            return Self.response(answer, attempt.hold.request, isReplay: false, dropped: attempt.dropped)
        case .failure(let error): throw error
        case .stream(let contentType, let attempt):
            let body = ResponseBody { writer in
                do {
                    while true {
                        let output = StreamOutput(await mailbox.next(), endpoint)
                        if output.bytes.readableBytes > 0 { try await writer.write(output.bytes) }
                        if let failure = output.failure { throw failure }
                        if output.isEnd { return try await writer.finish(nil) }
                    }
                } catch {
                    watch.clientGone()
                    mailbox.close()
                    throw error
                }
            }
            var headers: HTTPFields = [
                .contentType: contentType, .cacheControl: "no-cache", .requestID: attempt.hold.request.rawValue,
            ]
            if let dropped = attempt.dropped { headers[.droppedParameters] = dropped }
            return Response(status: .ok, headers: headers, body: body)
        default: throw GatewayError.givenUp
        }
    }

    private static func response(
        _ answer: StoredAnswer, _ request: Ledger.RequestID, isReplay: Bool, dropped: String? = nil
    ) -> Response {
        var headers: HTTPFields = [
            .contentType: answer.contentType, .chargedCredits: answer.charged.description,
            .balanceCredits: answer.balance.description, .requestID: request.rawValue,
        ]
        if isReplay { headers[.idempotencyReplayed] = "true" }
        if let dropped { headers[.droppedParameters] = dropped }
        return Response(
            status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: answer.body)))
    }

    // MARK: Who, which model, which key

    private func account(of principal: Principal, _ chat: ModelRequest) throws -> AccountID {
        if let user = principal.user { return user }
        guard let name = chat.user, !name.isEmpty else {
            let field = chat.endpoint == .messages ? "metadata.user_id" : "user"
            throw GatewayError(
                .badRequest, "user_required", "When using master key, '\(field)' field is required in request body",
                param: field)
        }
        guard let user = AccountID(rawValue: name) else { throw GatewayError.userNotFound }
        return user
    }

    private func requestKey(_ request: Request, account: AccountID, _ chat: ModelRequest) throws -> RequestKey? {
        try request.idempotencyKey().map { RequestKey(account: account, key: $0, bodyHash: chat.fingerprint) }
    }

    /// The model that a name stands for: from the map, else `provider:model` or `provider/model`, else the one model of that name that has a
    /// price.
    private func model(named name: String) throws -> ModelKey {
        if let mapped = configuration.modelMap[name] { return mapped }
        if let model = ModelKey(name), configuration.providers[model.provider] != nil { return model }
        let (now, prices) = (SystemClock.now(), writer.prices)
        let offered = configuration.providers.keys.sorted().compactMap { ModelKey(provider: $0, model: name) }
            .filter { prices.price(for: $0.description, at: now) != nil }
        guard let model = offered.first else { throw Self.modelNotFound(name) }
        guard offered.count == 1 else {
            throw GatewayError(
                .badRequest, "ambiguous_model",
                "The model '\(name.cut(toBytes: 255))' is offered by several providers: name \(offered.map(\.description).joined(separator: " or "))",
                param: "model")
        }
        return model
    }

    private static func modelNotFound(_ name: String) -> GatewayError {
        GatewayError(
            .notFound, "model_not_found",
            "The model '\(name.cut(toBytes: 255))' does not exist: name it provider:model, with a provider that is configured",
            param: "model")
    }

    // MARK: Models

    /// The models that have a price, in OpenAI's shape.
    @Sendable func models(_ request: Request, _ context: GatewayContext) async throws -> Response {
        _ = try await authenticator.principal(of: request, context)
        let now = SystemClock.now()
        let prices = writer.prices
        return Response.json { json in
            json.beginObject()
            json.field("object", "list")
            json.name("data")
            json.beginArray()
            for name in prices.entries.keys.sorted() {
                guard let entry = prices.entry(for: name, at: now), entry.price != nil, let model = ModelKey(name),
                    upstreams[model.provider] != nil
                else { continue }
                json.beginObject()
                json.field("id", name)
                json.field("object", "model")
                json.field("created", entry.validFrom.microseconds / 1_000_000)
                json.field("owned_by", model.provider)
                json.endObject()
            }
            json.endArray()
            json.endObject()
        }
    }
}

/// What is to be written of a stream: pieces that arrived together go out in one write.
private struct StreamOutput {
    private(set) var bytes = ByteBuffer()
    private(set) var isEnd = false
    private(set) var failure: (any Error)?

    /// Not inlined, like what ``Exchange`` runs while a stream waits. Without any part, the stream was given up.
    @inline(never)
    init(_ parts: [Exchange.Part], _ endpoint: Endpoint) {
        if parts.isEmpty { failure = GatewayError.givenUp }
        for part in parts {
            switch part {
            case .piece(var piece):
                if bytes.readableBytes == 0 { bytes = piece } else { bytes.writeBuffer(&piece) }
            case .end: isEnd = true
            case .broken(let error):
                // What breaks must not look finished: an error event, and then no proper end.
                bytes.writeBytes(error.event(for: endpoint))
                failure = error
            case .stream, .answer, .failure: break
            }
        }
    }
}

extension GatewayError {
    fileprivate static let givenUp = GatewayError(
        .internalServerError, "internal_error", "The request was given up; try again")
}
