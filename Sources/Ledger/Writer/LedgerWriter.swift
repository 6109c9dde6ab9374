import Dispatch
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// What became of a command.
public struct Receipt: Sendable {
    /// The command's main event: just appended, or recorded before under the same key; nil where nothing had to happen.
    public let event: RecordedEvent?
    /// True where the event had been recorded before.
    public let isRepeat: Bool
    /// The account's posted balance after the command.
    public let balance: Credits
    /// What a new hold could take after the command.
    public let available: Credits
    /// How many cycles began, and how many grants expired, with the command.
    public let renewals: Int
    public let expiries: Int
}

/// Why a command has had no effect.
public enum LedgerError: Error, Hashable, Sendable {
    /// The rules refuse it.
    case refused(Refusal)
    /// A request with this client's key is under way.
    case requestUnderWay(RequestID)
    /// A request with this client's key has been settled: here is what became of it.
    case requestAnswered(RequestRecord)
    /// As many commands wait as may; nothing was done, and it can be tried again soon.
    case queueFull
    /// The storage failed; nothing was appended.
    case storageFailed(StoreError)
    /// The writer is closed, or has stopped writing after ``StoreError/syncFailed(_:)``.
    case stopped
}

/// How the writer is.
public enum WriterHealth: Hashable, Sendable {
    case healthy
    /// The last write failed; the next may succeed.
    case failing(StoreError)
    /// No more is written until the process is restarted.
    case stopped(StoreError)
    case closed
}

/// The one writer of a ledger: decides commands in the order in which they come, and answers when what they led to is on disk.
///
/// All commands that wait are decided and appended in one transaction with one fsync; while it runs, the next ones gather. A
/// command is answered only after its transaction is durable. Commands do not follow their caller's cancellation: once
/// submitted, a command runs to its end.
public final class LedgerWriter: Sendable {
    /// The bounds of a writer.
    public struct Configuration: Sendable {
        /// How many commands may wait. Settlements are taken beyond it: there are never more than open holds.
        public var queueLimit = 4096
        /// How many commands are written in one transaction at most.
        public var batchLimit = 1024
        /// How many accounts are kept in memory.
        public var cachedAccounts = 100_000
        /// After how many events an account's snapshot is renewed.
        public var snapshotInterval: Int64 = 256
        /// The day and the month of an instant, by which spending is counted.
        public var calendar: @Sendable (Timestamp) -> CalendarWindows = CalendarWindows.utc(at:)

        public init() {}
    }

    struct Submission {
        let command: Command
        let requestKey: RequestKey?
        let answer: PendingAnswer?
        let reply: @Sendable (Result<Receipt, LedgerError>) -> Void
    }

    private struct State {
        var waiting: [Submission] = []
        var isScheduled = false
        var health = WriterHealth.healthy
        var prices = PriceBook()
        var plans = PlanBook()
    }

    private let configuration: Configuration
    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "ledger.writer", qos: .userInitiated)
    /// Used on `queue` only.
    private let core: Mutex<WriterCore>

    /// Opens a writer on a store: reads the end of the ledger and the books, no history of accounts.
    ///
    /// `clock` gives the time; the writer never lets recorded time go back.
    public init(
        store: any EventStore, configuration: Configuration = Configuration(),
        clock: @escaping @Sendable () -> Timestamp
    ) throws(StoreError) {
        self.configuration = configuration
        let core = try WriterCore(store: store, configuration: configuration, clock: clock)
        let (prices, plans) = (core.prices, core.plans)
        self.core = Mutex(core)
        state.withLock { state in
            state.prices = prices
            state.plans = plans
        }
    }

    public var health: WriterHealth { state.withLock { $0.health } }

    /// How many commands wait.
    public var queueLength: Int { state.withLock { $0.waiting.count } }

    /// The price book as of the last committed batch.
    public var prices: PriceBook { state.withLock { $0.prices } }

    /// The plans on offer as of the last committed batch.
    public var plans: PlanBook { state.withLock { $0.plans } }

    // MARK: Commands

    /// Decides a command and appends what it leads to; answers when that is durable.
    ///
    /// The same key with the same content answers what it answered before, for ever.
    public func submit(_ command: Command) async throws(LedgerError) -> Receipt {
        try await submit(command, requestKey: nil, answer: nil)
    }

    /// Admits a request, under the client's own key where it has sent one.
    ///
    /// A key that is known answers ``LedgerError/requestUnderWay(_:)``, ``LedgerError/requestAnswered(_:)`` or, for another
    /// body, ``Refusal/keyReused(key:)``, and places no hold. The key is recorded in the hold's own transaction.
    public func admit(
        _ hold: PlaceHold, account: AccountID, key: RequestKey?
    ) async throws(LedgerError) -> Receipt {
        try await submit(Command(account: account, action: .placeHold(hold)), requestKey: key, answer: nil)
    }

    /// Tells of a client's key what ``admit(_:account:key:)`` would tell, and admits nothing; returns where the key is not known.
    public func look(for key: RequestKey) async throws(LedgerError) {
        _ = try await submit(Command(account: key.account, action: .recordDue), requestKey: key, answer: nil)
    }

    /// Charges a request, and keeps its answer under the client's key in the same transaction.
    public func charge(
        _ charge: ChargeRequest, account: AccountID, key: RequestKey?, answer: PendingAnswer?
    ) async throws(LedgerError) -> Receipt {
        try await submit(Command(account: account, action: .charge(charge)), requestKey: key, answer: answer)
    }

    private func submit(
        _ command: Command, requestKey: RequestKey?, answer: PendingAnswer?
    ) async throws(LedgerError) -> Receipt {
        // Not withTaskCancellationHandler: a client that leaves must not undo a settlement.
        let result: Result<Receipt, LedgerError> = await withCheckedContinuation { continuation in
            enqueue(
                Submission(command: command, requestKey: requestKey, answer: answer) {
                    continuation.resume(returning: $0)
                })
        }
        return try result.get()
    }

    /// Decides commands in their order and waits until what they led to is durable; for tools that have many, such as an import.
    ///
    /// As many share a transaction as may. It blocks its thread, so it must not be called on one of Swift's own pool. Give at most
    /// ``Configuration/queueLimit`` commands: what does not fit is answered ``LedgerError/queueFull``.
    public func submitAndWait(_ commands: [Command]) -> [Result<Receipt, LedgerError>] {
        if commands.isEmpty { return [] }
        let answers = Answers(count: commands.count)
        for (index, command) in commands.enumerated() {
            enqueue(Submission(command: command, requestKey: nil, answer: nil) { answers.put($0, at: index) })
        }
        return answers.wait()
    }

    private func enqueue(_ submission: Submission) {
        let refusal: LedgerError? = state.withLock { state in
            switch state.health {
            case .closed, .stopped: return .stopped
            case .healthy, .failing: break
            }
            if state.waiting.count >= configuration.queueLimit, !submission.command.isSettlement { return .queueFull }
            state.waiting.append(submission)
            if !state.isScheduled {
                state.isScheduled = true
                queue.async { self.drain() }
            }
            return nil
        }
        if let refusal { submission.reply(.failure(refusal)) }
    }

    /// Releases every hold that a process before this one left open, and says how many and how much they held.
    ///
    /// To be called before the first request is admitted. What the upstream billed for them is unknown: unbilled exposure.
    public func releaseInterruptedHolds() async throws(LedgerError) -> (count: Int, credits: Int128) {
        let holds: [(account: AccountID, request: RequestID)]
        do throws(StoreError) {
            holds = try core.withLock { core throws(StoreError) in try core.store.openHolds() }
        } catch {
            throw .storageFailed(error)
        }
        var credits: Int128 = 0
        for hold in holds {
            let release = ReleaseHold(request: hold.request, reason: .interrupted)
            let receipt = try await submit(Command(account: hold.account, action: .releaseHold(release)))
            if case .holdReleased(let event) = receipt.event?.event { credits += Int128(event.amount.nanos) }
        }
        return (holds.count, credits)
    }

    /// Writes what waits, then refuses everything. Answers when the last transaction is durable.
    public func close() async {
        await withCheckedContinuation { continuation in
            state.withLock { if case .stopped = $0.health {} else { $0.health = .closed } }
            queue.async { continuation.resume() }
        }
    }

    // MARK: The queue's thread

    private func drain() {
        var answered = 0
        while true {
            gather(after: answered)
            let batch: [Submission] = state.withLock { state in
                let batch = Array(state.waiting.prefix(configuration.batchLimit))
                state.waiting.removeFirst(batch.count)
                if batch.isEmpty { state.isScheduled = false }
                return batch
            }
            if batch.isEmpty { return }
            if case .stopped = health {
                for submission in batch { submission.reply(.failure(.stopped)) }
                continue
            }
            let ((results, failure), prices, plans) = core.withLock { core in
                let written = core.write(batch)
                return ((written.results, written.failure), core.prices, core.plans)
            }
            state.withLock { state in
                state.prices = prices
                state.plans = plans
                switch (failure, state.health) {
                case (.syncFailed(let detail)?, _): state.health = .stopped(.syncFailed(detail))
                case (.corrupt(let detail)?, _): state.health = .stopped(.corrupt(detail))
                case (let failure?, .healthy), (let failure?, .failing): state.health = .failing(failure)
                case (nil, .failing): state.health = .healthy
                default: break
                }
            }
            for (submission, result) in zip(batch, results) { submission.reply(result) }
            answered = batch.count
        }
    }

    /// Waits for an instant, for as long as commands keep coming in, after several were answered at once.
    ///
    /// Callers that were answered together often come again together. Taken at once, the first few of them would be written alone, and
    /// the others wait for a transaction of their own: two groups for ever, and twice the fsyncs. A single caller is never waited for.
    private func gather(after answered: Int) {
        guard answered > 1 else { return }
        var waiting = queueLength
        let expected = min(waiting + answered, configuration.batchLimit)
        for _ in 0..<10 where waiting < expected {
            usleep(40)
            let now = queueLength
            if now == waiting { return }
            waiting = now
        }
    }
}

/// The answers to commands that were submitted together, gathered until the last is there.
private final class Answers: Sendable {
    private let results: Mutex<[Result<Receipt, LedgerError>]>
    private let left: Mutex<Int>
    private let isComplete = DispatchSemaphore(value: 0)

    init(count: Int) {
        // What is never answered was never decided; every place is filled before anybody reads.
        let unanswered: [Result<Receipt, LedgerError>] = Array(repeating: .failure(.stopped), count: count)
        results = Mutex(unanswered)
        left = Mutex(count)
    }

    func put(_ result: Result<Receipt, LedgerError>, at index: Int) {
        results.withLock { $0[index] = result }
        let isLast = left.withLock { left in
            left -= 1
            return left == 0
        }
        if isLast { isComplete.signal() }
    }

    func wait() -> [Result<Receipt, LedgerError>] {
        isComplete.wait()
        return results.withLock { $0 }
    }
}

/// An answer that is kept with its charge; the charge's own figures are added to it.
public struct PendingAnswer: Hashable, Sendable {
    public let contentType: String
    public let body: [UInt8]

    public init(contentType: String, body: [UInt8]) {
        self.contentType = contentType
        self.body = body
    }
}
