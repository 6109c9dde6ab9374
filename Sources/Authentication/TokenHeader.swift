import WireJSON

/// The header of a signed token (RFC 7515, section 4), read before any library sees it.
///
/// Whoever sends a token writes its header as they like. The library's reader traps on numbers that are no `Int`, so no header with a number
/// is handed on; no member that a signed token has is one.
struct TokenHeader {
    let algorithm: String
    /// The name of the key.
    let kid: String?

    /// The header of a token of three parts; nil where it cannot be read, has a number anywhere, says a member twice, or has extensions
    /// that must be understood (`crit`, section 4.1.11: there is none that we understand).
    init?(_ token: String, longest: Int) {
        guard token.utf8.count <= longest else { return nil }
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let bytes = Base64URL.bytes(parts[0]), let value = try? JSONValue(bytes),
            case .object(let header) = value, Self.hasNoNumber(value)
        else { return nil }
        var members: [String: JSONValue] = [:]
        for member in header.members {
            guard members.updateValue(member.value, forKey: member.name) == nil else { return nil }
        }
        guard members["crit"] == nil, let algorithm = members["alg"]?.string else { return nil }
        self.algorithm = algorithm
        if let kid = members["kid"] {
            guard let text = kid.string else { return nil }
            self.kid = text
        } else {
            kid = nil
        }
    }

    private static func hasNoNumber(_ value: JSONValue) -> Bool {
        switch value {
        case .number: false
        case .array(let elements): elements.allSatisfy(hasNoNumber)
        case .object(let object): object.members.allSatisfy { hasNoNumber($0.value) }
        case .null, .bool, .string: true
        }
    }
}
