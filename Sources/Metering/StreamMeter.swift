import WireJSON

/// Meters a stream of server-sent events as it passes by, whatever the sizes of the pieces in which it comes.
///
/// Bytes are forwarded as they are, never re-encoded. Where the usage chunk was asked for by us and not by the client, each event
/// is forwarded when it is complete, and that one is left out; otherwise every piece is forwarded at once. Where the client asked in another
/// format than the provider's, the events that a translator makes of each are forwarded instead. Memory is bounded by
/// ``maximumEventBytes``: of a longer event only what is metered is kept (``DocumentReducer``), while it is forwarded.
///
/// Source: the WHATWG HTML standard, section 9.2 (server-sent events).
public struct StreamMeter: Sendable {
    /// The longest event that is kept whole.
    public static let maximumEventBytes = 1 << 20
    /// The longest event that is translated: a picture may be in one.
    public static let maximumTranslatedEventBytes = 32 << 20

    /// What becomes of the events.
    public enum Passage: Sendable {
        /// They pass as they are.
        case whole
        /// They pass as they are, but for the extra usage chunk.
        case withoutUsageChunk
        /// Others take their place.
        case translated(any EventTranslator)
    }

    /// What to send on for a piece that came in.
    public enum Forward: Equatable, Sendable {
        /// The piece as it came.
        case piece
        /// These bytes instead.
        case bytes([UInt8])
    }

    /// What is known of the answer so far.
    public private(set) var reading: AnswerReading
    /// Whether `[DONE]` has been seen, or the last event of a format that has none.
    public private(set) var isDone = false
    /// Whether an event was too long or no JSON, so that something may have been missed.
    public private(set) var hasUnreadEvents = false

    private var passage: Passage
    private var splitter = EventSplitter()
    /// The current event as far as it has come in earlier pieces.
    private var event: [UInt8] = []
    /// The current event, where it is too long to be kept.
    private var long: LongEvent?
    /// The document, where it is too long to be kept.
    private var longDocument: DocumentReducer?
    /// What comes is no stream of events but one JSON document, as some upstreams answer under the content type of a stream; nil: not known.
    private var isDocument: Bool?
    private var opening = Opening()
    /// Whether the stream has ended, so that what is left of it may be cut.
    private var isEnding = false

    public init(_ shape: AnswerShape, _ passage: Passage) {
        reading = AnswerReading(shape)
        self.passage = passage
    }

    /// Whether the answer came to an end that the provider meant, and was passed on.
    public var isComplete: Bool { (isDone || reading.hasFinishReason) && !(hasUnreadEvents && isTranslated) }

    /// Whether what has come so far ends with a whole event.
    public var isAtEventEnd: Bool { splitter.isAtEventEnd && isDocument != true }

    /// Reads a piece, and says what to send on.
    public mutating func consume(_ piece: UnsafeBufferPointer<UInt8>) -> Forward {
        if isDocument == nil {
            isDocument = opening.isDocument(piece)
            if isDocument == true, case .withoutUsageChunk = passage, !event.isEmpty {
                // White space that was held back goes out with it.
                _ = add(piece)
                return .bytes(event)
            }
        }
        if isDocument == true { return add(piece) }
        var marks = EventSplitter.Marks()
        var output = Output(isPiece: event.isEmpty && !isTranslated)
        var start = 0
        while start < piece.count {
            let end = splitter.nextEnd(in: piece, from: start, marks: &marks)
            let part = start..<(end ?? piece.count)
            start = part.upperBound
            if long != nil || event.count + part.count > maximumBytes {
                if long == nil {
                    long = LongEvent()
                    event.withUnsafeBufferPointer { long?.consume($0) }
                    if !isTranslated { output.made.append(contentsOf: event) }
                    event = []
                }
                long?.consume(UnsafeBufferPointer(rebasing: piece[part]))
                if !isTranslated { output.pass(part, of: piece) }
                if end != nil { endLongEvent() }
            } else if end == nil {
                output.hold(part, of: piece)
                event.append(contentsOf: piece[part])
            } else if event.isEmpty {
                let isKept = endEvent(UnsafeBufferPointer(rebasing: piece[part]), &output.made)
                if isKept { output.pass(part, of: piece) } else { output.hold(part, of: piece) }
            } else {
                event.append(contentsOf: piece[part])
                endHeldEvent(&output.made)
            }
        }
        if case .whole = passage { return .piece }
        return output.isPiece ? .piece : .bytes(output.made)
    }

    /// What is held back of an event when the stream has ended in it.
    public mutating func finish() -> [UInt8] {
        isEnding = true
        var output: [UInt8] = []
        if long != nil { endLongEvent() }
        if let reducer = longDocument {
            longDocument = nil
            readReduced(reducer)
            return []
        }
        if isDocument == true {
            // Behind a byte order mark.
            let document = Array(event.drop { $0 != 0x7B && $0 != 0x5B })
            event = []
            _ = document.withUnsafeBufferPointer { read($0, &output) }
            return output
        }
        if !event.isEmpty { endHeldEvent(&output) }
        if case .whole = passage { return [] }
        return output
    }

    /// What has come before anything was said: white space, and a byte order mark at the very beginning.
    private struct Opening {
        private static let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
        private var markBytes = 0
        private var hasSpace = false

        /// Whether what begins so is a document; nil: nothing has been said yet.
        mutating func isDocument(_ piece: UnsafeBufferPointer<UInt8>) -> Bool? {
            for byte in piece {
                if !hasSpace, markBytes < Self.mark.count, byte == Self.mark[markBytes] {
                    markBytes += 1
                    continue
                }
                guard markBytes % Self.mark.count == 0 else { return false }
                switch byte {
                case 0x20, 0x09, 0x0A, 0x0D: hasSpace = true
                default: return byte == 0x7B || byte == 0x5B
                }
            }
            return nil
        }
    }

    /// Keeps a piece of a document, to be read at the end.
    private mutating func add(_ piece: UnsafeBufferPointer<UInt8>) -> Forward {
        if longDocument == nil, event.count + piece.count <= maximumBytes {
            event.append(contentsOf: piece)
        } else {
            if longDocument == nil {
                longDocument = DocumentReducer()
                event.withUnsafeBufferPointer { longDocument?.consume($0) }
                event = []
            }
            longDocument?.consume(piece)
        }
        return isTranslated ? .bytes([]) : .piece
    }

    /// What a translator has to say at a proper end, behind ``finish()``.
    public func ending() -> [UInt8] {
        guard case .translated(let translator) = passage else { return [] }
        return translator.ending(reading)
    }

    private var isTranslated: Bool {
        if case .translated = passage { true } else { false }
    }

    private var maximumBytes: Int { isTranslated ? Self.maximumTranslatedEventBytes : Self.maximumEventBytes }

    /// What goes out for a piece: the piece itself for as long as nothing else is known.
    private struct Output {
        var isPiece: Bool
        var made: [UInt8] = []

        mutating func pass(_ part: Range<Int>, of piece: UnsafeBufferPointer<UInt8>) {
            if !isPiece { made.append(contentsOf: piece[part]) }
        }

        mutating func hold(_ part: Range<Int>, of piece: UnsafeBufferPointer<UInt8>) {
            guard isPiece else { return }
            isPiece = false
            made.append(contentsOf: piece[..<part.lowerBound])
        }
    }

    // MARK: Events

    /// Reads what was kept of an event that was too long to be kept whole. What was to be translated of it is lost.
    private mutating func endLongEvent() {
        guard let event = long else { return }
        long = nil
        if isDone { return }
        if event.name.elementsEqual("error".utf8) { reading.hasError = true }
        readReduced(event.reducer)
        isDone = isDone || reading.isOver
    }

    private mutating func readReduced(_ reducer: DocumentReducer) {
        if isTranslated { hasUnreadEvents = true }
        guard reading.readReduced(reducer) else {
            hasUnreadEvents = true
            return
        }
    }

    /// Ends the event that came in several pieces.
    private mutating func endHeldEvent(_ made: inout [UInt8]) {
        var whole: [UInt8] = []
        swap(&whole, &event)
        let isKept = whole.withUnsafeBufferPointer { endEvent($0, &made) }
        if isKept { made.append(contentsOf: whole) }
        // Its memory serves the next.
        whole.removeAll(keepingCapacity: whole.capacity <= 1 << 16)
        event = whole
    }

    /// Reads an event, and translates it where that is wanted; true where it is to be passed on as it is.
    private mutating func endEvent(_ bytes: UnsafeBufferPointer<UInt8>, _ made: inout [UInt8]) -> Bool {
        // Behind the end nothing has a meaning.
        if isDone { return !isTranslated }
        let event = ServerSentEvent(bytes)
        if event.name.equals("error") { reading.hasError = true }
        if event.foreignBytes > 0, !reading.isReported {
            hasUnreadEvents = true
            reading.countUnread(event.foreignBytes)
        }
        guard let data = event.data else { return !isTranslated }
        if !event.joined.isEmpty {
            return event.joined.withUnsafeBufferPointer { read($0, &made) }
        }
        return read(data, &made)
    }

    /// Reads the data of an event.
    private mutating func read(_ data: UnsafeBufferPointer<UInt8>, _ made: inout [UInt8]) -> Bool {
        guard !data.isEmpty else { return !isTranslated }
        if data.trimmed.equals("[DONE]") {
            isDone = true
            return !isTranslated
        }
        // Of an event that breaks off nothing is believed, and all of it counts.
        let document: AnswerReading.Document
        do throws(JSONError) {
            document = try reading.readEvent(data)
        } catch {
            hasUnreadEvents = true
            // Behind the end of the text comes its usage: where the stream breaks off in that, it is no text.
            if !(isEnding && reading.hasFinishReason) { reading.countUnread(data.count) }
            return !isTranslated
        }
        isDone = reading.isOver
        switch passage {
        case .whole: return true
        case .withoutUsageChunk: return !(document.hasUsage && document.hasEmptyChoices)
        case .translated(var translator):
            translator.translate(data, reading, into: &made)
            passage = .translated(translator)
            return false
        }
    }
}

/// Makes the events of one format out of those of another.
public protocol EventTranslator: Sendable {
    /// Appends the events that take the place of one; `data`: a JSON document, `reading`: what is known with it.
    mutating func translate(_ data: UnsafeBufferPointer<UInt8>, _ reading: AnswerReading, into output: inout [UInt8])

    /// The events of a proper end.
    func ending(_ reading: AnswerReading) -> [UInt8]
}
