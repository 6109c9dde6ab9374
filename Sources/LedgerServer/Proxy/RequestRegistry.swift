import HTTPTypes
import Ledger
import Logging
import ServiceLifecycle
import Synchronization

/// Why a request was cut off from outside.
enum CutReason: Sendable {
    case idle, duration, drained, shutdown

    var outcome: Outcome {
        switch self {
        case .idle, .duration: .timeout
        case .drained: .clientGone
        case .shutdown: .shutdown
        }
    }

    var releaseReason: ReleaseReason {
        switch self {
        case .shutdown: .shutdown
        case .idle, .duration: .timeout
        case .drained: .clientGone
        }
    }
}

/// What a request under way is waiting for, and since when: what the registry watches.
final class RequestWatch: Sendable {
    enum Phase: Sendable {
        case head, upstream
        /// The upstream has said `[DONE]`, and has yet to end its answer.
        case ending
        case client, settling
    }

    /// How long an upstream may take to end an answer that is over: some keep the connection open.
    private static let endingBound = Duration.seconds(1)

    private struct State {
        var phase = Phase.head
        var since = ContinuousClock.now
        var clientGoneAt: ContinuousClock.Instant?
        var inputClosedAt: ContinuousClock.Instant?
        var isLost = false
        var cut: CutReason?
        var task: Task<Void, Never>?
        var leaveClient: (@Sendable () -> Void)?
    }

    private let startedAt = ContinuousClock.now
    private let state = Mutex(State())

    /// Notes what the request waits for now.
    func enter(_ phase: Phase) {
        state.withLock { state in
            state.phase = phase
            state.since = .now
        }
    }

    /// Since when the client has left, or may have; nil: it is there.
    var leftAt: ContinuousClock.Instant? { state.withLock { $0.clientGoneAt ?? $0.inputClosedAt } }

    /// Notes that the client has gone: from now on the upstream is listened to for its usage only.
    func clientGone() {
        state.withLock { state in
            if state.clientGoneAt == nil { state.clientGoneAt = .now }
        }
    }

    /// Notes that the client will send no more: it has left, or it has closed its half of the connection and still reads. Which of them
    /// cannot be told before the next write, so it is served on, and bounded like a client that has left.
    func clientInputClosed() {
        state.withLock { state in
            if state.inputClosedAt == nil { state.inputClosedAt = .now }
        }
    }

    /// Notes that the connection is closed: nobody will take what is still sent.
    func clientLost() {
        clientGone()
        state.withLock { state in
            state.isLost = true
            return state.leaveClient
        }?()
    }

    var isClientGone: Bool { state.withLock { $0.clientGoneAt != nil } }

    /// Whether the client has left, or may have: it has closed its half of the connection.
    var isClientLeaving: Bool { state.withLock { $0.clientGoneAt != nil || $0.inputClosedAt != nil } }

    /// Why it was cut off, where it was.
    var cutReason: CutReason? { state.withLock { $0.cut } }

    /// The task that owns the request, and how to give its client up.
    func own(_ task: Task<Void, Never>, leaveClient: @escaping @Sendable () -> Void) {
        let (isCut, isLost) = state.withLock { state in
            state.task = task
            state.leaveClient = leaveClient
            return (state.cut != nil, state.isLost)
        }
        if isCut { task.cancel() }
        if isLost { leaveClient() }
    }

    /// Cuts the request off; the first reason stays.
    func cut(_ reason: CutReason) {
        let (task, leave): (Task<Void, Never>?, (@Sendable () -> Void)?) = state.withLock { state in
            guard state.cut == nil, state.phase != .settling else { return (nil, nil) }
            state.cut = reason
            return (state.task, state.phase == .client ? state.leaveClient : nil)
        }
        task?.cancel()
        leave?()
    }

    /// Cuts it off where a bound is exceeded.
    func check(_ limits: Limits, at now: ContinuousClock.Instant) {
        let (phase, since) = state.withLock { ($0.phase, $0.since) }
        if now - startedAt > .seconds(limits.streamDurationSeconds) { return cut(.duration) }
        if phase == .ending, now - since > Self.endingBound { return cut(.idle) }
        guard now - since > .seconds(limits.idleTimeoutSeconds) else { return }
        switch phase {
        case .upstream: cut(.idle)
        case .client:
            // A client that takes nothing is as good as gone; its request is metered to the end.
            clientGone()
            state.withLock { $0.leaveClient }?()
        case .head, .ending, .settling: break
        }
    }
}

/// The requests to upstreams that are under way: bounds their number and their time, and drains them at shutdown.
///
/// A service of its own, stopped before the HTTP server: it refuses new requests, lets those under way finish within the grace, cuts
/// off the rest, and is done when every one of them has been settled.
final class RequestRegistry: Service {
    private struct State {
        var requests: [ObjectIdentifier: RequestWatch] = [:]
        var stoppingSince: ContinuousClock.Instant?
    }

    private let limits: Limits
    private let logger: Logger
    private let state = Mutex(State())

    init(limits: Limits, logger: Logger) {
        self.limits = limits
        self.logger = logger
    }

    /// How many are under way.
    var count: Int { state.withLock { $0.requests.count } }

    var isStopping: Bool { state.withLock { $0.stoppingSince != nil } }

    /// Takes a request in, or says why not.
    func begin() throws(GatewayError) -> RequestWatch {
        let watch = RequestWatch()
        let (isStopping, isFull) = state.withLock { state in
            let isStopping = state.stoppingSince != nil
            let isFull = state.requests.count >= limits.maxConcurrentStreams
            if !isStopping, !isFull { state.requests[ObjectIdentifier(watch)] = watch }
            return (isStopping, isFull)
        }
        if isStopping {
            throw GatewayError(.serviceUnavailable, "shutting_down", "The gateway is shutting down; try again shortly")
                .retrying(afterSeconds: 2)
        }
        if isFull {
            throw GatewayError(
                .tooManyRequests, "too_many_streams", "Too many requests are under way; try again shortly",
                type: "rate_limit_error"
            ).retrying(afterSeconds: 1)
        }
        return watch
    }

    /// Lets a request go, once it is settled.
    func end(_ watch: RequestWatch) {
        state.withLock { _ = $0.requests.removeValue(forKey: ObjectIdentifier(watch)) }
    }

    func run() async throws {
        await withGracefulShutdownHandler {
            var isCut = false
            while true {
                let (watches, stoppingSince) = state.withLock { (Array($0.requests.values), $0.stoppingSince) }
                let now = ContinuousClock.now
                if let stoppingSince {
                    if watches.isEmpty { return }
                    if !isCut, now - stoppingSince >= .seconds(limits.shutdownGraceSeconds) {
                        isCut = true
                        logger.notice(
                            "the grace is over: cutting off requests", metadata: ["requests": "\(watches.count)"])
                    }
                    if isCut { for watch in watches { watch.cut(.shutdown) } }
                }
                for watch in watches { watch.check(limits, at: now) }
                // Upstreams are listened to without a client to their end; of too many, those that were left first are given up.
                let abandoned = watches.compactMap { watch in watch.leftAt.map { (watch, $0) } }
                if abandoned.count > limits.maxAbandonedRequests {
                    let excess = abandoned.count - limits.maxAbandonedRequests
                    for (watch, _) in abandoned.sorted(by: { $0.1 < $1.1 }).prefix(excess) { watch.cut(.drained) }
                }
                // A cancelled sleep returns at once: then shutdown is being forced, and everything is cut off.
                if (try? await Task.sleep(for: .milliseconds(100))) == nil {
                    state.withLock { if $0.stoppingSince == nil { $0.stoppingSince = now } }
                    isCut = true
                    await Task.yield()
                }
            }
        } onGracefulShutdown: {
            self.state.withLock { $0.stoppingSince = .now }
        }
    }
}
