import Dispatch
import Ledger
import LedgerSQLite
import Projections
import Synchronization

/// One verification of a whole ledger.
///
/// Two threads: this one reads the rows and checks the chain; the other decodes the events, folds them, and decides each again. Memory
/// depends on the number of accounts that are folded at once, which is bounded: a ledger of more accounts is read several times, each
/// time for another part of them.
struct Verification {
    /// How many accounts are folded in one pass.
    static let accountsPerPass = 250_000
    /// How many findings are kept; the first is what matters.
    static let findingLimit = 20

    var head = LedgerHead.empty
    var events: Int64 = 0
    var accounts = 0
    var openHolds = 0
    var totals = Account.Totals()
    var usageRows: Int64 = 0
    var usageCheckpoint: Int64 = 0
    /// How many sums of days the events lead to.
    private var usageDays: Int64 = 0
    var projections: EventHash?
    var findings: [Finding] = []
    var unreported = 0
    var seconds: Double = 0

    var isSound: Bool { findings.isEmpty }

    mutating func add(_ new: [Finding]) {
        // By position, so that the first bad event is named first, whichever thread found it.
        let all = (findings + new).sorted { ($0.position ?? .max) < ($1.position ?? .max) }
        unreported += max(0, all.count - Self.findingLimit)
        findings = Array(all.prefix(Self.findingLimit))
    }

    static func run(
        _ file: LedgerFile, expecting expected: ExpectedHead?, dumpsProjections: Bool
    ) throws -> Verification {
        let start = ContinuousClock.now
        var result = try file.snapshot { view in
            var result = Verification()
            result.add(
                try view.foreignDefinitions().map {
                    Finding(
                        position: nil, account: nil, check: .schema,
                        detail: "the table, index or trigger '\($0)' is not the one of this schema")
                })
            let total = try view.head().position
            let accounts = try view.accountCount()
            result.usageCheckpoint = try view.usageCheckpoint()
            let parts = max(1, (accounts + accountsPerPass - 1) / accountsPerPass)
            for part in 0..<parts {
                try result.verify(view, file, part: Part(index: part, of: parts), total: total)
            }
            if let expected, try view.hash(at: expected.position)?.description != expected.hash {
                result.add([
                    Finding(
                        position: expected.position, account: nil, check: .checkpoint,
                        detail: "the ledger does not have the head that was kept: it was truncated or rewritten")
                ])
            }
            if result.usageCheckpoint > total {
                result.add([
                    Finding(
                        position: nil, account: nil, check: .projection,
                        detail: "the usage log is ahead of the ledger: events are missing at its end")
                ])
            }
            if try view.usageDayCount() != result.usageDays { result.addDayFinding(account: nil) }
            if dumpsProjections { result.projections = try view.projectionsHash() }
            return result
        }
        result.seconds = (ContinuousClock.now - start) / .seconds(1)
        return result
    }

    /// Which accounts a pass is about.
    struct Part {
        let index: Int
        let of: Int

        /// Whether an account belongs to it: by FNV-1a, which is the same on every machine.
        func contains(_ account: some Sequence<UInt8>) -> Bool {
            if of == 1 { return true }
            var hash: UInt64 = 0xCBF2_9CE4_8422_2325
            for byte in account { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
            return Int(hash % UInt64(of)) == index
        }
    }

    /// One pass over all events.
    private mutating func verify(_ view: LedgerView, _ file: LedgerFile, part: Part, total: Int64) throws {
        let snapshots = try view.snapshotVersions { part.contains($0) }
        let fold = try FoldThread(
            file, part: part, checkpoint: usageCheckpoint, lastImportedDay: try view.lastImportedDay(),
            snapshots: snapshots)
        var chain = ChainAuditor()
        var batch = CanonicalEvents.batch()
        var progress = ProgressLine(total: total)
        var chainFindings: [Finding] = []
        var count: Int64 = 0
        try view.scan { row, hash in
            count += 1
            // A later pass reads the same state of the database, and need not check its chain again.
            let isFolded = part.of == 1 || row.account.first == 0x24 || part.contains(row.account)
            if part.index == 0 {
                let finding = chain.check(row, hash: hash, appendingTo: &batch)
                if let finding, chainFindings.count < Self.findingLimit { chainFindings.append(finding) }
                if !isFolded { batch.removeLast() }
            } else if isFolded {
                batch.append(row, after: .genesis)
            }
            if batch.isFull {
                batch = fold.send(batch)
                try compare(fold.takeFinishedDays(), with: view)
                progress.update(count)
            }
            return true
        }
        _ = fold.send(batch)
        progress.end()
        let folded = fold.finish()
        try compare(fold.takeFinishedDays(), with: view)
        if part.index == 0 {
            head = chain.head
            events = count
            add(chainFindings)
        }
        unreported += folded.unreported
        add(folded.findings)
        usageRows += folded.usageRows
        try add(folded, comparedWith: view, part: part)
    }

    /// Compares what was folded with the balances, and adds up.
    private mutating func add(_ folded: FoldResult, comparedWith view: LedgerView, part: Part) throws {
        var problems: [Finding] = []
        var seen = 0
        let hasCycles = try view.hasCycles()
        try view.balanceRows { account, row in
            guard part.contains(account.utf8), problems.count < Self.findingLimit else { return }
            seen += 1
            var expected = AccountID(rawValue: account).flatMap { folded.accounts[$0] }.map(BalanceRow.init)
            if !hasCycles {
                expected?.cycle = nil
                expected?.payments = []
                expected?.spending = [:]
            }
            guard row != expected else { return }
            problems.append(
                Finding(
                    position: nil, account: account, check: .projection,
                    detail: expected == nil
                        ? "there is a balance and no event" : "the stored balance or grants differ from the fold"))
        }
        if problems.isEmpty, seen != folded.accounts.all.count {
            problems.append(
                Finding(
                    position: nil, account: nil, check: .projection, detail: "the balances of some accounts are missing"
                ))
        }
        let reversed = try view.reversedInUsageLog()
        for (request, amount) in folded.reversed where reversed[request] != amount {
            problems.append(
                Finding(
                    position: nil, account: nil, check: .projection,
                    detail: "the usage log has another reversed amount for request \(request)"))
        }
        if part.of == 1, reversed.count != folded.reversed.count, problems.isEmpty {
            problems.append(
                Finding(
                    position: nil, account: nil, check: .projection,
                    detail: "the usage log reverses what was not reversed"))
        }
        add(problems)
        accounts += folded.accounts.all.count
        for account in folded.accounts.all {
            openHolds += account.holds.count
            totals.add(account.totals)
        }
    }

    /// Compares the sums of days, as they were folded, with those stored.
    private mutating func compare(_ days: [UsageDay.Key: UsageDay], with view: LedgerView) throws {
        for (key, day) in days where try view.usageDay(key) != day && findings.count < Self.findingLimit {
            addDayFinding(account: key.account.rawValue)
        }
        usageDays += Int64(days.count)
    }

    private mutating func addDayFinding(account: String?) {
        add([
            Finding(
                position: nil, account: account, check: .projection,
                detail: "the sums of a day differ from the requests of that day")
        ])
    }
}

extension Account.Totals {
    fileprivate mutating func add(_ other: Account.Totals) {
        self = Account.Totals(
            granted: granted + other.granted, expired: expired + other.expired, charged: charged + other.charged,
            reversed: reversed + other.reversed, withdrawn: withdrawn + other.withdrawn)
    }
}
