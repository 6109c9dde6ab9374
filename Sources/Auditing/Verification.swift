public import Ledger
public import LedgerSQLite
import Projections

/// One verification of a whole ledger, in named passes that cover every table.
///
/// This thread reads the rows, checks the chain and grows the Merkle tree; the others decode the events, fold them, and decide each
/// again, each for a part of the accounts. One more holds the indexes against the tables.
///
/// Memory depends on the number of accounts that are folded at once, which is bounded: a
/// ledger of more accounts is read several times, each time for other ones.
public struct Verification: Sendable {
    /// How many accounts are folded at once.
    static let accountsAtOnce = 250_000
    /// How many findings are kept; the first is what matters.
    static let findingLimit = 20

    /// What one pass was about.
    public struct Pass: Sendable {
        public let name: String
        /// The tables that it covers.
        public let tables: [String]
        /// How many rows it looked at.
        public var rows: Int64 = 0
    }

    /// What to verify, and how.
    public struct Options: Sendable {
        /// A head that somebody kept: the ledger must contain it.
        public var expectedHead: (position: Int64, hash: String)?
        /// A checkpoint that somebody verified: the ledger must lead to it, and what was decided up to it is not decided again.
        public var checkpoint: Checkpoint?
        /// Keys with which the ledger's own checkpoints must be signed; none: their signatures are not looked at.
        public var keys: [NoteKey] = []
        public var dumpsProjections = false
        /// How many threads at most, beside the one that looks at the indexes; 1: one in all.
        public var jobs = 2
        /// Is told how many events have been read, and of how many.
        public var progress: @Sendable (Int64, Int64) -> Void = { _, _ in }

        public init() {}
    }

    public internal(set) var head = LedgerHead.empty
    /// The root of the Merkle tree over all events; nil where only one account was verified.
    public internal(set) var root: MerkleHash?
    public internal(set) var events: Int64 = 0
    public internal(set) var accounts = 0
    public internal(set) var openHolds = 0
    public internal(set) var totals = Account.Totals()
    public internal(set) var usageRows: Int64 = 0
    public internal(set) var usageCheckpoint: Int64 = 0
    public internal(set) var passes: [Pass] = []
    /// How many entries of the events' indexes were held against the events.
    public internal(set) var indexEntries: Int64 = 0
    /// How many sums of days the events lead to.
    private var usageDays: Int64 = 0
    public internal(set) var projections: EventHash?
    public internal(set) var findings: [Finding] = []
    public internal(set) var unreported = 0
    public internal(set) var duration = Duration.zero

    public var isSound: Bool { findings.isEmpty }

    mutating func add(_ new: [Finding]) {
        // By position, so that the first bad event is named first, whichever thread found it.
        let all = (findings + new).sorted { ($0.position ?? .max) < ($1.position ?? .max) }
        unreported += max(0, all.count - Self.findingLimit)
        findings = Array(all.prefix(Self.findingLimit))
    }

    mutating func add(_ check: Finding.Check, _ problems: [(account: String?, detail: String)]) {
        add(problems.map { Finding(position: nil, account: $0.account, check: check, detail: $0.detail) })
    }

    /// Verifies one state of the ledger. Throws where it cannot be read.
    public static func run(_ file: LedgerFile, _ options: Options = Options()) throws -> Verification {
        let start = ContinuousClock.now
        var result = try file.snapshot { view in
            var result = Verification()
            let foreign = try view.foreignDefinitions()
            result.add(
                .schema,
                foreign.map {
                    (nil, "the table, index or trigger '\($0)' is not the one of this schema, or is missing")
                })
            do {
                try result.verifyAll(view, file, options)
            } catch  where Self.tables.contains(where: { !Set($0.tables).isDisjoint(with: foreign) }) {
                // What is no table of ours cannot be read as one: that is what is wrong with the ledger.
                result.add(.schema, [(nil, "the rest was not verified: \(error)")])
            }
            return result
        }
        result.duration = ContinuousClock.now - start
        return result
    }

    /// Every pass.
    private mutating func verifyAll(_ view: LedgerView, _ file: LedgerFile, _ options: Options) throws {
        let total = try view.head().position
        usageCheckpoint = try view.usageCheckpoint()
        let accounts = try view.accountCount()
        let turns = max(1, (accounts + Self.accountsAtOnce - 1) / Self.accountsAtOnce)
        for turn in 0..<turns {
            try verify(view, file, turn: turn, of: turns, total: total, options)
        }
        try verifyWhole(view, options, total: total)
        try verifyTables(view)
        if options.dumpsProjections { projections = try view.projectionsHash() }
    }

    /// What can be told when all events have been read.
    private mutating func verifyWhole(_ view: LedgerView, _ options: Options, total: Int64) throws {
        if let expected = options.expectedHead, try view.hash(at: expected.position)?.description != expected.hash {
            add([
                Finding(
                    position: expected.position, account: nil, check: .checkpoint,
                    detail: "the ledger does not have the head that was kept: it was truncated or rewritten")
            ])
        }
        if usageCheckpoint > total {
            add(.projection, [(nil, "the usage log is ahead of the ledger: events are missing at its end")])
        }
        if try view.usageDayCount() != usageDays { addDayFinding(account: nil) }
    }

    /// The parts of the accounts that one thread folds.
    struct Part {
        let index: Int
        let of: Int

        /// Whether an account belongs to it: by FNV-1a, which is the same on every machine.
        func contains(_ account: some Sequence<UInt8>) -> Bool {
            of == 1 || Self.hash(account) % of == index
        }

        static func hash(_ account: some Sequence<UInt8>) -> Int {
            var hash: UInt64 = 0xCBF2_9CE4_8422_2325
            for byte in account { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
            return Int(hash >> 2)
        }
    }

    /// One reading of all events, for the accounts whose turn it is.
    private mutating func verify(
        _ view: LedgerView, _ file: LedgerFile, turn: Int, of turns: Int, total: Int64, _ options: Options
    ) throws {
        let lanes = max(1, options.jobs - 1)
        let parts = (0..<lanes).map { Part(index: turn * lanes + $0, of: turns * lanes) }
        let folds = try parts.map { part in
            try FoldThread(
                file, part: part, checkpoint: usageCheckpoint, lastImportedDay: try view.lastImportedDay(),
                snapshots: try view.snapshotVersions { part.contains($0) },
                trusted: options.checkpoint?.size ?? 0, isAlone: options.jobs == 1)
        }
        var batches = parts.map { _ in CanonicalEvents.batch() }
        var chain = ChainAuditor()
        var tree = turn == 0 ? try TreeAuditor(view, options) : nil
        let digestKey = IndexDigest.Key()
        let indexes =
            turn == 0 ? try IndexAudit(file, through: total, key: digestKey, isAlone: options.jobs == 1) : nil
        var (byAccount, byKey) = (IndexDigest(), IndexDigest())
        var chainFindings: [Finding] = []
        var count: Int64 = 0
        try view.scan { row, hash in
            count += 1
            let isBook = row.account.first == 0x24
            let slot = parts[0].of == 1 || isBook ? parts[0].index : Part.hash(row.account) % parts[0].of
            let lane = slot - parts[0].index
            // A later turn reads the same state of the database, and need not check its chain again.
            if turn == 0 {
                let isFolded = batches.indices.contains(lane)
                let at = isFolded ? lane : 0
                let finding = chain.check(row, hash: hash, appendingTo: &batches[at])
                if let finding, chainFindings.count < Self.findingLimit { chainFindings.append(finding) }
                tree?.append(chain.head)
                byAccount.add(row.account, row.version, row.position, digestKey)
                byKey.add(row.key, 0, row.position, digestKey)
                if !isFolded { batches[at].removeLast() }
            } else if batches.indices.contains(lane) {
                batches[lane].append(row, after: .genesis)
            }
            if isBook {
                // Every part of the accounts is decided by the same prices and plans.
                for other in batches.indices where other != lane { batches[other].append(row, after: .genesis) }
            }
            for index in batches.indices where batches[index].isFull {
                batches[index] = folds[index].send(batches[index])
                try compare(folds[index].takeFinishedDays(), with: view)
                options.progress(count + Int64(turn) * total, total * Int64(turns))
            }
            return true
        }
        for (index, fold) in folds.enumerated() { _ = fold.send(batches[index]) }
        for (index, fold) in folds.enumerated() {
            let folded = fold.finish()
            try compare(fold.takeFinishedDays(), with: view)
            unreported += folded.unreported
            add(folded.findings)
            usageRows += folded.usageRows
            try add(folded, comparedWith: view, part: parts[index])
        }
        guard turn == 0 else { return }
        head = chain.head
        events = count
        add(chainFindings)
        if var tree {
            add(tree.finish())
            root = tree.root
        }
        if let indexes {
            let (wrong, entries) = indexes.finish([.byAccount: byAccount, .byKey: byKey])
            add(wrong)
            indexEntries = entries
        }
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
        add(.projection, [(account, "the sums of a day differ from the requests of that day")])
    }
}

extension Account.Totals {
    fileprivate mutating func add(_ other: Account.Totals) {
        self = Account.Totals(
            granted: granted + other.granted, expired: expired + other.expired, charged: charged + other.charged,
            reversed: reversed + other.reversed, withdrawn: withdrawn + other.withdrawn)
    }
}
