import Ledger
public import Projections

/// Rows of the usage log as they are stored, to be compared with what events lead to.
///
/// An audit looks at every row once: it compares bytes where they lie, and makes no text of them. Columns are read without a look at
/// their types: SQLite converts whatever it finds, so that tables that somebody made anew with other types lead to a finding and not to a
/// crash.
public struct UsageLogPage: Sendable {
    private struct Row {
        let position, recordedAt, promptTokens, cachedTokens, completionTokens, isEstimated, credits: Int64
        /// Where its texts begin, and the bytes of each; of one that is NULL, -1.
        let start: Int
        let texts:
            (account: Int, request: Int, keyID: Int, model: Int, endpoint: Int, status: Int, detail: Int, cost: Int)
    }

    /// The columns that are read, in their order. What was reversed of a charge changes later, and is not among them.
    static let columns = """
        position, recorded_at, prompt_tokens, cached_tokens, completion_tokens, estimated, credits, account, request, key_id,
        model, endpoint, status, detail, cost_pico_usd
        """

    private var rows: [Row] = []
    private var bytes: [UInt8] = []

    public init() {}

    public var count: Int { rows.count }

    /// The position of the row's event.
    public func position(at index: Int) -> Int64 { rows[index].position }

    /// The bytes of the row's account.
    public func account(at index: Int) -> ArraySlice<UInt8> {
        bytes[rows[index].start...].prefix(max(0, rows[index].texts.account))
    }

    /// Forgets the rows and keeps the memory.
    mutating func removeAll() {
        rows.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
    }

    mutating func append(_ statement: Statement) {
        let start = bytes.count
        func text(_ column: Int32) -> Int {
            if statement.isNull(column) { return -1 }
            let text = statement.bytes(column)
            bytes.append(contentsOf: text)
            return text.count
        }
        let texts = (text(7), text(8), text(9), text(10), text(11), text(12), text(13), text(14))
        rows.append(
            Row(
                position: statement.integer(0), recordedAt: statement.integer(1), promptTokens: statement.integer(2),
                cachedTokens: statement.integer(3), completionTokens: statement.integer(4),
                isEstimated: statement.integer(5), credits: statement.integer(6), start: start, texts: texts))
    }

    /// Whether the row is what an event leads to, apart from what has been reversed since.
    public func matches(_ expected: UsageRow, at index: Int) -> Bool {
        let row = rows[index]
        guard row.position == expected.position, row.recordedAt == expected.recordedAt.microseconds,
            row.promptTokens == expected.promptTokens, row.cachedTokens == expected.cachedTokens,
            row.completionTokens == expected.completionTokens, row.isEstimated == (expected.isEstimated ? 1 : 0),
            row.credits == expected.credits.nanos
        else { return false }
        return bytes.withUnsafeBufferPointer { bytes in
            var offset = row.start
            func isNext(_ count: Int, _ text: String?) -> Bool {
                guard count >= 0, var text else { return count < 0 && text == nil }
                defer { offset += count }
                let stored = bytes[offset..<offset + count]
                return text.withUTF8 { $0.elementsEqual(stored) }
            }
            return isNext(row.texts.account, expected.account.rawValue)
                && isNext(row.texts.request, expected.request.rawValue) && isNext(row.texts.keyID, expected.keyID)
                && isNext(row.texts.model, expected.model) && isNext(row.texts.endpoint, expected.endpoint)
                && isNext(row.texts.status, expected.isSuccess ? "success" : "error")
                && isNext(row.texts.detail, expected.detail) && isNext(row.texts.cost, expected.costText)
        }
    }
}

extension UsageRow {
    /// The cost as it is stored: most fit into 64 bits, which are written several times as fast.
    fileprivate var costText: String { Int64(exactly: costPicoUSD).map { String($0) } ?? String(costPicoUSD) }
}
