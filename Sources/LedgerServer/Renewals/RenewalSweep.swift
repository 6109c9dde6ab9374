import Ledger
import LedgerSQLite
import Logging
import ServiceLifecycle

/// Records what is due in accounts that nobody touches: expiries, renewals, first cycles.
///
/// What it leads to is what the account's next touch would have led to. So it may run twice at once, be cut off anywhere and be repeated.
struct RenewalSweep: Sendable {
    let writer: LedgerWriter
    let balances: SQLiteBalances
    /// How many accounts are given to the writer at once. Charges that come meanwhile wait for no more than these.
    let batch: Int
    var clock: @Sendable () -> Timestamp = SystemClock.now

    struct Result: Sendable {
        /// How many cycles began.
        var renewed = 0
        /// In how many accounts something expired.
        var expiredAccounts = 0
    }

    /// Goes through all that is due at this moment. Where the ledger cannot be written, it ends with the error.
    func run() async throws -> Result {
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

/// Sweeps now and then; the first time after a part of the interval that is left to chance, so that many that start at once do not all sweep at once.
struct RenewalService: Service {
    let sweep: RenewalSweep
    let inbox: PaymentInbox
    let intervalSeconds: Int
    let logger: Logger

    func run() async throws {
        guard intervalSeconds > 0 else {
            try? await gracefulShutdown()
            return
        }
        await cancelWhenGracefulShutdown {
            var pause = Duration.milliseconds(Int.random(in: 0...min(intervalSeconds, 60) * 1000))
            while !Task.isCancelled {
                guard (try? await Task.sleep(for: pause)) != nil else { break }
                pause = .seconds(intervalSeconds)
                await once()
            }
        }
    }

    private func once() async {
        do {
            let result = try await sweep.run()
            if result.renewed > 0 || result.expiredAccounts > 0 {
                logger.info(
                    "recorded what was due",
                    metadata: [
                        "cycles": "\(result.renewed)", "accounts_with_expiries": "\(result.expiredAccounts)",
                    ])
            }
            try await inbox.retryWaiting()
        } catch is CancellationError {
        } catch {
            logger.warning("what is due could not be recorded", metadata: ["error": "\(error)"])
        }
    }
}
