import Hummingbird
import Ledger
import NIOCore
import NIOHTTP1
import WireJSON

/// The members of a request's JSON body, each still as it was written: amounts are read from their digits, never through a
/// floating point number.
struct BodyFields {
    private let bytes: [UInt8]
    private var members: [String: Range<Int>] = [:]

    /// The longest body of the gateway's own routes.
    static let maximumBytes = 1 << 20

    /// Reads a JSON object; a missing or malformed body is a 422, as in the contract.
    init(_ request: Request) async throws {
        try self.init(try await request.wholeBody(upTo: Self.maximumBytes))
    }

    init(_ bytes: [UInt8]) throws {
        self.bytes = bytes
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw GatewayError.validation(kind: "json_invalid", field: "0", message: "The body is not valid UTF-8")
        }
        do {
            members = try bytes.withUnsafeBufferPointer { buffer in
                var members: [String: Range<Int>] = [:]
                var json = JSONScanner(buffer)
                try json.enterObject()
                while let name = try json.nextMember() {
                    let isNew = members.updateValue(try json.skip(), forKey: json.decode(name)) == nil
                    // Which of two amounts is meant is not ours to say.
                    if !isNew { throw JSONError(.unexpectedField, at: name.range.lowerBound) }
                }
                try json.end()
                return members
            }
        } catch let error as JSONError {
            throw GatewayError.validation(
                kind: "json_invalid", field: String(error.offset), message: "JSON decode error: \(error)")
        }
    }

    /// Refuses members that the route does not read, each by name: where money or limits are set, one that is mistyped must not be dropped in silence.
    ///
    /// `matters`: which of those that are not known; by default all.
    func refuseOthers(
        than known: Set<String>, in place: String? = nil, where matters: (String) -> Bool = { _ in true }
    ) throws {
        guard let other = members.keys.filter({ !known.contains($0) && matters($0) }).min() else { return }
        let name = (place.map { $0 + "." } ?? "") + other.cut(toBytes: 128)
        throw GatewayError.validation(
            kind: "extra_forbidden", field: name,
            message: "Extra inputs are not permitted: it may be \(known.sorted().joined(separator: ", "))")
    }

    /// Whether the member is there, be it null.
    func has(_ field: String) -> Bool { members[field] != nil }

    private func isNull(_ range: Range<Int>) -> Bool { bytes[range].elementsEqual("null".utf8) }

    private func kind(_ range: Range<Int>) -> JSONScanner.Kind {
        bytes[range].withUnsafeBufferPointer { buffer in
            var json = JSONScanner(buffer)
            return json.peek()
        }
    }

    private func present(_ field: String) -> Range<Int>? {
        guard let range = members[field], !isNull(range) else { return nil }
        return range
    }

    func string(_ field: String) throws -> String? {
        guard let range = present(field) else { return nil }
        guard kind(range) == .string else {
            throw GatewayError.validation(
                kind: "string_type", field: field, message: "Input should be a valid string")
        }
        return try bytes[range].withUnsafeBufferPointer { buffer in
            var json = JSONScanner(buffer)
            let text = try json.text()
            // Decoded, different ids would become one.
            guard !json.hasUnpairedSurrogate(text) else {
                throw GatewayError.validation(
                    kind: "string_unicode", field: field,
                    message: "Input should be a valid string, unable to parse raw data as a unicode string")
            }
            return json.decode(text)
        }
    }

    func requiredString(_ field: String) throws -> String {
        guard let value = try string(field) else { throw GatewayError.missing(field) }
        return value
    }

    func bool(_ field: String) throws -> Bool? {
        guard let range = present(field) else { return nil }
        if bytes[range].elementsEqual("true".utf8) { return true }
        if bytes[range].elementsEqual("false".utf8) { return false }
        throw GatewayError.validation(kind: "bool_type", field: field, message: "Input should be a valid boolean")
    }

    /// The digits of a number, or of a text that holds one.
    func decimal(_ field: String) throws -> String? {
        guard let range = present(field) else { return nil }
        switch kind(range) {
        case .number: return String(decoding: bytes[range], as: UTF8.self)
        case .string: return try string(field)
        default:
            throw GatewayError.validation(kind: "float_type", field: field, message: "Input should be a valid number")
        }
    }

    func instant(_ field: String) throws -> Timestamp? {
        guard let text = try string(field) else { return nil }
        guard let instant = Timestamp(iso8601: text) else {
            throw GatewayError.validation(
                kind: "datetime_parsing", field: field, message: "Input should be a valid datetime in ISO 8601")
        }
        return instant
    }

    /// A whole number.
    func integer(_ field: String) throws -> Int64? {
        guard let range = present(field) else { return nil }
        guard let value = Int64(String(decoding: bytes[range], as: UTF8.self)) else {
            throw GatewayError.validation(kind: "int_type", field: field, message: "Input should be a valid integer")
        }
        return value
    }

    /// A list of texts.
    func strings(_ field: String) throws -> [String]? {
        guard let range = present(field) else { return nil }
        guard kind(range) == .array else {
            throw GatewayError.validation(kind: "list_type", field: field, message: "Input should be a valid list")
        }
        return try bytes[range].withUnsafeBufferPointer { buffer in
            var json = JSONScanner(buffer)
            var texts: [String] = []
            try json.enterArray()
            while try json.nextElement() {
                guard json.peek() == .string else {
                    throw GatewayError.validation(
                        kind: "string_type", field: field, message: "Input should be a list of strings")
                }
                texts.append(try json.string())
            }
            return texts
        }
    }

    /// The members of a JSON object.
    func fields(_ field: String) throws -> BodyFields? {
        guard let range = present(field) else { return nil }
        guard kind(range) == .object else {
            throw GatewayError.validation(
                kind: "dict_type", field: field, message: "Input should be a valid dictionary")
        }
        return try BodyFields(Array(bytes[range]))
    }

    /// A JSON object, as it was written.
    func object(_ field: String) throws -> String? {
        guard let range = present(field) else { return nil }
        guard kind(range) == .object else {
            throw GatewayError.validation(
                kind: "dict_type", field: field, message: "Input should be a valid dictionary")
        }
        guard range.count <= 16 << 10 else {
            throw GatewayError.validation(
                kind: "too_long", field: field, message: "Input should have at most 16384 bytes")
        }
        return String(decoding: bytes[range], as: UTF8.self)
    }
}

/// A member of a body that was there, be its value none: what a change sets.
struct Change<Value: Sendable>: Sendable {
    let value: Value

    init(_ value: Value) {
        self.value = value
    }
}

/// The page that a request asks for.
struct Page {
    let skip: Int
    let limit: Int

    /// Reads `skip` and `limit` from the query.
    init(_ request: Request, defaultLimit: Int = 100, maximum: Int = 10_000) throws {
        func value(_ name: Substring, _ fallback: Int, _ range: ClosedRange<Int>) throws -> Int {
            guard let text = request.uri.queryParameters[name] else { return fallback }
            guard let value = Int(text), range.contains(value) else {
                throw GatewayError.validation(
                    kind: "int_parsing", field: String(name),
                    message: "Input should be a whole number from \(range.lowerBound) to \(range.upperBound)",
                    location: "query")
            }
            return value
        }
        skip = try value("skip", 0, 0...1_000_000_000)
        limit = try value("limit", defaultLimit, 1...maximum)
    }
}

extension Request {
    /// The whole body, or a 4xx that says why there is none.
    func wholeBody(upTo limit: Int) async throws -> [UInt8] {
        do {
            // What is announced needs not be waited for.
            if let length = headers[.contentLength].flatMap({ Int($0) }), length > limit {
                throw NIOTooManyBytesError(maxBytes: limit)
            }
            return Array(try await body.collect(upTo: limit).readableBytesView)
        } catch is NIOTooManyBytesError {
            throw GatewayError(.contentTooLarge, "body_too_large", "The request body is longer than \(limit) bytes")
        } catch is HTTPParserError {
            throw GatewayError(.badRequest, "invalid_http", "The request body is not framed as HTTP/1.1 wants it")
        } catch {
            throw GatewayError(.badRequest, "body_incomplete", "The request body broke off")
        }
    }
}

extension Response {
    /// An answer of JSON.
    static func json(
        _ status: HTTPResponse.Status = .ok, headers: HTTPFields = [:], _ write: (inout JSONWriter) throws -> Void
    ) rethrows -> Response {
        var json = JSONWriter()
        try write(&json)
        var headers = headers
        headers[.contentType] = "application/json"
        return Response(
            status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: json.bytes)))
    }
}

extension JSONWriter {
    mutating func nullable(_ key: StaticString, _ instant: Timestamp?) {
        nullable(key, instant?.description)
    }

    /// An amount as a JSON number, exactly.
    mutating func field(_ key: StaticString, _ amount: Credits) {
        name(key)
        raw(amount.description)
    }

    /// Pico-USD as a JSON number of US dollars, exactly.
    mutating func usd(_ key: StaticString, picoUSD: Int128) {
        name(key)
        raw(Decimal64.text(picoUSD, fractionDigits: 12))
    }
}
