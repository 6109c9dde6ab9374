import Ledger
import LedgerSQLite
import Projections

extension Verification {
    /// Which rows of the usage log are not what the events lead to: for where the two digests differ, or where there is none of the log.
    mutating func compareUsage(_ view: LedgerView, hasDigest: Bool) throws {
        var problems: [Finding] = []
        func report(_ position: Int64, _ account: String?, _ detail: String) {
            if problems.count < Self.findingLimit {
                problems.append(Finding(position: position, account: account, check: .projection, detail: detail))
            } else {
                unreported += 1
            }
        }
        try view.scan { row, _ in
            guard row.position <= usageCheckpoint else { return false }
            // What cannot be decoded is a finding already.
            guard let expected = (try? row.decoded()).flatMap(UsageRow.init) else { return true }
            if let problem = try Self.problem(of: expected, view) {
                report(row.position, expected.account.rawValue, problem)
            }
            return true
        }
        try view.scanUsage(through: usageCheckpoint) { row in
            if let event = try? view.event(at: row.position)?.event, UsageRow(event) != nil { return }
            report(
                row.position, String(decoding: row.account, as: UTF8.self),
                "the usage log has a row of no request at \(row.position)")
        }
        if problems.isEmpty, hasDigest {
            add(.projection, [(nil, "the usage log does not have the rows that the events lead to")])
        }
        add(problems)
    }

    /// What is wrong with the usage log's row of a request; nil: nothing.
    static func problem(of expected: UsageRow, _ view: LedgerView) throws -> String? {
        // The key is a new one for each: nobody can have made up another row of the same hash.
        let key = RowHash.Key()
        guard let found = try view.usage(at: expected.position, { RowHash($0, key).value }) else {
            return "the usage log lacks the request"
        }
        return found == RowHash(expected, key).value ? nil : "the usage log's row differs from the event"
    }
}
