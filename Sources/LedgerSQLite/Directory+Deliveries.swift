import GRDB
public import Ledger

/// A message of a payment provider, and what became of it.
public struct Delivery: Hashable, Sendable {
    public enum Status: String, Sendable, CaseIterable {
        /// Something that it needs has not come yet; or it has only just been written down.
        case waiting
        case done
        /// Nobody knows what to do with it: for an operator.
        case dead
        /// An operator has dealt with it otherwise.
        case resolved
    }

    /// The SHA-256 of the message: the same message is the same delivery.
    public let id: String
    public let provider: String
    /// The provider's name of what happened.
    public let name: String
    /// What is needed of the message, as JSON; nothing of it says who somebody is.
    public let notice: String
    public var status: Status
    public var detail: String?
    public let receivedAt: Timestamp
    public var attempts: Int64
    /// What it is about, in one text: messages that wait for each other are about the same.
    public let subject: String?

    public init(
        id: String, provider: String, name: String, notice: String, status: Status, detail: String?,
        receivedAt: Timestamp, attempts: Int64, subject: String? = nil
    ) {
        self.id = id
        self.provider = provider
        self.name = name
        self.notice = notice
        self.status = status
        self.detail = detail
        self.receivedAt = receivedAt
        self.attempts = attempts
        self.subject = subject
    }
}

/// A subscription at a payment provider, as far as its messages have told.
public struct ProviderSubscription: Hashable, Sendable {
    public let provider: String
    public let id: String
    public let account: AccountID
    public var plan: String?
    /// The provider's word for how it is.
    public var status: String
    /// The order with which it began.
    public var firstOrder: String?
    /// The payment with which it began.
    public var firstPayment: PaymentID?
    /// When the provider last changed it.
    public var changedAt: Timestamp

    public init(
        provider: String, id: String, account: AccountID, plan: String?, status: String, firstOrder: String?,
        firstPayment: PaymentID? = nil, changedAt: Timestamp
    ) {
        self.provider = provider
        self.id = id
        self.account = account
        self.plan = plan
        self.status = status
        self.firstOrder = firstOrder
        self.firstPayment = firstPayment
        self.changedAt = changedAt
    }
}

extension Directory {
    private static let deliveryColumns = "id, provider, name, notice, status, detail, received_at, attempts, subject"

    /// Writes a delivery down where it is new; gives it as it is known.
    public func receive(_ delivery: Delivery) async throws -> Delivery {
        try await write { db in
            try db.execute(
                sql: """
                    INSERT INTO deliveries (id, provider, name, notice, status, detail, received_at, tried_at, attempts, subject)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
                    """,
                arguments: [
                    delivery.id, delivery.provider, delivery.name, delivery.notice, delivery.status.rawValue,
                    delivery.detail, delivery.receivedAt.microseconds, delivery.receivedAt.microseconds,
                    delivery.attempts, delivery.subject,
                ])
            return try Self.delivery(delivery.id, in: db) ?? delivery
        }
    }

    private static func delivery(_ id: String, in db: Database) throws -> Delivery? {
        try Row.fetchOne(db, sql: "SELECT \(deliveryColumns) FROM deliveries WHERE id = ?", arguments: [id])
            .map { Delivery(row: $0) }
    }

    public func delivery(_ id: String) async throws -> Delivery? {
        try await pool.read { try Self.delivery(id, in: $0) }
    }

    /// Writes down what became of a try. One that is done or resolved stays so.
    public func update(
        _ id: String, to status: Delivery.Status, detail: String?, by actor: String? = nil, at now: Timestamp
    ) async throws {
        try await write { db in
            try db.execute(
                sql: """
                    UPDATE deliveries SET status = ?, detail = ?, tried_at = ?, attempts = attempts + 1,
                        resolved_by = coalesce(?, resolved_by)
                    WHERE id = ? AND status NOT IN ('done', 'resolved')
                    """, arguments: [status.rawValue, detail, now.microseconds, actor, id])
        }
    }

    /// Deliveries of a status, newest first; of all where none is named.
    public func deliveries(_ status: Delivery.Status?, skip: Int, limit: Int) async throws -> [Delivery] {
        try await pool.read { db in
            let filter = status == nil ? "" : "WHERE status = ?"
            var arguments: StatementArguments = []
            if let status { arguments += [status.rawValue] }
            return try Row.fetchAll(
                db,
                sql: """
                    SELECT \(Self.deliveryColumns) FROM deliveries \(filter)
                    ORDER BY received_at DESC, id LIMIT ? OFFSET ?
                    """, arguments: arguments + [limit, skip]
            ).map { Delivery(row: $0) }
        }
    }

    /// Deliveries that wait, first those that were not tried for longest: so that all have their turn.
    public func waitingDeliveries(limit: Int) async throws -> [Delivery] {
        try await pool.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT \(Self.deliveryColumns) FROM deliveries WHERE status = 'waiting'
                    ORDER BY tried_at, id LIMIT ?
                    """, arguments: [limit]
            ).map { Delivery(row: $0) }
        }
    }

    /// Deliveries that wait and are about one of these, the oldest first.
    public func waitingDeliveries(
        about subjects: [String], of provider: String, limit: Int
    ) async throws -> [Delivery] {
        try await pool.read { db in
            let places = Array(repeating: "?", count: subjects.count).joined(separator: ", ")
            return try Row.fetchAll(
                db,
                sql: """
                    SELECT \(Self.deliveryColumns) FROM deliveries
                    WHERE status = 'waiting' AND provider = ? AND subject IN (\(places))
                    ORDER BY received_at, id LIMIT ?
                    """, arguments: [provider] + StatementArguments(subjects) + [limit]
            ).map { Delivery(row: $0) }
        }
    }

    /// Forgets what was dealt with long ago: a bounded part at each call. That a payment counts once does not depend on it.
    public func pruneDeliveries(receivedBefore instant: Timestamp) async throws {
        try await write { db in
            try db.execute(
                sql: """
                    DELETE FROM deliveries WHERE id IN
                        (SELECT id FROM deliveries WHERE status IN ('done', 'resolved') AND received_at < ? LIMIT 1000)
                    """, arguments: [instant.microseconds])
        }
    }

    // MARK: Subscriptions

    public func subscription(_ id: String, of provider: String) async throws -> ProviderSubscription? {
        try await pool.read { db in
            try Row.fetchOne(
                db, sql: "SELECT * FROM provider_subscriptions WHERE provider = ? AND subscription = ?",
                arguments: [provider, id]
            ).flatMap { ProviderSubscription(row: $0) }
        }
    }

    /// The subscription that began with an order.
    public func subscription(beganWith order: String, at provider: String) async throws -> ProviderSubscription? {
        try await pool.read { db in
            try Row.fetchOne(
                db, sql: "SELECT * FROM provider_subscriptions WHERE provider = ? AND first_order = ?",
                arguments: [provider, order]
            ).flatMap { ProviderSubscription(row: $0) }
        }
    }

    /// An account's subscriptions, at whatever provider.
    public func subscriptions(of account: AccountID) async throws -> [ProviderSubscription] {
        try await pool.read { db in
            try Row.fetchAll(
                db, sql: "SELECT * FROM provider_subscriptions WHERE account = ?", arguments: [account.rawValue]
            ).compactMap { ProviderSubscription(row: $0) }
        }
    }

    /// The plan that a subscription was on at an instant, as far as has been told; before anything was, its first. nil: none is known.
    public func plan(of subscription: ProviderSubscription, at instant: Timestamp) async throws -> String? {
        try await pool.read { db in
            try String.fetchOne(
                db,
                sql: """
                    SELECT plan FROM provider_subscription_plans WHERE provider = ?1 AND subscription = ?2
                    ORDER BY told_at > ?3, CASE WHEN told_at > ?3 THEN told_at ELSE -told_at END LIMIT 1
                    """,
                arguments: [subscription.provider, subscription.id, instant.microseconds])
        }
    }

    /// Writes a subscription down, where nothing newer is known; whose it is never changes. Gives it as it is known then.
    ///
    /// On which plan it was at its instant is written down in any case.
    public func remember(_ subscription: ProviderSubscription) async throws -> ProviderSubscription {
        try await write { db in
            if let plan = subscription.plan {
                try db.execute(
                    sql: """
                        INSERT INTO provider_subscription_plans (provider, subscription, told_at, plan)
                        VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET plan = excluded.plan
                        """,
                    arguments: [
                        subscription.provider, subscription.id, subscription.changedAt.microseconds, plan,
                    ])
            }
            try db.execute(
                sql: """
                    INSERT INTO provider_subscriptions (provider, subscription, account, plan, status, first_order,
                        first_payment, changed_at)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                    ON CONFLICT (provider, subscription) DO UPDATE SET plan = excluded.plan, status = excluded.status,
                        first_order = coalesce(excluded.first_order, first_order), changed_at = excluded.changed_at
                    WHERE excluded.changed_at >= changed_at
                    """,
                arguments: [
                    subscription.provider, subscription.id, subscription.account.rawValue, subscription.plan,
                    subscription.status, subscription.firstOrder, subscription.firstPayment?.rawValue,
                    subscription.changedAt.microseconds,
                ])
            let row = try Row.fetchOne(
                db, sql: "SELECT * FROM provider_subscriptions WHERE provider = ? AND subscription = ?",
                arguments: [subscription.provider, subscription.id])
            return row.flatMap { ProviderSubscription(row: $0) } ?? subscription
        }
    }

    /// Writes down with which payment a subscription began, where that is not known.
    public func remember(firstPayment: PaymentID, of subscription: String, at provider: String) async throws {
        try await write { db in
            try db.execute(
                sql: """
                    UPDATE provider_subscriptions SET first_payment = coalesce(first_payment, ?)
                    WHERE provider = ? AND subscription = ?
                    """, arguments: [firstPayment.rawValue, provider, subscription])
        }
    }
}

extension Delivery {
    fileprivate init(row: Row) {
        let status: String = row["status"]
        self.init(
            id: row["id"], provider: row["provider"], name: row["name"], notice: row["notice"],
            status: Status(rawValue: status) ?? .dead, detail: row["detail"],
            receivedAt: Timestamp(microseconds: row["received_at"]), attempts: row["attempts"],
            subject: row["subject"])
    }
}

extension ProviderSubscription {
    fileprivate init?(row: Row) {
        let (account, payment): (String, String?) = (row["account"], row["first_payment"])
        guard let id = AccountID(rawValue: account) else { return nil }
        self.init(
            provider: row["provider"], id: row["subscription"], account: id, plan: row["plan"], status: row["status"],
            firstOrder: row["first_order"], firstPayment: payment.flatMap(PaymentID.init(rawValue:)),
            changedAt: Timestamp(microseconds: row["changed_at"]))
    }
}
