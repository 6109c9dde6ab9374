import GRDB
public import Ledger

/// A grant that was paid for.
public struct Payment: Hashable, Sendable {
    public let grant: GrantID
    public let source: GrantSource
    public let credits: Credits
    public let paidAt: Timestamp

    init(grant: GrantID, source: GrantSource, credits: Credits, paidAt: Timestamp) {
        self.grant = grant
        self.source = source
        self.credits = credits
        self.paidAt = paidAt
    }
}

extension SQLiteBalances {
    /// An account's grants that were paid for (`PURCHASE`, `SUBSCRIPTION`), newest first.
    public func payments(of account: AccountID, skip: Int, limit: Int) async throws -> [Payment] {
        try await reader.read { db in
            // A grant's id is the version of its event.
            let sql = """
                SELECT grants.id, grants.source, grants.amount, events.effective_at
                FROM grants JOIN events ON events.account = grants.account AND events.version = grants.id
                WHERE grants.account = ? AND grants.source IN (?, ?)
                ORDER BY events.effective_at DESC, grants.id DESC LIMIT ? OFFSET ?
                """
            let arguments: StatementArguments = [
                account.rawValue, GrantSource.purchase.rawValue, GrantSource.subscription.rawValue, limit, skip,
            ]
            return try Row.fetchAll(db, sql: sql, arguments: arguments).map { row in
                let source: String = row["source"]
                return Payment(
                    grant: row["id"], source: GrantSource(rawValue: source) ?? .purchase,
                    credits: Credits(nanos: row["amount"]),
                    paidAt: Timestamp(microseconds: row["effective_at"]))
            }
        }
    }

    /// The plan that an account is on; and, where that is not `wanted`, the version of the event that put it there. nil where there is no
    /// such account.
    ///
    /// Both are of one moment. The account's events are searched from the last one back, which takes long where they are many: it is only
    /// done where a plan is to be changed.
    public func plan(
        of account: AccountID, ifNot wanted: String
    ) async throws -> (name: String, since: Int64?)? {
        try await reader.read { db in
            let plan = try String.fetchOne(
                db, sql: "SELECT plan FROM balances WHERE account = ? AND plan IS NOT NULL",
                arguments: [account.rawValue])
            guard let plan else { return nil }
            if plan == wanted { return (plan, nil) }
            let sql = """
                SELECT version FROM events WHERE account = ? AND type IN ('account_opened.v1', 'plan_changed.v1')
                ORDER BY version DESC LIMIT 1
                """
            guard let since = try Int64.fetchOne(db, sql: sql, arguments: [account.rawValue]) else {
                throw StoreError.corrupt("no event says why account '\(account)' is on its plan")
            }
            return (plan, since)
        }
    }

    /// The cycle of an account that ends last, as of a version of its stream: the last grant of any cycle (0: there is none), when this one
    /// ends, what was granted here for it, and whether an import has brought it; nil where there is no cycle.
    ///
    /// What is left of an imported cycle does not count as granted for it, and one that was paid for at the old gateway is one though it is
    /// spent.
    public func lastCycle(
        of account: AccountID, before version: Int64
    ) async throws -> (id: GrantID, until: Timestamp, granted: Credits, isImported: Bool)? {
        try await reader.read { db in
            let cycles = """
                FROM grants WHERE account = ? AND id < ? AND expires_at IS NOT NULL
                    AND (source = ? OR (source = ? AND pool = ?))
                """
            let arguments: StatementArguments = [
                account.rawValue, version, GrantSource.subscription.rawValue, GrantSource.openingBalance.rawValue,
                Pool.subscription.rawValue,
            ]
            let paidUntil = try Int64.fetchOne(
                db, sql: "SELECT paid_until FROM users WHERE user_id = ? AND paid_until IS NOT NULL",
                arguments: [account.rawValue])
            let row = try Row.fetchOne(
                db, sql: "SELECT max(id) AS last, max(expires_at) AS until \(cycles)", arguments: arguments)
            let (last, granted): (Int64?, Int64?) = (row?["last"], row?["until"])
            guard let until = [granted, paidUntil].compactMap(\.self).max() else { return nil }
            // Of several parts of one cycle, all count.
            let parts = try Row.fetchOne(
                db,
                sql: """
                    SELECT coalesce(sum(amount) FILTER (WHERE source = ?), 0) AS granted, count(*) FILTER (WHERE source = ?) AS imported
                    \(cycles) AND expires_at = ?
                    """,
                arguments: [GrantSource.subscription.rawValue, GrantSource.openingBalance.rawValue] + arguments + [
                    until
                ])
            let imported: Int64 = parts?["imported"] ?? 0
            return (
                last ?? 0, Timestamp(microseconds: until), Credits(nanos: parts?["granted"] ?? 0),
                imported > 0 || until == paidUntil
            )
        }
    }

    /// The plan that an account was on before a version of its stream; nil where it was on none.
    public func plan(of account: AccountID, before version: Int64) async throws -> String? {
        try await reader.read { db in
            try String.fetchOne(
                db,
                sql: """
                    SELECT json_extract(data, '$.plan') FROM events
                    WHERE account = ? AND version < ? AND type IN ('account_opened.v1', 'plan_changed.v1')
                    ORDER BY version DESC LIMIT 1
                    """, arguments: [account.rawValue, version])
        }
    }

    /// Whether an event is recorded under a key.
    public func isRecorded(key: String) async throws -> Bool {
        try await reader.read { db in
            try Bool.fetchOne(
                db, sql: "SELECT EXISTS (SELECT 1 FROM events WHERE key = ?)", arguments: [key]) ?? false
        }
    }
}

extension SQLiteBalances {
    /// Accounts that have grants which have expired and whose expiry is not recorded yet, in the order of their ids, behind one of them.
    ///
    /// The table is read once from end to end where every page is asked for.
    public func accountsWithLapsedGrants(
        at now: Timestamp, behind account: AccountID?, limit: Int
    ) async throws -> [AccountID] {
        try await reader.read { db in
            let sql = """
                SELECT DISTINCT account FROM grants
                WHERE account > ? AND remaining > 0 AND expires_at <= ? ORDER BY account LIMIT ?
                """
            return try String.fetchAll(db, sql: sql, arguments: [account?.rawValue ?? "", now.microseconds, limit]).map
            {
                guard let id = AccountID(rawValue: $0) else { throw StoreError.corrupt("a grant has no valid account") }
                return id
            }
        }
    }
}
