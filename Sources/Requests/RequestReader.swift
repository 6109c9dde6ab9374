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

    public private(set) var reading = RequestReading()
    private let table: RequestTable
    private let policy: Policy
    private let figures: PartFigures
    /// The member of the request that the route is about.
    private let promptMember: String
    /// Where the walk is.
    private var path: [Step] = []
    private var frames: [Frame] = []
    /// A bit for each member of the objects that are open, to see what is there twice.
    private var seen: [UInt64] = []

    private enum Step {
        case member(Range<Int>)
        case element(Int)
    }

    /// What is known of an open object.
    private struct Frame {
        let seenStart: Int
        /// Of names that are not known.
        var others: Set<String> = []
        var inline: (text: JSONText, isPicture: Bool)?
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

    private mutating func object(_ index: Int, _ json: inout JSONScanner, isMeasured: Bool) throws {
        let definition = table.definitions[index]
        guard json.peek() == .object else { throw wrongType("an object", json) }
        guard let discriminator = definition.discriminator else {
            return try members(of: definition, definition.common, rule: nil, &json, isMeasured: isMeasured)
        }
        let value = try self.value(of: discriminator, json)
        guard let variant = definition.variant(value) else {
            if policy.passesUnknown { return try unmeasured(&json) }
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
        if case .window? = found.rule, found.members.all.count <= 1 { return try unmeasured(&json) }
        try members(of: definition, found.members, rule: found.rule, &json, isMeasured: isMeasured)
    }

    /// The text of the member that chooses the variant; nil: it is absent or null. `json` is a copy: nothing is consumed.
    private func value(of discriminator: String, _ json: JSONScanner) throws -> String? {
        var json = json
        try json.enterObject()
        while let name = try json.nextMember() {
            guard json.decode(name).utf8.elementsEqual(discriminator.utf8) else {
                try json.skip()
                continue
            }
            if try json.null() { continue }
            guard json.peek() == .string else {
                let place = place(json) + "." + discriminator
                throw RequestRefusal(.invalidValue, place, "'\(place.prefixed(toBytes: 255))' must be a text")
            }
            let value = try json.string()
            // Swift takes some letters for others that look alike.
            return value.utf8.allSatisfy { $0 < 0x80 } ? value : "\u{FFFD}"
        }
        return nil
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
        if let inline = frame.inline { measure(inline.text, frame.mime, isPicture: inline.isPicture, json) }
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
            try unknown(name, in: definition, members, &json)
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
        _ json: inout JSONScanner
    ) throws {
        if isAllowed(json) { return try measure(&json) }
        let place = place(json)
        let shown = place.prefixed(toBytes: 255)
        let folded = json.decode(name).foldedCase
        let alike =
            members.all.first { $0.text.foldedCase == folded }
            ?? definition.variants.lazy.flatMap(\.members.all).first {
                $0.text.foldedCase == folded && $0.text != json.decode(name)
            }
        if let alike {
            // Upstreams in Go take one for the other.
            throw RequestRefusal(
                .unsupported, place, "'\(shown)' is not known here: write it '\(alike.text)', letter by letter")
        }
        guard policy.passesUnknown else {
            throw RequestRefusal(
                .unsupported, place, "'\(shown)' is not known here: leave it out, or ask the operator to allow it")
        }
        try measure(&json)
    }

    private mutating func value(
        _ member: RequestTable.Member, _ json: inout JSONScanner, at name: Range<Int>, isMeasured: Bool
    ) throws {
        let isTop = frames.count == 1
        if isTop, member.name.elementsEqual("stream_options".utf8) { return try streamOptions(member.rule, &json) }
        if isTop, member.name.elementsEqual("audio".utf8), json.peek() == .object { reading.wantsAudio = true }
        if isTop, member.name.elementsEqual("modalities".utf8) {
            let range = json.copySkipping()
            if range.contains("audio") { reading.wantsAudio = true }
        }
        if json.peek() == .null {
            let start = json.offset
            _ = try json.null()
            if isMeasured { count(4) }
            if case .bound = member.rule { reading.nullBounds.append((member.text, start..<json.offset)) }
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
        try apply(member.rule, &json, isMeasured: isMeasured, isTop: isTop, name: member.name)
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

    // MARK: Values

    private mutating func apply(
        _ rule: RequestTable.Rule, _ json: inout JSONScanner, isMeasured: Bool, isTop: Bool, name: [UInt8]
    ) throws {
        switch rule {
        case .setting(let values, let reason): try setting(values, reason, &json, isMeasured: isMeasured)
        case .settings(let index): try object(index, &json, isMeasured: isMeasured)
        case .free: try free(&json, isMeasured: isMeasured)
        case .text:
            guard json.peek() == .string else { throw wrongType("a text", json) }
            try measure(&json)
        case .read: try measure(&json)
        case .tokens: try tokens(&json)
        case .inline(let isPicture):
            guard json.peek() == .string else { throw wrongType("a text", json) }
            frames[frames.count - 1].inline = (try json.text(), isPicture)
        case .mime:
            guard json.peek() == .string else { throw wrongType("a text", json) }
            let text = try json.text()
            frames[frames.count - 1].mime = json.decode(text)
            if isMeasured { count(json.decodedByteCount(text) + 2) }
        case .window:
            noteUnmeasured(json)
            try json.skip()
        case .model:
            guard json.peek() == .string else { throw wrongType("a text", json) }
            let start = json.offset
            reading.model = try json.string()
            reading.modelRange = start..<json.offset
        case .stream:
            guard json.peek() == .bool else { throw wrongType("true or false", json) }
            reading.isStream = try json.bool()
        case .usage:
            let isTrue = json.peek() == .bool
            let range = try json.skip()
            reading.includeUsage = range
            reading.wantsUsage = isTrue && json.equals(range, "true")
        case .user:
            let isUser = name.elementsEqual("user".utf8) || name.elementsEqual("user_id".utf8)
            if isUser, json.peek() == .string { reading.user = try json.string() } else { try json.skip() }
        case .bound, .dropped: try json.skip()
        case .choices: reading.choices = try positive(&json, atMost: 128)
        case .calls: reading.maxToolCalls = try positive(&json, atMost: 1024)
        case .uses: frames[frames.count - 1].uses = try positive(&json, atMost: 1024)
        case .contentTokens: frames[frames.count - 1].contentTokens = try positive(&json, atMost: 1 << 31)
        case .cache:
            if json.peek() == .object { reading.writesCache = true }
            try free(&json, isMeasured: isMeasured)
        case .refused(let reason):
            let place = place(json)
            throw RequestRefusal(.notOffered, place, "'\(place.prefixed(toBytes: 255))' is not offered: \(reason)")
        case .object(let index): try object(index, &json, isMeasured: true)
        case .list(let rule): try list(rule, &json)
        case .either(let rules):
            let kind = json.peek()
            guard let rule = rules.first(where: { accepts($0, kind, json) }) else {
                throw wrongType(rules.map(\.words).joined(separator: " or "), json)
            }
            try apply(rule, &json, isMeasured: isMeasured, isTop: isTop, name: name)
        }
    }

    /// Whether a value of that kind can be of a rule, so that the rule is the one to judge it by.
    private func accepts(_ rule: RequestTable.Rule, _ kind: JSONScanner.Kind, _ json: JSONScanner) -> Bool {
        switch rule {
        case .text, .inline, .mime, .model, .user: return kind == .string
        case .setting: return kind != .object
        case .settings, .object: return kind == .object
        case .list(let inner):
            guard kind == .array else { return false }
            var ahead = json
            guard (try? ahead.enterArray()) != nil, (try? ahead.nextElement()) == true else { return true }
            return accepts(inner, ahead.peek(), ahead)
        case .tokens:
            guard kind == .array else { return false }
            var ahead = json
            guard (try? ahead.enterArray()) != nil, (try? ahead.nextElement()) == true else { return true }
            let first = ahead.peek()
            return first == .number || first == .array
        case .stream, .usage: return kind == .bool
        case .bound, .choices, .calls, .uses, .contentTokens: return kind == .number
        case .free, .read, .window, .cache, .dropped, .refused, .either: return true
        }
    }

    private mutating func list(_ rule: RequestTable.Rule, _ json: inout JSONScanner) throws {
        guard json.peek() == .array else { throw wrongType("an array", json) }
        try json.enterArray()
        count(2)
        var index = 0
        while try json.nextElement() {
            count(1)
            path.append(.element(index))
            if json.peek() == .null { throw wrongType(rule.words, json) }
            try apply(rule, &json, isMeasured: true, isTop: false, name: [])
            path.removeLast()
            index += 1
        }
    }

    private mutating func free(_ json: inout JSONScanner, isMeasured: Bool) throws {
        if isMeasured { try measure(&json) } else { try json.skip() }
    }

    private mutating func setting(
        _ values: [String]?, _ reason: String?, _ json: inout JSONScanner, isMeasured: Bool
    ) throws {
        var ahead = json
        if isMeasured { try measure(&json) } else { try json.skip() }
        try check(values, reason, &ahead, isElement: false)
    }

    private func check(_ values: [String]?, _ reason: String?, _ json: inout JSONScanner, isElement: Bool) throws {
        switch json.peek() {
        case .array where !isElement:
            try json.enterArray()
            while try json.nextElement() { try check(values, reason, &json, isElement: true) }
        case .object, .array:
            let isEmpty = try json.skip().count == 2
            guard isEmpty, values?.contains("{}") == true else { throw wrongType("a simple value", json) }
        case .string:
            let text = try json.text()
            guard let values else { return }
            let value = json.decode(text)
            guard value.utf8.allSatisfy({ $0 < 0x80 }), values.contains(value) else {
                throw notTaken(value, values, reason, json)
            }
        default:
            let value = String(decoding: json.bytes(try json.skip()), as: UTF8.self)
            guard let values, value != "null" else { return }
            let isZero = values.contains("0") && Double(value) == 0
            guard isZero || values.contains(value) else { throw notTaken(value, values, reason, json) }
        }
    }

    private func notTaken(_ value: String, _ values: [String], _ reason: String?, _ json: JSONScanner) -> RequestRefusal
    {
        let place = place(json)
        let offered = values.prefix(12).map { "'\($0)'" }.joined(separator: ", ")
        return RequestRefusal(
            .notOffered, place,
            "'\(place.prefixed(toBytes: 255))' with the value '\(value.prefixed(toBytes: 64))' is not offered (it may be \(offered)): \(reason ?? "no other value is known here")"
        )
    }

    private func positive(_ json: inout JSONScanner, atMost maximum: Int64) throws -> Int64 {
        guard json.peek() == .number else { throw wrongType("a whole number from 1 to \(maximum)", json) }
        let text = String(decoding: json.bytes(try json.number()), as: UTF8.self)
        guard let value = Int64(text), (1...maximum).contains(value) else {
            throw wrongType("a whole number from 1 to \(maximum)", json)
        }
        return value
    }

    /// Each whole number is a token.
    private mutating func tokens(_ json: inout JSONScanner) throws {
        try json.enterArray()
        while try json.nextElement() {
            if json.peek() == .array {
                try json.enterArray()
                while try json.nextElement() { try token(&json) }
            } else {
                try token(&json)
            }
        }
    }

    private mutating func token(_ json: inout JSONScanner) throws {
        guard json.peek() == .number else { throw wrongType("an array of token ids", json) }
        _ = try json.number()
        reading.mediaTokens = reading.mediaTokens.addingClamped(1)
    }

    // MARK: What it costs

    private mutating func finish(_ rule: RequestTable.VariantRule, _ frame: Frame, _ json: JSONScanner) throws {
        func missing(_ name: String, _ why: String) -> RequestRefusal {
            let place = place(json)
            return RequestRefusal(
                .missing, "\(place).\(name)", "'\("\(place).\(name)".prefixed(toBytes: 255))' is required: \(why)")
        }
        switch rule {
        case .search:
            guard let uses = frame.uses else { throw missing("max_uses", "a search costs") }
            reading.searches = reading.searches.addingClamped(uses)
        case .fetch:
            guard let uses = frame.uses else { throw missing("max_uses", "what is fetched costs") }
            guard let tokens = frame.contentTokens else {
                throw missing("max_content_tokens", "what is fetched costs")
            }
            reading.fetches = reading.fetches.addingClamped(uses)
            // Each is bounded: the product fits.
            reading.fetchedTokens = reading.fetchedTokens.addingClamped(uses * tokens)
        case .calls: reading.calledTools += 1
        case .window: noteUnmeasured(json)
        case .pending: reading.pendingCalls += 1
        case .result: reading.pendingCalls = max(0, reading.pendingCalls - 1)
        case .adds(let tokens): reading.addedTokens = reading.addedTokens.addingClamped(tokens)
        case .refused: break
        }
    }

    private mutating func noteUnmeasured(_ json: JSONScanner) {
        if reading.unmeasured == nil { reading.unmeasured = place(json) }
    }

    private mutating func unmeasured(_ json: inout JSONScanner) throws {
        noteUnmeasured(json)
        try measure(&json)
    }

    private mutating func count(_ bytes: Int) { reading.textBytes = reading.textBytes.addingClamped(Int64(bytes)) }

    /// Adds the bytes that a model could read of a value: texts decoded, everything else as written, without white space.
    private mutating func measure(_ json: inout JSONScanner) throws(JSONError) {
        switch json.peek() {
        case .string:
            let text = try json.text()
            count(json.decodedByteCount(text) + 2)
        case .array:
            try json.enterArray()
            count(2)
            while try json.nextElement() {
                count(1)
                try measure(&json)
            }
        case .object:
            try json.enterObject()
            count(2)
            while let name = try json.nextMember() {
                count(json.decodedByteCount(name) + 4)
                try measure(&json)
            }
        default: count(try json.skip().count)
        }
    }

    private mutating func measure(_ text: JSONText, _ mime: String?, isPicture: Bool, _ json: JSONScanner) {
        let part: InlinePart
        if text.isEscaped {
            part = Array(json.decode(text).utf8).withUnsafeBufferPointer { InlinePart($0, declared: mime) }
        } else {
            part = InlinePart(json.bytes(text.range), declared: mime)
        }
        switch part.measured(by: figures, remoteIsPicture: isPicture) {
        case .text(let bytes): count(bytes)
        case .tokens(let tokens, let isAudio):
            reading.mediaTokens = reading.mediaTokens.addingClamped(tokens)
            if isAudio { reading.audioTokens = reading.audioTokens.addingClamped(tokens) }
        case .unknown: noteUnmeasured(json)
        }
        reading.kinds.insert(part.kind)
    }

    // MARK: Places

    private func place(_ json: JSONScanner) -> String {
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

    private func wrongType(_ wanted: String, _ json: JSONScanner) -> RequestRefusal {
        let place = place(json)
        return RequestRefusal(.invalidValue, place, "'\(place.prefixed(toBytes: 255))' must be \(wanted)")
    }

    private func duplicate(_ json: JSONScanner) -> RequestRefusal {
        let place = place(json)
        return RequestRefusal(.duplicate, place, "'\(place.prefixed(toBytes: 255))' is there twice")
    }
}

extension RequestTable.Rule {
    /// What a value of it is, in words.
    fileprivate var words: String {
        switch self {
        case .text, .inline, .mime, .model, .user: "a text"
        case .settings, .object: "an object"
        case .list, .tokens: "an array"
        case .stream, .usage: "true or false"
        case .bound, .choices, .calls, .uses, .contentTokens: "a whole number"
        default: "a simple value"
        }
    }
}

extension String {
    /// As decoders that do not heed case compare names: those of Go also take the long s and the Kelvin sign for letters (Unicode, simple folding).
    fileprivate var foldedCase: [UInt8] {
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

    /// The next value as it is written; nothing is consumed.
    fileprivate func copySkipping() -> String {
        var ahead = self
        guard let range = try? ahead.skip() else { return "" }
        return String(decoding: bytes(range), as: UTF8.self)
    }
}

extension Int64 {
    /// The sum, or the largest number where it does not fit.
    func addingClamped(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
