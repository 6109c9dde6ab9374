import Foundation
import Ledger
import Projections
import Testing

@testable import LedgerSQLite

/// What is told of events: pure; and that it is written down once.
@Suite("Notices")
struct NoticeTests {
    private static func told(_ json: String, type: String) throws -> [String] {
        let event = try LedgerEvent(type: type, data: Array(json.utf8))
        let now = Timestamp(microseconds: 1)
        let recorded = RecordedEvent(
            position: 7, account: .alice, version: 3, recordedAt: now, effectiveAt: now, key: "k", event: event)
        return Notice.notices(of: [recorded], lowBalance: Credits(nanos: 2_000_000_000)).map(\.id)
    }

    @Test(
        "a balance is told of when it passes a line on its way down, and not again below it",
        arguments: [
            (500, 2_500, []), (500, 2_000, ["credits.low_balance:7"]), (1_000, 1_500, ["credits.low_balance:7"]),
            (100, 1_500, []), (1_500, 0, ["credits.exhausted:7"]), (5_000, -1, ["credits.exhausted:7"]), (10, -20, []),
            (10, 0, ["credits.exhausted:7"]),
        ] as [(Int, Int, [String])])
    func falls(amount: Int, balance: Int, wanted: [String]) throws {
        // In thousandths of a credit.
        let json = #"{"grant":2,"amount":\#(amount)000000,"balance":\#(balance)000000}"#
            .replacingOccurrences(of: ":0000000", with: ":0")
        #expect(try Self.told(json, type: "grant_expired.v1") == wanted)
    }

    @Test("a boundary that renews tells of what it leaves, and not of what was gone in between")
    func boundary() throws {
        func event(_ position: Int64, _ type: String, _ json: String, _ at: Int64 = 5) throws -> RecordedEvent {
            RecordedEvent(
                position: position, account: .alice, version: position, recordedAt: Timestamp(microseconds: 9),
                effectiveAt: Timestamp(microseconds: at), key: "k\(position)",
                event: try LedgerEvent(type: type, data: Array(json.utf8)))
        }
        func grant(_ credits: Int) -> String {
            #"{"pool":"SUBSCRIPTION","source":"MONTHLY_FREE","amount":\#(credits)000000000,"debt_repaid":0,"balance":\#(credits)000000000}"#
        }
        let expiry = try event(1, "grant_expired.v1", #"{"grant":2,"amount":7000000000,"balance":0}"#)
        let low = Credits(nanos: 2_000_000_000)
        func told(_ events: [RecordedEvent]) -> [String] { Notice.notices(of: events, lowBalance: low).map(\.id) }
        #expect(told([expiry]) == ["credits.exhausted:1"])
        #expect(told([expiry, try event(2, "credits_granted.v1", grant(10))]) == ["plan.renewed:2"])
        #expect(
            told([expiry, try event(2, "credits_granted.v1", grant(1))]) == ["plan.renewed:2", "credits.low_balance:2"])
        let later = try event(2, "credits_granted.v1", grant(10), 6)
        #expect(told([expiry, later]) == ["credits.exhausted:1", "plan.renewed:2"], "another instant")
        // Where more events follow than were read, a boundary is not told of before it is known whole.
        #expect(Notice.complete([later, expiry]) == 1)
        #expect(Notice.complete([expiry]) == 1 && Notice.complete([]) == 0)
    }

    @Test("a notice is queued once for each target, and what was told already is not told again after a crash")
    func queue() async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let notice = Notice(id: "plan.renewed:5", kind: .renewed, account: .alice, at: store.now)
            let target = NoticeTarget(account: .alice, url: "https://example.com", secret: "0123456789abcdef")
            try await directory.setWebhook(target, of: .alice)
            let now = store.now
            for _ in 0..<2 {
                try await directory.queue([notice], forOperator: true, from: nil, through: 5, at: now) { $0.id }
            }
            #expect(try await directory.noticeCheckpoint() == 5)
            let due = try await directory.dueNotices(at: now, limit: 10)
            #expect(due.map(\.isOperators).sorted { $0 && !$1 } == [true, false])
            try await directory.note(due[0], deliveredAt: now, next: nil)
            try await directory.note(due[1], deliveredAt: nil, next: now.advanced(bySeconds: 5))
            #expect(try await directory.dueNotices(at: now, limit: 10).isEmpty)
            #expect(try await directory.dueNotices(at: now.advanced(bySeconds: 5), limit: 10).map(\.attempts) == [1])
            // Two that looked at the same events: the second finds the checkpoint moved.
            let other = Notice(id: "plan.renewed:6", kind: .renewed, account: .alice, at: now)
            try await directory.queue([other], forOperator: true, from: 4, through: 6, at: now) { $0.id }
            #expect(try await directory.dueNotices(at: now.advanced(bySeconds: 5), limit: 10).count == 1)
        }
    }
}
