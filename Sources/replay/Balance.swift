import ArgumentParser
import Auditing
import Foundation
import Ledger
import LedgerSQLite
import WireJSON

/// `replay balance DB --account ID`
struct Balance: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compute an account's balance from its events alone, now or at an instant.",
        discussion: """
            Example: replay balance ledger.sqlite --account alice --at 2026-03-01T00:00:00Z

            --at is by the time from which events count, --known-at by the time at which they were recorded: what was the
            balance on the first, as it was known on the second? What was due by then counts, recorded or not. Nothing is
            foretold: an --at behind what is known is read as the last instant that is, which `at` names.
            Exit codes: 0 told, 2 unusable, 3 no such account by then.
            """)

    @OptionGroup var ledger: LedgerOptions

    @Option(help: "The account's id.")
    var account: String

    @Option(help: "An instant in ISO 8601: what counted by then, as far as it is known now.")
    var at: String?

    @Option(help: "An instant in ISO 8601: as far as it was known then.")
    var knownAt: String?

    func run() throws {
        let id = try accountID(account)
        let instant = try instant(at, "--at")
        let known = try replay.instant(knownAt, "--known-at")
        let file = try ledger.open()
        let reading = try usable { try file.reading(of: id, at: instant, knownAt: known, now: now()) }
        guard let reading else { throw noAccount(account) }
        write(ledger.format == .json ? json(reading) : text(reading))
    }

    private func text(_ reading: AccountReading) -> String {
        let (account, instant) = (reading.account, reading.at)
        let totals = account.totals
        func credits(_ nanos: Int128) -> String { Decimal64.text(nanos, fractionDigits: 9) }
        var lines = [
            "account     \(account.id)",
            "at          \(instant)",
            "balance     \(reading.balance) credits",
            "held        \(account.held)",
            "available   \(account.available(at: instant))",
            "debt        \(account.debt)",
            "events      \(reading.version): granted \(credits(totals.granted)) - expired \(credits(totals.expired))"
                + " - charged \(credits(totals.charged)) + reversed \(credits(totals.reversed))"
                + " - withdrawn \(credits(totals.withdrawn))",
        ]
        if !reading.pending.isEmpty {
            lines.append("due         \(reading.pending.count) events that are not recorded yet are counted in")
        }
        for grant in account.openGrants {
            let expiry =
                grant.expiresAt.map { grant.hasExpired(at: instant) ? "expired \($0)" : "until \($0)" } ?? "no expiry"
            lines.append(
                "grant       \(grant.id) \(grant.pool.rawValue): \(grant.remaining) of \(grant.amount), \(expiry)")
        }
        return lines.joined(separator: "\n")
    }

    private func json(_ reading: AccountReading) -> String {
        let (account, instant) = (reading.account, reading.at)
        var json = JSONWriter()
        json.beginObject()
        json.field("account", account.id.rawValue)
        json.field("at", instant.description)
        json.field("balance", reading.balance.description)
        json.field("held", account.held.description)
        json.field("available", account.available(at: instant).description)
        json.field("debt", account.debt.description)
        json.field("version", reading.version)
        json.field("pending", reading.pending.count)
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
