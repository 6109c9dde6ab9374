public import Ledger

/// What happened to an account's credits in a period: opening + movements = closing.
///
/// By the time from which events count, which is what people saw: what expired at midnight expired then, whenever it was recorded. What
/// is due in the period and not yet recorded is in it all the same, and marked: the events are the same whenever they are.
public struct AccountStatement: Sendable {
    /// Why credits came or went, but for charges.
    public enum Kind: String, Sendable, CaseIterable {
        case granted, expired
        /// What expired, and may still be used by a request that was under way: it is no part of the balance. If the request uses it in a later
        /// period, it comes back there for that.
        case deferred
        case reversed, refunded, withdrawn
    }

    /// One movement.
    public struct Line: Hashable, Sendable {
        public let at: Timestamp
        public let kind: Kind
        /// Nano-credits; below zero: gone.
        public let credits: Int128
        /// The grant that came or expired.
        public let grant: GrantID?
        public let terms: GrantTerms?
        public let expiresAt: Timestamp?
        /// A payment or a request.
        public let reference: String?
        public let reason: String?
        /// Whether it is due and will be recorded at the next touch of the account.
        public let isPending: Bool
    }

    /// The charges of a day for a model.
    public struct Charges: Hashable, Sendable {
        public fileprivate(set) var requests: Int64 = 0
        public fileprivate(set) var promptTokens: Int64 = 0
        public fileprivate(set) var cachedTokens: Int64 = 0
        public fileprivate(set) var completionTokens: Int64 = 0
        public fileprivate(set) var costPicoUSD: Int128 = 0
        /// Nano-credits.
        public fileprivate(set) var credits: Int128 = 0

        fileprivate mutating func add(_ charge: RequestCharged) {
            let usage = charge.report.usage
            requests = UsageDay.sum(requests, 1)
            promptTokens = UsageDay.sum(promptTokens, usage.prompt)
            cachedTokens = UsageDay.sum(cachedTokens, usage.cached)
            completionTokens = UsageDay.sum(completionTokens, usage.completion)
            costPicoUSD = UsageDay.sum(costPicoUSD, charge.chargedPicoUSD)
            credits = UsageDay.sum(credits, Int128(charge.credits.nanos))
        }

        fileprivate mutating func add(_ other: Charges) {
            requests = UsageDay.sum(requests, other.requests)
            promptTokens = UsageDay.sum(promptTokens, other.promptTokens)
            cachedTokens = UsageDay.sum(cachedTokens, other.cachedTokens)
            completionTokens = UsageDay.sum(completionTokens, other.completionTokens)
            costPicoUSD = UsageDay.sum(costPicoUSD, other.costPicoUSD)
            credits = UsageDay.sum(credits, other.credits)
        }
    }

    public let account: AccountID
    /// The first instant of the period, and the first behind it.
    public let from: Timestamp
    public let until: Timestamp
    public fileprivate(set) var plan: String?
    /// Nano-credits.
    public fileprivate(set) var opening: Int128 = 0
    public fileprivate(set) var lines: [Line] = []
    fileprivate var byDay: [Int64: [String: Charges]] = [:]
    /// The balance at the end as the fold of the account gives it (``Account/balance(at:)``), in nano-credits: not the sum of the lines.
    public fileprivate(set) var closing: Int128 = 0
    /// The versions of the account's events in the period; nil: there is none.
    public fileprivate(set) var versions: ClosedRange<Int64>?

    /// The charges by day, then by model.
    public var charges: [(day: Int64, model: String, sum: Charges)] {
        byDay.sorted { $0.key < $1.key }.flatMap { day in
            day.value.sorted { $0.key < $1.key }.map { (day.key, $0.key, $0.value) }
        }
    }

    /// The charges by model.
    public var models: [(model: String, sum: Charges)] {
        var sums: [String: Charges] = [:]
        for day in byDay.values { for (model, sum) in day { sums[model, default: Charges()].add(sum) } }
        return sums.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    public var charged: Charges {
        byDay.values.reduce(into: Charges()) { sum, day in for part in day.values { sum.add(part) } }
    }

    /// What lines of a kind come to, in nano-credits.
    public func sum(of kind: Kind) -> Int128 { lines.reduce(0) { $1.kind == kind ? $0 + $1.credits : $0 } }

    /// Whether opening + movements = closing.
    public var isBalanced: Bool {
        opening + lines.reduce(0) { $0 + $1.credits } - charged.credits == closing
    }

    fileprivate init(account: AccountID, from: Timestamp, until: Timestamp) {
        self.account = account
        self.from = from
        self.until = until
    }
}

/// Makes a statement out of an account's events, in memory that does not depend on how many there are.
public struct StatementBuilder: Sendable {
    private var statement: AccountStatement
    private var folded: Account
    /// The account as it was when the period began.
    private var before: Account
    private var lastRecorded = Timestamp(microseconds: .min)
    /// What grants are, of the account's.
    private var terms: [GrantID: GrantTerms] = [:]

    public init(account: AccountID, from: Timestamp, until: Timestamp) {
        statement = AccountStatement(account: account, from: from, until: until)
        folded = Account(id: account)
        before = folded
    }

    /// Adds the account's next event.
    public mutating func add(_ event: RecordedEvent) {
        guard event.effectiveAt < statement.until else { return }
        // What was imported counts from before the account was opened, and moves nothing.
        if case .usageImported = event.event { return }
        add(event.event, event.effectiveAt, version: event.version, isPending: false)
        lastRecorded = max(lastRecorded, event.recordedAt)
        if event.effectiveAt >= statement.from {
            let first = statement.versions?.lowerBound ?? event.version
            statement.versions = min(first, event.version)...max(statement.versions?.upperBound ?? 0, event.version)
        }
    }

    private mutating func add(_ event: LedgerEvent, _ at: Timestamp, version: Int64, isPending: Bool) {
        folded.apply(event, effectiveAt: at)
        if at < statement.from { before.apply(event, effectiveAt: at) }
        if case .creditsGranted(let grant) = event {
            terms[version] = GrantTerms(pool: grant.pool, source: grant.source)
        }
        guard at >= statement.from else { return }
        if case .requestCharged(let charge) = event {
            statement.byDay[at.utcDay, default: [:]][charge.origin.model, default: .init()].add(charge)
            return
        }
        if let line = line(event, at, version, isPending) { statement.lines.append(line) }
    }

    private func line(
        _ event: LedgerEvent, _ at: Timestamp, _ version: Int64, _ isPending: Bool
    ) -> AccountStatement.Line? {
        func line(
            _ kind: AccountStatement.Kind, _ credits: Int128, grant: GrantID? = nil, expiresAt: Timestamp? = nil,
            reference: String? = nil, reason: String? = nil
        ) -> AccountStatement.Line {
            AccountStatement.Line(
                at: at, kind: kind, credits: credits, grant: grant, terms: grant.flatMap { terms[$0] },
                expiresAt: expiresAt, reference: reference, reason: reason, isPending: isPending)
        }
        switch event {
        case .creditsGranted(let event):
            return line(
                .granted, Int128(event.amount.nanos), grant: version, expiresAt: event.expiresAt,
                reference: event.reference, reason: event.reason)
        case .grantExpired(let event): return line(.expired, -Int128(event.amount.nanos), grant: event.grant)
        case .chargeReversed(let event):
            return line(
                .reversed, Int128(event.amount.nanos), reference: event.request.rawValue, reason: event.reason)
        case .creditsWithdrawn(let event):
            return line(.withdrawn, -Int128(event.amount.nanos), reason: event.reason)
        case .paymentRefunded(let event):
            let taken = event.taken.reduce(Int128(event.debtAdded.nanos)) { $0 + Int128($1.amount.nanos) }
            return line(.refunded, -taken, reference: event.payment.rawValue, reason: event.reason)
        default: return nil
        }
    }

    /// The statement, with what is due by `now` and in the period; nil where the account was not open in it.
    public mutating func finish(now: Timestamp, plans: PlanBook) -> AccountStatement? {
        guard folded.isOpen else { return nil }
        // The end, as far as it has come: a clock may be behind the ledger's.
        let end = min(Timestamp(microseconds: statement.until.microseconds &- 1), max(now, lastRecorded))
        for draft in folded.due(at: end, plans: plans) {
            add(draft.event, draft.effectiveAt, version: folded.version + 1, isPending: true)
        }
        let opening = min(Timestamp(microseconds: statement.from.microseconds &- 1), end)
        let (lapsed, deferred) = (before.deferred(at: opening), folded.deferred(at: end))
        for grant in Set(lapsed.keys).union(deferred.keys) {
            let change = Int128((lapsed[grant] ?? .zero).nanos) - Int128((deferred[grant] ?? .zero).nanos)
            guard change != 0 else { continue }
            let expiry = folded.grant(grant)?.expiresAt ?? statement.from
            statement.lines.append(
                AccountStatement.Line(
                    at: max(expiry, statement.from), kind: .deferred, credits: change, grant: grant,
                    terms: terms[grant], expiresAt: expiry, reference: nil, reason: nil, isPending: false))
        }
        func sum(_ parts: [GrantID: Credits]) -> Int128 { parts.values.reduce(0) { $0 + Int128($1.nanos) } }
        statement.opening = before.totals.balance - sum(lapsed)
        // By the grants that are left, and not by the sums that the lines are of.
        statement.closing = Int128(folded.balance(at: end).nanos)
        statement.plan = folded.plan
        statement.lines.sort { ($0.at, $0.grant ?? .max) < ($1.at, $1.grant ?? .max) }
        return statement
    }
}
