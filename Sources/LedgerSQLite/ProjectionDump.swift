import Foundation
import GRDB
import GRDBSQLite
import Ledger

/// The canonical dump of the projections: by it, a rebuilt projection can be told to equal the live one byte for byte.
///
/// For each table, its name; for each row, in the order of the primary key, each column in the order of the schema: `n` for NULL; `i` and
/// eight bytes, big-endian, for an integer; `t` and the length in four bytes, big-endian, and the UTF-8 bytes for a text.
enum ProjectionDump {
    static let tables: [(name: String, key: String)] = [
        ("balances", "account"), ("grants", "account, id"), ("cycles", "account"),
        ("payments", "account, payment"), ("spending", "account, key_id"), ("usage_log", "position"),
        ("usage_days", "account, day, model"),
    ]

    static func hash(_ db: Database) throws -> EventHash {
        var digest = RunningHash()
        let isOlder = try Int64.fetchOne(db, sql: "PRAGMA user_version") ?? 0 < Schema.versionWithCycles
        for table in tables {
            if isOlder, ["cycles", "payments", "spending"].contains(table.name) { continue }
            digest.add(Array(table.name.utf8))
            let statement = try Statement(
                db.sqliteConnection, "SELECT * FROM \(table.name) ORDER BY \(table.key)")
            try statement.forEach { row throws(StoreError) in
                var bytes: [UInt8] = []
                for column in 0..<row.columnCount {
                    if row.isNull(column) {
                        bytes.append(0x6E)
                    } else if row.isInteger(column) {
                        bytes.append(0x69)
                        withUnsafeBytes(of: row.integer(column).bigEndian) { bytes.append(contentsOf: $0) }
                    } else {
                        let text = row.bytes(column)
                        bytes.append(0x74)
                        withUnsafeBytes(of: UInt32(clamping: text.count).bigEndian) { bytes.append(contentsOf: $0) }
                        bytes.append(contentsOf: text)
                    }
                }
                digest.add(bytes)
            }
        }
        return digest.value
    }
}
