import WireJSON

// What values may be, and what they cost.

extension RequestReader {
    // MARK: Values

    mutating func apply(
        _ rule: RequestTable.Rule, _ json: inout JSONScanner, isMeasured: Bool, isTop: Bool, name: [UInt8]
    ) throws {
        switch rule {
        case .setting(let values, let reason): try setting(values, reason, &json, isMeasured: isMeasured)
        case .settings(let index): try object(index, &json, isMeasured: isMeasured)
        case .free: try free(&json, isMeasured: isMeasured)
        case .text:
            guard json.peek() == .string else { throw wrongType("a text", json) }
            // At the top it may become a message of its own.
            let form = isTop && !name.elementsEqual(promptMember.utf8) ? 8 : 2
            count(json.decodedByteCount(try json.text()) + form)
        case .read: try measure(&json)
        case .tokens: try tokens(&json)
        case .inline(let kind, let remoteIsPicture):
            guard json.peek() == .string else { throw wrongType("a text", json) }
            frames[frames.count - 1].inline.append((try json.text(), kind, remoteIsPicture))
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
            guard json.peek() == .bool else { throw wrongType("true or false", json) }
            let range = try json.skip()
            reading.includeUsage = range
            reading.wantsUsage = json.equals(range, "true")
        case .user:
            guard json.peek() == .string else { throw wrongType("a text", json) }
            let isUser = name.elementsEqual("user".utf8) || name.elementsEqual("user_id".utf8)
            if isUser { reading.user = try json.string() } else { try json.skip() }
        case .bound, .dropped: try json.skip()
        case .choices: reading.choices = try positive(&json, atMost: 128)
        case .calls: reading.maxToolCalls = try positive(&json, atMost: 1024)
        case .thinking:
            // To some, -1 says that the model may decide.
            reading.thinking = max(reading.thinking, try whole(&json, in: -1...(1 << 31)))
        case .prefix:
            try setting(nil, nil, &json, isMeasured: isMeasured)
            count(RequestTable.prefixTokens)
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
                let words = rules.map(\.words)
                let each = words.indices.filter { words.firstIndex(of: words[$0]) == $0 }.map { words[$0] }
                throw wrongType(each.joined(separator: " or "), json)
            }
            try apply(rule, &json, isMeasured: isMeasured, isTop: isTop, name: name)
        }
    }

    /// Whether a value of that kind can be of a rule, so that the rule is the one to judge it by.
    private func accepts(_ rule: RequestTable.Rule, _ kind: JSONScanner.Kind, _ json: JSONScanner) -> Bool {
        switch rule {
        case .text, .inline, .mime, .model, .user: return kind == .string
        case .setting, .prefix: return kind != .object
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
        case .bound, .choices, .calls, .thinking, .uses, .contentTokens: return kind == .number
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
        if frames.count == 1 { reading.inputs = max(reading.inputs, Int64(index)) }
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
            if isEmpty, values?.contains("{}") == true { return }
            guard let values else { throw wrongType("a simple value", json) }
            throw notTaken("…", values, reason, json)
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

    func positive(_ json: inout JSONScanner, atMost maximum: Int64) throws -> Int64 {
        try whole(&json, in: 1...maximum)
    }

    private func whole(_ json: inout JSONScanner, in range: ClosedRange<Int64>) throws -> Int64 {
        let wanted = "a whole number from \(range.lowerBound) to \(range.upperBound)"
        guard json.peek() == .number else { throw wrongType(wanted, json) }
        let text = String(decoding: json.bytes(try json.number()), as: UTF8.self)
        guard let value = Int64(text), range.contains(value) else { throw wrongType(wanted, json) }
        return value
    }

    /// Each whole number is a token.
    private mutating func tokens(_ json: inout JSONScanner) throws {
        try json.enterArray()
        while try json.nextElement() {
            if json.peek() == .array {
                reading.inputs = reading.inputs.addingClamped(1)
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

    mutating func finish(_ rule: RequestTable.VariantRule, _ frame: Frame, _ json: JSONScanner) throws {
        func missing(_ name: String, _ why: String) -> RequestRefusal {
            let place = place(json)
            return RequestRefusal(
                .missing, "\(place).\(name)", "'\("\(place).\(name)".prefixed(toBytes: 255))' is required: \(why)")
        }
        switch rule {
        case .search(let usual):
            guard let uses = frame.uses ?? usual else { throw missing("max_uses", "a search costs") }
            reading.searches = reading.searches.addingClamped(uses)
        case .fetch:
            guard let uses = frame.uses else { throw missing("max_uses", "what is fetched costs") }
            guard let tokens = frame.contentTokens else {
                throw missing("max_content_tokens", "what is fetched costs")
            }
            reading.fetches = reading.fetches.addingClamped(uses)
            // Each is bounded: the product fits. It does not bound documents in PDF (Anthropic, "Web fetch tool"): any of them may fill the window.
            reading.fetchedTokens = reading.fetchedTokens.addingClamped(uses * tokens)
            noteUnmeasured(json, isPart: false)
        case .calls: reading.calledTools += 1
        case .window: noteUnmeasured(json)
        case .pending: reading.pendingCalls += 1
        case .result: reading.pendingCalls = max(0, reading.pendingCalls - 1)
        case .adds(let tokens): reading.addedTokens = reading.addedTokens.addingClamped(tokens)
        case .refused: break
        }
    }

    /// `isPart`: whether it is a part of the prompt, which may be of any kind.
    mutating func noteUnmeasured(_ json: JSONScanner, isPart: Bool = true) {
        if reading.unmeasured == nil { reading.unmeasured = place(json) }
        reading.unmeasuredParts += 1
        if isPart { reading.kinds.insert(.other) }
    }

    mutating func count(_ bytes: Int) { reading.textBytes = reading.textBytes.addingClamped(Int64(bytes)) }

    /// Adds the bytes that a model could read of a value as JSON: everything as written, without white space, and escapes only where JSON needs them.
    mutating func measure(_ json: inout JSONScanner) throws(JSONError) {
        switch json.peek() {
        case .string: countJSON(try json.text(), json)
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
                countJSON(name, json)
                count(2)
                try measure(&json)
            }
        default: count(try json.skip().count)
        }
    }

    /// Counts a text as JSON writes it: letters as they are, quotation marks, backslashes and control characters escaped.
    private mutating func countJSON(_ text: JSONText, _ json: JSONScanner) {
        count(json.decodedByteCount(text) + 2)
        guard text.isEscaped else { return }
        var isEscape = false
        for byte in json.bytes(text.range) {
            if isEscape {
                isEscape = false
                // Of `\u`, control characters have no shorter form; others are written as they are.
                count(byte == UInt8(ascii: "u") ? 5 : 1)
            } else {
                isEscape = byte == UInt8(ascii: "\\")
            }
        }
    }

    /// Adds what a file counts, when the object in which it stands has been read.
    mutating func measure(
        _ inline: (text: JSONText, kind: PartKind?, remoteIsPicture: Bool), _ mime: String?, _ json: JSONScanner
    ) {
        let text = inline.text
        let part: InlinePart
        if text.isEscaped {
            part = Array(json.decode(text).utf8).withUnsafeBufferPointer {
                InlinePart($0, declared: mime, as: inline.kind)
            }
        } else {
            part = InlinePart(json.bytes(text.range), declared: mime, as: inline.kind)
        }
        switch part.measured(by: figures, remoteIsPicture: inline.remoteIsPicture) {
        case .text(let bytes): count(bytes)
        case .tokens(let tokens, let isAudio):
            reading.mediaTokens = reading.mediaTokens.addingClamped(tokens)
            if isAudio { reading.audioTokens = reading.audioTokens.addingClamped(tokens) }
        case .unknown: noteUnmeasured(json, isPart: false)
        }
        reading.kinds.formUnion(part.isRemote && inline.remoteIsPicture ? [.image] : part.kinds)
    }
}

extension RequestTable.Rule {
    /// What a value of it is, in words.
    var words: String {
        switch self {
        case .text, .inline, .mime, .model, .user: "a text"
        case .settings, .object: "an object"
        case .list, .tokens: "an array"
        case .stream, .usage: "true or false"
        case .bound, .choices, .calls, .thinking, .uses, .contentTokens: "a whole number"
        default: "a simple value"
        }
    }
}
