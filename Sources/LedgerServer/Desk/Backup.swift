import ArgumentParser
import Auditing
import Foundation
import Ledger
import LedgerSQLite

/// `LedgerServer backup`
struct Backup: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Copy the ledger while it is in use, and verify the copy as 'replay verify' does.",
        discussion: """
            Example: LedgerServer backup --database-url sqlite:///ledger.sqlite --to backup.sqlite

            The copy is one state of the ledger, however much is written meanwhile. It is written beside --to and takes its
            place when it is complete and sound; an existing file is not replaced. To restore, stop the server and put the copy
            where the ledger was, without the -wal and -shm files of the old one. Exit codes: 0 copied and sound, 1 the copy is
            unsound, 2 it could not be made.
            """)

    @Option(help: "The YAML file of the configuration, which names the ledger.")
    var config: String?

    @Option(help: "sqlite:///path/to/ledger.sqlite; wins over the file.")
    var databaseURL: String?

    @Option(help: "Where the copy shall be.")
    var to: String

    func run() throws {
        guard !to.isEmpty else { throw ValidationError("--to must name a file") }
        let path = try ledgerPath()
        let partial = to + ".partial"
        let files = FileManager.default
        do {
            guard !files.fileExists(atPath: to) else { throw BackupError(what: "\(to) exists") }
            try? files.removeItem(atPath: partial)
            try LedgerFile(path: path).copy(to: partial)
            let result = try Verification.run(LedgerFile(path: partial))
            guard result.isSound else {
                let first = result.findings.first?.description ?? ""
                complain("the copy is unsound, and stays as \(partial): \(first)")
                throw ExitCode(1)
            }
            for suffix in ["-wal", "-shm"] { try? files.removeItem(atPath: partial + suffix) }
            try files.moveItem(atPath: partial, toPath: to)
            print("copied \(result.events) events to \(to)\nhead   \(result.head.position):\(result.head.hash)\nsound")
        } catch let code as ExitCode {
            throw code
        } catch {
            try? files.removeItem(atPath: partial)
            complain("\(to): \(error is CocoaError ? error.localizedDescription : "\(error)")")
            throw ExitCode(2)
        }
    }

    private func ledgerPath() throws -> String {
        do {
            if let databaseURL { return try ServerConfiguration.path(ofDatabaseURL: databaseURL) }
            guard let config else { throw ValidationError("give --config or --database-url") }
            guard let yaml = try? String(contentsOfFile: config, encoding: .utf8) else {
                throw ConfigurationError("the file \(config) cannot be read")
            }
            return try ServerConfiguration(yaml: yaml, environment: ProcessInfo.processInfo.environment).databasePath
        } catch let error as ValidationError {
            throw error
        } catch {
            complain("\(error)")
            throw ExitCode(2)
        }
    }

    private func complain(_ text: String) {
        FileHandle.standardError.write(Data(("backup: " + text + "\n").utf8))
    }
}

private struct BackupError: Error, CustomStringConvertible {
    let what: String
    var description: String { what }
}
