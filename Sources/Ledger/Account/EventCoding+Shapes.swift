import WireJSON

// Shapes that several events share.

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

    @inline(__always)
    mutating func wideInteger(field name: StaticString) throws(JSONError) -> Int128 {
        try field(name)
        return try wideInteger()
    }

    /// A route. That of nearly all requests is one text for all of them.
    @inline(__always)
    mutating func endpoint(_ name: StaticString) throws(JSONError) -> String {
        try field(name)
        let text = try text()
        return equals(text.range, "/v1/chat/completions") ? "/v1/chat/completions" : decode(text)
    }

    mutating func windows() throws(JSONError) -> HoldPlaced.Windows? {
        guard let day = try optionalInteger(field: "day") else { return nil }
        return HoldPlaced.Windows(day: Timestamp(microseconds: day), month: try instant("month"))
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

    mutating func instant(_ name: StaticString) throws(JSONError) -> Timestamp {
        Timestamp(microseconds: try integer(field: name))
    }

    mutating func payment(_ name: StaticString) throws(JSONError) -> PaymentID {
        try value(field: name, PaymentID.init(rawValue:))
    }

    mutating func optionalPayment(_ name: StaticString) throws(JSONError) -> PaymentID? {
        guard optionalField(name) else { return nil }
        guard let payment = PaymentID(rawValue: try string()) else { throw JSONError(.unexpectedField, at: offset) }
        return payment
    }
}
