/// What somebody wants to happen to an account or to one of the books.
///
/// A command with a key can be sent again: with the same content it answers what it answered before and appends nothing; with
/// other content it is refused (``Refusal/keyReused(key:)``). That is true for ever, also across restarts.
public struct Command: Hashable, Sendable {
    /// Whose stream it concerns.
    public let account: AccountID
    public let action: Action

    public init(account: AccountID, action: Action) {
        self.account = account
        self.action = action
    }

    public enum Action: Hashable, Sendable {
        /// Opens the account on a plan; nothing where it is open.
        case open(plan: String)
        /// Records a payment and what it buys.
        case pay(RecordPayment)
        /// Gives a payment back, whole or in part.
        case refund(RefundPayment)
        case failPayment(RecordPaymentFailure)
        /// Puts the account on a plan from its next boundary on.
        case schedulePlan(SchedulePlan)
        /// What a portal tells of a subscription, without a payment's name.
        case subscribe(Subscribe)
        case importCycle(ImportCycle)
        /// Replaces the limits of the account or of a key of it; nothing where they are what they are.
        case setLimits(SetLimits)
        /// Attaches a budget, or takes it away.
        case setBudget(SetBudget)
        case grant(GrantCredits)
        /// Adds (into `TOPUP`, without expiry) or withdraws credits by an operator's decision.
        case adjust(AdjustCredits)
        /// Records what is due: expiries and renewals. An account that has no cycle yet begins its first.
        case recordDue
        case placeHold(PlaceHold)
        case releaseHold(ReleaseHold)
        case charge(ChargeRequest)
        case reverse(ReverseCharge)
        /// Blocks the account: no hold is placed any more; nothing where it is blocked.
        case block(actor: String)
        case unblock(actor: String)
        /// Blocks the account and records that what was known of its person is erased.
        case erase(EraseAccount)
        case setPrice(SetPrice)
        case removePrice(RemovePrice)
        case setPlan(SetPlan)
        /// Records a request that the old gateway served. It changes no balance.
        case importUsage(ImportUsage)
    }

    public static func setPrice(_ command: SetPrice) -> Command {
        Command(account: .prices, action: .setPrice(command))
    }
    public static func removePrice(_ command: RemovePrice) -> Command {
        Command(account: .prices, action: .removePrice(command))
    }
    public static func setPlan(_ command: SetPlan) -> Command { Command(account: .plans, action: .setPlan(command)) }

    /// The idempotency key under which its main event is recorded; nil where its effect can be told from the account alone.
    public var key: String? {
        switch action {
        case .open: "open:\(account)"
        case .pay(let command): command.key
        case .refund(let command): command.key
        case .failPayment(let command): command.key
        case .schedulePlan(let command): command.key
        case .subscribe(let command): command.key
        case .importCycle(let command): command.key
        case .grant(let command): command.key
        case .adjust(let command): command.key
        case .placeHold(let command): Self.holdKey(command.request)
        case .releaseHold(let command): Self.settlementKey(command.request)
        case .charge(let command): Self.settlementKey(command.request)
        case .reverse(let command): command.key
        case .erase(let command): command.key(of: account)
        case .setPrice(let command): command.key
        case .removePrice(let command): command.key
        case .setPlan(let command): command.key
        case .importUsage(let command): command.key
        case .recordDue, .setLimits, .setBudget, .block, .unblock: nil
        }
    }

    static let holdPrefix: StaticString = "hold:"
    static let settlementPrefix: StaticString = "settle:"

    static func holdKey(_ request: RequestID) -> String { "\(holdPrefix)" + request.rawValue }

    /// The one key of a charge and of a release: that a hold is settled once is thereby also the database's rule.
    static func settlementKey(_ request: RequestID) -> String { "\(settlementPrefix)" + request.rawValue }

    /// Whether it settles a hold. Such commands are never refused for a full queue: their number is that of the open holds.
    var isSettlement: Bool {
        switch action {
        case .charge, .releaseHold: true
        default: false
        }
    }

    /// Whether `recorded`, the event under this command's key, is what this command would have led to.
    func isSame(as recorded: RecordedEvent) -> Bool {
        guard recorded.account == account else { return false }
        switch (action, recorded.event) {
        // Opening is asked for by every door that an account can come by, each with its own default plan.
        case (.open, .accountOpened): return true
        case (.pay(let command), .paymentRecorded(let event)):
            return command.payment == event.payment && command.purchase.isSame(as: event)
        case (.refund(let command), .paymentRefunded(let event)):
            if case .part(let microUSD) = command.extent, microUSD != event.microUSD { return false }
            return command.payment == event.payment
        case (.failPayment(let command), .paymentFailed(let event)): return command.payment == event.payment
        case (.schedulePlan(let command), .planScheduled(let event)): return command.plan == event.plan
        // What it led to depends on what the account was; it was asked for the same plan.
        case (.subscribe(let command), .paymentRecorded(let event)): return command.plan == event.plan
        case (.subscribe(let command), .planScheduled(let event)): return command.plan == event.plan
        case (.importCycle(let command), .paymentRecorded(let event)):
            return command.payment == event.payment && command.plan == event.plan
        case (.grant(let command), .creditsGranted(let event)):
            return command.pool == event.pool && command.source == event.source && command.amount == event.amount
                && command.expiresAt == event.expiresAt && command.reference == event.reference
                && command.reason == event.reason && command.actor == event.actor
        case (.adjust(let command), .creditsGranted(let event)):
            return event.source == .adjustment && command.amount == event.amount && command.reason == event.reason
                && command.actor == event.actor
        case (.adjust(let command), .creditsWithdrawn(let event)):
            return Credits.zero.subtracting(command.amount) == event.amount && command.reason == event.reason
                && command.actor == event.actor
        case (.placeHold(let command), .holdPlaced(let event)):
            return command.request == event.request && command.origin == event.origin
                && command.promptBound == event.promptBound && command.wantedOutput == event.wantedOutput
                && command.searchBound == event.searchBound && command.writesCache == event.writesCache
                && command.audioBound == event.audioBound && (command.audioOutput || !event.audioOutput)
        case (.releaseHold(let command), .holdReleased(let event)):
            return command.reason == event.reason && command.upstreamStatus == event.upstreamStatus
        case (.charge(let command), .requestCharged(let event)):
            return command.report == event.report && command.outcome == event.outcome
        case (.reverse(let command), .chargeReversed(let event)):
            return command.request == event.request && (command.amount ?? event.amount) == event.amount
                && command.reason == event.reason && command.actor == event.actor
        // Whoever asks again: it is the same person that is erased.
        case (.erase, .accountErased): return true
        case (.setPrice(let command), .priceSet(let event)):
            return command.model == event.model && command.price == event.price
                && (command.validFrom ?? event.validFrom) == event.validFrom && command.actor == event.actor
        case (.removePrice(let command), .priceRemoved(let event)):
            return command.model == event.model && command.actor == event.actor
        case (.setPlan(let command), .planSet(let event)): return command.plan == event.plan
        case (.importUsage(let command), .usageImported(let event)):
            return command.usage == event && command.at == recorded.effectiveAt
        default: return false
        }
    }
}

/// Records that a person is erased, once: an id that comes again is another person's, and has another key.
public struct EraseAccount: Hashable, Sendable {
    /// When the person came, which tells them from an earlier one under the same id.
    public let createdAt: Timestamp
    public let actor: String

    public init(createdAt: Timestamp, actor: String) {
        self.createdAt = createdAt
        self.actor = actor
    }

    static func keyPrefix(of account: AccountID) -> String { "erase:\(account):" }

    func key(of account: AccountID) -> String { Self.keyPrefix(of: account) + "\(createdAt.microseconds)" }
}

/// Gives credits. Debt is repaid from them first.
public struct GrantCredits: Hashable, Sendable {
    public let key: String
    public let pool: Pool
    public let source: GrantSource
    /// Above zero.
    public let amount: Credits
    /// In the future; nil: never.
    public let expiresAt: Timestamp?
    public let reference: String?
    public let reason: String?
    public let actor: String?

    public init(
        key: String, pool: Pool, source: GrantSource, amount: Credits, expiresAt: Timestamp? = nil,
        reference: String? = nil, reason: String? = nil, actor: String? = nil
    ) {
        self.key = key
        self.pool = pool
        self.source = source
        self.amount = amount
        self.expiresAt = expiresAt
        self.reference = reference
        self.reason = reason
        self.actor = actor
    }

    static let openingPrefix: StaticString = "import:balance:"

    /// The key under which a row of the old gateway's balances is granted, once: of ``GrantSource/openingBalance`` no other is taken.
    public static func openingKey(_ reference: String) -> String { "\(openingPrefix)" + reference }
}

/// Corrects a balance by an operator's decision; the reason and the actor are mandatory.
public struct AdjustCredits: Hashable, Sendable {
    public let key: String
    /// Above zero: granted; below zero: withdrawn, never more than is available.
    public let amount: Credits
    public let reason: String
    public let actor: String

    public init(key: String, amount: Credits, reason: String, actor: String) {
        self.key = key
        self.amount = amount
        self.reason = reason
        self.actor = actor
    }
}

/// Admits a request: sets aside what it can cost at most, at the price in force.
public struct PlaceHold: Hashable, Sendable {
    public let request: RequestID
    public let origin: RequestOrigin
    /// The bound on prompt tokens.
    public let promptBound: Int64
    /// The output tokens for each choice that the client limited itself to, or the model's default.
    public let outputPerChoice: Int64
    /// How many choices are asked for.
    public let choices: Int64
    /// The least output tokens for each choice to which the bound may shrink; nil: it must not shrink (the client set it).
    public let shrinkTo: Int64?
    /// Of ``outputPerChoice``, what no `max_tokens` bounds: it is left out of the one that a refusal says would fit.
    public let thinking: Int64
    /// The bound on web searches.
    public let searchBound: Int64
    /// The bound on prompt tokens of sound, which are part of the prompt's.
    public let audioBound: Int64
    /// Whether the output may be sound.
    public let audioOutput: Bool
    /// Whether the request may write its prompt to a cache.
    public let writesCache: Bool
    /// Whether the operator gives models away that have no price.
    public let allowUnpriced: Bool

    public init(
        request: RequestID, origin: RequestOrigin, promptBound: Int64, outputPerChoice: Int64, choices: Int64 = 1,
        shrinkTo: Int64? = nil, thinking: Int64 = 0, searchBound: Int64 = 0, audioBound: Int64 = 0,
        audioOutput: Bool = false,
        writesCache: Bool = false, allowUnpriced: Bool = false
    ) {
        self.request = request
        self.origin = origin
        self.promptBound = promptBound
        self.outputPerChoice = outputPerChoice
        self.choices = choices
        self.shrinkTo = shrinkTo
        self.thinking = thinking
        self.searchBound = searchBound
        self.audioBound = audioBound
        self.audioOutput = audioOutput
        self.writesCache = writesCache
        self.allowUnpriced = allowUnpriced
    }

    /// The output bound that is asked for, over all choices; clamped, since the bounds are checked apart.
    var wantedOutput: Int64 {
        let (product, overflow) = outputPerChoice.multipliedReportingOverflow(by: choices)
        return overflow ? .max : product
    }
}

/// Ends a request that used nothing.
public struct ReleaseHold: Hashable, Sendable {
    public let request: RequestID
    public let reason: ReleaseReason
    public let upstreamStatus: Int64?

    public init(request: RequestID, reason: ReleaseReason, upstreamStatus: Int64? = nil) {
        self.request = request
        self.reason = reason
        self.upstreamStatus = upstreamStatus
    }
}

/// Ends a request and charges what it used, at the price it was admitted at.
public struct ChargeRequest: Hashable, Sendable {
    public let request: RequestID
    public let outcome: Outcome
    public let report: UsageReport

    public init(request: RequestID, outcome: Outcome, report: UsageReport) {
        self.request = request
        self.outcome = outcome
        self.report = report
    }
}

/// Gives a charge back, whole or in part; the reason and the actor are mandatory.
public struct ReverseCharge: Hashable, Sendable {
    public let key: String
    public let request: RequestID
    /// nil: all that is left of it.
    public let amount: Credits?
    public let reason: String
    public let actor: String

    public init(key: String, request: RequestID, amount: Credits? = nil, reason: String, actor: String) {
        self.key = key
        self.request = request
        self.amount = amount
        self.reason = reason
        self.actor = actor
    }
}

public struct SetPrice: Hashable, Sendable {
    public let key: String?
    public let model: String
    public let price: Price
    /// nil: now.
    public let validFrom: Timestamp?
    public let actor: String

    public init(key: String? = nil, model: String, price: Price, validFrom: Timestamp? = nil, actor: String) {
        self.key = key
        self.model = model
        self.price = price
        self.validFrom = validFrom
        self.actor = actor
    }
}

public struct RemovePrice: Hashable, Sendable {
    public let key: String?
    public let model: String
    public let actor: String

    public init(key: String? = nil, model: String, actor: String) {
        self.key = key
        self.model = model
        self.actor = actor
    }
}

public struct SetPlan: Hashable, Sendable {
    public let key: String?
    public let plan: Plan

    public init(key: String? = nil, plan: Plan) {
        self.key = key
        self.plan = plan
    }
}
