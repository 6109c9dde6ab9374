/// A JSON document as a tree, for what has to be written anew in another form.
///
/// Numbers stay the digits that they were written with, and members the order in which they came.
public enum JSONValue: Equatable, Sendable {
    case null
    case bool(Bool)
    /// The digits, as they were written.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)

    /// Reads a whole document.
    public init(_ bytes: UnsafeBufferPointer<UInt8>) throws(JSONError) {
        var json = JSONScanner(bytes)
        self = try Self(&json, depth: 0)
        try json.end()
    }

    /// Reads a whole document.
    public init(_ bytes: [UInt8]) throws(JSONError) {
        let result = bytes.withUnsafeBufferPointer { buffer in
            Result { () throws(JSONError) in try JSONValue(buffer) }
        }
        self = try result.get()
    }

    private init(_ json: inout JSONScanner, depth: Int) throws(JSONError) {
        guard depth < JSONScanner.maximumDepth else { throw JSONError(.tooDeep, at: json.offset) }
        switch json.peek() {
        case .object:
            var object = JSONObject()
            try json.enterObject()
            while let name = try json.nextMember() {
                object.append(json.decode(name), try JSONValue(&json, depth: depth + 1))
            }
            self = .object(object)
        case .array:
            var array: [JSONValue] = []
            try json.enterArray()
            while try json.nextElement() { array.append(try JSONValue(&json, depth: depth + 1)) }
            self = .array(array)
        case .string: self = .string(try json.string())
        case .number: self = .number(String(decoding: json.bytes(try json.number()), as: UTF8.self))
        case .bool: self = .bool(try json.bool())
        default:
            guard try json.null() else { throw JSONError(.unexpectedByte, at: json.offset) }
            self = .null
        }
    }

    public var string: String? { if case .string(let value) = self { value } else { nil } }
    public var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    public var object: JSONObject? { if case .object(let value) = self { value } else { nil } }
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// A whole number that was written as one.
    public var integer: Int64? { if case .number(let digits) = self { Int64(digits) } else { nil } }

    /// Writes it, without white space.
    public func write(into json: inout JSONWriter) {
        switch self {
        case .null: json.null()
        case .bool(let value): json.value(value)
        case .number(let digits): json.raw(digits)
        case .string(let value): json.value(value)
        case .array(let values):
            json.beginArray()
            for value in values { value.write(into: &json) }
            json.endArray()
        case .object(let object):
            json.beginObject()
            for member in object.members {
                json.name(member.name)
                member.value.write(into: &json)
            }
            json.endObject()
        }
    }
}

/// The members of a JSON object, in their order.
public struct JSONObject: Equatable, Sendable {
    public struct Member: Equatable, Sendable {
        public let name: String
        public let value: JSONValue
    }

    public private(set) var members: [Member] = []

    public init() {}

    public mutating func append(_ name: String, _ value: JSONValue) {
        members.append(Member(name: name, value: value))
    }

    /// The member of that name, be it null: of several the last.
    public subscript(name: String) -> JSONValue? { members.last { $0.name == name }?.value }

    /// The member of that name, unless it is null.
    public func present(_ name: String) -> JSONValue? {
        guard let value = self[name], value != .null else { return nil }
        return value
    }
}

extension JSONWriter {
    public mutating func field(_ key: StaticString, _ value: JSONValue) {
        name(key)
        value.write(into: &self)
    }

    /// Writes the member, or nothing where there is no value.
    public mutating func optional(_ key: StaticString, _ value: JSONValue?) {
        if let value { field(key, value) }
    }
}
