import Ledger
import OldGateway

/// What one account has in the old gateway, and the commands by which it is given here.
///
/// Pure: the same rows at the same instant give the same commands. Every row has a key of its own, under which it is granted once.
struct OpeningBalance {
    /// A row that is carried over.
    struct Part: Equatable {
        let row: String
        let command: Command
        let figure: ImportedFigure
    }

    /// nil: the rows are of no valid account.
    let account: AccountID?
    private(set) var parts: [Part] = []
    private(set) var notes: [ImportNote] = []
    /// The sum of the rows that have not expired, in credits.
    private(set) var balance = ExactDecimal.zero
    /// What rounding has added to that.
    private(set) var rounding = ExactDecimal.zero
    /// The ids of all rows, and of those that have expired.
    private(set) var rows: Set<String> = []
    private(set) var expiredRows: Set<String> = []

    /// A row that was read.
    private struct Entry {
        let id: String
        let figure: ImportedFigure
        let pool: Pool
        let expiresAt: Timestamp?
        let nanos: Int64
    }

    /// `old` are all rows of one user.
    init(_ old: [OldRow], now: Timestamp) {
        account = old.first.flatMap { try? $0.account() }
        var entries: [Entry] = []
        for row in old {
            do throws(RowProblem) {
                if let entry = try read(row, now: now) { entries.append(entry) }
            } catch {
                note(.skipped, row.text("id"), error.description)
            }
        }
        give(entries)
    }

    /// Reads a row and adds it to the sums; nil where there is nothing to carry over.
    private mutating func read(_ row: OldRow, now: Timestamp) throws(RowProblem) -> Entry? {
        let id = try row.required("id")
        rows.insert(id)
        let figure = try row.figure("amount", fractionDigits: 9) ?? .zero(fractionDigits: 9)
        let expiresAt = try row.instant("expires_at")
        if let expiresAt, expiresAt <= now {
            expiredRows.insert(id)
            if !figure.exact.isZero {
                note(.expired, id, "\(figure.text) credits expired at \(expiresAt) and are not carried over")
            }
            return nil
        }
        balance += figure.exact
        _ = try row.account()
        guard let pool = Self.pool(try row.required("pool_type")) else {
            throw RowProblem("its pool_type is unknown: \(row["pool_type"] ?? "")")
        }
        guard let nanos = Int64(exactly: figure.value) else {
            throw RowProblem("its amount is too large: \(figure.text)")
        }
        rounding += figure.rounding
        if !figure.isExact {
            notes.append(
                ImportNote(
                    .rounded, .balances, row: id, account: account?.rawValue, detail: "",
                    rounding: ImportNote.Rounding(column: "amount", figure)))
        }
        return nanos == 0 ? nil : Entry(id: id, figure: figure, pool: pool, expiresAt: expiresAt, nanos: nanos)
    }

    private static func pool(_ name: String) -> Pool? {
        switch name.uppercased() {
        case "ADDON", "TOPUP": .topup
        case let name: Pool(rawValue: name)
        }
    }

    /// Grants what is above zero, then withdraws what is below, for as far as there is something to withdraw it from.
    private mutating func give(_ entries: [Entry]) {
        guard let account else { return }
        var left: Int128 = 0
        for entry in entries where entry.nanos > 0 {
            left += Int128(entry.nanos)
            let grant = GrantCredits(
                key: GrantCredits.openingKey(entry.id), pool: entry.pool, source: .openingBalance,
                amount: Credits(nanos: entry.nanos), expiresAt: entry.expiresAt, reference: entry.id,
                actor: Importer.actor)
            parts.append(
                Part(row: entry.id, command: Command(account: account, action: .grant(grant)), figure: entry.figure))
        }
        for entry in entries where entry.nanos < 0 {
            let owed = -Int128(entry.nanos)
            let part = min(owed, left)
            left -= part
            if part < owed {
                let debt = Decimal64.text(owed - part, fractionDigits: 9)
                note(.skipped, entry.id, "a debt of \(debt) credits that no other row covers is not carried over")
            }
            guard part > 0, let nanos = Int64(exactly: -part) else { continue }
            let adjustment = AdjustCredits(
                key: GrantCredits.openingKey(entry.id), amount: Credits(nanos: nanos),
                reason: "a balance below zero in the old gateway", actor: Importer.actor)
            parts.append(
                Part(
                    row: entry.id, command: Command(account: account, action: .adjust(adjustment)),
                    figure: entry.figure))
        }
    }

    private mutating func note(_ kind: ImportNote.Kind, _ row: String?, _ detail: String) {
        notes.append(ImportNote(kind, .balances, row: row, account: account?.rawValue, detail: detail))
    }
}
