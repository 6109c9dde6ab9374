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
}
