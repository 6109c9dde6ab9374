public import Ledger

/// Why a request was charged what it was: the usage, the price, the arithmetic, who paid and in which order.
public struct ChargeExplanation: Sendable {
    /// An event that it rests on.
    public struct Evidence: Hashable, Sendable {
        /// What it is to the charge: `price`, `grant`, `hold`, `charge`, `reversal`.
        public let role: String
        public let event: RecordedEvent
        public let hash: EventHash

        public init(role: String, event: RecordedEvent, hash: EventHash) {
            self.role = role
            self.event = event
            self.hash = hash
        }
    }

    /// A grant that could have paid, in the order in which grants do.
    public struct Share: Hashable, Sendable {
        public let grant: Grant
        public let before: Credits
        public let paid: Credits

        public var after: Credits { before.subtracting(paid) ?? .zero }
    }

    public let account: AccountID
    public let charge: RequestCharged
    public let chargedAt: Timestamp
    public let hold: Hold
    /// The price of the request; nil: the model was given away without one.
    public let price: PriceSet?
    /// What the cost is the sum of.
    public let lines: [CostLine]
    public let shares: [Share]
    public let balanceBefore: Credits
    public let reversals: [ChargeReversed]
    public let evidence: [Evidence]

    /// `before` is the account as it was right before the charge. nil where it had no hold of the request, which no sound ledger has.
    public init?(
        _ charge: RequestCharged, at chargedAt: Timestamp, account before: Account, price: PriceSet?,
        reversals: [ChargeReversed], evidence: [Evidence]
    ) {
        guard let hold = before.holds[charge.request] else { return nil }
        account = before.id
        self.charge = charge
        self.chargedAt = chargedAt
        self.hold = hold
        self.price = price
        lines = charge.priced.price.lines(of: charge.report.usage)
        shares = before.openGrants.filter { !$0.hasExpired(at: hold.placedAt) }.map { grant in
            let paid = charge.allocations.first { $0.grant == grant.id }?.amount ?? .zero
            return Share(grant: grant, before: grant.remaining, paid: paid)
        }
        balanceBefore = before.balance
        self.reversals = reversals
        self.evidence = evidence
    }

    /// The credits before the one rounding, in 10⁻¹⁸ of a credit.
    public var exactCredits: Int128 { charge.rate.exactCredits(forPicoUSD: charge.costPicoUSD) }

    /// What the rounding added, in 10⁻¹⁸ of a credit: less than a nano-credit.
    public var rounding: Int128 {
        (Int128(charge.credits.nanos) + Int128((charge.excess ?? .zero).nanos)) * 1_000_000_000 - exactCredits
    }

    /// Whether each figure of the event is what the usage, the price and the account lead to, and the price is the one of the price list.
    public var isConsistent: Bool {
        let cost = lines.reduce(0) { $0 + $1.picoUSD }
        let paid = shares.reduce(Int128(0)) { $0 + Int128($1.paid.nanos) }
        let allocated = charge.allocations.reduce(Int128(0)) { $0 + Int128($1.amount.nanos) }
        return cost == charge.costPicoUSD && (0..<1_000_000_000).contains(rounding)
            && paid == allocated && paid + Int128(charge.shortfall.nanos) == Int128(charge.credits.nanos)
            && shares.allSatisfy { $0.paid >= .zero && $0.paid <= $0.before }
            && Int128(balanceBefore.nanos) - Int128(charge.credits.nanos) == Int128(charge.balance.nanos)
            && (price?.price ?? .free) == charge.priced.price && (price == nil) == (charge.priced.version == 0)
            && hold.placed.priced == charge.priced && hold.placed.rate == charge.rate
            && (charge.excess == nil || charge.credits <= hold.placed.amount)
            && ((charge.excess ?? .zero) == .zero || charge.credits == hold.placed.amount)
    }
}
