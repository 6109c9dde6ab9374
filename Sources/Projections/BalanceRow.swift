public import Ledger

/// What the tables of balances and grants hold of one account, in a form that can be compared with the fold.
public struct BalanceRow: Hashable, Sendable {
    /// One row of the table of grants.
    public struct GrantRow: Hashable, Sendable {
        /// id, amount, remaining, expires_at, debt_repaid
        public let figures: [Int64?]
        public let pool: String
        public let source: String

        public init(figures: [Int64?], pool: String, source: String) {
            self.figures = figures
            self.pool = pool
            self.source = source
        }
    }

    /// version, blocked, opened_at, balance, debt, held, open_holds
    public let figures: [Int64?]
    public let plan: String?
    /// granted, expired, charged, reversed, withdrawn
    public let totals: [Int64]
    /// By id.
    public var grants: [GrantRow]

    public init(figures: [Int64?], plan: String?, totals: [Int64], grants: [GrantRow]) {
        self.figures = figures
        self.plan = plan
        self.totals = totals
        self.grants = grants
    }

    /// What the tables must hold of an account.
    public init(_ account: Account) {
        figures = [
            account.version, account.isBlocked ? 1 : 0, account.openedAt?.microseconds, account.balance.nanos,
            account.debt.nanos, account.held.nanos, Int64(account.holds.count),
        ]
        plan = account.plan
        let sums = account.totals
        totals = [sums.granted, sums.expired, sums.charged, sums.reversed, sums.withdrawn].map { Int64(clamping: $0) }
        grants = (account.openGrants + account.closedGrants.values).sorted { $0.id < $1.id }.map { grant in
            GrantRow(
                figures: [
                    grant.id, grant.amount.nanos, grant.remaining.nanos, grant.expiresAt?.microseconds,
                    grant.debtRepaid.nanos,
                ], pool: grant.pool.rawValue, source: grant.source.rawValue)
        }
    }
}
