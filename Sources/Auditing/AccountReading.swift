public import Ledger
public import LedgerSQLite
public import Projections

// What is read of one account for somebody who asks: each from one state of the ledger, from the events alone.

extension LedgerFile {
    /// An account as the events make it that count by an instant and were recorded by another, and when the last of them was recorded;
    /// nil where there is none of them.
    public func account(
        _ id: AccountID, at instant: Timestamp? = nil, knownAt: Timestamp? = nil
    ) throws -> (account: Account, latest: Timestamp)? {
        try snapshot { view in
            var folded = Account(id: id)
            var latest = Timestamp(microseconds: .min)
            try view.scan(account: id) { row, _ in
                if let knownAt, row.recordedAt > knownAt.microseconds { return false }
                if let instant, row.effectiveAt > instant.microseconds { return true }
                let event = try row.decoded()
                // What was imported counts from before the account was opened, and says nothing of what it had.
                if case .usageImported = event.event, !folded.isOpen { return true }
                folded.apply(event.event, effectiveAt: event.effectiveAt)
                latest = max(latest, event.recordedAt)
                return true
            }
            return folded.version > 0 ? (folded, latest) : nil
        }
    }

    /// An account's statement over a period, as far as was known at an instant; nil where there is no such account, or it was not open
    /// by the end of the period.
    public func statement(
        of account: AccountID, from: Timestamp, until: Timestamp, now: Timestamp, knownAt: Timestamp? = nil
    ) throws -> AccountStatement? {
        try snapshot { view in
            var builder = StatementBuilder(account: account, from: from, until: until)
            try view.scan(account: account) { row, _ in
                if let knownAt, row.recordedAt > knownAt.microseconds { return false }
                builder.add(try row.decoded())
                return true
            }
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
            try view.scan(account: settled.account) { row, hash in
                let event = try row.decoded()
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
