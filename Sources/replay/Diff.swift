import ArgumentParser
import Auditing
import Ledger
import WireJSON

/// `replay diff DB --known-at A B`
struct Diff: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say why a report changed: what became known between two instants about what counted before.",
        discussion: """
            Example: replay diff ledger.sqlite --known-at 2026-03-01T00:00:00Z 2026-03-02T00:00:00Z

            The reports are about --at, by the time from which events count; without it, about the first of the two instants.
            What was due was told as due: that it was recorded later is no difference. A report that was made before --at is
            about the instant at which it was made. The lines of an account come to its difference.
            Exit codes: 0 nothing differs, 1 something does, 2 unusable, 3 no such account.
            """)

    @OptionGroup var ledger: LedgerOptions

    @Option(parsing: .upToNextOption, help: "Two instants in ISO 8601: as it was known then, and then.")
    var knownAt: [String]

    @Option(help: "The instant that both reports are about.")
    var at: String?

    @Option(help: "Only this account.")
    var account: String?

    func run() throws {
        let known = try knownAt.compactMap { try instant($0, "--known-at") }
        guard known.count == 2, known[0] <= known[1] else {
            throw ValidationError("--known-at takes two instants, the earlier one first")
        }
        let at = try instant(at, "--at") ?? known[0]
        let id = try account.map(accountID)
        let file = try ledger.open()
        let difference = try usable {
            try KnowledgeDifference.between(known[0], known[1], at: at, account: id, now: now(), in: file)
        }
        guard let difference else { throw noAccount(account ?? "") }
        write(ledger.format == .json ? json(difference) : text(difference))
        if !difference.changes.isEmpty { throw ExitCode(1) }
    }

    private func text(_ difference: KnowledgeDifference) -> String {
        var lines = [
            "at        \(difference.at)", "known at  \(difference.knownFirst)", "and at    \(difference.knownLater)",
        ]
        for change in difference.changes {
            lines.append(
                "account   \(change.account): \(Decimal64.text(change.difference, fractionDigits: 9)) credits,"
                    + " by \(change.eventCount) events")
            for event in change.events {
                lines.append(
                    "  position \(event.position), \(event.event.type), counts from \(event.effectiveAt), recorded"
                        + " \(event.recordedAt): \(Decimal64.text(event.event.balanceChange, fractionDigits: 9))")
            }
            if change.eventCount > change.events.count {
                lines.append(
                    "  \(change.eventCount - Int64(change.events.count)) more events:"
                        + " \(Decimal64.text(change.unlisted, fractionDigits: 9))")
            }
            for draft in change.pending {
                lines.append(
                    "  due, \(draft.event.type), counts from \(draft.effectiveAt), not recorded:"
                        + " \(Decimal64.text(draft.event.balanceChange, fractionDigits: 9))")
            }
            for draft in change.notDue {
                lines.append(
                    "  not due any more, \(draft.event.type), would have counted from \(draft.effectiveAt):"
                        + " \(Decimal64.text(-draft.event.balanceChange, fractionDigits: 9))")
            }
            if change.deferred != 0 {
                lines.append(
                    "  expired, and requests under way may still use it:"
                        + " \(Decimal64.text(change.deferred, fractionDigits: 9))")
            }
        }
        if difference.changes.isEmpty { lines.append("nothing differs") }
        return lines.joined(separator: "\n")
    }

    private func json(_ difference: KnowledgeDifference) -> String {
        var json = JSONWriter()
        json.beginObject()
        json.field("at", difference.at.description)
        json.name("known_at")
        json.beginArray()
        json.value(difference.knownFirst.description)
        json.value(difference.knownLater.description)
        json.endArray()
        json.name("accounts")
        json.beginArray()
        for change in difference.changes {
            json.beginObject()
            json.field("account", change.account.rawValue)
            json.field("difference", Decimal64.text(change.difference, fractionDigits: 9))
            json.field("event_count", change.eventCount)
            json.name("events")
            json.beginArray()
            for event in change.events {
                json.beginObject()
                json.field("position", event.position)
                json.field("type", event.event.type)
                json.field("effective_at", event.effectiveAt.description)
                json.field("recorded_at", event.recordedAt.description)
                json.field("credits", Decimal64.text(event.event.balanceChange, fractionDigits: 9))
                json.endObject()
            }
            json.endArray()
            json.field("unlisted_credits", Decimal64.text(change.unlisted, fractionDigits: 9))
            for (name, drafts, sign) in [("pending", change.pending, 1), ("not_due", change.notDue, -1)] {
                json.name(name)
                json.beginArray()
                for draft in drafts {
                    json.beginObject()
                    json.field("type", draft.event.type)
                    json.field("effective_at", draft.effectiveAt.description)
                    let credits = draft.event.balanceChange * Int128(sign)
                    json.field("credits", Decimal64.text(credits, fractionDigits: 9))
                    json.endObject()
                }
                json.endArray()
            }
            json.field("deferred_credits", Decimal64.text(change.deferred, fractionDigits: 9))
            json.endObject()
        }
        json.endArray()
        json.endObject()
        return json.text
    }
}
