public import Ledger
import WireJSON

/// What is known of an answer so far, from its events or from its whole body.
public struct AnswerReading: Sendable {
    public let shape: AnswerShape
    public internal(set) var usage: UsageReading
    /// What it was before the event that is being read, where that touches it.
    private var usageBefore: UsageReading?
    private var progress = Progress()

    /// All but the usage: little enough to be kept for each event, until that has turned out to be whole.
    private struct Progress {
        var servedModel: String?
        var outputBytes = 0
        var reportedBytes = 0
        var hasFinishReason = false
        var hasError = false
        var hasFailedChoice = false
        var isOver = false
        var isRecognised = false
        var searchCalls: Int64 = 0
    }

    /// The model that answers, as the provider names it.
    public var servedModel: String? { progress.servedModel }
    /// UTF-8 bytes of delivered output: text, reasoning, refusals and tool calls.
    public var outputBytes: Int { progress.outputBytes }
    /// How much of it had come with the last usage report, or before.
    var reportedBytes: Int { progress.reportedBytes }
    /// Whether the answer, or one of its choices, has said why it finished.
    public internal(set) var hasFinishReason: Bool {
        get { progress.hasFinishReason }
        set { progress.hasFinishReason = newValue }
    }
    /// Whether the provider reported an error inside the answer.
    public internal(set) var hasError: Bool {
        get { progress.hasError }
        set { progress.hasError = newValue }
    }
    /// Whether a choice of the answer failed: it says so in the place of why it finished.
    public internal(set) var hasFailedChoice: Bool {
        get { progress.hasFailedChoice }
        set { progress.hasFailedChoice = newValue }
    }
    /// Whether the event was the last that the format knows, so that nothing behind it has a meaning.
    var isOver: Bool {
        get { progress.isOver }
        set { progress.isOver = newValue }
    }
    /// Web searches that the answer tells of, one by one.
    var searchCalls: Int64 {
        get { progress.searchCalls }
        set { progress.searchCalls = newValue }
    }
    /// Whether anything of the answer could be read as what it should be. An answer without any choice is none.
    public internal(set) var isRecognised: Bool {
        get { progress.isRecognised }
        set { progress.isRecognised = newValue }
    }

    public init(_ shape: AnswerShape) {
        self.shape = shape
        usage = UsageReading(shape)
    }

    /// What one document turned out to be.
    struct Document {
        /// `choices` was there and empty.
        var hasEmptyChoices = false
        /// A usage object was there.
        var hasUsage = false
    }

    /// Reads one event's data: all of it, or, where it is no JSON object, nothing.
    mutating func readEvent(_ bytes: UnsafeBufferPointer<UInt8>) throws(JSONError) -> Document {
        let before = progress
        usageBefore = nil
        do throws(JSONError) {
            return try read(bytes)
        } catch {
            progress = before
            if let usageBefore { usage = usageBefore }
            throw error
        }
    }

    /// Reads a usage object, after its state has been kept: copying that for every event would take as long as reading it.
    mutating func readUsage(_ json: inout JSONScanner, _ report: UsageReading.Report = .final) throws(JSONError) {
        if usageBefore == nil { usageBefore = usage }
        try usage.read(&json, report)
    }

    /// Reads one event's data, or the whole body of an answer that is not a stream.
    ///
    /// It reads what it needs and checks the rest's grammar.
    private mutating func read(_ bytes: UnsafeBufferPointer<UInt8>) throws(JSONError) -> Document {
        var json = JSONScanner(bytes)
        var document = Document()
        let reports = usage.reports
        defer { if usage.reports != reports { progress.reportedBytes = outputBytes } }
        if json.peek() == .array {
            // Gemini's answers and errors may come in an array.
            try Self.elements(&json) { json throws(JSONError) in try readObject(&json, &document) }
        } else {
            try readObject(&json, &document)
        }
        try json.end()
        return document
    }

    private mutating func readObject(_ json: inout JSONScanner, _ document: inout Document) throws(JSONError) {
        try json.enterObject()
        switch shape {
        case .chat, .embeddings:
            let isKnown = try readChat(&json, &document)
            // Something was delivered, whatever it is; unless the answer was over before.
            if !isKnown, !isReported { countUnread(json.offset) }
        case .responses: try readResponse(&json)
        case .messages: try readMessage(&json)
        case .gemini: try readGemini(&json)
        }
    }

    /// Reads the whole body of an answer that is not a stream; false where it is none. What it used may be told of all the same.
    public mutating func readBody(_ body: UnsafeBufferPointer<UInt8>) -> Bool {
        do throws(JSONError) {
            let document = try read(body)
            // A response that has failed says so itself, and what it has used.
            if shape == .responses, usage.isPresent { return true }
            if hasFailedChoice, outputBytes == 0 { return false }
            // A message may lack its type, and a completion may have no choice to give; one without the member is none.
            let isUsageEnough = shape == .messages || document.hasEmptyChoices
            return (isRecognised || (isUsageEnough && usage.isPresent)) && !hasError
        } catch {
            return false
        }
    }

    /// Reads what was kept of a document that was too long to be kept whole; false where nothing can be read of it.
    mutating func readReduced(_ reducer: DocumentReducer) -> Bool {
        guard let kept = reducer.finish() else {
            // What cannot be read is never taken for nothing.
            countUnread(max(1, reducer.textBytes))
            return false
        }
        countUnread(reducer.unreadTextBytes)
        do throws(JSONError) {
            let result = kept.withUnsafeBufferPointer { bytes in
                Result { () throws(JSONError) in try readEvent(bytes) }
            }
            _ = try result.get()
            return true
        } catch {
            countUnread(max(1, reducer.textBytes - reducer.unreadTextBytes))
            return false
        }
    }

    /// The report to be charged, within the bounds of the hold where it has to be estimated.
    public func report(prompt size: PromptSize, bounds hold: HoldPlaced) -> UsageReport {
        usage.report(self, prompt: size, bounds: hold)
    }

    /// Whether the answer has said why it finished, and what it used: what follows is none of it.
    var isReported: Bool { hasFinishReason && usage.isPresent }

    // MARK: What the formats have in common

    /// Counts output that was delivered and cannot be read: it is estimated, and never taken for nothing.
    public mutating func countUnread(_ bytes: Int) {
        progress.outputBytes += bytes
    }

    /// Counts a text of the output.
    mutating func count(_ json: inout JSONScanner) throws(JSONError) {
        let text = try json.text()
        progress.outputBytes += json.decodedByteCount(text)
    }

    /// Counts a value of the output: a text as what it says, anything else as it is written, without what is no text in it.
    mutating func countValue(_ json: inout JSONScanner) throws(JSONError) {
        switch json.peek() {
        case .string:
            let text = try json.text()
            if !Self.isBinary(json.bytes(text.range)) { progress.outputBytes += json.decodedByteCount(text) }
        case .object, .array:
            var inner = json
            let size = try json.skip().count
            countUnread(max(0, size - (try Self.binaryBytes(&inner))))
        default: try json.skip()
        }
    }

    /// How many bytes of a value are pictures, sound, or what nobody but the provider can read.
    private static func binaryBytes(_ json: inout JSONScanner) throws(JSONError) -> Int {
        var sum = 0
        switch json.peek() {
        case .string:
            let text = try json.text()
            if isBinary(json.bytes(text.range)) { sum = text.range.count }
        case .object:
            try json.enterObject()
            while let name = try json.nextMember() {
                if json.equals(name, "encrypted_content") || json.equals(name, "signature")
                    || json.equals(name, "thoughtSignature") || json.equals(name, "b64_json")
                {
                    sum += try json.skip().count
                } else {
                    sum += try binaryBytes(&json)
                }
            }
        case .array:
            try json.enterArray()
            while try json.nextElement() { sum += try binaryBytes(&json) }
        default: try json.skip()
        }
        return sum
    }

    /// The shortest text that may be taken for Base64: people write no longer words.
    private static let shortestBinary = 512

    /// Whether a text is a data URL, or Base64: long, and of its letters only (RFC 4648, sections 4 and 5).
    private static func isBinary(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        if text.count > 16, text.prefix(5).elementsEqual("data:".utf8), text.prefix(256).contains(UInt8(ascii: ",")) {
            return true
        }
        return text.count >= shortestBinary
            && text.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"), UInt8(ascii: "="),
                    UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "\\"):
                    true
                default: false
                }
            }
    }

    /// Notes the model, the first time that it is named.
    mutating func readModel(_ json: inout JSONScanner) throws(JSONError) {
        guard json.peek() == .string else {
            try json.skip()
            return
        }
        let text = try json.text()
        // It becomes part of an event, and of each chunk of a translation.
        if servedModel == nil, json.decodedByteCount(text) <= 255 { progress.servedModel = json.decode(text) }
    }

    /// Notes an error, where the value is one: some providers write an empty one beside a good answer.
    mutating func readError(_ json: inout JSONScanner) throws(JSONError) {
        let kind = json.peek()
        let range = try json.skip()
        switch kind {
        case .object, .array, .string: if range.count > 2 { hasError = true }
        case .bool: if json.equals(range, "true") { hasError = true }
        case .number: hasError = true
        default: break
        }
    }

    /// Goes through the members of an object; anything else is skipped.
    static func members(
        _ json: inout JSONScanner, _ body: (JSONText, inout JSONScanner) throws(JSONError) -> Void
    ) throws(JSONError) {
        guard json.peek() == .object else {
            try json.skip()
            return
        }
        try json.enterObject()
        while let name = try json.nextMember() { try body(name, &json) }
    }

    /// Goes through the elements of an array; anything else is skipped.
    static func elements(
        _ json: inout JSONScanner, _ body: (inout JSONScanner) throws(JSONError) -> Void
    ) throws(JSONError) {
        guard json.peek() == .array else {
            try json.skip()
            return
        }
        try json.enterArray()
        while try json.nextElement() { try body(&json) }
    }
}
