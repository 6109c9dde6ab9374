import Foundation
import GRDB

/// The old gateway's database on SQLite, read only.
///
/// While its snapshot lasts, a gateway that still runs on it may not be able to write.
final class SQLiteOldDatabase: OldDatabase {
    private let queue: DatabaseQueue

    init(path: String) throws(OldDatabaseError) {
        var configuration = Configuration()
        configuration.readonly = true
        configuration.label = "old gateway"
        configuration.busyMode = .timeout(5)
        do {
            queue = try DatabaseQueue(path: path, configuration: configuration)
            // Opening reads nothing: whether it is a database shows at the first look.
            _ = try queue.read { try Int64.fetchOne($0, sql: "SELECT count(*) FROM sqlite_master") }
        } catch {
            throw .cannotConnect("\(path): \(Self.reason(error))")
        }
    }

    func snapshot<R>(_ body: (any OldTables) throws -> R) throws -> R {
        // One read transaction: what is committed meanwhile is not seen.
        try queue.read { db in try body(SQLiteOldTables(db)) }
    }

    fileprivate static func reason(_ error: any Error) -> String {
        guard let error = error as? DatabaseError else { return String(describing: error) }
        return error.message ?? "SQLite \(error.resultCode.rawValue)"
    }
}

/// The tables in one read transaction.
private final class SQLiteOldTables: OldTables {
    private let db: Database

    init(_ db: Database) {
        self.db = db
    }

    func columns(of table: OldTable) throws -> Set<String> {
        // The table may be a view: pragma_table_info knows both.
        let names = try reading {
            try String.fetchAll(db, sql: "SELECT name FROM pragma_table_info(?)", arguments: [table.rawValue])
        }
        return Set(names)
    }

    func read(_ table: OldTable, batch: Int, _ body: ([OldRow]) throws -> Void) throws {
        let found = try columns(of: table)
        let names = table.columns.filter { found.contains($0) }
        if names.isEmpty { return }
        var places: [String: Int] = [:]
        for (place, name) in names.enumerated() { places[name] = place }
        var rows: [OldRow] = []
        let cursor = try reading { try Row.fetchCursor(db, sql: table.query(names)) }
        while let row = try reading({ try cursor.next() }) {
            let values = names.indices.map { place -> String? in
                let value: DatabaseValue = row[place]
                return Self.text(value)
            }
            rows.append(OldRow(places: places, values: values))
            if rows.count >= max(1, batch) {
                try body(rows)
                rows.removeAll(keepingCapacity: true)
            }
        }
        if !rows.isEmpty { try body(rows) }
    }

    /// Says of what fails here that it was the old database, and not the ledger.
    private func reading<R>(_ body: () throws -> R) throws -> R {
        do {
            return try body()
        } catch {
            throw OldDatabaseError.cannotRead(SQLiteOldDatabase.reason(error))
        }
    }

    private static func text(_ value: DatabaseValue) -> String? {
        switch value.storage {
        case .null: nil
        case .int64(let integer): String(integer)
        // The one place where money is a binary floating point number, because it is one there. Its description is the shortest decimal
        // that reads back as the same number: all that the old database knows, and what PostgreSQL writes of it, too. From here on it is
        // that decimal, exactly.
        case .double(let number): number.description
        case .string(let text): text
        case .blob(let data): String(decoding: data, as: UTF8.self)
        }
    }
}
