import Foundation
import Fuzzing
import Ledger
import Testing

/// Random histories: whatever is asked for in whatever order, the invariants hold. The auditor looks at every event, and every
/// decision is made twice (``TestLedger``).
@Suite("Random histories")
struct PropertyTests {
    /// `LEDGER_TEST_SEED` runs one seed again.
    static let seeds: [UInt64] =
        ProcessInfo.processInfo.environment["LEDGER_TEST_SEED"].flatMap { UInt64($0) }.map { [$0] }
        ?? (1...40).map { $0 }

    @Test("every invariant holds after every event", arguments: seeds)
    func invariants(seed: UInt64) throws {
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        var ledger = try TestLedger.standard()
        try ledger.send(.setPlan(SetPlan(plan: .pro)))
        try ledger.send(.open(plan: "FREE"), to: .bob)
        var requests = 0
        for step in 0..<250 {
            ledger.now = ledger.now.advanced(bySeconds: Int64.random(in: 0...200_000, using: &random))
            let account: AccountID = Bool.random(using: &random) ? .alice : .bob
            let before = ledger.events.count
            let action = Self.action(step, &requests, ledger, account, &random)
            let refused = refusal { () throws(Refusal) in try ledger.send(action, to: account) }
            if refused != nil { #expect(ledger.events.count == before, "what is refused changes nothing") }
            try check(ledger)
        }
        // Nothing that was held stays held once all is settled.
        for id in [AccountID.alice, .bob] {
            for request in (ledger.accounts[id]?.holds.keys).map(Array.init) ?? [] {
                try ledger.send(.releaseHold(ReleaseHold(request: request, reason: .interrupted)), to: id)
            }
            #expect(ledger.accounts[id]?.held == .zero)
        }
        try check(ledger)
    }

    private static func action(
        _ step: Int, _ requests: inout Int, _ ledger: TestLedger, _ account: AccountID, _ random: inout SeededGenerator
    ) -> Command.Action {
        let amount = Credits(nanos: .random(in: 1...5_000_000_000, using: &random)).description
        let open = (ledger.accounts[account]?.holds.keys).map { $0.sorted { $0.rawValue < $1.rawValue } } ?? []
        switch Int.random(in: 0..<28, using: &random) {
        case 26:
            let cap = Credits(nanos: .random(in: 0...20_000_000_000, using: &random))
            let limits = [UseLimits(perDay: cap), UseLimits(perMonth: cap, total: cap), .none, UseLimits(total: cap)]
            return .setLimits(
                SetLimits(
                    scope: Bool.random(using: &random) ? .account : .key("key-1"),
                    limits: limits.randomElement(using: &random) ?? .none, actor: "test"))
        case 27:
            let budget = BudgetCap(
                id: "b", microUSD: .random(in: 0...3_000_000, using: &random),
                seconds: .random(in: 1...900_000, using: &random))
            return .setBudget(SetBudget(budget: Bool.random(using: &random) ? budget : nil, actor: "test"))
        case 20:
            let plan = ["BASIC", "PRO"].randomElement(using: &random) ?? "BASIC"
            return .pay("p\(step)", Bool.random(using: &random) ? .cycle(plan: plan) : .upgrade(plan: plan))
        case 21: return .pay("p\(step)", .credits(.of(amount), microUSD: .random(in: 0...5_000_000, using: &random)))
        case 22:
            let known = (ledger.accounts[account]?.payments.keys).map { $0.sorted { $0.rawValue < $1.rawValue } } ?? []
            guard let payment = known.randomElement(using: &random) else { return .recordDue }
            let microUSD = Int64.random(in: 1...8_000_000, using: &random)
            let extents: [RefundPayment.Extent] = [.rest, .part(microUSD: microUSD), .upTo(microUSD: microUSD)]
            return .refund(payment.rawValue, extents.randomElement(using: &random) ?? .rest, key: "rf\(step)")
        case 23, 24:
            let plan = ["FREE", "BASIC", "PRO"].randomElement(using: &random) ?? "FREE"
            return Bool.random(using: &random)
                ? .subscribe(plan, key: Bool.random(using: &random) ? "s\(step)" : nil) : .schedule(plan)
        case 25: return .recordDue
        case 0...3:
            let expires: Timestamp? =
                Bool.random(using: &random)
                ? ledger.now.advanced(bySeconds: .random(in: 1...2_000_000, using: &random)) : nil
            return .grant(
                amount, Pool.allCases.randomElement(using: &random) ?? .topup, expires: expires, key: "g\(step)")
        case 4...10:
            requests += 1
            return .hold(
                requests, prompt: .random(in: 0...50_000, using: &random),
                output: .random(in: 0...100_000, using: &random),
                shrinkTo: Bool.random(using: &random) ? 256 : nil)
        case 11...15:
            guard let request = open.randomElement(using: &random),
                let usage = Usage(
                    prompt: .random(in: 0...60_000, using: &random), cached: .random(in: 0...70_000, using: &random),
                    cacheWrite: .random(in: 0...5_000, using: &random),
                    cacheWriteHour: .random(in: 0...5_000, using: &random),
                    completion: .random(in: 0...120_000, using: &random))
            else { return .recordDue }
            return .charge(ChargeRequest(request: request, outcome: .finished, report: UsageReport(usage: usage)))
        case 16:
            guard let request = open.randomElement(using: &random) else { return .recordDue }
            return .releaseHold(ReleaseHold(request: request, reason: .upstreamFailed))
        case 17:
            let number = Int.random(in: 0...max(1, requests), using: &random)
            return .reverse(number, Bool.random(using: &random) ? amount : nil, key: "r\(step)")
        case 18:
            let sign = Bool.random(using: &random) ? "-" : ""
            return .adjust(AdjustCredits(key: "a\(step)", amount: .of(sign + amount), reason: "test", actor: "test"))
        case 19 where Int.random(in: 0..<4, using: &random) == 0:
            return .erase(EraseAccount(createdAt: .days(Int64(step % 3)), actor: "test"))
        default: return Bool.random(using: &random) ? .block(actor: "test") : .unblock(actor: "test")
        }
    }

    private func check(_ ledger: TestLedger) throws {
        #expect(ledger.isComplete, "a decision is appended whole")
        for account in ledger.accounts.values where !account.id.isBook {
            for (scope, state) in account.spending {
                for (window, counter) in state.counters {
                    #expect(counter.held >= .zero && counter.spent >= .zero, "\(scope) \(window)")
                    #expect(counter.held <= account.held, "\(scope) \(window): no more is held than is held")
                }
                #expect(SpendingState(state.text) == state)
            }
            if let cycle = account.cycle { #expect(cycle.from <= cycle.until) }
            let grants = account.openGrants + account.closedGrants.values
            for grant in grants { #expect(grant.remaining >= .zero && grant.remaining <= grant.amount) }
            let remaining = grants.reduce(Int128(0)) { $0 + Int128($1.remaining.nanos) }
            #expect(remaining - Int128(account.debt.nanos) == account.totals.balance)
            #expect(
                account.openGrants
                    == account.openGrants.sorted { left, right in
                        (left.pool.priority, left.expiresAt?.microseconds ?? .max, left.id)
                            < (right.pool.priority, right.expiresAt?.microseconds ?? .max, right.id)
                    })
            #expect(account.held.nanos == account.holds.values.reduce(0) { $0 + $1.placed.amount.nanos })
            let snapshot = account.snapshot()
            #expect(Account(id: account.id, snapshot: snapshot) == account, "a snapshot gives the account back")
        }
        // Folding anew gives the same.
        var folded: [AccountID: Account] = [:]
        for event in ledger.events where !event.account.isBook {
            folded[event.account, default: Account(id: event.account)].apply(
                event.event, effectiveAt: event.effectiveAt)
        }
        #expect(folded == ledger.accounts.filter { !$0.key.isBook })
    }

    @Test("every event is read back as it was written", arguments: seeds.prefix(10))
    func coding(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var ledger = try TestLedger.standard()
        try ledger.send(.setPlan(SetPlan(plan: .pro)))
        var requests = 0
        for step in 0..<150 {
            ledger.now = ledger.now.advanced(bySeconds: 100_000)
            _ = refusal { () throws(Refusal) in
                try ledger.send(Self.action(step, &requests, ledger, .alice, &random))
            }
        }
        for event in ledger.events {
            #expect(try LedgerEvent(type: event.event.type, data: event.event.encoded()) == event.event)
        }
    }
}
