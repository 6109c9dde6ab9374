/// Names a payment: the provider's name, a colon, and what the provider calls it. Used once in the whole ledger.
///
/// 1 to 290 bytes without control characters, so that it can be a part of a key; compared byte by byte, as the store does.
public struct PaymentID: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: String

    public init?(rawValue: String) {
        guard (1...290).contains(rawValue.utf8.count),
            rawValue.unicodeScalars.allSatisfy({ $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) })
        else { return nil }
        self.rawValue = rawValue
    }

    public static func == (left: PaymentID, right: PaymentID) -> Bool {
        left.rawValue.utf8.elementsEqual(right.rawValue.utf8)
    }

    public func hash(into hasher: inout Hasher) {
        var text = rawValue
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }

    /// What a portal's word is recorded as, which names no payment: after it comes what makes it unique.
    private static let portalPrefix = "portal:"

    init?(portalsWordOf account: AccountID, version: Int64) {
        self.init(rawValue: Self.portalPrefix + "\(account):\(version)")
    }

    /// Whether it is a portal's word, and no payment's name.
    var isPortalsWord: Bool { rawValue.hasPrefix(Self.portalPrefix) }

    public var description: String { rawValue }
}

/// What a payment is for.
public enum Purchase: Hashable, Sendable {
    /// A cycle of a plan, on the terms in force.
    case cycle(plan: String)
    /// What is left of the running cycle, on a better plan.
    case upgrade(plan: String)
    /// Credits without expiry, for so many micro-USD.
    case credits(Credits, microUSD: Int64)
}

/// What was bought, as events name it.
public enum PurchaseKind: String, Sendable, CaseIterable {
    case cycle
    case upgrade
    case credits
    /// A cycle that was paid for in the gateway that this one replaces.
    case imported
}

/// Money came in.
public struct PaymentRecorded: Hashable, Sendable {
    public let payment: PaymentID
    public let kind: PurchaseKind
    /// nil for credits.
    public let plan: String?
    /// What it buys.
    public let credits: Credits
    /// What it costs by our own terms, never by what a message said.
    public let microUSD: Int64
    public let actor: String
}

/// Money went back: what is left of its grant is taken, and what was used of it becomes debt.
public struct PaymentRefunded: Hashable, Sendable {
    public let payment: PaymentID
    public let microUSD: Int64
    /// The part of what was bought that goes back with it, what has expired of it included.
    public let credits: Credits
    /// What was left and is taken.
    public let taken: [Allocation]
    /// What had been used, and is owed now.
    public let debtAdded: Credits
    public let reason: String
    public let actor: String
    public let balance: Credits
}

/// A payment was tried and did not come about. It changes no balance: the plan ends when its boundary comes unpaid.
public struct PaymentFailed: Hashable, Sendable {
    public let payment: PaymentID
    public let plan: String?
    public let actor: String
}

/// A payment as the account knows it.
public struct RecordedPayment: Hashable, Sendable {
    public let id: PaymentID
    public let kind: PurchaseKind
    public let plan: String?
    public let credits: Credits
    public let microUSD: Int64
    public let recordedAt: Timestamp
    /// The grant that it led to; nil while it waits for its cycle, and for imported ones.
    public internal(set) var grant: GrantID?
    public internal(set) var refundedMicroUSD: Int64 = 0
    public internal(set) var refundedCredits = Credits.zero
    /// What refunds found used and made a debt of, less what was reversed of it since.
    public internal(set) var refundDebt = Credits.zero

    /// What a refund of the rest would give back.
    public var refundableMicroUSD: Int64 { max(0, microUSD - refundedMicroUSD) }
    /// What it still buys.
    var creditsLeft: Credits { credits.subtracting(refundedCredits) ?? .zero }
    /// Whether all of it has been given back.
    public var isRefunded: Bool { refundableMicroUSD == 0 && creditsLeft == .zero }
}

// MARK: - Commands

extension Purchase {
    /// Whether an event recorded this. What a plan costs and grants may have changed since, and does not count.
    func isSame(as event: PaymentRecorded) -> Bool {
        switch self {
        case .cycle(let plan): event.kind == .cycle && event.plan == plan
        case .upgrade(let plan): event.kind == .upgrade && event.plan == plan
        case .credits(let credits, _): event.kind == .credits && event.credits == credits
        }
    }
}

/// Records that money came in, and grants what it buys: once for each payment, whoever tells of it and how often.
public struct RecordPayment: Hashable, Sendable {
    public let payment: PaymentID
    public let purchase: Purchase
    public let actor: String

    public init(payment: PaymentID, purchase: Purchase, actor: String) {
        self.payment = payment
        self.purchase = purchase
        self.actor = actor
    }

    public var key: String { "payment:\(payment)" }
}

/// Records that money went back; the reason and the actor are mandatory.
public struct RefundPayment: Hashable, Sendable {
    /// Names this refund among those of the payment.
    public let key: String
    public let payment: PaymentID
    public let extent: Extent
    public let reason: String
    public let actor: String

    /// How much goes back.
    public enum Extent: Hashable, Sendable {
        /// All that is left of the payment.
        case rest
        /// So many micro-USD.
        case part(microUSD: Int64)
        /// As much as is missing until so many micro-USD have gone back in all: providers tell sums.
        case upTo(microUSD: Int64)
    }

    public init(key: String, payment: PaymentID, _ extent: Extent = .rest, reason: String, actor: String) {
        self.key = key
        self.payment = payment
        self.extent = extent
        self.reason = reason
        self.actor = actor
    }
}

/// Records that a payment was tried in vain.
public struct RecordPaymentFailure: Hashable, Sendable {
    public let payment: PaymentID
    public let plan: String?
    public let actor: String

    public init(payment: PaymentID, plan: String?, actor: String) {
        self.payment = payment
        self.plan = plan
        self.actor = actor
    }

    public var key: String { "payment-failed:\(payment)" }
}

/// Wants another plan from the next boundary on; the plan that the account is on takes such a wish back.
public struct SchedulePlan: Hashable, Sendable {
    public let key: String?
    public let plan: String
    public let actor: String
    /// Whether it is refused where it is so already.
    public let mustChange: Bool

    public init(key: String? = nil, plan: String, actor: String, mustChange: Bool = false) {
        self.key = key
        self.plan = plan
        self.actor = actor
        self.mustChange = mustChange
    }
}

/// What a portal tells of a subscription that is paid for elsewhere.
public struct Subscribe: Hashable, Sendable {
    public let key: String?
    public let plan: String
    public let actor: String

    public init(key: String? = nil, plan: String, actor: String) {
        self.key = key
        self.plan = plan
        self.actor = actor
    }
}

/// Takes over a cycle that was paid for in the gateway that this one replaces.
public struct ImportCycle: Hashable, Sendable {
    public let payment: PaymentID
    public let plan: String
    /// In the future.
    public let until: Timestamp
    public let actor: String

    public init(payment: PaymentID, plan: String, until: Timestamp, actor: String) {
        self.payment = payment
        self.plan = plan
        self.until = until
        self.actor = actor
    }

    public var key: String { "payment:\(payment)" }
}
