import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import Projections
import WireJSON

/// `/v1/users`: who uses the gateway. Master key only.
struct UserRoutes: Sendable {
    let authenticator: Authenticator
    let writer: LedgerWriter
    let directory: Directory
    let balances: SQLiteBalances
    let usage: SQLiteUsage
    let caps: BudgetCaps

    func add(to router: some RouterMethods<GatewayContext>) {
        router.post("/v1/users", use: create)
        router.get("/v1/users", use: list)
        router.get("/v1/users/:id", use: show)
        router.patch("/v1/users/:id", use: update)
        router.delete("/v1/users/:id", use: delete)
        router.get("/v1/users/:id/usage", use: log)
    }

    /// Refuses members that would set money or limits if this route knew them. Others that it does not know are ignored, as they always were: of those,
    /// and of what its own answers have, clients send some.
    private static func refuseMistaken(_ fields: BodyFields) throws {
        let known: Set<String> = [
            "user_id", "alias", "budget_id", "blocked", "metadata", "spend", "budget_started_at",
            "next_budget_reset_at",
        ]
        let parts = [
            "budget", "limit", "credit", "balance", "quota", "parallel", "per_day", "per_month", "per_minute", "spend",
        ]
        let words: Set<String> = ["rpm", "tpm", "block", "blocked", "price", "plan", "total", "models"]
        try fields.refuseOthers(than: known) { name in
            let name = name.lowercased()
            return parts.contains { name.contains($0) }
                || name.split(whereSeparator: { "_-. ".contains($0) }).contains { words.contains(String($0)) }
        }
    }

    @Sendable func create(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.operate, request, context).actor
        let fields = try await BodyFields(request)
        try Self.refuseMistaken(fields)
        let id = try AccountID(field: "user_id", fields)
        let user = User(
            id: id, alias: try fields.string("alias"), budgetID: try fields.string("budget_id"),
            metadata: try fields.object("metadata") ?? "{}", createdAt: SystemClock.now())
        let blocked = try fields.bool("blocked") ?? false
        guard try await create(user, blocked: blocked, actor: actor) else {
            throw GatewayError(.conflict, "user_exists", "User with id '\(id)' already exists")
        }
        return try await render(user)
    }

    /// Opens an account on the FREE plan, where there is none, and adds its user; false where that exists. No bonus comes by this door.
    func create(_ user: User, blocked: Bool, actor: String) async throws -> Bool {
        _ = try await writer.submit(Command(account: user.id, action: .open(plan: Plan.freeName)))
        // An id that was erased before may come again: what the account was blocked for then does not bind now.
        guard try await directory.insert(user) else { return false }
        try await setBlocked(user.id, blocked, actor)
        try await caps.apply(to: user, actor: actor)
        return true
    }

    private func setBlocked(_ id: AccountID, _ blocked: Bool, _ actor: String) async throws {
        let action: Command.Action = blocked ? .block(actor: actor) : .unblock(actor: actor)
        _ = try await writer.submit(Command(account: id, action: action))
    }

    @Sendable func list(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        let page = try Page(request)
        var bodies: [[UInt8]] = []
        let users = try await directory.users(skip: page.skip, limit: page.limit)
        let spend = try await usage.costs(of: users.map(\.id))
        for user in users { bodies.append(try await json(user, spend: spend[user.id] ?? 0)) }
        return Response.json { json in
            json.beginArray()
            for body in bodies { json.raw(body) }
            json.endArray()
        }
    }

    @Sendable func show(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        return try await render(try await user(context))
    }

    @Sendable func update(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.operate, request, context).actor
        let id = try await user(context).id
        let fields = try await BodyFields(request)
        try Self.refuseMistaken(fields)
        let alias = fields.has("alias") ? Change(try fields.string("alias")) : nil
        let budget = fields.has("budget_id") ? Change(try fields.string("budget_id")) : nil
        let (metadata, blocked) = (try fields.object("metadata"), try fields.bool("blocked"))
        let changed = try await directory.updateUser(id) { user in
            if let alias { user.alias = alias.value }
            if let budget { user.budgetID = budget.value }
            if let metadata { user.metadata = metadata }
            user.updatedAt = SystemClock.now()
        }
        guard let user = changed else { throw Self.notFound(id.rawValue) }
        if let blocked { try await setBlocked(user.id, blocked, actor) }
        if budget != nil { try await caps.apply(to: user, actor: actor) }
        return try await render(user)
    }

    /// Erases the person and voids their keys. The account stays in the ledger, blocked, with what it has.
    @Sendable func delete(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.operate, request, context).actor
        let user = try await user(context)
        guard let hashes = try await Erasure(writer: writer, directory: directory).erase(user, actor: actor) else {
            throw Self.notFound(user.id.rawValue)
        }
        authenticator.forget(hashes)
        authenticator.forget(of: user.id)
        authenticator.security.note(.userErased, context, ["user": user.id.rawValue, "actor": actor])
        return Response(status: .noContent)
    }

    /// The user's settled requests, newest first.
    @Sendable func log(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        let user = try await user(context)
        let page = try Page(request)
        let rows = try await usage.log(of: user.id, skip: page.skip, limit: page.limit)
        return Response.json { json in
            json.beginArray()
            for row in rows { row.write(to: &json) }
            json.endArray()
        }
    }

    private func user(_ context: GatewayContext) async throws -> User {
        let name = context.parameters.get("id")?.removingPercentEncoding ?? ""
        guard let id = AccountID(rawValue: name), let user = try await directory.user(id) else {
            throw Self.notFound(name)
        }
        return user
    }

    private static func notFound(_ id: String) -> GatewayError {
        GatewayError(.notFound, "user_not_found", "User with id '\(id)' not found")
    }

    private func render(_ user: User) async throws -> Response {
        let body = try await json(user, spend: try await usage.cost(of: user.id))
        return Response.json { $0.raw(body) }
    }

    private func json(_ user: User, spend: Int128) async throws -> [UInt8] {
        let identities = try await directory.identities(of: user.id)
        let balance = try await balances.balance(of: user.id, at: SystemClock.now())
        let now = SystemClock.now()
        let period =
            user.budgetID == nil
            ? nil
            : try await balances.spending(of: user.id)[.account].flatMap { state in
                state.budgetFrom.map { _ in state.use(of: .budget, .utc(at: now), at: now) }
            }
        var json = JSONWriter()
        json.beginObject()
        json.field("user_id", user.id.rawValue)
        json.nullable("alias", user.alias)
        json.nullable("email", user.email)
        json.usd("spend", picoUSD: spend)
        json.nullable("budget_id", user.budgetID)
        json.nullable("budget_started_at", period?.from)
        json.nullable("next_budget_reset_at", period?.until)
        json.field("blocked", balance?.isBlocked ?? false)
        json.nullable("created_at", user.createdAt)
        json.nullable("updated_at", user.updatedAt)
        json.name("metadata")
        json.raw(user.metadata)
        json.name("linked_accounts")
        json.beginArray()
        for identity in identities {
            json.beginObject()
            json.field("provider", identity.provider)
            json.field("provider_account_id", identity.subject)
            json.nullable("email", identity.email)
            json.nullable("name", identity.name)
            json.nullable("avatar_url", identity.avatarURL)
            json.endObject()
        }
        json.endArray()
        json.endObject()
        return json.bytes
    }
}

extension AccountID {
    /// Reads a user's id from a body.
    init(field: String, _ fields: BodyFields) throws {
        let text = try fields.requiredString(field)
        guard let id = AccountID(rawValue: text) else {
            throw GatewayError.validation(
                kind: "string_pattern", field: field,
                message: "Input should have 1 to 255 bytes without control characters, not beginning with '$'")
        }
        self = id
    }
}

extension UsageRow {
    /// The row as the contract shows it.
    func write(to json: inout JSONWriter) {
        let name = ModelKey(model)
        json.beginObject()
        json.field("id", request.rawValue)
        json.field("user_id", account.rawValue)
        // What was asked for in a session has no key.
        json.nullable("api_key_id", keyID.flatMap { $0.hasPrefix("session:") ? nil : $0 })
        json.field("timestamp", recordedAt.description)
        json.field("model", name?.model ?? model)
        json.nullable("provider", name?.provider)
        json.field("endpoint", endpoint)
        json.field("prompt_tokens", promptTokens)
        json.field("completion_tokens", completionTokens)
        json.field("total_tokens", promptTokens + completionTokens)
        json.field("cached_tokens", cachedTokens)
        json.usd("cost", picoUSD: costPicoUSD)
        json.field("credits", credits)
        json.field("credits_reversed", reversed)
        json.field("estimated", isEstimated)
        json.field("status", isSuccess ? "success" : "error")
        json.nullable("error_message", isSuccess ? nil : detail)
        json.endObject()
    }
}
