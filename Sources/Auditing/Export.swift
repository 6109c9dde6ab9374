import Dispatch
public import Ledger
public import LedgerSQLite
public import Projections
import Synchronization

/// What is exported, from when to when, and how.
public struct ExportOrder: Hashable, Sendable {
    public enum Content: Hashable, Sendable {
        case table(EventTable, TableFormat)
        case journal(JournalFormat, byEvent: Bool)
        case rollForward(TableFormat)

        /// What is named so: `usage`, `charges`, `grants`, `journal` or `roll-forward`, as `csv` or `jsonl`, the journal also as `hledger` or
        /// `beancount`; nil where there is no such.
        public init?(kind: String, format: String, byEvent: Bool = false) {
            switch (EventTable(rawValue: kind), TableFormat(rawValue: format), JournalFormat(rawValue: format)) {
            case (let table?, let format?, _): self = .table(table, format)
            case (.journal?, nil, let format?): self = .journal(format, byEvent: byEvent)
            case (nil, let format?, _) where kind == "roll-forward": self = .rollForward(format)
            default: return nil
            }
        }
    }

    public let content: Content
    /// The first instant of recording that is in it; nil: from the beginning.
    public let from: Timestamp?
    /// The first that is no more in it; nil: all there is.
    public let to: Timestamp?
    /// The last position that can be in it; so an export that is asked for again is the same.
    public let through: Int64?

    public init(_ content: Content, from: Timestamp? = nil, to: Timestamp? = nil, through: Int64? = nil) {
        self.content = content
        self.from = from
        self.to = to
        self.through = through
    }
}

/// Writes an export piece by piece: what is wanted next is read then, in memory that does not grow with the ledger.
///
/// The same order gives the same bytes, whoever asks. Each piece reads one state of the ledger for a moment; since events are never
/// changed and the end is fixed in the beginning, the pieces fit together.
public struct Exporter: Sendable {
    /// How many bytes a piece has at least, but for the last.
    private static let pieceBytes = 1 << 18
    /// How many events a piece makes something of at most.
    private static let pieceEvents = 20_000

    private let file: LedgerFile
    /// The last position that was read, and the last to be read.
    private var position: Int64
    public private(set) var last: Int64
    private let kind: Kind
    /// What is written: of a table, of a journal, of a roll-forward.
    private var table: TableWriter
    private var journal: JournalWriter?
    private var forward = RollForward()
    private var grants = GrantCache()
    private var isFinished = false
    /// The UTC day at whose end the journal's balances are stated last.
    private let lastDay: Int64
    /// The months of a roll-forward, as far as the ledger reaches back and has come; nil: none.
    private let months: ClosedRange<Month>?

    private enum Kind: Sendable {
        case table(EventTable)
        case journal
        case rollForward
    }

    /// Finds the period, and what is on the accounts of a journal when it begins. Throws where the ledger cannot be read.
    public init(_ file: LedgerFile, _ order: ExportOrder) throws {
        self.file = file
        let (first, last, lastDay, firstDay, months) = try file.snapshot { view in
            let head = try view.head()
            let first = try order.from.map { try view.firstPosition(recordedFrom: $0) } ?? 1
            let end = try order.to.map { try view.firstPosition(recordedFrom: $0) - 1 } ?? head.position
            let last = min(end, order.through ?? .max, head.position)
            let lastAt = last > 0 ? try view.event(at: last)?.event.recordedAt : nil
            let firstAt = first <= last ? try view.event(at: first)?.event.recordedAt : nil
            // An end is the first instant that is no more in it.
            let until = order.to.map { Timestamp(microseconds: $0.microseconds &- 1) }
            let day = min(until ?? .max, max(lastAt ?? order.from ?? .epoch, order.from ?? .epoch)).utcDay
            let known = min(order.through ?? .max, head.position)
            let knownAt = known > 0 ? try view.event(at: known)?.event.recordedAt : nil
            let knownDay = min(until ?? .max, max(knownAt ?? .epoch, order.from ?? .epoch)).utcDay
            let firstDay = (order.from ?? firstAt ?? .epoch).utcDay
            var months: ClosedRange<Month>?
            if let earliest = try view.event(at: 1)?.event.recordedAt.utcDay {
                let start = Month(day: max(firstDay, earliest))
                if start <= Month(day: knownDay) { months = start...Month(day: knownDay) }
            }
            return (first, last, day, firstDay, months)
        }
        self.last = last
        self.lastDay = max(lastDay, firstDay)
        self.months = months
        position = first - 1
        switch order.content {
        case .table(let table, let format):
            kind = .table(table)
            self.table = TableWriter(format, table.columns)
        case .journal(let format, let byEvent):
            kind = .journal
            table = TableWriter(.csv, [], withHead: false)
            let opening = try Self.balances(file, before: first, &grants)
            journal = JournalWriter(format, byEvent: byEvent, from: firstDay, opening: opening)
        case .rollForward(let format):
            kind = .rollForward
            table = TableWriter(format, RollForward.columns)
            let opening = try Self.balances(file, before: first, &grants)
            forward = RollForward(opening: opening)
            if order.from != nil, let months { forward.reach(months.lowerBound) }
        }
    }

    /// A part of a table's export: the rows of the events behind a position and up to another, without a head.
    fileprivate init(part table: EventTable, _ format: TableFormat, _ file: LedgerFile) {
        self.file = file
        last = 0
        position = 0
        lastDay = 0
        months = nil
        kind = .table(table)
        self.table = TableWriter(format, table.columns, withHead: false)
    }

    /// Goes on with another part; what is known of grants stays.
    fileprivate mutating func begin(after first: Int64, through last: Int64) {
        position = first
        self.last = last
        isFinished = false
    }

    /// How many events have been read.
    public var read: Int64 { position }

    /// What a table begins with, before any row.
    fileprivate mutating func takeHead() -> [UInt8] { table.take() }

    /// The next piece; nil behind the last.
    public mutating func next() throws -> [UInt8]? {
        while !isFinished {
            if position >= last {
                isFinished = true
                return finish()
            }
            try scan(through: last, limit: Self.pieceEvents)
            let piece = takeIfLong()
            if !piece.isEmpty { return piece }
        }
        return nil
    }

    private mutating func takeIfLong() -> [UInt8] {
        guard count >= Self.pieceBytes else { return [] }
        return journal?.take() ?? table.take()
    }

    private mutating func finish() -> [UInt8] {
        switch kind {
        case .table: return table.take()
        case .journal:
            journal?.finish(lastDay: lastDay)
            return journal?.take() ?? []
        case .rollForward:
            if let months { forward.reach(months.upperBound) }
            forward.write(to: &table)
            return table.take()
        }
    }

    /// Reads on, at most so many events, or until a piece is complete.
    private mutating func scan(through end: Int64, limit: Int) throws {
        let wanted: EventTable = if case .table(let table) = kind { table } else { .journal }
        var left = limit
        var isAtEnd = true
        let (start, file) = (position, file)
        try file.snapshot { view in
            try view.scan(after: start, wanted: { wanted.concerns($0) }) { row, _ in
                guard row.position <= end else { return false }
                position = row.position
                left -= 1
                try add(try row.decoded(), view)
                isAtEnd = left > 0 && count < Self.pieceBytes
                return isAtEnd
            }
        }
        // What is left of the part concerns nobody.
        if isAtEnd { position = end }
    }

    /// How many bytes wait to be taken, of what is written piece by piece.
    private var count: Int {
        switch kind {
        case .table: table.count
        case .journal: journal?.count ?? 0
        case .rollForward: 0
        }
    }

    private mutating func add(_ event: RecordedEvent, _ view: LedgerView) throws {
        grants.note(event)
        switch kind {
        case .table(let rows):
            try rows.write(event, terms: { try grants.terms($0, of: event.account, view) }, into: &table)
        case .journal:
            guard let entry = try entry(event, view) else { return }
            journal?.add(entry, of: event)
        case .rollForward:
            if case .requestCharged(let charge) = event.event { forward.add(charge, recordedAt: event.recordedAt) }
            guard let entry = try entry(event, view) else { return }
            forward.add(entry, recordedAt: event.recordedAt)
        }
    }

    private mutating func entry(_ event: RecordedEvent, _ view: LedgerView) throws -> JournalEntry? {
        try JournalEntry(event.event) { try grants.terms($0, of: event.account, view) }
    }

    /// What is on the journal's accounts before a position.
    private static func balances(
        _ file: LedgerFile, before first: Int64, _ grants: inout GrantCache
    ) throws -> JournalBalances {
        var balances = JournalBalances()
        guard first > 1 else { return balances }
        try file.snapshot { view in
            try view.scan(wanted: { EventTable.journal.concerns($0) }) { row, _ in
                guard row.position < first else { return false }
                let event = try row.decoded()
                grants.note(event)
                let entry = try JournalEntry(event.event) { try grants.terms($0, of: event.account, view) }
                if let entry { balances.add(entry.postings) }
                return true
            }
        }
        return balances
    }
}

/// Writes an export on several threads, each with a connection of its own, in the order and with the bytes of an ``Exporter``.
///
/// Only tables have parts that do not depend on what is before them; everything else is written by one.
public enum ParallelExport {
    /// Gives the pieces in order; each thread works at parts of `partEvents` events. `progress` is told the last position that was written, and the last there is.
    public static func run(
        _ file: LedgerFile, _ order: ExportOrder, jobs: Int, partEvents: Int64 = 20_000,
        write: ([UInt8]) throws -> Void,
        progress: (Int64, Int64) -> Void
    ) throws {
        var whole = try Exporter(file, order)
        guard jobs > 1, case .table(let table, let format) = order.content, whole.last - whole.read > partEvents else {
            while let piece = try whole.next() {
                try write(piece)
                progress(whole.read, whole.last)
            }
            return
        }
        try write(whole.takeHead())
        let files = try (0..<jobs).map { _ in try LedgerFile(path: file.path) }
        let starts = Array(stride(from: whole.read, to: whole.last, by: Int64.Stride(partEvents)))
        let lanes = files.map { Lane($0, table, format) }
        let last = whole.last
        // Each lane is a part ahead of the one that is written.
        for (index, start) in starts.enumerated().prefix(jobs) {
            lanes[index].begin(after: start, through: min(start + partEvents, last))
        }
        for (index, start) in starts.enumerated() {
            let lane = lanes[index % jobs]
            let pieces = try lane.finish()
            if index + jobs < starts.count {
                let next = starts[index + jobs]
                lane.begin(after: next, through: min(next + partEvents, last))
            }
            for piece in pieces { try write(piece) }
            progress(min(start + partEvents, last), last)
        }
    }

    /// One thread, and what it works at.
    private final class Lane: Sendable {
        private let queue = DispatchQueue(label: "replay.export", qos: .userInitiated)
        private let result = Mutex<Result<[[UInt8]], any Error>>(.success([]))
        private let exporter: Mutex<Exporter>

        init(_ file: LedgerFile, _ table: EventTable, _ format: TableFormat) {
            exporter = Mutex(Exporter(part: table, format, file))
        }

        func begin(after first: Int64, through last: Int64) {
            queue.async { [self] in
                let made = Result<[[UInt8]], any Error> {
                    try exporter.withLock { part in
                        part.begin(after: first, through: last)
                        var pieces: [[UInt8]] = []
                        while let piece = try part.next() { pieces.append(piece) }
                        return pieces
                    }
                }
                result.withLock { $0 = made }
            }
        }

        /// Waits for what was begun last.
        func finish() throws -> [[UInt8]] {
            queue.sync {}
            return try result.withLock { result in
                defer { result = .success([]) }
                return try result.get()
            }
        }
    }
}

extension Timestamp {
    fileprivate static let epoch = Timestamp(microseconds: 0)
    fileprivate static let max = Timestamp(microseconds: .max)
}

/// What grants are, of those that were looked at last: from the events themselves, which say it for ever.
struct GrantCache: Sendable {
    private struct Key: Hashable {
        let account: AccountID
        let grant: GrantID
    }

    private static let limit = 100_000
    private var known: [Key: GrantTerms] = [:]

    /// Remembers a grant that goes by.
    mutating func note(_ event: RecordedEvent) {
        guard case .creditsGranted(let grant) = event.event else { return }
        add(GrantTerms(pool: grant.pool, source: grant.source), Key(account: event.account, grant: event.version))
    }

    private mutating func add(_ terms: GrantTerms, _ key: Key) {
        if known.count >= Self.limit { known.removeAll(keepingCapacity: true) }
        known[key] = terms
    }

    mutating func terms(_ grant: GrantID, of account: AccountID, _ view: LedgerView) throws -> GrantTerms {
        let key = Key(account: account, grant: grant)
        if let found = known[key] { return found }
        guard case .creditsGranted(let event)? = try view.event(of: account, version: grant)?.event else {
            throw StoreError.corrupt("account '\(account)' has no grant \(grant)")
        }
        let terms = GrantTerms(pool: event.pool, source: event.source)
        add(terms, key)
        return terms
    }
}
