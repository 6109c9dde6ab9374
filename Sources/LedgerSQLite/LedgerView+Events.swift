import GRDB
public import Ledger

// Single events, and places in the ledger.

/// An event with the exact bytes that its hash is of.
public struct StoredEvent: Hashable, Sendable {
    public let event: RecordedEvent
    public let hash: EventHash
    /// Its canonical bytes (ARCHITECTURE.md, "The hash chain").
    public let canonical: [UInt8]
}

extension LedgerView {
    /// The event that settled a request.
    public func settlement(of request: RequestID) -> RecordedEvent? {
        guard let statement = try? eventByKey.get() else { return nil }
        statement.bind("settle:" + request.rawValue, at: 1)
        return (try? statement.first { row throws(StoreError) in try row.decodedEvent() }) ?? nil
    }

    /// The position of the event under an idempotency key; nil where there is none.
    public func position(ofKey key: String) throws -> Int64? {
        let statement = try eventByKey.get()
        statement.bind(key, at: 1)
        return try statement.first { row throws(StoreError) in row.integer(0) }
    }

    /// An account's event of a version; nil where it has no such.
    public func event(of account: AccountID, version: Int64) throws -> RecordedEvent? {
        let statement = try eventByVersion.get()
        statement.bind(account.rawValue, at: 1)
        statement.bind(version, at: 2)
        return try statement.first { row throws(StoreError) in try row.decodedEvent() }
    }

    /// Every event of the ledger's own streams, prices and plans, in the order of positions.
    public func bookEvents() throws -> [RecordedEvent] {
        var events: [RecordedEvent] = []
        for book in [AccountID.prices, .plans] {
            try scan(account: book) { row, _ in
                events.append(try row.decoded())
                return true
            }
        }
        return events.sorted { $0.position < $1.position }
    }

    /// Gives each account's events one behind the other, in the order of versions; not those of the ledger's own streams.
    public func scanByAccount(_ body: (StoredBytes) throws -> Void) throws {
        let statement = try Statement(
            db.sqliteConnection,
            "SELECT \(Statement.eventColumns) FROM events WHERE account NOT IN ('$prices', '$plans') ORDER BY account, version"
        )
        defer { statement.reset() }
        while try statement.step() { try body(statement.event) }
    }

    /// The requests of which a charge was given back, whole or in part.
    public func reversedRequests() throws -> Set<RequestID> {
        let statement = try Statement(
            db.sqliteConnection, "SELECT \(Statement.eventColumns) FROM events WHERE type LIKE 'charge_reversed.%'")
        var requests: Set<RequestID> = []
        try statement.forEach { row throws(StoreError) in
            if case .chargeReversed(let event) = try row.decodedEvent().event { requests.insert(event.request) }
        }
        return requests
    }

    /// The event at a position, with its bytes; nil where there is none.
    public func event(at position: Int64) throws -> StoredEvent? {
        let previous = position > 1 ? try hash(at: position - 1) : .genesis
        guard position > 0, let previous else { return nil }
        let statement = try Statement(
            db.sqliteConnection, "SELECT \(Statement.eventColumns) FROM events WHERE position = ?")
        statement.bind(position, at: 1)
        return try statement.first { row throws(StoreError) in
            guard let hash = EventHash(bytes: row.eventHash) else {
                throw .corrupt("event \(position) has no hash")
            }
            var canonical: [UInt8] = []
            previous.appendCanonicalBytes(of: row.event, to: &canonical)
            return StoredEvent(event: try row.decodedEvent(), hash: hash, canonical: canonical)
        }
    }

    /// The hash of the event at a position.
    public func hash(at position: Int64) throws -> EventHash? {
        try hashes(position - 1..<position).first
    }

    /// The hashes of the events at the positions behind `range`'s lower bound, up to its upper one: the tree's entries of those indexes.
    public func hashes(_ range: Range<Int64>) throws -> [EventHash] {
        let statement = try Statement(
            db.sqliteConnection, "SELECT hash FROM events WHERE position > ? AND position <= ? ORDER BY position")
        statement.bind(range.lowerBound, at: 1)
        statement.bind(range.upperBound, at: 2)
        var hashes: [EventHash] = []
        try statement.forEach { row throws(StoreError) in
            guard let hash = EventHash(bytes: row.blob(0)) else { throw .corrupt("an event has no hash") }
            hashes.append(hash)
        }
        return hashes
    }

    /// The first position whose event was recorded at an instant or later; one behind the head where there is none.
    ///
    /// Recorded time never goes back, so it is found by halving.
    public func firstPosition(recordedFrom instant: Timestamp) throws -> Int64 {
        let statement = try Statement(db.sqliteConnection, "SELECT recorded_at FROM events WHERE position = ?")
        var range = 1..<(try head().position + 1)
        while !range.isEmpty {
            let middle = range.lowerBound + Int64(range.count) / 2
            statement.bind(middle, at: 1)
            let recorded = try statement.first { row throws(StoreError) in row.integer(0) }
            if let recorded, recorded < instant.microseconds {
                range = middle + 1..<range.upperBound
            } else {
                range = range.lowerBound..<middle
            }
        }
        return range.lowerBound
    }
}
