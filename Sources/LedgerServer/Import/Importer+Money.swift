import Ledger
import LedgerSQLite
import OldGateway

/// The rows of balances that were met, by id.
struct BalanceRows {
    var all: Set<String> = []
    var expired: Set<String> = []
}

extension Importer {
    // MARK: Balances

    /// Grants what every account has there, each row once; gives which rows there are.
    func importBalances() throws -> BalanceRows {
        var met = BalanceRows()
        var ofOne: [OldRow] = []
        var pending: [OpeningBalance] = []
        func finishAccount() {
            if ofOne.isEmpty { return }
            let balance = OpeningBalance(ofOne, now: now)
            ofOne = []
            met.all.formUnion(balance.rows)
            met.expired.formUnion(balance.expiredRows)
            pending.append(balance)
        }
        try tables.read(.balances, batch: Self.batchSize) { rows in
            for row in rows {
                // Rows of one user lie together; only all of them say what can be withdrawn.
                if let last = ofOne.last, !Self.areOfOneUser(last, row) { finishAccount() }
                ofOne.append(row)
            }
            if pending.count >= Self.batchSize {
                try give(pending)
                pending = []
            }
        }
        finishAccount()
        try give(pending)
        return met
    }

    /// Byte by byte: ids that only look alike are two users.
    private static func areOfOneUser(_ one: OldRow, _ other: OldRow) -> Bool {
        guard let left = one["user_id"], let right = other["user_id"] else {
            return one["user_id"] == nil && other["user_id"] == nil
        }
        return left.utf8.elementsEqual(right.utf8)
    }

    private func give(_ balances: [OpeningBalance]) throws {
        for balance in balances {
            reconciliation[balance.account].oldBalance += balance.balance
            reconciliation[balance.account].balanceRounding += balance.rounding
            for note in balance.notes {
                if note.isDifference {
                    skip(.balances, note.row, account: note.account, note.detail)
                } else {
                    report.note(note)
                }
            }
        }
        let parts = balances.flatMap(\.parts)
        for (part, result) in zip(parts, try submit(parts.map(\.command))) {
            let account = part.command.account
            switch result {
            case .success(let receipt):
                if receipt.isRepeat { countPresent(.balances) } else { countImported(.balances) }
            case .failure(.keyReused(let key)):
                let before = try ledger.event(key: key).flatMap { $0.event.openingAmount } ?? "other"
                changed(
                    .balances, part.row, account: account.rawValue,
                    "\(before) credits were imported, there it has \(part.figure.text) now, or another pool or expiry")
            case .failure(.instantInThePast):
                // It expired while the import was running.
                reconciliation[account].oldBalance -= part.figure.exact
                reconciliation[account].balanceRounding -= part.figure.rounding
                report.note(
                    ImportNote(
                        .expired, .balances, row: part.row, account: account.rawValue,
                        detail: "\(part.figure.text) credits have expired by now and are not carried over"))
            case .failure(let refusal): skip(.balances, part.row, account: account.rawValue, text(of: refusal))
            }
        }
    }

    // MARK: Usage

    /// Records every request that the old gateway served, in the order of time.
    func importUsage() throws {
        try tables.read(.usage, batch: Self.batchSize) { rows in
            var usage: [OldUsage] = []
            for row in rows {
                if let read = self.usage(row) { usage.append(read) }
            }
            let commands = usage.map { Command(account: $0.account, action: .importUsage($0.command)) }
            for (old, result) in zip(usage, try submit(commands)) {
                let (id, account) = (old.command.usage.request.importedUsage, old.account.rawValue)
                switch result {
                case .success(let receipt):
                    if receipt.isRepeat { countPresent(.usage) } else { countImported(.usage) }
                case .failure(.keyReused):
                    changed(.usage, id, account: account, "it is otherwise there since it was imported")
                case .failure(let refusal): skip(.usage, id, account: account, text(of: refusal))
                }
            }
        }
    }

    /// Reads a row and adds it to the old side, whether or not it can be imported; nil where it cannot.
    private func usage(_ row: OldRow) -> OldUsage? {
        let id = row.text("id")
        let account = try? row.account()
        reconciliation[account].oldUsageRows += 1
        do throws(RowProblem) {
            let cost = try row.figure("cost", fractionDigits: 12) ?? .zero(fractionDigits: 12)
            reconciliation[account].oldCost += cost.exact
            let usage = try OldUsage(row, cost: cost)
            reconciliation[account].costRounding += cost.rounding
            name(cost, "cost", .usage, id, account: account?.rawValue)
            return usage
        } catch {
            skip(.usage, id, account: row.text("user_id"), error.description)
            return nil
        }
    }

    // MARK: What the ledger says

    /// Adds up what the events of this and of all earlier imports say, and names what the old database no longer has.
    func readBack(_ met: BalanceRows) throws {
        let prefix = GrantCredits.openingKey("")
        try ledger.forEachEvent(keyPrefix: prefix) { recorded in
            let row = String(recorded.key.dropFirst(prefix.count))
            switch recorded.event {
            case .creditsGranted(let grant):
                // What has expired here is no part of a balance, neither here nor there.
                if let expiresAt = grant.expiresAt, expiresAt <= now { return }
                reconciliation[recorded.account].importedNanos += Int128(grant.amount.nanos)
                let account = recorded.account.rawValue
                if !met.all.contains(row) {
                    changed(.balances, row, account: account, "it is gone; \(grant.amount) credits were imported of it")
                } else if met.expired.contains(row) {
                    changed(
                        .balances, row, account: account,
                        "it has expired there; \(grant.amount) credits were imported of it, with another expiry")
                }
            case .creditsWithdrawn(let withdrawal):
                reconciliation[recorded.account].importedNanos -= Int128(withdrawal.amount.nanos)
            default: break
            }
        }
        try ledger.forEachEvent(keyPrefix: "\(ImportUsage.keyPrefix)") { recorded in
            guard case .usageImported(let usage) = recorded.event else { return }
            reconciliation[recorded.account].importedUsageRows += 1
            reconciliation[recorded.account].importedPicoUSD += usage.costPicoUSD
        }
    }
}

extension LedgerEvent {
    /// What an opening balance gave or took, in credits; nil for other events.
    fileprivate var openingAmount: String? {
        switch self {
        case .creditsGranted(let event): event.amount.description
        case .creditsWithdrawn(let event): "-\(event.amount)"
        default: nil
        }
    }
}
