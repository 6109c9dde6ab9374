import Ledger
import Logging
import Synchronization
import WireJSON

/// What providers may have billed, or did, and nobody was charged: counted since the process started, for the operator to see.
///
/// Two kinds. Requests that a provider had taken and that ended by our bounds with nothing delivered: what they cost is unknown, and was not charged.
/// And what a provider reported beyond what was held. An account that causes the first kind again and again at a provider is slowed there, and nobody else.
final class Exposure: Sendable {
    private struct State {
        var unbilled: Int64 = 0
        /// Nano-credits that were held for them.
        var unbilledHeld: Int128 = 0
        var charges: Int64 = 0
        var beyond: Int64 = 0
        var excess: Int128 = 0
        var excessPicoUSD: Int128 = 0
        var flags: [UsageFlag: Int64] = [:]
        /// When accounts caused requests of the first kind, within the last hour.
        var recent: [Cause: [ContinuousClock.Instant]] = [:]
    }

    private struct Cause: Hashable {
        let account: AccountID
        let provider: String
    }

    /// The most accounts at providers that are watched: those that were seen last.
    private static let watchedAccounts = 10_000

    private let state = Mutex(State())
    private let perHour: Int
    private let logger: Logger

    /// `perHour`: how many of the first kind an account may cause in an hour; 0: any number.
    init(perHour: Int, logger: Logger) {
        self.perHour = perHour
        self.logger = logger
    }

    /// Notes a request that a provider had taken, and that ended without a charge. `isAccounts`: whether it was the account's doing.
    func noteUnbilled(
        _ hold: HoldPlaced, of account: AccountID, _ reason: ReleaseReason, isAccounts: Bool,
        at now: ContinuousClock.Instant = .now
    ) {
        let cause = Cause(account: account, provider: Self.provider(of: hold))
        let count = state.withLock { state -> Int in
            state.unbilled += 1
            state.unbilledHeld += Int128(hold.amount.nanos)
            guard isAccounts else { return 0 }
            if state.recent[cause] == nil, state.recent.count >= Self.watchedAccounts {
                state.recent = state.recent.filter { now - ($0.value.last ?? now) < .seconds(3600) }
                if state.recent.count >= Self.watchedAccounts { state.recent.removeAll() }
            }
            var times = (state.recent[cause] ?? []).filter { now - $0 < .seconds(3600) }
            // More are not needed to know when the next may come.
            if times.count >= max(1, perHour) { times.removeFirst() }
            times.append(now)
            state.recent[cause] = times
            return times.count
        }
        logger.warning(
            "a provider may have billed a request that was not charged",
            metadata: [
                "request_id": "\(hold.request)", "account": "\(account)", "model": "\(hold.origin.model)",
                "reason": "\(reason.rawValue)", "held": "\(hold.amount)", "within_the_hour": "\(count)",
            ])
    }

    private static func provider(of hold: HoldPlaced) -> String { ModelKey(hold.origin.model)?.provider ?? "" }

    /// How long an account has to wait before its next request to a provider; nil: it need not.
    func delay(for account: AccountID, at provider: String, now: ContinuousClock.Instant = .now) -> Duration? {
        state.withLock { rest(of: $0.recent[Cause(account: account, provider: provider)] ?? [], at: now) }
    }

    private func rest(of times: [ContinuousClock.Instant], at now: ContinuousClock.Instant) -> Duration? {
        guard perHour > 0, times.count >= perHour, let first = times.first else { return nil }
        let rest = .seconds(3600) - (now - first)
        return rest > .zero ? rest : nil
    }

    /// Notes what was charged.
    func note(_ charge: RequestCharged, of account: AccountID) {
        let excess = charge.excess ?? .zero
        state.withLock { state in
            state.charges += 1
            for flag in charge.report.flags { state.flags[flag, default: 0] += 1 }
            guard excess > .zero else { return }
            state.beyond += 1
            state.excess += Int128(excess.nanos)
            state.excessPicoUSD += charge.excessPicoUSD
        }
        guard excess > .zero else { return }
        logger.warning(
            "a provider reported more than was held: what is beyond is not charged",
            metadata: [
                "request_id": "\(charge.request)", "account": "\(account)", "model": "\(charge.origin.model)",
                "charged": "\(charge.credits)", "excess": "\(excess)",
            ])
    }

    /// Writes the figures as an object.
    func write(to json: inout JSONWriter) {
        let figures = state.withLock { $0 }
        json.beginObject()
        json.field("unbilled_requests", figures.unbilled)
        json.field("unbilled_held_credits", Decimal64.text(figures.unbilledHeld, fractionDigits: 9))
        json.field("charges", figures.charges)
        json.field("beyond_bound", figures.beyond)
        json.field("excess_credits", Decimal64.text(figures.excess, fractionDigits: 9))
        json.field("excess_usd", Decimal64.text(figures.excessPicoUSD, fractionDigits: 12))
        json.name("flags")
        json.beginObject()
        for flag in UsageFlag.allCases {
            json.name(flag.rawValue)
            json.value(figures.flags[flag] ?? 0)
        }
        json.endObject()
        let now = ContinuousClock.now
        json.field("slowed_accounts", Int64(figures.recent.values.count { rest(of: $0, at: now) != nil }))
        json.endObject()
    }
}
