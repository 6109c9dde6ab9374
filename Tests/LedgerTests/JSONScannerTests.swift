import Fuzzing
import Testing
import WireJSON

@Suite("Reading JSON")
struct JSONScannerTests {
    /// The extent of a string by the grammar of RFC 8259 section 7, a byte at a time; nil where it is none.
    private static func plainExtent(_ bytes: [UInt8]) -> Int? {
        guard bytes.first == 0x22 else { return nil }
        var index = 1
        while index < bytes.count {
            switch bytes[index] {
            case 0x22: return index
            case 0..<0x20: return nil
            case 0x5C:
                guard index + 1 < bytes.count else { return nil }
                let hexDigits = bytes.dropFirst(index + 2).prefix(4)
                switch bytes[index + 1] {
                case 0x75
                where hexDigits.count == 4 && hexDigits.allSatisfy { Character(UnicodeScalar($0)).isHexDigit }:
                    index += 6
                case let escape where "\"\\/bfnrt".utf8.contains(escape): index += 2
                default: return nil
                }
            default: index += 1
            }
        }
        return nil
    }

    @Test(
        "a string ends where reading byte by byte says, whatever is in it and wherever",
        arguments: [20_261_123 as UInt64])
    func texts(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        // Mostly ordinary characters: what ends a string, or breaks it, then lies at every place of a word of eight bytes.
        let rare: [UInt8] = [0x22, 0x5C, 0x00, 0x1F, 0x20, 0x21, 0x23, 0x7F, 0x80, 0xA2, 0xDC, 0xFF, 0x75]
        for round in 0..<20_000 {
            var bytes: [UInt8] = [0x22]
            for _ in 0..<Int.random(in: 0...40, using: &random) {
                bytes.append(
                    Int.random(in: 0..<12, using: &random) == 0
                        ? rare.randomElement(using: &random) ?? 0 : UInt8.random(in: 0x61...0x7A, using: &random))
            }
            if Bool.random(using: &random) { bytes.append(0x22) }
            let read = bytes.withUnsafeBufferPointer { buffer -> Int? in
                var json = JSONScanner(buffer)
                return (try? json.text())?.range.upperBound
            }
            #expect(read == Self.plainExtent(bytes), "seed \(seed), round \(round): \(bytes)")
        }
    }

    @Test(
        "whole numbers are read exactly or refused",
        arguments: [
            ("0", 0), ("7", 7), ("-1", -1), ("999999999999999999", 999_999_999_999_999_999),
            ("1000000000000000000", 1_000_000_000_000_000_000), ("9223372036854775807", Int64.max),
            ("-9223372036854775808", Int64.min), ("9223372036854775808", nil), ("00", nil), ("01", nil), ("-", nil),
            ("", nil), ("1.0", nil), ("1e3", nil), ("1E3", nil), ("+1", nil),
            ("99999999999999999999999999999999999999999", nil),
        ] as [(String, Int64?)])
    func integers(text: String, expected: Int64?) {
        for ending in ["", ",", "}", "]", " "] {
            let read = Array((text + ending).utf8).withUnsafeBufferPointer { buffer -> Int64? in
                var json = JSONScanner(buffer)
                return try? json.integer()
            }
            #expect(read == expected, "'\(text)\(ending)'")
        }
    }

    @Test("names of fields are compared whole, whatever their length")
    func fields() throws {
        for (name, literal) in [("a", "a"), ("balance", "balance"), ("price_id", "price_id")]
            as [(String, StaticString)]
        {
            let document = Array("{\"\(name)\":1,\"\(name)x\":2}".utf8)
            try document.withUnsafeBufferPointer { buffer in
                var json = JSONScanner(buffer)
                try json.enterObject()
                try json.field(literal)
                let value = try json.integer()
                let isThereAgain = json.optionalField(literal)
                #expect(value == 1 && !isThereAgain)
            }
        }
    }
}
