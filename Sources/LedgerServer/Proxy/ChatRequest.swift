import Crypto
import HTTPTypes
import Ledger
import Metering
import WireJSON

/// A chat completions request, as far as admission needs to understand it. Its bytes are kept: what goes upstream is the same
/// text with a few members exchanged, so that every field that we do not know passes untouched.
struct ChatRequest {
    /// The body as it came.
    let body: [UInt8]
    /// The model as the client named it.
    let model: String
    let isStream: Bool
    /// `user`, where it is a text.
    let user: String?
    /// Whether the client asked for the extra usage chunk.
    let wantsUsageChunk: Bool
    /// The client's own bound on output tokens for each choice.
    let maxTokens: Int64?
    let choices: Int64
    let size: PromptSize

    private let modelRange: Range<Int>
    /// `stream_options`: the whole value, and within it where `include_usage` is, if it is.
    private let streamOptions: Range<Int>?
    private let includeUsage: Range<Int>?
    private let streamOptionsIsEmpty: Bool
    /// The members that bound the output but are null.
    private let nullBounds: [Range<Int>]
    private let nullBoundNames: [String]
    /// The offset of the object's closing brace.
    private let end: Int

    /// Reads a body; throws a 400 that says what is wrong with it.
    init(_ body: [UInt8], media: ModelConfiguration) throws {
        self.body = body
        guard String(validating: body, as: UTF8.self) != nil else {
            throw GatewayError(.badRequest, "invalid_utf8", "The request body is not valid UTF-8")
        }
        var reader = ChatRequestReader(media: media)
        do {
            try body.withUnsafeBufferPointer { try reader.read($0) }
        } catch let error as JSONError {
            throw GatewayError(.badRequest, "invalid_json", "The request body is not valid JSON: \(error)")
        }
        guard let model = reader.model, let modelRange = reader.modelRange else {
            throw GatewayError(.badRequest, "missing_field", "'model' is required and must be a text", param: "model")
        }
        guard reader.hasMessages else {
            throw GatewayError(
                .badRequest, "missing_field", "'messages' is required and must be an array", param: "messages")
        }
        self.model = model
        self.modelRange = modelRange
        isStream = reader.isStream
        user = reader.user
        wantsUsageChunk = reader.wantsUsage
        maxTokens = reader.bounds.max()
        choices = reader.choices
        size = PromptSize(textBytes: Int64(reader.textBytes), mediaTokens: reader.mediaTokens)
        streamOptions = reader.streamOptions
        includeUsage = reader.includeUsage
        streamOptionsIsEmpty = reader.streamOptionsIsEmpty
        nullBounds = reader.nullBounds.map(\.range)
        nullBoundNames = reader.nullBounds.map(\.name)
        end = reader.end
    }

    /// The SHA-256 of the route and the body: what an `Idempotency-Key` stands for.
    func fingerprint(endpoint: String) -> [UInt8] {
        var hash = SHA256()
        hash.update(data: Array(endpoint.utf8) + [0])
        hash.update(data: body)
        return Array(hash.finalize())
    }

    /// The body for the upstream: its own name of the model, the output bound where the client gave none, and the demand for
    /// usage.
    func upstreamBody(model: String, outputBound: Int64?, boundField: String) -> [UInt8] {
        var edits: [(range: Range<Int>, text: [UInt8])] = []
        var name = JSONWriter(reserving: model.utf8.count + 2)
        name.value(model)
        edits.append((modelRange, name.bytes))
        var additions = ""
        if let outputBound {
            if let index = nullBoundNames.firstIndex(of: boundField) {
                edits.append((nullBounds[index], Array(String(outputBound).utf8)))
            } else {
                additions += ",\"\(boundField)\":\(outputBound)"
            }
        }
        if isStream, !wantsUsageChunk {
            if let includeUsage {
                edits.append((includeUsage, Array("true".utf8)))
            } else if let streamOptions {
                if body[streamOptions].first == 0x7B {
                    let separator = streamOptionsIsEmpty ? "" : ","
                    let start = streamOptions.lowerBound + 1
                    edits.append((start..<start, Array("\"include_usage\":true\(separator)".utf8)))
                } else {
                    edits.append((streamOptions, Array("{\"include_usage\":true}".utf8)))
                }
            } else {
                additions += ",\"stream_options\":{\"include_usage\":true}"
            }
        }
        if !additions.isEmpty { edits.append((end..<end, Array(additions.utf8))) }
        edits.sort { $0.range.lowerBound < $1.range.lowerBound }
        var result: [UInt8] = []
        result.reserveCapacity(body.count + 128)
        var position = 0
        for edit in edits {
            result.append(contentsOf: body[position..<edit.range.lowerBound])
            result.append(contentsOf: edit.text)
            position = edit.range.upperBound
        }
        result.append(contentsOf: body[position...])
        return result
    }
}

/// Walks through a chat completions request once.
private struct ChatRequestReader {
    let media: ModelConfiguration
    var model: String?
    var modelRange: Range<Int>?
    var isStream = false
    var user: String?
    var hasMessages = false
    var wantsUsage = false
    var streamOptions: Range<Int>?
    var includeUsage: Range<Int>?
    var streamOptionsIsEmpty = true
    var bounds: [Int64] = []
    var nullBounds: [(name: String, range: Range<Int>)] = []
    var choices: Int64 = 1
    var textBytes = 0
    var mediaTokens: Int64 = 0
    var end = 0

    init(media: ModelConfiguration) {
        self.media = media
    }

    /// Members that say how to answer: the model reads nothing of them.
    private static let settings: Set<String> = [
        "temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs",
        "logit_bias", "metadata", "store", "service_tier", "parallel_tool_calls", "reasoning_effort",
        "safety_identifier",
        "prompt_cache_key", "verbosity", "top_k", "min_p",
    ]

    mutating func read(_ bytes: UnsafeBufferPointer<UInt8>) throws {
        var json = JSONScanner(bytes)
        // The grammar first: what follows may then rely on it.
        try json.skip()
        try json.end()
        json = JSONScanner(bytes)
        try json.enterObject()
        var seen: Set<String> = []
        while let text = try json.nextMember() {
            let name = json.decode(text)
            // An upstream may take the other of two: what is admitted must be what is asked for.
            guard seen.insert(name).inserted else {
                throw GatewayError(.badRequest, "duplicate_field", "'\(name.prefix(64))' is there twice", param: nil)
            }
            try member(name, &json, start: text.range.upperBound)
        }
        end = json.offset - 1
        try json.end()
    }

    private mutating func member(_ name: String, _ json: inout JSONScanner, start: Int) throws {
        switch name {
        case "model":
            guard json.peek() == .string else { throw Self.wrongType(name, "a text") }
            let range = json.offset
            model = try json.string()
            modelRange = range..<json.offset
        case "messages":
            guard json.peek() == .array else { throw Self.wrongType(name, "an array") }
            hasMessages = true
            try measure(&json, depth: 0)
        case "stream":
            if try json.null() { return }
            guard json.peek() == .bool else { throw Self.wrongType(name, "true or false") }
            isStream = try json.bool()
        case "stream_options": try readStreamOptions(&json)
        case "user":
            if json.peek() == .string { user = try json.string() } else { try json.skip() }
        case "max_tokens", "max_completion_tokens":
            _ = json.peek()
            let range = json.offset
            if try json.null() {
                nullBounds.append((name, range..<json.offset))
            } else {
                bounds.append(try positive(name, &json, atMost: Usage.maximumTokens))
            }
        case "n":
            if try json.null() { return }
            choices = try positive(name, &json, atMost: 128)
        case _ where Self.settings.contains(name): try json.skip()
        default: try measure(&json, depth: 0)
        }
    }

    private func positive(_ name: String, _ json: inout JSONScanner, atMost maximum: Int64) throws -> Int64 {
        guard json.peek() == .number else { throw Self.wrongType(name, "a whole number from 1 to \(maximum)") }
        let range = try json.number()
        let text = String(decoding: json.bytes(range), as: UTF8.self)
        guard let value = Int64(text), (1...maximum).contains(value) else {
            throw Self.wrongType(name, "a whole number from 1 to \(maximum)")
        }
        return value
    }

    private static func wrongType(_ name: String, _ wanted: String) -> GatewayError {
        GatewayError(.badRequest, "invalid_value", "'\(name)' must be \(wanted)", param: name)
    }

    private mutating func readStreamOptions(_ json: inout JSONScanner) throws {
        let kind = json.peek()
        let start = json.offset
        defer { streamOptions = start..<json.offset }
        guard kind == .object else {
            try json.skip()
            return
        }
        try json.enterObject()
        while let name = try json.nextMember() {
            streamOptionsIsEmpty = false
            guard json.equals(name, "include_usage") else {
                try json.skip()
                continue
            }
            guard includeUsage == nil else {
                throw GatewayError(.badRequest, "duplicate_field", "'include_usage' is there twice")
            }
            let isTrue = json.peek() == .bool
            let range = try json.skip()
            includeUsage = range
            wantsUsage = isTrue && json.equals(range, "true")
        }
    }

    // MARK: The size of the prompt

    /// Adds the bytes that a model could read of a value: strings decoded, everything else as written, without white space. Parts
    /// with an image, audio or a file count by their configured figures.
    private mutating func measure(_ json: inout JSONScanner, depth: Int) throws(JSONError) {
        switch json.peek() {
        case .string:
            let text = try json.text()
            textBytes += json.decodedByteCount(text) + 2
        case .array:
            try json.enterArray()
            textBytes += 2
            while try json.nextElement() {
                textBytes += 1
                try measure(&json, depth: depth + 1)
            }
        case .object:
            // messages[i].content[j] is at depth 3; looking ahead nowhere else keeps the walk linear.
            if depth == 3, let tokens = mediaPart(json) {
                mediaTokens += tokens
                try json.skip()
                return
            }
            try json.enterObject()
            textBytes += 2
            while let name = try json.nextMember() {
                textBytes += json.decodedByteCount(name) + 4
                try measure(&json, depth: depth + 1)
            }
        default: textBytes += try json.skip().count
        }
    }

    /// The figure of a content part that is no text; nil for anything else. `json` is a copy: nothing is consumed.
    private func mediaPart(_ json: JSONScanner) -> Int64? {
        var json = json
        do throws(JSONError) {
            var figure: Int64?
            var hasPayload = false
            try json.enterObject()
            while let name = try json.nextMember() {
                if json.equals(name, "type"), json.peek() == .string {
                    switch try json.string() {
                    case "image_url", "input_image": figure = Int64(media.imageTokens)
                    case "input_audio": figure = Int64(media.audioTokens)
                    case "file", "input_file": figure = Int64(media.fileTokens)
                    default: return nil
                    }
                } else if json.equals(name, "image_url") || json.equals(name, "input_audio")
                    || json.equals(name, "file")
                {
                    hasPayload = true
                    try json.skip()
                } else {
                    try json.skip()
                }
            }
            return hasPayload ? figure : nil
        } catch {
            return nil
        }
    }
}
