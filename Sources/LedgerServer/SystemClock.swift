import Foundation
import Ledger

/// The machine's clock: the only place where the server reads the time of day.
enum SystemClock {
    /// Now, to the microsecond: 64-bit floating point seconds hold as much until the year 2255.
    static func now() -> Timestamp {
        Timestamp(microseconds: Int64(Date().timeIntervalSince1970 * 1_000_000))
    }

    private static let start = ContinuousClock.now

    /// How long the process has run, as an instant that begins at 0: for what must not follow a clock that somebody sets.
    static func uptime() -> Timestamp {
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        return Timestamp(microseconds: seconds * 1_000_000 + attoseconds / 1_000_000_000_000)
    }
}
