import Ledger
import LedgerSQLite
import Projections

/// What a set of rows is, whatever their order: the sum of a hash of each that nobody can foresee.
///
/// Two passes that meet the same rows, each in its own order and on its own thread, come to the same digest. Sums over parts of the rows add
/// up to the one over all.
struct RowDigest: Equatable, Sendable {
    private(set) var count: Int64 = 0
    private var sum: UInt64 = 0

    /// Adds a row.
    mutating func add(_ hash: RowHash) {
        count += 1
        sum &+= hash.value
    }

    /// Adds the rows of another digest.
    mutating func add(_ other: RowDigest) {
        count += other.count
        sum &+= other.sum
    }
}

/// The hash of one row, field by field.
struct RowHash {
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

    private let key: Key
    /// The hash of what has been added.
    private(set) var value: UInt64

    init(_ key: Key) {
        self.key = key
        // Not what the first product takes out of it.
        value = key.second
    }

    /// Adds a number.
    @inline(__always)
    mutating func add(_ number: Int64) {
        mix(UInt64(bitPattern: number))
    }

    /// Adds a text: its length, and its bytes.
    @inline(__always)
    mutating func add(_ text: UnsafeBufferPointer<UInt8>) {
        let bytes = UnsafeRawBufferPointer(text)
        mix(UInt64(truncatingIfNeeded: bytes.count))
        var index = 0
        while index + 8 <= bytes.count {
            mix(bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            index += 8
        }
        guard index < bytes.count else { return }
        if bytes.count >= 8 {
            // The last eight, of which some were there before.
            mix(bytes.loadUnaligned(fromByteOffset: bytes.count - 8, as: UInt64.self))
        } else {
            var last: UInt64 = 0
            for byte in bytes { last = last << 8 | UInt64(byte) }
            mix(last)
        }
    }

    /// Adds a text: its length, and its bytes.
    mutating func add(_ text: String) {
        var text = text
        text.withUTF8 { add($0) }
    }

    /// Takes in the two halves of a product (as in wyhash, https://github.com/wangyi-fudan/wyhash).
    @inline(__always)
    private mutating func mix(_ word: UInt64) {
        let product = (value ^ key.first).multipliedFullWidth(by: word ^ key.second)
        value = product.high ^ product.low
    }
}

// The same fields in the same order: a row of the usage log as it is stored, and as an event leads to it.

extension RowHash {
    init(_ row: StoredUsage, _ key: Key) {
        self.init(key)
        add(row.position)
        add(row.recordedAt)
        add(row.promptTokens)
        add(row.cachedTokens)
        add(row.completionTokens)
        add(row.isEstimated)
        add(row.credits)
        add(row.account)
        add(row.request)
        add(row.model)
        add(row.endpoint)
        add(row.status)
        add(row.detail)
        add(row.cost)
        if let keyID = row.keyID { add(keyID) } else { add(-1) }
    }

    init(_ row: UsageRow, _ key: Key) {
        self.init(key)
        add(row.position)
        add(row.recordedAt.microseconds)
        add(row.promptTokens)
        add(row.cachedTokens)
        add(row.completionTokens)
        add(row.isEstimated ? 1 : 0)
        add(row.credits.nanos)
        add(row.account.rawValue)
        add(row.request.rawValue)
        add(row.model)
        add(row.endpoint)
        add(row.status)
        add(row.detail)
        add(row.costText)
        if let keyID = row.keyID { add(keyID) } else { add(-1) }
    }
}
