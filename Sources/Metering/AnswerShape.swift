/// The wire format of an answer, and what its usage report means.
public enum AnswerShape: Hashable, Sendable {
    /// OpenAI's chat completions, with one of several meanings of usage.
    case chat(ChatUsageRule)
    /// OpenAI's responses: usage comes with `response.completed`, `response.incomplete` or `response.failed`.
    case responses
    /// Anthropic's messages: usage comes with `message_start` and `message_delta`.
    case messages
    /// Gemini's `generateContent`: usage comes with every chunk.
    case gemini
    /// OpenAI's embeddings: prompt tokens only, never a stream.
    case embeddings
}

/// What the usage of a chat completion means: providers that speak the same format disagree.
public enum ChatUsageRule: String, Hashable, Sendable, CaseIterable {
    /// `completion_tokens` are what is billed, reasoning included (OpenAI, Azure, DeepSeek, Mistral, Groq, OpenRouter).
    case standard
    /// Reasoning is billed beside `completion_tokens` (xAI).
    case reasoningBeside
    /// What is billed as output is `total_tokens` less `prompt_tokens`: thinking is in no other figure (Gemini's OpenAI endpoint).
    case restOfTotal
}
