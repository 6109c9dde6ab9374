import GRDB
public import Ledger
public import Projections

/// Reads balances. They are written in the transaction of the events, so they are never behind.
public struct SQLiteBalances: Sendable {
    let reader: any DatabaseReader

    public init(_ ledger: SQLiteLedger) {
        reader = ledger.pool
    }

    init(reader: any DatabaseReader) {
        self.reader = reader
    }

    /// An account's balance at an instant that is not before its last event; nil where there is no such account.
    public func balance(of account: AccountID, at instant: Timestamp) async throws -> AccountBalance? {
        try await reader.read { db in
            let balance = try db.cachedStatement(
                sql: "SELECT plan, blocked, opened_at, debt, held FROM balances WHERE account = ?")
            guard let row = try Row.fetchOne(balance, arguments: [account.rawValue]) else { return nil }
            let grants = try db.cachedStatement(
                sql: """
                    SELECT id, pool, source, amount, remaining, expires_at FROM grants
                    WHERE account = ? AND remaining > 0 ORDER BY id
                    """)
            let open = try Row.fetchAll(grants, arguments: [account.rawValue]).map { row in
                let pool: String = row["pool"]
                let source: String = row["source"]
                let expiry: Int64? = row["expires_at"]
                guard let pool = Pool(rawValue: pool), let source = GrantSource(rawValue: source) else {
                    throw StoreError.corrupt("a grant of account '\(account)' cannot be read")
                }
                return AccountBalance.OpenGrant(
                    id: row["id"], pool: pool, source: source, amount: Credits(nanos: row["amount"]),
                    remaining: Credits(nanos: row["remaining"]),
                    expiresAt: expiry.map(Timestamp.init(microseconds:)))
            }
            let cycles = try db.cachedStatement(
                sql: """
                    SELECT number, began_at, ends_at, payment, grace, next_plan, due_at FROM cycles WHERE account = ?
                    """)
            let cycle = try Row.fetchOne(cycles, arguments: [account.rawValue]).map { row in
                let (began, ends): (Int64?, Int64?) = (row["began_at"], row["ends_at"])
                let payment: String? = row["payment"]
                return AccountBalance.CycleState(
                    number: row["number"], beganAt: began.map(Timestamp.init(microseconds:)),
                    endsAt: ends.map(Timestamp.init(microseconds:)), isPaid: payment != nil, isGrace: row["grace"],
                    nextPlan: row["next_plan"], dueAt: Timestamp(microseconds: row["due_at"]))
            }
            return AccountBalance(
                account: account, plan: row["plan"], isBlocked: row["blocked"], debt: Credits(nanos: row["debt"]),
                held: Credits(nanos: row["held"]), grants: open,
                cycle: cycle, at: instant)
        }
    }
}
