import Foundation
import Requests

/// An upstream.
struct ProviderConfiguration: Sendable {
    /// What it speaks, and how it bills.
    enum Kind: String, Sendable, CaseIterable {
        /// OpenAI's API, also as DeepSeek, Groq, Mistral, OpenRouter and many others speak it.
        case openai
        /// OpenAI's API; reasoning is billed beside the completion.
        case xai
        /// Anthropic's messages API.
        case anthropic
        /// Gemini's own API.
        case gemini
        /// Gemini's endpoint in OpenAI's form; thinking is billed, and only the total has it.
        case geminiOpenAI = "gemini-openai"
        /// OpenAI's API as Azure offers it.
        case azure
        /// The built-in upstream.
        case demo
    }

    let name: String
    let kind: Kind
    /// The URL to which routes are added; nil for `demo`, which is told when it listens.
    let apiBase: String?
    let apiKey: String
    /// The one member that bounds the output of a chat completion there; nil: it heeds all of OpenAI's.
    let maxTokensField: String?
    /// Azure: the version of its older URLs, which name the deployment; nil: the newer ones.
    let apiVersion: String?
    /// `unknown_members`: whether members of requests that no table knows pass, measured as prompt; else they are refused.
    let passesUnknownMembers: Bool
    /// `allow`: members that pass although they are unknown or refused.
    let allowedMembers: Set<String>
    /// Whether it is the maker of its API itself, and not somebody who speaks it.
    private let isMaker: Bool
    /// Whether it makes the models that it offers, so that their names are not somebody else's.
    let isMakerOfModels: Bool

    /// Where well-known providers are.
    private static let knownBases = [
        "openai": "https://api.openai.com/v1",
        "xai": "https://api.x.ai/v1",
        "anthropic": "https://api.anthropic.com/v1",
        "gemini": "https://generativelanguage.googleapis.com/v1beta",
        "deepseek": "https://api.deepseek.com/v1",
        "groq": "https://api.groq.com/openai/v1",
        "mistral": "https://api.mistral.ai/v1",
        "openrouter": "https://openrouter.ai/api/v1",
        "together": "https://api.together.xyz/v1",
        "fireworks": "https://api.fireworks.ai/inference/v1",
        "perplexity": "https://api.perplexity.ai",
        "cerebras": "https://api.cerebras.ai/v1",
        "sambanova": "https://api.sambanova.ai/v1",
        "moonshot": "https://api.moonshot.ai/v1",
        "cohere": "https://api.cohere.ai/compatibility/v1",
    ]

    /// Their hosts, and others that they have for a region or under another name.
    private static let knownHosts =
        knownBases.values.compactMap { URL(string: $0)?.host } + [
            "api.together.ai", "api.moonshot.cn", "api.cohere.com", "deepinfra.com", "integrate.api.nvidia.com",
            "dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "open.bigmodel.cn", "api.z.ai", "api.minimax.io",
            "api.siliconflow.com", "api.siliconflow.cn", "api.studio.nebius.com", "router.huggingface.co",
            "models.github.ai", "openai.azure.com", "amazonaws.com", "aiplatform.googleapis.com",
            "ai-gateway.vercel.sh",
            "gateway.ai.cloudflare.com", "api.novita.ai", "api.hyperbolic.xyz", "ark.cn-beijing.volces.com",
        ]

    /// Whether a URL is at a host, or at one below it.
    private static func isAt(_ hosts: [String], _ base: String?) -> Bool {
        guard var host = base.flatMap({ URL(string: $0) })?.host?.lowercased() else { return false }
        if host.last == "." { host.removeLast() }
        return hosts.contains { host == $0 || host.hasSuffix("." + $0) }
    }

    /// The one member by which well-known providers let the output be bounded.
    private static let knownBounds = [
        "openai": "max_completion_tokens", "azure": "max_completion_tokens", "deepseek": "max_tokens",
        "mistral": "max_tokens",
    ]

    /// Reads and checks the section of a provider; `line`: where it begins.
    init(
        _ section: inout ConfigurationSection, name: String, line: Int?, warnings: inout [String]
    ) throws(ConfigurationError) {
        self.name = name
        var base = try section.string("api_base")?.droppingSlashes ?? Self.knownBases[name]
        if let kind = try section.choice("kind", Kind.allCases.map(\.rawValue)).flatMap(Kind.init) {
            self.kind = kind
        } else {
            // What is called by the name of a kind is of that kind; Gemini has two.
            let named = Kind(rawValue: name) ?? .openai
            kind = named == .gemini && base?.hasSuffix("/openai") == true ? .geminiOpenAI : named
        }
        // Both may be written as their makers' own libraries want it: without the version.
        if let given = base, let url = URL(string: given), url.path.isEmpty {
            if kind == .anthropic { base = given + "/v1" }
            if kind == .gemini { base = given + "/v1beta" }
        }
        let key = try section.secret("api_key") ?? section.variable(Self.variable(of: name))
        if kind != .demo {
            guard let base, let url = URL(string: base), ["http", "https"].contains(url.scheme ?? ""),
                url.host?.isEmpty == false, (1...65_535).contains(url.port ?? 80), url.query == nil,
                url.fragment == nil
            else {
                throw ConfigurationError(
                    "must be the http or https URL that the provider's routes are added to",
                    key: "providers.\(name).api_base", line: line)
            }
            guard let key else {
                throw ConfigurationError(
                    "is missing: give it here, by api_key_file or as \(Self.variable(of: name)) (\"\" for an upstream that wants none)",
                    key: "providers.\(name).api_key", line: line)
            }
            // It is sent in a header.
            guard key.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
                throw ConfigurationError(
                    "must be of printable ASCII characters without spaces", key: "providers.\(name).api_key",
                    line: line)
            }
        }
        apiBase = base
        apiKey = key ?? ""
        let isOpenAI = kind == .openai && Self.isAt(["api.openai.com"], base)
        maxTokensField =
            try section.choice("max_tokens_field", ["max_tokens", "max_completion_tokens"])
            ?? Self.knownBounds[kind == .azure ? "azure" : isOpenAI ? "openai" : name]
        apiVersion = try section.string("api_version")
        guard apiVersion == nil || kind == .azure else {
            throw ConfigurationError("is only for kind azure", key: "providers.\(name).api_version", line: line)
        }
        guard apiVersion?.utf8.allSatisfy({ $0 == 0x2D || $0.isASCIILetterOrDigit }) ?? true else {
            throw ConfigurationError(
                "must be a version such as 2024-10-21", key: "providers.\(name).api_version", line: line)
        }
        isMaker = kind != .demo && (kind != .openai || isOpenAI)
        let unknown = try section.choice("unknown_members", ["refuse", "pass"])
        // One's own machine may know what nobody has told us of; a well-known provider is as its reference says.
        let isOwn = kind == .demo || (kind == .openai && !isMaker && !Self.isAt(Self.knownHosts, base))
        isMakerOfModels =
            isOpenAI || [.xai, .anthropic, .gemini, .geminiOpenAI].contains(kind)
            || Self.isAt(["api.deepseek.com", "api.mistral.ai"], base)
        passesUnknownMembers = unknown.map { $0 == "pass" } ?? isOwn
        allowedMembers = Set(try section.texts("allow") ?? [])
        guard allowedMembers.allSatisfy({ !$0.isEmpty && $0.utf8.count <= 255 }), !allowedMembers.contains("model")
        else {
            throw ConfigurationError(
                "must be names of members, or paths to them such as messages.content.name",
                key: "providers.\(name).allow", line: line)
        }
        if section.ignore("client_args") { warnings.append("'providers.\(name).client_args' is ignored") }
        try section.finish()
    }

    /// Whether it answers in sound only where it is asked to; of others it is not known.
    var answersInAudioOnlyIfAsked: Bool {
        switch kind {
        case .openai, .azure: isMaker
        case .xai, .anthropic, .gemini: true
        case .geminiOpenAI, .demo: false
        }
    }

    /// What a request by a route may say to it.
    func table(for endpoint: Endpoint) throws -> RequestTable {
        let table =
            switch (endpoint, kind) {
            case (.chat, .anthropic): RequestTables.anthropicChat
            case (.chat, .gemini): RequestTables.geminiChat
            case (.chat, .geminiOpenAI): RequestTables.geminiOpenAIChat
            case (.chat, .xai): RequestTables.xaiChat
            case (.chat, .azure): RequestTables.azureChat
            case (.chat, .openai), (.chat, .demo): isMaker ? RequestTables.openAIChat : RequestTables.compatibleChat
            case (.messages, _): RequestTables.messages
            case (.responses, .xai): RequestTables.xaiResponses
            case (.responses, _): isMaker ? RequestTables.openAIResponses : RequestTables.compatibleResponses
            case (.embeddings, .openai) where isMaker, (.embeddings, .azure): RequestTables.embeddings
            case (.embeddings, _): RequestTables.compatibleEmbeddings
            }
        return try table.get()
    }

    /// What a model may think beyond the bound of the output, where nobody says how much. xAI bills it beside the output, and by one of its pages the
    /// bound is of what is visible (xAI, "Reasoning").
    func reasoningTokens(of model: String, by endpoint: Endpoint) -> Int64 {
        guard kind == .xai, endpoint == .chat, !model.contains("non-reasoning") else { return 0 }
        return ["grok-3-mini", "grok-4", "grok-code"].contains { model.hasPrefix($0) } ? 16_384 : 0
    }

    /// The environment variable in which a provider's key is looked for.
    private static func variable(of name: String) -> String {
        name.uppercased().replacingOccurrences(of: "-", with: "_") + "_API_KEY"
    }
}

extension String {
    fileprivate var droppingSlashes: String {
        var text = self[...]
        while text.last == "/" { text.removeLast() }
        return String(text)
    }
}

extension UInt8 {
    var isASCIILetterOrDigit: Bool {
        (0x30...0x39).contains(self) || (0x41...0x5A).contains(self) || (0x61...0x7A).contains(self)
    }
}
