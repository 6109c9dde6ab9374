import ArgumentParser
import Ledger
import WireJSON

/// Reads prices and plans from files: exactly, and every member must be known.
enum TermsFile {
    /// Prices by model: an array of objects as `GET /v1/pricing` writes them.
    static func prices(_ bytes: [UInt8], _ path: String) throws -> [String: Price] {
        guard let list = (try? JSONValue(bytes))?.array else {
            throw ValidationError("\(path) must be a JSON array of prices, as GET /v1/pricing writes it")
        }
        var prices: [String: Price] = [:]
        for entry in list {
            guard let object = entry.object, let model = object["model_key"]?.string.flatMap({ ModelKey($0) }) else {
                throw ValidationError("\(path): every price needs a model_key such as openai:gpt-4o")
            }
            let price = try price(object, "\(path): \(model)")
            guard prices.updateValue(price, forKey: model.description) == nil else {
                throw ValidationError("\(path): \(model) is priced twice")
            }
        }
        return prices
    }

    private static let rateNames = [
        "input_price_per_million", "output_price_per_million", "cached_price_per_million",
        "cache_write_price_per_million", "cache_write_1h_price_per_million",
        "audio_input_price_per_million", "audio_cached_price_per_million", "audio_output_price_per_million",
        "image_output_price_per_million",
    ]

    private static func price(_ object: JSONObject, _ place: String) throws -> Price {
        try check(
            object,
            rateNames + ["model_key", "web_search_price_per_thousand", "long_context", "created_at", "updated_at"],
            place)
        var tier: Price.LongContext?
        if let long = object.present("long_context") {
            guard let long = long.object else { throw ValidationError("\(place): long_context must be an object") }
            try check(long, rateNames + ["above_prompt_tokens"], place + ": long_context")
            guard let above = long["above_prompt_tokens"]?.integer,
                let found = Price.LongContext(above: above, rates: try rates(long, place + ": long_context"))
            else { throw ValidationError("\(place): long_context needs above_prompt_tokens, a number of tokens") }
            tier = found
        }
        let search = try figure(object, "web_search_price_per_thousand", place)
        guard let price = Price(rates: try rates(object, place), longContext: tier, webSearch: search) else {
            throw ValidationError("\(place) has no price")
        }
        return price
    }

    private static func rates(_ object: JSONObject, _ place: String) throws -> TokenRates {
        let figures = try rateNames.map { try figure(object, $0, place) }
        guard let input = figures[0], let output = figures[1],
            let rates = TokenRates(
                input: input, output: output, cached: figures[2], cacheWrite: figures[3], cacheWriteHour: figures[4],
                modal: ModalRates(
                    audio: figures[5], audioCached: figures[6], audioOutput: figures[7], imageOutput: figures[8]))
        else { throw ValidationError("\(place) needs input_price_per_million and output_price_per_million") }
        return rates
    }

    private static func figure(_ object: JSONObject, _ name: String, _ place: String) throws -> Int64? {
        guard let value = object.present(name) else { return nil }
        guard case .number(let digits) = value, let figure = Price.figure(usdPerMillion: digits) else {
            throw ValidationError("\(place): \(name) must be a number of USD from 0 to 10000 with at most six decimals")
        }
        return figure
    }

    /// Plans: an object of plans by name. What is not stated is as `known` has it.
    static func plans(_ bytes: [UInt8], _ path: String, _ known: [String: Plan]) throws -> [Plan] {
        guard let object = (try? JSONValue(bytes))?.object else {
            throw ValidationError("\(path) must be a JSON object of plans by name")
        }
        try checkTwice(object, path)
        return try object.members.map { member in
            let place = "\(path): \(member.name)"
            guard let terms = member.value.object else { throw ValidationError("\(place) must be an object") }
            try check(
                terms,
                [
                    "price_usd", "credits_per_usd", "signup_bonus", "cycle_credits", "top_up_to", "cycle_days",
                    "grace_days",
                ], place)
            func amount(_ name: String, _ digits: Int) throws -> Int64? {
                guard let value = terms.present(name) else { return nil }
                guard case .number(let text) = value, let amount = Decimal64.parse(text, fractionDigits: digits),
                    amount >= 0
                else { throw ValidationError("\(place): \(name) must be a number with at most \(digits) decimals") }
                return amount
            }
            func seconds(_ name: String) throws -> Int64? {
                guard let value = terms.present(name) else { return nil }
                guard let days = value.integer, (0...3660).contains(days) else {
                    throw ValidationError("\(place): \(name) must be a number of days")
                }
                return days * 86_400
            }
            let now = known[member.name]
            let rate = try amount("credits_per_usd", 6).map(CreditRate.init(microsPerUSD:)) ?? now?.rate ?? .standard
            guard let rate,
                let plan = Plan(
                    name: member.name, microUSD: try amount("price_usd", 6) ?? now?.microUSD ?? 0, rate: rate,
                    signupBonus: try amount("signup_bonus", 9).map(Credits.init(nanos:)) ?? now?.signupBonus ?? .zero,
                    cycleCredits: try amount("cycle_credits", 9).map(Credits.init(nanos:)) ?? now?.cycleCredits
                        ?? .zero,
                    topUpTo: try amount("top_up_to", 9).map(Credits.init(nanos:)) ?? now?.topUpTo ?? .zero,
                    cycleSeconds: try seconds("cycle_days") ?? now?.cycleSeconds ?? Cycle.standardSeconds,
                    graceSeconds: try seconds("grace_days") ?? now?.graceSeconds ?? 0)
            else { throw ValidationError("\(place) has terms that no plan can have") }
            return plan
        }
    }

    private static func check(_ object: JSONObject, _ known: [String], _ place: String) throws {
        for member in object.members where !known.contains(member.name) {
            throw ValidationError("\(place): \(member.name) is unknown")
        }
        try checkTwice(object, place)
    }

    /// Refuses members that are there twice: readers differ in which of them counts.
    private static func checkTwice(_ object: JSONObject, _ place: String) throws {
        var seen: Set<String> = []
        for member in object.members where !seen.insert(member.name).inserted {
            throw ValidationError("\(place): \(member.name) is there twice")
        }
    }
}
