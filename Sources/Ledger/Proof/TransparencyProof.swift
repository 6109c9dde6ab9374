/// A proof that an event is in the tree of a signed checkpoint (C2SP, "tlog-proof").
///
/// Its `extra` line carries the event's canonical bytes. They are what the entry is the SHA-256 of, so they need not be trusted: another
/// event would give another entry.
public struct InclusionProof: Hashable, Sendable {
    /// Zero-based; the event's position is one more.
    public let index: Int64
    /// The event's canonical bytes.
    public let record: [UInt8]
    /// From the leaf's sibling up.
    public let hashes: [MerkleHash]
    public let checkpoint: SignedNote

    static let header = "c2sp.org/tlog-proof@v1"

    public init(index: Int64, record: [UInt8], hashes: [MerkleHash], checkpoint: SignedNote) {
        self.index = index
        self.record = record
        self.hashes = hashes
        self.checkpoint = checkpoint
    }

    /// The proof as a file.
    public var description: String {
        var lines = [Self.header, "extra \(Base64.encode(record))", "index \(index)"]
        lines += hashes.map { Base64.encode($0.bytes) }
        return lines.joined(separator: "\n") + "\n\n" + checkpoint.description
    }

    /// Reads a proof from lines, of which the last is empty and stands for the final newline.
    init(_ lines: ArraySlice<Substring>) throws(ProofError) {
        var lines = lines
        guard lines.popFirst() == Self.header[...], let extra = lines.popFirst(), extra.hasPrefix("extra "),
            let record = Base64.decode(extra.dropFirst(6))
        else { throw .malformed("the event is missing") }
        guard let place = lines.popFirst(), place.hasPrefix("index "),
            let index = DecimalText.number(place.dropFirst(6))
        else { throw .malformed("the index is missing") }
        self.index = index
        self.record = record
        (hashes, checkpoint) = try Self.hashesAndNote(lines)
    }

    /// Reads hashes, an empty line, and a note.
    static func hashesAndNote(_ lines: ArraySlice<Substring>) throws(ProofError) -> ([MerkleHash], SignedNote) {
        guard let gap = lines.firstIndex(of: "") else { throw .malformed("there is no checkpoint") }
        var hashes: [MerkleHash] = []
        for line in lines[..<gap] {
            guard let hash = MerkleHash(base64: line), hashes.count < 63 else {
                throw .malformed("the hashes cannot be read")
            }
            hashes.append(hash)
        }
        let note = lines[(gap + 1)...].joined(separator: "\n")
        return (hashes, try SignedNote(Array(note.utf8)))
    }

    /// The event, and the checkpoint that it is in, where all of it holds.
    public func verify(_ keys: [NoteKey]) throws(ProofError) -> (record: ProvenRecord, checkpoint: Checkpoint) {
        let signed = try Checkpoint(checkpoint, signedByOneOf: keys)
        let found = try ProvenRecord(record)
        guard MerkleTree.root(ofEntry: found.hash, at: index, in: signed.size, proof: hashes) == signed.root else {
            throw .wrongRoot
        }
        guard found.event.position == index + 1 else {
            throw .wrongRecord("it says position \(found.event.position)")
        }
        return (found, signed)
    }
}

/// A proof that the history that an older checkpoint is of was not changed since (the body of C2SP's "tlog-witness", `add-checkpoint`).
public struct ConsistencyProof: Hashable, Sendable {
    public let oldSize: Int64
    public let hashes: [MerkleHash]
    public let checkpoint: SignedNote

    public init(oldSize: Int64, hashes: [MerkleHash], checkpoint: SignedNote) {
        self.oldSize = oldSize
        self.hashes = hashes
        self.checkpoint = checkpoint
    }

    /// The proof as a file.
    public var description: String {
        (["old \(oldSize)"] + hashes.map { Base64.encode($0.bytes) }).joined(separator: "\n") + "\n\n"
            + checkpoint.description
    }

    init(_ lines: ArraySlice<Substring>) throws(ProofError) {
        var lines = lines
        guard let old = lines.popFirst(), old.hasPrefix("old "), let size = DecimalText.number(old.dropFirst(4)) else {
            throw .malformed("the old size is missing")
        }
        oldSize = size
        (hashes, checkpoint) = try InclusionProof.hashesAndNote(lines)
    }

    /// The two checkpoints, where both are signed and the one grew out of the other.
    public func verify(
        from old: SignedNote, _ keys: [NoteKey]
    ) throws(ProofError) -> (old: Checkpoint, new: Checkpoint) {
        let before = try Checkpoint(old, signedByOneOf: keys)
        let after = try Checkpoint(checkpoint, signedByOneOf: keys)
        guard before.origin == after.origin else { throw .otherOrigin(before.origin) }
        guard before.size == oldSize else { throw .malformed("it is not about the checkpoint of size \(before.size)") }
        guard MerkleTree.isConsistent((before.size, before.root), (after.size, after.root), proof: hashes) else {
            throw .wrongRoot
        }
        return (before, after)
    }
}

/// A file that proves something.
public enum ProofFile: Hashable, Sendable {
    /// That events are in the ledger: one proof behind the other.
    case inclusion([InclusionProof])
    /// That a history was only added to.
    case consistency(ConsistencyProof)
    /// That somebody signed a state of the ledger.
    case checkpoint(SignedNote)

    /// The longest file that is read.
    public static let maximumBytes = 1 << 28

    /// What proofs of one file must have in common: one history. Gives each event with its checkpoint, where all of it holds.
    public static func verify(
        _ proofs: [InclusionProof], _ keys: [NoteKey]
    ) throws(ProofError) -> [(record: ProvenRecord, checkpoint: Checkpoint)] {
        var found: [(record: ProvenRecord, checkpoint: Checkpoint)] = []
        var hashes: [Int64: EventHash] = [:]
        var roots: [Int64: MerkleHash] = [:]
        for proof in proofs {
            let (record, checkpoint) = try proof.verify(keys)
            if let first = found.first?.checkpoint, first.origin != checkpoint.origin {
                throw .otherOrigin(checkpoint.origin)
            }
            guard hashes[record.event.position] ?? record.hash == record.hash,
                roots[checkpoint.size] ?? checkpoint.root == checkpoint.root
            else { throw .wrongRecord("another proof of the file tells another history") }
            hashes[record.event.position] = record.hash
            roots[checkpoint.size] = checkpoint.root
            found.append((record, checkpoint))
        }
        // Each event names the hash of the one before it, which the file may prove, too.
        for (record, _) in found {
            if let before = hashes[record.event.position - 1], before != record.previous {
                throw .wrongRecord("the event before it is another")
            }
        }
        return found
    }

    /// Reads a file; what is in it holds only after it was verified.
    public init(_ bytes: [UInt8]) throws(ProofError) {
        guard let text = String(validating: bytes, as: UTF8.self), bytes.last == 0x0A else {
            throw .malformed("it is no text of lines")
        }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        if lines[0].hasPrefix("old ") {
            self = .consistency(try ConsistencyProof(lines[...]))
        } else if lines[0] == InclusionProof.header {
            var proofs: [InclusionProof] = []
            var start = 0
            while start < lines.count - 1 {
                let next = lines[(start + 1)...].firstIndex { $0 == InclusionProof.header }
                // The lines of all but the last proof end with one that is empty, like those of a file.
                let own = next.map { lines[start..<$0] + [""] } ?? lines[start...]
                proofs.append(try InclusionProof(own))
                start = next ?? lines.count
            }
            self = .inclusion(proofs)
        } else {
            self = .checkpoint(try SignedNote(bytes))
        }
    }
}

/// An event as its canonical bytes say it, with its hash: what a proof carries.
public struct ProvenRecord: Hashable, Sendable {
    public let event: RecordedEvent
    /// The hash of the event before it.
    public let previous: EventHash
    public let hash: EventHash

    /// Reads an event's canonical bytes (ARCHITECTURE.md, "The hash chain").
    public init(_ bytes: [UInt8]) throws(ProofError) {
        let parts = bytes.withUnsafeBytes { CanonicalParts($0) }
        guard let parts else { throw .malformed("the event's canonical bytes are not complete") }
        hash = bytes.withUnsafeBytes { EventHash(sha256: $0) }
        previous = parts.previous
        let result = bytes.withUnsafeBufferPointer { buffer in
            Result { () throws(EventCodingError) in
                func text(_ range: Range<Int>) -> UnsafeBufferPointer<UInt8> {
                    UnsafeBufferPointer(rebasing: buffer[range])
                }
                return try StoredBytes(
                    position: parts.numbers[0], version: parts.numbers[1], recordedAt: parts.numbers[2],
                    effectiveAt: parts.numbers[3], account: text(parts.texts[0]), type: text(parts.texts[1]),
                    key: text(parts.texts[2]), data: text(parts.texts[3])
                ).decoded()
            }
        }
        switch result {
        case .success(let event): self.event = event
        case .failure(let error): throw .wrongRecord(error.description)
        }
    }
}

/// Where the parts of an event's canonical bytes lie.
private struct CanonicalParts {
    let previous: EventHash
    /// position, version, recordedAt, effectiveAt
    var numbers: [Int64] = []
    /// account, type, key, data
    var texts: [Range<Int>] = []

    init?(_ bytes: UnsafeRawBufferPointer) {
        var offset = EventHash.byteCount
        guard bytes.count >= offset + 32,
            let previous = EventHash(bytes: UnsafeRawBufferPointer(rebasing: bytes[..<offset]))
        else { return nil }
        self.previous = previous
        for _ in 0..<4 {
            numbers.append(Int64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int64.self)))
            offset += 8
        }
        for _ in 0..<4 {
            guard offset + 4 <= bytes.count else { return nil }
            let length = Int(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
            offset += 4
            guard length <= bytes.count - offset else { return nil }
            texts.append(offset..<offset + length)
            offset += length
        }
        guard offset == bytes.count else { return nil }
    }
}
