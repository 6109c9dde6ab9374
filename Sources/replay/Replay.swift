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

/// Runs what reads the ledger; where it cannot be read, the process ends with code 2.
func usable<R>(_ body: () throws -> R) throws -> R {
    do {
        return try body()
    } catch let error as ExitCode {
        throw error
    } catch let error as ValidationError {
        throw error
    } catch {
        throw unusable(error)
    }
}

/// Says that there is no such account; the exit code is 3.
func noAccount(_ account: String) -> ExitCode {
    complain("replay: there is no account '\(account)'")
    return ExitCode(3)
}
