import CPostgres

/// The old gateway's database on PostgreSQL, by libpq.
///
/// Not Sendable: a connection is for one thread at a time. Every result is cleared where it was asked for.
final class PostgresOldDatabase: OldDatabase, OldTables {
    private let connection: OpaquePointer
    private let secrets: [String]

    /// Connects, with what the URI does not say from libpq's environment variables (`PGPASSWORD`, `PGSSLMODE` …).
    init(uri: String) throws(OldDatabaseError) {
        secrets = try Self.secrets(in: uri)
        guard let connection = PQconnectdb(uri) else { throw .cannotConnect("libpq has no memory") }
        self.connection = connection
        guard PQstatus(connection) == CONNECTION_OK else { throw .cannotConnect(message) }
        do {
            // Values come as text: without a zone, in one form, and floating point numbers with every digit that it takes to tell them
            // apart (https://www.postgresql.org/docs/current/runtime-config-client.html). The snapshot is idle while the ledger writes.
            for setting in [
                "client_encoding TO 'UTF8'", "timezone TO 'UTC'", "datestyle TO 'ISO, YMD'", "extra_float_digits TO 3",
                "statement_timeout TO 0", "idle_in_transaction_session_timeout TO 0",
            ] {
                try run("SET \(setting)")
            }
        } catch let error as OldDatabaseError {
            throw error
        } catch {
            throw .cannotConnect("a setting was refused")
        }
    }

    deinit {
        PQfinish(connection)
    }

    /// The passwords that a URI holds, as libpq understands it.
    private static func secrets(in uri: String) throws(OldDatabaseError) -> [String] {
        var problem: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(uri, &problem) else {
            // libpq's own message may quote the URI, and with it the password.
            PQfreemem(problem)
            throw .cannotConnect("libpq cannot read its URL; percent-encode what is special in it")
        }
        defer { PQconninfoFree(options) }
        var secrets: [String] = []
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val, String(cString: keyword).hasSuffix("password") {
                let secret = String(cString: value)
                if !secret.isEmpty { secrets.append(secret) }
            }
            option += 1
        }
        return secrets
    }

    func snapshot<R>(_ body: (any OldTables) throws -> R) throws -> R {
        try run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        defer {
            if let result = PQexec(connection, "ROLLBACK") { PQclear(result) }
        }
        return try body(self)
    }

    func columns(of table: OldTable) throws -> Set<String> {
        // The name is a literal of ours.
        let sql = """
            SELECT attname FROM pg_attribute
            WHERE attrelid = to_regclass('\(table.rawValue)') AND attnum > 0 AND NOT attisdropped
            """
        return try query(sql) { result -> Set<String> in
            var names: Set<String> = []
            for row in 0..<PQntuples(result) {
                if let name = Self.text(result, row, 0) { names.insert(name) }
            }
            return names
        }
    }

    func read(_ table: OldTable, batch: Int, _ body: ([OldRow]) throws -> Void) throws {
        let found = try columns(of: table)
        let names = table.columns.filter { found.contains($0) }
        if names.isEmpty { return }
        var places: [String: Int] = [:]
        for (place, name) in names.enumerated() { places[name] = place }
        try run("DECLARE old_rows NO SCROLL CURSOR FOR \(table.query(names))")
        while true {
            let rows = try query("FETCH FORWARD \(max(1, batch)) FROM old_rows") { result -> [OldRow] in
                (0..<PQntuples(result)).map { row -> OldRow in
                    OldRow(
                        places: places,
                        values: names.indices.map { Self.text(result, row, Int32(truncatingIfNeeded: $0)) })
                }
            }
            if rows.isEmpty { break }
            try body(rows)
        }
        try run("CLOSE old_rows")
    }

    // MARK: libpq

    private static func text(_ result: OpaquePointer, _ row: Int32, _ column: Int32) -> String? {
        guard PQgetisnull(result, row, column) == 0, let value = PQgetvalue(result, row, column) else { return nil }
        return String(cString: value)
    }

    private func run(_ sql: String) throws {
        try query(sql) { _ in }
    }

    /// Runs a statement of ours and gives its result to `body`.
    private func query<R>(_ sql: String, _ body: (OpaquePointer) throws -> R) throws -> R {
        guard let result = PQexec(connection, sql) else { throw OldDatabaseError.cannotRead(message) }
        defer { PQclear(result) }
        let status = PQresultStatus(result)
        guard status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK else {
            throw OldDatabaseError.cannotRead(message)
        }
        return try body(result)
    }

    /// What libpq says is wrong, on one line and without the passwords.
    private var message: String {
        guard let pointer = PQerrorMessage(connection) else { return "libpq does not say why" }
        var text = String(cString: pointer).split(whereSeparator: \.isNewline).joined(separator: "; ")
        for secret in secrets { text = text.replacing(secret, with: "***") }
        return text
    }
}
