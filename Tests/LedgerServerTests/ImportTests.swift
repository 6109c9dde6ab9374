import Foundation
import Ledger
import LedgerSQLite
import OldGateway
import Testing

@testable import LedgerServer

@Suite("Rows of the old gateway")
struct OldRowTests {
    static let now = Timestamp(microseconds: 1_767_225_600_000_000)

    /// What is wrong with a row; nil: nothing.
    static func problem(_ body: () throws(RowProblem) -> Void) -> String? {
        do throws(RowProblem) {
            try body()
            return nil
        } catch {
            return error.description
        }
    }

    @Test(
        "instants are read with and without a zone",
        arguments: [
            ("2025-11-02 03:04:05.123456+00", "2025-11-02T03:04:05.123456+00:00"),
            ("2025-11-02 03:04:05", "2025-11-02T03:04:05.000000+00:00"),
            ("2025-11-02T03:04:05+02:00", "2025-11-02T01:04:05.000000+00:00"), ("infinity", nil), ("", nil),
        ] as [(String, String?)])
    func instants(text: String, expected: String?) throws {
        #expect(try OldRow(["at": text]).instant("at")?.description == expected)
    }

    @Test("what cannot be read is a problem, never a guess")
    func problems() {
        let row = OldRow(["at": "yesterday", "flag": "perhaps", "n": "1.5", "x": "NaN", "big": "1e60"])
        #expect(Self.problem { () throws(RowProblem) in _ = try row.instant("at") } != nil)
        #expect(Self.problem { () throws(RowProblem) in _ = try row.flag("flag") } != nil)
        #expect(Self.problem { () throws(RowProblem) in _ = try row.count("n") } != nil)
        #expect(Self.problem { () throws(RowProblem) in _ = try row.figure("x", fractionDigits: 9) } != nil)
        #expect(Self.problem { () throws(RowProblem) in _ = try row.figure("big", fractionDigits: 9) } != nil)
        #expect(Self.problem { () throws(RowProblem) in _ = try row.required("absent") } != nil)
        #expect(Self.problem { () throws(RowProblem) in _ = try row.instant("absent") } == nil)
    }

    @Test(
        "metadata are a JSON object or nothing",
        arguments: [
            ("{\"a\": [1, 2.50]}", "{\"a\":[1,2.50]}"), ("null", "{}"), ("", "{}"), ("[1]", nil), ("{\"a\": NaN}", nil),
            ("{", nil),
        ] as [(String, String?)])
    func metadata(text: String, expected: String?) {
        #expect(OldRow(["metadata": text]).metadata() == expected)
    }

    @Test("a key keeps its id, its hash and its times")
    func key() throws {
        let hash = String(repeating: "0aF9", count: 16)
        let row = OldRow([
            "id": "k", "key_hash": hash, "user_id": "alice", "is_active": "f", "created_at": "2025-01-01 00:00:00",
            "last_used_at": "2025-02-01 00:00:00+00",
        ])
        let key = try APIKey(row, now: Self.now)
        let pair: [UInt8] = [0x0A, 0xF9]
        #expect(key.hash == Array(repeating: pair, count: 16).flatMap { $0 })
        #expect(!key.isActive && key.expiresAt == nil)
        #expect(key.lastUsedAt == Timestamp(iso8601: "2025-02-01"))
        for bad in ["", "0af9", hash + "00", String(hash.dropLast()) + "g"] {
            let row = OldRow(["id": "k", "key_hash": bad, "user_id": "alice"])
            #expect(Self.problem { () throws(RowProblem) in _ = try APIKey(row, now: Self.now) } != nil, "\(bad)")
        }
    }

    @Test("a price is rounded to micro-USD, and its model named provider:model")
    func price() throws {
        let row = OldRow([
            "model_key": "openai/gpt-5", "input_price_per_million": "0.15000000000000002",
            "output_price_per_million": "1e-07", "cached_price_per_million": "0.0750005",
        ])
        let old = try OldPrice(row)
        #expect(old.model == "openai:gpt-5")
        #expect(old.price == Price(input: 150_000, output: 0, cached: 75_001))
        #expect(old.figures.allSatisfy { !$0.figure.isExact } && old.figures.count == 3)
        let free = OldRow(["model_key": "m:m", "input_price_per_million": "-1", "output_price_per_million": "1"])
        #expect(Self.problem { () throws(RowProblem) in _ = try OldPrice(free) } != nil)
    }

    @Test("a plan is set where a plan here can say the same")
    func plan() throws {
        let row = ["name": "PRO", "price_usd": "29.99", "monthly_credits": "300.5", "credits_per_usd": "12.5"]
        #expect(
            try Plan(OldRow(row))
                == Plan(
                    name: "PRO", microUSD: 29_990_000, rate: try #require(CreditRate(microsPerUSD: 12_500_000)),
                    cycleCredits: Credits(nanos: 300_500_000_000)))
        let free = try Plan(OldRow(["name": "TRIAL", "monthly_credits": "3.0", "renew_interval_days": "7"]))
        #expect(free.topUpTo == Credits(whole: 3) && free.cycleCredits == .zero && free.cycleSeconds == 604_800)
        for (column, value) in [
            ("monthly_bonus_credits", "1"), ("price_usd", "0.1234567"), ("credits_per_usd", "0"),
            ("renew_interval_days", "0"), ("monthly_credits", "-1"),
        ] {
            let odd = OldRow(row.merging([column: value]) { $1 })
            #expect(Self.problem { () throws(RowProblem) in _ = try Plan(odd) } != nil, "\(column)")
        }
    }

    @Test("usage keeps no message of an error")
    func usage() throws {
        let row = OldRow([
            "id": "u-1", "user_id": "alice", "timestamp": "2025-03-01 00:00:00", "provider": "openai", "model": "gpt-5",
            "endpoint": "/v1/chat/completions", "status": "error", "error_message": "bob@example.org is unknown",
            "prompt_tokens": "12",
        ])
        let old = try OldUsage(row, cost: .zero(fractionDigits: 12))
        #expect(old.command.usage.error == "error")
        #expect(
            old.command.usage.origin
                == RequestOrigin(
                    model: "openai:gpt-5", keyID: nil, endpoint: "/v1/chat/completions"))
        #expect(old.command.usage.promptTokens == 12 && old.command.usage.completionTokens == 0)
        #expect(old.command.at == Timestamp(iso8601: "2025-03-01"))
    }
}

@Suite("Opening balances")
struct OpeningBalanceTests {
    static func row(_ id: String, _ amount: String, pool: String = "ADDON", expires: String = "") -> OldRow {
        OldRow(["id": id, "user_id": "alice", "pool_type": pool, "amount": amount, "expires_at": expires])
    }

    @Test("every row is granted under its own key; what has expired is named and left")
    func rows() throws {
        let balance = OpeningBalance(
            [
                Self.row("1", "9.999999999999998"), Self.row("2", "20.0", pool: "BONUS"),
                Self.row("3", "5.5", pool: "SUBSCRIPTION", expires: "2026-06-01 00:00:00"),
                Self.row("4", "7", expires: "2026-01-01 00:00:00"), Self.row("5", "1e-10"),
            ], now: OldRowTests.now)
        let grants = balance.parts.compactMap { part -> GrantCredits? in
            if case .grant(let grant) = part.command.action { grant } else { nil }
        }
        #expect(grants.map(\.key) == ["import:balance:1", "import:balance:2", "import:balance:3"])
        #expect(grants.map(\.pool) == [.topup, .bonus, .subscription])
        #expect(grants.map(\.amount.description) == ["10", "20", "5.5"])
        #expect(grants.map(\.expiresAt) == [nil, nil, Timestamp(iso8601: "2026-06-01")])
        #expect(grants.allSatisfy { $0.source == .openingBalance && $0.actor == "import" })
        #expect(balance.notes.map(\.kind) == [.rounded, .expired, .rounded])
        #expect(balance.balance.description == "35.500000000099998")
        #expect(balance.rounding.description == "-0.000000000099998")
        #expect(balance.expiredRows == ["4"] && balance.rows.count == 5)
    }

    @Test("a row below zero is withdrawn from the others, for as far as they cover it")
    func belowZero() throws {
        let balance = OpeningBalance(
            [Self.row("1", "-2"), Self.row("2", "5"), Self.row("3", "-4")], now: OldRowTests.now)
        let amounts = balance.parts.map { part -> String in
            switch part.command.action {
            case .grant(let grant): "\(part.row) \(grant.amount)"
            case .adjust(let adjustment): "\(part.row) \(adjustment.amount)"
            default: "another command"
            }
        }
        #expect(amounts == ["2 5", "1 -2", "3 -3"])
        #expect(balance.notes.map(\.kind) == [.skipped])
        #expect(balance.notes.first?.detail.contains("a debt of 1 credits") == true)
        #expect(balance.balance.description == "-1")
    }

    @Test("rows that cannot be read are named, and still belong to the old sum where they have an amount")
    func unreadable() {
        let balance = OpeningBalance(
            [Self.row("1", "NaN"), Self.row("2", "3", pool: "GIFT"), Self.row("3", "4", expires: "soon")],
            now: OldRowTests.now)
        #expect(balance.parts.isEmpty)
        #expect(balance.notes.map(\.kind) == [.skipped, .skipped, .skipped])
        #expect(balance.balance.description == "3")
    }
}

@Suite("The report of an import")
struct ImportReportTests {
    /// Collects what is written.
    final class Output {
        var bytes: [UInt8] = []
        var text: String { String(decoding: bytes, as: UTF8.self) }
    }

    static func report(_ format: ReportFormat, _ reconciliation: Reconciliation, _ notes: [ImportNote]) -> (
        Bool, String
    ) {
        let output = Output()
        let report = ImportReport(format) { output.bytes += $0 }
        report.begin(from: "sqlite:///old.db", ledger: "ledger.sqlite")
        for note in notes { report.note(note) }
        let isReconciled = report.end(
            reconciliation, tables: [.users: ImportTally(imported: 1, present: 2, skipped: 0)], newEvents: 3)
        return (isReconciled, output.text)
    }

    /// An account whose rows came to a number that had to be rounded.
    static func rounded() throws -> Reconciliation {
        var reconciliation = Reconciliation()
        let alice = try #require(AccountID(rawValue: "alice"))
        reconciliation[alice].oldBalance = try #require(ExactDecimal("9.9999999999"))
        reconciliation[alice].balanceRounding = try #require(ExactDecimal("1e-10"))
        reconciliation[alice].importedNanos = 10_000_000_000
        return reconciliation
    }

    @Test("roundings that explain a difference reconcile it")
    func reconciled() throws {
        let note = ImportNote(
            .rounded, .balances, row: "7", account: "alice", detail: "",
            rounding: ImportNote.Rounding(
                column: "amount", try #require(try OldRow(["x": "9.9999999999"]).figure("x", fractionDigits: 9))))
        let (isReconciled, text) = Self.report(.text, try Self.rounded(), [note])
        #expect(isReconciled)
        #expect(text.contains("rounded  credit_balances 7 (alice): amount 9.9999999999 became 10\n"))
        #expect(text.contains("account  alice: 9.9999999999 credits there, 10 imported, rounded by 0.0000000001;"))
        #expect(text.hasSuffix("reconciled\n"))
    }

    @Test("what no rounding explains is a difference")
    func different() throws {
        var reconciliation = try Self.rounded()
        reconciliation[nil].oldUsageRows = 1
        let skipped = ImportNote(.skipped, .usage, row: "9", detail: "it has no\nuser_id")
        let (isReconciled, text) = Self.report(.text, reconciliation, [skipped])
        #expect(!isReconciled)
        #expect(text.contains("skipped  usage_logs 9: it has no user_id\n"))
        #expect(text.hasSuffix("NOT RECONCILED: 1 rows differ, 1 accounts differ\n"))
    }

    @Test("as JSON it is one document")
    func json() throws {
        let skipped = ImportNote(.skipped, .usage, row: "9", detail: "a \"quoted\" text")
        let expired = ImportNote(.expired, .balances, row: "1", account: "alice", detail: "5 credits")
        let (isReconciled, text) = Self.report(.json, try Self.rounded(), [skipped, expired])
        let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(object["reconciled"] as? Bool == isReconciled)
        #expect((object["notes"] as? [Any])?.count == 2)
        #expect((object["accounts"] as? [[String: Any]])?.first?["credits_imported"] as? String == "10")
        #expect((object["total"] as? [String: Any])?["credits_unexplained"] as? String == "0")
    }
}
