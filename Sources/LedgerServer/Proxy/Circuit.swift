import Ledger
import Synchronization

/// Gives an upstream up for a while that fails again and again, so that nobody waits for what is dead.
///
/// After some failures in a row, of several accounts, it opens: requests are refused at once. One account's own never do that to the others. When its time is over, one request may try; what becomes of that
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
        /// How often it failed in a row, by account.
        case closed(failures: [AccountID: Int])
        case open(until: ContinuousClock.Instant)
        /// One request tries; it may take until then before another does.
        case probing(until: ContinuousClock.Instant)
    }

    /// After how many failures it opens; 0: never.
    private let threshold: Int
    private let openFor: Duration
    private let state = Mutex(State.closed(failures: [:]))

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

    /// Notes how an account's try went.
    func note(_ result: Result, of account: AccountID, at now: ContinuousClock.Instant = .now) {
        guard threshold > 0 else { return }
        state.withLock { state in
            switch (state, result) {
            case (_, .alive): state = .closed(failures: [:])
            case (.closed(var failures), .dead):
                // Of one account no more than half of them count.
                failures[account] = min((failures[account] ?? 0) + 1, (threshold + 1) / 2)
                let isDown = failures.count > 1 && failures.values.reduce(0, +) >= threshold
                state = isDown ? .open(until: now + openFor) : .closed(failures: failures)
            case (.probing, .dead): state = .open(until: now + openFor)
            // Another may try at once.
            case (.probing, .unknown): state = .open(until: now)
            case (.open, .dead), (.open, .unknown), (.closed, .unknown): break
            }
        }
    }
}
