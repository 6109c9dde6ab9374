import Ledger
import Testing

@Suite("Burn-down")
struct BurnDownTests {
    /// One grant: pool, amount, expiry in days (nil: never).
    struct Given: Sendable, CustomTestStringConvertible {
        let pool: Pool
        let amount: String
        let days: Int64?

        init(_ pool: Pool, _ amount: String, _ days: Int64? = nil) {
            self.pool = pool
            self.amount = amount
            self.days = days
        }

        var testDescription: String { "\(pool.rawValue) \(amount) \(days.map { "day \($0)" } ?? "never")" }
    }

    /// Grants, in the order in which they are given; the credits charged; what is left of each.
    static let table: [(given: [Given], charged: Int64, left: [String])] = [
        ([Given(.topup, "5")], 3, ["2"]),
        ([Given(.topup, "5")], 5, ["0"]),
        // BONUS, then SUBSCRIPTION, then TOPUP, however they came.
        ([Given(.topup, "5"), Given(.subscription, "5"), Given(.bonus, "5")], 7, ["5", "3", "0"]),
        // The earliest expiry first, never-expiring last.
        ([Given(.bonus, "5"), Given(.bonus, "5", 9), Given(.bonus, "5", 3)], 6, ["5", "4", "0"]),
        // Of equals the one that was granted first.
        ([Given(.bonus, "5", 3), Given(.bonus, "5", 3)], 6, ["0", "4"]),
        // A later priority with an earlier expiry still waits.
        ([Given(.subscription, "5", 1), Given(.bonus, "5")], 2, ["5", "3"]),
    ]

    @Test("a charge is split by priority, then expiry, then age", arguments: table.indices)
    func order(row: Int) throws {
        let (given, charged, left) = Self.table[row]
        var ledger = try TestLedger.standard()
        for (index, grant) in given.enumerated() {
            try ledger.send(.grant(grant.amount, grant.pool, expires: grant.days.map { .days($0) }, key: "g\(index)"))
        }
        // 1 credit is 50,000 output tokens at $2 per million.
        try ledger.send(.hold(1, output: charged * 50_000))
        try ledger.send(.charge(1, completion: charged * 50_000))
        let account = ledger.alice
        #expect(given.indices.map { account.grant(Int64($0) + 2)?.remaining } == left.map { Credits.of($0) })
        #expect(account.balance(at: ledger.now).nanos == account.balance.nanos)
    }
}

@Suite("A charge is at most its hold")
struct ChargeBoundTests {
    @Test(
        "what is reported beyond is recorded exactly, and is nobody's debt",
        arguments: [
            // output tokens held and reported; credits and excess
            (50_000, 50_000, "1", "0"), (50_000, 49_999, "0.99998", "0"), (50_000, 50_001, "1", "0.00002"),
            (0, 1, "0", "0.00002"), (0, 0, "0", "0"), (1, 1 << 31, "0.00002", "42949.67294"),
        ] as [(Int64, Int64, String, String)])
    func bounded(held: Int64, reported: Int64, credits: String, excess: String) throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("2"))
        try ledger.send(.hold(1, output: held))
        try ledger.send(.charge(1, completion: reported))
        guard case .requestCharged(let charge)? = ledger.events.last?.event else {
            Issue.record("it was not charged")
            return
        }
        #expect(charge.credits == .of(credits))
        #expect(charge.excess == .of(excess))
        #expect(charge.costPicoUSD == Int128(reported) * 2_000_000, "the cost is recorded as it was reported")
        #expect(charge.excessPicoUSD == Int128(max(0, reported - held)) * 2_000_000)
        #expect(charge.shortfall == .zero)
        #expect(ledger.events.last?.event.type == "request_charged.v2")
        #expect(ledger.alice.balance.nanos == 2_000_000_000 - charge.credits.nanos)
        #expect(ledger.alice.debt == .zero)
    }

    @Test("only a refund of what is held leads below zero")
    func refunded() throws {
        var ledger = try TestLedger.withoutBoundaries()
        try ledger.send(.pay("pay:1", .credits(.of("5"), microUSD: 500_000)))
        try ledger.send(.hold(1, output: 250_000))
        try ledger.send(.refund("pay:1"))
        #expect(ledger.alice.balance == .zero)
        try ledger.send(.charge(1, completion: 400_000))
        guard case .requestCharged(let charge)? = ledger.events.last?.event else {
            Issue.record("it was not charged")
            return
        }
        #expect((charge.credits, charge.excess, charge.shortfall) == (.of("5"), .of("3"), .of("5")))
        #expect(ledger.alice.balance == .of("-5"))
    }

    @Test("a charge of before that rule is read, folded and audited by the rule of its time")
    func before() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("1"))
        try ledger.send(.hold(1, output: 0))
        // The auditor, which looks at it in there, takes it.
        try ledger.chargeBefore(1, completion: 150_000, allocations: [(2, "1")], shortfall: "2", balance: "-2")
        #expect(ledger.alice.debt == .of("2"))
        #expect(ledger.alice.balance == .of("-2"))
    }

    @Test(
        "an auditor finds a charge beyond its hold, and an excess that is another",
        arguments: [
            (#""credits":1000000000,"excess":1000000000"#, #""credits":2000000000,"excess":0"#),
            (#""excess":1000000000"#, #""excess":0"#), (#""excess":1000000000"#, #""excess":1000000001"#),
            (#""credits":1000000000,"excess":1000000000"#, #""credits":999999999,"excess":1000000001"#),
        ])
    func forged(what: String, with: String) throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("9"))
        try ledger.send(.hold(1, output: 50_000))
        try ledger.send(.charge(1, completion: 100_000))
        var auditor = Auditor { _ in nil }
        for event in ledger.events.dropLast() { #expect(auditor.check(event) == nil) }
        let last = try #require(ledger.events.last)
        let text = String(decoding: last.event.encoded(), as: UTF8.self)
        #expect(text.contains(what))
        let event = try LedgerEvent(type: last.event.type, data: Array(text.replacing(what, with: with).utf8))
        let forged = RecordedEvent(
            position: last.position, account: last.account, version: last.version, recordedAt: last.recordedAt,
            effectiveAt: last.effectiveAt, key: last.key, event: event)
        #expect(auditor.check(forged)?.check == .rule)
    }
}

@Suite("What is no text")
struct ModalityTests {
    /// Text at 1 and 2, cached 0.5; sound at 10, cached 4, out 20; pictures out 30: micro-USD per million.
    static func price() throws -> Price {
        let modal = ModalRates(
            audio: 10_000_000, audioCached: 4_000_000, audioOutput: 20_000_000, imageOutput: 30_000_000)
        return try #require(
            Price(rates: TokenRates(input: 1_000_000, output: 2_000_000, cached: 500_000, modal: modal)))
    }

    @Test(
        "each token costs once, by what it is",
        arguments: [
            // prompt, cached, completion; sound, of it cached, sound out, pictures out; micro-USD
            (100, 0, 10, 0, 0, 0, 0, 120), (100, 0, 0, 40, 0, 0, 0, 460), (100, 50, 0, 40, 30, 0, 0, 270),
            (0, 0, 10, 0, 0, 4, 0, 92), (0, 0, 10, 0, 0, 4, 6, 260),
            // More than there is of its class is that class and no more; of cached tokens that are not told apart, those of text come first.
            (10, 0, 0, 99, 0, 0, 0, 100), (10, 4, 0, 99, 99, 0, 0, 22), (10, 10, 0, 10, 0, 0, 0, 5),
            (0, 0, 3, 0, 0, 9, 9, 90),
        ] as [(Int64, Int64, Int64, Int64, Int64, Int64, Int64, Int64)])
    func cost(
        prompt: Int64, cached: Int64, completion: Int64, audio: Int64, audioCached: Int64, audioOutput: Int64,
        imageOutput: Int64, microUSD: Int64
    ) throws {
        let price = try Self.price()
        let modal = try #require(
            ModalTokens(audio: audio, audioCached: audioCached, audioOutput: audioOutput, imageOutput: imageOutput))
        let usage = try #require(Usage(prompt: prompt, cached: cached, completion: completion, modal: modal))
        #expect(price.cost(of: usage) == Int128(microUSD) * 1_000_000)
        #expect(price.lines(of: usage).reduce(0) { $0 + $1.picoUSD } == price.cost(of: usage))
        #expect(!price.lacksRates(for: usage))
    }

    @Test("without a rate it costs what text does, and that can be told")
    func unpriced() throws {
        let price = try #require(Price(input: 1_000_000, output: 2_000_000, cached: 500_000))
        let modal = try #require(ModalTokens(audio: 5, audioCached: 2, audioOutput: 3, imageOutput: 4))
        let usage = try #require(Usage(prompt: 10, cached: 4, completion: 9, modal: modal))
        let plain = try #require(Usage(prompt: 10, cached: 4, completion: 9))
        #expect(price.cost(of: usage) == price.cost(of: plain))
        #expect(price.lacksRates(for: usage) && !price.lacksRates(for: plain))
        #expect(price.lines(of: usage) == price.lines(of: plain))
    }

    @Test("the hold covers the dearest that was asked for", arguments: [0, 30, 100] as [Int64])
    func held(audioBound: Int64) throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("9"))
        try ledger.send(.setPrice(SetPrice(model: "up:model", price: try Self.price(), actor: "test")))
        for (number, audioOutput) in [false, true].enumerated() {
            try ledger.send(
                .placeHold(
                    PlaceHold(
                        request: .number(number),
                        origin: RequestOrigin(model: "up:model", keyID: nil, endpoint: "/v1/chat/completions"),
                        promptBound: 100, outputPerChoice: 10, audioBound: audioBound, audioOutput: audioOutput)))
            guard case .holdPlaced(let hold)? = ledger.events.last?.event else { continue }
            // Pictures come unasked, and are the dearest that comes out.
            let picoUSD = (100 - audioBound) * 1_000_000 + audioBound * 10_000_000 + 10 * 30_000_000
            #expect(hold.amount.nanos == picoUSD / 100)
        }
        #expect(
            refusal { () throws(Refusal) in
                try ledger.send(
                    .placeHold(
                        PlaceHold(
                            request: .number(9),
                            origin: RequestOrigin(model: "up:model", keyID: nil, endpoint: "/v1/chat/completions"),
                            promptBound: 100, outputPerChoice: 10, audioBound: 101)))
            } == .boundOutOfRange)
    }
}

@Suite("Expiry")
struct ExpiryTests {
    @Test(
        "a grant can be spent until the microsecond before its instant",
        arguments: [(-1, true), (0, false), (1, false)])
    func boundary(offset: Int64, isSpendable: Bool) throws {
        var ledger = try TestLedger.withoutBoundaries()
        let expiry = Timestamp.days(30)
        try ledger.send(.grant("5", .subscription, expires: expiry))
        ledger.now = Timestamp(microseconds: expiry.microseconds + offset)
        #expect(ledger.alice.available(at: ledger.now) == (isSpendable ? .of("5") : .zero))
        let refused = refusal { () throws(Refusal) in try ledger.send(.hold(1, output: 50_000)) }
        #expect((refused == nil) == isSpendable)
        // What was refused changed nothing, not even the expiry that was due.
        if !isSpendable { #expect(ledger.events.count == 4) }
    }

    @Test("whether or not it was swept, the outcome is the same")
    func swept() throws {
        var swept = try TestLedger.withoutBoundaries()
        try swept.send(.grant("5", .subscription, expires: .days(30)))
        var untouched = swept
        swept.now = .days(31)
        untouched.now = .days(31)
        try swept.send(.recordDue)
        #expect(swept.alice.balance == .zero)
        #expect(untouched.alice.balance(at: untouched.now) == .zero)
        try swept.send(.grant("1", key: "g2"))
        try untouched.send(.grant("1", key: "g2"))
        #expect(swept.alice == untouched.alice)
        let expiry = try #require(untouched.events.dropLast().last)
        #expect(expiry.effectiveAt == .days(30))
        #expect(expiry.recordedAt == .days(31))
    }

    @Test("an expiry waits for requests that were admitted before it, and for no others")
    func openHold() throws {
        var ledger = try TestLedger.withoutBoundaries()
        try ledger.send(.grant("5", .subscription, expires: .days(30)))
        ledger.now = .days(29)
        try ledger.send(.hold(1, output: 100_000))
        ledger.now = .days(30)
        // It is no longer there for others.
        #expect(ledger.alice.available(at: ledger.now) < .zero)
        #expect(ledger.alice.dueExpiries(at: ledger.now).isEmpty)
        let refused = refusal { () throws(Refusal) in try ledger.send(.hold(2, output: 1)) }
        #expect(refused != nil)
        try ledger.send(.charge(1, completion: 100_000))
        // Charged to the grant, and what was left has expired at once.
        #expect(ledger.alice.debt == .zero)
        #expect(ledger.alice.grant(2)?.remaining == .zero)
        guard case .grantExpired(let expired)? = ledger.events.last?.event else {
            Issue.record("the expiry is missing")
            return
        }
        #expect(expired.amount == .of("3"))
        #expect(ledger.alice.balance == .zero)
    }

    @Test("a grant cannot be given with an expiry that has passed")
    func past() throws {
        var ledger = try TestLedger.withoutBoundaries()
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.grant("1", expires: ledger.now)) } == .instantInThePast)
    }
}

@Suite("Debt")
struct DebtTests {
    @Test("the next grant repays a shortfall first", arguments: [("1", "2", "0"), ("3", "0", "0"), ("10", "0", "7")])
    func repaid(granted: String, debt: String, remaining: String) throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.hold(1, output: 0))
        try ledger.chargeBefore(1, completion: 150_000, shortfall: "3", balance: "-3")
        #expect(ledger.alice.debt == .of("3"))
        #expect(ledger.alice.balance == .of("-3"))
        try ledger.send(.grant(granted))
        #expect(ledger.alice.debt == .of(debt))
        #expect(ledger.alice.grant(4)?.remaining == .of(remaining))
    }

    @Test("nothing is admitted while there is debt")
    func admission() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.hold(1, output: 0))
        try ledger.chargeBefore(1, completion: 50_000, shortfall: "1", balance: "-1")
        guard
            case .insufficientCredits(let shortage) = refusal({ () throws(Refusal) in
                try ledger.send(.hold(2, output: 1))
            })
        else {
            Issue.record("it was admitted")
            return
        }
        #expect(shortage.available == .of("-1"))
        #expect(shortage.fittingOutput == 0)
    }
}

@Suite("Admission")
struct AdmissionTests {
    @Test("open holds are not available to others")
    func held() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("3"))
        try ledger.send(.hold(1, output: 100_000))
        #expect(ledger.alice.available(at: ledger.now) == .of("1"))
        guard
            case .insufficientCredits(let shortage) = refusal({ () throws(Refusal) in
                try ledger.send(.hold(2, output: 60_000))
            })
        else {
            Issue.record("it was admitted")
            return
        }
        #expect([shortage.needed, shortage.available, shortage.held] == [.of("1.2"), .of("1"), .of("2")])
        #expect(shortage.fittingOutput == 50_000)
        try ledger.send(.release(1))
        try ledger.send(.hold(2, output: 60_000))
    }

    @Test(
        "the output bound shrinks to what fits, where the client gave none and 256 tokens fit",
        arguments: [("1", 50_000), ("0.00512", 256), ("0.00511", nil)] as [(String, Int64?)])
    func shrinks(credits: String, bound: Int64?) throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant(credits))
        let refused = refusal { () throws(Refusal) in try ledger.send(.hold(1, output: 80_000, shrinkTo: 256)) }
        #expect((refused == nil) == (bound != nil))
        #expect(ledger.alice.holds[.number(1)]?.placed.outputBound == bound)
    }

    @Test("several choices multiply the output")
    func choices() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("1"))
        try ledger.send(.hold(1, output: 80_000, choices: 2, shrinkTo: 256))
        #expect(ledger.alice.holds[.number(1)]?.placed.outputBound == 50_000)
    }

    @Test("a price that another actor sets is an event also where it is equal")
    func samePrice() throws {
        var ledger = try TestLedger.standard()
        let price = try #require(Price(input: 1_000_000, output: 2_000_000))
        let before = ledger.events.count
        try ledger.send(.setPrice(SetPrice(model: "up:model", price: price, actor: "test")))
        #expect(ledger.events.count == before)
        try ledger.send(.setPrice(SetPrice(model: "up:model", price: price, actor: "master")))
        #expect(ledger.events.count == before + 1)
        #expect(ledger.prices.entry(for: "up:model", at: ledger.now)?.actor == "master")
    }

    @Test("the price of admission stays the price of the charge")
    func priceChange() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("10"))
        try ledger.send(.hold(1, output: 50_000))
        let dearer = try #require(Price(input: 9_000_000, output: 9_000_000))
        ledger.now = ledger.now.advanced(bySeconds: 1)
        try ledger.send(.setPrice(SetPrice(model: "up:model", price: dearer, actor: "test")))
        try ledger.send(.charge(1, completion: 50_000))
        #expect(ledger.alice.balance == .of("9"))
    }

    /// What a request may cost at most, of the input price 1, the output price 2 and, beyond 100 tokens of prompt, ten times that.
    @Test(
        "a hold covers caches, long prompts and searches",
        arguments: [
            // prompt bound, output, writes a cache, searches; pico-USD
            (100, 10, false, 0, 100 * 1 + 10 * 2), (101, 10, false, 0, 101 * 10 + 10 * 20),
            // A write to the cache that lives an hour costs twice the input.
            (100, 10, true, 0, 100 * 2 + 10 * 2), (101, 10, true, 0, 101 * 20 + 10 * 20),
            (0, 10, false, 3, 10 * 2 + 3 * 7000),
        ] as [(Int64, Int64, Bool, Int64, Int64)])
    func bounds(prompt: Int64, output: Int64, writesCache: Bool, searches: Int64, cost: Int64) throws {
        var ledger = try TestLedger.standard()
        let tier = TokenRates(input: 10, output: 20).flatMap { Price.LongContext(above: 100, rates: $0) }
        let price = try #require(Price(rates: TokenRates(input: 1, output: 2), longContext: tier, webSearch: 7))
        ledger.now = ledger.now.advanced(bySeconds: 1)
        try ledger.send(.setPrice(SetPrice(model: "up:model", price: price, actor: "test")))
        try ledger.send(.grant("10"))
        try ledger.send(
            .placeHold(
                PlaceHold(
                    request: .number(1), origin: RequestOrigin(model: "up:model", keyID: nil, endpoint: "/v1/messages"),
                    promptBound: prompt, outputPerChoice: output, searchBound: searches, writesCache: writesCache)))
        #expect(ledger.alice.held == CreditRate.standard.credits(forPicoUSD: Int128(cost)))
    }

    @Test("searches without a price are refused, and so are absurdly many")
    func searches() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("10"))
        func hold(_ searches: Int64) -> Command.Action {
            .placeHold(
                PlaceHold(
                    request: .number(1), origin: RequestOrigin(model: "up:model", keyID: nil, endpoint: "/v1/messages"),
                    promptBound: 1, outputPerChoice: 1, searchBound: searches))
        }
        #expect(refusal { () throws(Refusal) in try ledger.send(hold(1)) } == .searchNotPriced(model: "up:model"))
        #expect(refusal { () throws(Refusal) in try ledger.send(hold(-1)) } == .boundOutOfRange)
        #expect(refusal { () throws(Refusal) in try ledger.send(hold(.max)) } == .boundOutOfRange)
    }

    /// An upstream that breaks its limit uses up nothing of what another request holds.
    @Test("a charge above its hold leaves another's hold covered")
    func overrun() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("2"))
        try ledger.send(.hold(1, output: 50_000))
        try ledger.send(.hold(2, output: 50_000))
        #expect(ledger.alice.available(at: ledger.now) == .zero)
        try ledger.send(.charge(1, completion: 80_000))
        #expect(ledger.alice.available(at: ledger.now) == .zero)
        try ledger.send(.charge(2, completion: 50_000))
        #expect(ledger.alice.balance == .zero && ledger.alice.debt == .zero)
    }

    @Test("refusals come in their order of precedence")
    func precedence() throws {
        var ledger = TestLedger()
        for plan in Plan.standard { try ledger.send(.setPlan(SetPlan(plan: plan))) }
        #expect(refusal { () throws(Refusal) in try ledger.send(.hold(1, output: 1)) } == .accountUnknown)
        try ledger.send(.open(plan: "FREE"))
        #expect(refusal { () throws(Refusal) in try ledger.send(.hold(1, output: -1)) } == .boundOutOfRange)
        try ledger.send(.block(actor: "test"))
        #expect(refusal { () throws(Refusal) in try ledger.send(.hold(1, output: 1)) } == .accountBlocked)
        try ledger.send(.unblock(actor: "test"))
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.hold(1, output: 1)) } == .modelNotPriced(model: "up:model")
        )
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.charge(1, completion: 1)) }
                == .holdNotOpen(request: .number(1)))
        #expect(refusal { () throws(Refusal) in try ledger.send(.reverse(1)) } == .chargeUnknown(request: .number(1)))
        #expect(refusal { () throws(Refusal) in try ledger.send(.grant("0")) } == .amountNotPositive)
        #expect(refusal { () throws(Refusal) in try ledger.send(.grant("1", key: "")) } == .invalidKey)
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.open(plan: "GOLD"), to: .bob) }
                == .planUnknown(name: "GOLD"))
    }

    @Test("an erasure is recorded once for each person, blocks the account, and takes nothing of what it has")
    func erasure() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("3"))
        let before = ledger.accounts[.alice]?.balance
        let first = EraseAccount(createdAt: .days(0), actor: "support")
        let events = try ledger.send(Command(account: .alice, action: .erase(first)))
        #expect(events.map(\.event.type) == ["account_blocked.v1", "account_erased.v1"])
        let again = EraseAccount(createdAt: .days(0), actor: "other")
        #expect(try ledger.send(Command(account: .alice, action: .erase(again))).isEmpty)
        #expect(ledger.accounts[.alice]?.isBlocked == true && ledger.accounts[.alice]?.balance == before)
        // Somebody else under the same id.
        try ledger.send(.unblock(actor: "support"))
        let second = EraseAccount(createdAt: .days(9), actor: "support")
        #expect(try ledger.send(Command(account: .alice, action: .erase(second))).count == 2)
    }

    @Test("a balance that does not fit is refused")
    func outOfRange() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("9000000000"))
        #expect(refusal { () throws(Refusal) in try ledger.send(.grant("9000000000", key: "g2")) } == .amountOutOfRange)
    }

    @Test("what could not be charged is not admitted")
    func holdOutOfRange() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("9223372036"))
        let hold = Command.Action.hold(1, output: 100_000)
        #expect(refusal { () throws(Refusal) in try ledger.send(hold) } == .amountOutOfRange)
        #expect(ledger.alice.holds.isEmpty)
    }

    @Test("the same key with other content is refused, also for another account")
    func keyReused() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.open(plan: "FREE"), to: .bob)
        try ledger.send(.grant("5"))
        #expect(refusal { () throws(Refusal) in try ledger.send(.grant("6")) } == .keyReused(key: "grant:1"))
        #expect(refusal { () throws(Refusal) in try ledger.send(.grant("5"), to: .bob) } == .keyReused(key: "grant:1"))
        #expect(refusal { () throws(Refusal) in try ledger.send(.grant("5")) } == nil)
        #expect(ledger.alice.balance == .of("5"))
    }

    @Test("a hold is settled once, by a charge or a release")
    func settledOnce() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("5"))
        try ledger.send(.hold(1, output: 50_000))
        try ledger.send(.charge(1, completion: 10))
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.release(1)) }
                == .keyReused(key: "settle:\(RequestID.number(1))"))
        #expect(refusal { () throws(Refusal) in try ledger.send(.charge(1, completion: 11)) } != nil)
        #expect(ledger.alice.held == .zero)
    }

    @Test("a sign-up bonus is given once")
    func signup() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.grant("20", .bonus, key: "signup:alice", source: .signupBonus))
        #expect(ledger.alice.balance == .of("20"))
    }
}

@Suite("Reversals and adjustments")
struct CorrectionTests {
    @Test(
        "a reversal unwinds the allocation in reverse",
        arguments: [
            (nil, ["2", "2"]), ("1", ["0", "2"]), ("2", ["1", "2"]),
        ] as [(String?, [String])])
    func unwinds(amount: String?, left: [String]) throws {
        var ledger = try TestLedger.withoutBoundaries()
        try ledger.send(.grant("2", .bonus, key: "g1"))
        try ledger.send(.grant("2", .topup, key: "g2"))
        try ledger.send(.hold(1, output: 150_000))
        try ledger.send(.charge(1, completion: 150_000))
        #expect(ledger.alice.grant(3)?.remaining == .of("1"))
        try ledger.send(.reverse(1, amount))
        #expect([2, 3].map { ledger.alice.grant($0)?.remaining } == left.map { Credits.of($0) })
        if amount != nil {
            try ledger.send(.reverse(1, nil, key: "reversal:2"))
            #expect(ledger.alice.balance == .of("4"))
            #expect(
                refusal { () throws(Refusal) in try ledger.send(.reverse(1, "0.1", key: "reversal:3")) }
                    == .reversalExceedsCharge(left: .zero))
        }
    }

    @Test("a shortfall is unwound first: what is owed is forgiven, what was repaid returns")
    func shortfall() throws {
        var ledger = try TestLedger.withoutBoundaries()
        try ledger.send(.grant("1", .bonus, key: "g1"))
        try ledger.send(.hold(1, output: 0))
        try ledger.chargeBefore(1, completion: 250_000, allocations: [(2, "1")], shortfall: "4", balance: "-4")
        #expect(ledger.alice.debt == .of("4"))
        try ledger.send(.grant("3", key: "g2"))
        #expect(ledger.alice.debt == .of("1"))
        try ledger.send(.reverse(1))
        #expect(ledger.alice.debt == .zero)
        #expect(ledger.alice.grant(2)?.remaining == .of("1"))
        #expect(ledger.alice.grant(5)?.remaining == .of("3"))
        #expect(ledger.alice.balance == .of("4"))
    }

    @Test("what has expired meanwhile expires again at once, visibly")
    func expired() throws {
        var ledger = try TestLedger.withoutBoundaries()
        try ledger.send(.grant("2", .subscription, expires: .days(30)))
        try ledger.send(.hold(1, output: 100_000))
        try ledger.send(.charge(1, completion: 100_000))
        ledger.now = .days(40)
        try ledger.send(.reverse(1))
        #expect(ledger.events.suffix(2).map(\.event.type) == ["charge_reversed.v1", "grant_expired.v1"])
        #expect(ledger.events.last?.effectiveAt == .days(30))
        #expect(ledger.alice.balance == .zero)
    }

    @Test("an adjustment adds, or takes no more than is available")
    func adjust() throws {
        var ledger = try TestLedger.standard()
        func adjust(_ amount: String, _ key: String) -> Command.Action {
            .adjust(AdjustCredits(key: key, amount: .of(amount), reason: "goodwill", actor: "support"))
        }
        try ledger.send(adjust("5", "a1"))
        try ledger.send(adjust("-2", "a2"))
        #expect(ledger.alice.balance == .of("3"))
        guard case .insufficientCredits = refusal({ () throws(Refusal) in try ledger.send(adjust("-4", "a3")) }) else {
            Issue.record("more was taken than there is")
            return
        }
        #expect(refusal { () throws(Refusal) in try ledger.send(adjust("0", "a4")) } == .amountNotPositive)
    }

    @Test("blocks and prices")
    func others() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.block(actor: "support"))
        #expect(ledger.alice.isBlocked)
        try ledger.send(.unblock(actor: "support"))
        #expect(!ledger.alice.isBlocked)
        try ledger.send(.removePrice(RemovePrice(model: "up:model", actor: "test")))
        #expect(ledger.prices.price(for: "up:model", at: ledger.now) == nil)
    }
}

@Suite("Account ids")
struct AccountIDTests {
    @Test("ids that only look alike are two accounts")
    func bytes() throws {
        let composed = try #require(AccountID(rawValue: "jos\u{e9}"))
        let decomposed = try #require(AccountID(rawValue: "jose\u{301}"))
        #expect(composed.rawValue == decomposed.rawValue, "Swift takes the texts for equal")
        #expect(composed != decomposed)
        #expect(Set([composed, decomposed]).count == 2)
        #expect(composed == AccountID(rawValue: "jos\u{e9}"))
        let payments = try [composed.rawValue, decomposed.rawValue].map { try #require(PaymentID(rawValue: $0)) }
        #expect(payments[0] != payments[1] && Set(payments).count == 2, "as are two payments")
    }
}
