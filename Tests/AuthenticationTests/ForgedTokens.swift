import Authentication
import Crypto
import CryptoExtras
import Foundation
import Ledger

/// Tokens written by hand, so that each part of them can be what no library would write.
struct Forge {
    let header: String
    let payload: String

    /// What is signed.
    var input: String { Base64URL.text(Array(header.utf8)) + "." + Base64URL.text(Array(payload.utf8)) }

    func signed(_ signature: some Sequence<UInt8>) -> String { input + "." + Base64URL.text(signature) }

    func hs256(_ secret: String) -> String {
        signed(HMAC<SHA256>.authenticationCode(for: Array(input.utf8), using: SymmetricKey(data: Array(secret.utf8))))
    }

    func hs256(key: [UInt8]) -> String {
        signed(HMAC<SHA256>.authenticationCode(for: Array(input.utf8), using: SymmetricKey(data: key)))
    }

    func rs256(_ key: _RSA.Signing.PrivateKey) throws -> String {
        signed(
            try key.signature(for: SHA256.hash(data: Array(input.utf8)), padding: .insecurePKCS1v1_5).rawRepresentation)
    }

    func rs512(_ key: _RSA.Signing.PrivateKey) throws -> String {
        signed(
            try key.signature(for: SHA512.hash(data: Array(input.utf8)), padding: .insecurePKCS1v1_5).rawRepresentation)
    }
}

/// RSA keys: made once, since making one takes long.
enum ProviderFixture {
    static let key = try? _RSA.Signing.PrivateKey(keySize: .bits2048)
    static let other = try? _RSA.Signing.PrivateKey(keySize: .bits2048)

    /// A JSON Web Key of a public half.
    static func jwk(_ key: _RSA.Signing.PrivateKey, kid: String?, more: String = "") throws -> String {
        let primitives = try key.publicKey.getKeyPrimitives()
        let name = kid.map { #""kid":"\#($0)","# } ?? ""
        return
            #"{"kty":"RSA",\#(name)\#(more)"n":"\#(Base64URL.text(primitives.modulus))","e":"\#(Base64URL.text(primitives.publicExponent))"}"#
    }

    static func keys(_ jwks: String...) throws -> ProviderKeys? {
        ProviderKeys(jwks: Array(#"{"keys":[\#(jwks.joined(separator: ","))]}"#.utf8))
    }
}

extension Timestamp {
    /// 2026-03-01T12:00:00Z, the frozen instant of these tests.
    static let noon = Timestamp(microseconds: 1_772_366_400_000_000)
    var seconds: Int64 { microseconds / 1_000_000 }
}
