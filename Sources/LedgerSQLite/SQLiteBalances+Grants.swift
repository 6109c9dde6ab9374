import GRDB
public import Ledger

/// A payment, as people see it.
public struct PaymentRow: Hashable, Sendable {
    /// nil for grants that were paid for before payments were recorded.
    public let id: PaymentID?
    public let kind: PurchaseKind
    public let plan: String?
    public let credits: Credits
    /// nil where it was not recorded what was paid.
    public let microUSD: Int64?
    public let refundedMicroUSD: Int64
    public let paidAt: Timestamp
    /// Whether a cycle for which it pays is yet to begin.
    public let isWaiting: Bool
}

extension SQLiteBalances {
    /// An account's payments, newest first; also grants that were paid for before payments were recorded.
    public func payments(of account: AccountID, skip: Int, limit: Int) async throws -> [PaymentRow] {
        try await reader.read { db in
            // A grant's id is the version of its event.
            let sql = """
                SELECT payment, purchase, plan, credits, micro_usd, refunded_micro_usd, recorded_at AS paid_at,
                    purchase = 'cycle' AND grant_id IS NULL AND refunded_credits < credits AS waiting, rowid_order
                FROM (SELECT *, grant_id AS rowid_order FROM payments WHERE account = ?1 AND purchase <> 'imported')
                UNION ALL
                SELECT NULL, CASE grants.source WHEN 'PURCHASE' THEN 'credits' ELSE 'cycle' END, NULL, grants.amount,
                    NULL, 0, events.effective_at, 0, grants.id
                FROM grants JOIN events ON events.account = grants.account AND events.version = grants.id
                WHERE grants.account = ?1 AND grants.source IN ('PURCHASE', 'SUBSCRIPTION')
                    AND NOT EXISTS (SELECT 1 FROM payments WHERE account = ?1 AND grant_id = grants.id)
                ORDER BY paid_at DESC, rowid_order DESC LIMIT ?2 OFFSET ?3
                """
            return try Row.fetchAll(db, sql: sql, arguments: [account.rawValue, limit, skip]).map { row in
                let (id, kind): (String?, String) = (row["payment"], row["purchase"])
                return PaymentRow(
                    id: id.flatMap(PaymentID.init(rawValue:)), kind: PurchaseKind(rawValue: kind) ?? .credits,
                    plan: row["plan"], credits: Credits(nanos: row["credits"]), microUSD: row["micro_usd"],
                    refundedMicroUSD: row["refunded_micro_usd"], paidAt: Timestamp(microseconds: row["paid_at"]),
                    isWaiting: row["waiting"])
            }
        }
    }

    /// A payment of an account; nil where it has no such.
    public func payment(_ payment: PaymentID, of account: AccountID) async throws -> PaymentRow? {
        try await reader.read { db in
            try Row.fetchOne(
                db, sql: "SELECT * FROM payments WHERE account = ? AND payment = ?",
                arguments: [account.rawValue, payment.rawValue]
            ).map { row in
                let (kind, grant): (String, Int64?) = (row["purchase"], row["grant_id"])
                return PaymentRow(
                    id: payment, kind: PurchaseKind(rawValue: kind) ?? .credits, plan: row["plan"],
                    credits: Credits(nanos: row["credits"]), microUSD: row["micro_usd"],
                    refundedMicroUSD: row["refunded_micro_usd"], paidAt: Timestamp(microseconds: row["recorded_at"]),
                    isWaiting: kind == PurchaseKind.cycle.rawValue && grant == nil)
            }
        }
    }

    /// Whether an event is recorded under a key.
    public func isRecorded(key: String) async throws -> Bool {
        try await reader.read { db in
            try Bool.fetchOne(db, sql: "SELECT EXISTS (SELECT 1 FROM events WHERE key = ?)", arguments: [key]) ?? false
        }
    }

    /// The account that a payment is of; nil where there is no such payment.
    public func account(ofPayment payment: PaymentID) async throws -> AccountID? {
        try await reader.read { db in
            try String.fetchOne(
                db, sql: "SELECT account FROM payments WHERE payment = ?", arguments: [payment.rawValue]
            ).flatMap(AccountID.init(rawValue:))
        }
    }

    /// The account that a request was charged to; nil where there is no such charge.
    public func account(ofCharge request: RequestID) async throws -> AccountID? {
        try await reader.read { db in
            try String.fetchOne(
                db, sql: "SELECT account FROM events WHERE key = ? AND type LIKE 'request_charged.%'",
                arguments: ["settle:" + request.rawValue]
            ).flatMap(AccountID.init(rawValue:))
        }
    }

    /// An account's limits, and what has been spent under them.
    public func spending(of account: AccountID) async throws -> [LimitScope: SpendingState] {
        try await reader.read { db in
            var states: [LimitScope: SpendingState] = [:]
            for row in try Row.fetchAll(
                db, sql: "SELECT key_id, state FROM spending WHERE account = ?", arguments: [account.rawValue])
            {
                let (key, text): (String, String) = (row["key_id"], row["state"])
                guard let state = SpendingState(text) else {
                    throw StoreError.corrupt("limits of account '\(account)' cannot be read")
                }
                states[key.isEmpty ? .account : .key(key)] = state
            }
            return states
        }
    }

    /// Accounts of which something is due at an instant, the longest due first, behind a place in that order.
    public func dueAccounts(
        at now: Timestamp, behind place: DuePlace?, limit: Int
    ) async throws -> [DuePlace] {
        try await reader.read { db in
            let sql = """
                SELECT due_at, account FROM cycles WHERE due_at <= ? AND (due_at, account) > (?, ?)
                ORDER BY due_at, account LIMIT ?
                """
            let arguments: StatementArguments = [
                now.microseconds, place?.due.microseconds ?? .min, place?.account.rawValue ?? "", limit,
            ]
            return try Row.fetchAll(db, sql: sql, arguments: arguments).map { row in
                let name: String = row["account"]
                guard let account = AccountID(rawValue: name) else {
                    throw StoreError.corrupt("a cycle has no valid account")
                }
                return DuePlace(due: Timestamp(microseconds: row["due_at"]), account: account)
            }
        }
    }
}

/// An account and since when something of it is due.
public struct DuePlace: Hashable, Sendable {
    public let due: Timestamp
    public let account: AccountID
}
