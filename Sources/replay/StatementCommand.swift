import ArgumentParser
import Auditing
import Foundation
import Ledger
import Projections
import WireJSON

/// `replay statement DB --account ID --month 2026-03`
struct StatementCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "statement",
        abstract: "Write an account's statement of a month: opening, all that came and went, closing.",
        discussion: """
            Example: replay statement ledger.sqlite --account alice --month 2026-03

            By the time from which events count, in UTC. What is due and not yet recorded is in it, and marked. html is a page
            that prints well. Exit codes: 0 it adds up, 1 it does not, 2 unusable, 3 no such account by then.
            """)

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text, html, csv, json
    }

    @Argument(help: "The ledger's database file.")
    var database: String

    @Option(help: "The account's id.")
    var account: String

    @Option(help: "The month, in UTC: 2026-03.")
    var month: String?

    @Option(help: "Instead of a month: the first instant (ISO 8601) of the period.")
    var from: String?

    @Option(help: "Instead of a month: the first instant behind the period.")
    var to: String?

    @Option(help: "As it was known at that instant.")
    var knownAt: String?

    @Option(help: "text, html, csv or json.")
    var format: Format = .text

    func run() throws {
        let id = try accountID(account)
        let (start, end) = try period()
        let known = try instant(knownAt, "--known-at")
        let file = try openLedger(database)
        let statement = try usable {
            try file.statement(of: id, from: start, until: end, now: now(), knownAt: known)
        }
        guard let statement else { throw noAccount(account) }
        write(bytes: Self.render(statement, format))
        if !statement.isBalanced { throw ExitCode(1) }
    }

    private func period() throws -> (Timestamp, Timestamp) {
        if let month {
            guard let month = Month(month), from == nil, to == nil else {
                throw ValidationError("--month must be a month such as 2026-03, without --from and --to")
            }
            return (month.start, month.next.start)
        }
        guard let start = try instant(from, "--from"), let end = try instant(to, "--to"), start < end else {
            throw ValidationError("give --month, or --from and --to with --from before --to")
        }
        return (start, end)
    }

    private static func render(_ statement: AccountStatement, _ format: Format) -> [UInt8] {
        switch format {
        case .text: return Array(statement.text.utf8)
        case .html: return Array(statement.html.utf8)
        case .csv:
            var table = TableWriter(.csv, AccountStatement.columns)
            statement.write(to: &table)
            return table.take()
        case .json:
            var json = JSONWriter()
            statement.write(to: &json)
            return json.bytes + [0x0A]
        }
    }
}
