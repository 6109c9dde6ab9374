import GRDBSQLite
import Ledger

/// A prepared statement on SQLite's own interface.
///
/// The writer and replay run a handful of statements millions of times: through GRDB's rows and argument arrays each costs several
/// times what SQLite itself takes (`make bench` measures the whole). Everything else goes through GRDB. A statement is
/// confined to its connection's thread, and must not outlive the connection.
final class Statement {
    private let handle: OpaquePointer
    private let connection: OpaquePointer

    /// Prepares `sql` on a connection, for use until the connection closes.
    init(_ connection: OpaquePointer?, _ sql: String) throws(StoreError) {
        var prepared: OpaquePointer?
        guard let connection else { throw .failed("the connection is closed") }
        // SQLITE_PREPARE_PERSISTENT: it will be reused for long (https://sqlite.org/c3ref/prepare.html).
        let code = sqlite3_prepare_v3(connection, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &prepared, nil)
        guard code == SQLITE_OK, let prepared else { throw Statement.error(connection) }
        self.connection = connection
        handle = prepared
    }

    deinit {
        sqlite3_finalize(handle)
    }

    // MARK: Parameters

    /// Binds bytes that stay where they are until the statement has run: without a copy.
    func bind(borrowing text: UnsafeBufferPointer<UInt8>, at index: Int32) {
        guard let base = text.baseAddress, !text.isEmpty else { return bind("", at: index) }
        base.withMemoryRebound(to: CChar.self, capacity: text.count) {
            // A null destructor is SQLITE_STATIC: SQLite neither copies nor frees.
            _ = sqlite3_bind_text64(handle, index, $0, UInt64(text.count), nil, UInt8(SQLITE_UTF8))
        }
    }

    /// Binds a blob that stays where it is until the statement has run: without a copy.
    func bind(borrowing blob: UnsafeRawBufferPointer, at index: Int32) {
        sqlite3_bind_blob64(handle, index, blob.baseAddress, UInt64(blob.count), nil)
    }

    /// Runs it to its end, like ``run()``; false where a constraint or a trigger refuses it, which changes nothing.
    func runUnlessRefused() throws(StoreError) -> Bool {
        // The low byte: GRDB has extended result codes turned on.
        switch sqlite3_step(handle) & 0xFF {
        case SQLITE_DONE, SQLITE_ROW:
            sqlite3_reset(handle)
            return true
        case SQLITE_CONSTRAINT:
            sqlite3_reset(handle)
            return false
        default:
            let error = Statement.error(connection)
            sqlite3_reset(handle)
            throw error
        }
    }

    /// SQLite copies what is bound so: nothing of ours has to stay alive until the statement is reset.
    private static let copies = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

    func bind(_ value: Int64, at index: Int32) { sqlite3_bind_int64(handle, index, value) }

    func bind(_ value: Int64?, at index: Int32) {
        if let value { bind(value, at: index) } else { sqlite3_bind_null(handle, index) }
    }

    func bind(_ value: Bool, at index: Int32) { sqlite3_bind_int64(handle, index, value ? 1 : 0) }

    func bind(_ text: String, at index: Int32) {
        var text = text
        text.withUTF8 { bind(text: $0, at: index) }
    }

    func bind(_ text: String?, at index: Int32) {
        if let text { bind(text, at: index) } else { sqlite3_bind_null(handle, index) }
    }

    func bind(text bytes: [UInt8], at index: Int32) {
        bytes.withUnsafeBufferPointer { bind(text: $0, at: index) }
    }

    private func bind(text bytes: UnsafeBufferPointer<UInt8>, at index: Int32) {
        // A null pointer would bind NULL: empty text needs an address.
        guard let base = bytes.baseAddress, !bytes.isEmpty else {
            sqlite3_bind_text(handle, index, "", 0, Self.copies)
            return
        }
        base.withMemoryRebound(to: CChar.self, capacity: bytes.count) {
            _ = sqlite3_bind_text64(handle, index, $0, UInt64(bytes.count), Self.copies, UInt8(SQLITE_UTF8))
        }
    }

    func bind(blob bytes: [UInt8], at index: Int32) {
        bytes.withUnsafeBytes { bind(blob: $0, at: index) }
    }

    func bind(blob bytes: UnsafeRawBufferPointer, at index: Int32) {
        if bytes.isEmpty {
            sqlite3_bind_zeroblob(handle, index, 0)
        } else {
            sqlite3_bind_blob64(handle, index, bytes.baseAddress, UInt64(bytes.count), Self.copies)
        }
    }

    // MARK: Running

    /// Steps to the next row; false at the end.
    func step() throws(StoreError) -> Bool {
        switch sqlite3_step(handle) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        default:
            let error = Statement.error(connection)
            sqlite3_reset(handle)
            throw error
        }
    }

    /// Makes it ready to be run again.
    func reset() { sqlite3_reset(handle) }

    /// Runs it to its end, and makes it ready to be run again.
    func run() throws(StoreError) {
        while try step() {}
        reset()
    }

    /// Runs it, gives what `body` makes of the first row, and makes it ready to be run again.
    func first<R>(_ body: (Statement) throws(StoreError) -> R) throws(StoreError) -> R? {
        defer { reset() }
        return try step() ? try body(self) : nil
    }

    /// Runs it over all rows, and makes it ready to be run again.
    func forEach(_ body: (Statement) throws(StoreError) -> Void) throws(StoreError) {
        defer { reset() }
        while try step() { try body(self) }
    }

    // MARK: Columns

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }

    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(handle, column) == SQLITE_NULL }

    func isInteger(_ column: Int32) -> Bool { sqlite3_column_type(handle, column) == SQLITE_INTEGER }

    var columnCount: Int32 { sqlite3_column_count(handle) }

    func optionalInteger(_ column: Int32) -> Int64? { isNull(column) ? nil : integer(column) }

    /// The bytes of a text, borrowed until the next step.
    func bytes(_ column: Int32) -> UnsafeBufferPointer<UInt8> {
        blob(column).bindMemory(to: UInt8.self)
    }

    /// The bytes of a blob, borrowed until the next step.
    func blob(_ column: Int32) -> UnsafeRawBufferPointer {
        // Looked up once, and not for the bytes and for their number: no other thread has the connection, as SQLite asks of those who do
        // so (https://sqlite.org/c3ref/column_blob.html). A text's bytes are UTF-8, as the database is.
        let value = sqlite3_column_value(handle, column)
        // The bytes must be asked for before their number.
        let base = sqlite3_value_blob(value)
        return UnsafeRawBufferPointer(start: base, count: Int(sqlite3_value_bytes(value)))
    }

    func text(_ column: Int32) -> String { String(decoding: bytes(column), as: UTF8.self) }

    func optionalText(_ column: Int32) -> String? { isNull(column) ? nil : text(column) }

    // MARK: Events

    /// The columns of an event, in the order that ``event`` and ``eventHash`` read.
    static let eventColumns = "position, account, version, type, recorded_at, effective_at, key, data, hash"

    /// The row as an event's stored bytes, borrowed until the next step.
    var event: StoredBytes {
        StoredBytes(
            position: integer(0), version: integer(2), recordedAt: integer(4), effectiveAt: integer(5),
            account: bytes(1), type: bytes(3), key: bytes(6), data: bytes(7))
    }

    /// The row's hash, borrowed until the next step.
    var eventHash: UnsafeRawBufferPointer { blob(8) }

    /// Reads the row as an event.
    func decodedEvent() throws(StoreError) -> RecordedEvent {
        do throws(EventCodingError) {
            return try event.decoded()
        } catch {
            throw .corrupt("event \(integer(0)): \(error)")
        }
    }

    // MARK: Errors

    private static func error(_ connection: OpaquePointer) -> StoreError {
        StoreError(
            extendedCode: sqlite3_extended_errcode(connection), message: String(cString: sqlite3_errmsg(connection)))
    }
}

extension StoreError {
    /// What SQLite's result codes mean to the writer (https://sqlite.org/rescode.html).
    init(extendedCode: Int32, message: String) {
        let detail = "\(message) (SQLite \(extendedCode))"
        switch extendedCode {
        // SQLITE_IOERR_FSYNC and SQLITE_IOERR_DIR_FSYNC: the C macros that compose these codes are not imported.
        case SQLITE_IOERR | (4 << 8), SQLITE_IOERR | (5 << 8): self = .syncFailed(detail)
        default:
            switch extendedCode & 0xFF {
            case SQLITE_FULL: self = .full(detail)
            case SQLITE_CONSTRAINT, SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_MISMATCH: self = .corrupt(detail)
            default: self = .failed(detail)
            }
        }
    }
}
