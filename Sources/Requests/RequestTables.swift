import CRequestTables

/// The tables that there are, by the kind of provider and the route: read once, when the first request needs one.
public enum RequestTables {
    /// Chat completions at OpenAI, and at providers that speak its API.
    public static let openAIChat = table("openai-chat")
    public static let compatibleChat = table("elsewhere", "openai-chat", "compatible-chat")
    public static let azureChat = table("openai-chat", "azure-chat")
    public static let xaiChat = table("xai-chat")
    public static let geminiOpenAIChat = table("gemini-openai-chat")
    /// Chat completions that are translated.
    public static let anthropicChat = table("anthropic-chat")
    public static let geminiChat = table("gemini-chat")
    /// Anthropic's messages.
    public static let messages = table("anthropic-messages")
    /// OpenAI's responses, those of providers that speak its API, and xAI's.
    public static let openAIResponses = table("openai-responses")
    public static let compatibleResponses = table("elsewhere", "openai-responses", "responses-compatible")
    public static let xaiResponses = table("xai-responses")
    /// Embeddings at OpenAI, and elsewhere.
    public static let embeddings = table("embeddings")
    public static let compatibleEmbeddings = table("embeddings", "embeddings-compatible")

    /// All of them, by name.
    public static var all: [(name: String, table: Result<RequestTable, any Error>)] {
        [
            ("openai-chat", openAIChat), ("compatible-chat", compatibleChat), ("azure-chat", azureChat),
            ("xai-chat", xaiChat), ("gemini-openai-chat", geminiOpenAIChat), ("anthropic-chat", anthropicChat),
            ("gemini-chat", geminiChat), ("anthropic-messages", messages), ("openai-responses", openAIResponses),
            ("responses-compatible", compatibleResponses), ("xai-responses", xaiResponses), ("embeddings", embeddings),
            ("embeddings-compatible", compatibleEmbeddings),
        ]
    }

    private static func table(_ names: String...) -> Result<RequestTable, any Error> {
        Result {
            try RequestTable(
                names.map { name in
                    var length: UInt = 0
                    guard let bytes = request_table(name, &length) else {
                        throw RequestTable.Problem(line: 0, what: "there is no table '\(name)'")
                    }
                    return String(decoding: UnsafeBufferPointer(start: bytes, count: Int(length)), as: UTF8.self)
                })
        }
    }
}
