public import Ledger
import WireJSON

/// What has been seen of a provider's usage reports, field by field: per field the last report wins, and nothing is ever summed.
///
/// Absent is not zero. A number that is negative, absurd or no number is not believed, and flagged.
public struct UsageReading: Sendable {
    public private(set) var prompt: Int64?
    public private(set) var cached: Int64?
    public private(set) var cacheWrite: Int64?
    public private(set) var completion: Int64?
    public private(set) var total: Int64?
    /// The last usage object, byte for byte.
    public private(set) var raw: [UInt8]?
    public private(set) var hasRejected = false

    public init() {}

    /// Whether any usage object has been seen.
    public var isPresent: Bool { raw != nil }

    /// Reads a usage object of the OpenAI chat shape, of which `json` stands at the beginning.
    mutating func read(_ json: inout JSONScanner) throws(JSONError) {
        let range = try json.skip()
        let bytes = json.bytes(range)
        raw = Array(bytes)
        var object = JSONScanner(bytes)
        try object.enterObject()
        while let name = try object.nextMember() {
            if object.equals(name, "prompt_tokens") {
                try number(&object, into: \.prompt)
            } else if object.equals(name, "completion_tokens") {
                try number(&object, into: \.completion)
            } else if object.equals(name, "total_tokens") {
                try number(&object, into: \.total)
            } else if object.equals(name, "prompt_tokens_details"), object.peek() == .object {
                try object.enterObject()
                while let detail = try object.nextMember() {
                    if object.equals(detail, "cached_tokens") {
                        try number(&object, into: \.cached)
                    } else if object.equals(detail, "cache_write_tokens") {
                        try number(&object, into: \.cacheWrite)
                    } else {
                        try object.skip()
                    }
                }
            } else {
                try object.skip()
            }
        }
    }

    private mutating func number(
        _ json: inout JSONScanner, into field: WritableKeyPath<UsageReading, Int64?>
    ) throws(JSONError) {
        guard json.peek() == .number else {
            if try !json.null() {
                try json.skip()
                hasRejected = true
            }
            return
        }
        let text = String(decoding: json.bytes(try json.number()), as: UTF8.self)
        guard let value = Decimal64.parse(text, fractionDigits: 0), (0...Usage.maximumTokens).contains(value) else {
            hasRejected = true
            return
        }
        self[keyPath: field] = value
    }

    /// The report to be charged.
    ///
    /// What was not reported is estimated (``PromptSize/estimatedTokens``, and a token for each four bytes of delivered output), within the
    /// bounds that the request was admitted with.
    public func report(
        prompt size: PromptSize, outputBytes: Int, bounds hold: HoldPlaced, servedModel: String?
    ) -> UsageReport {
        var flags: Set<UsageFlag> = []
        if hasRejected { flags.insert(.rejectedUsage) }
        let promptTokens = prompt ?? min(size.estimatedTokens, hold.promptBound)
        let completionTokens = completion ?? min(Int64(clamping: (outputBytes + 3) / 4), hold.outputBound)
        if prompt == nil || completion == nil { flags.insert(.estimated) }
        if isPresent, prompt == 0, completion == 0 { flags.insert(.zeroUsage) }
        if let total, let prompt, let completion, total != prompt + completion { flags.insert(.usageMismatch) }
        if (cached ?? 0) + (cacheWrite ?? 0) > promptTokens { flags.insert(.usageMismatch) }
        let usage = Usage(
            prompt: promptTokens, cached: cached ?? 0, cacheWrite: cacheWrite ?? 0, completion: completionTokens)
        // Each figure was checked above or comes from a hold, whose bounds were checked.
        let none = Usage(prompt: 0, completion: 0)
        guard let usage = usage ?? none else { preconditionFailure("zero tokens are always valid") }
        let other = servedModel.flatMap { $0 == hold.origin.model || hold.origin.model.hasSuffix(":" + $0) ? nil : $0 }
        return UsageReport(usage: usage, flags: flags, raw: raw, servedModel: other)
    }
}

/// How large a prompt is, before any tokenizer has seen it.
public struct PromptSize: Hashable, Sendable {
    /// The UTF-8 bytes of what the model reads: a bound on its text tokens, since no token is shorter than a byte.
    public let textBytes: Int64
    /// Tokens for images, audio and files, by the configured figures.
    public let mediaTokens: Int64

    public init(textBytes: Int64, mediaTokens: Int64) {
        self.textBytes = textBytes
        self.mediaTokens = mediaTokens
    }

    /// The bound that a request is admitted with; beyond 2³¹ it is refused by the ledger.
    public var tokenBound: Int64 {
        let (sum, overflow) = textBytes.addingReportingOverflow(mediaTokens)
        return overflow ? .max : sum
    }

    /// What is charged where the provider never says: a token for each four bytes of text, and the media figures.
    public var estimatedTokens: Int64 {
        let (sum, overflow) = (textBytes / 4 + (textBytes % 4 > 0 ? 1 : 0)).addingReportingOverflow(mediaTokens)
        return overflow ? .max : sum
    }
}
