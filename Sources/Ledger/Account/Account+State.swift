/// A grant and what is left of it.
public struct Grant: Hashable, Sendable {
    public let id: GrantID
    public let pool: Pool
    public let source: GrantSource
    public let amount: Credits
    public let expiresAt: Timestamp?
    /// What can still be spent: between 0 and ``amount``.
    public internal(set) var remaining: Credits
    /// What of it went into repaying debt.
    public internal(set) var debtRepaid: Credits
    /// What of it has expired, over all times that it did.
    public internal(set) var expired = Credits.zero

    /// Whether it cannot be spent any more at `instant`: a grant expires at the very instant it names.
    public func hasExpired(at instant: Timestamp) -> Bool {
        expiresAt.map { $0 <= instant } ?? false
    }

    /// Whether it is burnt before another: see ``BurnDownPlace``.
    static func burnsBefore(_ left: Grant, _ right: Grant) -> Bool {
        BurnDownPlace(pool: left.pool, expiresAt: left.expiresAt, id: left.id)
            < BurnDownPlace(pool: right.pool, expiresAt: right.expiresAt, id: right.id)
    }
}

/// A grant's place in the burn-down order: priority, then the earliest expiry (never last), then the order in which they were granted.
public struct BurnDownPlace: Comparable, Sendable {
    private let priority: Int
    private let expiresAt: Timestamp?
    private let id: GrantID

    public init(pool: Pool, expiresAt: Timestamp?, id: GrantID) {
        priority = pool.priority
        self.expiresAt = expiresAt
        self.id = id
    }

    public static func < (left: BurnDownPlace, right: BurnDownPlace) -> Bool {
        if left.priority != right.priority { return left.priority < right.priority }
        if left.expiresAt != right.expiresAt {
            guard let leftExpiry = left.expiresAt else { return false }
            guard let rightExpiry = right.expiresAt else { return true }
            return leftExpiry < rightExpiry
        }
        return left.id < right.id
    }
}

/// Credits set aside for a request under way, and the terms on which it was admitted.
public struct Hold: Hashable, Sendable {
    public let placed: HoldPlaced
    public let placedAt: Timestamp
}

/// An account: the fold of its events.
///
/// A value: the same events give the same account on every machine. The fold is total and never fails; whether a history
/// could have been decided is what ``Auditor`` checks.
public struct Account: Hashable, Sendable {
    public let id: AccountID
    /// The version of the last event; 0: there is none.
    public private(set) var version: Int64 = 0
    public private(set) var plan: String?
    public private(set) var rate = CreditRate.standard
    public private(set) var openedAt: Timestamp?
    public private(set) var isBlocked = false
    /// Grants with something left, in burn-down order.
    public private(set) var openGrants: [Grant] = []
    /// Grants with nothing left, by id; a reversal can open them again.
    public private(set) var closedGrants: [GrantID: Grant] = [:]
    /// What is owed: shortfalls that no grant has repaid yet.
    public private(set) var debt = Credits.zero
    /// Requests under way.
    public private(set) var holds: [RequestID: Hold] = [:]
    /// The sum of the holds.
    public private(set) var held = Credits.zero
    /// What has been reversed of a charge so far.
    public private(set) var reversals: [RequestID: Credits] = [:]
    /// The running cycle; nil in accounts that were opened before there were cycles, until their first begins.
    public private(set) var cycle: Cycle?
    /// The plan that was asked for from the next boundary on; nil: the one that it is on.
    public private(set) var nextPlan: String?
    /// Payments, by id.
    public private(set) var payments: [PaymentID: RecordedPayment] = [:]
    /// Payments for cycles that have not begun, in the order in which they are used.
    public private(set) var prepaid: [PaymentID] = []
    /// Limits, and what has been spent under them, by scope; only of scopes that have any.
    public private(set) var spending: [LimitScope: SpendingState] = [:]
    public private(set) var totals = Totals()

    /// The sums over an account's history, which explain its balance.
    public struct Totals: Hashable, Sendable {
        public internal(set) var granted: Int128 = 0
        public internal(set) var expired: Int128 = 0
        public internal(set) var charged: Int128 = 0
        public internal(set) var reversed: Int128 = 0
        public internal(set) var withdrawn: Int128 = 0

        public init(
            granted: Int128 = 0, expired: Int128 = 0, charged: Int128 = 0, reversed: Int128 = 0, withdrawn: Int128 = 0
        ) {
            self.granted = granted
            self.expired = expired
            self.charged = charged
            self.reversed = reversed
            self.withdrawn = withdrawn
        }

        /// The balance that these sums give.
        public var balance: Int128 { granted - expired - charged + reversed - withdrawn }
    }

    /// An account without any event.
    public init(id: AccountID) {
        self.id = id
    }

    // MARK: What it says

    public var isOpen: Bool { openedAt != nil }

    /// The posted balance: grants − expiries − charges + reversals − withdrawals.
    public var balance: Credits { Credits(clamping: totals.balance) }

    /// What the grants that have not expired at `instant` hold, less debt. Open holds are not deducted.
    public func balance(at instant: Timestamp) -> Credits {
        var sum = -Int128(debt.nanos)
        for grant in openGrants where !grant.hasExpired(at: instant) { sum += Int128(grant.remaining.nanos) }
        return Credits(clamping: sum)
    }

    /// What is left of grants that have expired at `instant` and that a request under way may still use, by grant: it is in
    /// ``balance``, and not in ``balance(at:)``.
    public func deferred(at instant: Timestamp) -> [GrantID: Credits] {
        var parts: [GrantID: Credits] = [:]
        for grant in openGrants where grant.hasExpired(at: instant) { parts[grant.id] = grant.remaining }
        return parts
    }

    /// What a new hold at `instant` may take: ``balance(at:)`` less all open holds.
    public func available(at instant: Timestamp) -> Credits {
        Credits(clamping: Int128(balance(at: instant).nanos) - Int128(held.nanos))
    }

    /// The grant of that id, open or closed.
    public func grant(_ id: GrantID) -> Grant? {
        closedGrants[id] ?? openGrants.first { $0.id == id }
    }

    /// What of a grant was found used when its payment went back, and has not been reversed since: it is owed, or was repaid.
    func refundDebt(of grant: GrantID) -> Credits {
        payments.first { $0.value.grant == grant }?.value.refundDebt ?? .zero
    }

    /// Grants that have expired at `instant` and that no request admitted before their expiry can still need, earliest first.
    ///
    /// A request that was admitted while a grant could be spent may be charged to it afterwards: what it holds must not vanish
    /// under it. So a grant's expiry is recorded when the last such hold has been settled; no other hold can use it meanwhile.
    public func dueExpiries(at instant: Timestamp) -> [Grant] {
        let lapsed = openGrants.filter { $0.hasExpired(at: instant) }
        if lapsed.isEmpty { return [] }
        let oldestHold = holds.values.map(\.placedAt).min()
        return lapsed.filter { grant in
            guard let oldestHold, let expiry = grant.expiresAt else { return true }
            return oldestHold >= expiry
        }.sorted { left, right in
            guard let leftExpiry = left.expiresAt, let rightExpiry = right.expiresAt else { return false }
            return (leftExpiry, left.id) < (rightExpiry, right.id)
        }
    }

    /// The earliest instant at which something of the account is due: a boundary, or an expiry. nil: nothing ever is.
    ///
    /// An account without a cycle is due from its opening on: its first is to begin.
    public var nextDue: Timestamp? {
        guard let openedAt else { return nil }
        guard let cycle else { return openedAt }
        return openGrants.reduce(cycle.until) { due, grant in grant.expiresAt.map { min(due, $0) } ?? due }
    }

    // MARK: Fold

    /// Applies the next event. It never fails; amounts saturate, which ``Auditor`` reports.
    public mutating func apply(_ event: LedgerEvent, effectiveAt: Timestamp) {
        version += 1
        switch event {
        case .accountOpened(let event):
            plan = event.plan
            rate = event.rate
            openedAt = effectiveAt
            cycle = event.first.map { first in
                Cycle(
                    number: 0, from: effectiveAt, until: effectiveAt.advanced(bySeconds: first.seconds),
                    terms: first.terms, payment: nil, isGrace: false)
            }
        case .planChanged(let event):
            plan = event.plan
            rate = event.rate
            if let terms = event.terms {
                cycle?.terms = terms
                nextPlan = nil
            }
        case .creditsGranted(let event):
            totals.granted += Int128(event.amount.nanos)
            debt = saturating(debt, minus: event.debtRepaid)
            file(
                Grant(
                    id: version, pool: event.pool, source: event.source, amount: event.amount,
                    expiresAt: event.expiresAt, remaining: saturating(event.amount, minus: event.debtRepaid),
                    debtRepaid: event.debtRepaid))
            link(grant: version, to: event)
        case .grantExpired(let event):
            totals.expired += Int128(event.amount.nanos)
            if let index = openGrants.firstIndex(where: { $0.id == event.grant }) {
                openGrants[index].expired = saturating(openGrants[index].expired, plus: event.amount)
            }
            take([Allocation(grant: event.grant, amount: event.amount)])
        case .holdPlaced(let event):
            holds[event.request] = Hold(placed: event, placedAt: effectiveAt)
            held = saturating(held, plus: event.amount)
            if let windows = event.windows {
                for scope in limitedScopes(keyID: event.origin.keyID) {
                    spending[scope]?.hold(event.amount, day: windows.day, month: windows.month, at: effectiveAt)
                }
            }
        case .holdReleased(let event):
            settle(event.request, charged: .zero)
        case .requestCharged(let event):
            settle(event.request, charged: event.credits)
            totals.charged += Int128(event.credits.nanos)
            take(event.allocations)
            debt = saturating(debt, plus: event.shortfall)
        case .chargeReversed(let event):
            totals.reversed += Int128(event.amount.nanos)
            reversals[event.request] = saturating(reversals[event.request] ?? .zero, plus: event.amount)
            debt = saturating(debt, minus: event.debtReduced)
            give(event.restored, fromRepayments: false)
            give(event.repaymentsReturned, fromRepayments: true)
            settle(refundDebt: event.refundDebt)
        case .creditsWithdrawn(let event):
            totals.withdrawn += Int128(event.amount.nanos)
            take(event.allocations)
        case .accountBlocked: isBlocked = true
        case .accountUnblocked: isBlocked = false
        // History that was paid for elsewhere: it changes nothing of what the account has.
        case .usageImported: break
        case .renewalEvaluated(let event): begin(event)
        case .planScheduled(let event): nextPlan = event.plan == plan ? nil : event.plan
        case .paymentRecorded(let event): record(event, at: effectiveAt)
        case .paymentRefunded(let event): refund(event)
        case .limitsSet(let event): limit(event)
        case .budgetSet(let event): limit(event, at: effectiveAt)
        case .accountErased, .paymentFailed, .priceSet, .priceRemoved, .planSet: break
        }
    }

    private mutating func begin(_ event: RenewalEvaluated) {
        cycle = Cycle(
            number: event.cycle, from: event.from, until: event.until, terms: event.terms, payment: event.payment,
            isGrace: event.outcome == .unpaid)
        // A payment is for the plan that somebody wants now; what waits for a later boundary waits on where one paid ahead.
        if event.outcome == .started || nextPlan == event.terms.plan || event.outcome == .lapsed { nextPlan = nil }
        plan = event.terms.plan
        rate = event.terms.rate
        if let payment = event.payment { prepaid.removeAll { $0 == payment } }
    }

    private mutating func record(_ event: PaymentRecorded, at instant: Timestamp) {
        payments[event.payment] = RecordedPayment(
            id: event.payment, kind: event.kind, plan: event.plan, credits: event.credits, microUSD: event.microUSD,
            recordedAt: instant)
        guard event.kind == .cycle else { return }
        prepaid.append(event.payment)
        // A portal's word is one about the plan, too.
        if event.payment.isPortalsWord { nextPlan = event.plan == plan ? nil : event.plan }
    }

    /// A grant that a payment led to names it.
    private mutating func link(grant: GrantID, to event: CreditsGranted) {
        guard event.source == .purchase || event.source == .subscription,
            let payment = event.reference.flatMap(PaymentID.init(rawValue:)), payments[payment]?.grant == nil
        else { return }
        payments[payment]?.grant = grant
    }

    private mutating func refund(_ event: PaymentRefunded) {
        let taken = event.taken.reduce(Int128(0)) { $0 + Int128($1.amount.nanos) }
        totals.withdrawn += taken + Int128(event.debtAdded.nanos)
        take(event.taken)
        debt = saturating(debt, plus: event.debtAdded)
        guard var payment = payments[event.payment] else { return }
        let (sum, overflow) = payment.refundedMicroUSD.addingReportingOverflow(event.microUSD)
        payment.refundedMicroUSD = overflow ? payment.microUSD : sum
        payment.refundedCredits = saturating(payment.refundedCredits, plus: event.credits)
        payment.refundDebt = saturating(payment.refundDebt, plus: event.debtAdded)
        payments[event.payment] = payment
        guard payment.isRefunded else { return }
        prepaid.removeAll { $0 == event.payment }
        // A cycle that nobody has paid for any more ends at its boundary, and nothing is waited for then.
        if cycle?.payment == event.payment {
            cycle?.payment = nil
            cycle?.isRefunded = true
            nextPlan = plan == Plan.freeName ? nil : Plan.freeName
        }
    }

    private mutating func settle(refundDebt parts: [Allocation]) {
        for part in parts {
            guard let id = payments.first(where: { $0.value.grant == part.grant })?.key, var payment = payments[id]
            else { continue }
            payment.refundDebt = saturating(payment.refundDebt, minus: part.amount)
            payments[id] = payment
        }
    }

    private mutating func settle(_ request: RequestID, charged: Credits) {
        guard let hold = holds.removeValue(forKey: request) else { return }
        held = saturating(held, minus: hold.placed.amount)
        guard let windows = hold.placed.windows else { return }
        for scope in limitedScopes(keyID: hold.placed.origin.keyID) {
            spending[scope]?.settle(
                hold.placed.amount, charged: charged, day: windows.day, month: windows.month, at: hold.placedAt)
        }
    }

    private mutating func limit(_ event: LimitsSet) {
        spending[event.scope, default: SpendingState()].limits = event.limits
        if spending[event.scope]?.isEmpty ?? false { spending[event.scope] = nil }
    }

    private mutating func limit(_ event: BudgetSet, at instant: Timestamp) {
        var state = spending[.account] ?? SpendingState()
        // Another sum for the same period changes nothing of the period.
        if event.budget == nil || event.budget?.id != state.budget?.id || event.budget?.seconds != state.budget?.seconds
        {
            state.budgetFrom = event.budget == nil ? nil : instant
            state.counters[.budget] = nil
        }
        state.budget = event.budget
        spending[.account] = state.isEmpty ? nil : state
    }

    private mutating func take(_ allocations: [Allocation]) {
        for part in allocations {
            guard let index = openGrants.firstIndex(where: { $0.id == part.grant }) else { continue }
            openGrants[index].remaining = saturating(openGrants[index].remaining, minus: part.amount)
            if openGrants[index].remaining <= .zero {
                let grant = openGrants.remove(at: index)
                closedGrants[grant.id] = grant
            }
        }
    }

    private mutating func give(_ allocations: [Allocation], fromRepayments: Bool) {
        for part in allocations {
            var grant: Grant
            if let closed = closedGrants.removeValue(forKey: part.grant) {
                grant = closed
            } else if let index = openGrants.firstIndex(where: { $0.id == part.grant }) {
                grant = openGrants.remove(at: index)
            } else {
                continue
            }
            grant.remaining = saturating(grant.remaining, plus: part.amount)
            if fromRepayments { grant.debtRepaid = saturating(grant.debtRepaid, minus: part.amount) }
            file(grant)
        }
    }

    /// Puts a grant where it belongs.
    private mutating func file(_ grant: Grant) {
        guard grant.remaining > .zero else {
            closedGrants[grant.id] = grant
            return
        }
        let index = openGrants.firstIndex { Grant.burnsBefore(grant, $0) } ?? openGrants.endIndex
        openGrants.insert(grant, at: index)
    }

    // MARK: Snapshots

    /// An account as a snapshot has it.
    init(
        id: AccountID, version: Int64, plan: String?, rate: CreditRate, openedAt: Timestamp?, isBlocked: Bool,
        grants: [Grant], debt: Credits, holds: [Hold], reversals: [RequestID: Credits], cycle: Cycle?,
        nextPlan: String?, payments: [RecordedPayment], prepaid: [PaymentID],
        spending: [LimitScope: SpendingState], totals: Totals
    ) {
        self.id = id
        self.version = version
        self.plan = plan
        self.rate = rate
        self.openedAt = openedAt
        self.isBlocked = isBlocked
        self.debt = debt
        self.reversals = reversals
        self.cycle = cycle
        self.nextPlan = nextPlan
        self.prepaid = prepaid
        self.spending = spending
        for payment in payments { self.payments[payment.id] = payment }
        self.totals = totals
        for grant in grants { file(grant) }
        for hold in holds {
            self.holds[hold.placed.request] = hold
            held = saturating(held, plus: hold.placed.amount)
        }
    }
}

/// Sums of the fold saturate: it must not fail on a history that nobody could have decided.
private func saturating(_ left: Credits, plus right: Credits) -> Credits {
    left.adding(right) ?? Credits(clamping: Int128(left.nanos) + Int128(right.nanos))
}

private func saturating(_ left: Credits, minus right: Credits) -> Credits {
    left.subtracting(right) ?? Credits(clamping: Int128(left.nanos) - Int128(right.nanos))
}
