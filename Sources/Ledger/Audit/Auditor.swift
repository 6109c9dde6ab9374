/// Folds a ledger anew and decides each event again: what was recorded must be what the rules lead to.
///
/// It shares the rules with the writer (there is one burn-down, one price arithmetic), but none of the writer's memory: it starts
/// from nothing and believes no figure that it can compute.
public struct Auditor {
    /// The accounts as folded so far.
    public private(set) var accounts: [AccountID: Account] = [:]
    public private(set) var prices = PriceBook()
    public private(set) var plans = PlanBook()
    /// How many events were folded.
    public private(set) var eventCount: Int64 = 0
    /// What held requests never came to a settlement.
    public var openHolds: Int { accounts.values.reduce(0) { $0 + $1.holds.count } }

    private let settlement: (RequestID) -> RecordedEvent?

    /// `settlement` finds the event that settled a request; reversals need it.
    public init(settlement: @escaping (RequestID) -> RecordedEvent?) {
        self.settlement = settlement
    }

    /// Checks the next event and applies it; nil where it is what the rules lead to.
    public mutating func check(_ recorded: RecordedEvent) -> Finding? {
        eventCount += 1
        let problem: (Finding.Check, String)?
        switch recorded.account {
        case .prices:
            problem = checkPrice(recorded)
            prices.apply(recorded.event, recordedAt: recorded.recordedAt)
        case .plans:
            problem = recorded.version == plans.version + 1 ? nil : (.version, "expected version \(plans.version + 1)")
            plans.apply(recorded.event)
        default:
            problem = checkAccount(recorded)
        }
        return problem.map { check, detail in
            Finding(position: recorded.position, account: recorded.account.rawValue, check: check, detail: detail)
        }
    }

    private func checkPrice(_ recorded: RecordedEvent) -> (Finding.Check, String)? {
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

    private mutating func checkAccount(_ recorded: RecordedEvent) -> (Finding.Check, String)? {
        // Taken out and put back, so that the fold changes it in place.
        var account = accounts.removeValue(forKey: recorded.account) ?? Account(id: recorded.account)
        defer { accounts[recorded.account] = account }
        let problem: (Finding.Check, String)?
        if recorded.version != account.version + 1 {
            problem = (.version, "expected version \(account.version + 1)")
        } else if let detail = broken(recorded, on: account) {
            problem = (.rule, detail)
        } else {
            problem = nil
        }
        account.apply(recorded.event, effectiveAt: recorded.effectiveAt)
        if problem != nil { return problem }
        return balanceProblem(of: account, after: recorded.event)
    }

    /// What is wrong with the account's figures after an event.
    private func balanceProblem(of account: Account, after event: LedgerEvent) -> (Finding.Check, String)? {
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

    /// Which rule an event breaks; nil: none.
    private func broken(_ recorded: RecordedEvent, on account: Account) -> String? {
        if case .accountOpened(let event) = recorded.event {
            if account.isOpen { return "the account was open already" }
            if recorded.key != "open:\(account.id)" { return "the key of an opening is another" }
            return plans.plans[event.plan]?.rate == event.rate ? nil : "the plan has other terms"
        }
        guard account.isOpen else { return "the account was not open" }
        if case .grantExpired(let event) = recorded.event { return broken(event, recorded, on: account) }
        if recorded.effectiveAt != recorded.recordedAt {
            return "it counts from another instant than it was recorded at"
        }
        if let due = account.dueExpiries(at: recorded.recordedAt).first {
            return "grant \(due.id) had expired and was not recorded as such"
        }
        switch recorded.event {
        case .planChanged(let event):
            return plans.plans[event.plan]?.rate == event.rate ? nil : "the plan has other terms"
        case .creditsGranted(let event): return broken(event, recorded, on: account)
        case .holdPlaced(let event): return broken(event, recorded, on: account)
        case .holdReleased(let event):
            guard let hold = account.holds[event.request] else { return "its hold was not open" }
            if recorded.key != Command.settlementKey(event.request) { return "the key of a settlement is another" }
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
        case .accountBlocked: return account.isBlocked ? "the account was blocked already" : nil
        case .accountUnblocked: return account.isBlocked ? nil : "the account was not blocked"
        case .accountOpened, .grantExpired: return nil
        case .priceSet, .priceRemoved, .planSet: return "an event of a book in the stream of an account"
        }
    }

    private func broken(_ event: GrantExpired, _ recorded: RecordedEvent, on account: Account) -> String? {
        guard let due = account.dueExpiries(at: recorded.recordedAt).first(where: { $0.id == event.grant }) else {
            return "grant \(event.grant) was not due to expire"
        }
        if due.expiresAt != recorded.effectiveAt { return "the grant expires at another instant" }
        return due.remaining == event.amount ? nil : "grant \(due.id) had \(due.remaining) left, not \(event.amount)"
    }

    private func broken(_ event: CreditsGranted, _ recorded: RecordedEvent, on account: Account) -> String? {
        if event.amount <= .zero { return "the amount is not above zero" }
        if event.debtRepaid != min(account.debt, event.amount) { return "another part should have repaid debt" }
        if let expiry = event.expiresAt, expiry <= recorded.recordedAt { return "it had expired when it was granted" }
        guard event.source == .signupBonus else { return nil }
        let earlier = (account.openGrants + account.closedGrants.values).contains { $0.source == .signupBonus }
        return earlier ? "a second sign-up bonus" : nil
    }

    private func broken(_ event: HoldPlaced, _ recorded: RecordedEvent, on account: Account) -> String? {
        if recorded.key != Command.holdKey(event.request) { return "the key of a hold is another" }
        if account.isBlocked { return "the account was blocked" }
        if account.holds[event.request] != nil { return "the request has a hold already" }
        if event.rate != account.rate { return "the account's credit rate is another" }
        let inForce = prices.price(for: event.origin.model, at: recorded.recordedAt)
        let given = inForce ?? PriceInForce(version: 0, price: .free)
        if event.priced != given { return "the price is not the one in force" }
        let estimate = Estimate(price: given.price, rate: event.rate, promptBound: event.promptBound, choices: 1)
        if event.outputBound > event.wantedOutput { return "more output was held than was asked for" }
        if estimate.credits(outputPerChoice: event.outputBound) != event.amount {
            return "the bounds give another amount"
        }
        return event.amount > account.available(at: recorded.recordedAt) ? "more was held than was available" : nil
    }

    private func broken(_ event: RequestCharged, _ recorded: RecordedEvent, on account: Account) -> String? {
        guard let hold = account.holds[event.request] else { return "its hold was not open" }
        if recorded.key != Command.settlementKey(event.request) { return "the key of a settlement is another" }
        let placed = hold.placed
        if event.origin != placed.origin || event.priced != placed.priced || event.rate != placed.rate {
            return "it differs from its hold"
        }
        let cost = event.priced.price.cost(of: event.report.usage)
        if cost != event.costPicoUSD { return "the usage costs \(cost) pico-USD, not \(event.costPicoUSD)" }
        if event.rate.credits(forPicoUSD: cost) != event.credits { return "the cost gives other credits" }
        let burnt = account.burnDown(event.credits, admittedAt: hold.placedAt)
        if burnt.allocations != event.allocations || burnt.shortfall != event.shortfall {
            return "the burn-down order gives other allocations"
        }
        return event.shortfall > .zero && event.credits <= placed.amount ? "a shortfall within the hold" : nil
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
        let unwound = account.unwind(charge, from: before, amount: event.amount)
        return unwound.restored == event.restored && unwound.debtReduced == event.debtReduced
            && unwound.repaymentsReturned == event.repaymentsReturned
            ? nil : "unwinding the charge gives other allocations"
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
        default: nil
        }
    }
}
