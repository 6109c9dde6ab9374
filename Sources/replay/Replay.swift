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
            Exit codes: 0 done and sound, 1 unsound or different, 2 unusable (no ledger, newer schema, locked, a full disk), 3 no such
            account or charge, 64 wrong arguments, 141 the reader of a pipe has gone.
            """,
        subcommands: [
            Verify.self, Explain.self, Balance.self, Diff.self, StatementCommand.self, WhatIfCommand.self, Export.self,
            Reconcile.self, Prove.self, CheckProof.self, Events.self, Rebuild.self,
        ])
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
    func open() throws -> LedgerFile { try openLedger(database) }
}

/// Opens a ledger for reading, or ends the process with code 2.
func openLedger(_ path: String) throws -> LedgerFile { try usable { try LedgerFile(path: path) } }

/// An account's id as it was given.
func accountID(_ text: String) throws -> AccountID {
    guard let id = AccountID(rawValue: text) else { throw ValidationError("--account is no valid account id") }
    return id
}

/// An instant as it was given.
func instant(_ text: String?, _ option: String) throws -> Timestamp? {
    try text.map { text in
        guard let instant = Timestamp(iso8601: text) else {
            throw ValidationError("\(option) must be an instant in ISO 8601, such as 2026-03-01T00:00:00Z")
        }
        return instant
    }
}

/// The present moment.
func now() -> Timestamp { Timestamp(microseconds: Int64(Date().timeIntervalSince1970 * 1_000_000)) }

/// Writes to standard output.
func write(_ text: String) {
    write(bytes: Array((text + "\n").utf8))
}

/// Writes to standard output. A reader that has gone ends the process, as it does for other programs of a pipe; so does a disk that is
/// full, with words and the exit code 2.
func write(bytes: [UInt8]) {
    var rest = bytes[...]
    while !rest.isEmpty {
        let written = rest.withUnsafeBytes { Foundation.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
        if written >= 0 {
            rest = rest.dropFirst(written)
        } else if errno == EPIPE {
            Foundation.exit(141)
        } else if errno != EINTR {
            complain("replay: what was to be written could not be: \(String(cString: strerror(errno)))")
            Foundation.exit(2)
        }
    }
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
