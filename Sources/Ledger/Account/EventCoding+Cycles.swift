import WireJSON

// What the events of cycles and payments store: ARCHITECTURE.md has the fields.

extension CycleTerms {
    /// All but the plan and the rate, which come before them.
    func encodeFigures(into json: inout JSONWriter) {
        json.field("micro_usd", microUSD)
        json.field("cycle_credits", cycleCredits.nanos)
        json.field("top_up_to", topUpTo.nanos)
    }

    func encode(into json: inout JSONWriter) {
        json.field("plan", plan)
        json.field("micro_credits_per_usd", rate.microsPerUSD)
        encodeFigures(into: &json)
    }

    init(plan: String, rate: CreditRate, figuresFrom json: inout JSONScanner) throws(JSONError) {
        self.init(
            plan: plan, microUSD: try json.integer(field: "micro_usd"), rate: rate,
            cycleCredits: try json.credits("cycle_credits"), topUpTo: try json.credits("top_up_to"))
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        let plan = try json.string(field: "plan")
        let rate = try json.rate()
        try self.init(plan: plan, rate: rate, figuresFrom: &json)
    }
}

extension AccountOpened {
    func encode(into json: inout JSONWriter) {
        json.field("plan", plan)
        json.field("micro_credits_per_usd", rate.microsPerUSD)
        guard let first else { return }
        first.terms.encodeFigures(into: &json)
        json.field("cycle_seconds", first.seconds)
    }

    /// Reads `account_opened.v2`.
    init(from json: inout JSONScanner) throws(JSONError) {
        let terms = try CycleTerms(from: &json)
        first = FirstCycle(terms: terms, seconds: try json.integer(field: "cycle_seconds"))
        plan = terms.plan
        rate = terms.rate
    }
}

extension PlanChanged {
    func encode(into json: inout JSONWriter) {
        json.field("plan", plan)
        json.field("micro_credits_per_usd", rate.microsPerUSD)
        terms?.encodeFigures(into: &json)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        plan = try json.string(field: "plan")
        rate = try json.rate()
        guard json.optionalField("micro_usd") else {
            terms = nil
            return
        }
        let microUSD = try json.integer()
        terms = CycleTerms(
            plan: plan, microUSD: microUSD, rate: rate, cycleCredits: try json.credits("cycle_credits"),
            topUpTo: try json.credits("top_up_to"))
    }
}

extension RenewalEvaluated {
    func encode(into json: inout JSONWriter) {
        json.field("cycle", cycle)
        json.field("from", from.microseconds)
        json.field("until", until.microseconds)
        terms.encode(into: &json)
        json.field("outcome", outcome.rawValue)
        json.optional("payment", payment?.rawValue)
        json.field("balance", balance.nanos)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        cycle = try json.integer(field: "cycle")
        from = try json.instant("from")
        until = try json.instant("until")
        terms = try CycleTerms(from: &json)
        outcome = try json.value(field: "outcome", RenewalOutcome.init(rawValue:))
        payment = try json.optionalPayment("payment")
        balance = try json.credits("balance")
    }
}

extension PlanScheduled {
    func encode(into json: inout JSONWriter) {
        json.field("plan", plan)
        json.field("from", from.microseconds)
        json.field("actor", actor)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        plan = try json.string(field: "plan")
        from = try json.instant("from")
        actor = try json.string(field: "actor")
    }
}

extension PaymentRecorded {
    func encode(into json: inout JSONWriter) {
        json.field("payment", payment.rawValue)
        json.field("purchase", kind.rawValue)
        json.optional("plan", plan)
        json.field("credits", credits.nanos)
        json.field("micro_usd", microUSD)
        json.field("actor", actor)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        payment = try json.payment("payment")
        kind = try json.value(field: "purchase", PurchaseKind.init(rawValue:))
        plan = try json.optionalString(field: "plan")
        credits = try json.credits("credits")
        microUSD = try json.integer(field: "micro_usd")
        actor = try json.string(field: "actor")
    }
}

extension PaymentRefunded {
    func encode(into json: inout JSONWriter) {
        json.field("payment", payment.rawValue)
        json.field("micro_usd", microUSD)
        json.field("credits", credits.nanos)
        json.encode("taken", taken)
        json.field("debt_added", debtAdded.nanos)
        json.field("reason", reason)
        json.field("actor", actor)
        json.field("balance", balance.nanos)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        payment = try json.payment("payment")
        microUSD = try json.integer(field: "micro_usd")
        credits = try json.credits("credits")
        taken = try json.allocations("taken")
        debtAdded = try json.credits("debt_added")
        reason = try json.string(field: "reason")
        actor = try json.string(field: "actor")
        balance = try json.credits("balance")
    }
}

extension PaymentFailed {
    func encode(into json: inout JSONWriter) {
        json.field("payment", payment.rawValue)
        json.optional("plan", plan)
        json.field("actor", actor)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        payment = try json.payment("payment")
        plan = try json.optionalString(field: "plan")
        actor = try json.string(field: "actor")
    }
}
