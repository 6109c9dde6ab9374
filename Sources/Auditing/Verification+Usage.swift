import Ledger
import LedgerSQLite
import Projections

extension Verification {
    /// Which rows of the usage log are not what the events lead to, where the digests of the two differ.
    mutating func compareUsage(_ view: LedgerView) throws {
        var problems: [Finding] = []
        func report(_ position: Int64, _ account: String?, _ detail: String) {
            guard problems.count <= Self.findingLimit else { return }
            problems.append(Finding(position: position, account: account, check: .projection, detail: detail))
        }
        try view.scan { row, _ in
            guard row.position <= usageCheckpoint else { return false }
            // What cannot be decoded is a finding already.
            guard let expected = (try? row.decoded()).flatMap(UsageRow.init) else { return true }
            if let problem = try Self.problem(of: expected, view) {
                report(row.position, expected.account.rawValue, problem)
            }
            return problems.count <= Self.findingLimit
        }
        try view.scanUsage(through: usageCheckpoint) { row in
            // A later row is an event's of which there is none any more.
            let event = problems.count <= Self.findingLimit ? try? view.event(at: row.position)?.event : nil
            guard let event, UsageRow(event) != nil else {
                return report(
                    row.position, String(decoding: row.account, as: UTF8.self),
                    "the usage log has a row of no request at \(row.position)")
            }
        }
        if problems.isEmpty {
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
