public import Ledger

/// What a charged request adds to sums: a row of the usage log without what names it.
public struct UsageFigures: Hashable, Sendable {
    public let recordedAt: Timestamp
    /// `provider:model`.
    public let model: String
    public let promptTokens: Int64
    public let completionTokens: Int64
    public let costPicoUSD: Int128

    public init(
        recordedAt: Timestamp, model: String, promptTokens: Int64, completionTokens: Int64, costPicoUSD: Int128
    ) {
        self.recordedAt = recordedAt
        self.model = model
        self.promptTokens = promptTokens
        self.completionTokens = completionTokens
        self.costPicoUSD = costPicoUSD
    }
}

/// The sums of charged requests, exact: integers all of them. Sums saturate, which no number of real requests reaches.
public struct UsageSum: Hashable, Sendable {
    public private(set) var requests: Int64 = 0
    public private(set) var promptTokens: Int64 = 0
    public private(set) var completionTokens: Int64 = 0
    public private(set) var costPicoUSD: Int128 = 0

    public init() {}

    public var totalTokens: Int64 { UsageDay.sum(promptTokens, completionTokens) }

    /// Adds a request.
    public mutating func add(_ figures: UsageFigures) {
        requests = UsageDay.sum(requests, 1)
        promptTokens = UsageDay.sum(promptTokens, figures.promptTokens)
        completionTokens = UsageDay.sum(completionTokens, figures.completionTokens)
        costPicoUSD = UsageDay.sum(costPicoUSD, figures.costPicoUSD)
    }

    /// Adds another sum.
    public mutating func add(_ other: UsageSum) {
        requests = UsageDay.sum(requests, other.requests)
        promptTokens = UsageDay.sum(promptTokens, other.promptTokens)
        completionTokens = UsageDay.sum(completionTokens, other.completionTokens)
        costPicoUSD = UsageDay.sum(costPicoUSD, other.costPicoUSD)
    }
}

/// By what usage is summed.
public enum UsageGrouping: String, Sendable, CaseIterable {
    case day
    case week
    case month
    case model
    case total

    /// The periods by which it is summed, where it is by time.
    public var unit: UsageCalendar.Unit? {
        switch self {
        case .day: .day
        case .week: .week
        case .month: .month
        case .model, .total: nil
        }
    }
}

/// Usage, request by request, summed into buckets: pure, and in memory for the buckets alone.
///
/// Each request is in exactly one bucket, so the buckets' sums are together the total, exactly. It is the quicker the more requests of one
/// period come one after the other, and right in any order.
public struct UsageBuckets: Sendable {
    private let grouping: UsageGrouping
    private let calendar: UsageCalendar
    private var sums: [String: UsageSum] = [:]
    private var current: UsagePeriod?
    /// The sum over all requests.
    public private(set) var total = UsageSum()

    public init(_ grouping: UsageGrouping, calendar: UsageCalendar) {
        self.grouping = grouping
        self.calendar = calendar
        // A total is one bucket also where there is nothing.
        if grouping == .total { sums[UsageGrouping.total.rawValue] = UsageSum() }
    }

    /// The buckets that something is in, by time (or by the models' names): of a period its name, of a model `provider:model`, of a total
    /// `total`.
    public var buckets: [(period: String, sum: UsageSum)] {
        sums.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Adds a request.
    public mutating func add(_ figures: UsageFigures) {
        let bucket = name(of: figures)
        sums[bucket, default: UsageSum()].add(figures)
        total.add(figures)
    }

    private mutating func name(of figures: UsageFigures) -> String {
        guard let unit = grouping.unit else {
            return grouping == .model ? figures.model : UsageGrouping.total.rawValue
        }
        if let current, current.contains(figures.recordedAt) { return current.name }
        let period = calendar.period(unit, at: figures.recordedAt)
        current = period
        return period.name
    }
}
