public import Metering
import WireJSON

/// Makes an answer in OpenAI's form out of Gemini's (Google, "GenerateContentResponse").
public struct GeminiAnswer: EventTranslator {
    private let wantsUsageChunk: Bool
    private var answer: ChatAnswer
    /// What is known of each candidate, by its index.
    private var candidates: [Int: Candidate] = [:]
    private var isBlocked = false
    private var hasToldError = false

    private struct Candidate {
        var hasBegun = false
        var calls = 0
        var images = 0
        var finish: String?
    }

    /// The most candidates that are believed.
    private static let maximumCandidates = 128

    public init(_ terms: ChatAnswerTerms) {
        wantsUsageChunk = terms.wantsUsageChunk
        answer = terms.answer
    }

    /// Gemini's reasons, in OpenAI's words.
    private static func finish(_ reason: String, hasCalls: Bool) -> String {
        switch reason {
        case "MAX_TOKENS": "length"
        case "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY": "content_filter"
        default: hasCalls ? "tool_calls" : "stop"
        }
    }

    /// What a candidate's parts say.
    private struct Content {
        var text = ""
        var reasoning = ""
        var calls: [ChatAnswerCall] = []
        var images: [String] = []

        /// `firstCall`: how many calls the candidate has made before.
        init(_ candidate: JSONObject, answerID: String, index: Int, firstCall: Int) {
            for part in (candidate["content"]?.object?["parts"]?.array ?? []).compactMap(\.object) {
                if let piece = part["text"]?.string {
                    if part["thought"]?.bool == true { reasoning += piece } else { text += piece }
                } else if let call = part["functionCall"]?.object {
                    let number = firstCall + calls.count
                    var json = JSONWriter()
                    (call.present("args") ?? .object(JSONObject())).write(into: &json)
                    let id = call["id"]?.string.flatMap { $0.isEmpty ? nil : $0 }
                    calls.append(
                        ChatAnswerCall(
                            index: number, id: id ?? GeminiCallID.make(answerID, index, number),
                            name: call["name"]?.string ?? "", arguments: json.text,
                            thoughtSignature: part["thoughtSignature"]?.string))
                } else if let data = part["inlineData"]?.object, let bytes = data["data"]?.string {
                    images.append("data:\(data["mimeType"]?.string ?? "application/octet-stream");base64,\(bytes)")
                }
            }
        }
    }

    // MARK: A stream

    public mutating func translate(
        _ data: UnsafeBufferPointer<UInt8>, _ reading: AnswerReading, into output: inout [UInt8]
    ) {
        guard let value = try? JSONValue(data) else { return }
        // Answers and errors may come in an array.
        for chunk in (value.array ?? [value]).compactMap(\.object) { add(chunk, reading, &output) }
    }

    private mutating func add(_ chunk: JSONObject, _ reading: AnswerReading, _ output: inout [UInt8]) {
        if let error = chunk.present("error") {
            hasToldError = true
            return ChatAnswer.error(
                message: error.object?["message"]?.string ?? error.string ?? ChatAnswer.failed,
                type: error.object?["status"]?.string?.lowercased() ?? "api_error", into: &output)
        }
        answer.name(chunk["responseId"]?.string)
        if let model = reading.servedModel { answer.model = model }
        if chunk["promptFeedback"]?.object?.present("blockReason") != nil { isBlocked = true }
        for value in chunk["candidates"]?.array ?? [] {
            guard let candidate = value.object else { continue }
            let index = candidate["index"]?.integer.flatMap { Int(exactly: $0) } ?? 0
            guard (0..<Self.maximumCandidates).contains(index) else { continue }
            add(candidate, index, &output)
        }
    }

    private mutating func add(_ candidate: JSONObject, _ index: Int, _ output: inout [UInt8]) {
        var known = candidates[index] ?? Candidate()
        let content = Content(candidate, answerID: answer.id, index: index, firstCall: known.calls)
        known.calls += content.calls.count
        if let reason = candidate["finishReason"]?.string {
            known.finish = Self.finish(reason, hasCalls: known.calls > 0)
        }
        let (isFirst, images) = (!known.hasBegun, known.images)
        known.hasBegun = true
        known.images += content.images.count
        candidates[index] = known
        guard
            isFirst || !content.text.isEmpty || !content.reasoning.isEmpty || !content.calls.isEmpty
                || !content.images.isEmpty
        else { return }
        answer.chunk(index, into: &output) { json in
            if isFirst { json.field("role", "assistant") }
            if isFirst || !content.text.isEmpty { json.field("content", content.text) }
            if !content.reasoning.isEmpty { json.field("reasoning_content", content.reasoning) }
            ChatAnswerCall.write(content.calls, to: &json)
            ChatChoice.write(images: content.images, from: images, to: &json)
        }
    }

    public func ending(_ reading: AnswerReading) -> [UInt8] {
        var output: [UInt8] = []
        // A candidate that says nothing of its end has broken off, also where another has ended.
        let isCut = candidates.values.contains { $0.finish == nil }
        if reading.hasError || isCut {
            if !hasToldError { ChatAnswer.error(message: ChatAnswer.failed, type: "api_error", into: &output) }
            return output
        }
        let usage = ChatUsage(reading)
        let ends =
            candidates.isEmpty
            ? [(0, isBlocked ? "content_filter" : "stop")]
            : candidates.sorted { $0.key < $1.key }.map { ($0.key, $0.value.finish ?? "stop") }
        for (place, end) in ends.enumerated() {
            answer.chunk(end.0, finish: end.1, usage: place == ends.count - 1 ? usage : nil, into: &output)
        }
        if wantsUsageChunk, let usage { answer.usageChunk(usage, into: &output) }
        return output + ChatAnswer.done
    }

    // MARK: A whole answer

    /// The whole answer in OpenAI's form; nil where `body` is no answer.
    public static func whole(_ body: [UInt8], _ reading: AnswerReading, _ terms: ChatAnswerTerms) -> [UInt8]? {
        guard let value = try? JSONValue(body), let document = value.object ?? value.array?.last?.object else {
            return nil
        }
        var answer = terms.answer
        answer.name(document["responseId"]?.string)
        if let model = reading.servedModel { answer.model = model }
        var choices: [ChatChoice] = []
        for (place, value) in (document["candidates"]?.array ?? []).prefix(maximumCandidates).enumerated() {
            guard let candidate = value.object else { continue }
            let index = candidate["index"]?.integer.flatMap { Int(exactly: $0) } ?? place
            let content = Content(candidate, answerID: answer.id, index: index, firstCall: 0)
            choices.append(
                ChatChoice(
                    index: index, text: content.text.isEmpty && !content.calls.isEmpty ? nil : content.text,
                    reasoning: content.reasoning.isEmpty ? nil : content.reasoning,
                    toolCalls: content.calls.map { call in
                        var call = call
                        call.index = nil
                        return call
                    },
                    images: content.images,
                    finish: finish(candidate["finishReason"]?.string ?? "STOP", hasCalls: !content.calls.isEmpty)))
        }
        if choices.isEmpty {
            guard document["promptFeedback"]?.object?.present("blockReason") != nil else { return nil }
            choices = [ChatChoice(text: "", finish: "content_filter")]
        }
        return answer.whole(choices, ChatUsage(reading))
    }
}
