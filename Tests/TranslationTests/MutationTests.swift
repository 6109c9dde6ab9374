import Foundation
import Fuzzing
import Testing

/// Streams of every shape, changed at random: whatever comes, nothing stops the process, and nothing is charged that is negative or depends on
/// how the bytes were cut. `make fuzz` looks further, with coverage to guide it.
@Suite("Mutated streams")
struct MutationTests {
    /// `LEDGER_TEST_SEED` runs one seed again.
    static let seeds: [UInt64] =
        ProcessInfo.processInfo.environment["LEDGER_TEST_SEED"].flatMap { UInt64($0) }.map { [$0] }
        ?? (1...24).map { $0 }

    private static let folder = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../../fixtures/streams")

    @Test("every shape, every passage", arguments: seeds)
    func mutated(seed: UInt64) throws {
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let hold = try StreamCheck.hold()
        let files = try FileManager.default.contentsOfDirectory(at: Self.folder, includingPropertiesForKeys: nil)
            .sorted { $0.path < $1.path }
        try #require(files.count >= 6)
        let streams = try files.map { Array(try Data(contentsOf: $0)) }
        for (file, stream) in zip(files, streams) {
            for _ in 0..<12 {
                var bytes = stream
                for _ in 0..<Int.random(in: 0...6, using: &random) {
                    Self.mutate(&bytes, with: streams, using: &random)
                }
                let sizes = (0..<3).map { _ in Int.random(in: 1...90, using: &random) }
                for check in StreamCheck.all {
                    let problem = check.problem(with: bytes, sizes: sizes, hold: hold)
                    #expect(
                        problem == nil,
                        "seed \(seed), \(file.lastPathComponent), \(check), sizes \(sizes): \(String(decoding: bytes, as: UTF8.self))"
                    )
                }
            }
        }
    }

    /// Words that mean something to one format or another.
    private static let words: [String] = [
        "null", "-1", "9223372036854775808", "1e400", "2147483648", "0.5", "[]", "{}", "\"", "\\u0000", "\\ud800",
        "\n\n",
        "\r", "\r\n\r\n", "data:", "event: error\n", ": c\n", "data: [DONE]\n\n", "\u{FEFF}", "true",
        #""error":{"message":"x"},"#, #""usage":{"prompt_tokens":-5,"completion_tokens":99999999999},"#,
        #""usageMetadata":{"promptTokenCount":3,"thoughtsTokenCount":-1},"#, #""iterations":[{"input_tokens":5},[1]],"#,
        String(repeating: "[", count: 200),
    ]

    private static func mutate(_ bytes: inout [UInt8], with others: [[UInt8]], using random: inout SeededGenerator) {
        guard !bytes.isEmpty else { return bytes = others[0] }
        let at = Int.random(in: 0..<bytes.count, using: &random)
        let end = min(bytes.count, at + Int.random(in: 1...120, using: &random))
        switch Int.random(in: 0..<7, using: &random) {
        case 0: bytes[at] = UInt8.random(in: .min ... .max, using: &random)
        case 1: bytes.removeSubrange(at..<end)
        case 2: bytes.insert(contentsOf: bytes[at..<end], at: at)
        case 3: bytes.removeSubrange(at...)
        case 4: bytes.insert(contentsOf: Array((words.randomElement(using: &random) ?? "").utf8), at: at)
        case 5:
            // A figure becomes another.
            guard let digit = bytes[at...].firstIndex(where: { (0x30...0x39).contains($0) }) else { return }
            let stop = bytes[digit...].firstIndex { !(0x30...0x39).contains($0) } ?? bytes.count
            bytes.replaceSubrange(digit..<stop, with: Array((words.prefix(6).randomElement(using: &random) ?? "").utf8))
        default:
            guard let other = others.randomElement(using: &random), !other.isEmpty else { return }
            let from = Int.random(in: 0..<other.count, using: &random)
            bytes.insert(contentsOf: other[from..<min(other.count, from + 300)], at: at)
        }
    }
}
