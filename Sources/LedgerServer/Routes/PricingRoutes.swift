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
        let actor = try await authenticator.demand(.operate, request, context).actor
        let fields = try await BodyFields(request)
        // As an answer of this route has them, they may come back.
        try fields.refuseOthers(
            than: Self.rateNames.union([
                "model_key", "web_search_price_per_thousand", "long_context", "created_at", "updated_at",
            ]))
        let name = try fields.requiredString("model_key")
        guard let model = ModelKey(name)?.description else {
            throw GatewayError.validation(
                kind: "string_pattern", field: "model_key", message: "Input should be named provider:model")
        }
        var tier: Price.LongContext?
        if let long = try fields.fields("long_context") {
            try long.refuseOthers(than: Self.rateNames.union(["above_prompt_tokens"]), in: "long_context")
            guard let above = try long.integer("above_prompt_tokens"),
                let found = Price.LongContext(above: above, rates: try Self.rates(long))
            else {
                throw GatewayError.validation(
                    kind: "greater_than", field: "above_prompt_tokens",
                    message: "Input should be a number of tokens above 0")
            }
            tier = found
        }
        let search = try Self.figure("web_search_price_per_thousand", fields)
        guard let price = Price(rates: try Self.rates(fields), longContext: tier, webSearch: search) else {
            throw GatewayError.missing("input_price_per_million")
        }
        _ = try await writer.submit(.setPrice(SetPrice(model: model, price: price, actor: actor)))
        return try response(model)
    }

    private static let rateNames: Set<String> = [
        "input_price_per_million", "output_price_per_million", "cached_price_per_million",
        "cache_write_price_per_million", "cache_write_1h_price_per_million", "audio_input_price_per_million",
        "audio_cached_price_per_million", "audio_output_price_per_million", "image_output_price_per_million",
    ]

    private static func rates(_ fields: BodyFields) throws -> TokenRates {
        guard let input = try figure("input_price_per_million", fields) else {
            throw GatewayError.missing("input_price_per_million")
        }
        guard let output = try figure("output_price_per_million", fields) else {
            throw GatewayError.missing("output_price_per_million")
        }
        let rates = TokenRates(
            input: input, output: output, cached: try figure("cached_price_per_million", fields),
            cacheWrite: try figure("cache_write_price_per_million", fields),
            cacheWriteHour: try figure("cache_write_1h_price_per_million", fields),
            modal: ModalRates(
                audio: try figure("audio_input_price_per_million", fields),
                audioCached: try figure("audio_cached_price_per_million", fields),
                audioOutput: try figure("audio_output_price_per_million", fields),
                imageOutput: try figure("image_output_price_per_million", fields)))
        guard let rates else { throw GatewayError.missing("input_price_per_million") }
        return rates
    }

    private static func figure(_ field: String, _ fields: BodyFields) throws -> Int64? {
        guard let text = try fields.decimal(field) else { return nil }
        guard let figure = Price.figure(usdPerMillion: text) else {
            throw GatewayError.validation(
                kind: "price", field: field,
                message: "Input should be a price in USD from 0 to 10000 with at most six decimals")
        }
        return figure
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
        let actor = try await authenticator.demand(.operate, request, context).actor
        let model = modelKey(context)
        guard writer.prices.price(for: model, at: SystemClock.now()) != nil else { throw Self.notFound(model) }
        _ = try await writer.submit(.removePrice(RemovePrice(model: model, actor: actor)))
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
        func tokens(_ rates: TokenRates) {
            usd("input_price_per_million", rates.input)
            usd("output_price_per_million", rates.output)
            usd("cached_price_per_million", rates.cached)
            // The contract knows no more: what it does not know is shown where it was set.
            if let write = rates.cacheWrite { usd("cache_write_price_per_million", write) }
            if let write = rates.cacheWriteHour { usd("cache_write_1h_price_per_million", write) }
            if let audio = rates.modal.audio { usd("audio_input_price_per_million", audio) }
            if let cached = rates.modal.audioCached { usd("audio_cached_price_per_million", cached) }
            if let output = rates.modal.audioOutput { usd("audio_output_price_per_million", output) }
            if let output = rates.modal.imageOutput { usd("image_output_price_per_million", output) }
        }
        tokens(price.rates)
        if let search = price.webSearch { usd("web_search_price_per_thousand", search) }
        if let tier = price.longContext {
            json.name("long_context")
            json.beginObject()
            json.field("above_prompt_tokens", tier.above)
            tokens(tier.rates)
            json.endObject()
        }
        json.nullable("created_at", entries[model]?.first?.recordedAt)
        json.nullable("updated_at", entry.recordedAt)
        json.endObject()
    }
}
