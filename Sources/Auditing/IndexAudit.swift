import Dispatch
import Ledger
import LedgerSQLite
import Synchronization

/// Holds every index against its table, and digests the usage log, beside the other passes.
///
/// Whoever reads an account goes by an index, and a settlement is exactly once by another. An index that lacks a row, has another one, or
/// has them out of order, tells other figures than the table, and nothing else notices.
final class IndexAudit: Sendable {
    private let file: LedgerFile
    private let scope: AuditScope
    private let queue = DispatchQueue(label: "replay.indexes", qos: .userInitiated)
    private let state = Mutex(State())

    private struct State {
        var findings: [Finding] = []
        /// What the indexes hold of the rows that are verified.
        var indexes: [LargeIndex: RowDigest] = [:]
        /// What they must hold of the usage log.
        var usageByRequest = RowDigest()
        var usageByTime = RowDigest()
        /// The rows of the usage log themselves.
        var usage: RowDigest?
    }

    /// What it has come to.
    struct Result {
        var findings: [Finding]
        /// How many entries of the large tables' indexes were looked at.
        var entries: Int64
        /// The rows of the usage log; nil where they cannot be read.
        var usage: RowDigest?
    }

    /// Begins; on a thread of its own, where there may be one.
    init(_ file: LedgerFile, _ scope: AuditScope, isAlone: Bool) throws {
        self.file = try LedgerFile(path: file.path)
        self.scope = scope
        if isAlone { queue.sync { run() } } else { queue.async { self.run() } }
    }

    private func run() {
        do {
            try file.snapshot { view in
                for index in LargeIndex.allCases where try view.hasIndex(index) {
                    // What a server has appended since is of another state.
                    try digest(
                        view, index, through: index.table == "events" ? scope.head.position : scope.usageCheckpoint)
                }
                let isLogCovered = try view.hasIndex(.usageByRequest) && view.hasIndex(.usageByTime)
                try digestUsage(view, through: scope.usageCheckpoint)
                for table in try view.tables() where table != "events" && !(table == "usage_log" && isLogCovered) {
                    for problem in try view.integrityProblems(of: table) { report("the table '\(table)': \(problem)") }
                }
            }
        } catch {
            report("the indexes cannot be read: \(error)")
        }
    }

    private func digest(_ view: LedgerView, _ index: LargeIndex, through last: Int64) throws {
        var digest = RowDigest()
        var order = EntryOrder()
        var isInOrder = true
        try view.scan(index) { text, number, position in
            isInOrder = order.isNext(text, number, position) && isInOrder
            if position <= last { digest.add(RowHash(text, number, position, scope.key)) }
        }
        let found = digest
        state.withLock { $0.indexes[index] = found }
        if !isInOrder {
            report("the index '\(index.rawValue)' is not in its order: what is looked up by it is not found")
        }
    }

    private func digestUsage(_ view: LedgerView, through checkpoint: Int64) throws {
        var (rows, byRequest, byTime) = (RowDigest(), RowDigest(), RowDigest())
        try view.scanUsage(through: checkpoint) { row in
            rows.add(RowHash(row, scope.key))
            byRequest.add(RowHash(row.request, 0, row.position, scope.key))
            byTime.add(RowHash(row.account, row.recordedAt, row.position, scope.key))
        }
        let found = (rows, byRequest, byTime)
        state.withLock { ($0.usage, $0.usageByRequest, $0.usageByTime) = found }
    }

    private func report(_ detail: String) {
        state.withLock { state in
            guard state.findings.count < Verification.findingLimit else { return }
            state.findings.append(Finding(position: nil, account: nil, check: .index, detail: detail))
        }
    }

    /// What it has come to, once it is done; the digests are of what the table of events holds. An index that is not there is a matter of the
    /// schema.
    func finish(byAccount: RowDigest, byKey: RowDigest) -> Result {
        queue.sync {}
        let found = state.withLock { $0 }
        var expected = [LargeIndex.eventsByAccount: byAccount, .eventsByKey: byKey]
        if found.usage != nil {
            expected[.usageByRequest] = found.usageByRequest
            expected[.usageByTime] = found.usageByTime
        }
        for index in LargeIndex.allCases {
            guard let held = found.indexes[index], let wanted = expected[index], held != wanted else { continue }
            report(
                "the index '\(index.rawValue)' does not hold what the rows of '\(index.table)' are: what is read by it is something else"
            )
        }
        return Result(
            findings: state.withLock { $0.findings }, entries: found.indexes.values.reduce(0) { $0 + $1.count },
            usage: found.usage)
    }
}

/// Whether the entries of an index come in its order, each once: by the bytes of the text, then the number, then the position.
private struct EntryOrder {
    private var text: [UInt8] = []
    private var number = Int64.min
    private var position = Int64.min

    mutating func isNext(_ text: UnsafeBufferPointer<UInt8>, _ number: Int64, _ position: Int64) -> Bool {
        let difference = self.text.withUnsafeBufferPointer { $0.compare(to: text) }
        defer {
            if difference != 0 {
                self.text.removeAll(keepingCapacity: true)
                self.text.append(contentsOf: text)
            }
            (self.number, self.position) = (number, position)
        }
        if difference != 0 { return difference < 0 }
        return (self.number, self.position) < (number, position)
    }
}

extension RowHash {
    /// An entry of an index.
    init(_ text: UnsafeBufferPointer<UInt8>, _ number: Int64, _ position: Int64, _ key: Key) {
        self.init(key)
        add(text)
        add(number)
        add(position)
    }
}
