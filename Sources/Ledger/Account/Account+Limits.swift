// Limits on spending, pace and models: set by events, counted by the fold, and enforced where a hold is decided.

extension Account {
    /// The scopes of a request that have limits, the account's first.
    func limitedScopes(keyID: String?) -> [LimitScope] {
        if spending.isEmpty { return [] }
        return [.account, keyID.map { .key($0) }].compactMap(\.self).filter { spending[$0] != nil }
    }

    func setLimits(_ command: SetLimits, at now: Timestamp) throws(Refusal) -> [Draft] {
        try check(command.actor, "actor")
        try check(command.scope.keyID, "key_id")
        guard command.limits.isValid else { throw .amountOutOfRange }
        guard (spending[command.scope]?.limits ?? .none) != command.limits else { return [] }
        let event = LimitsSet(scope: command.scope, limits: command.limits, actor: command.actor)
        return [Draft(event: .limitsSet(event), key: "limits:\(id):\(version + 1)", effectiveAt: now)]
    }

    func setBudget(_ command: SetBudget, at now: Timestamp) throws(Refusal) -> [Draft] {
        try check(command.actor, "actor")
        try check(command.budget?.id, "budget_id")
        if let budget = command.budget, budget.microUSD ?? 0 < 0 || budget.seconds ?? 1 < 1 { throw .amountOutOfRange }
        guard spending[.account]?.budget != command.budget else { return [] }
        let event = BudgetSet(budget: command.budget, actor: command.actor)
        return [Draft(event: .budgetSet(event), key: "limits:\(id):\(version + 1)", effectiveAt: now)]
    }

    /// Refuses a model that is not allowed, and a pace that is too fast.
    func checkPace(_ command: PlaceHold, scopes: [LimitScope], in context: Context) throws(Refusal) {
        for scope in scopes {
            guard let limits = spending[scope]?.limits else { continue }
            guard limits.allows(model: command.origin.model) else {
                throw .modelNotAllowed(model: command.origin.model)
            }
            guard limits.capsRate else { continue }
            let recent = (context.recent[scope] ?? RecentUse()).requests
            if let limit = limits.requestsPerMinute, Int64(recent.count) >= limit {
                // It fits when so many have left the minute that one is missing.
                let index = recent.count - Int(clamping: limit)
                let retryAt = limit > 0 && index < recent.count ? recent[index].at.advanced(bySeconds: 60) : nil
                throw .limitReached(
                    LimitReached(
                        scope: scope, kind: .requestsPerMinute, limit: limit, used: Int64(recent.count), needed: 1,
                        retryAt: retryAt, fittingOutput: 0))
            }
            guard let limit = limits.tokensPerMinute else { continue }
            let needed = Int128(command.promptBound) + Int128(command.outputPerChoice) * Int128(command.choices)
            var used = recent.reduce(Int128(0)) { $0 + Int128($1.tokens) }
            guard used + needed > Int128(limit) else { continue }
            let before = used
            var retryAt: Timestamp?
            for request in recent where needed <= Int128(limit) {
                used -= Int128(request.tokens)
                if used + needed <= Int128(limit) {
                    retryAt = request.at.advanced(bySeconds: 60)
                    break
                }
            }
            throw .limitReached(
                LimitReached(
                    scope: scope, kind: .tokensPerMinute, limit: limit, used: Int64(clamping: before),
                    needed: Int64(clamping: needed), retryAt: retryAt, fittingOutput: 0))
        }
    }

    /// The cap that leaves the least to a new hold; nil: none bounds it.
    func tightestCap(
        scopes: [LimitScope], in context: Context
    ) -> (left: Credits, scope: LimitScope, window: LimitWindow, limit: Credits, used: Credits, ends: Timestamp?)? {
        var tightest:
            (left: Credits, scope: LimitScope, window: LimitWindow, limit: Credits, used: Credits, ends: Timestamp?)?
        let windows = context.windows
        for scope in scopes {
            guard let state = spending[scope], state.counts else { continue }
            for window in LimitWindow.allCases {
                guard let cap = state.cap(window, rate: rate) else { continue }
                let from = state.start(of: window, day: windows.day, month: windows.month, at: context.now)
                var used: Int128 = 0
                if let counter = state.counters[window], counter.from >= from {
                    used = Int128(counter.spent.nanos) + Int128(counter.held.nanos)
                }
                let left = Credits(clamping: Int128(cap.nanos) - used)
                if tightest.map({ left < $0.left }) ?? true {
                    tightest = (
                        left, scope, window, cap, Credits(clamping: used), state.end(of: window, from: from, windows)
                    )
                }
            }
        }
        return tightest
    }

    /// The calendar's windows with which a hold is counted; nil where nothing is. They never go back, whatever becomes of the zone.
    func countedWindows(scopes: [LimitScope], in context: Context) -> HoldPlaced.Windows? {
        var (day, month) = (context.windows.day, context.windows.month)
        var counts = false
        for scope in scopes {
            guard let state = spending[scope], state.counts else { continue }
            counts = true
            day = max(day, state.counters[.day]?.from ?? day)
            month = max(month, state.counters[.month]?.from ?? month)
        }
        return counts ? HoldPlaced.Windows(day: day, month: month) : nil
    }

    /// Whether a hold's windows are such as a calendar can have, and it fits under every cap; for an auditor.
    func withinCaps(_ event: HoldPlaced, at instant: Timestamp) -> Bool {
        let scopes = limitedScopes(keyID: event.origin.keyID)
        guard scopes.allSatisfy({ spending[$0]?.limits.allows(model: event.origin.model) ?? true }) else {
            return false
        }
        guard scopes.contains(where: { spending[$0]?.counts ?? false }) else { return event.windows == nil }
        guard let windows = event.windows, windows.day <= instant,
            windows.month <= windows.day.advanced(bySeconds: 86_400),
            windows.day >= instant.advanced(bySeconds: -4 * 86_400),
            windows.month >= instant.advanced(bySeconds: -35 * 86_400)
        else { return false }
        let bounds = CalendarWindows(
            day: windows.day, dayEnd: windows.day, month: windows.month, monthEnd: windows.month)
        let context = Context(now: instant, prices: PriceBook(), plans: PlanBook(), calendar: { _ in bounds })
        return tightestCap(scopes: scopes, in: context).map { event.amount <= $0.left } ?? true
    }
}
