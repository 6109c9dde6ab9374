public import Ledger

/// A settled request, or one that the old gateway served, as the usage log shows it.
public struct UsageRow: Hashable, Sendable {
    /// The position of the event that settled it; rows are in this order.
    public let position: Int64
    public let account: AccountID
    public let request: RequestID
    /// When it was settled; of an imported one, when the old gateway served it.
    public let recordedAt: Timestamp
    public let keyID: String?
    /// `provider:model`.
    public let model: String
    public let endpoint: String
    /// Whether it was charged; a request that was released is an error. Of an imported one, what the old gateway says.
    public let isSuccess: Bool
    /// How it ended: an ``Outcome`` or a ``ReleaseReason``; `imported` or a word for the error of one that was imported.
    public let detail: String
    public let promptTokens: Int64
    public let cachedTokens: Int64
    public let completionTokens: Int64
    public let isEstimated: Bool
    /// What it cost, in pico-USD, as far as that was charged: what is beyond the hold is the operator's.
    public let costPicoUSD: Int128
    public let credits: Credits
    /// What has been given back of the charge.
    public var reversed: Credits

    public init(
        position: Int64, account: AccountID, request: RequestID, recordedAt: Timestamp, keyID: String?, model: String,
        endpoint: String, isSuccess: Bool, detail: String, promptTokens: Int64, cachedTokens: Int64,
        completionTokens: Int64, isEstimated: Bool, costPicoUSD: Int128, credits: Credits, reversed: Credits
    ) {
        self.position = position
        self.account = account
        self.request = request
        self.recordedAt = recordedAt
        self.keyID = keyID
        self.model = model
        self.endpoint = endpoint
        self.isSuccess = isSuccess
        self.detail = detail
        self.promptTokens = promptTokens
        self.cachedTokens = cachedTokens
        self.completionTokens = completionTokens
        self.isEstimated = isEstimated
        self.costPicoUSD = costPicoUSD
        self.credits = credits
        self.reversed = reversed
    }

    /// The row that an event leads to; nil for events that are about no request's end.
    public init?(_ recorded: RecordedEvent) {
        switch recorded.event {
        case .requestCharged(let event):
            // Each is handed out as a whole.
            let (origin, report) = (event.origin, event.report)
            self.init(
                position: recorded.position, account: recorded.account, request: event.request,
                recordedAt: recorded.recordedAt, keyID: origin.keyID, model: origin.model,
                endpoint: origin.endpoint, isSuccess: true, detail: event.outcome.rawValue,
                promptTokens: report.usage.prompt, cachedTokens: report.usage.cached,
                completionTokens: report.usage.completion, isEstimated: report.isEstimated,
                costPicoUSD: event.chargedPicoUSD, credits: event.credits, reversed: .zero)
        case .holdReleased(let event):
            self.init(
                position: recorded.position, account: recorded.account, request: event.request,
                recordedAt: recorded.recordedAt, keyID: event.origin.keyID, model: event.origin.model,
                endpoint: event.origin.endpoint, isSuccess: false, detail: event.reason.rawValue, promptTokens: 0,
                cachedTokens: 0, completionTokens: 0, isEstimated: false, costPicoUSD: 0, credits: .zero,
                reversed: .zero)
        case .usageImported(let event):
            // It cost what it cost in the old gateway; here it was charged nothing.
            self.init(
                position: recorded.position, account: recorded.account, request: event.request,
                recordedAt: recorded.effectiveAt, keyID: event.origin.keyID, model: event.origin.model,
                endpoint: event.origin.endpoint, isSuccess: event.status == .success,
                detail: event.error ?? "imported", promptTokens: event.promptTokens,
                cachedTokens: event.cachedTokens, completionTokens: event.completionTokens, isEstimated: false,
                costPicoUSD: event.costPicoUSD, credits: .zero, reversed: .zero)
        default: return nil
        }
    }
}

/// The sums of an account's requests to one model on one UTC day.
public struct UsageDay: Hashable, Sendable {
    public struct Key: Hashable, Sendable {
        public let account: AccountID
        /// UTC days since 1970-01-01.
        public let day: Int64
        public let model: String

        public init(account: AccountID, day: Int64, model: String) {
            self.account = account
            self.day = day
            self.model = model
        }
    }

    /// Requests that were charged.
    public var requests: Int64 = 0
    /// Requests that were released.
    public var errors: Int64 = 0
    public var promptTokens: Int64 = 0
    public var cachedTokens: Int64 = 0
    public var completionTokens: Int64 = 0
    public var costPicoUSD: Int128 = 0
    public var credits: Int64 = 0

    public init() {}

    public init(
        requests: Int64, errors: Int64, promptTokens: Int64, cachedTokens: Int64, completionTokens: Int64,
        costPicoUSD: Int128, credits: Int64
    ) {
        self.requests = requests
        self.errors = errors
        self.promptTokens = promptTokens
        self.cachedTokens = cachedTokens
        self.completionTokens = completionTokens
        self.costPicoUSD = costPicoUSD
        self.credits = credits
    }

    /// Adds a request. Sums saturate: a day cannot hold that many tokens.
    public mutating func add(_ row: UsageRow) {
        if row.isSuccess { requests = Self.sum(requests, 1) } else { errors = Self.sum(errors, 1) }
        promptTokens = Self.sum(promptTokens, row.promptTokens)
        cachedTokens = Self.sum(cachedTokens, row.cachedTokens)
        completionTokens = Self.sum(completionTokens, row.completionTokens)
        credits = Self.sum(credits, row.credits.nanos)
        costPicoUSD = Self.sum(costPicoUSD, row.costPicoUSD)
    }

    /// Adds the sums of another part of the same day.
    public mutating func add(_ other: UsageDay) {
        requests = Self.sum(requests, other.requests)
        errors = Self.sum(errors, other.errors)
        promptTokens = Self.sum(promptTokens, other.promptTokens)
        cachedTokens = Self.sum(cachedTokens, other.cachedTokens)
        completionTokens = Self.sum(completionTokens, other.completionTokens)
        credits = Self.sum(credits, other.credits)
        costPicoUSD = Self.sum(costPicoUSD, other.costPicoUSD)
    }

    /// The sum, or the largest number where it does not fit.
    static func sum<Number: FixedWidthInteger>(_ left: Number, _ right: Number) -> Number {
        let (sum, overflow) = left.addingReportingOverflow(right)
        return overflow ? .max : sum
    }
}

/// What a run of events changes in the usage read models.
public struct UsageChanges: Sendable {
    /// New rows of the log, by position.
    public private(set) var rows: [UsageRow] = []
    /// What is to be added to the sums of days.
    public private(set) var days: [UsageDay.Key: UsageDay] = [:]
    /// What is to be added to the reversed part of charges.
    public private(set) var reversed: [(request: RequestID, amount: Credits)] = []

    public init(_ events: some Sequence<RecordedEvent>) {
        for event in events {
            if let row = UsageRow(event) {
                rows.append(row)
                days[
                    UsageDay.Key(account: row.account, day: row.recordedAt.utcDay, model: row.model),
                    default: UsageDay()
                ].add(row)
            } else if case .chargeReversed(let reversal) = event.event {
                reversed.append((reversal.request, reversal.amount))
            }
        }
    }
}

/// Where the usage read models are kept.
public protocol UsageStore: Sendable {
    /// The position up to which events are applied.
    func usageCheckpoint() throws -> Int64
    /// Applies changes and moves the checkpoint, in one transaction; nothing where the checkpoint is not `from`.
    func apply(_ changes: UsageChanges, from: Int64, through position: Int64) throws
}

/// Keeps the usage read models up with the ledger.
///
/// It reads events from the checkpoint on and applies them in order, each exactly once: the checkpoint moves in the transaction that
/// applies them, so a crash at any moment loses and repeats nothing.
public struct UsageFollower: Sendable {
    private let events: any EventStore
    private let usage: any UsageStore
    private let batchSize: Int

    public init(events: any EventStore, usage: any UsageStore, batchSize: Int = 2000) {
        self.events = events
        self.usage = usage
        self.batchSize = batchSize
    }

    /// Applies the next batch of events; gives how many there were. Blocks while it reads and writes.
    public func step() throws -> Int {
        let checkpoint = try usage.usageCheckpoint()
        let batch = try events.events(after: checkpoint, limit: batchSize)
        guard let last = batch.last else { return 0 }
        try usage.apply(UsageChanges(batch), from: checkpoint, through: last.position)
        return batch.count
    }

    /// How many events the read models are behind.
    public func lag() throws -> Int64 {
        let checkpoint = try usage.usageCheckpoint()
        return max(0, try events.head().position - checkpoint)
    }
}
