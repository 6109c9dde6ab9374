import HTTPTypes
import Ledger
import Metering
import Translation
import WireJSON

/// What a provider is sent for a request, and how its answer is read.
final class UpstreamCall: Sendable {
    /// The route below the provider's base URL, with its query.
    let path: String
    /// Headers beside those that every call has.
    let headers: [(name: String, value: String)]
    let body: [UInt8]
    let format: AnswerFormat
    /// The least output bound to which the request may shrink.
    let leastOutput: Int64

    /// Prepares a request for a provider.
    ///
    /// `outputBound`: the output tokens for each choice that it is admitted with. Throws a 400 that names what cannot be translated.
    init(
        _ request: ModelRequest, to provider: ProviderConfiguration, model: String, outputBound: Int64,
        id: Ledger.RequestID, headers: HTTPFields
    ) throws {
        let terms = ChatAnswerTerms(
            request: "chatcmpl-" + id.rawValue, created: SystemClock.now().microseconds / 1_000_000, model: model,
            wantsUsageChunk: request.wantsUsageChunk)
        /// Less is hardly worth an answer.
        var least: Int64 = 256
        do {
            switch (request.endpoint, provider.kind) {
            case (.chat, .anthropic):
                let translated = try AnthropicRequest(
                    request.sentBody, model: model, maxTokens: outputBound, isStream: request.isStream)
                path = Endpoint.messages.upstreamPath
                self.headers = Self.credential(of: provider) + Self.anthropicHeaders(headers, passBeta: false)
                body = translated.body
                format = AnswerFormat(endpoint: .chat, shape: .messages, translation: .anthropic(terms))
                least = max(least, translated.leastTokens)
            case (.chat, .gemini):
                let verb = request.isStream ? "streamGenerateContent?alt=sse" : "generateContent"
                path = "/models/\(Self.pathSegment(model)):\(verb)"
                self.headers = Self.credential(of: provider)
                body = try GeminiRequest(request.sentBody, maxTokens: outputBound).body
                format = AnswerFormat(endpoint: .chat, shape: .gemini, translation: .gemini(terms))
            default:
                path = Self.path(request.endpoint, provider, model)
                let passed = request.endpoint == .messages ? Self.anthropicHeaders(headers, passBeta: true) : []
                self.headers = Self.credential(of: provider) + passed
                let field = request.endpoint == .chat ? provider.maxTokensField : nil
                body = request.upstreamBody(
                    model: model, outputBound: request.maxTokens == nil ? outputBound : nil,
                    boundFields: field.map { [$0] } ?? request.endpoint.boundMembers)
                format = AnswerFormat(
                    endpoint: request.endpoint, shape: Self.shape(request.endpoint, provider.kind),
                    hidesUsageChunk: request.endpoint == .chat && !request.wantsUsageChunk)
            }
        } catch let reason as Untranslatable {
            throw GatewayError(.badRequest, "unsupported_parameter", reason.message, param: reason.param)
        }
        leastOutput = least
    }

    /// Whether a provider can be asked by a route.
    static func supports(_ endpoint: Endpoint, _ kind: ProviderConfiguration.Kind) -> Bool {
        switch endpoint {
        case .chat: true
        case .messages: kind == .anthropic
        case .responses: [.openai, .xai, .azure].contains(kind)
        case .embeddings: [.openai, .xai, .azure, .geminiOpenAI].contains(kind)
        }
    }

    /// Tokens that a provider itself adds to a prompt: Anthropic's instructions for the use of tools (Anthropic, "Tool use", pricing).
    static func addedPrompt(hasTools: Bool, _ kind: ProviderConfiguration.Kind) -> Int64 {
        kind == .anthropic && hasTools ? 1024 : 0
    }

    private static func shape(_ endpoint: Endpoint, _ kind: ProviderConfiguration.Kind) -> AnswerShape {
        switch endpoint {
        case .chat:
            switch kind {
            case .xai: .chat(.reasoningBeside)
            case .geminiOpenAI: .chat(.restOfTotal)
            case .openai, .azure, .demo, .anthropic, .gemini: .chat(.standard)
            }
        case .messages: .messages
        case .responses: .responses
        case .embeddings: .embeddings
        }
    }

    private static func path(_ endpoint: Endpoint, _ provider: ProviderConfiguration, _ model: String) -> String {
        guard let version = provider.apiVersion else { return endpoint.upstreamPath }
        // Azure's older URLs name the deployment; its responses have none.
        let deployment = endpoint == .responses ? "" : "/deployments/\(pathSegment(model))"
        return "/openai\(deployment)\(endpoint.upstreamPath)?api-version=\(version)"
    }

    /// A text as a segment of a path (RFC 3986, section 3.3): what could be anything else is escaped.
    private static func pathSegment(_ text: String) -> String {
        let plain = Set("-._~:".utf8)
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            if byte.isASCIILetterOrDigit || plain.contains(byte) {
                bytes.append(byte)
            } else {
                bytes +=
                    Array("%".utf8) + [UInt8](String(byte >> 4, radix: 16, uppercase: true).utf8)
                    + [UInt8](String(byte & 15, radix: 16, uppercase: true).utf8)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func credential(of provider: ProviderConfiguration) -> [(name: String, value: String)] {
        guard !provider.apiKey.isEmpty else { return [] }
        return switch provider.kind {
        case .anthropic: [("x-api-key", provider.apiKey)]
        case .gemini: [("x-goog-api-key", provider.apiKey)]
        case .azure: [("api-key", provider.apiKey)]
        case .openai, .xai, .geminiOpenAI, .demo: [("authorization", "Bearer \(provider.apiKey)")]
        }
    }

    /// The one version of the API whose bodies the table describes, and the features that a client has asked for, as far as they change no price.
    private static func anthropicHeaders(
        _ headers: HTTPFields, passBeta: Bool
    ) -> [(name: String, value: String)] {
        var passed = [("anthropic-version", "2023-06-01")]
        guard passBeta, let wanted = headers[.anthropicBeta] else { return passed }
        let betas = wanted.split(separator: ",").map { $0.filter { $0 != " " } }.filter { beta in
            harmlessBetas.contains { beta.hasPrefix($0) }
        }
        if !betas.isEmpty { passed.append(("anthropic-beta", betas.joined(separator: ","))) }
        return passed
    }

    /// Betas that change neither a price nor a bound, nor bring state of the provider's, by the beginnings of their names (Anthropic, "Beta headers"). All
    /// others are left out: a longer window, for example, doubles the price by itself.
    private static let harmlessBetas = [
        "prompt-caching-", "extended-cache-ttl-", "pdfs-", "token-efficient-tools-", "fine-grained-tool-streaming-",
        "interleaved-thinking-", "computer-use-", "output-128k-", "context-management-", "structured-outputs-",
        "search-results-", "web-search-2025", "web-fetch-2025", "effort-", "claude-code-", "cache-diagnosis-",
        "tool-examples-", "advanced-tool-use-", "task-budgets-", "redact-thinking-", "message-batches-",
    ]
}

/// How an upstream's answer is read, and what the client gets of it.
struct AnswerFormat: Sendable {
    /// The route by which the client has asked.
    let endpoint: Endpoint
    let shape: AnswerShape
    /// Whether the extra chunk with usage was our wish, and is not passed on.
    var hidesUsageChunk = false
    /// How it is translated; nil: it passes as it is.
    var translation: Translation?

    enum Translation: Sendable {
        case anthropic(ChatAnswerTerms)
        case gemini(ChatAnswerTerms)
    }

    /// What becomes of a stream's events.
    var passage: StreamMeter.Passage {
        switch translation {
        case .anthropic(let terms): .translated(AnthropicAnswer(terms))
        case .gemini(let terms): .translated(GeminiAnswer(terms))
        case nil: hidesUsageChunk ? .withoutUsageChunk : .whole
        }
    }

    /// Reads a whole answer, and gives it as the client wants it; nil for `body`: it is none, though it may say what it used.
    func read(_ body: [UInt8]) -> (reading: AnswerReading, body: [UInt8]?) {
        var reading = AnswerReading(shape)
        guard body.withUnsafeBufferPointer({ reading.readBody($0) }) else { return (reading, nil) }
        let translated: [UInt8]?
        switch translation {
        case .anthropic(let terms): translated = AnthropicAnswer.whole(body, reading, terms)
        case .gemini(let terms): translated = GeminiAnswer.whole(body, reading, terms)
        case nil: translated = body
        }
        return (reading, translated)
    }
}
