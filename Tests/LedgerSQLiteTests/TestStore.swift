import Foundation
import Ledger
import LedgerSQLite
import Synchronization
import Testing

/// A ledger in a folder of its own, which goes with the test.
final class TestStore: Sendable {
    let folder: URL
    private let clock: Mutex<Timestamp>

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "ledger-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        clock = Mutex(Timestamp(microseconds: 1_767_225_600_000_000))
    }

    deinit {
        try? FileManager.default.removeItem(at: folder)
    }

    var path: String { folder.appending(path: "ledger.sqlite").path }

    /// The test's clock: it stands still until it is moved.
    var now: Timestamp {
        get { clock.withLock { $0 } }
        set { clock.withLock { $0 = newValue } }
    }

    /// Opens the ledger, gives it and a writer to `body`, and closes both.
    @discardableResult
    func withWriter<R>(
        _ configuration: LedgerWriter.Configuration = .init(), _ body: (LedgerWriter, SQLiteLedger) async throws -> R
    ) async throws -> R {
        let ledger = try SQLiteLedger(path: path)
        let writer = try LedgerWriter(store: ledger, configuration: configuration, clock: { self.now })
        let result: R
        do {
            result = try await body(writer, ledger)
        } catch {
            await writer.close()
            try? ledger.close()
            throw error
        }
        await writer.close()
        try ledger.close()
        return result
    }
}

extension LedgerWriter {
    /// Plans, a price for `up:model` of $1 and $2 per million tokens, and accounts with credits.
    func prepare(_ accounts: [AccountID], credits: String = "10") async throws {
        for plan in Plan.standard { _ = try await submit(.setPlan(SetPlan(plan: plan))) }
        let price = try #require(Price(input: 1_000_000, output: 2_000_000))
        _ = try await submit(.setPrice(SetPrice(model: "up:model", price: price, actor: "test")))
        for account in accounts {
            _ = try await submit(Command(account: account, action: .open(plan: "FREE")))
            _ = try await submit(grant(account, credits, "grant:\(account)"))
        }
    }

    func grant(_ account: AccountID, _ credits: String, _ key: String) -> Command {
        let amount = Credits(decimal: credits) ?? .zero
        return Command(
            account: account,
            action: .grant(GrantCredits(key: key, pool: .topup, source: .purchase, amount: amount)))
    }

    func hold(_ account: AccountID, _ number: Int, output: Int64) -> Command {
        let hold = PlaceHold(
            request: .number(number),
            origin: RequestOrigin(model: "up:model", keyID: nil, endpoint: "/v1/chat/completions"),
            promptBound: 0, outputPerChoice: output)
        return Command(account: account, action: .placeHold(hold))
    }

    func charge(_ account: AccountID, _ number: Int, completion: Int64) throws -> Command {
        let usage = try #require(Usage(prompt: 0, completion: completion))
        let charge = ChargeRequest(request: .number(number), outcome: .finished, report: UsageReport(usage: usage))
        return Command(account: account, action: .charge(charge))
    }
}

extension RequestID {
    static func number(_ number: Int) -> RequestID {
        RequestID(at: Timestamp(microseconds: 1_767_225_600_000_000), entropy: (0, UInt64(number)))
    }
}

extension AccountID {
    static let alice = AccountID(anyStream: "alice") ?? .plans
    static let bob = AccountID(anyStream: "bob") ?? .plans
}
