import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import WireJSON

/// `/v1/budgets`: what users may spend in a rolling period, attached to them by `budget_id`. It binds as a cap of their accounts.
struct BudgetRoutes: Sendable {
    let authenticator: Authenticator
    let directory: Directory
    let caps: BudgetCaps

    /// A billion dollars, in micro-USD.
    private static let largest: Int64 = 1_000_000_000_000_000
    /// A hundred years.
    private static let longest: Int64 = 3_155_760_000

    func add(to router: some RouterMethods<GatewayContext>) {
        router.post("/v1/budgets", use: create)
        router.get("/v1/budgets", use: list)
        router.get("/v1/budgets/:id", use: show)
        router.patch("/v1/budgets/:id", use: update)
        router.delete("/v1/budgets/:id", use: delete)
    }

    @Sendable func create(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.operate, request, context)
        let fields = try await BodyFields(request)
        try fields.refuseOthers(than: ["max_budget", "budget_duration_sec"])
        let budget = Budget(
            id: UUID().uuidString.lowercased(), maxMicroUSD: try Self.amount(fields),
            durationSeconds: try Self.duration(fields), createdAt: SystemClock.now())
        try await directory.insert(budget)
        return Response.json { budget.write(to: &$0) }
    }

    @Sendable func list(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        let page = try Page(request)
        let found = try await directory.budgets(skip: page.skip, limit: page.limit)
        return Response.json { json in
            json.beginArray()
            for budget in found { budget.write(to: &json) }
            json.endArray()
        }
    }

    @Sendable func show(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        let budget = try await budget(context)
        return Response.json { budget.write(to: &$0) }
    }

    /// Changes what the body names; `null` takes a bound away.
    @Sendable func update(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.operate, request, context).actor
        let id = try await budget(context).id
        let fields = try await BodyFields(request)
        try fields.refuseOthers(than: ["max_budget", "budget_duration_sec"])
        let amount = fields.has("max_budget") ? Change(try Self.amount(fields)) : nil
        let duration = fields.has("budget_duration_sec") ? Change(try Self.duration(fields)) : nil
        let changed = try await directory.updateBudget(id) { budget in
            if let amount { budget.maxMicroUSD = amount.value }
            if let duration { budget.durationSeconds = duration.value }
            budget.updatedAt = SystemClock.now()
        }
        guard let changed else { throw GatewayError.budgetNotFound(id) }
        try await caps.apply(budget: id, actor: actor)
        return Response.json { changed.write(to: &$0) }
    }

    /// Deletes a budget; a 409 while users are attached to it.
    @Sendable func delete(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.operate, request, context)
        let id = Self.name(context)
        switch try await directory.deleteBudget(id) {
        case .deleted: return Response(status: .noContent)
        case .unknown: throw GatewayError.budgetNotFound(id)
        case .inUse:
            throw GatewayError(.conflict, "budget_in_use", "Budget with id '\(id)' is the budget of users")
        }
    }

    private func budget(_ context: GatewayContext) async throws -> Budget {
        let id = Self.name(context)
        guard let budget = try await directory.budget(id) else { throw GatewayError.budgetNotFound(id) }
        return budget
    }

    private static func name(_ context: GatewayContext) -> String {
        context.parameters.get("id")?.removingPercentEncoding ?? ""
    }

    private static func amount(_ fields: BodyFields) throws -> Int64? {
        guard let text = try fields.decimal("max_budget") else { return nil }
        guard let amount = Decimal64.parse(text, fractionDigits: 6), (0...largest).contains(amount) else {
            throw GatewayError.validation(
                kind: "amount", field: "max_budget",
                message: "Input should be an amount in USD from 0 to 1000000000 with at most six decimals")
        }
        return amount
    }

    private static func duration(_ fields: BodyFields) throws -> Int64? {
        guard let seconds = try fields.integer("budget_duration_sec") else { return nil }
        guard (1...longest).contains(seconds) else {
            throw GatewayError.validation(
                kind: "greater_than", field: "budget_duration_sec",
                message: "Input should be a number of seconds from 1 to \(longest)")
        }
        return seconds
    }
}

extension Budget {
    fileprivate func write(to json: inout JSONWriter) {
        json.beginObject()
        json.field("budget_id", id)
        json.name("max_budget")
        json.raw(maxMicroUSD.map { Decimal64.text($0, fractionDigits: 6) } ?? "null")
        json.nullable("budget_duration_sec", durationSeconds)
        json.field("created_at", createdAt.description)
        json.field("updated_at", updatedAt.description)
        json.endObject()
    }
}

extension GatewayError {
    static func budgetNotFound(_ id: String) -> GatewayError {
        GatewayError(.notFound, "budget_not_found", "Budget with id '\(id)' not found")
    }
}
