/// What a decision may look at beside the account: everything comes in as a value.
public struct Context: Sendable {
    /// The instant of the decision; the writer sees to it that it never goes back.
    public let now: Timestamp
    public let prices: PriceBook
    public let plans: PlanBook
    /// The event recorded under the command's key, where there is one.
    public let prior: RecordedEvent?
    /// The event that settled the request that a reversal concerns, where there is one.
    public let settlement: RecordedEvent?
    private let calendar: @Sendable (Timestamp) -> CalendarWindows
    /// What came in the last minute, of the scopes whose pace is limited.
    public let recent: [LimitScope: RecentUse]

    public init(
        now: Timestamp, prices: PriceBook, plans: PlanBook, prior: RecordedEvent? = nil,
        settlement: RecordedEvent? = nil, recent: [LimitScope: RecentUse] = [:],
        calendar: @escaping @Sendable (Timestamp) -> CalendarWindows = CalendarWindows.utc(at:)
    ) {
        self.now = now
        self.prices = prices
        self.plans = plans
        self.prior = prior
        self.settlement = settlement
        self.recent = recent
        self.calendar = calendar
    }

    /// The calendar's windows at ``now``.
    var windows: CalendarWindows { calendar(now) }
}

extension Account {
    /// Decides a command: the events that it leads to, in order, or why it is refused.
    ///
    /// Pure: it changes nothing and asks nobody. No events mean that what the command wants is so already. Expiries that are
    /// due come before the command's own event, at their own instants, and after it where the command set them free.
    public func decide(_ command: Command, in context: Context) throws(Refusal) -> [Draft] {
        if let key = command.key {
            guard (1...300).contains(key.utf8.count), key.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
                throw .invalidKey
            }
        }
        if let prior = context.prior {
            guard command.isSame(as: prior) else { throw .keyReused(key: prior.key) }
            return []
        }
        switch command.action {
        case .open(let plan): return try open(plan: plan, in: context)
        case .setPrice(let price): return try context.prices.set(price, at: context.now)
        case .removePrice(let price): return context.prices.remove(price, at: context.now)
        case .setPlan(let plan): return context.plans.set(plan, at: context.now)
        default: break
        }
        guard isOpen else { throw .accountUnknown }
        let adopts = cycle == nil && command.needsCycle
        // Nearly every command finds nothing that is due, and then needs no copy of the account.
        if !isDue(at: context.now), !command.canRevive, !adopts { return try rule(command.action, in: context) }
        var after = self
        var drafts = after.recordDue(at: context.now, plans: context.plans)
        if adopts { drafts += after.applying(adopt(at: context.now, plans: context.plans)) }
        let own = after.applying(try after.rule(command.action, in: context))
        drafts += own
        if !own.isEmpty { drafts += after.expire(at: context.now) }
        return own.isEmpty && !command.isRecordOfDue ? [] : drafts
    }

    private mutating func applying(_ drafts: [Draft]) -> [Draft] {
        for draft in drafts { apply(draft.event, effectiveAt: draft.effectiveAt) }
        return drafts
    }

    private func rule(_ action: Command.Action, in context: Context) throws(Refusal) -> [Draft] {
        switch action {
        case .pay(let command): try pay(command, key: command.key, in: context)
        case .refund(let command): try refund(command, at: context.now)
        case .failPayment(let command): try fail(command, at: context.now)
        case .schedulePlan(let command): try schedule(command, in: context)
        case .subscribe(let command): try subscribe(command, in: context)
        case .importCycle(let command): try importCycle(command, in: context)
        case .setLimits(let command): try setLimits(command, at: context.now)
        case .setBudget(let command): try setBudget(command, at: context.now)
        case .grant(let command): try grant(command, at: context.now)
        case .adjust(let command): try adjust(command, at: context.now)
        case .placeHold(let command): try placeHold(command, in: context)
        case .releaseHold(let command): try release(command, at: context.now)
        case .charge(let command): try charge(command, at: context.now)
        case .reverse(let command): try reverse(command, in: context)
        case .block(let actor): try block(actor: actor, at: context.now)
        case .unblock(let actor): try unblock(actor: actor, at: context.now)
        case .erase(let command): try erase(command, at: context.now)
        case .importUsage(let command): try importUsage(command, at: context.now)
        case .recordDue, .open, .setPrice, .removePrice, .setPlan: []
        }
    }

    // MARK: The account itself

    private func open(plan name: String, in context: Context) throws(Refusal) -> [Draft] {
        if isOpen { return [] }
        guard let plan = context.plans.plans[name] else { throw .planUnknown(name: name) }
        let event = AccountOpened(
            plan: plan.name, rate: plan.rate,
            first: AccountOpened.FirstCycle(terms: CycleTerms(plan), seconds: plan.cycleSeconds))
        return [Draft(event: .accountOpened(event), key: "open:\(id)", effectiveAt: context.now)]
    }

    private func block(actor: String, at now: Timestamp) throws(Refusal) -> [Draft] {
        try check(actor, "actor")
        if isBlocked { return [] }
        let event = LedgerEvent.accountBlocked(AccountBlocked(actor: actor))
        return [Draft(event: event, key: "block:\(id):\(version + 1)", effectiveAt: now)]
    }

    private func unblock(actor: String, at now: Timestamp) throws(Refusal) -> [Draft] {
        try check(actor, "actor")
        if !isBlocked { return [] }
        let event = LedgerEvent.accountUnblocked(AccountUnblocked(actor: actor))
        return [Draft(event: event, key: "unblock:\(id):\(version + 1)", effectiveAt: now)]
    }

    private func erase(_ command: EraseAccount, at now: Timestamp) throws(Refusal) -> [Draft] {
        let event = LedgerEvent.accountErased(AccountErased(actor: command.actor))
        return try block(actor: command.actor, at: now) + [
            Draft(event: event, key: command.key(of: id), effectiveAt: now)
        ]
    }

    // MARK: Credits in and out

    private func grant(_ command: GrantCredits, at now: Timestamp) throws(Refusal) -> [Draft] {
        try check(command.reference, "reference")
        try check(command.reason, "reason")
        try check(command.actor, "actor")
        guard command.amount > .zero else { throw .amountNotPositive }
        let balance = try postedBalance(changedBy: Int128(command.amount.nanos))
        if let expiresAt = command.expiresAt, expiresAt <= now { throw .instantInThePast }
        // Credits of a cycle come with the cycle.
        guard command.source != .subscription, command.source != .monthlyFree else {
            throw .invalidText(field: "source")
        }
        if command.source == .openingBalance, command.key != GrantCredits.openingKey(command.reference ?? "") {
            throw .invalidKey
        }
        let event = CreditsGranted(
            pool: command.pool, source: command.source, amount: command.amount, expiresAt: command.expiresAt,
            reference: command.reference, reason: command.reason, actor: command.actor,
            debtRepaid: min(debt, command.amount), balance: balance)
        return [Draft(event: .creditsGranted(event), key: command.key, effectiveAt: now)]
    }

    private func adjust(_ command: AdjustCredits, at now: Timestamp) throws(Refusal) -> [Draft] {
        try check(command.reason, "reason")
        try check(command.actor, "actor")
        guard command.amount != .zero else { throw .amountNotPositive }
        if command.amount > .zero {
            return try grant(
                GrantCredits(
                    key: command.key, pool: .topup, source: .adjustment, amount: command.amount,
                    reason: command.reason, actor: command.actor), at: now)
        }
        guard let amount = Credits.zero.subtracting(command.amount) else { throw .amountOutOfRange }
        let available = available(at: now)
        guard amount <= available else {
            throw .insufficientCredits(
                Shortage(needed: amount, available: available, held: held, fittingOutput: 0))
        }
        let (allocations, _) = burnDown(amount, admittedAt: now)
        let event = CreditsWithdrawn(
            amount: amount, allocations: allocations, reason: command.reason, actor: command.actor,
            balance: try postedBalance(changedBy: -Int128(amount.nanos)))
        return [Draft(event: .creditsWithdrawn(event), key: command.key, effectiveAt: now)]
    }

    // MARK: A request

    private func placeHold(_ command: PlaceHold, in context: Context) throws(Refusal) -> [Draft] {
        if let open = holds[command.request] { throw .keyReused(key: Command.holdKey(open.placed.request)) }
        let bounds = 0...Usage.maximumTokens
        guard bounds.contains(command.promptBound), bounds.contains(command.outputPerChoice),
            (1...1024).contains(command.choices), bounds.contains(command.wantedOutput),
            (0...Usage.maximumSearches).contains(command.searchBound),
            (0...command.promptBound).contains(command.audioBound)
        else { throw .boundOutOfRange }
        if isBlocked { throw .accountBlocked }
        let inForce = context.prices.price(for: command.origin.model, at: context.now)
        guard let priced = inForce ?? (command.allowUnpriced ? PriceInForce(version: 0, price: .free) : nil) else {
            throw .modelNotPriced(model: command.origin.model)
        }
        if command.searchBound > 0, priced.price.webSearch == nil {
            throw .searchNotPriced(model: command.origin.model)
        }
        let scopes = limitedScopes(keyID: command.origin.keyID)
        if !scopes.isEmpty { try checkPace(command, scopes: scopes, in: context) }
        let balance = available(at: context.now)
        let cap = scopes.isEmpty ? nil : tightestCap(scopes: scopes, in: context)
        let available = min(balance, cap?.left ?? balance)
        // Recorded where it makes a difference: at most prices it makes none.
        let audioOutput = command.audioOutput && priced.price.hasAudioOutput
        let estimate = Estimate(
            price: priced.price, rate: rate,
            prompt: Estimate.Prompt(
                bound: command.promptBound, audioBound: command.audioBound, writesCache: command.writesCache),
            choices: command.choices, audioOutput: audioOutput, searchBound: command.searchBound)
        var output = command.outputPerChoice
        guard let wanted = estimate.credits(outputPerChoice: output) else { throw .amountOutOfRange }
        var amount = wanted
        if amount > available {
            let fitting = min(estimate.outputPerChoice(fitting: available), command.outputPerChoice)
            guard let least = command.shrinkTo, fitting >= max(1, least),
                let shrunk = estimate.credits(outputPerChoice: fitting), shrunk <= available
            else {
                let fitting = max(0, fitting - command.thinking)
                if let cap, cap.left < wanted, wanted <= balance {
                    throw .limitReached(
                        LimitReached(
                            scope: cap.scope, kind: .spending(cap.window), limit: cap.limit.nanos,
                            used: cap.used.nanos, needed: wanted.nanos, retryAt: cap.ends, fittingOutput: fitting))
                }
                throw .insufficientCredits(
                    Shortage(needed: wanted, available: balance, held: held, fittingOutput: fitting))
            }
            output = fitting
            amount = shrunk
        }
        // What could not be charged, must not be served.
        _ = try postedBalance(changedBy: -Int128(held.nanos) - Int128(amount.nanos))
        let event = HoldPlaced(
            request: command.request, origin: command.origin, promptBound: command.promptBound,
            outputBound: output * command.choices, wantedOutput: command.wantedOutput,
            searchBound: command.searchBound, audioBound: command.audioBound, audioOutput: audioOutput,
            writesCache: command.writesCache, priced: priced, rate: rate, amount: amount,
            windows: scopes.isEmpty ? nil : countedWindows(scopes: scopes, in: context))
        return [Draft(event: .holdPlaced(event), key: Command.holdKey(command.request), effectiveAt: context.now)]
    }

    private func release(_ command: ReleaseHold, at now: Timestamp) throws(Refusal) -> [Draft] {
        guard let hold = holds[command.request] else { throw .holdNotOpen(request: command.request) }
        let event = HoldReleased(
            request: command.request, origin: hold.placed.origin, amount: hold.placed.amount, reason: command.reason,
            upstreamStatus: command.upstreamStatus)
        return [Draft(event: .holdReleased(event), key: Command.settlementKey(command.request), effectiveAt: now)]
    }

    private func charge(_ command: ChargeRequest, at now: Timestamp) throws(Refusal) -> [Draft] {
        guard let hold = holds[command.request] else { throw .holdNotOpen(request: command.request) }
        let cost = hold.placed.priced.price.cost(of: command.report.usage)
        guard let worth = hold.placed.rate.credits(forPicoUSD: cost) else { throw .amountOutOfRange }
        let (credits, excess) = hold.placed.bounding(worth)
        let (allocations, shortfall) = burnDown(credits, admittedAt: hold.placedAt)
        guard debt.adding(shortfall) != nil else { throw .amountOutOfRange }
        let event = RequestCharged(
            request: command.request, origin: hold.placed.origin, outcome: command.outcome, report: command.report,
            priced: hold.placed.priced, rate: hold.placed.rate, costPicoUSD: cost, credits: credits, excess: excess,
            allocations: allocations, shortfall: shortfall,
            balance: try postedBalance(changedBy: -Int128(credits.nanos)))
        return [Draft(event: .requestCharged(event), key: Command.settlementKey(command.request), effectiveAt: now)]
    }

    /// Splits an amount over the grants that could be spent when it was admitted, in burn-down order.
    ///
    /// Gives the parts, and what no grant could bear.
    func burnDown(_ amount: Credits, admittedAt: Timestamp) -> (allocations: [Allocation], shortfall: Credits) {
        var left = amount.nanos
        var allocations: [Allocation] = []
        for grant in openGrants where left > 0 && !grant.hasExpired(at: admittedAt) {
            let part = min(left, grant.remaining.nanos)
            allocations.append(Allocation(grant: grant.id, amount: Credits(nanos: part)))
            left -= part
        }
        return (allocations, Credits(nanos: left))
    }

    // MARK: Checks

    func postedBalance(changedBy change: Int128) throws(Refusal) -> Credits {
        // Each total fits as well, with room for the change: only grants and charges make them grow without bound.
        let largest = max(totals.granted, totals.charged) + max(change, -change)
        guard let nanos = Int64(exactly: totals.balance + change), Int64(exactly: largest) != nil else {
            throw .amountOutOfRange
        }
        return Credits(nanos: nanos)
    }

    func check(_ text: String?, _ field: String) throws(Refusal) {
        guard let text else { return }
        guard (1...500).contains(text.utf8.count) else { throw .invalidText(field: field) }
    }
}

extension RecordedEvent {
    /// The charge of a request, where this is it and it is that account's own.
    func charge(of request: RequestID, on account: AccountID) -> RequestCharged? {
        guard self.account == account, case .requestCharged(let charge) = event, charge.request == request else {
            return nil
        }
        return charge
    }
}

extension Command {
    /// Whether it can bring something back to a grant that has expired.
    fileprivate var canRevive: Bool {
        if case .reverse = action { true } else { false }
    }

    fileprivate var isRecordOfDue: Bool {
        if case .recordDue = action { true } else { false }
    }

    /// Whether an account that has no cycle yet begins its first by it.
    fileprivate var needsCycle: Bool {
        switch action {
        case .recordDue, .schedulePlan, .subscribe: true
        default: false
        }
    }
}

extension HoldPlaced {
    /// What is charged of a cost, in credits, and what is beyond the hold.
    func bounding(_ worth: Credits) -> (credits: Credits, excess: Credits) {
        let credits = min(worth, amount)
        // An auditor may hand in a hold that nobody could have decided.
        return (credits, Credits(clamping: Int128(worth.nanos) - Int128(credits.nanos)))
    }
}

/// What a request can cost at most, as a function of its output bound.
struct Estimate {
    private let rate: CreditRate
    private let choices: Int64
    /// Pico-USD for all but the output, and for an output token.
    private let fixedCost: Int128
    private let outputRate: Int64

    /// What bounds the cost of a prompt.
    struct Prompt {
        let bound: Int64
        /// Of it, what may be sound.
        let audioBound: Int64
        let writesCache: Bool
    }

    init(price: Price, rate: CreditRate, prompt: Prompt, choices: Int64, audioOutput: Bool, searchBound: Int64) {
        self.rate = rate
        self.choices = choices
        let dearest = price.dearest(
            promptBound: prompt.bound, writesCache: prompt.writesCache, audioOutput: audioOutput)
        outputRate = dearest.output
        // An auditor may hand in bounds that nobody has checked.
        fixedCost =
            (Int128(prompt.bound) - Int128(prompt.audioBound)) * Int128(dearest.input)
            + Int128(prompt.audioBound) * Int128(dearest.audio)
            + Int128(searchBound) * Int128(price.webSearch ?? 0) * 1000
    }

    /// What a hold's own bounds cost at most, by other terms or by its own; its output bound is over all choices.
    init(_ hold: HoldPlaced, price: Price, rate: CreditRate) {
        self.init(
            price: price, rate: rate,
            prompt: Prompt(bound: hold.promptBound, audioBound: hold.audioBound, writesCache: hold.writesCache),
            choices: 1, audioOutput: hold.audioOutput, searchBound: hold.searchBound)
    }

    /// The credits for all of a hold's bounds.
    func wholeCredits(of hold: HoldPlaced) -> Credits? { credits(outputPerChoice: hold.outputBound) }

    /// The credits for the bounds and so many output tokens for each choice.
    func credits(outputPerChoice: Int64) -> Credits? {
        rate.credits(forPicoUSD: fixedCost + Int128(outputPerChoice) * Int128(choices) * Int128(outputRate))
    }

    /// The most output tokens for each choice with which the estimate does not exceed `available`.
    func outputPerChoice(fitting available: Credits) -> Int64 {
        let left = rate.picoUSD(affordableWith: available) - fixedCost
        guard left >= 0, available >= .zero else { return 0 }
        let perToken = Int128(outputRate) * Int128(choices)
        guard perToken > 0 else { return Usage.maximumTokens }
        return Int64(min(left / perToken, Int128(Usage.maximumTokens)))
    }
}
