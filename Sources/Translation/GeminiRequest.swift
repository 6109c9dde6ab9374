import WireJSON

/// A chat completions request as Gemini's API takes it (Google, "GenerateContent", v1beta).
public struct GeminiRequest: Sendable {
    /// The body for `models/<model>:generateContent` and `:streamGenerateContent`.
    public let body: [UInt8]

    private static let provider = "Gemini"

    /// Translates a request; `maxTokens`: the output bound that it was admitted with, for each choice.
    public init(_ chat: [UInt8], maxTokens: Int64) throws {
        var chat = try ChatDocument(chat, for: Self.provider)
        var json = JSONWriter(reserving: 4096)
        json.beginObject()
        try Self.writeConversation(chat, to: &json)
        try Self.writeTools(&chat, to: &json)
        try Self.writeSettings(&chat, maxTokens: maxTokens, to: &json)
        try chat.finish()
        json.endObject()
        body = json.bytes
    }

    // MARK: The conversation

    private static func writeConversation(_ chat: ChatDocument, to json: inout JSONWriter) throws {
        let instructions = try chat.instructions()
        if !instructions.isEmpty {
            json.name("systemInstruction")
            json.beginObject()
            json.name("parts")
            json.beginArray()
            for part in instructions { try write(part, to: &json) }
            json.endArray()
            json.endObject()
        }
        /// The functions that were called, by the calls' ids: Gemini matches an answer by the function's name.
        var functions: [String: String] = [:]
        json.name("contents")
        json.beginArray()
        for turn in chat.turns {
            json.beginObject()
            json.field("role", turn.isAnswer ? "model" : "user")
            json.name("parts")
            json.beginArray()
            for message in turn.messages {
                for call in message.toolCalls { functions[call.id] = call.name }
                if message.role == .tool {
                    try writeResult(message, functions, to: &json)
                } else {
                    try write(message, to: &json)
                }
            }
            json.endArray()
            json.endObject()
        }
        json.endArray()
    }

    private static func write(_ message: ChatMessage, to json: inout JSONWriter) throws {
        guard message.thinkingBlocks.isEmpty else {
            throw Untranslatable.unsupported("\(message.path).thinking_blocks", by: provider)
        }
        for part in message.parts { try write(part, to: &json) }
        for call in message.toolCalls {
            json.beginObject()
            json.name("functionCall")
            json.beginObject()
            json.field("name", call.name)
            json.field("args", call.arguments)
            if !GeminiCallID.isOurs(call.id) { json.field("id", call.id) }
            json.endObject()
            json.optional("thoughtSignature", call.thoughtSignature)
            json.endObject()
        }
        if message.parts.isEmpty, message.toolCalls.isEmpty {
            throw Untranslatable(
                "\(message.path).content", "'\(message.path).content' is empty: Gemini takes no such message")
        }
    }

    private static func writeResult(
        _ message: ChatMessage, _ functions: [String: String], to json: inout JSONWriter
    ) throws {
        let id = message.toolCallID ?? ""
        guard let name = functions[id] else {
            throw Untranslatable(
                "\(message.path).tool_call_id",
                "'\(message.path).tool_call_id' answers no tool call of an earlier message")
        }
        // It is sent with each result again: OpenAI bounds it, too ("Create chat completion", tools).
        guard name.utf8.count <= 128 else {
            throw Untranslatable(
                message.path, "'\(message.path)' answers a function whose name has more than 128 bytes")
        }
        var text = ""
        for part in message.parts {
            guard let piece = part.text else { throw Untranslatable.unsupported(part.path, by: provider) }
            text += piece
        }
        json.beginObject()
        json.name("functionResponse")
        json.beginObject()
        json.field("name", name)
        if !GeminiCallID.isOurs(id) { json.field("id", id) }
        json.name("response")
        if let result = try? JSONValue(Array(text.utf8)), result.object != nil {
            result.write(into: &json)
        } else {
            json.beginObject()
            json.field("result", text)
            json.endObject()
        }
        json.endObject()
        json.endObject()
    }

    private static func write(_ part: ChatPart, to json: inout JSONWriter) throws {
        guard part.cacheControl == nil else {
            throw Untranslatable.unsupported("\(part.path).cache_control", by: provider)
        }
        json.beginObject()
        switch part.kind {
        case .text(let text): json.field("text", text)
        case .image(let media): try write(media, at: part.path, to: &json)
        case .file(let media, _): try write(media, at: part.path, to: &json)
        case .audio(let data, let format):
            guard ["wav", "mp3"].contains(format) else {
                throw Untranslatable.wrongType("\(part.path).input_audio.format", "wav or mp3")
            }
            try write(.inline(type: "audio/" + format, base64: data), at: part.path, to: &json)
        }
        json.endObject()
    }

    private static func write(_ media: ChatPart.Media, at path: String, to json: inout JSONWriter) throws {
        switch media {
        case .inline(let type, let base64):
            json.name("inlineData")
            json.beginObject()
            json.field("mimeType", type)
            json.field("data", base64)
            json.endObject()
        case .remote(let url):
            // Gemini fetches nothing from anywhere: only what has been uploaded to it.
            guard url.hasPrefix("https://generativelanguage.googleapis.com/") || url.hasPrefix("gs://") else {
                throw Untranslatable(path, "'\(path)' must be a Base64 data URL, or a file that was uploaded to Gemini")
            }
            json.name("fileData")
            json.beginObject()
            json.field("fileUri", url)
            json.endObject()
        }
    }

    // MARK: Tools

    private static func writeTools(_ chat: inout ChatDocument, to json: inout JSONWriter) throws {
        if !chat.tools.isEmpty {
            json.name("tools")
            json.beginArray()
            json.beginObject()
            json.name("functionDeclarations")
            json.beginArray()
            for (index, tool) in chat.tools.enumerated() {
                guard tool.cacheControl == nil else {
                    throw Untranslatable.unsupported("tools[\(index)].cache_control", by: provider)
                }
                json.beginObject()
                json.field("name", tool.name)
                json.optional("description", tool.description)
                json.optional("parametersJsonSchema", tool.parameters)
                json.endObject()
            }
            json.endArray()
            json.endObject()
            json.endArray()
        }
        let choice = try chat.takeToolChoice()
        guard try chat.takeParallelToolCalls() else {
            throw Untranslatable.unsupported("parallel_tool_calls", by: provider)
        }
        let isStrict = chat.tools.contains(where: \.isStrict)
        guard !chat.tools.isEmpty, choice != nil || isStrict else { return }
        json.name("toolConfig")
        json.beginObject()
        json.name("functionCallingConfig")
        json.beginObject()
        switch choice ?? .auto {
        // VALIDATED is AUTO with arguments that keep to their schema.
        case .auto: json.field("mode", isStrict ? "VALIDATED" : "AUTO")
        case .none: json.field("mode", "NONE")
        case .required: json.field("mode", "ANY")
        case .function(let name):
            json.field("mode", "ANY")
            json.field("allowedFunctionNames", .array([.string(name)]))
        }
        json.endObject()
        json.endObject()
    }

    // MARK: Settings

    private static func writeSettings(
        _ chat: inout ChatDocument, maxTokens: Int64, to json: inout JSONWriter
    ) throws {
        _ = chat.take("max_tokens")
        _ = chat.take("max_completion_tokens")
        json.name("generationConfig")
        json.beginObject()
        json.field("maxOutputTokens", maxTokens)
        json.optional("temperature", try chat.takeNumber("temperature"))
        json.optional("topP", try chat.takeNumber("top_p"))
        json.optional("topK", try chat.takeNumber("top_k"))
        json.optional("seed", try chat.takeNumber("seed"))
        json.optional("presencePenalty", try chat.takeNumber("presence_penalty"))
        json.optional("frequencyPenalty", try chat.takeNumber("frequency_penalty"))
        json.optional("candidateCount", try chat.takeNumber("n"))
        let stop = try chat.takeStop()
        if !stop.isEmpty { json.field("stopSequences", .array(stop.map(JSONValue.string))) }
        switch try chat.takeFormat() {
        case .text: break
        case .object: json.field("responseMimeType", "application/json")
        case .schema(let schema):
            json.field("responseMimeType", "application/json")
            json.field("responseJsonSchema", schema)
        }
        if let wanted = try chat.takeThinkingBudget() {
            // Thoughts are part of the output: half of it is left for the answer.
            let budget = min(wanted, maxTokens / 2)
            json.name("thinkingConfig")
            json.beginObject()
            json.field("thinkingBudget", budget)
            if budget > 0 { json.field("includeThoughts", true) }
            json.endObject()
        }
        json.endObject()
    }
}

/// The ids of tool calls that we give because Gemini gave none: they are not sent back to it.
enum GeminiCallID {
    private static let prefix = "call_gw_"

    /// The id of the call of that number in an answer; of at most 40 characters, as OpenAI takes them.
    static func make(_ answer: String, _ index: Int, _ number: Int) -> String {
        "\(prefix)\(answer.suffix(22))_\(index)_\(number)"
    }

    static func isOurs(_ id: String) -> Bool { id.hasPrefix(prefix) }
}
