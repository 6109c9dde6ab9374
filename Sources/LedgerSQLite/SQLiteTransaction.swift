import Ledger

/// The statements of the writer: what happens inside its transactions.
final class SQLiteTransaction: EventTransaction {
    private let appendEvent: Statement
    private let eventByKey: Statement
    private let eventsSince: Statement
    private let snapshotOf: Statement
    private let saveBalance: Statement
    private let saveGrant: Statement
    private let saveSnapshot: Statement
    private let recordByKey: Statement
    private let saveRecord: Statement
    private let removeRecord: Statement

    init(_ connection: OpaquePointer?) throws(StoreError) {
        appendEvent = try Statement(
            connection, "INSERT INTO events (\(Statement.eventColumns)) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
        eventByKey = try Statement(connection, "SELECT \(Statement.eventColumns) FROM events WHERE key = ?")
        eventsSince = try Statement(
            connection,
            "SELECT \(Statement.eventColumns) FROM events WHERE account = ? AND version > ? ORDER BY version")
        snapshotOf = try Statement(
            connection, "SELECT version, state FROM snapshots WHERE account = ? AND format = ?")
        saveBalance = try Statement(
            connection,
            """
            INSERT INTO balances (account, version, plan, blocked, opened_at, balance, debt, held, open_holds,
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
            INSERT INTO grants (account, id, pool, source, amount, remaining, expires_at, debt_repaid)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (account, id) DO UPDATE SET remaining = excluded.remaining, debt_repaid = excluded.debt_repaid
            """)
        saveSnapshot = try Statement(
            connection,
            """
            INSERT INTO snapshots (account, version, format, state) VALUES (?, ?, ?, ?)
            ON CONFLICT (account) DO UPDATE SET version = excluded.version, format = excluded.format,
                state = excluded.state
            """)
        recordByKey = try Statement(
            connection,
            """
            SELECT body_hash, request, created_at, settled, content_type, body, charged, balance
            FROM request_keys WHERE account = ? AND key = ?
            """)
        saveRecord = try Statement(
            connection,
            """
            INSERT INTO request_keys (account, key, body_hash, request, created_at, settled, content_type, body, charged,
                balance)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (account, key) DO UPDATE SET body_hash = excluded.body_hash, request = excluded.request,
                created_at = excluded.created_at, settled = excluded.settled, content_type = excluded.content_type,
                body = excluded.body, charged = excluded.charged, balance = excluded.balance
            """)
        removeRecord = try Statement(connection, "DELETE FROM request_keys WHERE request = ?")
    }

    func append(_ event: EncodedEvent) throws {
        let recorded = event.recorded
        appendEvent.bind(recorded.position, at: 1)
        appendEvent.bind(recorded.account.rawValue, at: 2)
        appendEvent.bind(recorded.version, at: 3)
        appendEvent.bind(event.type, at: 4)
        appendEvent.bind(recorded.recordedAt.microseconds, at: 5)
        appendEvent.bind(recorded.effectiveAt.microseconds, at: 6)
        appendEvent.bind(recorded.key, at: 7)
        appendEvent.bind(text: event.data, at: 8)
        event.hash.withBytes { appendEvent.bind(blob: $0, at: 9) }
        try appendEvent.run()
    }

    func event(key: String) throws -> RecordedEvent? {
        eventByKey.bind(key, at: 1)
        return try eventByKey.first { row throws(StoreError) in try row.decodedEvent() }
    }

    func account(_ id: AccountID) throws -> (account: Account, snapshotVersion: Int64) {
        snapshotOf.bind(id.rawValue, at: 1)
        snapshotOf.bind(Account.snapshotFormat, at: 2)
        let snapshot = try snapshotOf.first { row throws(StoreError) in (row.integer(0), Array(row.bytes(1))) }
        var account = snapshot.flatMap { Account(id: id, snapshot: $0.1) } ?? Account(id: id)
        let snapshotVersion = account.version
        eventsSince.bind(id.rawValue, at: 1)
        eventsSince.bind(snapshotVersion, at: 2)
        try eventsSince.forEach { row throws(StoreError) in
            let event = try row.decodedEvent()
            guard event.version == account.version + 1 else {
                throw .corrupt("account '\(id)' has no event of version \(account.version + 1)")
            }
            account.apply(event.event, effectiveAt: event.effectiveAt)
        }
        return (account, snapshotVersion)
    }

    func book(_ id: AccountID) throws -> [RecordedEvent] {
        eventsSince.bind(id.rawValue, at: 1)
        eventsSince.bind(Int64(0), at: 2)
        var events: [RecordedEvent] = []
        try eventsSince.forEach { row throws(StoreError) in events.append(try row.decodedEvent()) }
        return events
    }

    func save(balanceOf account: Account, changedGrants: Set<GrantID>) throws {
        saveBalance.bind(account.id.rawValue, at: 1)
        saveBalance.bind(account.version, at: 2)
        saveBalance.bind(account.plan, at: 3)
        saveBalance.bind(account.isBlocked, at: 4)
        saveBalance.bind(account.openedAt?.microseconds, at: 5)
        saveBalance.bind(account.balance.nanos, at: 6)
        saveBalance.bind(account.debt.nanos, at: 7)
        saveBalance.bind(account.held.nanos, at: 8)
        saveBalance.bind(Int64(account.holds.count), at: 9)
        saveBalance.bind(Self.text(account.totals.granted), at: 10)
        saveBalance.bind(Self.text(account.totals.expired), at: 11)
        saveBalance.bind(Self.text(account.totals.charged), at: 12)
        saveBalance.bind(Self.text(account.totals.reversed), at: 13)
        saveBalance.bind(Self.text(account.totals.withdrawn), at: 14)
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

    /// Decimal text; sums beyond 64 bits are rare, and slower to write.
    static func text(_ value: Int128) -> String {
        Int64(exactly: value).map { String($0) } ?? String(value)
    }

    func save(snapshotOf account: Account) throws {
        saveSnapshot.bind(account.id.rawValue, at: 1)
        saveSnapshot.bind(account.version, at: 2)
        saveSnapshot.bind(Account.snapshotFormat, at: 3)
        saveSnapshot.bind(text: account.snapshot(), at: 4)
        try saveSnapshot.run()
    }

    func requestRecord(_ key: RequestKey) throws -> RequestRecord? {
        recordByKey.bind(key.account.rawValue, at: 1)
        recordByKey.bind(key.key, at: 2)
        return try recordByKey.first { row throws(StoreError) in
            guard let request = RequestID(rawValue: row.text(1)) else { throw .corrupt("a request key without request") }
            let stored = RequestKey(account: key.account, key: key.key, bodyHash: Array(row.blob(0)))
            var answer: StoredAnswer?
            if let contentType = row.optionalText(4) {
                answer = StoredAnswer(
                    contentType: contentType, body: Array(row.blob(5)), charged: Credits(nanos: row.integer(6)),
                    balance: Credits(nanos: row.integer(7)))
            }
            return RequestRecord(
                key: stored, request: request, createdAt: Timestamp(microseconds: row.integer(2)),
                isSettled: row.integer(3) != 0, answer: answer)
        }
    }

    func save(_ record: RequestRecord) throws {
        saveRecord.bind(record.key.account.rawValue, at: 1)
        saveRecord.bind(record.key.key, at: 2)
        saveRecord.bind(blob: record.key.bodyHash, at: 3)
        saveRecord.bind(record.request.rawValue, at: 4)
        saveRecord.bind(record.createdAt.microseconds, at: 5)
        saveRecord.bind(record.isSettled, at: 6)
        saveRecord.bind(record.answer?.contentType, at: 7)
        if let body = record.answer?.body {
            saveRecord.bind(blob: body, at: 8)
        } else {
            saveRecord.bind(Int64?.none, at: 8)
        }
        saveRecord.bind(record.answer?.charged.nanos, at: 9)
        saveRecord.bind(record.answer?.balance.nanos, at: 10)
        try saveRecord.run()
    }

    func removeRequestRecord(of request: RequestID) throws {
        removeRecord.bind(request.rawValue, at: 1)
        try removeRecord.run()
    }
}
