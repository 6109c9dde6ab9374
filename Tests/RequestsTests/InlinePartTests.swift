import Foundation
import Testing

@testable import Requests

@Suite("Files in requests")
struct InlinePartTests {
    private static func big(_ value: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * (count - 1 - $0))) }
    }

    private static func little(_ value: Int, _ count: Int) -> [UInt8] { big(value, count).reversed() }

    private static func text(_ text: String) -> [UInt8] { Array(text.utf8) }

    static func png(_ width: Int, _ height: Int) -> [UInt8] {
        [0x89] + text("PNG\r\n\u{1A}\n") + big(13, 4) + text("IHDR") + big(width, 4) + big(height, 4) + [8, 6, 0, 0, 0]
    }

    static func jpeg(_ width: Int, _ height: Int, before: Int = 0, marker: UInt8 = 0xC2) -> [UInt8] {
        let profile: [UInt8] =
            before > 0 ? [0xFF, 0xE2] + big(before + 2, 2) + [UInt8](repeating: 0xFF, count: before) : []
        return [0xFF, 0xD8] + profile + [0xFF, marker] + big(17, 2) + [8] + big(height, 2) + big(width, 2) + [3]
    }

    static func gif(_ width: Int, _ height: Int, frames: [(Int, Int, Int, Int)]) -> [UInt8] {
        let head: [UInt8] =
            text("GIF89a") + little(width, 2) + little(height, 2) + [0x80, 0, 0] + [UInt8](repeating: 1, count: 6)
        let comment: [UInt8] = [0x21, 0xFE, 3, 1, 2, 3, 0]
        let pictures: [UInt8] = frames.flatMap { left, top, width, height -> [UInt8] in
            [0x2C] + little(left, 2) + little(top, 2) + little(width, 2) + little(height, 2) + [0, 2, 2, 0x4C, 0x01, 0]
        }
        return head + comment + pictures + [0x3B]
    }

    static func wave(rate: Int, channels: Int, bits: Int, seconds: Int, format: Int = 1) -> [UInt8] {
        let size = rate * channels * bits / 8 * seconds
        return text("RIFF") + little(size + 36, 4) + text("WAVEfmt ") + little(16, 4) + little(format, 2)
            + little(channels, 2) + little(rate, 4) + little(rate * channels * bits / 8, 4)
            + little(channels * bits / 8, 2)
            + little(bits, 2) + text("data") + little(size, 4) + [UInt8](repeating: 0, count: size)
    }

    private static let sizes: [(name: String, bytes: [UInt8], width: Int, height: Int)] = [
        ("PNG", png(1920, 1080), 1920, 1080), ("GIF", gif(500, 300, frames: [(0, 0, 500, 300)]), 500, 300),
        ("GIF with a frame beyond its screen", gif(1, 1, frames: [(0, 0, 1, 1), (10, 0, 1990, 2000)]), 2000, 2000),
        ("JPEG", jpeg(4032, 3024), 4032, 3024),
        ("JPEG with a profile", jpeg(640, 480, before: 60_000, marker: 0xC0), 640, 480),

        (
            "WebP, lossy",
            text("RIFF") + little(30, 4) + text("WEBPVP8 ") + little(10, 4) + [0, 0, 0, 0x9D, 0x01, 0x2A]
                + little(800, 2) + little(600, 2), 800, 600
        ),
        (
            "WebP, lossless",
            text("RIFF") + little(30, 4) + text("WEBPVP8L") + little(10, 4) + [0x2F] + little(799 | 599 << 14, 4), 800,
            600
        ),
        (
            "WebP, extended",
            text("RIFF") + little(30, 4) + text("WEBPVP8X") + little(10, 4) + little(0, 4) + little(799, 3)
                + little(599, 3), 800, 600
        ),
        ("BMP", text("BM") + little(0, 12) + little(40, 4) + little(320, 4) + little(200, 4), 320, 200),
    ]

    @Test("the size of a picture is read from its header, whatever it is called", arguments: sizes.map(\.name))
    func dimensions(name: String) throws {
        let example = try #require(Self.sizes.first { $0.name == name })
        for (declared, url) in [("image/png", false), (nil, true)] as [(String?, Bool)] {
            let base64 = Data(example.bytes).base64EncodedString()
            let value = Array((url ? "data:image/jpeg;base64," + base64 : base64).utf8)
            let part = value.withUnsafeBufferPointer { InlinePart($0, declared: declared) }
            #expect(part.kinds == [.image])
            #expect(part.dimensions?.width == example.width && part.dimensions?.height == example.height)
        }
    }

    @Test(
        "a file is all that is declared and that its bytes say",
        arguments: [
            ("data:image/png;base64,AAAAIGZ0eXBpc29t", nil, [.image, .video]),
            ("data:video/mp4;base64,iVBORw0KGgo=", nil, [.image, .video]),
            ("data:text/plain;base64,iVBORw0KGgo=", nil, [.text, .image]),
            ("data:image/png;base64,JVBERi0xLjc=", nil, [.image, .document]),
            ("data:image/png,hello", nil, [.image]), ("data:,hello", nil, [.text]),
            ("data:;base64,aGk=", nil, [.text]), ("data:image/gif;base64,R0lGODlh", "wav", [.image, .audio]),
            ("aGVsbG8=", nil, [.other]), ("aGVsbG8=", "text/plain", [.text]), ("aGVsbG8=", "application/zip", [.other]),
            ("UEsDBAAAAAA=", "text/plain", [.text, .other]), ("aGVsbG8=", "wav", [.audio]),
            ("SUQzBAAAAAA=", "image/png", [.image, .audio]),
            ("data:application/json;charset=utf-8;base64,e30=", nil, [.text]), ("data:image/png", nil, [.other]),
            ("https://example.com/x.png", "image/png", [.other]), ("gs://bucket/x", nil, [.other]),
            ("file-123", nil, [.other]),
            ("data:IMAGE/PNG;BASE64,JVBERi0xLjc=", nil, [.image, .document]), ("AAAAIGZ0eXBoZWlj", nil, [.image]),
        ] as [(String, String?, Set<PartKind>)])
    func kinds(value: String, declared: String?, kinds: Set<PartKind>) {
        let part = Array(value.utf8).withUnsafeBufferPointer { InlinePart($0, declared: declared) }
        #expect(part.kinds == kinds)
    }

    @Test("where the signs differ, a file costs the most that any of them could")
    func differing() {
        let picture = Data(Self.png(8000, 300)).base64EncodedString()
        let figures = PartFigures(model: "mine", fileTokens: 70_000)
        func measured(_ type: String, beside declared: String?) -> InlinePart.Measure {
            Array("data:\(type);base64,\(picture)".utf8).withUnsafeBufferPointer {
                InlinePart($0, declared: declared).measured(by: figures, remoteIsPicture: true)
            }
        }
        // As a model of a name that nobody knows bills it, which may be any: eight tiles at the dearest.
        let asPicture: Int64 = 2833 + 4 * 5667
        #expect(measured("image/png", beside: nil) == .tokens(asPicture, isAudio: false))
        #expect(measured("text/plain", beside: nil) == .tokens(asPicture, isAudio: false))
        #expect(measured("image/png", beside: "wav") == .unknown)
        #expect(measured("image/png", beside: "application/pdf") == .tokens(70_000, isAudio: false))
        #expect(measured("image/png", beside: "video/mp4") == .unknown)
        // A part that is a picture by its place is one, whatever it is called: its decoder may see what this one does not.
        let behind = Array("data:text/plain;base64,=\(picture)".utf8)
        let part = behind.withUnsafeBufferPointer { InlinePart($0, declared: nil, as: .image) }
        #expect(part.kinds == [.text, .image] && part.measured(by: figures, remoteIsPicture: false) == .unknown)
        let small = Array("data:image/png,\(String(repeating: "a", count: 9000))".utf8)
        let text = small.withUnsafeBufferPointer { InlinePart($0, declared: "text/plain") }
        #expect(text.measured(by: PartFigures(model: "mine", imageTokens: 9), remoteIsPicture: false) == .text(9000))
    }

    /// The head of a frame of 8 kbit/s.
    private static let layerIII: [UInt8] = [0xFF, 0xE3, 0x18, 0xC4]

    private static let sounds: [(name: String, bytes: [UInt8], seconds: Int64?)] = [
        ("plain samples", wave(rate: 8000, channels: 1, bits: 8, seconds: 7), 8),
        ("two channels", wave(rate: 1000, channels: 2, bits: 16, seconds: 3), 4),
        ("a format that is packed", wave(rate: 8000, channels: 1, bits: 8, seconds: 1, format: 17), nil),
        ("a rate of nothing", wave(rate: 0, channels: 1, bits: 8, seconds: 0), nil),
        (
            "the largest figures that a header can hold",
            text("RIFF") + little(36, 4) + text("WAVEfmt ") + little(16, 4) + little(1, 2) + little(0xFFFF, 2)
                + little(0xFFFF_FFFF, 4) + little(0, 6) + little(0xFFFF, 2) + text("data") + little(0, 4), nil
        ),
        ("MPEG", layerIII + [UInt8](repeating: 0, count: 4996), 6),
        (
            "MPEG behind a tag",
            text("ID3") + [4, 0, 0, 0, 0, 1, 0] + [UInt8](repeating: 1, count: 128) + layerIII
                + [UInt8](repeating: 0, count: 2862), 4
        ),
        // What is behind the tag decides, and silence takes next to nothing in these.
        (
            "FLAC behind a tag",
            text("ID3") + [4, 0, 0, 0, 0, 0, 2] + [1, 1] + text("fLaC") + [UInt8](repeating: 0, count: 400), nil
        ),
        ("FLAC", text("fLaC") + [UInt8](repeating: 0, count: 400), nil),
        ("Ogg", text("OggS") + [UInt8](repeating: 0, count: 400), nil),
        ("AIFF", text("FORM") + [UInt8](repeating: 0, count: 400), nil),
        ("MPEG of no bit rate that is known", [0xFF, 0xFB, 0x00, 0x00] + [UInt8](repeating: 0, count: 400), nil),
    ]

    @Test("sound lasts as long as its header says, or as its bytes can at most", arguments: sounds.map(\.name))
    func seconds(name: String) throws {
        let sound = try #require(Self.sounds.first { $0.name == name })
        let header = FileHeader(sound.bytes, size: sound.bytes.count)
        #expect(header.kind == .audio && header.seconds == sound.seconds)
    }

    @Test(
        "pictures count as their makers publish it",
        arguments: [
            // A square of 1024 at high detail is 765 at gpt-4o; 2048 x 4096 is 1105 there: the bound is no less.
            ("gpt-4o", 1024, 1024, 765, 765), ("gpt-4o", 2048, 4096, 1105, 1445), ("gpt-4o-mini", 512, 512, 8500, 8500),
            ("openai/gpt-4.1-mini-2025-04-14", 1024, 1024, 1659, 1659), ("o4-mini", 4000, 4000, 1536, 2642),
            // A picture of 1.15 megapixels is about 1,534 to 1,600 at Claude.
            ("claude-sonnet-4-5-20250929", 1092, 1092, 1590, 1700), ("claude-sonnet-4-5", 200, 200, 54, 160),
            ("claude-opus-4-7", 2000, 1500, 3888, 4900), ("gemini-2.5-pro", 384, 384, 258, 258),
            ("gemini-2.5-flash", 768, 768, 258, 1032), ("gemini-2.5-flash", 3000, 300, 258, 6192),
            ("gemini-3-pro", 9, 9, 1120, 2240),
            ("grok-3", 4000, 4000, 1792, 1792), ("mine", 140, 140, 8500, 8500),
            ("ft:gpt-4o-mini-2024-07-18:acme::abc", 64, 64, 8500, 8500), ("grok-4.3", 32, 32, 512, 8500),
        ] as [(String, Int, Int, Int64, Int64)])
    func pictures(model: String, width: Int, height: Int, published: Int64, most: Int64) throws {
        let figures = PartFigures(model: model)
        let tokens = try #require(figures.image((width, height)))
        #expect((published...most).contains(tokens), "\(tokens)")
        if let unknown = figures.image(nil) { #expect(unknown >= tokens) }
    }

    @Test("a model's window is known by the beginning of its name, the operator's word wins, and nothing is guessed")
    func windows() {
        for (model, window) in [
            ("gemini-2.5-pro", 1_048_576), ("models/gemini-2.5-flash-image-preview", 65_536), ("grok-3-mini", 131_072),
            ("claude-haiku-4-5-20251001", 200_000), ("GPT-4o-2024-08-06", 128_000), ("gpt-4.1", 1_047_576),
            ("mine", nil),
            ("text-embedding-3-small", nil), ("my-gpt-4o", nil), ("anthropic/claude-opus-4.6", 1_000_000),
            ("x-ai/grok-4.1-fast", 2_000_000), ("gpt-4-1106-preview", 128_000), ("gpt-4", 8192), ("gpt-4-0613", 8192),
            ("claude-3.5-haiku", 200_000), ("grok-4-0709", 256_000), ("ft:gpt-4o:acme", 128_000),
        ] as [(String, Int64?)] {
            #expect(PartFigures(model: model).contextTokens == window, "\(model)")
        }
        #expect(PartFigures(model: "gpt-4o", contextTokens: 7).contextTokens == 7)
        #expect(PartFigures(model: "gpt-4o", imageTokens: 9).image((5000, 5000)) == 9)
    }
}
