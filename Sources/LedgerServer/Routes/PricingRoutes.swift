import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import WireJSON

/// `/v1/pricing`: what models cost. Anyone may read; the master key sets.
struct PricingRoutes: Sendable {
    let authenticator: Authenticator
    let writer: LedgerWriter

    func add(to router: some RouterMethods<GatewayContext>) {
        router.post("/v1/pricing", use: set)
        router.get("/v1/pricing", use: list)
        router.get("/v1/pricing/**", use: show)
        router.delete("/v1/pricing/**", use: remove)
    }

    /// Sets a price from now on. Charges keep the price at which their request was admitted.
    @Sendable func set(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demandMaster(request)
        let fields = try await BodyFields(request)
        let name = try fields.requiredString("model_key")
        guard let model = ModelKey(name)?.description else {
            throw GatewayError.validation(
                kind: "string_pattern", field: "model_key", message: "Input should be named provider:model")
        }
        func figure(_ field: String) throws -> Int64? {
            guard let text = try fields.decimal(field) else { return nil }
            guard let figure = Price.figure(usdPerMillion: text) else {
                throw GatewayError.validation(
                    kind: "price", field: field,
                    message: "Input should be a price in USD from 0 to 10000 with at most six decimals")
            }
            return figure
        }
        guard let input = try figure("input_price_per_million") else {
            throw GatewayError.missing("input_price_per_million")
        }
        guard let output = try figure("output_price_per_million") else {
            throw GatewayError.missing("output_price_per_million")
        }
        guard
            let price = Price(
                input: input, output: output, cached: try figure("cached_price_per_million"),
                cacheWrite: try figure("cache_write_price_per_million"),
                cacheWriteHour: try figure("cache_write_1h_price_per_million"))
        else { throw GatewayError.missing("input_price_per_million") }
        _ = try await writer.submit(.setPrice(SetPrice(model: model, price: price, actor: "master")))
        return try response(model)
    }

    @Sendable func list(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let page = try Page(request)
        let prices = writer.prices
        let now = SystemClock.now()
        let names = prices.entries.keys.sorted().filter { prices.price(for: $0, at: now) != nil }
        return Response.json { json in
            json.beginArray()
            for name in names.dropFirst(page.skip).prefix(page.limit) { prices.write(name, at: now, to: &json) }
            json.endArray()
        }
    }

    @Sendable func show(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try response(modelKey(context))
    }

    @Sendable func remove(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demandMaster(request)
        let model = modelKey(context)
        guard writer.prices.price(for: model, at: SystemClock.now()) != nil else { throw Self.notFound(model) }
        _ = try await writer.submit(.removePrice(RemovePrice(model: model, actor: "master")))
        return Response(status: .noContent)
    }

    private func modelKey(_ context: GatewayContext) -> String {
        // A model's own name may contain slashes.
        let name = context.parameters.getCatchAll().joined(separator: "/").removingPercentEncoding ?? ""
        return ModelKey(name)?.description ?? name
    }

    private func response(_ model: String) throws -> Response {
        let prices = writer.prices
        let now = SystemClock.now()
        guard prices.price(for: model, at: now) != nil else { throw Self.notFound(model) }
        return Response.json { prices.write(model, at: now, to: &$0) }
    }

    private static func notFound(_ model: String) -> GatewayError {
        GatewayError(.notFound, "price_not_found", "Pricing for model '\(model)' not found")
    }
}

extension PriceBook {
    /// A model's price as the contract shows it; numbers are written from the integers.
    fileprivate func write(_ model: String, at now: Timestamp, to json: inout JSONWriter) {
        guard let entry = entry(for: model, at: now), let price = entry.price else { return }
        func usd(_ key: StaticString, _ figure: Int64?) {
            json.name(key)
            json.raw(figure.map { Decimal64.text($0, fractionDigits: 6) } ?? "null")
        }
        json.beginObject()
        json.field("model_key", model)
        usd("input_price_per_million", price.input)
        usd("output_price_per_million", price.output)
        usd("cached_price_per_million", price.cached)
        json.nullable("created_at", entries[model]?.first?.recordedAt)
        json.nullable("updated_at", entry.recordedAt)
        json.endObject()
    }
}
