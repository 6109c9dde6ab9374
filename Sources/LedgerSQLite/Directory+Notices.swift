import Foundation
import GRDB
public import Ledger
public import Projections

/// Where somebody is told of things.
public struct NoticeTarget: Hashable, Sendable {
    /// nil: the operator's, who is told of all accounts.
    public let account: AccountID?
    public let url: String
    public let secret: String

    public init(account: AccountID?, url: String, secret: String) {
        self.account = account
        self.url = url
        self.secret = secret
    }
}

/// A notice on its way to a target.
public struct PendingNotice: Sendable {
    public let id: String
    public let account: AccountID
    /// Whether it goes to the operator; else to the account's own webhook.
    public let isOperators: Bool
    public let body: String
    public let attempts: Int64
}

extension Directory {
    /// The name of the notices' checkpoint.
    private static let noticeProjection = "notices"

    /// The position up to which events have been looked at for what is to be told; nil: never yet.
    public func noticeCheckpoint() async throws -> Int64? {
        try await pool.read { db in
            try Int64.fetchOne(
                db, sql: "SELECT position FROM checkpoints WHERE projection = ?", arguments: [Self.noticeProjection])
        }
    }

    /// Writes down what is to be told, each once, and moves the checkpoint, in one transaction.
    ///
    /// `body` writes a notice for a target of a kind. Nothing where the checkpoint is not `from` any more.
    public func queue(
        _ notices: [Notice], forOperator: Bool, from: Int64?, through position: Int64?, at now: Timestamp,
        body: @escaping @Sendable (Notice) -> String
    ) async throws {
        try await write { db in
            if let position {
                let known = try Int64.fetchOne(
                    db, sql: "SELECT position FROM checkpoints WHERE projection = ?",
                    arguments: [Self.noticeProjection])
                guard known == from else { return }
                try db.execute(
                    sql: """
                        INSERT INTO checkpoints (projection, position) VALUES (?, ?)
                        ON CONFLICT (projection) DO UPDATE SET position = excluded.position
                        """, arguments: [Self.noticeProjection, position])
            }
            let insert = try db.cachedStatement(
                sql: """
                    INSERT INTO notices (id, operator, account, body, created_at, due_at, attempts)
                    VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (id, operator) DO NOTHING
                    """)
            for notice in notices {
                let hasOwn =
                    try !notice.isForOperatorOnly
                    && Bool.fetchOne(
                        db, sql: "SELECT EXISTS (SELECT 1 FROM webhooks WHERE account = ?)",
                        arguments: [notice.account.rawValue]) ?? false
                for isOperators in [true, false] where isOperators ? forOperator : hasOwn {
                    try insert.execute(arguments: [
                        notice.id, isOperators, notice.account.rawValue, body(notice), now.microseconds,
                        now.microseconds,
                    ])
                }
            }
        }
    }

    /// Notices whose time to be sent has come, the longest due first.
    public func dueNotices(at now: Timestamp, limit: Int) async throws -> [PendingNotice] {
        try await pool.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT id, operator, account, body, attempts FROM notices
                    WHERE due_at <= ? AND delivered_at IS NULL ORDER BY due_at, id LIMIT ?
                    """, arguments: [now.microseconds, limit]
            ).compactMap { row in
                let name: String = row["account"]
                guard let account = AccountID(rawValue: name) else { return nil }
                return PendingNotice(
                    id: row["id"], account: account, isOperators: row["operator"], body: row["body"],
                    attempts: row["attempts"])
            }
        }
    }

    /// Notes that a notice arrived; or when it is to be tried again, where `next` is given.
    public func note(_ notice: PendingNotice, deliveredAt: Timestamp?, next: Timestamp?) async throws {
        try await write { db in
            try db.execute(
                sql: """
                    UPDATE notices SET attempts = attempts + 1, delivered_at = ?, due_at = coalesce(?, due_at)
                    WHERE id = ? AND operator = ?
                    """,
                arguments: [deliveredAt?.microseconds, next?.microseconds, notice.id, notice.isOperators])
        }
    }

    /// Forgets notices that arrived, and those that nobody took, a while ago: a bounded part at each call.
    public func pruneNotices(createdBefore instant: Timestamp) async throws {
        try await write { db in
            try db.execute(
                sql: """
                    DELETE FROM notices WHERE (id, operator) IN
                        (SELECT id, operator FROM notices WHERE created_at < ? LIMIT 1000)
                    """, arguments: [instant.microseconds])
        }
    }

    /// Grants that will expire in a while, of accounts that somebody may tell, as notices: the earliest first, behind a place.
    public func expiringGrants(
        from: Timestamp, to: Timestamp, forOperator: Bool
    ) async throws -> [Notice] {
        try await pool.read { db in
            // What an account has next due is indexed; its grants are few.
            let sql = """
                SELECT grants.account, events.position, grants.remaining, grants.expires_at
                FROM cycles JOIN grants ON grants.account = cycles.account
                    JOIN events ON events.account = grants.account AND events.version = grants.id
                WHERE cycles.due_at > ?1 AND cycles.due_at <= ?2 AND grants.remaining > 0
                    AND grants.expires_at > ?1 AND grants.expires_at <= ?2
                    AND (?3 OR EXISTS (SELECT 1 FROM webhooks WHERE webhooks.account = grants.account))
                    AND NOT EXISTS (SELECT 1 FROM notices
                        WHERE notices.id = 'credits.expiring_soon:' || events.position)
                LIMIT 500
                """
            return try Row.fetchAll(db, sql: sql, arguments: [from.microseconds, to.microseconds, forOperator])
                .compactMap { row in
                    let (name, position): (String, Int64) = (row["account"], row["position"])
                    guard let account = AccountID(rawValue: name) else { return nil }
                    return Notice(
                        id: "\(Notice.Kind.expiringSoon.rawValue):\(position)", kind: .expiringSoon,
                        account: account, at: from, credits: Credits(nanos: row["remaining"]),
                        expiresAt: Timestamp(microseconds: row["expires_at"]))
                }
        }
    }

    // MARK: Accounts' own webhooks

    /// Where an account is told of things; nil: nowhere.
    public func webhook(of account: AccountID) async throws -> NoticeTarget? {
        try await pool.read { db in
            try Row.fetchOne(
                db, sql: "SELECT url, secret FROM webhooks WHERE account = ?", arguments: [account.rawValue]
            ).map { NoticeTarget(account: account, url: $0["url"], secret: $0["secret"]) }
        }
    }

    /// Whether any account is told of things.
    public func hasWebhooks() async throws -> Bool {
        try await pool.read { try Bool.fetchOne($0, sql: "SELECT EXISTS (SELECT 1 FROM webhooks)") ?? false }
    }

    public func setWebhook(_ target: NoticeTarget, of account: AccountID) async throws {
        try await write { db in
            try db.execute(
                sql: """
                    INSERT INTO webhooks (account, url, secret) VALUES (?, ?, ?)
                    ON CONFLICT (account) DO UPDATE SET url = excluded.url, secret = excluded.secret
                    """, arguments: [account.rawValue, target.url, target.secret])
        }
    }

    /// Says whether there was one.
    public func removeWebhook(of account: AccountID) async throws -> Bool {
        try await write { db in
            try db.execute(sql: "DELETE FROM notices WHERE account = ? AND operator = 0", arguments: [account.rawValue])
            try db.execute(sql: "DELETE FROM webhooks WHERE account = ?", arguments: [account.rawValue])
            return db.changesCount > 0
        }
    }
}
