public import Ledger

/// What an account has, at an instant: what people and programs read.
public struct AccountBalance: Hashable, Sendable {
    /// A grant with something left.
    public struct OpenGrant: Hashable, Sendable {
        public let id: GrantID
        public let pool: Pool
        public let source: GrantSource
        public let amount: Credits
        public let remaining: Credits
        public let expiresAt: Timestamp?

        public init(
            id: GrantID, pool: Pool, source: GrantSource, amount: Credits, remaining: Credits, expiresAt: Timestamp?
        ) {
            self.id = id
            self.pool = pool
            self.source = source
            self.amount = amount
            self.remaining = remaining
            self.expiresAt = expiresAt
        }
    }

    /// Where an account is in the life of its plan.
    public struct CycleState: Hashable, Sendable {
        /// nil: the account was opened before there were cycles, and its first is yet to begin; so are the instants.
        public let number: Int64?
        public let beganAt: Timestamp?
        public let endsAt: Timestamp?
        public let isPaid: Bool
        /// Whether a missing payment is waited for.
        public let isGrace: Bool
        /// The plan from the next boundary on; nil: the same.
        public let nextPlan: String?
        /// When something is next due.
        public let dueAt: Timestamp

        public init(
            number: Int64?, beganAt: Timestamp?, endsAt: Timestamp?, isPaid: Bool, isGrace: Bool, nextPlan: String?,
            dueAt: Timestamp
        ) {
            self.number = number
            self.beganAt = beganAt
            self.endsAt = endsAt
            self.isPaid = isPaid
            self.isGrace = isGrace
            self.nextPlan = nextPlan
            self.dueAt = dueAt
        }
    }

    public let account: AccountID
    public let plan: String?
    public let isBlocked: Bool
    /// Grants that have not expired, less debt. Open holds are not deducted.
    public let balance: Credits
    public let debt: Credits
    /// What requests under way hold.
    public let held: Credits
    /// What a new request may take.
    public let available: Credits
    /// Grants that can be spent, by id.
    public let grants: [OpenGrant]
    public let cycle: CycleState?

    /// The balance out of stored figures. An expired grant counts no more, whether or not its expiry has been recorded.
    public init(
        account: AccountID, plan: String?, isBlocked: Bool, debt: Credits, held: Credits, grants: [OpenGrant],
        cycle: CycleState? = nil, at instant: Timestamp
    ) {
        self.account = account
        self.plan = plan
        self.isBlocked = isBlocked
        self.debt = debt
        self.held = held
        self.cycle = cycle
        self.grants = grants.filter { grant in grant.expiresAt.map { $0 > instant } ?? true }
        let sum = self.grants.reduce(Int128(0)) { $0 + Int128($1.remaining.nanos) } - Int128(debt.nanos)
        balance = Credits(clamping: sum)
        available = Credits(clamping: sum - Int128(held.nanos))
    }

    /// The grants in the order in which charges burn them.
    public var burnDown: [OpenGrant] {
        grants.sorted { left, right in
            BurnDownPlace(pool: left.pool, expiresAt: left.expiresAt, id: left.id)
                < BurnDownPlace(pool: right.pool, expiresAt: right.expiresAt, id: right.id)
        }
    }

    /// What is lost first if it is not spent, and when.
    public struct Expiry: Hashable, Sendable {
        public let at: Timestamp
        public let credits: Credits
        public let grants: [GrantID]
    }

    /// The grants that expire at the earliest instant at which any does; nil where none does.
    public var expiringNext: Expiry? {
        guard let at = grants.compactMap(\.expiresAt).min() else { return nil }
        let expiring = grants.filter { $0.expiresAt == at }
        let sum = expiring.reduce(Int128(0)) { $0 + Int128($1.remaining.nanos) }
        return Expiry(at: at, credits: Credits(clamping: sum), grants: expiring.map(\.id))
    }

    /// What is left in each pool.
    public var pools: [(pool: Pool, remaining: Credits)] {
        Pool.allCases.map { pool in
            let sum = grants.filter { $0.pool == pool }.reduce(Int128(0)) { $0 + Int128($1.remaining.nanos) }
            return (pool, Credits(clamping: sum))
        }
    }
}
