public import Metering
import WireJSON

/// Makes an answer in OpenAI's form out of Anthropic's (Anthropic, "Messages" and "Streaming messages").
public struct AnthropicAnswer: EventTranslator {
    private let wantsUsageChunk: Bool
    private var answer: ChatAnswer
    private var finish: String?
    private var hasBegun = false
    /// How many tool calls have begun.
    private var calls = 0
    /// Whether a tool call is under way.
    private var isInCall = false
    /// Whether it has had no arguments yet.
    private var lacksArguments = false
    /// The thinking block that is under way, to be given whole with its signature.
    private var thinking: Thinking?
    /// How many thinking blocks have been given.
    private var blocks = 0
    private var hasToldError = false

    /// The most text of a thinking block that is kept.
    private static let maximumThinkingBytes = 4 << 20

    private struct Thinking {
        var text = ""
        var signature = ""
    }

    public init(_ terms: ChatAnswerTerms) {
        wantsUsageChunk = terms.wantsUsageChunk
        answer = terms.answer
    }

    /// Anthropic's reasons, in OpenAI's words.
    private static func finish(_ reason: String) -> String {
        switch reason {
        case "max_tokens", "model_context_window_exceeded": "length"
        case "tool_use": "tool_calls"
        case "refusal": "content_filter"
        default: "stop"
        }
    }

    // MARK: A stream

    public mutating func translate(
        _ data: UnsafeBufferPointer<UInt8>, _ reading: AnswerReading, into output: inout [UInt8]
    ) {
        guard let event = (try? JSONValue(data))?.object else { return }
        switch event["type"]?.string {
        case "message_start":
            answer.name(event["message"]?.object?["id"]?.string)
            if let model = reading.servedModel { answer.model = model }
            begin(&output)
        case "content_block_start":
            begin(&output)
            if let block = event["content_block"]?.object { start(block, &output) }
        case "content_block_delta":
            if let delta = event["delta"]?.object { add(delta, &output) }
        case "content_block_stop": endBlock(&output)
        case "message":
            // A whole answer, although a stream was asked for.
            answer.name(event["id"]?.string)
            if let model = reading.servedModel { answer.model = model }
            begin(&output)
            for block in (event["content"]?.array ?? []).compactMap(\.object) {
                start(block, &output)
                endBlock(&output)
            }
            if let reason = event["stop_reason"]?.string { finish = Self.finish(reason) }
        case "message_delta":
            if let reason = event["delta"]?.object?["stop_reason"]?.string { finish = Self.finish(reason) }
        case "error":
            let error = event["error"]?.object
            hasToldError = true
            ChatAnswer.error(
                message: error?["message"]?.string ?? ChatAnswer.failed,
                type: error?["type"]?.string ?? "api_error", into: &output)
        // A ping, or something that is newer than this.
        default: break
        }
    }

    private mutating func begin(_ output: inout [UInt8]) {
        guard !hasBegun else { return }
        hasBegun = true
        answer.chunk(into: &output) { json in
            json.field("role", "assistant")
            json.field("content", "")
        }
    }

    private mutating func start(_ block: JSONObject, _ output: inout [UInt8]) {
        isInCall = false
        switch block["type"]?.string {
        case "text":
            if let text = block["text"]?.string, !text.isEmpty { add(text: text, as: "content", &output) }
        case "thinking":
            let text = block["thinking"]?.string ?? ""
            thinking = Thinking(text: text, signature: block["signature"]?.string ?? "")
            add(text: text, as: "reasoning_content", &output)
        case "redacted_thinking": give(block, &output)
        case "tool_use":
            var call = ChatAnswerCall(
                index: calls, id: block["id"]?.string ?? "call_\(calls)", name: block["name"]?.string ?? "",
                arguments: "")
            if let input = block["input"]?.object, !input.members.isEmpty { call.arguments = Self.text(.object(input)) }
            calls += 1
            isInCall = true
            lacksArguments = call.arguments.isEmpty
            answer.chunk(into: &output) { ChatAnswerCall.write([call], to: &$0) }
        default: break
        }
    }

    private mutating func add(_ delta: JSONObject, _ output: inout [UInt8]) {
        switch delta["type"]?.string {
        case "text_delta": add(text: delta["text"]?.string ?? "", as: "content", &output)
        case "thinking_delta":
            let text = delta["thinking"]?.string ?? ""
            if let known = thinking?.text, known.utf8.count + text.utf8.count <= Self.maximumThinkingBytes {
                thinking?.text += text
            } else {
                thinking = nil
            }
            add(text: text, as: "reasoning_content", &output)
        case "signature_delta": thinking?.signature += delta["signature"]?.string ?? ""
        case "input_json_delta":
            // A call that the provider itself runs has arguments, too.
            if isInCall, let piece = delta["partial_json"]?.string, !piece.isEmpty { add(arguments: piece, &output) }
        default: break
        }
    }

    private mutating func add(arguments: String, _ output: inout [UInt8]) {
        lacksArguments = false
        let call = ChatAnswerCall(index: calls - 1, arguments: arguments)
        answer.chunk(into: &output) { ChatAnswerCall.write([call], to: &$0) }
    }

    private func add(text: String, as name: StaticString, _ output: inout [UInt8]) {
        guard !text.isEmpty else { return }
        answer.chunk(into: &output) { $0.field(name, text) }
    }

    private mutating func endBlock(_ output: inout [UInt8]) {
        endThinking(&output)
        // Clients parse what they are given, and nothing is no JSON.
        if isInCall, lacksArguments { add(arguments: "{}", &output) }
        isInCall = false
    }

    private mutating func endThinking(_ output: inout [UInt8]) {
        guard let block = thinking, !block.signature.isEmpty else {
            thinking = nil
            return
        }
        thinking = nil
        give(Self.thinkingBlock(block.text, block.signature), &output)
    }

    /// Gives a block of thinking, with its place: clients put lists together by that.
    private mutating func give(_ block: JSONObject, _ output: inout [UInt8]) {
        var placed = block
        placed.append("index", .number(String(blocks)))
        blocks += 1
        answer.chunk(into: &output) { $0.field("thinking_blocks", .array([.object(placed)])) }
    }

    private static func thinkingBlock(_ text: String, _ signature: String) -> JSONObject {
        var block = JSONObject()
        block.append("type", .string("thinking"))
        block.append("thinking", .string(text))
        block.append("signature", .string(signature))
        return block
    }

    public func ending(_ reading: AnswerReading) -> [UInt8] {
        var output: [UInt8] = []
        if reading.hasError {
            if !hasToldError { ChatAnswer.error(message: ChatAnswer.failed, type: "api_error", into: &output) }
            return output
        }
        let usage = ChatUsage(reading)
        answer.chunk(finish: finish ?? "stop", usage: usage, into: &output)
        if wantsUsageChunk, let usage { answer.usageChunk(usage, into: &output) }
        return output + ChatAnswer.done
    }

    // MARK: A whole answer

    /// The whole answer in OpenAI's form; nil where `body` is no answer.
    public static func whole(_ body: [UInt8], _ reading: AnswerReading, _ terms: ChatAnswerTerms) -> [UInt8]? {
        guard let message = (try? JSONValue(body))?.object, let content = message["content"]?.array else { return nil }
        var answer = terms.answer
        answer.name(message["id"]?.string)
        if let model = reading.servedModel { answer.model = model }
        var choice = ChatChoice()
        for block in content.compactMap(\.object) {
            switch block["type"]?.string {
            case "text": choice.text = (choice.text ?? "") + (block["text"]?.string ?? "")
            case "thinking":
                choice.reasoning = (choice.reasoning ?? "") + (block["thinking"]?.string ?? "")
                choice.thinkingBlocks.append(.object(block))
            case "redacted_thinking": choice.thinkingBlocks.append(.object(block))
            case "tool_use":
                choice.toolCalls.append(
                    ChatAnswerCall(
                        id: block["id"]?.string ?? "call_\(choice.toolCalls.count)", name: block["name"]?.string ?? "",
                        arguments: text(block["input"] ?? .object(JSONObject()))))
            default: break
            }
        }
        if choice.text == nil, choice.toolCalls.isEmpty { choice.text = "" }
        choice.finish = finish(message["stop_reason"]?.string ?? "end_turn")
        return answer.whole([choice], ChatUsage(reading))
    }

    private static func text(_ value: JSONValue) -> String {
        var json = JSONWriter()
        value.write(into: &json)
        return json.text
    }
}
