import Authentication
import CryptoExtras
import Foundation
import Ledger
import Testing

@Suite("Identity tokens of providers")
struct IDTokenTests {
    static let rules = IDTokenRules(
        provider: "corp", issuer: "https://id.example", audiences: ["client", "other-client"], nonce: "n-1",
        requiresVerifiedEmail: true)

    static func payload(_ changes: [String: String] = [:]) -> String {
        var members = [
            "iss": #""https://id.example""#, "aud": #""client""#, "sub": #""person-1""#, "nonce": #""n-1""#,
            "iat": "\(Timestamp.noon.seconds)", "exp": "\(Timestamp.noon.seconds + 600)",
            "email": #""a@example.com""#, "email_verified": "true", "name": #""Ann""#,
            "picture": #""https://id.example/a.png""#,
        ]
        for (name, value) in changes { members[name] = value.isEmpty ? nil : value }
        return "{" + members.sorted { $0.key < $1.key }.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}"
    }

    static func token(_ changes: [String: String] = [:], header: String = #"{"alg":"RS256","kid":"k1"}"#) throws
        -> String
    {
        let key = try #require(ProviderFixture.key)
        return try Forge(header: header, payload: payload(changes)).rs256(key)
    }

    static func keys() throws -> ProviderKeys {
        let key = try #require(ProviderFixture.key)
        return try #require(try ProviderFixture.keys(ProviderFixture.jwk(key, kid: "k1")))
    }

    @Test("a good token says who somebody is")
    func good() async throws {
        let claims = try await Self.rules.verify(try Self.token(), keys: Self.keys(), at: .noon)
        #expect(
            claims
                == ProviderClaims(
                    provider: "corp", subject: "person-1", email: "a@example.com", isEmailVerified: true, name: "Ann",
                    avatarURL: "https://id.example/a.png"))
    }

    /// What is changed of a good token, and why it is not taken then.
    static let wrong: [([String: String], IdentityFault)] = [
        (["iss": #""https://id.example/""#], .issuer), (["iss": #""http://id.example""#], .issuer),
        (["iss": #""accounts.google.com""#], .issuer),
        (["aud": #""somebody""#], .audience), (["aud": "[]"], .audience),
        (["aud": #"["client","x"]"#], .audience), (["aud": #"["client","x"]"#, "azp": #""x""#], .audience),
        (["azp": #""x""#], .audience), (["exp": "\(Timestamp.noon.seconds - 60)"], .time), (["exp": "-1e300"], .time),
        (["iat": "\(Timestamp.noon.seconds + 61)"], .time), (["iat": "1e300"], .time),
        (["nbf": "\(Timestamp.noon.seconds + 61)"], .time), (["nonce": #""n-2""#], .nonce), (["nonce": ""], .nonce),
        (["sub": #""""#], .subject), (["sub": "\"\(String(repeating: "x", count: 256))\""], .subject),
        (["email": ""], .email), (["email_verified": ""], .email), (["email_verified": "false"], .email),
        (["email_verified": #""true""#], .email), (["email_verified": "1"], .email), (["email": #""no at""#], .email),
        (["sub": ""], .malformed), (["aud": ""], .malformed), (["exp": ""], .malformed), (["iat": ""], .malformed),
        (["exp": #""soon""#], .malformed), (["aud": "{}"], .malformed),
    ]

    @Test("what is wrong in a token is told", arguments: wrong)
    func wrongClaims(changes: [String: String], fault: IdentityFault) async throws {
        let token = try Self.token(changes)
        let keys = try Self.keys()
        await #expect(throws: fault) { try await Self.rules.verify(token, keys: keys, at: .noon) }
    }

    @Test(
        "what is unusual and right is taken",
        arguments: [
            ["aud": #"["client"]"#], ["aud": #"["x","client"]"#, "azp": #""client""#],
            ["aud": #""other-client""#], ["exp": "\(Timestamp.noon.seconds - 59)"],
            ["iat": "\(Timestamp.noon.seconds + 60)"], ["iat": "\(Timestamp.noon.seconds).5"],
            ["name": "", "picture": ""],
            ["nbf": "\(Timestamp.noon.seconds)"],
        ])
    func unusual(changes: [String: String]) async throws {
        let claims = try await Self.rules.verify(try Self.token(changes), keys: Self.keys(), at: .noon)
        #expect(claims.subject == "person-1")
    }

    @Test("only RS256 by a key that the provider publishes verifies")
    func signatures() async throws {
        let key = try #require(ProviderFixture.key)
        let other = try #require(ProviderFixture.other)
        let keys = try Self.keys()
        let modulus = Array(try key.publicKey.getKeyPrimitives().modulus)
        func forge(_ alg: String, _ kid: String = "k1") -> Forge {
            Forge(header: #"{"alg":"\#(alg)","kid":"\#(kid)"}"#, payload: Self.payload())
        }
        let forged: [(String, String, IdentityFault)] = [
            ("another key", try forge("RS256").rs256(other), .signature),
            ("an unknown key", try forge("RS256", "k2").rs256(other), .unknownKey),
            ("RS512", try forge("RS512").rs512(key), .algorithm),
            ("RS512 that says RS256", try forge("RS256").rs512(key), .signature),
            ("none", forge("none").signed([]), .algorithm),
            ("the public key as a secret", forge("HS256").hs256(key: modulus), .algorithm),
            ("the public key as a secret, named RS256", forge("RS256").hs256(key: modulus), .signature),
            ("no signature", forge("RS256").signed([]), .signature), ("nothing", "", .malformed),
            ("no token", "a.b.c", .malformed),
        ]
        for (name, token, fault) in forged {
            await #expect(throws: fault, "\(name)") { try await Self.rules.verify(token, keys: keys, at: .noon) }
        }
    }

    @Test("a number in a header is refused and stops nothing", arguments: AccessTokenTests.numbers)
    func numbersInHeaders(number: String) async throws {
        let keys = try Self.keys()
        for header in [#"{"alg":"RS256","kid":"k1","x":\#(number)}"#, #"{"alg":"RS256","kid":\#(number)}"#] {
            let token = try Self.token(header: header)
            await #expect(throws: IdentityFault.malformed) { try await Self.rules.verify(token, keys: keys, at: .noon) }
        }
    }

    @Test("a forged algorithm does not spoil a key without alg for the tokens behind it")
    func pinned() async throws {
        let keys = try Self.keys()
        let key = try #require(ProviderFixture.key)
        let forged = try Forge(header: #"{"alg":"PS512","kid":"k1"}"#, payload: Self.payload()).rs512(key)
        await #expect(throws: IdentityFault.algorithm) { try await Self.rules.verify(forged, keys: keys, at: .noon) }
        #expect(try await Self.rules.verify(try Self.token(), keys: keys, at: .noon).subject == "person-1")
    }

    @Test("keys that cannot be used cost the others nothing")
    func mixedKeySet() async throws {
        let key = try #require(ProviderFixture.key)
        let set = try ProviderFixture.keys(
            #"{"kty":"oct","kid":"o","k":"AAAA"}"#, #"{"kty":"EC","crv":"P-999","kid":"e","x":"AA","y":"AA"}"#,
            #"{"kty":"EC","crv":"P-256","kid":"k1","x":"AA","y":"AA"}"#, #"{"kty":7}"#, "null", "[]",
            ProviderFixture.jwk(key, kid: "enc", more: #""use":"enc","#),
            ProviderFixture.jwk(key, kid: "rs512", more: #""alg":"RS512","#),
            ProviderFixture.jwk(key, kid: "k1", more: #""alg":"RS256","use":"sig","#))
        let keys = try #require(set)
        #expect(try await Self.rules.verify(try Self.token(), keys: keys, at: .noon).subject == "person-1")
        for kid in ["enc", "rs512", "o", "e"] {
            let token = try Self.token(header: #"{"alg":"RS256","kid":"\#(kid)"}"#)
            await #expect(throws: IdentityFault.unknownKey) {
                try await Self.rules.verify(token, keys: keys, at: .noon)
            }
        }
        for text in ["", "[]", "{}", #"{"keys":{}}"#, "not json"] {
            #expect(ProviderKeys(jwks: Array(text.utf8)) == nil)
        }
    }

    @Test("a token without kid is verified by the only key, and by none of several")
    func withoutKid() async throws {
        let key = try #require(ProviderFixture.key)
        let other = try #require(ProviderFixture.other)
        let token = try Self.token(header: #"{"alg":"RS256"}"#)
        for kid in ["k1", nil] {
            let one = try #require(try ProviderFixture.keys(ProviderFixture.jwk(key, kid: kid)))
            #expect(try await Self.rules.verify(token, keys: one, at: .noon).subject == "person-1")
        }
        let two = try #require(
            try ProviderFixture.keys(ProviderFixture.jwk(key, kid: "k1"), ProviderFixture.jwk(other, kid: "k2")))
        await #expect(throws: IdentityFault.unknownKey) { try await Self.rules.verify(token, keys: two, at: .noon) }
    }

    @Test("Google's two names are one, and only Google's")
    func google() async throws {
        let rules = IDTokenRules(
            provider: "google", issuer: "https://accounts.google.com", audiences: ["client"], nonce: nil,
            requiresVerifiedEmail: false)
        let keys = try Self.keys()
        for issuer in ["accounts.google.com", "https://accounts.google.com"] {
            let token = try Self.token(["iss": "\"\(issuer)\"", "email_verified": "false"])
            let claims = try await rules.verify(token, keys: keys, at: .noon)
            #expect(!claims.isEmailVerified)
        }
        let token = try Self.token(["iss": #""evil.google.com""#])
        await #expect(throws: IdentityFault.issuer) { try await rules.verify(token, keys: keys, at: .noon) }
    }
}
