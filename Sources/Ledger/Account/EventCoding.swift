public import WireJSON

// The stored form of events: `type` names the event and its schema version, `data` is a JSON object with exactly the fields
// below, in this order and without white space. Optional fields are left out where there is no value. Amounts are integers
// in the unit that the field names. ARCHITECTURE.md has the catalogue; `fixtures/events` has one of every version.

extension LedgerEvent {
    /// The stable wire name with its schema version.
    public var type: String {
        switch self {
        case .accountOpened: "account_opened.v1"
        case .planChanged: "plan_changed.v1"
        case .creditsGranted: "credits_granted.v1"
        case .grantExpired: "grant_expired.v1"
        case .holdPlaced: "hold_placed.v1"
        case .holdReleased: "hold_released.v1"
        case .requestCharged: "request_charged.v1"
        case .chargeReversed: "charge_reversed.v1"
        case .creditsWithdrawn: "credits_withdrawn.v1"
        case .usageImported: "usage_imported.v1"
        case .accountBlocked: "account_blocked.v1"
        case .accountUnblocked: "account_unblocked.v1"
        case .priceSet: "price_set.v1"
        case .priceRemoved: "price_removed.v1"
        case .planSet: "plan_set.v1"
        }
    }

    /// The bytes that are stored and hashed.
    public func encoded() -> [UInt8] {
        var json = JSONWriter()
        json.beginObject()
        switch self {
        case .accountOpened(let event):
            json.field("plan", event.plan)
            json.field("micro_credits_per_usd", event.rate.microsPerUSD)
        case .planChanged(let event):
            json.field("plan", event.plan)
            json.field("micro_credits_per_usd", event.rate.microsPerUSD)
        case .creditsGranted(let event): event.encode(into: &json)
        case .grantExpired(let event):
            json.field("grant", event.grant)
            json.field("amount", event.amount.nanos)
            json.field("balance", event.balance.nanos)
        case .holdPlaced(let event): event.encode(into: &json)
        case .holdReleased(let event):
            json.field("request", event.request.rawValue)
            event.origin.encode(into: &json)
            json.field("amount", event.amount.nanos)
            json.field("reason", event.reason.rawValue)
            json.optional("upstream_status", event.upstreamStatus)
        case .requestCharged(let event): event.encode(into: &json)
        case .chargeReversed(let event): event.encode(into: &json)
        case .creditsWithdrawn(let event):
            json.field("amount", event.amount.nanos)
            json.encode("allocations", event.allocations)
            json.field("reason", event.reason)
            json.field("actor", event.actor)
            json.field("balance", event.balance.nanos)
        case .usageImported(let event): event.encode(into: &json)
        case .accountBlocked(let event): json.field("actor", event.actor)
        case .accountUnblocked(let event): json.field("actor", event.actor)
        case .priceSet(let event):
            json.field("model", event.model)
            event.price.encode(into: &json)
            json.field("valid_from", event.validFrom.microseconds)
            json.field("actor", event.actor)
        case .priceRemoved(let event):
            json.field("model", event.model)
            json.field("valid_from", event.validFrom.microseconds)
            json.field("actor", event.actor)
        case .planSet(let event): event.plan.encode(into: &json)
        }
        json.endObject()
        return json.bytes
    }

    /// Reads an event as it was stored. Older schema versions are upcast here.
    ///
    /// Throws where the type is unknown or the data are not exactly what ``encoded()`` writes.
    public init(type: UnsafeBufferPointer<UInt8>, data: UnsafeBufferPointer<UInt8>) throws(EventCodingError) {
        let name = JSONScanner(type)
        let all = 0..<name.count
        var json = JSONScanner(data)
        do throws(JSONError) {
            try json.enterObject()
            // The two events of every request come first: they are nearly all there are.
            if name.equals(all, "hold_placed.v1") {
                self = .holdPlaced(try HoldPlaced(from: &json))
            } else if name.equals(all, "request_charged.v1") {
                self = .requestCharged(try RequestCharged(from: &json))
            } else if name.equals(all, "hold_released.v1") {
                self = .holdReleased(try HoldReleased(from: &json))
            } else if name.equals(all, "credits_granted.v1") {
                self = .creditsGranted(try CreditsGranted(from: &json))
            } else if name.equals(all, "grant_expired.v1") {
                self = .grantExpired(
                    GrantExpired(
                        grant: try json.integer(field: "grant"), amount: try json.credits("amount"),
                        balance: try json.credits("balance")))
            } else if name.equals(all, "account_opened.v1") {
                self = .accountOpened(AccountOpened(plan: try json.string(field: "plan"), rate: try json.rate()))
            } else if name.equals(all, "plan_changed.v1") {
                self = .planChanged(PlanChanged(plan: try json.string(field: "plan"), rate: try json.rate()))
            } else if name.equals(all, "charge_reversed.v1") {
                self = .chargeReversed(try ChargeReversed(from: &json))
            } else if name.equals(all, "credits_withdrawn.v1") {
                self = .creditsWithdrawn(
                    CreditsWithdrawn(
                        amount: try json.credits("amount"), allocations: try json.allocations("allocations"),
                        reason: try json.string(field: "reason"), actor: try json.string(field: "actor"),
                        balance: try json.credits("balance")))
            } else if name.equals(all, "usage_imported.v1") {
                self = .usageImported(try UsageImported(from: &json))
            } else if name.equals(all, "account_blocked.v1") {
                self = .accountBlocked(AccountBlocked(actor: try json.string(field: "actor")))
            } else if name.equals(all, "account_unblocked.v1") {
                self = .accountUnblocked(AccountUnblocked(actor: try json.string(field: "actor")))
            } else if name.equals(all, "price_set.v1") {
                self = .priceSet(
                    PriceSet(
                        model: try json.string(field: "model"), price: try Price(from: &json),
                        validFrom: Timestamp(microseconds: try json.integer(field: "valid_from")),
                        actor: try json.string(field: "actor")))
            } else if name.equals(all, "price_removed.v1") {
                self = .priceRemoved(
                    PriceRemoved(
                        model: try json.string(field: "model"),
                        validFrom: Timestamp(microseconds: try json.integer(field: "valid_from")),
                        actor: try json.string(field: "actor")))
            } else if name.equals(all, "plan_set.v1") {
                self = .planSet(PlanSet(plan: try Plan(from: &json)))
            } else {
                throw JSONError(.unexpectedField, at: -1)
            }
            try json.leaveObject()
            try json.end()
        } catch {
            if error.offset < 0 { throw .unknownType(String(decoding: type, as: UTF8.self)) }
            throw .malformedData(type: String(decoding: type, as: UTF8.self), error)
        }
    }

    /// Reads an event from strings; for tests and tools, where speed does not matter.
    public init(type: String, data: [UInt8]) throws(EventCodingError) {
        let result = Array(type.utf8).withUnsafeBufferPointer { name in
            data.withUnsafeBufferPointer { bytes in
                Result { () throws(EventCodingError) in try LedgerEvent(type: name, data: bytes) }
            }
        }
        self = try result.get()
    }
}

/// Why a stored event cannot be read.
public enum EventCodingError: Error, Equatable, Sendable, CustomStringConvertible {
    case unknownType(String)
    case invalidAccount(String)
    case malformedData(type: String, JSONError)

    public var description: String {
        switch self {
        case .unknownType(let type): "unknown event type '\(type)'"
        case .invalidAccount(let account): "'\(account)' is no account id"
        case .malformedData(let type, let error): "the data of an event '\(type)' are malformed: \(error)"
        }
    }
}

// MARK: - Payloads

extension CreditsGranted {
    fileprivate func encode(into json: inout JSONWriter) {
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

    fileprivate init(from json: inout JSONScanner) throws(JSONError) {
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
        model = try json.string(field: "model")
        keyID = try json.optionalString(field: "key_id")
        endpoint = try json.string(field: "endpoint")
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
        if writesCache { json.field("writes_cache", true) }
        json.encode("price", priced)
        json.field("micro_credits_per_usd", rate.microsPerUSD)
        json.field("amount", amount.nanos)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        request = try json.value(field: "request", RequestID.init(rawValue:))
        origin = try RequestOrigin(from: &json)
        promptBound = try json.integer(field: "prompt_bound")
        outputBound = try json.integer(field: "output_bound")
        wantedOutput = try json.integer(field: "wanted_output")
        searchBound = try json.optionalInteger(field: "search_bound") ?? 0
        writesCache = json.optionalField("writes_cache") ? try json.bool() : false
        priced = try json.priceInForce("price")
        rate = try json.rate()
        amount = try json.credits("amount")
    }
}

extension HoldReleased {
    fileprivate init(from json: inout JSONScanner) throws(JSONError) {
        request = try json.value(field: "request", RequestID.init(rawValue:))
        origin = try RequestOrigin(from: &json)
        amount = try json.credits("amount")
        reason = try json.value(field: "reason", ReleaseReason.init(rawValue:))
        upstreamStatus = try json.optionalInteger(field: "upstream_status")
    }
}

extension RequestCharged {
    fileprivate func encode(into json: inout JSONWriter) {
        json.field("request", request.rawValue)
        origin.encode(into: &json)
        json.field("outcome", outcome.rawValue)
        report.encode(into: &json)
        json.encode("price", priced)
        json.field("micro_credits_per_usd", rate.microsPerUSD)
        json.field("cost_pico_usd", costPicoUSD)
        json.field("credits", credits.nanos)
        json.encode("allocations", allocations)
        json.field("shortfall", shortfall.nanos)
        json.field("balance", balance.nanos)
    }

    fileprivate init(from json: inout JSONScanner) throws(JSONError) {
        request = try json.value(field: "request", RequestID.init(rawValue:))
        origin = try RequestOrigin(from: &json)
        outcome = try json.value(field: "outcome", Outcome.init(rawValue:))
        report = try UsageReport(from: &json)
        priced = try json.priceInForce("price")
        rate = try json.rate()
        try json.field("cost_pico_usd")
        costPicoUSD = try json.wideInteger()
        credits = try json.credits("credits")
        allocations = try json.allocations("allocations")
        shortfall = try json.credits("shortfall")
        balance = try json.credits("balance")
    }
}

extension UsageReport {
    fileprivate func encode(into json: inout JSONWriter) {
        json.optional("served_model", servedModel)
        json.field("prompt_tokens", usage.prompt)
        json.field("cached_tokens", usage.cached)
        json.field("cache_write_tokens", usage.cacheWrite)
        json.field("cache_write_1h_tokens", usage.cacheWriteHour)
        json.field("completion_tokens", usage.completion)
        if usage.searches > 0 { json.field("web_searches", usage.searches) }
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

    fileprivate init(from json: inout JSONScanner) throws(JSONError) {
        servedModel = try json.optionalString(field: "served_model")
        let start = json.offset
        let usage = Usage(
            prompt: try json.integer(field: "prompt_tokens"), cached: try json.integer(field: "cached_tokens"),
            cacheWrite: try json.integer(field: "cache_write_tokens"),
            cacheWriteHour: try json.integer(field: "cache_write_1h_tokens"),
            completion: try json.integer(field: "completion_tokens"),
            searches: try json.optionalInteger(field: "web_searches") ?? 0)
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
    fileprivate func encode(into json: inout JSONWriter) {
        json.field("request", request.rawValue)
        json.field("amount", amount.nanos)
        json.encode("restored", restored)
        json.field("debt_reduced", debtReduced.nanos)
        json.encode("repayments_returned", repaymentsReturned)
        json.field("reason", reason)
        json.field("actor", actor)
        json.field("balance", balance.nanos)
    }

    fileprivate init(from json: inout JSONScanner) throws(JSONError) {
        request = try json.value(field: "request", RequestID.init(rawValue:))
        amount = try json.credits("amount")
        restored = try json.allocations("restored")
        debtReduced = try json.credits("debt_reduced")
        repaymentsReturned = try json.allocations("repayments_returned")
        reason = try json.string(field: "reason")
        actor = try json.string(field: "actor")
        balance = try json.credits("balance")
    }
}

extension TokenRates {
    fileprivate func encode(into json: inout JSONWriter) {
        json.field("input", input)
        json.field("output", output)
        json.optional("cached", cached)
        json.optional("cache_write", cacheWrite)
        json.optional("cache_write_1h", cacheWriteHour)
    }

    fileprivate init(from json: inout JSONScanner) throws(JSONError) {
        let start = json.offset
        let rates = TokenRates(
            input: try json.integer(field: "input"), output: try json.integer(field: "output"),
            cached: try json.optionalInteger(field: "cached"),
            cacheWrite: try json.optionalInteger(field: "cache_write"),
            cacheWriteHour: try json.optionalInteger(field: "cache_write_1h"))
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

// MARK: - Shared shapes

extension JSONWriter {
    mutating func encode(_ key: StaticString, _ allocations: [Allocation]) {
        name(key)
        beginArray()
        for allocation in allocations {
            beginArray()
            value(allocation.grant)
            value(allocation.amount.nanos)
            endArray()
        }
        endArray()
    }

    mutating func encode(_ key: StaticString, _ priced: PriceInForce) {
        name(key)
        beginObject()
        field("version", priced.version)
        priced.price.encode(into: &self)
        endObject()
    }
}

extension JSONScanner {
    @inline(__always)
    mutating func integer(field name: StaticString) throws(JSONError) -> Int64 {
        try field(name)
        return try integer()
    }

    @inline(__always)
    mutating func optionalInteger(field name: StaticString) throws(JSONError) -> Int64? {
        optionalField(name) ? try integer() : nil
    }

    @inline(__always)
    mutating func string(field name: StaticString) throws(JSONError) -> String {
        try field(name)
        return try string()
    }

    @inline(__always)
    mutating func optionalString(field name: StaticString) throws(JSONError) -> String? {
        optionalField(name) ? try string() : nil
    }

    @inline(__always)
    mutating func value<T>(field name: StaticString, _ parse: (String) -> T?) throws(JSONError) -> T {
        guard let value = parse(try string(field: name)) else { throw JSONError(.unexpectedField, at: offset) }
        return value
    }

    @inline(__always)
    mutating func credits(_ name: StaticString) throws(JSONError) -> Credits {
        Credits(nanos: try integer(field: name))
    }

    mutating func rate() throws(JSONError) -> CreditRate {
        guard let rate = CreditRate(microsPerUSD: try integer(field: "micro_credits_per_usd")) else {
            throw JSONError(.invalidNumber, at: offset)
        }
        return rate
    }

    mutating func allocations(_ name: StaticString) throws(JSONError) -> [Allocation] {
        try field(name)
        try enterArray()
        var allocations: [Allocation] = []
        while try nextElement() {
            try enterArray()
            guard try nextElement() else { throw JSONError(.unexpectedField, at: offset) }
            let grant = try integer()
            guard try nextElement() else { throw JSONError(.unexpectedField, at: offset) }
            allocations.append(Allocation(grant: grant, amount: Credits(nanos: try integer())))
            guard try !nextElement() else { throw JSONError(.unexpectedField, at: offset) }
        }
        return allocations
    }

    mutating func priceInForce(_ name: StaticString) throws(JSONError) -> PriceInForce {
        try field(name)
        try enterObject()
        let version = try integer(field: "version")
        let price = try Price(from: &self)
        try leaveObject()
        return PriceInForce(version: version, price: price)
    }
}
