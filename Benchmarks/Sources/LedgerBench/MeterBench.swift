import Foundation
import Metering
import Translation

/// How fast streams are metered on one core, beside the copying of their bytes and a splitter that only finds their lines.
///
///     LedgerBench meter MEGABYTES FOLDER     the streams of FOLDER (*.sse), each repeated to that size
enum MeterBench {
    /// How much comes from a socket at once, at most.
    private static let pieceSize = 16 << 10

    static func run(megabytes: Int, folder: String) throws {
        let files = try FileManager.default.contentsOfDirectory(
            at: URL(filePath: folder), includingPropertiesForKeys: nil
        ).filter { $0.pathExtension == "sse" }.sorted { $0.path < $1.path }
        var results: [String] = []
        for file in files {
            let (bytes, shape) = try stream(file, size: megabytes << 20)
            var passages: [(String, StreamMeter.Passage)] = [("metered", .whole)]
            if case .chat = shape { passages.append(("without_usage_chunk", .withoutUsageChunk)) }
            let terms = ChatAnswerTerms(request: "r", created: 7, model: "m", wantsUsageChunk: false)
            if shape == .messages { passages.append(("translated", .translated(AnthropicAnswer(terms)))) }
            if shape == .gemini { passages.append(("translated", .translated(GeminiAnswer(terms)))) }
            var figures = [
                ("copied", measure(bytes) { copy($0) }), ("split", measure(bytes) { split($0) }),
            ]
            for (name, passage) in passages { figures.append((name, measure(bytes) { meter($0, shape, passage) })) }
            let fields = figures.map { "\"\($0.0)\":\(String(format: "%.1f", $0.1))" }.joined(separator: ",")
            results.append("\"\(file.deletingPathExtension().lastPathComponent)\":{\(fields)}")
        }
        print("{\(results.joined(separator: ","))}")
    }

    /// A long stream: all but the end of the file's again and again, then its end.
    private static func stream(_ file: URL, size: Int) throws -> (bytes: [UInt8], shape: AnswerShape) {
        let name = file.lastPathComponent
        let shape: AnswerShape =
            name.hasPrefix("anthropic")
            ? .messages
            : name.hasPrefix("gemini") ? .gemini : name.contains("responses") ? .responses : .chat(.standard)
        let events = String(decoding: try Data(contentsOf: file), as: UTF8.self).components(separatedBy: "\n\n")
            .filter { !$0.isEmpty }.map { Array(($0 + "\n\n").utf8) }
        let end = events.suffix(2).flatMap { $0 }
        let middle = events.dropLast(2).flatMap { $0 }
        guard !middle.isEmpty else { fatalError("\(name) has no events between lines that are empty") }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(size + middle.count + end.count)
        while bytes.count < size { bytes += middle }
        return (bytes + end, shape)
    }

    /// MB/s (10⁶ bytes), the best of five: what the core can do when it is left alone.
    private static func measure(_ bytes: [UInt8], _ body: (UnsafeBufferPointer<UInt8>) -> Int) -> Double {
        var best = Duration.seconds(1_000_000)
        for _ in 0..<5 {
            let start = ContinuousClock.now
            let result = bytes.withUnsafeBufferPointer { body($0) }
            best = min(best, ContinuousClock.now - start)
            guard result > 0 else { fatalError("nothing was read") }
        }
        return Double(bytes.count) / (best / .microseconds(1))
    }

    private static func copy(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        let target = UnsafeMutablePointer<UInt8>.allocate(capacity: pieceSize)
        defer { target.deallocate() }
        var sum = 0
        pieces(bytes) { piece in
            guard let base = piece.baseAddress else { return }
            memcpy(target, base, piece.count)
            sum += Int(target[piece.count - 1]) + 1
        }
        return sum
    }

    private static func split(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        var lines = 0
        pieces(bytes) { piece in
            guard var at = UnsafeRawPointer(piece.baseAddress) else { return }
            let end = at + piece.count
            while at < end, let found = memchr(at, 0x0A, end - at) {
                lines += 1
                at = UnsafeRawPointer(found) + 1
            }
        }
        return lines
    }

    private static func meter(
        _ bytes: UnsafeBufferPointer<UInt8>, _ shape: AnswerShape, _ passage: StreamMeter.Passage
    ) -> Int {
        var meter = StreamMeter(shape, passage)
        pieces(bytes) { piece in _ = meter.consume(piece) }
        _ = meter.finish()
        guard meter.isComplete, meter.reading.usage.isPresent else { fatalError("the stream was not read to its end") }
        return meter.reading.outputBytes
    }

    private static func pieces(
        _ bytes: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        for start in stride(from: 0, to: bytes.count, by: pieceSize) {
            body(UnsafeBufferPointer(rebasing: bytes[start..<min(bytes.count, start + pieceSize)]))
        }
    }
}
