import Metering
import WireJSON

/// What each part of an answer in OpenAI's form repeats (OpenAI, API reference, "The chat completion chunk object").
struct ChatAnswer: Sendable {
    /// The provider's id of the answer; until it is known, the request's.
    private(set) var id: String
    /// Seconds since 1970.
    let created: Int64
    /// The model that answers; until it is known, the one that was asked for.
    var model: String

    /// Takes the provider's id, where it has given one that can be repeated in every chunk.
    mutating func name(_ id: String?) {
        if let id, (1...255).contains(id.utf8.count) { self.id = id }
    }

    /// Begins an object with what they share.
    private func begin(_ object: StaticString, _ json: inout JSONWriter) {
        json.beginObject()
        json.field("id", id)
        json.name("object")
        json.value("\(object)")
        json.field("created", created)
        json.field("model", model)
    }

    // MARK: Chunks

    /// Appends a chunk of one choice.
    func chunk(
        _ choice: Int = 0, finish: String? = nil, usage: ChatUsage? = nil, into output: inout [UInt8],
        _ delta: (inout JSONWriter) -> Void = { _ in }
    ) {
        var json = JSONWriter()
        begin("chat.completion.chunk", &json)
        json.name("choices")
        json.beginArray()
        json.beginObject()
        json.field("index", choice)
        json.name("delta")
        json.beginObject()
        delta(&json)
        json.endObject()
        json.nullable("finish_reason", finish)
        json.endObject()
        json.endArray()
        usage?.write(to: &json)
        json.endObject()
        Self.event(json.bytes, into: &output)
    }

    /// Appends the chunk that `include_usage` asks for.
    func usageChunk(_ usage: ChatUsage, into output: inout [UInt8]) {
        var json = JSONWriter()
        begin("chat.completion.chunk", &json)
        json.name("choices")
        json.beginArray()
        json.endArray()
        usage.write(to: &json)
        json.endObject()
        Self.event(json.bytes, into: &output)
    }

    /// What is told of an error that has no words.
    static let failed = "The provider failed"

    /// The event behind the last chunk.
    static let done = Array("data: [DONE]\n\n".utf8)

    /// Appends an event that tells of an error within a stream.
    static func error(message: String, type: String, into output: inout [UInt8]) {
        var json = JSONWriter()
        json.beginObject()
        json.name("error")
        json.beginObject()
        json.field("message", message)
        json.field("type", type)
        json.name("param")
        json.null()
        json.field("code", type)
        json.endObject()
        json.endObject()
        event(json.bytes, into: &output)
    }

    private static func event(_ data: [UInt8], into output: inout [UInt8]) {
        output.append(contentsOf: "data: ".utf8)
        output.append(contentsOf: data)
        output.append(contentsOf: [0x0A, 0x0A])
    }

    // MARK: A whole answer

    /// The whole answer.
    func whole(_ choices: [ChatChoice], _ usage: ChatUsage?) -> [UInt8] {
        var json = JSONWriter(reserving: 4096)
        begin("chat.completion", &json)
        json.name("choices")
        json.beginArray()
        for choice in choices { choice.write(to: &json) }
        json.endArray()
        usage?.write(to: &json)
        json.endObject()
        return json.bytes
    }
}

/// A choice of a whole answer.
struct ChatChoice: Sendable {
    var index = 0
    var text: String?
    var reasoning: String?
    var toolCalls: [ChatAnswerCall] = []
    /// Pictures, as data URLs.
    var images: [String] = []
    var thinkingBlocks: [JSONValue] = []
    var finish = "stop"

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.field("index", index)
        json.name("message")
        json.beginObject()
        json.field("role", "assistant")
        json.nullable("content", text)
        json.optional("reasoning_content", reasoning)
        json.name("refusal")
        json.null()
        ChatAnswerCall.write(toolCalls, to: &json)
        Self.write(images: images, to: &json)
        if !thinkingBlocks.isEmpty { json.field("thinking_blocks", .array(thinkingBlocks)) }
        json.endObject()
        json.name("logprobs")
        json.null()
        json.field("finish_reason", finish)
        json.endObject()
    }

    /// `first`: the place of the first of them among all, in a stream.
    static func write(images: [String], from first: Int? = nil, to json: inout JSONWriter) {
        guard !images.isEmpty else { return }
        json.name("images")
        json.beginArray()
        for (place, image) in images.enumerated() {
            json.beginObject()
            json.optional("index", first.map { $0 + place })
            json.field("type", "image_url")
            json.name("image_url")
            json.beginObject()
            json.field("url", image)
            json.endObject()
            json.endObject()
        }
        json.endArray()
    }
}

/// A tool call of an answer, or a piece of one.
struct ChatAnswerCall: Sendable {
    /// Its place among the calls, in a chunk.
    var index: Int?
    /// Only in its first piece.
    var id: String?
    var name: String?
    /// The text of a JSON object, or a piece of it.
    var arguments: String
    var thoughtSignature: String?

    static func write(_ calls: [ChatAnswerCall], to json: inout JSONWriter) {
        guard !calls.isEmpty else { return }
        json.name("tool_calls")
        json.beginArray()
        for call in calls {
            json.beginObject()
            json.optional("index", call.index)
            if let id = call.id {
                json.field("id", id)
                json.field("type", "function")
            }
            json.name("function")
            json.beginObject()
            json.optional("name", call.name)
            json.field("arguments", call.arguments)
            json.endObject()
            if let signature = call.thoughtSignature {
                json.name("extra_content")
                json.beginObject()
                json.name("google")
                json.beginObject()
                json.field("thought_signature", signature)
                json.endObject()
                json.endObject()
            }
            json.endObject()
        }
        json.endArray()
    }
}

/// Usage in OpenAI's form, out of a provider's.
struct ChatUsage: Equatable, Sendable {
    let prompt: Int64
    let cached: Int64
    let written: Int64
    let completion: Int64
    let reasoning: Int64?

    /// nil: the provider has not reported it.
    init?(_ reading: AnswerReading) {
        let billed = reading.usage.billed(reading.shape, hasOutput: reading.outputBytes > 0)
        guard let prompt = billed.prompt, let completion = billed.completion else { return nil }
        self.prompt = prompt
        self.completion = completion
        cached = billed.cached
        written = billed.cacheWrite + billed.cacheWriteHour
        reasoning = reading.usage.reasoning
    }

    func write(to json: inout JSONWriter) {
        json.name("usage")
        json.beginObject()
        json.field("prompt_tokens", prompt)
        json.field("completion_tokens", completion)
        json.field("total_tokens", prompt + completion)
        json.name("prompt_tokens_details")
        json.beginObject()
        json.field("cached_tokens", cached)
        if written > 0 { json.field("cache_write_tokens", written) }
        json.endObject()
        if let reasoning {
            json.name("completion_tokens_details")
            json.beginObject()
            json.field("reasoning_tokens", reasoning)
            json.endObject()
        }
        json.endObject()
    }
}

/// What is needed to answer in OpenAI's form.
public struct ChatAnswerTerms: Sendable {
    /// The request's id, for an answer without one of its own.
    public let request: String
    /// Seconds since 1970.
    public let created: Int64
    /// The model that was asked for, as the provider names it.
    public let model: String
    /// Whether the client asked for the chunk with nothing but usage.
    public let wantsUsageChunk: Bool

    public init(request: String, created: Int64, model: String, wantsUsageChunk: Bool) {
        self.request = request
        self.created = created
        self.model = model
        self.wantsUsageChunk = wantsUsageChunk
    }

    var answer: ChatAnswer { ChatAnswer(id: request, created: created, model: model) }
}
