import GRDB
public import Ledger
public import Projections

/// The usage read models on SQLite: ``UsageStore`` and what is read from it.
public struct SQLiteUsage: UsageStore {
    static let projection = "usage"
    let writer: any DatabaseWriter
    /// For what may take long.
    let reports: any DatabaseReader
    /// The tables: the live ones, or those of a rebuild.
    private let tables: UsageTables

    public init(_ ledger: SQLiteLedger) {
        self.init(writer: ledger.pool, reports: ledger.reports, tables: .live)
    }

    init(writer: any DatabaseWriter, reports: (any DatabaseReader)? = nil, tables: UsageTables) {
        self.writer = writer
        self.reports = reports ?? writer
        self.tables = tables
    }

    public func usageCheckpoint() throws -> Int64 {
        try writer.read { try checkpoint($0) }
    }

    private func checkpoint(_ db: Database) throws -> Int64 {
        try Int64.fetchOne(
            db, sql: "SELECT position FROM checkpoints WHERE projection = ?", arguments: [tables.projection]) ?? 0
    }

    public func apply(_ changes: UsageChanges, from: Int64, through position: Int64) throws {
        try writer.write { db in
            guard try checkpoint(db) == from else { return }
            for row in changes.rows { try insert(row, into: db) }
            for (key, day) in changes.days { try add(day, to: key, in: db) }
            let reverse = try db.cachedStatement(
                sql: "UPDATE \(tables.log) SET reversed = reversed + ? WHERE request = ?")
            for (request, amount) in changes.reversed {
                try reverse.execute(arguments: [amount.nanos, request.rawValue])
            }
            try db.execute(
                sql: """
                    INSERT INTO checkpoints (projection, position) VALUES (?, ?)
                    ON CONFLICT (projection) DO UPDATE SET position = excluded.position
                    """, arguments: [tables.projection, position])
        }
    }

    private func insert(_ row: UsageRow, into db: Database) throws {
        let statement = try db.cachedStatement(
            sql: """
                INSERT INTO \(tables.log) (position, account, request, recorded_at, key_id, model, endpoint, status,
                    detail, prompt_tokens, cached_tokens, completion_tokens, estimated, cost_pico_usd, credits, reversed)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """)
        try statement.execute(arguments: [
            row.position, row.account.rawValue, row.request.rawValue, row.recordedAt.microseconds, row.keyID, row.model,
            row.endpoint, row.isSuccess ? "success" : "error", row.detail, row.promptTokens, row.cachedTokens,
            row.completionTokens, row.isEstimated, String(row.costPicoUSD), row.credits.nanos,
            row.reversed.nanos,
        ])
    }

    private func add(_ day: UsageDay, to key: UsageDay.Key, in db: Database) throws {
        let select = try db.cachedStatement(
            sql: """
                SELECT requests, errors, prompt_tokens, cached_tokens, completion_tokens, cost_pico_usd, credits
                FROM \(tables.days) WHERE account = ? AND day = ? AND model = ?
                """)
        var sum = day
        if let row = try Row.fetchOne(select, arguments: [key.account.rawValue, key.day, key.model]) {
            sum.add(try UsageDay(row: row))
        }
        let upsert = try db.cachedStatement(
            sql: """
                INSERT INTO \(tables.days) (account, day, model, requests, errors, prompt_tokens, cached_tokens,
                    completion_tokens, cost_pico_usd, credits)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (account, day, model) DO UPDATE SET requests = excluded.requests, errors = excluded.errors,
                    prompt_tokens = excluded.prompt_tokens, cached_tokens = excluded.cached_tokens,
                    completion_tokens = excluded.completion_tokens, cost_pico_usd = excluded.cost_pico_usd,
                    credits = excluded.credits
                """)
        try upsert.execute(arguments: [
            key.account.rawValue, key.day, key.model, sum.requests, sum.errors, sum.promptTokens, sum.cachedTokens,
            sum.completionTokens, String(sum.costPicoUSD), sum.credits,
        ])
    }

    // MARK: Reading

    /// The columns of a row of the log.
    static let rowColumns = """
        position, account, request, recorded_at, key_id, model, endpoint, status, detail, prompt_tokens, cached_tokens,
        completion_tokens, estimated, cost_pico_usd, credits, reversed
        """

    /// An account's settled requests, newest first.
    public func log(of account: AccountID, skip: Int, limit: Int) async throws -> [UsageRow] {
        try await writer.read { db in
            let sql = """
                SELECT \(Self.rowColumns) FROM usage_log WHERE account = ?
                ORDER BY recorded_at DESC, position DESC LIMIT ? OFFSET ?
                """
            return try Row.fetchAll(db, sql: sql, arguments: [account.rawValue, limit, skip])
                .map { try UsageRow(row: $0) }
        }
    }

    /// The sums of an account's days, from one UTC day to another (both included), by day and model.
    public func days(
        of account: AccountID, from: Int64, through: Int64
    ) async throws -> [(key: UsageDay.Key, day: UsageDay)] {
        try await writer.read { db in
            let sql = """
                SELECT day, model, requests, errors, prompt_tokens, cached_tokens, completion_tokens, cost_pico_usd, credits
                FROM usage_days WHERE account = ? AND day BETWEEN ? AND ? ORDER BY day, model
                """
            return try Row.fetchAll(db, sql: sql, arguments: [account.rawValue, from, through]).map { row in
                (UsageDay.Key(account: account, day: row["day"], model: row["model"]), try UsageDay(row: row))
            }
        }
    }

    /// What an account's requests have cost in all, in pico-USD.
    public func cost(of account: AccountID) async throws -> Int128 {
        try await days(of: account, from: .min, through: .max).reduce(0) { $0 + $1.day.costPicoUSD }
    }
}

/// The names of the tables that a projection is written to.
struct UsageTables: Sendable {
    let projection: String
    let log: String
    let days: String

    static let live = UsageTables(projection: SQLiteUsage.projection, log: "usage_log", days: "usage_days")
    static let rebuilt = UsageTables(
        projection: "rebuild_usage", log: "rebuild_usage_log", days: "rebuild_usage_days")
}

extension UsageDay {
    init(row: Row) throws {
        self.init()
        requests = row["requests"]
        errors = row["errors"]
        promptTokens = row["prompt_tokens"]
        cachedTokens = row["cached_tokens"]
        completionTokens = row["completion_tokens"]
        credits = row["credits"]
        let cost: String = row["cost_pico_usd"]
        guard let value = Int128(cost) else { throw StoreError.corrupt("the usage of a day has no cost") }
        costPicoUSD = value
    }
}

extension UsageRow {
    init(row: Row) throws {
        let account: String = row["account"]
        let request: String = row["request"]
        let cost: String = row["cost_pico_usd"]
        guard let account = AccountID(rawValue: account), let request = RequestID(rawValue: request),
            let cost = Int128(cost)
        else { throw StoreError.corrupt("a row of the usage log cannot be read") }
        let status: String = row["status"]
        self.init(
            position: row["position"], account: account, request: request,
            recordedAt: Timestamp(microseconds: row["recorded_at"]), keyID: row["key_id"], model: row["model"],
            endpoint: row["endpoint"], isSuccess: status == "success", detail: row["detail"],
            promptTokens: row["prompt_tokens"], cachedTokens: row["cached_tokens"],
            completionTokens: row["completion_tokens"], isEstimated: row["estimated"], costPicoUSD: cost,
            credits: Credits(nanos: row["credits"]), reversed: Credits(nanos: row["reversed"]))
    }
}
