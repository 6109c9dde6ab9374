internal import Crypto
internal import FoundationEssentials

/// A text with signatures (C2SP, "signed-note").
public struct SignedNote: Hashable, Sendable {
    /// One line of the note's end: who signed, and what came out.
    public struct Signature: Hashable, Sendable {
        public let name: String
        /// The first four bytes of the key's digest, as a number: by it a key is found, not trusted.
        public let keyID: UInt32
        public let bytes: [UInt8]

        public init(name: String, keyID: UInt32, bytes: [UInt8]) {
            self.name = name
            self.keyID = keyID
            self.bytes = bytes
        }
    }

    /// The longest note that is read.
    static let maximumBytes = 1 << 16

    /// What was signed; it ends with a newline.
    public let text: String
    public let signatures: [Signature]

    public init(text: String, signatures: [Signature]) {
        self.text = text
        self.signatures = signatures
    }

    /// Reads a note; throws ``ProofError`` where it is none.
    public init(_ bytes: [UInt8]) throws(ProofError) {
        guard bytes.count <= Self.maximumBytes, let note = String(validating: bytes, as: UTF8.self),
            !bytes.contains(where: { $0 < 0x20 && $0 != 0x0A }), bytes.last == 0x0A
        else { throw .malformed("the note is no UTF-8 text of lines") }
        // The text ends at the last empty line, which belongs to neither part.
        let lines = note.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
        guard let gap = lines.lastIndex(of: ""), gap > 0 else { throw .malformed("the note has no signatures") }
        text = lines[..<gap].map { $0 + "\n" }.joined()
        var signatures: [Signature] = []
        for line in lines[(gap + 1)...] { signatures.append(try Self.signature(line)) }
        guard (1...64).contains(signatures.count) else { throw .malformed("the note has no signatures, or too many") }
        self.signatures = signatures
    }

    private static func signature(_ line: Substring) throws(ProofError) -> Signature {
        let parts = line.split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == "\u{2014}", NoteKey.isName(parts[1]),
            let bytes = Base64.decode(parts[2]), bytes.count > 4
        else { throw .malformed("a line of the note's signatures cannot be read") }
        let keyID = bytes[..<4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return Signature(name: String(parts[1]), keyID: keyID, bytes: Array(bytes[4...]))
    }

    /// The note as it is kept and sent.
    public var description: String {
        text + "\n"
            + signatures.map { signature in
                let id = withUnsafeBytes(of: signature.keyID.bigEndian) { Array($0) }
                return "\u{2014} \(signature.name) \(Base64.encode(id + signature.bytes))\n"
            }.joined()
    }

    /// Throws where no key that is known has signed it, or a signature of a known key is wrong. Others' signatures do not count.
    public func verify(_ keys: [NoteKey]) throws(ProofError) {
        var isSigned = false
        for signature in signatures {
            for key in keys where key.name == signature.name && key.id == signature.keyID {
                guard key.isValid(signature.bytes, of: text) else { throw .wrongSignature }
                isSigned = true
            }
        }
        if !isSigned { throw .unsigned }
    }
}

/// The public half of a key that signs notes, with Ed25519 (RFC 8032).
public struct NoteKey: Hashable, Sendable, CustomStringConvertible {
    public let name: String
    public let id: UInt32
    private let publicKey: [UInt8]

    init(name: String, publicKey: [UInt8]) {
        self.name = name
        self.publicKey = publicKey
        id = Self.id(name, publicKey)
    }

    /// Reads `name+id+key`, the form in which such keys are published; nil where it is not one, or its id is another key's.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "+", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, Self.isName(parts[0]), let key = Base64.decode(parts[2]), key.count == 33, key[0] == 1,
            (try? Curve25519.Signing.PublicKey(rawRepresentation: key[1...])) != nil
        else { return nil }
        self.init(name: String(parts[0]), publicKey: Array(key[1...]))
        guard parts[1] == hexID else { return nil }
    }

    /// `name+id+key`.
    public var description: String { "\(name)+\(hexID)+\(Base64.encode([1] + publicKey))" }

    private var hexID: String {
        let digits = String(id, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }

    /// A name is not empty, and has no space and no plus in it.
    static func isName(_ text: some StringProtocol) -> Bool {
        !text.isEmpty
            && text.unicodeScalars.allSatisfy { !$0.properties.isWhitespace && $0 != "+" && $0.value >= 0x20 }
    }

    /// The id of an Ed25519 key (C2SP, "signed-note", section "Ed25519 signatures").
    private static func id(_ name: String, _ publicKey: [UInt8]) -> UInt32 {
        let digest = SHA256.hash(data: Array(name.utf8) + [0x0A, 0x01] + publicKey)
        return digest.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    }

    func isValid(_ signature: [UInt8], of text: String) -> Bool {
        guard let key = try? Curve25519.Signing.PublicKey(rawRepresentation: publicKey) else { return false }
        return key.isValidSignature(signature, for: Array(text.utf8))
    }
}

/// A key that signs notes. Its text is a secret.
public struct NoteSigner: Sendable {
    public let key: NoteKey
    private let seed: [UInt8]

    private static let prefix = "PRIVATE+KEY+"

    /// A key of a name and 32 secret bytes; nil where the name cannot be one.
    public init?(name: String, seed: [UInt8]) {
        guard NoteKey.isName(name), let key = try? Curve25519.Signing.PrivateKey(rawRepresentation: seed) else {
            return nil
        }
        self.seed = seed
        self.key = NoteKey(name: name, publicKey: Array(key.publicKey.rawRepresentation))
    }

    /// Reads `PRIVATE+KEY+name+id+key`; nil where it is not one.
    public init?(_ text: some StringProtocol) {
        guard text.hasPrefix(Self.prefix) else { return nil }
        let parts = text.dropFirst(Self.prefix.count).split(
            separator: "+", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, let key = Base64.decode(parts[2]), key.count == 33, key[0] == 1 else { return nil }
        self.init(name: String(parts[0]), seed: Array(key[1...]))
        guard secret == text else { return nil }
    }

    /// The text that ``init(_:)`` reads.
    public var secret: String {
        let id = key.description.split(separator: "+")[1]
        return "\(Self.prefix)\(key.name)+\(id)+\(Base64.encode([1] + seed))"
    }

    /// A signature of a text.
    public func sign(_ text: String) throws -> SignedNote.Signature {
        let key = try Curve25519.Signing.PrivateKey(rawRepresentation: seed)
        let signature = try key.signature(for: Array(text.utf8))
        return SignedNote.Signature(name: self.key.name, keyID: self.key.id, bytes: Array(signature))
    }
}

/// Base 64 as C2SP's documents want it (RFC 4648, section 4), read in its one canonical form.
enum Base64 {
    static func encode(_ bytes: some Sequence<UInt8>) -> String { Data(bytes).base64EncodedString() }

    static func decode(_ text: some StringProtocol) -> [UInt8]? {
        guard let data = Data(base64Encoded: String(text)), encode(data) == text else { return nil }
        return Array(data)
    }
}

/// Why a proof, or what it is made of, does not count.
public enum ProofError: Error, Hashable, Sendable, CustomStringConvertible {
    case malformed(String)
    /// A signature of a key that is trusted is wrong.
    case wrongSignature
    /// No key that is trusted has signed it.
    case unsigned
    /// The hashes do not lead to the root that was signed.
    case wrongRoot
    /// What was proven is not what the proof says that it is.
    case wrongRecord(String)
    /// An index or a size that the tree does not have.
    case outOfRange
    /// Entries that the tree must have cannot be read.
    case entriesMissing
    /// A checkpoint of another log.
    case otherOrigin(String)

    public var description: String {
        switch self {
        case .malformed(let detail): "it cannot be read: \(detail)"
        case .wrongSignature: "the signature of a trusted key is wrong"
        case .unsigned: "no trusted key has signed the checkpoint"
        case .wrongRoot: "the hashes do not lead to the root that was signed"
        case .wrongRecord(let detail): "the record is not the one of that place: \(detail)"
        case .outOfRange: "the ledger has no such position"
        case .entriesMissing: "events are missing"
        case .otherOrigin(let origin): "the checkpoint is of another log: \(origin)"
        }
    }
}
