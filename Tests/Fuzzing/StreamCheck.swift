public import Ledger
public import Metering
import Translation

/// What must hold of the meter and the translations for any bytes at all that an upstream may send, cut in any way.
public struct StreamCheck: Sendable {
    /// What becomes of the bytes.
    public enum Way: CaseIterable, Sendable { case whole, withoutUsageChunk, translated }

    public let shape: AnswerShape
    public let way: Way

    public static let all: [StreamCheck] = [
        .chat(.standard), .chat(.reasoningBeside), .chat(.restOfTotal), .responses, .embeddings, .messages, .gemini,
    ].flatMap { shape in
        Way.allCases.compactMap { way in
            // Only these two are translated.
            way == .translated && shape != .messages && shape != .gemini ? nil : StreamCheck(shape: shape, way: way)
        }
    }

    /// A request that was admitted with small bounds.
    public static func hold() throws -> HoldPlaced {
        let data =
            #"{"request":"r","model":"up:served","endpoint":"e","prompt_bound":100,"output_bound":1000,"wanted_output":1000,"price":{"version":1,"input":1000000,"output":2000000,"cached":250000},"micro_credits_per_usd":10000000,"amount":0}"#
        guard case .holdPlaced(let hold) = try LedgerEvent(type: "hold_placed.v1", data: Array(data.utf8)) else {
            throw CancellationError()
        }
        return hold
    }

    private var passage: StreamMeter.Passage {
        let terms = ChatAnswerTerms(request: "r", created: 7, model: "asked", wantsUsageChunk: true)
        return switch way {
        case .whole: .whole
        case .withoutUsageChunk: .withoutUsageChunk
        case .translated: .translated(shape == .gemini ? GeminiAnswer(terms) : AnthropicAnswer(terms))
        }
    }

    /// What the meter says and sends on for bytes in pieces of these sizes, again and again.
    private func run(_ bytes: [UInt8], sizes: [Int]) -> (meter: StreamMeter, output: [UInt8]) {
        var meter = StreamMeter(shape, passage)
        var output: [UInt8] = []
        var (start, turn) = (0, 0)
        while start < bytes.count {
            let end = min(bytes.count, start + max(1, sizes.isEmpty ? bytes.count : sizes[turn % sizes.count]))
            turn += 1
            bytes[start..<end].withUnsafeBufferPointer { piece in
                switch meter.consume(piece) {
                case .piece: output += piece
                case .bytes(let made): output += made
                }
            }
            start = end
        }
        output += meter.finish() + meter.ending()
        return (meter, output)
    }

    /// What is wrong with how the bytes are metered; nil: nothing.
    public func problem(with bytes: [UInt8], sizes: [Int], hold: HoldPlaced) -> String? {
        let (meter, output) = run(bytes, sizes: sizes)
        let (other, otherOutput) = run(bytes, sizes: [])
        let report = meter.reading.report(prompt: PromptSize(textBytes: 40, mediaTokens: 0), bounds: hold)
        let usage = report.usage
        if output != otherOutput { return "what is sent on depends on how the stream was cut" }
        if meter.reading.report(prompt: PromptSize(textBytes: 40, mediaTokens: 0), bounds: hold)
            != other.reading.report(prompt: PromptSize(textBytes: 40, mediaTokens: 0), bounds: hold)
        {
            return "what is charged depends on how the stream was cut"
        }
        if meter.isComplete != other.isComplete || meter.reading.outputBytes != other.reading.outputBytes {
            return "what is known of the answer depends on how the stream was cut"
        }
        if [usage.prompt, usage.cached, usage.cacheWrite, usage.cacheWriteHour, usage.completion, usage.searches]
            .contains(where: { $0 < 0 || $0 > Usage.maximumTokens })
            || hold.priced.price.cost(of: usage) < 0
        {
            return "an amount is negative or absurd: \(usage)"
        }
        if report.raw?.count ?? 0 > UsageReading.maximumRawBytes { return "the event would hold too much" }
        switch way {
        case .whole: return output == bytes ? nil : "bytes that pass as they are were changed"
        case .withoutUsageChunk: return output.count <= bytes.count ? nil : "bytes were added"
        case .translated:
            return output.count <= 512 * bytes.count + (1 << 17) ? nil : "a translation grows without bound"
        }
    }
}
