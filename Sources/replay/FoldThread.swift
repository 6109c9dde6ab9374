import Dispatch
import Ledger
import LedgerSQLite
import Projections
import Synchronization

/// Rows on their way from the thread that reads to the thread that folds: their bytes, copied once.
struct RowBatch: Sendable {
    private struct Row {
        let position, version, recordedAt, effectiveAt: Int64
        let account, type, key, data: Range<Int>
    }

    private static let maximumRows = 2048
    private static let maximumBytes = 4 << 20

    private var rows: [Row] = []
    private var bytes: [UInt8] = []

    init() {
        rows.reserveCapacity(Self.maximumRows)
        bytes.reserveCapacity(1 << 20)
    }

    var isFull: Bool { rows.count >= Self.maximumRows || bytes.count >= Self.maximumBytes }

    mutating func append(_ row: StoredBytes) {
        func copy(_ text: UnsafeBufferPointer<UInt8>) -> Range<Int> {
            let start = bytes.count
            bytes.append(contentsOf: text)
            return start..<bytes.count
        }
        rows.append(
            Row(
                position: row.position, version: row.version, recordedAt: row.recordedAt, effectiveAt: row.effectiveAt,
                account: copy(row.account), type: copy(row.type), key: copy(row.key), data: copy(row.data)))
    }

    func forEach(_ body: (StoredBytes) -> Void) {
        bytes.withUnsafeBufferPointer { buffer in
            for row in rows {
                body(
                    StoredBytes(
                        position: row.position, version: row.version, recordedAt: row.recordedAt,
                        effectiveAt: row.effectiveAt, account: UnsafeBufferPointer(rebasing: buffer[row.account]),
                        type: UnsafeBufferPointer(rebasing: buffer[row.type]),
                        key: UnsafeBufferPointer(rebasing: buffer[row.key]),
                        data: UnsafeBufferPointer(rebasing: buffer[row.data])))
            }
        }
    }
}

/// What a fold has come to.
struct FoldResult: Sendable {
    var accounts: [AccountID: Account] = [:]
    var findings: [Finding] = []
    var unreported = 0
    var usageRows: Int64 = 0
    /// What was reversed up to the usage log's checkpoint, by request.
    var reversed: [String: Int64] = [:]
}

/// The thread that folds: takes batches in order, and has room for a few, so that neither thread runs away from the other.
final class FoldThread: Sendable {
    private let queue = DispatchQueue(label: "replay.fold", qos: .userInitiated)
    private let room = DispatchSemaphore(value: 3)
    private let state: Mutex<FoldState>

    init(
        _ file: LedgerFile, part: Verification.Part, checkpoint: Int64, snapshots: [String: Int64]
    ) throws {
        // A connection of its own: to look up charges, and to read the usage log beside the events. Its state of the database is no
        // older than the reader's, and what is compared by it never changes.
        let own = try LedgerFile(path: file.path)
        state = Mutex(FoldState(own, part: part, checkpoint: checkpoint, snapshots: snapshots))
    }

    func send(_ batch: RowBatch) {
        room.wait()
        queue.async {
            self.state.withLock { $0.fold(batch) }
            self.room.signal()
        }
    }

    /// Waits for all batches.
    func finish() -> FoldResult {
        queue.sync { state.withLock { $0.finish() } }
    }
}

/// What the folding thread knows.
private struct FoldState {
    private let file: LedgerFile
    private let part: Verification.Part
    private let checkpoint: Int64
    private let snapshots: [String: Int64]
    private var auditor: Auditor
    private var result = FoldResult()
    private var usage: UsageCursor

    init(_ file: LedgerFile, part: Verification.Part, checkpoint: Int64, snapshots: [String: Int64]) {
        self.file = file
        self.part = part
        self.checkpoint = checkpoint
        self.snapshots = snapshots
        usage = UsageCursor(file)
        auditor = Auditor { request in (try? file.snapshot { $0.settlement(of: request) }) ?? nil }
    }

    mutating func fold(_ batch: RowBatch) {
        batch.forEach { row in
            do throws(EventCodingError) {
                let event = try row.decoded()
                if let finding = auditor.check(event) { report(finding) }
                compare(event)
            } catch {
                report(
                    Finding(
                        position: row.position, account: String(decoding: row.account, as: UTF8.self), check: .encoding,
                        detail: error.description))
            }
        }
    }

    private mutating func report(_ finding: Finding) {
        if result.findings.count < Verification.findingLimit {
            result.findings.append(finding)
        } else {
            result.unreported += 1
        }
    }

    /// The event against the usage log and the snapshots.
    private mutating func compare(_ event: RecordedEvent) {
        if event.position <= checkpoint {
            if let row = UsageRow(event) {
                result.usageRows += 1
                if let problem = usage.compare(row, part: part) {
                    report(
                        Finding(
                            position: event.position, account: event.account.rawValue, check: .projection,
                            detail: problem))
                }
            } else if case .chargeReversed(let reversal) = event.event {
                let sum = result.reversed[reversal.request.rawValue] ?? 0
                result.reversed[reversal.request.rawValue] =
                    sum.addingReportingOverflow(reversal.amount.nanos).partialValue
            }
        }
        guard !snapshots.isEmpty, snapshots[event.account.rawValue] == event.version,
            let account = auditor.accounts[event.account]
        else { return }
        let stored = try? file.snapshot { try $0.snapshot(of: event.account.rawValue) }
        // A server may have renewed it meanwhile: then it is of a later version, and the next run compares it.
        guard let stored, let read = Account(id: event.account, snapshot: stored) else {
            return report(
                Finding(
                    position: event.position, account: event.account.rawValue, check: .projection,
                    detail: "the account's snapshot cannot be read"))
        }
        if read.version == account.version, stored != account.snapshot() {
            report(
                Finding(
                    position: event.position, account: event.account.rawValue, check: .projection,
                    detail: "the account's snapshot differs from the fold"))
        }
    }

    mutating func finish() -> FoldResult {
        if let problem = usage.end(checkpoint: checkpoint, part: part) {
            report(Finding(position: nil, account: nil, check: .projection, detail: problem))
        }
        result.accounts = auditor.accounts
        return result
    }
}

/// Reads the usage log in pages beside the events.
private struct UsageCursor {
    private let file: LedgerFile
    private var page: [UsageRow] = []
    private var index = 0
    private var last: Int64 = 0

    init(_ file: LedgerFile) {
        self.file = file
    }

    private mutating func peek() -> UsageRow? {
        if index >= page.count {
            page = (try? file.snapshot { try $0.usageRows(after: last, limit: 4096) }) ?? []
            index = 0
            last = page.last?.position ?? last
        }
        return index < page.count ? page[index] : nil
    }

    /// What is wrong with the log's row for an event; nil: nothing.
    mutating func compare(_ expected: UsageRow, part: Verification.Part) -> String? {
        while let row = peek(), row.position < expected.position {
            index += 1
            if part.contains(row.account.rawValue.utf8) {
                return "the usage log has a row of no request at \(row.position)"
            }
        }
        guard var row = peek(), row.position == expected.position else { return "the usage log lacks the request" }
        index += 1
        row.reversed = .zero
        return row == expected ? nil : "the usage log's row differs from the event"
    }

    /// Whether rows are left that belong to no event.
    mutating func end(checkpoint: Int64, part: Verification.Part) -> String? {
        while let row = peek(), row.position <= checkpoint {
            index += 1
            if part.contains(row.account.rawValue.utf8) {
                return "the usage log has a row of no request at \(row.position)"
            }
        }
        return nil
    }
}
