// Payments, refunds, and what somebody wants of the next cycle.

extension Account {
    /// How long before its end a subscription that is paid for elsewhere may be renewed by a call without a payment's name: a calendar
    /// month can be shorter than a cycle.
    private static let earlySeconds: Int64 = 3 * 86_400
    /// How long after a change to a better plan a portal may still tell of that same change.
    private static let repetitionSeconds: Int64 = 86_400

    // MARK: Money in

    /// Records a payment, and what it buys at once.
    ///
    /// Of a cycle: where none is paid for that is running, or where the plan grants more than the running one, a new one begins now; else
    /// the payment waits for the next boundary, so that paying early loses no day.
    func pay(_ command: RecordPayment, key: String, in context: Context) throws(Refusal) -> [Draft] {
        try check(command.actor, "actor")
        guard payments[command.payment] == nil else { throw .keyReused(key: command.key) }
        switch command.purchase {
        case .credits(let credits, let microUSD):
            guard credits > .zero, microUSD >= 0 else { throw .amountNotPositive }
            _ = try postedBalance(changedBy: Int128(credits.nanos))
            return bought(
                PaymentRecorded(
                    payment: command.payment, kind: .credits, plan: nil, credits: credits, microUSD: microUSD,
                    actor: command.actor), key: key, pool: .topup, source: .purchase, expiresAt: nil, at: context.now)
        case .cycle(let name):
            let plan = try paidPlan(name, context)
            let event = PaymentRecorded(
                payment: command.payment, kind: .cycle, plan: name, credits: plan.cycleCredits,
                microUSD: plan.microUSD, actor: command.actor)
            let recorded = Draft(event: .paymentRecorded(event), key: key, effectiveAt: context.now)
            if let cycle, cycle.isPaid, plan.cycleCredits <= cycle.terms.cycleCredits { return [recorded] }
            var after = self
            after.apply(recorded.event, effectiveAt: context.now)
            guard let payment = after.payments[command.payment] else { return [recorded] }
            _ = try postedBalance(changedBy: Int128(plan.cycleCredits.nanos))
            return [recorded] + after.start(payment, .started, at: context.now, plans: context.plans)
        case .upgrade(let name):
            return try upgrade(to: try paidPlan(name, context), command, key: key, at: context.now)
        }
    }

    /// The rest of the running cycle on a better plan: the difference of the plans' credits, for the difference of their prices, in the
    /// proportion of the time that is left. Credits are rounded down to the nano-credit, the price up to the micro-USD.
    private func upgrade(
        to plan: Plan, _ command: RecordPayment, key: String, at now: Timestamp
    ) throws(Refusal) -> [Draft] {
        guard let cycle, cycle.isPaid, cycle.until > now, plan.cycleCredits > cycle.terms.cycleCredits else {
            throw .nothingToUpgrade
        }
        let left = Int128(cycle.until.microseconds) - Int128(now.microseconds)
        let length = Int128(cycle.until.microseconds) - Int128(cycle.from.microseconds)
        let more = Int128(plan.cycleCredits.nanos) - Int128(cycle.terms.cycleCredits.nanos)
        let dearer = max(0, Int128(plan.microUSD) - Int128(cycle.terms.microUSD))
        let credits = Credits(clamping: more * left / length)
        let price = Int64(clamping: (dearer * left + length - 1) / length)
        _ = try postedBalance(changedBy: Int128(credits.nanos))
        let event = PaymentRecorded(
            payment: command.payment, kind: .upgrade, plan: plan.name, credits: credits, microUSD: price,
            actor: command.actor)
        let terms = PlanChanged(plan: plan.name, rate: plan.rate, terms: CycleTerms(plan))
        var drafts = bought(
            event, key: key, pool: .subscription, source: .subscription, expiresAt: cycle.until, at: now)
        drafts.insert(
            Draft(event: .planChanged(terms), key: "upgrade:\(command.payment)", effectiveAt: now), at: 1)
        return drafts
    }

    /// The events of a payment whose credits are granted at once.
    private func bought(
        _ event: PaymentRecorded, key: String, pool: Pool, source: GrantSource, expiresAt: Timestamp?,
        at now: Timestamp
    ) -> [Draft] {
        let recorded = Draft(event: .paymentRecorded(event), key: key, effectiveAt: now)
        guard event.credits > .zero else { return [recorded] }
        let grant = CreditsGranted(
            pool: pool, source: source, amount: event.credits, expiresAt: expiresAt,
            reference: event.payment.rawValue, reason: nil, actor: event.actor,
            debtRepaid: min(debt, event.credits),
            balance: Credits(clamping: totals.balance + Int128(event.credits.nanos)))
        return [recorded, Draft(event: .creditsGranted(grant), key: "paid:\(event.payment)", effectiveAt: now)]
    }

    /// Takes over a cycle that was paid for in the gateway that this one replaces. What is left of its credits comes as an opening balance.
    func importCycle(_ command: ImportCycle, in context: Context) throws(Refusal) -> [Draft] {
        try check(command.actor, "actor")
        let plan = try paidPlan(command.plan, context)
        guard command.until > context.now else { throw .instantInThePast }
        if let cycle, cycle.isPaid, cycle.until >= command.until { return [] }
        guard payments[command.payment] == nil else { throw .keyReused(key: command.key) }
        let event = PaymentRecorded(
            payment: command.payment, kind: .imported, plan: plan.name, credits: plan.cycleCredits,
            microUSD: plan.microUSD, actor: command.actor)
        let number = cycle.map { $0.number &+ 1 } ?? 0
        let begun = RenewalEvaluated(
            cycle: number, from: context.now, until: command.until, terms: CycleTerms(plan), outcome: .imported,
            payment: command.payment, balance: balance(at: context.now))
        return [
            Draft(event: .paymentRecorded(event), key: command.key, effectiveAt: context.now),
            Draft(event: .renewalEvaluated(begun), key: "renewal:\(id):\(number)", effectiveAt: context.now),
        ]
    }

    private func paidPlan(_ name: String, _ context: Context) throws(Refusal) -> Plan {
        guard let plan = context.plans.plans[name] else { throw .planUnknown(name: name) }
        guard plan.isPaid else { throw .planNotForSale(name: name) }
        return plan
    }

    // MARK: Money out

    /// Gives a payment back, whole or in part: the same part of what it bought is taken from what is left of its grant, and what has been
    /// used of that is owed. What has expired unused is gone already, and is not taken twice.
    func refund(_ command: RefundPayment, at now: Timestamp) throws(Refusal) -> [Draft] {
        try check(command.reason, "reason")
        try check(command.actor, "actor")
        guard let payment = payments[command.payment] else { throw .paymentUnknown(payment: command.payment) }
        let left = payment.refundableMicroUSD
        let amount: Int64
        switch command.extent {
        case .rest: amount = left
        case .part(let microUSD):
            guard microUSD > 0 else { throw .amountNotPositive }
            amount = microUSD
        case .upTo(let microUSD):
            let (missing, overflow) = microUSD.subtractingReportingOverflow(payment.refundedMicroUSD)
            amount = overflow ? 0 : max(0, missing)
            if amount == 0, payment.microUSD > 0 { return [] }
        }
        guard amount <= left else { throw .refundExceedsPayment(leftMicroUSD: left) }
        if payment.isRefunded { return [] }
        let part = refundedPart(of: payment, amount)
        let event = PaymentRefunded(
            payment: payment.id, microUSD: amount, credits: part.credits, taken: part.taken, debtAdded: part.debt,
            reason: command.reason, actor: command.actor,
            balance: try postedBalance(changedBy: -Int128(part.credits.nanos) + Int128(part.gone)))
        guard debt.adding(part.debt) != nil else { throw .amountOutOfRange }
        return [Draft(event: .paymentRefunded(event), key: command.key, effectiveAt: now)]
    }

    /// What goes back with so many micro-USD of a payment: the credits, what of them is taken, what is owed, and what is gone already.
    func refundedPart(
        of payment: RecordedPayment, _ microUSD: Int64
    ) -> (credits: Credits, taken: [Allocation], debt: Credits, gone: Int64) {
        let total = Int128(payment.refundedMicroUSD) + Int128(microUSD)
        // Of a part the credits are rounded down; the whole is the whole.
        let target =
            total >= Int128(payment.microUSD)
            ? Int128(payment.credits.nanos)
            : Int128(payment.credits.nanos) * total / max(1, Int128(payment.microUSD))
        let credits = Credits(clamping: max(0, target - Int128(payment.refundedCredits.nanos)))
        guard let id = payment.grant, let grant = grant(id) else {
            // It has granted nothing yet, or elsewhere.
            return (credits, [], .zero, credits.nanos)
        }
        // What expired cannot be asked back. Earlier refunds asked for their part of the rest, or kept it from being granted.
        let reclaimable = max(0, Int128(payment.creditsLeft.nanos) - Int128(grant.expired.nanos))
        let claimed = Int64(clamping: min(Int128(credits.nanos), reclaimable))
        let taken = min(claimed, grant.remaining.nanos)
        let parts = taken > 0 ? [Allocation(grant: id, amount: Credits(nanos: taken))] : []
        return (credits, parts, Credits(nanos: claimed - taken), credits.nanos - claimed)
    }

    func fail(_ command: RecordPaymentFailure, at now: Timestamp) throws(Refusal) -> [Draft] {
        try check(command.actor, "actor")
        try check(command.plan, "plan")
        let event = PaymentFailed(payment: command.payment, plan: command.plan, actor: command.actor)
        return [Draft(event: .paymentFailed(event), key: command.key, effectiveAt: now)]
    }

    // MARK: What the next cycle shall be

    /// Puts the account on another plan from its next boundary on, or takes such a wish back.
    func schedule(_ command: SchedulePlan, in context: Context) throws(Refusal) -> [Draft] {
        try check(command.actor, "actor")
        guard context.plans.plans[command.plan] != nil || command.plan == plan else {
            throw .planUnknown(name: command.plan)
        }
        guard let cycle else { throw .accountUnknown }
        if (nextPlan ?? plan) == command.plan {
            if command.mustChange { throw .planUnchanged }
            // Under a key it is remembered, so that what comes late finds it done.
            guard command.key != nil else { return [] }
        }
        let event = PlanScheduled(plan: command.plan, from: cycle.until, actor: command.actor)
        let scheduled = Draft(
            event: .planScheduled(event), key: command.key ?? "schedule:\(id):\(version + 1)",
            effectiveAt: context.now)
        guard command.plan == Plan.freeName else { return [scheduled] }
        return [scheduled] + (try withdrawWord(actor: command.actor, at: context.now))
    }

    /// Who ends a subscription has not paid what a portal's word only announced: it waits for its cycle no longer.
    private func withdrawWord(actor: String, at now: Timestamp) throws(Refusal) -> [Draft] {
        var drafts: [Draft] = []
        for payment in prepaid where payment.isPortalsWord {
            let refund = RefundPayment(
                key: "withdrawn:\(payment)", payment: payment, reason: "the subscription was ended before its cycle",
                actor: actor)
            drafts += try self.refund(refund, at: now)
        }
        return drafts
    }

    /// A portal's word that somebody has a subscription, which names no payment.
    ///
    /// It cannot be told from any other news. So it counts as a payment where no cycle is running that is paid for, in the last three
    /// days of one for the next, and for what a better plan adds to the running one; everything else grants nothing, however often it comes.
    func subscribe(_ command: Subscribe, in context: Context) throws(Refusal) -> [Draft] {
        guard let wanted = context.plans.plans[command.plan] else { throw .planUnknown(name: command.plan) }
        guard let cycle else { throw .accountUnknown }
        guard let payment = PaymentID(portalsWordOf: id, version: version + 1) else { throw .invalidKey }
        func pay(_ purchase: Purchase) throws(Refusal) -> [Draft] {
            let pay = RecordPayment(payment: payment, purchase: purchase, actor: command.actor)
            return try self.pay(pay, key: command.key ?? pay.key, in: context)
        }
        // Whose money went back, does not get the cycle once more for news about it.
        if wanted.isPaid, !cycle.isPaid, !cycle.isRefunded { return try pay(.cycle(plan: wanted.name)) }
        if wanted.isPaid, cycle.isPaid, wanted.cycleCredits > cycle.terms.cycleCredits {
            return try pay(.upgrade(plan: wanted.name))
        }
        // Of several calls at the end of a cycle, one pays. What a better plan added to it is no payment of the next, but news of that
        // change may be repeated for a while.
        let end = cycle.until.advanced(bySeconds: -Self.earlySeconds)
        let lately = context.now.advanced(bySeconds: -Self.repetitionSeconds)
        let isPaidFor =
            !prepaid.isEmpty
            || payments.values.contains { payment in
                switch payment.kind {
                case .credits: false
                case .upgrade: !payment.isRefunded && payment.recordedAt > lately
                case .cycle, .imported: !payment.isRefunded && payment.recordedAt >= end
                }
            }
        if end <= context.now, !isPaidFor, wanted.isPaid, cycle.isPaid {
            return try pay(.cycle(plan: wanted.name))
        }
        return try schedule(
            SchedulePlan(key: command.key, plan: wanted.name, actor: command.actor), in: context)
    }
}
