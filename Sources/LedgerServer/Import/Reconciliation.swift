import Ledger
import OldGateway

/// What one account has in the old database, and what the ledger says that it was given here for it.
struct AccountFigures: Equatable, Sendable {
    /// The rows of its balance that have not expired, in credits, and what rounding has added to them.
    var oldBalance = ExactDecimal.zero
    var balanceRounding = ExactDecimal.zero
    /// Nano-credits of opening balances that have not expired, less what was withdrawn for rows below zero.
    var importedNanos: Int128 = 0
    var oldUsageRows: Int64 = 0
    /// What its requests have cost in US dollars, and what rounding has added to that.
    var oldCost = ExactDecimal.zero
    var costRounding = ExactDecimal.zero
    var importedUsageRows: Int64 = 0
    var importedPicoUSD: Int128 = 0

    /// The balance that was imported, in credits.
    var importedBalance: ExactDecimal { ExactDecimal(importedNanos, fractionDigits: 9) }
    var importedCost: ExactDecimal { ExactDecimal(importedPicoUSD, fractionDigits: 12) }

    /// What no rounding explains: imported − old − rounded.
    var unexplainedBalance: ExactDecimal { importedBalance - oldBalance - balanceRounding }
    var unexplainedCost: ExactDecimal { importedCost - oldCost - costRounding }

    var isReconciled: Bool {
        unexplainedBalance.isZero && unexplainedCost.isZero && oldUsageRows == importedUsageRows
    }

    mutating func add(_ other: AccountFigures) {
        oldBalance += other.oldBalance
        balanceRounding += other.balanceRounding
        importedNanos += other.importedNanos
        oldUsageRows += other.oldUsageRows
        oldCost += other.oldCost
        costRounding += other.costRounding
        importedUsageRows += other.importedUsageRows
        importedPicoUSD += other.importedPicoUSD
    }
}

/// The old database and the ledger beside each other, account by account.
///
/// The old side is added up while it is read; the side of the ledger is read back from its events when all is imported, whatever the
/// import believes to have done.
struct Reconciliation: Sendable {
    /// Rows that belong to no valid account are under nil.
    private(set) var accounts: [AccountID?: AccountFigures] = [:]

    subscript(account: AccountID?) -> AccountFigures {
        get { accounts[account] ?? AccountFigures() }
        set { accounts[account] = newValue }
    }

    var total: AccountFigures {
        accounts.values.reduce(into: AccountFigures()) { $0.add($1) }
    }

    /// By id, byte by byte; what belongs to nobody comes last.
    var sorted: [(account: AccountID?, figures: AccountFigures)] {
        accounts.map { (account: $0.key, figures: $0.value) }.sorted { left, right in
            guard let one = left.account else { return false }
            guard let other = right.account else { return true }
            return one.rawValue.utf8.lexicographicallyPrecedes(other.rawValue.utf8)
        }
    }

    /// How many accounts differ by more than named roundings.
    var differing: Int { accounts.values.count(where: { !$0.isReconciled }) }
}
