/// Whose requests a limit bounds: all of an account's, or those of one of its keys.
public enum LimitScope: Hashable, Comparable, Sendable {
    case account
    case key(String)

    /// The key's id; nil for the account.
    public var keyID: String? {
        if case .key(let id) = self { id } else { nil }
    }

    init(keyID: String?) {
        self = keyID.map { .key($0) } ?? .account
    }

    public static func < (left: LimitScope, right: LimitScope) -> Bool {
        (left.keyID ?? "").utf8.lexicographicallyPrecedes((right.keyID ?? "").utf8)
    }
}

/// A span of time over which spending is counted.
public enum LimitWindow: String, Hashable, Sendable, CaseIterable {
    /// A calendar day, in the zone that the configuration states.
    case day
    /// A calendar month, in that zone.
    case month
    /// Since the limit was first set.
    case total
    /// A budget's rolling period, since it was attached.
    case budget
}

/// What may be spent, how fast, and on which models. What is nil is not bounded.
public struct UseLimits: Hashable, Sendable {
    /// Credits.
    public var perDay: Credits?
    public var perMonth: Credits?
    public var total: Credits?
    /// Requests admitted in the last 60 seconds.
    public var requestsPerMinute: Int64?
    /// Tokens of the requests of the last 60 seconds: as bounded while they are under way, and then as charged.
    public var tokensPerMinute: Int64?
    /// `provider:model`, or `provider:*`; every other model is refused.
    public var models: [String]?

    public init(
        perDay: Credits? = nil, perMonth: Credits? = nil, total: Credits? = nil, requestsPerMinute: Int64? = nil,
        tokensPerMinute: Int64? = nil, models: [String]? = nil
    ) {
        self.perDay = perDay
        self.perMonth = perMonth
        self.total = total
        self.requestsPerMinute = requestsPerMinute
        self.tokensPerMinute = tokensPerMinute
        self.models = models
    }

    public static let none = UseLimits()

    /// The most that a minute may hold: what is counted of a minute is kept in memory.
    public static let maximumPerMinute: Int64 = 100_000
    static let maximumModels = 200

    /// Whether all figures are within what can be counted.
    var isValid: Bool {
        for credits in [perDay, perMonth, total] { if let credits, credits < .zero { return false } }
        if let requestsPerMinute, !(0...Self.maximumPerMinute).contains(requestsPerMinute) { return false }
        if let tokensPerMinute, tokensPerMinute < 0 { return false }
        guard let models else { return true }
        return models.count <= Self.maximumModels && models.allSatisfy { (1...300).contains($0.utf8.count) }
    }

    /// Whether a model may be used.
    func allows(model: String) -> Bool {
        guard let models else { return true }
        return models.contains { pattern in
            pattern == model || (pattern.hasSuffix(":*") && model.hasPrefix(pattern.dropLast()))
        }
    }

    /// Whether what is spent has to be counted.
    var capsSpending: Bool { perDay != nil || perMonth != nil || total != nil }
    /// Whether what comes in a minute has to be counted.
    public var capsRate: Bool { requestsPerMinute != nil || tokensPerMinute != nil }
}

/// What an account may spend in a rolling period: the old gateway's budget.
public struct BudgetCap: Hashable, Sendable {
    /// The budget's own id.
    public let id: String
    /// Micro-USD; nil: no bound.
    public let microUSD: Int64?
    /// nil: for ever.
    public let seconds: Int64?

    public init(id: String, microUSD: Int64?, seconds: Int64?) {
        self.id = id
        self.microUSD = microUSD
        self.seconds = seconds
    }
}

/// Replaces an account's or a key's limits.
public struct SetLimits: Hashable, Sendable {
    public let scope: LimitScope
    public let limits: UseLimits
    public let actor: String

    public init(scope: LimitScope, limits: UseLimits, actor: String) {
        self.scope = scope
        self.limits = limits
        self.actor = actor
    }
}

/// Attaches a budget to an account, or takes it away.
public struct SetBudget: Hashable, Sendable {
    public let budget: BudgetCap?
    public let actor: String

    public init(budget: BudgetCap?, actor: String) {
        self.budget = budget
        self.actor = actor
    }
}

public struct LimitsSet: Hashable, Sendable {
    public let scope: LimitScope
    public let limits: UseLimits
    public let actor: String
}

public struct BudgetSet: Hashable, Sendable {
    public let budget: BudgetCap?
    public let actor: String
}

/// The calendar's windows at an instant: when the day and the month began, and when the next ones do.
public struct CalendarWindows: Hashable, Sendable {
    public let day: Timestamp
    public let dayEnd: Timestamp
    public let month: Timestamp
    public let monthEnd: Timestamp

    public init(day: Timestamp, dayEnd: Timestamp, month: Timestamp, monthEnd: Timestamp) {
        self.day = day
        self.dayEnd = dayEnd
        self.month = month
        self.monthEnd = monthEnd
    }

    /// Of UTC.
    public static func utc(at instant: Timestamp) -> CalendarWindows {
        let day = Timestamp(microseconds: instant.utcDay.multipliedReportingOverflow(by: 86_400_000_000).partialValue)
        let text = Timestamp.text(day: instant.utcDay)
        let first = Timestamp(iso8601: text.prefix(8) + "01") ?? day
        // The month behind begins with the first day that is called a first.
        var next = first.advanced(bySeconds: 28 * 86_400)
        while !Timestamp.text(day: next.utcDay).hasSuffix("-01"), next > first {
            next = next.advanced(bySeconds: 86_400)
        }
        return CalendarWindows(day: day, dayEnd: day.advanced(bySeconds: 86_400), month: first, monthEnd: next)
    }
}

/// What has been spent in a window, and what requests under way may spend.
public struct SpendingCounter: Hashable, Sendable {
    /// When the window began.
    public internal(set) var from: Timestamp
    public internal(set) var spent = Credits.zero
    public internal(set) var held = Credits.zero

    init(from: Timestamp, spent: Credits = .zero, held: Credits = .zero) {
        self.from = from
        self.spent = spent
        self.held = held
    }
}

/// A scope's limits, and what has been spent under them.
public struct SpendingState: Hashable, Sendable {
    public internal(set) var limits: UseLimits = .none
    /// Of the account only.
    public internal(set) var budget: BudgetCap?
    public internal(set) var counters: [LimitWindow: SpendingCounter] = [:]
    /// When the budget was attached: its periods are counted from there.
    public internal(set) var budgetFrom: Timestamp?

    init() {}

    /// Whether nothing is bounded any more.
    var isEmpty: Bool { limits == .none && budget == nil }

    /// Whether holds have to be counted.
    var counts: Bool { limits.capsSpending || budget?.microUSD != nil }

    /// What may be spent in a window; nil: anything. A budget's dollars are credits at the account's rate.
    public func cap(_ window: LimitWindow, rate: CreditRate) -> Credits? {
        switch window {
        case .day: limits.perDay
        case .month: limits.perMonth
        case .total: limits.total
        case .budget:
            budget?.microUSD.map { microUSD in
                Credits(clamping: Int128(max(0, microUSD)) * Int128(rate.microsPerUSD) / 1000)
            }
        }
    }

    /// When the window of an instant began.
    func start(of window: LimitWindow, day: Timestamp, month: Timestamp, at instant: Timestamp) -> Timestamp {
        switch window {
        case .day: return day
        case .month: return month
        case .total: return counters[.total]?.from ?? instant
        case .budget:
            guard let from = budgetFrom else { return instant }
            guard let seconds = budget?.seconds, seconds > 0, instant > from else { return from }
            let (length, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
            let (age, isOld) = instant.microseconds.subtractingReportingOverflow(from.microseconds)
            guard !overflow, !isOld else { return from }
            return Timestamp(microseconds: instant.microseconds - age % length)
        }
    }

    /// When a window that began then ends; nil: never.
    func end(of window: LimitWindow, from: Timestamp, _ windows: CalendarWindows) -> Timestamp? {
        switch window {
        case .day: windows.dayEnd
        case .month: windows.monthEnd
        case .total: nil
        case .budget: budget?.seconds.map { from.advanced(bySeconds: $0) }
        }
    }

    /// What counts in a window at an instant: its bounds (nil: it never ends), what was spent, and what requests under way may spend.
    public func use(
        of window: LimitWindow, _ windows: CalendarWindows, at instant: Timestamp
    ) -> (from: Timestamp, until: Timestamp?, spent: Credits, held: Credits) {
        let from = start(of: window, day: windows.day, month: windows.month, at: instant)
        let until = end(of: window, from: from, windows)
        guard let counter = counters[window], counter.from >= from else { return (from, until, .zero, .zero) }
        return (counter.from, until, counter.spent, counter.held)
    }

    // MARK: Fold

    /// Counts a hold in the windows of its instant.
    mutating func hold(_ amount: Credits, day: Timestamp, month: Timestamp, at instant: Timestamp) {
        for window in LimitWindow.allCases where window != .budget || budget != nil {
            let from = start(of: window, day: day, month: month, at: instant)
            var counter = counters[window] ?? SpendingCounter(from: from)
            if from > counter.from { counter = SpendingCounter(from: from) }
            counter.held = Credits(clamping: Int128(counter.held.nanos) + Int128(amount.nanos))
            counters[window] = counter
        }
    }

    /// Counts what a hold came to, in the windows in which it was placed: those that have begun since know nothing of it.
    mutating func settle(_ amount: Credits, charged: Credits, day: Timestamp, month: Timestamp, at instant: Timestamp) {
        for (window, counter) in counters {
            let from = start(of: window, day: day, month: month, at: instant)
            guard from >= counter.from else { continue }
            counters[window]?.held = Credits(
                clamping: max(0, Int128(counter.held.nanos) - Int128(amount.nanos)))
            counters[window]?.spent = Credits(clamping: Int128(counter.spent.nanos) + Int128(charged.nanos))
        }
    }
}

/// What came in the last 60 seconds, as the writer remembers it.
public struct RecentUse: Hashable, Sendable {
    /// When each request was admitted, and its tokens; the oldest first.
    public var requests: [(at: Timestamp, tokens: Int64)]

    public init(_ requests: [(at: Timestamp, tokens: Int64)] = []) {
        self.requests = requests
    }

    public static func == (left: RecentUse, right: RecentUse) -> Bool {
        left.requests.elementsEqual(right.requests) { $0 == $1 }
    }

    public func hash(into hasher: inout Hasher) {
        for request in requests {
            hasher.combine(request.at)
            hasher.combine(request.tokens)
        }
    }
}

/// The figures behind a refusal for a limit.
public struct LimitReached: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case spending(LimitWindow)
        case requestsPerMinute
        case tokensPerMinute
    }

    public let scope: LimitScope
    public let kind: Kind
    /// Nano-credits of spending, requests or tokens.
    public let limit: Int64
    public let used: Int64
    public let needed: Int64
    /// When it would fit, if nothing else comes; nil: never.
    public let retryAt: Timestamp?
    /// The output tokens for each choice with which it would fit now; 0: none.
    public let fittingOutput: Int64
}
