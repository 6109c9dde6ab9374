import ArgumentParser
import Dispatch
import Foundation
import Ledger
import LedgerSQLite
import OldGateway

/// `LedgerServer import`
struct ImportOldGateway: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Bring users, keys, prices, plans, balances, budgets and usage over from the old gateway's database.",
        discussion: """
            Example: LedgerServer import --from postgresql://gateway@db/gateway --config gateway.yaml

            The old database is only read. The server must be stopped: the ledger has one writer. What was imported is never
            imported again, so the command can be repeated: after a crash, or where the old gateway went on meanwhile.
            A password can also be given as PGPASSWORD. Exit codes: 0 reconciled, 1 differences (named), 2 unusable.
            """)

    @Option(help: "The old database: postgresql://… or sqlite:///path.")
    var from: String

    @Option(help: "The YAML file of the configuration, for its database_url.")
    var config: String?

    @Option(help: "sqlite:///path/to/ledger.sqlite; wins over the file.")
    var databaseURL: String?

    @Option(help: "text or json.")
    var format: ReportFormat = .text

    func run() async throws {
        guard config != nil || databaseURL != nil else {
            throw ValidationError("--config or --database-url must say where the ledger is")
        }
        let isReconciled: Bool
        do {
            let source = try OldDatabaseURL(from)
            let path = try ledgerPath()
            let format = format
            isReconciled = try await Self.onThreadOfItsOwn { try Self.work(source, ledger: path, format) }
        } catch {
            FileHandle.standardError.write(Data("import: \(error)\n".utf8))
            throw ExitCode(2)
        }
        if !isReconciled { throw ExitCode(1) }
    }

    private func ledgerPath() throws -> String {
        guard let config else {
            return try ServerConfiguration.path(ofDatabaseURL: databaseURL ?? "")
        }
        let yaml: String
        do {
            yaml = try String(contentsOfFile: config, encoding: .utf8)
        } catch {
            throw ConfigurationError("the file \(config) cannot be read")
        }
        return try ServerConfiguration(
            yaml: yaml, environment: ProcessInfo.processInfo.environment, databaseURL: databaseURL
        ).databasePath
    }

    /// Everything here blocks: libpq, SQLite, and the waiting for the ledger's disk. So it is done on no thread of Swift's pool.
    private static func onThreadOfItsOwn(_ body: @escaping @Sendable () throws -> Bool) async throws -> Bool {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue(label: "ledger.import", qos: .userInitiated).async {
                continuation.resume(with: Result { try body() })
            }
        }
    }

    /// Imports; true where everything is reconciled.
    private static func work(_ source: OldDatabaseURL, ledger path: String, _ format: ReportFormat) throws -> Bool {
        try source.open().snapshot { tables -> Bool in
            // Looked at before the ledger is opened, which would make one where there is none.
            guard try tables.has(.users) else {
                throw ImportFailure("\(source) has no table 'users': it is no database of the old gateway")
            }
            for table in OldTable.allCases {
                let columns = try tables.columns(of: table)
                guard !columns.isEmpty, let lacking = table.requiredColumns.first(where: { !columns.contains($0) })
                else { continue }
                throw ImportFailure(
                    "its table '\(table.rawValue)' has no column '\(lacking)': nothing is imported of what would be guessed"
                )
            }
            let ledger = try SQLiteLedger(path: path)
            defer { try? ledger.close() }
            let writer = try LedgerWriter(store: ledger, clock: SystemClock.now)
            let report = ImportReport(format) { FileHandle.standardOutput.write(Data($0)) }
            // Also where the import breaks off, what it has said so far is shown.
            defer { report.flush() }
            report.begin(from: source.description, ledger: path)
            let importer = Importer(tables, ledger, writer, report, now: SystemClock.now())
            return try importer.run()
        }
    }
}

/// Why an import cannot go on; what it has done so far stays, and is not done again.
struct ImportFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
