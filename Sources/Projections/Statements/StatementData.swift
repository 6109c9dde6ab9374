import Ledger
public import WireJSON

// Statements for programs.

extension AccountStatement {
    public static let columns = [
        TableColumn("at", "the instant, or the UTC day of charges"),
        TableColumn("line", "opening, \(Kind.allCases.map(\.rawValue).joined(separator: ", ")), charged, closing"),
        TableColumn("model", "of charges: provider:model"), TableColumn("requests", "of charges: how many"),
        TableColumn("prompt_tokens", "of charges"), TableColumn("cached_tokens", "of charges"),
        TableColumn("completion_tokens", "of charges"), TableColumn("cost_usd", "of charges: the exact cost in USD"),
        TableColumn("pool", "of grants and expiries: where the credits lie"),
        TableColumn("source", "of grants and expiries: why they were granted"),
        TableColumn("expires_at", "of grants: when they can no longer be spent"),
        TableColumn("reference", "a payment or a request"), TableColumn("reason", "why"),
        TableColumn("pending", "whether it is due and not yet recorded"),
        TableColumn("credits", "what it added; of opening and closing the balance"),
    ]

    /// Writes the statement as a table: all rows between the first and the last add up to their difference.
    public func write(to table: inout TableWriter) {
        func balance(_ name: String, _ at: Timestamp, _ credits: Int128) {
            table.instant(at)
            table.word(name)
            for _ in 0..<11 { table.text(nil) }
            table.flag(false)
            table.decimal(credits, fractionDigits: 9)
            table.endRow()
        }
        balance("opening", from, opening)
        for line in lines {
            table.instant(line.at)
            table.word(line.kind.rawValue)
            for _ in 0..<6 { table.text(nil) }
            table.text(line.terms?.pool.rawValue)
            table.text(line.terms?.source.rawValue)
            table.instant(line.expiresAt)
            table.text(line.reference)
            table.text(line.reason)
            table.flag(line.isPending)
            table.decimal(line.credits, fractionDigits: 9)
            table.endRow()
        }
        for (day, model, sum) in charges {
            table.text(Timestamp.text(day: day))
            table.word("charged")
            table.text(model)
            for figure in [sum.requests, sum.promptTokens, sum.cachedTokens, sum.completionTokens] {
                table.integer(figure)
            }
            table.decimal(sum.costPicoUSD, fractionDigits: 12)
            for _ in 0..<5 { table.text(nil) }
            table.flag(false)
            table.decimal(-sum.credits, fractionDigits: 9)
            table.endRow()
        }
        balance("closing", until, closing)
    }

    /// Writes the statement as an object. Amounts are texts with exact decimals.
    public func write(to json: inout JSONWriter) {
        func credits(_ name: StaticString, _ amount: Int128) {
            json.field(name, Decimal64.text(amount, fractionDigits: 9))
        }
        func charges(_ sum: Charges) {
            json.field("requests", sum.requests)
            json.field("prompt_tokens", sum.promptTokens)
            json.field("cached_tokens", sum.cachedTokens)
            json.field("completion_tokens", sum.completionTokens)
            json.field("cost_usd", Decimal64.text(sum.costPicoUSD, fractionDigits: 12))
            credits("credits", sum.credits)
        }
        json.beginObject()
        json.field("account", account.rawValue)
        json.field("from", from.description)
        json.field("until", until.description)
        json.nullable("plan", plan)
        credits("opening", opening)
        for kind in Kind.allCases {
            json.name(kind.rawValue)
            json.value(Decimal64.text(sum(of: kind), fractionDigits: 9))
        }
        credits("charged", -charged.credits)
        credits("closing", closing)
        json.field("balanced", isBalanced)
        json.name("lines")
        json.beginArray()
        for line in lines {
            json.beginObject()
            json.field("at", line.at.description)
            json.field("kind", line.kind.rawValue)
            credits("credits", line.credits)
            json.nullable("grant", line.grant)
            json.nullable("pool", line.terms?.pool.rawValue)
            json.nullable("source", line.terms?.source.rawValue)
            json.nullable("expires_at", line.expiresAt?.description)
            json.nullable("reference", line.reference)
            json.nullable("reason", line.reason)
            json.field("pending", line.isPending)
            json.endObject()
        }
        json.endArray()
        json.name("charges_by_model")
        json.beginArray()
        for (model, sum) in models {
            json.beginObject()
            json.field("model", model)
            charges(sum)
            json.endObject()
        }
        json.endArray()
        json.name("charges_by_day")
        json.beginArray()
        for (day, model, sum) in self.charges {
            json.beginObject()
            json.field("day", Timestamp.text(day: day))
            json.field("model", model)
            charges(sum)
            json.endObject()
        }
        json.endArray()
        json.endObject()
    }
}
