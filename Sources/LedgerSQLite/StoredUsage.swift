public import Projections

/// A row of the usage log as it is stored, borrowed for as long as it is being looked at.
///
/// An audit looks at every row: it takes the bytes where they lie, and makes no text of them. Columns are read without a look at
/// their types: SQLite converts whatever it finds, so that tables that somebody made anew with other types lead to a finding and not to a
/// crash. What was reversed of a charge changes later, and is no part of it.
public struct StoredUsage {
    /// The position of the row's event.
    public let position: Int64
    public let recordedAt, promptTokens, cachedTokens, completionTokens, isEstimated, credits: Int64
    public let account, request, model, endpoint, status, detail, cost: UnsafeBufferPointer<UInt8>
    /// nil where it is NULL.
    public let keyID: UnsafeBufferPointer<UInt8>?

    /// The columns that are read, in their order.
    static let columns = """
        position, recorded_at, prompt_tokens, cached_tokens, completion_tokens, estimated, credits, account, request, model,
        endpoint, status, detail, cost_pico_usd, key_id
        """

    init(_ row: Statement) {
        position = row.integer(0)
        recordedAt = row.integer(1)
        promptTokens = row.integer(2)
        cachedTokens = row.integer(3)
        completionTokens = row.integer(4)
        isEstimated = row.integer(5)
        credits = row.integer(6)
        account = row.bytes(7)
        request = row.bytes(8)
        model = row.bytes(9)
        endpoint = row.bytes(10)
        status = row.bytes(11)
        detail = row.bytes(12)
        cost = row.bytes(13)
        keyID = row.isNull(14) ? nil : row.bytes(14)
    }
}

extension UsageRow {
    /// Its status as it is stored.
    public var status: String { isSuccess ? "success" : "error" }

    /// The cost as it is stored: most fit into 64 bits, which are written several times as fast.
    public var costText: String { Int64(exactly: costPicoUSD).map { String($0) } ?? String(costPicoUSD) }
}
