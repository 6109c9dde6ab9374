import WireJSON

/// Why a chat request cannot be translated: what stands in the way, by its name in the request.
public struct Untranslatable: Error, Equatable, Sendable {
    /// Where it is: `messages[2].content[0].image_url`.
    public let param: String
    /// What is the matter, and what to do.
    public let message: String

    init(_ param: String, _ message: String) {
        self.param = param
        self.message = message
    }

    /// A member that the provider has nothing for.
    static func unsupported(_ param: String, by provider: String) -> Untranslatable {
        Untranslatable(param, "'\(param)' cannot be translated for \(provider): leave it out")
    }

    static func wrongType(_ param: String, _ wanted: String) -> Untranslatable {
        Untranslatable(param, "'\(param)' must be \(wanted)")
    }
}

/// A chat completions request, understood (OpenAI, API reference, "Create chat completion").
///
/// What a provider has nothing for is refused by name when it is asked for: nothing is dropped in silence.
struct ChatDocument {
    let messages: [ChatMessage]
    let tools: [ChatTool]
    private let members: JSONObject
    /// The members that have been asked for.
    private var seen: Set<String> = ["model", "messages", "tools", "stream", "stream_options", "user"]
    private let provider: String

    /// `provider`: its name in messages to the client.
    init(_ body: [UInt8], for provider: String) throws {
        let document: JSONValue
        do {
            document = try JSONValue(body)
        } catch {
            throw Untranslatable("body", "The request body is not valid JSON: \(error)")
        }
        guard let members = document.object else { throw Untranslatable.wrongType("body", "an object") }
        self.members = members
        self.provider = provider
        guard let messages = members["messages"]?.array else {
            throw Untranslatable.wrongType("messages", "an array")
        }
        self.messages = try messages.enumerated().map { index, message in
            try ChatMessage(message, at: "messages[\(index)]", for: provider)
        }
        // Instructions alone ask nothing.
        guard self.messages.contains(where: { $0.role != .system }) else {
            throw Untranslatable.wrongType("messages", "an array with a message of the user")
        }
        switch members.present("tools") {
        case .array(let tools)?:
            self.tools = try tools.enumerated().map { try ChatTool($1, at: "tools[\($0)]", for: provider) }
        case nil: tools = []
        default: throw Untranslatable.wrongType("tools", "an array")
        }
    }

    /// What is no part of the conversation: the texts of all instructions, in their order.
    func instructions() throws(Untranslatable) -> [ChatPart] {
        var parts: [ChatPart] = []
        for part in messages.filter({ $0.role == .system }).flatMap(\.parts) {
            guard part.text != nil else { throw .unsupported(part.path, by: provider) }
            parts.append(part)
        }
        return parts
    }

    /// The conversation: what follows each other of one side is one message for the provider; a tool's result is the user's. An earlier answer
    /// that was empty says nothing.
    var turns: [(isAnswer: Bool, messages: [ChatMessage])] {
        messages.filter { $0.role != .system && !$0.isEmptyAnswer }.reduce(into: []) { turns, message in
            let isAnswer = message.role == .assistant
            if turns.last?.isAnswer == isAnswer {
                turns[turns.count - 1].messages.append(message)
            } else {
                turns.append((isAnswer, [message]))
            }
        }
    }

    /// A member, unless it is null; from now on it counts as translated.
    mutating func take(_ name: String) -> JSONValue? {
        seen.insert(name)
        return members.present(name)
    }

    /// A number, as it was written.
    mutating func takeNumber(_ name: String) throws(Untranslatable) -> JSONValue? {
        guard let value = take(name) else { return nil }
        guard case .number = value else { throw .wrongType(name, "a number") }
        return value
    }

    /// Members that say nothing beyond what is so anyway, where they have one of these values; unless they have been translated.
    private mutating func takeDefault(_ name: String, _ defaults: [JSONValue]) throws(Untranslatable) {
        guard !seen.contains(name), let value = take(name), !defaults.contains(value) else { return }
        throw .unsupported(name, by: provider)
    }

    mutating func takeStop() throws(Untranslatable) -> [String] {
        switch take("stop") {
        case nil: return []
        case .string(let text)?: return [text]
        case .array(let values)?:
            var texts: [String] = []
            for value in values {
                guard let text = value.string else { throw .wrongType("stop", "a text or an array of texts") }
                texts.append(text)
            }
            return texts
        default: throw .wrongType("stop", "a text or an array of texts")
        }
    }

    /// How the output is to be formed.
    enum Format {
        case text, object
        case schema(JSONValue)
    }

    mutating func takeFormat() throws(Untranslatable) -> Format {
        guard let value = take("response_format") else { return .text }
        switch value.object?["type"]?.string {
        case "text": return .text
        case "json_object": return .object
        case "json_schema":
            try value.object?.refuseOthers(than: ["type", "json_schema"], at: "response_format", for: provider)
            // Its name and description are for people; strict it is anyway.
            try value.object?["json_schema"]?.object?.refuseOthers(
                than: ["name", "description", "schema", "strict"], at: "response_format.json_schema", for: provider)
            guard let schema = value.object?["json_schema"]?.object?.present("schema") else {
                throw .wrongType("response_format.json_schema.schema", "a JSON schema")
            }
            return .schema(schema)
        default: throw .wrongType("response_format.type", "text, json_object or json_schema")
        }
    }

    enum ToolChoice: Equatable {
        case auto, none, required
        case function(String)
    }

    mutating func takeToolChoice() throws(Untranslatable) -> ToolChoice? {
        guard let value = take("tool_choice") else { return nil }
        switch value.string {
        case "auto": return .auto
        case "none": return ToolChoice.none
        case "required": return .required
        default: break
        }
        guard value.object?["type"]?.string == "function",
            let name = value.object?["function"]?.object?["name"]?.string
        else { throw .unsupported("tool_choice", by: provider) }
        return .function(name)
    }

    mutating func takeParallelToolCalls() throws(Untranslatable) -> Bool {
        guard let value = take("parallel_tool_calls") else { return true }
        guard let isParallel = value.bool else { throw .wrongType("parallel_tool_calls", "true or false") }
        return isParallel
    }

    /// How many tokens to think with, by Google's own figures for OpenAI's words; nil: not said; 0: not at all.
    mutating func takeThinkingBudget() throws(Untranslatable) -> Int64? {
        guard let value = take("reasoning_effort") else { return nil }
        switch value.string {
        case "none": return 0
        case "minimal", "low": return 1024
        case "medium": return 8192
        case "high": return 24_576
        default: throw .wrongType("reasoning_effort", "none, minimal, low, medium or high")
        }
    }

    /// Refuses what nobody has asked for: it has no counterpart.
    mutating func finish() throws(Untranslatable) {
        try takeDefault("n", [.number("1")])
        try takeDefault("frequency_penalty", [.number("0"), .number("0.0")])
        try takeDefault("presence_penalty", [.number("0"), .number("0.0")])
        try takeDefault("logprobs", [.bool(false)])
        try takeDefault("logit_bias", [.object(JSONObject())])
        try takeDefault("store", [.bool(false)])
        try takeDefault("metadata", [.object(JSONObject())])
        try takeDefault("modalities", [.array([.string("text")]), .string("text"), .array([])])
        try takeDefault("top_logprobs", [.number("0")])
        try takeDefault("verbosity", [.string("medium")])
        try takeDefault("service_tier", [.string("auto"), .string("default")])
        for member in members.members where !seen.contains(member.name) && member.value != .null {
            throw .unsupported(member.name, by: provider)
        }
    }
}

extension JSONObject {
    /// All but one of its members.
    fileprivate func without(_ name: String) -> JSONObject {
        members.filter { $0.name != name }.reduce(into: JSONObject()) { $0.append($1.name, $1.value) }
    }

    /// Refuses members that nobody understands: what is not translated is not dropped in silence either.
    func refuseOthers(than known: Set<String>, at path: String, for provider: String) throws(Untranslatable) {
        for member in members where !known.contains(member.name) && member.value != .null {
            throw .unsupported("\(path).\(member.name)", by: provider)
        }
    }
}

/// A tool that the model may call.
struct ChatTool {
    let name: String
    let description: String?
    let parameters: JSONValue?
    let isStrict: Bool
    let cacheControl: JSONValue?

    init(_ value: JSONValue, at path: String, for provider: String) throws {
        guard value.object?["type"]?.string == "function", let function = value.object?["function"]?.object else {
            throw Untranslatable("\(path).type", "'\(path).type' must be 'function' for \(provider)")
        }
        guard let name = function["name"]?.string else {
            throw Untranslatable.wrongType("\(path).function.name", "a text")
        }
        try value.object?.refuseOthers(than: ["type", "function", "cache_control"], at: path, for: provider)
        try function.refuseOthers(
            than: ["name", "description", "parameters", "strict"], at: "\(path).function", for: provider)
        self.name = name
        description = function["description"]?.string
        parameters = function.present("parameters")
        isStrict = function["strict"]?.bool ?? false
        cacheControl = value.object?.present("cache_control")
    }
}

/// A message of a conversation.
struct ChatMessage {
    enum Role: String { case system, user, assistant, tool }

    let role: Role
    let parts: [ChatPart]
    let toolCalls: [ChatToolCall]
    /// Of a tool's message: the call that it answers.
    let toolCallID: String?
    /// Thinking of an earlier answer, as Anthropic wrote it, with its signature.
    let thinkingBlocks: [JSONValue]
    let path: String

    init(_ value: JSONValue, at path: String, for provider: String) throws {
        guard let message = value.object else { throw Untranslatable.wrongType(path, "an object") }
        self.path = path
        switch message["role"]?.string {
        // OpenAI's newer word for it.
        case "developer": role = .system
        case let name?:
            guard let role = Role(rawValue: name) else {
                throw Untranslatable(
                    "\(path).role", "'\(path).role' must be system, developer, user, assistant or tool")
            }
            self.role = role
        case nil: throw Untranslatable.wrongType("\(path).role", "a text")
        }
        parts = try ChatPart.parts(of: message, at: path, for: provider)
        toolCallID = message["tool_call_id"]?.string
        switch message.present("thinking_blocks") {
        case .array(let blocks)? where role == .assistant:
            for (index, block) in blocks.enumerated() {
                guard ["thinking", "redacted_thinking"].contains(block.object?["type"]?.string) else {
                    throw Untranslatable.wrongType(
                        "\(path).thinking_blocks[\(index)]", "a block of thinking, as an answer has given it")
                }
            }
            // The place that a stream gave it is no part of it.
            thinkingBlocks = blocks.map { .object($0.object?.without("index") ?? JSONObject()) }
        case nil, .array([])?: thinkingBlocks = []
        default: throw Untranslatable.wrongType("\(path).thinking_blocks", "an array, in an assistant's message")
        }
        switch message.present("tool_calls") {
        case .array(let calls)? where role == .assistant || calls.isEmpty:
            toolCalls = try calls.enumerated().map {
                try ChatToolCall($1, at: "\(path).tool_calls[\($0)]", for: provider)
            }
        case nil: toolCalls = []
        default: throw Untranslatable.wrongType("\(path).tool_calls", "an array, in an assistant's message")
        }
        if role == .tool, toolCallID == nil { throw Untranslatable.wrongType("\(path).tool_call_id", "a text") }
        if role != .tool, toolCallID != nil { throw Untranslatable.unsupported("\(path).tool_call_id", by: provider) }
        for member in message.members where !Self.known.contains(member.name) && member.value != .null {
            // Older clients name the function beside the call that it answers.
            if member.name == "name", role == .tool { continue }
            // What a client got as an answer it sends back whole; what of it was empty says nothing.
            if member.value == .array([]) || member.value == .string("") { continue }
            throw Untranslatable.unsupported("\(path).\(member.name)", by: provider)
        }
    }

    var isEmptyAnswer: Bool {
        role == .assistant && parts.isEmpty && toolCalls.isEmpty && thinkingBlocks.isEmpty
    }

    /// `reasoning_content` is an answer's text about its thinking: providers want it back only with a signature, in `thinking_blocks`.
    private static let known: Set<String> = [
        "role", "content", "refusal", "tool_calls", "tool_call_id", "thinking_blocks", "reasoning_content",
        "cache_control", "images",
    ]
}

/// A call of a tool that an earlier answer made.
struct ChatToolCall {
    let id: String
    let name: String
    let arguments: JSONValue
    /// Gemini's mark of the thinking behind the call.
    let thoughtSignature: String?

    init(_ value: JSONValue, at path: String, for provider: String) throws {
        guard let id = value.object?["id"]?.string else { throw Untranslatable.wrongType("\(path).id", "a text") }
        // A call's place among others, which a stream gave, says nothing in a list.
        try value.object?.refuseOthers(
            than: ["id", "type", "index", "function", "extra_content"], at: path, for: provider)
        try value.object?["function"]?.object?.refuseOthers(
            than: ["name", "arguments"], at: "\(path).function", for: provider)
        guard let function = value.object?["function"]?.object, let name = function["name"]?.string else {
            throw Untranslatable.wrongType("\(path).function", "a function's name and arguments")
        }
        self.id = id
        self.name = name
        let text = function["arguments"]?.string ?? ""
        let arguments = text.allSatisfy(\.isWhitespace) ? .object(JSONObject()) : try? JSONValue(Array(text.utf8))
        guard let arguments, arguments.object != nil else {
            throw Untranslatable.wrongType("\(path).function.arguments", "the text of a JSON object")
        }
        self.arguments = arguments
        thoughtSignature =
            value.object?["extra_content"]?.object?["google"]?.object?["thought_signature"]?.string
    }
}

/// A part of a message's content.
struct ChatPart {
    enum Kind {
        case text(String)
        /// A picture: its bytes in Base64 with their type, or where it is.
        case image(Media)
        /// Sound in Base64: `wav` or `mp3`.
        case audio(data: String, format: String)
        /// A document in Base64.
        case file(Media, name: String?)
    }

    enum Media {
        case inline(type: String, base64: String)
        case remote(String)

        /// Reads a data URL in Base64 (RFC 2397); anything else is somewhere else.
        init(url: String) {
            guard url.prefix(5).lowercased() == "data:", let comma = url.firstIndex(of: ",") else {
                self = .remote(url)
                return
            }
            let head = url[url.index(url.startIndex, offsetBy: 5)..<comma].lowercased()
            let fields = head.split(separator: ";", omittingEmptySubsequences: false).map {
                String($0.filter { $0 != " " })
            }
            guard fields.last == "base64", let type = fields.first, type.contains("/") else {
                self = .remote(url)
                return
            }
            // A name that is often given, and registered by nobody.
            let registered = type == "image/jpg" ? "image/jpeg" : type
            self = .inline(type: registered, base64: String(url[url.index(after: comma)...]))
        }
    }

    let kind: Kind
    let cacheControl: JSONValue?
    let path: String

    /// The text, where it is one.
    var text: String? { if case .text(let text) = kind { text } else { nil } }

    fileprivate static func parts(
        of message: JSONObject, at path: String, for provider: String
    ) throws -> [ChatPart] {
        var parts: [ChatPart] = []
        let cacheControl = message.present("cache_control")
        switch message.present("content") {
        case nil: break
        case .string(let text)?:
            if !text.isEmpty {
                parts.append(ChatPart(kind: .text(text), cacheControl: cacheControl, path: "\(path).content"))
            }
        case .array(let values)?:
            // It belongs to a part.
            if cacheControl != nil { throw Untranslatable.unsupported("\(path).cache_control", by: provider) }
            for (index, value) in values.enumerated() {
                let place = "\(path).content[\(index)]"
                guard let part = try ChatPart(value, at: place, for: provider) else { continue }
                parts.append(part)
            }
        default: throw Untranslatable.wrongType("\(path).content", "a text or an array of parts")
        }
        if case .string(let text)? = message.present("refusal"), !text.isEmpty {
            parts.append(ChatPart(kind: .text(text), cacheControl: nil, path: "\(path).refusal"))
        }
        // Pictures of an earlier answer, as `ChatChoice` gives them.
        for (index, value) in (message["images"]?.array ?? []).enumerated() {
            let picture = value.object.map { JSONValue.object($0.without("index")) } ?? value
            if let part = try ChatPart(picture, at: "\(path).images[\(index)]", for: provider) { parts.append(part) }
        }
        return parts
    }

    private init(kind: Kind, cacheControl: JSONValue?, path: String) {
        self.kind = kind
        self.cacheControl = cacheControl
        self.path = path
    }

    /// Reads a part; nil for an empty text.
    private init?(_ value: JSONValue, at path: String, for provider: String) throws {
        guard let part = value.object, let type = part["type"]?.string else {
            throw Untranslatable.wrongType("\(path).type", "a text")
        }
        self.path = path
        cacheControl = part.present("cache_control")
        try part.refuseOthers(than: ["type", type, "cache_control"], at: path, for: provider)
        let payload = part[type]?.object
        switch type {
        case "text", "refusal":
            guard let text = part[type]?.string else { throw Untranslatable.wrongType("\(path).\(type)", "a text") }
            if text.isEmpty { return nil }
            kind = .text(text)
        case "image_url":
            guard let url = payload?["url"]?.string ?? part["image_url"]?.string else {
                throw Untranslatable.wrongType("\(path).image_url.url", "a text")
            }
            if payload?["detail"] != .string("auto") {
                try payload?.refuseOthers(than: ["url"], at: "\(path).image_url", for: provider)
            }
            kind = .image(Media(url: url))
        case "input_audio":
            try payload?.refuseOthers(than: ["data", "format"], at: "\(path).input_audio", for: provider)
            guard let audio = payload, let data = audio["data"]?.string,
                let format = audio["format"]?.string
            else { throw Untranslatable.wrongType("\(path).input_audio", "data and their format") }
            kind = .audio(data: data, format: format)
        case "file":
            guard let file = payload, let data = file["file_data"]?.string else {
                throw Untranslatable.wrongType("\(path).file.file_data", "a data URL")
            }
            try file.refuseOthers(than: ["file_data", "filename"], at: "\(path).file", for: provider)
            kind = .file(Media(url: data), name: file["filename"]?.string)
        default:
            throw Untranslatable("\(path).type", "'\(path).type' must be text, image_url, input_audio or file")
        }
    }
}
