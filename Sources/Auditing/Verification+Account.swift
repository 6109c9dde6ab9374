public import Ledger
public import LedgerSQLite
import Projections

extension Verification {
    /// Verifies one account: its stream, each event's hash against the one before it, its balances, snapshot and usage log.
    ///
    /// It says nothing of the rest of the ledger, and not that no event of the account is missing at its end; a checkpoint does. nil where
    /// there is no such account.
    public static func run(_ file: LedgerFile, account: AccountID) throws -> Verification? {
        let start = ContinuousClock.now
        var result: Verification? = try file.snapshot { view in
            var result = Verification()
            var auditor = Auditor { request in view.settlement(of: request) }
            var books = try view.bookEvents()[...]
            let checkpoint = try view.usageCheckpoint()
            result.usageCheckpoint = checkpoint
            var canonical: [UInt8] = []
            try view.scan(account: account) { row, hash in
                result.events += 1
                while let next = books.first, next.position < row.position {
                    auditor.apply(next)
                    books.removeFirst()
                }
                if let finding = try Self.hashFinding(view, row, hash, &canonical) { result.add([finding]) }
                do throws(EventCodingError) {
                    let event = try row.decoded()
                    if let finding = auditor.check(event) { result.add([finding]) }
                } catch {
                    result.add([
                        Finding(
                            position: row.position, account: account.rawValue, check: .encoding,
                            detail: error.description)
                    ])
                    return true
                }
                guard row.position <= checkpoint, let usage = try? UsageRow(row.decoded()) else { return true }
                result.usageRows += 1
                if let problem = try Self.problem(of: usage, view) {
                    result.add([
                        Finding(
                            position: row.position, account: account.rawValue, check: .projection, detail: problem)
                    ])
                }
                return true
            }
            guard result.events > 0 else { return nil }
            if let finding = auditor.unfinished() { result.add([finding]) }
            if let folded = auditor.accounts[account] { try result.compare(folded, with: view) }
            result.head = try view.head()
            return result
        }
        result?.duration = ContinuousClock.now - start
        return result
    }

    /// Whether the event's bytes give its hash, behind the hash of the event before it.
    private static func hashFinding(
        _ view: LedgerView, _ row: StoredBytes, _ hash: UnsafeRawBufferPointer, _ buffer: inout [UInt8]
    ) throws -> Finding? {
        let previous = row.position == 1 ? .genesis : try view.hash(at: row.position - 1)
        if let previous, previous.next(row, buffer: &buffer).withBytes({ $0.elementsEqual(hash) }) { return nil }
        return Finding(
            position: row.position, account: String(decoding: row.account, as: UTF8.self), check: .hash,
            detail: "its bytes do not give its hash: it, or an event before it, was altered")
    }

    /// Holds what is stored of the account against the fold.
    private mutating func compare(_ account: Account, with view: LedgerView) throws {
        accounts = 1
        openHolds = account.holds.count
        totals = account.totals
        var stored: BalanceRow?
        try view.balanceRows(of: account.id) { stored = $1 }
        if stored != BalanceRow(account) {
            add(.projection, [(account.id.rawValue, "the stored balance or grants differ from the fold")])
        }
        let snapshot = try view.snapshot(of: account.id.rawValue, version: account.version)
        if let snapshot, snapshot != account.snapshot() {
            add(.projection, [(account.id.rawValue, "the account's snapshot differs from the fold")])
        }
        passes = [
            Pass(name: "the account's events", tables: ["events"], rows: events),
            Pass(
                name: "balances", tables: ["balances", "grants", "cycles", "payments", "spending", "snapshots"], rows: 1
            ),
            Pass(name: "usage", tables: ["usage_log"], rows: usageRows),
        ]
    }
}
