import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import WireJSON

/// `/v1/billing/plans` and `/v1/billing/subscription`: what is on offer, and what the portal tells of subscriptions that are paid for elsewhere.
///
/// What a call leads to is decided by the ledger, in one decision: of several that come at once, each finds what the one before has done.
struct SubscriptionRoutes: Sendable {
    let authenticator: Authenticator
    let writer: LedgerWriter
    let directory: Directory
    let balances: SQLiteBalances

    func add(to router: some RouterMethods<GatewayContext>) {
        router.get("/v1/billing/plans", use: plans)
        router.post("/v1/billing/subscription", use: subscribe)
        router.patch("/v1/billing/subscription/:user_id", use: update)
    }

    /// The plans on offer, by name.
    @Sendable func plans(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let plans = writer.plans.plans.values.sorted { ($0.microUSD, $0.name) < ($1.microUSD, $1.name) }
        return Response.json { json in
            json.beginArray()
            for plan in plans {
                json.beginObject()
                json.field("name", plan.name)
                json.name("price_usd")
                json.raw(Decimal64.text(plan.microUSD, fractionDigits: 6))
                json.field("cycle_credits", plan.cycleCredits)
                json.field("top_up_to", plan.topUpTo)
                json.field("signup_bonus", plan.signupBonus)
                json.field("cycle_seconds", plan.cycleSeconds)
                json.field("grace_seconds", plan.graceSeconds)
                json.name("credits_per_usd")
                json.raw(Decimal64.text(plan.rate.microsPerUSD, fractionDigits: 6))
                json.endObject()
            }
            json.endArray()
        }
    }

    /// Puts an account on a plan: with `payment_id`, by a payment that counts once; without, by the portal's word (``Subscribe``).
    @Sendable func subscribe(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try await authenticator.demand(.bill, request, context)
        let header = try request.idempotencyKey()
        let fields = try await BodyFields(request)
        try fields.refuseOthers(than: ["user_id", "plan_name", "payment_id", "upgrade"])
        let id = try AccountID(field: "user_id", fields)
        let name = try fields.requiredString("plan_name")
        guard writer.plans.plans[name] != nil else {
            throw GatewayError(.notFound, "plan_not_found", "Plan '\(name)' not found")
        }
        guard try await directory.user(id) != nil else { throw GatewayError.userNotFound }
        let action: Command.Action
        if let text = try fields.string("payment_id") {
            let payment = try PaymentID(billingCall: text)
            let purchase: Purchase =
                try fields.bool("upgrade") ?? false ? .upgrade(plan: name) : .cycle(plan: name)
            action = .pay(RecordPayment(payment: payment, purchase: purchase, actor: principal.actor))
        } else {
            action = .subscribe(
                Subscribe(key: header.map { "subscribe:\($0)" }, plan: name, actor: principal.actor))
        }
        let receipt = try await writer.submit(Command(account: id, action: action))
        return Self.response("Subscribed to \(name)", isRepeat: receipt.isRepeat)
    }

    /// Ends a subscription: the cycle that was paid for runs to its end, and the account is on the free plan then.
    @Sendable func update(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try await authenticator.demand(.bill, request, context)
        let header = try request.idempotencyKey()
        let fields = try await BodyFields(request)
        try fields.refuseOthers(than: ["status"])
        guard try fields.requiredString("status") == "CANCELLED" else {
            throw GatewayError.validation(kind: "enum", field: "status", message: "Input should be 'CANCELLED'")
        }
        let notFound = GatewayError(.notFound, "subscription_not_found", "Active subscription not found")
        let name = context.parameters.get("user_id")?.removingPercentEncoding ?? ""
        guard let id = AccountID(rawValue: name), try await directory.user(id) != nil else { throw notFound }
        let cancel = SchedulePlan(
            key: header.map { "cancel:\($0)" }, plan: Plan.freeName, actor: principal.actor, mustChange: true)
        let receipt = try await writer.submit(Command(account: id, action: .schedulePlan(cancel)))
        return Self.response("Status updated to CANCELLED", isRepeat: receipt.isRepeat)
    }

    private static func response(_ detail: String, isRepeat: Bool) -> Response {
        var headers: HTTPFields = [:]
        if isRepeat { headers[.idempotencyReplayed] = "true" }
        return Response.json(headers: headers) { json in
            json.beginObject()
            json.field("success", true)
            json.field("detail", detail)
            json.endObject()
        }
    }
}

extension PaymentID {
    /// The name that somebody with a billing key gives to a payment: apart from those of payment providers.
    init(billingCall text: String) throws {
        guard (1...200).contains(text.utf8.count), let payment = PaymentID(rawValue: "api:\(text)") else {
            throw GatewayError.validation(
                kind: "string_length", field: "payment_id",
                message: "Input should have 1 to 200 bytes without control characters")
        }
        self = payment
    }
}
