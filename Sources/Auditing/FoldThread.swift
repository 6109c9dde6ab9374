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
}

/// The state of the ledger that is verified, which every thread keeps to, whatever a server appends meanwhile.
struct AuditScope: Sendable {
    /// The end of the ledger, as it is verified.
    let head: LedgerHead
    /// How far the usage log has come.
    let usageCheckpoint: Int64
    /// The last day that requests of an import belong to. It and the days before it have no end that could be waited for: what was
    /// imported counts from when the old gateway served it, and may come behind anything.
    let lastImportedDay: Int64?
    /// Events up to here are folded and not decided again.
    let trusted: Int64
    let key: RowHash.Key
}

/// What a fold has come to.
struct FoldResult: Sendable {
    var accounts = FoldedAccounts()
    var findings: [Finding] = []
    var unreported = 0
    /// The rows that the usage log must have up to its checkpoint.
    var usage = RowDigest()
    /// What was reversed up to the usage log's checkpoint, by request.
    var reversed: [String: Int64] = [:]
    /// How many sums of days were compared with those stored.
    var comparedDays: Int64 = 0
    /// The sums that a running server may have gone on with: they are to be compared with the state that is verified.
    var openDays: [UsageDay.Key: UsageDay] = [:]
}

/// The thread that folds: takes batches in order, and has room for a few, so that neither thread runs away from the other.
final class FoldThread: Sendable {
    private let queue = DispatchQueue(label: "replay.fold", qos: .userInitiated)
    private let room = DispatchSemaphore(value: 8)
    private let state: Mutex<FoldState>
    /// Batches that were folded, whose memory can be used again.
    private let spare = Mutex<[CanonicalEvents]>([])

    /// Whether there is no such thread: then the one that reads folds, too.
    private let isAlone: Bool

    init(_ file: LedgerFile, _ scope: AuditScope, snapshots: [AccountID: Int64], isAlone: Bool) throws {
        self.isAlone = isAlone
        // A connection of its own, for what is looked up. Its state of the database is no older than the reader's, and what is compared by
        // it never changes.
        let own = try LedgerFile(path: file.path)
        state = Mutex(FoldState(own, scope, snapshots: snapshots))
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
        state.withLock { state in batch.forEach { state.fold($0) } }
    }

    /// Waits for all batches.
    func finish() -> FoldResult {
        queue.sync { state.withLock { $0.finish() } }
    }
}

/// What the folding thread knows.
private struct FoldState {
    private let file: LedgerFile
    private let scope: AuditScope
    private let snapshots: [AccountID: Int64]
    private var auditor: Auditor
    private var result = FoldResult()
    /// The UTC day of the last settled request, and the sums of that day.
    private var today = Int64.min
    private var days: [UsageDay.Key: UsageDay] = [:]
    /// From this day on, and up to that of the last import, sums may go on.
    private let (lastDay, lastImportedDay): (Int64, Int64)

    init(_ file: LedgerFile, _ scope: AuditScope, snapshots: [AccountID: Int64]) {
        self.file = file
        self.scope = scope
        self.snapshots = snapshots
        (lastDay, lastImportedDay) = (scope.head.recordedAt.utcDay, scope.lastImportedDay ?? .min)
        auditor = Auditor { request in (try? file.snapshot { $0.settlement(of: request) }) ?? nil }
    }

    mutating func fold(_ row: StoredBytes) {
        let event: RecordedEvent
        do throws(EventCodingError) {
            event = try row.decoded()
        } catch {
            report(
                Finding(
                    position: row.position, account: String(decoding: row.account, as: UTF8.self), check: .encoding,
                    detail: error.description))
            return
        }
        if event.position <= scope.trusted {
            auditor.apply(event)
        } else if let finding = auditor.check(event) {
            report(finding)
        }
        if event.position <= scope.usageCheckpoint { project(event) }
        if !snapshots.isEmpty { compareSnapshot(event) }
    }

    private mutating func report(_ finding: Finding) {
        if result.findings.count < Verification.findingLimit {
            result.findings.append(finding)
        } else {
            result.unreported += 1
        }
    }

    private mutating func report(_ account: AccountID, _ detail: String, position: Int64? = nil) {
        report(Finding(position: position, account: account.rawValue, check: .projection, detail: detail))
    }

    /// Notes what the usage log must have of an event.
    private mutating func project(_ event: RecordedEvent) {
        if let row = UsageRow(event) {
            result.usage.add(RowHash(row, scope.key))
            add(row)
        } else if case .chargeReversed(let reversal) = event.event {
            let sum = result.reversed[reversal.request.rawValue] ?? 0
            result.reversed[reversal.request.rawValue] =
                sum.addingReportingOverflow(reversal.amount.nanos).partialValue
        }
    }

    /// Holds the account against its snapshot, where that is of this version.
    private mutating func compareSnapshot(_ event: RecordedEvent) {
        guard snapshots[event.account] == event.version, let account = auditor.accounts[event.account] else { return }
        // A server may have renewed it meanwhile: then it is of a later version, and the next run compares it.
        let stored = try? file.snapshot { try $0.snapshot(of: event.account.rawValue, version: event.version) }
        if let stored, stored != account.snapshot() {
            report(event.account, "the account's snapshot differs from the fold", position: event.position)
        }
    }

    /// Adds a request to the sums of its day.
    private mutating func add(_ row: UsageRow) {
        let key = UsageDay.Key(account: row.account, day: row.recordedAt.utcDay, model: row.model)
        if key.day <= lastImportedDay || key.day >= lastDay {
            result.openDays[key, default: UsageDay()].add(row)
            return
        }
        if key.day != today {
            compareDays()
            today = key.day
        }
        days[key, default: UsageDay()].add(row)
    }

    /// Holds the sums of a day that is over against those stored. What differs is left for a look at the state that is verified: an import
    /// may have gone on with it since.
    private mutating func compareDays() {
        guard !days.isEmpty else { return }
        let same = try? file.snapshot { view in try days.filter { key, day in try view.usageDay(key) == day } }
        result.comparedDays += Int64(same?.count ?? 0)
        for (key, day) in days where same?[key] == nil {
            // The clock of a ledger does not go back: where a day comes again all the same, its time is a finding already.
            if result.openDays.count < Verification.accountsAtOnce {
                result.openDays[key] = day
            } else {
                report(key.account, Verification.wrongDay)
            }
        }
        days.removeAll(keepingCapacity: true)
    }

    mutating func finish() -> FoldResult {
        compareDays()
        if let finding = auditor.unfinished() { report(finding) }
        result.accounts = auditor.accounts
        for (account, version) in snapshots where version < 1 || version > result.accounts[account]?.version ?? 0 {
            report(account, "the account's snapshot is of a format or of a version that does not exist")
        }
        return result
    }
}
