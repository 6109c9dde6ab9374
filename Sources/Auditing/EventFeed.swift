public import Ledger
public import LedgerSQLite
import WireJSON

/// An event as those read it who follow the ledger.
public struct FedEvent: Sendable {
    public let position: Int64
    /// Its stable wire name.
    public let type: String
    /// An object on one line: `position, account, version, type, recorded_at, effective_at, key, data, hash`. `data` is as it is stored.
    public let json: [UInt8]

    public init(_ row: StoredBytes, _ hash: UnsafeRawBufferPointer) {
        func text(_ bytes: UnsafeBufferPointer<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }
        var json = JSONWriter(reserving: row.data.count + 400)
        json.beginObject()
        json.field("position", row.position)
        json.field("account", text(row.account))
        json.field("version", row.version)
        json.field("type", text(row.type))
        json.field("recorded_at", Timestamp(microseconds: row.recordedAt).description)
        json.field("effective_at", Timestamp(microseconds: row.effectiveAt).description)
        json.field("key", text(row.key))
        json.name("data")
        json.raw(Self.line(row.data))
        json.field("hash", EventHash(bytes: hash)?.description ?? "")
        json.endObject()
        position = row.position
        type = text(row.type)
        self.json = json.bytes
    }

    /// The data on one line: a provider's own usage object is stored as it came, which may be with line breaks between its members.
    public static func line(_ data: UnsafeBufferPointer<UInt8>) -> [UInt8] { data.map { $0 < 0x20 ? 0x20 : $0 } }
}

extension LedgerFile {
    /// The events behind a position, at most `limit` of them and about as many as have `bytes` in all, and the ledger's head.
    public func feed(after position: Int64, limit: Int, bytes: Int = 1 << 20) throws -> (
        events: [FedEvent], head: Int64
    ) {
        try snapshot { view in
            var events: [FedEvent] = []
            var left = bytes
            if limit > 0 {
                try view.scan(after: position) { row, hash in
                    let event = FedEvent(row, hash)
                    events.append(event)
                    left -= event.json.count
                    return events.count < limit && left > 0
                }
            }
            return (events, try view.head().position)
        }
    }
}
