import GRDB
public import Ledger
public import Projections

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A ledger opened for reading only: for audits. It takes no lock and is safe while a server writes.
///
/// All of ``snapshot(_:)`` sees one state of the database, however long it takes.
public final class LedgerFile: Sendable {
    public let path: String
    private let queue: DatabaseQueue
    /// Whether the file is read as one that nobody writes.
    private let isImmutable: Bool

    /// Opens the ledger at `path`, which must exist.
    ///
    /// SQLite keeps a small file beside a database with a write-ahead log, even to read it. Where the folder does not allow that, a ledger
    /// that was closed properly, and so has no log, is read as an immutable file (https://sqlite.org/wal.html#readonly).
    public init(path: String) throws(LedgerOpenError) {
        self.path = path
        try LedgerOpenError.checkIsFile(path)
        do {
            queue = try Self.open(path, as: path)
            isImmutable = false
        } catch let error {
            guard case .cannotOpen = error, !Self.hasLog(path),
                let queue = try? Self.open(path, as: Self.immutable(path))
            else { throw error }
            self.queue = queue
            isImmutable = true
        }
    }

    private static func open(_ path: String, as name: String) throws(LedgerOpenError) -> DatabaseQueue {
        var configuration = Configuration()
        configuration.readonly = true
        configuration.label = "replay"
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA trusted_schema = OFF")
            try db.execute(sql: "PRAGMA cache_size = -4096")
        }
        do {
            let queue = try DatabaseQueue(path: name, configuration: configuration)
            try queue.read { db in
                try SQLiteLedger.checkIdentity(db, path: path)
                guard try Int64.fetchOne(db, sql: "PRAGMA user_version") ?? 0 > 0 else {
                    throw LedgerOpenError.notALedger(path: path)
                }
            }
            return queue
        } catch {
            throw LedgerOpenError(error, path: path)
        }
    }

    /// The file as a URI that says that nobody writes it (https://sqlite.org/uri.html).
    private static func immutable(_ path: String) -> String {
        let escaped = path.utf8.map { byte in
            switch byte {
            case UInt8(ascii: "%"), UInt8(ascii: "?"), UInt8(ascii: "#"): "%" + String(byte, radix: 16)
            default: String(decoding: CollectionOfOne(byte), as: UTF8.self)
            }
        }
        return "file:" + escaped.joined() + "?immutable=1"
    }

    /// Whether a write-ahead log lies beside the database.
    private static func hasLog(_ path: String) -> Bool { access(path + "-wal", F_OK) == 0 }

    /// Runs `body` on one unchanging state of the ledger.
    public func snapshot<R>(_ body: (LedgerView) throws -> R) throws -> R {
        let result = try queue.read { db in try body(LedgerView(db)) }
        if isImmutable, Self.hasLog(path) {
            throw LedgerOpenError.cannotOpen(path: path, "a server has started to write it; try again beside it")
        }
        return result
    }
}

/// One state of a ledger, for as long as the closure that lends it runs. Not to be used on several threads at once.
public final class LedgerView {
    private let db: Database
    private lazy var eventByKey = Result { () throws(StoreError) in
        try Statement(db.sqliteConnection, "SELECT \(Statement.eventColumns) FROM events WHERE key = ?")
    }

    private lazy var usageRows = Result { () throws(StoreError) in
        try Statement(
            db.sqliteConnection,
            "SELECT \(UsageLogPage.columns) FROM usage_log WHERE position > ? ORDER BY position LIMIT ?")
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
        let found = try Schema.definitions(in: db).filter { !$0.key.hasPrefix("rebuild_") }
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
    /// The bytes are borrowed until `body` returns.
    public func scan(
        account: AccountID? = nil, _ body: (StoredBytes, UnsafeRawBufferPointer) throws -> Bool
    ) throws {
        let filter = account == nil ? "ORDER BY position" : "WHERE account = ? ORDER BY version"
        let statement = try Statement(
            db.sqliteConnection, "SELECT \(Statement.eventColumns) FROM events \(filter)")
        if let account { statement.bind(account.rawValue, at: 1) }
        defer { statement.reset() }
        while try statement.step() {
            guard try body(statement.event, statement.eventHash) else { return }
        }
    }

    /// The event that settled a request.
    public func settlement(of request: RequestID) -> RecordedEvent? {
        guard let statement = try? eventByKey.get() else { return nil }
        statement.bind("settle:" + request.rawValue, at: 1)
        return (try? statement.first { row throws(StoreError) in try row.decodedEvent() }) ?? nil
    }

    /// The hash of the event at a position.
    public func hash(at position: Int64) throws -> EventHash? {
        let statement = try Statement(db.sqliteConnection, "SELECT hash FROM events WHERE position = ?")
        statement.bind(position, at: 1)
        return try statement.first { row throws(StoreError) in EventHash(bytes: row.blob(0)) } ?? nil
    }

    /// The position up to which the usage projection has come.
    public func usageCheckpoint() throws -> Int64 {
        try Int64.fetchOne(
            db, sql: "SELECT position FROM checkpoints WHERE projection = ?", arguments: [SQLiteUsage.projection]) ?? 0
    }

    /// How many accounts have a balance.
    public func accountCount() throws -> Int {
        try Int.fetchOne(db, sql: "SELECT count(*) FROM balances") ?? 0
    }

    /// Gives what the tables of balances and grants say of each account, as ``Account/balanceRow`` writes it.
    public func balanceRows(_ body: (String, BalanceRow) throws -> Void) throws {
        let grants = try Statement(
            db.sqliteConnection,
            """
            SELECT id, pool, source, amount, remaining, expires_at, debt_repaid FROM grants WHERE account = ? ORDER BY id
            """)
        let balances = try Statement(
            db.sqliteConnection,
            """
            SELECT account, version, plan, blocked, opened_at, balance, debt, held, open_holds, granted, expired, charged,
                reversed, withdrawn FROM balances ORDER BY account
            """)
        guard try hasCycles() else {
            while try balances.step() { try body(balances.text(0), try row(balances, grants)) }
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
            var row = try row(balances, grants)
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
        // What belongs to accounts without a balance.
        for table in ["grants", "cycles", "payments", "spending"] {
            let orphan = try String.fetchOne(
                db, sql: "SELECT account FROM \(table) WHERE account NOT IN (SELECT account FROM balances) LIMIT 1")
            guard let orphan else { continue }
            try body(orphan, BalanceRow(figures: [], plan: nil, totals: [], grants: []))
        }
    }

    private func row(_ balances: Statement, _ grants: Statement) throws -> BalanceRow {
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

    /// The SHA-256 of the projections' canonical dump: every row of each table in the order of its primary key.
    public func projectionsHash() throws -> EventHash {
        try ProjectionDump.hash(db)
    }

    /// Fills `page` with at most `limit` rows of the usage log behind a position, in order.
    public func readUsage(after position: Int64, limit: Int, into page: inout UsageLogPage) throws {
        page.removeAll()
        let statement = try usageRows.get()
        statement.bind(position, at: 1)
        statement.bind(Int64(limit), at: 2)
        try statement.forEach { row throws(StoreError) in page.append(row) }
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
