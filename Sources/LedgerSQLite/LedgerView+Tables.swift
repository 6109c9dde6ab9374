import Foundation
import GRDB
public import Ledger

/// What is wrong with rows of a table, and how many rows were looked at.
public struct TableCheck: Sendable {
    public fileprivate(set) var rows: Int64 = 0
    public fileprivate(set) var problems: [(account: String?, detail: String)] = []
}

extension LedgerView {
    /// The ledger's tables, by name; without what SQLite itself keeps, and what an interrupted rebuild left.
    public func tables() throws -> [String] {
        let unfinished = Set(SQLiteLedger.projectionTables.map { SQLiteLedger.rebuildPrefix + $0 })
        return try String.fetchAll(
            db,
            sql: """
                SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
                ORDER BY name
                """
        ).filter { !unfinished.contains($0) }
    }

    private func version() throws -> Int64 { try Int64.fetchOne(db, sql: "PRAGMA user_version") ?? 0 }

    /// Whether the ledger keeps checkpoints: one that no newer version has opened yet does not.
    public func hasProofs() throws -> Bool { try version() >= Schema.versionWithProofs }

    // MARK: Ordinary tables

    /// The tables of people, their keys and sessions: every row belongs to somebody, and of who was erased nothing is left.
    public func checkPeople(_ tables: [String]) throws -> TableCheck {
        var check = TableCheck()
        let known = Set(try self.tables())
        for table in tables where known.contains(table) {
            check.rows += try rowCount(table)
            let orphans = try Row.fetchAll(db, sql: "PRAGMA foreign_key_check(\(table))")
            guard let first = orphans.first else { continue }
            let parent: String = first["parent"]
            check.problems.append(
                (nil, "\(orphans.count) rows of '\(table)' refer to rows of '\(parent)' that do not exist"))
        }
        try check.note(
            db, "something of a person is left who was erased",
            """
            SELECT user_id FROM users WHERE deleted_at IS NOT NULL AND (alias IS NOT NULL OR email IS NOT NULL
                OR name IS NOT NULL OR avatar_url IS NOT NULL OR metadata <> '{}' OR role IS NOT NULL
                OR last_login_at IS NOT NULL OR user_id IN (SELECT user_id FROM sessions)
                OR user_id IN (SELECT user_id FROM identities) OR user_id IN (SELECT user_id FROM login_codes)
                OR user_id IN (SELECT account FROM request_keys)
                OR user_id IN (SELECT user_id FROM api_keys
                    WHERE key_name IS NOT NULL OR metadata <> '{}' OR is_active = 1))
            """)
        try check.note(
            db, "somebody is said to be erased, and no event says so",
            // Before an erasure was an event of its own, it was a block.
            """
            SELECT user_id FROM users WHERE deleted_at IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM events WHERE events.key = 'erase:' || user_id || ':' || created_at)
                AND NOT EXISTS (
                    SELECT 1 FROM events WHERE events.account = user_id AND type = 'account_blocked.v1')
            """)
        if try hasProofs() {
            try check.note(
                db, "an event says that somebody was erased, who is still there",
                """
                SELECT user_id FROM users WHERE deleted_at IS NULL AND erase_pending = 0
                    AND EXISTS (SELECT 1 FROM events WHERE events.key = 'erase:' || user_id || ':' || created_at)
                """)
        }
        try check.note(
            db, "the metadata are no JSON",
            """
            SELECT user_id FROM users WHERE NOT json_valid(metadata)
            UNION ALL SELECT user_id FROM api_keys WHERE NOT json_valid(metadata)
            """)
        return check
    }

    /// The clients' own keys of requests: what a settled one says was charged is what its event says.
    public func checkRequestKeys() throws -> TableCheck {
        var check = TableCheck()
        check.rows = try rowCount("request_keys")
        try check.note(
            db, "a request that is answered again was settled otherwise",
            """
            SELECT request_keys.account FROM request_keys
                LEFT JOIN events ON events.key = 'settle:' || request_keys.request
            WHERE settled = 1 AND (events.position IS NULL OR events.account <> request_keys.account OR (
                body IS NOT NULL AND (charged IS NOT json_extract(events.data, '$.credits')
                    OR balance IS NOT json_extract(events.data, '$.balance'))))
            """)
        return check
    }

    /// What is kept of a shop's messages and of notices: each is about an account of the ledger, and can be read.
    public func checkMessages(_ tables: [String]) throws -> TableCheck {
        var check = TableCheck()
        guard try hasCycles() else { return check }
        for table in tables { check.rows += try rowCount(table) }
        for table in ["provider_subscriptions", "webhooks", "notices"] {
            try check.note(
                db, "a row of '\(table)' is about an account that the ledger does not have",
                "SELECT account FROM \(table) WHERE account NOT IN (SELECT account FROM balances)")
        }
        for table in ["webhooks", "notices"] {
            try check.note(
                db, "a row of '\(table)' is about somebody who was erased",
                "SELECT account FROM \(table) JOIN users ON user_id = account WHERE deleted_at IS NOT NULL")
        }
        try check.note(
            db, "a delivery cannot be read", "SELECT NULL FROM deliveries WHERE NOT json_valid(notice)")
        try check.note(
            db, "a notice cannot be read", "SELECT account FROM notices WHERE NOT json_valid(body)")
        return check
    }

    /// How many rows a table has. `table` must be one of ``tables()``.
    public func rowCount(_ table: String) throws -> Int64 {
        try Int64.fetchOne(db, sql: "SELECT count(*) FROM \(table)") ?? 0
    }

    // MARK: Proofs

    /// The stored roots of tiles, in order, for as long as there is no gap; and how many rows there are.
    public func treeTiles() throws -> (tiles: [MerkleHash], rows: Int64) {
        guard try hasProofs() else { return ([], 0) }
        let statement = try Statement(db.sqliteConnection, "SELECT tile, hash FROM tree_tiles ORDER BY tile")
        var tiles: [MerkleHash] = []
        var rows: Int64 = 0
        try statement.forEach { row throws(StoreError) in
            rows += 1
            if row.integer(0) == Int64(tiles.count), let hash = MerkleHash(bytes: row.blob(1)) { tiles.append(hash) }
        }
        return (tiles, rows)
    }

    /// The checkpoints that were signed, by the size of their trees, as they were signed.
    public func signedCheckpoints() throws -> [(size: Int64, note: String)] {
        guard try hasProofs() else { return [] }
        return try Row.fetchAll(db, sql: "SELECT size, note FROM signed_checkpoints ORDER BY size").map { row in
            (row["size"], row["note"])
        }
    }

    /// The last checkpoint that was signed, of at least so many events; nil where there is none.
    public func lastCheckpoint(ofAtLeast size: Int64 = 1) throws -> String? {
        guard try hasProofs() else { return nil }
        return try String.fetchOne(
            db, sql: "SELECT note FROM signed_checkpoints WHERE size >= ? ORDER BY size DESC LIMIT 1",
            arguments: [size])
    }

    /// The tree over the events of this state of the ledger.
    ///
    /// It must not outlive the view.
    public func tree() throws -> TiledTree {
        TiledTree(size: try head().position, tiles: try treeTiles().tiles) { try self.hashes($0) }
    }
}

extension TableCheck {
    /// Notes what a query finds: it gives the account of each row that is wrong.
    fileprivate mutating func note(_ db: Database, _ detail: String, _ sql: String) throws {
        let found = try Row.fetchAll(db, sql: sql + " LIMIT 20")
        for row in found { problems.append((row[0], detail)) }
    }
}

/// An index of a table that grows with every request.
public enum LargeIndex: String, Sendable, CaseIterable {
    case eventsByAccount = "events_by_account"
    case eventsByKey = "events_by_key"
    case usageByRequest = "usage_log_by_request"
    case usageByTime = "usage_log_by_time"

    /// The table that it is of.
    public var table: String {
        switch self {
        case .eventsByAccount, .eventsByKey: "events"
        case .usageByRequest, .usageByTime: "usage_log"
        }
    }

    /// What it holds, in its order: a text, a number that is 0 where it has none, and the position.
    fileprivate var columns: String {
        switch self {
        case .eventsByAccount: "account, version, position"
        case .eventsByKey: "key, 0, position"
        case .usageByRequest: "request, 0, position"
        case .usageByTime: "account, recorded_at, position"
        }
    }
}

extension LedgerView {
    /// Whether there is that index.
    public func hasIndex(_ index: LargeIndex) throws -> Bool {
        try Bool.fetchOne(
            db, sql: "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?)",
            arguments: [index.rawValue]) ?? false
    }

    /// Gives what an index holds, in its order and without a look at the table: text, number (0 where it has none) and position.
    public func scan(
        _ index: LargeIndex, _ body: (UnsafeBufferPointer<UInt8>, Int64, Int64) -> Void
    ) throws {
        let statement = try Statement(
            db.sqliteConnection, "SELECT \(index.columns) FROM \(index.table) INDEXED BY \(index.rawValue)")
        try statement.forEach { row throws(StoreError) in body(row.bytes(0), row.integer(1), row.integer(2)) }
    }

    /// What SQLite finds wrong with a table and its indexes, a few of it (https://sqlite.org/pragma.html#pragma_integrity_check).
    public func integrityProblems(of table: String) throws -> [String] {
        let quoted = table.replacingOccurrences(of: "'", with: "''")
        return try String.fetchAll(db, sql: "PRAGMA integrity_check('\(quoted)')").filter { $0 != "ok" }.prefix(3).map(
            \.self)
    }
}
