import ArgumentParser
import Auditing
import Foundation
import Ledger
import LedgerSQLite
import WireJSON

/// `replay rebuild DB`
struct Rebuild: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compute all projections anew from position 1, and exchange them in one step.",
        discussion: """
            Example: replay rebuild ledger.sqlite

            The server must be stopped: the ledger has one writer. Exit codes: 0 rebuilt, whether or not anything differed, 1
            the history is unsound and nothing was done, 2 unusable.
            """)

    @OptionGroup var ledger: LedgerOptions

    func run() throws {
        do {
            // Opening for writing would create a ledger where there is none.
            try checkHistory(try LedgerFile(path: ledger.database))
            let writable = try SQLiteLedger(path: ledger.database)
            let total = try writable.head().position
            var progress = ProgressLine()
            let (before, after) = try writable.rebuildProjections { progress.update($0, of: total) }
            progress.end()
            try writable.close()
            if ledger.format == .json {
                var json = JSONWriter()
                json.beginObject()
                json.field("before", before.description)
                json.field("after", after.description)
                json.field("same", before == after)
                json.endObject()
                write(json.text)
            } else {
                write(
                    "before \(before)\nafter  \(after)\n\(before == after ? "nothing differed" : "the projections differed and were replaced")"
                )
            }
        } catch let code as ExitCode {
            throw code
        } catch {
            throw unusable(error)
        }
    }

    /// Refuses to compute anything from a history that was changed: exit code 1.
    private func checkHistory(_ file: LedgerFile) throws {
        let problem = try file.snapshot { view -> String? in
            var chain = ChainAuditor()
            var batch = CanonicalEvents(rows: 1, bytes: 4096)
            var finding: Finding?
            try view.scan { row, hash in
                finding = chain.check(row, hash: hash, appendingTo: &batch)
                batch.removeAll()
                return finding == nil
            }
            if let finding { return finding.description }
            let known = try view.usageCheckpoint()
            return known > chain.head.position ? "events are missing behind position \(chain.head.position)" : nil
        }
        guard let problem else { return }
        complain("replay: the history is unsound, and nothing was rebuilt: \(problem)")
        throw ExitCode(1)
    }
}
