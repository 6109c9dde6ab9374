import WireJSON

/// A route by which a model is asked. No other path reaches a provider.
enum Endpoint: String, CaseIterable, Sendable {
    /// OpenAI's chat completions: for every provider, translated where it has another format.
    case chat = "/v1/chat/completions"
    /// Anthropic's messages: for Anthropic, as they are.
    case messages = "/v1/messages"
    /// OpenAI's responses: for OpenAI and xAI, as they are.
    case responses = "/v1/responses"
    /// OpenAI's embeddings.
    case embeddings = "/v1/embeddings"

    var path: String { rawValue }

    /// The route below a provider's base URL.
    var upstreamPath: String { String(rawValue.dropFirst(3)) }

    /// The member that holds what the model is asked.
    var promptMember: String {
        switch self {
        case .chat, .messages: "messages"
        case .responses, .embeddings: "input"
        }
    }

    /// The members that bound the output.
    var boundMembers: [String] {
        switch self {
        case .chat: ["max_tokens", "max_completion_tokens"]
        case .messages: ["max_tokens"]
        case .responses: ["max_output_tokens"]
        case .embeddings: []
        }
    }

    /// Members that say how to answer: the model reads nothing of them.
    var settings: Set<String> {
        switch self {
        case .chat:
            [
                "temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty", "logprobs",
                "top_logprobs", "logit_bias", "metadata", "store", "parallel_tool_calls", "reasoning_effort",
                "safety_identifier", "prompt_cache_key", "verbosity", "top_k", "min_p", "tool_choice",
            ]
        case .messages:
            [
                "temperature", "top_p", "top_k", "stop_sequences", "metadata", "thinking", "tool_choice",
                "context_management",
            ]
        case .responses:
            [
                "temperature", "top_p", "metadata", "store", "parallel_tool_calls", "reasoning", "safety_identifier",
                "prompt_cache_key", "include", "truncation", "tool_choice", "top_logprobs", "stream_options",
                "max_tool_calls",
            ]
        case .embeddings: ["dimensions", "encoding_format"]
        }
    }

    /// Members by which a request would cost what cannot be charged exactly, or read what its hold does not cover; and the values, as JSON,
    /// with which they do neither. Absent and `null` always are.
    var guarded: [String: Set<String>] {
        let tiers: Set<String> = [#""auto""#, #""default""#, #""standard""#, #""standard_only""#]
        return switch self {
        case .chat: ["service_tier": tiers, "web_search_options": [], "plugins": ["[]"], "audio": []]
        case .messages:
            [
                "service_tier": tiers, "speed": [#""standard""#], "inference_geo": [#""global""#],
                "mcp_servers": ["[]"], "container": [],
            ]
        case .responses:
            [
                "service_tier": tiers, "background": ["false"], "previous_response_id": [], "conversation": [],
                "prompt": [],
            ]
        case .embeddings: [:]
        }
    }

    /// What a tool of that type costs beyond tokens.
    func kind(ofTool type: String?) -> ToolKind {
        guard let type else { return self == .messages ? .client : .refused }
        switch self {
        case .chat: return ["function", "custom"].contains(type) ? .client : .refused
        case .messages:
            if type.hasPrefix("web_search_") { return .search }
            if type.hasPrefix("web_fetch_") { return .fetch }
            let clients = ["custom", "bash_", "text_editor_", "computer_", "memory_", "tool_search_tool_"]
            return clients.contains { type.hasPrefix($0) } ? .client : .refused
        case .responses:
            if type.hasPrefix("web_search") || type == "x_search" { return .search }
            let clients = ["function", "custom", "local_shell", "shell", "apply_patch", "computer_use_preview"]
            return clients.contains(type) ? .client : .refused
        case .embeddings: return .refused
        }
    }

    enum ToolKind {
        /// The client runs it: it costs its tokens.
        case client
        /// The provider searches, for money.
        case search
        /// The provider fetches documents into the prompt.
        case fetch
        /// It costs what is in no price, or is unknown.
        case refused
    }
}
