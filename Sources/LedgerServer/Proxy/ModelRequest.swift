import Crypto
import HTTPTypes
import Ledger
import Metering
import WireJSON

/// A request to a model, as far as admission needs to understand it. Its bytes are kept: what goes to a provider of the same format is the
/// same text with a few members exchanged, so that every field that we do not know passes untouched.
struct ModelRequest {
    let endpoint: Endpoint
    /// The body as it came.
    let body: [UInt8]
    /// The model as the client named it.
    let model: String
    let isStream: Bool
    /// `user` (in a message: `metadata.user_id`), where it is a text.
    let user: String?
    /// Whether the client asked for the extra usage chunk.
    let wantsUsageChunk: Bool
    /// The client's own bound on output tokens for each choice.
    let maxTokens: Int64?
    let choices: Int64
    let size: PromptSize
    /// The most web searches that it may lead to.
    let searchBound: Int64
    /// Whether it may write its prompt to a cache.
    let writesCache: Bool
    /// Whether it offers tools.
    let hasTools: Bool

    private let modelRange: Range<Int>
    /// `stream_options`: the whole value, and within it where `include_usage` is, if it is.
    private let streamOptions: Range<Int>?
    private let includeUsage: Range<Int>?
    private let streamOptionsIsEmpty: Bool
    /// The members that bound the output but are null.
    private let nullBounds: [Range<Int>]
    private let nullBoundNames: [String]
    /// Where the names of those are that do bound it.
    private let boundNames: [String: Range<Int>]
    /// The offset of the object's closing brace.
    private let end: Int

    /// Reads a body; throws a 400 that says what is wrong with it.
    init(_ body: [UInt8], endpoint: Endpoint, media: ModelConfiguration) throws {
        self.endpoint = endpoint
        self.body = body
        guard String(validating: body, as: UTF8.self) != nil else {
            throw GatewayError(.badRequest, "invalid_utf8", "The request body is not valid UTF-8")
        }
        var reader = ModelRequestReader(endpoint: endpoint, media: media)
        do {
            try body.withUnsafeBufferPointer { try reader.read($0) }
        } catch let error as JSONError {
            throw GatewayError(.badRequest, "invalid_json", "The request body is not valid JSON: \(error)")
        }
        guard let model = reader.model, let modelRange = reader.modelRange else {
            throw GatewayError(.badRequest, "missing_field", "'model' is required and must be a text", param: "model")
        }
        guard reader.hasPrompt else {
            throw GatewayError(
                .badRequest, "missing_field", "'\(endpoint.promptMember)' is required", param: endpoint.promptMember)
        }
        if endpoint == .messages, reader.bounds.isEmpty {
            throw GatewayError(
                .badRequest, "missing_field", "'max_tokens' is required and must be a whole number",
                param: "max_tokens")
        }
        if reader.searches > 0, endpoint == .responses, reader.maxToolCalls == nil {
            throw GatewayError(
                .badRequest, "missing_field", "'max_tool_calls' is required with tools that the provider runs",
                param: "max_tool_calls")
        }
        self.model = model
        self.modelRange = modelRange
        isStream = reader.isStream
        user = reader.user
        wantsUsageChunk = reader.wantsUsage
        maxTokens = reader.bounds.max()
        choices = reader.choices
        // All tools share the bound of a response's calls.
        searchBound = endpoint == .responses && reader.searches > 0 ? reader.maxToolCalls ?? 0 : reader.searches
        // What a search finds becomes prompt.
        let (found, overflow) = searchBound.multipliedReportingOverflow(by: Int64(media.searchTokens))
        let added = overflow ? Int64.max : found
        size = PromptSize(
            textBytes: Int64(reader.prompt.textBytes), mediaTokens: reader.prompt.mediaTokens,
            toolTokens: reader.prompt.fetchedTokens.addingClamped(added))
        writesCache = reader.prompt.writesCache
        hasTools = reader.hasTools
        streamOptions = reader.streamOptions
        includeUsage = reader.includeUsage
        streamOptionsIsEmpty = reader.streamOptionsIsEmpty
        nullBounds = reader.nullBounds.map(\.range)
        nullBoundNames = reader.nullBounds.map(\.name)
        boundNames = reader.boundNames
        end = reader.end
    }

    /// The SHA-256 of the route and the body: what an `Idempotency-Key` stands for.
    var fingerprint: [UInt8] {
        var hash = SHA256()
        hash.update(data: Array(endpoint.path.utf8) + [0])
        hash.update(data: body)
        return Array(hash.finalize())
    }

    /// The body for an upstream of the same format: its own name of the model, the output bound where the client gave none, and the
    /// demand for usage.
    ///
    /// `boundField`: where the bound is sent, nil: nowhere; `isOnlyBound`: whether the upstream heeds no other, so that the client's is renamed.
    func upstreamBody(model: String, outputBound: Int64?, boundField: String?, isOnlyBound: Bool = false) -> [UInt8] {
        var edits: [(range: Range<Int>, text: [UInt8])] = []
        var name = JSONWriter(reserving: model.utf8.count + 2)
        name.value(model)
        edits.append((modelRange, name.bytes))
        var additions = ""
        if let outputBound, let boundField {
            if let index = nullBoundNames.firstIndex(of: boundField) {
                edits.append((nullBounds[index], Array(String(outputBound).utf8)))
            } else {
                additions += ",\"\(boundField)\":\(outputBound)"
            }
        } else if isOnlyBound, let boundField, boundNames[boundField] == nil {
            if let index = nullBoundNames.firstIndex(of: boundField) {
                if let maxTokens { edits.append((nullBounds[index], Array(String(maxTokens).utf8))) }
            } else if let other = boundNames.first {
                edits.append((other.value, Array("\"\(boundField)\"".utf8)))
            }
        }
        if isStream, !wantsUsageChunk, endpoint == .chat {
            if let includeUsage {
                edits.append((includeUsage, Array("true".utf8)))
            } else if let streamOptions {
                if body[streamOptions].first == 0x7B {
                    let separator = streamOptionsIsEmpty ? "" : ","
                    let start = streamOptions.lowerBound + 1
                    edits.append((start..<start, Array("\"include_usage\":true\(separator)".utf8)))
                } else {
                    edits.append((streamOptions, Array("{\"include_usage\":true}".utf8)))
                }
            } else {
                additions += ",\"stream_options\":{\"include_usage\":true}"
            }
        }
        if !additions.isEmpty { edits.append((end..<end, Array(additions.utf8))) }
        edits.sort { $0.range.lowerBound < $1.range.lowerBound }
        var result: [UInt8] = []
        result.reserveCapacity(body.count + 128)
        var position = 0
        for edit in edits {
            result.append(contentsOf: body[position..<edit.range.lowerBound])
            result.append(contentsOf: edit.text)
            position = edit.range.upperBound
        }
        result.append(contentsOf: body[position...])
        return result
    }
}
