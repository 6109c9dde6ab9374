import Foundation
import GRDB
import OldGateway
import Testing

@Suite("The old database")
struct OldDatabaseTests {
    @Test(
        "a URL says where the database is, and never its password",
        arguments: [
            ("postgresql://gateway:s3cret@db.example:5432/gateway", "postgresql://db.example:5432/gateway"),
            ("postgresql+asyncpg://gateway:p%40ss@db/gateway?password=s3cret", "postgresql://db/gateway"),
            ("postgres:///gateway", "postgresql:///gateway"), ("sqlite:///old.db", "sqlite:///old.db"),
            ("sqlite+aiosqlite:////var/lib/old.db", "sqlite:////var/lib/old.db"),
        ])
    func description(url: String, shown: String) throws {
        #expect(try OldDatabaseURL(url).description == shown)
    }

    @Test("what is no database is refused", arguments: ["", "old.db", "mysql://db/x", "sqlite:///", "sqlite://old.db"])
    func refused(url: String) {
        #expect(throws: OldDatabaseError.self) { try OldDatabaseURL(url) }
    }

    @Test("no message holds the password, be it that of a URL that cannot be read")
    func secrets() {
        let urls = [
            "postgresql://u:s3cret@127.0.0.1:1/x", "postgresql://u:s3cret@[::1/x", "postgresql://u:s3cret%zz@h/x",
            "postgresql://u:x@s3cret@127.0.0.1:1/x", "postgresql://u:s3cret/y@127.0.0.1:1/x",
        ]
        for url in urls {
            do throws(OldDatabaseError) {
                _ = try OldDatabaseURL(url).open()
                Issue.record("\(url) was opened")
            } catch {
                #expect(!error.description.contains("s3cret"), "\(error)")
            }
        }
    }

    @Test("values come as text that has every digit, in order and some at a time")
    func sqlite() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "old-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "old.db").path
        let queue = try DatabaseQueue(path: path)
        try queue.write { db in
            try db.execute(
                sql: """
                    CREATE TABLE users (user_id TEXT, blocked BOOLEAN, created_at DATETIME);
                    CREATE TABLE credit_balances (id INTEGER, user_id TEXT, pool_type TEXT, amount FLOAT, expires_at DATETIME);
                    INSERT INTO credit_balances VALUES (2, 'b', 'BONUS', 1e-07, NULL), (1, 'a', 'ADDON', 0.1 + 0.2, NULL),
                        (3, 'b', 'ADDON', 10, '2026-01-02 03:04:05.000006');
                    """)
        }
        try queue.close()
        try OldDatabaseURL("sqlite:///\(path)").open().snapshot { tables in
            #expect(try tables.has(.users) && !tables.has(.usage))
            #expect(try tables.columns(of: .users) == ["user_id", "blocked", "created_at"])
            var batches: [[String?]] = []
            try tables.read(.balances, batch: 2) { rows in batches.append(rows.map { $0["amount"] }) }
            #expect(batches == [["0.30000000000000004", "1e-07"], ["10.0"]])
            try tables.read(.balances, batch: 10) { rows in
                #expect(rows.last?["expires_at"] == "2026-01-02 03:04:05.000006")
                #expect(rows.first?["expires_at"] == nil)
            }
            // A table that is not there has no rows.
            try tables.read(.usage, batch: 10) { _ in Issue.record("a row of no table") }
        }
    }
}
