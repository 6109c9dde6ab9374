import Foundation
import Ledger
import Metering
import Testing

/// Recorded streams of real providers, with the totals that these billed: read from the folder that `RECORDED_STREAMS_DIR` names.
@Suite("Recorded streams", .enabled(if: Recording.folder != nil))
struct RecordingTests {
    @Test(
        "what is metered is what was billed, however the stream is cut", arguments: Recording.all,
        Recording.Delivery.allCases)
    func billed(recording: Recording, delivery: Recording.Delivery) throws {
        let bytes = delivery.lines(try recording.bytes())
        for passage in [StreamMeter.Passage.whole, .withoutUsageChunk] {
            var meter = StreamMeter(recording.shape, passage)
            var output: [UInt8] = []
            for piece in delivery.pieces(bytes) {
                switch piece.withUnsafeBufferPointer({ meter.consume($0) }) {
                case .piece: output += piece
                case .bytes(let bytes): output += bytes
                }
            }
            output += meter.finish()
            #expect(meter.isComplete && !meter.hasUnreadEvents && !meter.reading.hasError)
            if case .whole = passage { #expect(output == bytes) }
            let billed = meter.reading.usage.billed(recording.shape, hasOutput: meter.reading.outputBytes > 0)
            #expect(billed.prompt == recording.prompt)
            #expect(billed.completion == recording.completion)
            guard recording.prompt != nil else { continue }
            #expect(billed.cached == recording.cached)
            #expect(billed.cacheWrite + billed.cacheWriteHour == recording.cacheWrite)
            #expect(billed.cacheWriteHour == recording.cacheWriteHour)
            if let cost = recording.costPicoUSD { #expect(meter.reading.usage.costPicoUSD == cost) }
            #expect(!billed.contradictsTotal)
        }
    }
}

/// A line of the recordings' index.
struct Recording: Sendable, CustomTestStringConvertible {
    let file: String
    let shape: AnswerShape
    let prompt: Int64?
    let cached: Int64
    let completion: Int64?
    let cacheWrite: Int64
    let cacheWriteHour: Int64
    let costPicoUSD: Int128?

    var testDescription: String { file }

    static let folder = ProcessInfo.processInfo.environment["RECORDED_STREAMS_DIR"].map { URL(filePath: $0) }

    static let all: [Recording] = {
        guard let folder, let index = try? String(contentsOf: folder.appending(path: "INDEX.tsv"), encoding: .utf8)
        else { return [] }
        return index.split(separator: "\n").dropFirst().map { Recording($0) }
    }()

    private init(_ line: Substring) {
        let columns = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
        file = columns[0]
        prompt = Int64(columns[4])
        cached = Int64(columns[5]) ?? 0
        completion = Int64(columns[6])
        cacheWrite = Int64(columns[7]) ?? 0
        cacheWriteHour = Int64(columns[8]) ?? 0
        costPicoUSD = Decimal64.parse(columns[10], fractionDigits: 12).map { Int128($0) }
        shape =
            switch columns[2] {
            case _ where file.contains("-responses-"): .responses
            case "gemini": .gemini
            case "anthropic": .messages
            case "xai": .chat(.reasoningBeside)
            default: .chat(.standard)
            }
    }

    func bytes() throws -> [UInt8] {
        try Array(Data(contentsOf: #require(Self.folder).appending(path: file)))
    }

    /// How the bytes of a stream are cut.
    enum Delivery: String, CaseIterable, Sendable {
        case whole, single, seven, withinCharacters, carriageReturns

        func lines(_ bytes: [UInt8]) -> [UInt8] {
            self == .carriageReturns ? bytes.flatMap { $0 == 0x0A ? [0x0D, 0x0A] : [$0] } : bytes
        }

        func pieces(_ bytes: [UInt8]) -> [[UInt8]] {
            switch self {
            case .whole: [bytes]
            case .single: bytes.map { [$0] }
            case .seven, .carriageReturns:
                stride(from: 0, to: bytes.count, by: 7).map { Array(bytes[$0..<min($0 + 7, bytes.count)]) }
            case .withinCharacters:
                bytes.reduce(into: [[]]) { pieces, byte in
                    // A continuation byte begins a piece.
                    if byte & 0xC0 == 0x80 { pieces.append([]) }
                    pieces[pieces.count - 1].append(byte)
                }
            }
        }
    }
}

/// What would have been charged as output, had the providers never reported it, beside what they billed.
@Suite("The estimate", .enabled(if: Recording.folder != nil))
struct EstimateTests {
    @Test(
        "a person is never charged much more than what was billed, and in sum less: what is thought in silence is not seen"
    )
    func error() throws {
        var sums = (estimated: Int64(0), billed: Int64(0))
        for recording in Recording.all {
            guard let billed = recording.completion, billed > 0 else { continue }
            var meter = StreamMeter(recording.shape, .whole)
            _ = try recording.bytes().withUnsafeBufferPointer { meter.consume($0) }
            _ = meter.finish()
            let estimated = Int64((meter.reading.outputBytes + 3) / 4)
            print("\(recording.file): \(estimated) estimated, \(billed) billed")
            #expect(estimated <= billed * 4 / 3 + 3, "\(recording.file)")
            sums = (sums.estimated + estimated, sums.billed + billed)
        }
        print("in sum: \(sums.estimated) estimated, \(sums.billed) billed")
        #expect(sums.estimated <= sums.billed && sums.estimated * 2 >= sums.billed)
    }
}
