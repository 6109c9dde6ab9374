/// What a part of a prompt is that is no text of its own.
public enum PartKind: String, Hashable, Sendable, CaseIterable {
    case text, image, audio, video, document
    /// Something that is not known, or elsewhere.
    case other
}

/// A file inside a request, or where one is: it counts by what it is, whatever it is called.
///
/// A data URL (RFC 2397) says its type itself; of bare Base64 the member beside it does. Both may lie, so the first bytes are looked at too. Where
/// they differ, which of them the provider believes is not known: it costs the most that any of them could.
struct InlinePart {
    /// What it costs at most.
    enum Measure: Equatable {
        /// Bytes of text.
        case text(Int)
        case tokens(Int64, isAudio: Bool)
        /// It may fill the context window.
        case unknown
    }

    /// What it is by each of the signs.
    let kinds: Set<PartKind>
    /// Whether it is not in the request.
    let isRemote: Bool
    /// The size of the file.
    let bytes: Int
    /// Of a picture, in pixels.
    private(set) var dimensions: (width: Int, height: Int)?
    /// Of sound, in seconds, rounded up.
    private(set) var seconds: Int64?

    /// The most bytes of a file that are looked at: what stands before a picture's size may be a thumbnail and a colour profile.
    private static let lookedAt = 192 << 10

    /// `mime`: the type beside it; `place`: what only may stand where it does.
    init(_ text: UnsafeBufferPointer<UInt8>, declared mime: String?, as place: PartKind? = nil) {
        var payload = text
        var kinds = Set([mime.map(Self.kind(ofType:))].compactMap { $0 })
        var types = [mime].compactMap { $0?.lowercased() }
        var isBase64 = true
        if text.prefix(5).elementsEqual("data:".utf8) {
            let head = text.prefix(512)
            guard let comma = head.firstIndex(of: UInt8(ascii: ",")) else {
                (self.kinds, isRemote, bytes) = ([.other], false, text.count)
                return
            }
            let fields = String(decoding: text[5..<comma], as: UTF8.self).split(
                separator: ";", omittingEmptySubsequences: false)
            isBase64 = fields.dropFirst().contains { $0.trimmingSpaces.lowercased() == "base64" }
            // Without a type it is plain text.
            let type = fields.first.map { $0.trimmingSpaces } ?? ""
            types.append(type.lowercased())
            kinds.insert(Self.kind(ofType: type.isEmpty ? "text/plain" : type))
            payload = UnsafeBufferPointer(rebasing: text[(comma + 1)...])
        } else if Self.hasScheme(text) {
            (self.kinds, isRemote, bytes) = (place.map { [$0, .other] } ?? [.other], true, 0)
            return
        }
        isRemote = false
        bytes = isBase64 ? payload.count / 4 * 3 + 3 : payload.count
        let start = isBase64 ? Base64.decode(payload, atMost: Self.lookedAt) : Array(payload.prefix(Self.lookedAt))
        let header = FileHeader(start, size: bytes)
        dimensions = header.dimensions
        // Who is told another form may find another length in the same bytes.
        seconds = types.allSatisfy { header.isSound(ofType: $0) } ? header.seconds : nil
        if let kind = header.kind { kinds.insert(kind) }
        // What calls itself a text and reads like one is one; any other may be what its place says, in a form that is not known here. Some servers
        // (SGLang) take whatever stands behind the comma for Base64.
        if let place, kinds != [.text] || !isBase64 || !Self.readsLikeText(start) { kinds.insert(place) }
        self.kinds = kinds.isEmpty ? [.other] : kinds
    }

    /// What it costs at most, by a model's figures; `remoteIsPicture`: whether nothing but a picture can be elsewhere.
    func measured(by figures: PartFigures, remoteIsPicture: Bool) -> Measure {
        if isRemote {
            guard remoteIsPicture, let tokens = figures.image(nil) else { return .unknown }
            return .tokens(tokens, isAudio: false)
        }
        var (textBytes, tokens) = (0, Int64(0))
        for kind in kinds {
            let most: Int64?
            switch kind {
            case .text:
                textBytes = bytes
                continue
            case .image: most = figures.image(dimensions)
            case .audio: most = figures.audio(seconds: seconds)
            case .document: most = figures.document
            case .video, .other: most = nil
            }
            guard let most else { return .unknown }
            tokens = max(tokens, most)
        }
        let isAudio = kinds.contains(.audio)
        return isAudio || tokens > textBytes
            ? .tokens(max(tokens, Int64(textBytes)), isAudio: isAudio) : .text(textBytes)
    }

    /// Whether bytes are UTF-8 without control characters, but for the end of a letter that was cut.
    private static func readsLikeText(_ bytes: [UInt8]) -> Bool {
        guard !bytes.isEmpty, bytes.allSatisfy({ $0 >= 0x20 || (0x09...0x0D).contains($0) }) else { return false }
        return (0...3).contains { String(validating: bytes.dropLast($0), as: UTF8.self) != nil }
    }

    private static func hasScheme(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        guard let colon = text.prefix(32).firstIndex(of: UInt8(ascii: ":")) else { return false }
        return colon > 0 && text.count > colon + 1
    }

    /// The kind of a media type (RFC 6838), or of the short names that OpenAI has for formats of sound.
    static func kind(ofType type: String) -> PartKind {
        let name = type.lowercased()
        if name.hasPrefix("image/") { return .image }
        if name.hasPrefix("audio/") { return .audio }
        if name.hasPrefix("video/") { return .video }
        if name.hasPrefix("text/") { return .text }
        switch name {
        case "application/json", "application/xml", "application/javascript", "application/x-yaml", "application/yaml",
            "application/x-sh", "application/x-httpd-php", "application/x-python", "application/sql",
            "application/x-javascript", "application/ld+json", "application/x-ndjson":
            return .text
        case "application/pdf": return .document
        case "wav", "mp3", "flac", "opus", "pcm16", "pcm", "aac", "ogg", "m4a", "aiff", "webm": return .audio
        default: return .other
        }
    }
}

/// What the first bytes of a file say of it.
struct FileHeader {
    private(set) var kind: PartKind?
    private(set) var dimensions: (width: Int, height: Int)?
    private(set) var seconds: Int64?

    private let bytes: [UInt8]

    /// `size`: of the whole file.
    init(_ start: [UInt8], size: Int) {
        bytes = start
        if has([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) {
            // PNG (W3C, Portable Network Graphics, 11.2.2): IHDR comes first.
            kind = .image
            if has("IHDR", at: 12) { dimensions = sized(big(16, 4), big(20, 4)) }
        } else if has([0xFF, 0xD8, 0xFF]) {
            kind = .image
            dimensions = jpegDimensions()
        } else if has("GIF87a") || has("GIF89a") {
            kind = .image
            dimensions = gifDimensions()
        } else if has("RIFF"), has("WEBP", at: 8) {
            kind = .image
            dimensions = webpDimensions()
        } else if has("BM"), bytes.count >= 26, little(14, 4).map({ (12...256).contains($0) }) == true {
            kind = .image
            dimensions = sized(little(18, 4), little(22, 4).map { min($0, 0x1_0000_0000 - $0) })
        } else if has("II*\u{0}") || has([0x4D, 0x4D, 0x00, 0x2A]) {
            kind = .image
        } else if has("%PDF", within: 1024) {
            kind = .document
        } else if has("RIFF"), has("WAVE", at: 8) {
            kind = .audio
            seconds = waveSeconds(size)
        } else if has("ID3") || (bytes.count > 1 && bytes[0] == 0xFF && bytes[1] & 0xE6 == 0xE2) {
            // MPEG layer III: no frame is below 8 kbit/s (ISO/IEC 13818-3).
            kind = .audio
            if isLayerIII(at: tagEnd()) { seconds = Int64(size / 1000) + 1 }
        } else if has("fLaC") || has("OggS") || has([0xFF, 0xF1]) || has([0xFF, 0xF9]) || has("FORM") || has("#!AMR")
            || has(".snd")
        {
            // Silence takes next to nothing in these: how long they last cannot be seen.
            kind = .audio
        } else if has("ftyp", at: 4) {
            // ISO/IEC 14496-12: the brand says whether it is a picture, sound or a film.
            let brand = String(decoding: bytes.dropFirst(8).prefix(4), as: UTF8.self)
            kind =
                ["heic", "heix", "mif1", "msf1", "avif", "heim", "heis"].contains(brand)
                ? .image : brand.hasPrefix("M4A") ? .audio : .video
        } else if has([0x1A, 0x45, 0xDF, 0xA3]) || (has("RIFF") && has("AVI ", at: 8)) || has([0x00, 0x00, 0x01, 0xBA])
            || has([0x00, 0x00, 0x01, 0xB3]) || has("FLV")
            || (bytes.count > 188 && bytes[0] == 0x47 && bytes[188] == 0x47)
        {
            kind = .video
        } else if has("PK\u{3}\u{4}") || has([0x1F, 0x8B]) || has([0xD0, 0xCF, 0x11, 0xE0]) {
            // An archive, or a document in one: how much it holds cannot be seen.
            kind = .other
        }
    }

    /// Whether a media type, or OpenAI's short name of a format, is that of the sound that it is.
    func isSound(ofType type: String) -> Bool {
        let names = has("RIFF") ? ["wav", "wave", "x-wav", "vnd.wave"] : ["mp3", "mpeg", "mpga", "x-mp3"]
        return names.contains(type.hasPrefix("audio/") ? String(type.dropFirst(6)) : type)
    }

    private func has(_ magic: [UInt8]) -> Bool { bytes.starts(with: magic) }

    /// Whether a frame of MPEG layer III stands there, of a bit rate that is one of the standard's.
    private func isLayerIII(at offset: Int) -> Bool {
        guard let head = big(offset, 4) else { return false }
        return head >> 21 == 0x7FF && head >> 17 & 3 == 1 && (1...14).contains(head >> 12 & 15)
    }

    /// Where the tags end that stand before the sound (ID3v2, section 3.1: four times seven bits).
    private func tagEnd() -> Int {
        guard has("ID3"), let size = big(6, 4), let flags = big(5, 1) else { return 0 }
        let bits = (size & 0x7F) | (size >> 1 & 0x3F80) | (size >> 2 & 0x1F_C000) | (size >> 3 & 0xFE0_0000)
        return 10 + bits + (flags & 0x10 != 0 ? 10 : 0)
    }

    private func has(_ magic: StaticString, at offset: Int = 0) -> Bool {
        let count = magic.utf8CodeUnitCount
        guard bytes.count >= offset + count else { return false }
        return magic.withUTF8Buffer { bytes[offset..<offset + count].elementsEqual($0) }
    }

    private func has(_ magic: StaticString, within: Int) -> Bool {
        (0..<max(0, min(within, bytes.count - magic.utf8CodeUnitCount + 1))).contains { has(magic, at: $0) }
    }

    /// An unsigned number of so many bytes; nil: it is not there.
    private func big(_ offset: Int, _ count: Int) -> Int? {
        guard offset >= 0, offset + count <= bytes.count else { return nil }
        return bytes[offset..<offset + count].reduce(0) { $0 << 8 | Int($1) }
    }

    private func little(_ offset: Int, _ count: Int) -> Int? {
        guard offset >= 0, offset + count <= bytes.count else { return nil }
        return bytes[offset..<offset + count].reversed().reduce(0) { $0 << 8 | Int($1) }
    }

    /// Dimensions that a picture can have.
    private func sized(_ width: Int?, _ height: Int?) -> (width: Int, height: Int)? {
        guard let width, let height, (1...1_000_000).contains(width), (1...1_000_000).contains(height) else {
            return nil
        }
        return (width, height)
    }

    /// JPEG (ITU T.81, B.2.2): the size stands in the frame's header, behind any number of segments.
    private func jpegDimensions() -> (width: Int, height: Int)? {
        var offset = 2
        while let marker = big(offset, 2), marker >> 8 == 0xFF {
            let code = marker & 0xFF
            if code == 0xFF {
                offset += 1
                continue
            }
            if (0xC0...0xCF).contains(code), code != 0xC4, code != 0xC8, code != 0xCC {
                return sized(big(offset + 7, 2), big(offset + 5, 2))
            }
            if code == 0xD8 || code == 0x01 || (0xD0...0xD7).contains(code) {
                offset += 2
                continue
            }
            guard code != 0xD9, code != 0xDA, let length = big(offset + 2, 2), length >= 2 else { return nil }
            offset += 2 + length
        }
        return nil
    }

    /// GIF (GIF89a, sections 18 to 27): a frame may be larger than the screen that the header names, so all of them are looked at; nil where not all are
    /// within the bytes that are.
    private func gifDimensions() -> (width: Int, height: Int)? {
        guard var width = little(6, 2), var height = little(8, 2), let flags = little(10, 1) else { return nil }
        var offset = 13 + (flags & 0x80 != 0 ? 3 << ((flags & 7) + 1) : 0)
        while let block = little(offset, 1) {
            switch block {
            case 0x3B: return sized(width, height)
            case 0x21: offset += 2
            case 0x2C:
                guard let left = little(offset + 1, 2), let top = little(offset + 3, 2),
                    let across = little(offset + 5, 2), let down = little(offset + 7, 2),
                    let flags = little(offset + 9, 1)
                else { return nil }
                width = max(width, left + across)
                height = max(height, top + down)
                offset += 11 + (flags & 0x80 != 0 ? 3 << ((flags & 7) + 1) : 0)
            default: return nil
            }
            // Blocks of data, up to an empty one.
            while let size = little(offset, 1), size > 0 { offset += 1 + size }
            offset += 1
        }
        return nil
    }

    /// WebP (RFC 9649, section 2): lossy, lossless or extended.
    private func webpDimensions() -> (width: Int, height: Int)? {
        if has("VP8 ", at: 12) { return sized(little(26, 2).map { $0 & 0x3FFF }, little(28, 2).map { $0 & 0x3FFF }) }
        if has("VP8L", at: 12), let bits = little(21, 4) {
            return sized((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        }
        if has("VP8X", at: 12) { return sized(little(24, 3).map { $0 + 1 }, little(27, 3).map { $0 + 1 }) }
        return nil
    }

    /// WAVE (RFC 2361): of plain samples, how long they last.
    private func waveSeconds(_ size: Int) -> Int64? {
        var offset = 12
        var perSecond: Int128?
        while let length = little(offset + 4, 4) {
            if has("fmt ", at: offset) {
                // Of two, it is not known which counts.
                guard perSecond == nil, let format = little(offset + 8, 2), format == 1 || format == 3,
                    let channels = little(offset + 10, 2), let rate = little(offset + 12, 4),
                    let bits = little(offset + 22, 2), [8, 16, 24, 32, 64].contains(bits),
                    little(offset + 20, 2) == channels * bits / 8
                else { return nil }
                // Each of them is the file's word: the product may be of 64 bits.
                perSecond = Int128(channels) * Int128(rate) * Int128(bits) / 8
            }
            if has("data", at: offset) {
                return perSecond.flatMap { $0 > 0 ? Int64(Int128(size) / $0) + 1 : nil }
            }
            offset += 8 + length + (length & 1)
            if offset > bytes.count { return nil }
        }
        return nil
    }

}

/// Base64 as clients write it (RFC 4648, both alphabets), from the beginning only.
private enum Base64 {
    static func decode(_ text: UnsafeBufferPointer<UInt8>, atMost limit: Int) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(min(limit, text.count / 4 * 3 + 3))
        var (bits, count): (UInt32, Int) = (0, 0)
        letters: for byte in text {
            guard result.count < limit else { break }
            let value: UInt32
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = UInt32(byte) - 65
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = UInt32(byte) - 71
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = UInt32(byte) + 4
            case UInt8(ascii: "+"), UInt8(ascii: "-"): value = 62
            case UInt8(ascii: "/"), UInt8(ascii: "_"): value = 63
            case UInt8(ascii: "="): break letters
            default: continue
            }
            bits = bits << 6 | value
            count += 1
            if count == 4 {
                result.append(UInt8(truncatingIfNeeded: bits >> 16))
                result.append(UInt8(truncatingIfNeeded: bits >> 8))
                result.append(UInt8(truncatingIfNeeded: bits))
                (bits, count) = (0, 0)
            }
        }
        if count == 3 {
            result.append(UInt8(truncatingIfNeeded: bits >> 10))
            result.append(UInt8(truncatingIfNeeded: bits >> 2))
        } else if count == 2 {
            result.append(UInt8(truncatingIfNeeded: bits >> 4))
        }
        return result
    }
}

extension Substring {
    fileprivate var trimmingSpaces: String { String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()) }
}
