import WireJSON

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Meters a stream of server-sent events as it passes by, whatever the sizes of the pieces in which it comes.
///
/// Bytes are forwarded as they are, never re-encoded. Where the usage chunk was asked for by us and not by the client, each event
/// is forwarded when it is complete, and that one is left out; otherwise every piece is forwarded at once. Memory is bounded by
/// ``maximumEventBytes``: an event beyond it is forwarded unread.
///
/// Source: the WHATWG HTML standard, section 9.2 (server-sent events); lines end with LF or CRLF.
public struct StreamMeter: Sendable {
    /// The longest event that is read.
    public static let maximumEventBytes = 1 << 20

    /// What to send on for a piece that came in.
    public enum Forward: Equatable, Sendable {
        /// The piece as it came.
        case piece
        /// These bytes instead.
        case bytes([UInt8])
    }

    /// What is known of the answer so far.
    public private(set) var reading = CompletionReading()
    /// Whether `[DONE]` has been seen.
    public private(set) var isDone = false
    /// Whether an event was too long or no JSON, so that something may have been missed.
    public private(set) var hasUnreadEvents = false

    private let removesUsageChunk: Bool
    /// The current event as far as it has come.
    private var event: [UInt8] = []
    /// The current event is too long: it passes by unread.
    private var isOversized = false
    /// The bytes of the current line so far, and the first of them.
    private var lineLength = 0
    private var lineFirst: UInt8 = 0

    /// `removesUsageChunk`: whether the extra usage chunk is kept from the client.
    public init(removesUsageChunk: Bool) {
        self.removesUsageChunk = removesUsageChunk
    }

    /// Whether the answer came to an end that the provider meant.
    public var isComplete: Bool { isDone || reading.hasFinishReason }

    /// Whether what has come so far ends with a whole event.
    public var isAtEventEnd: Bool { event.isEmpty && !isOversized && lineLength == 0 }

    /// Reads a piece, and says what to send on.
    public mutating func consume(_ piece: UnsafeBufferPointer<UInt8>) -> Forward {
        let startsFresh = isAtEventEnd
        var output: [UInt8] = []
        var rest = piece
        while let start = rest.baseAddress, !rest.isEmpty {
            // Up to and including the next line feed.
            let lineFeed = memchr(start, 0x0A, rest.count)
            let length = lineFeed.map { UnsafeRawPointer($0) - UnsafeRawPointer(start) + 1 } ?? rest.count
            let part = UnsafeBufferPointer(rebasing: rest.prefix(length))
            rest = UnsafeBufferPointer(rebasing: rest.dropFirst(length))
            if lineLength == 0 { lineFirst = part.first ?? 0 }
            lineLength += length
            if isOversized {
                reading.countUnread(length)
                if removesUsageChunk { output.append(contentsOf: part) }
            } else {
                event.append(contentsOf: part)
                if event.count > Self.maximumEventBytes { giveUpEvent(&output) }
            }
            guard lineFeed != nil else { continue }
            let isBlank = lineLength == 1 || (lineLength == 2 && lineFirst == 0x0D)
            lineLength = 0
            if isBlank { endEvent(&output) }
        }
        guard removesUsageChunk else { return .piece }
        return startsFresh && isAtEventEnd && output.count == piece.count ? .piece : .bytes(output)
    }

    /// What is still held back when the stream has ended in the middle of an event.
    public mutating func finish() -> [UInt8] {
        var output: [UInt8] = []
        let wasWhole = isAtEventEnd
        if !wasWhole, !isOversized { endEvent(&output) }
        return output
    }

    private mutating func giveUpEvent(_ output: inout [UInt8]) {
        hasUnreadEvents = true
        isOversized = true
        reading.countUnread(event.count)
        if removesUsageChunk { output.append(contentsOf: event) }
        event.removeAll(keepingCapacity: false)
    }

    private mutating func endEvent(_ output: inout [UInt8]) {
        defer {
            event.removeAll(keepingCapacity: true)
            isOversized = false
        }
        guard !isOversized else { return }
        let isUsageChunk = read()
        if removesUsageChunk, !isUsageChunk { output.append(contentsOf: event) }
    }

    /// Reads the current event; true where it is the extra usage chunk.
    private mutating func read() -> Bool {
        let ranges = dataRanges()
        guard let first = ranges.first else {
            readBareBody()
            return false
        }
        // An event's data lines count as one text, joined by line feeds. Nearly always there is one.
        let data =
            ranges.count == 1
            ? event[first]
            : ranges.dropFirst().reduce(into: event[first]) {
                $0.append(0x0A)
                $0.append(contentsOf: event[$1])
            }
        if data.elementsEqual("[DONE]".utf8) {
            isDone = true
            return false
        }
        return data.withUnsafeBufferPointer { bytes in
            // Of an event that breaks off nothing is believed, and all of it counts.
            var whole = reading
            do throws(JSONError) {
                let document = try whole.read(bytes)
                reading = whole
                return document.hasUsage && document.hasEmptyChoices
            } catch {
                hasUnreadEvents = true
                reading.countUnread(bytes.count)
                return false
            }
        }
    }

    /// Reads what is no event at all: some upstreams answer with a whole JSON body under the content type of a stream.
    private mutating func readBareBody() {
        guard event.first == 0x7B else { return }
        var whole = reading
        let isRead = event.withUnsafeBufferPointer { (try? whole.read($0)) != nil }
        if isRead {
            reading = whole
        } else {
            hasUnreadEvents = true
            reading.countUnread(event.count)
        }
    }

    /// Where the values of the event's `data` fields are; and notes an event that calls itself an error.
    private mutating func dataRanges() -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        var start = 0
        while start < event.count {
            let lineFeed = event[start...].firstIndex(of: 0x0A) ?? event.count
            var end = lineFeed
            if end > start, event[end - 1] == 0x0D { end -= 1 }
            let line = event[start..<end]
            if line.starts(with: "data:".utf8) {
                let value = start + 5
                ranges.append((value < end && event[value] == 0x20 ? value + 1 : value)..<end)
            } else if line.elementsEqual("event: error".utf8) || line.elementsEqual("event:error".utf8) {
                reading.hasError = true
            }
            start = lineFeed + 1
        }
        return ranges
    }
}
