/// Where events are kept. A store also keeps what must never lag behind them: balances, snapshots and request keys.
///
/// Everything that decides is above the store; a store only remembers. `write` is called from one thread at a time.
public protocol EventStore: AnyObject, Sendable {
    /// Runs `body` in one transaction and makes it durable before it returns.
    ///
    /// Where it throws, nothing of the transaction has happened or ever will.
    func write(_ body: (any EventTransaction) throws -> Void) throws(StoreError)

    /// The requests that have an open hold, with their accounts.
    func openHolds() throws(StoreError) -> [(account: AccountID, request: RequestID)]

    /// Gives the events after a position, at most `limit` of them, in order.
    func events(after position: Int64, limit: Int) throws(StoreError) -> [RecordedEvent]

    /// The last event's position, instant and hash.
    func head() throws(StoreError) -> LedgerHead
}

/// What can be done inside a write transaction. Reads see what the transaction has written so far.
public protocol EventTransaction: AnyObject {
    /// Appends an event; false, and nothing appended, where its key, position or version exists: the store itself refuses that.
    func append(_ event: EncodedEvent) throws -> Bool
    /// The event under an idempotency key.
    func event(key: String) throws -> RecordedEvent?
    /// The account: its snapshot and the events since, and the version of that snapshot (0: there is none).
    func account(_ id: AccountID) throws -> (account: Account, snapshotVersion: Int64)
    /// Every event of one of the ledger's own streams.
    func book(_ id: AccountID) throws -> [RecordedEvent]
    /// Writes an account's balance, and what else of it has changed.
    func save(_ account: Account, _ changes: AccountChanges) throws
    func save(snapshotOf account: Account) throws
    func requestRecord(_ key: RequestKey) throws -> RequestRecord?
    func save(_ record: RequestRecord) throws
    /// Forgets a request key, so that the request can be tried again.
    func removeRequestRecord(of request: RequestID) throws
}

/// The end of the ledger.
public struct LedgerHead: Hashable, Sendable {
    public var position: Int64
    public var recordedAt: Timestamp
    public var hash: EventHash

    public init(position: Int64, recordedAt: Timestamp, hash: EventHash) {
        self.position = position
        self.recordedAt = recordedAt
        self.hash = hash
    }

    /// The head of a ledger without events.
    public static let empty = LedgerHead(
        position: 0, recordedAt: Timestamp(microseconds: .min), hash: .genesis)
}

/// An event with the exact bytes that are stored and hashed.
public struct EncodedEvent: Sendable {
    public let recorded: RecordedEvent
    public let type: String
    public let data: [UInt8]
    public let hash: EventHash

    /// Encodes an event and links it to the chain.
    public init(_ recorded: RecordedEvent, after previous: EventHash, buffer: inout [UInt8]) {
        let data = recorded.event.encoded()
        var type = recorded.event.type
        var account = recorded.account.rawValue
        var key = recorded.key
        let hash = account.withUTF8 { account in
            key.withUTF8 { key in
                type.withUTF8 { type in
                    data.withUnsafeBufferPointer { data in
                        previous.next(
                            StoredBytes(
                                position: recorded.position, version: recorded.version,
                                recordedAt: recorded.recordedAt.microseconds,
                                effectiveAt: recorded.effectiveAt.microseconds, account: account, type: type,
                                key: key, data: data), buffer: &buffer)
                    }
                }
            }
        }
        self.recorded = recorded
        self.type = type
        self.data = data
        self.hash = hash
    }
}

/// Why a store could not do what it was asked to.
public enum StoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// There is no room left. Writing can succeed again when there is.
    case full(String)
    /// What was written could not be made durable. What the disk holds is unknown: no more may be written until a restart.
    case syncFailed(String)
    /// Any other failure of the storage.
    case failed(String)
    /// The store contradicts itself or what the writer knows.
    case corrupt(String)

    public var description: String {
        switch self {
        case .full(let detail): "the disk is full: \(detail)"
        case .syncFailed(let detail): "the disk could not make data durable: \(detail)"
        case .failed(let detail): "the storage failed: \(detail)"
        case .corrupt(let detail): "the ledger is corrupt: \(detail)"
        }
    }
}

/// A client's own key for a request to a model (the header `Idempotency-Key`), and what the request was.
public struct RequestKey: Hashable, Sendable {
    public let account: AccountID
    public let key: String
    /// The SHA-256 of the route and of the body.
    public let bodyHash: [UInt8]

    public init(account: AccountID, key: String, bodyHash: [UInt8]) {
        self.account = account
        self.key = key
        self.bodyHash = bodyHash
    }
}

/// A finished answer that is given again to the same request under the same key.
public struct StoredAnswer: Hashable, Sendable {
    public let contentType: String
    public let body: [UInt8]
    public let charged: Credits
    public let balance: Credits

    public init(contentType: String, body: [UInt8], charged: Credits, balance: Credits) {
        self.contentType = contentType
        self.body = body
        self.charged = charged
        self.balance = balance
    }
}

/// What became of a request under a client's key.
///
/// These records are no events: they lie in an ordinary table, and are forgotten after a day. That the request is charged once
/// does not depend on them alone: its id settles once.
public struct RequestRecord: Hashable, Sendable {
    public let key: RequestKey
    public let request: RequestID
    public let createdAt: Timestamp
    /// False while the request is under way.
    public let isSettled: Bool
    /// nil while it is under way, and where the answer cannot be given again (it was a stream, or too long).
    public let answer: StoredAnswer?

    public init(key: RequestKey, request: RequestID, createdAt: Timestamp, isSettled: Bool, answer: StoredAnswer?) {
        self.key = key
        self.request = request
        self.createdAt = createdAt
        self.isSettled = isSettled
        self.answer = answer
    }
}
