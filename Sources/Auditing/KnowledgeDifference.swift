public import Ledger
public import LedgerSQLite

/// What became known between two instants about a third: why a report of yesterday is another today.
public struct KnowledgeDifference: Sendable {
    /// An account whose balance at the instant differs. The difference is what its parts come to.
    public struct Change: Sendable {
        public let account: AccountID
        /// Nano-credits.
        public internal(set) var difference: Int128 = 0
        /// The events that were recorded in between and count by the instant, of them at most ``eventLimit``.
        public internal(set) var events: [RecordedEvent] = []
        public internal(set) var eventCount: Int64 = 0
        /// What the events that are not kept come to, in nano-credits.
        public internal(set) var unlisted: Int128 = 0
        /// What became due in between and is not recorded.
        public internal(set) var pending: [Draft] = []
        /// What was told as due, and was not: something that was recorded since has changed it.
        public internal(set) var notDue: [Draft] = []
        /// What is left out (below zero) or counted again of expired grants that a request under way may still use, in nano-credits.
        public internal(set) var deferred: Int128 = 0
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
    /// What was due by `first` was told then, so that it was recorded later is no difference. A report that was made before `at` is about
    /// the instant at which it was made. nil where there is no such account.
    public static func between(
        _ first: Timestamp, _ later: Timestamp, at: Timestamp, account: AccountID? = nil, now: Timestamp,
        in file: LedgerFile
    ) throws -> KnowledgeDifference? {
        try file.snapshot { view in
            if let account, try view.event(of: account, version: 1) == nil { return nil }
            let now = try view.latest(now)
            var changes: [AccountID: Change] = [:]
            /// Accounts of which the sum of the events is not what differs: those in which something came due, and all where the two reports
            /// are about two instants.
            var unclear = Set(try view.accounts(dueBy: min(at, later), only: account))
            let start = try view.firstPosition(recordedFrom: Timestamp(microseconds: first.microseconds &+ 1)) - 1
            try view.scan(account: account, after: start) { row, _ in
                guard row.effectiveAt <= at.microseconds, row.account.first != 0x24 else { return true }
                let event = try row.decoded()
                let isKnown = row.recordedAt <= later.microseconds
                if at > first || (event.event.balanceChange != 0 && (!isKnown || event.event.comesDue)) {
                    unclear.insert(event.account)
                } else if isKnown, event.event.balanceChange != 0 {
                    changes[event.account, default: Change(account: event.account)].add(event)
                }
                return true
            }
            let plans = (try view.planBook(knownAt: first), try view.planBook(knownAt: later))
            for id in unclear {
                let before = try view.reading(of: id, at: at, knownAt: first, now: now, plans: plans.0)
                let after = try view.reading(of: id, at: at, knownAt: later, now: now, plans: plans.1)
                var change = Change(account: id)
                var told: [Draft] = []
                try view.scan(account: id, after: start) { row, _ in
                    guard row.recordedAt <= later.microseconds else { return false }
                    guard row.effectiveAt <= at.microseconds else { return true }
                    let event = try row.decoded()
                    if let draft = before?.pending.first(where: { $0.key == event.key && $0.event == event.event }) {
                        told.append(draft)
                    } else if before?.hasLeftOut(event) == true {
                        change.deferred += event.event.balanceChange
                    } else if event.event.balanceChange != 0 {
                        change.add(event)
                    }
                    return true
                }
                change.pending = (after?.pending ?? []).filter { draft in
                    draft.event.balanceChange != 0 && !(before?.pending.contains(draft) ?? false)
                }
                change.notDue = (before?.pending ?? []).filter { draft in
                    draft.event.balanceChange != 0 && !told.contains(draft)
                        && !(after?.pending.contains(draft) ?? false)
                }
                change.deferred += (before?.leftOut ?? 0) - (after?.leftOut ?? 0)
                change.difference =
                    Int128((after?.balance ?? .zero).nanos) - Int128((before?.balance ?? .zero).nanos)
                changes[id] = change.isNothing ? nil : change
            }
            var result = KnowledgeDifference(at: at, knownFirst: first, knownLater: later)
            result.changes = changes.values.sorted { $0.account.rawValue < $1.account.rawValue }
            return result
        }
    }
}

extension AccountReading {
    /// Whether an event is the expiry of what this left out already, since it waited for a request.
    fileprivate func hasLeftOut(_ event: RecordedEvent) -> Bool {
        guard case .grantExpired(let expiry) = event.event else { return false }
        return account.deferred(at: at)[expiry.grant] != nil
    }

    /// What it leaves out of expired grants, in nano-credits.
    fileprivate var leftOut: Int128 { account.deferred(at: at).values.reduce(0) { $0 + Int128($1.nanos) } }
}

extension KnowledgeDifference.Change {
    /// Adds an event that was not known.
    fileprivate mutating func add(_ event: RecordedEvent) {
        difference += event.event.balanceChange
        eventCount += 1
        if events.count < KnowledgeDifference.eventLimit {
            events.append(event)
        } else {
            unlisted += event.event.balanceChange
        }
    }

    fileprivate var isNothing: Bool {
        difference == 0 && eventCount == 0 && pending.isEmpty && notDue.isEmpty && deferred == 0
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
