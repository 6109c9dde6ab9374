import Foundation
import Ledger
import Yams

/// What is wrong with the configuration: the key, its line in the file, and what to do. Values are never quoted: they may be secrets.
struct ConfigurationError: Error, CustomStringConvertible {
    let description: String

    init(_ what: String, key: String? = nil, line: Int? = nil) {
        let place = line.map { "line \($0): " } ?? ""
        description = place + (key.map { "'\($0)' " } ?? "") + what
    }
}

/// A mapping of the YAML file, from which keys are taken one by one; what nobody took is an unknown key.
struct ConfigurationSection {
    private let path: String
    private var members: [(key: String, node: Node, line: Int?)] = []
    private let environment: [String: String]
    /// The prefix of the environment variables that override its scalars; nil: none do.
    private let environmentPrefix: String?
    /// The keys that were asked for.
    private var asked: Set<String> = []

    /// The root of a file. Environment variables `GATEWAY_<KEY>` override its scalars.
    init(yaml: String, environment: [String: String]) throws(ConfigurationError) {
        let root: Node?
        do {
            root = try Yams.compose(yaml: yaml)
        } catch let error as YamlError {
            throw Self.unreadable(error)
        } catch {
            throw ConfigurationError("the file cannot be read as YAML")
        }
        try self.init(
            node: root ?? Node.mapping(Node.Mapping([])), path: "", environment: environment,
            environmentPrefix: "GATEWAY_")
    }

    private init(
        node: Node, path: String, environment: [String: String], environmentPrefix: String?
    ) throws(ConfigurationError) {
        guard case .mapping(let mapping) = node else {
            throw ConfigurationError("must be a mapping", key: path.isEmpty ? "the file" : path, line: node.mark?.line)
        }
        self.path = path
        self.environment = environment
        self.environmentPrefix = environmentPrefix
        for (key, value) in mapping {
            guard let name = key.scalar?.string else {
                throw ConfigurationError("has a key that is no text", key: path, line: key.mark?.line)
            }
            let full = path.isEmpty ? name : path + "." + name
            if members.contains(where: { $0.key == name }) {
                throw ConfigurationError("is there twice", key: full, line: key.mark?.line)
            }
            members.append((name, value, key.mark?.line))
        }
    }

    /// What is wrong with the YAML itself, without the lines that Yams would quote: they may hold secrets.
    private static func unreadable(_ error: YamlError) -> ConfigurationError {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            return ConfigurationError("the file is no valid YAML: \(problem)", line: mark.line)
        case .duplicatedKeysInMapping(let duplicates, let context):
            let keys = duplicates.joined(separator: ", ")
            return ConfigurationError("is there twice", key: keys, line: context.mark.line)
        default:
            return ConfigurationError("the file is no valid YAML")
        }
    }

    func fullKey(_ key: String) -> String { path.isEmpty ? key : path + "." + key }

    private mutating func take(_ key: String) -> (node: Node, line: Int?)? {
        asked.insert(key)
        guard let index = members.firstIndex(where: { $0.key == key }) else { return nil }
        let member = members.remove(at: index)
        return (member.node, member.line)
    }

    /// The keys that have not been taken.
    var keys: [String] { members.map(\.key) }

    /// Refuses what nobody took.
    func finish() throws(ConfigurationError) {
        if let first = members.first {
            throw ConfigurationError("is unknown: correct or remove it", key: fullKey(first.key), line: first.line)
        }
        // Of an inner mapping's variables none can be meant for anything else.
        if !path.isEmpty, let stray = strayVariables.first {
            throw ConfigurationError("overrides nothing: correct or unset it", key: stray)
        }
    }

    /// The environment variables that look as if they overrode a key of this mapping, which nobody has asked for.
    var strayVariables: [String] {
        guard let environmentPrefix else { return [] }
        return environment.keys.filter { name in
            name.hasPrefix(environmentPrefix)
                && !asked.contains { key in
                    let own = environmentPrefix + key.uppercased()
                    return name == own || name.hasPrefix(own + "_")
                }
        }.sorted()
    }

    // MARK: Values

    /// A text with `${VAR}` and `${VAR:-default}` resolved; nil where the key is absent or null.
    mutating func string(_ key: String) throws(ConfigurationError) -> String? {
        let member = take(key)
        if let environmentPrefix, let value = environment[environmentPrefix + key.uppercased()] { return value }
        guard let member, !member.node.isNull else { return nil }
        guard case .scalar(let scalar) = member.node else {
            throw ConfigurationError("must be a single value", key: fullKey(key), line: member.line)
        }
        return try resolve(scalar.string, key: key, line: member.line)
    }

    /// Resolves variables; an unset one without default is an error.
    private func resolve(_ text: String, key: String, line: Int?) throws(ConfigurationError) -> String {
        var result = ""
        var rest = text[...]
        while let start = rest.range(of: "${") {
            result += rest[..<start.lowerBound]
            guard let end = rest[start.upperBound...].firstIndex(of: "}") else {
                throw ConfigurationError("has '${' without '}'", key: fullKey(key), line: line)
            }
            let inside = rest[start.upperBound..<end]
            let name: Substring
            let fallback: Substring?
            if let separator = inside.range(of: ":-") {
                name = inside[..<separator.lowerBound]
                fallback = inside[separator.upperBound...]
            } else {
                name = inside
                fallback = nil
            }
            if let value = environment[String(name)], !(value.isEmpty && fallback != nil) {
                result += value
            } else if let fallback {
                result += fallback
            } else {
                throw ConfigurationError(
                    "needs the environment variable \(name), which is not set", key: fullKey(key), line: line)
            }
            rest = rest[rest.index(after: end)...]
        }
        return result + rest
    }

    /// What a wrong value is to be blamed on: the variable that overrides it, else the key and its line.
    private func place(of key: String) -> (key: String, line: Int?) {
        if let environmentPrefix, environment[environmentPrefix + key.uppercased()] != nil {
            return (environmentPrefix + key.uppercased(), nil)
        }
        return (fullKey(key), members.first { $0.key == key }?.line)
    }

    mutating func integer(_ key: String, in range: ClosedRange<Int>) throws(ConfigurationError) -> Int? {
        let place = place(of: key)
        guard let text = try string(key) else { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw ConfigurationError(
                "must be a whole number from \(range.lowerBound) to \(range.upperBound)", key: place.key,
                line: place.line)
        }
        return value
    }

    mutating func boolean(_ key: String) throws(ConfigurationError) -> Bool? {
        let place = place(of: key)
        guard let text = try string(key) else { return nil }
        switch text.lowercased() {
        case "true", "yes", "on", "1": return true
        case "false", "no", "off", "0": return false
        default: throw ConfigurationError("must be true or false", key: place.key, line: place.line)
        }
    }

    /// US dollars per million tokens with at most six decimals, as micro-USD.
    mutating func price(_ key: String) throws(ConfigurationError) -> Int64? {
        let place = place(of: key)
        guard let text = try string(key) else { return nil }
        guard let figure = Price.figure(usdPerMillion: text) else {
            throw ConfigurationError(
                "must be a price in USD from 0 to 10000 with at most six decimals", key: place.key, line: place.line)
        }
        return figure
    }

    /// One of some words.
    mutating func choice(_ key: String, _ words: [String]) throws(ConfigurationError) -> String? {
        let place = place(of: key)
        guard let text = try string(key) else { return nil }
        guard words.contains(text) else {
            throw ConfigurationError(
                "must be one of \(words.joined(separator: ", "))", key: place.key, line: place.line)
        }
        return text
    }

    /// A list of texts, or one of them; nil where the key is absent or null.
    mutating func texts(_ key: String) throws(ConfigurationError) -> [String]? {
        guard let member = take(key), !member.node.isNull else { return nil }
        guard case .sequence(let nodes) = member.node else {
            guard case .scalar(let scalar) = member.node else {
                throw ConfigurationError("must be a list of texts", key: fullKey(key), line: member.line)
            }
            return [try resolve(scalar.string, key: key, line: member.line)]
        }
        var texts: [String] = []
        for node in nodes {
            guard case .scalar(let scalar) = node, !node.isNull else {
                throw ConfigurationError("must be a list of texts", key: fullKey(key), line: member.line)
            }
            texts.append(try resolve(scalar.string, key: key, line: member.line))
        }
        return texts
    }

    /// A secret: the value of the key, or the text of the file that `<key>_file` names, without the line's end; nil where neither is given.
    mutating func secret(_ key: String) throws(ConfigurationError) -> String? {
        let fileKey = key + "_file"
        let place = place(of: fileKey)
        let value = try string(key)
        guard let path = try string(fileKey) else { return value }
        guard value == nil else {
            throw ConfigurationError("is given beside '\(key)': keep one of them", key: place.key, line: place.line)
        }
        guard let file = FileHandle(forReadingAtPath: path),
            let data = try? file.read(upToCount: Self.longestSecret + 1), data.count <= Self.longestSecret,
            let text = String(data: data, encoding: .utf8)
        else {
            throw ConfigurationError(
                "names a file that cannot be read as a text of up to 64 KiB", key: place.key, line: place.line)
        }
        let secret = text.trimmingCharacters(in: .newlines)
        guard !secret.isEmpty else {
            throw ConfigurationError("names a file that is empty", key: place.key, line: place.line)
        }
        return secret
    }

    private static let longestSecret = 64 << 10

    /// The value of an environment variable that is no override.
    func variable(_ name: String) -> String? { environment[name] }

    /// An inner mapping; nil where the key is absent or null.
    mutating func section(
        _ key: String, overriddenByEnvironment: Bool = false
    ) throws(ConfigurationError) -> ConfigurationSection? {
        let member = take(key)
        guard let node = member?.node, !node.isNull else {
            // What the environment sets holds without a section in the file, too.
            guard overriddenByEnvironment else { return nil }
            return try ConfigurationSection(
                node: Node.mapping(Node.Mapping([])), path: fullKey(key), environment: environment,
                environmentPrefix: "GATEWAY_\(key.uppercased())_")
        }
        return try ConfigurationSection(
            node: node, path: fullKey(key), environment: environment,
            environmentPrefix: overriddenByEnvironment ? "GATEWAY_\(key.uppercased())_" : nil)
    }

    /// Takes a key that we do not use, whatever it holds; says whether it was there, or in the environment.
    mutating func ignore(_ key: String) -> Bool {
        let isSet = environmentPrefix.map { environment[$0 + key.uppercased()] != nil } ?? false
        return take(key) != nil || isSet
    }

    /// An error about a key of this section.
    func error(_ key: String, _ what: String) -> ConfigurationError {
        ConfigurationError(what, key: fullKey(key), line: members.first { $0.key == key }?.line)
    }

    /// The line of a key that has not been taken yet.
    func line(of key: String) -> Int? { members.first { $0.key == key }?.line }
}

extension Node {
    fileprivate var isNull: Bool {
        guard case .scalar(let scalar) = self else { return false }
        return scalar.style == .plain && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }
}
