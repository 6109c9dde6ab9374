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
        /// What became due in between and is not recorded.
        public internal(set) var pending: [Draft] = []
    }

    /// How many events of an account are kept.
    public static let eventLimit = 20

    /// The instant that the reports are about.
    public let at: Timestamp
    public let knownFirst: Timestamp
    public let knownLater: Timestamp
    /// By account.
    public internal(set) var changes: [Change] = []

    /// What differs between an account's reading at `at` as it was known at `first`, and as at `later`; of one account, where one is named.
    ///
    /// What was due by `first` was told then, so that it was recorded later is no difference. nil where there is no such account.
    public static func between(
        _ first: Timestamp, _ later: Timestamp, at: Timestamp, account: AccountID? = nil, now: Timestamp,
        in file: LedgerFile
    ) throws -> KnowledgeDifference? {
        try file.snapshot { view in
            if let account, try view.event(of: account, version: 1) == nil { return nil }
            let now = try view.latest(now)
            var changes: [AccountID: Change] = [:]
            /// Accounts in which something came due: the sum of the events is not what differs.
            var unclear = Set(try view.accounts(dueBy: min(at, later), only: account))
            let start = try view.firstPosition(recordedFrom: Timestamp(microseconds: first.microseconds &+ 1)) - 1
            try view.scan(account: account, after: start) { row, _ in
                guard row.effectiveAt <= at.microseconds, row.account.first != 0x24 else { return true }
                let event = try row.decoded()
                let amount = event.event.balanceChange
                guard amount != 0 else { return true }
                let isKnown = row.recordedAt <= later.microseconds
                if !isKnown || event.event.comesDue { unclear.insert(event.account) }
                if isKnown { changes[event.account, default: Change(account: event.account)].add(event) }
                return true
            }
            let plans = (try view.planBook(knownAt: first), try view.planBook(knownAt: later))
            for id in unclear {
                let before = try view.reading(of: id, at: at, knownAt: first, now: now, plans: plans.0)
                let after = try view.reading(of: id, at: at, knownAt: later, now: now, plans: plans.1)
                var change = Change(account: id)
                try view.scan(account: id, after: start) { row, _ in
                    guard row.recordedAt <= later.microseconds else { return false }
                    guard row.effectiveAt <= at.microseconds else { return true }
                    let event = try row.decoded()
                    if event.event.balanceChange != 0, before?.hasTold(event) != true { change.add(event) }
                    return true
                }
                change.pending = (after?.pending ?? []).filter { draft in
                    draft.event.balanceChange != 0 && !(before?.pending.contains(draft) ?? false)
                }
                change.difference =
                    Int128((after?.balance ?? .zero).nanos) - Int128((before?.balance ?? .zero).nanos)
                let isSame = change.difference == 0 && change.eventCount == 0 && change.pending.isEmpty
                changes[id] = isSame ? nil : change
            }
            var result = KnowledgeDifference(at: at, knownFirst: first, knownLater: later)
            result.changes = changes.values.sorted { $0.account.rawValue < $1.account.rawValue }
            return result
        }
    }
}

extension AccountReading {
    /// Whether an event that was recorded later was in this already: as due, or as an expiry that waited for a request.
    fileprivate func hasTold(_ event: RecordedEvent) -> Bool {
        if pending.contains(where: { $0.key == event.key && $0.event == event.event }) { return true }
        guard case .grantExpired(let expiry) = event.event else { return false }
        return account.deferred(at: at)[expiry.grant] != nil
    }
}

extension KnowledgeDifference.Change {
    /// Adds an event that was not known.
    fileprivate mutating func add(_ event: RecordedEvent) {
        difference += event.event.balanceChange
        eventCount += 1
        if events.count < KnowledgeDifference.eventLimit { events.append(event) }
    }
}

extension LedgerEvent {
    /// Whether it is recorded because its time has come.
    fileprivate var comesDue: Bool {
        switch self {
        case .grantExpired: true
        case .creditsGranted(let event): event.source == .monthlyFree || event.source == .subscription
        default: false
        }
    }

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
