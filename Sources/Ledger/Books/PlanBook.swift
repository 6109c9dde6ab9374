import WireJSON

/// The terms on which an account receives credits.
public struct Plan: Hashable, Sendable {
    public let name: String
    /// Micro-USD a cycle; 0: free.
    public let microUSD: Int64
    public let rate: CreditRate
    /// Granted once, when a person signs up.
    public let signupBonus: Credits
    /// Granted at each cycle of a paid plan.
    public let cycleCredits: Credits
    /// A free plan fills the balance up to this at each cycle.
    public let topUpTo: Credits
    public let cycleSeconds: Int64
    /// How long a missing payment is waited for before an account falls back to the free plan; 0: not at all.
    public let graceSeconds: Int64

    /// The plan to which accounts fall back, and on which they begin.
    public static let freeName = "FREE"

    /// Whether its cycles need a payment.
    public var isPaid: Bool { microUSD > 0 || cycleCredits > .zero }

    /// Terms with a name of 1 to 64 bytes, amounts that are not negative and a cycle of at least a minute, else nil.
    public init?(
        name: String, microUSD: Int64, rate: CreditRate = .standard, signupBonus: Credits = .zero,
        cycleCredits: Credits = .zero, topUpTo: Credits = .zero, cycleSeconds: Int64 = 2_592_000,
        graceSeconds: Int64 = 0
    ) {
        guard (1...64).contains(name.utf8.count), microUSD >= 0, signupBonus >= .zero, cycleCredits >= .zero,
            topUpTo >= .zero, cycleSeconds >= 60, graceSeconds >= 0
        else { return nil }
        self.name = name
        self.microUSD = microUSD
        self.rate = rate
        self.signupBonus = signupBonus
        self.cycleCredits = cycleCredits
        self.topUpTo = topUpTo
        self.cycleSeconds = cycleSeconds
        self.graceSeconds = graceSeconds
    }

    /// FREE: 20 credits at sign-up, filled up to 10 each 30 days. BASIC: $10 for 100 credits each 30 days, with 3 days of grace.
    public static let standard: [Plan] = [
        Plan(
            name: freeName, microUSD: 0, signupBonus: Credits(nanos: 20_000_000_000),
            topUpTo: Credits(nanos: 10_000_000_000)),
        Plan(
            name: "BASIC", microUSD: 10_000_000, cycleCredits: Credits(nanos: 100_000_000_000), graceSeconds: 259_200),
    ].compactMap(\.self)

    func encode(into json: inout JSONWriter) {
        json.field("plan", name)
        json.field("micro_usd", microUSD)
        json.field("micro_credits_per_usd", rate.microsPerUSD)
        json.field("signup_bonus", signupBonus.nanos)
        json.field("cycle_credits", cycleCredits.nanos)
        json.field("top_up_to", topUpTo.nanos)
        json.field("cycle_seconds", cycleSeconds)
        if graceSeconds > 0 { json.field("grace_seconds", graceSeconds) }
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        let plan = Plan(
            name: try json.string(field: "plan"), microUSD: try json.integer(field: "micro_usd"),
            rate: try json.rate(), signupBonus: try json.credits("signup_bonus"),
            cycleCredits: try json.credits("cycle_credits"), topUpTo: try json.credits("top_up_to"),
            cycleSeconds: try json.integer(field: "cycle_seconds"),
            graceSeconds: try json.optionalInteger(field: "grace_seconds") ?? 0)
        guard let plan else { throw JSONError(.unexpectedField, at: json.offset) }
        self = plan
    }
}

/// The plans on offer, and what they were before: the fold of the stream `$plans`.
public struct PlanBook: Hashable, Sendable {
    private struct Entry: Hashable, Sendable {
        let plan: Plan
        let from: Timestamp
    }

    /// Every set of terms of each plan, in the order in which they came to count.
    private var entries: [String: [Entry]] = [:]
    /// The terms in force.
    public private(set) var plans: [String: Plan] = [:]
    /// The version of the last event of the stream.
    public private(set) var version: Int64 = 0

    public init() {}

    /// Applies the next event of the stream.
    public mutating func apply(_ event: LedgerEvent, effectiveAt: Timestamp) {
        version += 1
        guard case .planSet(let event) = event else { return }
        plans[event.plan.name] = event.plan
        entries[event.plan.name, default: []].append(Entry(plan: event.plan, from: effectiveAt))
    }

    /// The terms that a plan had at an instant; its first ones where it did not exist then, nil where it never has.
    ///
    /// A boundary that is evaluated late has the terms that counted when it came.
    public func plan(_ name: String, at instant: Timestamp) -> Plan? {
        guard let entries = entries[name] else { return nil }
        return (entries.last { $0.from <= instant } ?? entries.first)?.plan
    }

    /// Sets a plan's terms; nothing where they are what they are.
    func set(_ command: SetPlan, at now: Timestamp) -> [Draft] {
        guard plans[command.plan.name] != command.plan else { return [] }
        let event = PlanSet(plan: command.plan)
        return [Draft(event: .planSet(event), key: command.key ?? "plan:\(version + 1)", effectiveAt: now)]
    }
}
