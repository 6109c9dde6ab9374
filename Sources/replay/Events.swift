import ArgumentParser
import Auditing
import Foundation
import Ledger
import LedgerSQLite

/// `replay events DB`
struct Events: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print events as JSON lines, as they are stored, or as columns to read.",
        discussion: """
            Example: replay events ledger.sqlite --account alice --from 2026-03-01 --to 2026-04-01

            Exit codes: 0 printed, 2 unusable, 3 no such account.
            """)

    @Argument(help: "The ledger's database file.")
    var database: String

    @Option(help: "json: a line of JSON for each event; text: position, time, account and version, type, data.")
    var format: OutputFormat = .json

    @Option(help: "Only this account's events.")
    var account: String?

    @Option(help: "From this position, or from this instant (ISO 8601, recorded time) on.")
    var from: String?

    @Option(help: "Up to and including this position, or before this instant.")
    var to: String?

    /// A position or an instant.
    private enum Bound {
        case position(Int64)
        case instant(Timestamp)

        init(_ text: String, _ option: String) throws {
            if let position = Int64(text) {
                self = .position(position)
            } else if let instant = Timestamp(iso8601: text) {
                self = .instant(instant)
            } else {
                throw ValidationError("\(option) must be a position or an instant in ISO 8601")
            }
        }
    }

    func run() throws {
        let from = try from.map { try Bound($0, "--from") }
        let to = try to.map { try Bound($0, "--to") }
        let id = try account.map { text in
            guard let id = AccountID(anyStream: text) else { throw ValidationError("--account is no valid account id") }
            return id
        }
        let file: LedgerFile
        do {
            file = try LedgerFile(path: database)
        } catch {
            throw unusable(error)
        }
        var isKnown = id == nil
        do {
            var output = ""
            try file.snapshot { view in
                try view.scan(account: id) { row, hash in
                    isKnown = true
                    switch from {
                    case .position(let first)? where row.position < first: return true
                    case .instant(let first)? where row.recordedAt < first.microseconds: return true
                    default: break
                    }
                    switch to {
                    case .position(let last)? where row.position > last: return false
                    case .instant(let end)? where row.recordedAt >= end.microseconds: return false
                    default: break
                    }
                    output +=
                        (format == .json ? String(decoding: FedEvent(row, hash).json, as: UTF8.self) : Self.text(row))
                        + "\n"
                    if output.utf8.count > 1 << 16 {
                        write(bytes: Array(output.utf8))
                        output = ""
                    }
                    return true
                }
            }
            write(bytes: Array(output.utf8))
        } catch {
            throw unusable(error)
        }
        guard isKnown else {
            complain("replay: there is no account '\(account ?? "")'")
            throw ExitCode(3)
        }
    }

    private static func text(_ bytes: UnsafeBufferPointer<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }

    private static func text(_ row: StoredBytes) -> String {
        let columns = [
            "\(row.position)", "\(Timestamp(microseconds: row.recordedAt))", "\(text(row.account)):\(row.version)",
        ]
        return (columns + [text(row.type), String(decoding: FedEvent.line(row.data), as: UTF8.self)]).joined(
            separator: "  ")
    }
}
