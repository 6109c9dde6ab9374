/// Cuts a JSON document of any length down to what an ``AnswerReading`` looks at, as it passes by: its memory is bounded whatever comes.
///
/// What is left is a document of the same shape: members that nothing is read of are left out, and long texts are cut. Usage reports and errors stay
/// as they are. It checks no grammar: of a document that breaks it, something is left that breaks it too, or that has no report in it.
struct DocumentReducer: Sendable {
    /// The most bytes that are kept of a document, and of one text in it.
    static let maximumBytes = 1 << 20
    static let maximumText = 4096
    /// The deepest nesting that is followed.
    private static let maximumDepth = 128
    /// The longest name that can be one of ``names``.
    private static let maximumName = 32
    /// The elements of an array that are looked at.
    private static let maximumElements = 4096

    /// Members that are looked at, in any format.
    private static let names: Set<String> = essential.union([
        "type", "response", "status", "model", "modelVersion", "choices", "delta", "message", "content", "text",
        "reasoning_content", "reasoning", "refusal", "arguments", "tool_calls", "function", "custom", "name",
        "finish_reason", "stop_reason", "candidates", "parts", "finishReason", "promptFeedback", "blockReason",
        "output", "action", "thinking", "partial_json", "content_block", "data", "role",
    ])
    /// Members that are still looked at when half of what may be kept is used up.
    private static let essential: Set<String> = [
        "type", "response", "status", "message", "finish_reason", "stop_reason", "finishReason",
    ]
    /// Members that are kept whole.
    private static let whole: Set<String> = ["usage", "usageMetadata", "error", "x_groq"]
    /// Members whose texts are output.
    private static let texts: Set<String> = [
        "content", "delta", "text", "reasoning_content", "reasoning", "refusal", "arguments", "thinking",
        "partial_json",
    ]

    private struct Frame {
        let isObject: Bool
        /// Whether all of it is kept.
        let isWhole: Bool
        /// Whether its texts are said again of what came before.
        let isRepeated: Bool
        var hasEmitted = false
        var elements = 0
    }

    /// What the next bytes are.
    private enum State {
        /// The beginning of a value, of a name, or something between them.
        case between
        case name
        /// A text: whether it is kept.
        case text(isKept: Bool)
        /// A number or a word.
        case word(isKept: Bool)
        /// A container that is left out, with how deep in it; in a text of it.
        case skipping(depth: Int, inText: Bool)
    }

    private var kept: [UInt8] = []
    private var frames: [Frame] = []
    private var state = State.between
    private var isEscaped = false
    /// In an object: a name comes next.
    private var expectsName = false
    /// The name of the member whose value comes next, where it is short.
    private var name: [UInt8] = []
    /// Of the current text: its bytes so far, and how many were cut.
    private var currentBytes = 0
    private var cutBytes = 0
    private var hasSpace = false
    /// Too much would have to be kept, or it is nested too deep.
    private var isLost = false
    /// Bytes of texts of the output that were cut off or left out, and of all of them.
    private(set) var unreadTextBytes = 0
    private(set) var textBytes = 0

    /// Reads on.
    mutating func consume(_ bytes: UnsafeBufferPointer<UInt8>) {
        for byte in bytes {
            if isLost { return }
            consume(byte)
            if kept.count > Self.maximumBytes || frames.count > Self.maximumDepth { isLost = true }
        }
        if isLost { kept = [] }
    }

    /// What is left of the document; nil: it could not be cut down.
    func finish() -> [UInt8]? { isLost ? nil : kept }

    private mutating func consume(_ byte: UInt8) {
        switch state {
        case .between: begin(byte)
        case .name:
            if endsText(byte) {
                state = .between
                expectsName = false
            } else if name.count <= Self.maximumName {
                name.append(byte)
            }
        case .text(let isKept): text(byte, isKept)
        case .word(let isKept):
            switch byte {
            case UInt8(ascii: ","), UInt8(ascii: "}"), UInt8(ascii: "]"), 0x20, 0x09, 0x0A, 0x0D:
                state = .between
                begin(byte)
            default: if isKept { kept.append(byte) }
            }
        case .skipping(let depth, let inText): skip(byte, depth, inText)
        }
    }

    /// Whether a byte within a text ends it; escapes are followed.
    private mutating func endsText(_ byte: UInt8) -> Bool {
        if isEscaped {
            isEscaped = false
            return false
        }
        if byte == UInt8(ascii: "\\") {
            isEscaped = true
            return false
        }
        return byte == UInt8(ascii: "\"")
    }

    private mutating func skip(_ byte: UInt8, _ depth: Int, _ inText: Bool) {
        if inText {
            if endsText(byte) { state = .skipping(depth: depth, inText: false) }
            return
        }
        switch byte {
        case UInt8(ascii: "\""): state = .skipping(depth: depth, inText: true)
        case UInt8(ascii: "{"), UInt8(ascii: "["): state = .skipping(depth: depth + 1, inText: false)
        case UInt8(ascii: "}"), UInt8(ascii: "]"):
            state = depth > 1 ? .skipping(depth: depth - 1, inText: false) : .between
        default: break
        }
    }

    private mutating func begin(_ byte: UInt8) {
        switch byte {
        case 0x20, 0x09, 0x0A, 0x0D, UInt8(ascii: ":"): break
        case UInt8(ascii: ","): expectsName = frames.last?.isObject ?? false
        case UInt8(ascii: "}"), UInt8(ascii: "]"):
            if frames.popLast() != nil { kept.append(byte) }
            expectsName = false
        case UInt8(ascii: "\"") where expectsName:
            name.removeAll(keepingCapacity: true)
            state = .name
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            let isObject = byte == UInt8(ascii: "{")
            guard let isWhole = emit(isContainer: true) else {
                state = .skipping(depth: 1, inText: false)
                return
            }
            let isRepeated = frames.last?.isRepeated == true || (frames.count == 1 && names("response"))
            kept.append(byte)
            frames.append(Frame(isObject: isObject, isWhole: isWhole, isRepeated: isRepeated))
            expectsName = isObject
        case UInt8(ascii: "\""):
            let isKept = emit(isContainer: false) != nil
            if isKept { kept.append(byte) }
            currentBytes = 0
            cutBytes = 0
            hasSpace = false
            state = .text(isKept: isKept)
        default:
            let isKept = emit(isContainer: false) != nil
            if isKept { kept.append(byte) }
            state = .word(isKept: isKept)
        }
    }

    private func names(_ literal: StaticString) -> Bool { name.withUnsafeBufferPointer { $0.equals(literal) } }

    /// Writes what stands before a value that is kept; nil: it is left out. Gives whether all of it is kept.
    private mutating func emit(isContainer: Bool) -> Bool? {
        guard let frame = frames.last else { return false }
        let top = frames.count - 1
        var isWhole = frame.isWhole
        if frame.isObject {
            // A name that is not told may be anything.
            let text = name.count <= Self.maximumName ? String(decoding: name, as: UTF8.self) : ""
            isWhole = isWhole || Self.whole.contains(text)
            // The last half is for the report.
            let names = kept.count > Self.maximumBytes / 2 ? Self.essential : Self.names
            guard isWhole || names.contains(text) else { return nil }
        } else {
            frames[top].elements += 1
            guard
                isWhole || (isContainer && frame.elements < Self.maximumElements && kept.count <= Self.maximumBytes / 2)
            else { return nil }
        }
        if frame.hasEmitted { kept.append(UInt8(ascii: ",")) }
        frames[top].hasEmitted = true
        if frame.isObject {
            kept.append(UInt8(ascii: "\""))
            kept.append(contentsOf: name)
            kept.append(contentsOf: [UInt8(ascii: "\""), UInt8(ascii: ":")])
        }
        return isWhole
    }

    private mutating func text(_ byte: UInt8, _ isKept: Bool) {
        let wasEscaped = isEscaped
        if endsText(byte) {
            if isKept { kept.append(byte) }
            state = .between
            noteText(isKept: isKept)
            return
        }
        currentBytes += 1
        if byte == 0x20 { hasSpace = true }
        guard isKept else { return }
        // It is cut before an escape or a character, never within one: an escape is at most six bytes, and its digits come behind the one that
        // follows the backslash.
        let isBoundary = !wasEscaped && (byte & 0xC0) != 0x80
        if cutBytes > 0 || (currentBytes > Self.maximumText && isBoundary && !isInUnicodeEscape) {
            cutBytes += 1
        } else {
            kept.append(byte)
        }
    }

    /// Whether what was kept last is an unfinished `\uXXXX`.
    private var isInUnicodeEscape: Bool {
        let tail = kept.suffix(5)
        guard let backslash = tail.lastIndex(of: UInt8(ascii: "\\")) else { return false }
        let next = kept.index(after: backslash)
        return next < kept.endIndex ? kept[next] == UInt8(ascii: "u") : true
    }

    /// Counts a text and what was cut of it, where it is output and, if it is long, looks like text.
    private mutating func noteText(isKept: Bool) {
        guard hasSpace || currentBytes < 512, let frame = frames.last, !frame.isRepeated,
            Self.texts.contains(String(decoding: name, as: UTF8.self))
        else { return }
        textBytes += currentBytes
        unreadTextBytes += isKept ? cutBytes : currentBytes
    }

    /// Ends what is open, where the document broke off. A number that may be half of one makes it unreadable.
    mutating func close() {
        switch state {
        case .text(isKept: true): kept.append(UInt8(ascii: "\""))
        case .word(isKept: true): isLost = true
        default: break
        }
        for frame in frames.reversed() { kept.append(UInt8(ascii: frame.isObject ? "}" : "]")) }
        frames = []
        state = .between
    }
}

/// Reads the lines of one server-sent event of any length, and its data with a ``DocumentReducer``.
struct LongEvent: Sendable {
    private enum Line {
        case field
        case space
        case data
        case name
        case rest
    }

    private var line = Line.field
    private var field: [UInt8] = []
    private(set) var name: [UInt8] = []
    private var hasData = false
    private(set) var reducer = DocumentReducer()

    mutating func consume(_ bytes: UnsafeBufferPointer<UInt8>) {
        var index = 0
        while index < bytes.count {
            let byte = bytes[index]
            if byte == 0x0A || byte == 0x0D {
                line = .field
                field.removeAll(keepingCapacity: true)
                index += 1
                continue
            }
            switch line {
            case .field:
                index += 1
                guard byte == UInt8(ascii: ":") else {
                    // The longest that is of interest has five bytes; before the first may stand a byte order mark.
                    if field.count < 9 { field.append(byte) }
                    continue
                }
                if field.starts(with: [0xEF, 0xBB, 0xBF]) { field.removeFirst(3) }
                let isData = field.elementsEqual("data".utf8)
                line = isData ? .space : field.elementsEqual("event".utf8) ? .name : .rest
                // Several lines of data are joined by line feeds, which are white space in JSON.
                if isData { hasData = true }
            case .space:
                line = .data
                if byte == 0x20 { index += 1 }
            case .name:
                if name.count < 64, byte != 0x20 { name.append(byte) }
                index += 1
            case .rest: index += 1
            case .data:
                let rest = UnsafeBufferPointer(rebasing: bytes[index...])
                let count = rest.firstIndex { $0 == 0x0A || $0 == 0x0D } ?? rest.count
                reducer.consume(UnsafeBufferPointer(rebasing: rest[..<count]))
                index += count
            }
        }
    }
}
