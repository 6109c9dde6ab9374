/// A hash in the Merkle tree: a leaf's, or that of two others.
public typealias MerkleHash = EventHash

/// The Merkle tree over the hashes of a ledger's events (RFC 6962, section 2.1).
///
/// The entry at index `i` is the 32 bytes of the hash of the event at position `i + 1`. That hash is of the event's canonical bytes, so a
/// proof of an entry is one of everything that the event says; and the tree needs no event to be read again.
public enum MerkleTree {
    /// The root of a tree without entries: the SHA-256 of nothing.
    public static let empty = MerkleHash(sha256: UnsafeRawBufferPointer(start: nil, count: 0))

    /// The hash of a leaf: SHA-256(0x00 ‖ entry).
    public static func leaf(_ entry: EventHash) -> MerkleHash {
        withUnsafeTemporaryAllocation(byteCount: 1 + EventHash.byteCount, alignment: 8) { buffer in
            buffer[0] = 0
            entry.withBytes { UnsafeMutableRawBufferPointer(rebasing: buffer[1...]).copyMemory(from: $0) }
            return MerkleHash(sha256: UnsafeRawBufferPointer(buffer))
        }
    }

    /// The hash of a node: SHA-256(0x01 ‖ left ‖ right).
    public static func node(_ left: MerkleHash, _ right: MerkleHash) -> MerkleHash {
        withUnsafeTemporaryAllocation(byteCount: 1 + 2 * EventHash.byteCount, alignment: 8) { buffer in
            buffer[0] = 1
            left.withBytes { UnsafeMutableRawBufferPointer(rebasing: buffer[1..<33]).copyMemory(from: $0) }
            right.withBytes { UnsafeMutableRawBufferPointer(rebasing: buffer[33...]).copyMemory(from: $0) }
            return MerkleHash(sha256: UnsafeRawBufferPointer(buffer))
        }
    }

    /// The largest power of two below `count`, which is where a tree of more than one entry is split.
    static func split(_ count: Int64) -> Int64 {
        // A tree of one entry has no parts.
        count < 2 ? 0 : 1 << Int64(63 - (count - 1).leadingZeroBitCount)
    }

    /// The root that an inclusion proof leads to; nil where the proof has not the length that the sizes demand (RFC 9162, section 2.1.3.2).
    public static func root(
        ofEntry entry: EventHash, at index: Int64, in size: Int64, proof: [MerkleHash]
    ) -> MerkleHash? {
        guard index >= 0, index < size else { return nil }
        var (node, last) = (index, size - 1)
        var hash = leaf(entry)
        for sibling in proof {
            if last == 0 { return nil }
            if node & 1 == 1 || node == last {
                hash = Self.node(sibling, hash)
                while node & 1 == 0, node != 0 {
                    node >>= 1
                    last >>= 1
                }
            } else {
                hash = Self.node(hash, sibling)
            }
            node >>= 1
            last >>= 1
        }
        return last == 0 ? hash : nil
    }

    /// Whether a tree is the beginning of another (RFC 9162, section 2.1.4.2). The empty tree is that of any, with an empty proof.
    public static func isConsistent(
        _ old: (size: Int64, root: MerkleHash), _ new: (size: Int64, root: MerkleHash), proof: [MerkleHash]
    ) -> Bool {
        guard old.size >= 0, old.size <= new.size else { return false }
        if old.size == 0 { return proof.isEmpty && old.root == empty }
        if old.size == new.size { return proof.isEmpty && old.root == new.root }
        var path = proof[...]
        // A tree of a power of two is itself the first node.
        if old.size & (old.size - 1) == 0 { path = [old.root] + path }
        guard let first = path.popFirst() else { return false }
        var (node, last) = (old.size - 1, new.size - 1)
        while node & 1 == 1 {
            node >>= 1
            last >>= 1
        }
        var (oldRoot, newRoot) = (first, first)
        for sibling in path {
            if last == 0 { return false }
            if node & 1 == 1 || node == last {
                oldRoot = Self.node(sibling, oldRoot)
                newRoot = Self.node(sibling, newRoot)
                while node & 1 == 0, node != 0 {
                    node >>= 1
                    last >>= 1
                }
            } else {
                newRoot = Self.node(newRoot, sibling)
            }
            node >>= 1
            last >>= 1
        }
        return last == 0 && oldRoot == old.root && newRoot == new.root
    }
}

/// The right edge of a Merkle tree that grows: enough to know its root, in memory that is the logarithm of its size.
public struct MerkleFrontier: Sendable {
    /// How many entries it has.
    public private(set) var size: Int64 = 0
    /// The roots of the complete trees that it consists of, the largest first.
    private var peaks: [MerkleHash] = []

    public init() {}

    /// Adds the next entry.
    public mutating func append(_ entry: EventHash) {
        append(subtree: MerkleTree.leaf(entry), of: 1)
    }

    /// Adds a complete subtree of so many entries, a power of two of which the size so far is a multiple.
    public mutating func append(subtree root: MerkleHash, of count: Int64) {
        var hash = root
        // Each bit that the addition carries joins two trees of one size.
        var carry = size & ~(count - 1)
        var level = count
        while carry & level != 0, let left = peaks.popLast() {
            hash = MerkleTree.node(left, hash)
            carry &= ~level
            level <<= 1
        }
        peaks.append(hash)
        size += count
    }

    /// Adds the entries of another one, smaller than any complete tree of this.
    public mutating func append(contentsOf other: MerkleFrontier) {
        var left = other.size
        for peak in other.peaks {
            let count = Int64(1) << Int64(63 - left.leadingZeroBitCount)
            append(subtree: peak, of: count)
            left -= count
        }
    }

    /// The root of all entries so far.
    public var root: MerkleHash {
        guard var hash = peaks.last else { return MerkleTree.empty }
        for left in peaks.dropLast().reversed() { hash = MerkleTree.node(left, hash) }
        return hash
    }
}

/// A Merkle tree of which the roots of its tiles are kept, and every entry can be read.
///
/// A tile is ``tileSize`` entries, beginning at a multiple of that: with the roots of all of them (32 bytes for 256 events), a proof needs
/// to read no more than a few tiles' entries.
public struct TiledTree {
    public static let tileSize: Int64 = 256

    /// How many entries it has.
    public let size: Int64
    private let tiles: [MerkleHash]
    private let entries: (Range<Int64>) throws -> [EventHash]

    /// `tiles` are the roots of as many complete tiles as are kept, from the first on; `entries` reads the entries of a range.
    public init(size: Int64, tiles: [MerkleHash], entries: @escaping (Range<Int64>) throws -> [EventHash]) {
        self.size = size
        self.tiles = tiles
        self.entries = entries
    }

    /// The root of the first `count` entries.
    public func root(of count: Int64) throws -> MerkleHash {
        count <= 0 ? MerkleTree.empty : try hash(of: 0..<count)
    }

    /// The proof that the entry at an index is in the tree of the first `count`: from the leaf's sibling up (RFC 6962, section 2.1.1).
    public func inclusionProof(of index: Int64, in count: Int64) throws -> [MerkleHash] {
        guard index >= 0, index < count, count <= size else { throw ProofError.outOfRange }
        var path: [MerkleHash] = []
        var range = 0..<count
        while range.count > 1 {
            let middle = range.lowerBound + MerkleTree.split(Int64(range.count))
            if index < middle {
                path.append(try hash(of: middle..<range.upperBound))
                range = range.lowerBound..<middle
            } else {
                path.append(try hash(of: range.lowerBound..<middle))
                range = middle..<range.upperBound
            }
        }
        return path.reversed()
    }

    /// The proof that the tree of the first `old` entries is the beginning of that of the first `new` (RFC 6962, section 2.1.2).
    public func consistencyProof(from old: Int64, to new: Int64) throws -> [MerkleHash] {
        guard old >= 0, old <= new, new <= size else { throw ProofError.outOfRange }
        if old == 0 || old == new { return [] }
        var path: [MerkleHash] = []
        var range = 0..<new
        // Whether the part that is looked at is one that the holder of the old root knows by itself.
        var isKnown = true
        while range.upperBound != old {
            let middle = range.lowerBound + MerkleTree.split(Int64(range.count))
            if old <= middle {
                path.append(try hash(of: middle..<range.upperBound))
                range = range.lowerBound..<middle
            } else {
                path.append(try hash(of: range.lowerBound..<middle))
                range = middle..<range.upperBound
                isKnown = false
            }
        }
        if !isKnown { path.append(try hash(of: range)) }
        return path.reversed()
    }

    private func hash(of range: Range<Int64>) throws -> MerkleHash {
        let count = Int64(range.count)
        let tile = range.lowerBound / Self.tileSize
        if count == Self.tileSize, range.lowerBound % Self.tileSize == 0, tile < tiles.count {
            return tiles[Int(tile)]
        }
        if count <= Self.tileSize {
            let found = try entries(range)
            guard found.count == range.count else { throw ProofError.entriesMissing }
            var tree = MerkleFrontier()
            for entry in found { tree.append(entry) }
            return tree.root
        }
        let middle = range.lowerBound + MerkleTree.split(count)
        return MerkleTree.node(try hash(of: range.lowerBound..<middle), try hash(of: middle..<range.upperBound))
    }
}
