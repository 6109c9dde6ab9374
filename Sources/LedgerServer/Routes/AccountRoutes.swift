import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import Projections
import WireJSON

/// `GET /v1/profile/balance` and `POST /v1/billing/topup`: what an account has, and an operator's way to add to it.
struct AccountRoutes: Sendable {
    let authenticator: Authenticator
    let writer: LedgerWriter
    let directory: Directory
    let balances: SQLiteBalances

    func add(to router: some RouterMethods<GatewayContext>) {
        router.get("/v1/profile/balance", use: balance)
        router.post("/v1/billing/topup", use: topup)
    }

    /// The balance in micro-dollars, as clients of the old gateway expect it, and in credits.
    @Sendable func balance(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let user = try await authenticator.user(of: request, context)
        guard try await directory.user(user) != nil,
            let balance = try await CurrentBalance(writer: writer, balances: balances).of(user)
        else {
            throw GatewayError.userNotFound
        }
        return Response.json { json in
            json.beginObject()
            json.field("success", true)
            json.name("data")
            json.beginObject()
            json.field("userId", user.rawValue)
            // Credits × 100,000: nano-credits ÷ 10,000.
            json.name("balance")
            json.raw(Decimal64.text(balance.balance.nanos, fractionDigits: 4))
            json.field("credits", balance.balance)
            json.field("credits_exact", balance.balance.description)
            json.field("held", balance.held)
            json.field("available", balance.available)
            json.field("debt", balance.debt)
            json.nullable("plan", balance.plan)
            json.name("cycle")
            json.write(balance.cycle)
            json.name("pools")
            json.beginArray()
            for (pool, remaining) in balance.pools {
                json.beginObject()
                json.field("pool", pool.rawValue)
                json.field("priority", pool.priority)
                json.field("credits", remaining)
                let expiries = balance.grants.filter { $0.pool == pool }.compactMap(\.expiresAt)
                json.nullable("next_expiry", expiries.min())
                json.endObject()
            }
            json.endArray()
            // What is spent first comes first, and with it what expires when.
            json.name("grants")
            json.beginArray()
            for grant in balance.burnDown {
                json.beginObject()
                json.field("id", grant.id)
                json.field("pool", grant.pool.rawValue)
                json.field("source", grant.source.rawValue)
                json.field("amount", grant.amount)
                json.field("remaining", grant.remaining)
                json.nullable("expires_at", grant.expiresAt)
                json.endObject()
            }
            json.endArray()
            // What expires next, and when, is not always what is spent next.
            json.name("expiring_next")
            json.write(expiring: balance.expiringNext)
            json.endObject()
            json.endObject()
        }
    }

    /// Adds credits without expiry. With an `Idempotency-Key` the same request adds them once, however often it comes.
    @Sendable func topup(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.bill, request, context).actor
        let fields = try await BodyFields(request)
        try fields.refuseOthers(than: ["user_id", "amount", "source", "payment_id"])
        let id = try AccountID(field: "user_id", fields)
        guard let text = try fields.decimal("amount") else { throw GatewayError.missing("amount") }
        guard let amount = Credits(decimal: text), amount.nanos <= 1_000_000_000_000_000_000 else {
            throw GatewayError.validation(
                kind: "amount", field: "amount",
                message: "Input should be a number of credits with at most nine decimals, up to 1000000000")
        }
        guard try await directory.user(id) != nil else { throw GatewayError.userNotFound }
        let source = try fields.string("source").flatMap { $0.isEmpty ? nil : $0 }
        guard (source?.utf8.count ?? 0) <= 500 else {
            throw GatewayError.validation(
                kind: "string_too_long", field: "source", message: "Input should have at most 500 bytes")
        }
        let header = try request.idempotencyKey()
        // At least one decimal, as the old gateway's float had.
        let shown = amount.description.contains(".") ? amount.description : "\(amount).0"
        // Before payments were recorded, a top-up's grant had the key itself.
        if let header, try await balances.isRecorded(key: "topup:\(header)") {
            return Self.added(shown, isRepeat: true)
        }
        let payment: PaymentID
        if let text = try fields.string("payment_id") {
            payment = try PaymentID(billingCall: text)
        } else if let named = PaymentID(rawValue: "topup:\(header ?? context.requestID.rawValue)") {
            payment = named
        } else {
            throw GatewayError(.badRequest, "invalid_idempotency_key", "The Idempotency-Key is not valid")
        }
        // What credits cost is the account's plan's rate.
        let rate = try await balances.balance(of: id, at: SystemClock.now())?.plan
            .flatMap { writer.plans.plans[$0] }?.rate
        let price = (rate ?? .standard).microUSD(for: amount)
        guard amount > .zero else {
            throw GatewayError(.badRequest, "amount_not_positive", "The amount must be above zero", param: "amount")
        }
        let command = RecordPayment(
            payment: payment, purchase: .credits(amount, microUSD: price), actor: actor)
        let receipt = try await writer.submit(Command(account: id, action: .pay(command)))
        return Self.added(shown, isRepeat: receipt.isRepeat)
    }

    private static func added(_ amount: String, isRepeat: Bool) -> Response {
        var headers: HTTPFields = [:]
        if isRepeat { headers[.idempotencyReplayed] = "true" }
        return Response.json(headers: headers) { json in
            json.beginObject()
            json.field("success", true)
            json.field("detail", "Added \(amount) credits")
            json.endObject()
        }
    }
}

extension JSONWriter {
    /// Where an account is in the life of its plan; null before its first cycle.
    mutating func write(_ cycle: AccountBalance.CycleState?) {
        guard let cycle, let number = cycle.number else { return null() }
        beginObject()
        field("number", number)
        nullable("began_at", cycle.beganAt)
        nullable("ends_at", cycle.endsAt)
        field("is_paid", cycle.isPaid)
        field("is_grace", cycle.isGrace)
        nullable("next_plan", cycle.nextPlan)
        endObject()
    }

    fileprivate mutating func write(expiring: AccountBalance.Expiry?) {
        guard let expiring else { return null() }
        beginObject()
        field("credits", expiring.credits)
        nullable("at", expiring.at)
        name("grants")
        beginArray()
        for grant in expiring.grants { value(grant) }
        endArray()
        endObject()
    }
}
