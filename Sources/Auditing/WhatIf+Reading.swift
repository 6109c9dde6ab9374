public import Ledger
public import LedgerSQLite
import Projections

extension LedgerFile {
    /// Folds the whole history again under other terms, account after account; memory is that of one account.
    ///
    /// `progress` is told how many events have been read, and of how many.
    public func whatIf(
        prices: [String: Price], plans: [Plan], progress: (Int64, Int64) -> Void = { _, _ in }
    ) throws -> WhatIf {
        try snapshot { view in
            let total = try view.head().position
            let books = try view.bookEvents().filter { $0.account == .plans }
            var fold = WhatIf(
                prices: prices, plans: plans, books: books, reversed: try view.reversedRequests(),
                month: { Month(day: $0).index })
            var count: Int64 = 0
            try view.scanByAccount { row in
                count += 1
                if count % 4096 == 0 { progress(count, total) }
                fold.add(try row.decoded())
            }
            fold.endAccount()
            return fold
        }
    }
}
