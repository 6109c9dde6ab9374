import Ledger
import LedgerSQLite
import OldGateway
import Projections

/// One import, from the first row to the reconciliation.
///
/// All that it does can be done again: money and usage are events whose keys are made of the old rows' ids, users and keys are added where
/// they are not here yet. So it may be interrupted anywhere, and be repeated. It blocks its thread, and is confined to it; its memory
/// grows with the number of accounts and of rows of balances, not with the usage.
final class Importer {
    /// Who its events say has acted.
    static let actor = "import"
    /// How many rows are read, and commands submitted, at a time: they share a transaction of the ledger.
    static let batchSize = 1024

    let tables: any OldTables
    let ledger: SQLiteLedger
    let writer: LedgerWriter
    let directory: Directory
    let report: ImportReport
    /// The instant at which the import began: what has expired by it is not carried over.
    let now: Timestamp
    var reconciliation = Reconciliation()
    private(set) var tallies: [OldTable: ImportTally] = [:]
    /// The plans that accounts can be opened on.
    var plans: Set<String> = []

    init(
        _ tables: any OldTables, _ ledger: SQLiteLedger, _ writer: LedgerWriter, _ report: ImportReport, now: Timestamp
    ) {
        self.tables = tables
        self.ledger = ledger
        self.writer = writer
        self.report = report
        self.now = now
        directory = Directory(ledger)
    }

    /// Imports everything; true where the old database and the ledger agree but for named roundings.
    func run() throws -> Bool {
        let before = try ledger.head().position
        for table in OldTable.allCases {
            guard try tables.has(table) else {
                report.note(ImportNote(.absent, table, detail: "the old database has no such table"))
                continue
            }
            // Of subscriptions nothing is imported but the plan of the account.
            if table != .subscriptions { tallies[table] = ImportTally() }
        }
        try importPlans()
        try importPrices()
        try importBudgets()
        try importUsers()
        try importIdentities()
        try importKeys()
        let balances = try importBalances()
        try importUsage()
        let follower = UsageFollower(events: ledger, usage: SQLiteUsage(ledger), batchSize: 5000)
        while try follower.step() > 0 {}
        try readBack(balances)
        return report.end(
            reconciliation, tables: tallies, newEvents: try ledger.head().position - before)
    }

    // MARK: What the parts share

    /// Has the ledger decide commands, in their order, and waits until it is durable. What the rules refuse comes back; a ledger that cannot
    /// write ends the import.
    func submit(_ commands: [Command]) throws -> [Result<Receipt, Refusal>] {
        var results: [Result<Receipt, Refusal>] = []
        var start = 0
        while start < commands.count {
            let end = min(start + Self.batchSize, commands.count)
            for result in writer.submitAndWait(Array(commands[start..<end])) {
                switch result {
                case .success(let receipt): results.append(.success(receipt))
                case .failure(.refused(let refusal)): results.append(.failure(refusal))
                case .failure(let error): throw ImportFailure("the ledger cannot be written: \(error)")
                }
            }
            start = end
        }
        return results
    }

    func countImported(_ table: OldTable) { tallies[table, default: ImportTally()].imported += 1 }

    func countPresent(_ table: OldTable) { tallies[table, default: ImportTally()].present += 1 }

    /// Names a row that is not imported.
    func skip(_ table: OldTable, _ row: String?, account: String? = nil, _ why: String) {
        tallies[table, default: ImportTally()].skipped += 1
        report.note(ImportNote(.skipped, table, row: row, account: account, detail: why))
    }

    /// Names a row that is otherwise now than when it was imported.
    func changed(_ table: OldTable, _ row: String?, account: String? = nil, _ how: String) {
        tallies[table, default: ImportTally()].skipped += 1
        report.note(ImportNote(.changed, table, row: row, account: account, detail: how))
    }

    /// Names what stays here as it is.
    func keep(_ table: OldTable, _ row: String?, account: String? = nil, _ what: String) {
        report.note(ImportNote(.kept, table, row: row, account: account, detail: what))
    }

    /// Names a figure, where it was rounded.
    func name(_ figure: ImportedFigure, _ column: String, _ table: OldTable, _ row: String?, account: String? = nil) {
        if figure.isExact { return }
        report.note(
            ImportNote(
                .rounded, table, row: row, account: account, detail: "",
                rounding: ImportNote.Rounding(column: column, figure)))
    }

    /// Counts and names what became of a row of the ordinary tables.
    func take(_ outcome: ImportOutcome, _ table: OldTable, _ row: String?, account: String?) {
        switch outcome {
        case .added: countImported(table)
        case .present: countPresent(table)
        case .otherwise: changed(table, row, account: account, "another has its place here, which stays as it is")
        case .narrowed:
            changed(
                table, row, account: account,
                "was deactivated there, or ends sooner, since it was imported: here, too, now")
        case .restored: changed(table, row, account: account, "counts there again: here, too, now")
        case .erased:
            countPresent(table)
            keep(table, row, account: account, "its user was erased here, and does not come back")
        case .noUser: skip(table, row, account: account, "its user is not here")
        }
    }

    /// Why a command was refused, for people.
    func text(of refusal: Refusal) -> String {
        switch refusal {
        case .accountUnknown: "its user was not imported"
        case .planUnknown(let name): "there is no plan '\(name)'"
        case .boundOutOfRange: "its tokens or its cost are beyond what is believed"
        case .instantInTheFuture: "its timestamp is yet to come"
        case .amountOutOfRange: "the balance would be too large"
        case .insufficientCredits(let shortage):
            "\(shortage.needed) credits cannot be withdrawn, \(shortage.available) are available"
        case .invalidText(let field): "its \(field) is empty or longer than 500 bytes"
        case .invalidKey: "its id is too long, or not printable"
        default: "the ledger refuses it: \(refusal)"
        }
    }
}
