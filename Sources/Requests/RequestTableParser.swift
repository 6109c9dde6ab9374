/// Reads the notation of ``RequestTable``.
struct RequestTableParser {
    private typealias Problem = RequestTable.Problem

    /// A definition as it was written: its rules name other definitions, which may come later.
    private struct Raw {
        var name: String
        var discriminator: String?
        var common: [(name: String, rule: String, line: Int)] = []
        var variants: [RawVariant] = []
    }

    private struct RawVariant {
        var values: [String]
        var rule: String?
        var line: Int
        var members: [(name: String, rule: String, line: Int)] = []
    }

    private var raws: [Raw] = []
    private var current: Int?
    private var isInVariant = false
    private var line = 0

    mutating func read(_ text: String) throws {
        current = nil
        isInVariant = false
        for (number, row) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            line = number + 1
            let content = row.drop { $0 == " " }
            if content.isEmpty || content.first == "#" { continue }
            let indentation = row.count - content.count
            switch indentation {
            case 0: try begin(content)
            case 2 where content.hasPrefix("= "): try beginVariant(content.dropFirst(2))
            case 2: try add(content, toVariant: false)
            case 4: try add(content, toVariant: true)
            default: throw Problem(line: line, what: "indented by \(indentation)")
            }
        }
    }

    private mutating func begin(_ content: Substring) throws {
        guard content.last == ":" else { throw Problem(line: line, what: "a definition ends with a colon") }
        let words = content.dropLast().split(separator: " ").map(String.init)
        let discriminator: String? = words.count == 3 && words[1] == "by" ? words[2] : nil
        guard words.count == 1 || discriminator != nil else { throw Problem(line: line, what: "no definition") }
        isInVariant = false
        if let known = raws.firstIndex(where: { $0.name == words[0] }) {
            guard raws[known].discriminator == discriminator else {
                throw Problem(line: line, what: "'\(words[0])' was defined otherwise")
            }
            current = known
        } else {
            current = raws.count
            raws.append(Raw(name: words[0], discriminator: discriminator))
        }
    }

    private mutating func beginVariant(_ content: Substring) throws {
        guard let current, raws[current].discriminator != nil else {
            throw Problem(line: line, what: "a variant of what has none")
        }
        let (names, rule) = Self.halves(content)
        isInVariant = true
        raws[current].variants.append(RawVariant(values: names, rule: rule.isEmpty ? nil : rule, line: line))
    }

    private mutating func add(_ content: Substring, toVariant: Bool) throws {
        guard let current else { throw Problem(line: line, what: "a member of nothing") }
        let (names, rule) = Self.halves(content)
        guard !rule.isEmpty, !names.isEmpty else { throw Problem(line: line, what: "a member without a rule") }
        guard toVariant == isInVariant else { throw Problem(line: line, what: "a member in the wrong place") }
        for name in names {
            if toVariant {
                raws[current].variants[raws[current].variants.count - 1].members.append((name, rule, line))
            } else {
                raws[current].common.append((name, rule, line))
            }
        }
    }

    /// Names that are separated by commas, and what stands behind two spaces.
    private static func halves(_ content: Substring) -> ([String], String) {
        var left = content
        var right = Substring()
        if let gap = content.firstRange(of: "  ") {
            left = content[..<gap.lowerBound]
            right = content[gap.upperBound...].drop { $0 == " " }
        }
        let names = left.split(separator: ",").map { name in String(name.drop { $0 == " " }) }.map { name in
            String(name.reversed().drop { $0 == " " }.reversed())
        }
        return (names, String(right))
    }

    // MARK: Rules

    func finish() throws -> RequestTable {
        guard raws.first?.name == "request" else { throw Problem(line: 0, what: "the first is not 'request'") }
        var indices: [String: Int] = [:]
        for (index, raw) in raws.enumerated() { indices[raw.name] = index }
        let definitions = try raws.map { raw in
            var definition = RequestTable.Definition(name: raw.name, discriminator: raw.discriminator)
            if let discriminator = raw.discriminator {
                definition.common.add(Self.member(discriminator, .setting(values: nil, reason: nil)))
            }
            for member in raw.common {
                definition.common.add(Self.member(member.name, try rule(member.rule, indices, member.line)))
            }
            // A value that a later text names again belongs to that variant, which adds to what it was.
            var variants: [RequestTable.Variant] = []
            for raw in raw.variants {
                let rule = try raw.rule.map { try variantRule($0, raw.line) }
                for value in raw.values {
                    let known = variants.firstIndex { $0.values == [value] }
                    var variant =
                        known.map { variants[$0] } ?? RequestTable.Variant(values: [value], members: definition.common)
                    if let rule { variant.rule = rule } else if raw.members.isEmpty { variant.rule = nil }
                    for member in raw.members {
                        variant.members.add(Self.member(member.name, try self.rule(member.rule, indices, member.line)))
                    }
                    if let known { variants[known] = variant } else { variants.append(variant) }
                }
            }
            definition.variants = variants
            definition.index()
            return definition
        }
        return RequestTable(definitions: definitions)
    }

    private static func member(_ name: String, _ rule: RequestTable.Rule) -> RequestTable.Member {
        RequestTable.Member(name: Array(name.utf8), rule: rule)
    }

    /// A text without its reason, and the reason.
    private func parts(_ text: String) -> (text: String, reason: String?) {
        guard let dash = text.firstRange(of: " — ") else {
            return text.hasPrefix("— ") ? ("", String(text.dropFirst(2))) : (text, nil)
        }
        return (String(text[..<dash.lowerBound]), String(text[dash.upperBound...]))
    }

    private func variantRule(_ text: String, _ line: Int) throws -> RequestTable.VariantRule {
        let (words, reason) = parts(text)
        switch words.trimmed {
        case "priced search": return .search(uses: nil)
        case "priced calls": return .calls
        case "priced fetch": return .fetch
        case "window": return .window
        case "pending": return .pending
        case "result": return .result
        case "refused":
            guard let reason else { throw Problem(line: line, what: "refused without a reason") }
            return .refused(reason: reason)
        case let other:
            if other.hasPrefix("priced search "), let uses = Int64(other.dropFirst(14)) { return .search(uses: uses) }
            if other.hasPrefix("adds "), let tokens = Int64(other.dropFirst(5)) { return .adds(tokens) }
            throw Problem(line: line, what: "'\(other)' is nothing that a variant can be")
        }
    }

    private func rule(_ text: String, _ indices: [String: Int], _ line: Int) throws -> RequestTable.Rule {
        let (words, reason) = parts(text)
        let alternatives = words.split(separator: " or ").map { String($0).trimmed }
        let rules = try alternatives.map { try simple($0, reason, indices, line) }
        return rules.count == 1 ? rules[0] : .either(rules)
    }

    private func simple(
        _ text: String, _ reason: String?, _ indices: [String: Int], _ line: Int
    ) throws -> RequestTable.Rule {
        switch text {
        case "setting": return .setting(values: nil, reason: reason)
        case "free": return .free
        case "text": return .text
        case "read": return .read
        case "tokens": return .tokens
        case "inline": return .inline(as: nil, remoteIsPicture: false)
        case "inline image": return .inline(as: .image, remoteIsPicture: false)
        case "inline picture": return .inline(as: .image, remoteIsPicture: true)
        case "inline sound": return .inline(as: .audio, remoteIsPicture: false)
        case "mime": return .mime
        case "window": return .window
        case "model": return .model
        case "stream": return .stream
        case "usage": return .usage
        case "user": return .user
        case "bound": return .bound
        case "choices": return .choices
        case "calls": return .calls
        case "thinking": return .thinking
        case "prefix": return .prefix
        case "uses": return .uses
        case "content_tokens": return .contentTokens
        case "cache": return .cache
        case "dropped": return .dropped
        case "refused":
            guard let reason else { throw Problem(line: line, what: "refused without a reason") }
            return .refused(reason: reason)
        default: break
        }
        if text.hasPrefix("setting of ") {
            guard let index = indices[String(text.dropFirst(11))] else {
                throw Problem(line: line, what: "no '\(text)'")
            }
            return .settings(index)
        }
        if text.hasPrefix("setting ") {
            let values = text.dropFirst(8).split(separator: "|").map { String($0).trimmed }
            return .setting(values: values, reason: reason)
        }
        if text.hasPrefix("list of ") {
            return .list(try simple(String(text.dropFirst(8)), reason, indices, line))
        }
        guard let index = indices[text] else { throw Problem(line: line, what: "'\(text)' is not defined") }
        return .object(index)
    }
}

extension RequestTable.Member {
    var text: String { String(decoding: name, as: UTF8.self) }
}

extension String {
    fileprivate var trimmed: String {
        String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
}
