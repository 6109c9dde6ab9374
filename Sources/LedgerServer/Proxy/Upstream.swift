import AsyncHTTPClient
import Foundation
import HTTPTypes
import Ledger
import NIOCore
import NIOHTTP1
import Synchronization
import WireJSON

/// A provider that speaks OpenAI's API.
struct Upstream: Sendable {
    let configuration: ProviderConfiguration
    let client: HTTPClient
    let limits: Limits
    /// Where the built-in upstream listens; it is told when it does.
    let demoBase: DemoBase

    /// Sends a request and waits for the head of the answer.
    func send(body: [UInt8], isStream: Bool) async throws -> HTTPClientResponse {
        guard let base = configuration.apiBase ?? demoBase.url else {
            throw UpstreamFailure.unreachable
        }
        var request = HTTPClientRequest(url: base + "/chat/completions")
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json")
        request.headers.add(name: "accept", value: isStream ? "text/event-stream" : "application/json")
        // What we meter must not be compressed.
        request.headers.add(name: "accept-encoding", value: "identity")
        request.headers.add(name: "user-agent", value: "credit-ledger")
        if !configuration.apiKey.isEmpty {
            request.headers.add(name: "authorization", value: "Bearer \(configuration.apiKey)")
        }
        request.body = .bytes(ByteBuffer(bytes: body))
        do {
            return try await client.execute(request, timeout: .seconds(Int64(limits.firstByteTimeoutSeconds)))
        } catch is CancellationError {
            throw CancellationError()
        } catch let error as HTTPClientError {
            switch error {
            case .cancelled: throw CancellationError()
            case .deadlineExceeded, .readTimeout, .writeTimeout: throw UpstreamFailure.timeout
            default: throw UpstreamFailure.unreachable
            }
        } catch {
            throw UpstreamFailure.unreachable
        }
    }
}

/// Where the demo upstream listens.
final class DemoBase: Sendable {
    private let value = Mutex<String?>(nil)

    var url: String? { value.withLock { $0 } }

    func set(_ url: String) { value.withLock { $0 = url } }
}

/// Why an upstream gave no answer.
enum UpstreamFailure: Error {
    /// No connection, or it broke before the answer began.
    case unreachable
    /// The answer did not begin in time.
    case timeout
    /// An answer with an error status.
    case refused(status: Int, error: GatewayError)
    /// A 200 that is no answer.
    case unusable

    var releaseReason: ReleaseReason {
        switch self {
        case .unreachable: .upstreamUnreachable
        case .timeout: .timeout
        case .refused: .upstreamRefused
        case .unusable: .upstreamFailed
        }
    }

    var status: Int64? {
        if case .refused(let status, _) = self { Int64(status) } else { nil }
    }

    /// What the client is told.
    var error: GatewayError {
        switch self {
        case .unreachable: GatewayError(.badGateway, "upstream_unreachable", "The provider cannot be reached")
        case .timeout: GatewayError(.gatewayTimeout, "upstream_timeout", "The provider did not answer in time")
        case .refused(_, let error): error
        case .unusable:
            GatewayError(
                .badGateway, "upstream_failed", "The provider's answer broke off or cannot be read; nothing was charged"
            )
        }
    }

    /// The longest error body that is read.
    static let maximumErrorBytes = 64 << 10

    /// Reads an error answer: its status and message are passed on in OpenAI's shape, but never what concerns our own key.
    static func refused(_ response: HTTPClientResponse, body: [UInt8]) -> UpstreamFailure {
        let status = Int(response.status.code)
        let told = UpstreamErrorBody(body)
        var error: GatewayError
        switch status {
        case 401, 402, 403:
            // To our client a 401 would mean its own credential, and the message may quote ours.
            error = GatewayError(
                .badGateway, "upstream_credentials", "The provider refused the gateway's credentials; ask the operator")
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
                .serviceUnavailable, told.code ?? "upstream_overloaded", told.message ?? "The provider is overloaded")
        case 504, 408:
            error = GatewayError(.gatewayTimeout, "upstream_timeout", told.message ?? "The provider timed out")
        default:
            error = GatewayError(.badGateway, told.code ?? "upstream_error", told.message ?? "The provider failed")
        }
        for name in ["retry-after", "retry-after-ms"] {
            guard let value = response.headers.first(name: name), let field = HTTPField.Name(name) else { continue }
            error.headers[field] = value
        }
        return .refused(status: status, error: error)
    }
}

/// The error object of an OpenAI-shaped answer.
private struct UpstreamErrorBody {
    var message: String?
    var type: String?
    var param: String?
    var code: String?

    init(_ body: [UInt8]) {
        body.withUnsafeBufferPointer { buffer in
            var json = JSONScanner(buffer)
            try? read(&json)
        }
    }

    private mutating func read(_ json: inout JSONScanner) throws(JSONError) {
        try json.enterObject()
        while let name = try json.nextMember() {
            guard json.equals(name, "error") else {
                try json.skip()
                continue
            }
            if json.peek() == .string {
                message = try json.string()
                continue
            }
            try json.enterObject()
            while let field = try json.nextMember() {
                guard json.peek() == .string else {
                    try json.skip()
                    continue
                }
                let value = String(try json.string().prefix(2000))
                if json.equals(field, "message") { message = value }
                if json.equals(field, "type") { type = value }
                if json.equals(field, "param") { param = value }
                if json.equals(field, "code") { code = value }
            }
        }
    }
}
