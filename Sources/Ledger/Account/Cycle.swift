/// The part of a plan's terms that holds for a cycle: what the plan says later counts from the next boundary.
public struct CycleTerms: Hashable, Sendable {
    public let plan: String
    /// Micro-USD a cycle; 0: free.
    public let microUSD: Int64
    public let rate: CreditRate
    /// What a paid cycle grants.
    public let cycleCredits: Credits
    /// What a free cycle fills the balance up to.
    public let topUpTo: Credits

    init(plan: String, microUSD: Int64, rate: CreditRate, cycleCredits: Credits, topUpTo: Credits) {
        self.plan = plan
        self.microUSD = microUSD
        self.rate = rate
        self.cycleCredits = cycleCredits
        self.topUpTo = topUpTo
    }

    init(_ plan: Plan) {
        self.init(
            plan: plan.name, microUSD: plan.microUSD, rate: plan.rate, cycleCredits: plan.cycleCredits,
            topUpTo: plan.topUpTo)
    }
}

/// A span of an account's time under one set of terms: half-open, `[from, until)`. Its end is the account's next boundary.
public struct Cycle: Hashable, Sendable {
    /// 0 for the one that the account was opened with.
    public let number: Int64
    public let from: Timestamp
    public let until: Timestamp
    public internal(set) var terms: CycleTerms
    /// What paid for it; nil: nothing.
    public internal(set) var payment: PaymentID?
    /// Whether it is the time in which a missing payment is still waited for.
    public let isGrace: Bool
    /// Whether its payment was given back.
    public internal(set) var isRefunded = false

    /// Whether it was paid for, and the payment was not given back.
    public var isPaid: Bool { payment != nil }
}

/// How a cycle came to begin.
public enum RenewalOutcome: String, Sendable, CaseIterable {
    /// At a boundary, on a free plan: the balance was filled up.
    case toppedUp = "topped_up"
    /// At a boundary, on a free plan: there was enough.
    case sufficient
    /// At a boundary, on a free plan: the account is blocked, and nothing is given to it.
    case withheld
    /// At a boundary: a payment that was waiting pays for it.
    case renewed
    /// At a boundary: nothing was paid, and the grace begins.
    case unpaid
    /// At a boundary: the account falls back to the free plan, and its balance was looked at as for any free cycle.
    case lapsed
    /// Between boundaries: a payment began it.
    case started
    /// A cycle that was paid for in the gateway that this one replaces.
    case imported
    /// The account was opened before there were cycles: this is its first.
    case adopted
}

/// A cycle begins.
public struct RenewalEvaluated: Hashable, Sendable {
    public let cycle: Int64
    public let from: Timestamp
    public let until: Timestamp
    public let terms: CycleTerms
    public let outcome: RenewalOutcome
    public let payment: PaymentID?
    /// What could be spent at ``from``, less debt: open holds ignored, and what expires there gone. It is what a free plan's rule looks at.
    public let balance: Credits
}

/// From the next boundary on the account shall be on another plan; or on the one that it is on, where something else had been wanted.
public struct PlanScheduled: Hashable, Sendable {
    public let plan: String
    /// The boundary.
    public let from: Timestamp
    public let actor: String
}
