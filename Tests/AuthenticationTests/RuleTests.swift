import Authentication
import Foundation
import Fuzzing
import Ledger
import Testing

@Suite("Secrets that are shown once")
struct SecretTokenTests {
    @Test("a secret is whole, of its kind, and no other of the same form", arguments: SecretToken.Kind.allCases)
    func form(kind: SecretToken.Kind) throws {
        var entropy = SeededGenerator(seed: 7)
        let token = SecretToken(kind, using: &entropy)
        #expect(token.text.utf8.count == 67 && token.text.hasPrefix(kind.rawValue))
        #expect(SecretToken.isWhole(token.text, kind))
        for other in SecretToken.Kind.allCases where other != kind { #expect(!SecretToken.isWhole(token.text, other)) }
        #expect(SecretToken(kind, using: &entropy).text != token.text)
        // Each single character that is changed, and each cut, is told.
        let text = Array(token.text)
        for index in 3..<text.count {
            var changed = text
            changed[index] = changed[index] == "A" ? "B" : "A"
            #expect(!SecretToken.isWhole(String(changed), kind), "changed at \(index)")
            #expect(!SecretToken.isWhole(String(text.prefix(index)), kind), "cut at \(index)")
        }
        #expect(!SecretToken.isWhole(token.text + "A", kind))
    }

    @Test("what is sealed for one is read by nobody else, and not when it was changed")
    func sealing() throws {
        let (old, new) = (SecretToken(.refresh), SecretToken(.refresh))
        let sealed = try new.sealed(for: old.text)
        #expect(SecretToken.opened(sealed, with: old.text) == new.text)
        #expect(SecretToken.opened(sealed, with: new.text) == nil)
        #expect(String(bytes: sealed, encoding: .isoLatin1)?.contains(new.text) == false)
        for index in sealed.indices {
            var changed = sealed
            changed[index] ^= 1
            #expect(SecretToken.opened(changed, with: old.text) == nil)
        }
        #expect(SecretToken.opened([], with: old.text) == nil)
    }

    @Test("the form of keys, those of the old gateway included")
    func keyShape() {
        #expect(SecretToken.isKeyShaped("gw-" + String(repeating: "a", count: 44)))
        #expect(!SecretToken.isKeyShaped("gw-" + String(repeating: "a", count: 43)))
        #expect(!SecretToken.isKeyShaped("gw-" + String(repeating: "a", count: 254)))
        #expect(!SecretToken.isKeyShaped("sk-" + String(repeating: "a", count: 64)))
        #expect(!SecretToken.isKeyShaped("gw-" + String(repeating: "ä", count: 40)))
    }

    @Test("base64url has one text for each bytes", arguments: ["QQ", "QUI", "QUJD"])
    func base64(text: String) {
        #expect(Base64URL.bytes(text).map { Base64URL.text($0) } == text)
        for other in [text + "=", text + "==", "Q", "QR", "Q Q", "Q+/Q"] { #expect(Base64URL.bytes(other) == nil) }
    }

    /// RFC 7636, appendix B.
    @Test("the proof key of the specification")
    func proofKey() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        #expect(ProofKey.challenge(of: verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
        #expect(ProofKey.isVerifier(verifier) && ProofKey.isChallenge("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"))
        #expect(!ProofKey.isVerifier("short") && !ProofKey.isVerifier(verifier + "!") && !ProofKey.isChallenge("plain"))
    }
}

@Suite("Who a login is")
struct SignInTests {
    static func claims(_ email: String?, verified: Bool) throws -> ProviderClaims {
        try #require(ProviderClaims(provider: "p", subject: "s", email: email, isEmailVerified: verified))
    }

    /// What is known, and what a login leads to then.
    static let table: [(verified: Bool, known: String?, sameEmail: Set<String>, leadsTo: SignIn<String>)] = [
        (true, nil, [], .new), (true, nil, ["alice"], .link("alice")), (true, nil, ["alice", "bob"], .new),
        (false, nil, ["alice"], .new), (true, "bob", ["alice"], .known("bob")), (false, "bob", [], .known("bob")),
        (false, "bob", ["alice", "bob"], .known("bob")),
    ]

    @Test("a subject leads to its account, a verified e-mail to the one that has it verified", arguments: table)
    func decision(verified: Bool, known: String?, sameEmail: Set<String>, leadsTo: SignIn<String>) throws {
        let claims = try Self.claims("a@example.com", verified: verified)
        #expect(SignIn.decide(claims, known: known, sameEmail: sameEmail) == leadsTo)
    }

    @Test("an e-mail that is none is not verified, and odd claims are left out")
    func oddClaims() throws {
        #expect(try !Self.claims("nobody", verified: true).isEmailVerified)
        #expect(try !Self.claims(nil, verified: true).isEmailVerified)
        let claims = try #require(
            ProviderClaims(
                provider: "p", subject: "s", email: "a\u{0}@b", isEmailVerified: true, name: "\u{1B}[31m",
                avatarURL: "javascript:alert(1)"))
        #expect(claims.email == nil && claims.name == nil && claims.avatarURL == nil && !claims.isEmailVerified)
        #expect(ProviderClaims(provider: "p", subject: "") == nil)
        #expect(ProviderClaims(provider: "", subject: "s") == nil)
        #expect(ProviderClaims(provider: "p", subject: "a\nb") == nil)
    }
}

@Suite("Attempts are limited")
struct AttemptLimiterTests {
    @Test("so many at once, then so many a minute, each address for itself")
    func bucket() {
        var limiter = AttemptLimiter(perMinute: 3)
        var now = Timestamp.noon
        for _ in 0..<3 {
            #expect(limiter.wait(for: "a", at: now) == nil)
            limiter.count("a", at: now)
        }
        #expect(limiter.wait(for: "a", at: now) == 20)
        #expect(limiter.wait(for: "b", at: now) == nil)
        now = now.advanced(bySeconds: 19)
        #expect(limiter.wait(for: "a", at: now) == 1)
        now = now.advanced(bySeconds: 1)
        #expect(limiter.wait(for: "a", at: now) == nil)
        limiter.count("a", at: now)
        #expect(limiter.wait(for: "a", at: now) == 20)
        // A clock that is set back neither fills nor locks for ever.
        #expect(limiter.wait(for: "a", at: Timestamp(microseconds: .min)) == 20)
        let before = now.advanced(bySeconds: -7200)
        limiter.count("a", at: before)
        #expect(
            limiter.wait(for: "a", at: before.advanced(bySeconds: 20)) == nil, "the clock that was set back is followed"
        )
        #expect(limiter.wait(for: "a", at: now.advanced(bySeconds: 3600)) == nil)
        #expect(limiter.wait(for: "a", at: Timestamp(microseconds: .max)) == nil)
    }

    @Test("no limit, and no more addresses than there is room for")
    func bounds() {
        var open = AttemptLimiter(perMinute: 0)
        for _ in 0..<100 { open.count("a", at: .noon) }
        #expect(open.wait(for: "a", at: .noon) == nil)
        var small = AttemptLimiter(perMinute: 1, capacity: 10)
        for number in 0..<1000 { small.count("\(number)", at: .noon) }
        #expect(small.wait(for: "999", at: .noon) == 60)
    }

    @Test("over any run of time an address gets at most a burst and its rate")
    func property() {
        let seed = UInt64(ProcessInfo.processInfo.environment["LEDGER_TEST_SEED"] ?? "") ?? .random(in: 0 ... .max)
        print("attempt limiter: LEDGER_TEST_SEED=\(seed)")
        var entropy = SeededGenerator(seed: seed)
        for _ in 0..<50 {
            let rate = Int.random(in: 1...100, using: &entropy)
            var limiter = AttemptLimiter(perMinute: rate)
            var now = Timestamp.noon
            var admitted = 0
            for _ in 0..<500 {
                now = Timestamp(microseconds: now.microseconds + .random(in: 0...3_000_000, using: &entropy))
                if limiter.wait(for: "a", at: now) == nil {
                    limiter.count("a", at: now)
                    admitted += 1
                }
            }
            let minutes = (now.microseconds - Timestamp.noon.microseconds) / 60_000_000 + 1
            #expect(Int64(admitted) <= Int64(rate) + Int64(rate) * minutes)
            #expect(admitted > 0)
        }
    }
}

@Suite("Where a login may lead")
struct CallbackListTests {
    static let list = CallbackList([
        "cafelua://auth", "https://portal.example/login/done", "http://127.0.0.1/callback", "http://[::1]/callback",
        "https://portal.example/q?a=1",
    ])

    @Test(
        "what is listed is allowed, of a loopback address with any port",
        arguments: [
            "cafelua://auth", "https://portal.example/login/done", "http://127.0.0.1/callback",
            "http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback", "http://[::1]:8080/callback",
            "https://portal.example/q?a=1",
        ])
    func allowed(address: String) throws {
        let list = try #require(Self.list)
        #expect(list.allows(address))
    }

    @Test(
        "everything else is not",
        arguments: [
            "", "cafelua:auth", "cafelua://auth/", "cafelua://auth?x=1", "cafelua://auth#x", "cafelua://auth.evil",
            "cafelua://evil/auth", "CAFELUA://auth", "cafelua://AUTH", "cafelua://auth\r\nset-cookie: a",
            "https://portal.example/login/done/", "https://portal.example/login/done?x=1",
            "https://portal.example/login/../done", "https://portal.example:443/login/done",
            "https://portal.example.evil.example/login/done", "https://evil.example/login/done",
            "https://portal.example@evil.example/login/done", "https://evil.example\\@portal.example/login/done",
            "https://portal.example%2f@evil.example/login/done", "http://portal.example/login/done",
            "HTTPS://portal.example/login/done", "//portal.example/login/done", "/login/done",
            "http://127.0.0.1@evil.example/callback", "http://127.0.0.1:80@evil.example/callback",
            "http://127.0.0.1.evil.example/callback", "http://127.0.0.1:0/callback", "http://127.0.0.1:65536/callback",
            "http://127.0.0.1:+80/callback", "http://127.0.0.1:/callback", "http://127.0.0.1:80:80/callback",
            "http://127.0.0.1/callback#", "http://127.0.0.1/callback/x", "http://127.0.0.2/callback",
            "http://localhost/callback", "http://2130706433/callback", "https://127.0.0.1/callback",
            "http://[::1/callback", "http://[::1]x/callback", "http://[::2]/callback", "javascript:alert(1)",
            "javascript://auth/%0aalert(1)", "data:text/html,x", " cafelua://auth", "cafelua://auth ", "cafelua://äuth",
        ])
    func refused(address: String) throws {
        let list = try #require(Self.list)
        #expect(!list.allows(address))
    }

    @Test(
        "addresses that could mean more than they say are not listed",
        arguments: [
            "javascript:alert(1)", "javascript://x", "data://x", "http://portal.example/x", "https://a@b.example/",
            "https://a.example/#x", "file:///etc/passwd", "auth", "", "HTTPS://a.example/", "https:///x",
            "view-source://x",
        ])
    func unlistable(address: String) {
        #expect(CallbackList([address]) == nil)
    }

    @Test(
        "which addresses lead to the person's own machine",
        arguments: [
            ("cafelua://auth", true), ("http://127.0.0.1:5/cb", true), ("http://[::1]/cb", true),
            ("https://portal.example/", false), ("https://127.0.0.1/", false), ("http://portal.example/", false),
            ("", false),
        ])
    func ownMachine(address: String, isOwn: Bool) {
        #expect(CallbackList.isOnOwnMachine(address) == isOwn)
    }

    @Test("what is added to an address is escaped, and cannot add more")
    func appending() {
        #expect(
            CallbackList.appending([("code", "a&b=c#d"), ("x", "ü +")], to: "cafelua://auth")
                == "cafelua://auth?code=a%26b%3Dc%23d&x=%C3%BC%20%2B")
        #expect(CallbackList.appending([("a", "1")], to: "https://p.example/?b=2") == "https://p.example/?b=2&a=1")
    }
}
