import WireJSON

/// Walks through a request once, and holds each place against a ``RequestTable``.
///
/// Throws a ``RequestRefusal`` for what is not offered, and a ``JSONError`` for what is no JSON.
public struct RequestReader {
    /// What becomes of members that the table does not know.
    public struct Policy: Sendable {
        /// They pass, measured as prompt; else they are refused.
        public var passesUnknown: Bool
        /// Members that pass although they are unknown or refused, measured as prompt: `name`, or `path.to.name` without indices.
        public var allowed: Set<String>

        public init(passesUnknown: Bool = false, allowed: Set<String> = []) {
            self.passesUnknown = passesUnknown
            self.allowed = allowed
        }
    }

    public internal(set) var reading = RequestReading()
    private let table: RequestTable
    let policy: Policy
    let figures: PartFigures
    /// The member of the request that the route is about.
    let promptMember: String
    /// Where the walk is.
    var path: [Step] = []
    var frames: [Frame] = []
    /// A bit for each member of the objects that are open, to see what is there twice.
    private var seen: [UInt64] = []

    enum Step {
        case member(Range<Int>)
        case element(Int)
    }

    /// What is known of an open object.
    struct Frame {
        let seenStart: Int
        /// Of names that are not known.
        var others: Set<String> = []
        var inline: [(text: JSONText, kind: PartKind?, remoteIsPicture: Bool)] = []
        var mime: String?
        var uses: Int64?
        var contentTokens: Int64?
        /// The end of the last member that is sent on.
        var keptEnd: Int?
    }

    public init(_ table: RequestTable, policy: Policy, figures: PartFigures, promptMember: String) {
        self.table = table
        self.policy = policy
        self.figures = figures
        self.promptMember = promptMember
    }

    /// Reads a request.
    public mutating func read(_ bytes: UnsafeBufferPointer<UInt8>) throws {
        var json = JSONScanner(bytes)
        // The grammar first: what follows may then rely on it.
        try json.skip()
        try json.end()
        json = JSONScanner(bytes)
        guard json.peek() == .object, let request = table.definitions.first else {
            throw RequestRefusal(.invalidValue, "", "The request body must be a JSON object")
        }
        try members(of: request, request.common, rule: nil, &json, isMeasured: false)
        reading.end = json.offset - 1
        try json.end()
    }

    // MARK: Objects

    mutating func object(_ index: Int, _ json: inout JSONScanner, isMeasured: Bool) throws {
        let definition = table.definitions[index]
        guard json.peek() == .object else { throw wrongType("an object", json) }
        guard let discriminator = definition.discriminator else {
            return try members(of: definition, definition.common, rule: nil, &json, isMeasured: isMeasured)
        }
        let value = try self.value(of: discriminator, json)
        guard let variant = definition.variant(value) else {
            if policy.passesUnknown { return try unmeasured(definition, definition.common, &json) }
            let place = place(json) + "." + discriminator
            guard let value else {
                throw RequestRefusal(.missing, place, "'\(place.prefixed(toBytes: 255))' is required")
            }
            throw RequestRefusal(
                .unsupported, place,
                "'\(place.prefixed(toBytes: 255))' with the value '\(value.prefixed(toBytes: 64))' is not known here: leave it out, or ask the operator to allow it"
            )
        }
        let found = definition.variants[variant]
        if case .refused(let reason)? = found.rule {
            let place = place(json) + "." + discriminator
            throw RequestRefusal(
                .notOffered, place,
                "'\(place.prefixed(toBytes: 255))' with the value '\((value ?? "null").prefixed(toBytes: 64))' is not offered: \(reason)"
            )
        }
        if case .window? = found.rule, found.members.all.count == definition.common.all.count {
            return try unmeasured(definition, found.members, &json)
        }
        try members(of: definition, found.members, rule: found.rule, &json, isMeasured: isMeasured)
    }

    /// The text of the member that chooses the variant; nil: it is absent or null. `json` is a copy: nothing is consumed.
    private func value(of discriminator: String, _ json: JSONScanner) throws -> String? {
        var json = json
        var found: String?
        var isThere = false
        let place = place(json) + "." + discriminator
        try json.enterObject()
        while let name = try json.nextMember() {
            guard json.decode(name).utf8.elementsEqual(discriminator.utf8) else {
                try json.skip()
                continue
            }
            // Which of two an upstream takes is not known.
            guard !isThere else {
                throw RequestRefusal(.duplicate, place, "'\(place.prefixed(toBytes: 255))' is there twice")
            }
            isThere = true
            if try json.null() { continue }
            guard json.peek() == .string else {
                throw RequestRefusal(.invalidValue, place, "'\(place.prefixed(toBytes: 255))' must be a text")
            }
            let value = try json.string()
            // Swift takes some letters for others that look alike.
            found = value.utf8.allSatisfy { $0 < 0x80 } ? value : "\u{FFFD}"
        }
        return found
    }

    /// Reads an object that may be anything, and so may fill the window. What is known by a name of the definition is what it is all the same.
    private mutating func unmeasured(
        _ definition: RequestTable.Definition, _ members: RequestTable.Members, _ json: inout JSONScanner
    ) throws {
        noteUnmeasured(json)
        frames.append(Frame(seenStart: seen.count))
        count(2)
        try json.enterObject()
        while let name = try json.nextMember() {
            path.append(.member(name.range))
            count(json.decodedByteCount(name) + 4)
            let text = json.decode(name)
            guard frames[frames.count - 1].others.insert(text).inserted else { throw duplicate(json) }
            if let known = definition.everywhere[Array(text.utf8)] {
                if case .dropped = known.rule {
                    try json.skip()
                    drop(from: name.range.lowerBound - 1, json)
                    path.removeLast()
                    continue
                }
                if case .refused = known.rule, isAllowed(json) {
                    try measure(&json)
                } else {
                    let start = name.range.lowerBound - 1
                    try value(known, &json, at: start..<name.range.upperBound + 1, isMeasured: true)
                }
            } else {
                try refuseAlike(name, in: definition, json)
                try measure(&json)
            }
            frames[frames.count - 1].keptEnd = json.offset
            path.removeLast()
        }
        guard let frame = frames.popLast() else { return }
        for inline in frame.inline { measure(inline, frame.mime, json) }
    }

    private mutating func members(
        of definition: RequestTable.Definition, _ members: RequestTable.Members, rule: RequestTable.VariantRule?,
        _ json: inout JSONScanner, isMeasured: Bool
    ) throws {
        frames.append(Frame(seenStart: seen.count))
        let words = (members.all.count + 63) / 64
        seen.append(contentsOf: repeatElement(0, count: words))
        if isMeasured { count(2) }
        try json.enterObject()
        while let name = try json.nextMember() {
            path.append(.member(name.range))
            if isMeasured { count(json.decodedByteCount(name) + 4) }
            try member(name, of: definition, members, &json, isMeasured: isMeasured)
            path.removeLast()
        }
        seen.removeLast(words)
        guard let frame = frames.popLast() else { return }
        for inline in frame.inline { measure(inline, frame.mime, json) }
        if let rule { try finish(rule, frame, json) }
    }

    private mutating func member(
        _ name: JSONText, of definition: RequestTable.Definition, _ members: RequestTable.Members,
        _ json: inout JSONScanner, isMeasured: Bool
    ) throws {
        let top = frames.count - 1
        // With its quotation marks.
        let start = name.range.lowerBound - 1
        let known: Int?
        if name.isEscaped {
            known = Array(json.decode(name).utf8).withUnsafeBufferPointer { members.find($0) }
        } else {
            known = members.find(json.bytes(name.range))
        }
        guard let known else {
            guard frames[top].others.insert(json.decode(name)).inserted else { throw duplicate(json) }
            try unknown(name, in: definition, members, &json, isMeasured: isMeasured)
            frames[top].keptEnd = json.offset
            return
        }
        let (word, bit) = (frames[top].seenStart + known / 64, UInt64(1) << UInt64(known % 64))
        // An upstream may take the other of two: what is admitted must be what is asked for.
        guard seen[word] & bit == 0 else { throw duplicate(json) }
        seen[word] |= bit
        let member = members.all[known]
        if case .dropped = member.rule {
            try json.skip()
            drop(from: start, json)
            return
        }
        if case .refused = member.rule, isAllowed(json) {
            try measure(&json)
        } else {
            try value(member, &json, at: start..<name.range.upperBound + 1, isMeasured: isMeasured)
        }
        frames[top].keptEnd = json.offset
    }

    /// Leaves a member out that ends where `json` stands, with the comma behind or before it.
    private mutating func drop(from start: Int, _ json: JSONScanner) {
        let isLast = json.byteAhead() != UInt8(ascii: ",")
        let range: Range<Int>
        if isLast {
            range = (frames.last?.keptEnd ?? start)..<json.offset
        } else {
            range = start..<json.offsetBehindComma()
        }
        reading.dropped.append((place(json), range))
    }

    // MARK: Members

    private func isAllowed(_ json: JSONScanner) -> Bool {
        guard !policy.allowed.isEmpty else { return false }
        let names = path.compactMap { step -> String? in
            if case .member(let range) = step { String(decoding: json.bytes(range), as: UTF8.self) } else { nil }
        }
        return policy.allowed.contains(names.joined(separator: "."))
    }

    private mutating func unknown(
        _ name: JSONText, in definition: RequestTable.Definition, _ members: RequestTable.Members,
        _ json: inout JSONScanner, isMeasured: Bool
    ) throws {
        if isAllowed(json) { return try measure(&json) }
        let place = place(json)
        let shown = place.prefixed(toBytes: 255)
        try refuseAlike(name, in: definition, json)
        if let others = members.others {
            return try apply(others, &json, isMeasured: isMeasured, isTop: false, name: [])
        }
        guard policy.passesUnknown else {
            throw RequestRefusal(
                .unsupported, place, "'\(shown)' is not known here: leave it out, or ask the operator to allow it")
        }
        try measure(&json)
    }

    /// Refuses a name that differs from a known one in case only: upstreams in Go take one for the other.
    private func refuseAlike(_ name: JSONText, in definition: RequestTable.Definition, _ json: JSONScanner) throws {
        let text = json.decode(name)
        guard let alike = definition.folded[text.foldedCase], !alike.utf8.elementsEqual(text.utf8) else { return }
        let place = place(json)
        throw RequestRefusal(
            .unsupported, place,
            "'\(place.prefixed(toBytes: 255))' is not known here: write it '\(alike)', letter by letter")
    }

    private mutating func value(
        _ member: RequestTable.Member, _ json: inout JSONScanner, at name: Range<Int>, isMeasured: Bool
    ) throws {
        let isTop = frames.count == 1
        if isTop, member.name.elementsEqual("stream_options".utf8) { return try streamOptions(member.rule, &json) }
        if isTop, member.name.elementsEqual("audio".utf8), json.peek() == .object { reading.wantsAudio = true }
        if isTop, member.name.elementsEqual("modalities".utf8) {
            reading.wantsAudio = reading.wantsAudio || json.namesText("audio")
        }
        if json.peek() == .null {
            let start = json.offset
            _ = try json.null()
            if isMeasured { count(4) }
            if case .bound = member.rule { reading.nullBounds.append((member.text, start..<json.offset)) }
            if case .usage = member.rule { reading.includeUsage = start..<json.offset }
            return
        }
        if isTop, member.name.elementsEqual(promptMember.utf8) { reading.hasPrompt = true }
        if isTop, member.name.elementsEqual("tools".utf8) || member.name.elementsEqual("functions".utf8) {
            var ahead = json
            if ahead.peek() == .array {
                try ahead.enterArray()
                if try ahead.nextElement() { reading.hasTools = true }
            }
        }
        if case .bound = member.rule {
            let value = try positive(&json, atMost: 1 << 31)
            reading.bounds.append((member.text, value, name))
            return
        }
        // What the model reads at the top counts as its value alone, as do settings within what it reads.
        let before = reading.textBytes
        try apply(member.rule, &json, isMeasured: isMeasured, isTop: isTop, name: member.name)
        // `inputs` and `texts` are other names of an embedding's input.
        if isTop, [promptMember, "inputs", "texts"].contains(where: { member.name.elementsEqual($0.utf8) }) {
            reading.inputBytes = reading.inputBytes.addingClamped(reading.textBytes - before)
        }
    }

    private mutating func streamOptions(_ rule: RequestTable.Rule, _ json: inout JSONScanner) throws {
        let kind = json.peek()
        let start = json.offset
        if kind == .object {
            var ahead = json
            try ahead.enterObject()
            reading.streamOptionsIsEmpty = try ahead.nextMember() == nil
        }
        if kind == .null {
            _ = try json.null()
        } else {
            try apply(rule, &json, isMeasured: false, isTop: true, name: [])
        }
        reading.streamOptions = start..<json.offset
    }

    // MARK: Places

    func place(_ json: JSONScanner) -> String {
        var text = ""
        for step in path {
            switch step {
            case .member(let range):
                if !text.isEmpty { text += "." }
                text += String(decoding: json.bytes(range).prefix(128), as: UTF8.self)
            case .element(let index): text += "[\(index)]"
            }
        }
        return text
    }

    func wrongType(_ wanted: String, _ json: JSONScanner) -> RequestRefusal {
        let place = place(json)
        return RequestRefusal(.invalidValue, place, "'\(place.prefixed(toBytes: 255))' must be \(wanted)")
    }

    private func duplicate(_ json: JSONScanner) -> RequestRefusal {
        let place = place(json)
        return RequestRefusal(.duplicate, place, "'\(place.prefixed(toBytes: 255))' is there twice")
    }
}

extension String {
    /// As decoders that do not heed case compare names: those of Go also take the long s and the Kelvin sign for letters (Unicode, simple folding).
    var foldedCase: [UInt8] {
        unicodeScalars.flatMap { scalar -> [UInt8] in
            switch scalar.value {
            case 0x17F: [UInt8(ascii: "s")]
            case 0x212A: [UInt8(ascii: "k")]
            case 0x41...0x5A: [UInt8(scalar.value) + 32]
            default: Array(String(scalar).utf8)
            }
        }
    }
}

extension JSONScanner {
    /// Where the next byte is that is no white space.
    fileprivate func positionAhead() -> Int {
        var ahead = self
        _ = ahead.peek()
        return ahead.offset
    }

    fileprivate func byteAhead() -> UInt8 {
        let position = positionAhead()
        return bytes(position..<position + 1).first ?? 0
    }

    fileprivate func offsetBehindComma() -> Int { positionAhead() + 1 }

    /// Whether the next value is a text, or an array in which it is; nothing is consumed.
    func namesText(_ wanted: String) -> Bool {
        var ahead = self
        guard let range = try? ahead.skip(), let value = try? JSONValue(Array(bytes(range))) else { return false }
        return value.string == wanted || value.array?.contains { $0.string == wanted } == true
    }
}
