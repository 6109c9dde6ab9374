import Foundation
import Fuzzing
import Ledger
import LedgerSQLite
import Synchronization
import Testing

@testable import Auditing

/// Ten years of a gateway in simulated time: people pay, spend, cancel, are refunded; the server is down for weeks, sweeps twice at once,
/// is restarted, and its clock is set back and forth. Then the whole ledger is verified, and an oracle that shares no code with it
/// (`Tests/Oracle/oracle.py`, exact fractions) computes every renewal, expiry and balance anew.
@Suite("Ten years", .serialized)
struct SimulationTests {
    /// `SIMULATION_SEED` runs one again; `SIMULATION_ACCOUNTS` and `SIMULATION_YEARS` make it longer or shorter.
    private static func setting(_ name: String, _ usual: Int) -> Int {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? usual
    }

    @Test("every invariant holds, and the oracle agrees with every balance")
    func tenYears() async throws {
        let seed = UInt64(Self.setting("SIMULATION_SEED", 5))
        print("simulation: seed \(seed)")
        // Days of 23 and 25 hours on the server's clock are none of the ledger's business.
        setenv("TZ", "America/New_York", 1)
        tzset()
        let folder = FileManager.default.temporaryDirectory.appending(path: "simulation-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        var world = try SimulatedGateway(
            path: path, accounts: Self.setting("SIMULATION_ACCOUNTS", 1000), random: SeededGenerator(seed: seed))
        try await world.open()
        try await world.live(days: Int64(Self.setting("SIMULATION_YEARS", 10)) * 365 + 3)
        try await world.close()
        let result = try Verification.run(LedgerFile(path: path))
        #expect(result.isSound, "seed \(seed): \(result.findings.map(\.description))")
        let told = folder.appending(path: "events.jsonl")
        try Self.export(path, to: told)
        let verdict = try Self.ask(told)
        print("simulation: \(world.figures); oracle: \(verdict.output)")
        #expect(verdict.code == 0, "seed \(seed): \(verdict.output)")
        #expect(world.renewals > Self.setting("SIMULATION_ACCOUNTS", 1000))
    }

    /// A ledger of which one figure is wrong must not pass the oracle, or it could not fail.
    @Test("the oracle notices a balance, a grant and a boundary that are wrong by one")
    func oracleCanFail() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "oracle-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        var world = try SimulatedGateway(path: path, accounts: 5, random: SeededGenerator(seed: 7))
        try await world.open()
        try await world.live(days: 200)
        try await world.close()
        let told = folder.appending(path: "events.jsonl")
        try Self.export(path, to: told)
        #expect(try Self.ask(told).code == 0)
        let lines = try String(contentsOf: told, encoding: .utf8)
        for (pattern, field) in [
            (#""type":"credits_granted.v1""#, "balance"), (#""source":"MONTHLY_FREE""#, "amount"),
            (#""type":"renewal_evaluated.v1""#, "until"), (#""type":"request_charged.v2""#, "credits"),
        ] {
            var rows = lines.split(separator: "\n").map(String.init)
            let index = try #require(rows.lastIndex { $0.contains(pattern) })
            let place = try #require(rows[index].range(of: #""\#(field)":-?\d+"#, options: .regularExpression))
            let digit = rows[index][place].last ?? "0"
            rows[index].replaceSubrange(
                rows[index].index(before: place.upperBound)..<place.upperBound, with: digit == "0" ? "1" : "0")
            try rows.joined(separator: "\n").write(to: told, atomically: true, encoding: .utf8)
            #expect(try Self.ask(told).code != 0, "\(field) of \(pattern)")
        }
    }

    private static func export(_ path: String, to file: URL) throws {
        try Data().write(to: file)
        let handle = try FileHandle(forWritingTo: file)
        var buffer = ""
        try LedgerFile(path: path).snapshot { view in
            try view.scan { row, _ in
                let text: (UnsafeBufferPointer<UInt8>) -> String = { String(decoding: $0, as: UTF8.self) }
                buffer += """
                    {"position":\(row.position),"account":"\(text(row.account))","version":\(row.version),\
                    "type":"\(text(row.type))","recorded_at":\(row.recordedAt),"effective_at":\(row.effectiveAt),\
                    "key":"\(text(row.key))","data":\(text(row.data))}

                    """
                if buffer.utf8.count > 1 << 20 {
                    try handle.write(contentsOf: Data(buffer.utf8))
                    buffer = ""
                }
                return true
            }
        }
        try handle.write(contentsOf: Data(buffer.utf8))
        try handle.close()
    }

    private static func ask(_ events: URL) throws -> (code: Int32, output: String) {
        let oracle = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Oracle/oracle.py")
        let process = Process()
        process.executableURL = URL(
            filePath: ProcessInfo.processInfo.environment["E2E_PYTHON"] ?? "/usr/bin/python3")
        process.arguments = [oracle.path, events.path]
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }
}

/// A gateway in simulated time, with the real store, writer and sweep.
struct SimulatedGateway {
    private final class Clock: Sendable {
        let now: Mutex<Timestamp>
        init(_ now: Timestamp) { self.now = Mutex(now) }
    }

    private let path: String
    private let accounts: [AccountID]
    private var random: SeededGenerator
    /// 2023-11-01T00:00:00Z: two leap days and twenty changes of the clocks follow.
    private let clock = Clock(Timestamp(microseconds: 1_698_796_800_000_000))
    /// What the real time is, where the clock is not.
    private var time = Timestamp(microseconds: 1_698_796_800_000_000)
    private var ledger: SQLiteLedger?
    private var writer: LedgerWriter?
    private var step = 0
    private var open: [AccountID: [RequestID]] = [:]
    private var charged: [(AccountID, RequestID)] = []
    private var paid: [(AccountID, PaymentID)] = []
    private(set) var renewals = 0
    private var accepted = 0
    private var refused = 0

    var figures: String { "\(accepted) commands, \(refused) refused, \(renewals) cycles by sweeps" }

    init(path: String, accounts: Int, random: SeededGenerator) throws {
        self.path = path
        self.random = random
        self.accounts = try (0..<accounts).map { try #require(AccountID(rawValue: "person-\($0)")) }
    }

    mutating func open() async throws {
        try start()
        var commands = Plan.standard.map { Command.setPlan(SetPlan(plan: $0)) }
        let pro = try #require(
            Plan(
                name: "PRO", microUSD: 29_990_000, cycleCredits: Credits(nanos: 333_333_333_333),
                graceSeconds: 86_400))
        commands.append(.setPlan(SetPlan(plan: pro)))
        let price = try #require(Price(input: 1_250_000, output: 10_000_000, cached: 310_001))
        commands.append(.setPrice(SetPrice(model: "up:model", price: price, actor: "test")))
        try submit(commands)
    }

    private mutating func start() throws {
        let ledger = try SQLiteLedger(path: path)
        var configuration = LedgerWriter.Configuration()
        configuration.cachedAccounts = 200
        configuration.snapshotInterval = 32
        let clock = clock
        writer = try LedgerWriter(store: ledger, configuration: configuration) { clock.now.withLock { $0 } }
        self.ledger = ledger
    }

    mutating func close() async throws {
        await writer?.close()
        try ledger?.close()
        (writer, ledger) = (nil, nil)
    }

    private mutating func set(_ time: Timestamp) {
        clock.now.withLock { $0 = time }
    }

    mutating func live(days: Int64) async throws {
        let end = time.advanced(bySeconds: days * 86_400)
        var joining = accounts[...]
        while time < end {
            step += 1
            // A day or a few; now and then the server is down for up to seventy.
            let isDown = Int.random(in: 0..<40, using: &random) == 0
            time = time.advanced(
                bySeconds: isDown
                    ? .random(in: 5...70, using: &random) * 86_400 + .random(in: 0..<86_400, using: &random)
                    : .random(in: 0...500_000, using: &random))
            switch Int.random(in: 0..<12, using: &random) {
            // The clock goes wrong by up to three days, and is right again with the next step.
            case 0: set(time.advanced(bySeconds: -.random(in: 1...259_200, using: &random)))
            case 1: set(time.advanced(bySeconds: .random(in: 1...7_200, using: &random)))
            default: set(time)
            }
            if isDown || step % 97 == 0 {
                try await close()
                try start()
                try await release()
            }
            let newcomers = joining.prefix(max(1, accounts.count / 100))
            joining = joining.dropFirst(newcomers.count)
            try submit(newcomers.flatMap { join($0) })
            let present = accounts.count - joining.count
            try submit(
                (0..<max(4, accounts.count / 16)).compactMap { _ in
                    act(accounts[.random(in: 0..<present, using: &random)])
                })
            if Int.random(in: 0..<3, using: &random) == 0 { try await sweep() }
        }
        set(time)
        try await release()
        try await sweep()
    }

    private func join(_ account: AccountID) -> [Command] {
        [
            Command(account: account, action: .open(plan: Plan.freeName)),
            Command(
                account: account,
                action: .grant(
                    GrantCredits(
                        key: "signup:\(account)", pool: .bonus, source: .signupBonus,
                        amount: Credits(nanos: 20_000_000_000)))),
        ]
    }

    /// Two sweeps at once, of different sizes.
    private mutating func sweep() async throws {
        guard let writer, let ledger else { return }
        let balances = SQLiteBalances(ledger)
        let clock = clock
        let now: @Sendable () -> Timestamp = { clock.now.withLock { $0 } }
        async let first = RenewalSweep(writer: writer, balances: balances, batch: 64, clock: now).run()
        async let second = RenewalSweep(writer: writer, balances: balances, batch: 37, clock: now).run()
        renewals += try await first.renewed + second.renewed
    }

    private mutating func release() async throws {
        _ = try await writer?.releaseInterruptedHolds()
        open = [:]
    }

    private mutating func submit(_ commands: [Command]) throws {
        guard let writer else { return }
        for (command, result) in zip(commands, writer.submitAndWait(commands)) {
            switch result {
            case .success(let receipt):
                accepted += 1
                note(command, receipt)
            case .failure(.refused): refused += 1
            case .failure(let error): throw error
            }
        }
    }

    private mutating func note(_ command: Command, _ receipt: Receipt) {
        switch (command.action, receipt.event?.event) {
        case (.placeHold(let hold), _): open[command.account, default: []].append(hold.request)
        case (.charge(let charge), _):
            open[command.account]?.removeAll { $0 == charge.request }
            charged.append((command.account, charge.request))
            if charged.count > 500 { charged.removeFirst(250) }
        case (.releaseHold(let release), _): open[command.account]?.removeAll { $0 == release.request }
        case (_, .paymentRecorded(let payment)):
            paid.append((command.account, payment.payment))
            if paid.count > 500 { paid.removeFirst(250) }
        default: break
        }
    }

    private mutating func act(_ account: AccountID) -> Command? {
        let id = "\(step)-\(Int64.random(in: 0..<1_000_000_000, using: &random))"
        let plan = Bool.random(using: &random) ? "BASIC" : "PRO"
        let action: Command.Action
        switch Int.random(in: 0..<40, using: &random) {
        case 0...15:
            guard let request = RequestID(rawValue: "req_\(id)") else { return nil }
            action = .placeHold(
                PlaceHold(
                    request: request,
                    origin: RequestOrigin(model: "up:model", keyID: "key", endpoint: "/v1/chat/completions"),
                    promptBound: .random(in: 0...200_000, using: &random),
                    outputPerChoice: .random(in: 0...50_000, using: &random),
                    shrinkTo: Bool.random(using: &random) ? 256 : nil))
        case 16...29:
            guard let request = open[account]?.first else { return nil }
            let prompt = Int64.random(in: 0...250_000, using: &random)
            let usage = Usage(
                prompt: prompt, cached: .random(in: 0...prompt, using: &random),
                completion: .random(in: 0...60_000, using: &random))
            guard let usage else { return nil }
            action = .charge(
                ChargeRequest(request: request, outcome: .finished, report: UsageReport(usage: usage)))
        case 30:
            guard let request = open[account]?.first else { return nil }
            action = .releaseHold(ReleaseHold(request: request, reason: .upstreamFailed))
        case 31, 32: action = pay(id, .cycle(plan: plan))
        case 33: action = pay(id, .upgrade(plan: plan))
        case 34:
            let credits = Credits(nanos: .random(in: 1...100_000_000_000, using: &random))
            action = pay(id, .credits(credits, microUSD: CreditRate.standard.microUSD(for: credits)))
        case 35:
            let key = Bool.random(using: &random) ? "subscribe:\(id)" : nil
            action = .subscribe(Subscribe(key: key, plan: plan, actor: "portal"))
        case 36:
            action = .schedulePlan(
                SchedulePlan(plan: Bool.random(using: &random) ? Plan.freeName : plan, actor: "portal"))
        case 37:
            guard let (owner, payment) = paid.randomElement(using: &random) else { return nil }
            let part = Int64.random(in: 1...12_000_000, using: &random)
            let extents: [RefundPayment.Extent] = [.rest, .part(microUSD: part), .upTo(microUSD: part)]
            let refund = RefundPayment(
                key: "refund:\(id)", payment: payment, extents.randomElement(using: &random) ?? .rest, reason: "test",
                actor: "test")
            return Command(account: owner, action: .refund(refund))
        case 38:
            guard let (owner, request) = charged.randomElement(using: &random) else { return nil }
            let amount =
                Bool.random(using: &random) ? nil : Credits(nanos: .random(in: 1...2_000_000_000, using: &random))
            let reversal = ReverseCharge(
                key: "reverse:\(id)", request: request, amount: amount, reason: "test", actor: "test")
            return Command(account: owner, action: .reverse(reversal))
        case 39 where Int.random(in: 0..<3, using: &random) == 0:
            action = Bool.random(using: &random) ? .block(actor: "test") : .unblock(actor: "test")
        default:
            let nanos = Int64.random(in: -3_000_000_000...3_000_000_000, using: &random)
            action = .adjust(
                AdjustCredits(key: "adjust:\(id)", amount: Credits(nanos: nanos), reason: "test", actor: "test"))
        }
        return Command(account: account, action: action)
    }

    private func pay(_ id: String, _ purchase: Purchase) -> Command.Action {
        // The same payment is told twice now and then: the second finds it recorded, or the account not its own.
        let payment = PaymentID(rawValue: "test:\(id)")
        return payment.map { .pay(RecordPayment(payment: $0, purchase: purchase, actor: "test")) } ?? .recordDue
    }
}
