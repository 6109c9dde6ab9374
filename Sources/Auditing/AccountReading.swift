public import Ledger
public import LedgerSQLite
public import Projections

// What is read of one account for somebody who asks: each from one state of the ledger, from the events alone.

/// An account at an instant, as it was known at another: balances, statements and differences are all made of this one notion.
///
/// It is made of the events that count by the instant and were recorded by the other. What was due by then and is not recorded is applied,
/// as the next touch of the account will record it; what has expired and waits for a request under way is no part of the balance.
public struct AccountReading: Sendable {
    /// With what is due.
    public let account: Account
    /// The version of the last event that was read: what is due is behind it.
    public let version: Int64
    /// The instant that it is about: the one that was asked for, but none behind the one at which it was known. What is to come then, nobody
    /// can say who only knows what was.
    public let at: Timestamp
    /// What is due and not recorded.
    public let pending: [Draft]

    public var balance: Credits { account.balance(at: at) }
}

extension LedgerView {
    /// Reads an account; nil where there is no event of it. Without `at` it is about `knownAt`, or now.
    public func reading(
        of id: AccountID, at instant: Timestamp? = nil, knownAt: Timestamp? = nil, now: Timestamp, plans: PlanBook
    ) throws -> AccountReading? {
        var folded = Account(id: id)
        var latest = Timestamp(microseconds: .min)
        try events(of: id) { event, _ in
            if let knownAt, event.recordedAt > knownAt { return false }
            if let instant, event.effectiveAt > instant { return true }
            // What was imported counts from before the account was opened, and says nothing of what it had.
            if case .usageImported = event.event, !folded.isOpen { return true }
            folded.apply(event.event, effectiveAt: event.effectiveAt)
            latest = max(latest, event.recordedAt)
            return true
        }
        guard folded.version > 0 else { return nil }
        let known = max(min(now, knownAt ?? now), latest)
        let version = folded.version
        let at = min(instant ?? known, known)
        let pending = folded.due(at: at, plans: plans)
        for draft in pending { folded.apply(draft.event, effectiveAt: draft.effectiveAt) }
        return AccountReading(account: folded, version: version, at: at, pending: pending)
    }
}

extension LedgerFile {
    /// Reads an account from one state of the ledger; see ``LedgerView/reading(of:at:knownAt:now:plans:)``.
    public func reading(
        of id: AccountID, at instant: Timestamp? = nil, knownAt: Timestamp? = nil, now: Timestamp
    ) throws -> AccountReading? {
        try snapshot { view in
            try view.reading(
                of: id, at: instant, knownAt: knownAt, now: try view.latest(now),
                plans: try view.planBook(knownAt: knownAt))
        }
    }

    /// An account's statement over a period, as far as was known at an instant; nil where there is no such account, or it was not open
    /// by the end of the period.
    public func statement(
        of account: AccountID, from: Timestamp, until: Timestamp, now: Timestamp, knownAt: Timestamp? = nil
    ) throws -> AccountStatement? {
        try snapshot { view in
            var builder = StatementBuilder(account: account, from: from, until: until)
            try view.events(of: account) { event, _ in
                if let knownAt, event.recordedAt > knownAt { return false }
                builder.add(event)
                return true
            }
            let now = try view.latest(now)
            return builder.finish(now: min(now, knownAt ?? now), plans: try view.planBook(knownAt: knownAt))
        }
    }

    /// Why a request was charged what it was; nil where there is no charge of that request.
    public func explanation(of request: RequestID) throws -> ChargeExplanation? {
        try snapshot { view in
            guard let settled = view.settlement(of: request), case .requestCharged(let charge) = settled.event else {
                return nil
            }
            var before: Account? = Account(id: settled.account)
            var reversals: [ChargeReversed] = []
            var evidence: [ChargeExplanation.Evidence] = []
            let price = try view.price(charge.priced.version, &evidence)
            let payers = Set(charge.allocations.map(\.grant))
            var folded = Account(id: settled.account)
            try view.events(of: settled.account) { event, hash in
                var role: String?
                switch event.event {
                case .holdPlaced(let hold) where hold.request == request: role = "hold"
                case .requestCharged(let charge) where charge.request == request:
                    role = "charge"
                    before = folded
                case .creditsGranted where payers.contains(event.version): role = "grant"
                case .chargeReversed(let reversal) where reversal.request == request:
                    role = "reversal"
                    reversals.append(reversal)
                default: break
                }
                if let role, let hash = EventHash(bytes: hash) {
                    evidence.append(ChargeExplanation.Evidence(role: role, event: event, hash: hash))
                }
                if event.version < settled.version { folded.apply(event.event, effectiveAt: event.effectiveAt) }
                // Behind the charge only reversals matter.
                return true
            }
            guard let before else { return nil }
            return ChargeExplanation(
                charge, at: settled.recordedAt, account: before, price: price, reversals: reversals,
                evidence: evidence)
        }
    }
}

extension LedgerView {
    /// The event of the price book of a version, which is added to the evidence; nil for version 0, which is no price.
    fileprivate func price(_ version: Int64, _ evidence: inout [ChargeExplanation.Evidence]) throws -> PriceSet? {
        guard version > 0, let event = try event(of: .prices, version: version),
            case .priceSet(let price) = event.event, let hash = try hash(at: event.position)
        else { return nil }
        evidence.append(ChargeExplanation.Evidence(role: "price", event: event, hash: hash))
        return price
    }

    /// Now, or the instant of the last event: the ledger's clock may be ahead of this one.
    func latest(_ now: Timestamp) throws -> Timestamp {
        guard let last = try event(at: try head().position)?.event.recordedAt else { return now }
        return max(now, last)
    }

    /// The plans, as far as they were known at an instant.
    public func planBook(knownAt: Timestamp? = nil) throws -> PlanBook {
        var plans = PlanBook()
        for event in try bookEvents() where event.account == .plans {
            if let knownAt, event.recordedAt > knownAt { break }
            plans.apply(event.event, effectiveAt: event.effectiveAt)
        }
        return plans
    }
}
