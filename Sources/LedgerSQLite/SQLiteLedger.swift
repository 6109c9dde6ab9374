public import GRDB
import GRDBSQLite
public import Ledger
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The event store on SQLite, open for writing.
///
/// One database file holds the events and everything that is computed from them; beside it lie SQLite's own `-wal` and `-shm`
/// files and the writer's `.lock`. Commits are durable: write-ahead log with `synchronous=FULL`, which is one fsync a
/// transaction (https://sqlite.org/pragma.html#pragma_synchronous).
///
/// Sendable: the prepared statements are only touched inside ``write(_:)``, which the pool runs on its one writer connection.
public final class SQLiteLedger: EventStore, @unchecked Sendable {
    /// The connections: one that writes, several that read. For read models and for ordinary tables.
    public let pool: DatabasePool
    /// Connections that only read, for what may take long: sums and files over a whole history wait for each other, and no balance, key or charge waits for them.
    let reports: DatabasePool
    /// Where the database lies.
    public let path: String
    /// Whether the write-ahead log may hold something that was erased: after a start, whatever was erased before it.
    private let logHoldsErased = Atomic(true)
    private let lock: WriterLock
    private var transaction: SQLiteTransaction?

    /// Opens a ledger, creating it where there is none, and brings its schema up to date.
    ///
    /// Refused while another process has it open for writing, and where its schema is newer than this code.
    public init(path: String, readers: Int = 4) throws(LedgerOpenError) {
        self.path = path
        try LedgerOpenError.checkIsFile(path)
        lock = try WriterLock(databasePath: path)
        var configuration = Configuration()
        configuration.label = "ledger"
        configuration.maximumReaderCount = readers
        // Only a reader of another program (sqlite3, a backup) can keep us waiting: the lock keeps writers out.
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA cache_size = -65536")
            try db.execute(sql: "PRAGMA trusted_schema = OFF")
            // What was erased of a person shall not lie in free pages (https://www.sqlite.org/pragma.html#pragma_secure_delete).
            try db.execute(sql: "PRAGMA secure_delete = ON")
        }
        do {
            pool = try DatabasePool(path: path, configuration: configuration)
            try pool.writeWithoutTransaction { db in
                try Self.checkIdentity(db, path: path)
                // GRDB sets NORMAL for a pool's writer after prepareDatabase: it must be set here, and read back.
                try db.execute(sql: "PRAGMA synchronous = FULL")
                try Schema.migrate(db)
                let synchronous = try Int.fetchOne(db, sql: "PRAGMA synchronous")
                let journal = try String.fetchOne(db, sql: "PRAGMA journal_mode")
                guard synchronous == 2, journal == "wal" else {
                    throw LedgerOpenError.notDurable(
                        "synchronous is \(synchronous ?? -1), journal_mode is \(journal ?? "unknown")")
                }
            }
            var reading = Configuration()
            reading.label = "ledger.reports"
            reading.busyMode = .timeout(5)
            reading.maximumReaderCount = 2
            reading.readonly = true
            reading.prepareDatabase { try $0.execute(sql: "PRAGMA trusted_schema = OFF") }
            reports = try DatabasePool(path: path, configuration: reading)
            transaction = try pool.writeWithoutTransaction { try SQLiteTransaction($0.sqliteConnection) }
        } catch {
            throw LedgerOpenError(error, path: path)
        }
    }

    /// Refuses what is no ledger, and what a newer version wrote.
    static func checkIdentity(_ db: Database, path: String) throws {
        let version = try Int64.fetchOne(db, sql: "PRAGMA user_version") ?? 0
        let application = try Int64.fetchOne(db, sql: "PRAGMA application_id") ?? 0
        let tables = try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_master") ?? 0
        guard application == Schema.applicationID || (application == 0 && version == 0 && tables == 0) else {
            throw LedgerOpenError.notALedger(path: path)
        }
        guard version <= Schema.version else {
            throw LedgerOpenError.newerSchema(path: path, found: version, supported: Schema.version)
        }
    }

    /// Closes the connections. Nothing can be written or read any more.
    ///
    /// The write-ahead log is brought into the database first, so that the one file is the whole ledger: SQLite itself would leave it
    /// where the last connection to close is one that only reads (https://sqlite.org/wal.html#readonly).
    public func close() throws {
        try reports.close()
        pool.writeWithoutTransaction { db in
            transaction = nil
            // Where a reader of another process is in the way, the log stays, and with it all that is in it.
            _ = try? db.checkpoint(.truncate)
        }
        try pool.close()
    }

    /// Says that something is being erased: see ``emptyLog()``. To be called on the writer's connection, so that it comes before or after that.
    func noteErasure() { logHoldsErased.store(true, ordering: .releasing) }

    /// Brings the write-ahead log into the database and empties it, where it may hold something that was erased: pages lie in it as they
    /// were (https://sqlite.org/wal.html#ckpt).
    ///
    /// False where somebody is reading an older state just now, so that it has to be tried again: nobody is waited for.
    func emptyLog() async throws -> Bool {
        guard logHoldsErased.load(ordering: .acquiring) else { return true }
        return try await pool.writeWithoutTransaction { db in
            sqlite3_busy_timeout(db.sqliteConnection, 0)
            // As `busyMode` has it.
            defer { sqlite3_busy_timeout(db.sqliteConnection, 5000) }
            do {
                _ = try db.checkpoint(.truncate)
                self.logHoldsErased.store(false, ordering: .releasing)
                return true
            } catch let error as DatabaseError
                where error.resultCode == .SQLITE_BUSY || error.resultCode == .SQLITE_LOCKED
            {
                return false
            }
        }
    }

    // MARK: EventStore

    public func write(_ body: (any EventTransaction) throws -> Void) throws(StoreError) {
        do {
            try pool.writeWithoutTransaction { db in
                guard let transaction else { throw StoreError.failed("the ledger is closed") }
                try db.inTransaction(.immediate) {
                    try body(transaction)
                    return .commit
                }
            }
        } catch {
            throw StoreError(error)
        }
    }

    public func openHolds() throws(StoreError) -> [(account: AccountID, request: RequestID)] {
        var holds: [(account: AccountID, request: RequestID)] = []
        var accounts: [AccountID] = []
        do {
            let ids = try pool.read { db in
                try String.fetchAll(db, sql: "SELECT account FROM balances WHERE open_holds > 0 ORDER BY account")
            }
            accounts = ids.compactMap(AccountID.init(rawValue:))
        } catch {
            throw StoreError(error)
        }
        try write { transaction in
            for id in accounts {
                let requests = try transaction.account(id).account.holds.keys.sorted { $0.rawValue < $1.rawValue }
                holds += requests.map { (id, $0) }
            }
        }
        return holds
    }

    public func head() throws(StoreError) -> LedgerHead {
        do {
            return try pool.read { try Self.head($0) }
        } catch {
            throw StoreError(error)
        }
    }

    static func head(_ db: Database) throws -> LedgerHead {
        let sql = "SELECT position, recorded_at, hash FROM events ORDER BY position DESC LIMIT 1"
        let statement = try Statement(db.sqliteConnection, sql)
        let head = try statement.first { row throws(StoreError) in
            guard let hash = EventHash(bytes: row.blob(2)) else { throw .corrupt("the last event has no hash") }
            return LedgerHead(
                position: row.integer(0), recordedAt: Timestamp(microseconds: row.integer(1)), hash: hash)
        }
        return head ?? .empty
    }

    public func events(after position: Int64, limit: Int) throws(StoreError) -> [RecordedEvent] {
        do {
            return try pool.read { db in
                let statement = try Statement(
                    db.sqliteConnection,
                    "SELECT \(Statement.eventColumns) FROM events WHERE position > ? ORDER BY position LIMIT ?")
                statement.bind(position, at: 1)
                statement.bind(Int64(limit), at: 2)
                var events: [RecordedEvent] = []
                try statement.forEach { row throws(StoreError) in events.append(try row.decodedEvent()) }
                return events
            }
        } catch {
            throw StoreError(error)
        }
    }
}

extension StoreError {
    /// A storage error out of whatever was thrown.
    init(_ error: any Error) {
        switch error {
        case let error as StoreError: self = error
        case let error as DatabaseError:
            self.init(
                extendedCode: error.extendedResultCode.rawValue, message: error.message ?? "no message")
        default: self = .failed(String(describing: error))
        }
    }
}
