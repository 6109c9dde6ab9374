import ArgumentParser
import Auditing
import Ledger
import Projections
import WireJSON

/// `replay reconcile DB --provider openai --file usage.csv`
struct Reconcile: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Hold our charges against a provider's usage export, by UTC day and model.",
        discussion: """
            Example: replay reconcile ledger.sqlite --provider openai --file usage.csv

            openai reads the columns of its usage export (start_time_iso or start_time, model, num_model_requests, input_tokens,
            input_cached_tokens, output_tokens), anthropic those of its console's (usage_date_utc, model_version,
            usage_input_tokens_no_cache, …_cache_write_5m, …_cache_write_1h, …_cache_read, usage_output_tokens). All of them,
            and gemini and xai, whose consoles export no such table, also take a plain one: date, model, input_tokens (all of
            them, cached ones included), output_tokens, and where known requests and cached_tokens.

            It is about the days from the file's first to its last, or about --from and --to: a day on which the file has
            nothing is compared, too. A row that names no model and counts something is compared with nothing, and told.

            Two tolerances: what was settled in the first 15 minutes of a day may have been counted on the day before there
            ('midnight'), and --tolerance, a percentage of the tokens, none unless stated ('tolerated'). Exit codes: 0 all
            agrees, 1 something differs, 2 unusable.
            """)

    @OptionGroup var ledger: LedgerOptions

    @Option(help: "openai, anthropic, gemini or xai: whose export it is.")
    var provider: String

    @Option(help: "The provider's file, CSV.")
    var file: String

    @Option(help: "What our models of it are called before the colon, where that is not the provider's name.")
    var name: String?

    @Option(help: "The first day (2026-03-01, UTC) that is compared; without it, the first of the file.")
    var from: String?

    @Option(help: "The first day behind those that are compared; without it, the one behind the last of the file.")
    var to: String?

    @Option(help: "A percentage of the tokens by which a day may differ.")
    var tolerance: String = "0"

    func run() throws {
        guard let millionths = Decimal64.parse(tolerance, fractionDigits: 4), (0...1_000_000).contains(millionths)
        else {
            throw ValidationError("--tolerance must be a percentage from 0 to 100 with at most four decimals")
        }
        guard let format = UsageProvider(rawValue: provider) else {
            throw ValidationError("--provider must be openai, anthropic, gemini or xai")
        }
        let bytes = try contents(of: file)
        let usage: ProviderUsage
        do throws(CSVReader.Problem) {
            usage = try ProviderUsage(bytes, from: format)
        } catch {
            throw ValidationError("\(file), \(error)")
        }
        let period = try period(usage)
        let database = try ledger.open()
        var progress = ProgressLine()
        let result = try usable {
            try database.reconcile(
                usage, provider: name ?? provider, period: period, partsPerMillion: millionths
            ) {
                progress.update($0, of: $1)
            }
        }
        progress.end()
        write(ledger.format == .json ? json(result) : text(result))
        if !result.agrees { throw ExitCode(1) }
    }

    /// The days that are compared.
    private func period(_ usage: ProviderUsage) throws -> ClosedRange<Int64>? {
        func day(_ text: String?, _ option: String) throws -> Int64? {
            try text.map { text in
                guard text.utf8.count == 10, let day = Timestamp(iso8601: text)?.utcDay else {
                    throw ValidationError("\(option) must be a day such as 2026-03-01")
                }
                return day
            }
        }
        let days = usage.tallies.keys.map(\.day)
        guard let first = try day(from, "--from") ?? days.min(),
            let last = try day(to, "--to").map({ $0 - 1 }) ?? days.max()
        else { return nil }
        guard first <= last else {
            throw ValidationError("--from must be before --to, and days of the file between them")
        }
        return first...last
    }

    private func text(_ result: Reconciliation) -> String {
        let lines = result.lines()
        var rows: [String] = []
        if let period = result.period {
            rows.append(
                "compared: \(Timestamp.text(day: period.lowerBound)) to \(Timestamp.text(day: period.upperBound)),"
                    + " both included")
        }
        if result.outside > 0 { rows.append("days and models of the file that lie outside: \(result.outside)") }
        let unnamed = result.unnamed
        if unnamed.rows > 0 {
            rows.append(
                "rows that name no model: \(unnamed.rows), with \(unnamed.tally.prompt) prompt and"
                    + " \(unnamed.tally.completion) output tokens that are compared with nothing")
        }
        for line in lines where line.verdict != .equal {
            var parts: [String] = []
            func part(_ name: String, _ here: Int64?, _ there: Int64?) {
                if let here, let there, here != there { parts.append("\(name): \(here) here, \(there) there") }
            }
            part("requests", line.here.requests, line.there.requests)
            part("prompt tokens", line.here.prompt, line.there.prompt)
            part("cached tokens", line.here.cached, line.there.cached)
            part("output tokens", line.here.completion, line.there.completion)
            if line.estimated > 0 { parts.append("\(line.estimated) of ours are estimates") }
            if line.excessPicoUSD > 0 {
                parts.append(
                    "\(Decimal64.text(line.excessPicoUSD, fractionDigits: 12)) USD of ours are beyond what was held, and charged to nobody"
                )
            }
            if line.interrupted > 0 { parts.append("\(line.interrupted) were interrupted and not charged") }
            rows.append(
                "\(Timestamp.text(day: line.key.day))  \(line.key.model): \(line.verdict.rawValue)  "
                    + parts.joined(separator: "; "))
        }
        let counts = Reconciliation.Verdict.allCases.compactMap { verdict -> String? in
            let count = lines.count { $0.verdict == verdict }
            return count == 0 ? nil : "\(count) \(verdict.rawValue)"
        }
        rows.append("days and models: \(counts.isEmpty ? "none" : counts.joined(separator: ", "))")
        return rows.joined(separator: "\n")
    }

    private func json(_ result: Reconciliation) -> String {
        let lines = result.lines()
        var json = JSONWriter()
        func tally(_ name: StaticString, _ tally: UsageTally) {
            json.name(name)
            json.beginObject()
            json.nullable("requests", tally.requests)
            json.field("prompt_tokens", tally.prompt)
            json.field("cached_tokens", tally.cached)
            json.field("completion_tokens", tally.completion)
            json.endObject()
        }
        json.beginObject()
        json.field("agrees", result.agrees)
        json.nullable("first_day", result.period.map { Timestamp.text(day: $0.lowerBound) })
        json.nullable("last_day", result.period.map { Timestamp.text(day: $0.upperBound) })
        json.field("outside", result.outside)
        json.field("unnamed_rows", result.unnamed.rows)
        tally("unnamed", result.unnamed.tally)
        json.name("lines")
        json.beginArray()
        for line in lines {
            json.beginObject()
            json.field("day", Timestamp.text(day: line.key.day))
            json.field("model", line.key.model)
            json.field("verdict", line.verdict.rawValue)
            tally("here", line.here)
            tally("there", line.there)
            json.field("estimated", line.estimated)
            json.field("excess_pico_usd", line.excessPicoUSD)
            json.field("interrupted", line.interrupted)
            json.endObject()
        }
        json.endArray()
        json.endObject()
        return json.text
    }
}
