// What comes due by itself: expiries, and the boundaries of cycles. It is evaluated whenever an account is touched, and by a sweep;
// both lead to the same events, since nothing here looks at the instant at which it is done.

extension Account {
    /// Whether something is due that every command has to record before its own event.
    func isDue(at instant: Timestamp) -> Bool {
        if let cycle, cycle.until <= instant { return true }
        return openGrants.contains { $0.hasExpired(at: instant) }
    }

    /// What is due at an instant, in the order in which it will be recorded; it changes nothing.
    ///
    /// The same events come of it whenever they are recorded, so an account can be told today what tomorrow's sweep will write.
    public func due(at instant: Timestamp, plans: PlanBook) -> [Draft] {
        var after = self
        return after.recordDue(at: instant, plans: plans)
    }

    /// Applies what is due at an instant and gives it, boundary after boundary: what expires there, then the renewal.
    mutating func recordDue(at instant: Timestamp, plans: PlanBook) -> [Draft] {
        var drafts: [Draft] = []
        while let boundary = cycle?.until, boundary <= instant {
            drafts += expire(at: boundary)
            for draft in renewal(plans: plans) {
                apply(draft.event, effectiveAt: draft.effectiveAt)
                drafts.append(draft)
            }
            guard let next = cycle?.until, next > boundary else { break }
        }
        return drafts + expire(at: instant)
    }

    /// Applies the expiries that are due, and gives them.
    mutating func expire(at instant: Timestamp) -> [Draft] {
        dueExpiries(at: instant).map { grant in
            let balance = Credits(clamping: totals.balance - Int128(grant.remaining.nanos))
            let event = LedgerEvent.grantExpired(
                GrantExpired(grant: grant.id, amount: grant.remaining, balance: balance))
            let expiresAt = grant.expiresAt ?? instant
            apply(event, effectiveAt: expiresAt)
            return Draft(event: event, key: "expiry:\(id):\(grant.id):\(version)", effectiveAt: expiresAt)
        }
    }

    /// What the end of the running cycle leads to. It has expired what expires there.
    ///
    /// A payment that waits pays for the next cycle. Without one, a free plan fills the balance up, and a paid one is waited for, once,
    /// and then left for the free one.
    private func renewal(plans: PlanBook) -> [Draft] {
        guard let cycle else { return [] }
        let boundary = cycle.until
        if let next = prepaid.first, let payment = payments[next] {
            return start(payment, .renewed, at: boundary, plans: plans)
        }
        let wanted = nextPlan ?? cycle.terms.plan
        let known = plans.plan(wanted, at: boundary)
        // A plan that nobody knows any more is left like one that nobody pays for.
        if let known, known.isPaid, !cycle.isGrace, known.graceSeconds > 0 {
            return begin(
                CycleTerms(known), .unpaid, at: boundary, seconds: known.graceSeconds, payment: nil, grant: .zero)
        }
        let free = known.flatMap { $0.isPaid ? nil : $0 } ?? plans.plan(Plan.freeName, at: boundary)
        let terms =
            free.map(CycleTerms.init)
            ?? CycleTerms(plan: Plan.freeName, microUSD: 0, rate: rate, cycleCredits: .zero, topUpTo: .zero)
        let missing = Int128(terms.topUpTo.nanos) - Int128(balance(at: boundary).nanos)
        // To be blocked, or unblocked, is a touch: what is evaluated here was so at the boundary.
        let grant = isBlocked ? Credits.zero : Credits(clamping: max(0, missing))
        let outcome: RenewalOutcome =
            if terms.plan != cycle.terms.plan { .lapsed } else if isBlocked { .withheld } else if grant > .zero {
                .toppedUp
            } else { .sufficient }
        return begin(
            terms, outcome, at: boundary, seconds: free?.cycleSeconds ?? Cycle.standardSeconds, payment: nil,
            grant: grant)
    }

    /// Begins a cycle that a payment pays for: with what the payment bought, and otherwise the terms that the plan has then.
    func start(
        _ payment: RecordedPayment, _ outcome: RenewalOutcome, at instant: Timestamp, plans: PlanBook
    ) -> [Draft] {
        let plan = payment.plan.flatMap { plans.plan($0, at: instant) }
        let terms = CycleTerms(
            plan: payment.plan ?? Plan.freeName, microUSD: payment.microUSD, rate: plan?.rate ?? rate,
            cycleCredits: payment.credits, topUpTo: .zero)
        return begin(
            terms, outcome, at: instant, seconds: plan?.cycleSeconds ?? Cycle.standardSeconds, payment: payment.id,
            grant: payment.creditsLeft)
    }

    /// The first cycle of an account that was opened before there were cycles: from now on, on the plan that it is on.
    func adopt(at instant: Timestamp, plans: PlanBook) -> [Draft] {
        let plan = plan.flatMap { plans.plan($0, at: instant) } ?? plans.plan(Plan.freeName, at: instant)
        guard let plan, cycle == nil else { return [] }
        return begin(
            CycleTerms(plan), .adopted, at: instant, seconds: plan.cycleSeconds, payment: nil, grant: .zero)
    }

    /// The events with which a cycle begins: its own, and its grant, which expires with it.
    func begin(
        _ terms: CycleTerms, _ outcome: RenewalOutcome, at instant: Timestamp, seconds: Int64, payment: PaymentID?,
        grant: Credits
    ) -> [Draft] {
        let number = cycle.map { $0.number &+ 1 } ?? 0
        let until = instant.advanced(bySeconds: seconds)
        let event = RenewalEvaluated(
            cycle: number, from: instant, until: until, terms: terms, outcome: outcome, payment: payment,
            balance: balance(at: instant))
        let begun = Draft(
            event: .renewalEvaluated(event), key: "renewal:\(id):\(number)", effectiveAt: instant)
        // What does not fit cannot be granted; the cycle begins all the same.
        guard grant > .zero, let balance = try? postedBalance(changedBy: Int128(grant.nanos)) else { return [begun] }
        let granted = CreditsGranted(
            pool: .subscription, source: payment == nil ? .monthlyFree : .subscription, amount: grant,
            expiresAt: until, reference: payment?.rawValue, reason: nil, actor: nil, debtRepaid: min(debt, grant),
            balance: balance)
        return [begun, Draft(event: .creditsGranted(granted), key: "cycle:\(id):\(number)", effectiveAt: instant)]
    }
}

extension Cycle {
    /// 30 days: what is taken where no plan says it.
    public static let standardSeconds: Int64 = 2_592_000
}
