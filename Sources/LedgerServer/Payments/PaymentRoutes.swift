import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import WireJSON

/// `POST /v1/webhooks/<provider>`, and what an operator sees and does of the messages that came there.
struct PaymentRoutes: Sendable {
    let authenticator: Authenticator
    let directory: Directory
    let inbox: PaymentInbox

    /// The longest message that is taken.
    private static let longestMessage = 256 << 10

    func add(to router: some RouterMethods<GatewayContext>) {
        router.post("/v1/webhooks/:provider", use: receive)
        router.get("/v1/billing/deliveries", use: deliveries)
        router.post("/v1/billing/deliveries/:id/retry", use: retry)
        router.post("/v1/billing/deliveries/:id/resolve", use: resolve)
        router.post("/v1/billing/checkout", use: checkout)
        router.get("/v1/billing/products", use: products)
    }

    /// Takes a message. It is answered 200 as soon as it is written down, be it of use or not: the provider need not send it again.
    @Sendable func receive(_ request: Request, _ context: GatewayContext) async throws -> Response {
        guard let provider = context.parameters.get("provider").flatMap({ inbox.providers[$0] }) else {
            throw GatewayError(.notFound, "provider_not_found", "There is no such payment provider here")
        }
        let body = try await request.wholeBody(upTo: Self.longestMessage)
        let signature = HTTPField.Name(provider.signatureHeader).flatMap { request.headers[$0] }
        guard provider.isAuthentic(body, signature: signature) else {
            throw GatewayError(
                .unauthorized, "invalid_signature",
                "The signature is not that of this message: set the same secret here and at the provider")
        }
        let delivery = try await inbox.receive(body, from: provider)
        return Response.json { json in
            json.beginObject()
            json.field("success", true)
            json.field("delivery", delivery.id)
            json.field("status", delivery.status.rawValue)
            json.endObject()
        }
    }

    /// Messages, newest first; `status` chooses.
    @Sendable func deliveries(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        let page = try Page(request)
        let status: Delivery.Status? = try request.stated("status").map { text in
            guard let status = Delivery.Status(rawValue: text) else {
                throw GatewayError.query(
                    "status", kind: "enum", "Input should be 'waiting', 'done', 'dead' or 'resolved'")
            }
            return status
        }
        let deliveries = try await directory.deliveries(status, skip: page.skip, limit: page.limit)
        return Response.json { json in
            json.beginArray()
            for delivery in deliveries { delivery.write(to: &json) }
            json.endArray()
        }
    }

    /// Tries again to make something of a message; `user_id` says whose it is.
    @Sendable func retry(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.bill, request, context).actor
        let body = try await request.wholeBody(upTo: BodyFields.maximumBytes)
        let fields = try BodyFields(body.isEmpty ? Array("{}".utf8) : body)
        let account = try fields.string("user_id") != nil ? AccountID(field: "user_id", fields) : nil
        if let account, try await directory.user(account) == nil { throw GatewayError.userNotFound }
        let delivery = try await delivery(context)
        if delivery.status != .done, delivery.status != .resolved {
            try await inbox.handle(delivery, account: account, actor: actor)
        }
        return try await answer(delivery.id)
    }

    /// Lays a message aside, with a reason: somebody has dealt with it otherwise.
    @Sendable func resolve(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.bill, request, context).actor
        let fields = try await BodyFields(request)
        try fields.refuseOthers(than: ["reason"])
        let reason = try fields.requiredString("reason")
        guard (1...500).contains(reason.utf8.count) else {
            throw GatewayError.validation(
                kind: "string_length", field: "reason", message: "Input should have 1 to 500 bytes")
        }
        let delivery = try await delivery(context)
        try await directory.update(
            delivery.id, to: .resolved, detail: reason, by: actor, at: SystemClock.now())
        return try await answer(delivery.id)
    }

    private func delivery(_ context: GatewayContext) async throws -> Delivery {
        guard let id = context.parameters.get("id"), let delivery = try await directory.delivery(id) else {
            throw GatewayError(.notFound, "delivery_not_found", "There is no such delivery")
        }
        return delivery
    }

    private func answer(_ id: String) async throws -> Response {
        guard let delivery = try await directory.delivery(id) else {
            throw GatewayError(.notFound, "delivery_not_found", "There is no such delivery")
        }
        return Response.json { delivery.write(to: &$0) }
    }

    /// What is sold, and where.
    @Sendable func products(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let sold = inbox.providers.values.sorted { $0.name < $1.name }.flatMap { provider in
            provider.products.values.sorted { $0.id < $1.id }.map { (provider.name, $0) }
        }
        return Response.json { json in
            json.beginArray()
            for (provider, product) in sold {
                json.beginObject()
                json.field("provider", provider)
                json.field("product", product.id)
                switch product.item {
                case .plan(let name):
                    json.field("plan", name)
                    json.nullable("credits", String?.none)
                case .credits(let credits, let microUSD):
                    json.nullable("plan", String?.none)
                    json.field("credits", credits)
                    json.name("price_usd")
                    json.raw(Decimal64.text(microUSD, fractionDigits: 6))
                }
                json.field("can_be_bought", product.checkoutURL != nil)
                json.endObject()
            }
            json.endArray()
        }
    }

    /// Where to pay for a product, such that the payment is told to be this user's: for oneself, or with a master key for `user` of the query.
    @Sendable func checkout(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let account = try await authenticator.user(of: request, context)
        let fields = try await BodyFields(request)
        try fields.refuseOthers(than: ["product"])
        guard try await directory.user(account) != nil else { throw GatewayError.userNotFound }
        let id = try fields.requiredString("product")
        for provider in inbox.providers.values.sorted(by: { $0.name < $1.name }) {
            guard let product = provider.products[id], let url = provider.checkoutURL(of: product, for: account)
            else { continue }
            return Response.json { json in
                json.beginObject()
                json.field("url", url)
                json.field("provider", provider.name)
                json.endObject()
            }
        }
        throw GatewayError(.notFound, "product_not_found", "There is no such product that can be bought here")
    }
}

extension Delivery {
    fileprivate func write(to json: inout JSONWriter) {
        json.beginObject()
        json.field("id", id)
        json.field("provider", provider)
        json.field("name", name)
        json.field("status", status.rawValue)
        json.nullable("detail", detail)
        json.field("received_at", receivedAt.description)
        json.field("attempts", attempts)
        json.name("notice")
        json.raw(notice)
        json.endObject()
    }
}
