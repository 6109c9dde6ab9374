import HTTPTypes
import Hummingbird
import Ledger
import NIOCore
import WireJSON

/// How errors are written: as `{"detail"}` on the gateway's own routes, on the model routes as the clients of their format read them.
enum ErrorShape {
    case gateway
    case openAI
    case anthropic

    init(path: String) {
        // A slash at the end changes nothing for the router, either.
        let path = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        switch Endpoint(rawValue: path) {
        case .messages: self = .anthropic
        case .some: self = .openAI
        case nil: self = ["/v1/chat/", "/v1/models"].contains { path.hasPrefix($0) } ? .openAI : .gateway
        }
    }
}

/// An answer that says no.
struct GatewayError: Error {
    let status: HTTPResponse.Status
    /// Stable; programs may rely on it.
    let code: String
    let message: String
    /// OpenAI's `type`.
    var type: String
    /// The member of the request that is at fault, where one is.
    var param: String?
    var headers: HTTPFields = [:]
    /// Further members of the OpenAI-shaped error: figures, as JSON.
    var figures: [(name: String, json: String)] = []
    /// A `detail` that is more than the message (422).
    var detailJSON: String?

    init(
        _ status: HTTPResponse.Status, _ code: String, _ message: String, type: String? = nil, param: String? = nil
    ) {
        self.status = status
        self.code = code
        self.message = message
        self.type = type ?? (status.code >= 500 ? "server_error" : "invalid_request_error")
        self.param = param
    }

    /// The same, asking the client to come again after some seconds.
    func retrying(afterSeconds seconds: Int) -> GatewayError {
        var copy = self
        copy.headers[.retryAfter] = String(seconds)
        return copy
    }

    /// OpenAI's error object, in an object that also has `detail`.
    var openAIBody: [UInt8] {
        var json = JSONWriter()
        json.beginObject()
        json.name("error")
        json.beginObject()
        json.field("message", message)
        json.field("type", type)
        json.nullable("param", param)
        json.field("code", code)
        for figure in figures {
            json.name(figure.name)
            json.raw(figure.json)
        }
        json.endObject()
        json.field("detail", message)
        json.endObject()
        return json.bytes
    }

    private var gatewayBody: [UInt8] {
        var json = JSONWriter()
        json.beginObject()
        if let detailJSON {
            json.name("detail")
            json.raw(detailJSON)
        } else {
            json.field("detail", message)
        }
        json.field("code", code)
        json.endObject()
        return json.bytes
    }

    /// Anthropic's error object (Anthropic, "Errors"), in an object that also has `detail`.
    private var anthropicBody: [UInt8] {
        var json = JSONWriter()
        json.beginObject()
        json.field("type", "error")
        json.name("error")
        json.beginObject()
        json.field("type", anthropicType)
        json.field("message", message)
        json.field("code", code)
        json.nullable("param", param)
        for figure in figures {
            json.name(figure.name)
            json.raw(figure.json)
        }
        json.endObject()
        json.field("detail", message)
        json.endObject()
        return json.bytes
    }

    private var anthropicType: String {
        switch status.code {
        case 401: "authentication_error"
        case 402: "billing_error"
        case 403: "permission_error"
        case 404: "not_found_error"
        case 413: "request_too_large"
        case 429: "rate_limit_error"
        case 503: "overloaded_error"
        case 504: "timeout_error"
        case 500...: "api_error"
        default: "invalid_request_error"
        }
    }

    /// The event that tells of it within a stream.
    func event(for endpoint: Endpoint) -> [UInt8] {
        switch endpoint {
        case .chat, .embeddings: Array("data: ".utf8) + openAIBody + Array("\n\n".utf8)
        case .responses: Array("event: error\ndata: ".utf8) + openAIBody + Array("\n\n".utf8)
        case .messages: Array("event: error\ndata: ".utf8) + anthropicBody + Array("\n\n".utf8)
        }
    }

    /// The same, saying which request it is about.
    func naming(_ request: Ledger.RequestID) -> GatewayError {
        var copy = self
        copy.headers[.requestID] = request.rawValue
        return copy
    }

    func response(_ shape: ErrorShape) -> Response {
        var headers = headers
        headers[.contentType] = "application/json"
        let bytes =
            switch shape {
            case .gateway: gatewayBody
            case .openAI: openAIBody
            case .anthropic: anthropicBody
            }
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
    }
}

extension GatewayError {
    static func missing(_ field: String) -> GatewayError {
        validation(kind: "missing", field: field, message: "Field required")
    }

    /// A 422 in the shape of the contract; `input` is not echoed: it may hold a secret.
    static func validation(kind: String, field: String, message: String, location: String = "body") -> GatewayError {
        var error = GatewayError(.unprocessableContent, "validation_error", "\(field): \(message)", param: field)
        var json = JSONWriter()
        json.beginArray()
        json.beginObject()
        json.field("type", kind)
        json.name("loc")
        json.beginArray()
        json.value(location)
        json.value(field)
        json.endArray()
        json.field("msg", message)
        json.name("input")
        json.null()
        json.endObject()
        json.endArray()
        error.detailJSON = json.text
        return error
    }

    static func notFound(_ message: String) -> GatewayError { GatewayError(.notFound, "not_found", message) }

    static let userNotFound = GatewayError(.notFound, "user_not_found", "User not found")

    /// What the ledger's answer means to a client.
    init(_ error: LedgerError, insufficientCreditsStatus: Int = 402) {
        switch error {
        case .refused(let refusal): self.init(refusal, insufficientCreditsStatus: insufficientCreditsStatus)
        case .queueFull:
            self = GatewayError(
                .serviceUnavailable, "overloaded", "Too many requests are waiting for the ledger; try again shortly"
            ).retrying(afterSeconds: 1)
        case .requestUnderWay:
            self = GatewayError(
                .conflict, "idempotency_in_progress", "A request with this Idempotency-Key is under way"
            ).retrying(afterSeconds: 1)
        case .requestAnswered:
            self = GatewayError(
                .conflict, "idempotency_key_used",
                "A request with this Idempotency-Key has been answered and charged once; its answer was a stream or too long to be kept, and cannot be given again"
            )
        case .storageFailed, .stopped:
            self = GatewayError(
                .serviceUnavailable, "ledger_unavailable",
                "The ledger cannot be written at the moment; nothing was charged"
            ).retrying(afterSeconds: 5)
        }
    }

    private init(_ refusal: Refusal, insufficientCreditsStatus: Int) {
        switch refusal {
        case .keyReused:
            self = GatewayError(
                .conflict, "idempotency_conflict",
                "This Idempotency-Key was used before for a request with other content")
        case .invalidKey:
            self = GatewayError(.badRequest, "invalid_idempotency_key", "The Idempotency-Key is not valid")
        case .invalidModel:
            self = GatewayError(.badRequest, "invalid_model", "The model must be named provider:model", param: "model")
        case .invalidText(let field):
            self = GatewayError(.badRequest, "invalid_text", "'\(field)' must have 1 to 500 bytes", param: field)
        case .amountNotPositive:
            self = GatewayError(.badRequest, "amount_not_positive", "The amount must be above zero", param: "amount")
        case .amountOutOfRange:
            self = GatewayError(.badRequest, "amount_out_of_range", "The amount is too large", param: "amount")
        case .boundOutOfRange:
            self = GatewayError(
                .badRequest, "bound_out_of_range", "The prompt or the output bound is beyond 2147483648 tokens")
        case .instantInThePast: self = GatewayError(.badRequest, "instant_in_the_past", "The instant has passed")
        case .instantInTheFuture:
            self = GatewayError(.badRequest, "instant_in_the_future", "The instant is yet to come")
        case .planUnknown(let name): self = GatewayError(.notFound, "plan_not_found", "Plan '\(name)' not found")
        case .planNotForSale(let name):
            self = GatewayError(.badRequest, "plan_not_for_sale", "Plan '\(name)' is free: nothing is paid for it")
        case .planUnchanged:
            self = GatewayError(.notFound, "subscription_not_found", "Active subscription not found")
        case .nothingToUpgrade:
            self = GatewayError(
                .conflict, "nothing_to_upgrade",
                "No cycle is running that is paid for, or the plan grants no more than the running one")
        case .paymentUnknown(let payment):
            self = GatewayError(.notFound, "payment_not_found", "Payment '\(payment)' not found")
        case .refundExceedsPayment(let left):
            self = GatewayError(
                .badRequest, "refund_exceeds_payment",
                "Only \(Decimal64.text(left, fractionDigits: 6)) USD of the payment are left", param: "amount_usd")
        case .accountUnknown: self = .userNotFound
        case .accountBlocked: self = GatewayError(.forbidden, "account_blocked", "The account is blocked")
        case .modelNotPriced(let model):
            self = GatewayError(
                .badRequest, "model_not_priced", "The model '\(model)' has no price; ask the operator to set one",
                param: "model")
        case .searchNotPriced(let model):
            self = GatewayError(
                .badRequest, "search_not_priced",
                "Web searches of the model '\(model)' have no price; ask the operator to set one", param: "tools")
        case .modelNotAllowed(let model):
            self = GatewayError(
                .forbidden, "model_not_allowed",
                "The model '\(model)' is not among those that this account or key may use",
                param: "model")
        case .limitReached(let limit): self = Self.limitReached(limit)
        case .insufficientCredits(let shortage):
            self = Self.insufficientCredits(shortage, status: insufficientCreditsStatus)
        case .holdNotOpen(let request):
            self = GatewayError(.conflict, "hold_not_open", "The request '\(request)' is not under way")
        case .chargeUnknown(let request):
            self = GatewayError(.notFound, "charge_not_found", "There is no charge for request '\(request)'")
        case .reversalExceedsCharge(let left):
            self = GatewayError(.badRequest, "reversal_exceeds_charge", "Only \(left) credits of the charge are left")
        }
    }

    private static func limitReached(_ limit: LimitReached) -> GatewayError {
        let whose = limit.scope.keyID == nil ? "account" : "key"
        let (what, isSpending): (String, Bool) =
            switch limit.kind {
            case .spending(.day): ("credits a day", true)
            case .spending(.month): ("credits a month", true)
            case .spending(.total): ("credits in total", true)
            case .spending(.budget): ("credits of its budget's period", true)
            case .requestsPerMinute: ("requests a minute", false)
            case .tokensPerMinute: ("tokens a minute", false)
            }
        func text(_ figure: Int64) -> String { isSpending ? Credits(nanos: figure).description : String(figure) }
        let advice = limit.fittingOutput > 0 ? "; with max_tokens of at most \(limit.fittingOutput) it fits" : ""
        var error = GatewayError(
            limit.retryAt == nil ? HTTPResponse.Status(code: 402, reasonPhrase: "Payment Required") : .tooManyRequests,
            isSpending ? "spending_limit_reached" : "rate_limit_reached",
            "The \(whose)'s limit of \(text(limit.limit)) \(what) is reached: \(text(limit.used)) are used, this request needs up to \(text(limit.needed))\(advice)",
            type: isSpending ? "insufficient_quota" : "rate_limit_error")
        error.figures = [
            ("limit", text(limit.limit)), ("used", text(limit.used)), ("needed", text(limit.needed)),
            ("max_tokens_that_fit", String(limit.fittingOutput)),
        ]
        guard let retryAt = limit.retryAt else {
            error.headers[.shouldRetry] = "false"
            return error
        }
        let wait = Int128(retryAt.microseconds) - Int128(SystemClock.now().microseconds)
        let seconds = Int(clamping: max(1, (wait + 999_999) / 1_000_000))
        // Nobody's client should sleep until tomorrow.
        if seconds > 60 { error.headers[.shouldRetry] = "false" }
        return error.retrying(afterSeconds: seconds)
    }

    private static func insufficientCredits(_ shortage: Shortage, status: Int) -> GatewayError {
        if status == 403 { return GatewayError(.forbidden, "insufficient_credits", "Insufficient credits") }
        let advice =
            shortage.fittingOutput > 0
            ? "set max_tokens to at most \(shortage.fittingOutput), or add credits" : "add credits"
        var error = GatewayError(
            HTTPResponse.Status(code: 402, reasonPhrase: "Payment Required"), "insufficient_credits",
            "Insufficient credits: this request may cost up to \(shortage.needed) credits, \(shortage.available) are available"
                + " (\(shortage.held) are held by requests under way); \(advice)",
            type: "insufficient_quota")
        error.figures = [
            ("needed_credits", shortage.needed.description), ("available_credits", shortage.available.description),
            ("held_credits", shortage.held.description), ("max_tokens_that_fit", String(shortage.fittingOutput)),
        ]
        // The OpenAI SDKs would try again; more of the same does not help here.
        error.headers[.shouldRetry] = "false"
        return error
    }
}

extension HTTPField.Name {
    private static func named(_ name: String) -> HTTPField.Name {
        guard let name = HTTPField.Name(name) else { preconditionFailure("a literal header name is valid") }
        return name
    }

    static let requestID = named("x-request-id")
    static let chargedCredits = named("x-ledger-charged-credits")
    static let balanceCredits = named("x-ledger-balance-credits")
    static let idempotencyKey = named("idempotency-key")
    /// Members of a request that were not sent on: hints that the provider has nothing for.
    static let droppedParameters = named("x-dropped-parameters")
    static let idempotencyReplayed = named("idempotency-replayed")
    static let gatewayKey = named("x-anyllm-key")
    static let shouldRetry = named("x-should-retry")
    static let retryAfterMilliseconds = named("retry-after-ms")
    static let apiKey = named("x-api-key")
    static let anthropicVersion = named("anthropic-version")
    static let anthropicBeta = named("anthropic-beta")
    static let forwardedFor = named("x-forwarded-for")
    static let referrerPolicy = named("referrer-policy")
}
