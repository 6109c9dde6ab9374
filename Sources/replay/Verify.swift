import ArgumentParser
import Auditing
import Foundation
import Ledger
import LedgerSQLite
import WireJSON

/// `replay verify DB`
struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prove the whole ledger: positions, hashes, rules, balances, projections, and every other table.",
        discussion: """
            Example: replay verify ledger.sqlite

            Every table belongs to a pass, or the run fails. What is printed as head can be kept and given to --expect-head: a
            history that was truncated or rewritten does not meet it. A signed checkpoint does the same for --from-checkpoint,
            and saves deciding again what was verified up to it. Neither goes with --account, which proves one account.
            Exit codes: 0 sound, 1 unsound, 2 unusable, 3 no such account.
            """)

    @OptionGroup var ledger: LedgerOptions

    @Option(help: "POSITION:HASH of an earlier verification, which the ledger must contain.")
    var expectHead: String?

    @Option(help: "A file with a checkpoint up to which the ledger was verified before; it must lead to it.")
    var fromCheckpoint: String?

    @Option(help: "A public key (or a file of such) with which checkpoints must be signed; can be repeated.")
    var key: [String] = []

    @Option(help: "Only this account: its events, balance and usage log.")
    var account: String?

    @Option(help: "How many threads at most, beside the one for the indexes; 1: one in all.")
    var jobs: Int?

    @Flag(help: "Also print the hash of the projections' canonical dump.")
    var dumpHash = false

    func run() throws {
        var options = Verification.Options()
        options.expectedHead = try expectHead.map(ExpectedHead.init).map { ($0.position, $0.hash) }
        options.keys = try publicKeys(key)
        options.checkpoint = try fromCheckpoint.map { try checkpoint(inFile: $0, options.keys) }
        options.dumpsProjections = dumpHash
        options.jobs = try Self.threads(jobs)
        let file = try ledger.open()
        if let account {
            guard let id = AccountID(rawValue: account) else {
                throw ValidationError("--account is no valid account id")
            }
            guard expectHead == nil, fromCheckpoint == nil, key.isEmpty, !dumpHash else {
                throw ValidationError(
                    "--expect-head, --from-checkpoint, --key and --dump-hash are about the whole ledger: leave --account out"
                )
            }
            try report(try usable { try Verification.run(file, account: id) }, account)
            return
        }
        let progress = SharedProgress()
        options.progress = { progress.update($0, of: $1) }
        let result = try usable { try Verification.run(file, options) }
        progress.end()
        try report(result, "")
    }

    private func report(_ result: Verification?, _ account: String) throws {
        guard let result else { throw noAccount(account) }
        write(ledger.format == .json ? result.json : result.text)
        if !result.isSound { throw ExitCode(1) }
    }

    /// Two threads do all there is to do on two cores; more of them need more memory, too.
    private static func threads(_ wanted: Int?) throws -> Int {
        let jobs = wanted ?? min(max(2, ProcessInfo.processInfo.activeProcessorCount), 4)
        guard (1...64).contains(jobs) else { throw ValidationError("--jobs must be from 1 to 64") }
        return jobs
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
    private var seconds: Double { duration / .seconds(1) }
    private var rate: Int64 { Int64(Double(events) / max(seconds, 0.000_001)) }

    fileprivate var text: String {
        var lines: [String] = []
        lines.append(
            "events      \(events) in \(accounts) accounts, \(String(format: "%.2f", seconds)) s, \(rate) events/s")
        for pass in passes where !pass.tables.isEmpty {
            lines.append("pass        \(pass.name): \(pass.rows) rows of \(pass.tables.joined(separator: ", "))")
        }
        if indexEntries > 0 {
            lines.append(
                "indexes     \(indexEntries) entries of those of events and usage log; the others by SQLite's own check"
            )
        }
        lines.append("head        \(head.position):\(head.hash)")
        if let root { lines.append("root        \(root)") }
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
        json.nullable("root", root?.description)
        json.field("index_entries", indexEntries)
        json.name("passes")
        json.beginArray()
        for pass in passes {
            json.beginObject()
            json.field("name", pass.name)
            json.name("tables")
            json.beginArray()
            for table in pass.tables { json.value(table) }
            json.endArray()
            json.field("rows", pass.rows)
            json.endObject()
        }
        json.endArray()
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
