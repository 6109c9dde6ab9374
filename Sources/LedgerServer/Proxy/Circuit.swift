import Synchronization

/// Gives an upstream up for a while that fails again and again, so that nobody waits for what is dead.
///
/// After some failures in a row it opens: requests are refused at once. When its time is over, one request may try; what becomes of that
/// closes it, or keeps it open for as long again.
final class Circuit: Sendable {
    /// How a try at the upstream went.
    enum Result: Sendable {
        /// It answered, be it with a refusal: it lives.
        case alive
        /// It did not, or said that it is down.
        case dead
        /// Neither: the try was given up.
        case unknown
    }

    private enum State {
        case closed(failures: Int)
        case open(until: ContinuousClock.Instant)
        /// One request tries; it may take until then before another does.
        case probing(until: ContinuousClock.Instant)
    }

    /// After how many failures it opens; 0: never.
    private let threshold: Int
    private let openFor: Duration
    private let state = Mutex(State.closed(failures: 0))

    init(threshold: Int, openFor: Duration) {
        self.threshold = threshold
        self.openFor = openFor
    }

    /// For how long no request is let through; nil: one may go.
    func closedFor(at now: ContinuousClock.Instant = .now) -> Duration? {
        state.withLock { state in
            switch state {
            case .closed: nil
            case .open(let until): until > now ? until - now : nil
            case .probing(let until): until > now ? min(until - now, .seconds(1)) : nil
            }
        }
    }

    /// Lets a try go, which has to be followed by ``note(_:at:)``; false: it may not.
    func enter(at now: ContinuousClock.Instant = .now) -> Bool {
        state.withLock { state in
            switch state {
            case .closed: return true
            case .open(let until), .probing(let until):
                guard until <= now else { return false }
                state = .probing(until: now + openFor)
                return true
            }
        }
    }

    /// Notes how a try went.
    func note(_ result: Result, at now: ContinuousClock.Instant = .now) {
        guard threshold > 0 else { return }
        state.withLock { state in
            switch (state, result) {
            case (_, .alive): state = .closed(failures: 0)
            case (.closed(let failures), .dead):
                state = failures + 1 >= threshold ? .open(until: now + openFor) : .closed(failures: failures + 1)
            case (.probing, .dead): state = .open(until: now + openFor)
            // Another may try at once.
            case (.probing, .unknown): state = .open(until: now)
            case (.open, .dead), (.open, .unknown), (.closed, .unknown): break
            }
        }
    }
}
