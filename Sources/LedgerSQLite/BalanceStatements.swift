import Ledger

/// Writes balances, grants, cycles and payments: into the live tables, or into those of a rebuild.
final class BalanceStatements {
    private let saveBalance: Statement
    private let saveGrant: Statement
    private let saveCycle: Statement
    private let savePayment: Statement
    private let removeSpending: Statement
    private let saveSpending: Statement

    /// What a rebuild's tables begin with is a literal of ours.
    init(_ connection: OpaquePointer?, tablePrefix prefix: String) throws(StoreError) {
        saveBalance = try Statement(
            connection,
            """
            INSERT INTO \(prefix)balances (account, version, plan, blocked, opened_at, balance, debt, held, open_holds,
                granted, expired, charged, reversed, withdrawn)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (account) DO UPDATE SET version = excluded.version, plan = excluded.plan,
                blocked = excluded.blocked, opened_at = excluded.opened_at, balance = excluded.balance,
                debt = excluded.debt, held = excluded.held, open_holds = excluded.open_holds,
                granted = excluded.granted, expired = excluded.expired, charged = excluded.charged,
                reversed = excluded.reversed, withdrawn = excluded.withdrawn
            """)
        saveGrant = try Statement(
            connection,
            """
            INSERT INTO \(prefix)grants (account, id, pool, source, amount, remaining, expires_at, debt_repaid)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (account, id) DO UPDATE SET remaining = excluded.remaining, debt_repaid = excluded.debt_repaid
            """)
        saveCycle = try Statement(
            connection,
            """
            INSERT INTO \(prefix)cycles (account, number, began_at, ends_at, plan, payment, grace, next_plan, due_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (account) DO UPDATE SET number = excluded.number, began_at = excluded.began_at,
                ends_at = excluded.ends_at, plan = excluded.plan, payment = excluded.payment, grace = excluded.grace,
                next_plan = excluded.next_plan, due_at = excluded.due_at
            """)
        savePayment = try Statement(
            connection,
            """
            INSERT INTO \(prefix)payments (account, payment, purchase, plan, credits, micro_usd, recorded_at, grant_id,
                refunded_micro_usd, refunded_credits)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (account, payment) DO UPDATE SET grant_id = excluded.grant_id,
                refunded_micro_usd = excluded.refunded_micro_usd, refunded_credits = excluded.refunded_credits
            """)
        removeSpending = try Statement(connection, "DELETE FROM \(prefix)spending WHERE account = ?")
        saveSpending = try Statement(
            connection, "INSERT INTO \(prefix)spending (account, key_id, state) VALUES (?, ?, ?)")
    }

    func save(_ account: Account, _ changes: AccountChanges) throws(StoreError) {
        saveBalance.bind(account.id.rawValue, at: 1)
        saveBalance.bind(account.version, at: 2)
        saveBalance.bind(account.plan, at: 3)
        saveBalance.bind(account.isBlocked, at: 4)
        saveBalance.bind(account.openedAt?.microseconds, at: 5)
        saveBalance.bind(account.balance.nanos, at: 6)
        saveBalance.bind(account.debt.nanos, at: 7)
        saveBalance.bind(account.held.nanos, at: 8)
        saveBalance.bind(Int64(account.holds.count), at: 9)
        saveBalance.bind(Int64(clamping: account.totals.granted), at: 10)
        saveBalance.bind(Int64(clamping: account.totals.expired), at: 11)
        saveBalance.bind(Int64(clamping: account.totals.charged), at: 12)
        saveBalance.bind(Int64(clamping: account.totals.reversed), at: 13)
        saveBalance.bind(Int64(clamping: account.totals.withdrawn), at: 14)
        try saveBalance.run()
        for id in changes.grants {
            guard let grant = account.grant(id) else { continue }
            saveGrant.bind(account.id.rawValue, at: 1)
            saveGrant.bind(grant.id, at: 2)
            saveGrant.bind(grant.pool.rawValue, at: 3)
            saveGrant.bind(grant.source.rawValue, at: 4)
            saveGrant.bind(grant.amount.nanos, at: 5)
            saveGrant.bind(grant.remaining.nanos, at: 6)
            saveGrant.bind(grant.expiresAt?.microseconds, at: 7)
            saveGrant.bind(grant.debtRepaid.nanos, at: 8)
            try saveGrant.run()
        }
        for id in changes.payments {
            guard let payment = account.payments[id] else { continue }
            try save(payment, of: account.id)
        }
        if changes.spending {
            removeSpending.bind(account.id.rawValue, at: 1)
            try removeSpending.run()
            for (scope, state) in account.spending {
                saveSpending.bind(account.id.rawValue, at: 1)
                saveSpending.bind(scope.keyID ?? "", at: 2)
                saveSpending.bind(state.text, at: 3)
                try saveSpending.run()
            }
        }
        if changes.cycle, let due = account.nextDue { try save(account.cycle, due: due, of: account) }
    }

    private func save(_ payment: RecordedPayment, of account: AccountID) throws(StoreError) {
        savePayment.bind(account.rawValue, at: 1)
        savePayment.bind(payment.id.rawValue, at: 2)
        savePayment.bind(payment.kind.rawValue, at: 3)
        savePayment.bind(payment.plan, at: 4)
        savePayment.bind(payment.credits.nanos, at: 5)
        savePayment.bind(payment.microUSD, at: 6)
        savePayment.bind(payment.recordedAt.microseconds, at: 7)
        savePayment.bind(payment.grant, at: 8)
        savePayment.bind(payment.refundedMicroUSD, at: 9)
        savePayment.bind(payment.refundedCredits.nanos, at: 10)
        try savePayment.run()
    }

    private func save(_ cycle: Cycle?, due: Timestamp, of account: Account) throws(StoreError) {
        saveCycle.bind(account.id.rawValue, at: 1)
        saveCycle.bind(cycle?.number, at: 2)
        saveCycle.bind(cycle?.from.microseconds, at: 3)
        saveCycle.bind(cycle?.until.microseconds, at: 4)
        saveCycle.bind(cycle?.terms.plan, at: 5)
        saveCycle.bind(cycle?.payment?.rawValue, at: 6)
        saveCycle.bind(cycle?.isGrace ?? false, at: 7)
        saveCycle.bind(account.nextPlan, at: 8)
        saveCycle.bind(due.microseconds, at: 9)
        try saveCycle.run()
    }
}
