import GRDB
public import Ledger
public import Projections

/// A ledger opened for reading only: for audits. It takes no lock and is safe while a server writes.
///
/// All of ``snapshot(_:)`` sees one state of the database, however long it takes.
public final class LedgerFile: Sendable {
    public let path: String
    private let queue: DatabaseQueue

    /// Opens the ledger at `path`, which must exist.
    public init(path: String) throws(LedgerOpenError) {
        self.path = path
        var configuration = Configuration()
        configuration.readonly = true
        configuration.label = "replay"
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA trusted_schema = OFF")
            try db.execute(sql: "PRAGMA cache_size = -32768")
        }
        do {
            queue = try DatabaseQueue(path: path, configuration: configuration)
            try queue.read { db in
                try SQLiteLedger.checkIdentity(db, path: path)
                guard try Int64.fetchOne(db, sql: "PRAGMA user_version") ?? 0 > 0 else {
                    throw LedgerOpenError.notALedger(path: path)
                }
            }
        } catch let error as LedgerOpenError {
            throw error
        } catch {
            throw .cannotOpen(path: path, String(describing: error))
        }
    }

    /// Runs `body` on one unchanging state of the ledger.
    public func snapshot<R>(_ body: (LedgerView) throws -> R) throws -> R {
        try queue.read { db in try body(LedgerView(db)) }
    }
}

/// One state of a ledger, for as long as the closure that lends it runs. Not to be used on several threads at once.
public final class LedgerView {
    private let db: Database
    private lazy var eventByKey = Result { () throws(StoreError) in
        try Statement(db.sqliteConnection, "SELECT \(Statement.eventColumns) FROM events WHERE key = ?")
    }

    init(_ db: Database) {
        self.db = db
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

    /// The charge of a request.
    public func charge(of request: RequestID) -> RequestCharged? {
        guard let statement = try? eventByKey.get() else { return nil }
        statement.bind("settle:" + request.rawValue, at: 1)
        let event = try? statement.first { row throws(StoreError) in try row.decodedEvent() }
        guard case .requestCharged(let charge)? = event?.event else { return nil }
        return charge
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

    /// A number of rows, by table; the table's name is a literal of ours.
    public func count(of table: Table) throws -> Int64 {
        try Int64.fetchOne(db, sql: "SELECT count(*) FROM \(table.rawValue)") ?? 0
    }

    /// The tables that are computed from events.
    public enum Table: String, CaseIterable, Sendable {
        case balances, grants, snapshots
        case usageLog = "usage_log"
        case usageDays = "usage_days"

        var key: String {
            switch self {
            case .balances, .snapshots: "account"
            case .grants: "account, id"
            case .usageLog: "position"
            case .usageDays: "account, day, model"
            }
        }
    }

    /// Gives each row of a table in the order of its primary key, as its columns' names and values as text (NULL: nil).
    public func rows(of table: Table, _ body: ([String: String?]) throws -> Void) throws {
        let cursor = try Row.fetchCursor(db, sql: "SELECT * FROM \(table.rawValue) ORDER BY \(table.key)")
        while let row = try cursor.next() {
            var values: [String: String?] = [:]
            for (column, value) in row {
                switch value.storage {
                case .null: values[column] = .some(nil)
                case .int64(let number): values[column] = String(number)
                case .double(let number): values[column] = String(number)
                case .string(let text): values[column] = text
                case .blob(let data): values[column] = data.map { String($0, radix: 16) }.joined()
                }
            }
            try body(values)
        }
    }

    /// The usage log's rows, by position, one at a time.
    public func usageRows() throws -> () throws -> UsageRow? {
        let cursor = try Row.fetchCursor(db, sql: "SELECT * FROM usage_log ORDER BY position")
        return { try cursor.next().map { try UsageRow(row: $0) } }
    }

    /// Sums the usage log by account, day and model, in that order, without holding more than one sum at a time.
    public func sumUsageLog(_ body: (UsageDay.Key, UsageDay) throws -> Void) throws {
        let cursor = try Row.fetchCursor(
            db, sql: "SELECT * FROM usage_log ORDER BY account, recorded_at / 86400000000, model")
        var current: (key: UsageDay.Key, day: UsageDay)?
        while let row = try cursor.next() {
            let usage = try UsageRow(row: row)
            let key = UsageDay.Key(account: usage.account, day: usage.recordedAt.utcDay, model: usage.model)
            if let done = current, done.key != key {
                try body(done.key, done.day)
                current = nil
            }
            var day = current?.day ?? UsageDay()
            day.add(usage)
            current = (key, day)
        }
        if let current { try body(current.key, current.day) }
    }

    /// The stored sums of days, one at a time, by account, day and model.
    public func usageDays() throws -> () throws -> (key: UsageDay.Key, day: UsageDay)? {
        let cursor = try Row.fetchCursor(db, sql: "SELECT * FROM usage_days ORDER BY account, day, model")
        return {
            guard let row = try cursor.next() else { return nil }
            let account: String = row["account"]
            guard let account = AccountID(rawValue: account) else { throw StoreError.corrupt("usage_days: no account") }
            return (UsageDay.Key(account: account, day: row["day"], model: row["model"]), try UsageDay(row: row))
        }
    }
}
