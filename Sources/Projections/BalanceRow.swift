public import Ledger

/// What the tables of balances, grants, cycles and payments hold of one account, in a form that can be compared with the fold.
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

    /// One row of the table of cycles.
    public struct CycleRow: Hashable, Sendable {
        /// number, began_at, ends_at, grace, due_at
        public let figures: [Int64?]
        /// plan, payment, next_plan
        public let texts: [String?]

        public init(figures: [Int64?], texts: [String?]) {
            self.figures = figures
            self.texts = texts
        }
    }

    /// One row of the table of payments.
    public struct PaymentRow: Hashable, Sendable {
        /// credits, micro_usd, recorded_at, grant_id, refunded_micro_usd, refunded_credits
        public let figures: [Int64?]
        /// payment, purchase, plan
        public let texts: [String?]

        public init(figures: [Int64?], texts: [String?]) {
            self.figures = figures
            self.texts = texts
        }
    }

    /// version, blocked, opened_at, balance, debt, held, open_holds
    public let figures: [Int64?]
    public let plan: String?
    /// granted, expired, charged, reversed, withdrawn
    public let totals: [Int64]
    /// By id.
    public var grants: [GrantRow]
    public var cycle: CycleRow?
    /// By id.
    public var payments: [PaymentRow] = []
    /// Limits and what was spent under them, as text, by key; the account's own under no name.
    public var spending: [String: String] = [:]

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
        let running = account.cycle
        cycle = account.nextDue.map { due in
            CycleRow(
                figures: [
                    running?.number, running?.from.microseconds, running?.until.microseconds,
                    running?.isGrace == true ? 1 : 0, due.microseconds,
                ], texts: [running?.terms.plan, running?.payment?.rawValue, account.nextPlan])
        }
        for (scope, state) in account.spending { spending[scope.keyID ?? ""] = state.text }
        // As SQLite orders texts: by their bytes.
        let byID = account.payments.values.sorted { left, right in
            left.id.rawValue.utf8.lexicographicallyPrecedes(right.id.rawValue.utf8)
        }
        payments = byID.map { payment in
            PaymentRow(
                figures: [
                    payment.credits.nanos, payment.microUSD, payment.recordedAt.microseconds, payment.grant,
                    payment.refundedMicroUSD, payment.refundedCredits.nanos,
                ], texts: [payment.id.rawValue, payment.kind.rawValue, payment.plan])
        }
    }
}
