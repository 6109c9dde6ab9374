import Testing

@testable import Ledger

/// Limits on spending, pace and models, each enforced where the hold is decided. Every decision is made twice and audited.
@Suite("Limits")
struct LimitTests {
    private static func ledger(_ limits: UseLimits, scope: LimitScope = .account) throws -> TestLedger {
        var ledger = try TestLedger.withoutBoundaries()
        try ledger.send(.grant("1000"))
        try ledger.send(.setLimits(SetLimits(scope: scope, limits: limits, actor: "test")))
        return ledger
    }

    private static func reached(_ ledger: inout TestLedger, _ action: Command.Action) -> LimitReached? {
        let refused = refusal { () throws(Refusal) in try ledger.send(action) }
        if case .limitReached(let limit) = refused { return limit }
        return nil
    }

    @Test("what is under way and what was spent count against a day, until the next one begins")
    func day() throws {
        var ledger = try Self.ledger(UseLimits(perDay: .of("10")))
        ledger.now = .t0.advanced(bySeconds: 86_399)
        try ledger.send(.hold(1, output: 300_000))
        try ledger.send(.hold(2, output: 200_000))
        let limit = try #require(Self.reached(&ledger, .hold(3, output: 1)))
        #expect(limit.kind == .spending(.day) && limit.used == Credits.of("10").nanos)
        #expect(limit.retryAt == .days(1))
        try ledger.send(.charge(1, completion: 100_000))
        #expect(ledger.alice.spending[.account]?.counters[.day]?.spent == .of("2"))
        try ledger.send(.hold(4, output: 200_000))
        #expect(Self.reached(&ledger, .hold(5, output: 1)) != nil)
        ledger.now = .days(1)
        try ledger.send(.hold(6, output: 500_000))
        // What was held yesterday is no part of today, also when it comes to its charge.
        try ledger.send(.charge(2, completion: 200_000))
        #expect(ledger.alice.spending[.account]?.counters[.day]?.spent == .zero)
        #expect(ledger.alice.spending[.account]?.counters[.month]?.spent == .of("6"))
    }

    @Test("a month has the days that it has")
    func month() throws {
        var ledger = try Self.ledger(UseLimits(perMonth: .of("2")))
        ledger.now = .days(30)
        try ledger.send(.hold(1, output: 100_000))
        let limit = try #require(Self.reached(&ledger, .hold(2, output: 1)))
        #expect(limit.retryAt == .days(31))
        ledger.now = .days(31)
        try ledger.send(.hold(3, output: 100_000))
        let next = try #require(Self.reached(&ledger, .hold(4, output: 1)))
        #expect(next.retryAt == .days(59), "February 2026")
    }

    @Test("a total never comes back; a release does")
    func total() throws {
        var ledger = try Self.ledger(UseLimits(total: .of("3")))
        try ledger.send(.hold(1, output: 150_000))
        try ledger.send(.release(1))
        try ledger.send(.hold(2, output: 150_000))
        try ledger.send(.charge(2, completion: 150_000))
        ledger.now = .days(400)
        let limit = try #require(Self.reached(&ledger, .hold(3, output: 1)))
        #expect(limit.retryAt == nil)
    }

    @Test("a request without a limit of its own shrinks to what the cap leaves")
    func shrinks() throws {
        var ledger = try Self.ledger(UseLimits(perDay: .of("1")))
        try ledger.send(.hold(1, output: 8_192_000, shrinkTo: 256))
        #expect(ledger.alice.held == .of("1"))
        #expect(Self.reached(&ledger, .hold(2, output: 8_192, shrinkTo: 256)) != nil)
    }

    @Test("a key's limit bounds the key, the account's all of its keys")
    func scopes() throws {
        var ledger = try Self.ledger(UseLimits(total: .of("1")), scope: .key("key-1"))
        #expect(Self.reached(&ledger, .hold(1, output: 100_000))?.scope == .key("key-1"))
        let other = PlaceHold(
            request: .number(2),
            origin: RequestOrigin(model: "up:model", keyID: "key-2", endpoint: "/v1/chat/completions"),
            promptBound: 0, outputPerChoice: 100_000)
        try ledger.send(.placeHold(other))
        try ledger.send(.setLimits(SetLimits(scope: .key("key-1"), limits: .none, actor: "test")))
        #expect(ledger.alice.spending.isEmpty)
        try ledger.send(.hold(1, output: 100_000))
    }

    @Test("another cap within a window counts what was spent in it")
    func raised() throws {
        var ledger = try Self.ledger(UseLimits(perDay: .of("4")))
        try ledger.send(.hold(1, output: 200_000))
        try ledger.send(
            .setLimits(SetLimits(scope: .account, limits: UseLimits(perDay: .of("5"), total: .of("6")), actor: "test")))
        #expect(Self.reached(&ledger, .hold(2, output: 100_000)) != nil)
        try ledger.send(.hold(3, output: 50_000))
        ledger.now = .days(1)
        let limit = try #require(Self.reached(&ledger, .hold(4, output: 100_000)))
        #expect(limit.kind == .spending(.total) && limit.used == Credits.of("5").nanos)
    }

    @Test("a budget is a rolling period from when it was attached, in dollars")
    func budget() throws {
        var ledger = try Self.ledger(.none)
        let budget = BudgetCap(id: "b1", microUSD: 1_000_000, seconds: 3600)
        ledger.now = .t0.advanced(bySeconds: 10)
        try ledger.send(.setBudget(SetBudget(budget: budget, actor: "test")))
        try ledger.send(.hold(1, output: 500_000))
        ledger.now = .t0.advanced(bySeconds: 3609)
        #expect(Self.reached(&ledger, .hold(2, output: 1))?.retryAt == .t0.advanced(bySeconds: 3610))
        try ledger.send(.charge(1, completion: 400_000))
        // More money in the same period keeps the period.
        try ledger.send(
            .setBudget(SetBudget(budget: BudgetCap(id: "b1", microUSD: 900_000, seconds: 3600), actor: "test")))
        #expect(Self.reached(&ledger, .hold(2, output: 50_001))?.used == Credits.of("8").nanos)
        ledger.now = .t0.advanced(bySeconds: 3610)
        try ledger.send(.hold(3, output: 450_000))
        try ledger.send(.setBudget(SetBudget(budget: nil, actor: "test")))
        #expect(ledger.alice.spending.isEmpty)
    }

    @Test(
        "models are allowed by their names, or by their provider",
        arguments: [
            (["up:model"], true), (["up:*"], true), (["other:*", "up:model"], true), (["up:model-2"], false),
            (["u:*"], false), ([], false),
        ])
    func models(models: [String], isAllowed: Bool) throws {
        var ledger = try Self.ledger(UseLimits(models: models))
        let refused = refusal { () throws(Refusal) in try ledger.send(.hold(1, output: 10)) }
        #expect(refused == (isAllowed ? nil : .modelNotAllowed(model: "up:model")))
    }

    @Test("requests and tokens of the last minute")
    func pace() throws {
        var account = Account(id: .alice)
        account.apply(
            .accountOpened(AccountOpened(plan: "FREE", rate: .standard, first: nil)), effectiveAt: .t0)
        account.apply(
            .creditsGranted(
                CreditsGranted(
                    pool: .topup, source: .purchase, amount: .of("100"), expiresAt: nil, reference: nil, reason: nil,
                    actor: nil, debtRepaid: .zero, balance: .of("100"))), effectiveAt: .t0)
        account.apply(
            .limitsSet(
                LimitsSet(
                    scope: .account, limits: UseLimits(requestsPerMinute: 3, tokensPerMinute: 1000), actor: "test")),
            effectiveAt: .t0)
        var prices = PriceBook()
        let price = try #require(Price(input: 1_000_000, output: 2_000_000))
        prices.apply(
            .priceSet(PriceSet(model: "up:model", price: price, validFrom: .t0, actor: "test")), recordedAt: .t0)
        let now = Timestamp.t0.advanced(bySeconds: 100)
        func decide(_ recent: [(Int64, Int64)], output: Int64) -> Refusal? {
            let use = RecentUse(recent.map { (Timestamp.t0.advanced(bySeconds: $0), $1) })
            let context = Context(now: now, prices: prices, plans: PlanBook(), recent: [.account: use])
            return refusal { () throws(Refusal) in
                _ = try account.decide(Command(account: .alice, action: .hold(1, output: output)), in: context)
            }
        }
        #expect(decide([(50, 10), (60, 10)], output: 100) == nil)
        guard case .limitReached(let requests) = decide([(50, 10), (60, 10), (70, 10)], output: 100) else {
            return #expect(Bool(false), "a fourth request in a minute")
        }
        #expect(requests.kind == .requestsPerMinute && requests.retryAt == .t0.advanced(bySeconds: 110))
        guard case .limitReached(let tokens) = decide([(50, 500), (60, 400)], output: 550) else {
            return #expect(Bool(false), "1450 tokens in a minute")
        }
        #expect(tokens.used == 900 && tokens.needed == 550 && tokens.retryAt == .t0.advanced(bySeconds: 110))
        guard case .limitReached(let never) = decide([], output: 1001) else {
            return #expect(Bool(false), "more than a minute may have")
        }
        #expect(never.retryAt == nil)
    }

    @Test(
        "windows of UTC",
        arguments: [
            ("2024-02-29T23:59:59.999999Z", "2024-02-29", "2024-03-01", "2024-02-01", "2024-03-01"),
            ("2026-12-31T00:00:00Z", "2026-12-31", "2027-01-01", "2026-12-01", "2027-01-01"),
            ("1970-01-01T00:00:00Z", "1970-01-01", "1970-01-02", "1970-01-01", "1970-02-01"),
        ])
    func windows(instant: String, day: String, dayEnd: String, month: String, monthEnd: String) throws {
        let windows = CalendarWindows.utc(at: try #require(Timestamp(iso8601: instant)))
        #expect(windows.day == Timestamp(iso8601: day) && windows.dayEnd == Timestamp(iso8601: dayEnd))
        #expect(windows.month == Timestamp(iso8601: month) && windows.monthEnd == Timestamp(iso8601: monthEnd))
    }
}
