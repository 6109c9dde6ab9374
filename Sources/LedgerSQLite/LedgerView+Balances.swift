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

    /// Gives what the tables of balances and grants say of each account, or of one, as ``Account/balanceRow`` writes it; of an account that
    /// has something and no balance, an empty row.
    public func balanceRows(
        of account: AccountID? = nil, _ body: (String, BalanceRow) throws -> Void
    ) throws {
        // All tables are read once beside each other, in the order of accounts.
        func rows(_ columns: String, of table: String, orderedBy more: String = "") throws -> AccountRows {
            try AccountRows(
                Statement(
                    db.sqliteConnection,
                    """
                    SELECT account, \(columns) FROM \(table) \(account == nil ? "" : "WHERE account = ?1")
                    ORDER BY account\(more)
                    """), account)
        }
        let hasCycles = try hasCycles()
        let balances = try rows(
            """
            version, plan, blocked, opened_at, balance, debt, held, open_holds, granted, expired, charged, reversed, withdrawn
            """, of: "balances")
        let grants = try rows(
            "id, pool, source, amount, remaining, expires_at, debt_repaid", of: "grants", orderedBy: ", id")
        let cycles =
            hasCycles
            ? try rows("number, began_at, ends_at, grace, due_at, plan, payment, next_plan", of: "cycles") : nil
        let payments =
            hasCycles
            ? try rows(
                """
                payment, purchase, plan, credits, micro_usd, recorded_at, grant_id, refunded_micro_usd, refunded_credits
                """, of: "payments", orderedBy: ", payment") : nil
        let spending = hasCycles ? try rows("key_id, state", of: "spending") : nil
        let parts = [grants, cycles, payments, spending].compactMap(\.self)
        let all = [balances] + parts
        while let next = all.compactMap(\.account).min(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) {
            var row = BalanceRow(figures: [], plan: nil, totals: [], grants: [])
            guard balances.isNext(next) else {
                // Nothing else that belongs to it is looked at.
                for part in parts { try part.forEach(of: next) { _ in } }
                try body(next, row)
                continue
            }
            try balances.forEach(of: next) { balance in
                row = BalanceRow(
                    figures: [1, 3, 4, 5, 6, 7, 8].map { balance.optionalInteger($0) }, plan: balance.optionalText(2),
                    totals: (9...13).map { balance.integer($0) }, grants: [])
            }
            try grants.forEach(of: next) { grant in
                row.grants.append(
                    BalanceRow.GrantRow(
                        figures: [1, 4, 5, 6, 7].map { grant.optionalInteger($0) }, pool: grant.text(2),
                        source: grant.text(3)))
            }
            try cycles?.forEach(of: next) { cycle in
                row.cycle = BalanceRow.CycleRow(
                    figures: (1...5).map { cycle.optionalInteger($0) }, texts: (6...8).map { cycle.optionalText($0) })
            }
            try payments?.forEach(of: next) { payment in
                row.payments.append(
                    BalanceRow.PaymentRow(
                        figures: (4...9).map { payment.optionalInteger($0) },
                        texts: (1...3).map { payment.optionalText($0) }))
            }
            try spending?.forEach(of: next) { state in row.spending[state.text(1)] = state.text(2) }
            try body(next, row)
        }
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

/// The rows of a table in the order of accounts (the first column), read beside those of others.
private final class AccountRows {
    private let statement: Statement
    /// The account of the next row; nil behind the last.
    private(set) var account: String?

    /// `account` is bound where the statement is about one.
    init(_ statement: Statement, _ account: AccountID?) throws(StoreError) {
        self.statement = statement
        if let account { statement.bind(account.rawValue, at: 1) }
        try advance()
    }

    deinit { statement.reset() }

    private func advance() throws(StoreError) {
        account = try statement.step() ? statement.text(0) : nil
    }

    /// Whether a row of that account comes next. Ids are what their bytes are, also where two texts mean the same to a reader.
    func isNext(_ id: String) -> Bool {
        account?.utf8.elementsEqual(id.utf8) ?? false
    }

    /// Gives the rows of an account, where they come next.
    func forEach(of account: String, _ body: (Statement) -> Void) throws(StoreError) {
        while isNext(account) {
            body(statement)
            try advance()
        }
    }
}
