/// The writer without its queue: what it knows in memory, and how one batch of commands becomes one transaction.
struct WriterCore {
    let store: any EventStore
    private let clock: @Sendable () -> Timestamp
    private let snapshotInterval: Int64
    private var head: LedgerHead
    private(set) var prices: PriceBook
    private(set) var plans: PlanBook
    private var cache: AccountCache
    private var scratch: [UInt8] = []
    private var rates = RateMeter()
    private let calendar: @Sendable (Timestamp) -> CalendarWindows

    init(
        store: any EventStore, configuration: LedgerWriter.Configuration, clock: @escaping @Sendable () -> Timestamp
    ) throws(StoreError) {
        self.store = store
        self.clock = clock
        snapshotInterval = max(1, configuration.snapshotInterval)
        calendar = configuration.calendar
        cache = AccountCache(capacity: configuration.cachedAccounts)
        head = try store.head()
        var prices = PriceBook()
        var plans = PlanBook()
        try store.write { transaction in
            for event in try transaction.book(.prices) { prices.apply(event.event, recordedAt: event.recordedAt) }
            for event in try transaction.book(.plans) { plans.apply(event.event, effectiveAt: event.effectiveAt) }
        }
        self.prices = prices
        self.plans = plans
    }

    /// What a batch has touched.
    private struct Touched {
        var accounts: [AccountID: AccountCache.Entry] = [:]
        var changes: [AccountID: AccountChanges] = [:]
    }

    /// Decides and appends a batch in one transaction; gives the answers, and the failure that undid them all.
    mutating func write(
        _ batch: [LedgerWriter.Submission]
    ) -> (results: [Result<Receipt, LedgerError>], failure: StoreError?) {
        let before = (head, prices, plans)
        var touched = Touched()
        var results: [Result<Receipt, LedgerError>] = []
        results.reserveCapacity(batch.count)
        // Commands of one batch count as simultaneous; recorded time never goes back, whatever the clock does.
        let now = max(clock(), head.recordedAt)
        do throws(StoreError) {
            try store.write { transaction in
                for submission in batch {
                    do throws(LedgerError) {
                        results.append(
                            .success(try decide(submission, at: now, in: transaction, touching: &touched)))
                    } catch {
                        if case .storageFailed(let failure) = error { throw failure }
                        results.append(.failure(error))
                    }
                }
                for (id, entry) in touched.accounts where !id.isBook {
                    guard let changes = touched.changes[id] else { continue }
                    try transaction.save(entry.account, changes)
                    if entry.account.version - entry.snapshotVersion >= snapshotInterval {
                        try transaction.save(snapshotOf: entry.account)
                        touched.accounts[id]?.snapshotVersion = entry.account.version
                    }
                }
            }
        } catch {
            // What was touched has been taken out of the cache: it is read again from what the disk really holds.
            (head, prices, plans) = before
            return (batch.map { _ in .failure(.storageFailed(error)) }, error)
        }
        for entry in touched.accounts.values { cache.put(entry) }
        return (results, nil)
    }

    private mutating func decide(
        _ submission: LedgerWriter.Submission, at now: Timestamp, in transaction: any EventTransaction,
        touching touched: inout Touched
    ) throws(LedgerError) -> Receipt {
        let command = submission.command
        if let key = submission.requestKey {
            switch command.action {
            case .placeHold, .recordDue: try check(key, in: transaction)
            default: break
            }
        }
        var entry = try take(command.account, in: transaction, touching: &touched)
        defer { touched.accounts[command.account] = entry }
        var prior: RecordedEvent?
        var main: RecordedEvent?
        // Nearly all requests are new: a hold is decided without a look for its key. Where that does not lead to one event that
        // the store takes, it is decided again with what lies under the key.
        var isOptimistic = command.isHold
        var (renewals, expiries) = (0, 0)
        while true {
            if !isOptimistic { prior = try self.prior(of: command, account: entry.account, in: transaction) }
            var recent: [LimitScope: RecentUse] = [:]
            if case .placeHold(let hold) = command.action, !entry.account.spending.isEmpty {
                recent = rates.recent(entry.account, keyID: hold.origin.keyID, at: now)
            }
            let context = Context(
                now: now, prices: prices, plans: plans, prior: prior,
                settlement: try settlement(for: command, in: transaction), recent: recent, calendar: calendar)
            let decision = Result { () throws(Refusal) in try entry.account.decide(command, in: context) }
            if isOptimistic, (try? decision.get().count) != 1 {
                isOptimistic = false
                continue
            }
            let drafts: [Draft]
            do throws(Refusal) {
                drafts = try decision.get()
            } catch {
                throw .refused(error)
            }
            let dueBefore = drafts.isEmpty ? nil : entry.account.nextDue
            for draft in drafts {
                guard let recorded = try append(draft, to: &entry.account, at: now, in: transaction) else {
                    if isOptimistic { break }
                    // A decision is appended whole or not at all.
                    throw .storageFailed(.corrupt("the key or the place of an event is taken"))
                }
                touched.changes[command.account, default: AccountChanges()].add(recorded)
                if !entry.account.spending.isEmpty {
                    touched.changes[command.account]?.spending = true
                    rates.note(draft.event, on: entry.account, at: now)
                }
                switch draft.event {
                case .renewalEvaluated: renewals += 1
                case .grantExpired: expiries += 1
                default: break
                }
                // What was due comes before the command's own event, which is the one under its key.
                if command.key.map({ $0 == draft.key }) ?? true { main = recorded }
            }
            if main != nil, entry.account.nextDue != dueBefore {
                touched.changes[command.account]?.cycle = true
            }
            if drafts.isEmpty || main != nil { break }
            guard isOptimistic else { throw .storageFailed(.corrupt("a decision lacks the event under its key")) }
            isOptimistic = false
        }
        let receipt = Receipt(
            event: main ?? prior, isRepeat: main == nil && prior != nil, balance: entry.account.balance(at: now),
            available: entry.account.available(at: now), renewals: renewals, expiries: expiries)
        try keep(submission, receipt: receipt, at: now, in: transaction)
        return receipt
    }

    private mutating func take(
        _ id: AccountID, in transaction: any EventTransaction, touching touched: inout Touched
    ) throws(LedgerError) -> AccountCache.Entry {
        if let entry = touched.accounts.removeValue(forKey: id) ?? cache.take(id) { return entry }
        let loaded = try storage { try transaction.account(id) }
        return AccountCache.Entry(account: loaded.account, snapshotVersion: loaded.snapshotVersion)
    }

    private func prior(
        of command: Command, account: Account, in transaction: any EventTransaction
    ) throws(LedgerError) -> RecordedEvent? {
        guard let key = command.key else { return nil }
        // A request whose hold is open has not been settled: that needs no look at the disk.
        switch command.action {
        case .charge(let charge) where account.holds[charge.request] != nil: return nil
        case .releaseHold(let release) where account.holds[release.request] != nil: return nil
        case .open where !account.isOpen: return nil
        default: return try storage { try transaction.event(key: key) }
        }
    }

    private func settlement(
        for command: Command, in transaction: any EventTransaction
    ) throws(LedgerError) -> RecordedEvent? {
        guard case .reverse(let reversal) = command.action else { return nil }
        return try storage { try transaction.event(key: Command.settlementKey(reversal.request)) }
    }

    /// Appends an event; nil, and nothing changed, where the store refuses its key.
    private mutating func append(
        _ draft: Draft, to account: inout Account, at now: Timestamp, in transaction: any EventTransaction
    ) throws(LedgerError) -> RecordedEvent? {
        let version: Int64
        switch account.id {
        case .prices: version = prices.version + 1
        case .plans: version = plans.version + 1
        default: version = account.version + 1
        }
        let recorded = RecordedEvent(
            position: head.position + 1, account: account.id, version: version, recordedAt: now,
            effectiveAt: draft.effectiveAt, key: draft.key, event: draft.event)
        let encoded = EncodedEvent(recorded, after: head.hash, buffer: &scratch)
        guard try storage({ try transaction.append(encoded) }) else { return nil }
        head = LedgerHead(position: recorded.position, recordedAt: now, hash: encoded.hash)
        switch account.id {
        case .prices: prices.apply(draft.event, recordedAt: now)
        case .plans: plans.apply(draft.event, effectiveAt: draft.effectiveAt)
        default: account.apply(draft.event, effectiveAt: draft.effectiveAt)
        }
        return recorded
    }

    // MARK: Clients' keys

    private func check(_ key: RequestKey, in transaction: any EventTransaction) throws(LedgerError) {
        guard let record = try storage({ try transaction.requestRecord(key) }) else { return }
        guard record.key.bodyHash == key.bodyHash else { throw .refused(.keyReused(key: key.key)) }
        throw record.isSettled ? .requestAnswered(record) : .requestUnderWay(record.request)
    }

    private func keep(
        _ submission: LedgerWriter.Submission, receipt: Receipt, at now: Timestamp, in transaction: any EventTransaction
    ) throws(LedgerError) {
        switch (submission.command.action, submission.requestKey, receipt.event?.event) {
        case (.placeHold(let hold), let key?, .holdPlaced):
            let record = RequestRecord(
                key: key, request: hold.request, createdAt: now, isSettled: false, answer: nil)
            try storage { try transaction.save(record) }
        case (.charge, let key?, .requestCharged(let charge)):
            let answer = submission.answer.map {
                StoredAnswer(
                    contentType: $0.contentType, body: $0.body, charged: charge.credits, balance: charge.balance)
            }
            let record = RequestRecord(
                key: key, request: charge.request, createdAt: now, isSettled: true, answer: answer)
            try storage { try transaction.save(record) }
        case (.releaseHold(let release), _, _):
            // A request that used nothing can be tried again under its key.
            try storage { try transaction.removeRequestRecord(of: release.request) }
        default: break
        }
    }

    private func storage<R>(_ body: () throws -> R) throws(LedgerError) -> R {
        do {
            return try body()
        } catch let error as StoreError {
            throw .storageFailed(error)
        } catch {
            throw .storageFailed(.failed(String(describing: error)))
        }
    }
}

extension Command {
    fileprivate var isHold: Bool {
        if case .placeHold = action { true } else { false }
    }
}
