public import Ledger
public import LedgerSQLite

/// What became known between two instants about a third: why a report of yesterday is another today.
public struct KnowledgeDifference: Sendable {
    /// An account whose balance at the instant differs.
    public struct Change: Sendable {
        public let account: AccountID
        /// Nano-credits.
        public internal(set) var difference: Int128 = 0
        /// The events that were recorded in between and count by the instant, of them at most ``eventLimit``.
        public internal(set) var events: [RecordedEvent] = []
        public internal(set) var eventCount: Int64 = 0
    }

    /// How many events of an account are kept.
    public static let eventLimit = 20

    /// The instant that the reports are about.
    public let at: Timestamp
    public let knownFirst: Timestamp
    public let knownLater: Timestamp
    /// By account.
    public internal(set) var changes: [Change] = []

    /// Everything that was recorded after `first` and up to `later`, and counts by `at`; of one account, where one is named.
    public static func between(
        _ first: Timestamp, _ later: Timestamp, at: Timestamp, account: AccountID? = nil, in file: LedgerFile
    ) throws -> KnowledgeDifference {
        var changes: [AccountID: Change] = [:]
        try file.snapshot { view in
            let start = try view.firstPosition(recordedFrom: Timestamp(microseconds: first.microseconds &+ 1)) - 1
            try view.scan(account: account, after: start) { row, _ in
                guard row.recordedAt <= later.microseconds else { return false }
                guard row.effectiveAt <= at.microseconds, row.account.first != 0x24 else { return true }
                let event = try row.decoded()
                let amount = event.event.balanceChange
                guard amount != 0 else { return true }
                var change = changes[event.account] ?? Change(account: event.account)
                change.difference += amount
                change.eventCount += 1
                if change.events.count < eventLimit { change.events.append(event) }
                changes[event.account] = change
                return true
            }
        }
        var result = KnowledgeDifference(at: at, knownFirst: first, knownLater: later)
        result.changes = changes.values.sorted { $0.account.rawValue < $1.account.rawValue }
        return result
    }
}

extension LedgerEvent {
    /// What the event adds to its account's balance, in nano-credits.
    public var balanceChange: Int128 {
        switch self {
        case .creditsGranted(let event): Int128(event.amount.nanos)
        case .grantExpired(let event): -Int128(event.amount.nanos)
        case .requestCharged(let event): -Int128(event.credits.nanos)
        case .chargeReversed(let event): Int128(event.amount.nanos)
        case .creditsWithdrawn(let event): -Int128(event.amount.nanos)
        case .paymentRefunded(let event):
            -event.taken.reduce(Int128(event.debtAdded.nanos)) { $0 + Int128($1.amount.nanos) }
        default: 0
        }
    }
}
