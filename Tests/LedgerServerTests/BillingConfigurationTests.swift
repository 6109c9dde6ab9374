import Foundation
import Ledger
import Testing

@testable import LedgerServer

@Suite("The configuration of plans, payments and notices")
struct BillingConfigurationTests {
    private static func read(_ yaml: String) throws -> ServerConfiguration {
        try ServerConfiguration(yaml: "master_key: 0123456789abcdef0123456789abcdef\n" + yaml, environment: [:])
    }

    @Test("plans are the standard ones, with what the file says otherwise, and further ones")
    func plans() throws {
        #expect(Set(try Self.read("").plans) == Set(Plan.standard))
        let plans = try Self.read(
            """
            plans:
              FREE: {top_up_to: 2.5}
              PRO: {price_usd: 29.99, cycle_credits: 333.333333333, cycle_days: 7, grace_days: 0, credits_per_usd: 12}
            """
        ).plans
        let free = try #require(plans.first { $0.name == "FREE" })
        #expect(free.topUpTo == Credits(decimal: "2.5") && free.signupBonus == Credits(decimal: "20"))
        let pro = try #require(plans.first { $0.name == "PRO" })
        #expect(pro.microUSD == 29_990_000 && pro.cycleCredits == Credits(nanos: 333_333_333_333))
        #expect(pro.cycleSeconds == 604_800 && pro.graceSeconds == 0 && pro.rate.microsPerUSD == 12_000_000)
    }

    @Test(
        "what cannot be meant is refused, with the key that is at fault",
        arguments: [
            ("plans: {FREE: {price_usd: 1}}", "plans.FREE"), ("plans: {PRO: {price_usd: 1}}", "plans.PRO"),
            ("plans: {PRO: {cycle_credits: 5}}", "plans.PRO"), ("plans: {PRO: {price_usd: -1}}", "plans.PRO.price_usd"),
            ("plans: {PRO: {price_usd: 0.0000001}}", "plans.PRO.price_usd"),
            ("plans: {FREE: {cycle_days: 0}}", "plans.FREE.cycle_days"),
            ("plans: {BASIC: {signup_bonus: 1}}", "plans.BASIC"), ("plans: {PRO: {prize: 1}}", "plans.PRO.prize"),
            ("plans: {PRO: {credits_per_usd: 1000}}", "plans.PRO.credits_per_usd"),
            ("renewals: {batch: 0}", "renewals.batch"), ("renewals: {sweep_seconds: -1}", "renewals.sweep_seconds"),
            ("time_zone: Mars/Olympus", "time_zone"),
            ("payments: {paypal: {}}", "payments.paypal"), ("payments: {lemonsqueezy: {}}", "payments.lemonsqueezy"),
            ("payments: {lemonsqueezy: {webhook_secret: x}}", "payments.lemonsqueezy"),
            (
                "payments: {lemonsqueezy: {webhook_secret: secret-1, products: {\"1\": {plan: FREE}}}}",
                "payments.lemonsqueezy.products.1.plan"
            ),
            (
                "payments: {lemonsqueezy: {webhook_secret: secret-1, products: {\"1\": {credits: 5}}}}",
                "payments.lemonsqueezy.products.1"
            ),
            (
                "payments: {lemonsqueezy: {webhook_secret: secret-1, products: {\"1\": {plan: BASIC, checkout_url: \"ftp://a\"}}}}",
                "payments.lemonsqueezy.products.1.checkout_url"
            ),
            ("notices: {url: \"http://example.com\", secret: 0123456789abcdef}", "notices.url"),
            ("notices: {url: \"https://example.com\", secret: short}", "notices.url"),
            ("notices: {expiring_days: 0}", "notices.expiring_days"),
        ])
    func refused(yaml: String, key: String) throws {
        let error = #expect(throws: ConfigurationError.self) { try Self.read(yaml) }
        #expect(error?.description.contains("'\(key)'") ?? false, "\(error?.description ?? "nothing was refused")")
    }

    @Test("a message's signature is compared whole, with the present secret and the one before")
    func signatures() throws {
        let file = "payments: {lemonsqueezy: {webhook_secret: secret-2, webhook_secret_previous: secret-1}}"
        let provider = LemonSqueezy(configuration: try #require(try Self.read(file).payments.first))
        let body = Array(#"{"meta":{}}"#.utf8)
        let old = Self.python(body, "secret-1")
        let new = Self.python(body, "secret-2")
        #expect(provider.isAuthentic(body, signature: old) && provider.isAuthentic(body, signature: new))
        for wrong in [
            nil, "", "00", String(new.dropLast()), new + "00", Self.python(body, "secret-3"), "zz" + new.dropFirst(2),
        ] {
            #expect(!provider.isAuthentic(body, signature: wrong))
        }
        #expect(!provider.isAuthentic(body + [10], signature: new))
    }

    /// The HMAC by another implementation.
    private static func python(_ body: [UInt8], _ secret: String) -> String {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        let script =
            "import hmac, sys; print(hmac.new(sys.argv[1].encode(), sys.argv[2].encode(), 'sha256').hexdigest(), end='')"
        process.arguments = ["python3", "-c", script, secret, String(decoding: body, as: UTF8.self)]
        let output = Pipe()
        process.standardOutput = output
        guard (try? process.run()) != nil else { return "" }
        let text = (try? output.fileHandleForReading.readToEnd()) ?? Data()
        process.waitUntilExit()
        return String(decoding: text, as: UTF8.self)
    }
}
