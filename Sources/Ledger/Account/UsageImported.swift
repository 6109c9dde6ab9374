import WireJSON

/// How a request of the old gateway ended, as far as its database says.
public enum ImportedStatus: String, Sendable, CaseIterable {
    case success
    case error
}

/// A request that the old gateway served: history, which is never charged here and changes no balance.
///
/// Its event counts from the instant at which it was served, and is recorded when it was imported.
public struct UsageImported: Hashable, Sendable {
    /// The dearest request that is believed: 10²⁴ pico-USD.
    public static let maximumCostPicoUSD = Int128(1_000_000_000_000) * Int128(1_000_000_000_000)

    /// Made of the old row's id, by ``RequestID/init(importedUsage:)``.
    public let request: RequestID
    public let origin: RequestOrigin
    public let status: ImportedStatus
    public let promptTokens: Int64
    public let cachedTokens: Int64
    public let completionTokens: Int64
    /// What it cost in the old gateway, in pico-USD.
    public let costPicoUSD: Int128
    /// A word of `a` to `z` and `_` for what went wrong; never the old message, which may quote a person.
    public let error: String?

    public init(
        request: RequestID, origin: RequestOrigin, status: ImportedStatus, promptTokens: Int64, cachedTokens: Int64,
        completionTokens: Int64, costPicoUSD: Int128, error: String? = nil
    ) {
        self.request = request
        self.origin = origin
        self.status = status
        self.promptTokens = promptTokens
        self.cachedTokens = cachedTokens
        self.completionTokens = completionTokens
        self.costPicoUSD = costPicoUSD
        self.error = error
    }

    /// Whether every count and the cost are believable, and the error is a word.
    var isWithinBounds: Bool {
        for tokens in [promptTokens, cachedTokens, completionTokens] {
            guard (0...Usage.maximumTokens).contains(tokens) else { return false }
        }
        guard let error else { return (0...Self.maximumCostPicoUSD).contains(costPicoUSD) }
        return (0...Self.maximumCostPicoUSD).contains(costPicoUSD) && (1...64).contains(error.utf8.count)
            && error.utf8.allSatisfy { (0x61...0x7A).contains($0) || $0 == 0x5F }
    }
}

/// Records a request that the old gateway served, under the key of its old id: once, however often it is imported.
public struct ImportUsage: Hashable, Sendable {
    public let usage: UsageImported
    /// When the old gateway served it; not in the future.
    public let at: Timestamp

    public init(usage: UsageImported, at: Timestamp) {
        self.usage = usage
        self.at = at
    }

    /// What its key begins with, before the old id.
    public static let keyPrefix: StaticString = "import:usage:"

    /// The key under which it is recorded.
    public var key: String { "\(Self.keyPrefix)" + (usage.request.importedUsage ?? "") }
}

extension RequestID {
    /// What the ids of imported requests begin with; those of the gateway's own begin with `req_`.
    public static let importedPrefix = "import_"

    /// The id of a request of the old gateway, or nil where the old id is empty, not printable ASCII or longer than 121 characters.
    public init?(importedUsage id: String) {
        guard !id.isEmpty else { return nil }
        self.init(rawValue: Self.importedPrefix + id)
    }

    /// The old gateway's id of the request; nil where this is a request of our own.
    public var importedUsage: String? {
        guard rawValue.hasPrefix(Self.importedPrefix) else { return nil }
        let id = rawValue.dropFirst(Self.importedPrefix.count)
        return id.isEmpty ? nil : String(id)
    }
}

extension Account {
    func importUsage(_ command: ImportUsage, at now: Timestamp) throws(Refusal) -> [Draft] {
        guard command.usage.request.importedUsage != nil else { throw .invalidKey }
        try check(command.usage.origin.model, "model")
        try check(command.usage.origin.keyID, "key_id")
        try check(command.usage.origin.endpoint, "endpoint")
        guard command.usage.isWithinBounds else { throw .boundOutOfRange }
        guard command.at <= now else { throw .instantInTheFuture }
        return [Draft(event: .usageImported(command.usage), key: command.key, effectiveAt: command.at)]
    }
}

extension UsageImported {
    func encode(into json: inout JSONWriter) {
        json.field("request", request.rawValue)
        origin.encode(into: &json)
        json.field("status", status.rawValue)
        json.field("prompt_tokens", promptTokens)
        json.field("cached_tokens", cachedTokens)
        json.field("completion_tokens", completionTokens)
        json.field("cost_pico_usd", costPicoUSD)
        json.optional("error", error)
    }

    init(from json: inout JSONScanner) throws(JSONError) {
        request = try json.value(field: "request", RequestID.init(rawValue:))
        origin = try RequestOrigin(from: &json)
        status = try json.value(field: "status", ImportedStatus.init(rawValue:))
        promptTokens = try json.integer(field: "prompt_tokens")
        cachedTokens = try json.integer(field: "cached_tokens")
        completionTokens = try json.integer(field: "completion_tokens")
        try json.field("cost_pico_usd")
        costPicoUSD = try json.wideInteger()
        error = try json.optionalString(field: "error")
    }
}
