import WireJSON

// What each event stores: ARCHITECTURE.md has the fields.

extension CreditsGranted {
    func encode(into json: inout JSONWriter) {
        json.field("pool", pool.rawValue)
        json.field("source", source.rawValue)
        json.field("amount", amount.nanos)
        json.optional("expires_at", expiresAt?.microseconds)
        json.optional("reference", reference)
        json.optional("reason", reason)
        json.optional("actor", actor)
        json.field("debt_repaid", debtRepaid.nanos)
        json.field("balance", balance.nanos)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        pool = try json.value(field: "pool", Pool.init(rawValue:))
        source = try json.value(field: "source", GrantSource.init(rawValue:))
        amount = try json.credits("amount")
        expiresAt = try json.optionalInteger(field: "expires_at").map(Timestamp.init(microseconds:))
        reference = try json.optionalString(field: "reference")
        reason = try json.optionalString(field: "reason")
        actor = try json.optionalString(field: "actor")
        debtRepaid = try json.credits("debt_repaid")
        balance = try json.credits("balance")
    }
}

extension RequestOrigin {
    func encode(into json: inout JSONWriter) {
        json.field("model", model)
        json.optional("key_id", keyID)
        json.field("endpoint", endpoint)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        self.init(
            model: try json.string(field: "model"), keyID: try json.optionalString(field: "key_id"),
            endpoint: try json.endpoint("endpoint"))
    }
}

extension HoldPlaced {
    func encode(into json: inout JSONWriter) {
        json.field("request", request.rawValue)
        origin.encode(into: &json)
        json.field("prompt_bound", promptBound)
        json.field("output_bound", outputBound)
        json.field("wanted_output", wantedOutput)
        if searchBound > 0 { json.field("search_bound", searchBound) }
        if audioBound > 0 { json.field("audio_bound", audioBound) }
        if audioOutput { json.field("audio_output", true) }
        if writesCache { json.field("writes_cache", true) }
        json.encode("price", priced)
        json.field("micro_credits_per_usd", rate.microsPerUSD)
        json.field("amount", amount.nanos)
        if let windows {
            json.field("day", windows.day.microseconds)
            json.field("month", windows.month.microseconds)
        }
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        self.init(
            request: try json.value(field: "request", RequestID.init(rawValue:)),
            origin: try RequestOrigin(from: &json),
            promptBound: try json.integer(field: "prompt_bound"),
            outputBound: try json.integer(field: "output_bound"),
            wantedOutput: try json.integer(field: "wanted_output"),
            searchBound: try json.optionalInteger(field: "search_bound") ?? 0,
            audioBound: try json.optionalInteger(field: "audio_bound") ?? 0,
            audioOutput: json.optionalField("audio_output") ? try json.bool() : false,
            writesCache: json.optionalField("writes_cache") ? try json.bool() : false,
            priced: try json.priceInForce("price"),
            rate: try json.rate(),
            amount: try json.credits("amount"),
            windows: try json.windows())
    }
}

extension HoldReleased {
    init(from json: inout JSONScanner) throws(JSONError) {
        request = try json.value(field: "request", RequestID.init(rawValue:))
        origin = try RequestOrigin(from: &json)
        amount = try json.credits("amount")
        reason = try json.value(field: "reason", ReleaseReason.init(rawValue:))
        upstreamStatus = try json.optionalInteger(field: "upstream_status")
    }
}

extension RequestCharged {
    func encode(into json: inout JSONWriter) {
        json.field("request", request.rawValue)
        origin.encode(into: &json)
        json.field("outcome", outcome.rawValue)
        report.encode(into: &json)
        json.encode("price", priced)
        json.field("micro_credits_per_usd", rate.microsPerUSD)
        json.field("cost_pico_usd", costPicoUSD)
        json.field("credits", credits.nanos)
        if let excess { json.field("excess", excess.nanos) }
        json.encode("allocations", allocations)
        json.field("shortfall", shortfall.nanos)
        json.field("balance", balance.nanos)
    }

    /// `isBounded`: whether the charge is at most its hold, as since `request_charged.v2`.
    init(from json: inout JSONScanner, isBounded: Bool) throws(JSONError) {
        self.init(
            request: try json.value(field: "request", RequestID.init(rawValue:)),
            origin: try RequestOrigin(from: &json),
            outcome: try json.value(field: "outcome", Outcome.init(rawValue:)),
            report: try UsageReport(from: &json),
            priced: try json.priceInForce("price"),
            rate: try json.rate(),
            costPicoUSD: try json.wideInteger(field: "cost_pico_usd"),
            credits: try json.credits("credits"),
            excess: isBounded ? try json.credits("excess") : nil,
            allocations: try json.allocations("allocations"),
            shortfall: try json.credits("shortfall"),
            balance: try json.credits("balance"))
    }
}

extension UsageReport {
    func encode(into json: inout JSONWriter) {
        json.optional("served_model", servedModel)
        json.field("prompt_tokens", usage.prompt)
        json.field("cached_tokens", usage.cached)
        json.field("cache_write_tokens", usage.cacheWrite)
        json.field("cache_write_1h_tokens", usage.cacheWriteHour)
        json.field("completion_tokens", usage.completion)
        if usage.searches > 0 { json.field("web_searches", usage.searches) }
        if usage.modal != .none { usage.modal.encode(into: &json) }
        json.field("estimated", isEstimated)
        if !flags.isEmpty {
            json.name("flags")
            json.beginArray()
            for flag in flags { json.value(flag.rawValue) }
            json.endArray()
        }
        if let costPicoUSD { json.field("provider_cost_pico_usd", costPicoUSD) }
        if let raw {
            json.name("raw_usage")
            json.raw(raw)
        }
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        servedModel = try json.optionalString(field: "served_model")
        let start = json.offset
        let usage = Usage(
            prompt: try json.integer(field: "prompt_tokens"), cached: try json.integer(field: "cached_tokens"),
            cacheWrite: try json.integer(field: "cache_write_tokens"),
            cacheWriteHour: try json.integer(field: "cache_write_1h_tokens"),
            completion: try json.integer(field: "completion_tokens"),
            searches: try json.optionalInteger(field: "web_searches") ?? 0, modal: try ModalTokens(from: &json))
        guard let usage else { throw JSONError(.invalidNumber, at: start) }
        self.usage = usage
        try json.field("estimated")
        let estimated = try json.bool()
        var flags: [UsageFlag] = []
        if json.optionalField("flags") {
            try json.enterArray()
            while try json.nextElement() {
                guard let flag = UsageFlag(rawValue: try json.string()) else {
                    throw JSONError(.unexpectedField, at: json.offset)
                }
                flags.append(flag)
            }
        }
        guard flags.contains(.estimated) == estimated else { throw JSONError(.unexpectedField, at: json.offset) }
        self.flags = flags
        costPicoUSD = json.optionalField("provider_cost_pico_usd") ? try json.wideInteger() : nil
        raw = json.optionalField("raw_usage") ? Array(json.bytes(try json.skip())) : nil
    }
}

extension ChargeReversed {
    func encode(into json: inout JSONWriter) {
        json.field("request", request.rawValue)
        json.field("amount", amount.nanos)
        json.encode("restored", restored)
        json.field("debt_reduced", debtReduced.nanos)
        json.encode("repayments_returned", repaymentsReturned)
        if !refundDebt.isEmpty { json.encode("refund_debt", refundDebt) }
        json.field("reason", reason)
        json.field("actor", actor)
        json.field("balance", balance.nanos)
    }

    init(from json: inout JSONScanner, settlesRefunds: Bool) throws(JSONError) {
        request = try json.value(field: "request", RequestID.init(rawValue:))
        amount = try json.credits("amount")
        restored = try json.allocations("restored")
        debtReduced = try json.credits("debt_reduced")
        repaymentsReturned = try json.allocations("repayments_returned")
        refundDebt = settlesRefunds ? try json.allocations("refund_debt") : []
        guard refundDebt.isEmpty != settlesRefunds else { throw JSONError(.unexpectedField, at: json.offset) }
        reason = try json.string(field: "reason")
        actor = try json.string(field: "actor")
        balance = try json.credits("balance")
    }
}

extension ModalTokens {
    func encode(into json: inout JSONWriter) {
        if audio > 0 { json.field("audio_tokens", audio) }
        if audioCached > 0 { json.field("audio_cached_tokens", audioCached) }
        if audioOutput > 0 { json.field("audio_output_tokens", audioOutput) }
        if imageOutput > 0 { json.field("image_output_tokens", imageOutput) }
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        let start = json.offset
        let tokens = ModalTokens(
            audio: try json.optionalInteger(field: "audio_tokens") ?? 0,
            audioCached: try json.optionalInteger(field: "audio_cached_tokens") ?? 0,
            audioOutput: try json.optionalInteger(field: "audio_output_tokens") ?? 0,
            imageOutput: try json.optionalInteger(field: "image_output_tokens") ?? 0)
        guard let tokens else { throw JSONError(.invalidNumber, at: start) }
        self = tokens
    }
}

extension ModalRates {
    func encode(into json: inout JSONWriter) {
        json.optional("audio_input", audio)
        json.optional("audio_cached", audioCached)
        json.optional("audio_output", audioOutput)
        json.optional("image_output", imageOutput)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        let start = json.offset
        let rates = ModalRates(
            audio: try json.optionalInteger(field: "audio_input"),
            audioCached: try json.optionalInteger(field: "audio_cached"),
            audioOutput: try json.optionalInteger(field: "audio_output"),
            imageOutput: try json.optionalInteger(field: "image_output"))
        guard let rates else { throw JSONError(.invalidNumber, at: start) }
        self = rates
    }
}

extension TokenRates {
    func encode(into json: inout JSONWriter) {
        json.field("input", input)
        json.field("output", output)
        json.optional("cached", cached)
        json.optional("cache_write", cacheWrite)
        json.optional("cache_write_1h", cacheWriteHour)
        if modal != .none { modal.encode(into: &json) }
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        let start = json.offset
        let rates = TokenRates(
            input: try json.integer(field: "input"), output: try json.integer(field: "output"),
            cached: try json.optionalInteger(field: "cached"),
            cacheWrite: try json.optionalInteger(field: "cache_write"),
            cacheWriteHour: try json.optionalInteger(field: "cache_write_1h"), modal: try ModalRates(from: &json))
        guard let rates else { throw JSONError(.invalidNumber, at: start) }
        self = rates
    }
}

extension Price {
    func encode(into json: inout JSONWriter) {
        rates.encode(into: &json)
        if let longContext {
            json.name("long_context")
            json.beginObject()
            json.field("above", longContext.above)
            longContext.rates.encode(into: &json)
            json.endObject()
        }
        json.optional("web_search", webSearch)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        let start = json.offset
        let rates = try TokenRates(from: &json)
        var tier: LongContext?
        if json.optionalField("long_context") {
            try json.enterObject()
            tier = LongContext(above: try json.integer(field: "above"), rates: try TokenRates(from: &json))
            guard tier != nil else { throw JSONError(.invalidNumber, at: start) }
            try json.leaveObject()
        }
        let webSearch = try json.optionalInteger(field: "web_search")
        guard let price = Price(rates: rates, longContext: tier, webSearch: webSearch) else {
            throw JSONError(.invalidNumber, at: start)
        }
        self = price
    }
}
