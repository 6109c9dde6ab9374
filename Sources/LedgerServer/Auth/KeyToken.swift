import Crypto
import Foundation

/// A virtual key: `gw-` and 64 characters of base64url: 42 random bytes and the first 6 bytes of their SHA-256, by which a
/// mistyped or truncated key can be told without a look-up.
struct KeyToken {
    /// Shown once, never stored.
    let text: String

    static let prefix = "gw-"

    /// A new key out of the system's entropy.
    init() {
        var generator = SystemRandomNumberGenerator()
        let random = (0..<42).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        let bytes = random + SHA256.hash(data: random).prefix(6)
        text =
            Self.prefix
            + Data(bytes).base64EncodedString()
            .replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
    }

    /// What is stored and looked up. The key has 256 random bits and more: it needs no slow hash.
    static func hash(_ token: String) -> [UInt8] { Array(SHA256.hash(data: Array(token.utf8))) }

    /// Whether a token has the form of a key; keys of the old gateway may be shorter.
    static func isWellFormed(_ token: String) -> Bool {
        token.hasPrefix(prefix) && (47...256).contains(token.utf8.count)
            && token.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x5F: true
                default: false
                }
            }
    }
}
