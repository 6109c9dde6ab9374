import CFaultyDisk
import Foundation
import GRDB
import Ledger
import Projections
import Synchronization
import Testing

@testable import LedgerSQLite

@Suite("The writer")
struct WriterTests {
    @Test("the same key answers what it answered before, also after a restart; other content is refused")
    func idempotent() async throws {
        let store = try TestStore()
        let first = try await store.withWriter { writer, _ in
            try await writer.prepare([.alice])
            return try await writer.submit(writer.grant(.alice, "5", "topup:1"))
        }
        try await store.withWriter { writer, ledger in
            let head = try ledger.head()
            let again = try await writer.submit(writer.grant(.alice, "5", "topup:1"))
            #expect(again.event == first.event)
            #expect(again.isRepeat && !first.isRepeat)
            await #expect(throws: LedgerError.refused(.keyReused(key: "topup:1"))) {
                try await writer.submit(writer.grant(.alice, "6", "topup:1"))
            }
            #expect(try ledger.head() == head)
        }
    }

    @Test("a hold that is repeated answers what it answered, also when settled, and when no credits are left")
    func repeatedHold() async throws {
        let store = try TestStore()
        try await store.withWriter { writer, ledger in
            try await writer.prepare([.alice], credits: "1")
            let first = try await writer.submit(writer.hold(.alice, 1, output: 50_000))
            let open = try await writer.submit(writer.hold(.alice, 1, output: 50_000))
            #expect(open.event == first.event && open.isRepeat)
            _ = try await writer.submit(try writer.charge(.alice, 1, completion: 50_000))
            let head = try ledger.head()
            let settled = try await writer.submit(writer.hold(.alice, 1, output: 50_000))
            #expect(settled.event == first.event && settled.isRepeat)
            _ = try await writer.submit(writer.grant(.alice, "5", "more"))
            let covered = try await writer.submit(writer.hold(.alice, 1, output: 50_000))
            #expect(covered.event == first.event && covered.isRepeat)
            await #expect(throws: LedgerError.refused(.keyReused(key: "hold:\(RequestID.number(1))"))) {
                try await writer.submit(writer.hold(.alice, 1, output: 49_999))
            }
            #expect(try ledger.head().position == head.position + 1)
            #expect(try ledger.openHolds().isEmpty)
        }
    }

    @Test("50 at once with credits for one: one is admitted")
    func oneOfMany() async throws {
        let store = try TestStore()
        try await store.withWriter { writer, _ in
            try await writer.prepare([.alice], credits: "1")
            let admitted = await withTaskGroup(of: Bool.self) { group in
                for number in 0..<50 {
                    group.addTask { (try? await writer.submit(writer.hold(.alice, number, output: 50_000))) != nil }
                }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(admitted == 1)
        }
    }

    @Test("simultaneous commands share a transaction, and each is durable when it is answered")
    func groupCommit() async throws {
        #expect(faulty_disk_install() == 0)
        let store = try TestStore()
        #expect(faulty_disk_arm(store.folder.path, Int32(FAULTY_DISK_SOUND)) == 0)
        // Two hundred connections that open and close at once can be in each other's way for a moment.
        var patient = Configuration()
        patient.busyMode = .timeout(20)
        let configuration = patient
        try await store.withWriter { writer, ledger in
            let accounts = (0..<200).compactMap { AccountID(rawValue: "account-\($0)") }
            try await writer.prepare(accounts)
            let before = faulty_disk_syncs(store.folder.path)
            await withTaskGroup(of: Void.self) { group in
                for (number, account) in accounts.enumerated() {
                    group.addTask {
                        guard let receipt = try? await writer.submit(writer.hold(account, number, output: 10)),
                            let position = receipt.event?.position
                        else {
                            Issue.record("a hold was refused")
                            return
                        }
                        // On disk, for anybody who opens the file now.
                        do {
                            let reader = try DatabaseQueue(path: store.path, configuration: configuration)
                            let read = try await reader.read { db in
                                try Int64.fetchOne(
                                    db, sql: "SELECT position FROM events WHERE position = ?", arguments: [position])
                            }
                            #expect(read == position)
                        } catch {
                            Issue.record("the file cannot be read: \(error)")
                        }
                    }
                }
            }
            let syncs = faulty_disk_syncs(store.folder.path) - before
            #expect(syncs < 200, "200 commands took \(syncs) syncs")
            #expect(try ledger.openHolds().count == 200)
        }
    }

    @Test("a full queue refuses, but never a settlement")
    func queueFull() async throws {
        let store = try TestStore()
        var small = LedgerWriter.Configuration()
        small.queueLimit = 1
        small.batchLimit = 1
        try await store.withWriter(small) { writer, _ in
            try await writer.prepare([.alice])
            for number in 0..<20 { _ = try await writer.submit(writer.hold(.alice, number, output: 10)) }
            let (charged, refused) = await withTaskGroup(of: (charged: Int, refused: Int).self) { group in
                for number in 0..<20 {
                    group.addTask {
                        let charge = try? await writer.submit(try writer.charge(.alice, number, completion: 1))
                        return (charge == nil ? 0 : 1, 0)
                    }
                }
                for number in 20..<220 {
                    group.addTask {
                        do {
                            _ = try await writer.submit(writer.hold(.alice, number, output: 10))
                            return (0, 0)
                        } catch {
                            #expect(error as? LedgerError == .queueFull)
                            return (0, 1)
                        }
                    }
                }
                return await group.reduce((0, 0)) { ($0.0 + $1.charged, $0.1 + $1.refused) }
            }
            #expect(charged == 20)
            #expect(refused > 0)
        }
    }

    @Test("an account is folded from its snapshot, and comes out the same")
    func snapshots() async throws {
        let store = try TestStore()
        var eager = LedgerWriter.Configuration()
        eager.snapshotInterval = 10
        eager.cachedAccounts = 2
        try await store.withWriter(eager) { writer, _ in
            try await writer.prepare([.alice, .bob])
            for number in 0..<40 {
                let account: AccountID = number.isMultiple(of: 2) ? .alice : .bob
                _ = try await writer.submit(writer.hold(account, number, output: 10))
                _ = try await writer.submit(try writer.charge(account, number, completion: 5))
            }
        }
        let snapshots = try await DatabaseQueue(path: store.path).read { db in
            try Int.fetchOne(db, sql: "SELECT count(*) FROM snapshots WHERE version >= 30")
        }
        #expect(snapshots == 2)
        try await store.withWriter(eager) { writer, _ in
            let receipt = try await writer.submit(writer.grant(.alice, "1", "last"))
            #expect(receipt.balance == Credits(decimal: "10.998"))
        }
    }

    @Test("recorded time never goes back, whatever the clock does")
    func clock() async throws {
        let store = try TestStore()
        try await store.withWriter { writer, ledger in
            try await writer.prepare([.alice])
            let before = try ledger.head().recordedAt
            store.now = before.advanced(bySeconds: -86_400)
            _ = try await writer.submit(writer.grant(.alice, "1", "later"))
            #expect(try ledger.head().recordedAt == before)
        }
    }

    @Test("holds that a crash left open are released once")
    func interrupted() async throws {
        let store = try TestStore()
        try await store.withWriter { writer, _ in
            try await writer.prepare([.alice])
            for number in 0..<3 { _ = try await writer.submit(writer.hold(.alice, number, output: 50_000)) }
        }
        try await store.withWriter { writer, ledger in
            let released = try await writer.releaseInterruptedHolds()
            #expect(released.count == 3 && released.credits == 3_000_000_000)
            #expect(try await writer.releaseInterruptedHolds().count == 0)
            await #expect(throws: LedgerError.self) {
                try await writer.submit(try writer.charge(.alice, 1, completion: 1))
            }
        }
    }

    @Test("a client's key: once, under way, answered, and other content")
    func requestKeys() async throws {
        let store = try TestStore()
        try await store.withWriter { writer, _ in
            try await writer.prepare([.alice])
            let key = RequestKey(account: .alice, key: "k", bodyHash: Array(repeating: 1, count: 32))
            let other = RequestKey(account: .alice, key: "k", bodyHash: Array(repeating: 2, count: 32))
            func place(_ number: Int) -> PlaceHold? {
                guard case .placeHold(let hold) = writer.hold(.alice, number, output: 10).action else { return nil }
                return hold
            }
            _ = try await writer.admit(try #require(place(1)), account: .alice, key: key)
            await #expect(throws: LedgerError.requestUnderWay(.number(1))) {
                try await writer.admit(try #require(place(2)), account: .alice, key: key)
            }
            await #expect(throws: LedgerError.refused(.keyReused(key: "k"))) {
                try await writer.admit(try #require(place(2)), account: .alice, key: other)
            }
            // A request that used nothing can be tried again.
            let release = ReleaseHold(request: .number(1), reason: .upstreamRefused)
            _ = try await writer.submit(Command(account: .alice, action: .releaseHold(release)))
            _ = try await writer.admit(try #require(place(2)), account: .alice, key: key)
            guard case .charge(let charge) = try writer.charge(.alice, 2, completion: 1).action else { return }
            let answer = PendingAnswer(contentType: "application/json", body: Array("{}".utf8))
            _ = try await writer.charge(charge, account: .alice, key: key, answer: answer)
            do {
                _ = try await writer.admit(try #require(place(3)), account: .alice, key: key)
                Issue.record("it was admitted again")
            } catch LedgerError.requestAnswered(let record) {
                #expect(record.answer?.body == Array("{}".utf8))
                #expect(record.answer?.charged == Credits(nanos: 20_000))
            }
        }
    }
}

@Suite("A failing disk")
struct FaultTests {
    @Test(
        "what cannot be written is not acknowledged, and health is red until it can",
        arguments: [UInt32(FAULTY_DISK_IS_FULL), UInt32(FAULTY_DISK_WRITE_FAILS)])
    func fails(fault: UInt32) async throws {
        #expect(faulty_disk_install() == 0)
        let store = try TestStore()
        try await store.withWriter { writer, ledger in
            try await writer.prepare([.alice])
            let head = try ledger.head()
            #expect(faulty_disk_arm(store.folder.path, Int32(fault)) == 0)
            await #expect(throws: LedgerError.self) { try await writer.submit(writer.grant(.alice, "5", "lost")) }
            guard case .failing = writer.health else {
                Issue.record("health is \(writer.health)")
                return
            }
            #expect(faulty_disk_arm(store.folder.path, Int32(FAULTY_DISK_SOUND)) == 0)
            #expect(try ledger.head() == head)
            // There is room again: the same command works, and so does everything else.
            let receipt = try await writer.submit(writer.grant(.alice, "5", "lost"))
            #expect(!receipt.isRepeat && receipt.balance == Credits(decimal: "15"))
            #expect(writer.health == .healthy)
        }
    }

    @Test("after a failed fsync nothing is written until a restart")
    func syncFails() async throws {
        #expect(faulty_disk_install() == 0)
        let store = try TestStore()
        try await store.withWriter { writer, ledger in
            try await writer.prepare([.alice])
            let head = try ledger.head()
            #expect(faulty_disk_arm(store.folder.path, Int32(FAULTY_DISK_SYNC_FAILS)) == 0)
            await #expect(throws: LedgerError.self) { try await writer.submit(writer.grant(.alice, "5", "lost")) }
            #expect(faulty_disk_arm(store.folder.path, Int32(FAULTY_DISK_SOUND)) == 0)
            guard case .stopped = writer.health else {
                Issue.record("health is \(writer.health)")
                return
            }
            await #expect(throws: LedgerError.stopped) { try await writer.submit(writer.grant(.alice, "5", "lost")) }
            #expect(try ledger.head() == head)
        }
        try await store.withWriter { writer, _ in
            let receipt = try await writer.submit(writer.grant(.alice, "5", "lost"))
            #expect(receipt.balance == Credits(decimal: "15"))
        }
    }
}

@Suite("The store")
struct StoreTests {
    @Test(
        "the database itself refuses to change, delete or replace events, and gaps",
        arguments: [
            "UPDATE events SET data = '{}' WHERE position = 1", "DELETE FROM events WHERE position = 1",
            "DELETE FROM events",
            "INSERT OR REPLACE INTO events SELECT * FROM events WHERE position = 1",
            "INSERT OR REPLACE INTO events SELECT position + 100, account, version + 100, type, recorded_at, effective_at, key || 'x', data, hash FROM events WHERE position = 1",
            "INSERT OR REPLACE INTO events SELECT (SELECT max(position) + 1 FROM events), account, version + 100, type, recorded_at, effective_at, key, data, hash FROM events WHERE position = 1",
            "INSERT OR REPLACE INTO events SELECT (SELECT max(position) + 1 FROM events), account, version, type, recorded_at, effective_at, key || 'x', data, hash FROM events WHERE position = 1",
        ])
    func appendOnly(sql: String) async throws {
        let store = try TestStore()
        try await store.withWriter { writer, _ in try await writer.prepare([.alice]) }
        #expect(throws: DatabaseError.self) {
            try DatabaseQueue(path: store.path).write { try $0.execute(sql: sql) }
        }
    }

    @Test("a ledger has one writer, and the next can have it when the first is closed")
    func oneWriter() async throws {
        let store = try TestStore()
        try await store.withWriter { _, _ in
            #expect(throws: LedgerOpenError.self) { try SQLiteLedger(path: store.path) }
        }
        try await store.withWriter { _, _ in }
    }

    @Test("limits hold however many come at once, across a restart, and a minute's pace within one process")
    func limits() async throws {
        let store = try TestStore()
        let holds: (LedgerWriter, Range<Int>, AccountID) async -> Int = { writer, numbers, account in
            await withTaskGroup(of: Bool.self) { group in
                for number in numbers {
                    group.addTask { (try? await writer.submit(writer.hold(account, number, output: 5_000))) != nil }
                }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
        }
        try await store.withWriter { writer, _ in
            try await writer.prepare([.alice, .bob], credits: "100")
            let day = SetLimits(scope: .account, limits: UseLimits(perDay: Credits(decimal: "1")), actor: "test")
            _ = try await writer.submit(Command(account: .alice, action: .setLimits(day)))
            let pace = SetLimits(scope: .account, limits: UseLimits(requestsPerMinute: 7), actor: "test")
            _ = try await writer.submit(Command(account: .bob, action: .setLimits(pace)))
            // A tenth of a credit each.
            #expect(await holds(writer, 0..<40, .alice) == 10)
            #expect(await holds(writer, 100..<140, .bob) == 7)
            store.now = store.now.advanced(bySeconds: 60)
            #expect(await holds(writer, 200..<240, .bob) == 7)
        }
        try await store.withWriter { writer, _ in
            #expect(await holds(writer, 300..<340, .alice) == 0, "what is held is counted from the disk")
            _ = try await writer.releaseInterruptedHolds()
            #expect(await holds(writer, 400..<440, .alice) == 10)
        }
        let balances = try SQLiteBalances(SQLiteLedger(path: store.path))
        let state = try #require(try await balances.spending(of: .alice)[.account])
        #expect(state.counters[.day]?.held == Credits(decimal: "1"))
    }

    @Test("a ledger of the schema before is brought to this one, and its accounts begin their cycles")
    func migrated() async throws {
        let store = try TestStore()
        try await DatabaseQueue(path: store.path).write { db in
            for migration in Schema.migrations.prefix(2) { try db.execute(sql: migration) }
            try db.execute(sql: "PRAGMA user_version = 2")
            try db.execute(sql: "PRAGMA application_id = \(Schema.applicationID)")
        }
        // What the version before wrote of an account.
        var buffer: [UInt8] = []
        let data = Array(#"{"plan":"FREE","micro_credits_per_usd":10000000}"#.utf8)
        let opened = RecordedEvent(
            position: 1, account: .alice, version: 1, recordedAt: store.now, effectiveAt: store.now,
            key: "open:alice", event: try LedgerEvent(type: "account_opened.v1", data: data))
        let encoded = EncodedEvent(opened, after: .genesis, buffer: &buffer)
        try await DatabaseQueue(path: store.path).write { [hash = encoded.hash.bytes, now = store.now] db in
            try db.execute(
                sql: "INSERT INTO events VALUES (1, 'alice', 1, 'account_opened.v1', ?, ?, 'open:alice', ?, ?)",
                arguments: [now.microseconds, now.microseconds, String(decoding: data, as: UTF8.self), Data(hash)])
            try db.execute(
                sql: "INSERT INTO balances VALUES ('alice', 1, 'FREE', 0, ?, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
                arguments: [now.microseconds])
        }
        store.now = store.now.advanced(bySeconds: 100 * 86_400)
        try await store.withWriter { writer, ledger in
            for plan in Plan.standard { _ = try await writer.submit(.setPlan(SetPlan(plan: plan))) }
            let due = try await SQLiteBalances(ledger).dueAccounts(at: store.now, behind: nil, limit: 10)
            #expect(due.map(\.account) == [.alice])
            let receipt = try await writer.submit(Command(account: .alice, action: .recordDue))
            #expect(receipt.renewals == 1)
            #expect(try await SQLiteBalances(ledger).dueAccounts(at: store.now, behind: nil, limit: 10).isEmpty)
            store.now = store.now.advanced(bySeconds: 30 * 86_400)
            let later = try await writer.submit(Command(account: .alice, action: .recordDue))
            #expect(later.balance == Credits(decimal: "10"))
        }
    }

    @Test("the ordinary tables of a ledger that no newer version has opened yet can be checked", arguments: 2...4)
    func olderTables(version: Int) async throws {
        let store = try TestStore()
        try await DatabaseQueue(path: store.path).write { db in
            for migration in Schema.migrations.prefix(version) { try db.execute(sql: migration) }
            try db.execute(sql: "PRAGMA user_version = \(version)")
            try db.execute(sql: "PRAGMA application_id = \(Schema.applicationID)")
        }
        try LedgerFile(path: store.path).snapshot { view in
            let tables = try view.tables()
            #expect(try view.checkPeople(["users", "api_keys"]).problems.isEmpty)
            #expect(try view.checkMessages(tables.filter { $0 == "deliveries" }).problems.isEmpty)
            #expect(try view.foreignDefinitions().isEmpty)
            #expect(try view.accounts(dueBy: store.now).isEmpty)
        }
    }

    @Test("what waited for a payment provider's message before the change of the schema is found after it")
    func waitingMessages() async throws {
        let store = try TestStore()
        try await DatabaseQueue(path: store.path).write { db in
            for migration in Schema.migrations.prefix(4) { try db.execute(sql: migration) }
            try db.execute(sql: "PRAGMA user_version = 4")
            try db.execute(sql: "PRAGMA application_id = \(Schema.applicationID)")
            try db.execute(
                sql:
                    "INSERT INTO provider_subscriptions VALUES ('shop', '50', 'alice', 'BASIC', 'active', '7', NULL, 9)"
            )
            for (id, notice) in [
                ("a", #"{"kind":"invoice_paid","id":"51","subscription":"50"}"#),
                ("b", #"{"kind":"order_refunded","id":"7"}"#), ("c", "{}"),
            ] {
                try db.execute(
                    sql: "INSERT INTO deliveries VALUES (?, 'shop', 'x', ?, 'waiting', NULL, 1, 1, 1, NULL)",
                    arguments: [id, notice])
            }
        }
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let found = try await directory.waitingDeliveries(
                about: ["subscription:50", "order:7"], of: "shop", limit: 10)
            #expect(found.map(\.id) == ["a", "b"])
            #expect(try await directory.waitingDeliveries(limit: 10).map(\.id) == ["a", "b", "c"])
            let subscription = try #require(try await directory.subscription("50", of: "shop"))
            // Before anything was told, it is the first that was.
            for instant: Int64 in [1, 9, 99] {
                let plan = try await directory.plan(of: subscription, at: Timestamp(microseconds: instant))
                #expect(plan == "BASIC")
            }
        }
    }

    @Test("a newer schema, and what is no ledger, are refused and left as they are")
    func refused() async throws {
        let store = try TestStore()
        try await store.withWriter { _, _ in }
        try await DatabaseQueue(path: store.path).write { try $0.execute(sql: "PRAGMA user_version = 99") }
        #expect(throws: LedgerOpenError.newerSchema(path: store.path, found: 99, supported: 5)) {
            try SQLiteLedger(path: store.path)
        }
        let other = store.folder.appending(path: "other.sqlite").path
        try await DatabaseQueue(path: other).write { try $0.execute(sql: "CREATE TABLE t (x)") }
        #expect(throws: LedgerOpenError.notALedger(path: other)) { try SQLiteLedger(path: other) }
        #expect(throws: LedgerOpenError.notALedger(path: other)) { try LedgerFile(path: other) }
        #expect(throws: LedgerOpenError.self) { try LedgerFile(path: store.folder.appending(path: "none").path) }
    }

    @Test("the usage log follows exactly once, and a rebuild gives the same bytes")
    func projections() async throws {
        let store = try TestStore()
        try await store.withWriter { writer, ledger in
            try await writer.prepare([.alice, .bob])
            let follower = UsageFollower(events: ledger, usage: SQLiteUsage(ledger), batchSize: 3)
            for number in 0..<12 {
                let account: AccountID = number.isMultiple(of: 3) ? .alice : .bob
                _ = try await writer.submit(writer.hold(account, number, output: 100))
                _ = try await writer.submit(try writer.charge(account, number, completion: 7))
                if number == 5 { _ = try follower.step() }
            }
            let reversal = ReverseCharge(key: "reversal:1", request: .number(1), reason: "broken", actor: "test")
            _ = try await writer.submit(Command(account: .bob, action: .reverse(reversal)))
            #expect(try follower.lag() > 0)
            while try follower.step() > 0 {}
            #expect(try follower.lag() == 0)
            // A batch that was applied already is not applied again.
            let usage = SQLiteUsage(ledger)
            try usage.apply(UsageChanges(try ledger.events(after: 0, limit: 100)), from: 0, through: 5)
            let rows = try await usage.log(of: .bob, skip: 0, limit: 100)
            #expect(rows.count == 8 && rows.map(\.position) == rows.map(\.position).sorted(by: >))
            #expect(rows.last?.reversed == rows.last?.credits)
            #expect(try await usage.days(of: .alice, from: .min, through: .max).first?.day.requests == 4)
            let (before, after) = try ledger.rebuildProjections { _ in }
            #expect(before == after)
            // A projection that was tampered with is put right.
            try await ledger.pool.write { try $0.execute(sql: "UPDATE balances SET balance = balance + 1") }
            let (wrong, right) = try ledger.rebuildProjections { _ in }
            #expect(wrong != right && right == after)
        }
    }

    @Test(
        "the queries of the hot path use their indexes",
        arguments: [
            "SELECT * FROM events WHERE key = ?",
            "SELECT * FROM events WHERE account = ? AND version > ? ORDER BY version",
            "SELECT account FROM balances WHERE open_holds > 0 ORDER BY account",
            "SELECT * FROM grants WHERE account = ? AND remaining > 0 ORDER BY id",
            "SELECT * FROM usage_log WHERE account = ? ORDER BY recorded_at DESC, position DESC LIMIT 10 OFFSET 0",
            "SELECT * FROM api_keys WHERE key_hash = ? AND deleted_at IS NULL",
        ])
    func queryPlans(sql: String) async throws {
        let store = try TestStore()
        try await store.withWriter { _, _ in }
        let plan = try await DatabaseQueue(path: store.path).read { db in
            try Row.fetchAll(
                db, sql: "EXPLAIN QUERY PLAN " + sql,
                arguments: StatementArguments(
                    Array(repeating: "x", count: sql.filter { $0 == "?" }.count))
            ).map { $0["detail"] as String }
        }
        #expect(
            plan.allSatisfy {
                $0.hasPrefix("SEARCH") || $0.contains("USING COVERING INDEX balances_with_open_holds")
                    || $0.contains("USING INDEX balances_with_open_holds")
            }, "\(plan)")
    }
}
