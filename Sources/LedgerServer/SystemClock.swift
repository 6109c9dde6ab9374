import Foundation
import Ledger

/// The machine's clock: the only place where the server reads the time of day.
enum SystemClock {
    /// Now, to the microsecond: 64-bit floating point seconds hold as much until the year 2255.
    static func now() -> Timestamp {
        Timestamp(microseconds: Int64(Date().timeIntervalSince1970 * 1_000_000))
    }
}
