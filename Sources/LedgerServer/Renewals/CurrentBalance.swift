import Ledger
import LedgerSQLite
import Projections

/// Reads balances as they are now: what has come due since the account was last touched is recorded first.
struct CurrentBalance: Sendable {
    let writer: LedgerWriter
    let balances: SQLiteBalances

    /// nil where there is no such account.
    func of(_ account: AccountID) async throws -> AccountBalance? {
        let now = SystemClock.now()
        guard let balance = try await balances.balance(of: account, at: now) else { return nil }
        guard let due = balance.cycle?.dueAt, due <= now else { return balance }
        do throws(LedgerError) {
            let receipt = try await writer.submit(Command(account: account, action: .recordDue))
            // A request under way may still need what has lapsed.
            if receipt.event == nil { return balance }
        } catch {
            // A ledger that cannot be written at the moment can be read.
            return balance
        }
        return try await balances.balance(of: account, at: SystemClock.now())
    }
}
