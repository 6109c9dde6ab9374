internal import CNettle

/// A link of the hash chain: the SHA-256 of the previous link and of one event's canonical bytes.
public struct EventHash: Hashable, Sendable, CustomStringConvertible {
    /// The number of bytes of a hash.
    public static let byteCount = 32

    private let words: (UInt64, UInt64, UInt64, UInt64)

    /// The link before the first event: the SHA-256 of the ASCII text `credit-ledger genesis v1`.
    public static let genesis = Array("credit-ledger genesis v1".utf8).withUnsafeBytes(EventHash.init(sha256:))

    /// A hash as it was stored; nil where it has not 32 bytes.
    public init?(bytes: UnsafeRawBufferPointer) {
        guard bytes.count == Self.byteCount else { return nil }
        words = bytes.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self)
    }

    /// The SHA-256 (FIPS 180-4) of bytes.
    ///
    /// By Nettle, whose context lies on the stack. Three are made for each event that is verified, two of them of less than a hundred
    /// bytes: swift-crypto allocates its context, which takes as long as those.
    init(sha256 bytes: UnsafeRawBufferPointer) {
        var hash = RunningHash()
        hash.add(bytes)
        self = hash.value
    }

    fileprivate init(words: (UInt64, UInt64, UInt64, UInt64)) {
        self.words = words
    }

    /// Its 32 bytes, in memory order.
    public func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try withUnsafeBytes(of: words) { try body($0) }
    }

    public var bytes: [UInt8] { withBytes { Array($0) } }

    public static func == (left: EventHash, right: EventHash) -> Bool { left.words == right.words }

    public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }

    /// 64 hexadecimal digits.
    public var description: String {
        let digits: [UInt8] = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    /// The next link. `buffer` is scratch space.
    public func next(_ event: StoredBytes, buffer: inout [UInt8]) -> EventHash {
        buffer.removeAll(keepingCapacity: true)
        appendCanonicalBytes(of: event, to: &buffer)
        return buffer.withUnsafeBytes(EventHash.init(sha256:))
    }

    /// Appends the bytes that the link behind this one is the hash of.
    ///
    /// They are those of `event` as they are stored, never written anew: the previous hash (32 bytes); position, version,
    /// recordedAt and effectiveAt (8 bytes each, two's complement, big-endian); then account, type, key and data, each as its
    /// length in bytes (4 bytes, big-endian) and its UTF-8 bytes.
    public func appendCanonicalBytes(of event: StoredBytes, to buffer: inout [UInt8]) {
        let size = event.account.count + event.type.count + event.key.count + event.data.count
        buffer.append(addingCapacity: EventHash.byteCount + 4 * 8 + 4 * 4 + size) { output in
            withBytes { output.append(copying: $0) }
            output.append(bigEndian: event.position)
            output.append(bigEndian: event.version)
            output.append(bigEndian: event.recordedAt)
            output.append(bigEndian: event.effectiveAt)
            output.append(text: event.account)
            output.append(text: event.type)
            output.append(text: event.key)
            output.append(text: event.data)
        }
    }
}

extension OutputSpan<UInt8> {
    /// Appends bytes for which there is room.
    fileprivate mutating func append(copying bytes: UnsafeRawBufferPointer) {
        withUnsafeMutableBufferPointer { buffer, count in
            let room = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[count...])
            precondition(bytes.count <= room.count)
            room.copyMemory(from: bytes)
            count += bytes.count
        }
    }

    fileprivate mutating func append(bigEndian number: some FixedWidthInteger) {
        withUnsafeBytes(of: number.bigEndian) { append(copying: $0) }
    }

    /// Appends a text behind its length.
    fileprivate mutating func append(text: UnsafeBufferPointer<UInt8>) {
        append(bigEndian: UInt32(truncatingIfNeeded: text.count))
        append(copying: UnsafeRawBufferPointer(text))
    }
}

/// Events one behind the other, each as the bytes that its hash is of: so a row that was read is copied once, to be hashed and to be
/// decoded, on different threads if need be.
public struct CanonicalEvents: Sendable {
    /// What is not text, and where the texts are.
    private struct Row {
        let position, version, recordedAt, effectiveAt: Int64
        let start, account, type, key, data: Int
    }

    private var rows: [Row] = []
    private var bytes: [UInt8] = []

    /// Room for so many; more can be appended.
    public init(rows count: Int, bytes size: Int) {
        rows.reserveCapacity(count)
        bytes.reserveCapacity(size)
    }

    public var count: Int { rows.count }
    public var byteCount: Int { bytes.count }

    /// Appends an event whose link is to be behind `previous`.
    public mutating func append(_ event: StoredBytes, after previous: EventHash) {
        rows.append(
            Row(
                position: event.position, version: event.version, recordedAt: event.recordedAt,
                effectiveAt: event.effectiveAt, start: bytes.count, account: event.account.count,
                type: event.type.count, key: event.key.count, data: event.data.count))
        previous.appendCanonicalBytes(of: event, to: &bytes)
    }

    /// The link of the event that was appended last; of nothing, ``EventHash/genesis``.
    public var lastHash: EventHash {
        guard let last = rows.last else { return .genesis }
        return bytes.withUnsafeBytes { EventHash(sha256: UnsafeRawBufferPointer(rebasing: $0[last.start...])) }
    }

    /// Forgets all events and keeps the memory.
    public mutating func removeAll() {
        rows.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
    }

    /// Forgets the last event.
    public mutating func removeLast() {
        guard let last = rows.popLast() else { return }
        bytes.removeLast(bytes.count - last.start)
    }

    /// Gives the events in order; their bytes are borrowed until `body` returns.
    public func forEach(_ body: (StoredBytes) -> Void) {
        bytes.withUnsafeBufferPointer { buffer in
            for row in rows {
                var offset = row.start + EventHash.byteCount + 4 * MemoryLayout<Int64>.size
                func text(_ count: Int) -> UnsafeBufferPointer<UInt8> {
                    offset += MemoryLayout<UInt32>.size
                    defer { offset += count }
                    return UnsafeBufferPointer(rebasing: buffer[offset..<offset + count])
                }
                body(
                    StoredBytes(
                        position: row.position, version: row.version, recordedAt: row.recordedAt,
                        effectiveAt: row.effectiveAt, account: text(row.account), type: text(row.type),
                        key: text(row.key), data: text(row.data)))
            }
        }
    }
}

/// The SHA-256 (FIPS 180-4) of bytes that come piece by piece.
public struct RunningHash {
    private var context = sha256_ctx()

    public init() {
        nettle_sha256_init(&context)
    }

    public mutating func add(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { add($0) }
    }

    mutating func add(_ bytes: UnsafeRawBufferPointer) {
        nettle_sha256_update(&context, bytes.count, bytes.bindMemory(to: UInt8.self).baseAddress)
    }

    /// The hash of all that has been added.
    public var value: EventHash {
        var (last, words) = (context, (UInt64(0), UInt64(0), UInt64(0), UInt64(0)))
        withUnsafeMutableBytes(of: &words) {
            nettle_sha256_digest(&last, $0.count, $0.bindMemory(to: UInt8.self).baseAddress)
        }
        return EventHash(words: words)
    }
}

/// An event as it lies in the store: the exact bytes, borrowed for as long as the row is being looked at.
public struct StoredBytes {
    public let position: Int64
    public let version: Int64
    public let recordedAt: Int64
    public let effectiveAt: Int64
    public let account: UnsafeBufferPointer<UInt8>
    public let type: UnsafeBufferPointer<UInt8>
    public let key: UnsafeBufferPointer<UInt8>
    public let data: UnsafeBufferPointer<UInt8>

    public init(
        position: Int64, version: Int64, recordedAt: Int64, effectiveAt: Int64, account: UnsafeBufferPointer<UInt8>,
        type: UnsafeBufferPointer<UInt8>, key: UnsafeBufferPointer<UInt8>, data: UnsafeBufferPointer<UInt8>
    ) {
        self.position = position
        self.version = version
        self.recordedAt = recordedAt
        self.effectiveAt = effectiveAt
        self.account = account
        self.type = type
        self.key = key
        self.data = data
    }

    /// Reads the event.
    public func decoded() throws(EventCodingError) -> RecordedEvent {
        let account = String(decoding: self.account, as: UTF8.self)
        guard let id = AccountID(anyStream: account) else { throw .invalidAccount(account) }
        let (recorded, effective) = (Timestamp(microseconds: recordedAt), Timestamp(microseconds: effectiveAt))
        guard Timestamp.nameable.contains(recorded) else { throw .invalidInstant(recordedAt) }
        guard Timestamp.nameable.contains(effective) else { throw .invalidInstant(effectiveAt) }
        return RecordedEvent(
            position: position, account: id, version: version, recordedAt: recorded, effectiveAt: effective,
            key: String(decoding: key, as: UTF8.self),
            event: try LedgerEvent(type: type, data: data))
    }
}
