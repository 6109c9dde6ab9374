import Foundation
import GRDB
public import Ledger
public import Projections

/// One state of a ledger, for as long as the closure that lends it runs. Not to be used on several threads at once.
public final class LedgerView {
    let db: Database
    lazy var eventByKey = Result { () throws(StoreError) in
        try Statement(db.sqliteConnection, "SELECT \(Statement.eventColumns) FROM events WHERE key = ?")
    }

    lazy var eventByVersion = Result { () throws(StoreError) in
        try Statement(
            db.sqliteConnection, "SELECT \(Statement.eventColumns) FROM events WHERE account = ? AND version = ?")
    }
    private lazy var usageRow = Result { () throws(StoreError) in
        try Statement(db.sqliteConnection, "SELECT \(StoredUsage.columns) FROM usage_log WHERE position = ?")
    }
    private lazy var usageDay = Result { () throws(StoreError) in
        try Statement(
            db.sqliteConnection,
            """
            SELECT requests, errors, prompt_tokens, cached_tokens, completion_tokens, credits, cost_pico_usd
            FROM usage_days WHERE account = ? AND day = ? AND model = ?
            """)
    }

    init(_ db: Database) {
        self.db = db
    }

    /// The tables, indexes and triggers that are not what this ledger's schema has, by name: missing, changed, or somebody else's.
    ///
    /// What an interrupted rebuild left behind is nobody's.
    public func foreignDefinitions() throws -> [String] {
        let version = try Int64.fetchOne(db, sql: "PRAGMA user_version") ?? 0
        let wanted = try Schema.definitions(of: version)
        var found = try Schema.definitions(in: db)
        for name in SQLiteLedger.projectionTables {
            let unfinished = SQLiteLedger.rebuildPrefix + name
            let plain = found[unfinished]?.replacingOccurrences(of: unfinished, with: name)
            if plain == wanted[name] { found[unfinished] = nil }
        }
        return Set(wanted.keys).union(found.keys).filter { wanted[$0] != found[$0] }.sorted()
    }

    /// Whether the ledger keeps cycles and payments: one that no newer version has opened yet does not.
    public func hasCycles() throws -> Bool {
        try Int64.fetchOne(db, sql: "PRAGMA user_version") ?? 0 >= Schema.versionWithCycles
    }

    /// The end of the ledger.
    public func head() throws -> LedgerHead { try SQLiteLedger.head(db) }

    /// Gives each event's stored bytes and hash in the order of positions (of an account: of versions), until `body` says false.
    ///
    /// The bytes are borrowed until `body` returns. Events of types that are not `wanted`, by their stored names, are passed by, which is
    /// cheaper than to look at them.
    public func scan(
        account: AccountID? = nil, after position: Int64 = 0,
        wanted: ((UnsafeBufferPointer<UInt8>) -> Bool)? = nil,
        _ body: (StoredBytes, UnsafeRawBufferPointer) throws -> Bool
    ) throws {
        // The plus keeps SQLite from going through all positions instead of the account's (https://sqlite.org/queryplanner.html).
        let filter =
            account == nil ? "position > ?1 ORDER BY position" : "account = ?2 AND +position > ?1 ORDER BY version"
        let statement = try Statement(
            db.sqliteConnection, "SELECT \(Statement.eventColumns) FROM events WHERE \(filter)")
        statement.bind(position, at: 1)
        if let account { statement.bind(account.rawValue, at: 2) }
        defer { statement.reset() }
        while try statement.step() {
            if let wanted, !wanted(statement.bytes(3)) { continue }
            guard try body(statement.event, statement.eventHash) else { return }
        }
    }

    /// Gives each event of an account in the order of versions, with its hash, until `body` says false.
    ///
    /// Throws where a version is missing: a fold without it would be of something that never was.
    public func events(
        of account: AccountID, _ body: (RecordedEvent, UnsafeRawBufferPointer) throws -> Bool
    ) throws {
        var version: Int64 = 0
        try scan(account: account) { row, hash in
            version += 1
            guard row.version == version else {
                throw StoreError.corrupt(
                    "version \(version) of account '\(account)' is not found by the index of accounts: see replay verify"
                )
            }
            return try body(row.decoded(), hash)
        }
    }

    /// The position up to which the usage projection has come.
    public func usageCheckpoint() throws -> Int64 {
        try Int64.fetchOne(
            db, sql: "SELECT position FROM checkpoints WHERE projection = ?", arguments: [SQLiteUsage.projection]) ?? 0
    }

    /// The SHA-256 of the projections' canonical dump: every row of each table in the order of its primary key.
    public func projectionsHash() throws -> EventHash {
        try ProjectionDump.hash(db)
    }

    /// Gives `body` the row of the usage log that belongs to the event at a position; nil where there is none.
    public func usage<R>(at position: Int64, _ body: (StoredUsage) -> R) throws -> R? {
        let statement = try usageRow.get()
        statement.bind(position, at: 1)
        return try statement.first { row throws(StoreError) in body(StoredUsage(row)) }
    }

    /// Gives each row of the usage log up to a position, in order.
    public func scanUsage(through position: Int64, _ body: (StoredUsage) throws -> Void) throws {
        let statement = try Statement(
            db.sqliteConnection,
            "SELECT \(StoredUsage.columns) FROM usage_log WHERE position <= ? ORDER BY position")
        statement.bind(position, at: 1)
        defer { statement.reset() }
        while try statement.step() { try body(StoredUsage(statement)) }
    }

    /// The stored sums of an account's day and model; nil where there are none, or none that can be read.
    public func usageDay(_ key: UsageDay.Key) throws -> UsageDay? {
        let statement = try usageDay.get()
        statement.bind(key.account.rawValue, at: 1)
        statement.bind(key.day, at: 2)
        statement.bind(key.model, at: 3)
        let day = try statement.first { row throws(StoreError) in
            Int128(row.text(6)).map { cost in
                UsageDay(
                    requests: row.integer(0), errors: row.integer(1), promptTokens: row.integer(2),
                    cachedTokens: row.integer(3), completionTokens: row.integer(4), costPicoUSD: cost,
                    credits: row.integer(5))
            }
        }
        return day ?? nil
    }

    /// The last UTC day that requests of an import belong to; nil where nothing was imported.
    ///
    /// It is what the usage log says: a log that says otherwise than the events is found where the two are compared.
    public func lastImportedDay() throws -> Int64? {
        let latest = try Int64.fetchOne(
            db, sql: "SELECT max(recorded_at) FROM usage_log WHERE request >= ? AND request < ?",
            arguments: [RequestID.importedPrefix, RequestID.importedPrefix.keyBehind])
        return latest.map { Timestamp(microseconds: $0).utcDay }
    }

    /// How many sums of days are stored.
    public func usageDayCount() throws -> Int64 {
        try Int64.fetchOne(db, sql: "SELECT count(*) FROM usage_days") ?? 0
    }
}
