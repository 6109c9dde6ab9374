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

    // What reads canonical documents is inlined into the decoders of events: with the fields' names known there, the compiler
    // compares a name in a word or two.
    @usableFromInline let base: UnsafePointer<UInt8>?
    /// The number of bytes in the document.
    public let count: Int
    @usableFromInline var position: Int
    @usableFromInline var atStart = false

    /// The offset of the next byte to be read.
    public var offset: Int { position }

    /// Reads from `buffer`, which must outlive the scanner.
    public init(_ buffer: UnsafeBufferPointer<UInt8>) {
        base = buffer.baseAddress
        count = buffer.count
        position = 0
    }

    /// Reads from `buffer`, which must outlive the scanner.
    public init(_ buffer: UnsafeRawBufferPointer) {
        self.init(buffer.bindMemory(to: UInt8.self))
    }

    // MARK: Bytes

    /// The byte at `index`, or 0 beyond the end (0 is never valid JSON, so that callers fail where they compare).
    @inlinable @inline(__always)
    func byte(_ index: Int) -> UInt8 {
        guard let base, index >= 0, index < count else { return 0 }
        return base[index]
    }

    @inlinable @inline(__always)
    mutating func skipWhitespace() {
        while true {
            let next = byte(position)
            guard next == 0x20 || next == 0x0A || next == 0x0D || next == 0x09 else { return }
            position += 1
        }
    }

    @usableFromInline
    func failure(_ reason: JSONError.Reason = .unexpectedByte) -> JSONError {
        JSONError(position >= count ? .unexpectedEnd : reason, at: position)
    }

    @inlinable @inline(__always)
    mutating func expect(_ wanted: UInt8) throws(JSONError) {
        guard byte(position) == wanted else { throw failure() }
        position += 1
    }

    /// The bytes of `range`, clamped to the document.
    public func bytes(_ range: Range<Int>) -> UnsafeBufferPointer<UInt8> {
        let clamped = range.clamped(to: 0..<count)
        return UnsafeBufferPointer(start: base.map { $0 + clamped.lowerBound }, count: clamped.count)
    }

    /// Compares the bytes of `range` with a literal.
    @inlinable @inline(__always)
    public func equals(_ range: Range<Int>, _ literal: StaticString) -> Bool {
        let size = literal.utf8CodeUnitCount
        guard range.count == size, range.lowerBound >= 0, range.upperBound <= count, let base else { return false }
        let ours = UnsafeRawPointer(base) + range.lowerBound
        let theirs = UnsafeRawPointer(literal.utf8Start)
        var index = 0
        while index + 8 <= size {
            if ours.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                != theirs.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            {
                return false
            }
            index += 8
        }
        while index < size {
            if ours.load(fromByteOffset: index, as: UInt8.self) != theirs.load(fromByteOffset: index, as: UInt8.self) {
                return false
            }
            index += 1
        }
        return true
    }

    // MARK: Structure

    /// What kind of value comes next.
    @frozen
    public enum Kind: Sendable { case object, array, string, number, bool, null, end, invalid }

    /// Looks at the next value without reading it.
    @inlinable @inline(__always)
    public mutating func peek() -> Kind {
        skipWhitespace()
        switch byte(position) {
        case 0x7B: return .object
        case 0x5B: return .array
        case 0x22: return .string
        case 0x2D, 0x30...0x39: return .number
        case 0x74, 0x66: return .bool
        case 0x6E: return .null
        default: return position >= count ? .end : .invalid
        }
    }

    /// Reads `{`. Follow with ``nextMember()`` until it gives nil.
    @inlinable @inline(__always)
    public mutating func enterObject() throws(JSONError) {
        skipWhitespace()
        try expect(0x7B)
        atStart = true
    }

    /// Reads `[`. Follow with ``nextElement()`` until it gives false.
    @inlinable @inline(__always)
    public mutating func enterArray() throws(JSONError) {
        skipWhitespace()
        try expect(0x5B)
        atStart = true
    }

    /// Reads the next member's name and its colon; nil when the object is at its end. The caller then reads or skips the value.
    @inlinable
    public mutating func nextMember() throws(JSONError) -> JSONText? {
        skipWhitespace()
        if byte(position) == 0x7D {
            position += 1
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
    @inlinable
    public mutating func nextElement() throws(JSONError) -> Bool {
        skipWhitespace()
        if byte(position) == 0x5D {
            position += 1
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
        guard position >= count else { throw JSONError(.trailingBytes, at: position) }
    }

    // MARK: Values

    /// Reads a string without decoding it.
    @inlinable @inline(__always)
    public mutating func text() throws(JSONError) -> JSONText {
        skipWhitespace()
        try expect(0x22)
        let start = position
        skipPlainText()
        // Without an escape, and not at the document's end: nearly every string that there is.
        guard byte(position) == 0x22 else { return try unusualText(from: start) }
        let range = start..<position
        position += 1
        return JSONText(range: range, isEscaped: false)
    }

    /// Reads the rest of a string with every check.
    @usableFromInline
    mutating func unusualText(from start: Int) throws(JSONError) -> JSONText {
        var escaped = false
        while true {
            let next = byte(position)
            if next == 0x22 { break }
            if next == 0x5C {
                escaped = true
                position += 1
                switch byte(position) {
                case 0x22, 0x5C, 0x2F, 0x62, 0x66, 0x6E, 0x72, 0x74: position += 1
                case 0x75:
                    for step in 1...4 where Self.hexDigit(byte(position + step)) == nil {
                        throw JSONError(.invalidString, at: position)
                    }
                    position += 5
                default: throw failure(.invalidString)
                }
            } else if next < 0x20 {
                throw failure(.invalidString)
            } else {
                position += 1
            }
            skipPlainText()
        }
        let range = start..<position
        position += 1
        return JSONText(range: range, isEscaped: escaped)
    }

    /// Skips to the next quotation mark, backslash or control character, eight bytes at a time, as long as eight are left.
    ///
    /// In each byte whose own high bit is clear, `x - 0x20` sets it for a control character, and `(x ^ c) - 1` for `c`
    /// (https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord). A borrow can only mark bytes behind one that is
    /// marked rightly: the first mark is always right.
    @inlinable @inline(__always)
    mutating func skipPlainText() {
        guard let base else { return }
        let ones: UInt64 = 0x0101_0101_0101_0101
        while position + 8 <= count {
            let word = UInt64(littleEndian: (UnsafeRawPointer(base) + position).loadUnaligned(as: UInt64.self))
            let quotes = (word ^ (ones &* 0x22)) &- ones
            let backslashes = (word ^ (ones &* 0x5C)) &- ones
            let controls = word &- (ones &* 0x20)
            let marks = (quotes | backslashes | controls) & ~word & (ones &* 0x80)
            guard marks == 0 else {
                position += marks.trailingZeroBitCount / 8
                return
            }
            position += 8
        }
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

    /// Whether a string holds half of a surrogate pair (RFC 8259, section 8.2), which is no text and decodes to U+FFFD.
    public func hasUnpairedSurrogate(_ text: JSONText) -> Bool {
        guard text.isEscaped else { return false }
        var index = text.range.lowerBound
        let end = min(text.range.upperBound, count)
        while index < end {
            guard byte(index) == 0x5C else {
                index += 1
                continue
            }
            guard byte(index + 1) == 0x75 else {
                index += 2
                continue
            }
            let unit = hex4(index + 2)
            index += 6
            guard (0xD800...0xDFFF).contains(unit) else { continue }
            guard unit < 0xDC00, isLowSurrogate(at: index) else { return true }
            index += 6
        }
        return false
    }

    private func isLowSurrogate(at index: Int) -> Bool {
        byte(index) == 0x5C && byte(index + 1) == 0x75 && hex4(index + 2) & 0xFC00 == 0xDC00
    }

    /// The number of UTF-8 bytes that a string has once it is decoded.
    public func decodedByteCount(_ text: JSONText) -> Int {
        guard text.isEscaped else { return text.range.count }
        var total = 0
        forEachDecodedByte(text) { _ in total += 1 }
        return total
    }

    /// Whether a string equals a literal of ASCII, also when it was written with escapes.
    @inlinable @inline(__always)
    public func equals(_ text: JSONText, _ literal: StaticString) -> Bool {
        text.isEscaped ? equalsDecoded(text, literal) : equals(text.range, literal)
    }

    @usableFromInline
    func equalsDecoded(_ text: JSONText, _ literal: StaticString) -> Bool { decode(text) == "\(literal)" }

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
                if unit & 0xFC00 == 0xD800, isLowSurrogate(at: index) {
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
        let start = position
        if byte(position) == 0x2D { position += 1 }
        if byte(position) == 0x30 {
            position += 1
        } else {
            try digits()
        }
        if byte(position) == 0x2E {
            position += 1
            try digits()
        }
        if byte(position) | 0x20 == 0x65 {
            position += 1
            if byte(position) == 0x2B || byte(position) == 0x2D { position += 1 }
            try digits()
        }
        return start..<position
    }

    private mutating func digits() throws(JSONError) {
        let start = position
        while byte(position) &- 0x30 < 10 { position += 1 }
        if position == start { throw failure(.invalidNumber) }
    }

    /// Reads a whole number; a fraction, an exponent or a value outside of 64 bits is refused.
    @inlinable
    public mutating func integer() throws(JSONError) -> Int64 {
        // Up to eighteen digits, and something that ends a number behind them: nearly every integer that there is.
        var index = position
        var value: Int64 = 0
        if let base {
            let end = min(count, index + 18)
            while index < end, case let digit = base[index] &- 0x30, digit < 10 {
                value = value &* 10 &+ Int64(digit)
                index += 1
            }
        }
        let following = byte(index)
        if index > position, following == 0x2C || following == 0x7D || following == 0x5D,
            byte(position) != 0x30 || index - position == 1
        {
            position = index
            return value
        }
        return try wholeInteger()
    }

    /// Reads a whole number of 64 bits with every check.
    @usableFromInline
    mutating func wholeInteger() throws(JSONError) -> Int64 {
        guard let value = Int64(exactly: try wideInteger()) else { throw JSONError(.invalidNumber, at: position) }
        return value
    }

    /// Reads a whole number of up to 128 bits.
    public mutating func wideInteger() throws(JSONError) -> Int128 {
        skipWhitespace()
        let start = position
        let negative = byte(position) == 0x2D
        if negative { position += 1 }
        let first = position
        // Eighteen digits always fit into 64 bits: the common case needs no checks.
        var small: Int64 = 0
        while byte(position) &- 0x30 < 10, position - first < 18 {
            small = small &* 10 &+ Int64(byte(position) &- 0x30)
            position += 1
        }
        guard position > first else { throw failure(.invalidNumber) }
        var value = Int128(small)
        while byte(position) &- 0x30 < 10 {
            let (shifted, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = shifted.addingReportingOverflow(Int128(byte(position) &- 0x30))
            if overflow || carry { throw JSONError(.invalidNumber, at: start) }
            value = sum
            position += 1
        }
        if byte(first) == 0x30, position - first > 1 { throw JSONError(.invalidNumber, at: start) }
        let next = byte(position)
        if next == 0x2E || next | 0x20 == 0x65 { throw JSONError(.invalidNumber, at: start) }
        return negative ? -value : value
    }

    /// Reads `true` or `false`.
    public mutating func bool() throws(JSONError) -> Bool {
        skipWhitespace()
        let value = byte(position) == 0x74
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
        let end = position + word.utf8CodeUnitCount
        guard equals(position..<end, word) else { throw failure() }
        position = end
    }

    /// Reads any value, checks its grammar, and gives the range of its bytes.
    @discardableResult
    public mutating func skip() throws(JSONError) -> Range<Int> {
        skipWhitespace()
        let start = position
        try skip(depth: 0)
        return start..<position
    }

    private mutating func skip(depth: Int) throws(JSONError) {
        guard depth < Self.maximumDepth else { throw JSONError(.tooDeep, at: position) }
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
    @inlinable @inline(__always)
    public mutating func field(_ name: StaticString) throws(JSONError) {
        guard optionalField(name) else { throw failure(.unexpectedField) }
    }

    /// Like ``field(_:)``, but says false, and reads nothing, where another field or the object's end follows.
    @inlinable @inline(__always)
    public mutating func optionalField(_ name: StaticString) -> Bool {
        var start = position
        if !atStart {
            guard byte(start) == 0x2C else { return false }
            start += 1
        }
        let size = name.utf8CodeUnitCount
        guard byte(start) == 0x22, equals(start + 1..<start + 1 + size, name), byte(start + 1 + size) == 0x22,
            byte(start + 2 + size) == 0x3A
        else { return false }
        position = start + 3 + size
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

    @usableFromInline
    init(range: Range<Int>, isEscaped: Bool) {
        self.range = range
        self.isEscaped = isEscaped
    }
}
