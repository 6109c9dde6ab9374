import AsyncHTTPClient
import Ledger
import NIOCore
import NIOHTTP1
import Synchronization

/// A provider, as it is reached.
final class Upstream: Sendable {
    let configuration: ProviderConfiguration
    let client: HTTPClient
    let limits: Limits
    /// Where the built-in upstream listens; it is told when it does.
    let demoBase: DemoBase
    let circuit: Circuit

    init(_ configuration: ProviderConfiguration, client: HTTPClient, limits: Limits, demoBase: DemoBase) {
        self.configuration = configuration
        self.client = client
        self.limits = limits
        self.demoBase = demoBase
        circuit = Circuit(threshold: limits.circuitFailures, openFor: .seconds(limits.circuitOpenSeconds))
    }

    /// Sends a request and waits for the head of an answer that says yes; throws an ``UpstreamFailure`` otherwise.
    ///
    /// `account`: whose request it is. `headCame`: called when a head has come, be it that of an error, whose body is yet to be read.
    func send(
        _ call: UpstreamCall, isStream: Bool, of account: AccountID, headCame: () -> Void
    ) async throws -> HTTPClientResponse {
        guard circuit.enter() else { throw unavailable(circuit.closedFor() ?? .seconds(1)) }
        var result = Circuit.Result.unknown
        defer { circuit.note(result, of: account) }
        do {
            let response = try await execute(call, isStream: isStream)
            headCame()
            guard (200..<300).contains(response.status.code) else {
                let body = try? await response.body.collect(upTo: UpstreamFailure.maximumErrorBytes)
                let failure = UpstreamFailure.refused(
                    response, body: body.map { Array($0.readableBytesView) } ?? [], secret: configuration.apiKey)
                result = failure.meansDead ? .dead : .alive
                throw failure
            }
            result = .alive
            return response
        } catch let failure as UpstreamFailure {
            if failure.meansDead { result = .dead }
            throw failure
        }
    }

    /// What a client is told while the circuit is open.
    func unavailable(_ rest: Duration) -> UpstreamFailure {
        .unavailable(provider: configuration.name, seconds: Int(max(1, rest.components.seconds)))
    }

    private func execute(_ call: UpstreamCall, isStream: Bool) async throws -> HTTPClientResponse {
        guard let base = configuration.apiBase ?? demoBase.url else { throw UpstreamFailure.unreachable }
        var request = HTTPClientRequest(url: base + call.path)
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json")
        request.headers.add(name: "accept", value: isStream ? "text/event-stream" : "application/json")
        // What we meter must not be compressed.
        request.headers.add(name: "accept-encoding", value: "identity")
        request.headers.add(name: "user-agent", value: "credit-ledger")
        for (name, value) in call.headers { request.headers.add(name: name, value: value) }
        request.body = .bytes(ByteBuffer(bytes: call.body))
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
