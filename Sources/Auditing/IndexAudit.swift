import Dispatch
import Ledger
import LedgerSQLite
import Synchronization

/// What an index must hold of each event, whatever the order: a sum of hashes that nobody can foresee.
///
/// Whoever reads an account goes by an index, and a settlement is exactly once by another. An index that lacks a row, or has another one,
/// tells other figures than the table, and nothing else notices.
struct IndexDigest: Equatable, Sendable {
    /// Made anew for each run: so no two rows can be made up that are the same to it.
    struct Key: Sendable {
        fileprivate let first: UInt64
        fileprivate let second: UInt64

        init() {
            var random = SystemRandomNumberGenerator()
            first = random.next()
            second = random.next()
        }
    }

    private(set) var count: Int64 = 0
    private var sum: UInt64 = 0

    /// Adds a row: its text, and its numbers.
    mutating func add(
        _ text: UnsafeBufferPointer<UInt8>, _ version: Int64, _ position: Int64, _ key: borrowing Key
    ) {
        var hash = Self.fold(UInt64(bitPattern: position) ^ key.first, UInt64(bitPattern: version) ^ key.second)
        let bytes = UnsafeRawBufferPointer(text)
        var index = 0
        while index + 8 <= bytes.count {
            let word = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            hash = Self.fold(hash ^ key.first, word ^ key.second)
            index += 8
        }
        var last = UInt64(bytes.count)
        while index < bytes.count {
            last = last << 8 | UInt64(bytes[index])
            index += 1
        }
        count += 1
        sum &+= Self.fold(hash ^ key.second, last ^ key.first)
    }

    /// The two halves of a product (as in wyhash, https://github.com/wangyi-fudan/wyhash).
    @inline(__always)
    private static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = left.multipliedFullWidth(by: right)
        return product.high ^ product.low
    }
}

/// Holds every index against its table, beside the other passes.
final class IndexAudit: Sendable {
    private let file: LedgerFile
    private let key: IndexDigest.Key
    private let queue = DispatchQueue(label: "replay.indexes", qos: .userInitiated)
    private let found = Mutex<[Finding]>([])
    /// What the index of accounts and the one of keys hold of the events up to where the ledger is verified.
    private let digests = Mutex<[EventIndex: IndexDigest]>([:])

    /// Begins; on a thread of its own, where there may be one. `through` is the last event that is verified.
    init(_ file: LedgerFile, through last: Int64, key: IndexDigest.Key, isAlone: Bool) throws {
        self.file = try LedgerFile(path: file.path)
        self.key = key
        if isAlone { queue.sync { run(last) } } else { queue.async { self.run(last) } }
    }

    private func run(_ last: Int64) {
        do {
            try file.snapshot { view in
                for index in EventIndex.allCases where try view.hasIndex(index) {
                    var digest = IndexDigest()
                    try view.scan(index) { text, version, position in
                        // What a server has appended since is of another state.
                        if position <= last { digest.add(text, version, position, key) }
                    }
                    digests.withLock { $0[index] = digest }
                }
                for table in try view.tables() where table != "events" {
                    for problem in try view.integrityProblems(of: table) { report("the table '\(table)': \(problem)") }
                }
            }
        } catch {
            report("the indexes cannot be read: \(error)")
        }
    }

    private func report(_ detail: String) {
        found.withLock { findings in
            guard findings.count < Verification.findingLimit else { return }
            findings.append(Finding(position: nil, account: nil, check: .index, detail: detail))
        }
    }

    /// What is wrong, once it is done, and how many entries of the events' indexes were looked at; `expected` is what the table of events holds. An index that is not there is a matter of the schema.
    func finish(_ expected: [EventIndex: IndexDigest]) -> (findings: [Finding], entries: Int64) {
        queue.sync {}
        let digests = digests.withLock { $0 }
        for (index, digest) in expected where digests[index].map({ $0 != digest }) ?? false {
            report(
                "the index '\(index.rawValue)' does not hold what the events are: what is read by it is something else")
        }
        return (found.withLock { $0 }, digests.values.reduce(0) { $0 + $1.count })
    }
}
