/// How large a prompt is, before any tokenizer has seen it.
public struct PromptSize: Hashable, Sendable {
    /// The UTF-8 bytes of what the model reads: a bound on its text tokens, since no token is shorter than a byte.
    public let textBytes: Int64
    /// Tokens for images, audio and files, by the configured figures.
    public let mediaTokens: Int64
    /// The most that tools which the provider runs may bring: a bound, and no estimate.
    public let toolTokens: Int64
    /// What the provider may add of its own, for the form of the request and for tools of its making: a bound, and no estimate.
    public let addedTokens: Int64
    /// The model's context window, which bounds text and media together; nil: not known.
    public let window: Int64?

    public init(
        textBytes: Int64, mediaTokens: Int64, toolTokens: Int64 = 0, addedTokens: Int64 = 0, window: Int64? = nil
    ) {
        self.textBytes = textBytes
        self.mediaTokens = mediaTokens
        self.toolTokens = toolTokens
        self.addedTokens = addedTokens
        self.window = window
    }

    /// Whether there is nothing in it but text.
    public var isText: Bool { mediaTokens == 0 && toolTokens == 0 }

    /// The bound that a request is admitted with; beyond 2³¹ it is refused by the ledger.
    public var tokenBound: Int64 {
        let (sum, overflow) = textBytes.addingReportingOverflow(mediaTokens)
        let (own, beyondOwn) = (overflow ? .max : sum).addingReportingOverflow(addedTokens)
        let (all, beyond) = min(beyondOwn ? .max : own, window ?? .max).addingReportingOverflow(toolTokens)
        return beyond ? .max : all
    }

    /// What is charged where the provider never says: a token for each four bytes of text, and the media figures.
    public var estimatedTokens: Int64 {
        let (sum, overflow) = (textBytes / 4 + (textBytes % 4 > 0 ? 1 : 0)).addingReportingOverflow(mediaTokens)
        return overflow ? .max : sum
    }
}
