import ArgumentParser
import Foundation
import Ledger
import LedgerSQLite
import WireJSON

/// `replay balance DB --account ID`
struct Balance: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compute an account's balance from its events alone, now or at an instant.",
        discussion: "Example: replay balance ledger.sqlite --account alice --at 2026-03-01T00:00:00Z")

    @OptionGroup var ledger: LedgerOptions

    @Option(help: "The account's id.")
    var account: String

    @Option(help: "An instant in ISO 8601: what counted by then, as far as it is known now.")
    var at: String?

    func run() throws {
        guard let id = AccountID(rawValue: account) else { throw ValidationError("--account is no valid account id") }
        let instant = try at.map { text in
            guard let instant = Timestamp(iso8601: text) else {
                throw ValidationError("--at must be an instant in ISO 8601, such as 2026-03-01T00:00:00Z")
            }
            return instant
        }
        let file = try ledger.open()
        let now = Timestamp(microseconds: Int64(Date().timeIntervalSince1970 * 1_000_000))
        var folded = Account(id: id)
        var latest = now
        do {
            try file.snapshot { view in
                try view.scan(account: id) { row, _ in
                    let event = try row.decoded()
                    if let instant, event.effectiveAt > instant { return true }
                    // What was imported counts from before the account was opened, and says nothing of what it had.
                    if case .usageImported = event.event, !folded.isOpen { return true }
                    folded.apply(event.event, effectiveAt: event.effectiveAt)
                    latest = max(latest, event.recordedAt)
                    return true
                }
            }
        } catch {
            throw unusable(error)
        }
        guard folded.version > 0 else {
            complain("replay: there is no account '\(account)'\(instant == nil ? "" : " at that instant")")
            throw ExitCode(3)
        }
        write(ledger.format == .json ? json(folded, at: instant ?? latest) : text(folded, at: instant ?? latest))
    }

    private func text(_ account: Account, at instant: Timestamp) -> String {
        let totals = account.totals
        func credits(_ nanos: Int128) -> String { Decimal64.text(nanos, fractionDigits: 9) }
        var lines = [
            "account     \(account.id)",
            "at          \(instant)",
            "balance     \(account.balance(at: instant)) credits",
            "held        \(account.held)",
            "available   \(account.available(at: instant))",
            "debt        \(account.debt)",
            "events      \(account.version): granted \(credits(totals.granted)) - expired \(credits(totals.expired))"
                + " - charged \(credits(totals.charged)) + reversed \(credits(totals.reversed))"
                + " - withdrawn \(credits(totals.withdrawn))",
        ]
        for grant in account.openGrants {
            let expiry =
                grant.expiresAt.map { grant.hasExpired(at: instant) ? "expired \($0)" : "until \($0)" } ?? "no expiry"
            lines.append(
                "grant       \(grant.id) \(grant.pool.rawValue): \(grant.remaining) of \(grant.amount), \(expiry)")
        }
        return lines.joined(separator: "\n")
    }

    private func json(_ account: Account, at instant: Timestamp) -> String {
        var json = JSONWriter()
        json.beginObject()
        json.field("account", account.id.rawValue)
        json.field("at", instant.description)
        json.field("balance", account.balance(at: instant).description)
        json.field("held", account.held.description)
        json.field("available", account.available(at: instant).description)
        json.field("debt", account.debt.description)
        json.field("version", account.version)
        json.name("grants")
        json.beginArray()
        for grant in account.openGrants {
            json.beginObject()
            json.field("grant", grant.id)
            json.field("pool", grant.pool.rawValue)
            json.field("amount", grant.amount.description)
            json.field("remaining", grant.remaining.description)
            json.nullable("expires_at", grant.expiresAt?.description)
            json.endObject()
        }
        json.endArray()
        json.endObject()
        return json.text
    }
}
