import Ledger
import Testing

/// A ledger in memory, by which rules are tested: it decides each command twice, folds what was decided, and lets the auditor look at
/// every event.
///
/// The second decision must lead to nothing new: that is checked here, so that no test can forget it.
struct TestLedger {
    var accounts: [AccountID: Account] = [:]
    var prices = PriceBook()
    var plans = PlanBook()
    var events: [RecordedEvent] = []
    private var byKey: [String: RecordedEvent] = [:]
    private var auditor: Auditor
    /// The frozen clock.
    var now = Timestamp.t0

    private let settlements: Settlements

    /// The events that settled requests, shared with the auditor.
    private final class Settlements {
        var byRequest: [RequestID: RecordedEvent] = [:]
    }

    init() {
        let settlements = Settlements()
        self.settlements = settlements
        auditor = Auditor { settlements.byRequest[$0] }
    }

    /// A ledger with the standard plans, a price for `up:model` of $1 and $2 per million tokens, and an open account `alice`.
    static func standard() throws -> TestLedger {
        var ledger = TestLedger()
        for plan in Plan.standard { try ledger.send(.setPlan(SetPlan(plan: plan))) }
        let price = try #require(Price(input: 1_000_000, output: 2_000_000))
        try ledger.send(.setPrice(SetPrice(model: "up:model", price: price, actor: "test")))
        try ledger.send(.open(plan: "FREE"))
        return ledger
    }

    /// The same, but nothing ever comes due by itself except what is granted with an expiry.
    static func withoutBoundaries() throws -> TestLedger {
        var ledger = TestLedger()
        let still = try #require(Plan(name: "FREE", microUSD: 0, cycleSeconds: 3_155_760_000))
        try ledger.send(.setPlan(SetPlan(plan: still)))
        let price = try #require(Price(input: 1_000_000, output: 2_000_000))
        try ledger.send(.setPrice(SetPrice(model: "up:model", price: price, actor: "test")))
        try ledger.send(.open(plan: "FREE"))
        return ledger
    }

    mutating func send(_ action: Command.Action, to account: AccountID = .alice) throws(Refusal) {
        try send(Command(account: account, action: action))
    }

    /// Decides, folds, audits, and decides again.
    @discardableResult
    mutating func send(_ command: Command) throws(Refusal) -> [RecordedEvent] {
        let drafts = try decide(command)
        var recorded: [RecordedEvent] = []
        for draft in drafts { recorded.append(append(draft, to: command.account)) }
        if !drafts.isEmpty {
            // A charge or a release that is repeated finds its event under its key; so does everything that has a key.
            let again = Result { () throws(Refusal) in try decide(command) }
            switch (command.action, again) {
            // It names the plan that is to be left: there is nothing to leave any more.
            case (.schedulePlan(let schedule), .failure(.planUnchanged)) where schedule.mustChange: break
            default: #expect(again == .success([]), "decided twice: \(command)")
            }
        }
        return recorded
    }

    func decide(_ command: Command) throws(Refusal) -> [Draft] {
        let prior = command.key.flatMap { byKey[$0] }
        var settlement: RecordedEvent?
        if case .reverse(let reversal) = command.action { settlement = settlements.byRequest[reversal.request] }
        let context = Context(now: now, prices: prices, plans: plans, prior: prior, settlement: settlement)
        return try (accounts[command.account] ?? Account(id: command.account)).decide(command, in: context)
    }

    /// Appends an event that nobody decides any more: of an older version.
    mutating func record(_ draft: Draft, of id: AccountID) { _ = append(draft, to: id) }

    /// Appends a charge as it was before a charge was at most its hold: the whole cost, what no grant could bear is debt.
    mutating func chargeBefore(
        _ number: Int, completion: Int64, allocations: [(grant: Int64, credits: String)] = [], shortfall: String,
        balance: String
    ) throws {
        let request = RequestID.number(number)
        let parts = allocations.map { "[\($0.grant),\(Credits.of($0.credits).nanos)]" }.joined(separator: ",")
        let data = """
            {"request":"\(request)","model":"up:model","key_id":"key-1","endpoint":"/v1/chat/completions",\
            "outcome":"finished","prompt_tokens":0,"cached_tokens":0,"cache_write_tokens":0,"cache_write_1h_tokens":0,\
            "completion_tokens":\(completion),"estimated":false,"price":{"version":1,"input":1000000,"output":2000000},\
            "micro_credits_per_usd":10000000,"cost_pico_usd":\(completion * 2_000_000),"credits":\(completion * 20_000),\
            "allocations":[\(parts)],"shortfall":\(Credits.of(shortfall).nanos),"balance":\(Credits.of(balance).nanos)}
            """
        let event = try LedgerEvent(type: "request_charged.v1", data: Array(data.utf8))
        _ = append(event, key: "settle:\(request)", effectiveAt: now, to: .alice)
    }

    private mutating func append(_ draft: Draft, to id: AccountID) -> RecordedEvent {
        append(draft.event, key: draft.key, effectiveAt: draft.effectiveAt, to: id)
    }

    private mutating func append(
        _ event: LedgerEvent, key: String, effectiveAt: Timestamp, to id: AccountID
    ) -> RecordedEvent {
        let version: Int64
        switch id {
        case .prices: version = prices.version + 1
        case .plans: version = plans.version + 1
        default: version = (accounts[id]?.version ?? 0) + 1
        }
        let recorded = RecordedEvent(
            position: Int64(events.count) + 1, account: id, version: version, recordedAt: now,
            effectiveAt: effectiveAt, key: key, event: event)
        #expect(byKey[key] == nil, "the key '\(key)' was used twice")
        byKey[key] = recorded
        if case .requestCharged(let charge) = event { settlements.byRequest[charge.request] = recorded }
        switch id {
        case .prices: prices.apply(event, recordedAt: now)
        case .plans: plans.apply(event, effectiveAt: effectiveAt)
        default: accounts[id, default: Account(id: id)].apply(event, effectiveAt: effectiveAt)
        }
        events.append(recorded)
        let finding = auditor.check(recorded)
        #expect(finding == nil, "the auditor objects: \(finding?.description ?? "")")
        return recorded
    }

    /// Whether the last decision of an account is complete.
    var isComplete: Bool { auditor.unfinished() == nil }

    var alice: Account { accounts[.alice] ?? Account(id: .alice) }
}

extension Timestamp {
    /// The instant at which the frozen clock stands: 2026-01-01T00:00:00Z.
    static let t0 = Timestamp(microseconds: 1_767_225_600_000_000)

    static func days(_ days: Int64) -> Timestamp { t0.advanced(bySeconds: days * 86_400) }
}

extension AccountID {
    static let alice = AccountID(anyStream: "alice") ?? .plans
    static let bob = AccountID(anyStream: "bob") ?? .plans
}

extension Credits {
    static func of(_ decimal: String) -> Credits { Credits(decimal: decimal) ?? Credits(nanos: .min) }
}

extension RequestID {
    static func number(_ number: Int) -> RequestID {
        RequestID(at: .t0, entropy: (0, UInt64(number)))
    }
}

extension Command.Action {
    static func grant(
        _ amount: String, _ pool: Pool = .topup, expires: Timestamp? = nil, key: String = "grant:1",
        source: GrantSource = .purchase
    ) -> Command.Action {
        .grant(GrantCredits(key: key, pool: pool, source: source, amount: .of(amount), expiresAt: expires))
    }

    /// A hold at `up:model`: 1 + 2 credits ×10⁻⁵ for each prompt and output token.
    static func hold(_ number: Int, prompt: Int64 = 0, output: Int64, choices: Int64 = 1, shrinkTo: Int64? = nil)
        -> Command.Action
    {
        .placeHold(
            PlaceHold(
                request: .number(number),
                origin: RequestOrigin(model: "up:model", keyID: "key-1", endpoint: "/v1/chat/completions"),
                promptBound: prompt, outputPerChoice: output, choices: choices, shrinkTo: shrinkTo))
    }

    static func charge(_ number: Int, prompt: Int64 = 0, completion: Int64, outcome: Outcome = .finished)
        -> Command.Action
    {
        let usage = Usage(prompt: prompt, completion: completion)
        return .charge(
            ChargeRequest(
                request: .number(number), outcome: outcome,
                report: UsageReport(usage: usage ?? Usage.nothing)))
    }

    static func release(_ number: Int, _ reason: ReleaseReason = .upstreamRefused) -> Command.Action {
        .releaseHold(ReleaseHold(request: .number(number), reason: reason))
    }

    static func reverse(_ number: Int, _ amount: String? = nil, key: String = "reversal:1") -> Command.Action {
        .reverse(
            ReverseCharge(
                key: key, request: .number(number), amount: amount.map { .of($0) }, reason: "broken answer",
                actor: "support"))
    }
}

extension PaymentID {
    static func named(_ name: String) -> PaymentID {
        guard let id = PaymentID(rawValue: name) else { fatalError("a test's name is a name") }
        return id
    }
}

extension Plan {
    /// $30 for 400 credits.
    static var pro: Plan {
        let plan = Plan(
            name: "PRO", microUSD: 30_000_000, cycleCredits: .of("400"), graceSeconds: 259_200)
        guard let plan else { fatalError("a test's plan is a plan") }
        return plan
    }
}

extension Command.Action {
    static func pay(_ name: String, _ purchase: Purchase) -> Command.Action {
        .pay(RecordPayment(payment: .named(name), purchase: purchase, actor: "test"))
    }

    static func refund(_ name: String, _ extent: RefundPayment.Extent = .rest, key: String = "refund:1")
        -> Command.Action
    {
        .refund(RefundPayment(key: key, payment: .named(name), extent, reason: "did not like it", actor: "support"))
    }

    static func subscribe(_ plan: String, key: String? = nil) -> Command.Action {
        .subscribe(Subscribe(key: key, plan: plan, actor: "portal"))
    }

    static func schedule(_ plan: String, key: String? = nil, mustChange: Bool = false) -> Command.Action {
        .schedulePlan(SchedulePlan(key: key, plan: plan, actor: "portal", mustChange: mustChange))
    }
}

extension Usage {
    static var nothing: Usage {
        guard let usage = Usage(prompt: 0, completion: 0) else { fatalError("zero tokens are always valid") }
        return usage
    }
}

/// Runs a body and gives what was refused.
func refusal(_ body: () throws(Refusal) -> Void) -> Refusal? {
    do throws(Refusal) {
        try body()
        return nil
    } catch {
        return error
    }
}
