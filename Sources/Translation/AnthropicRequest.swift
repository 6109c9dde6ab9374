import WireJSON

/// A chat completions request as Anthropic's messages API takes it (Anthropic, "Messages", version 2023-06-01).
public struct AnthropicRequest: Sendable {
    /// The body for `POST /v1/messages`.
    public let body: [UInt8]
    /// The least `max_tokens` with which it can be translated.
    public let leastTokens: Int64

    private static let provider = "Anthropic"
    /// The least that Anthropic thinks with.
    private static let leastThinking: Int64 = 1024

    /// Translates a request; `maxTokens`: the output bound that it was admitted with.
    public init(_ chat: [UInt8], model: String, maxTokens: Int64, isStream: Bool) throws {
        var chat = try ChatDocument(chat, for: Self.provider)
        var json = JSONWriter(reserving: 4096)
        json.beginObject()
        json.field("model", model)
        json.field("max_tokens", maxTokens)
        try Self.writeConversation(chat, to: &json)
        if isStream { json.field("stream", true) }
        try Self.writeTools(&chat, to: &json)
        let isThinking = try Self.writeSettings(&chat, maxTokens: maxTokens, to: &json)
        leastTokens = isThinking ? Self.leastThinking + 1 : 1
        _ = chat.take("max_tokens")
        _ = chat.take("max_completion_tokens")
        try chat.finish()
        json.endObject()
        body = json.bytes
    }

    // MARK: The conversation

    private static func writeConversation(_ chat: ChatDocument, to json: inout JSONWriter) throws {
        let instructions = try chat.instructions()
        if !instructions.isEmpty {
            json.name("system")
            json.beginArray()
            for part in instructions { try write(part, to: &json) }
            json.endArray()
        }
        json.name("messages")
        json.beginArray()
        for turn in chat.turns {
            json.beginObject()
            json.field("role", turn.isAnswer ? "assistant" : "user")
            json.name("content")
            json.beginArray()
            for message in turn.messages { try write(message, to: &json) }
            json.endArray()
            json.endObject()
        }
        json.endArray()
    }

    private static func write(_ message: ChatMessage, to json: inout JSONWriter) throws {
        if let id = message.toolCallID, message.role == .tool {
            json.beginObject()
            json.field("type", "tool_result")
            json.field("tool_use_id", callID(id))
            if !message.parts.isEmpty {
                json.name("content")
                json.beginArray()
                for part in message.parts { try write(part, to: &json) }
                json.endArray()
            }
            json.endObject()
            return
        }
        for block in message.thinkingBlocks { block.write(into: &json) }
        for part in message.parts {
            guard message.role == .user || part.text != nil else {
                throw Untranslatable.unsupported(part.path, by: provider)
            }
            // White space that another model has put before its calls is no text for Anthropic.
            if message.role == .assistant, part.text?.allSatisfy(\.isWhitespace) == true { continue }
            try write(part, to: &json)
        }
        for call in message.toolCalls {
            json.beginObject()
            json.field("type", "tool_use")
            json.field("id", callID(call.id))
            json.field("name", call.name)
            json.field("input", call.arguments)
            json.endObject()
        }
        if message.parts.isEmpty, message.toolCalls.isEmpty, message.thinkingBlocks.isEmpty {
            throw Untranslatable(
                "\(message.path).content", "'\(message.path).content' is empty: Anthropic takes no such message")
        }
    }

    /// The id of a call as Anthropic takes it: other providers' ids may have other characters.
    private static func callID(_ id: String) -> String {
        String(decoding: id.utf8.map { isPlain($0) ? $0 : UInt8(ascii: "_") }, as: UTF8.self)
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }

    private static func write(_ part: ChatPart, to json: inout JSONWriter) throws {
        json.beginObject()
        switch part.kind {
        case .text(let text):
            json.field("type", "text")
            json.field("text", text)
        case .image(let media):
            json.field("type", "image")
            try write(media, types: ["image/jpeg", "image/png", "image/gif", "image/webp"], at: part.path, to: &json)
        case .file(let media, let name):
            json.field("type", "document")
            try write(media, types: ["application/pdf"], at: part.path, to: &json)
            json.optional("title", name)
        case .audio: throw Untranslatable.unsupported("\(part.path).input_audio", by: provider)
        }
        json.optional("cache_control", part.cacheControl)
        json.endObject()
    }

    private static func write(
        _ media: ChatPart.Media, types: Set<String>, at path: String, to json: inout JSONWriter
    ) throws {
        json.name("source")
        json.beginObject()
        switch media {
        case .inline(let type, let base64):
            guard types.contains(type) else {
                throw Untranslatable(
                    path,
                    "'\(path)' is of type '\(type.prefix(64))'; Anthropic takes \(types.sorted().joined(separator: ", "))"
                )
            }
            json.field("type", "base64")
            json.field("media_type", type)
            json.field("data", base64)
        case .remote(let url):
            guard url.hasPrefix("https://") || url.hasPrefix("http://") else {
                throw Untranslatable(path, "'\(path)' must be an http or a Base64 data URL")
            }
            json.field("type", "url")
            json.field("url", url)
        }
        json.endObject()
    }

    // MARK: Tools

    private static func writeTools(_ chat: inout ChatDocument, to json: inout JSONWriter) throws {
        if !chat.tools.isEmpty {
            json.name("tools")
            json.beginArray()
            for tool in chat.tools {
                json.beginObject()
                json.field("name", tool.name)
                json.optional("description", tool.description)
                json.name("input_schema")
                if let parameters = tool.parameters {
                    parameters.write(into: &json)
                } else {
                    json.raw(#"{"type":"object","properties":{}}"#)
                }
                if tool.isStrict { json.field("strict", true) }
                json.optional("cache_control", tool.cacheControl)
                json.endObject()
            }
            json.endArray()
        }
        let choice = try chat.takeToolChoice()
        let isParallel = try chat.takeParallelToolCalls()
        guard !chat.tools.isEmpty, choice != nil || !isParallel else { return }
        json.name("tool_choice")
        json.beginObject()
        switch choice ?? .auto {
        case .auto: json.field("type", "auto")
        case .none: json.field("type", "none")
        case .required: json.field("type", "any")
        case .function(let name):
            json.field("type", "tool")
            json.field("name", name)
        }
        if !isParallel, choice != ChatDocument.ToolChoice.none { json.field("disable_parallel_tool_use", true) }
        json.endObject()
    }

    // MARK: Settings

    /// Writes what says how to answer; true where it is to think.
    private static func writeSettings(
        _ chat: inout ChatDocument, maxTokens: Int64, to json: inout JSONWriter
    ) throws -> Bool {
        json.optional("temperature", try temperature(&chat))
        json.optional("top_p", try chat.takeNumber("top_p"))
        json.optional("top_k", try chat.takeNumber("top_k"))
        let stop = try chat.takeStop()
        if !stop.isEmpty { json.field("stop_sequences", .array(stop.map(JSONValue.string))) }
        switch try chat.takeFormat() {
        case .text: break
        case .object:
            throw Untranslatable(
                "response_format.type", "'response_format' cannot be json_object for Anthropic: use json_schema")
        case .schema(let schema):
            json.name("output_config")
            json.beginObject()
            json.name("format")
            json.beginObject()
            json.field("type", "json_schema")
            json.field("schema", schema)
            json.endObject()
            json.endObject()
        }
        guard let budget = try chat.takeThinkingBudget(), budget > 0 else { return false }
        // Fewer than the whole output.
        guard maxTokens > leastThinking else {
            throw Untranslatable(
                "reasoning_effort", "'reasoning_effort' needs a max_tokens above 1024 for Anthropic; it is \(maxTokens)"
            )
        }
        json.name("thinking")
        json.beginObject()
        json.field("type", "enabled")
        // Half of the output is left for the answer, where that leaves enough to think with.
        json.field("budget_tokens", min(budget, max(leastThinking, maxTokens / 2)))
        json.endObject()
        return true
    }

    /// OpenAI's temperatures go to 2, Anthropic's to 1.
    private static func temperature(_ chat: inout ChatDocument) throws -> JSONValue? {
        guard let value = try chat.takeNumber("temperature") else { return nil }
        guard case .number(let digits) = value, let number = Double(digits), (0...1).contains(number) else {
            throw Untranslatable("temperature", "'temperature' must be from 0 to 1 for Anthropic")
        }
        return value
    }
}
