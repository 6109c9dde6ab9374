/// Writes JSON into bytes, members in the order of the calls and without white space.
///
/// The same calls always give the same bytes, which makes its output fit to be stored and hashed. Strings are written as UTF-8;
/// only the quotation mark, the backslash and control characters are escaped.
public struct JSONWriter: Sendable {
    /// What has been written.
    public private(set) var bytes: [UInt8] = []
    private var needsComma = false

    public init(reserving capacity: Int = 512) {
        bytes.reserveCapacity(capacity)
    }

    /// What has been written, as text.
    public var text: String { String(decoding: bytes, as: UTF8.self) }

    // MARK: Structure

    public mutating func beginObject() {
        separate()
        bytes.append(0x7B)
        needsComma = false
    }

    public mutating func endObject() {
        bytes.append(0x7D)
        needsComma = true
    }

    public mutating func beginArray() {
        separate()
        bytes.append(0x5B)
        needsComma = false
    }

    public mutating func endArray() {
        bytes.append(0x5D)
        needsComma = true
    }

    /// Writes a member's name, which must need no escaping.
    public mutating func name(_ name: StaticString) {
        let size = name.utf8CodeUnitCount
        let comma = needsComma ? 1 : 0
        // One growth of the buffer for all of it.
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: size + 4) { piece in
            piece[0] = 0x2C
            piece[1] = 0x22
            for index in 0..<size { piece[2 + index] = name.utf8Start[index] }
            piece[2 + size] = 0x22
            piece[3 + size] = 0x3A
            bytes.append(contentsOf: UnsafeBufferPointer(rebasing: piece[(1 - comma)...]))
        }
        needsComma = false
    }

    /// Writes a member's name that is only known at run time.
    public mutating func name(_ name: String) {
        separate()
        quote(name)
        bytes.append(0x3A)
        needsComma = false
    }

    private mutating func separate() {
        if needsComma { bytes.append(0x2C) }
        needsComma = true
    }

    // MARK: Values

    public mutating func value(_ value: String) {
        separate()
        quote(value)
    }

    public mutating func value(_ value: some BinaryInteger) {
        separate()
        if let small = Int64(exactly: value) {
            digits(small)
        } else {
            bytes.append(contentsOf: String(value).utf8)
        }
    }

    public mutating func value(_ value: Bool) {
        raw(value ? "true" : "false")
    }

    public mutating func null() {
        raw("null")
    }

    /// Writes bytes that are JSON already.
    public mutating func raw(_ json: some Sequence<UInt8>) {
        separate()
        bytes.append(contentsOf: json)
    }

    /// Writes text that is JSON already.
    public mutating func raw(_ json: String) {
        raw(json.utf8)
    }

    // MARK: Members

    public mutating func field(_ key: StaticString, _ value: String) {
        name(key)
        self.value(value)
    }

    public mutating func field(_ key: StaticString, _ value: some BinaryInteger) {
        name(key)
        self.value(value)
    }

    public mutating func field(_ key: StaticString, _ value: Bool) {
        name(key)
        self.value(value)
    }

    /// Writes the member, or nothing where there is no value.
    public mutating func optional(_ key: StaticString, _ value: String?) {
        if let value { field(key, value) }
    }

    /// Writes the member, or nothing where there is no value.
    public mutating func optional(_ key: StaticString, _ value: (some BinaryInteger)?) {
        if let value { field(key, value) }
    }

    /// Writes the member, with `null` where there is no value.
    public mutating func nullable(_ key: StaticString, _ value: String?) {
        name(key)
        if let value { self.value(value) } else { null() }
    }

    /// Writes the member, with `null` where there is no value.
    public mutating func nullable(_ key: StaticString, _ value: (some BinaryInteger)?) {
        name(key)
        if let value { self.value(value) } else { null() }
    }

    // MARK: Bytes

    private mutating func digits(_ value: Int64) {
        var magnitude = value.magnitude
        if value < 0 { bytes.append(0x2D) }
        if magnitude < 10 {
            bytes.append(UInt8(truncatingIfNeeded: magnitude) &+ 0x30)
            return
        }
        let start = bytes.count
        while magnitude > 0 {
            let (quotient, remainder) = magnitude.quotientAndRemainder(dividingBy: 10)
            bytes.append(UInt8(truncatingIfNeeded: remainder) &+ 0x30)
            magnitude = quotient
        }
        bytes[start...].reverse()
    }

    private mutating func quote(_ text: String) {
        bytes.append(0x22)
        let isPlain = text.utf8.withContiguousStorageIfAvailable { utf8 in
            let isPlain = utf8.allSatisfy { $0 >= 0x20 && $0 != 0x22 && $0 != 0x5C }
            if isPlain { bytes.append(contentsOf: utf8) }
            return isPlain
        }
        if isPlain != true { escape(text) }
        bytes.append(0x22)
    }

    private mutating func escape(_ text: String) {
        for byte in text.utf8 {
            switch byte {
            case 0x22, 0x5C:
                bytes.append(0x5C)
                bytes.append(byte)
            case 0..<0x20:
                bytes.append(contentsOf: [0x5C, 0x75, 0x30, 0x30])
                bytes.append(Self.hex(byte >> 4))
                bytes.append(Self.hex(byte & 15))
            default: bytes.append(byte)
            }
        }
    }

    private static func hex(_ nibble: UInt8) -> UInt8 {
        nibble < 10 ? 0x30 &+ nibble : 0x61 &+ (nibble &- 10)
    }
}
