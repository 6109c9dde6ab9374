import Dispatch
import HTTPTypes
import Ledger
import LedgerSQLite
import Synchronization

/// Where the ledger is read for auditors and accountants: on connections and threads of its own, a few at a time, so that no charge and no
/// balance waits for a long look at the history.
final class LedgerDesk: Sendable {
    private let lanes: [(queue: DispatchQueue, file: LedgerFile)]
    private let turn = Mutex(0)
    private let exports = Mutex(0)
    private let path: String

    /// How many exports and live feeds may be under way at once.
    static let exportLimit = 8

    /// Opens connections that only read, to the ledger at `path`, which must exist.
    init(path: String, lanes count: Int = 2) throws {
        self.path = path
        lanes = try (0..<count).map {
            (DispatchQueue(label: "ledger.desk.\($0)", qos: .utility), try LedgerFile(path: path))
        }
    }

    /// Runs `body` on one of the connections; it waits for what was asked for before.
    func read<R: Sendable>(_ body: @escaping @Sendable (LedgerFile) throws -> R) async throws -> R {
        let lane = turn.withLock { turn in
            turn = (turn + 1) % lanes.count
            return lanes[turn]
        }
        return try await withCheckedThrowingContinuation { continuation in
            lane.queue.async { continuation.resume(with: Result { try body(lane.file) }) }
        }
    }

    /// A seat for an export or a feed, with a connection of its own; nil where all are taken. It is given back when it is forgotten.
    func seat() throws -> Seat? {
        let isFree = exports.withLock { count in
            guard count < Self.exportLimit else { return false }
            count += 1
            return true
        }
        guard isFree else { return nil }
        do {
            return Seat(self, try LedgerFile(path: path))
        } catch {
            leave()
            throw error
        }
    }

    private func leave() { exports.withLock { $0 -= 1 } }

    final class Seat: Sendable {
        let file: LedgerFile
        private let desk: LedgerDesk
        private let queue = DispatchQueue(label: "ledger.desk.seat", qos: .utility)

        fileprivate init(_ desk: LedgerDesk, _ file: LedgerFile) {
            self.desk = desk
            self.file = file
        }

        deinit { desk.leave() }

        func read<R: Sendable>(_ body: @escaping @Sendable (LedgerFile) throws -> R) async throws -> R {
            try await withCheckedThrowingContinuation { continuation in
                queue.async { continuation.resume(with: Result { try body(self.file) }) }
            }
        }
    }
}

extension GatewayError {
    /// All seats of the desk are taken.
    static var deskIsFull: GatewayError {
        GatewayError(
            .serviceUnavailable, "too_many_exports",
            "\(LedgerDesk.exportLimit) exports and feeds are under way; try again when one has ended"
        ).retrying(afterSeconds: 5)
    }
}
