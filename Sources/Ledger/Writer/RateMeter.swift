/// What was admitted in the last 60 seconds, of accounts and keys whose pace is limited: in memory, and forgotten with the process.
///
/// It is the writer's own, so what one decision counts the next one sees. Bounded by the limits themselves: what is beyond them is not admitted.
struct RateMeter {
    private struct Entry {
        let at: Timestamp
        let request: RequestID
        var tokens: Int64
    }

    private struct Scope: Hashable {
        let account: AccountID
        let scope: LimitScope
    }

    private var entries: [Scope: [Entry]] = [:]
    private var sweepAt = 1024

    /// What counts at an instant, of the scopes of a request whose pace is limited.
    mutating func recent(_ account: Account, keyID: String?, at now: Timestamp) -> [LimitScope: RecentUse] {
        var recent: [LimitScope: RecentUse] = [:]
        for scope in account.limitedScopes(keyID: keyID) where account.spending[scope]?.limits.capsRate ?? false {
            let key = Scope(account: account.id, scope: scope)
            drop(key, before: now)
            recent[scope] = RecentUse((entries[key] ?? []).map { ($0.at, $0.tokens) })
        }
        return recent
    }

    /// Counts what an event admitted or settled.
    mutating func note(_ event: LedgerEvent, on account: Account, at now: Timestamp) {
        switch event {
        case .holdPlaced(let hold):
            let (tokens, overflow) = hold.promptBound.addingReportingOverflow(hold.outputBound)
            for scope in account.limitedScopes(keyID: hold.origin.keyID)
            where account.spending[scope]?.limits.capsRate ?? false {
                entries[Scope(account: account.id, scope: scope), default: []].append(
                    Entry(at: now, request: hold.request, tokens: overflow ? .max : tokens))
            }
            if entries.count > sweepAt { forget(at: now) }
        case .requestCharged(let charge):
            let usage = charge.report.usage
            let (tokens, overflow) = usage.prompt.addingReportingOverflow(usage.completion)
            correct(charge.request, charge.origin, account.id, to: overflow ? .max : tokens)
        case .holdReleased(let release): correct(release.request, release.origin, account.id, to: 0)
        default: break
        }
    }

    private mutating func correct(_ request: RequestID, _ origin: RequestOrigin, _ account: AccountID, to tokens: Int64)
    {
        for scope in [LimitScope.account, origin.keyID.map { .key($0) }].compactMap(\.self) {
            let key = Scope(account: account, scope: scope)
            guard let index = entries[key]?.lastIndex(where: { $0.request == request }) else { continue }
            entries[key]?[index].tokens = tokens
        }
    }

    private mutating func drop(_ key: Scope, before now: Timestamp) {
        guard let list = entries[key] else { return }
        let start = now.advanced(bySeconds: -60)
        let old = list.prefix { $0.at <= start }.count
        if old == list.count {
            entries[key] = nil
        } else if old > 0 {
            entries[key]?.removeFirst(old)
        }
    }

    /// Forgets whoever has not come for a minute.
    private mutating func forget(at now: Timestamp) {
        for key in Array(entries.keys) { drop(key, before: now) }
        sweepAt = max(1024, entries.count * 2)
    }
}
