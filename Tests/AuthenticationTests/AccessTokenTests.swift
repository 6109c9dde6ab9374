import Authentication
import Crypto
import Foundation
import Ledger
import Testing

@Suite("Access tokens")
struct AccessTokenTests {
    static let secret = "a secret of more than thirty-two bytes, for tests"
    static let issuer = "https://gateway.example"
    /// RFC 8410, section 10.3.
    static let pem = """
        -----BEGIN PRIVATE KEY-----
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
        -----END PRIVATE KEY-----
        """

    static func claims() throws -> AccessClaims {
        AccessClaims(
            user: try #require(AccountID(rawValue: "alice")), session: "s1",
            expiresAt: Timestamp.noon.advanced(bySeconds: 1800))
    }

    static func tokens(
        _ secret: String = secret, previous: [String] = [], issuer: String = issuer
    ) async throws -> AccessTokens {
        await AccessTokens(
            signing: try #require(SigningKey(secret: secret)), previous: previous.compactMap { SigningKey(secret: $0) },
            issuer: issuer)
    }

    @Test("a token says what was put in, until its instant")
    func round() async throws {
        let tokens = try await Self.tokens()
        let claims = try Self.claims()
        let token = try await tokens.issue(claims, id: "j1", at: .noon)
        #expect(try await tokens.verify(token, at: .noon) == claims)
        let last = Timestamp(microseconds: claims.expiresAt.microseconds - 1)
        #expect(try await tokens.verify(token, at: last) == claims)
        await #expect(throws: TokenFault.expired) { try await tokens.verify(token, at: claims.expiresAt) }
        #expect(try await tokens.verify(token, at: Timestamp.noon.advanced(bySeconds: -60)) == claims)
        await #expect(throws: TokenFault.invalid, "before it was issued") {
            try await tokens.verify(token, at: Timestamp.noon.advanced(bySeconds: -61))
        }
    }

    @Test("an EdDSA token is verified by the public key that is published, and a secret is not published")
    func ed25519() async throws {
        let key = try #require(SigningKey(ed25519PEM: Self.pem))
        let tokens = await AccessTokens(signing: key, issuer: Self.issuer)
        let token = try await tokens.issue(try Self.claims(), id: "j1", at: .noon)
        let parts = token.split(separator: ".")
        struct KeySet: Decodable {
            struct Key: Decodable { let kty, crv, alg, use, kid, x: String }
            let keys: [Key]
        }
        let set = try JSONDecoder().decode(KeySet.self, from: Data(tokens.publicKeys.utf8))
        let published = try #require(set.keys.first)
        #expect(published.kid == key.id && published.alg == "EdDSA" && published.crv == "Ed25519")
        let raw = try #require(Base64URL.bytes(published.x))
        #expect(Base64URL.text(raw) == "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE")
        let signature = try #require(Base64URL.bytes(parts[2]))
        let verifier = try Curve25519.Signing.PublicKey(rawRepresentation: raw)
        #expect(verifier.isValidSignature(signature, for: Array((parts[0] + "." + parts[1]).utf8)))
        #expect(try await Self.tokens().publicKeys == #"{"keys":[]}"#)
    }

    @Test("after a change of the key, old tokens hold for as long as the old key is named")
    func rotation() async throws {
        let before = try await Self.tokens("the secret of last month, long enough")
        let token = try await before.issue(try Self.claims(), id: "j1", at: .noon)
        let overlap = try await Self.tokens(previous: ["the secret of last month, long enough"])
        #expect(try await overlap.verify(token, at: .noon) == Self.claims())
        let fresh = try await overlap.issue(try Self.claims(), id: "j2", at: .noon)
        await #expect(throws: TokenFault.invalid, "signed with the new key") {
            try await before.verify(fresh, at: .noon)
        }
        await #expect(throws: TokenFault.invalid) { try await Self.tokens().verify(token, at: .noon) }
    }

    static func payload(_ changes: [String: String] = [:]) -> String {
        var members = [
            "iss": "\"\(issuer)\"", "aud": "\"gateway\"", "sub": "\"alice\"", "sid": "\"s1\"", "jti": "\"j1\"",
            "iat": "\(Timestamp.noon.seconds)", "nbf": "\(Timestamp.noon.seconds)",
            "exp": "\(Timestamp.noon.seconds + 1800)",
        ]
        for (name, value) in changes { members[name] = value.isEmpty ? nil : value }
        return "{" + members.sorted { $0.key < $1.key }.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}"
    }

    @Test(
        "what is forged is refused",
        arguments: [
            ("aud", #""other""#), ("aud", #"["gateway","other"]"#), ("aud", ""), ("iss", #""https://evil.example""#),
            ("iss", ""), ("sub", #""""#), ("sub", #""$prices""#), ("sub", ""), ("sid", ""), ("exp", ""),
            ("exp", "1e400"), ("exp", #""soon""#), ("exp", "9223372036854775807"),
            ("nbf", "\(Timestamp.noon.seconds + 61)"),
            ("nbf", "null"),
        ])
    func forgedPayload(name: String, value: String) async throws {
        let kid = try #require(SigningKey(secret: Self.secret)).id
        let forge = Forge(header: #"{"alg":"HS256","kid":"\#(kid)"}"#, payload: Self.payload([name: value]))
        let tokens = try await Self.tokens()
        await #expect(throws: TokenFault.invalid) { try await tokens.verify(forge.hs256(Self.secret), at: .noon) }
    }

    @Test("only a key of ours, with its own algorithm, verifies")
    func forgedHeader() async throws {
        let mac = try #require(SigningKey(secret: Self.secret))
        let pair = try #require(SigningKey(ed25519PEM: Self.pem))
        let tokens = await AccessTokens(signing: pair, previous: [mac], issuer: Self.issuer)
        func forge(_ header: String) -> Forge { Forge(header: header, payload: Self.payload()) }
        let whole = forge(#"{"alg":"HS256","kid":"\#(mac.id)"}"#).hs256(Self.secret)
        #expect(try await tokens.verify(whole, at: .noon) == Self.claims(), "the forge itself makes good tokens")

        struct KeySet: Decodable {
            struct Key: Decodable { let x: String }
            let keys: [Key]
        }
        let set = try JSONDecoder().decode(KeySet.self, from: Data(tokens.publicKeys.utf8))
        let publicKey = try #require(set.keys.first.flatMap { Base64URL.bytes($0.x) })
        var forged: [String: String] = [
            "alg none": forge(#"{"alg":"none","kid":"\#(mac.id)"}"#).signed([]),
            "alg none with a mac": forge(#"{"alg":"none","kid":"\#(mac.id)"}"#).hs256(Self.secret),
            "no kid": forge(#"{"alg":"HS256"}"#).hs256(Self.secret),
            "an unknown kid": forge(#"{"alg":"HS256","kid":"x"}"#).hs256(Self.secret),
            "the other key's kid": forge(#"{"alg":"HS256","kid":"\#(pair.id)"}"#).hs256(Self.secret),
            "another algorithm": forge(#"{"alg":"HS512","kid":"\#(mac.id)"}"#).hs256(Self.secret),
            "the public key as a secret": forge(#"{"alg":"HS256","kid":"\#(pair.id)"}"#).hs256(key: publicKey),
            "the public key as a secret, named EdDSA": forge(#"{"alg":"EdDSA","kid":"\#(pair.id)"}"#).hs256(
                key: publicKey),
            "a critical extension": forge(#"{"alg":"HS256","kid":"\#(mac.id)","crit":["b64"],"b64":false}"#).hs256(
                Self.secret),
            "another secret": forge(#"{"alg":"HS256","kid":"\#(mac.id)"}"#).hs256(Self.secret + "x"),
            "cut": String(whole.dropLast(4)), "two parts": whole.split(separator: ".").prefix(2).joined(separator: "."),
            "four parts": whole + ".AAAA", "empty": "..", "nothing": "",
            "another payload": whole.replacingOccurrences(of: ".eyJ", with: ".eyI"),
            "too long": whole + String(repeating: "A", count: 5000),
        ]
        forged["no text"] = "\u{0}.\u{0}.\u{0}"
        for (name, token) in forged {
            await #expect(throws: TokenFault.invalid, "\(name)") { try await tokens.verify(token, at: .noon) }
        }
    }

    /// Numbers in a header that no `Int` holds once stopped the process, before any signature was looked at.
    static let numbers = [
        "1e19", "-1e19", "1e308", "9223372036854775808", "1", "0.5", "[1e19]", #"{"a":[{"b":1e19}]}"#,
    ]

    @Test("a number in a header is refused and stops nothing", arguments: numbers)
    func numbersInHeaders(number: String) async throws {
        let tokens = try await Self.tokens()
        let kid = try #require(SigningKey(secret: Self.secret)).id
        for header in [
            #"{"alg":"HS256","kid":"\#(kid)","x":\#(number)}"#, #"{"alg":\#(number),"kid":"\#(kid)"}"#, number,
        ] {
            let token = Forge(header: header, payload: Self.payload()).hs256(Self.secret)
            await #expect(throws: TokenFault.invalid) { try await tokens.verify(token, at: .noon) }
        }
    }

    @Test("nothing is no secret, and a text is no Ed25519 key")
    func noKeys() {
        #expect(SigningKey(secret: "") == nil)
        for text in ["", "x", Self.secret] { #expect(SigningKey(ed25519PEM: text) == nil) }
    }

    @Test("a secret of fewer than 32 bytes signs as any other library does", arguments: ["x", "exactly 16 bytes"])
    func paddedSecret(secret: String) async throws {
        let tokens = try await Self.tokens(secret)
        let token = try await tokens.issue(try Self.claims(), id: "j1", at: .noon)
        let parts = token.split(separator: ".").map(String.init)
        let mac = HMAC<SHA256>.authenticationCode(
            for: Array((parts[0] + "." + parts[1]).utf8), using: SymmetricKey(data: Array(secret.utf8)))
        #expect(parts[2] == Base64URL.text(mac))
    }
}
