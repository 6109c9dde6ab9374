#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Finds where server-sent events end, in pieces of any size. It keeps nothing of them.
///
/// Source: the WHATWG HTML standard, section 9.2.5 and 9.2.6: a line ends with LF, CRLF or CR, an event with an empty line.
struct EventSplitter: Sendable {
    /// Nothing of the current line has come.
    private var isLineEmpty = true
    /// The last byte was a CR: a LF that follows belongs to it.
    private var isAfterReturn = false
    /// The line that the CR ended was empty.
    private var wasLineEmpty = false
    /// Nothing of the current event has come.
    private(set) var isAtEventEnd = true

    /// Goes on in `piece` from `start`: gives where the current event ends (behind its empty line), or nil where it goes on.
    mutating func nextEnd(in piece: UnsafeBufferPointer<UInt8>, from start: Int, marks: inout Marks) -> Int? {
        guard let base = piece.baseAddress else { return nil }
        var index = start
        while index < piece.count {
            if isAfterReturn {
                isAfterReturn = false
                if base[index] == 0x0A { index += 1 }
                if wasLineEmpty {
                    isAtEventEnd = true
                    return index
                }
                guard index < piece.count else { return nil }
            }
            isAtEventEnd = false
            let end = marks.next(in: piece, from: index)
            if end > index { isLineEmpty = false }
            guard end < piece.count else { return nil }
            index = end + 1
            let isEmpty = isLineEmpty
            isLineEmpty = true
            if base[end] == 0x0D {
                isAfterReturn = true
                wasLineEmpty = isEmpty
            } else if isEmpty {
                isAtEventEnd = true
                return index
            }
        }
        return nil
    }

    /// Where the next LF and the next CR of a piece are, so that a piece without any CR is searched for one only once.
    struct Marks {
        private var lineFeed = -1
        private var carriageReturn = -1

        /// Where the line that goes on at `start` ends; the size of the piece where it goes on.
        mutating func next(in piece: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
            if lineFeed < start { lineFeed = Self.find(0x0A, in: piece, from: start) }
            if carriageReturn < start { carriageReturn = Self.find(0x0D, in: piece, from: start) }
            return min(lineFeed, carriageReturn)
        }

        private static func find(_ byte: Int32, in piece: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
            guard let base = piece.baseAddress, start < piece.count,
                let found = memchr(base + start, byte, piece.count - start)
            else { return piece.count }
            return UnsafeRawPointer(found) - UnsafeRawPointer(base)
        }
    }
}

/// A server-sent event: its type, and its data.
struct ServerSentEvent {
    /// The value of the `event` field; empty where there is none.
    private(set) var name = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
    /// The value of the first `data` field; nil where there is none.
    private(set) var data: UnsafeBufferPointer<UInt8>?
    /// All of them, joined by line feeds, where there are several.
    private(set) var joined: [UInt8] = []
    /// The bytes of lines that are no field of an event and no comment.
    private(set) var foreignBytes = 0

    /// Reads an event. Its values point into `bytes`.
    init(_ bytes: UnsafeBufferPointer<UInt8>) {
        var marks = EventSplitter.Marks()
        // A byte order mark may stand before the first.
        let isMarked = bytes.count >= 3 && bytes[0] == 0xEF && bytes[1] == 0xBB && bytes[2] == 0xBF
        var start = isMarked ? 3 : 0
        while start < bytes.count {
            let end = marks.next(in: bytes, from: start)
            let line = UnsafeBufferPointer(rebasing: bytes[start..<end])
            if let value = Self.value(of: "data", in: line) {
                if let first = data {
                    if joined.isEmpty { joined = Array(first) }
                    joined.append(0x0A)
                    joined.append(contentsOf: value)
                } else {
                    data = value
                }
            } else if let value = Self.value(of: "event", in: line) {
                name = value
            } else if !Self.isKnown(line) {
                foreignBytes += line.count
            }
            start = end + 1
        }
    }

    /// Whether a line is a comment, or one of the other fields, or white space.
    private static func isKnown(_ line: UnsafeBufferPointer<UInt8>) -> Bool {
        line.allSatisfy { $0 == 0x20 || $0 == 0x09 } || line.first == 0x3A || value(of: "id", in: line) != nil
            || value(of: "retry", in: line) != nil
            || line.equals("data") || line.equals("event") || line.equals("id") || line.equals("retry")
    }

    /// The value of a field, where the line is one of that name: behind the colon, without one space.
    private static func value(
        of field: StaticString, in line: UnsafeBufferPointer<UInt8>
    ) -> UnsafeBufferPointer<UInt8>? {
        let size = field.utf8CodeUnitCount
        guard let base = line.baseAddress, line.count > size, base[size] == 0x3A,
            memcmp(base, field.utf8Start, size) == 0
        else { return nil }
        let start = line.count > size + 1 && base[size + 1] == 0x20 ? size + 2 : size + 1
        return UnsafeBufferPointer(rebasing: line[start...])
    }
}

extension UnsafeBufferPointer<UInt8> {
    /// Without the spaces at the end.
    var trimmed: Self { Self(rebasing: self[..<((lastIndex { $0 != 0x20 } ?? -1) + 1)]) }

    /// Whether these are the bytes of a literal.
    func equals(_ literal: StaticString) -> Bool {
        guard count == literal.utf8CodeUnitCount else { return false }
        guard let baseAddress else { return true }
        return memcmp(baseAddress, literal.utf8Start, count) == 0
    }
}
