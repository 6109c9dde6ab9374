import Crypto
import Foundation
import JWTKit

/// A key that access tokens are signed and verified with: a shared secret (HS256) or an Ed25519 key (EdDSA).
public struct SigningKey: Sendable {
    enum Material: Sendable {
        case secret([UInt8])
        case ed25519(EdDSA.PrivateKey)
    }

    let material: Material
    /// Names the key in the header of its tokens (`kid`).
    public let id: String

    /// The bytes that a secret should have (RFC 7518, section 3.2). A shorter one can be found out of a token. Who has it still needs the id of
    /// somebody's live session to forge a token for them: such ids are random, and are in the operator's log and ledger only.
    public static let secretBytes = 32

    /// A secret; nil for an empty one.
    public init?(secret: String) {
        let bytes = Array(secret.utf8)
        guard !bytes.isEmpty else { return nil }
        material = .secret(bytes)
        // A mac tells no more of the secret than any token does.
        let mac = HMAC<SHA256>.authenticationCode(for: Array("kid".utf8), using: SymmetricKey(data: bytes))
        id = Base64URL.text(mac.prefix(9))
    }

    /// A private Ed25519 key in PEM (PKCS #8); nil for anything else.
    public init?(ed25519PEM pem: String) {
        guard let key = try? EdDSA.PrivateKey(pem: pem) else { return nil }
        material = .ed25519(key)
        id = Base64URL.text(SHA256.hash(data: key.publicKey.rawRepresentation).prefix(9))
    }

    /// The name of its algorithm (RFC 7518, RFC 8037).
    public var algorithm: String {
        switch material {
        case .secret: "HS256"
        case .ed25519: "EdDSA"
        }
    }

    /// The public half as a JSON Web Key (RFC 8037); nil for a secret.
    public var publicJWK: String? {
        guard case .ed25519(let key) = material else { return nil }
        let x = Base64URL.text(key.publicKey.rawRepresentation)
        return #"{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"\#(id)","x":"\#(x)"}"#
    }

    func add(to keys: JWTKeyCollection) async {
        let kid = JWKIdentifier(string: id)
        switch material {
        case .secret(var bytes):
            // A mac fills a shorter key up with zeros itself (RFC 2104); the library demands 32 bytes.
            bytes += [UInt8](repeating: 0, count: max(0, Self.secretBytes - bytes.count))
            await keys.add(hmac: HMACKey(from: bytes), digestAlgorithm: .sha256, kid: kid)
        case .ed25519(let key):
            await keys.add(eddsa: key, kid: kid)
        }
    }
}
