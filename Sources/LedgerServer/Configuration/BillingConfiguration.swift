import Foundation
import Ledger
import LedgerSQLite

/// Something that is sold at a payment provider.
struct ProductConfiguration: Sendable {
    enum Item: Hashable, Sendable {
        /// A cycle of a plan.
        case plan(String)
        /// Credits without expiry, for so many micro-USD.
        case credits(Credits, microUSD: Int64)
    }

    /// What the provider calls it.
    let id: String
    let item: Item
    /// Where it can be bought.
    let checkoutURL: String?
}

/// How payments come in from a provider.
struct PaymentProviderConfiguration: Sendable {
    let name: String
    /// What its messages are signed with: the present secret, and the one before.
    let secrets: [String]
    let takesTests: Bool
    /// By id.
    let products: [String: ProductConfiguration]
}

/// How often, and how, what is due is recorded in accounts that nobody touches.
struct RenewalConfiguration: Sendable {
    /// `sweep_seconds`; 0: only when asked.
    var sweepSeconds = 60
    /// `batch`: how many accounts are given to the writer at once.
    var batch = 16
}

/// Who is told of what happens to credits, and when.
struct NoticeConfiguration: Sendable {
    /// `url` and `secret`: the operator's; nil: only accounts that have a webhook are told.
    var target: NoticeTarget?
    /// `low_balance`
    var lowBalance = Credits(nanos: 2 * Credits.nanosPerCredit)
    /// `expiring_days`
    var expiringSeconds: Int64 = 3 * 86_400
}

extension ServerConfiguration {
    /// Reads `notices`.
    static func notices(_ file: inout ConfigurationSection) throws(ConfigurationError) -> NoticeConfiguration {
        var notices = NoticeConfiguration()
        guard var section = try file.section("notices") else { return notices }
        let url = try section.string("url")
        let secret = try section.secret("secret")
        if let low = try section.amount("low_balance", fractionDigits: 9) { notices.lowBalance = Credits(nanos: low) }
        if let days = try section.integer("expiring_days", in: 1...365) {
            notices.expiringSeconds = Int64(days) * 86_400
        }
        try section.finish()
        guard let url else { return notices }
        try checkURL(url, key: "notices.url", isLoopbackHTTPOnly: true)
        guard let secret, secret.utf8.count >= 16 else {
            throw ConfigurationError(
                "needs 'secret' (or 'secret_file') with at least 16 characters: what is sent is signed with it",
                key: "notices.url")
        }
        notices.target = NoticeTarget(account: nil, url: url, secret: secret)
        return notices
    }

    /// Reads `plans`: the standard ones, with what the file says otherwise of them, and further ones.
    static func plans(_ file: inout ConfigurationSection) throws(ConfigurationError) -> [Plan] {
        var plans = Plan.standard
        guard var section = try file.section("plans") else { return plans }
        for name in section.keys {
            let line = section.line(of: name)
            guard var entry = try section.section(name) else { continue }
            let known = plans.first { $0.name == name }
            let price = try entry.amount("price_usd", fractionDigits: 6)
            let rate = try entry.amount("credits_per_usd", fractionDigits: 6)
            let bonus = try entry.amount("signup_bonus", fractionDigits: 9)
            let credits = try entry.amount("cycle_credits", fractionDigits: 9)
            let topUp = try entry.amount("top_up_to", fractionDigits: 9)
            let days = try entry.integer("cycle_days", in: 1...3660)
            let grace = try entry.integer("grace_days", in: 0...60)
            try entry.finish()
            let microUSD = price ?? known?.microUSD ?? 0
            let cycleCredits = credits.map(Credits.init(nanos:)) ?? known?.cycleCredits ?? .zero
            let isPaid = microUSD > 0 || cycleCredits > .zero
            guard let creditRate = rate.map(CreditRate.init(microsPerUSD:)) ?? known?.rate ?? .standard else {
                throw ConfigurationError(
                    "must be above 0 and at most 100", key: "plans.\(name).credits_per_usd", line: line)
            }
            let plan = Plan(
                name: name, microUSD: microUSD, rate: creditRate,
                signupBonus: bonus.map(Credits.init(nanos:)) ?? known?.signupBonus ?? .zero,
                cycleCredits: cycleCredits,
                topUpTo: topUp.map(Credits.init(nanos:)) ?? known?.topUpTo ?? .zero,
                cycleSeconds: days.map { Int64($0) * 86_400 } ?? known?.cycleSeconds ?? Cycle.standardSeconds,
                graceSeconds: grace.map { Int64($0) * 86_400 } ?? known?.graceSeconds ?? (isPaid ? 3 * 86_400 : 0))
            guard let plan else {
                throw ConfigurationError("must have a name of 1 to 64 bytes", key: "plans.\(name)", line: line)
            }
            if plan.name == Plan.freeName, plan.isPaid {
                throw ConfigurationError(
                    "is what accounts fall back to: it can have neither price_usd nor cycle_credits",
                    key: "plans.\(name)", line: line)
            }
            if plan.isPaid, plan.microUSD == 0 || plan.cycleCredits == .zero {
                throw ConfigurationError(
                    "is paid: it needs price_usd and cycle_credits, both above 0", key: "plans.\(name)", line: line)
            }
            if plan.isPaid, plan.topUpTo > .zero || plan.signupBonus > .zero {
                throw ConfigurationError(
                    "is paid: signup_bonus and top_up_to are for free plans", key: "plans.\(name)", line: line)
            }
            plans.removeAll { $0.name == name }
            plans.append(plan)
        }
        return plans
    }

    /// Reads `renewals`.
    static func renewals(_ file: inout ConfigurationSection) throws(ConfigurationError) -> RenewalConfiguration {
        var renewals = RenewalConfiguration()
        guard var section = try file.section("renewals") else { return renewals }
        renewals.sweepSeconds = try section.integer("sweep_seconds", in: 0...86_400) ?? renewals.sweepSeconds
        renewals.batch = try section.integer("batch", in: 1...1024) ?? renewals.batch
        try section.finish()
        return renewals
    }

    /// Reads `payments`: providers whose messages are taken, and what is sold there.
    static func payments(
        _ file: inout ConfigurationSection, plans: [Plan]
    ) throws(ConfigurationError) -> [PaymentProviderConfiguration] {
        guard var section = try file.section("payments") else { return [] }
        var providers: [PaymentProviderConfiguration] = []
        for name in section.keys {
            guard name == "lemonsqueezy" else {
                throw section.error(name, "is no payment provider that is known here: lemonsqueezy is")
            }
            let line = section.line(of: name)
            guard var entry = try section.section(name) else { continue }
            guard let secret = try entry.secret("webhook_secret"), secret.utf8.count >= 6 else {
                throw ConfigurationError(
                    "needs webhook_secret (or webhook_secret_file) with at least 6 characters, as it is set at the provider",
                    key: "payments.\(name)", line: line)
            }
            let before = try entry.secret("webhook_secret_previous")
            let takesTests = try entry.boolean("test_mode") ?? false
            var products: [String: ProductConfiguration] = [:]
            if var list = try entry.section("products") {
                for id in list.keys {
                    let key = "payments.\(name).products.\(id)"
                    let line = list.line(of: id)
                    guard var product = try list.section(id) else { continue }
                    products[id] = try self.product(&product, id: id, plans: plans, key: key, line: line)
                }
            }
            try entry.finish()
            providers.append(
                PaymentProviderConfiguration(
                    name: name, secrets: [secret] + [before].compactMap(\.self), takesTests: takesTests,
                    products: products))
        }
        return providers
    }

    private static func product(
        _ section: inout ConfigurationSection, id: String, plans: [Plan], key: String, line: Int?
    ) throws(ConfigurationError) -> ProductConfiguration {
        let plan = try section.string("plan")
        let credits = try section.amount("credits", fractionDigits: 9)
        let price = try section.amount("price_usd", fractionDigits: 6)
        let url = try section.string("checkout_url")
        try section.finish()
        if let url { try checkURL(url, key: key + ".checkout_url", isLoopbackHTTPOnly: false, mayHaveQuery: true) }
        switch (plan, credits, price) {
        case (let name?, nil, nil):
            guard plans.contains(where: { $0.name == name && $0.isPaid }) else {
                throw ConfigurationError("names no plan that can be paid for", key: key + ".plan", line: line)
            }
            return ProductConfiguration(id: id, item: .plan(name), checkoutURL: url)
        case (nil, let credits?, let price?) where credits > 0:
            return ProductConfiguration(
                id: id, item: .credits(Credits(nanos: credits), microUSD: price), checkoutURL: url)
        default:
            throw ConfigurationError(
                "must be a plan (plan), or credits for a price (credits and price_usd)", key: key, line: line)
        }
    }
}

extension ConfigurationSection {
    /// An exact amount that is not negative, up to a billion, as a count of 10^-fractionDigits.
    mutating func amount(_ key: String, fractionDigits: Int) throws(ConfigurationError) -> Int64? {
        let line = line(of: key)
        guard let text = try string(key) else { return nil }
        var largest: Int64 = 1_000_000_000
        for _ in 0..<fractionDigits { largest *= 10 }
        guard let value = Decimal64.parse(text, fractionDigits: fractionDigits), (0...largest).contains(value) else {
            throw ConfigurationError(
                "must be a number from 0 to 1000000000 with at most \(fractionDigits) decimals", key: fullKey(key),
                line: line)
        }
        return value
    }
}
