import Metering
import Testing
import Translation

/// Events of a provider, and the chunks that take their place.
private struct Stream: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let events: [String]
    /// Each chunk's delta (of choice 0, unless it says otherwise), finish reason and usage, as ``Stream/short(_:)`` writes them.
    let chunks: [String]

    init(_ name: String, _ events: [String], _ chunks: [String]) {
        testDescription = name
        self.events = events
        self.chunks = chunks
    }

    /// Runs the events through a meter in pieces of `size`; gives the meter and the events that come out of it.
    func run(_ shape: AnswerShape, size: Int, wantsUsage: Bool = false, crlf: Bool = false) -> (StreamMeter, [String]) {
        let terms = ChatAnswerTerms(request: "chatcmpl-req", created: 7, model: "asked", wantsUsageChunk: wantsUsage)
        let translator: any EventTranslator = shape == .gemini ? GeminiAnswer(terms) : AnthropicAnswer(terms)
        var meter = StreamMeter(shape, .translated(translator))
        let lines = events.map { event in
            shape == .gemini ? "data: \(event)" : "event: \(event.split(separator: "\"")[3])\ndata: \(event)"
        }
        let text = lines.map { $0 + "\n\n" }.joined()
        let bytes = Array(
            (crlf ? text.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\r\n") : text).utf8
        )
        var output: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: size) {
            let piece = Array(bytes[start..<min(bytes.count, start + size)])
            guard case .bytes(let made) = piece.withUnsafeBufferPointer({ meter.consume($0) }) else { continue }
            output += made
        }
        output += meter.finish()
        if meter.isComplete { output += meter.ending() }
        let made = String(decoding: output, as: UTF8.self).split(separator: "\n\n").map(String.init)
        return (meter, made.map(Self.short))
    }

    /// A chunk without what all chunks have in common.
    static func short(_ event: String) -> String {
        var text = event[...]
        for prefix in [
            "data: ", #"{"id":"a1","object":"chat.completion.chunk","created":7,"model":"served","choices":["#,
            #"{"index":0,"delta":"#,
        ] where text.hasPrefix(prefix) { text = text.dropFirst(prefix.count) }
        for suffix in [#","finish_reason":null}]}"#] where text.hasSuffix(suffix) { text = text.dropLast(suffix.count) }
        return String(text)
    }
}

private let anthropicStart =
    #"{"type":"message_start","message":{"id":"a1","type":"message","role":"assistant","model":"served","content":[],"usage":{"input_tokens":20,"cache_read_input_tokens":5,"cache_creation_input_tokens":3,"output_tokens":1}}}"#
private let anthropicStop = #"{"type":"message_stop"}"#
private let role = #"{"role":"assistant","content":""}"#
private let anthropicUsage =
    #""usage":{"prompt_tokens":28,"completion_tokens":9,"total_tokens":37,"prompt_tokens_details":{"cached_tokens":5,"cache_write_tokens":3}}"#

private func anthropicEnd(_ reason: String) -> String {
    #"{"type":"message_delta","delta":{"stop_reason":"\#(reason)","stop_sequence":null},"usage":{"output_tokens":9}}"#
}

@Suite("Anthropic's answers as OpenAI's")
struct AnthropicAnswerTests {
    private static let streams: [Stream] = [
        Stream(
            "text in pieces, a ping, and what is newer than this",
            [
                anthropicStart, #"{"type":"ping"}"#,
                #"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
                #"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Grüße "}}"#,
                #"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\ud83e\udd8a\""}}"#,
                #"{"type":"content_block_delta","index":0,"delta":{"type":"newer_delta","x":1}}"#,
                #"{"type":"content_block_stop","index":0}"#, #"{"type":"newer","x":[]}"#,
                anthropicEnd("end_turn"), anthropicStop,
            ],
            [
                role, #"{"content":"Grüße "}"#, #"{"content":"🦊\""}"#,
                #"{},"finish_reason":"stop"}],\#(anthropicUsage)}"#, "[DONE]",
            ]),
        Stream(
            "thinking, its signature, and two calls whose arguments come in fragments",
            [
                anthropicStart,
                #"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
                #"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
                #"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"…"}}"#,
                #"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}"#,
                #"{"type":"content_block_stop","index":0}"#,
                #"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"x"}}"#,
                #"{"type":"content_block_stop","index":1}"#,
                #"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"weather","input":{}}}"#,
                #"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#,
                #"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"city\":\""}}"#,
                #"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"東京\"}"}}"#,
                #"{"type":"content_block_stop","index":2}"#,
                #"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_2","name":"now","input":{}}}"#,
                #"{"type":"content_block_stop","index":3}"#,
                anthropicEnd("tool_use"), anthropicStop,
            ],
            [
                role, #"{"reasoning_content":"hm"}"#, #"{"reasoning_content":"…"}"#,
                #"{"thinking_blocks":[{"type":"thinking","thinking":"hm…","signature":"c2ln","index":0}]}"#,
                #"{"thinking_blocks":[{"type":"redacted_thinking","data":"x","index":1}]}"#,
                #"{"tool_calls":[{"index":0,"id":"toolu_1","type":"function","function":{"name":"weather","arguments":""}}]}"#,
                #"{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":\""}}]}"#,
                #"{"tool_calls":[{"index":0,"function":{"arguments":"東京\"}"}}]}"#,
                #"{"tool_calls":[{"index":1,"id":"toolu_2","type":"function","function":{"name":"now","arguments":""}}]}"#,
                // A call without arguments has an empty object.
                #"{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}"#,
                #"{},"finish_reason":"tool_calls"}],\#(anthropicUsage)}"#, "[DONE]",
            ]),
        Stream(
            "an error inside the stream is told, and no end is made up",
            [
                anthropicStart,
                #"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"a"}}"#,
                #"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            ],
            [
                role, #"{"content":"a"}"#,
                #"{"error":{"message":"Overloaded","type":"overloaded_error","param":null,"code":"overloaded_error"}}"#,
            ]),
        Stream("a stream that breaks off has no end", [anthropicStart], [role]),
        Stream(
            "a whole answer, although a stream was asked for",
            [
                #"{"type":"message","id":"a1","model":"served","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"Tag"},{"type":"tool_use","id":"t","name":"now","input":{}}],"stop_reason":"tool_use","usage":{"input_tokens":20,"cache_read_input_tokens":5,"cache_creation_input_tokens":3,"output_tokens":9}}"#
            ],
            [
                role, #"{"reasoning_content":"hm"}"#,
                #"{"thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s","index":0}]}"#,
                #"{"content":"Tag"}"#,
                #"{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"now","arguments":""}}]}"#,
                #"{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#,
                #"{},"finish_reason":"tool_calls"}],\#(anthropicUsage)}"#, "[DONE]",
            ]),
    ]

    @Test("streams, in pieces of any size", arguments: streams, [1, 7, 100_000])
    fileprivate func translated(stream: Stream, size: Int) {
        for crlf in [false, true] {
            let (meter, chunks) = stream.run(.messages, size: size, crlf: crlf)
            #expect(chunks == stream.chunks)
            #expect(!meter.hasUnreadEvents)
        }
    }

    @Test(
        "each reason to stop has its word",
        arguments: [
            ("end_turn", "stop"), ("stop_sequence", "stop"), ("pause_turn", "stop"), ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"), ("tool_use", "tool_calls"), ("refusal", "content_filter"),
            ("newer", "stop"),
        ])
    func reasons(reason: String, word: String) throws {
        let (_, chunks) = Stream("", [anthropicStart, anthropicEnd(reason), anthropicStop], []).run(.messages, size: 64)
        #expect(chunks.dropLast().last?.contains(#""finish_reason":"\#(word)""#) == true)
        let body =
            #"{"id":"a1","type":"message","model":"served","content":[],"stop_reason":"\#(reason)","usage":{"input_tokens":1,"output_tokens":2}}"#
        #expect(try whole(body, .messages).contains(#""finish_reason":"\#(word)""#))
    }

    @Test("the chunk with nothing but usage comes where it was asked for, and the finish chunk has usage all the same")
    func usageChunk() {
        let (_, chunks) = Stream("", [anthropicStart, anthropicEnd("end_turn"), anthropicStop], []).run(
            .messages, size: 64, wantsUsage: true)
        #expect(
            chunks == [role, #"{},"finish_reason":"stop"}],\#(anthropicUsage)}"#, "],\(anthropicUsage)}", "[DONE]"])
    }

    @Test("a whole answer")
    func wholeAnswer() throws {
        let body =
            #"{"id":"a1","type":"message","role":"assistant","model":"served","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"Grüße"},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"東京","n":1.50}}],"stop_reason":"tool_use","usage":{"input_tokens":20,"cache_read_input_tokens":5,"cache_creation_input_tokens":3,"output_tokens":9}}"#
        let expected =
            #"{"id":"a1","object":"chat.completion","created":7,"model":"served","choices":[{"index":0,"message":{"role":"assistant","content":"Grüße","reasoning_content":"hm","refusal":null,"tool_calls":[{"id":"toolu_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"東京\",\"n\":1.50}"}}],"thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"}]},"logprobs":null,"finish_reason":"tool_calls"}],\#(anthropicUsage)}"#
        #expect(try whole(body, .messages) == expected)
    }
}

/// A whole answer, translated.
private func whole(_ body: String, _ shape: AnswerShape) throws -> String {
    let terms = ChatAnswerTerms(request: "chatcmpl-req", created: 7, model: "asked", wantsUsageChunk: false)
    var reading = AnswerReading(shape)
    let bytes = Array(body.utf8)
    try #require(bytes.withUnsafeBufferPointer { reading.readBody($0) })
    let made =
        shape == .gemini
        ? GeminiAnswer.whole(bytes, reading, terms) : AnthropicAnswer.whole(bytes, reading, terms)
    return String(decoding: try #require(made), as: UTF8.self)
}

private func gemini(_ parts: String, finish: String? = nil, usage: String = "", index: Int? = nil) -> String {
    let end = finish.map { #","finishReason":"\#($0)""# } ?? ""
    let place = index.map { #","index":\#($0)"# } ?? ""
    return
        #"{"candidates":[{"content":{"parts":[\#(parts)],"role":"model"}\#(end)\#(place)}],"usageMetadata":{"promptTokenCount":20\#(usage)},"modelVersion":"served","responseId":"a1"}"#
}

private let geminiFinal =
    #","cachedContentTokenCount":5,"candidatesTokenCount":4,"thoughtsTokenCount":5,"totalTokenCount":29"#
private let geminiUsage =
    #""usage":{"prompt_tokens":20,"completion_tokens":9,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":5},"completion_tokens_details":{"reasoning_tokens":5}}"#

@Suite("Gemini's answers as OpenAI's")
struct GeminiAnswerTests {
    private static let streams: [Stream] = [
        Stream(
            "thoughts, text, and a usage that grows",
            [
                gemini(#"{"text":"hm","thought":true}"#),
                gemini(#"{"text":"Grüße "}"#, usage: #","candidatesTokenCount":2"#),
                gemini(#"{"text":"\ud83e\udd8a"}"#, finish: "STOP", usage: geminiFinal),
            ],
            [
                #"{"role":"assistant","content":"","reasoning_content":"hm"}"#, #"{"content":"Grüße "}"#,
                #"{"content":"🦊"}"#, #"{},"finish_reason":"stop"}],\#(geminiUsage)}"#, "[DONE]",
            ]),
        Stream(
            "two calls: without ids they are given some, and a thought's signature goes along",
            [
                gemini(
                    #"{"functionCall":{"name":"weather","args":{"city":"東京","n":1.50}},"thoughtSignature":"c2ln"}"#),
                gemini(#"{"functionCall":{"id":"own","name":"now"}}"#, finish: "STOP", usage: geminiFinal),
            ],
            [
                #"{"role":"assistant","content":"","tool_calls":[{"index":0,"id":"call_gw_a1_0_0","type":"function","function":{"name":"weather","arguments":"{\"city\":\"東京\",\"n\":1.50}"},"extra_content":{"google":{"thought_signature":"c2ln"}}}]}"#,
                #"{"tool_calls":[{"index":1,"id":"own","type":"function","function":{"name":"now","arguments":"{}"}}]}"#,
                #"{},"finish_reason":"tool_calls"}],\#(geminiUsage)}"#, "[DONE]",
            ]),
        Stream(
            "a blocked prompt bills the prompt",
            [
                #"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":20,"totalTokenCount":20},"modelVersion":"served","responseId":"a1"}"#
            ],
            [
                #"{},"finish_reason":"content_filter"}],"usage":{"prompt_tokens":20,"completion_tokens":0,"total_tokens":20,"prompt_tokens_details":{"cached_tokens":0}}}"#,
                "[DONE]",
            ]),
        Stream(
            "an error inside the stream is told, and no end is made up",
            [
                gemini(#"{"text":"a"}"#),
                #"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#,
            ],
            [
                #"{"role":"assistant","content":"a"}"#,
                #"{"error":{"message":"The model is overloaded.","type":"unavailable","param":null,"code":"unavailable"}}"#,
            ]),
        Stream(
            "a stream that breaks off has no end", [gemini(#"{"text":"a"}"#)], [#"{"role":"assistant","content":"a"}"#]),
    ]

    @Test("streams, in pieces of any size", arguments: streams, [1, 7, 100_000])
    fileprivate func translated(stream: Stream, size: Int) {
        for crlf in [false, true] {
            let (meter, chunks) = stream.run(.gemini, size: size, crlf: crlf)
            #expect(chunks == stream.chunks)
            #expect(!meter.hasUnreadEvents)
        }
    }

    @Test(
        "each reason to stop has its word",
        arguments: [
            ("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("RECITATION", "content_filter"),
            ("BLOCKLIST", "content_filter"), ("PROHIBITED_CONTENT", "content_filter"), ("SPII", "content_filter"),
            ("IMAGE_SAFETY", "content_filter"), ("MALFORMED_FUNCTION_CALL", "stop"), ("OTHER", "stop"),
            ("NEWER", "stop"),
        ])
    func reasons(reason: String, word: String) throws {
        let answer = gemini(#"{"text":"a"}"#, finish: reason, usage: geminiFinal)
        let (_, chunks) = Stream("", [answer], []).run(.gemini, size: 64)
        #expect(chunks.dropLast().last?.contains(#""finish_reason":"\#(word)""#) == true)
        #expect(try whole(answer, .gemini).contains(#""finish_reason":"\#(word)""#))
    }

    @Test("several candidates are several choices, with usage on the last")
    func candidates() {
        let (_, chunks) = Stream(
            "",
            [
                gemini(#"{"text":"a"}"#, index: 0), gemini(#"{"text":"b"}"#, index: 1),
                gemini(#"{"text":"B"}"#, finish: "STOP", index: 1),
                gemini(#"{"text":"A"}"#, finish: "MAX_TOKENS", usage: geminiFinal, index: 0),
            ], []
        ).run(.gemini, size: 64)
        #expect(
            chunks == [
                #"{"role":"assistant","content":"a"}"#, #"{"index":1,"delta":{"role":"assistant","content":"b"}"#,
                #"{"index":1,"delta":{"content":"B"}"#, #"{"content":"A"}"#, #"{},"finish_reason":"length"}]}"#,
                #"{"index":1,"delta":{},"finish_reason":"stop"}],\#(geminiUsage)}"#, "[DONE]",
            ])
    }

    @Test("a whole answer, with thoughts, a call and a picture")
    func wholeAnswer() throws {
        let body = gemini(
            #"{"text":"hm","thought":true},{"text":"Grüße"},{"functionCall":{"name":"weather","args":{"city":"Bern"}}},{"inlineData":{"mimeType":"image/png","data":"aWQ="}}"#,
            finish: "STOP", usage: geminiFinal)
        let expected =
            #"{"id":"a1","object":"chat.completion","created":7,"model":"served","choices":[{"index":0,"message":{"role":"assistant","content":"Grüße","reasoning_content":"hm","refusal":null,"tool_calls":[{"id":"call_gw_a1_0_0","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Bern\"}"}}],"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,aWQ="}}]},"logprobs":null,"finish_reason":"tool_calls"}],\#(geminiUsage)}"#
        #expect(try whole(body, .gemini) == expected)
    }

    @Test("a document under a stream's content type is an error that is told")
    func document() {
        let text =
            "{\n  \"error\": {\n    \"code\": 429, \"message\": \"Slow down\", \"status\": \"RESOURCE_EXHAUSTED\"\n  }\n}\n"
        let terms = ChatAnswerTerms(request: "r", created: 7, model: "asked", wantsUsageChunk: false)
        for size in [1, 7, 1000] {
            var meter = StreamMeter(.gemini, .translated(GeminiAnswer(terms)))
            let bytes = Array(text.utf8)
            var output: [UInt8] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                let piece = Array(bytes[start..<min(bytes.count, start + size)])
                if case .bytes(let made) = piece.withUnsafeBufferPointer({ meter.consume($0) }) { output += made }
            }
            output += meter.finish() + meter.ending()
            #expect(
                String(decoding: output, as: UTF8.self)
                    == "data: {\"error\":{\"message\":\"Slow down\",\"type\":\"resource_exhausted\",\"param\":null,\"code\":\"resource_exhausted\"}}\n\n"
            )
            #expect(meter.reading.hasError && meter.reading.outputBytes == 0)
        }
    }
}
