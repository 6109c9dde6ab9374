import GRDB
public import Ledger
import Projections

extension SQLiteLedger {
    /// The tables that are made of events, and can be made again.
    static let projectionTables = ["balances", "grants", "cycles", "payments", "spending", "usage_log", "usage_days"]
    /// What precedes their names while they are made again.
    static let rebuildPrefix = "rebuild_"

    /// Computes all projections anew from position 1 and puts them in the place of the old ones.
    ///
    /// They are written into tables of their own, and exchanged in one transaction at the end: readers see the old ones or the new
    /// ones, and a crash in between changes nothing. Needs the writer's lock, which an open ledger has: no server may run. Memory is that of the
    /// largest account. Gives the hash of the canonical dump before and after.
    public func rebuildProjections(progress: (Int64) -> Void) throws -> (before: EventHash, after: EventHash) {
        let before = try pool.read { try ProjectionDump.hash($0) }
        let names = Self.projectionTables
        try pool.write { db in
            for name in names { try db.execute(sql: "DROP TABLE IF EXISTS rebuild_\(name)") }
            try db.execute(
                sql: "DELETE FROM checkpoints WHERE projection = ?", arguments: [UsageTables.rebuilt.projection])
            for name in names { try db.execute(sql: try Self.definition(of: name, named: "rebuild_\(name)", db)) }
        }
        try rebuildBalances()
        let follower = UsageFollower(
            events: self, usage: SQLiteUsage(writer: pool, tables: .rebuilt), batchSize: 10_000)
        var applied: Int64 = 0
        while true {
            let step = try follower.step()
            if step == 0 { break }
            applied += Int64(step)
            progress(applied)
        }
        try pool.write { db in
            for name in names {
                let indexes = try String.fetchAll(
                    db,
                    sql: "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL",
                    arguments: [name])
                try db.execute(sql: "DROP TABLE \(name)")
                try db.execute(sql: "ALTER TABLE rebuild_\(name) RENAME TO \(name)")
                for index in indexes { try db.execute(sql: index) }
            }
            try db.execute(
                sql: "DELETE FROM checkpoints WHERE projection = ?", arguments: [UsageTables.live.projection])
            try db.execute(
                sql: "UPDATE checkpoints SET projection = ? WHERE projection = ?",
                arguments: [UsageTables.live.projection, UsageTables.rebuilt.projection])
        }
        return (before, try pool.read { try ProjectionDump.hash($0) })
    }

    /// A table's own definition, for a table of another name.
    private static func definition(of table: String, named name: String, _ db: Database) throws -> String {
        let sql = try String.fetchOne(
            db, sql: "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", arguments: [table])
        guard let sql, let columns = sql.firstIndex(of: "(") else {
            throw StoreError.corrupt("the table \(table) is missing")
        }
        return "CREATE TABLE \(name) " + sql[columns...]
    }

    /// Folds account after account.
    private func rebuildBalances() throws {
        try pool.writeWithoutTransaction { db in
            try db.inTransaction(.immediate) {
                let write = try BalanceStatements(db.sqliteConnection, tablePrefix: "rebuild_")
                let events = try Statement(
                    db.sqliteConnection, "SELECT \(Statement.eventColumns) FROM events ORDER BY account, version")
                var current: Account?
                func finish() throws {
                    guard let account = current, !account.id.isBook else { return }
                    try write.save(account, AccountChanges(allOf: account))
                }
                while try events.step() {
                    let event = try events.decodedEvent()
                    if current?.id != event.account {
                        try finish()
                        current = Account(id: event.account)
                    }
                    current?.apply(event.event, effectiveAt: event.effectiveAt)
                }
                try finish()
                return .commit
            }
        }
    }
}
