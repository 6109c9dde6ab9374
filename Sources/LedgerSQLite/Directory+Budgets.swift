import GRDB
public import Ledger

/// What users may spend in a period: their accounts' caps follow it.
public struct Budget: Hashable, Sendable {
    public let id: String
    /// Micro-USD; nil: no bound.
    public var maxMicroUSD: Int64?
    /// The rolling period, in seconds; nil: for ever.
    public var durationSeconds: Int64?
    public let createdAt: Timestamp
    public var updatedAt: Timestamp

    public init(id: String, maxMicroUSD: Int64?, durationSeconds: Int64?, createdAt: Timestamp) {
        self.id = id
        self.maxMicroUSD = maxMicroUSD
        self.durationSeconds = durationSeconds
        self.createdAt = createdAt
        updatedAt = createdAt
    }
}

/// What became of the deletion of a budget.
public enum BudgetDeletion: Hashable, Sendable {
    case deleted
    case unknown
    /// Users are attached to it: nothing was deleted.
    case inUse
}

extension Directory {
    private static let budgetColumns = "budget_id, max_budget_micro_usd, duration_seconds, created_at, updated_at"

    /// Adds a budget.
    public func insert(_ budget: Budget) async throws {
        try await write { db in
            try db.execute(
                sql: """
                    INSERT INTO budgets (budget_id, max_budget_micro_usd, duration_seconds, created_at, updated_at)
                    VALUES (?, ?, ?, ?, ?)
                    """,
                arguments: [
                    budget.id, budget.maxMicroUSD, budget.durationSeconds, budget.createdAt.microseconds,
                    budget.updatedAt.microseconds,
                ])
        }
    }

    public func budget(_ id: String) async throws -> Budget? {
        try await pool.read { try Self.budget(id, in: $0) }
    }

    private static func budget(_ id: String, in db: Database) throws -> Budget? {
        try Row.fetchOne(db, sql: "SELECT \(budgetColumns) FROM budgets WHERE budget_id = ?", arguments: [id])
            .map { Budget(row: $0) }
    }

    /// Budgets in the order of their creation: pages do not shift when others are added.
    public func budgets(skip: Int, limit: Int) async throws -> [Budget] {
        try await pool.read { db in
            try Row.fetchAll(
                db,
                sql: "SELECT \(Self.budgetColumns) FROM budgets ORDER BY created_at, budget_id LIMIT ? OFFSET ?",
                arguments: [limit, skip]
            ).map { Budget(row: $0) }
        }
    }

    /// Changes a budget in one transaction; gives it as changed, nil where there is none.
    public func updateBudget(
        _ id: String, _ change: @escaping @Sendable (inout Budget) throws -> Void
    ) async throws -> Budget? {
        try await write { db in
            guard var budget = try Self.budget(id, in: db) else { return nil }
            try change(&budget)
            try db.execute(
                sql: """
                    UPDATE budgets SET max_budget_micro_usd = ?, duration_seconds = ?, updated_at = ?
                    WHERE budget_id = ?
                    """,
                arguments: [budget.maxMicroUSD, budget.durationSeconds, budget.updatedAt.microseconds, id])
            return budget
        }
    }

    /// Users who are attached to a budget, or to any where none is named, in the order of their ids behind one of them.
    public func users(withBudget budget: String?, behind user: AccountID?, limit: Int) async throws -> [User] {
        try await pool.read { db in
            let filter = budget == nil ? "budget_id IS NOT NULL" : "budget_id = ?"
            var arguments: StatementArguments = []
            if let budget { arguments += [budget] }
            return try Row.fetchAll(
                db,
                sql: """
                    SELECT \(Self.userColumns) FROM users
                    WHERE \(filter) AND user_id > ? AND deleted_at IS NULL ORDER BY user_id LIMIT ?
                    """, arguments: arguments + [user?.rawValue ?? "", limit]
            ).map { try User(row: $0) }
        }
    }

    /// Deletes a budget that no user is attached to.
    public func deleteBudget(_ id: String) async throws -> BudgetDeletion {
        try await write { db in
            let isUsed = try Bool.fetchOne(
                db, sql: "SELECT EXISTS (SELECT 1 FROM users WHERE budget_id = ? AND deleted_at IS NULL)",
                arguments: [id])
            if isUsed ?? false { return .inUse }
            try db.execute(sql: "DELETE FROM budgets WHERE budget_id = ?", arguments: [id])
            return db.changesCount > 0 ? .deleted : .unknown
        }
    }
}

extension Budget {
    fileprivate init(row: Row) {
        self.init(
            id: row["budget_id"], maxMicroUSD: row["max_budget_micro_usd"], durationSeconds: row["duration_seconds"],
            createdAt: Timestamp(microseconds: row["created_at"]))
        updatedAt = Timestamp(microseconds: row["updated_at"])
    }
}
