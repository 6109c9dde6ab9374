import ArgumentParser
import Ledger
import OldGateway
import WireJSON

/// How the report of an import is written.
enum ReportFormat: String, ExpressibleByArgument, CaseIterable, Sendable {
    case text, json
}

/// What an import has to say about one row of the old database.
struct ImportNote: Equatable, Sendable {
    enum Kind: String, Sendable {
        /// A table that the old database does not have; it counts as empty.
        case absent
        /// A figure that has more digits than are kept.
        case rounded
        /// Credits that had expired there.
        case expired
        /// Something that is otherwise here and stays so.
        case kept
        /// What cannot be imported.
        case skipped
        /// What was imported before and is otherwise there now: it is not imported again.
        case changed
    }

    /// A figure, the exact text that the old database has for it, and what became of it.
    struct Rounding: Equatable, Sendable {
        let column: String
        let value: String
        let became: String

        init(column: String, _ figure: ImportedFigure) {
            self.column = column
            value = figure.text
            became = Decimal64.text(figure.value, fractionDigits: figure.fractionDigits)
        }
    }

    let kind: Kind
    let table: OldTable
    let row: String?
    let account: String?
    let detail: String
    let rounding: Rounding?

    init(
        _ kind: Kind, _ table: OldTable, row: String? = nil, account: String? = nil, detail: String,
        rounding: Rounding? = nil
    ) {
        self.kind = kind
        self.table = table
        self.row = row
        self.account = account
        self.detail = detail
        self.rounding = rounding
    }

    /// Whether something of the old database is not here because of it.
    var isDifference: Bool { kind == .skipped || kind == .changed }
}

/// What became of a table's rows.
struct ImportTally: Equatable, Sendable {
    var imported: Int64 = 0
    /// Imported before.
    var present: Int64 = 0
    var skipped: Int64 = 0
}

/// Writes the report while the import goes on: notes as they come, the reconciliation last. Memory does not grow with them.
final class ImportReport {
    private let format: ReportFormat
    private let write: ([UInt8]) -> Void
    private var pending: [UInt8] = []
    private var hasNotes = false
    /// How many notes say that something of the old database is not here.
    private(set) var differences: Int64 = 0

    /// `write` is given the bytes, some at a time.
    init(_ format: ReportFormat, write: @escaping ([UInt8]) -> Void) {
        self.format = format
        self.write = write
    }

    /// Says what is imported, and where to.
    func begin(from: String, ledger: String) {
        switch format {
        case .text:
            line("from", from)
            line("ledger", ledger)
        case .json:
            var json = JSONWriter()
            json.beginObject()
            json.field("from", from)
            json.field("ledger", ledger)
            // The object and the array stay open: notes follow.
            append(json.bytes + Array(#","notes":["#.utf8))
        }
    }

    func note(_ note: ImportNote) {
        if note.isDifference { differences += 1 }
        switch format {
        case .text: line(note.kind.rawValue, text(of: note))
        case .json:
            if hasNotes { append([0x2C]) }
            hasNotes = true
            append(json(of: note))
        }
    }

    private func text(of note: ImportNote) -> String {
        var text = note.table.rawValue
        if let row = note.row { text += " \(row)" }
        if let account = note.account, account != note.row { text += " (\(account))" }
        guard let rounding = note.rounding else { return "\(text): \(note.detail)" }
        return "\(text): \(rounding.column) \(rounding.value) became \(rounding.became)"
    }

    private func json(of note: ImportNote) -> [UInt8] {
        var json = JSONWriter()
        json.beginObject()
        json.field("kind", note.kind.rawValue)
        json.field("table", note.table.rawValue)
        json.optional("row", note.row)
        json.optional("account", note.account)
        if let rounding = note.rounding {
            json.field("column", rounding.column)
            json.field("value", rounding.value)
            json.field("became", rounding.became)
        } else {
            json.field("detail", note.detail)
        }
        json.endObject()
        return json.bytes
    }

    /// Writes what became of the tables, the reconciliation and the verdict; gives whether all is reconciled.
    func end(_ reconciliation: Reconciliation, tables: [OldTable: ImportTally], newEvents: Int64) -> Bool {
        let isReconciled = differences == 0 && reconciliation.differing == 0
        switch format {
        case .text: endText(reconciliation, tables, newEvents, isReconciled)
        case .json: endJSON(reconciliation, tables, newEvents, isReconciled)
        }
        flush()
        return isReconciled
    }

    // MARK: Text

    private func endText(
        _ reconciliation: Reconciliation, _ tables: [OldTable: ImportTally], _ newEvents: Int64, _ isReconciled: Bool
    ) {
        for table in OldTable.allCases {
            guard let tally = tables[table] else { continue }
            line(
                "table",
                "\(table.rawValue): \(tally.imported) imported, \(tally.present) were here, \(tally.skipped) skipped")
        }
        line("events", "\(newEvents) new")
        for (account, figures) in reconciliation.sorted {
            line("account", "\(account?.rawValue ?? "(no valid account)"): \(text(of: figures))")
        }
        line("total", text(of: reconciliation.total))
        if isReconciled {
            append(Array("reconciled\n".utf8))
        } else {
            append(
                Array(
                    "NOT RECONCILED: \(differences) rows differ, \(reconciliation.differing) accounts differ\n".utf8))
        }
    }

    private func text(of figures: AccountFigures) -> String {
        var text = "\(figures.oldBalance) credits there, \(figures.importedBalance) imported"
        if !figures.balanceRounding.isZero { text += ", rounded by \(figures.balanceRounding)" }
        if !figures.unexplainedBalance.isZero { text += ", DIFFERENT by \(figures.unexplainedBalance)" }
        text += "; \(figures.oldUsageRows) requests for \(figures.oldCost) USD there"
        text += ", \(figures.importedUsageRows) for \(figures.importedCost) imported"
        if !figures.costRounding.isZero { text += ", rounded by \(figures.costRounding)" }
        if !figures.unexplainedCost.isZero { text += ", DIFFERENT by \(figures.unexplainedCost)" }
        if figures.oldUsageRows != figures.importedUsageRows { text += ", DIFFERENT in number" }
        return text
    }

    private func line(_ label: String, _ text: String) {
        append(Array((label + String(repeating: " ", count: max(1, 9 - label.utf8.count))).utf8))
        // A value of the old database may hold line breaks; a line is about one thing.
        append(text.utf8.map { $0 < 0x20 || $0 == 0x7F ? 0x20 : $0 })
        append([0x0A])
    }

    // MARK: JSON

    private func endJSON(
        _ reconciliation: Reconciliation, _ tables: [OldTable: ImportTally], _ newEvents: Int64, _ isReconciled: Bool
    ) {
        var json = JSONWriter()
        json.beginObject()
        for table in OldTable.allCases {
            guard let tally = tables[table] else { continue }
            json.name(table.rawValue)
            json.beginObject()
            json.field("imported", tally.imported)
            json.field("present", tally.present)
            json.field("skipped", tally.skipped)
            json.endObject()
        }
        json.endObject()
        append(Array(#"],"tables":"#.utf8) + json.bytes + Array(#","new_events":\#(newEvents),"accounts":["#.utf8))
        var isFirst = true
        for (account, figures) in reconciliation.sorted {
            if !isFirst { append([0x2C]) }
            isFirst = false
            append(self.json(of: figures, account: account?.rawValue, isTotal: false))
        }
        append(Array(#"],"total":"#.utf8) + self.json(of: reconciliation.total, account: nil, isTotal: true))
        append(
            Array(
                #","differing_rows":\#(differences),"differing_accounts":\#(reconciliation.differing),"#.utf8)
                + Array("\"reconciled\":\(isReconciled)}\n".utf8))
    }

    private func json(of figures: AccountFigures, account: String?, isTotal: Bool) -> [UInt8] {
        var json = JSONWriter()
        json.beginObject()
        if !isTotal { json.nullable("account", account) }
        json.field("credits_old", figures.oldBalance.description)
        json.field("credits_imported", figures.importedBalance.description)
        json.field("credits_rounded", figures.balanceRounding.description)
        json.field("credits_unexplained", figures.unexplainedBalance.description)
        json.field("usage_rows_old", figures.oldUsageRows)
        json.field("usage_rows_imported", figures.importedUsageRows)
        json.field("cost_usd_old", figures.oldCost.description)
        json.field("cost_usd_imported", figures.importedCost.description)
        json.field("cost_usd_rounded", figures.costRounding.description)
        json.field("cost_usd_unexplained", figures.unexplainedCost.description)
        json.field("reconciled", figures.isReconciled)
        json.endObject()
        return json.bytes
    }

    // MARK: Bytes

    private func append(_ bytes: [UInt8]) {
        pending += bytes
        if pending.count > 1 << 16 { flush() }
    }

    /// Writes what has gathered.
    func flush() {
        if pending.isEmpty { return }
        write(pending)
        pending.removeAll(keepingCapacity: true)
    }
}
