import ArgumentParser
import Foundation
import Ledger
import LedgerSQLite

/// The auditor's command line.
@main
struct Replay: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Prove, read and rebuild a credit ledger.",
        discussion: """
            Reads only, and is safe while the server runs (but for 'rebuild', which wants it stopped).
            Exit codes: 0 sound, 1 unsound, 2 unusable (no ledger, newer schema, locked), 3 no such account,
            64 wrong arguments.
            """,
        subcommands: [Verify.self, Balance.self, Events.self, Rebuild.self])
}

/// How results are written.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json
}

/// Where the ledger is, and how to answer.
struct LedgerOptions: ParsableArguments {
    @Argument(help: "The ledger's database file.")
    var database: String

    @Option(help: "text or json.")
    var format: OutputFormat = .text

    /// Opens the ledger for reading, or ends the process with code 2.
    func open() throws -> LedgerFile {
        do {
            return try LedgerFile(path: database)
        } catch {
            throw unusable(error)
        }
    }
}

/// Writes to standard output.
func write(_ text: String) {
    FileHandle.standardOutput.write(Data((text + "\n").utf8))
}

/// Writes to standard error.
func complain(_ text: String) {
    FileHandle.standardError.write(Data((text + "\n").utf8))
}

/// Says why the ledger cannot be used; the exit code is 2.
func unusable(_ error: any Error) -> ExitCode {
    complain("replay: \(error)")
    return ExitCode(2)
}

/// Shows how far a long run is, on a terminal only.
struct ProgressLine {
    private let isTerminal = isatty(STDERR_FILENO) == 1
    private let total: Int64
    private let start = ContinuousClock.now
    private var shown = ContinuousClock.now

    init(total: Int64) {
        self.total = total
    }

    mutating func update(_ done: Int64) {
        guard isTerminal, ContinuousClock.now - shown > .milliseconds(500) else { return }
        shown = .now
        let seconds = max(0.001, (shown - start) / .seconds(1))
        let rate = max(1, Int64(Double(done) / seconds))
        let left = max(0, total - done) / rate
        FileHandle.standardError.write(Data("\r\(done) of \(total) events, \(rate)/s, \(left) s left   ".utf8))
    }

    func end() {
        guard isTerminal else { return }
        FileHandle.standardError.write(Data("\r\u{1B}[K".utf8))
    }
}
