public import Crypto
import Foundation

/// A secret that the gateway hands out once and keeps only as its SHA-256: a virtual key, a refresh token, a one-time code.
///
/// Its text is a prefix that says what it is, and 64 characters of base64url: 42 random bytes (336 bits, so that no slow hash is needed)
/// and the first 6 bytes of their SHA-256, by which a mistyped or truncated secret is told without a look-up.
public struct SecretToken: Sendable {
    /// What a secret is for; one kind is never taken for another.
    public enum Kind: String, Sendable, CaseIterable {
        case key = "gw-"
        case refresh = "gr-"
        case code = "gc-"
        case state = "gs-"
    }

    /// Shown once, never stored.
    public let text: String

    /// A new secret out of `entropy`.
    public init(_ kind: Kind, using entropy: inout some RandomNumberGenerator) {
        let random = (0..<42).map { _ in UInt8.random(in: .min ... .max, using: &entropy) }
        text = kind.rawValue + Base64URL.text(random + SHA256.hash(data: random).prefix(6))
    }

    /// A new secret out of the system's entropy.
    public init(_ kind: Kind) {
        var entropy = SystemRandomNumberGenerator()
        self.init(kind, using: &entropy)
    }

    /// What is stored and looked up.
    public var hash: [UInt8] { Self.hash(text) }

    /// The SHA-256 of a secret's text.
    public static func hash(_ text: String) -> [UInt8] { Array(SHA256.hash(data: Array(text.utf8))) }

    /// Whether a text is a secret of that kind, its checksum included.
    public static func isWhole(_ text: String, _ kind: Kind) -> Bool {
        guard text.hasPrefix(kind.rawValue), let bytes = Base64URL.bytes(text.dropFirst(kind.rawValue.count)),
            bytes.count == 48
        else { return false }
        return SHA256.hash(data: bytes.prefix(42)).prefix(6).elementsEqual(bytes.suffix(6))
    }

    /// Whether a text has the form of a virtual key. Keys of the old gateway may be shorter, and have no checksum.
    public static func isKeyShaped(_ text: String) -> Bool {
        text.hasPrefix(Kind.key.rawValue) && (47...256).contains(text.utf8.count)
            && text.utf8.allSatisfy(Base64URL.isDigit)
    }
}

extension SecretToken {
    /// A secret enclosed so that only who knows `opener` can read it: AES-256-GCM under a key derived from `opener` (HKDF-SHA256, RFC 5869).
    ///
    /// A refresh token's successor is kept so for a few seconds, for a client to which the answer was lost: the database alone tells it
    /// to nobody.
    public func sealed(for opener: String) throws -> [UInt8] {
        Array(try AES.GCM.seal(Array(text.utf8), using: Self.key(from: opener)).combined ?? Data())
    }

    /// The text that was sealed for `opener`; nil where it was not, or was changed.
    public static func opened(_ sealed: [UInt8], with opener: String) -> String? {
        guard let box = try? AES.GCM.SealedBox(combined: sealed),
            let text = try? AES.GCM.open(box, using: key(from: opener))
        else { return nil }
        return String(data: text, encoding: .utf8)
    }

    private static func key(from opener: String) -> SymmetricKey {
        HKDF<SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: Array(opener.utf8)), info: Array("refresh token successor".utf8),
            outputByteCount: 32)
    }
}

/// Base64 with the alphabet for addresses and without padding (RFC 4648, section 5).
public enum Base64URL {
    public static func text(_ bytes: some Sequence<UInt8>) -> String {
        Data(bytes).base64EncodedString().replacingOccurrences(of: "+", with: "-")
            .replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
    }

    /// The bytes that a text stands for; nil where it is no base64url, or where it could be written otherwise.
    public static func bytes(_ text: some StringProtocol) -> [UInt8]? {
        guard text.utf8.allSatisfy(isDigit) else { return nil }
        let standard = text.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
        let padding = String(repeating: "=", count: (4 - standard.utf8.count % 4) % 4)
        guard let data = Data(base64Encoded: standard + padding), self.text(data) == text else { return nil }
        return Array(data)
    }

    static func isDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x5F: true
        default: false
        }
    }
}

/// Proof Key for Code Exchange (RFC 7636), method S256 only.
public enum ProofKey {
    /// The challenge of a verifier.
    public static func challenge(of verifier: String) -> String {
        Base64URL.text(SHA256.hash(data: Array(verifier.utf8)))
    }

    /// Whether a text can be a challenge: the base64url of 32 bytes.
    public static func isChallenge(_ text: String) -> Bool { Base64URL.bytes(text)?.count == 32 }

    /// Whether a text can be a verifier: 43 to 128 unreserved characters.
    public static func isVerifier(_ text: String) -> Bool {
        (43...128).contains(text.utf8.count)
            && text.utf8.allSatisfy { Base64URL.isDigit($0) || $0 == 0x2E || $0 == 0x7E }
    }
}

extension SHA256 {
    /// Whether two texts are the same, in a time that tells nothing of where they differ.
    public static func areSame(_ left: String, _ right: String) -> Bool {
        // Digests compare in constant time.
        hash(data: Array(left.utf8)) == hash(data: Array(right.utf8))
    }
}
