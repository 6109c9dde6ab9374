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
            _ = try await writer.submit(Command(account: account, action: .recordDue))
        } catch {
            // A ledger that cannot be written at the moment can be read.
            return balance
        }
        // Whoever recorded it: of several at once, one.
        return try await balances.balance(of: account, at: SystemClock.now())
    }
}
