import GRDB
public import Ledger
public import Projections

// What the tables that are written with the events say, to be held against the fold.

extension LedgerView {
    /// How many accounts have a balance.
    public func accountCount() throws -> Int {
        try Int.fetchOne(db, sql: "SELECT count(*) FROM balances") ?? 0
    }

    /// The accounts in which something is due by an instant and not recorded; of one, where one is named.
    public func accounts(dueBy instant: Timestamp, only account: AccountID? = nil) throws -> [AccountID] {
        guard try hasCycles() else { return [] }
        return try String.fetchAll(
            db, sql: "SELECT account FROM cycles WHERE due_at <= ?1 AND (?2 IS NULL OR account = ?2)",
            arguments: [instant.microseconds, account?.rawValue]
        ).compactMap(AccountID.init(rawValue:))
    }

    /// Gives what the tables of balances and grants say of each account, or of one, as ``Account/balanceRow`` writes it.
    public func balanceRows(
        of account: AccountID? = nil, _ body: (String, BalanceRow) throws -> Void
    ) throws {
        let grants = try Statement(
            db.sqliteConnection,
            """
            SELECT id, pool, source, amount, remaining, expires_at, debt_repaid FROM grants WHERE account = ? ORDER BY id
            """)
        let balances = try Statement(
            db.sqliteConnection,
            """
            SELECT account, version, plan, blocked, opened_at, balance, debt, held, open_holds, granted, expired, charged,
                reversed, withdrawn FROM balances \(account == nil ? "" : "WHERE account = ?") ORDER BY account
            """)
        if let account { balances.bind(account.rawValue, at: 1) }
        defer { balances.reset() }
        guard try hasCycles() else {
            while try balances.step() { try body(balances.text(0), try balanceRow(balances, grants)) }
            return
        }
        let cycles = try Statement(
            db.sqliteConnection,
            "SELECT number, began_at, ends_at, grace, due_at, plan, payment, next_plan FROM cycles WHERE account = ?")
        let spending = try Statement(
            db.sqliteConnection, "SELECT key_id, state FROM spending WHERE account = ?")
        let payments = try Statement(
            db.sqliteConnection,
            """
            SELECT payment, purchase, plan, credits, micro_usd, recorded_at, grant_id, refunded_micro_usd,
                refunded_credits FROM payments WHERE account = ? ORDER BY payment
            """)
        while try balances.step() {
            let account = balances.text(0)
            var row = try balanceRow(balances, grants)
            cycles.bind(account, at: 1)
            row.cycle = try cycles.first { cycle throws(StoreError) in
                BalanceRow.CycleRow(
                    figures: (0...4).map { cycle.optionalInteger($0) }, texts: (5...7).map { cycle.optionalText($0) })
            }
            payments.bind(account, at: 1)
            try payments.forEach { payment throws(StoreError) in
                row.payments.append(
                    BalanceRow.PaymentRow(
                        figures: (3...8).map { payment.optionalInteger($0) },
                        texts: (0...2).map { payment.optionalText($0) }))
            }
            spending.bind(account, at: 1)
            try spending.forEach { state throws(StoreError) in row.spending[state.text(0)] = state.text(1) }
            try body(account, row)
        }
        if account != nil { return }
        // What belongs to accounts without a balance.
        for table in ["grants", "cycles", "payments", "spending"] {
            let orphan = try String.fetchOne(
                db, sql: "SELECT account FROM \(table) WHERE account NOT IN (SELECT account FROM balances) LIMIT 1")
            guard let orphan else { continue }
            try body(orphan, BalanceRow(figures: [], plan: nil, totals: [], grants: []))
        }
    }

    private func balanceRow(_ balances: Statement, _ grants: Statement) throws -> BalanceRow {
        var row = BalanceRow(
            figures: [1, 3, 4, 5, 6, 7, 8].map { balances.optionalInteger($0) }, plan: balances.optionalText(2),
            totals: (9...13).map { balances.integer($0) }, grants: [])
        grants.bind(balances.text(0), at: 1)
        try grants.forEach { grant throws(StoreError) in
            row.grants.append(
                BalanceRow.GrantRow(
                    figures: [0, 3, 4, 5, 6].map { grant.optionalInteger($0) }, pool: grant.text(1),
                    source: grant.text(2)))
        }
        return row
    }

    /// The versions of the snapshots of those accounts whose ids, as bytes, are wanted. One of a format that this code does not know has
    /// no version.
    public func snapshotVersions(of isWanted: (UnsafeBufferPointer<UInt8>) -> Bool) throws -> [AccountID: Int64] {
        var versions: [AccountID: Int64] = [:]
        // Those of an older ledger are of an older form, which is compared with nothing any more.
        guard try hasCycles() else { return versions }
        let statement = try Statement(
            db.sqliteConnection,
            "SELECT account, iif(format = \(Account.snapshotFormat), version, 0) FROM snapshots")
        try statement.forEach { row throws(StoreError) in
            guard isWanted(row.bytes(0)), let account = AccountID(rawValue: row.text(0)) else { return }
            versions[account] = row.integer(1)
        }
        return versions
    }

    /// An account's snapshot of a version, as stored; nil where a server has renewed it since.
    public func snapshot(of account: String, version: Int64) throws -> [UInt8]? {
        let statement = try Statement(
            db.sqliteConnection, "SELECT state FROM snapshots WHERE account = ? AND version = ?")
        statement.bind(account, at: 1)
        statement.bind(version, at: 2)
        return try statement.first { row throws(StoreError) in Array(row.bytes(0)) }
    }

    /// What the usage log says was reversed, by request.
    public func reversedInUsageLog() throws -> [String: Int64] {
        var reversed: [String: Int64] = [:]
        let statement = try Statement(
            db.sqliteConnection, "SELECT request, reversed FROM usage_log WHERE reversed <> 0")
        try statement.forEach { row throws(StoreError) in reversed[row.text(0)] = row.integer(1) }
        return reversed
    }
}
