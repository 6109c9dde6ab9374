/// Why a request is not sent on: where it lies, and what to do. Nothing has been held for it.
public struct RequestRefusal: Error, Equatable, Sendable {
    /// A stable code.
    public enum Code: String, Sendable {
        /// A member, part, tool or item that is not known at that place.
        case unsupported = "unsupported_parameter"
        /// One that is known, and not offered.
        case notOffered = "not_offered"
        case invalidValue = "invalid_value"
        case duplicate = "duplicate_field"
        case missing = "missing_field"
    }

    public let code: Code
    public let message: String
    /// The place, as `messages[2].content[0].type`.
    public let param: String

    init(_ code: Code, _ param: String, _ message: String) {
        self.code = code
        self.param = param.prefixed(toBytes: 255)
        self.message = message
    }
}

extension String {
    /// As much of it as has at most so many bytes in UTF-8.
    func prefixed(toBytes limit: Int) -> String {
        guard utf8.count > limit else { return self }
        var result = ""
        var size = 0
        for character in unicodeScalars {
            size += character.utf8.count
            if size > limit { break }
            result.unicodeScalars.append(character)
        }
        return result
    }
}
