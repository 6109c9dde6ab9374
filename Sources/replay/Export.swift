import ArgumentParser
import Auditing
import Foundation
import Ledger
import Projections

/// `replay export KIND DB`
struct Export: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write usage, charges, grants, the journal or the roll-forward of a period to a file.",
        discussion: """
            Example: replay export usage ledger.sqlite --from 2026-03-01 --to 2026-04-01 --format csv

            A period is by the time of recording: a month that is over never changes. Columns are described by --columns, and
            new ones come at the end. Amounts are exact decimals. CSV is RFC 4180; what a spreadsheet would run as a formula
            has an apostrophe in front. hledger and beancount are for the journal, which has an entry for each day and kind
            unless --by event says otherwise, and states every balance at the end of each month. The same bytes come from
            GET /v1/exports/<kind>. Exit codes: 0 written, 2 unusable.
            """)

    enum Kind: String, ExpressibleByArgument, CaseIterable {
        case usage, charges, grants, journal
        case rollForward = "roll-forward"
    }

    enum Detail: String, ExpressibleByArgument, CaseIterable {
        case day, event
    }

    @Argument(help: "usage, charges, grants, journal or roll-forward.")
    var kind: Kind

    @Argument(help: "The ledger's database file.")
    var database: String

    @Option(help: "From this instant of recording on (ISO 8601, a date is its beginning in UTC).")
    var from: String?

    @Option(help: "Before this instant of recording.")
    var to: String?

    @Option(help: "csv, jsonl; for the journal also hledger or beancount.")
    var format = "csv"

    @Option(help: "Of hledger and beancount: an entry a day and kind, or one an event.")
    var by: Detail = .day

    @Flag(help: "Only say what the columns are.")
    var columns = false

    func run() throws {
        if columns { return write(describe()) }
        let (start, end) = (try instant(from, "--from"), try instant(to, "--to"))
        if let start, let end, start >= end { throw ValidationError("--from must be before --to") }
        let order = ExportOrder(try content(), from: start, to: end)
        let file = try openLedger(database)
        var progress = ProgressLine()
        try usable {
            try ParallelExport.run(
                file, order, jobs: min(4, max(1, ProcessInfo.processInfo.activeProcessorCount)),
                write: { write(bytes: $0) }, progress: { progress.update($0, of: $1) })
        }
        progress.end()
    }

    private func content() throws -> ExportOrder.Content {
        guard let content = ExportOrder.Content(kind: kind.rawValue, format: format, byEvent: by == .event) else {
            throw ValidationError("\(kind.rawValue) cannot be written as '\(format)'")
        }
        return content
    }

    private func describe() -> String {
        let columns = EventTable(rawValue: kind.rawValue)?.columns ?? RollForward.columns
        let width = columns.map(\.name.count).max() ?? 0
        return columns.map { column in
            column.name + String(repeating: " ", count: width - column.name.count + 2) + column.meaning
        }.joined(separator: "\n")
    }
}
