/// Checks what can be told from the stored bytes alone: positions without gaps, time that does not go back, the hash chain.
public struct ChainAuditor {
    /// The last event that was looked at.
    public private(set) var head: LedgerHead

    /// Starts behind an event that is already trusted, or at the beginning.
    public init(after head: LedgerHead = .empty) {
        self.head = head
    }

    /// Checks the next row, which is appended to `events`; nil where it is sound. After a finding it goes on from what the row says.
    public mutating func check(
        _ row: StoredBytes, hash: UnsafeRawBufferPointer, appendingTo events: inout CanonicalEvents
    ) -> Finding? {
        events.append(row, after: head.hash)
        let computed = events.lastHash
        var problem: (Finding.Check, String)?
        if row.position != head.position + 1 {
            problem = (.position, "expected position \(head.position + 1): events are missing or out of order")
        } else if row.recordedAt < head.recordedAt.microseconds {
            problem = (.time, "recorded earlier than the event before it")
        } else if EventHash(bytes: hash) != computed {
            problem = (.hash, "its bytes do not give its hash: it, or an event before it, was altered")
        }
        head = LedgerHead(
            position: row.position, recordedAt: Timestamp(microseconds: row.recordedAt),
            hash: EventHash(bytes: hash) ?? computed)
        return problem.map { check, detail in
            Finding(
                position: row.position, account: String(decoding: row.account, as: UTF8.self), check: check,
                detail: detail)
        }
    }
}
