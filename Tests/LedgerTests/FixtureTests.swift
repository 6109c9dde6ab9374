import Foundation
import Ledger
import Testing

/// One stored event of every type and version that was ever written lies in `fixtures/events`: each must be read for ever, and be
/// written again byte for byte. `RECORD=1` writes those that are missing.
@Suite("Golden events")
struct FixtureTests {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "fixtures/events")

    /// Every type that this version writes, out of one history.
    static func samples() throws -> [String: [UInt8]] {
        var ledger = try TestLedger.standard()
        let basic = try #require(Plan(name: "BASIC", microUSD: 10_000_000, cycleCredits: .of("100")))
        try ledger.send(.setPlan(SetPlan(plan: basic)))
        try ledger.send(.schedule("FREE", key: "schedule:1"))
        try ledger.send(.grant("2", .subscription, expires: .days(30)))
        try ledger.send(.hold(1, prompt: 10, output: 50_000))
        let usage = try #require(Usage(prompt: 7, cached: 3, completion: 40_000))
        let report = UsageReport(
            usage: usage, flags: [.usageMismatch], raw: Array(#"{"prompt_tokens":7,"note":"é\n"}"#.utf8),
            servedModel: "model-2")
        try ledger.send(.charge(ChargeRequest(request: .number(1), outcome: .finished, report: report)))
        try ledger.send(.reverse(1))
        try ledger.send(.hold(2, output: 100))
        try ledger.send(.releaseHold(ReleaseHold(request: .number(2), reason: .upstreamRefused, upstreamStatus: 429)))
        try ledger.send(
            .adjust(AdjustCredits(key: "adjust:1", amount: .of("-0.5"), reason: "double sale", actor: "support")))
        try ledger.send(.block(actor: "support"))
        try ledger.send(.unblock(actor: "support"))
        try ledger.send(.removePrice(RemovePrice(model: "up:model", actor: "master")))
        let origin = RequestOrigin(model: "up:model", keyID: nil, endpoint: "/v1/chat/completions")
        let imported = UsageImported(
            request: try #require(RequestID(importedUsage: "usage-1")), origin: origin, status: .success,
            promptTokens: 7, cachedTokens: 3, completionTokens: 40, costPicoUSD: 87_000_000)
        try ledger.send(.importUsage(ImportUsage(usage: imported, at: .days(-1))))
        ledger.now = .days(31)
        try ledger.send(.recordDue)
        try ledger.send(.setPlan(SetPlan(plan: .pro)))
        try ledger.send(.pay("pay:1", .cycle(plan: "BASIC")))
        try ledger.send(.pay("pay:2", .upgrade(plan: "PRO")))
        try ledger.send(
            .refund(
                RefundPayment(
                    key: "refund:1", payment: .named("pay:1"), .part(microUSD: 1), reason: "late", actor: "test")))
        try ledger.send(
            .failPayment(RecordPaymentFailure(payment: .named("pay:3"), plan: "PRO", actor: "test")))
        try ledger.send(.schedulePlan(SchedulePlan(plan: "FREE", actor: "test")))
        let limits = UseLimits(
            perDay: .of("1"), perMonth: .of("2"), total: .of("3"), requestsPerMinute: 4, tokensPerMinute: 5000,
            models: ["up:*", "up:model"])
        try ledger.send(.setLimits(SetLimits(scope: .key("key-1"), limits: limits, actor: "test")))
        let budget = BudgetCap(id: "budget-1", microUSD: 1_500_000, seconds: 86_400)
        try ledger.send(.setBudget(SetBudget(budget: budget, actor: "test")))
        let price = try #require(Price(input: 1_000_000, output: 2_000_000))
        try ledger.send(.setPrice(SetPrice(model: "up:model", price: price, actor: "test")))
        try ledger.send(.hold(7, output: 100))
        try ledger.send(.erase(EraseAccount(createdAt: .days(0), actor: "support")))
        var samples: [String: [UInt8]] = [:]
        for event in ledger.events {
            // What may be absent is named, where the fixture without it is older.
            var name = event.event.type
            if case .planChanged(let changed) = event.event, changed.terms != nil { name += "+terms" }
            if case .planSet(let set) = event.event, set.plan.name != "BASIC" || set.plan.graceSeconds > 0 {
                name += set.plan.graceSeconds > 0 ? "+grace" : "+free"
            }
            if case .renewalEvaluated(let renewal) = event.event, renewal.payment != nil { name += "+paid" }
            if case .holdPlaced(let hold) = event.event, hold.windows != nil { name += "+counted" }
            if case .priceSet = event.event, event.version > 1 { continue }
            if case .paymentRecorded(let payment) = event.event { name += "+\(payment.kind)" }
            // Credits that a cycle brings are written as others are.
            if case .creditsGranted(let grant) = event.event, grant.source != .purchase || grant.actor != nil {
                continue
            }
            if case .grantExpired(let expired) = event.event, expired.grant != 3 { continue }
            samples[name] = event.event.encoded()
        }
        samples.merge(try fullSamples()) { $1 }
        return samples
    }

    /// Events with every member that may be absent; what is behind the `+` only names the fixture.
    static func fullSamples() throws -> [String: [UInt8]] {
        var ledger = try TestLedger.standard()
        let rates = TokenRates(input: 1, output: 2, cached: 3, cacheWrite: 4, cacheWriteHour: 5)
        let tier = rates.flatMap { Price.LongContext(above: 200_000, rates: $0) }
        let price = try #require(Price(rates: rates, longContext: tier, webSearch: 6))
        try ledger.send(.setPrice(SetPrice(model: "up:model", price: price, actor: "test")))
        try ledger.send(.grant("2"))
        try ledger.send(
            .placeHold(
                PlaceHold(
                    request: .number(1),
                    origin: RequestOrigin(model: "up:model", keyID: "key", endpoint: "/v1/messages"),
                    promptBound: 300_000, outputPerChoice: 10, searchBound: 3, writesCache: true)))
        let usage = try #require(
            Usage(prompt: 9, cached: 1, cacheWrite: 2, cacheWriteHour: 3, completion: 4, searches: 2))
        let report = UsageReport(usage: usage, flags: [.costMismatch], costPicoUSD: 12, raw: Array("{}".utf8))
        try ledger.send(.charge(ChargeRequest(request: .number(1), outcome: .finished, report: report)))
        let imported = UsageImported(
            request: try #require(RequestID(importedUsage: "usage-2")),
            origin: RequestOrigin(model: "up:model", keyID: "key", endpoint: "/v1/messages"), status: .error,
            promptTokens: 0, cachedTokens: 0, completionTokens: 0, costPicoUSD: 0, error: "error")
        try ledger.send(.importUsage(ImportUsage(usage: imported, at: .days(-1))))
        let full = ledger.events.suffix(5).filter { !$0.event.type.hasPrefix("credits") }
        var samples = Dictionary(uniqueKeysWithValues: full.map { ($0.event.type + "+full", $0.event.encoded()) })
        try ledger.send(
            .grant(
                GrantCredits(
                    key: GrantCredits.openingKey("row-1"), pool: .topup, source: .openingBalance, amount: .of("5"),
                    expiresAt: .days(30), reference: "row-1", actor: "import")))
        samples["credits_granted.v1+opening"] = ledger.events.last?.event.encoded()
        var refunded = try TestLedger.standard()
        try refunded.send(.pay("pay:1", .credits(.of("10"), microUSD: 1_000_000)))
        try refunded.send(.hold(1, output: 100_000))
        try refunded.send(.charge(1, completion: 100_000))
        try refunded.send(.refund("pay:1"))
        try refunded.send(.reverse(1))
        samples["charge_reversed.v2"] = refunded.events.last?.event.encoded()
        samples.merge(try modalSamples()) { $1 }
        return samples
    }

    /// The events of a request with sound and pictures, at a price that has rates for them.
    private static func modalSamples() throws -> [String: [UInt8]] {
        var ledger = try TestLedger.standard()
        let price = try ModalityTests.price()
        try ledger.send(.setPrice(SetPrice(model: "up:model", price: price, actor: "test")))
        try ledger.send(.grant("2"))
        try ledger.send(
            .placeHold(
                PlaceHold(
                    request: .number(1),
                    origin: RequestOrigin(model: "up:model", keyID: "key", endpoint: "/v1/chat/completions"),
                    promptBound: 100, outputPerChoice: 10, audioBound: 20, audioOutput: true)))
        let modal = try #require(ModalTokens(audio: 19, audioCached: 4, audioOutput: 3, imageOutput: 2))
        let usage = try #require(Usage(prompt: 90, cached: 5, completion: 9, modal: modal))
        let report = UsageReport(usage: usage, flags: [.otherModel])
        try ledger.send(.charge(ChargeRequest(request: .number(1), outcome: .finished, report: report)))
        let modals = ledger.events.suffix(4).filter { !$0.event.type.hasPrefix("credits") }
        return Dictionary(uniqueKeysWithValues: modals.map { ($0.event.type + "+modal", $0.event.encoded()) })
    }

    @Test("every type that is written has a fixture, and every fixture is read and written again as it is")
    func golden() throws {
        let samples = try Self.samples()
        if ProcessInfo.processInfo.environment["RECORD"] == "1" {
            for (type, data) in samples {
                let file = Self.folder.appending(path: type + ".json")
                if !FileManager.default.fileExists(atPath: file.path) { try Data(data).write(to: file) }
            }
        }
        let files = try FileManager.default.contentsOfDirectory(at: Self.folder, includingPropertiesForKeys: nil)
        let types = Set(files.map { $0.deletingPathExtension().lastPathComponent })
        #expect(Set(samples.keys).subtracting(types).isEmpty, "a type without a fixture")
        #expect(types.count >= 15)
        for file in files {
            let name = file.deletingPathExtension().lastPathComponent
            let type = String(name.prefix { $0 != "+" })
            let data = Array(try Data(contentsOf: file))
            let event = try LedgerEvent(type: type, data: data)
            #expect(event.encoded() == data, "\(name) is written as it was stored")
            if let sample = samples[name] { #expect(sample == data, "\(name) is still written as in the fixture") }
        }
    }

    @Test(
        "data that are not exactly what is written are refused",
        arguments: [
            "{}", "", "{\"plan\":\"FREE\"}", "{\"plan\":\"FREE\",\"micro_credits_per_usd\":10000000,\"more\":1}",
            "{ \"plan\":\"FREE\",\"micro_credits_per_usd\":10000000}",
            "{\"micro_credits_per_usd\":10000000,\"plan\":\"FREE\"}",
            "{\"plan\":\"FREE\",\"micro_credits_per_usd\":1e7}",
            "{\"plan\":\"FREE\",\"micro_credits_per_usd\":10000000}}",
            "{\"plan\":\"FREE\",\"micro_credits_per_usd\":99999999999999999999}",
            "{\"plan\":\"FREE\",\"micro_credits_per_usd\":0}",
        ])
    func malformed(data: String) {
        #expect(throws: EventCodingError.self) { try LedgerEvent(type: "account_opened.v1", data: Array(data.utf8)) }
    }

    @Test("an unknown type is refused by name")
    func unknown() {
        #expect(throws: EventCodingError.unknownType("account_opened.v9")) {
            try LedgerEvent(type: "account_opened.v9", data: Array("{}".utf8))
        }
    }
}
