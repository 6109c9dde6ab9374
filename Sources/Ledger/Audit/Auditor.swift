/// Folds a ledger anew and decides each event again: what was recorded must be what the rules lead to.
///
/// It shares the rules with the writer (there is one burn-down, one price arithmetic), but none of the writer's memory: it starts
/// from nothing and believes no figure that it can compute.
public struct Auditor {
    /// The accounts as folded so far.
    public private(set) var accounts = FoldedAccounts()
    private var rules: AuditRules

    /// `settlement` finds the event that settled a request; reversals need it.
    public init(settlement: @escaping (RequestID) -> RecordedEvent?) {
        rules = AuditRules(settlement: settlement)
    }

    /// Checks the next event and applies it; nil where it is what the rules lead to.
    public mutating func check(_ recorded: RecordedEvent) -> Finding? {
        let problem: AuditRules.Problem?
        switch recorded.account {
        case .prices: problem = rules.checkPrice(recorded)
        case .plans: problem = rules.checkPlan(recorded)
        default: problem = accounts.change(recorded.account) { rules.check(recorded, on: &$0) }
        }
        return problem.map { check, detail in
            Finding(position: recorded.position, account: recorded.account.rawValue, check: check, detail: detail)
        }
    }

    /// Applies an event that was checked before: it is folded, and not decided again.
    ///
    /// What is checked next must be the beginning of a decision, as every committed state of a ledger is.
    public mutating func apply(_ recorded: RecordedEvent) {
        switch recorded.account {
        case .prices, .plans: rules.apply(recorded)
        default: accounts.change(recorded.account) { $0.apply(recorded.event, effectiveAt: recorded.effectiveAt) }
        }
    }

    /// What is missing at the end of the events: what a decision led to is appended at once, and so must not be half there.
    public func unfinished() -> Finding? {
        rules.expected.keys.min { $0.rawValue < $1.rawValue }.map { account in
            Finding(
                position: nil, account: account.rawValue, check: .rule,
                detail: "the last decision about the account lacks events")
        }
    }
}

/// What an audit holds an event against: the rules, and the books as folded so far.
private struct AuditRules {
    typealias Problem = (Finding.Check, String)

    private var prices = PriceBook()
    private var plans = PlanBook()
    private let settlement: (RequestID) -> RecordedEvent?
    /// What must come next in the streams of accounts: the rest of a decision of several events.
    private(set) var expected: [AccountID: ArraySlice<Draft>] = [:]

    init(settlement: @escaping (RequestID) -> RecordedEvent?) {
        self.settlement = settlement
    }

    /// Checks an event of the price book and applies it.
    mutating func checkPrice(_ recorded: RecordedEvent) -> Problem? {
        defer { prices.apply(recorded.event, recordedAt: recorded.recordedAt) }
        return problem(ofPrice: recorded)
    }

    /// Checks an event of the plans and applies it.
    mutating func checkPlan(_ recorded: RecordedEvent) -> Problem? {
        defer { plans.apply(recorded.event, effectiveAt: recorded.effectiveAt) }
        return recorded.version == plans.version + 1 ? nil : (.version, "expected version \(plans.version + 1)")
    }

    /// Applies an event of a book.
    mutating func apply(_ recorded: RecordedEvent) {
        if recorded.account == .prices {
            prices.apply(recorded.event, recordedAt: recorded.recordedAt)
        } else {
            plans.apply(recorded.event, effectiveAt: recorded.effectiveAt)
        }
    }

    private func problem(ofPrice recorded: RecordedEvent) -> Problem? {
        if recorded.version != prices.version + 1 { return (.version, "expected version \(prices.version + 1)") }
        switch recorded.event {
        case .priceSet(let event)
        where event.validFrom >= recorded.recordedAt && event.validFrom == recorded.effectiveAt:
            return nil
        case .priceRemoved(let event)
        where event.validFrom >= recorded.recordedAt && event.validFrom == recorded.effectiveAt:
            return nil
        case .priceSet, .priceRemoved: return (.rule, "a price was changed for an instant that had passed")
        default: return (.rule, "no event of the price book")
        }
    }

    /// Checks an event of an account and applies it to the account, which is changed in its place: it is not copied.
    mutating func check(_ recorded: RecordedEvent, on account: inout Account) -> Problem? {
        let problem: Problem?
        if recorded.version != account.version + 1 {
            problem = (.version, "expected version \(account.version + 1)")
        } else if let detail = unexpected(recorded, on: account) {
            problem = (.rule, detail)
        } else {
            problem = nil
        }
        account.apply(recorded.event, effectiveAt: recorded.effectiveAt)
        if problem != nil { return problem }
        return balanceProblem(of: account, after: recorded.event)
    }

    /// What is wrong with the account's figures after an event.
    private func balanceProblem(of account: Account, after event: LedgerEvent) -> Problem? {
        // What is set aside is no part of it: half of all events change nothing here.
        switch event {
        case .holdPlaced, .holdReleased: return nil
        default: break
        }
        var remaining: Int128 = 0
        for grant in account.openGrants {
            guard grant.remaining <= grant.amount else {
                return (.balance, "grant \(grant.id) holds more than was granted")
            }
            remaining += Int128(grant.remaining.nanos)
        }
        guard remaining - Int128(account.debt.nanos) == account.totals.balance else {
            return (.balance, "the grants less the debt are not the balance")
        }
        guard let stated = event.statedBalance, stated != account.balance else { return nil }
        return (.balance, "it states a balance of \(stated), the fold gives \(account.balance)")
    }

    /// What is wrong with an event, where another is due or a decision before it is not complete, and otherwise by the rules; nil: nothing.
    private mutating func unexpected(_ recorded: RecordedEvent, on account: Account) -> String? {
        var next = expected.isEmpty ? nil : expected.removeValue(forKey: account.id)
        if next == nil, account.isDue(at: recorded.recordedAt) {
            var after = account
            let due = after.recordDue(at: recorded.recordedAt, plans: plans)
            if !due.isEmpty { next = due[...] }
        }
        guard var drafts = next, let draft = drafts.popFirst() else { return follow(recorded, on: account) }
        if !drafts.isEmpty { expected[account.id] = drafts }
        if draft.event == recorded.event, draft.key == recorded.key, draft.effectiveAt == recorded.effectiveAt {
            return nil
        }
        expected[account.id] = nil
        return "'\(draft.event.type)' with the key '\(draft.key)' had to come first, with what the rules give for it"
    }

    /// What is wrong with the first event of a decision; what else the decision leads to is expected next.
    private mutating func follow(_ recorded: RecordedEvent, on account: Account) -> String? {
        if case .planScheduled(let event) = recorded.event, account.isOpen {
            let command = SchedulePlan(key: recorded.key, plan: event.plan, actor: event.actor)
            return expect(recorded) { context throws(Refusal) in try account.schedule(command, in: context) }
        }
        guard case .paymentRecorded(let event) = recorded.event, account.isOpen else {
            return broken(recorded, on: account)
        }
        guard recorded.key == "payment:\(event.payment)" || event.payment.isPortalsWord else {
            return "the key of a payment is another"
        }
        let purchase: Purchase
        switch (event.kind, event.plan) {
        case (.cycle, let plan?): purchase = .cycle(plan: plan)
        case (.upgrade, let plan?): purchase = .upgrade(plan: plan)
        case (.credits, nil): purchase = .credits(event.credits, microUSD: event.microUSD)
        case (.imported, let plan?):
            guard let terms = plans.plans[plan], terms.cycleCredits == event.credits, terms.microUSD == event.microUSD
            else { return "the plan has other terms" }
            return account.payments[event.payment] == nil ? nil : "the payment was recorded before"
        default: return "it does not say what was bought"
        }
        let command = RecordPayment(payment: event.payment, purchase: purchase, actor: event.actor)
        return expect(recorded) { context throws(Refusal) in
            try account.pay(command, key: recorded.key, in: context)
        }
    }

    /// What is wrong with the first event of a decision that is made again; what follows it is expected next.
    private mutating func expect(
        _ recorded: RecordedEvent, _ decide: (Context) throws(Refusal) -> [Draft]
    ) -> String? {
        do throws(Refusal) {
            var drafts = try decide(Context(now: recorded.recordedAt, prices: prices, plans: plans))[...]
            guard let first = drafts.popFirst(), first.event == recorded.event,
                first.effectiveAt == recorded.effectiveAt
            else { return "the rules lead to something else" }
            if !drafts.isEmpty { expected[recorded.account] = drafts }
            return nil
        } catch {
            return "the rules refuse it: \(error)"
        }
    }

    /// Which rule an event breaks; nil: none.
    private func broken(_ recorded: RecordedEvent, on account: Account) -> String? {
        if case .accountOpened(let event) = recorded.event {
            if account.isOpen { return "the account was open already" }
            if !recorded.key.names("open:", account.id.rawValue) { return "the key of an opening is another" }
            guard let plan = plans.plans[event.plan], plan.rate == event.rate else { return "the plan has other terms" }
            guard let first = event.first else { return nil }
            return first.terms == CycleTerms(plan) && first.seconds == plan.cycleSeconds
                ? nil : "the plan has other terms"
        }
        guard account.isOpen else { return "the account was not open" }
        if case .grantExpired(let event) = recorded.event { return "grant \(event.grant) was not due to expire" }
        if case .usageImported = recorded.event {
            // It says when the old gateway served the request, which is the only event that may lie back.
            if recorded.effectiveAt > recorded.recordedAt { return "it counts from an instant that was yet to come" }
        } else if recorded.effectiveAt != recorded.recordedAt {
            return "it counts from another instant than it was recorded at"
        }
        switch recorded.event {
        case .planChanged(let event) where event.terms != nil: return "nothing was paid for another plan"
        case .planChanged(let event):
            return plans.plans[event.plan]?.rate == event.rate ? nil : "the plan has other terms"
        case .creditsGranted(let event): return broken(event, recorded, on: account)
        case .holdPlaced(let event): return broken(event, recorded, on: account)
        case .holdReleased(let event):
            guard let hold = account.holds[event.request] else { return "its hold was not open" }
            if !recorded.key.names(Command.settlementPrefix, event.request.rawValue) {
                return "the key of a settlement is another"
            }
            return hold.placed.amount == event.amount && hold.placed.origin == event.origin
                ? nil : "it differs from its hold"
        case .requestCharged(let event): return broken(event, recorded, on: account)
        case .chargeReversed(let event): return broken(event, recorded, on: account)
        case .creditsWithdrawn(let event):
            if event.amount <= .zero { return "the amount is not above zero" }
            if event.amount > account.available(at: recorded.recordedAt) {
                return "more was withdrawn than was available"
            }
            return account.burnDown(event.amount, admittedAt: recorded.recordedAt).allocations == event.allocations
                ? nil : "the burn-down order gives other allocations"
        case .usageImported(let event):
            guard let id = event.request.importedUsage, recorded.key.names(ImportUsage.keyPrefix, id) else {
                return "the key of imported usage is another"
            }
            return event.isWithinBounds ? nil : "the imported usage is out of bounds"
        case .renewalEvaluated(let event): return broken(event, recorded, on: account)
        case .paymentRefunded(let event): return broken(event, on: account)
        case .paymentFailed(let event):
            return recorded.key == "payment-failed:\(event.payment)" ? nil : "the key of a failed payment is another"
        case .paymentRecorded, .planScheduled: return nil
        case .limitsSet(let event):
            return (account.spending[event.scope]?.limits ?? .none) == event.limits ? "the limits were so already" : nil
        case .budgetSet(let event):
            return account.spending[.account]?.budget == event.budget ? "the budget was so already" : nil
        case .accountBlocked: return account.isBlocked ? "the account was blocked already" : nil
        case .accountUnblocked: return account.isBlocked ? nil : "the account was not blocked"
        case .accountErased:
            if !account.isBlocked { return "a person was erased whose account was not blocked" }
            return recorded.key.hasPrefix(EraseAccount.keyPrefix(of: account.id))
                ? nil : "the key of an erasure is another"
        case .accountOpened, .grantExpired: return nil
        case .priceSet, .priceRemoved, .planSet: return "an event of a book in the stream of an account"
        }
    }

    private func broken(_ event: CreditsGranted, _ recorded: RecordedEvent, on account: Account) -> String? {
        if event.amount <= .zero { return "the amount is not above zero" }
        if event.debtRepaid != min(account.debt, event.amount) { return "another part should have repaid debt" }
        if let expiry = event.expiresAt, expiry <= recorded.recordedAt { return "it had expired when it was granted" }
        if event.source == .openingBalance,
            !recorded.key.names(GrantCredits.openingPrefix, event.reference ?? "")
        {
            return "the key of an opening balance is another"
        }
        if account.cycle != nil, event.source == .subscription || event.source == .monthlyFree {
            return "credits of a cycle were granted without one"
        }
        guard event.source == .signupBonus else { return nil }
        let earlier = (account.openGrants + account.closedGrants.values).contains { $0.source == .signupBonus }
        return earlier ? "a second sign-up bonus" : nil
    }

    private func broken(_ event: RenewalEvaluated, _ recorded: RecordedEvent, on account: Account) -> String? {
        switch event.outcome {
        case .adopted:
            let adopted = account.adopt(at: recorded.recordedAt, plans: plans).first
            return adopted?.event == recorded.event && adopted?.key == recorded.key
                ? nil : "the rules give another first cycle"
        case .imported:
            guard let id = event.payment, let payment = account.payments[id], payment.kind == .imported,
                account.cycle?.payment != id, event.terms == plans.plans[event.terms.plan].map(CycleTerms.init)
            else { return "no cycle was paid for elsewhere" }
            let number = account.cycle.map { $0.number &+ 1 } ?? 0
            let isRight =
                event.cycle == number && event.from == recorded.recordedAt && event.until > event.from
                && event.balance == account.balance(at: event.from)
            return isRight ? nil : "the rules give another cycle"
        default: return "no cycle was due to begin"
        }
    }

    private func broken(_ event: PaymentRefunded, on account: Account) -> String? {
        guard let payment = account.payments[event.payment] else { return "there is no such payment" }
        guard (0...payment.refundableMicroUSD).contains(event.microUSD), !payment.isRefunded else {
            return "more was given back than was paid"
        }
        let part = account.refundedPart(of: payment, event.microUSD)
        return part.credits == event.credits && part.taken == event.taken && part.debt == event.debtAdded
            ? nil : "the refund takes something else"
    }

    private func broken(_ event: HoldPlaced, _ recorded: RecordedEvent, on account: Account) -> String? {
        if !recorded.key.names(Command.holdPrefix, event.request.rawValue) { return "the key of a hold is another" }
        if account.isBlocked { return "the account was blocked" }
        if account.holds[event.request] != nil { return "the request has a hold already" }
        if event.rate != account.rate { return "the account's credit rate is another" }
        let inForce = prices.price(for: event.origin.model, at: recorded.recordedAt)
        let given = inForce ?? PriceInForce(version: 0, price: .free)
        if event.priced != given { return "the price is not the one in force" }
        if event.searchBound > 0, given.price.webSearch == nil { return "searches were admitted that have no price" }
        if !(0...max(0, event.promptBound)).contains(event.audioBound) { return "its bound of sound is none" }
        let estimate = Estimate(event, price: given.price, rate: event.rate)
        if event.outputBound > event.wantedOutput { return "more output was held than was asked for" }
        if estimate.wholeCredits(of: event) != event.amount {
            return "the bounds give another amount"
        }
        if event.amount > account.available(at: recorded.recordedAt) { return "more was held than was available" }
        if account.spending.isEmpty, event.windows == nil { return nil }
        return account.withinCaps(event, at: recorded.recordedAt) ? nil : "more was held than a limit allows"
    }

    private func broken(_ event: RequestCharged, _ recorded: RecordedEvent, on account: Account) -> String? {
        guard let hold = account.holds[event.request] else { return "its hold was not open" }
        if !recorded.key.names(Command.settlementPrefix, event.request.rawValue) {
            return "the key of a settlement is another"
        }
        let placed = hold.placed
        if event.origin != placed.origin || event.priced != placed.priced || event.rate != placed.rate {
            return "it differs from its hold"
        }
        let cost = event.priced.price.cost(of: event.report.usage)
        if cost != event.costPicoUSD { return "the usage costs \(cost) pico-USD, not \(event.costPicoUSD)" }
        guard let worth = event.rate.credits(forPicoUSD: cost) else { return "the cost gives no credits" }
        // Before there was the rule that a charge is at most its hold, it was not followed.
        let bounded = placed.bounding(worth)
        if event.credits != (event.excess == nil ? worth : bounded.credits) { return "the cost gives other credits" }
        if let excess = event.excess, excess != bounded.excess { return "the cost gives another excess" }
        let burnt = account.burnDown(event.credits, admittedAt: hold.placedAt)
        if burnt.allocations != event.allocations || burnt.shortfall != event.shortfall {
            return "the burn-down order gives other allocations"
        }
        // What is held is there, unless a charge above its own hold has used it up: then the balance is below what is held.
        let isCovered = event.credits <= placed.amount && account.available(at: hold.placedAt) >= .zero
        return event.shortfall > .zero && isCovered ? "a shortfall within the hold" : nil
    }

    private func broken(_ event: ChargeReversed, _ recorded: RecordedEvent, on account: Account) -> String? {
        let settlement = settlement(event.request)
        guard let settlement, settlement.position < recorded.position,
            let charge = settlement.charge(of: event.request, on: account.id)
        else { return "there is no charge to reverse" }
        let before = account.reversals[event.request] ?? .zero
        guard event.amount > .zero, let total = before.adding(event.amount), total <= charge.credits else {
            return "more was reversed than was charged"
        }
        let unwound = account.unwind(
            charge, from: before, amount: event.amount, settlesRefunds: !event.refundDebt.isEmpty)
        return unwound == Unwound(event) ? nil : "unwinding the charge gives other allocations"
    }
}

/// Accounts that are folded, each in its place: they are changed where they are, and found with one look.
public struct FoldedAccounts: Sendable {
    /// In the order in which they first appeared.
    public private(set) var all: [Account] = []
    private var slots: [AccountID: Int] = [:]

    public init() {}

    /// The account of that id, where it has appeared.
    public subscript(id: AccountID) -> Account? { slots[id].map { all[$0] } }

    /// Changes the account of that id, a new one where it has not appeared, in its place: it is not copied.
    mutating func change<Result>(_ id: AccountID, _ body: (inout Account) -> Result) -> Result {
        let slot: Int
        if let known = slots[id] {
            slot = known
        } else {
            slot = all.count
            slots[id] = slot
            all.append(Account(id: id))
        }
        return body(&all[slot])
    }
}

extension String {
    /// Whether this is `prefix` and `name`, one behind the other, byte for byte; it builds neither.
    fileprivate func names(_ prefix: StaticString, _ name: String) -> Bool {
        let size = prefix.utf8CodeUnitCount
        guard utf8.count == size + name.utf8.count else { return false }
        let isEqual = utf8.withContiguousStorageIfAvailable { own in
            name.utf8.withContiguousStorageIfAvailable { name in
                prefix.withUTF8Buffer { UnsafeBufferPointer(rebasing: own[..<size]).isSame(as: $0) }
                    && UnsafeBufferPointer(rebasing: own[size...]).isSame(as: name)
            }
        }
        return (isEqual ?? nil) ?? (self == "\(prefix)" + name)
    }
}

extension LedgerEvent {
    /// The balance that the event says the account has after it.
    var statedBalance: Credits? {
        switch self {
        case .creditsGranted(let event): event.balance
        case .grantExpired(let event): event.balance
        case .requestCharged(let event): event.balance
        case .chargeReversed(let event): event.balance
        case .creditsWithdrawn(let event): event.balance
        case .paymentRefunded(let event): event.balance
        default: nil
        }
    }
}
