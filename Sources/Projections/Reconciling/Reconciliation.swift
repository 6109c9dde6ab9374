public import Ledger

/// Our charges against a provider's usage export, by day and model.
///
/// Two tolerances. Midnight: a provider may count a request on the day on which it began, and we on that on which it was settled; so what
/// was settled in the first minutes of a day may be missing on it there, and be on the day before. And a small part of the tokens, by
/// default none.
public struct Reconciliation: Sendable {
    /// How long after midnight a request may have been settled that began before.
    public static let midnightSeconds: Int64 = 900

    public enum Verdict: String, Sendable, CaseIterable {
        case equal
        /// The difference is no larger than what was settled right after midnight.
        case midnight
        /// The difference is within the part that is tolerated.
        case tolerated
        case differs
        /// Only in the file.
        case onlyThere = "only_there"
        /// Only in the ledger.
        case onlyHere = "only_here"

        public var isFine: Bool { self == .equal || self == .midnight || self == .tolerated }
    }

    /// A day and a model.
    public struct Line: Sendable {
        public let key: UsageKey
        public let here: UsageTally
        public let there: UsageTally
        public let verdict: Verdict
        /// Of ours: requests whose usage is our estimate, and such that were interrupted by a crash and not charged.
        public let estimated: Int64
        /// Of ours: what these cost beyond what was held, in pico-USD. It is in the provider's bill and in nobody's charge.
        public let excessPicoUSD: Int128
        public let interrupted: Int64
    }

    private let provider: String
    private let there: ProviderUsage
    private let models: Set<String>
    private let days: ClosedRange<Int64>?
    /// Parts per million of the tokens that are tolerated.
    private let partsPerMillion: Int64
    private var here: [UsageKey: Ours] = [:]

    private struct Ours {
        var tally = UsageTally(requests: 0)
        /// What of it was settled right after midnight.
        var early = UsageTally(requests: 0)
        var estimated: Int64 = 0
        var excessPicoUSD: Int128 = 0
        var interrupted: Int64 = 0
    }

    /// `provider` is what stands before the colon in our models' names. Without a `period` it is about the days from the file's first to its
    /// last.
    public init(
        provider: String, with there: ProviderUsage, period: ClosedRange<Int64>? = nil, partsPerMillion: Int64 = 0
    ) {
        self.provider = provider
        self.there = there
        self.partsPerMillion = partsPerMillion
        models = Set(there.tallies.keys.map(\.model))
        let days = there.tallies.keys.map(\.day)
        self.days = period ?? days.min().flatMap { first in days.max().map { first...$0 } }
    }

    /// The days that are compared; nil: none.
    public var period: ClosedRange<Int64>? { days }

    /// How many days and models of the file lie outside of them.
    public var outside: Int { there.tallies.keys.count { !(days?.contains($0.day) ?? false) } }

    /// Rows of the file that name no model and count something, and what they count: it is compared with nothing.
    public var unnamed: (rows: Int64, tally: UsageTally) { (there.unnamedRows, there.unnamed) }

    /// Whether all agrees.
    public var agrees: Bool { there.unnamedRows == 0 && lines().allSatisfy(\.verdict.isFine) }

    /// Adds an event of the ledger.
    public mutating func add(_ event: RecordedEvent) {
        let day = event.recordedAt.utcDay
        // The day behind the last one tells what of its requests the provider may have counted before.
        guard let days, day >= days.lowerBound, day <= days.upperBound + 1 else { return }
        switch event.event {
        case .requestCharged(let charge):
            guard let key = key(charge.origin.model, charge.report.servedModel, day) else { return }
            let usage = charge.report.usage
            let tally = UsageTally(
                requests: 1, prompt: usage.prompt, cached: usage.cached, completion: usage.completion)
            var ours = here[key] ?? Ours()
            ours.tally.add(tally)
            if Self.isEarly(event.recordedAt, day) { ours.early.add(tally) }
            if charge.report.isEstimated { ours.estimated += 1 }
            ours.excessPicoUSD += charge.excessPicoUSD
            here[key] = ours
        case .holdReleased(let release) where release.reason == .interrupted:
            guard let key = key(release.origin.model, nil, day) else { return }
            here[key, default: Ours()].interrupted += 1
        default: break
        }
    }

    private static func isEarly(_ instant: Timestamp, _ day: Int64) -> Bool {
        let start = day.multipliedReportingOverflow(by: 86_400_000_000).partialValue
        return instant.microseconds &- start < midnightSeconds * 1_000_000
    }

    /// The name under which the provider's file has a model: the one that answered, where the file knows it, else the one asked for.
    private func key(_ model: String, _ served: String?, _ day: Int64) -> UsageKey? {
        guard let name = ModelKey(model), name.provider == provider else { return nil }
        if let served, models.contains(served) { return UsageKey(day: day, model: served) }
        return UsageKey(day: day, model: name.model)
    }

    /// The lines, by day and model.
    public func lines() -> [Line] {
        guard let days else { return [] }
        let keys = Set(there.tallies.keys).union(here.keys).filter { days.contains($0.day) }
        return keys.sorted().compactMap { key in
            let ours = here[key] ?? Ours()
            let theirs = there.tallies[key]
            if theirs == nil, ours.tally.requests == 0 { return nil }
            let next = here[UsageKey(day: key.day + 1, model: key.model)]?.early ?? UsageTally()
            return Line(
                key: key, here: ours.tally, there: theirs ?? UsageTally(),
                verdict: verdict(ours, theirs, next), estimated: ours.estimated,
                excessPicoUSD: ours.excessPicoUSD, interrupted: ours.interrupted)
        }
    }

    private func verdict(_ ours: Ours, _ theirs: UsageTally?, _ next: UsageTally) -> Verdict {
        if theirs == nil, ours.tally.requests != ours.early.requests { return .onlyHere }
        if ours.tally.requests == 0, next.requests ?? 0 == 0 { return .onlyThere }
        // Where the file has no row, it counts nothing.
        let theirs = theirs ?? UsageTally(requests: 0)
        let pairs: [(here: Int64, there: Int64, early: Int64, late: Int64)] = figures(
            ours.tally, theirs, ours.early, next)
        if pairs.allSatisfy({ $0.here == $0.there }) { return .equal }
        let isMidnight = pairs.allSatisfy { pair in
            pair.there >= pair.here - pair.early && pair.there <= UsageDay.sum(pair.here, pair.late)
        }
        if isMidnight { return .midnight }
        let isTolerated = pairs.allSatisfy { pair in
            let slack = Int128(max(pair.here, pair.there)) * Int128(partsPerMillion) / 1_000_000
            return Int128(pair.there) >= Int128(pair.here) - Int128(pair.early) - slack
                && Int128(pair.there) <= Int128(pair.here) + Int128(pair.late) + slack
        }
        return isTolerated ? .tolerated : .differs
    }

    private func figures(
        _ here: UsageTally, _ there: UsageTally, _ early: UsageTally, _ late: UsageTally
    ) -> [(here: Int64, there: Int64, early: Int64, late: Int64)] {
        var pairs = [
            (here.prompt, there.prompt, early.prompt, late.prompt),
            (here.completion, there.completion, early.completion, late.completion),
        ]
        if self.there.countsCached { pairs.append((here.cached, there.cached, early.cached, late.cached)) }
        if self.there.countsRequests {
            pairs.append((here.requests ?? 0, there.requests ?? 0, early.requests ?? 0, late.requests ?? 0))
        }
        return pairs.map { (here: $0.0, there: $0.1, early: $0.2, late: $0.3) }
    }
}
