import Ledger

/// The statements of the writer: what happens inside its transactions.
final class SQLiteTransaction: EventTransaction {
    private let appendEvent: Statement
    private let eventByKey: Statement
    private let eventsSince: Statement
    private let snapshotOf: Statement
    private let balances: BalanceStatements
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
        balances = try BalanceStatements(connection, tablePrefix: "")
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
            -- What becomes of a request is kept only where its admission still is: not of who was erased meanwhile.
            SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
            WHERE ?6 = 0 OR EXISTS (SELECT 1 FROM request_keys WHERE account = ?1 AND key = ?2)
            ON CONFLICT (account, key) DO UPDATE SET body_hash = excluded.body_hash, request = excluded.request,
                created_at = excluded.created_at, settled = excluded.settled, content_type = excluded.content_type,
                body = excluded.body, charged = excluded.charged, balance = excluded.balance
            """)
        removeRecord = try Statement(connection, "DELETE FROM request_keys WHERE request = ?")
    }

    func append(_ event: EncodedEvent) throws -> Bool {
        let recorded = event.recorded
        appendEvent.bind(recorded.position, at: 1)
        appendEvent.bind(recorded.version, at: 3)
        appendEvent.bind(recorded.recordedAt.microseconds, at: 5)
        appendEvent.bind(recorded.effectiveAt.microseconds, at: 6)
        var account = recorded.account.rawValue
        var type = event.type
        var key = recorded.key
        // Everything borrowed lives until the statement has run; binding it anew is what the next append begins with.
        return try account.withUTF8 { account in
            try type.withUTF8 { type in
                try key.withUTF8 { key in
                    try event.data.withUnsafeBufferPointer { data in
                        try event.hash.withBytes { hash in
                            appendEvent.bind(borrowing: account, at: 2)
                            appendEvent.bind(borrowing: type, at: 4)
                            appendEvent.bind(borrowing: key, at: 7)
                            appendEvent.bind(borrowing: data, at: 8)
                            appendEvent.bind(borrowing: hash, at: 9)
                            return try appendEvent.runUnlessRefused()
                        }
                    }
                }
            }
        }
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

    func save(_ account: Account, _ changes: AccountChanges) throws {
        try balances.save(account, changes)
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
            guard let request = RequestID(rawValue: row.text(1)) else {
                throw .corrupt("a request key without request")
            }
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
