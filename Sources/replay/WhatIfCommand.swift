import ArgumentParser
import Auditing
import Ledger
import LedgerSQLite
import Projections
import WireJSON

/// `replay what-if DB --prices FILE --plans FILE`
struct WhatIfCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "what-if",
        abstract: "Fold the whole history again as if other prices or plans had applied, beside what was.",
        discussion: """
            Example: replay what-if ledger.sqlite --prices prices.json

            --prices is what GET /v1/pricing answers, with other figures: models that are not in it cost what they did. --plans
            is an object of plans by name with the keys of the configuration (price_usd, credits_per_usd, signup_bonus,
            cycle_credits, top_up_to, cycle_days, grace_days); what is not stated stays as it is now. What people did stays the
            same: requests that would have been refused are served, and the account goes below zero. Exit codes: 0 told, 2
            unusable.
            """)

    @OptionGroup var ledger: LedgerOptions

    @Option(help: "A JSON file with prices, as GET /v1/pricing writes them.")
    var prices: String?

    @Option(help: "A JSON file with plans, as the configuration has them.")
    var plans: String?

    func run() throws {
        guard prices != nil || plans != nil else { throw ValidationError("give --prices, --plans or both") }
        let prices = try prices.map { try TermsFile.prices(contents(of: $0), $0) } ?? [:]
        let file = try ledger.open()
        let known = try usable { try file.snapshot { try $0.planBook().plans } }
        let path = plans
        let plans = try plans.map { try TermsFile.plans(contents(of: $0), $0, known) } ?? []
        for plan in plans where known[plan.name] == nil {
            throw ValidationError(
                "\(path ?? ""): nobody was ever on a plan '\(plan.name)'; the ledger knows \(known.keys.sorted().joined(separator: ", "))"
            )
        }
        var progress = ProgressLine()
        let result = try usable {
            try file.whatIf(prices: prices, plans: plans) { progress.update($0, of: $1) }
        }
        progress.end()
        write(ledger.format == .json ? json(result) : text(result))
    }

    private func rows(_ result: WhatIf) -> [(month: String, model: String, use: WhatIf.Use)] {
        result.uses.sorted { ($0.key.month, $0.key.model) < ($1.key.month, $1.key.model) }.map {
            (Month(index: $0.key.month).description, $0.key.model, $0.value)
        }
    }

    private func moneyRows(_ result: WhatIf) -> [(month: String, name: String, pair: WhatIf.Pair, digits: Int)] {
        result.months.sorted { $0.key < $1.key }.flatMap { month, money in
            [
                ("received_usd", money.received, 6), ("returned_usd", money.returned, 6),
                ("credits_sold", money.sold, 9),
                ("credits_given", money.given, 9), ("credits_expired", money.expired, 9),
            ].map { (Month(index: month).description, $0.0, $0.1, $0.2) }
        }
    }

    private func text(_ result: WhatIf) -> String {
        func pair(_ pair: WhatIf.Pair, _ digits: Int) -> String {
            "\(Decimal64.text(pair.was, fractionDigits: digits)) -> \(Decimal64.text(pair.would, fractionDigits: digits))"
        }
        var lines = ["accounts    \(result.accounts)"]
        for (month, model, use) in rows(result) {
            lines.append(
                "\(month)     \(model): \(use.requests) requests, cost \(pair(use.picoUSD, 12)) USD, charged \(pair(use.credits, 9)) credits"
            )
        }
        for (month, name, amounts, digits) in moneyRows(result) where amounts.was != 0 || amounts.would != 0 {
            lines.append("\(month)     \(name): \(pair(amounts, digits))")
        }
        lines.append("balance     \(pair(result.balance, 9)) credits in all")
        lines.append("below zero  \(pair(result.under, 0)) accounts at some time")
        for (account, at) in result.newlyUnder { lines.append("  \(account) would have gone below zero at \(at)") }
        if result.refused > 0 { lines.append("payments    \(result.refused) could not have been made so") }
        return lines.joined(separator: "\n")
    }

    private func json(_ result: WhatIf) -> String {
        var json = JSONWriter()
        func pair(_ name: StaticString, _ pair: WhatIf.Pair, _ digits: Int) {
            json.name(name)
            json.beginObject()
            json.field("was", Decimal64.text(pair.was, fractionDigits: digits))
            json.field("would", Decimal64.text(pair.would, fractionDigits: digits))
            json.endObject()
        }
        json.beginObject()
        json.field("accounts", result.accounts)
        json.name("usage")
        json.beginArray()
        for (month, model, use) in rows(result) {
            json.beginObject()
            json.field("month", month)
            json.field("model", model)
            json.field("requests", use.requests)
            pair("cost_usd", use.picoUSD, 12)
            pair("credits", use.credits, 9)
            json.endObject()
        }
        json.endArray()
        json.name("months")
        json.beginArray()
        for (month, name, amounts, digits) in moneyRows(result) {
            json.beginObject()
            json.field("month", month)
            json.field("line", name)
            json.field("was", Decimal64.text(amounts.was, fractionDigits: digits))
            json.field("would", Decimal64.text(amounts.would, fractionDigits: digits))
            json.endObject()
        }
        json.endArray()
        pair("balance", result.balance, 9)
        pair("accounts_below_zero", result.under, 0)
        json.name("newly_below_zero")
        json.beginArray()
        for (account, at) in result.newlyUnder {
            json.beginObject()
            json.field("account", account.rawValue)
            json.field("at", at.description)
            json.endObject()
        }
        json.endArray()
        json.field("payments_refused", result.refused)
        json.endObject()
        return json.text
    }
}
