/// Why a document could not be read, and where.
public struct JSONError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What the scanner met there.
    public enum Reason: String, Sendable {
        case unexpectedEnd = "the document ends too early"
        case unexpectedByte = "an unexpected character"
        case tooDeep = "nested too deeply"
        case invalidNumber = "not a number that is allowed here"
        case invalidString = "not a valid string"
        case unexpectedField = "another field was expected"
        case trailingBytes = "characters after the end of the document"
    }

    /// What is wrong.
    public let reason: Reason
    /// The byte offset at which it is.
    public let offset: Int

    public init(_ reason: Reason, at offset: Int) {
        self.reason = reason
        self.offset = offset
    }

    public var description: String { "\(reason.rawValue) at byte \(offset)" }
}

/// Reads JSON (RFC 8259) from bytes in one forward pass, without building a tree.
///
/// The scanner borrows the buffer: it is to be used inside the closure that lends it. Every access is checked against the
/// buffer's end, so no input can make it read beyond. Nesting is limited to ``maximumDepth``. It allocates nothing but the
/// strings that its caller asks for.
///
/// Foundation's decoder costs about 20 µs for an event; replay and metering read hundreds of bytes in less than one.
public struct JSONScanner {
    /// The deepest nesting that is read: more is refused, so that hostile documents cannot exhaust the stack.
    public static let maximumDepth = 128

    private let base: UnsafePointer<UInt8>?
    /// The number of bytes in the document.
    public let count: Int
    /// The offset of the next byte to be read.
    public private(set) var offset: Int
    private var atStart = false

    /// Reads from `buffer`, which must outlive the scanner.
    public init(_ buffer: UnsafeBufferPointer<UInt8>) {
        base = buffer.baseAddress
        count = buffer.count
        offset = 0
    }

    /// Reads from `buffer`, which must outlive the scanner.
    public init(_ buffer: UnsafeRawBufferPointer) {
        self.init(buffer.bindMemory(to: UInt8.self))
    }

    // MARK: Bytes

    /// The byte at `index`, or 0 beyond the end (0 is never valid JSON, so that callers fail where they compare).
    @inline(__always)
    private func byte(_ index: Int) -> UInt8 {
        guard let base, index >= 0, index < count else { return 0 }
        return base[index]
    }

    @inline(__always)
    private mutating func skipWhitespace() {
        while true {
            let next = byte(offset)
            guard next == 0x20 || next == 0x0A || next == 0x0D || next == 0x09 else { return }
            offset += 1
        }
    }

    private func failure(_ reason: JSONError.Reason = .unexpectedByte) -> JSONError {
        JSONError(offset >= count ? .unexpectedEnd : reason, at: offset)
    }

    @inline(__always)
    private mutating func expect(_ wanted: UInt8) throws(JSONError) {
        guard byte(offset) == wanted else { throw failure() }
        offset += 1
    }

    /// The bytes of `range`, clamped to the document.
    public func bytes(_ range: Range<Int>) -> UnsafeBufferPointer<UInt8> {
        let clamped = range.clamped(to: 0..<count)
        return UnsafeBufferPointer(start: base.map { $0 + clamped.lowerBound }, count: clamped.count)
    }

    /// Compares the bytes of `range` with a literal.
    @inline(__always)
    public func equals(_ range: Range<Int>, _ literal: StaticString) -> Bool {
        let size = literal.utf8CodeUnitCount
        guard range.count == size, range.lowerBound >= 0, range.upperBound <= count, let base else { return false }
        let other = literal.utf8Start
        for index in 0..<size where base[range.lowerBound + index] != other[index] { return false }
        return true
    }

    // MARK: Structure

    /// What kind of value comes next.
    public enum Kind: Sendable { case object, array, string, number, bool, null, end, invalid }

    /// Looks at the next value without reading it.
    public mutating func peek() -> Kind {
        skipWhitespace()
        switch byte(offset) {
        case 0x7B: return .object
        case 0x5B: return .array
        case 0x22: return .string
        case 0x2D, 0x30...0x39: return .number
        case 0x74, 0x66: return .bool
        case 0x6E: return .null
        default: return offset >= count ? .end : .invalid
        }
    }

    /// Reads `{`. Follow with ``nextMember()`` until it gives nil.
    public mutating func enterObject() throws(JSONError) {
        skipWhitespace()
        try expect(0x7B)
        atStart = true
    }

    /// Reads `[`. Follow with ``nextElement()`` until it gives false.
    public mutating func enterArray() throws(JSONError) {
        skipWhitespace()
        try expect(0x5B)
        atStart = true
    }

    /// Reads the next member's name and its colon; nil when the object is at its end. The caller then reads or skips the value.
    public mutating func nextMember() throws(JSONError) -> JSONText? {
        skipWhitespace()
        if byte(offset) == 0x7D {
            offset += 1
            atStart = false
            return nil
        }
        if !atStart {
            try expect(0x2C)
            skipWhitespace()
        }
        atStart = false
        let name = try text()
        skipWhitespace()
        try expect(0x3A)
        return name
    }

    /// True if another element follows; the caller then reads or skips it.
    public mutating func nextElement() throws(JSONError) -> Bool {
        skipWhitespace()
        if byte(offset) == 0x5D {
            offset += 1
            atStart = false
            return false
        }
        if !atStart { try expect(0x2C) }
        atStart = false
        return true
    }

    /// Makes sure that nothing but white space follows.
    public mutating func end() throws(JSONError) {
        skipWhitespace()
        guard offset >= count else { throw JSONError(.trailingBytes, at: offset) }
    }

    // MARK: Values

    /// Reads a string without decoding it.
    public mutating func text() throws(JSONError) -> JSONText {
        skipWhitespace()
        try expect(0x22)
        let start = offset
        var escaped = false
        while true {
            let next = byte(offset)
            if next == 0x22 { break }
            if next == 0x5C {
                escaped = true
                offset += 1
                switch byte(offset) {
                case 0x22, 0x5C, 0x2F, 0x62, 0x66, 0x6E, 0x72, 0x74: offset += 1
                case 0x75:
                    for step in 1...4 where Self.hexDigit(byte(offset + step)) == nil {
                        throw JSONError(.invalidString, at: offset)
                    }
                    offset += 5
                default: throw failure(.invalidString)
                }
            } else if next < 0x20 {
                throw failure(.invalidString)
            } else {
                offset += 1
            }
        }
        let range = start..<offset
        offset += 1
        return JSONText(range: range, isEscaped: escaped)
    }

    /// Reads a string and decodes it. Unpaired surrogates and invalid UTF-8 become U+FFFD.
    public mutating func string() throws(JSONError) -> String {
        decode(try text())
    }

    /// Decodes a string that was read before.
    public func decode(_ text: JSONText) -> String {
        guard text.isEscaped else { return String(decoding: bytes(text.range), as: UTF8.self) }
        var result: [UInt8] = []
        result.reserveCapacity(text.range.count)
        forEachDecodedByte(text) { result.append($0) }
        return String(decoding: result, as: UTF8.self)
    }

    /// The number of UTF-8 bytes that a string has once it is decoded.
    public func decodedByteCount(_ text: JSONText) -> Int {
        guard text.isEscaped else { return text.range.count }
        var total = 0
        forEachDecodedByte(text) { _ in total += 1 }
        return total
    }

    /// Whether a string equals a literal of ASCII, also when it was written with escapes.
    public func equals(_ text: JSONText, _ literal: StaticString) -> Bool {
        if !text.isEscaped { return equals(text.range, literal) }
        return decode(text) == "\(literal)"
    }

    private func forEachDecodedByte(_ text: JSONText, _ body: (UInt8) -> Void) {
        var index = text.range.lowerBound
        let end = min(text.range.upperBound, count)
        while index < end {
            let next = byte(index)
            guard next == 0x5C else {
                body(next)
                index += 1
                continue
            }
            let kind = byte(index + 1)
            index += 2
            switch kind {
            case 0x62: body(0x08)
            case 0x66: body(0x0C)
            case 0x6E: body(0x0A)
            case 0x72: body(0x0D)
            case 0x74: body(0x09)
            case 0x75:
                var unit = hex4(index)
                index += 4
                if unit & 0xFC00 == 0xD800, byte(index) == 0x5C, byte(index + 1) == 0x75,
                    hex4(index + 2) & 0xFC00 == 0xDC00
                {
                    unit = 0x10000 + ((unit & 0x3FF) << 10) + (hex4(index + 2) & 0x3FF)
                    index += 6
                }
                for encoded in String(Unicode.Scalar(unit) ?? "\u{FFFD}").utf8 { body(encoded) }
            default: body(kind)
            }
        }
    }

    private func hex4(_ start: Int) -> UInt32 {
        var value: UInt32 = 0
        for step in 0..<4 { value = value << 4 | UInt32(Self.hexDigit(byte(start + step)) ?? 0) }
        return value
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }

    /// Reads a number and gives the range of its bytes (the grammar of RFC 8259 section 6 is checked).
    public mutating func number() throws(JSONError) -> Range<Int> {
        skipWhitespace()
        let start = offset
        if byte(offset) == 0x2D { offset += 1 }
        if byte(offset) == 0x30 {
            offset += 1
        } else {
            try digits()
        }
        if byte(offset) == 0x2E {
            offset += 1
            try digits()
        }
        if byte(offset) | 0x20 == 0x65 {
            offset += 1
            if byte(offset) == 0x2B || byte(offset) == 0x2D { offset += 1 }
            try digits()
        }
        return start..<offset
    }

    private mutating func digits() throws(JSONError) {
        let start = offset
        while byte(offset) &- 0x30 < 10 { offset += 1 }
        if offset == start { throw failure(.invalidNumber) }
    }

    /// Reads a whole number; a fraction, an exponent or a value outside of 64 bits is refused.
    public mutating func integer() throws(JSONError) -> Int64 {
        guard let value = Int64(exactly: try wideInteger()) else { throw JSONError(.invalidNumber, at: offset) }
        return value
    }

    /// Reads a whole number of up to 128 bits.
    public mutating func wideInteger() throws(JSONError) -> Int128 {
        skipWhitespace()
        let start = offset
        let negative = byte(offset) == 0x2D
        if negative { offset += 1 }
        let first = offset
        // Eighteen digits always fit into 64 bits: the common case needs no checks.
        var small: Int64 = 0
        while byte(offset) &- 0x30 < 10, offset - first < 18 {
            small = small &* 10 &+ Int64(byte(offset) &- 0x30)
            offset += 1
        }
        guard offset > first else { throw failure(.invalidNumber) }
        var value = Int128(small)
        while byte(offset) &- 0x30 < 10 {
            let (shifted, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = shifted.addingReportingOverflow(Int128(byte(offset) &- 0x30))
            if overflow || carry { throw JSONError(.invalidNumber, at: start) }
            value = sum
            offset += 1
        }
        if byte(first) == 0x30, offset - first > 1 { throw JSONError(.invalidNumber, at: start) }
        let next = byte(offset)
        if next == 0x2E || next | 0x20 == 0x65 { throw JSONError(.invalidNumber, at: start) }
        return negative ? -value : value
    }

    /// Reads `true` or `false`.
    public mutating func bool() throws(JSONError) -> Bool {
        skipWhitespace()
        let value = byte(offset) == 0x74
        try literal(value ? "true" : "false")
        return value
    }

    /// Reads `null` if it comes next, and says whether it did.
    public mutating func null() throws(JSONError) -> Bool {
        guard peek() == .null else { return false }
        try literal("null")
        return true
    }

    private mutating func literal(_ word: StaticString) throws(JSONError) {
        let end = offset + word.utf8CodeUnitCount
        guard equals(offset..<end, word) else { throw failure() }
        offset = end
    }

    /// Reads any value, checks its grammar, and gives the range of its bytes.
    @discardableResult
    public mutating func skip() throws(JSONError) -> Range<Int> {
        skipWhitespace()
        let start = offset
        try skip(depth: 0)
        return start..<offset
    }

    private mutating func skip(depth: Int) throws(JSONError) {
        guard depth < Self.maximumDepth else { throw JSONError(.tooDeep, at: offset) }
        switch peek() {
        case .object:
            try enterObject()
            while try nextMember() != nil { try skip(depth: depth + 1) }
        case .array:
            try enterArray()
            while try nextElement() { try skip(depth: depth + 1) }
        case .string: _ = try text()
        case .number: _ = try number()
        case .bool: _ = try bool()
        case .null: _ = try null()
        case .end, .invalid: throw failure()
        }
    }

    // MARK: Canonical documents

    /// Reads exactly `"name":` (with the comma before it, unless it is the object's first member), without white space.
    ///
    /// Documents that we write ourselves have a fixed order of fields: reading them so is faster than looking names up, and
    /// anything else is an error.
    @inline(__always)
    public mutating func field(_ name: StaticString) throws(JSONError) {
        guard optionalField(name) else { throw failure(.unexpectedField) }
    }

    /// Like ``field(_:)``, but says false, and reads nothing, where another field or the object's end follows.
    @inline(__always)
    public mutating func optionalField(_ name: StaticString) -> Bool {
        var start = offset
        if !atStart {
            guard byte(start) == 0x2C else { return false }
            start += 1
        }
        let size = name.utf8CodeUnitCount
        guard byte(start) == 0x22, equals(start + 1..<start + 1 + size, name), byte(start + 1 + size) == 0x22,
            byte(start + 2 + size) == 0x3A
        else { return false }
        offset = start + 3 + size
        atStart = false
        return true
    }

    /// Reads `}`.
    public mutating func leaveObject() throws(JSONError) {
        try expect(0x7D)
        atStart = false
    }
}

/// A string inside a document, still as it is written there.
public struct JSONText: Sendable {
    /// The bytes between the quotation marks.
    public let range: Range<Int>
    /// Whether there are escape sequences among them.
    public let isEscaped: Bool
}
