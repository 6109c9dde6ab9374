import HTTPTypes
import Ledger
import Metering
import Requests

/// Sets credits aside for a try at an upstream, and prepares what that is sent. One for all requests.
final class Admission: Sendable {
    let configuration: ServerConfiguration
    let writer: LedgerWriter
    let exposure: Exposure

    init(configuration: ServerConfiguration, writer: LedgerWriter, exposure: Exposure) {
        self.configuration = configuration
        self.writer = writer
        self.exposure = exposure
    }

    /// Admits a try: when it returns, the hold is durable; where it throws, there is none.
    ///
    /// The translation comes first: what cannot be translated changes nothing. `isFirst`: whether the request was read for that model; for
    /// another it is read again, by the table and the figures of that one.
    func admit(
        _ terms: Attempts.Terms, _ id: RequestID, at candidate: Attempts.Candidate, isFirst: Bool
    ) async throws -> (Attempt, UpstreamCall) {
        let provider = candidate.upstream.configuration
        let settings = configuration.settings(of: candidate.model)
        let first = terms.request
        let request =
            isFirst
            ? first
            : try await EventLoopTaskExecutor.offLoop(first.body.count) {
                try ModelRequest(
                    first.body, endpoint: first.endpoint, for: provider, settings, model: candidate.model.model)
            }
        let wanted = request.endpoint == .embeddings ? 0 : request.maxTokens ?? Int64(settings.defaultMaxOutputTokens)
        // Held beside it, and nothing that a provider is told.
        let beyond =
            request.endpoint == .embeddings
            ? 0
            : request.thinking.addingClamped(
                settings.reasoningTokens.map(Int64.init)
                    ?? provider.reasoningTokens(of: candidate.model.model, by: request.endpoint))
        let prepare: @Sendable (Int64) throws -> UpstreamCall = { bound in
            try UpstreamCall(
                request, to: provider, model: candidate.model.model, outputBound: bound, id: id, headers: terms.headers)
        }
        let size = request.body.count
        let call = try await EventLoopTaskExecutor.offLoop(size) { try prepare(wanted) }
        let hold = PlaceHold(
            request: id,
            origin: RequestOrigin(
                model: candidate.model.description, keyID: terms.keyID, endpoint: request.endpoint.path),
            promptBound: request.size.tokenBound,
            outputPerChoice: min(wanted.addingClamped(beyond), Usage.maximumTokens), choices: request.choices,
            shrinkTo: request.maxTokens == nil ? call.leastOutput.addingClamped(beyond) : nil, thinking: beyond,
            searchBound: request.searchBound,
            audioBound: request.audioBound, audioOutput: request.mayBeAudio,
            writesCache: request.writesCache, allowUnpriced: configuration.allowUnpriced)
        let receipt = try await writer.admit(hold, account: terms.account, key: terms.requestKey)
        guard case .holdPlaced(let placed)? = receipt.event?.event else {
            throw GatewayError(.internalServerError, "internal_error", "Internal server error")
        }
        let attempt = Attempt(
            upstream: candidate.upstream, hold: placed, format: call.format, prompt: request.size,
            dropped: request.dropped)
        let bound = placed.outputBound / max(1, request.choices) - beyond
        guard placed.outputBound < placed.wantedOutput else { return (attempt, call) }
        do {
            // It has shrunk to what the balance covers, and no further than what can be translated.
            return (attempt, try await EventLoopTaskExecutor.offLoop(size) { try prepare(bound) })
        } catch {
            let release = ReleaseHold(request: id, reason: .internalError)
            _ = try await writer.submit(Command(account: terms.account, action: .releaseHold(release)))
            throw error
        }
    }
}
