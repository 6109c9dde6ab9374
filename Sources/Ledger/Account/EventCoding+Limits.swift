import WireJSON

// What the events of limits store, and how what is spent under them is written down: ARCHITECTURE.md has the fields.

extension UseLimits {
    func encode(into json: inout JSONWriter) {
        json.optional("per_day", perDay?.nanos)
        json.optional("per_month", perMonth?.nanos)
        json.optional("total", total?.nanos)
        json.optional("requests_per_minute", requestsPerMinute)
        json.optional("tokens_per_minute", tokensPerMinute)
        guard let models else { return }
        json.name("models")
        json.beginArray()
        for model in models { json.value(model) }
        json.endArray()
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        self.init(
            perDay: try json.optionalInteger(field: "per_day").map(Credits.init(nanos:)),
            perMonth: try json.optionalInteger(field: "per_month").map(Credits.init(nanos:)),
            total: try json.optionalInteger(field: "total").map(Credits.init(nanos:)),
            requestsPerMinute: try json.optionalInteger(field: "requests_per_minute"),
            tokensPerMinute: try json.optionalInteger(field: "tokens_per_minute"))
        guard json.optionalField("models") else { return }
        var models: [String] = []
        try json.enterArray()
        while try json.nextElement() { models.append(try json.string()) }
        self.models = models
    }
}

extension BudgetCap {
    func encode(into json: inout JSONWriter) {
        json.field("budget", id)
        json.optional("micro_usd", microUSD)
        json.optional("seconds", seconds)
    }

    /// Reads what is behind the budget's id.
    init(id: String, from json: inout JSONScanner) throws(JSONError) {
        self.init(
            id: id, microUSD: try json.optionalInteger(field: "micro_usd"),
            seconds: try json.optionalInteger(field: "seconds"))
    }
}

extension LimitsSet {
    func encode(into json: inout JSONWriter) {
        json.optional("key_id", scope.keyID)
        limits.encode(into: &json)
        json.field("actor", actor)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        scope = LimitScope(keyID: try json.optionalString(field: "key_id"))
        limits = try UseLimits(from: &json)
        actor = try json.string(field: "actor")
    }
}

extension BudgetSet {
    func encode(into json: inout JSONWriter) {
        budget?.encode(into: &json)
        json.field("actor", actor)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        if let id = try json.optionalString(field: "budget") {
            budget = try BudgetCap(id: id, from: &json)
        } else {
            budget = nil
        }
        actor = try json.string(field: "actor")
    }
}

extension SpendingState {
    /// The state as JSON: the same state always gives the same bytes.
    public var text: String {
        var json = JSONWriter()
        json.beginObject()
        encode(into: &json)
        json.endObject()
        return json.text
    }

    /// Reads what ``text`` wrote; nil where it is something else.
    public init?(_ text: String) {
        let state = Array(text.utf8).withUnsafeBufferPointer { buffer in
            try? { () throws(JSONError) in
                var json = JSONScanner(buffer)
                try json.enterObject()
                let state = try SpendingState(from: &json)
                try json.leaveObject()
                try json.end()
                return state
            }()
        }
        guard let state else { return nil }
        self = state
    }

    func encode(into json: inout JSONWriter) {
        limits.encode(into: &json)
        budget?.encode(into: &json)
        json.optional("budget_from", budgetFrom?.microseconds)
        json.name("counters")
        json.beginArray()
        for window in LimitWindow.allCases {
            guard let counter = counters[window] else { continue }
            json.beginObject()
            json.field("window", window.rawValue)
            json.field("from", counter.from.microseconds)
            json.field("spent", counter.spent.nanos)
            json.field("held", counter.held.nanos)
            json.endObject()
        }
        json.endArray()
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        self.init()
        limits = try UseLimits(from: &json)
        if let id = try json.optionalString(field: "budget") { budget = try BudgetCap(id: id, from: &json) }
        budgetFrom = try json.optionalInteger(field: "budget_from").map(Timestamp.init(microseconds:))
        try json.field("counters")
        try json.enterArray()
        while try json.nextElement() {
            try json.enterObject()
            let window = try json.value(field: "window", LimitWindow.init(rawValue:))
            counters[window] = SpendingCounter(
                from: try json.instant("from"), spent: try json.credits("spent"), held: try json.credits("held"))
            try json.leaveObject()
        }
    }
}
