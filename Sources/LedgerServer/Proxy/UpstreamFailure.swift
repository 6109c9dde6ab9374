import AsyncHTTPClient
import HTTPTypes
import Ledger
import NIOHTTP1
import WireJSON

/// Why an upstream gave no answer.
enum UpstreamFailure: Error {
    /// No connection, or it broke before the answer began.
    case unreachable
    /// The answer did not begin in time.
    case timeout
    /// An answer with an error status.
    case refused(Refusal)
    /// A 200 that is no answer.
    case unusable
    /// It has failed so often that it is not asked at the moment.
    case unavailable(provider: String, seconds: Int)

    /// An error answer, read.
    struct Refusal {
        let status: Int
        /// What the client is told.
        let error: GatewayError
        /// How long the provider wants to be left alone.
        let retryAfter: Duration?
        /// Whether the same request may be answered a little later.
        let isPassing: Bool
        /// Whether another model may answer.
        let allowsFallback: Bool
        /// Whether it says that the provider is down.
        let meansDead: Bool
    }

    var releaseReason: ReleaseReason {
        switch self {
        case .unreachable, .unavailable: .upstreamUnreachable
        case .timeout: .timeout
        case .refused: .upstreamRefused
        case .unusable: .upstreamFailed
        }
    }

    var status: Int64? {
        if case .refused(let refusal) = self { Int64(refusal.status) } else { nil }
    }

    /// Whether the same request may be answered a little later.
    var isPassing: Bool {
        switch self {
        case .unreachable: true
        case .refused(let refusal): refusal.isPassing
        case .timeout, .unusable, .unavailable: false
        }
    }

    /// Whether another model may answer in its place: where it is the provider that fails, and not the request.
    var allowsFallback: Bool {
        switch self {
        case .unreachable, .timeout, .unavailable: true
        case .refused(let refusal): refusal.allowsFallback
        case .unusable: false
        }
    }

    /// How long the provider wants to be left alone.
    var retryAfter: Duration? {
        if case .refused(let refusal) = self { refusal.retryAfter } else { nil }
    }

    /// Whether it says that the provider is down.
    var meansDead: Bool {
        switch self {
        case .unreachable, .timeout: true
        case .refused(let refusal): refusal.meansDead
        case .unusable, .unavailable: false
        }
    }

    /// What the client is told.
    var error: GatewayError {
        switch self {
        case .unreachable: GatewayError(.badGateway, "upstream_unreachable", "The provider cannot be reached")
        case .timeout: GatewayError(.gatewayTimeout, "upstream_timeout", "The provider did not answer in time")
        case .refused(let refusal): refusal.error
        case .unusable:
            GatewayError(
                .badGateway, "upstream_failed", "The provider's answer broke off or cannot be read; nothing was charged"
            )
        case .unavailable(let provider, let seconds):
            GatewayError(
                .serviceUnavailable, "upstream_unavailable",
                "The provider '\(provider)' has failed again and again and is not asked at the moment; try again in \(seconds) s"
            ).retrying(afterSeconds: seconds)
        }
    }

    /// To our client a 401 would mean its own credential, and the provider's message may quote ours.
    private static let credentials = GatewayError(
        .badGateway, "upstream_credentials", "The provider refused the gateway's credentials; ask the operator")

    /// The longest error body that is read.
    static let maximumErrorBytes = 64 << 10

    /// Reads an error answer: its status and message are passed on in OpenAI's shape, but never what concerns our own account there.
    static func refused(_ response: HTTPClientResponse, body: [UInt8], secret: String) -> UpstreamFailure {
        let status = Int(response.status.code)
        let told = UpstreamErrorBody(body, secret: secret)
        var error: GatewayError
        switch status {
        case 401, 402, 403: error = credentials
        // Gemini refuses a key, and Anthropic an empty account, by a 400; OpenAI an empty account by a 429.
        case 400 where told.concernsOperator, 429 where told.concernsOperator: error = credentials
        case 400, 404, 405, 409, 413, 415, 422:
            error = GatewayError(
                HTTPResponse.Status(code: status), told.code ?? "upstream_rejected",
                told.message ?? "The provider rejected the request", type: told.type, param: told.param)
        case 429:
            error = GatewayError(
                .tooManyRequests, told.code ?? "rate_limit_exceeded", told.message ?? "The provider limits the rate",
                type: told.type ?? "rate_limit_error")
        case 503, 529:
            error = GatewayError(
                .serviceUnavailable, told.code ?? "upstream_overloaded", told.message ?? "The provider is overloaded",
                type: told.type)
        case 504, 408:
            error = GatewayError(.gatewayTimeout, "upstream_timeout", told.message ?? "The provider timed out")
        default:
            error = GatewayError(.badGateway, told.code ?? "upstream_error", told.message ?? "The provider failed")
        }
        let retryAfter = told.retryDelay ?? delay(response.headers)
        if let retryAfter {
            error = error.retrying(after: retryAfter)
        } else if let date = response.headers.first(name: "retry-after") {
            error.headers[.retryAfter] = date
        }
        let isOperators = error.code == credentials.code
        let mayPass = status == 429 || status >= 500
        return .refused(
            Refusal(
                status: status, error: error, retryAfter: retryAfter,
                // OpenAI says so itself where trying again is of no use.
                isPassing: mayPass && !isOperators && response.headers.first(name: "x-should-retry") != "false",
                allowsFallback: mayPass || isOperators,
                // A 500 may come of one odd request, again and again; and who says in words that it is overloaded lives.
                meansDead: status == 502 || status == 504 || (status == 503 && told.message == nil)))
    }

    /// The delay that headers ask for; a date in `retry-after` (RFC 9110, section 10.2.3) is for the client.
    private static func delay(_ headers: HTTPHeaders) -> Duration? {
        func number(_ name: String) -> Int64? {
            headers.first(name: name).flatMap { Int64($0) }.map { min(max(0, $0), 1_000_000_000) }
        }
        return number("retry-after-ms").map { .milliseconds($0) } ?? number("retry-after").map { .seconds($0) }
    }
}

extension GatewayError {
    /// The same, with how long the client shall wait: in whole seconds for all, in milliseconds for the SDKs that read them.
    fileprivate func retrying(after delay: Duration) -> GatewayError {
        let (seconds, attoseconds) = delay.components
        var copy = retrying(afterSeconds: Int(clamping: seconds + (attoseconds > 0 ? 1 : 0)))
        copy.headers[.retryAfterMilliseconds] = String(seconds * 1000 + attoseconds / 1_000_000_000_000_000)
        return copy
    }
}

/// What an error answer says, in any provider's shape.
private struct UpstreamErrorBody {
    var message: String?
    var type: String?
    var param: String?
    var code: String?
    /// Google's `RetryInfo`: the delay is in the body.
    var retryDelay: Duration?
    /// Whether it is about the gateway's key or its account, and none of the client's business.
    var concernsOperator = false

    init(_ body: [UInt8], secret: String) {
        guard var answer = try? JSONValue(body) else { return }
        // Gemini's errors may come in an array.
        if let first = answer.array?.first { answer = first }
        switch answer.object?["error"] {
        case .string(let text): message = text
        case .object(let error): read(error)
        default: message = answer.object?["message"]?.string ?? answer.object?["detail"]?.string
        }
        message = message.map { String(Self.hide(secret, in: $0).prefix(2000)) }
        type = type.map { Self.hide(secret, in: $0) }
        code = code.map { Self.hide(secret, in: $0) }
        param = param.map { Self.hide(secret, in: $0) }
        if message?.contains("credit balance is too low") == true || code == "insufficient_quota" {
            concernsOperator = true
        }
    }

    private mutating func read(_ error: JSONObject) {
        message = error["message"]?.string
        param = error["param"]?.string.map { $0.cut(toBytes: 255) }
        type = error["type"]?.string.map { $0.cut(toBytes: 255) }
        code = error["code"]?.string.map { $0.cut(toBytes: 255) } ?? error["status"]?.string?.lowercased()
        for detail in (error["details"]?.array ?? []).compactMap(\.object) {
            if let text = detail["retryDelay"]?.string { retryDelay = Self.duration(text) }
            if detail["reason"]?.string == "API_KEY_INVALID" { concernsOperator = true }
        }
    }

    /// `34.4s` (Protocol Buffers, JSON mapping of `Duration`).
    private static func duration(_ text: String) -> Duration? {
        guard text.last == "s", let nanoseconds = Decimal64.parse(String(text.dropLast()), fractionDigits: 9),
            nanoseconds >= 0
        else { return nil }
        return .nanoseconds(min(nanoseconds, 1_000_000_000_000_000_000))
    }

    private static func hide(_ secret: String, in text: String) -> String {
        secret.isEmpty
            ? text : text.split(separator: secret, omittingEmptySubsequences: false).joined(separator: "[key]")
    }
}
