import HTTPTypes
import Ledger
import WireJSON

/// Walks through a request once.
struct ModelRequestReader {
    let endpoint: Endpoint
    /// What the model reads of it.
    private(set) var prompt: PromptMeasure
    var model: String?
    var modelRange: Range<Int>?
    var isStream = false
    var user: String?
    var hasPrompt = false
    var wantsUsage = false
    var streamOptions: Range<Int>?
    var includeUsage: Range<Int>?
    var streamOptionsIsEmpty = true
    var bounds: [Int64] = []
    var boundNames: [String: Range<Int>] = [:]
    var nullBounds: [(name: String, range: Range<Int>)] = []
    var choices: Int64 = 1
    var searches: Int64 = 0
    var maxToolCalls: Int64?
    var hasTools = false
    var end = 0

    private let settings: Set<String>
    private let guarded: [String: Set<String>]

    init(endpoint: Endpoint, media: ModelConfiguration) {
        self.endpoint = endpoint
        prompt = PromptMeasure(media: media)
        settings = endpoint.settings
        guarded = endpoint.guarded
    }

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
                throw GatewayError(
                    .badRequest, "duplicate_field", "'\(name.cut(toBytes: 64))' is there twice", param: nil)
            }
            // With its quotation marks.
            try member(name, &json, at: text.range.lowerBound - 1..<text.range.upperBound + 1)
        }
        end = json.offset - 1
        try json.end()
    }

    private mutating func member(_ name: String, _ json: inout JSONScanner, at place: Range<Int>) throws {
        if let harmless = guarded[name] { return try check(name, harmless, &json) }
        if name == endpoint.promptMember { return try readPrompt(&json) }
        if endpoint.boundMembers.contains(name) { return try bound(name, &json, at: place) }
        switch name {
        case "model":
            guard json.peek() == .string else { throw Self.wrongType(name, "a text") }
            let range = json.offset
            model = try json.string()
            modelRange = range..<json.offset
        case "stream":
            if try json.null() { return }
            guard json.peek() == .bool else { throw Self.wrongType(name, "true or false") }
            isStream = try json.bool()
            if isStream, endpoint == .embeddings { throw Self.wrongType(name, "false: embeddings are no stream") }
        case "stream_options" where endpoint == .chat: try readStreamOptions(&json)
        case "user" where endpoint != .messages:
            if json.peek() == .string { user = try json.string() } else { try json.skip() }
        case "metadata" where endpoint == .messages: try readMetadata(&json)
        case "n" where endpoint == .chat:
            if try json.null() { return }
            choices = try positive(name, &json, atMost: 128)
        case "max_tool_calls" where endpoint == .responses:
            if try json.null() { return }
            maxToolCalls = try positive(name, &json, atMost: 1024)
        case "cache_control" where endpoint == .messages:
            // The provider itself chooses what it keeps.
            if json.peek() == .object { prompt.writesCache = true }
            try json.skip()
        case "tools": try readTools(&json)
        case "search_parameters" where endpoint == .chat: try readSearchParameters(&json)
        case _ where settings.contains(name): try json.skip()
        default: try prompt.measure(&json)
        }
    }

    /// What cannot be charged exactly is refused by name.
    private func check(_ name: String, _ harmless: Set<String>, _ json: inout JSONScanner) throws {
        let value = String(decoding: json.bytes(try json.skip()), as: UTF8.self)
        guard value == "null" || harmless.contains(value.filter { !$0.isWhitespace }) else {
            throw GatewayError(
                .badRequest, "not_offered",
                "'\(name)' with this value is not offered: what it costs cannot be charged exactly; leave it out",
                param: name)
        }
    }

    private mutating func readPrompt(_ json: inout JSONScanner) throws {
        let name = endpoint.promptMember
        let kind = json.peek()
        guard kind == .array || (kind == .string && name == "input") else {
            throw Self.wrongType(name, name == "input" ? "a text or an array" : "an array")
        }
        hasPrompt = true
        try prompt.measure(&json)
    }

    private mutating func bound(_ name: String, _ json: inout JSONScanner, at place: Range<Int>) throws {
        _ = json.peek()
        let range = json.offset
        if try json.null() {
            nullBounds.append((name, range..<json.offset))
        } else {
            bounds.append(try positive(name, &json, atMost: Usage.maximumTokens))
            boundNames[name] = place
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

    private mutating func readMetadata(_ json: inout JSONScanner) throws {
        guard json.peek() == .object else {
            try json.skip()
            return
        }
        try json.enterObject()
        while let name = try json.nextMember() {
            if json.equals(name, "user_id"), json.peek() == .string {
                user = try json.string()
            } else {
                try json.skip()
            }
        }
    }

    // MARK: What the provider does beside answering

    private mutating func readTools(_ json: inout JSONScanner) throws {
        var tools = json
        try prompt.measure(&json)
        guard tools.peek() == .array else { return }
        try tools.enterArray()
        var index = 0
        while try tools.nextElement() {
            hasTools = true
            try readTool(&tools, "tools[\(index)]")
            index += 1
        }
    }

    private mutating func readTool(_ json: inout JSONScanner, _ path: String) throws {
        guard json.peek() == .object else { throw Self.wrongType(path, "an object") }
        var type: String?
        var uses: Int64?
        var contentTokens: Int64?
        try json.enterObject()
        while let name = try json.nextMember() {
            if json.equals(name, "type"), json.peek() == .string {
                type = try json.string()
            } else if json.equals(name, "max_uses"), json.peek() == .number {
                uses = try positive("\(path).max_uses", &json, atMost: 1024)
            } else if json.equals(name, "max_content_tokens"), json.peek() == .number {
                contentTokens = try positive("\(path).max_content_tokens", &json, atMost: Usage.maximumTokens)
            } else {
                try json.skip()
            }
        }
        switch endpoint.kind(ofTool: type) {
        case .client: break
        case .search where endpoint == .responses: searches += 1
        case .search:
            guard let uses else {
                throw GatewayError(
                    .badRequest, "missing_field", "'\(path).max_uses' is required: a search costs",
                    param: "\(path).max_uses")
            }
            searches += uses
        case .fetch:
            guard let uses, let contentTokens else {
                throw GatewayError(
                    .badRequest, "missing_field",
                    "'\(path)' needs max_uses and max_content_tokens: what is fetched costs",
                    param: path)
            }
            // Each is bounded above: it cannot overflow.
            prompt.fetchedTokens = prompt.fetchedTokens.addingClamped(uses * contentTokens)
        case .refused:
            throw GatewayError(
                .badRequest, "not_offered",
                "Tools of the type '\((type ?? "").cut(toBytes: 64))' are not offered: what they cost cannot be charged exactly",
                param: "\(path).type")
        }
    }

    /// xAI's live search.
    private mutating func readSearchParameters(_ json: inout JSONScanner) throws {
        guard json.peek() == .object else {
            try json.skip()
            return
        }
        // xAI's own default.
        var results: Int64 = 15
        var mode = "auto"
        try json.enterObject()
        while let name = try json.nextMember() {
            if json.equals(name, "mode"), json.peek() == .string {
                mode = try json.string()
            } else if json.equals(name, "max_search_results"), json.peek() == .number {
                results = try positive("search_parameters.max_search_results", &json, atMost: 1024)
            } else {
                try json.skip()
            }
        }
        if mode != "off" { searches += results }
    }
}
