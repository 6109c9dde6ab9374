import GRDB

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The right to be a ledger's one writer, across processes: an exclusive `flock` on a file beside the database.
///
/// The kernel frees it when the process ends, however it ends. It is not taken on the database itself: closing any descriptor of that
/// file would drop SQLite's own POSIX locks in this process (https://sqlite.org/howtocorrupt.html, section 2.2).
final class WriterLock: Sendable {
    private let descriptor: Int32

    /// Takes the lock of the database at `path`, or says who has it.
    init(databasePath path: String) throws(LedgerOpenError) {
        let lockPath = path + ".lock"
        let descriptor = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw .cannotOpen(path: lockPath, String(cString: strerror(errno))) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let reason = errno
            var buffer = [UInt8](repeating: 0, count: 32)
            let length = pread(descriptor, &buffer, buffer.count, 0)
            close(descriptor)
            guard reason == EWOULDBLOCK else { throw .cannotOpen(path: lockPath, String(cString: strerror(reason))) }
            let owner = String(decoding: buffer.prefix(max(0, length)), as: UTF8.self)
            throw .locked(path: path, owner: owner.split(separator: "\n").first.map(String.init))
        }
        // The owner's process id is for people: the lock is what counts.
        let owner = Array("\(getpid())\n".utf8)
        _ = ftruncate(descriptor, 0)
        _ = pwrite(descriptor, owner, owner.count, 0)
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }
}

/// Why a ledger cannot be opened.
public enum LedgerOpenError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Another writer has it open.
    case locked(path: String, owner: String?)
    case cannotOpen(path: String, String)
    /// The file is a database of something else.
    case notALedger(path: String)
    /// A newer version of this software wrote it.
    case newerSchema(path: String, found: Int64, supported: Int64)
    /// The connection does not make commits durable as demanded.
    case notDurable(String)

    public var description: String {
        switch self {
        case .locked(let path, let owner):
            "the ledger \(path) is open for writing in another process"
                + (owner.map { " (process \($0) holds the lock \(path).lock)" } ?? " (lock \(path).lock)")
                + "; a ledger has one writer: stop that process first"
        case .cannotOpen(let path, let detail): "cannot open \(path): \(detail)"
        case .notALedger(let path):
            "\(path) is not a ledger: name another file (what is in the old gateway's database, `LedgerServer import --from` brings over)"
        case .newerSchema(let path, let found, let supported):
            "the ledger \(path) has schema \(found), this version knows up to \(supported): use the newer version"
        case .notDurable(let detail): "the database connection is not durable: \(detail)"
        }
    }

    /// Refuses what is there and is no regular file: SQLite could wait for it without end.
    static func checkIsFile(_ path: String) throws(LedgerOpenError) {
        var status = stat()
        guard stat(path, &status) == 0 else { return }
        let kind = status.st_mode & S_IFMT
        guard kind == S_IFREG else {
            throw .cannotOpen(path: path, kind == S_IFDIR ? "it is a folder" : "it is no regular file")
        }
    }

    /// Why a database could not be opened, of what SQLite said about it.
    init(_ error: any Error, path: String) {
        switch error {
        case let error as LedgerOpenError: self = error
        case let error as DatabaseError where error.resultCode == .SQLITE_NOTADB: self = .notALedger(path: path)
        case let error as DatabaseError: self = .cannotOpen(path: path, error.message ?? "\(error.resultCode)")
        default: self = .cannotOpen(path: path, String(describing: error))
        }
    }
}
