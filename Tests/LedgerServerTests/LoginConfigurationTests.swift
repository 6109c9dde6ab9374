import Authentication
import Foundation
import NIOCore
import Testing

@testable import LedgerServer

extension ServerConfiguration {
    /// Whether `master_key` is that text.
    func hasMasterKey(_ text: String) -> Bool {
        masterKeys.first?.hash == MasterKey(name: MasterKey.mainName, role: .operator, key: text).hash
    }
}

@Suite("The configuration of logins")
struct LoginConfigurationTests {
    static let minimal = "master_key: 0123456789abcdef0123456789abcdef\n"
    static let secret = "jwt_secret: a-secret-that-has-more-than-32-bytes\n"
    static let key = """
        jwt_private_key: |
          -----BEGIN PRIVATE KEY-----
          MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
          -----END PRIVATE KEY-----

        """

    static func read(_ yaml: String) throws -> ServerConfiguration {
        try ServerConfiguration(yaml: minimal + yaml, environment: [:])
    }

    @Test("without a secret there are keys only, and what tokens need is asked for where they are wanted")
    func withoutSecret() throws {
        let configuration = try Self.read("")
        #expect(configuration.tokens == nil && configuration.login.providers.isEmpty)
        #expect(configuration.login.callbacks.allows("cafelua://auth"))
        #expect(configuration.login.publicURL == nil)
        let address = PublicURL(nil)
        for (host, expected) in [
            ("127.0.0.1", "http://127.0.0.1:7"), ("0.0.0.0", "http://127.0.0.1:7"), ("::1", "http://[::1]:7"),
        ] {
            address.listens(host: host, port: 7)
            #expect(address.text == expected)
        }
        #expect(PublicURL("https://g.example").text == "https://g.example")
    }

    @Test(
        "what is wrong is refused by its key",
        arguments: [
            ("access_token_exp_minutes: 30", "jwt_secret"), ("refresh_token_exp_days: 14", "jwt_secret"),
            ("auth_base_url: https://p.example", "jwt_secret"),
            ("jwt_secret: \"\"\naccess_token_exp_minutes: 5", "jwt_secret"),
            ("auth: {providers: {google: {client_id: c}}}", "jwt_secret"),
            (secret + "jwt_algorithm: RS256", "jwt_algorithm"), ("jwt_algorithm: EdDSA", "jwt_private_key"),
            ("jwt_algorithm: EdDSA\njwt_private_key: nonsense", "jwt_private_key"),
            (secret + "jwt_previous_secrets: [\"\"]", "jwt_previous_secrets"),
            (secret + "jwt_previous_private_keys: [none]", "jwt_previous_private_keys"),
            (secret + "access_token_exp_minutes: 0", "access_token_exp_minutes"),
            (secret + "auth_base_url: ftp://p", "auth_base_url"),
            (secret + "auth: {public_url: gateway}", "auth.public_url"),
            (secret + "auth: {public_url: \"https://g.example/?a=1\"}", "auth.public_url"),
            (secret + "auth: {callbacks: [\"http://portal.example/done\"]}", "auth.callbacks"),
            (secret + "auth: {callbacks: [\"javascript:alert(1)\"]}", "auth.callbacks"),
            (secret + "auth: {clients: {desktop: {link: token}}}", "auth.clients.desktop.link"),
            (secret + "auth: {providers: {corp: {client_id: c}}}", "auth.providers.corp.issuer"),
            (
                secret + "auth: {providers: {corp: {issuer: \"http://id.example\", client_id: c}}}",
                "auth.providers.corp.issuer"
            ),
            (secret + "auth: {providers: {google: {}}}", "auth.providers.google.client_id"),
            (secret + "auth: {providers: {\"a b\": {client_id: c}}}", "auth.providers.a b"),
            (secret + "auth: {providers: {google: {client_id: c, secret: s}}}", "auth.providers.google.secret"),
            (secret + "auth: {provider: {}}", "auth.provider"),
            ("trusted_proxies: 127.0.0.1, proxy", "trusted_proxies"),
            ("trusted_proxies: 10.0.0.0/8", "trusted_proxies"),
            ("master_keys: {a: {key: 0123456789, role: owner}}", "master_keys.a.role"),
            ("master_keys: {a: {role: auditor}}", "master_keys.a"),
            ("master_keys: {a: {key: short, role: auditor}}", "master_keys.a.key"),
            ("master_keys: {a: {key: 0123456789abcdef0123456789abcdef, role: auditor}}", "master_keys.a.key"),
            ("master_keys: {\"a b\": {key: 0123456789, role: auditor}}", "master_keys.a b"),
        ])
    func refused(yaml: String, key: String) {
        do {
            _ = try Self.read(yaml)
            Issue.record("it was accepted: \(yaml)")
        } catch {
            #expect("\(error)".contains("'\(key)'"), "\(error)")
        }
    }

    @Test("a whole login")
    func whole() throws {
        let yaml =
            Self.secret + """
                jwt_previous_secrets: [the-one-before-that-was-long]
                access_token_exp_minutes: 5
                refresh_token_exp_days: 7
                trusted_proxies: 127.0.0.1, 10.0.0.1
                auth:
                  public_url: https://gateway.example/
                  callbacks: [cafelua://auth, "http://127.0.0.1/callback"]
                  clients: {desktop: {link: key}, cli: {link: code}}
                  providers:
                    google: {client_id: g, client_secret: s}
                    discord: {client_id: d, client_secret: s}
                    corp: {issuer: "http://127.0.0.1:9400", client_id: c, audiences: [other], require_verified_email: true}
                """
        let configuration = try Self.read(yaml)
        let tokens = try #require(configuration.tokens)
        #expect(tokens.accessSeconds == 300 && tokens.refreshSeconds == 7 * 86_400 && tokens.previous.count == 1)
        let login = configuration.login
        #expect(login.publicURL == "https://gateway.example" && login.links == ["desktop": .key, "cli": .code])
        #expect(login.callbacks.allows("http://127.0.0.1:5000/callback"))
        let google = try #require(login.provider("google"))
        #expect(google.kind == .oidc && google.base == "https://accounts.google.com" && !google.requiresVerifiedEmail)
        let discord = try #require(login.provider("discord"))
        #expect(discord.kind == .discord && !discord.requiresVerifiedEmail && discord.scopes == "identify email")
        let corp = try #require(login.provider("corp"))
        #expect(corp.audiences == ["other"] && corp.clientSecret.isEmpty && corp.requiresVerifiedEmail)
        #expect(configuration.trustedProxies == ["127.0.0.1", "10.0.0.1"])
        #expect(configuration.warnings.isEmpty)
    }

    @Test("who changes to EdDSA keeps the secret's tokens alive; short secrets and keys are warned of")
    func algorithms() throws {
        let both = try Self.read(Self.secret + Self.key + "jwt_algorithm: EdDSA\n")
        #expect(both.tokens?.signing.algorithm == "EdDSA" && both.tokens?.previous.map(\.algorithm) == ["HS256"])
        let short = try ServerConfiguration(
            yaml: "master_key: 12345678\njwt_secret: abc\n", environment: [:])
        #expect(short.warnings.contains { $0.contains("'jwt_secret'") })
        #expect(short.warnings.contains { $0.contains("'master_key'") })
    }

    @Test("what the roles of master keys may do")
    func roles() throws {
        let configuration = try Self.read(
            "master_keys: {bot: {key: 0123456789, role: billing}, eye: {key: 9876543210, role: auditor}}")
        #expect(configuration.masterKeys.map(\.role) == [.operator, .billing, .auditor])
        #expect(configuration.masterKeys.map(\.actor) == ["master", "master:bot", "master:eye"])
        for (role, rights) in [
            (Role.operator, [true, true, true]), (.billing, [true, true, false]), (.auditor, [true, false, false]),
        ] {
            #expect([Right.read, .bill, .operate].map(role.has) == rights)
        }
    }
}

@Suite("Where a request comes from")
struct ClientAddressTests {
    @Test(
        "only trusted proxies are believed, and each only about the one before it",
        arguments: [
            ("10.0.0.9", [], "10.0.0.9"), ("10.0.0.9", ["1.2.3.4"], "10.0.0.9"), ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"), ("10.0.0.1", ["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", ["1.2.3.4, 10.0.0.2"], "1.2.3.4"), ("10.0.0.1", ["nonsense"], "10.0.0.1"),
            ("10.0.0.1", ["1.2.3.4, nonsense"], "10.0.0.1"), ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
            ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"), ("10.0.0.1", ["2001:db8:1:2::9"], "2001:db8:1:2::/64"),
            ("::ffff:10.0.0.1", ["::ffff:1.2.3.4"], "1.2.3.4"), ("10.0.0.1", ["1.2.3.4:5678"], "1.2.3.4"),
            ("10.0.0.1", ["[2001:db8:1:2::9]:443"], "2001:db8:1:2::/64"),
            ("10.0.0.1", ["[2001:db8:1:2::9]"], "2001:db8:1:2::/64"),
        ] as [(String, [String], String)])
    func address(connection: String, forwarded: [String], expected: String) throws {
        let found = ClientAddress(
            try SocketAddress(ipAddress: connection, port: 1), forwardedFor: forwarded,
            trusted: ["10.0.0.1", "10.0.0.2"])
        #expect(found.description == expected)
    }
}
