import Foundation
import GRDB
import Ledger
import LedgerSQLite
import Projections
import Testing

@testable import Auditing

/// Imported requests count from before they were recorded, also between and behind days that have passed here.
@Suite("Imported history")
struct ImportedHistoryTests {
    static let start = Timestamp(microseconds: 1_767_225_600_000_000)

    static func usage(_ id: String, days: Int64) throws -> Command {
        let account = try #require(AccountID(rawValue: "alice"))
        let usage = UsageImported(
            request: try #require(RequestID(importedUsage: id)),
            origin: RequestOrigin(model: "up:model", keyID: nil, endpoint: "/v1/chat/completions"), status: .success,
            promptTokens: 3, cachedTokens: 1, completionTokens: 2, costPicoUSD: 7)
        return Command(
            account: account,
            action: .importUsage(ImportUsage(usage: usage, at: start.advanced(bySeconds: days * 86_400))))
    }

    /// Requests of two days here, and imports before, between and behind them, of the same days and model.
    static func makeLedger() async throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appending(path: "imported-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let ledger = try SQLiteLedger(path: folder.appending(path: "ledger.sqlite").path)
        for day in Int64(0)..<4 {
            let now = start.advanced(bySeconds: day * 86_400 + 3600)
            let writer = try LedgerWriter(store: ledger, clock: { now })
            let account = try #require(AccountID(rawValue: "alice"))
            for plan in Plan.standard { _ = try await writer.submit(.setPlan(SetPlan(plan: plan))) }
            _ = try await writer.submit(Command(account: account, action: .open(plan: "FREE")))
            if day == 1 || day == 2 {
                let request = try #require(RequestID(rawValue: "req_\(day)"))
                let origin = RequestOrigin(model: "up:model", keyID: nil, endpoint: "/v1/chat/completions")
                let hold = PlaceHold(
                    request: request, origin: origin, promptBound: 1, outputPerChoice: 1, allowUnpriced: true)
                _ = try await writer.submit(Command(account: account, action: .placeHold(hold)))
                let report = UsageReport(usage: try #require(Usage(prompt: 1, completion: 1)))
                let charge = ChargeRequest(request: request, outcome: .finished, report: report)
                _ = try await writer.submit(Command(account: account, action: .charge(charge)))
            }
            // Of the same day as what was served here, and of days long past.
            let daysBack: [Int64] = [0, 1, 2, 40]
            for (number, back) in daysBack.enumerated() {
                _ = try await writer.submit(try usage("\(day)-\(number)", days: day - back))
            }
            await writer.close()
        }
        let follower = UsageFollower(events: ledger, usage: SQLiteUsage(ledger))
        while try follower.step() > 0 {}
        try ledger.close()
        return folder
    }

    static func verify(_ folder: URL) throws -> Verification {
        try Verification.run(
            LedgerFile(path: folder.appending(path: "ledger.sqlite").path))
    }

    @Test("a ledger with imports between its own requests verifies, and so it does rebuilt")
    func sound() async throws {
        let folder = try await Self.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        let result = try Self.verify(folder)
        #expect(result.isSound, "\(result.findings)")
        #expect(result.usageRows == 18)
        let ledger = try SQLiteLedger(path: folder.appending(path: "ledger.sqlite").path)
        let (before, after) = try ledger.rebuildProjections { _ in }
        #expect(before == after)
        let account = try #require(AccountID(rawValue: "alice"))
        let rows = try await SQLiteUsage(ledger).log(of: account, skip: 0, limit: 100)
        let imported = try #require(rows.first { $0.request.rawValue == "import_0-3" })
        #expect(imported.recordedAt == Self.start.advanced(bySeconds: -40 * 86_400))
        #expect(imported.detail == "imported" && imported.costPicoUSD == 7 && imported.credits == .zero)
        let days = try await SQLiteUsage(ledger).days(
            of: account, from: imported.recordedAt.utcDay, through: imported.recordedAt.utcDay)
        #expect(days.map { $0.day.requests } == [1])
        try ledger.close()
        #expect(try Self.verify(folder).isSound)
    }

    @Test(
        "sums of days with imports are compared as well",
        arguments: [
            "UPDATE usage_days SET requests = requests + 1 WHERE day = (SELECT min(day) FROM usage_days)",
            "UPDATE usage_days SET cost_pico_usd = '8' WHERE day = (SELECT max(day) FROM usage_days)",
            "DELETE FROM usage_days WHERE day = (SELECT min(day) FROM usage_days)",
            "UPDATE usage_log SET recorded_at = recorded_at - 1 WHERE request = 'import_3-0'",
            "UPDATE usage_log SET recorded_at = recorded_at - 86400000000 WHERE request LIKE 'import%'",
        ])
    func tampered(sql: String) async throws {
        let folder = try await Self.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        let queue = try DatabaseQueue(path: folder.appending(path: "ledger.sqlite").path)
        try await queue.write { try $0.execute(sql: sql) }
        try queue.close()
        #expect(try !Self.verify(folder).isSound)
    }
}
