import GRDB

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A ledger opened for reading only: for audits. It takes no lock and is safe while a server writes.
///
/// All of ``snapshot(_:)`` sees one state of the database, however long it takes.
public final class LedgerFile: Sendable {
    public let path: String
    private let queue: DatabaseQueue
    /// Whether the file is read as one that nobody writes.
    private let isImmutable: Bool

    /// Opens the ledger at `path`, which must exist.
    ///
    /// SQLite keeps a small file beside a database with a write-ahead log, even to read it. Where the folder does not allow that, a ledger
    /// that was closed properly, and so has no log, is read as an immutable file (https://sqlite.org/wal.html#readonly).
    public init(path: String) throws(LedgerOpenError) {
        self.path = path
        try LedgerOpenError.checkIsFile(path)
        do {
            queue = try Self.open(path, as: path)
            isImmutable = false
        } catch let error {
            guard case .cannotOpen = error, !Self.hasLog(path),
                let queue = try? Self.open(path, as: Self.immutable(path))
            else { throw error }
            self.queue = queue
            isImmutable = true
        }
    }

    private static func open(_ path: String, as name: String) throws(LedgerOpenError) -> DatabaseQueue {
        var configuration = Configuration()
        configuration.readonly = true
        configuration.label = "replay"
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA trusted_schema = OFF")
            try db.execute(sql: "PRAGMA cache_size = -4096")
        }
        do {
            let queue = try DatabaseQueue(path: name, configuration: configuration)
            try queue.read { db in
                try SQLiteLedger.checkIdentity(db, path: path)
                guard try Int64.fetchOne(db, sql: "PRAGMA user_version") ?? 0 > 0 else {
                    throw LedgerOpenError.notALedger(path: path)
                }
            }
            return queue
        } catch {
            throw LedgerOpenError(error, path: path)
        }
    }

    /// The file as a URI that says that nobody writes it (https://sqlite.org/uri.html).
    private static func immutable(_ path: String) -> String {
        let escaped = path.utf8.map { byte in
            switch byte {
            case UInt8(ascii: "%"), UInt8(ascii: "?"), UInt8(ascii: "#"): "%" + String(byte, radix: 16)
            default: String(decoding: CollectionOfOne(byte), as: UTF8.self)
            }
        }
        return "file:" + escaped.joined() + "?immutable=1"
    }

    /// Whether a write-ahead log lies beside the database.
    private static func hasLog(_ path: String) -> Bool { access(path + "-wal", F_OK) == 0 }

    /// Copies the ledger to a new file, by SQLite's own backup (https://sqlite.org/backup.html): one state of it, however much a server writes
    /// meanwhile. The copy is complete and on disk when this returns.
    public func copy(to path: String) throws {
        guard access(path, F_OK) != 0 else { throw LedgerOpenError.cannotOpen(path: path, "the file exists") }
        var configuration = Configuration()
        configuration.prepareDatabase { try $0.execute(sql: "PRAGMA synchronous = FULL") }
        let target = try DatabaseQueue(path: path, configuration: configuration)
        // All pages in one step: the read lock of that step is what keeps them of one state.
        try queue.backup(to: target)
        try target.writeWithoutTransaction { db in
            // One file, without a log beside it.
            _ = try String.fetchOne(db, sql: "PRAGMA journal_mode = DELETE")
        }
        try target.close()
    }

    /// Runs `body` on one unchanging state of the ledger.
    public func snapshot<R>(_ body: (LedgerView) throws -> R) throws -> R {
        let result = try queue.read { db in try body(LedgerView(db)) }
        if isImmutable, Self.hasLog(path) {
            throw LedgerOpenError.cannotOpen(path: path, "a server has started to write it; try again beside it")
        }
        return result
    }
}
