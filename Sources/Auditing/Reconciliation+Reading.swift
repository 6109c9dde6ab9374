import Ledger
public import LedgerSQLite
public import Projections

extension LedgerFile {
    /// Holds the charges of the days of a period, or of those that a provider's export is about, against it.
    public func reconcile(
        _ usage: ProviderUsage, provider: String, period: ClosedRange<Int64>? = nil, partsPerMillion: Int64,
        progress: (Int64, Int64) -> Void = { _, _ in }
    ) throws -> Reconciliation {
        var reconciliation = Reconciliation(
            provider: provider, with: usage, period: period, partsPerMillion: partsPerMillion)
        guard let period = reconciliation.period else { return reconciliation }
        let text = Timestamp.text(day: period.lowerBound)
        guard let start = Timestamp(iso8601: text),
            let end = Timestamp(iso8601: Timestamp.text(day: period.upperBound + 2))
        else { return reconciliation }
        try snapshot { view in
            let first = try view.firstPosition(recordedFrom: start)
            let last = try view.firstPosition(recordedFrom: end)
            try view.scan(after: first - 1) { row, _ in
                guard row.position < last else { return false }
                if EventTable.usage.concerns(row.type) { reconciliation.add(try row.decoded()) }
                if row.position % 4096 == 0 { progress(row.position - first, last - first) }
                return true
            }
        }
        return reconciliation
    }
}
