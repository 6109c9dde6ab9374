import Ledger
import LedgerSQLite

/// Tells the ledger what users' budgets allow: the budgets' own tables can be changed, what binds is an event.
struct BudgetCaps: Sendable {
    let writer: LedgerWriter
    let directory: Directory

    /// Makes an account's cap what its user's budget is.
    func apply(to user: User, actor: String) async throws {
        var cap: BudgetCap?
        if let id = user.budgetID, let budget = try await directory.budget(id) {
            cap = BudgetCap(id: id, microUSD: budget.maxMicroUSD, seconds: budget.durationSeconds)
        }
        let command = Command(account: user.id, action: .setBudget(SetBudget(budget: cap, actor: actor)))
        do throws(LedgerError) {
            _ = try await writer.submit(command)
        } catch {
            // A user without account has nothing to spend.
            if case .refused(.accountUnknown) = error { return }
            throw error
        }
    }

    /// Makes the caps of all whom a budget concerns what it is; without one, of everybody who has any.
    func apply(budget id: String?, actor: String) async throws {
        var last: AccountID?
        while true {
            let users = try await directory.users(withBudget: id, behind: last, limit: 200)
            for user in users { try await apply(to: user, actor: actor) }
            guard let end = users.last else { return }
            last = end.id
        }
    }
}
