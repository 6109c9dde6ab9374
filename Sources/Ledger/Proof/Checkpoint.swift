/// The head of a ledger's Merkle tree, as it is signed and published (C2SP, "tlog-checkpoint").
public struct Checkpoint: Hashable, Sendable {
    /// Which log it is of; the name of the key that signs it is the same.
    public let origin: String
    /// How many events the tree has: the position of the last.
    public let size: Int64
    public let root: MerkleHash

    public init(origin: String, size: Int64, root: MerkleHash) {
        self.origin = origin
        self.size = size
        self.root = root
    }

    /// The note's text.
    public var text: String { "\(origin)\n\(size)\n\(Base64.encode(root.bytes))\n" }

    /// Reads a note's text; extension lines behind the first three are allowed and say nothing.
    public init(text: String) throws(ProofError) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count >= 4, lines.last == "", !lines.dropLast().contains(""),
            let size = DecimalText.number(lines[1]), let root = MerkleHash(base64: lines[2])
        else { throw .malformed("the note is no checkpoint") }
        origin = String(lines[0])
        self.size = size
        self.root = root
    }

    /// The checkpoint in a note whose signatures hold: one of the keys named like the origin has signed it.
    public init(_ note: SignedNote, signedByOneOf keys: [NoteKey]) throws(ProofError) {
        try self.init(text: note.text)
        let own = keys.filter { [origin] in $0.name == origin }
        guard !own.isEmpty else { throw .otherOrigin(origin) }
        try note.verify(own)
    }

    /// Signs it with each of the keys.
    public func signed(by signers: [NoteSigner]) throws -> SignedNote {
        SignedNote(text: text, signatures: try signers.map { try $0.sign(text) })
    }
}

extension EventHash {
    /// Reads 32 bytes in base 64.
    init?(base64 text: some StringProtocol) {
        guard let bytes = Base64.decode(text) else { return nil }
        let hash = bytes.withUnsafeBytes(EventHash.init(bytes:))
        guard let hash else { return nil }
        self = hash
    }
}

/// Decimal numbers without leading zeros, as C2SP's documents write them.
enum DecimalText {
    static func number(_ text: some StringProtocol) -> Int64? {
        guard let number = Int64(text), number >= 0, String(number) == text else { return nil }
        return number
    }
}
