import Foundation
import Ledger
import Metering
import Testing

@Suite("Metering a stream")
struct StreamMeterTests {
    static let head =
        #"data: {"id":"1","model":"served","choices":[{"index":0,"delta":{"role":"assistant","content":"Grüße 🌍"}}],"extra":{"x":[1]}}"#
    static let finish = #"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#
    static let usage = #"data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#
    static let done = "data: [DONE]"

    /// Feeds a meter with bytes, cut by `size`, and gives it and what it sends on.
    static func feed(
        _ bytes: [UInt8], size: Int, _ passage: StreamMeter.Passage, _ shape: AnswerShape = .chat(.standard)
    ) -> (StreamMeter, [UInt8]) {
        var meter = StreamMeter(shape, passage)
        var output: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: size) {
            let piece = Array(bytes[start..<min(bytes.count, start + size)])
            switch piece.withUnsafeBufferPointer({ meter.consume($0) }) {
            case .piece: output += piece
            case .bytes(let bytes): output += bytes
            }
        }
        output += meter.finish()
        return (meter, output)
    }

    /// A stream of lines; gives the meter, what is sent on, and what came in.
    static func run(_ lines: [String], size: Int, crlf: Bool = false, removing: Bool) -> (StreamMeter, [UInt8], [UInt8])
    {
        let bytes = Array(lines.map { $0 + (crlf ? "\r\n\r\n" : "\n\n") }.joined().utf8)
        let (meter, output) = feed(bytes, size: size, removing ? .withoutUsageChunk : .whole)
        return (meter, output, bytes)
    }

    /// Any text; gives the meter and what is sent on.
    static func run(_ text: String, size: Int, _ passage: StreamMeter.Passage) -> (StreamMeter, String) {
        let (meter, output) = feed(Array(text.utf8), size: size, passage)
        return (meter, String(decoding: output, as: UTF8.self))
    }

    @Test(
        "the usage chunk is left out, and nothing else is changed, however the stream is cut",
        arguments: [1, 2, 3, 7, 64, 100_000], [false, true])
    func removed(size: Int, crlf: Bool) {
        let (meter, output, _) = Self.run(
            [Self.head, Self.finish, Self.usage, Self.done], size: size, crlf: crlf, removing: true)
        let (_, expected, _) = Self.run(
            [Self.head, Self.finish, Self.done], size: 100_000, crlf: crlf, removing: false)
        #expect(output == expected)
        #expect(meter.billed.prompt == 10)
        #expect(meter.billed.completion == 5)
        #expect(meter.reading.outputBytes == "Grüße 🌍".utf8.count)
        #expect(meter.reading.servedModel == "served")
        #expect(meter.isDone && meter.isComplete)
    }

    @Test(
        "output in a shape that is not read is counted all the same: what was delivered is never taken for nothing",
        arguments: [
            #"{"choices":[{"delta":{"content":[{"type":"text","text":"TEXT"}]}}]}"#,
            #"{"choices":[{"delta":{"function_call":{"name":"f","arguments":"TEXT"}}}]}"#,
            #"{"choices":[{"delta":{"images":[{"url":"TEXT"}]}}]}"#, #"{"choices":[{"delta":{"content":"TEXT"}}]"#,
            "TEXT",
        ], [1, 7, 1 << 22])
    func otherShapes(event: String, size: Int) {
        let text = String(repeating: "word ", count: 800)
        let line = "data: " + event.replacingOccurrences(of: "TEXT", with: text)
        let (meter, output, bytes) = Self.run([line], size: size, removing: true)
        #expect(meter.reading.outputBytes >= 4000 && meter.reading.outputBytes < 4200)
        #expect(output == bytes)
    }

    @Test("the text of an event that is too long to be kept is counted", arguments: [4096, 1 << 22], [true, false])
    func oversized(size: Int, isText: Bool) {
        let text = isText ? String(repeating: "word ", count: 2 << 18) : String(repeating: "QUFB", count: 2 << 18)
        let (meter, output, bytes) = Self.run(
            [#"data: {"choices":[{"delta":{"content":"\#(text)"}}]}"#, Self.done], size: size, removing: true)
        #expect(isText ? meter.reading.outputBytes >= 2 << 20 : meter.reading.outputBytes < 8192, "Base64 is no text")
        #expect(meter.isDone && !meter.hasUnreadEvents)
        #expect(output == bytes)
    }

    /// The last event of a response says all of it again, with its usage; it may be of any length.
    @Test(
        "the report of an event of any length is read, whatever is in front of it or behind it",
        arguments: [1 << 10, 1 << 16, 1 << 24], [0, 1, 2])
    func longReport(size: Int, order: Int) throws {
        let text = String(repeating: #"word \" \u00e9 \\ "#, count: 1 << 18)
        let output =
            #""output":[{"type":"message","content":[{"type":"output_text","text":"\#(text)"}]},{"type":"web_search_call","action":{"type":"search"}}]"#
        let usage =
            #""usage":{"input_tokens":70,"output_tokens":11,"total_tokens":81,"input_tokens_details":{"cached_tokens":3}}"#
        let picture =
            #""extra":{"b64":"\#(String(repeating: "QUFB", count: 1 << 18))","n":[1,2,{"usage":{"input_tokens":9}}]}"#
        let members = [[output, usage, picture], [usage, output, picture], [picture, output, usage]][order]
        let last =
            #"data: {"type":"response.completed","response":{"status":"completed",\#(members.joined(separator: ","))}}"#
        let first = #"data: {"type":"response.output_text.delta","delta":"hello"}"#
        let bytes = Array([first, "event: response.completed\n" + last].map { $0 + "\n\n" }.joined().utf8)
        let (meter, sent) = Self.feed(bytes, size: size, .whole, .responses)
        #expect(sent == bytes)
        #expect(meter.billed.prompt == 70 && meter.billed.completion == 11 && meter.billed.cached == 3)
        #expect(meter.isDone && meter.isComplete && !meter.hasUnreadEvents)
        #expect(meter.reading.outputBytes == 5, "what is said again is not counted again")
        #expect(!meter.reading.hasError)
    }

    @Test("a whole answer of any length is read for its usage", arguments: [7, 1 << 16])
    func longAnswer(size: Int) throws {
        let text = String(repeating: "word ", count: size == 7 ? 1 << 14 : 1 << 20)
        let body =
            #"{"id":"x","choices":[{"message":{"content":"\#(text)"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#
        var answer = LongAnswer(.chat(.standard))
        let bytes = Array(body.utf8)
        for start in stride(from: 0, to: bytes.count, by: size) {
            bytes[start..<min(start + size, bytes.count)].withUnsafeBufferPointer { answer.consume($0) }
        }
        let reading = try #require(answer.finish())
        #expect(reading.usage.isPresent && reading.hasFinishReason)
        #expect(reading.usage.billed(.chat(.standard), hasOutput: true).completion == 5)
    }

    @Test(
        "what is no whole document, or cannot be cut down, is told as unread",
        arguments: [
            #"{"choices":[{"delta":{"content":"\#(String(repeating: "a b", count: 1 << 19))"}"#,
            "{\"choices\":["
                + String(
                    repeating: "{\"delta\":{\"role\":\"assistant\",\"name\":\"abcdefghijklmnopq\"}},", count: 1 << 16)
                + "{}]}",
            String(repeating: "{\"delta\":", count: 1 << 18),
        ])
    func unreadable(event: String) {
        let (meter, _, _) = Self.run(["data: " + event, Self.usage, Self.done], size: 1 << 16, removing: true)
        #expect(meter.billed.prompt == 10, "what follows is read")
    }

    @Test(
        "a whole JSON answer under the content type of a stream is read as one", arguments: [1, 7, 100_000],
        [true, false])
    func bareBody(size: Int, ended: Bool) {
        let body =
            #"{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#
        let bytes = Array((body + (ended ? "\n" : "")).utf8)
        let (meter, output) = Self.feed(bytes, size: size, .withoutUsageChunk)
        #expect(output == bytes)
        #expect(meter.billed.completion == 5 && meter.isComplete)
    }

    /// A stream's lines may end with CR, LF or both; a byte order mark may stand before it (WHATWG HTML, 9.2.5).
    @Test(
        "any line end, and a byte order mark",
        arguments: [("\n", ""), ("\r", ""), ("\r\n", ""), ("\n", "\u{FEFF}"), ("\r\n", "\u{FEFF}")],
        [1, 2, 7, 100_000])
    func framing(lines: (end: String, mark: String), size: Int) {
        let (end, mark) = lines
        let events = [Self.head, Self.finish, Self.usage, Self.done]
        let text = mark + events.map { $0 + end + end }.joined()
        let kept = mark + events.filter { $0 != Self.usage }.map { $0 + end + end }.joined()
        for passage in [StreamMeter.Passage.whole, .withoutUsageChunk] {
            let (meter, output) = Self.run(text, size: size, passage)
            #expect(meter.billed.prompt == 10 && meter.billed.completion == 5)
            #expect(meter.reading.outputBytes == "Grüße 🌍".utf8.count)
            #expect(meter.isDone && !meter.hasUnreadEvents)
            if case .whole = passage { #expect(output == text) } else { #expect(output == kept) }
        }
    }

    @Test("what comes behind the end has no meaning, in the same piece and in another", arguments: [1, 7, 100_000])
    func behindTheEnd(size: Int) {
        let late =
            #"data: {"choices":[{"delta":{"content":"late"}}],"usage":{"prompt_tokens":99,"completion_tokens":99}}"#
        let text = [Self.head, Self.usage, Self.done, late].map { $0 + "\n\n" }.joined()
        let (meter, _) = Self.run(text, size: size, .whole)
        #expect(meter.billed.prompt == 10 && meter.billed.completion == 5)
        #expect(meter.reading.outputBytes == "Grüße 🌍".utf8.count)
    }

    @Test("bytes that are no event are counted all the same", arguments: [1, 7, 100_000])
    func foreign(size: Int) {
        for text in [String(repeating: "plain words\n", count: 100), " data: {\"choices\":[]}\n\n"] {
            let (meter, output) = Self.run(text, size: size, .withoutUsageChunk)
            #expect(output == text)
            #expect(meter.reading.outputBytes >= text.utf8.count * 9 / 10 - 3)
            #expect(meter.hasUnreadEvents)
        }
        // Comments and the other fields are no output.
        let (meter, _) = Self.run(": PING\nid: 7\nretry: 10\nevent: x\ndata\n\n", size: size, .whole)
        #expect(meter.reading.outputBytes == 0 && !meter.hasUnreadEvents)
    }

    @Test(
        "an error that is a document is no output, however it is written", arguments: [1, 7, 100_000],
        [
            "{\n  \"error\": {\n\n    \"message\": \"no\"\n  }\n}\n", "{\"error\":{\"message\":\"no\"}}",
            "\n[{\"error\":{\"code\":503}}]", " \t{\"error\":{}, \"error\": 1}", "\u{FEFF}{\"error\":true}",
        ])
    func errorDocument(size: Int, text: String) {
        let (meter, output) = Self.run(text, size: size, .withoutUsageChunk)
        #expect(output == text)
        #expect(meter.reading.hasError && meter.reading.outputBytes == 0 && !meter.hasUnreadEvents)
    }

    /// A report says nothing of what comes behind it.
    @Test("output behind the last report is estimated and added", arguments: [1, 100_000])
    func behindTheReport(size: Int) throws {
        let text = String(repeating: "word", count: 100)
        let first = #"data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":10,"completion_tokens":1}}"#
        let later = #"data: {"choices":[{"delta":{"content":"\#(text)"},"finish_reason":"stop"}]}"#
        let (meter, _) = Self.run([first, later, "data: [DONE] "].map { $0 + "\n\n" }.joined(), size: size, .whole)
        #expect(meter.isDone)
        let report = meter.reading.report(prompt: PromptSize(textBytes: 40, mediaTokens: 0), bounds: try Self.hold())
        #expect(report.usage.prompt == 10 && report.usage.completion == 101 && report.flags == [.estimated])
        let (whole, _) = Self.run([first, Self.usage, Self.done].map { $0 + "\n\n" }.joined(), size: size, .whole)
        let exact = whole.reading.report(prompt: PromptSize(textBytes: 40, mediaTokens: 0), bounds: try Self.hold())
        #expect(exact.usage.completion == 5 && exact.flags == [])
    }

    /// A hold of 100 prompt tokens and 1000 of output.
    private static func hold(amount: Int64 = 1000) throws -> HoldPlaced {
        let data =
            #"{"request":"r","model":"up:served","endpoint":"e","prompt_bound":100,"output_bound":1000,"wanted_output":1000,"price":{"version":1,"input":1,"output":1},"micro_credits_per_usd":10000000,"amount":\#(amount)}"#
        guard case .holdPlaced(let hold) = try LedgerEvent(type: "hold_placed.v1", data: Array(data.utf8)) else {
            throw CancellationError()
        }
        return hold
    }

    @Test(
        "JSON of another shape is counted as it is written",
        arguments: [
            #"{"response":"TEXT"}"#, #"{"choices":{"content":"TEXT"}}"#,
            #"{"type":"content_block_delta","delta":{"text":"TEXT"}}"#,
        ])
    func otherDocuments(event: String) {
        let text = String(repeating: "x", count: 4000)
        let line = "data: " + event.replacingOccurrences(of: "TEXT", with: text) + "\n\n"
        let (meter, _) = Self.run(line, size: 1000, .whole)
        #expect(meter.reading.outputBytes >= 4000)
    }

    @Test(
        "an empty error beside a good answer is none",
        arguments: [
            ("null", true), ("\"\"", true), ("false", true), ("{}", true), ("{\"message\":\"no\"}", false),
            ("\"no\"", false),
            ("true", false), ("503", false),
        ])
    func emptyError(error: String, isAnswer: Bool) {
        var reading = AnswerReading(.chat(.standard))
        let body = #"{"choices":[{"message":{"content":"x"}}],"error":\#(error)}"#
        #expect(Array(body.utf8).withUnsafeBufferPointer { reading.readBody($0) } == isAnswer)
    }

    @Test("an answer without any choice and without usage is none")
    func empty() {
        for (body, isAnswer) in [
            (#"{"choices":[]}"#, false), (#"{}"#, false), (#"{"choices":[{"message":{"content":""}}]}"#, true),
            (#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":0}}"#, true),
        ] {
            var reading = AnswerReading(.chat(.standard))
            #expect(Array(body.utf8).withUnsafeBufferPointer { reading.readBody($0) } == isAnswer, "\(body)")
        }
    }

    @Test("all bytes pass where the client asked for usage", arguments: [1, 7, 100_000])
    func kept(size: Int) {
        let (meter, output, bytes) = Self.run([Self.head, Self.usage, Self.done], size: size, removing: false)
        #expect(output == bytes)
        #expect(meter.billed.completion == 5)
    }

    @Test("a first chunk without choices and without usage is no usage chunk")
    func azure() {
        let first = #"data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}],"usage":null}"#
        let (_, output, bytes) = Self.run([first, Self.head, Self.done], size: 5, removing: true)
        #expect(output == bytes)
    }

    @Test(
        "a later 0 never replaces a count, by the rule of each format",
        arguments: [
            (
                AnswerShape.chat(.standard),
                [
                    #""usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}"#,
                    #""usage":{"prompt_tokens":0,"completion_tokens":0,"prompt_tokens_details":{"cached_tokens":0}}"#,
                ], 10, 5, 4
            ),
            (
                .chat(.standard),
                [
                    #""usage":{"prompt_tokens":10,"completion_tokens":5}"#,
                    #""usage":{"prompt_tokens":10,"completion_tokens":4}"#,
                ], 10, 4, 0
            ),
            (
                .messages,
                [
                    #""type":"message_start","message":{"usage":{"input_tokens":50,"output_tokens":9,"cache_read_input_tokens":7}}"#,
                    #""type":"message_delta","usage":{"output_tokens":6}"#,
                    #""type":"message_delta","usage":{"input_tokens":0,"output_tokens":0,"cache_read_input_tokens":0}"#,
                ], 57, 6, 7
            ),
            (
                .messages,
                [
                    #""type":"message_start","message":{"usage":{"input_tokens":50,"output_tokens":9}}"#,
                    #""type":"message_delta","usage":{"input_tokens":60,"output_tokens":30}"#,
                    #""type":"message_delta","usage":{"input_tokens":20,"output_tokens":20}"#,
                ], 60, 30, 0
            ),
            // The last report of a Gemini stream says everything, and is the one that adds up.
            (
                .gemini,
                [
                    #""usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":44,"thoughtsTokenCount":21,"totalTokenCount":165}"#,
                    #""usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":65,"totalTokenCount":165}"#,
                ], 100, 65, 0
            ),
            (
                .gemini,
                [
                    #""usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":29,"thoughtsTokenCount":37,"totalTokenCount":166}"#,
                    #""usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":71,"totalTokenCount":208}"#,
                ], 100, 108, 0
            ),
            (
                .gemini,
                [
                    #""usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":44,"totalTokenCount":144}"#,
                    #""usageMetadata":{"promptTokenCount":100,"totalTokenCount":100}"#,
                ], 100, 44, 0
            ),
        ] as [(AnswerShape, [String], Int64, Int64, Int64)])
    func laterZeros(shape: AnswerShape, reports: [String], prompt: Int64, completion: Int64, cached: Int64) {
        let bytes = Array(reports.map { "data: {" + $0 + "}\n\n" }.joined().utf8)
        let (meter, _) = Self.feed(bytes, size: 11, .whole, shape)
        #expect((meter.billed.prompt, meter.billed.completion, meter.billed.cached) == (prompt, completion, cached))
    }

    @Test(
        "tokens that are no text are told apart, wherever a format has them",
        arguments: [
            (
                AnswerShape.chat(.standard),
                #""usage":{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"audio_tokens":40,"cached_tokens":9,"cached_tokens_details":{"audio_tokens":5}},"completion_tokens_details":{"audio_tokens":30,"image_tokens":7}}"#,
                40, 5, 30, 7
            ),
            (
                .gemini,
                #""usageMetadata":{"promptTokenCount":100,"toolUsePromptTokenCount":10,"candidatesTokenCount":50,"promptTokensDetails":[{"modality":"TEXT","tokenCount":60},{"modality":"AUDIO","tokenCount":40}],"toolUsePromptTokensDetails":[{"modality":"AUDIO","tokenCount":2}],"cacheTokensDetails":[{"tokenCount":5,"modality":"AUDIO"}],"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":7},{"modality":"AUDIO","tokenCount":30}]}"#,
                42, 5, 30, 7
            ),
            (
                .chat(.standard),
                #""usage":{"prompt_tokens":100,"completion_tokens":50,"audio_tokens":9,"prompt_tokens_details":{"image_tokens":40,"audio_tokens":-4}}"#,
                0, 0, 0, 0
            ),
        ] as [(AnswerShape, String, Int64, Int64, Int64, Int64)])
    func modalities(
        shape: AnswerShape, usage: String, audio: Int64, audioCached: Int64, audioOutput: Int64, imageOutput: Int64
    ) {
        let (meter, _) = Self.feed(Array("data: {\(usage)}\n\n".utf8), size: 5, .whole, shape)
        let modal = meter.billed.modal
        #expect((modal.audio, modal.audioCached) == (audio, audioCached))
        #expect((modal.audioOutput, modal.imageOutput) == (audioOutput, imageOutput))
    }

    @Test(
        "a total without its parts is used, and an estimate only divides it",
        arguments: [
            (#""prompt_tokens":7,"total_tokens":12"#, 7, 5, false),
            (#""completion_tokens":5,"total_tokens":12"#, 7, 5, false),
            (#""total_tokens":12"#, 10, 2, true), (#""total_tokens":4"#, 4, 0, true),
            // Parts that were not counted.
            (#""prompt_tokens":0,"completion_tokens":0,"total_tokens":12"#, 10, 2, true),
            (#""prompt_tokens":0,"completion_tokens":0,"total_tokens":0"#, 0, 0, false),
        ] as [(String, Int64, Int64, Bool)])
    func totals(usage: String, prompt: Int64, completion: Int64, isEstimated: Bool) throws {
        let (meter, _) = Self.feed(Array("data: {\"usage\":{\(usage)}}\n\n".utf8), size: 9, .whole)
        let report = meter.reading.report(prompt: PromptSize(textBytes: 40, mediaTokens: 0), bounds: try Self.hold())
        #expect((report.usage.prompt, report.usage.completion, report.isEstimated) == (prompt, completion, isEstimated))
    }

    @Test(
        "what is beyond our own measure is flagged, each by its own name",
        arguments: [
            (#""usage":{"prompt_tokens":100,"completion_tokens":1000}"#, [UsageFlag.beyondBound]),
            (#""usage":{"prompt_tokens":1,"completion_tokens":1}"#, []),
            (#""usage":{"prompt_tokens":101,"completion_tokens":1}"#, [.beyondBound, .promptBeyondBytes]),
            (#""usage":{"prompt_tokens":1,"completion_tokens":1001}"#, [.beyondBound, .outputBeyondBound]),
            (#""model":"served-2026-01-02","usage":{"prompt_tokens":1,"completion_tokens":1}"#, []),
            (#""model":"models/served","usage":{"prompt_tokens":1,"completion_tokens":1}"#, []),
            (#""model":"served-mini","usage":{"prompt_tokens":1,"completion_tokens":1}"#, [.otherModel]),
            (#""model":"other","usage":{"prompt_tokens":1,"completion_tokens":1}"#, [.otherModel]),
            (#""usage":{"prompt_tokens":1,"completion_tokens":1,"num_sources_used":3}"#, [.unpricedSearch]),
            (
                #""usage":{"prompt_tokens":1,"completion_tokens":1,"prompt_tokens_details":{"audio_tokens":1}}"#,
                [.unpricedModality]
            ),
        ] as [(String, [UsageFlag])])
    func flags(report: String, flags: [UsageFlag]) throws {
        let (meter, _) = Self.feed(Array("data: {\(report)}\n\n".utf8), size: 9, .whole)
        let found = meter.reading.report(
            prompt: PromptSize(textBytes: 40, mediaTokens: 0), bounds: try Self.hold(amount: 1))
        #expect(found.flags == flags)
    }

    @Test("a choice that failed is no end", arguments: [#""finish_reason":"error""#, #""error":{"code":502}"#])
    func failedChoice(choice: String) {
        let (meter, _, _) = Self.run(
            [#"data: {"choices":[{"delta":{"content":""},\#(choice)}]}"#, Self.done], size: 9, removing: true)
        #expect(meter.reading.hasFailedChoice && !meter.reading.hasFinishReason && meter.reading.outputBytes == 0)
        var reading = AnswerReading(.chat(.standard))
        let isAnswer = Array(#"{"choices":[{"message":{"content":""},\#(choice)}]}"#.utf8).withUnsafeBufferPointer {
            reading.readBody($0)
        }
        #expect(!isAnswer)
    }

    @Test("per field the last report wins, and nothing is summed")
    func cumulative() {
        let chunks = (1...3).map {
            #"data: {"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":7,"completion_tokens":\#($0)}}"#
        }
        let last = #"data: {"choices":[],"usage":{"completion_tokens":9}}"#
        let (meter, _, _) = Self.run(chunks + [last], size: 10, removing: true)
        #expect(meter.billed.prompt == 7)
        #expect(meter.billed.completion == 9)
    }

    @Test(
        "numbers that cannot be are rejected and flagged",
        arguments: ["-5", "2147483649", "1e30", "1.5", "1e-9223372036854775808", "\"7\"", "{}", "[1]"])
    func rejected(number: String) {
        let chunk = #"data: {"choices":[],"usage":{"prompt_tokens":\#(number),"completion_tokens":3}}"#
        let (meter, _, _) = Self.run([Self.head, chunk], size: 9, removing: true)
        #expect(meter.billed.prompt == nil)
        #expect(meter.reading.usage.hasRejected)
        #expect(meter.billed.completion == 3)
    }

    @Test("an event over the bound passes by, and what it says is read in bounded memory", arguments: [true, false])
    func oversized(removing: Bool) {
        let long = "data: {\"choices\":[{\"delta\":{\"content\":\"" + String(repeating: "x", count: 3 << 20) + "\"}}]}"
        let (meter, output, bytes) = Self.run([Self.head, long, Self.usage, Self.done], size: 8192, removing: removing)
        #expect(!meter.hasUnreadEvents)
        #expect(meter.billed.prompt == 10)
        #expect(output.count == bytes.count - (removing ? Self.usage.utf8.count + 2 : 0))
    }

    /// A report of usage in a format, what is delivered with it, and what is billed.
    struct Bill: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let shape: AnswerShape
        let events: [String]
        let prompt: Int64
        let written: Int64
        let completion: Int64?
    }

    @Test(
        "what is billed",
        arguments: [
            Bill(
                testDescription: "Gemini's thoughts have used up all of the output", shape: .gemini,
                events: [
                    #"{"candidates":[{"content":{"role":"model"},"finishReason":"MAX_TOKENS"}],"usageMetadata":{"promptTokenCount":10,"thoughtsTokenCount":500,"totalTokenCount":510}}"#
                ], prompt: 10, written: 0, completion: 500),
            Bill(
                testDescription: "a summary of the thoughts came with them", shape: .gemini,
                events: [
                    #"{"candidates":[{"content":{"parts":[{"text":"short","thought":true}]},"finishReason":"MAX_TOKENS"}],"usageMetadata":{"promptTokenCount":10,"toolUsePromptTokenCount":2,"thoughtsTokenCount":500,"totalTokenCount":512}}"#
                ], prompt: 12, written: 0, completion: 500),
            Bill(
                testDescription: "a relay writes the names of two formats", shape: .chat(.standard),
                events: [
                    #"{"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":5,"total_tokens":13,"input_tokens":0,"output_tokens":0,"input_tokens_details":null}}"#
                ], prompt: 8, written: 0, completion: 5),
            Bill(
                testDescription: "the same the other way round", shape: .responses,
                events: [
                    #"{"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":8,"output_tokens":5,"prompt_tokens":0,"completion_tokens":0}}}"#
                ], prompt: 8, written: 0, completion: 5),
            Bill(
                testDescription: "cache writes by their lives alone", shape: .messages,
                events: [
                    #"{"type":"message_start","message":{"usage":{"input_tokens":10,"cache_creation_input_tokens":null,"cache_creation":{"ephemeral_5m_input_tokens":1000,"ephemeral_1h_input_tokens":2000},"output_tokens":1}}}"#,
                    #"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}"#,
                ], prompt: 3010, written: 3000, completion: 7),
            Bill(
                testDescription: "an empty last report leaves the output unknown", shape: .messages,
                events: [
                    #"{"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1}}}"#,
                    #"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{}}"#,
                ], prompt: 10, written: 0, completion: nil),
        ])
    func billed(bill: Bill) {
        var meter = StreamMeter(bill.shape, .whole)
        for event in bill.events {
            _ = Array("data: \(event)\n\n".utf8).withUnsafeBufferPointer { meter.consume($0) }
        }
        let billed = meter.reading.usage.billed(bill.shape, hasOutput: meter.reading.outputBytes > 0)
        #expect(billed.prompt == bill.prompt && billed.completion == bill.completion)
        #expect(billed.cacheWrite + billed.cacheWriteHour == bill.written)
    }

    @Test("what comes when an answer has said its end and its usage is none of it")
    func behind() {
        let blob = #"data: {"type":"gateway.metadata","blob":"\#(String(repeating: "x", count: 4000))"}"#
        let foreign = "X-Trace " + String(repeating: "y", count: 2000)
        let (meter, _, _) = Self.run(
            [Self.head, Self.finish, Self.usage, blob, foreign, Self.done], size: 50, removing: true)
        #expect(meter.reading.outputBytes == "Grüße 🌍".utf8.count && meter.billed.completion == 5)
    }

    @Test(
        "white space and a byte order mark before a document are nothing, however they are cut",
        arguments: ["\t\n\n", "\u{FEFF}", "\u{FEFF}\r\n \r\n", " \n"], [1, 2, 3, 100])
    func beforeDocument(opening: String, size: Int) {
        let document = #"{"choices":[{"message":{"content":"abcdefgh"}}]}"#
        let (meter, _) = Self.run(opening + document, size: size, .withoutUsageChunk)
        #expect(meter.reading.outputBytes == 8 && !meter.hasUnreadEvents)
    }

    @Test("errors, comments and several data lines")
    func others() {
        let error = "event: error\ndata: {\"error\":{\"message\":\"overloaded\"}}"
        let (meter, output, bytes) = Self.run([": PING", error], size: 4, removing: true)
        #expect(meter.reading.hasError)
        #expect(output == bytes)
        let split = "id: 7\ndata: {\"choices\":[{\"delta\":\ndata: {\"content\":\"ab\"}}]}"
        #expect(Self.run([split], size: 3, removing: true).0.reading.outputBytes == 2)
    }

    @Test("a stream that breaks off in an event is sent on to its last byte")
    func broken() {
        var meter = StreamMeter(.chat(.standard), .withoutUsageChunk)
        let piece = Array((Self.head + "\n\ndata: {\"cho").utf8)
        guard case .bytes(let first) = piece.withUnsafeBufferPointer({ meter.consume($0) }) else {
            Issue.record("the open event was sent on")
            return
        }
        #expect(!meter.isAtEventEnd)
        #expect(first + meter.finish() == piece)
        #expect(!meter.isComplete)
    }

    @Test("where a stream breaks off in its usage, that is no text; where it does in its text, all of it counts")
    func brokenUsage() throws {
        let text = #"data: {"choices":[{"delta":{"content":"hello"}}]}"#
        let finish = #"data: {"choices":[{"delta":{},"finish_reason":"stop"}]}"#
        for (lines, cut, bytes) in [
            ([text, finish], Self.usage.dropLast(9), 5), ([text], text.dropLast(9), 5 + text.count - 15),
        ] {
            let stream = lines.map { $0 + "\n\n" }.joined() + cut
            let (meter, _) = Self.feed(Array(stream.utf8), size: 7, .whole)
            #expect(meter.reading.outputBytes == bytes && meter.hasUnreadEvents)
        }
    }

    @Test("an answer without output, beside which there was some, is flagged")
    func noOutputReported() throws {
        let text =
            #"data: {"choices":[{"delta":{"content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":0}}"#
        let (meter, _) = Self.feed(Array((text + "\n\n").utf8), size: 7, .whole)
        let report = meter.reading.report(prompt: PromptSize(textBytes: 40, mediaTokens: 0), bounds: try Self.hold())
        #expect(report.flags == [.usageMismatch] && report.usage.completion == 0)
    }

    @Test("whatever the bytes, nothing is lost and no charge is negative", arguments: 1...200 as ClosedRange<UInt64>)
    func mutated(seed: UInt64) {
        var random = SplitMix(state: seed)
        var bytes = Array([Self.head, Self.finish, Self.usage, Self.done].map { $0 + "\n\n" }.joined().utf8)
        for _ in 0..<20 {
            let index = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<3, using: &random) {
            case 0: bytes[index] = .random(in: .min ... .max, using: &random)
            case 1: bytes.remove(at: index)
            default: bytes.insert(.random(in: .min ... .max, using: &random), at: index)
            }
        }
        var meter = StreamMeter(.chat(.standard), .whole)
        var removing = StreamMeter(.chat(.standard), .withoutUsageChunk)
        var output: [UInt8] = []
        for byte in bytes {
            _ = [byte].withUnsafeBufferPointer { meter.consume($0) }
            if case .bytes(let bytes) = [byte].withUnsafeBufferPointer({ removing.consume($0) }) {
                output += bytes
            } else {
                output.append(byte)
            }
        }
        output += removing.finish()
        _ = meter.finish()
        #expect(output.count <= bytes.count)
        for tokens in [meter.billed.prompt, meter.billed.completion] {
            #expect((tokens ?? 0) >= 0)
        }
    }
}

/// A seeded source of randomness.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

extension StreamMeter {
    fileprivate var billed: UsageReading.Billed {
        reading.usage.billed(reading.shape, hasOutput: reading.outputBytes > 0)
    }
}
