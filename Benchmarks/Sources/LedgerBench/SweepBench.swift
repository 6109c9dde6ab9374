import Foundation
import Ledger
import LedgerSQLite
import Synchronization

/// How long a sweep takes that finds a few accounts of many due, and what charges feel of it.
///
/// Charges are made one after another by eight callers, first alone and then beside the sweep; both are measured in the same run.
enum SweepBench {
    private final class Clock: Sendable {
        let now = Mutex(Timestamp(microseconds: 1_767_225_600_000_000))
    }

    private final class Times: Sendable {
        let all = Mutex<[Double]>([])
    }

    private final class Swept: Sendable {
        let result = Mutex((seconds: 0.0, renewed: 0))
    }

    private final class Flag: Sendable {
        let isSet = Atomic(false)
    }

    static func run(path: String, accounts: Int, due: Int) async throws {
        let ledger = try SQLiteLedger(path: path)
        let clock = Clock()
        var configuration = LedgerWriter.Configuration()
        configuration.queueLimit = 1 << 20
        let writer = try LedgerWriter(store: ledger, configuration: configuration) { clock.now.withLock { $0 } }
        for plan in Plan.standard { _ = try await writer.submit(.setPlan(SetPlan(plan: plan))) }
        guard let price = Price(input: 150_000, output: 600_000) else { return }
        _ = try await writer.submit(.setPrice(SetPrice(model: "up:bench", price: price, actor: "bench")))
        // Some were opened a cycle ago, the others in between.
        open(writer, from: 0, to: due)
        clock.now.withLock { $0 = $0.advanced(bySeconds: 15 * 86_400) }
        open(writer, from: due, to: accounts)
        let spenders = try await fund(writer, from: accounts - 1000, to: accounts)
        clock.now.withLock { $0 = $0.advanced(bySeconds: 15 * 86_400) }
        let sweep = RenewalSweep(writer: writer, balances: SQLiteBalances(ledger), batch: 16) {
            clock.now.withLock { $0 }
        }
        let alone = try await charge(writer, spenders) { try await Task.sleep(for: .seconds(3)) }
        let swept = Swept()
        let beside = try await charge(writer, spenders) {
            let start = ContinuousClock.now
            let renewed = try await sweep.run().renewed
            swept.result.withLock { $0 = ((ContinuousClock.now - start) / .seconds(1), renewed) }
        }
        let (seconds, renewed) = swept.result.withLock { $0 }
        let start = ContinuousClock.now
        _ = try await sweep.run()
        let idle = (ContinuousClock.now - start) / .milliseconds(1)
        print(
            """
            {"accounts":\(accounts),"renewed":\(renewed),"sweep_seconds":\(text(seconds)),"idle_sweep_ms":\(text(idle)),\
            "alone_p50_ms":\(text(alone.p50)),"alone_p99_ms":\(text(alone.p99)),\
            "beside_p50_ms":\(text(beside.p50)),"beside_p99_ms":\(text(beside.p99)),\
            "alone_per_second":\(Int(alone.perSecond)),"beside_per_second":\(Int(beside.perSecond))}
            """)
        await writer.close()
        try ledger.close()
    }

    private static func text(_ figure: Double) -> String { String(format: "%.3f", figure) }

    private static func account(_ index: Int) -> AccountID {
        guard let id = AccountID(rawValue: "bench-\(index)") else { fatalError("a literal account id is valid") }
        return id
    }

    private static func open(_ writer: LedgerWriter, from: Int, to end: Int) {
        for start in stride(from: from, to: end, by: 1024) {
            _ = writer.submitAndWait(
                (start..<min(start + 1024, end)).map {
                    Command(account: account($0), action: .open(plan: Plan.freeName))
                })
        }
    }

    private static func fund(_ writer: LedgerWriter, from: Int, to end: Int) async throws -> [AccountID] {
        let ids = (max(0, from)..<end).map(account)
        for id in ids {
            guard let payment = PaymentID(rawValue: "bench:\(id)") else { continue }
            let pay = RecordPayment(
                payment: payment, purchase: .credits(Credits(nanos: 1_000_000_000_000), microUSD: 1), actor: "bench")
            _ = try await writer.submit(Command(account: id, action: .pay(pay)))
        }
        return ids
    }

    /// Holds and charges by eight callers for as long as `body` runs; how long one of both took.
    private static func charge(
        _ writer: LedgerWriter, _ accounts: [AccountID], while body: @escaping @Sendable () async throws -> Void
    ) async throws -> (p50: Double, p99: Double, perSecond: Double) {
        let over = Flag()
        let times = Times()
        let start = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for caller in 0..<8 {
                group.addTask {
                    var generator = SystemRandomNumberGenerator()
                    var own: [Double] = []
                    while !over.isSet.load(ordering: .relaxed) {
                        let id = accounts[Int(generator.next() % UInt64(accounts.count))]
                        let request = RequestID(
                            at: Timestamp(microseconds: Int64(own.count)),
                            entropy: (UInt16(caller), generator.next()))
                        let origin = RequestOrigin(model: "up:bench", keyID: nil, endpoint: "/v1/chat/completions")
                        let hold = PlaceHold(request: request, origin: origin, promptBound: 1000, outputPerChoice: 1000)
                        guard let usage = Usage(prompt: 800, completion: 200) else { return }
                        let charge = ChargeRequest(
                            request: request, outcome: .finished, report: UsageReport(usage: usage))
                        for action in [Command.Action.placeHold(hold), .charge(charge)] {
                            let begun = ContinuousClock.now
                            _ = try await writer.submit(Command(account: id, action: action))
                            own.append((ContinuousClock.now - begun) / .milliseconds(1))
                        }
                    }
                    times.all.withLock { $0 += own }
                }
            }
            group.addTask {
                try await body()
                over.isSet.store(true, ordering: .relaxed)
            }
            try await group.waitForAll()
        }
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        let sorted = times.all.withLock { $0.sorted() }
        guard !sorted.isEmpty else { return (0, 0, 0) }
        return (sorted[sorted.count / 2], sorted[sorted.count * 99 / 100], Double(sorted.count) / seconds)
    }
}
