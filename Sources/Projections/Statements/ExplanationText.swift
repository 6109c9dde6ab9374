import Ledger
public import WireJSON

// Explanations: in words that a customer understands, and for programs.

extension CostLine.Kind {
    fileprivate var words: String {
        switch self {
        case .prompt: "prompt tokens"
        case .cached: "prompt tokens read from a cache"
        case .cacheWrite: "prompt tokens written to a five-minute cache"
        case .cacheWriteHour: "prompt tokens written to a one-hour cache"
        case .completion: "output tokens (reasoning included)"
        case .audio: "prompt tokens of sound"
        case .audioCached: "prompt tokens of sound read from a cache"
        case .audioOutput: "output tokens of sound"
        case .imageOutput: "output tokens of pictures"
        case .search: "web searches"
        }
    }
}

extension UsageFlag {
    /// What a customer is told of it; nil: nothing that is not said elsewhere.
    fileprivate var words: String? {
        switch self {
        case .estimated, .beyondBound: nil
        case .zeroUsage: "the provider reported that nothing was used."
        case .usageMismatch: "the figures of the provider's report do not add up."
        case .rejectedUsage: "the provider reported a figure that cannot be, which was not believed."
        case .costMismatch: "the provider says that it bills something else than this comes to."
        case .promptBeyondBytes: "the provider counted more prompt tokens than the prompt has bytes."
        case .outputBeyondBound: "the provider counted more output tokens than were allowed."
        case .otherModel: "another model answered than was asked for; the price is that of the one asked for."
        case .unpricedModality:
            "sound or pictures were used for which the model has no price: they cost what text does."
        case .unpricedSearch: "the provider searched the web, for which the model has no price: that is not charged."
        }
    }
}

extension ChargeExplanation {
    /// The explanation in words.
    public var text: String {
        var lines = [
            "Request \(charge.request) of account \(account): \(charge.credits) credits",
            "  model      \(charge.origin.model)"
                + (charge.report.servedModel.map { ", answered by \($0)" } ?? ""),
            "  sent to    \(charge.origin.endpoint), \(charge.origin.keyID.map { "with key \($0)" } ?? "by the operator")",
            "  admitted   \(hold.placedAt), with \(hold.placed.amount) credits held for at most"
                + " \(hold.placed.promptBound) prompt and \(hold.placed.outputBound) output tokens",
            "  charged    \(chargedAt), because it \(Self.words(charge.outcome))", "", "What it used",
        ]
        for line in self.lines {
            let unit = line.kind == .search ? "thousand" : "million"
            let each = line.kind == .search ? line.picoUSDEach / 1000 : line.picoUSDEach
            lines.append(
                "  \(line.count) \(line.kind.words) at \(Decimal64.text(each, fractionDigits: 6)) USD per \(unit)"
                    + " = \(line.count) x \(line.picoUSDEach) = \(line.picoUSD) pico-USD")
        }
        if self.lines.isEmpty { lines.append("  nothing") }
        if charge.priced.price.isLongContext(charge.report.usage) {
            lines.append("  The prompt is long: the model's dearer prices for long prompts apply to all of it.")
        }
        if charge.report.isEstimated {
            lines.append("  The provider reported no usage: this is our estimate, as the documentation says.")
        }
        lines.append(
            "  cost = \(charge.costPicoUSD) pico-USD = \(Decimal64.text(charge.costPicoUSD, fractionDigits: 12)) USD")
        if let stated = charge.report.costPicoUSD {
            lines.append("  The provider says that it bills \(Decimal64.text(stated, fractionDigits: 12)) USD.")
        }
        lines += ["", "Which price", "  " + priceWords, "", "In credits"]
        lines.append(
            "  \(Decimal64.text(charge.costPicoUSD, fractionDigits: 12)) USD x"
                + " \(Decimal64.text(charge.rate.microsPerUSD, fractionDigits: 6)) credits a USD"
                + " = \(Decimal64.text(exactCredits, fractionDigits: 18)) credits exactly")
        lines.append(
            rounding == 0
                ? "  No rounding was needed."
                : "  Rounded up once, to a billionth of a credit: \(charge.credits), which adds \(Decimal64.text(rounding, fractionDigits: 18))."
        )
        if let excess = charge.excess, excess > .zero {
            lines.append(
                "  Only \(hold.placed.amount) had been set aside, and no more is charged: \(excess) credits beyond it (\(Decimal64.text(charge.excessPicoUSD, fractionDigits: 12)) USD) are the operator's."
            )
        }
        lines += charge.report.flags.compactMap(\.words).map { "  Note: " + $0 }
        lines += ["", "Who paid"] + payers
        lines += ["", "Balance", "  \(balanceBefore) before, \(charge.balance) after"]
        for reversal in reversals {
            lines.append("  given back since: \(reversal.amount) (\(reversal.reason), by \(reversal.actor))")
        }
        lines += ["", "Events"]
        for item in evidence {
            lines.append(
                "  \(item.role): position \(item.event.position), \(item.event.event.type), \(item.event.recordedAt),"
                    + " hash \(item.hash)")
        }
        if !isConsistent { lines += ["", "THE FIGURES DO NOT FIT TOGETHER: the ledger is to be verified."] }
        return lines.printable
    }

    private var priceWords: String {
        guard let price else { return "none: the operator gives this model away" }
        return "version \(charge.priced.version) of the price list, set by \(price.actor), in force since"
            + " \(price.validFrom). It was in force when the request was admitted."
    }

    private var payers: [String] {
        var lines: [String] = []
        for (index, share) in shares.enumerated() {
            let grant = share.grant
            let expiry = grant.expiresAt.map { "expires \($0)" } ?? "never expires"
            lines.append(
                "  \(index + 1). grant \(grant.id), \(grant.pool.rawValue) (\(grant.source.rawValue)), \(expiry):"
                    + " had \(share.before), paid \(share.paid), has \(share.after)")
        }
        if charge.shortfall > .zero {
            lines.append("  owed: \(charge.shortfall), more than all grants had; the next grant repays it first")
        }
        lines.append(
            "  In this order: BONUS before SUBSCRIPTION before TOPUP; within one, what expires first; then what was granted first."
        )
        return lines
    }

    private static func words(_ outcome: Outcome) -> String {
        switch outcome {
        case .finished: "finished"
        case .clientGone: "was abandoned by the client after the provider had answered"
        case .upstreamFailed: "broke off at the provider after output had come"
        case .timeout: "ran out of time after output had come"
        case .shutdown: "was ended when the server stopped, after output had come"
        }
    }

    /// Writes the explanation as an object. Amounts are texts with exact decimals.
    public func write(to json: inout JSONWriter) {
        json.beginObject()
        json.field("request_id", charge.request.rawValue)
        json.field("account", account.rawValue)
        json.field("model", charge.origin.model)
        json.nullable("served_model", charge.report.servedModel)
        json.field("endpoint", charge.origin.endpoint)
        json.nullable("key_id", charge.origin.keyID)
        json.field("outcome", charge.outcome.rawValue)
        json.field("admitted_at", hold.placedAt.description)
        json.field("charged_at", chargedAt.description)
        json.field("held", hold.placed.amount.description)
        json.field("estimated", charge.report.isEstimated)
        json.field("long_context", charge.priced.price.isLongContext(charge.report.usage))
        json.name("usage")
        json.beginArray()
        for line in lines {
            json.beginObject()
            json.field("kind", line.kind.rawValue)
            json.field("count", line.count)
            json.field("pico_usd_each", line.picoUSDEach)
            json.field("pico_usd", line.picoUSD)
            json.endObject()
        }
        json.endArray()
        json.field("cost_pico_usd", charge.costPicoUSD)
        json.field("cost_usd", Decimal64.text(charge.costPicoUSD, fractionDigits: 12))
        json.nullable("provider_cost_pico_usd", charge.report.costPicoUSD)
        json.name("price")
        if let price {
            json.beginObject()
            json.field("version", charge.priced.version)
            json.field("valid_from", price.validFrom.description)
            json.field("actor", price.actor)
            json.endObject()
        } else {
            json.null()
        }
        json.field("credits_per_usd", Decimal64.text(charge.rate.microsPerUSD, fractionDigits: 6))
        json.field("credits_exact", Decimal64.text(exactCredits, fractionDigits: 18))
        json.field("credits", charge.credits.description)
        json.field("excess", (charge.excess ?? .zero).description)
        json.field("excess_pico_usd", charge.excessPicoUSD)
        json.name("flags")
        json.beginArray()
        for flag in charge.report.flags { json.value(flag.rawValue) }
        json.endArray()
        json.field("rounding", Decimal64.text(rounding, fractionDigits: 18))
        json.name("paid_by")
        json.beginArray()
        for share in shares {
            json.beginObject()
            json.field("grant", share.grant.id)
            json.field("pool", share.grant.pool.rawValue)
            json.field("priority", share.grant.pool.priority)
            json.field("source", share.grant.source.rawValue)
            json.nullable("expires_at", share.grant.expiresAt?.description)
            json.field("before", share.before.description)
            json.field("paid", share.paid.description)
            json.field("after", share.after.description)
            json.endObject()
        }
        json.endArray()
        json.field("shortfall", charge.shortfall.description)
        json.field("balance_before", balanceBefore.description)
        json.field("balance_after", charge.balance.description)
        json.name("reversals")
        json.beginArray()
        for reversal in reversals {
            json.beginObject()
            json.field("amount", reversal.amount.description)
            json.field("reason", reversal.reason)
            json.field("actor", reversal.actor)
            json.endObject()
        }
        json.endArray()
        json.name("events")
        json.beginArray()
        for item in evidence {
            json.beginObject()
            json.field("role", item.role)
            json.field("position", item.event.position)
            json.field("version", item.event.version)
            json.field("account", item.event.account.rawValue)
            json.field("type", item.event.event.type)
            json.field("recorded_at", item.event.recordedAt.description)
            json.field("hash", item.hash.description)
            json.endObject()
        }
        json.endArray()
        json.field("consistent", isConsistent)
        json.endObject()
    }
}
