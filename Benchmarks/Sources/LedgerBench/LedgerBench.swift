import Foundation
import Ledger
import LedgerSQLite
import Synchronization

/// Hands out numbers to the callers.
private final class Counter: Sendable {
    private let value = Atomic<Int>(0)

    func take() -> Int { value.wrappingAdd(1, ordering: .relaxed).oldValue }
}

/// What the benchmarks need of the ledger itself: databases to start from, and charges through the writer.
///
///     LedgerBench prepare DB ACCOUNTS            accounts with credits, and one price
///     LedgerBench charges DB REQUESTS CALLERS    a hold and a charge for each request
///     LedgerBench sweep DB ACCOUNTS DUE          what is due in some of many accounts, and charges beside it (``SweepBench``)
///     LedgerBench meter MEGABYTES FOLDER         how fast streams are metered (``MeterBench``)
///
/// Prints one line of JSON.
@main
struct LedgerBench {
    static func main() async throws {
        let arguments = CommandLine.arguments.dropFirst()
        if arguments.count == 3, arguments.first == "meter", let megabytes = Int(arguments[2]) {
            return try MeterBench.run(megabytes: megabytes, folder: arguments[3])
        }
        if arguments.count == 4, arguments.first == "sweep", let accounts = Int(arguments[3]),
            let due = Int(arguments[4])
        {
            return try await SweepBench.run(path: arguments[2], accounts: accounts, due: due)
        }
        guard arguments.count >= 3, let command = arguments.first else { return usage() }
        let path = Array(arguments)[1]
        let numbers = arguments.dropFirst(2).compactMap { Int($0) }
        let ledger = try SQLiteLedger(path: path)
        var configuration = LedgerWriter.Configuration()
        configuration.queueLimit = 1 << 20
        let writer = try LedgerWriter(store: ledger, configuration: configuration, clock: now)
        switch (command, numbers.count) {
        case ("prepare", 1): try await prepare(writer, accounts: numbers[0])
        case ("charges", 2): try await charge(writer, requests: numbers[0], callers: numbers[1])
        default: usage()
        }
        await writer.close()
        try ledger.close()
    }

    private static func usage() {
        FileHandle.standardError.write(
            Data(
                "usage: LedgerBench prepare DB ACCOUNTS | charges DB REQUESTS CALLERS | sweep DB ACCOUNTS DUE | meter MEGABYTES FOLDER\n"
                    .utf8)
        )
        exit(64)
    }

    private static let now: @Sendable () -> Timestamp = {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
    }

    private static let accountCount = 10_000

    private static func account(_ index: Int) -> AccountID {
        let digits = String(index)
        let name = "bench-" + String(repeating: "0", count: max(0, 5 - digits.count)) + digits
        guard let id = AccountID(rawValue: name) else { fatalError("a literal account id is valid") }
        return id
    }

    private static func prepare(_ writer: LedgerWriter, accounts: Int) async throws {
        for plan in Plan.standard { _ = try await writer.submit(.setPlan(SetPlan(plan: plan))) }
        guard let price = Price(input: 150_000, output: 600_000, cached: 40_000) else { return }
        _ = try await writer.submit(.setPrice(SetPrice(model: "up:bench-16", price: price, actor: "bench")))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for part in 0..<64 {
                group.addTask {
                    for index in stride(from: part, to: accounts, by: 64) {
                        let id = account(index)
                        _ = try await writer.submit(Command(account: id, action: .open(plan: "FREE")))
                        let grant = GrantCredits(
                            key: "bench-grant:\(index)", pool: .topup, source: .purchase,
                            amount: Credits(nanos: 1_000_000_000_000_000))
                        _ = try await writer.submit(Command(account: id, action: .grant(grant)))
                    }
                }
            }
            try await group.waitForAll()
        }
        print("{\"accounts\":\(accounts)}")
    }

    /// Each caller sends a hold, waits for it to be durable, then the charge, and waits for that: as a request does.
    private static func charge(_ writer: LedgerWriter, requests: Int, callers: Int) async throws {
        let next = Counter()
        let start = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<callers {
                group.addTask {
                    var generator = SystemRandomNumberGenerator()
                    while true {
                        let index = next.take()
                        if index >= requests { return }
                        let id = account(index % accountCount)
                        let request = RequestID(
                            at: now(), entropy: (UInt16(truncatingIfNeeded: index), generator.next()))
                        let origin = RequestOrigin(
                            model: "up:bench-16", keyID: "3b241101-e2bb-4255-8caf-4136c566a962",
                            endpoint: "/v1/chat/completions")
                        let hold = PlaceHold(
                            request: request, origin: origin, promptBound: 1200, outputPerChoice: 1024, shrinkTo: 256)
                        _ = try await writer.submit(Command(account: id, action: .placeHold(hold)))
                        let prompt = Int64(800 + index % 400)
                        let completion = Int64(200 + index % 100)
                        let raw =
                            "{\"prompt_tokens\":\(prompt),\"completion_tokens\":\(completion),\"total_tokens\":\(prompt + completion)}"
                        guard let usage = Usage(prompt: prompt, completion: completion) else { return }
                        let report = UsageReport(usage: usage, raw: Array(raw.utf8))
                        let charge = ChargeRequest(request: request, outcome: .finished, report: report)
                        _ = try await writer.submit(Command(account: id, action: .charge(charge)))
                    }
                }
            }
            try await group.waitForAll()
        }
        let elapsed = (ContinuousClock.now - start) / .seconds(1)
        print(
            "{\"requests\":\(requests),\"seconds\":\(String(format: "%.6f", elapsed)),\"requests_per_second\":\(Int(Double(requests) / elapsed))}"
        )
    }
}
