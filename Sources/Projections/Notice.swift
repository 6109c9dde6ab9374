public import Ledger

/// Something that an account's owner, or the operator, should be told.
public struct Notice: Hashable, Sendable {
    public enum Kind: String, Sendable, CaseIterable {
        /// The balance fell to the configured amount or below it.
        case lowBalance = "credits.low_balance"
        /// Nothing is left.
        case exhausted = "credits.exhausted"
        /// A cycle began, and brought credits.
        case renewed = "plan.renewed"
        /// Credits will expire before long.
        case expiringSoon = "credits.expiring_soon"
        /// A payment failed, or a cycle's payment did not come.
        case paymentFailed = "payment.failed"
        /// The account fell back to the free plan.
        case lapsed = "plan.lapsed"
        /// A provider reported more than was held for a request: what is beyond is the operator's. Nobody else is told.
        case beyondBound = "charge.beyond_bound"
    }

    /// Whether only the operator is told of it.
    public var isForOperatorOnly: Bool { kind == .beyondBound }

    /// Made of what it tells of, so that it is told once: `<kind>:<position>` of its event, or of the grant's.
    public let id: String
    public let kind: Kind
    public let account: AccountID
    public let at: Timestamp
    /// The posted balance, where the notice is about it.
    public let balance: Credits?
    /// The plan, the payment or the model that it is about.
    public let subject: String?
    /// What was granted, or will expire.
    public let credits: Credits?
    /// When it expires.
    public let expiresAt: Timestamp?

    public init(
        id: String, kind: Kind, account: AccountID, at: Timestamp, balance: Credits? = nil, subject: String? = nil,
        credits: Credits? = nil, expiresAt: Timestamp? = nil
    ) {
        self.id = id
        self.kind = kind
        self.account = account
        self.at = at
        self.balance = balance
        self.subject = subject
        self.credits = credits
        self.expiresAt = expiresAt
    }

    /// What events are a reason to tell; in the order of their positions. Pure: an event states the balance after it, and says by how much
    /// it changed.
    ///
    /// A balance is told of when it passes `lowBalance`, or nothing, on its way down: not again with every charge below. What a cycle
    /// ends with and what the next begins with is one change of the balance, if both are among `events`.
    public static func notices(of events: some BidirectionalCollection<RecordedEvent>, lowBalance: Credits) -> [Notice]
    {
        var notices: [Notice] = []
        /// By account: the balance before the expiries of a boundary that also renews.
        var before: [AccountID: (at: Timestamp, balance: Credits)] = [:]
        let renewals = renewals(in: events)
        for recorded in events {
            switch recorded.event {
            case .grantExpired(let event) where renewals[recorded.account]?.contains(recorded.effectiveAt) == true:
                if before[recorded.account]?.at != recorded.effectiveAt {
                    let balance = Credits(clamping: Int128(event.balance.nanos) + Int128(event.amount.nanos))
                    before[recorded.account] = (recorded.effectiveAt, balance)
                }
            case .creditsGranted(let event) where isRenewal(event):
                notices += self.notices(of: recorded, lowBalance: lowBalance)
                if let start = before.removeValue(forKey: recorded.account), start.at == recorded.effectiveAt {
                    notices += fell(from: start.balance, to: event.balance, lowBalance, recorded)
                }
            default: notices += self.notices(of: recorded, lowBalance: lowBalance)
            }
        }
        return notices
    }

    /// How many of these events can be told of before what follows them is known: not those of a boundary that may go on.
    public static func complete(_ events: [RecordedEvent]) -> Int {
        guard let last = events.last else { return 0 }
        let count = events.lastIndex { $0.account != last.account || $0.effectiveAt != last.effectiveAt }
        return count.map { $0 + 1 } ?? events.count
    }

    private static func isRenewal(_ event: CreditsGranted) -> Bool {
        event.source == .monthlyFree || event.source == .subscription
    }

    private static func renewals(in events: some Collection<RecordedEvent>) -> [AccountID: Set<Timestamp>] {
        var renewals: [AccountID: Set<Timestamp>] = [:]
        for recorded in events {
            if case .creditsGranted(let event) = recorded.event, isRenewal(event) {
                renewals[recorded.account, default: []].insert(recorded.effectiveAt)
            }
        }
        return renewals
    }

    private static func fell(
        from before: Credits, to balance: Credits, _ lowBalance: Credits, _ recorded: RecordedEvent
    ) -> [Notice] {
        let kind: Kind
        if before > .zero, balance <= .zero {
            kind = .exhausted
        } else if before > lowBalance, balance <= lowBalance {
            kind = .lowBalance
        } else {
            return []
        }
        return [
            Notice(
                id: "\(kind.rawValue):\(recorded.position)", kind: kind, account: recorded.account,
                at: recorded.effectiveAt, balance: balance)
        ]
    }

    private static func notices(of recorded: RecordedEvent, lowBalance: Credits) -> [Notice] {
        func notice(
            _ kind: Kind, balance: Credits? = nil, subject: String? = nil, credits: Credits? = nil,
            expiresAt: Timestamp? = nil
        ) -> Notice {
            Notice(
                id: "\(kind.rawValue):\(recorded.position)", kind: kind, account: recorded.account,
                at: recorded.effectiveAt, balance: balance, subject: subject, credits: credits, expiresAt: expiresAt)
        }
        func fell(by amount: Credits, to balance: Credits) -> [Notice] {
            let before = Credits(clamping: Int128(balance.nanos) + Int128(amount.nanos))
            return self.fell(from: before, to: balance, lowBalance, recorded)
        }
        switch recorded.event {
        case .requestCharged(let event):
            let beyond =
                (event.excess ?? .zero) > .zero
                ? [notice(.beyondBound, subject: event.origin.model, credits: event.excess)] : []
            return beyond + fell(by: event.credits, to: event.balance)
        case .grantExpired(let event): return fell(by: event.amount, to: event.balance)
        case .creditsWithdrawn(let event): return fell(by: event.amount, to: event.balance)
        case .paymentRefunded(let event):
            let taken = event.taken.reduce(Int128(event.debtAdded.nanos)) { $0 + Int128($1.amount.nanos) }
            return fell(by: Credits(clamping: taken), to: event.balance)
        case .creditsGranted(let event) where isRenewal(event):
            return [notice(.renewed, balance: event.balance, credits: event.amount, expiresAt: event.expiresAt)]
        case .renewalEvaluated(let event):
            switch event.outcome {
            case .unpaid: return [notice(.paymentFailed, subject: event.terms.plan)]
            case .lapsed: return [notice(.lapsed, subject: event.terms.plan)]
            default: return []
            }
        case .paymentFailed(let event): return [notice(.paymentFailed, subject: event.plan)]
        default: return []
        }
    }
}
