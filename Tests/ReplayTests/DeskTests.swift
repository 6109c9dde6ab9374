import Foundation
import Fuzzing
import GRDB
import Ledger
import Projections
import Synchronization
import Testing

@testable import Auditing
@testable import LedgerSQLite

/// What auditors and accountants are given, over a long simulated history: every sum must be the one that the events lead to.
@Suite("The desk", .serialized)
struct DeskTests {
    static let seed = UInt64(ProcessInfo.processInfo.environment["DESK_SEED"] ?? "") ?? 11

    /// A closed ledger of some accounts over more than a year.
    static func withLedger(_ body: (LedgerFile, String) async throws -> Void) async throws {
        print("desk: seed \(seed)")
        let folder = FileManager.default.temporaryDirectory.appending(path: "desk-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        var world = try SimulatedGateway(path: path, accounts: 30, random: SeededGenerator(seed: seed))
        try await world.open()
        try await world.live(days: 430)
        try await world.close()
        try await body(LedgerFile(path: path), path)
    }

    static func events(_ file: LedgerFile) throws -> [RecordedEvent] {
        try file.snapshot { view in
            var events: [RecordedEvent] = []
            try view.scan { row, _ in
                events.append(try row.decoded())
                return true
            }
            return events
        }
    }

    static func bytes(_ file: LedgerFile, _ order: ExportOrder) throws -> [UInt8] {
        var exporter = try Exporter(file, order)
        var bytes: [UInt8] = []
        while let piece = try exporter.next() { bytes += piece }
        return bytes
    }

    static func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool { left == right }

    @Test("statements of all accounts and months add up, and each begins where the one before it ended")
    func statements() async throws {
        try await Self.withLedger { file, _ in
            let events = try Self.events(file)
            let last = try #require(events.last?.recordedAt)
            let accounts = Set(events.map(\.account)).filter { !$0.isBook }
            var lines = 0
            for account in accounts {
                let own = events.filter { $0.account == account }
                var month = Month(day: try #require(own.first).effectiveAt.utcDay)
                var closing: Int128?
                while month.start <= last {
                    let found = try file.statement(of: account, from: month.start, until: month.next.start, now: last)
                    let statement = try #require(found)
                    #expect(statement.isBalanced, "\(account) in \(month)")
                    if let closing { #expect(statement.opening == closing, "\(account) in \(month)") }
                    closing = statement.closing
                    // Whoever asks for the balance at the end of the month is told the same.
                    let end = min(Timestamp(microseconds: month.next.start.microseconds - 1), last)
                    let reading = try #require(try file.reading(of: account, at: end, now: last))
                    #expect(statement.closing == Int128(reading.balance.nanos), "\(account) at the end of \(month)")
                    lines += statement.lines.count
                    month = month.next
                }
                // In the end it is what the events and what is still due come to.
                let known = own.reduce(Int128(0)) { $0 + $1.event.balanceChange }
                let reading = try #require(try file.reading(of: account, now: last))
                let kept = reading.account.deferred(at: reading.at).values.reduce(Int128(0)) { $0 + Int128($1.nanos) }
                #expect(closing == reading.pending.reduce(known) { $0 + $1.event.balanceChange } - kept)
            }
            #expect(lines > 120)
        }
    }

    @Test("a statement is the same before and after what is due was recorded")
    func due() async throws {
        let folder = try await TamperTests.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        let account = try #require(AccountID(rawValue: "alice"))
        let start = Timestamp(microseconds: 1_767_225_600_000_000)
        let later = start.advanced(bySeconds: 75 * 86_400)
        func statement() throws -> AccountStatement? {
            try LedgerFile(path: path).statement(
                of: account, from: start.advanced(bySeconds: -86_400), until: later, now: later)
        }
        let before = try #require(try statement())
        #expect(before.isBalanced && before.lines.contains { $0.isPending && $0.kind == .expired })
        let ledger = try SQLiteLedger(path: path)
        let writer = try LedgerWriter(store: ledger, configuration: .init(), clock: { later })
        _ = try await writer.submit(Command(account: account, action: .recordDue))
        await writer.close()
        try ledger.close()
        let after = try #require(try statement())
        #expect(after.isBalanced && !after.lines.contains { $0.isPending })
        #expect(after.closing == before.closing)
        #expect(after.lines.map(\.credits) == before.lines.map(\.credits))
        #expect(after.lines.map(\.at) == before.lines.map(\.at))
    }

    @Test(
        "what expires under a request is no part of the balance, and comes back with the charge, in whatever month that is"
    )
    func deferral() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "desk-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        let clock = MovingClock(try #require(Timestamp(iso8601: "2026-03-31T23:00:00Z")))
        let ledger = try SQLiteLedger(path: path)
        let writer = try LedgerWriter(store: ledger, configuration: .init(), clock: { clock.now })
        for plan in Plan.standard { _ = try await writer.submit(.setPlan(SetPlan(plan: plan))) }
        let price = try #require(Price(input: 1_000_000, output: 2_000_000))
        _ = try await writer.submit(.setPrice(SetPrice(model: "up:model", price: price, actor: "test")))
        let alice = try #require(AccountID(rawValue: "alice"))
        func send(_ action: Command.Action) async throws {
            _ = try await writer.submit(Command(account: alice, action: action))
        }
        try await send(.open(plan: "FREE"))
        let expiry = clock.now.advanced(bySeconds: 1800)
        for (key, amount, expiresAt) in [("g1", "20", nil), ("g2", "10", expiry)] as [(String, String, Timestamp?)] {
            let credits = try #require(Credits(decimal: amount))
            try await send(
                .grant(
                    GrantCredits(
                        key: key, pool: .bonus, source: .adjustment, amount: credits, expiresAt: expiresAt)))
        }
        let request = try #require(RequestID(rawValue: "req_1"))
        let origin = RequestOrigin(model: "up:model", keyID: "key", endpoint: "/v1/chat/completions")
        try await send(
            .placeHold(PlaceHold(request: request, origin: origin, promptBound: 0, outputPerChoice: 400_000)))
        func statements() throws -> [AccountStatement] {
            let file = try LedgerFile(path: path)
            return try ["2026-03", "2026-04"].map { text in
                let month = try #require(Month(text))
                return try #require(
                    try file.statement(of: alice, from: month.start, until: month.next.start, now: clock.now))
            }
        }
        func balance(_ at: Timestamp? = nil, knownAt: Timestamp? = nil) throws -> Credits? {
            let reading = try LedgerFile(path: path).reading(of: alice, at: at, knownAt: knownAt, now: clock.now)
            return reading?.balance
        }
        // The grant has expired, and the request is still under way in the next month.
        clock.now = expiry.advanced(bySeconds: 3600)
        let asked = clock.now
        var months = try statements()
        #expect(months.map(\.closing) == [20_000_000_000, 20_000_000_000])
        #expect(months[0].lines.filter { $0.kind == .deferred }.map(\.credits) == [-10_000_000_000])
        #expect(months.map(\.isBalanced) == [true, true])
        #expect(try balance() == Credits(decimal: "20"))
        let usage = try #require(Usage(prompt: 0, completion: 300_000))
        try await send(.charge(ChargeRequest(request: request, outcome: .finished, report: UsageReport(usage: usage))))
        clock.now = clock.now.advanced(bySeconds: 60)
        months = try statements()
        // Six credits were used of it, four expired; both months close as before.
        #expect(months.map(\.closing) == [20_000_000_000, 20_000_000_000])
        #expect(months.map(\.isBalanced) == [true, true])
        #expect(months[1].opening == months[0].closing)
        #expect(months.map { $0.sum(of: .deferred) } == [-6_000_000_000, 6_000_000_000])
        #expect(months[0].sum(of: .expired) == -4_000_000_000 && months[1].charged.credits == 6_000_000_000)
        #expect(try balance(asked) == Credits(decimal: "20"))
        #expect(try balance() == Credits(decimal: "20"))
        #expect(try balance(asked, knownAt: asked) == Credits(decimal: "20"))
        // That the expiry and the charge were recorded later changes nothing of what was told before.
        let file = try LedgerFile(path: path)
        let none = try #require(
            try KnowledgeDifference.between(asked, clock.now, at: asked, account: alice, now: clock.now, in: file))
        #expect(none.changes.isEmpty)
        let nobody = try #require(AccountID(rawValue: "nobody"))
        let unknown = try KnowledgeDifference.between(
            asked, clock.now, at: asked, account: nobody, now: clock.now, in: file)
        #expect(unknown == nil)
        await writer.close()
        try ledger.close()
    }

    @Test("between any two readings of an account lies what diff says, and what was due is told once")
    func differences() async throws {
        try await Self.withLedger { file, _ in
            let events = try Self.events(file)
            let last = try #require(events.last?.recordedAt)
            let first = try #require(events.first?.recordedAt)
            var random = SeededGenerator(seed: 6)
            var (differing, deferring) = (0, 0)
            for _ in 0..<120 {
                let span = last.microseconds - first.microseconds
                let instants = (0..<3).map { _ in
                    Timestamp(microseconds: first.microseconds + Int64.random(in: 0...span, using: &random))
                }.sorted()
                // At an instant before, between and behind the two at which it was known.
                let at = try #require(instants.randomElement(using: &random))
                let known = instants.filter { $0 != at }
                guard known.count == 2 else { continue }
                let found = try #require(
                    try KnowledgeDifference.between(known[0], known[1], at: at, now: last, in: file))
                let byAccount = Dictionary(uniqueKeysWithValues: found.changes.map { ($0.account, $0) })
                for account in Set(events.map(\.account)) where !account.isBook {
                    let before = try file.reading(of: account, at: at, knownAt: known[0], now: last)
                    let after = try file.reading(of: account, at: at, knownAt: known[1], now: last)
                    let difference = Int128((after?.balance ?? .zero).nanos) - Int128((before?.balance ?? .zero).nanos)
                    let change = byAccount[account]
                    #expect((change?.difference ?? 0) == difference, "\(account) at \(at) known \(known)")
                    let told = change.map(Self.sum) ?? 0
                    #expect(told == difference, "the lines of \(account) at \(at) known \(known)")
                    if difference != 0 { differing += 1 }
                    if at > known[0], (change?.deferred ?? 0) != 0 { deferring += 1 }
                }
            }
            #expect(differing > 60 && deferring > 0)
        }
    }

    /// What the lines of a difference come to.
    static func sum(_ change: KnowledgeDifference.Change) -> Int128 {
        let events = change.events.reduce(change.unlisted) { $0 + $1.event.balanceChange }
        let due = change.pending.reduce(events) { $0 + $1.event.balanceChange }
        return change.notDue.reduce(due) { $0 - $1.event.balanceChange } + change.deferred
    }

    @Test("every entry of the journal adds up to zero in each commodity, and all of them to what verify proves")
    func journal() async throws {
        try await Self.withLedger { file, _ in
            var balances = JournalBalances()
            var forward = RollForward()
            var cache = GrantCache()
            try file.snapshot { view in
                try view.scan { row, _ in
                    let event = try row.decoded()
                    let entry = try JournalEntry(event.event) { try cache.terms($0, of: event.account, view) }
                    guard let entry else {
                        #expect(event.event.balanceChange == 0, "\(event.event.type) moves something")
                        return true
                    }
                    for commodity in Commodity.allCases {
                        let sum = entry.postings.filter { $0.commodity == commodity }.reduce(Int128(0)) {
                            $0 + $1.amount
                        }
                        #expect(sum == 0, "event \(event.position)")
                    }
                    let before = balances.customers
                    balances.add(entry.postings)
                    #expect(balances.customers - before == event.event.balanceChange, "event \(event.position)")
                    forward.add(entry, recordedAt: event.recordedAt)
                    return true
                }
            }
            let verified = try Verification.run(file)
            #expect(verified.isSound, "\(verified.findings)")
            #expect(balances.customers == verified.totals.balance)
            #expect(forward.spans.count > 12)
            var closing: RollForward.Amounts?
            for span in forward.spans {
                if let closing { #expect(span.opening == closing) }
                closing = span.closing
                for part in [\RollForward.Amounts.paid, \.promotional, \.owed, \.total] {
                    let moved = RollForward.movements.reduce(Int128(0)) { $0 + (span.lines[$1]?[keyPath: part] ?? 0) }
                    #expect(span.opening[keyPath: part] + moved == span.closing[keyPath: part], "\(span.month)")
                }
            }
            #expect(closing?.total == verified.totals.balance)
        }
    }

    @Test(
        "the same order gives the same bytes, also with a fixed end while events are appended, and months put together are the whole",
        arguments: [
            ExportOrder.Content.table(.usage, .csv), .table(.charges, .jsonl), .table(.grants, .csv),
            .table(.journal, .jsonl),
        ])
    func exports(content: ExportOrder.Content) async throws {
        try await Self.withLedger { file, path in
            let whole = try Self.bytes(file, ExportOrder(content))
            #expect(Self.areEqual(whole, try Self.bytes(file, ExportOrder(content))))
            var parallel: [UInt8] = []
            try ParallelExport.run(
                file, ExportOrder(content), jobs: 3, partEvents: 137, write: { parallel += $0 }, progress: { _, _ in })
            // Not the bytes themselves: nobody wants to read them.
            #expect(Self.areEqual(parallel, whole))
            let head = try file.snapshot { try $0.head() }
            let ledger = try SQLiteLedger(path: path)
            let writer = try LedgerWriter(
                store: ledger, configuration: .init(), clock: { head.recordedAt.advanced(bySeconds: 86_400) })
            let account = try #require(AccountID(rawValue: "newcomer"))
            _ = try await writer.submit(Command(account: account, action: .open(plan: "FREE")))
            await writer.close()
            try ledger.close()
            #expect(Self.areEqual(whole, try Self.bytes(file, ExportOrder(content, through: head.position))))
            var month = Month(day: try #require(try Self.events(file).first).recordedAt.utcDay)
            var parts: [UInt8] = []
            while month.start <= head.recordedAt {
                var part = try Self.bytes(file, ExportOrder(content, from: month.start, to: month.next.start))
                if case .table(_, .csv) = content, !parts.isEmpty, let end = part.firstIndex(of: 0x0A) {
                    part.removeSubrange(...end)
                }
                parts += part
                month = month.next
            }
            #expect(Self.areEqual(parts, whole))
        }
    }

    @Test("under the terms that applied, what-if leads to what was")
    func sameTerms() async throws {
        try await Self.withLedger { file, _ in
            let result = try file.whatIf(prices: [:], plans: [])
            #expect(result.accounts > 20 && result.refused == 0)
            #expect(result.balance.was == result.balance.would)
            #expect(result.under.was == result.under.would && result.newlyUnder.isEmpty)
            for (key, use) in result.uses {
                #expect(use.credits.was == use.credits.would && use.picoUSD.was == use.picoUSD.would, "\(key)")
            }
            for (month, money) in result.months {
                for pair in [money.received, money.returned, money.sold, money.given, money.expired] {
                    #expect(pair.was == pair.would, "\(Month(index: month)): \(money)")
                }
            }
        }
    }

    @Test("at twice the price what-if charges twice, and a free plan that gives nothing lets more accounts go under")
    func otherTerms() async throws {
        try await Self.withLedger { file, _ in
            let models = Set(
                try Self.events(file).compactMap { event -> String? in
                    if case .requestCharged(let charge) = event.event { charge.origin.model } else { nil }
                })
            let free = try #require(Price(input: 0, output: 0))
            let gratis = try file.whatIf(
                prices: Dictionary(uniqueKeysWithValues: models.map { ($0, free) }), plans: [])
            #expect(gratis.uses.values.allSatisfy { $0.credits.would == 0 && $0.credits.was >= 0 })
            #expect(gratis.under.would == 0)
            let poor = try #require(Plan(name: "FREE", microUSD: 0))
            let none = try file.whatIf(prices: [:], plans: [poor])
            #expect(
                none.months.values.reduce(0) { $0 + $1.given.would }
                    < none.months.values.reduce(0) { $0 + $1.given.was })
            #expect(none.under.would >= none.under.was)
        }
    }
}

/// A clock that a test sets.
private final class MovingClock: Sendable {
    private let instant: Mutex<Timestamp>

    init(_ now: Timestamp) { instant = Mutex(now) }

    var now: Timestamp {
        get { instant.withLock { $0 } }
        set { instant.withLock { $0 = newValue } }
    }
}
