import AsyncHTTPClient
import HTTPTypes
import Ledger
import Metering
import Synchronization

/// One try at an upstream: what was set aside for it, and how its answer is read. Shared, not copied: a stream waits with it.
final class Attempt: Sendable {
    let upstream: Upstream
    let hold: HoldPlaced
    let format: AnswerFormat
    let prompt: PromptSize
    /// The places of the request that were not sent on; nil: none.
    let dropped: String?

    init(upstream: Upstream, hold: HoldPlaced, format: AnswerFormat, prompt: PromptSize, dropped: String?) {
        self.upstream = upstream
        self.hold = hold
        self.format = format
        self.prompt = prompt
        self.dropped = dropped
    }
}

/// The tries at a request's upstreams, one after the other: the model that was asked for, as often as it may, then its fallbacks.
///
/// Each try has a hold of its own, under the request's id with its number, and ends with the release of it or with the request's one charge:
/// so each is in the usage log, and only the one that answered is charged.
final class Attempts: Sendable {
    /// A model that may answer.
    struct Candidate: Sendable {
        let model: ModelKey
        let upstream: Upstream
    }

    /// What is asked, and on whose account.
    struct Terms: Sendable {
        /// The request as it was read for the first model.
        let request: ModelRequest
        /// The request's id: that of its first try.
        let id: RequestID
        let account: AccountID
        let keyID: String?
        let requestKey: RequestKey?
        /// The headers of the client's request.
        let headers: HTTPFields
    }

    private struct State {
        /// Let go with the last try: a prompt may be long, and an answer take long.
        var terms: Terms?
        /// The place of the current model among the candidates.
        var place = 0
        /// How often the current model has been tried.
        var tries = 0
        /// How many tries there were in all.
        var count = 0
    }

    let account: AccountID
    let requestKey: RequestKey?
    let isStream: Bool
    let admission: Admission
    private let candidates: [Candidate]
    private let state: Mutex<State>

    init(_ terms: Terms, candidates: [Candidate], admission: Admission) {
        account = terms.account
        requestKey = terms.requestKey
        isStream = terms.request.isStream
        self.admission = admission
        self.candidates = candidates
        state = Mutex(State(terms: terms))
    }

    /// Admits the first try: at the first model whose provider is not given up.
    ///
    /// Nothing is set aside where it throws: what cannot be translated or is not covered is told before anything happens.
    func first() async throws -> (Attempt, UpstreamCall) {
        for index in candidates.indices where candidates[index].upstream.circuit.closedFor() == nil {
            state.withLock { $0.place = index }
            do {
                return try await admit(candidates[index])
            } catch let error as GatewayError where index > 0 && error.status == .badRequest {
                // What the model that was asked for takes, this one may not.
                continue
            }
        }
        let rest = candidates.compactMap { $0.upstream.circuit.closedFor() }.min() ?? .seconds(1)
        throw candidates.first?.upstream.unavailable(rest).error ?? UpstreamFailure.unreachable.error
    }

    /// How long to wait before the next try after a failure; nil: there is none.
    func pause(after failure: UpstreamFailure) -> Duration? {
        state.withLock { state in
            guard state.terms != nil else { return nil }
            if failure.isPassing, state.tries < admission.configuration.limits.upstreamAttempts,
                candidates[state.place].upstream.circuit.closedFor() == nil,
                let pause = Self.pause(
                    try: state.tries, retryAfter: failure.retryAfter,
                    longest: .seconds(admission.configuration.limits.retryWaitSeconds), jitter: .random(in: 0...1000))
            {
                return pause
            }
            return failure.allowsFallback && goOn(&state) ? .zero : nil
        }
    }

    /// Goes on to the next model whose provider is not given up; false: there is none.
    private func goOn(_ state: inout State) -> Bool {
        let next = candidates.indices.first {
            $0 > state.place && candidates[$0].upstream.circuit.closedFor() == nil
        }
        guard let next else { return false }
        state.place = next
        state.tries = 0
        return true
    }

    /// How long to wait before another try, in its range by chance, so that those who failed together do not come again together.
    ///
    /// `retryAfter`: what the provider demands; nil is given where that is longer than `longest`. `jitter`: 0 to 1000.
    static func pause(try number: Int, retryAfter: Duration?, longest: Duration, jitter: Int64) -> Duration? {
        let backoff = min(Duration.milliseconds(250 << min(max(number, 1) - 1, 8)), longest)
        let chosen = backoff / 2 + backoff / 2 * Double(jitter) / 1000
        guard let retryAfter else { return chosen }
        return retryAfter <= longest ? max(retryAfter, chosen) : nil
    }

    /// Admits the next try, after ``pause(after:)``: at the next model that can be asked, has a price and is covered by the balance.
    func next() async throws -> (Attempt, UpstreamCall) {
        while true {
            do {
                return try await admit(candidates[state.withLock { $0.place }])
            } catch {
                guard state.withLock({ goOn(&$0) }) else { throw error }
            }
        }
    }

    /// There will be no further try.
    func end() { state.withLock { $0.terms = nil } }

    private func admit(_ candidate: Candidate) async throws -> (Attempt, UpstreamCall) {
        let (terms, number) = state.withLock { ($0.terms, $0.count + 1) }
        guard let terms, let id = number == 1 ? terms.id : RequestID(rawValue: "\(terms.id).\(number)") else {
            throw GatewayError(.internalServerError, "internal_error", "Internal server error")
        }
        let isFirst = candidate.model == candidates.first?.model
        let admitted = try await admission.admit(terms, id, at: candidate, isFirst: isFirst)
        state.withLock { state in
            state.tries += 1
            state.count += 1
        }
        return admitted
    }
}
