import ArgumentParser
import Foundation
import Ledger
import LedgerSQLite
import WireJSON

/// `replay verify DB`
struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prove the whole ledger: positions, hashes, rules, balances and projections.",
        discussion: """
            Example: replay verify ledger.sqlite --expect-head 9:3f2c…

            With --expect-head, the event at that position must have that hash: a history that was truncated or rewritten
            does not meet the head that you kept. verify prints the head to keep.
            """)

    @OptionGroup var ledger: LedgerOptions

    @Option(help: "POSITION:HASH of an earlier verification, which the ledger must contain.")
    var expectHead: String?

    @Flag(help: "Also print the hash of the projections' canonical dump.")
    var dumpHash = false

    func run() throws {
        let file = try ledger.open()
        let expected = try expectHead.map(ExpectedHead.init)
        let result: Verification
        do {
            result = try Verification.run(file, expecting: expected, dumpsProjections: dumpHash)
        } catch {
            throw unusable(error)
        }
        write(ledger.format == .json ? result.json : result.text)
        if !result.isSound { throw ExitCode(1) }
    }
}

/// A head that somebody kept.
struct ExpectedHead {
    let position: Int64
    let hash: String

    init(_ text: String) throws {
        let parts = text.split(separator: ":")
        guard parts.count == 2, let position = Int64(parts[0]), position > 0, parts[1].utf8.count == 64 else {
            throw ValidationError(
                "--expect-head must be POSITION:HASH, with the 64 hexadecimal digits that verify printed")
        }
        self.position = position
        hash = parts[1].lowercased()
    }
}

extension Verification {
    fileprivate var rate: Int64 { Int64(Double(events) / max(seconds, 0.000_001)) }

    fileprivate var text: String {
        var lines: [String] = []
        lines.append(
            "events      \(events) in \(accounts) accounts, \(String(format: "%.2f", seconds)) s, \(rate) events/s")
        lines.append("head        \(head.position):\(head.hash)")
        lines.append("balance     \(Decimal64.text(totals.balance, fractionDigits: 9)) credits in all")
        lines.append(
            "            = granted \(Decimal64.text(totals.granted, fractionDigits: 9))"
                + " - expired \(Decimal64.text(totals.expired, fractionDigits: 9))"
                + " - charged \(Decimal64.text(totals.charged, fractionDigits: 9))"
                + " + reversed \(Decimal64.text(totals.reversed, fractionDigits: 9))"
                + " - withdrawn \(Decimal64.text(totals.withdrawn, fractionDigits: 9))")
        lines.append("open holds  \(openHolds)")
        lines.append("usage log   \(usageRows) rows, up to position \(usageCheckpoint)")
        if let projections { lines.append("projections \(projections)") }
        lines += findings.map { "UNSOUND     \($0)" }
        if unreported > 0 { lines.append("UNSOUND     and \(unreported) findings more") }
        lines.append(isSound ? "sound" : "NOT SOUND")
        return lines.joined(separator: "\n")
    }

    fileprivate var json: String {
        var json = JSONWriter()
        json.beginObject()
        json.field("sound", isSound)
        json.field("events", events)
        json.field("accounts", accounts)
        json.name("head")
        json.beginObject()
        json.field("position", head.position)
        json.field("hash", head.hash.description)
        json.endObject()
        json.name("totals_nano_credits")
        json.beginObject()
        json.field("balance", totals.balance)
        json.field("granted", totals.granted)
        json.field("expired", totals.expired)
        json.field("charged", totals.charged)
        json.field("reversed", totals.reversed)
        json.field("withdrawn", totals.withdrawn)
        json.endObject()
        json.field("open_holds", openHolds)
        json.field("usage_rows", usageRows)
        json.field("usage_checkpoint", usageCheckpoint)
        json.nullable("projections", projections?.description)
        json.name("seconds")
        json.raw(String(format: "%.6f", seconds))
        json.field("events_per_second", rate)
        json.name("findings")
        json.beginArray()
        for finding in findings {
            json.beginObject()
            json.nullable("position", finding.position)
            json.nullable("account", finding.account)
            json.field("check", finding.check.rawValue)
            json.field("detail", finding.detail)
            json.endObject()
        }
        json.endArray()
        json.field("unreported_findings", unreported)
        json.endObject()
        return json.text
    }
}
