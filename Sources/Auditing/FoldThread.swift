import Dispatch
import Ledger
import LedgerSQLite
import Projections
import Synchronization

extension CanonicalEvents {
    /// Few enough that what one thread writes is still near when the other reads it.
    private static let maximumRows = 128
    private static let maximumBytes = 4 << 20

    /// A batch on its way from the thread that reads to the thread that folds.
    static func batch() -> CanonicalEvents { CanonicalEvents(rows: maximumRows, bytes: 1 << 17) }

    /// Whether the batch is to be sent.
    var isFull: Bool { count >= Self.maximumRows || byteCount >= Self.maximumBytes }

    /// Each event, or what is wrong with its encoding.
    func forEachDecoded(_ body: (RecordedEvent) -> Void, else report: (Finding) -> Void) {
        forEach { row in
            do throws(EventCodingError) {
                body(try row.decoded())
            } catch {
                report(
                    Finding(
                        position: row.position, account: String(decoding: row.account, as: UTF8.self),
                        check: .encoding, detail: error.description))
            }
        }
    }
}

/// What a fold has come to.
struct FoldResult: Sendable {
    var accounts = FoldedAccounts()
    var findings: [Finding] = []
    var unreported = 0
    var usageRows: Int64 = 0
    /// What was reversed up to the usage log's checkpoint, by request.
    var reversed: [String: Int64] = [:]
}

/// The thread that folds: takes batches in order, and has room for a few, so that neither thread runs away from the other.
final class FoldThread: Sendable {
    private let queue = DispatchQueue(label: "replay.fold", qos: .userInitiated)
    private let room = DispatchSemaphore(value: 8)
    private let state: Mutex<FoldState>
    /// Batches that were folded, whose memory can be used again.
    private let spare = Mutex<[CanonicalEvents]>([])
    /// Sums of days that no later event belongs to. The stored ones go on changing while a server runs: they are compared by the thread
    /// that reads, which sees the state that is verified.
    private let finishedDays = Mutex<[UsageDay.Key: UsageDay]>([:])

    /// Whether there is no such thread: then the one that reads folds, too.
    private let isAlone: Bool

    /// Events up to `trusted` are folded and not decided again.
    init(
        _ file: LedgerFile, part: Verification.Part, checkpoint: Int64, lastImportedDay: Int64?,
        snapshots: [AccountID: Int64], trusted: Int64, isAlone: Bool
    ) throws {
        self.isAlone = isAlone
        // A connection of its own: to look up charges, and to read the usage log beside the events. Its state of the database is no
        // older than the reader's, and what is compared by it never changes.
        let own = try LedgerFile(path: file.path)
        state = Mutex(
            FoldState(
                own, part: part, checkpoint: checkpoint, lastImportedDay: lastImportedDay, snapshots: snapshots,
                trusted: trusted))
    }

    /// Takes a batch, and gives an empty one for the next. Where there is no room, it waits.
    func send(_ batch: consuming CanonicalEvents) -> CanonicalEvents {
        if isAlone {
            fold(batch)
            batch.removeAll()
            return batch
        }
        room.wait()
        let full = batch
        queue.async {
            self.fold(full)
            self.spare.withLock { $0.append(full) }
            self.room.signal()
        }
        var next = spare.withLock { $0.popLast() } ?? .batch()
        next.removeAll()
        return next
    }

    private func fold(_ batch: borrowing CanonicalEvents) {
        state.withLock { state in
            batch.forEachDecoded {
                state.fold($0, finishedDays)
            } else: {
                state.report($0)
            }
        }
    }

    /// The sums of the days that have been folded to their end since this was last asked.
    func takeFinishedDays() -> [UsageDay.Key: UsageDay] {
        finishedDays.withLock { days in
            defer { days = [:] }
            return days
        }
    }

    /// Waits for all batches.
    func finish() -> FoldResult {
        queue.sync {
            state.withLock { state in
                state.finishDay(into: finishedDays)
                state.finishOpenDays(into: finishedDays)
                return state.finish()
            }
        }
    }
}

/// What the folding thread knows.
private struct FoldState {
    private let file: LedgerFile
    private let part: Verification.Part
    private let checkpoint: Int64
    private let snapshots: [AccountID: Int64]
    private let trusted: Int64
    private var auditor: Auditor
    private var result = FoldResult()
    private var usage: UsageCursor
    /// The UTC day of the last settled request, and the sums of that day.
    private var today = Int64.min
    private var days: [UsageDay.Key: UsageDay] = [:]
    /// The last day that requests of an import belong to. It and the days before it have no end that could be waited for: what was
    /// imported counts from when the old gateway served it, and may come behind anything.
    private let lastImportedDay: Int64
    /// The sums of those days.
    private var openDays: [UsageDay.Key: UsageDay] = [:]

    init(
        _ file: LedgerFile, part: Verification.Part, checkpoint: Int64, lastImportedDay: Int64?,
        snapshots: [AccountID: Int64], trusted: Int64
    ) {
        self.trusted = trusted
        self.file = file
        self.part = part
        self.checkpoint = checkpoint
        self.lastImportedDay = lastImportedDay ?? .min
        self.snapshots = snapshots
        usage = UsageCursor(file)
        auditor = Auditor { request in (try? file.snapshot { $0.settlement(of: request) }) ?? nil }
    }

    mutating func fold(
        _ event: RecordedEvent, _ finishedDays: borrowing Mutex<[UsageDay.Key: UsageDay]>
    ) {
        if event.position <= trusted {
            auditor.apply(event)
        } else if let finding = auditor.check(event) {
            report(finding)
        }
        compare(event, finishedDays)
    }

    mutating func report(_ finding: Finding) {
        if result.findings.count < Verification.findingLimit {
            result.findings.append(finding)
        } else {
            result.unreported += 1
        }
    }

    /// The event against the usage log and the snapshots.
    private mutating func compare(
        _ event: RecordedEvent, _ finishedDays: borrowing Mutex<[UsageDay.Key: UsageDay]>
    ) {
        if event.position <= checkpoint {
            if let row = UsageRow(event) {
                result.usageRows += 1
                add(row, finishedDays)
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
        guard !snapshots.isEmpty, snapshots[event.account] == event.version,
            let account = auditor.accounts[event.account]
        else { return }
        // A server may have renewed it meanwhile: then it is of a later version, and the next run compares it.
        let stored = try? file.snapshot { try $0.snapshot(of: event.account.rawValue, version: event.version) }
        if let stored, stored != account.snapshot() {
            report(
                Finding(
                    position: event.position, account: event.account.rawValue, check: .projection,
                    detail: "the account's snapshot differs from the fold"))
        }
    }

    /// Adds a request to the sums of its day.
    private mutating func add(_ row: UsageRow, _ finishedDays: borrowing Mutex<[UsageDay.Key: UsageDay]>) {
        let key = UsageDay.Key(account: row.account, day: row.recordedAt.utcDay, model: row.model)
        if key.day <= lastImportedDay {
            openDays[key, default: UsageDay()].add(row)
            return
        }
        if key.day != today {
            finishDay(into: finishedDays)
            today = key.day
        }
        days[key, default: UsageDay()].add(row)
    }

    /// Hands over the sums of the days that requests of an import may belong to.
    mutating func finishOpenDays(into finished: borrowing Mutex<[UsageDay.Key: UsageDay]>) {
        let done = openDays
        openDays = [:]
        if !done.isEmpty { finished.withLock { $0.merge(done) { $1 } } }
    }

    /// Hands over the sums of the day that the last events belong to.
    mutating func finishDay(into finished: borrowing Mutex<[UsageDay.Key: UsageDay]>) {
        let done = days
        days = [:]
        // The clock of a ledger does not go back: where a day comes again all the same, its time is a finding already.
        if !done.isEmpty { finished.withLock { $0.merge(done) { $1 } } }
    }

    mutating func finish() -> FoldResult {
        if let problem = usage.skip(part, while: { $0 <= checkpoint }) {
            report(Finding(position: nil, account: nil, check: .projection, detail: problem))
        }
        if let finding = auditor.unfinished() { report(finding) }
        result.accounts = auditor.accounts
        for (account, version) in snapshots where version < 1 || version > result.accounts[account]?.version ?? 0 {
            report(
                Finding(
                    position: nil, account: account.rawValue, check: .projection,
                    detail: "the account's snapshot is of a format or of a version that does not exist"))
        }
        return result
    }
}

/// Reads the usage log in pages beside the events.
private struct UsageCursor {
    private let file: LedgerFile
    private var page = UsageLogPage()
    private var index = 0
    private var last: Int64 = 0

    init(_ file: LedgerFile) {
        self.file = file
    }

    /// The position of the next row; nil behind the last.
    private mutating func next() -> Int64? {
        if index >= page.count {
            index = 0
            let isRead: Void? = try? file.snapshot { try $0.readUsage(after: last, limit: 1024, into: &page) }
            guard isRead != nil, page.count > 0 else { return nil }
            last = page.position(at: page.count - 1)
        }
        return page.position(at: index)
    }

    /// What is wrong with the log's row for an event; nil: nothing.
    mutating func compare(_ expected: UsageRow, part: Verification.Part) -> String? {
        if let problem = skip(part, while: { $0 < expected.position }) { return problem }
        guard next() == expected.position else { return "the usage log lacks the request" }
        defer { index += 1 }
        return page.matches(expected, at: index) ? nil : "the usage log's row differs from the event"
    }

    /// Passes rows by for as long as their positions are such; what is wrong where one of them is of the part: no event has led to it.
    mutating func skip(_ part: Verification.Part, while isPassed: (Int64) -> Bool) -> String? {
        while let found = next(), isPassed(found) {
            let isOurs = part.contains(page.account(at: index))
            index += 1
            if isOurs { return "the usage log has a row of no request at \(found)" }
        }
        return nil
    }
}
