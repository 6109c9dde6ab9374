// A charge goes back, whole or in part: to where it was taken from.

extension Account {
    /// Gives back `amount` of a charge, or all that is left of it; nothing where all was given back.
    func reverse(_ command: ReverseCharge, in context: Context) throws(Refusal) -> [Draft] {
        try check(command.reason, "reason")
        try check(command.actor, "actor")
        guard let charge = context.settlement?.charge(of: command.request, on: id) else {
            throw .chargeUnknown(request: command.request)
        }
        let before = reversals[command.request] ?? .zero
        let left = max(.zero, charge.credits.subtracting(before) ?? .zero)
        let amount = command.amount ?? left
        guard amount > .zero || command.amount == nil else { throw .amountNotPositive }
        guard amount <= left else { throw .reversalExceedsCharge(left: left) }
        if amount == .zero { return [] }
        let unwound = unwind(charge, from: before, amount: amount)
        let event = ChargeReversed(
            request: command.request, amount: amount, restored: unwound.restored, debtReduced: unwound.debtReduced,
            repaymentsReturned: unwound.repaymentsReturned, refundDebt: unwound.refundDebt, reason: command.reason,
            actor: command.actor,
            balance: try postedBalance(changedBy: Int128(amount.nanos)))
        return [Draft(event: .chargeReversed(event), key: command.key, effectiveAt: context.now)]
    }

    /// Takes `amount` back from the end of what a charge was split into, after what earlier reversals took.
    ///
    /// The shortfall was charged last and is unwound first: what is still owed of it is forgiven, and what later grants repaid
    /// returns to them, the latest first. What would return to a grant whose payment went back is what that refund found used, and
    /// is owed for it: it is forgiven in the same way, so that it does not matter which of the two comes first. `settlesRefunds`
    /// is false for what was decided before there was that rule.
    func unwind(_ charge: RequestCharged, from before: Credits, amount: Credits, settlesRefunds: Bool = true)
        -> Unwound
    {
        var skip = before.nanos
        var left = amount.nanos
        /// The part of a portion that this reversal takes.
        func take(_ portion: Credits) -> Int64 {
            // An auditor may hand in what nobody could have decided.
            guard portion > .zero else { return 0 }
            let skipped = min(skip, portion.nanos)
            skip -= skipped
            let part = min(left, portion.nanos - skipped)
            left -= part
            return part
        }
        let repayers = (openGrants + closedGrants.values).filter { $0.debtRepaid > .zero }.sorted { $0.id > $1.id }
        /// What can be forgiven or returned at all.
        let room = repayers.reduce(Int128(debt.nanos)) { $0 + Int128($1.debtRepaid.nanos) }
        var owed = Int128(take(charge.shortfall))
        var restored: [Allocation] = []
        var refundDebt: [Allocation] = []
        for allocation in charge.allocations.reversed() where left > 0 {
            let part = take(allocation.amount)
            let due = settlesRefunds ? self.refundDebt(of: allocation.grant).nanos : 0
            let settled = Int64(clamping: max(0, min(Int128(min(part, due)), room - owed)))
            owed += Int128(settled)
            if settled > 0 { refundDebt.append(Allocation(grant: allocation.grant, amount: Credits(nanos: settled))) }
            if part > settled {
                restored.append(Allocation(grant: allocation.grant, amount: Credits(nanos: part - settled)))
            }
        }
        let debtReduced = Int64(clamping: min(owed, Int128(debt.nanos)))
        var returning = Int64(clamping: owed - Int128(debtReduced))
        var returned: [Allocation] = []
        for grant in repayers where returning > 0 {
            let part = min(returning, grant.debtRepaid.nanos)
            returned.append(Allocation(grant: grant.id, amount: Credits(nanos: part)))
            returning -= part
        }
        return Unwound(
            restored: restored, debtReduced: Credits(nanos: debtReduced), repaymentsReturned: returned,
            refundDebt: refundDebt)
    }
}

/// What a reversal gives back, and where.
struct Unwound: Hashable {
    let restored: [Allocation]
    let debtReduced: Credits
    let repaymentsReturned: [Allocation]
    let refundDebt: [Allocation]

    init(restored: [Allocation], debtReduced: Credits, repaymentsReturned: [Allocation], refundDebt: [Allocation]) {
        self.restored = restored
        self.debtReduced = debtReduced
        self.repaymentsReturned = repaymentsReturned
        self.refundDebt = refundDebt
    }

    init(_ event: ChargeReversed) {
        self.init(
            restored: event.restored, debtReduced: event.debtReduced, repaymentsReturned: event.repaymentsReturned,
            refundDebt: event.refundDebt)
    }
}
