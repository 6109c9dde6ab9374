import ArgumentParser
import Auditing
import Ledger
import LedgerSQLite
import Projections
import WireJSON

/// `replay explain DB REQUEST`
struct Explain: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say why a request was charged what it was: usage, price, arithmetic, who paid, and the events.",
        discussion: """
            Example: replay explain ledger.sqlite req_0000000000000000000000

            Exit codes: 0 explained, 1 its figures do not fit together, 2 unusable, 3 no such charge.
            """)

    @OptionGroup var ledger: LedgerOptions

    @Argument(help: "The request's id, as the answer's x-request-id and the usage log name it.")
    var request: String

    func run() throws {
        guard let id = RequestID(rawValue: request) else { throw ValidationError("this is no valid request id") }
        let file = try ledger.open()
        guard let explanation = try usable({ try file.explanation(of: id) }) else {
            complain("replay: there is no charge of request '\(request)'")
            throw ExitCode(3)
        }
        if ledger.format == .json {
            var json = JSONWriter()
            explanation.write(to: &json)
            write(json.text)
        } else {
            write(bytes: Array(explanation.text.utf8))
        }
        if !explanation.isConsistent { throw ExitCode(1) }
    }
}
