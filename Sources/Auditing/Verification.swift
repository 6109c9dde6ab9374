public import Ledger
public import LedgerSQLite
import Projections

/// One verification of a whole ledger, in named passes that cover every table.
///
/// This thread reads the rows, checks the chain and grows the Merkle tree; the others decode the events, fold them, and decide each
/// again, each for a part of the accounts. One more holds the indexes and the usage log against the events.
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
    /// How many rows the usage log must have up to its checkpoint.
    public internal(set) var usageRows: Int64 = 0
    public internal(set) var usageCheckpoint: Int64 = 0
    public internal(set) var passes: [Pass] = []
    /// How many entries of the indexes of events and usage log were held against the rows.
    public internal(set) var indexEntries: Int64 = 0
    /// How many sums of days the events lead to, and how many requests were reversed up to the usage log's checkpoint.
    private var usageDays: Int64 = 0
    private var reversedRequests = 0
    /// The rows that the usage log must have, and the entries of the events' indexes.
    private var (usage, byAccount, byKey) = (RowDigest(), RowDigest(), RowDigest())
    public internal(set) var projections: EventHash?
    public internal(set) var findings: [Finding] = []
    public internal(set) var unreported = 0
    public internal(set) var duration = Duration.zero

    public var isSound: Bool { findings.isEmpty }

    mutating func add(_ new: [Finding]) {
        // Every part of the accounts is decided by the same prices and plans: what is wrong with those is found once for each.
        let news = new.filter { !findings.contains($0) }
        // By position, so that the first bad event is named first, whichever thread found it.
        let all = (findings + news).sorted { ($0.position ?? .max) < ($1.position ?? .max) }
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
        usageCheckpoint = try view.usageCheckpoint()
        let accounts = try view.accountCount()
        let turns = max(1, (accounts + Self.accountsAtOnce - 1) / Self.accountsAtOnce)
        let scope = AuditScope(
            head: try view.head(), usageCheckpoint: usageCheckpoint, lastImportedDay: try view.lastImportedDay(),
            trusted: options.checkpoint?.size ?? 0, key: RowHash.Key())
        let indexes = try IndexAudit(file, scope, isAlone: options.jobs == 1)
        for turn in 0..<turns { try verify(view, file, turn: turn, of: turns, scope, options) }
        let found = indexes.finish(byAccount: byAccount, byKey: byKey)
        add(found.findings)
        indexEntries = found.entries
        if found.usage != usage { try compareUsage(view, hasDigest: found.usage != nil) }
        try verifyWhole(view, options, total: scope.head.position)
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
        if try view.usageDayCount() != usageDays { add(.projection, [(nil, Self.wrongDay)]) }
        if try view.reversedInUsageLog().count != reversedRequests {
            add(.projection, [(nil, "the usage log reverses other requests than were reversed")])
        }
    }

    /// The part of the accounts that one fold is of.
    struct Part {
        let index: Int
        let of: Int

        /// Whether an account belongs to it.
        func contains(_ account: some Sequence<UInt8>) -> Bool {
            of == 1 || Self.hash(account) % of == index
        }

        /// FNV-1a, which is the same on every machine.
        static func hash(_ account: some Sequence<UInt8>) -> Int {
            var hash: UInt64 = 0xCBF2_9CE4_8422_2325
            for byte in account { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
            return Int(hash >> 2)
        }
    }

    /// One reading of all events, for the accounts whose turn it is.
    private mutating func verify(
        _ view: LedgerView, _ file: LedgerFile, turn: Int, of turns: Int, _ scope: AuditScope, _ options: Options
    ) throws {
        let total = scope.head.position
        let lanes = max(1, options.jobs - 1)
        let parts = (0..<lanes).map { Part(index: turn * lanes + $0, of: turns * lanes) }
        let folds = try parts.map { part in
            try FoldThread(
                file, scope, snapshots: try view.snapshotVersions { part.contains($0) }, isAlone: options.jobs == 1)
        }
        var batches = parts.map { _ in CanonicalEvents.batch() }
        var chain = ChainAuditor()
        var tree = turn == 0 ? try TreeAuditor(view, options) : nil
        var chainFindings: [Finding] = []
        var count: Int64 = 0
        try view.scan { row, hash in
            count += 1
            let isBook = row.account.first == UInt8(ascii: "$")
            let own = isBook ? 0 : parts.firstIndex { $0.contains(row.account) }
            // A later turn reads the same state of the database, and need not check its chain again.
            if turn == 0 {
                let finding = chain.check(row, hash: hash, appendingTo: &batches[own ?? 0])
                if let finding, chainFindings.count < Self.findingLimit { chainFindings.append(finding) }
                tree?.append(chain.head)
                byAccount.add(RowHash(row.account, row.version, row.position, scope.key))
                byKey.add(RowHash(row.key, 0, row.position, scope.key))
                if own == nil { batches[0].removeLast() }
            } else if let own {
                batches[own].append(row, after: .genesis)
            }
            if isBook {
                // Every part of the accounts is decided by the same prices and plans.
                for other in batches.indices.dropFirst() { batches[other].append(row, after: .genesis) }
            }
            for index in batches.indices where batches[index].isFull {
                batches[index] = folds[index].send(batches[index])
                options.progress(count + Int64(turn) * total, total * Int64(turns))
            }
            return true
        }
        for (index, fold) in folds.enumerated() { _ = fold.send(batches[index]) }
        for (part, fold) in zip(parts, folds) { try add(fold.finish(), comparedWith: view, part: part) }
        guard var tree else { return }
        head = chain.head
        events = count
        add(chainFindings)
        add(tree.finish())
        root = tree.root
    }

    /// Compares what was folded with what is stored, and adds up.
    private mutating func add(_ folded: FoldResult, comparedWith view: LedgerView, part: Part) throws {
        add(folded.findings)
        unreported += folded.unreported
        usage.add(folded.usage)
        usageRows = usage.count
        try addDays(folded, comparedWith: view)
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
        reversedRequests += folded.reversed.count
        add(problems)
        accounts += folded.accounts.all.count
        for account in folded.accounts.all {
            openHolds += account.holds.count
            totals.add(account.totals)
        }
    }

    /// Compares the sums of days that a running server may have gone on with.
    private mutating func addDays(_ folded: FoldResult, comparedWith view: LedgerView) throws {
        for (key, day) in folded.openDays
        where try view.usageDay(key) != day && findings.count < Self.findingLimit {
            add(.projection, [(key.account.rawValue, Self.wrongDay)])
        }
        usageDays += folded.comparedDays + Int64(folded.openDays.count)
    }

    /// What is wrong with the sums of a day.
    static let wrongDay = "the sums of a day differ from the requests of that day"
}

extension Account.Totals {
    fileprivate mutating func add(_ other: Account.Totals) {
        self = Account.Totals(
            granted: granted + other.granted, expired: expired + other.expired, charged: charged + other.charged,
            reversed: reversed + other.reversed, withdrawn: withdrawn + other.withdrawn)
    }
}
