import Ledger

/// Writes balances and grants: into the live tables, or into those of a rebuild.
final class BalanceStatements {
    private let saveBalance: Statement
    private let saveGrant: Statement

    /// The tables' names are literals of ours.
    init(_ connection: OpaquePointer?, balances: String, grants: String) throws(StoreError) {
        saveBalance = try Statement(
            connection,
            """
            INSERT INTO \(balances) (account, version, plan, blocked, opened_at, balance, debt, held, open_holds,
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
            INSERT INTO \(grants) (account, id, pool, source, amount, remaining, expires_at, debt_repaid)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (account, id) DO UPDATE SET remaining = excluded.remaining, debt_repaid = excluded.debt_repaid
            """)
    }

    func save(_ account: Account, changedGrants: some Sequence<GrantID>) throws(StoreError) {
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
        for id in changedGrants {
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
    }
}
