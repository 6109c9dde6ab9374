import WireJSON

// A snapshot is a cache of the fold, so that an account with a long history is not folded anew when it is touched. It is no
// part of the truth: deleting all snapshots loses nothing, and `replay verify` compares each with the fold.

extension Account {
    /// The version of the snapshots' form. A snapshot of another version is ignored, and the account folded from its events.
    public static let snapshotFormat: Int64 = 3

    /// The account as bytes; the same account always gives the same bytes.
    public func snapshot() -> [UInt8] {
        var json = JSONWriter(reserving: 1024)
        json.beginObject()
        json.field("version", version)
        json.optional("plan", plan)
        json.field("micro_credits_per_usd", rate.microsPerUSD)
        json.optional("opened_at", openedAt?.microseconds)
        json.field("blocked", isBlocked)
        json.field("debt", debt.nanos)
        json.field("granted", totals.granted)
        json.field("expired", totals.expired)
        json.field("charged", totals.charged)
        json.field("reversed", totals.reversed)
        json.field("withdrawn", totals.withdrawn)
        json.name("grants")
        json.beginArray()
        for grant in (openGrants + closedGrants.values).sorted(by: { $0.id < $1.id }) {
            json.beginObject()
            json.field("id", grant.id)
            json.field("pool", grant.pool.rawValue)
            json.field("source", grant.source.rawValue)
            json.field("amount", grant.amount.nanos)
            json.optional("expires_at", grant.expiresAt?.microseconds)
            json.field("remaining", grant.remaining.nanos)
            json.field("debt_repaid", grant.debtRepaid.nanos)
            json.field("expired", grant.expired.nanos)
            json.endObject()
        }
        json.endArray()
        json.name("holds")
        json.beginArray()
        for hold in holds.values.sorted(by: { $0.placed.request.rawValue < $1.placed.request.rawValue }) {
            json.beginObject()
            json.field("placed_at", hold.placedAt.microseconds)
            hold.placed.encode(into: &json)
            json.endObject()
        }
        json.endArray()
        json.name("reversals")
        json.beginArray()
        for (request, amount) in reversals.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            json.beginObject()
            json.field("request", request.rawValue)
            json.field("amount", amount.nanos)
            json.endObject()
        }
        json.endArray()
        if let cycle { json.encode(cycle) }
        json.optional("next_plan", nextPlan)
        json.name("payments")
        json.beginArray()
        for payment in payments.values.sorted(by: { $0.id.rawValue < $1.id.rawValue }) {
            json.beginObject()
            payment.encode(into: &json)
            json.endObject()
        }
        json.endArray()
        json.name("prepaid")
        json.beginArray()
        for payment in prepaid { json.value(payment.rawValue) }
        json.endArray()
        json.name("spending")
        json.beginArray()
        for (scope, state) in spending.sorted(by: { $0.key < $1.key }) {
            json.beginObject()
            json.optional("key_id", scope.keyID)
            state.encode(into: &json)
            json.endObject()
        }
        json.endArray()
        json.endObject()
        return json.bytes
    }

    /// Reads a snapshot; nil where the bytes are not one.
    public init?(id: AccountID, snapshot: [UInt8]) {
        let account = snapshot.withUnsafeBufferPointer { buffer in
            var json = JSONScanner(buffer)
            return try? Account(id: id, from: &json)
        }
        guard let account else { return nil }
        self = account
    }

    private init(id: AccountID, from json: inout JSONScanner) throws(JSONError) {
        try json.enterObject()
        let version = try json.integer(field: "version")
        let plan = try json.optionalString(field: "plan")
        let rate = try json.rate()
        let openedAt = try json.optionalInteger(field: "opened_at").map(Timestamp.init(microseconds:))
        try json.field("blocked")
        let blocked = try json.bool()
        let debt = try json.credits("debt")
        var totals = Totals()
        totals.granted = try json.wideInteger(field: "granted")
        totals.expired = try json.wideInteger(field: "expired")
        totals.charged = try json.wideInteger(field: "charged")
        totals.reversed = try json.wideInteger(field: "reversed")
        totals.withdrawn = try json.wideInteger(field: "withdrawn")
        var grants: [Grant] = []
        try json.field("grants")
        try json.enterArray()
        while try json.nextElement() {
            try json.enterObject()
            var grant = Grant(
                id: try json.integer(field: "id"), pool: try json.value(field: "pool", Pool.init(rawValue:)),
                source: try json.value(field: "source", GrantSource.init(rawValue:)),
                amount: try json.credits("amount"),
                expiresAt: try json.optionalInteger(field: "expires_at").map(Timestamp.init(microseconds:)),
                remaining: try json.credits("remaining"), debtRepaid: try json.credits("debt_repaid"))
            grant.expired = try json.credits("expired")
            grants.append(grant)
            try json.leaveObject()
        }
        var holds: [Hold] = []
        try json.field("holds")
        try json.enterArray()
        while try json.nextElement() {
            try json.enterObject()
            let placedAt = Timestamp(microseconds: try json.integer(field: "placed_at"))
            holds.append(Hold(placed: try HoldPlaced(from: &json), placedAt: placedAt))
            try json.leaveObject()
        }
        var reversals: [RequestID: Credits] = [:]
        try json.field("reversals")
        try json.enterArray()
        while try json.nextElement() {
            try json.enterObject()
            let request = try json.value(field: "request", RequestID.init(rawValue:))
            reversals[request] = try json.credits("amount")
            try json.leaveObject()
        }
        let cycle = json.optionalField("cycle") ? try json.cycle() : nil
        let nextPlan = try json.optionalString(field: "next_plan")
        var payments: [RecordedPayment] = []
        try json.field("payments")
        try json.enterArray()
        while try json.nextElement() {
            try json.enterObject()
            payments.append(try RecordedPayment(from: &json))
            try json.leaveObject()
        }
        var prepaid: [PaymentID] = []
        try json.field("prepaid")
        try json.enterArray()
        while try json.nextElement() {
            guard let payment = PaymentID(rawValue: try json.string()) else {
                throw JSONError(.unexpectedField, at: json.offset)
            }
            prepaid.append(payment)
        }
        var spending: [LimitScope: SpendingState] = [:]
        try json.field("spending")
        try json.enterArray()
        while try json.nextElement() {
            try json.enterObject()
            let scope = LimitScope(keyID: try json.optionalString(field: "key_id"))
            spending[scope] = try SpendingState(from: &json)
            try json.leaveObject()
        }
        try json.leaveObject()
        try json.end()
        self.init(
            id: id, version: version, plan: plan, rate: rate, openedAt: openedAt, isBlocked: blocked, grants: grants,
            debt: debt, holds: holds, reversals: reversals, cycle: cycle, nextPlan: nextPlan, payments: payments,
            prepaid: prepaid, spending: spending, totals: totals)
    }
}

extension RecordedPayment {
    fileprivate func encode(into json: inout JSONWriter) {
        json.field("id", id.rawValue)
        json.field("purchase", kind.rawValue)
        json.optional("plan", plan)
        json.field("credits", credits.nanos)
        json.field("micro_usd", microUSD)
        json.field("recorded_at", recordedAt.microseconds)
        json.optional("grant", grant)
        json.field("refunded_micro_usd", refundedMicroUSD)
        json.field("refunded_credits", refundedCredits.nanos)
        json.field("refund_debt", refundDebt.nanos)
    }

    fileprivate init(from json: inout JSONScanner) throws(JSONError) {
        id = try json.payment("id")
        kind = try json.value(field: "purchase", PurchaseKind.init(rawValue:))
        plan = try json.optionalString(field: "plan")
        credits = try json.credits("credits")
        microUSD = try json.integer(field: "micro_usd")
        recordedAt = try json.instant("recorded_at")
        grant = try json.optionalInteger(field: "grant")
        refundedMicroUSD = try json.integer(field: "refunded_micro_usd")
        refundedCredits = try json.credits("refunded_credits")
        refundDebt = try json.credits("refund_debt")
    }
}

extension JSONWriter {
    fileprivate mutating func encode(_ cycle: Cycle) {
        name("cycle")
        beginObject()
        field("number", cycle.number)
        field("from", cycle.from.microseconds)
        field("until", cycle.until.microseconds)
        cycle.terms.encode(into: &self)
        optional("payment", cycle.payment?.rawValue)
        field("grace", cycle.isGrace)
        field("refunded", cycle.isRefunded)
        endObject()
    }
}

extension JSONScanner {
    fileprivate mutating func cycle() throws(JSONError) -> Cycle {
        try enterObject()
        let number = try integer(field: "number")
        let from = try instant("from")
        let until = try instant("until")
        let terms = try CycleTerms(from: &self)
        let payment = try optionalPayment("payment")
        try field("grace")
        let isGrace = try bool()
        try field("refunded")
        let isRefunded = try bool()
        try leaveObject()
        return Cycle(
            number: number, from: from, until: until, terms: terms, payment: payment, isGrace: isGrace,
            isRefunded: isRefunded)
    }

}
