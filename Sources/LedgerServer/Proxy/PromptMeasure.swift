import WireJSON

/// Measures what a model reads of a request.
struct PromptMeasure {
    /// The UTF-8 bytes of its texts, with names and punctuation.
    private(set) var textBytes = 0
    /// Tokens of pictures, sound and documents, by their figures.
    private(set) var mediaTokens: Int64 = 0
    /// The most tokens of what the provider may fetch.
    var fetchedTokens: Int64 = 0
    /// Whether it may write the prompt to a cache.
    var writesCache = false

    private let media: ModelConfiguration

    init(media: ModelConfiguration) {
        self.media = media
    }

    /// Adds the bytes that a model could read of a value: strings decoded, everything else as written, without white space. Parts
    /// with an image, audio or a file count by their configured figures.
    mutating func measure(_ json: inout JSONScanner, parts depth: Int = 0) throws(JSONError) {
        switch json.peek() {
        case .string:
            let text = try json.text()
            textBytes += json.decodedByteCount(text) + 2
        case .array:
            try json.enterArray()
            textBytes += 2
            while try json.nextElement() {
                textBytes += 1
                try measure(&json, parts: depth)
            }
        case .object:
            try json.enterObject()
            textBytes += 2
            while let name = try json.nextMember() { try measureMember(name, &json, parts: depth) }
        default: textBytes += try json.skip().count
        }
    }

    private mutating func measureMember(
        _ name: JSONText, _ json: inout JSONScanner, parts depth: Int
    ) throws(JSONError) {
        textBytes += json.decodedByteCount(name) + 4
        if json.equals(name, "cache_control"), json.peek() == .object { writesCache = true }
        // Content, and a tool's result within it: looking ahead no deeper keeps the walk linear.
        guard depth < 2, json.equals(name, "content") || json.equals(name, "output"), json.peek() == .array else {
            return try measure(&json, parts: depth)
        }
        try json.enterArray()
        textBytes += 2
        while try json.nextElement() {
            textBytes += 1
            try measurePart(&json, parts: depth + 1)
        }
    }

    /// A part of content: of one with a picture, sound or a document, that counts by its figure and the rest is measured.
    private mutating func measurePart(_ json: inout JSONScanner, parts depth: Int) throws(JSONError) {
        guard json.peek() == .object, let figure = mediaFigure(json) else { return try measure(&json, parts: depth) }
        mediaTokens = mediaTokens.addingClamped(figure)
        try json.enterObject()
        textBytes += 2
        while let name = try json.nextMember() {
            if Self.payloads.contains(where: { json.equals(name, $0) }) {
                textBytes += json.decodedByteCount(name) + 4
                try json.skip()
            } else {
                try measureMember(name, &json, parts: depth)
            }
        }
    }

    /// The members that hold a picture, sound or a document.
    private static let payloads: [StaticString] = [
        "image_url", "input_audio", "file", "source", "file_data", "file_url", "file_id",
    ]

    /// Types of parts whose texts are all that the model reads of them.
    private static let texts: Set<String> = [
        "text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text", "thinking",
        "redacted_thinking", "tool_use", "tool_result", "server_tool_use", "web_search_tool_result",
        "web_fetch_tool_result", "search_result", "tool_reference", "compaction",
    ]

    /// The figure of a content part that is no text; nil for one that is. `json` is a copy: nothing is consumed.
    private func mediaFigure(_ json: JSONScanner) -> Int64? {
        var json = json
        do throws(JSONError) {
            var type = ""
            var isText = false
            try json.enterObject()
            while let name = try json.nextMember() {
                if json.equals(name, "type"), json.peek() == .string {
                    type = try json.string()
                } else if json.equals(name, "source"), json.peek() == .object {
                    // A document's source may be plain text, or blocks: those are read.
                    isText = try isPlain(source: &json)
                } else {
                    try json.skip()
                }
            }
            switch type {
            case _ where isText || Self.texts.contains(type): return nil
            case "image_url", "input_image", "image": return Int64(media.imageTokens)
            case "input_audio": return Int64(media.audioTokens)
            // A document, or something that is newer than this: whatever it is, it may be long.
            default: return Int64(media.fileTokens)
            }
        } catch {
            return nil
        }
    }

    private func isPlain(source json: inout JSONScanner) throws(JSONError) -> Bool {
        var isPlain = false
        try json.enterObject()
        while let name = try json.nextMember() {
            if json.equals(name, "type"), json.peek() == .string {
                isPlain = ["text", "content"].contains(try json.string())
            } else {
                try json.skip()
            }
        }
        return isPlain
    }
}

extension Int64 {
    /// The sum, or the largest number where it does not fit.
    func addingClamped(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
