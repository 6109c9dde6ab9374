/// Where granted credits lie. Charges burn the pools in the order of their priority.
public enum Pool: String, Sendable, CaseIterable {
    case bonus = "BONUS"
    case subscription = "SUBSCRIPTION"
    case topup = "TOPUP"

    /// 1 burns first.
    public var priority: Int {
        switch self {
        case .bonus: 1
        case .subscription: 2
        case .topup: 3
        }
    }
}

/// Why credits were granted.
public enum GrantSource: String, Sendable, CaseIterable {
    case signupBonus = "SIGNUP_BONUS"
    case monthlyFree = "MONTHLY_FREE"
    case subscription = "SUBSCRIPTION"
    case purchase = "PURCHASE"
    case adjustment = "ADJUSTMENT"
    case refund = "REFUND"
    /// What somebody had in the gateway that this one replaces.
    case openingBalance = "OPENING_BALANCE"
}

/// Names a grant: the version of its event in the account's stream (positions are in the same order).
public typealias GrantID = Int64

/// A part of an amount that one grant bears.
public struct Allocation: Hashable, Sendable {
    public let grant: GrantID
    public let amount: Credits

    public init(grant: GrantID, amount: Credits) {
        self.grant = grant
        self.amount = amount
    }
}

/// The price that a request was admitted at, and where the price book has it.
public struct PriceInForce: Hashable, Sendable {
    /// The version of the `price_set` event in the stream `$prices`; 0 for a model that the operator gives away unpriced.
    public let version: Int64
    public let price: Price

    public init(version: Int64, price: Price) {
        self.version = version
        self.price = price
    }
}

/// What a request is and where it came from; it contains nothing that identifies a person.
public struct RequestOrigin: Hashable, Sendable {
    /// The model asked for, which is the model that prices it: `provider:model`.
    public let model: String
    /// The id of the key that authenticated it; nil for the master key.
    public let keyID: String?
    /// The route: `/v1/chat/completions`.
    public let endpoint: String

    public init(model: String, keyID: String?, endpoint: String) {
        self.model = model
        self.keyID = keyID
        self.endpoint = endpoint
    }
}

public struct AccountOpened: Hashable, Sendable {
    public let plan: String
    public let rate: CreditRate
    /// The first cycle; nil in accounts that were opened before there were cycles (`account_opened.v1`).
    public let first: FirstCycle?

    public struct FirstCycle: Hashable, Sendable {
        public let terms: CycleTerms
        public let seconds: Int64
    }
}

/// The account is on another plan within its cycle.
public struct PlanChanged: Hashable, Sendable {
    public let plan: String
    public let rate: CreditRate
    /// The terms that the rest of the cycle has; nil where an older version changed the name and the rate only.
    public let terms: CycleTerms?
}

public struct CreditsGranted: Hashable, Sendable {
    public let pool: Pool
    public let source: GrantSource
    public let amount: Credits
    /// The instant from which the grant cannot be spent any more; nil: never.
    public let expiresAt: Timestamp?
    /// What paid for it or asked for it, as an opaque reference.
    public let reference: String?
    public let reason: String?
    public let actor: String?
    /// The part that repaid debt at once.
    public let debtRepaid: Credits
    /// The account's balance after this event.
    public let balance: Credits
}

public struct GrantExpired: Hashable, Sendable {
    public let grant: GrantID
    public let amount: Credits
    public let balance: Credits
}

public struct HoldPlaced: Hashable, Sendable {
    private let parts: Shared<Parts>

    private struct Parts: Hashable, Sendable {
        let request: RequestID
        let origin: RequestOrigin
        let promptBound: Int64
        let outputBound: Int64
        let wantedOutput: Int64
        let searchBound: Int64
        let audioBound: Int64
        let audioOutput: Bool
        let writesCache: Bool
        let priced: PriceInForce
        let rate: CreditRate
        let amount: Credits
        let windows: Windows?
    }

    init(
        request: RequestID, origin: RequestOrigin, promptBound: Int64, outputBound: Int64, wantedOutput: Int64,
        searchBound: Int64, audioBound: Int64 = 0, audioOutput: Bool = false, writesCache: Bool, priced: PriceInForce,
        rate: CreditRate, amount: Credits, windows: Windows?
    ) {
        parts = Shared(
            Parts(
                request: request, origin: origin, promptBound: promptBound, outputBound: outputBound,
                wantedOutput: wantedOutput, searchBound: searchBound, audioBound: audioBound, audioOutput: audioOutput,
                writesCache: writesCache, priced: priced, rate: rate, amount: amount, windows: windows))
    }

    public var request: RequestID { parts.value.request }
    public var origin: RequestOrigin { parts.value.origin }
    /// The bound on prompt tokens that the hold covers.
    public var promptBound: Int64 { parts.value.promptBound }
    /// The bound on output tokens that the hold covers, over all choices.
    public var outputBound: Int64 { parts.value.outputBound }
    /// The output bound that was asked for, before it shrank to what fits.
    public var wantedOutput: Int64 { parts.value.wantedOutput }
    /// The bound on web searches that the hold covers.
    public var searchBound: Int64 { parts.value.searchBound }
    /// The bound on prompt tokens of sound, which are part of ``promptBound`` and may be dearer.
    public var audioBound: Int64 { parts.value.audioBound }
    /// Whether the output may be sound, which may be dearer.
    public var audioOutput: Bool { parts.value.audioOutput }
    /// Whether the request may write its prompt to a cache, which is dearer.
    public var writesCache: Bool { parts.value.writesCache }
    public var priced: PriceInForce { parts.value.priced }
    public var rate: CreditRate { parts.value.rate }
    public var amount: Credits { parts.value.amount }
    /// The calendar day and month in which it is counted; nil where nothing is counted.
    public var windows: Windows? { parts.value.windows }

    /// When the day and the month began, in the zone that was configured.
    public struct Windows: Hashable, Sendable {
        public let day: Timestamp
        public let month: Timestamp
    }
}

/// Why a hold was released without a charge.
public enum ReleaseReason: String, Sendable, CaseIterable {
    /// The upstream answered with an error.
    case upstreamRefused = "upstream_refused"
    /// No connection to the upstream could be made, or it broke before it answered.
    case upstreamUnreachable = "upstream_unreachable"
    /// The upstream's answer broke off or failed before it had delivered any output.
    case upstreamFailed = "upstream_failed"
    /// The upstream did not answer in time.
    case timeout
    /// The client left, and the upstream delivered no output in the time for which it was still listened to.
    case clientGone = "client_gone"
    /// The server was stopping before the upstream had delivered any output.
    case shutdown
    /// The process ended while the request was under way; what the upstream billed for it is unknown.
    case interrupted
    /// The gateway itself failed.
    case internalError = "internal_error"
    /// An operator released it.
    case operatorReleased = "operator"
}

public struct HoldReleased: Hashable, Sendable {
    public let request: RequestID
    public let origin: RequestOrigin
    public let amount: Credits
    public let reason: ReleaseReason
    /// The status that the upstream answered with, where it answered.
    public let upstreamStatus: Int64?
}

/// How a charged request ended.
public enum Outcome: String, Sendable, CaseIterable {
    case finished
    case clientGone = "client_gone"
    case upstreamFailed = "upstream_failed"
    case timeout
    case shutdown
}

/// What deserves an auditor's look about a usage report.
public enum UsageFlag: String, Sendable, CaseIterable {
    /// No usage was reported: it was estimated.
    case estimated
    /// Usage was reported as all zeros.
    case zeroUsage = "zero_usage"
    /// The report contradicts itself.
    case usageMismatch = "usage_mismatch"
    /// A reported number was negative or absurd and was not believed.
    case rejectedUsage = "rejected_usage"
    /// The provider says that it bills something else than what the usage costs here.
    case costMismatch = "cost_mismatch"
    /// The usage costs more than was set aside: what is beyond is the operator's.
    case beyondBound = "beyond_bound"
    /// More prompt tokens were reported than the prompt, which is all text, has bytes.
    case promptBeyondBytes = "prompt_beyond_bytes"
    /// More output tokens were reported than were allowed.
    case outputBeyondBound = "output_beyond_bound"
    /// Another model answered than the one that was asked for.
    case otherModel = "other_model"
    /// Sound or pictures were used, for which the price has no rate: they are charged as text.
    case unpricedModality = "unpriced_modality"
    /// Searches were made, for which the price has no rate: they are not charged.
    case unpricedSearch = "unpriced_search"
}

/// What was metered of a request: the numbers that are billed, and what the provider wrote.
public struct UsageReport: Hashable, Sendable {
    /// The most bytes of a provider's usage object that are kept.
    public static let maximumRawBytes = 4096

    public let usage: Usage
    /// In the order of ``UsageFlag/allCases``.
    public let flags: [UsageFlag]
    /// What the provider says that it bills, in pico-USD; nil where it does not say. Recorded to be compared, and never charged.
    public let costPicoUSD: Int128?
    /// The provider's usage object, byte for byte; nil where there was none or it is longer than ``maximumRawBytes``.
    public let raw: [UInt8]?
    /// The model that answered, where it named another than the one asked for.
    public let servedModel: String?

    public init(
        usage: Usage, flags: Set<UsageFlag> = [], costPicoUSD: Int128? = nil, raw: [UInt8]? = nil,
        servedModel: String? = nil
    ) {
        self.usage = usage
        self.flags = UsageFlag.allCases.filter(flags.contains)
        self.costPicoUSD = costPicoUSD
        self.raw = raw.flatMap { $0.count <= Self.maximumRawBytes ? $0 : nil }
        self.servedModel = servedModel?.cut(toBytes: 255)
    }

    /// Whether the usage is an estimate of ours.
    public var isEstimated: Bool { flags.contains(.estimated) }
}

public struct RequestCharged: Hashable, Sendable {
    private let parts: Shared<Parts>

    private struct Parts: Hashable, Sendable {
        let request: RequestID
        let origin: RequestOrigin
        let outcome: Outcome
        let report: UsageReport
        let priced: PriceInForce
        let rate: CreditRate
        let costPicoUSD: Int128
        let credits: Credits
        let excess: Credits?
        let allocations: [Allocation]
        let shortfall: Credits
        let balance: Credits
    }

    init(
        request: RequestID, origin: RequestOrigin, outcome: Outcome, report: UsageReport, priced: PriceInForce,
        rate: CreditRate, costPicoUSD: Int128, credits: Credits, excess: Credits?, allocations: [Allocation],
        shortfall: Credits, balance: Credits
    ) {
        parts = Shared(
            Parts(
                request: request, origin: origin, outcome: outcome, report: report, priced: priced, rate: rate,
                costPicoUSD: costPicoUSD, credits: credits, excess: excess, allocations: allocations,
                shortfall: shortfall, balance: balance))
    }

    public var request: RequestID { parts.value.request }
    public var origin: RequestOrigin { parts.value.origin }
    public var outcome: Outcome { parts.value.outcome }
    public var report: UsageReport { parts.value.report }
    public var priced: PriceInForce { parts.value.priced }
    public var rate: CreditRate { parts.value.rate }
    /// The exact cost in pico-USD, before the one rounding.
    public var costPicoUSD: Int128 { parts.value.costPicoUSD }
    /// What is charged: the cost in credits, and at most what was held.
    public var credits: Credits { parts.value.credits }
    /// What the cost is beyond the hold, in credits: it is the operator's. nil in charges of before that rule (`request_charged.v1`), which bore it all.
    public var excess: Credits? { parts.value.excess }
    /// The part of the exact cost that is beyond the hold, in pico-USD.
    public var excessPicoUSD: Int128 {
        guard let excess, excess > .zero else { return 0 }
        return costPicoUSD - rate.picoUSD(affordableWith: credits)
    }
    /// The part of the exact cost that is charged, in pico-USD.
    public var chargedPicoUSD: Int128 { costPicoUSD - excessPicoUSD }
    public var allocations: [Allocation] { parts.value.allocations }
    /// What no grant could bear: it becomes debt. Where the charge is at most its hold, that is only what a refund has taken meanwhile.
    public var shortfall: Credits { parts.value.shortfall }
    public var balance: Credits { parts.value.balance }
}

public struct ChargeReversed: Hashable, Sendable {
    /// The request whose charge is reversed.
    public let request: RequestID
    public let amount: Credits
    /// What returns to the grants that bore the charge, in the reverse of the order in which they did.
    public let restored: [Allocation]
    /// The part of the shortfall, and of ``refundDebt``, that was still owed.
    public let debtReduced: Credits
    /// The part of them that later grants had repaid, and to which of these it returns (the last first).
    public let repaymentsReturned: [Allocation]
    /// What does not return to grants whose payments went back, because it was owed for that (`charge_reversed.v2`).
    public let refundDebt: [Allocation]
    public let reason: String
    public let actor: String
    public let balance: Credits
}

public struct CreditsWithdrawn: Hashable, Sendable {
    public let amount: Credits
    public let allocations: [Allocation]
    public let reason: String
    public let actor: String
    public let balance: Credits
}

public struct AccountBlocked: Hashable, Sendable {
    public let actor: String
}

public struct AccountUnblocked: Hashable, Sendable {
    public let actor: String
}

/// What was known of the person beside the ledger was erased. The account stays, blocked, with what it has.
public struct AccountErased: Hashable, Sendable {
    public let actor: String
}

public struct PriceSet: Hashable, Sendable {
    public let model: String
    public let price: Price
    /// The first instant at which it applies.
    public let validFrom: Timestamp
    /// `configuration` for a price that the file seeded, else who set it.
    public let actor: String
}

public struct PriceRemoved: Hashable, Sendable {
    public let model: String
    /// The first instant at which the model has no price.
    public let validFrom: Timestamp
    public let actor: String
}

public struct PlanSet: Hashable, Sendable {
    public let plan: Plan
}

/// A fact, as the ledger's code knows it.
///
/// The wire name and its schema version are written by hand in ``LedgerEvent/type``; a name is never given another meaning.
///
/// Indirect, or behind a reference of their own: an event is handed on many times between decision and disk, and each copy of a payload
/// would retain all its texts.
public enum LedgerEvent: Hashable, Sendable {
    indirect case accountOpened(AccountOpened)
    indirect case planChanged(PlanChanged)
    indirect case creditsGranted(CreditsGranted)
    indirect case grantExpired(GrantExpired)
    case holdPlaced(HoldPlaced)
    indirect case holdReleased(HoldReleased)
    case requestCharged(RequestCharged)
    indirect case chargeReversed(ChargeReversed)
    indirect case creditsWithdrawn(CreditsWithdrawn)
    indirect case usageImported(UsageImported)
    indirect case accountBlocked(AccountBlocked)
    indirect case accountUnblocked(AccountUnblocked)
    indirect case accountErased(AccountErased)
    indirect case priceSet(PriceSet)
    indirect case priceRemoved(PriceRemoved)
    indirect case planSet(PlanSet)
    indirect case renewalEvaluated(RenewalEvaluated)
    indirect case planScheduled(PlanScheduled)
    indirect case paymentRecorded(PaymentRecorded)
    indirect case paymentRefunded(PaymentRefunded)
    indirect case paymentFailed(PaymentFailed)
    indirect case limitsSet(LimitsSet)
    indirect case budgetSet(BudgetSet)
}

/// What a decision wants appended: an event, the key that makes it unique, and the instant from which it counts.
public struct Draft: Hashable, Sendable {
    public let event: LedgerEvent
    /// The idempotency key, unique in the ledger.
    public let key: String
    public let effectiveAt: Timestamp
}

/// An event as it was appended.
public struct RecordedEvent: Hashable, Sendable {
    /// The 1-based, gap-free place in the whole ledger.
    public let position: Int64
    public let account: AccountID
    /// The 1-based, gap-free place in the account's stream.
    public let version: Int64
    /// When it was appended; never earlier than the event before it.
    public let recordedAt: Timestamp
    /// From when it counts.
    public let effectiveAt: Timestamp
    public let key: String
    public let event: LedgerEvent

    public init(
        position: Int64, account: AccountID, version: Int64, recordedAt: Timestamp, effectiveAt: Timestamp,
        key: String, event: LedgerEvent
    ) {
        self.position = position
        self.account = account
        self.version = version
        self.recordedAt = recordedAt
        self.effectiveAt = effectiveAt
        self.key = key
        self.event = event
    }
}
