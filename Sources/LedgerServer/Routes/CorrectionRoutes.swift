import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import WireJSON

/// Refunds, reversals and goodwill: each is an event of its own with a reason and an actor; nothing is ever edited.
///
/// With an `Idempotency-Key`, the same request counts once, however often it comes. Without one, a reversal or refund of all that is left
/// finds nothing left the second time; a part is taken as often as it is asked for.
struct CorrectionRoutes: Sendable {
    let authenticator: Authenticator
    let writer: LedgerWriter
    let directory: Directory
    let balances: SQLiteBalances

    func add(to router: some RouterMethods<GatewayContext>) {
        router.post("/v1/billing/adjustments", use: adjust)
        router.post("/v1/billing/refunds", use: refund)
        router.post("/v1/ledger/charges/:id/reverse", use: reverse)
    }

    /// Adds credits that never expire, or takes some of those that are available.
    @Sendable func adjust(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.bill, request, context).actor
        let fields = try await BodyFields(request)
        try fields.refuseOthers(than: ["user_id", "amount", "reason"])
        let id = try AccountID(field: "user_id", fields)
        guard let amount = try fields.decimal("amount").map(Credits.init(decimal:)) else {
            throw GatewayError.missing("amount")
        }
        let most: Int64 = 1_000_000_000_000_000_000
        guard let amount, (-most...most).contains(amount.nanos) else {
            throw GatewayError.validation(
                kind: "amount", field: "amount",
                message:
                    "Input should be a number of credits with at most nine decimals, from -1000000000 to 1000000000"
            )
        }
        guard try await directory.user(id) != nil else { throw GatewayError.userNotFound }
        let command = AdjustCredits(
            key: try key("adjust", request, context), amount: amount, reason: try Self.reason(fields), actor: actor)
        return try await answer(Command(account: id, action: .adjust(command)))
    }

    /// Records that a payment was given back: what is left of its credits is taken, what was used of them is owed.
    @Sendable func refund(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.bill, request, context).actor
        let fields = try await BodyFields(request)
        try fields.refuseOthers(than: ["payment_id", "amount_usd", "reason"])
        let text = try fields.requiredString("payment_id")
        guard let payment = PaymentID(rawValue: text), let account = try await balances.account(ofPayment: payment)
        else { throw GatewayError(.notFound, "payment_not_found", "Payment '\(text)' not found") }
        var extent = RefundPayment.Extent.rest
        if let amount = try fields.decimal("amount_usd") {
            guard let microUSD = Decimal64.parse(amount, fractionDigits: 6), microUSD > 0 else {
                throw GatewayError.validation(
                    kind: "amount", field: "amount_usd",
                    message: "Input should be a number of US dollars above 0 with at most six decimals")
            }
            extent = .part(microUSD: microUSD)
        }
        let command = RefundPayment(
            key: try key("refund", request, context), payment: payment, extent, reason: try Self.reason(fields),
            actor: actor)
        return try await answer(Command(account: account, action: .refund(command)))
    }

    /// Gives a charge back, or a part of it, to the grants that bore it.
    @Sendable func reverse(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.bill, request, context).actor
        let fields = try await BodyFields(request)
        try fields.refuseOthers(than: ["amount", "reason"])
        let name = context.parameters.get("id") ?? ""
        guard let id = Ledger.RequestID(rawValue: name), let account = try await balances.account(ofCharge: id) else {
            throw GatewayError(.notFound, "charge_not_found", "There is no charge for request '\(name)'")
        }
        var amount: Credits?
        if let text = try fields.decimal("amount") {
            guard let credits = Credits(decimal: text), credits > .zero else {
                throw GatewayError.validation(
                    kind: "amount", field: "amount",
                    message: "Input should be a number of credits above 0 with at most nine decimals")
            }
            amount = credits
        }
        let command = ReverseCharge(
            key: try key("reverse", request, context), request: id, amount: amount,
            reason: try Self.reason(fields), actor: actor)
        return try await answer(Command(account: account, action: .reverse(command)))
    }

    private func key(_ kind: String, _ request: Request, _ context: GatewayContext) throws -> String {
        "\(kind):\(try request.idempotencyKey() ?? context.requestID.rawValue)"
    }

    private static func reason(_ fields: BodyFields) throws -> String {
        let reason = try fields.requiredString("reason")
        guard (1...500).contains(reason.utf8.count) else {
            throw GatewayError.validation(
                kind: "string_length", field: "reason", message: "Input should have 1 to 500 bytes")
        }
        return reason
    }

    private func answer(_ command: Command) async throws -> Response {
        let receipt = try await writer.submit(command)
        var headers: HTTPFields = [:]
        if receipt.isRepeat { headers[.idempotencyReplayed] = "true" }
        return Response.json(headers: headers) { json in
            json.beginObject()
            json.field("success", true)
            json.field("user_id", command.account.rawValue)
            // Of what is asked for again nothing is left: then there is no event.
            json.nullable("position", receipt.event?.position)
            switch receipt.event?.event {
            case .creditsGranted(let event): json.field("credits", event.amount)
            case .creditsWithdrawn(let event):
                json.field("credits", Credits.zero.subtracting(event.amount) ?? .zero)
            case .chargeReversed(let event): json.field("credits", event.amount)
            case .paymentRefunded(let event):
                json.name("amount_usd")
                json.raw(Decimal64.text(event.microUSD, fractionDigits: 6))
                json.field("credits", event.credits)
                json.field("taken", event.taken.first?.amount ?? .zero)
                json.field("owed", event.debtAdded)
            default: json.field("credits", Credits.zero)
            }
            json.field("balance", receipt.balance)
            json.endObject()
        }
    }
}
