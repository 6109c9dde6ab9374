import Crypto
import HTTPTypes
import Ledger
import Metering
import Requests
import WireJSON

/// A request to a model, read for one that may answer it: what it asks for, what it can cost, and what of it is sent.
///
/// Its bytes are kept: what goes to a provider of the same format is the same text with a few members exchanged.
struct ModelRequest {
    let endpoint: Endpoint
    /// The body as it came.
    let body: [UInt8]
    /// The model as the client named it.
    let model: String
    let size: PromptSize
    /// Of the prompt's bound, what may be sound.
    let audioBound: Int64
    /// The most web searches that it may lead to.
    let searchBound: Int64
    /// Whether its answer may be sound.
    let mayBeAudio: Bool
    private let reading: RequestReading
    private let modelRange: Range<Int>

    var isStream: Bool { reading.isStream }
    /// `user` (in a message: `metadata.user_id`), where it is a text.
    var user: String? { reading.user }
    /// Whether the client asked for the extra usage chunk.
    var wantsUsageChunk: Bool { reading.wantsUsage }
    /// The client's own bound on output tokens for each choice.
    var maxTokens: Int64? { reading.bounds.map(\.value).max() }
    var choices: Int64 { reading.choices }
    /// Whether it may write its prompt to a cache.
    let writesCache: Bool
    /// What may be thought beyond the bound of the output, for each choice, as far as the request says it.
    var thinking: Int64 { reading.thinking }

    /// The places that are not sent on, for the client to know.
    var dropped: String? {
        reading.dropped.isEmpty
            ? nil
            : reading.dropped.prefix(32).map { $0.path.cut(toBytes: 64).filter { $0.isASCII && !$0.isNewline } }.joined(
                separator: ", ")
    }

    /// Reads a body for a model of a provider; throws a 400 that says what is wrong with it.
    init(
        _ body: [UInt8], endpoint: Endpoint, for provider: ProviderConfiguration, _ settings: ModelConfiguration,
        model name: String
    ) throws {
        self.endpoint = endpoint
        self.body = body
        guard String(validating: body, as: UTF8.self) != nil else {
            throw GatewayError(.badRequest, "invalid_utf8", "The request body is not valid UTF-8")
        }
        let figures = settings.figures(of: name, isMaker: provider.isMakerOfModels)
        var reader = RequestReader(
            try provider.table(for: endpoint),
            policy: RequestReader.Policy(
                passesUnknown: provider.passesUnknownMembers, allowed: provider.allowedMembers),
            figures: figures, promptMember: endpoint.promptMember)
        do {
            try body.withUnsafeBufferPointer { try reader.read($0) }
        } catch let error as JSONError {
            throw GatewayError(.badRequest, "invalid_json", "The request body is not valid JSON: \(error)")
        } catch let refusal as RequestRefusal {
            // What has no counterpart where a request is translated is not supported, be it known or not.
            let isTranslated = endpoint == .chat && (provider.kind == .anthropic || provider.kind == .gemini)
            let code = isTranslated && refusal.code == .notOffered ? RequestRefusal.Code.unsupported : refusal.code
            throw GatewayError(.badRequest, code.rawValue, refusal.message, param: refusal.param)
        }
        let reading = reader.reading
        guard let model = reading.model, let modelRange = reading.modelRange else {
            throw Self.missing("model", " and must be a text")
        }
        guard reading.hasPrompt else { throw Self.missing(endpoint.promptMember) }
        if endpoint == .messages, reading.bounds.isEmpty {
            throw Self.missing("max_tokens", " and must be a whole number")
        }
        if endpoint == .embeddings, reading.isStream {
            throw GatewayError(
                .badRequest, "invalid_value", "'stream' must be false: embeddings are no stream", param: "stream")
        }
        if reading.calledTools > 0, reading.maxToolCalls == nil {
            throw Self.missing("max_tool_calls", " with tools that the provider runs")
        }
        // What is not known may be anything that is refused.
        let refused = settings.refusedParts.isEmpty ? [] : settings.refusedParts.union([.other])
        if let part = reading.kinds.intersection(refused).map(\.rawValue).min() {
            throw GatewayError(
                .badRequest, "not_offered",
                "The model '\(model.cut(toBytes: 255))' is not offered with parts of the kind '\(part)'",
                param: endpoint.promptMember)
        }
        if let place = reading.unmeasured, figures.contextTokens == nil {
            throw GatewayError(
                .badRequest, "unsupported_parameter",
                "'\(place.cut(toBytes: 255))' is of a size that cannot be known, and neither is the model's context window: put the content itself into the request, or ask the operator to set context_tokens for the model",
                param: place)
        }
        self.model = model
        self.modelRange = modelRange
        self.reading = reading
        writesCache = reading.writesCache || figures.writesCache
        let bounds = PromptBounds(
            reading, endpoint, figures, added: UpstreamCall.addedPrompt(hasTools: reading.hasTools, provider.kind))
        size = bounds.size
        audioBound = bounds.audio
        searchBound = bounds.searches
        mayBeAudio = reading.wantsAudio || !provider.answersInAudioOnlyIfAsked
    }

    private static func missing(_ name: String, _ more: String = "") -> GatewayError {
        GatewayError(.badRequest, "missing_field", "'\(name)' is required\(more)", param: name)
    }

    /// The model that a body names; throws a 400 where it names none.
    static func modelName(in body: [UInt8]) throws -> String {
        var isWrong = false
        let name = body.withUnsafeBufferPointer { buffer -> String? in
            var json = JSONScanner(buffer)
            guard (try? json.enterObject()) != nil else { return nil }
            while let name = try? json.nextMember() {
                if json.equals(name, "model") {
                    guard json.peek() == .string else {
                        isWrong = true
                        return nil
                    }
                    return try? json.string()
                }
                guard (try? json.skip()) != nil else { return nil }
            }
            return nil
        }
        if let name { return name }
        guard String(validating: body, as: UTF8.self) != nil else {
            throw GatewayError(.badRequest, "invalid_utf8", "The request body is not valid UTF-8")
        }
        do {
            guard try JSONValue(body).object != nil else {
                throw GatewayError(.badRequest, "invalid_json", "The request body must be a JSON object")
            }
        } catch let error as JSONError {
            throw GatewayError(.badRequest, "invalid_json", "The request body is not valid JSON: \(error)")
        }
        if isWrong { throw GatewayError(.badRequest, "invalid_value", "'model' must be a text", param: "model") }
        throw missing("model", " and must be a text")
    }

    /// The SHA-256 of the route and the body: what an `Idempotency-Key` stands for.
    var fingerprint: [UInt8] {
        var hash = SHA256()
        hash.update(data: Array(endpoint.path.utf8) + [0])
        hash.update(data: body)
        return Array(hash.finalize())
    }

    /// The body without what is not sent on.
    var sentBody: [UInt8] { reading.dropped.isEmpty ? body : edited(reading.dropped.map { ($0.range, []) }) }

    /// The body for an upstream of the same format: its own name of the model, the output bound where the client gave none, and the
    /// demand for usage.
    ///
    /// `boundFields`: the names under which the upstream may heed a bound, of which it heeds one or all. Where it is one, the client's is
    /// renamed; where there are more, each is there.
    func upstreamBody(model: String, outputBound: Int64?, boundFields: [String]) -> [UInt8] {
        var edits = reading.dropped.map { (range: $0.range, text: [UInt8]()) }
        var name = JSONWriter(reserving: model.utf8.count + 2)
        name.value(model)
        edits.append((modelRange, name.bytes))
        var additions = ""
        let given = reading.bounds
        if let bound = outputBound ?? maxTokens {
            for field in boundFields where !given.contains(where: { $0.name == field }) {
                if let null = reading.nullBounds.first(where: { $0.name == field }) {
                    edits.append((null.range, Array(String(bound).utf8)))
                } else if boundFields.count == 1, let other = given.first {
                    edits.append((other.place, Array("\"\(field)\"".utf8)))
                } else {
                    additions += ",\"\(field)\":\(bound)"
                }
            }
        }
        if isStream, !wantsUsageChunk, endpoint == .chat { edits += usageDemand(&additions) }
        if !additions.isEmpty { edits.append((reading.end..<reading.end, Array(additions.utf8))) }
        return edited(edits)
    }

    /// What asks for the chunk with usage.
    private func usageDemand(_ additions: inout String) -> [(range: Range<Int>, text: [UInt8])] {
        if let include = reading.includeUsage { return [(include, Array("true".utf8))] }
        guard let options = reading.streamOptions else {
            additions += ",\"stream_options\":{\"include_usage\":true}"
            return []
        }
        guard body[options].first == 0x7B else { return [(options, Array("{\"include_usage\":true}".utf8))] }
        let start = options.lowerBound + 1
        return [(start..<start, Array("\"include_usage\":true\(reading.streamOptionsIsEmpty ? "" : ",")".utf8))]
    }

    /// The body with other texts in some places. What is left out may overlap.
    private func edited(_ edits: [(range: Range<Int>, text: [UInt8])]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(body.count + 128)
        var position = 0
        for edit in edits.sorted(by: { $0.range.lowerBound < $1.range.lowerBound }) {
            if edit.range.lowerBound > position { result.append(contentsOf: body[position..<edit.range.lowerBound]) }
            result.append(contentsOf: edit.text)
            position = max(position, edit.range.upperBound)
        }
        result.append(contentsOf: body[position...])
        return result
    }
}

/// The bounds of a request's prompt, in tokens.
private struct PromptBounds {
    let size: PromptSize
    let audio: Int64
    let searches: Int64

    /// What a part whose size is not known counts, where its usage is never reported and has to be estimated.
    private static let estimateOfUnknown: Int64 = 16_384

    /// `added`: what the provider itself puts into the prompt.
    init(_ reading: RequestReading, _ endpoint: Endpoint, _ figures: PartFigures, added: Int64) {
        let window = figures.contextTokens
        let isUnknown = reading.unmeasured != nil
        let media = reading.mediaTokens.addingClamped(isUnknown ? min(window ?? 0, Self.estimateOfUnknown) : 0)
        // Of a response's texts at the top, what they would be written as in a message.
        let form: Int64 = endpoint == .responses ? 64 : 0
        let own = added.addingClamped(reading.addedTokens).addingClamped(form)
        let known = reading.textBytes.addingClamped(media).addingClamped(own)
        // A window by a name that may be somebody else's bounds only what cannot be measured.
        let limit = figures.isWindowCertain ? window ?? .max : .max
        var once = isUnknown ? max(window ?? .max, min(known, limit)) : min(known, limit)
        // Each input of an embedding has a window of its own.
        if endpoint == .embeddings {
            // What stands beside the inputs may come in front of each.
            let beside = max(0, reading.textBytes - reading.inputBytes).multipliedClamped(max(1, reading.inputs))
            let texts = reading.inputBytes.addingClamped(beside).addingClamped(reading.mediaTokens).addingClamped(own)
            once = texts.addingClamped(reading.unmeasuredParts.multipliedClamped(window ?? 0))
        }
        var total = once
        // Tools that the provider runs make it read the prompt again after each call, with what the calls before have brought.
        let calls: Int64
        switch endpoint {
        case .chat, .embeddings:
            calls = 0
            searches = reading.searches
            if searches > 0 {
                total = min(once.addingClamped(searches.multipliedClamped(figures.searchTokens)), max(limit, once))
            }
        case .messages:
            // A call of an earlier answer that has no result yet is made by this request.
            let pending = reading.searches > 0 || reading.fetches > 0 ? reading.pendingCalls : 0
            searches = reading.searches.addingClamped(reading.searches > 0 ? pending : 0)
            calls = reading.searches.addingClamped(reading.fetches).addingClamped(pending)
        case .responses:
            searches = reading.calledTools > 0 ? reading.maxToolCalls ?? 0 : 0
            calls = searches
        }
        if calls > 0 {
            let passes = calls.addingClamped(1)
            let found = searches.multipliedClamped(searches.addingClamped(1)) / 2
            let bound = once.multipliedClamped(passes)
                .addingClamped(found.multipliedClamped(figures.searchTokens))
                .addingClamped(reading.fetchedTokens.multipliedClamped(passes))
            total = min(bound, max(limit, once).multipliedClamped(passes))
        }
        size = PromptSize(
            textBytes: reading.textBytes, mediaTokens: media,
            toolTokens: max(0, total - min(known, endpoint == .embeddings ? .max : limit)), addedTokens: own,
            window: endpoint == .embeddings || limit == .max ? nil : limit)
        audio =
            isUnknown
            ? size.tokenBound : min(size.tokenBound, reading.audioTokens.multipliedClamped(calls.addingClamped(1)))
    }
}
