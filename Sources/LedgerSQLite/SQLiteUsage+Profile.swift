import GRDB
public import Ledger
public import Projections

/// Which rows of an account's usage log are wanted: those of `[from, to)` that have what is named here.
public struct UsageFilter: Hashable, Sendable {
    public let from: Timestamp
    public let to: Timestamp
    /// `provider:model`, or a model's own name with any provider.
    public let model: String?
    public let isSuccess: Bool?
    public let keyID: String?

    public init(
        from: Timestamp, to: Timestamp, model: String? = nil, isSuccess: Bool? = nil, keyID: String? = nil
    ) {
        self.from = from
        self.to = to
        self.model = model
        self.isSuccess = isSuccess
        self.keyID = keyID
    }
}

/// A row's place in a listing, which is newest first: by the time of recording, then by position.
///
/// Imported history has old times at new positions, so a place is both.
public struct UsagePlace: Hashable, Sendable {
    public let recordedAt: Timestamp
    public let position: Int64

    public init(recordedAt: Timestamp, position: Int64) {
        self.recordedAt = recordedAt
        self.position = position
    }

    public init(_ row: UsageRow) {
        self.init(recordedAt: row.recordedAt, position: row.position)
    }
}

extension SQLiteUsage {
    /// The next rows of an account behind a place, newest first; without a place, the newest.
    ///
    /// What is recorded meanwhile moves nothing: a page begins at a row's place, not behind a number of rows.
    public func log(
        of account: AccountID, where filter: UsageFilter, behind place: UsagePlace?, limit: Int
    ) async throws -> [UsageRow] {
        // Positions begin with 1: at position 0 of an instant, all of its rows are still to come.
        let begin = place ?? UsagePlace(recordedAt: filter.to, position: 0)
        let status: String? = filter.isSuccess.map { $0 ? "success" : "error" }
        return try await reports.read { db in
            let sql = """
                SELECT \(Self.rowColumns) FROM usage_log
                WHERE account = :account AND recorded_at >= :from AND recorded_at < :to
                    AND (recorded_at, position) < (:recorded_at, :position)
                    AND (:status IS NULL OR status = :status)
                    AND (:key IS NULL OR key_id = :key)
                    AND (:model IS NULL OR model = :model OR substr(model, instr(model, ':') + 1) = :model)
                ORDER BY recorded_at DESC, position DESC LIMIT :limit
                """
            let arguments: StatementArguments = [
                "account": account.rawValue, "from": filter.from.microseconds, "to": filter.to.microseconds,
                "recorded_at": begin.recordedAt.microseconds, "position": begin.position, "status": status,
                "key": filter.keyID, "model": filter.model, "limit": limit,
            ]
            return try Row.fetchAll(db, sql: sql, arguments: arguments).map { try UsageRow(row: $0) }
        }
    }

    /// Folds an account's charged requests of `[from, to)`, in the order of their recording; `add` runs on a thread of the database.
    ///
    /// Rows are read one by one: memory is that of the result, whatever the length of the history.
    public func fold<Result: Sendable>(
        of account: AccountID, from: Timestamp, to: Timestamp, into initial: Result,
        _ add: @escaping @Sendable (inout Result, UsageFigures) -> Void
    ) async throws -> Result {
        try await reports.read { db in
            let statement = try Statement(
                db.sqliteConnection,
                """
                SELECT recorded_at, model, prompt_tokens, completion_tokens, cost_pico_usd FROM usage_log
                WHERE account = ? AND recorded_at >= ? AND recorded_at < ? AND status = 'success'
                ORDER BY recorded_at, position
                """)
            statement.bind(account.rawValue, at: 1)
            statement.bind(from.microseconds, at: 2)
            statement.bind(to.microseconds, at: 3)
            var result = initial
            while try statement.step() {
                guard let cost = Int128(statement.text(4)) else {
                    throw StoreError.corrupt("a row of the usage log has no cost")
                }
                let figures = UsageFigures(
                    recordedAt: Timestamp(microseconds: statement.integer(0)), model: statement.text(1),
                    promptTokens: statement.integer(2), completionTokens: statement.integer(3), costPicoUSD: cost)
                add(&result, figures)
            }
            return result
        }
    }

    /// What the requests of several accounts have cost in all, in pico-USD: one query. Who has no requests is not in it.
    ///
    /// SQLite takes 32,766 parameters: so many accounts at most.
    public func costs(of accounts: [AccountID]) async throws -> [AccountID: Int128] {
        guard !accounts.isEmpty else { return [:] }
        let names = accounts.map(\.rawValue)
        return try await reports.read { db in
            let sql = """
                SELECT account, cost_pico_usd FROM usage_days
                WHERE account IN (\(databaseQuestionMarks(count: names.count)))
                """
            var costs: [AccountID: Int128] = [:]
            let rows = try Row.fetchCursor(db, sql: sql, arguments: StatementArguments(names))
            while let row = try rows.next() {
                let name: String = row["account"]
                let text: String = row["cost_pico_usd"]
                guard let account = AccountID(rawValue: name), let cost = Int128(text) else {
                    throw StoreError.corrupt("the usage of a day has no cost")
                }
                costs[account, default: 0] += cost
            }
            return costs
        }
    }
}
