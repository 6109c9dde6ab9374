/// Folds accounts again as if other terms had applied from the beginning: other prices, other plans.
///
/// What people did stays as it was: when they came, what they paid for, and every request with its usage. What follows from terms is decided
/// anew by the ledger's own rules: charges, burn-down, expiries, top-ups, what a payment buys. Requests that would have been refused
/// are served all the same; the account goes below zero then, and that is told. With the terms that applied, everything comes out as it was.
public struct WhatIf: Sendable {
    /// What was, beside what would have been.
    public struct Pair: Hashable, Sendable {
        public var was: Int128 = 0
        public var would: Int128 = 0

        public init() {}
    }

    /// The charges of a month for a model.
    public struct Use: Hashable, Sendable {
        public var requests: Int64 = 0
        public var picoUSD = Pair()
        /// Nano-credits.
        public var credits = Pair()
    }

    /// What else moved in a month: micro-USD and nano-credits.
    public struct Money: Hashable, Sendable {
        public var received = Pair()
        public var returned = Pair()
        public var sold = Pair()
        public var given = Pair()
        public var expired = Pair()
    }

    public struct UseKey: Hashable, Sendable {
        /// The UTC day's month, as ``month`` names it.
        public let month: Int64
        public let model: String
    }

    private let prices: [String: Price]
    private let plans: [String: Plan]
    /// The plans as they stood behind each event of theirs.
    private let books: [(position: Int64, book: PlanBook)]
    /// Which month a UTC day is in, as a number.
    private let month: @Sendable (Int64) -> Int64
    /// Requests of which a charge was reversed: only their charges are remembered.
    private let reversed: Set<RequestID>

    public private(set) var uses: [UseKey: Use] = [:]
    public private(set) var months: [Int64: Money] = [:]
    public private(set) var accounts: Int64 = 0
    /// Nano-credits over all accounts, in the end.
    public private(set) var balance = Pair()
    /// How many accounts went below zero at some time.
    public private(set) var under = Pair()
    /// The first accounts that would have, and did not; with the instant.
    public private(set) var newlyUnder: [(account: AccountID, at: Timestamp)] = []
    /// Payments that buy nothing under these terms, or something else than they could.
    public private(set) var refused: Int64 = 0

    /// How many accounts are named.
    public static let namedAccounts = 20

    /// `prices` and `plans` take the place of those of the same name; `books` are all events of the plans' stream.
    public init(
        prices: [String: Price], plans: [Plan], books events: [RecordedEvent], reversed: Set<RequestID>,
        month: @escaping @Sendable (Int64) -> Int64
    ) {
        self.prices = prices
        self.plans = Dictionary(plans.map { ($0.name, $0) }) { $1 }
        self.reversed = reversed
        self.month = month
        var book = PlanBook()
        var books: [(Int64, PlanBook)] = []
        for event in events {
            if case .planSet(let set) = event.event {
                let plan = self.plans[set.plan.name] ?? set.plan
                // Terms that never change are of one piece.
                if self.plans[set.plan.name] == nil || book.plans[plan.name] == nil {
                    book.apply(.planSet(PlanSet(plan: plan)), effectiveAt: event.effectiveAt)
                }
            }
            books.append((event.position, book))
        }
        self.books = books
    }

    private func book(before position: Int64) -> PlanBook {
        books.last { $0.position < position }?.book ?? PlanBook()
    }

    /// One account under both sets of terms.
    private struct State {
        var was: Account
        var would: Account
        var charges: [RequestID: (was: Credits, would: RequestCharged)] = [:]
        var isUnder = (was: false, would: false)
        /// When it first went below zero under the other terms.
        var underAt: Timestamp?
    }

    private var state: State?

    /// Folds the next event. All events of an account come one behind the other, in the order of versions.
    public mutating func add(_ event: RecordedEvent) {
        if state?.was.id != event.account {
            endAccount()
            state = State(was: Account(id: event.account), would: Account(id: event.account))
        }
        guard var state else { return }
        self.state = nil
        let context = Context(
            now: event.recordedAt, prices: PriceBook(), plans: book(before: event.position))
        state.was.apply(event.event, effectiveAt: event.effectiveAt)
        note(event, isActual: true)
        apply(state.would.recordDue(at: event.recordedAt, plans: context.plans), to: &state, isApplied: true)
        follow(event, &state, context)
        if state.was.totals.balance < 0 { state.isUnder.was = true }
        if state.would.totals.balance < 0, !state.isUnder.would {
            state.isUnder.would = true
            state.underAt = event.recordedAt
        }
        self.state = state
    }

    /// Ends the last account. What is due by an instant, and was recorded or not, is recorded under both sets of terms.
    public mutating func endAccount() {
        guard let state else { return }
        self.state = nil
        guard state.was.isOpen else { return }
        accounts += 1
        balance.was += state.was.totals.balance
        balance.would += state.would.totals.balance
        if state.isUnder.was { under.was += 1 }
        if state.isUnder.would { under.would += 1 }
        if let at = state.underAt, !state.isUnder.was, newlyUnder.count < Self.namedAccounts {
            newlyUnder.append((state.was.id, at))
        }
    }

    // MARK: Other terms

    /// Applies what a decision under the other terms leads to.
    private mutating func apply(_ drafts: [Draft], to state: inout State, isApplied: Bool = false) {
        for draft in drafts {
            if !isApplied { state.would.apply(draft.event, effectiveAt: draft.effectiveAt) }
            note(draft.event, at: draft.effectiveAt, isActual: false)
        }
    }

    private mutating func apply(_ event: LedgerEvent, at instant: Timestamp, _ state: inout State) {
        state.would.apply(event, effectiveAt: instant)
        note(event, at: instant, isActual: false)
    }

    /// What an event comes to under the other terms.
    private mutating func follow(_ recorded: RecordedEvent, _ state: inout State, _ context: Context) {
        let at = recorded.effectiveAt
        switch recorded.event {
        case .accountOpened(let event):
            let plan = plans[event.plan]
            let first =
                event.first.map { first in
                    plan.map { AccountOpened.FirstCycle(terms: CycleTerms($0), seconds: $0.cycleSeconds) } ?? first
                }
            apply(
                .accountOpened(AccountOpened(plan: event.plan, rate: plan?.rate ?? event.rate, first: first)), at: at,
                &state)
        case .creditsGranted(let event): grant(event, recorded, &state)
        // What comes due is decided anew.
        case .grantExpired: break
        case .renewalEvaluated(let event):
            switch event.outcome {
            case .adopted: apply(state.would.adopt(at: at, plans: context.plans), to: &state)
            // It ends when it was paid for to end, whatever plans say.
            case .imported: apply(recorded.event, at: at, &state)
            default: break
            }
        case .planChanged(let event):
            // With terms it is a payment's, which has led to its own.
            if event.terms == nil { apply(recorded.event, at: at, &state) }
        case .paymentRecorded(let event): pay(event, recorded, &state, context)
        case .paymentRefunded(let event): refund(event, recorded, &state)
        case .requestCharged(let event): charge(event, recorded, &state)
        case .chargeReversed(let event): reverse(event, recorded, &state)
        case .creditsWithdrawn(let event):
            let available = max(.zero, state.would.available(at: recorded.recordedAt))
            let amount = min(event.amount, available)
            guard amount > .zero else { break }
            let parts = state.would.burnDown(amount, admittedAt: recorded.recordedAt).allocations
            apply(
                .creditsWithdrawn(
                    CreditsWithdrawn(
                        amount: amount, allocations: parts, reason: event.reason, actor: event.actor,
                        balance: state.would.balance)), at: at, &state)
        default: apply(recorded.event, at: at, &state)
        }
        if case .requestCharged = recorded.event {
            apply(state.would.expire(at: recorded.recordedAt), to: &state, isApplied: true)
        } else if case .chargeReversed = recorded.event {
            apply(state.would.expire(at: recorded.recordedAt), to: &state, isApplied: true)
        }
    }

    private mutating func grant(_ event: CreditsGranted, _ recorded: RecordedEvent, _ state: inout State) {
        var amount = event.amount
        switch event.source {
        // Of cycles and payments, which are decided anew.
        case .subscription, .monthlyFree: if state.was.cycle != nil { return }
        case .purchase:
            if let payment = event.reference.flatMap(PaymentID.init(rawValue:)), state.was.payments[payment] != nil {
                return
            }
        case .signupBonus:
            if let plan = state.would.plan.flatMap({ plans[$0] }) { amount = plan.signupBonus }
        case .adjustment, .refund, .openingBalance: break
        }
        guard amount > .zero else { return }
        apply(
            .creditsGranted(
                CreditsGranted(
                    pool: event.pool, source: event.source, amount: amount, expiresAt: event.expiresAt,
                    reference: event.reference, reason: event.reason, actor: event.actor,
                    debtRepaid: min(state.would.debt, amount), balance: event.balance)), at: recorded.effectiveAt,
            &state)
    }

    private mutating func pay(
        _ event: PaymentRecorded, _ recorded: RecordedEvent, _ state: inout State, _ context: Context
    ) {
        let purchase: Purchase? =
            switch (event.kind, event.plan) {
            case (.cycle, let plan?): .cycle(plan: plan)
            case (.upgrade, let plan?): .upgrade(plan: plan)
            case (.credits, _): .credits(event.credits, microUSD: event.microUSD)
            default: nil
            }
        do throws(Refusal) {
            if let purchase {
                let command = RecordPayment(payment: event.payment, purchase: purchase, actor: event.actor)
                apply(try state.would.pay(command, key: recorded.key, in: context), to: &state)
            } else {
                // A cycle that was paid for elsewhere.
                apply(recorded.event, at: recorded.effectiveAt, &state)
            }
        } catch {
            refused += 1
        }
    }

    private mutating func refund(_ event: PaymentRefunded, _ recorded: RecordedEvent, _ state: inout State) {
        guard let before = state.was.payments[event.payment], let now = state.would.payments[event.payment] else {
            return
        }
        // The same part of what was paid goes back.
        let extent: RefundPayment.Extent
        if before.isRefunded || before.microUSD == 0 {
            extent = .rest
        } else {
            let part = Int128(event.microUSD) * Int128(now.microUSD) / Int128(before.microUSD)
            extent = .part(microUSD: max(1, Int64(clamping: part)))
        }
        let command = RefundPayment(
            key: recorded.key, payment: event.payment, extent, reason: event.reason, actor: event.actor)
        guard let drafts = try? state.would.refund(command, at: recorded.recordedAt) else { return }
        apply(drafts, to: &state)
    }

    private mutating func charge(_ event: RequestCharged, _ recorded: RecordedEvent, _ state: inout State) {
        let price = prices[event.origin.model] ?? event.priced.price
        let cost = price.cost(of: event.report.usage)
        let rate = state.would.holds[event.request]?.placed.rate ?? event.rate
        // The rate is that of the plan at admission: where the plan is another, so is the rate.
        let applied = plans.isEmpty ? rate : state.would.rate
        guard let worth = applied.credits(forPicoUSD: cost) else { return }
        let (credits, excess) = Self.bounded(worth, event, price, applied, state.would.holds[event.request]?.placed)
        let admitted = state.would.holds[event.request]?.placedAt ?? recorded.recordedAt
        let (parts, shortfall) = state.would.burnDown(credits, admittedAt: admitted)
        let charge = RequestCharged(
            request: event.request, origin: event.origin, outcome: event.outcome, report: event.report,
            priced: PriceInForce(version: event.priced.version, price: price), rate: applied, costPicoUSD: cost,
            credits: credits, excess: excess, allocations: parts, shortfall: shortfall, balance: event.balance)
        if reversed.contains(event.request) { state.charges[event.request] = (event.credits, charge) }
        apply(.requestCharged(charge), at: recorded.effectiveAt, &state)
    }

    /// What is charged of a cost under other terms, and what is beyond what they would have held for the same bounds.
    private static func bounded(
        _ worth: Credits, _ event: RequestCharged, _ price: Price, _ rate: CreditRate, _ hold: HoldPlaced?
    ) -> (credits: Credits, excess: Credits?) {
        guard event.excess != nil, let hold, let held = Estimate(hold, price: price, rate: rate).wholeCredits(of: hold)
        else { return (worth, event.excess) }
        let credits = min(worth, held)
        return (credits, Credits(clamping: Int128(worth.nanos) - Int128(credits.nanos)))
    }

    private mutating func reverse(_ event: ChargeReversed, _ recorded: RecordedEvent, _ state: inout State) {
        guard let charge = state.charges[event.request] else { return }
        let before = state.would.reversals[event.request] ?? .zero
        let left = max(.zero, charge.would.credits.subtracting(before) ?? .zero)
        let isWhole = state.was.reversals[event.request] == charge.was
        let part =
            Int128(event.amount.nanos) * Int128(charge.would.credits.nanos) / max(1, Int128(charge.was.nanos))
        let amount = isWhole ? left : min(left, Credits(clamping: part))
        guard amount > .zero else { return }
        // Before there was the rule about refunds, it was not followed: under the same terms the same comes out.
        let isOld = event.refundDebt.isEmpty && state.was.payments.values.contains { $0.refundDebt > .zero }
        let unwound = state.would.unwind(charge.would, from: before, amount: amount, settlesRefunds: !isOld)
        apply(
            .chargeReversed(
                ChargeReversed(
                    request: event.request, amount: amount, restored: unwound.restored,
                    debtReduced: unwound.debtReduced, repaymentsReturned: unwound.repaymentsReturned,
                    refundDebt: unwound.refundDebt, reason: event.reason, actor: event.actor, balance: event.balance)),
            at: recorded.effectiveAt,
            &state)
    }

    // MARK: Sums

    private mutating func note(_ recorded: RecordedEvent, isActual: Bool) {
        note(recorded.event, at: recorded.effectiveAt, isActual: isActual)
    }

    private mutating func note(_ event: LedgerEvent, at instant: Timestamp, isActual: Bool) {
        func add(_ amount: Int128, _ pair: inout Pair) {
            if isActual { pair.was += amount } else { pair.would += amount }
        }
        let month = month(instant.utcDay)
        switch event {
        case .requestCharged(let event):
            let key = UseKey(month: month, model: event.origin.model)
            var use = uses[key] ?? Use()
            if isActual { use.requests += 1 }
            add(event.costPicoUSD, &use.picoUSD)
            add(Int128(event.credits.nanos), &use.credits)
            uses[key] = use
        case .chargeReversed, .creditsWithdrawn: break
        case .creditsGranted(let event):
            let isPaid = event.source == .subscription || event.source == .purchase
            var money = months[month] ?? Money()
            if isPaid {
                add(Int128(event.amount.nanos), &money.sold)
            } else {
                add(Int128(event.amount.nanos), &money.given)
            }
            months[month] = money
        case .grantExpired(let event): add(Int128(event.amount.nanos), &months[month, default: Money()].expired)
        case .paymentRecorded(let event) where event.kind != .imported:
            add(Int128(event.microUSD), &months[month, default: Money()].received)
        case .paymentRefunded(let event): add(Int128(event.microUSD), &months[month, default: Money()].returned)
        default: break
        }
    }
}
