import Foundation
import GRDB
import Ledger
import LedgerSQLite
import Projections
import Testing

@testable import Auditing

/// Whatever is altered in a ledger, `replay verify` finds it.
@Suite("Tampering")
struct TamperTests {
    /// A ledger with every kind of event that a request leads to, closed.
    static func makeLedger() async throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tamper-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let path = folder.appending(path: "ledger.sqlite").path
        let ledger = try SQLiteLedger(path: path)
        var configuration = LedgerWriter.Configuration()
        configuration.snapshotInterval = 4
        let writer = try LedgerWriter(
            store: ledger, configuration: configuration, clock: { Timestamp(microseconds: 1_767_225_600_000_000) })
        for plan in Plan.standard { _ = try await writer.submit(.setPlan(SetPlan(plan: plan))) }
        let price = try #require(Price(input: 1_000_000, output: 2_000_000))
        _ = try await writer.submit(.setPrice(SetPrice(model: "up:model", price: price, actor: "test")))
        for name in ["alice", "bob"] {
            let account = try #require(AccountID(rawValue: name))
            _ = try await writer.submit(Command(account: account, action: .open(plan: "FREE")))
            let amount = try #require(Credits(decimal: "10"))
            _ = try await writer.submit(
                Command(
                    account: account,
                    action: .grant(GrantCredits(key: "g:\(name)", pool: .bonus, source: .signupBonus, amount: amount))))
            let limits = UseLimits(perDay: amount, total: amount)
            _ = try await writer.submit(
                Command(
                    account: account,
                    action: .setLimits(SetLimits(scope: .account, limits: limits, actor: "test"))))
            for number in 1...3 {
                let request = try #require(RequestID(rawValue: "req_\(name)_\(number)"))
                let origin = RequestOrigin(model: "up:model", keyID: "key", endpoint: "/v1/chat/completions")
                let hold = PlaceHold(request: request, origin: origin, promptBound: 100, outputPerChoice: 100)
                _ = try await writer.submit(Command(account: account, action: .placeHold(hold)))
                let usage = try #require(Usage(prompt: 50, completion: 60))
                let action: Command.Action =
                    number == 3
                    ? .releaseHold(ReleaseHold(request: request, reason: .upstreamFailed))
                    : .charge(ChargeRequest(request: request, outcome: .finished, report: UsageReport(usage: usage)))
                _ = try await writer.submit(Command(account: account, action: action))
            }
            let payment = try #require(PaymentID(rawValue: "test:\(name)"))
            let pay = RecordPayment(payment: payment, purchase: .cycle(plan: "BASIC"), actor: "test")
            _ = try await writer.submit(Command(account: account, action: .pay(pay)))
            let request = try #require(RequestID(rawValue: "req_\(name)_1"))
            let reversal = ReverseCharge(key: "r:\(name)", request: request, reason: "broken", actor: "test")
            _ = try await writer.submit(Command(account: account, action: .reverse(reversal)))
        }
        let follower = UsageFollower(events: ledger, usage: SQLiteUsage(ledger))
        while try follower.step() > 0 {}
        await writer.close()
        try ledger.close()
        return folder
    }

    static func verify(_ path: String, _ expected: String? = nil) throws -> Verification {
        var options = Verification.Options()
        options.expectedHead = expected.flatMap { text in
            let parts = text.split(separator: ":")
            return Int64(parts[0]).map { ($0, String(parts[1])) }
        }
        return try Verification.run(LedgerFile(path: path), options)
    }

    /// Runs SQL on a copy, with the guards of the database taken away, and gives what verify finds apart from their absence.
    static func tampered(_ folder: URL, _ sql: String, _ arguments: StatementArguments = []) throws -> [Finding] {
        let copy = folder.appending(path: "copy-\(UUID().uuidString).sqlite")
        try FileManager.default.copyItem(at: folder.appending(path: "ledger.sqlite"), to: copy)
        defer { try? FileManager.default.removeItem(at: copy) }
        let queue = try DatabaseQueue(path: copy.path)
        try queue.write { db in
            for name in try String.fetchAll(db, sql: "SELECT name FROM sqlite_master WHERE type = 'trigger'") {
                try db.execute(sql: "DROP TRIGGER \(name)")
            }
            try db.execute(sql: "DROP INDEX events_by_account")
            try db.execute(sql: "DROP INDEX events_by_key")
            try db.execute(sql: sql, arguments: arguments)
        }
        try queue.close()
        let result = try verify(copy.path)
        let findings = result.findings
        #expect(findings.contains { $0.check == .schema } || result.unreported > 0)
        return findings.filter { $0.check != .schema }
    }

    @Test("a flipped byte in any column of any event is found, and the first bad event is named")
    func flipped() async throws {
        let folder = try await Self.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        let sound = try Self.verify(path)
        #expect(sound.isSound, "\(sound.findings)")
        #expect(sound.accounts == 2 && sound.events == 29)
        let rows = try DatabaseQueue(path: path).read { db in
            try Row.fetchAll(db, sql: "SELECT position, account, type, key, data, hash FROM events")
        }
        for row in rows {
            let position: Int64 = row["position"]
            for column in ["account", "type", "key", "data", "hash"] {
                let bytes: Data = row[column]
                for index in column == "data" ? Set([0, bytes.count / 2, bytes.count - 1]) : [bytes.count / 2] {
                    var changed = bytes
                    changed[changed.startIndex + index] ^= 1
                    let value: any DatabaseValueConvertible =
                        column == "hash" ? changed : String(decoding: changed, as: UTF8.self)
                    let result = try Self.tampered(
                        folder, "UPDATE events SET \(column) = ? WHERE position = ?", [value.databaseValue, position])
                    let first = try #require(result.compactMap(\.position).min(), "\(column) of \(position)")
                    #expect(first <= position + 1, "\(column) of \(position): \(result)")
                }
            }
            for column in ["version", "recorded_at", "effective_at"] {
                let result = try Self.tampered(
                    folder, "UPDATE events SET \(column) = \(column) + 1 WHERE position = ?", [position])
                #expect(!result.isEmpty, "\(column) of \(position)")
            }
        }
    }

    @Test(
        "rows that are deleted, exchanged, or changed in a projection are found",
        arguments: [
            "DELETE FROM events WHERE position = 10", "DELETE FROM events WHERE position = 1",
            "UPDATE events SET position = position + 1000 WHERE position >= 12",
            "UPDATE balances SET balance = balance + 1 WHERE account = 'bob'",
            "DELETE FROM balances WHERE account = 'bob'",
            "UPDATE grants SET remaining = remaining - 1 WHERE account = 'alice'",
            "DELETE FROM grants WHERE account = 'alice'",
            "INSERT INTO grants VALUES ('carol', 1, 'BONUS', 'PURCHASE', 5, 5, NULL, 0)",
            "UPDATE usage_log SET credits = credits + 1 WHERE account = 'bob'",
            "DELETE FROM usage_log WHERE position = (SELECT min(position) FROM usage_log)",
            "UPDATE usage_log SET reversed = 0", "UPDATE usage_days SET requests = requests + 1",
            "DELETE FROM usage_days", "DELETE FROM usage_days WHERE account = 'bob'",
            "INSERT INTO usage_days SELECT 'carol', day, model, requests, errors, prompt_tokens, cached_tokens, completion_tokens, cost_pico_usd, credits FROM usage_days LIMIT 1",
            "UPDATE usage_days SET cost_pico_usd = '1e3'", "UPDATE usage_log SET cost_pico_usd = cost_pico_usd || '0'",
            "UPDATE usage_log SET key_id = NULL", "UPDATE usage_log SET detail = 'other'",
            "UPDATE snapshots SET state = replace(state, '\"debt\":0', '\"debt\":5')",
            "UPDATE snapshots SET state = '{}'", "UPDATE snapshots SET format = 99",
            "UPDATE snapshots SET version = version + 1", "UPDATE snapshots SET version = version - 1",
            "UPDATE snapshots SET version = 1000", "UPDATE snapshots SET account = 'carol' WHERE account = 'bob'",
            "INSERT INTO balances SELECT 'carol', version, plan, blocked, opened_at, balance, debt, held, open_holds, granted, expired, charged, reversed, withdrawn FROM balances LIMIT 1",
            "UPDATE checkpoints SET position = 1000",
            "UPDATE cycles SET ends_at = ends_at + 1 WHERE account = 'bob'", "UPDATE cycles SET due_at = due_at - 1",
            "UPDATE cycles SET payment = NULL", "UPDATE cycles SET next_plan = 'BASIC'", "DELETE FROM cycles",
            "UPDATE cycles SET account = 'carol' WHERE account = 'bob'",
            "UPDATE spending SET state = replace(state, '\"spent\":', '\"spent\":1')", "DELETE FROM spending",
            "INSERT INTO spending VALUES ('carol', '', '{}')",
            "UPDATE payments SET refunded_credits = 1", "UPDATE payments SET grant_id = NULL", "DELETE FROM payments",
            "INSERT INTO payments SELECT 'carol', payment, purchase, plan, credits, micro_usd, recorded_at, grant_id, 0, 0 FROM payments LIMIT 1",
        ])
    func altered(sql: String) async throws {
        let folder = try await Self.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        #expect(try !Self.tampered(folder, sql).isEmpty)
    }

    /// Whoever can write the file can also make its tables anew, without the types that the schema promises.
    @Test(
        "tables without types that hold anything at all lead to findings and not to a crash",
        arguments: [
            "balances", "grants", "cycles", "payments", "spending", "snapshots", "checkpoints", "usage_log",
            "usage_days", "events",
        ])
    func untyped(table: String) async throws {
        let folder = try await Self.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        let columns = try await DatabaseQueue(path: path).read { db in try db.columns(in: table).map(\.name) }
        for value in ["NULL", "'text'", "x'FF00'", "1.5", "-1"] {
            for column in columns {
                let changed = columns.map { $0 == column ? "\(value) AS \($0)" : $0 }.joined(separator: ", ")
                // Some are findings, some make the file unusable, and a zero that became NULL reads as what it was: that the table is
                // not ours is a finding each time, which `tampered` sees to.
                _ = try? Self.tampered(
                    folder,
                    "ALTER TABLE \(table) RENAME TO old; CREATE TABLE \(table) AS SELECT \(changed) FROM old; DROP TABLE old"
                )
            }
        }
    }

    @Test(
        "an instant that no clock has said is a finding at once, wherever it stands, and nothing else reads it",
        arguments: [Int64.max, .max - 1, .min, .min + 1, 253_402_387_200_000_001, -62_167_305_600_000_001])
    func instants(microseconds: Int64) async throws {
        let folder = try await Self.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        for column in ["recorded_at", "effective_at"] {
            for position in [3, 12, 29] {
                let findings = try Self.tampered(
                    folder, "UPDATE events SET \(column) = ? WHERE position = ?", [microseconds, position])
                #expect(
                    findings.contains { $0.check == .encoding && $0.position == Int64(position) },
                    "\(column) of \(position): \(findings)")
            }
        }
        let path = folder.appending(path: "ledger.sqlite").path
        let queue = try DatabaseQueue(path: path)
        try await queue.write { db in
            for name in try String.fetchAll(db, sql: "SELECT name FROM sqlite_master WHERE type = 'trigger'") {
                try db.execute(sql: "DROP TRIGGER \(name)")
            }
            try db.execute(sql: "UPDATE events SET recorded_at = ? WHERE position = 29", arguments: [microseconds])
        }
        try queue.close()
        let file = try LedgerFile(path: path)
        let account = try #require(
            try file.snapshot { try $0.event(at: 28)?.event.account })
        for id in [account, try #require(AccountID(rawValue: "alice"))] {
            _ = try? file.reading(of: id, now: Timestamp(microseconds: 1_800_000_000_000_000))
        }
        #expect(throws: (any Error).self) {
            var exporter = try Exporter(file, ExportOrder(.rollForward(.csv)))
            while try exporter.next() != nil {}
        }
    }

    @Test(
        "a table that is not there is named, and the ledger is not sound",
        arguments: Verification.tables.flatMap(\.tables))
    func dropped(table: String) async throws {
        let folder = try await Self.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        let queue = try DatabaseQueue(path: path)
        try await queue.write { try $0.execute(sql: "PRAGMA foreign_keys = OFF; DROP TABLE \(table)") }
        try queue.close()
        let result = try Self.verify(path)
        #expect(!result.isSound)
        #expect(
            result.findings.contains { $0.check == .schema && $0.detail.contains("'\(table)'") }, "\(result.findings)")
    }

    /// The index is made as one of fewer rows, and then called one of all: SQLite itself keeps an index and its table together.
    @Test(
        "an index that lacks a row is found, and who reads by it is not told a wrong figure",
        arguments: [
            ("events_by_account", "position <> 12"), ("events_by_key", "position <> 12"),
            ("usage_log_by_request", "account <> 'bob'"), ("usage_log_by_time", "account <> 'bob'"),
            ("cycles_by_due", "account <> 'bob'"),
        ])
    func indexes(name: String, rows: String) async throws {
        let folder = try await Self.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        try await Self.replaceIndex(name, in: path) { "\($0) WHERE \(rows)" }
        let account = try LedgerFile(path: path).snapshot { try $0.event(at: 12)?.event.account }
        for jobs in [1, 2] {
            var options = Verification.Options()
            options.jobs = jobs
            let findings = try Verification.run(LedgerFile(path: path), options).findings
            #expect(findings.map(\.check).contains(.index), "\(findings)")
        }
        guard name == "events_by_account" else { return }
        let id = try #require(account)
        let now = Timestamp(microseconds: 1_800_000_000_000_000)
        #expect(throws: StoreError.self) { try LedgerFile(path: path).reading(of: id, now: now) }
        #expect(throws: StoreError.self) {
            try LedgerFile(path: path).statement(
                of: id, from: Timestamp(microseconds: 0), until: now, now: now)
        }
    }

    /// Makes an index of another definition, and calls it what it was.
    static func replaceIndex(_ name: String, in path: String, _ changed: @escaping @Sendable (String) -> String)
        async throws
    {
        let queue = try DatabaseQueue(path: path)
        try await queue.writeWithoutTransaction { db in
            let definition = try #require(
                try String.fetchOne(db, sql: "SELECT sql FROM sqlite_master WHERE name = ?", arguments: [name]))
            try db.execute(sql: "DROP INDEX \(name)")
            try db.execute(sql: changed(definition))
            try db.execute(sql: "PRAGMA writable_schema = ON")
            try db.execute(sql: "UPDATE sqlite_master SET sql = ? WHERE name = ?", arguments: [definition, name])
        }
        try queue.close()
    }

    @Test(
        "an index that has every row, in another order, is found: nothing is found by it",
        arguments: LargeIndex.allCases)
    func order(index: LargeIndex) async throws {
        let folder = try await Self.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        try await Self.replaceIndex(index.rawValue, in: path) { definition in
            definition.replacingOccurrences(of: "(account", with: "(account DESC")
                .replacingOccurrences(of: "(key", with: "(key DESC")
                .replacingOccurrences(of: "(request", with: "(request DESC")
        }
        let findings = try Self.verify(path).findings
        #expect(
            findings.contains { $0.check == .index && $0.detail.contains("'\(index.rawValue)' is not in its order") },
            "\(findings)")
    }

    @Test(
        "what is wrong with the usage log is told of the request that it is about, however many threads there are",
        arguments: [
            ("UPDATE usage_log SET credits = credits + 1 WHERE position = $", "row differs from the event"),
            ("UPDATE usage_log SET key_id = NULL WHERE position = $", "row differs from the event"),
            ("UPDATE usage_log SET model = model || 'x' WHERE position = $", "row differs from the event"),
            (
                "UPDATE usage_log SET cost_pico_usd = '0' || cost_pico_usd WHERE position = $",
                "row differs from the event"
            ),
            ("UPDATE usage_log SET request = 'req_other' WHERE position = $", "row differs from the event"),
            ("DELETE FROM usage_log WHERE position = $", "lacks the request"),
            ("UPDATE usage_log SET position = 1 WHERE position = $", "has a row of no request at 1"),
            ("UPDATE usage_log SET reversed = 5 WHERE position = $", "reverses other requests"),
        ])
    func usageLog(sql: String, detail: String) async throws {
        let folder = try await Self.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        let queue = try DatabaseQueue(path: path)
        // Bob's second charge: nothing of it was given back.
        let position = try await queue.write { db in
            let position = try #require(
                try Int64.fetchOne(db, sql: "SELECT position FROM usage_log WHERE request = 'req_bob_2'"))
            try db.execute(sql: sql.replacingOccurrences(of: "$", with: "\(position)"))
            return position
        }
        try queue.close()
        for jobs in [1, 2, 3] {
            var options = Verification.Options()
            options.jobs = jobs
            let findings = try Verification.run(LedgerFile(path: path), options).findings
            let found = findings.first { $0.detail.contains(detail) }
            #expect(found?.check == .projection, "\(jobs): \(findings)")
            if detail.contains("differs") || detail.contains("lacks") {
                #expect(found?.position == position && found?.account == "bob", "\(jobs): \(findings)")
            }
        }
    }

    @Test("a guard that was taken away, or one that was slipped in, is found, and a rebuilt ledger has all of them")
    func guards() async throws {
        let folder = try await Self.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        let ledger = try SQLiteLedger(path: path)
        _ = try ledger.rebuildProjections { _ in }
        try ledger.close()
        #expect(try Self.verify(path).findings == [])
        for sql in [
            "DROP TRIGGER events_are_never_deleted", "DROP INDEX usage_log_by_request",
            "CREATE TRIGGER t AFTER INSERT ON events BEGIN UPDATE balances SET balance = balance + 1; END",
        ] {
            let copy = folder.appending(path: "copy.sqlite").path
            try FileManager.default.copyItem(atPath: path, toPath: copy)
            let queue = try DatabaseQueue(path: copy)
            try await queue.write { try $0.execute(sql: sql) }
            try queue.close()
            #expect(try Self.verify(copy).findings.map(\.check) == [.schema], "\(sql)")
            try FileManager.default.removeItem(atPath: copy)
        }
    }

    @Test("a truncated history does not meet a head that was kept")
    func truncated() async throws {
        let folder = try await Self.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        let head = try Self.verify(path).head
        let kept = "\(head.position):\(head.hash)"
        #expect(try Self.verify(path, kept).isSound)
        let queue = try DatabaseQueue(path: path)
        try await queue.write { db in
            try db.execute(sql: "DROP TRIGGER events_are_never_deleted")
            try db.execute(sql: "DELETE FROM events WHERE position = ?", arguments: [head.position])
        }
        try queue.close()
        #expect(try Self.verify(path, kept).findings.contains { $0.check == .checkpoint })
    }

    /// Money made from nothing by somebody who can compute hashes: the chain is whole, and the rules are not.
    @Test("a history with a right chain and a wrong decision is found")
    func forged() async throws {
        let folder = try await Self.makeLedger()
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "ledger.sqlite").path
        let queue = try DatabaseQueue(path: path)
        try await queue.write { db in
            for name in try String.fetchAll(db, sql: "SELECT name FROM sqlite_master WHERE type = 'trigger'") {
                try db.execute(sql: "DROP TRIGGER \(name)")
            }
            var previous = EventHash.genesis
            var buffer: [UInt8] = []
            for row in try Row.fetchAll(db, sql: "SELECT * FROM events ORDER BY position") {
                let data = (row["data"] as String).replacingOccurrences(
                    of: "\"credits\":1700000", with: "\"credits\":1600000")
                let account = try #require(AccountID(anyStream: row["account"]))
                let event = try LedgerEvent(type: row["type"], data: Array(data.utf8))
                let recorded = RecordedEvent(
                    position: row["position"], account: account, version: row["version"],
                    recordedAt: Timestamp(microseconds: row["recorded_at"]),
                    effectiveAt: Timestamp(microseconds: row["effective_at"]), key: row["key"], event: event)
                let encoded = EncodedEvent(recorded, after: previous, buffer: &buffer)
                previous = encoded.hash
                try db.execute(
                    sql: "UPDATE events SET data = ?, hash = ? WHERE position = ?",
                    arguments: [data, Data(encoded.hash.bytes), recorded.position])
            }
        }
        try queue.close()
        let findings = try Self.verify(path).findings
        #expect(findings.first?.check == .rule, "\(findings)")
        #expect(!findings.contains { $0.check == .hash })
        #expect(findings.first?.account == "alice")
    }
}
