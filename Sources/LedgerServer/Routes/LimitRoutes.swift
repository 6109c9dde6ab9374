import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import Projections
import WireJSON

/// Limits of accounts and keys: what may be spent in a day, a month and in all, how fast, and on which models.
///
/// They are events, and bind from the next admission on. What is spent is counted from when a limit is first set.
struct LimitRoutes: Sendable {
    let authenticator: Authenticator
    let writer: LedgerWriter
    let directory: Directory
    let balances: SQLiteBalances
    /// The days and months by which spending is counted.
    let calendar: UsageCalendar
    let zone: String

    func add(to router: some RouterMethods<GatewayContext>) {
        router.get("/v1/users/:id/limits", use: showUser)
        router.put("/v1/users/:id/limits", use: setUser)
        router.get("/v1/keys/:id/limits", use: showKey)
        router.put("/v1/keys/:id/limits", use: setKey)
        router.get("/v1/profile/limits", use: showOwn)
    }

    @Sendable func showUser(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        return try await answer(try await user(context), .account)
    }

    @Sendable func setUser(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.operate, request, context).actor
        return try await set(try await user(context), .account, try await BodyFields(request), actor)
    }

    @Sendable func showKey(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        let key = try await key(context)
        return try await answer(key.user, .key(key.id))
    }

    @Sendable func setKey(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.operate, request, context).actor
        let key = try await key(context)
        return try await set(key.user, .key(key.id), try await BodyFields(request), actor)
    }

    /// One's own limits: the account's, and each key's that has any.
    @Sendable func showOwn(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let user = try await authenticator.user(of: request, context)
        guard try await directory.user(user) != nil else { throw GatewayError.userNotFound }
        let states = try await balances.spending(of: user)
        let rate = try await rate(of: user)
        return Response.json { json in
            json.beginObject()
            json.name("account")
            write(states[.account], rate, to: &json)
            json.name("keys")
            json.beginObject()
            for (scope, state) in states.sorted(by: { $0.key < $1.key }) {
                guard let id = scope.keyID else { continue }
                json.name(id)
                write(state, rate, to: &json)
            }
            json.endObject()
            json.endObject()
        }
    }

    private func user(_ context: GatewayContext) async throws -> AccountID {
        let name = context.parameters.get("id")?.removingPercentEncoding ?? ""
        guard let id = AccountID(rawValue: name), try await directory.user(id) != nil else {
            throw GatewayError(.notFound, "user_not_found", "User with id '\(name)' not found")
        }
        return id
    }

    private func key(_ context: GatewayContext) async throws -> APIKey {
        let id = context.parameters.get("id")?.removingPercentEncoding ?? ""
        guard let key = try await directory.key(id: id) else {
            throw GatewayError(.notFound, "key_not_found", "API key with id '\(id)' not found")
        }
        return key
    }

    /// Replaces what is bounded: what the body does not name is bounded no more.
    private func set(
        _ account: AccountID, _ scope: LimitScope, _ fields: BodyFields, _ actor: String
    ) async throws -> Response {
        // What is not named is bounded no more: a name that is mistyped would unbind.
        try fields.refuseOthers(
            than: ["per_day", "per_month", "total", "requests_per_minute", "tokens_per_minute", "models"])
        let limits = UseLimits(
            perDay: try Self.credits("per_day", fields), perMonth: try Self.credits("per_month", fields),
            total: try Self.credits("total", fields),
            requestsPerMinute: try Self.count("requests_per_minute", fields, upTo: UseLimits.maximumPerMinute),
            tokensPerMinute: try Self.count("tokens_per_minute", fields, upTo: 1_000_000_000_000),
            models: try Self.models(fields))
        let command = SetLimits(scope: scope, limits: limits, actor: actor)
        _ = try await writer.submit(Command(account: account, action: .setLimits(command)))
        return try await answer(account, scope)
    }

    private static func credits(_ name: String, _ fields: BodyFields) throws -> Credits? {
        guard let text = try fields.decimal(name) else { return nil }
        guard let credits = Credits(decimal: text), (0...1_000_000_000_000_000_000).contains(credits.nanos) else {
            throw GatewayError.validation(
                kind: "amount", field: name,
                message: "Input should be a number of credits from 0 to 1000000000 with at most nine decimals")
        }
        return credits
    }

    private static func count(_ name: String, _ fields: BodyFields, upTo most: Int64) throws -> Int64? {
        guard let count = try fields.integer(name) else { return nil }
        guard (0...most).contains(count) else {
            throw GatewayError.validation(
                kind: "range", field: name, message: "Input should be a whole number from 0 to \(most)")
        }
        return count
    }

    private static func models(_ fields: BodyFields) throws -> [String]? {
        guard let models = try fields.strings("models") else { return nil }
        for model in models where ModelKey(model)?.description != model {
            throw GatewayError.validation(
                kind: "model", field: "models", message: "Input should be models named provider:model, or provider:*")
        }
        guard models.count <= 200 else {
            throw GatewayError.validation(
                kind: "too_long", field: "models", message: "Input should be at most 200 models")
        }
        return models
    }

    private func rate(of account: AccountID) async throws -> CreditRate {
        let plan = try await balances.balance(of: account, at: SystemClock.now())?.plan
        return plan.flatMap { writer.plans.plans[$0] }?.rate ?? .standard
    }

    private func answer(_ account: AccountID, _ scope: LimitScope) async throws -> Response {
        let state = try await balances.spending(of: account)[scope]
        let rate = try await rate(of: account)
        return Response.json { write(state, rate, to: &$0) }
    }

    private func write(_ state: SpendingState?, _ rate: CreditRate, to json: inout JSONWriter) {
        let limits = state?.limits ?? .none
        let now = SystemClock.now()
        let windows = calendar.windows(at: now)
        json.beginObject()
        json.amount("per_day", limits.perDay)
        json.amount("per_month", limits.perMonth)
        json.amount("total", limits.total)
        json.nullable("requests_per_minute", limits.requestsPerMinute)
        json.nullable("tokens_per_minute", limits.tokensPerMinute)
        json.name("models")
        if let models = limits.models {
            json.beginArray()
            for model in models { json.value(model) }
            json.endArray()
        } else {
            json.null()
        }
        json.field("time_zone", zone)
        json.name("used")
        json.beginArray()
        for window in LimitWindow.allCases {
            guard let state, let cap = state.cap(window, rate: rate) else { continue }
            let use = state.use(of: window, windows, at: now)
            json.beginObject()
            json.field("window", window.rawValue)
            json.field("limit", cap)
            json.field("spent", use.spent)
            json.field("held", use.held)
            json.field("began_at", use.from.description)
            json.nullable("resets_at", use.until)
            json.endObject()
        }
        json.endArray()
        json.endObject()
    }
}

extension JSONWriter {
    /// An amount as a JSON number, or null.
    fileprivate mutating func amount(_ key: StaticString, _ credits: Credits?) {
        name(key)
        if let credits { raw(credits.description) } else { null() }
    }
}
