import WireJSON

/// What is known of an answer so far, from its chunks or from its whole body.
public struct CompletionReading: Sendable {
    public private(set) var usage = UsageReading()
    /// The model that answers, as the provider names it.
    public private(set) var servedModel: String?
    /// UTF-8 bytes of delivered output: text, reasoning, refusals and tool calls.
    public private(set) var outputBytes = 0
    /// Whether a choice has said why it finished.
    public private(set) var hasFinishReason = false
    /// Whether the provider reported an error inside the answer.
    public internal(set) var hasError = false
    /// Whether anything of the answer could be read as what it should be.
    public private(set) var isRecognised = false

    public init() {}

    /// What one document turned out to be.
    struct Document {
        /// `choices` was there and empty.
        var hasEmptyChoices = false
        /// A usage object was there.
        var hasUsage = false
    }

    /// Reads one chunk, or the whole body of an answer that is not a stream (the OpenAI chat shapes).
    ///
    /// It reads what it needs and checks the rest's grammar; a document that is no JSON object changes nothing but what had
    /// been read before the fault.
    @discardableResult
    mutating func read(_ bytes: UnsafeBufferPointer<UInt8>) throws(JSONError) -> Document {
        var json = JSONScanner(bytes)
        var document = Document()
        try json.enterObject()
        while let name = try json.nextMember() {
            if json.equals(name, "choices"), json.peek() == .array {
                isRecognised = true
                document.hasEmptyChoices = try choices(&json)
            } else if json.equals(name, "usage"), json.peek() == .object {
                document.hasUsage = true
                try usage.read(&json)
            } else if json.equals(name, "x_groq"), json.peek() == .object {
                try json.enterObject()
                while let inner = try json.nextMember() {
                    if json.equals(inner, "usage"), json.peek() == .object {
                        try usage.read(&json)
                    } else {
                        try json.skip()
                    }
                }
            } else if json.equals(name, "model"), json.peek() == .string {
                let text = try json.text()
                if servedModel == nil { servedModel = json.decode(text) }
            } else if json.equals(name, "error"), json.peek() != .null {
                hasError = true
                try json.skip()
            } else {
                try json.skip()
            }
        }
        try json.end()
        return document
    }

    /// Reads `choices`, and says whether there were none.
    private mutating func choices(_ json: inout JSONScanner) throws(JSONError) -> Bool {
        var isEmpty = true
        try json.enterArray()
        while try json.nextElement() {
            isEmpty = false
            guard json.peek() == .object else {
                try json.skip()
                continue
            }
            try json.enterObject()
            while let name = try json.nextMember() {
                if json.equals(name, "finish_reason"), json.peek() == .string {
                    hasFinishReason = true
                    try json.skip()
                } else if json.equals(name, "delta") || json.equals(name, "message"), json.peek() == .object {
                    try message(&json)
                } else if json.equals(name, "text"), json.peek() == .string {
                    try count(&json)
                } else {
                    try json.skip()
                }
            }
        }
        return isEmpty
    }

    private mutating func message(_ json: inout JSONScanner) throws(JSONError) {
        try json.enterObject()
        while let name = try json.nextMember() {
            if json.equals(name, "role") {
                try json.skip()
            } else if json.equals(name, "tool_calls"), json.peek() == .array {
                try toolCalls(&json)
            } else if json.peek() == .string {
                // content, reasoning_content, reasoning, refusal: whatever a provider calls its text.
                try count(&json)
            } else if json.peek() == .array || json.peek() == .object {
                // Parts of content, an image, the older `function_call`: output in a shape of its own, counted as it is written.
                countUnread(try json.skip().count)
            } else {
                try json.skip()
            }
        }
    }

    /// Counts output that was delivered and cannot be read: it is estimated, and never taken for nothing.
    public mutating func countUnread(_ bytes: Int) {
        outputBytes += bytes
    }

    private mutating func toolCalls(_ json: inout JSONScanner) throws(JSONError) {
        try json.enterArray()
        while try json.nextElement() {
            guard json.peek() == .object else {
                try json.skip()
                continue
            }
            try json.enterObject()
            while let name = try json.nextMember() {
                guard json.equals(name, "function"), json.peek() == .object else {
                    try json.skip()
                    continue
                }
                try json.enterObject()
                while try json.nextMember() != nil {
                    if json.peek() == .string { try count(&json) } else { try json.skip() }
                }
            }
        }
    }

    private mutating func count(_ json: inout JSONScanner) throws(JSONError) {
        let text = try json.text()
        outputBytes += json.decodedByteCount(text)
    }
}

extension CompletionReading {
    /// Reads the whole body of an answer that is not a stream; false where it is none.
    public mutating func readBody(_ body: UnsafeBufferPointer<UInt8>) -> Bool {
        do throws(JSONError) {
            try read(body)
            return isRecognised && !hasError
        } catch {
            return false
        }
    }
}
