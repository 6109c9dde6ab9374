import Testing

@testable import Ledger

/// The life of a credit: cycles, renewals, payments, refunds. Every decision is made twice and audited (``TestLedger``).
@Suite("Cycles")
struct CycleTests {
    private static let cycle: Int64 = 2_592_000

    /// An instant so many cycles, and seconds, after the account was opened.
    private static func boundary(_ number: Int64, _ seconds: Int64 = 0) -> Timestamp {
        .t0.advanced(bySeconds: number * cycle + seconds)
    }

    private static func ledger() throws -> TestLedger {
        var ledger = try TestLedger.standard()
        try ledger.send(.setPlan(SetPlan(plan: .pro)))
        return ledger
    }

    /// The outcomes of an account's cycles, with the credits that each brought.
    private static func story(_ ledger: TestLedger) -> [String] {
        var story: [String] = []
        for event in ledger.events where event.account == .alice {
            switch event.event {
            case .renewalEvaluated(let renewal):
                story.append("\(renewal.cycle) \(renewal.outcome.rawValue) \(renewal.terms.plan)")
            case .creditsGranted(let grant) where grant.source == .monthlyFree || grant.source == .subscription:
                story[story.count - 1] += " +\(grant.amount)"
            default: break
            }
        }
        return story
    }

    // MARK: Free

    @Test(
        "a free cycle fills the balance up to ten",
        arguments: [
            ("0", "10"), ("0.000000001", "9.999999999"), ("9.999999999", "0.000000001"), ("10", nil), ("37", nil),
        ])
    func topUp(balance: String, granted: String?) throws {
        var ledger = try Self.ledger()
        if balance != "0" { try ledger.send(.grant(balance)) }
        ledger.now = Self.boundary(1)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger) == [granted.map { "1 topped_up FREE +\($0)" } ?? "1 sufficient FREE"])
        #expect(ledger.alice.cycle?.until == Self.boundary(2))
    }

    @Test("a debt is filled up to ten, too, and repaid first")
    func topUpFromDebt() throws {
        var ledger = try Self.ledger()
        try ledger.send(.grant("1"))
        try ledger.send(.hold(1, output: 1000))
        try ledger.chargeBefore(1, completion: 250_000, allocations: [(2, "1")], shortfall: "4", balance: "-4")
        #expect(ledger.alice.balance == .of("-4"))
        ledger.now = Self.boundary(1)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger) == ["1 topped_up FREE +14"])
        #expect(ledger.alice.balance == .of("10") && ledger.alice.debt == .zero)
    }

    @Test("a boundary belongs to the cycle that it begins")
    func halfOpen() throws {
        var ledger = try Self.ledger()
        ledger.now = Timestamp(microseconds: Self.boundary(1).microseconds - 1)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger).isEmpty)
        ledger.now = Self.boundary(1)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger).count == 1)
    }

    @Test("after seventy days of silence the outcome is what it would have been, at the boundaries' own instants")
    func downtime() throws {
        var quiet = try Self.ledger()
        var swept = try Self.ledger()
        quiet.now = .days(70)
        try quiet.send(.recordDue)
        for day in 1...70 {
            swept.now = .days(Int64(day))
            try swept.send(.recordDue)
            try swept.send(.recordDue)
        }
        let told: (TestLedger) -> [Draft] = { ledger in
            ledger.events.filter { $0.account == .alice }.map {
                Draft(event: $0.event, key: $0.key, effectiveAt: $0.effectiveAt)
            }
        }
        #expect(told(quiet) == told(swept))
        #expect(Self.story(quiet) == ["1 topped_up FREE +10", "2 topped_up FREE +10"])
        #expect(quiet.alice.balance == .of("10"))
        let expired = quiet.events.filter { if case .grantExpired = $0.event { true } else { false } }
        #expect(expired.map(\.effectiveAt) == [Self.boundary(2)])
    }

    @Test("whoever touches an account evaluates what is due, in order, before what he came for")
    func lazy() throws {
        var ledger = try Self.ledger()
        ledger.now = Self.boundary(2, 5)
        try ledger.send(.hold(1, output: 500_000))
        let types = ledger.events.filter { $0.account == .alice }.map(\.event.type)
        #expect(
            types == [
                "account_opened.v2", "renewal_evaluated.v1", "credits_granted.v1", "grant_expired.v1",
                "renewal_evaluated.v1", "credits_granted.v1", "hold_placed.v1",
            ])
        #expect(ledger.alice.holds.count == 1)
    }

    @Test("what is refused records nothing, also not what was due")
    func refused() throws {
        var ledger = try Self.ledger()
        ledger.now = Self.boundary(1)
        let before = ledger.events.count
        guard
            case .insufficientCredits(let shortage) = refusal({ () throws(Refusal) in
                try ledger.send(.hold(1, output: 600_000))
            })
        else { return #expect(Bool(false), "12 credits were admitted of 10") }
        #expect(shortage.available == .of("10"))
        #expect(ledger.events.count == before)
    }

    @Test("a hold that spans the boundary is charged to what expired there; the renewal does not wait for it")
    func holdAcrossBoundary() throws {
        var ledger = try Self.ledger()
        ledger.now = Self.boundary(1)
        try ledger.send(.recordDue)
        ledger.now = Self.boundary(2, -1)
        try ledger.send(.hold(1, output: 400_000))
        ledger.now = Self.boundary(2, 60)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger).last == "2 topped_up FREE +10", "open holds are ignored, what expires is gone")
        #expect(ledger.alice.available(at: ledger.now) == .of("2"), "8 are still held")
        try ledger.send(.charge(1, completion: 300_000))
        #expect(ledger.alice.balance == .of("10"), "the old grant bore the charge, and its rest has expired")
        #expect(ledger.alice.totals.expired == 4_000_000_000)
    }

    @Test("terms change at the next boundary, and late boundaries have the terms of their instant")
    func newTerms() throws {
        var ledger = try Self.ledger()
        let generous = try #require(Plan(name: "FREE", microUSD: 0, topUpTo: .of("25"), cycleSeconds: 86_400))
        ledger.now = Self.boundary(1, 100)
        try ledger.send(.setPlan(SetPlan(plan: generous)))
        ledger.now = Self.boundary(2, 3 * 86_400)
        try ledger.send(.recordDue)
        #expect(
            Self.story(ledger) == [
                "1 topped_up FREE +10", "2 topped_up FREE +25", "3 topped_up FREE +25", "4 topped_up FREE +25",
                "5 topped_up FREE +25",
            ])
        #expect(ledger.alice.cycle?.until == Self.boundary(2, 4 * 86_400))
    }

    @Test("an account of the time before cycles begins its first when it is swept")
    func adopted() throws {
        var ledger = try Self.ledger()
        let opened = try LedgerEvent(
            type: "account_opened.v1", data: Array(#"{"plan":"FREE","micro_credits_per_usd":10000000}"#.utf8))
        ledger.record(Draft(event: opened, key: "open:bob", effectiveAt: ledger.now), of: .bob)
        ledger.now = .days(100)
        try ledger.send(.grant("1"), to: .bob)
        #expect(ledger.accounts[.bob]?.cycle == nil && ledger.accounts[.bob]?.nextDue == .t0)
        try ledger.send(.recordDue, to: .bob)
        #expect(ledger.accounts[.bob]?.cycle?.until == .days(130))
        ledger.now = .days(130)
        try ledger.send(.recordDue, to: .bob)
        #expect(ledger.accounts[.bob]?.balance == .of("10"))
    }

    // MARK: Paid

    @Test("a payment begins a cycle; without the next one there is grace, and then the free plan")
    func lapse() throws {
        var ledger = try Self.ledger()
        ledger.now = .days(7)
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        #expect(ledger.alice.plan == "BASIC" && ledger.alice.cycle?.until == .days(37))
        #expect(ledger.alice.balance == .of("100"))
        ledger.now = .days(39)
        try ledger.send(.recordDue)
        #expect(ledger.alice.plan == "BASIC" && ledger.alice.cycle?.isGrace == true && ledger.alice.balance == .zero)
        ledger.now = .days(41)
        try ledger.send(.recordDue)
        #expect(
            Self.story(ledger) == ["1 started BASIC +100", "2 unpaid BASIC", "3 lapsed FREE +10"])
        #expect(ledger.alice.cycle?.until == .days(70), "the free cycle begins with the end of the grace")
    }

    @Test("paying early loses no day, also several times over")
    func early() throws {
        var ledger = try Self.ledger()
        for (day, name) in [(0, "p1"), (1, "p2"), (2, "p3")] {
            ledger.now = .days(Int64(day))
            try ledger.send(.pay(name, .cycle(plan: "BASIC")))
        }
        #expect(ledger.alice.balance == .of("100") && ledger.alice.prepaid.count == 2)
        ledger.now = .days(95)
        try ledger.send(.recordDue)
        #expect(
            Self.story(ledger) == [
                "1 started BASIC +100", "2 renewed BASIC +100", "3 renewed BASIC +100", "4 unpaid BASIC",
                "5 lapsed FREE +10",
            ])
        #expect(ledger.alice.prepaid.isEmpty)
    }

    @Test("a payment in the grace begins a cycle then")
    func lateInGrace() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        ledger.now = .days(31)
        try ledger.send(.pay("p2", .cycle(plan: "BASIC")))
        #expect(Self.story(ledger) == ["1 started BASIC +100", "2 unpaid BASIC", "3 started BASIC +100"])
        #expect(ledger.alice.cycle?.until == .days(61))
    }

    @Test("a payment counts once, for one account, whatever its terms have become")
    func once() throws {
        var ledger = try Self.ledger()
        try ledger.send(.open(plan: "FREE"), to: .bob)
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        let dearer = try #require(Plan(name: "BASIC", microUSD: 20_000_000, cycleCredits: .of("50")))
        try ledger.send(.setPlan(SetPlan(plan: dearer)))
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.pay("p1", .cycle(plan: "PRO"))) }
                == .keyReused(key: "payment:p1"))
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.pay("p1", .cycle(plan: "BASIC")), to: .bob) }
                == .keyReused(key: "payment:p1"))
        #expect(ledger.alice.balance == .of("100") && ledger.alice.payments.count == 1)
    }

    @Test("who has paid ahead gets what was bought, whatever the plan has become")
    func boughtTerms() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        try ledger.send(.pay("p2", .cycle(plan: "BASIC")))
        let worse = try #require(Plan(name: "BASIC", microUSD: 20_000_000, cycleCredits: .of("50")))
        try ledger.send(.setPlan(SetPlan(plan: worse)))
        ledger.now = .days(30)
        try ledger.send(.pay("p3", .cycle(plan: "BASIC")))
        ledger.now = .days(60)
        try ledger.send(.recordDue)
        #expect(
            Self.story(ledger) == ["1 started BASIC +100", "2 renewed BASIC +100", "3 renewed BASIC +50"])
    }

    @Test("cancelling keeps the paid cycle, and can be taken back")
    func cancel() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        ledger.now = .days(10)
        try ledger.send(.schedule("FREE", mustChange: true))
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.schedule("FREE", mustChange: true)) } == .planUnchanged)
        #expect(ledger.alice.plan == "BASIC" && ledger.alice.balance == .of("100"))
        try ledger.send(.subscribe("BASIC"))
        #expect(ledger.alice.nextPlan == nil)
        try ledger.send(.schedule("FREE"))
        ledger.now = .days(30)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger) == ["1 started BASIC +100", "2 lapsed FREE +10"], "no grace: nothing is waited for")
    }

    @Test("who cancels after paying ahead has that cycle, too")
    func cancelPrepaid() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        try ledger.send(.pay("p2", .cycle(plan: "BASIC")))
        try ledger.send(.schedule("FREE"))
        ledger.now = .days(60)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger) == ["1 started BASIC +100", "2 renewed BASIC +100", "3 lapsed FREE +10"])
    }

    @Test("an upgrade grants the difference for what is left of the cycle, and costs the difference for it")
    func upgrade() throws {
        var ledger = try Self.ledger()
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.pay("u0", .upgrade(plan: "PRO"))) } == .nothingToUpgrade)
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        ledger.now = .days(20)
        try ledger.send(.pay("u1", .upgrade(plan: "PRO")))
        #expect(ledger.alice.payments[.named("u1")]?.credits == .of("100"), "300 more a cycle, a third of it is left")
        #expect(ledger.alice.payments[.named("u1")]?.microUSD == 6_666_667)
        #expect(ledger.alice.balance == .of("200") && ledger.alice.plan == "PRO")
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.pay("u2", .upgrade(plan: "BASIC"))) } == .nothingToUpgrade)
        ledger.now = .days(30)
        try ledger.send(.pay("p2", .cycle(plan: "PRO")))
        #expect(ledger.alice.balance == .of("400"), "both grants of the cycle have expired with it")
        #expect(Self.story(ledger).last == "3 started PRO +400", "after the grace had begun at that very instant")
    }

    @Test("a whole payment for a better plan begins its cycle now; what was granted stays until its own end")
    func betterPlan() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        ledger.now = .days(20)
        try ledger.send(.pay("p2", .cycle(plan: "PRO")))
        #expect(ledger.alice.balance == .of("500") && ledger.alice.cycle?.until == .days(50))
        ledger.now = .days(30)
        try ledger.send(.recordDue)
        #expect(ledger.alice.balance == .of("400"))
    }

    @Test("a downgrade counts from the next boundary on, by its payment")
    func downgrade() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("p1", .cycle(plan: "PRO")))
        ledger.now = .days(5)
        try ledger.send(.pay("p2", .cycle(plan: "BASIC")))
        #expect(ledger.alice.plan == "PRO" && ledger.alice.balance == .of("400"))
        ledger.now = .days(30)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger) == ["1 started PRO +400", "2 renewed BASIC +100"])
    }

    @Test("packs never expire, are burnt last and cost what they cost")
    func packs() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("c1", .credits(.of("100"), microUSD: 10_000_000)))
        ledger.now = .days(400)
        try ledger.send(.recordDue)
        #expect(ledger.alice.balance == .of("100"))
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.pay("c2", .credits(.zero, microUSD: 0))) }
                == .amountNotPositive)
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.pay("c3", .cycle(plan: "FREE"))) }
                == .planNotForSale(name: "FREE"))
    }

    @Test("nothing is given to a blocked account, and what it has paid for it has")
    func blocked() throws {
        var ledger = try Self.ledger()
        try ledger.send(.block(actor: "test"))
        ledger.now = .days(60)
        try ledger.send(.unblock(actor: "test"))
        #expect(Self.story(ledger) == ["1 withheld FREE", "2 withheld FREE"])
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        try ledger.send(.pay("p2", .cycle(plan: "BASIC")))
        try ledger.send(.block(actor: "test"))
        ledger.now = .days(121)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger).suffix(2) == ["4 renewed BASIC +100", "5 unpaid BASIC"])
        ledger.now = .days(124)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger).last == "6 lapsed FREE")
    }

    // MARK: The portal's word

    @Test("a pack bought at the end of a cycle is no payment of the next; a lesser plan's word is")
    func portalAtTheEnd() throws {
        var ledger = try Self.ledger()
        try ledger.send(.subscribe("PRO"))
        ledger.now = .days(28)
        try ledger.send(.pay("c1", .credits(.of("5"), microUSD: 500_000)))
        try ledger.send(.schedule("BASIC"))
        for _ in 0..<2 { try ledger.send(.subscribe("BASIC")) }
        ledger.now = .days(30)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger) == ["1 started PRO +400", "2 renewed BASIC +100"])
        #expect(ledger.alice.nextPlan == nil)
    }

    @Test(
        "the portal's word pays where no paid cycle runs, at the end of one, and for what a better plan adds; once each"
    )
    func portal() throws {
        var ledger = try Self.ledger()
        for _ in 0..<3 { try ledger.send(.subscribe("BASIC")) }
        #expect(ledger.alice.payments.count == 1)
        ledger.now = .days(15)
        for _ in 0..<3 { try ledger.send(.subscribe("PRO")) }
        #expect(ledger.alice.balance == .of("250"))
        ledger.now = .days(28)
        for _ in 0..<3 { try ledger.send(.subscribe("PRO")) }
        #expect(ledger.alice.prepaid.count == 1)
        ledger.now = .days(30)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger) == ["1 started BASIC +100 +150", "2 renewed PRO +400"])
        try ledger.send(.subscribe("BASIC", key: "k1"))
        #expect(ledger.alice.nextPlan == "BASIC", "a lesser plan waits for the boundary")
        ledger.now = .days(65)
        try ledger.send(.subscribe("BASIC", key: "k1"))
        #expect(ledger.alice.payments.count == 3, "what comes late finds what it led to, and pays for nothing")
    }

    @Test("a better plan at the end of a cycle is no payment of the next: news of it again are, when a day has passed")
    func portalAfterUpgrade() throws {
        var ledger = try Self.ledger()
        try ledger.send(.subscribe("BASIC"))
        ledger.now = .days(28)
        for _ in 0..<3 { try ledger.send(.subscribe("PRO")) }
        #expect(ledger.alice.prepaid.isEmpty, "the same news again")
        ledger.now = .days(29)
        for _ in 0..<3 { try ledger.send(.subscribe("PRO")) }
        #expect(ledger.alice.prepaid.count == 1)
        ledger.now = .days(30)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger) == ["1 started BASIC +100 +20", "2 renewed PRO +400"])
    }

    @Test("who ends a subscription after the portal's word, and before its cycle, has not paid for that")
    func withdrawnWord() throws {
        var ledger = try Self.ledger()
        try ledger.send(.subscribe("BASIC"))
        ledger.now = .days(28)
        for number in 0..<2 {
            try ledger.send(.schedule("FREE"))
            try ledger.send(.subscribe("BASIC"))
            try ledger.send(.schedule("FREE", key: "cancel:\(number)"))
        }
        ledger.now = .days(30)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger) == ["1 started BASIC +100", "2 lapsed FREE +10"])
    }

    // MARK: Refunds

    @Test(
        "a refund takes what is left of the grant, and what was used of it is owed",
        arguments: [
            (0, nil, "100", "0", "0"), (60, nil, "40", "60", "-60"), (100, nil, "0", "100", "-100"),
            (60, 5_000_000, "40", "10", "-10"), (60, 3_333_333, "33.33333", "0", "6.66667"),
        ] as [(Int64, Int64?, String, String, String)])
    func refund(used: Int64, part: Int64?, taken: String, owed: String, balance: String) throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("c1", .credits(.of("100"), microUSD: 10_000_000)))
        if used > 0 {
            try ledger.send(.hold(1, output: 5_000_000))
            try ledger.send(.charge(1, completion: used * 50_000))
        }
        try ledger.send(.refund("c1", part.map { .part(microUSD: $0) } ?? .rest))
        guard case .paymentRefunded(let event) = ledger.events.last?.event else {
            return #expect(Bool(false), "nothing was refunded")
        }
        #expect(event.taken.map(\.amount) == (taken == "0" ? [] : [.of(taken)]))
        #expect(event.debtAdded == .of(owed))
        #expect(ledger.alice.balance == .of(balance))
    }

    @Test("what has expired unused is not owed, and no more goes back than was paid")
    func refundExpired() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        try ledger.send(.hold(1, output: 2_000_000))
        try ledger.send(.charge(1, completion: 1_500_000))
        ledger.now = .days(30)
        try ledger.send(.recordDue)
        try ledger.send(.refund("p1"))
        #expect(ledger.alice.balance == .of("-30"), "30 were used, 70 have expired")
        try ledger.send(.refund("p1", key: "refund:2"))
        #expect(ledger.alice.balance == .of("-30"), "nothing is left to give back")
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.refund("p1", .part(microUSD: 1), key: "refund:3")) }
                == .refundExceedsPayment(leftMicroUSD: 0))
        #expect(
            refusal { () throws(Refusal) in try ledger.send(.refund("p9", key: "refund:4")) }
                == .paymentUnknown(payment: .named("p9")))
    }

    @Test("sums that a provider tells are refunded up to them, in whatever order")
    func refundUpTo() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("c1", .credits(.of("100"), microUSD: 10_000_000)))
        for (sum, key) in [(3_000_000, "a"), (7_000_000, "b"), (3_000_000, "c"), (7_000_000, "d")] as [(Int64, String)]
        {
            try ledger.send(.refund("c1", .upTo(microUSD: sum), key: key))
        }
        #expect(ledger.alice.balance == .of("30"))
        #expect(ledger.alice.payments[.named("c1")]?.refundedMicroUSD == 7_000_000)
    }

    @Test("a payment that waits for its cycle can be given back, and its cycle does not come")
    func refundPrepaid() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        try ledger.send(.pay("p2", .cycle(plan: "BASIC")))
        try ledger.send(.refund("p2"))
        #expect(ledger.alice.prepaid.isEmpty && ledger.alice.balance == .of("100"))
        ledger.now = .days(30)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger).last == "2 unpaid BASIC")
    }

    @Test("a payment that was given back in part before and after its cycle began takes what was granted, and no less")
    func refundInParts() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        try ledger.send(.pay("p2", .cycle(plan: "BASIC")))
        try ledger.send(.refund("p2", .part(microUSD: 2_500_000), key: "a"))
        ledger.now = .days(30)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger).last == "2 renewed BASIC +75")
        try ledger.send(.hold(1, output: 1_000_000))
        try ledger.send(.charge(1, completion: 500_000))
        try ledger.send(.refund("p2", key: "b"))
        #expect(ledger.alice.balance == .of("-10") && ledger.alice.payments[.named("p2")]?.isRefunded == true)
    }

    @Test("a cycle whose payment was given back ends without grace, and can be paid for anew at once")
    func refundRunning() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        try ledger.send(.refund("p1"))
        #expect(ledger.alice.balance == .zero && ledger.alice.nextPlan == "FREE")
        var again = ledger
        again.now = .days(3)
        try again.send(.pay("p2", .cycle(plan: "BASIC")))
        #expect(again.alice.cycle?.until == .days(33) && again.alice.nextPlan == nil)
        ledger.now = .days(30)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger).last == "2 lapsed FREE +10")
    }

    @Test("news of a subscription whose money went back grants nothing; a payment that is named does")
    func wordAfterRefund() throws {
        var ledger = try Self.ledger()
        try ledger.send(.subscribe("BASIC"))
        let payment = try #require(ledger.alice.payments.keys.first)
        try ledger.send(.refund(payment.rawValue))
        for day in [1, 28, 29] as [Int64] {
            ledger.now = .days(day)
            try ledger.send(.subscribe("BASIC"))
            try ledger.send(.subscribe("PRO", key: "word:\(day)"))
        }
        #expect(ledger.alice.balance == .zero && ledger.alice.payments.count == 1)
        try ledger.send(.pay("p2", .cycle(plan: "BASIC")))
        #expect(ledger.alice.balance == .of("100"))
    }

    @Test("a charge under way when its credits are taken back is charged in full")
    func refundUnderHold() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("c1", .credits(.of("100"), microUSD: 10_000_000)))
        try ledger.send(.hold(1, output: 1_000_000))
        try ledger.send(.refund("c1"))
        #expect(ledger.alice.available(at: ledger.now) == .of("-20"))
        try ledger.send(.charge(1, completion: 1_000_000))
        #expect(ledger.alice.balance == .of("-20") && ledger.alice.debt == .of("20"))
        try ledger.send(.reverse(1))
        #expect(ledger.alice.balance == .zero && ledger.alice.debt == .zero)
    }

    @Test(
        "a refund and the reversal of a charge lead to the same in either order, whatever was reversed and repaid in between",
        arguments: [nil, "3", "20"] as [String?], [false, true])
    func reversalAndRefund(amount: String?, isRepaid: Bool) throws {
        var ends: [Account] = []
        for refundFirst in [false, true] {
            var ledger = try Self.ledger()
            try ledger.send(.pay("c1", .credits(.of("100"), microUSD: 10_000_000)))
            try ledger.send(.hold(1, output: 1_000_000))
            try ledger.send(.charge(1, completion: 1_000_000))
            let refund = Command.Action.refund("c1")
            let reversal = Command.Action.reverse(1, amount)
            try ledger.send(refundFirst ? refund : reversal)
            if isRepaid { try ledger.send(.grant("12")) }
            try ledger.send(refundFirst ? reversal : refund)
            ends.append(ledger.alice)
        }
        #expect(ends[0].balance == ends[1].balance)
        let owed = 20_000_000_000 - Credits.of(amount ?? "20").nanos
        for end in ends {
            #expect(end.balance == Credits(nanos: (isRepaid ? 12_000_000_000 : 0) - owed))
            #expect(end.balance(at: .days(0)) == end.balance)
            #expect(end.payments[.named("c1")]?.refundDebt == Credits(nanos: owed))
            // What comes before a debt does not repay it.
            if !isRepaid { #expect(end.debt == Credits(nanos: owed)) }
        }
    }

    @Test("what a refund made of used credits is forgiven also when the grant has expired; later packs are whole")
    func reversalOfRefundedCycle() throws {
        var ledger = try Self.ledger()
        try ledger.send(.pay("c1", .cycle(plan: "BASIC")))
        try ledger.send(.hold(1, output: 550_000))
        try ledger.send(.charge(1, completion: 550_000))
        try ledger.send(.refund("c1"))
        #expect(ledger.alice.debt == .of("11"))
        ledger.now = .days(31)
        try ledger.send(.recordDue)
        try ledger.send(.reverse(1))
        #expect(ledger.alice.debt == .zero)
        // The free cycle's top-up had repaid the debt, and has it back.
        #expect(ledger.alice.balance == .of("21"))
        try ledger.send(.pay("c2", .credits(.of("100"), microUSD: 10_000_000)))
        #expect(ledger.alice.balance == .of("121"))
    }

    // MARK: Imports

    @Test("a cycle that was paid for elsewhere runs on here, and a better plan adds to it")
    func imported() throws {
        var ledger = try Self.ledger()
        let command = ImportCycle(payment: .named("import:1"), plan: "BASIC", until: .days(15), actor: "import")
        try ledger.send(.importCycle(command))
        #expect(ledger.alice.plan == "BASIC" && ledger.alice.cycle?.until == .days(15) && ledger.alice.balance == .zero)
        try ledger.send(.subscribe("BASIC"))
        #expect(ledger.alice.balance == .zero)
        ledger.now = .days(5)
        try ledger.send(.subscribe("PRO"))
        #expect(ledger.alice.balance == .of("200"), "300 more a cycle, two thirds of it are left")
        ledger.now = .days(15)
        try ledger.send(.recordDue)
        #expect(Self.story(ledger).last == "2 unpaid PRO")
        #expect(
            refusal { () throws(Refusal) in
                try ledger.send(
                    .importCycle(
                        ImportCycle(payment: .named("import:2"), plan: "PRO", until: .days(15), actor: "import")))
            } == .instantInThePast)
    }
}

/// A history that nobody could have decided is found.
@Suite("Audit of cycles")
struct CycleAuditTests {
    private static func audit(_ events: [RecordedEvent]) -> String? {
        var auditor = Auditor { _ in nil }
        for event in events {
            if let finding = auditor.check(event) { return finding.detail }
        }
        return auditor.unfinished()?.detail
    }

    private static func history() throws -> [RecordedEvent] {
        var ledger = try TestLedger.standard()
        try ledger.send(.pay("p1", .cycle(plan: "BASIC")))
        ledger.now = .days(31)
        try ledger.send(.grant("1"))
        return ledger.events
    }

    /// The events without one of them, with positions and versions as if it had never been.
    private static func without(_ index: Int, _ events: [RecordedEvent]) -> [RecordedEvent] {
        var rest = events
        let gone = rest.remove(at: index)
        return rest.enumerated().map { offset, event in
            let isBehind = event.account == gone.account && event.version > gone.version
            return RecordedEvent(
                position: Int64(offset) + 1, account: event.account, version: event.version - (isBehind ? 1 : 0),
                recordedAt: event.recordedAt, effectiveAt: event.effectiveAt, key: event.key, event: event.event)
        }
    }

    @Test("no event of a payment or a renewal can be missing, and none can be changed")
    func missing() throws {
        let events = try Self.history()
        #expect(Self.audit(events) == nil)
        for (index, event) in events.enumerated() where event.account == .alice {
            if index < events.count - 1 {
                #expect(Self.audit(Self.without(index, events)) != nil, "\(event.event.type) was left out")
            }
        }
        for (index, event) in events.enumerated() {
            let changed: LedgerEvent
            switch event.event {
            case .renewalEvaluated(let renewal):
                changed = .renewalEvaluated(
                    RenewalEvaluated(
                        cycle: renewal.cycle, from: renewal.from, until: renewal.until.advanced(bySeconds: 1),
                        terms: renewal.terms, outcome: renewal.outcome, payment: renewal.payment,
                        balance: renewal.balance))
            case .paymentRecorded(let payment):
                changed = .paymentRecorded(
                    PaymentRecorded(
                        payment: payment.payment, kind: payment.kind, plan: payment.plan, credits: .of("101"),
                        microUSD: payment.microUSD, actor: payment.actor))
            default: continue
            }
            var forged = events
            forged[index] = RecordedEvent(
                position: event.position, account: event.account, version: event.version,
                recordedAt: event.recordedAt, effectiveAt: event.effectiveAt, key: event.key, event: changed)
            #expect(Self.audit(forged) != nil, "\(event.event.type) was changed")
        }
    }
}
