public import Ledger

/// Records what is due in accounts that nobody touches: expiries, renewals, first cycles.
///
/// What it leads to is what the account's next touch would have led to. So it may run twice at once, be cut off anywhere and be repeated.
public struct RenewalSweep: Sendable {
    private let writer: LedgerWriter
    private let balances: SQLiteBalances
    private let batch: Int
    private let clock: @Sendable () -> Timestamp

    /// `batch`: how many accounts are given to the writer at once. Charges that come meanwhile wait for no more than these.
    public init(
        writer: LedgerWriter, balances: SQLiteBalances, batch: Int, clock: @escaping @Sendable () -> Timestamp
    ) {
        self.writer = writer
        self.balances = balances
        self.batch = batch
        self.clock = clock
    }

    public struct Result: Sendable {
        /// How many cycles began.
        public var renewed = 0
        /// In how many accounts something expired.
        public var expiredAccounts = 0
    }

    /// Goes through all that is due at this moment. Where the ledger cannot be written, it ends with the error.
    public func run() async throws -> Result {
        let now = clock()
        var result = Result()
        var last: DuePlace?
        while !Task.isCancelled {
            let due = try await balances.dueAccounts(at: now, behind: last, limit: batch)
            guard !due.isEmpty else { break }
            last = due.last
            let receipts = try await withThrowingTaskGroup(of: Receipt.self) { group in
                for place in due {
                    group.addTask {
                        try await writer.submit(Command(account: place.account, action: .recordDue))
                    }
                }
                return try await group.reduce(into: [Receipt]()) { $0.append($1) }
            }
            for receipt in receipts {
                result.renewed += receipt.renewals
                if receipt.expiries > 0 { result.expiredAccounts += 1 }
            }
        }
        return result
    }
}
