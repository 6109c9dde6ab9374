import Ledger
import LedgerSQLite

// Which table belongs to which pass. A table that belongs to none is a finding: nobody has looked at it.

extension Verification {
    /// The passes and their tables.
    static let tables: [(name: String, tables: [String])] = [
        ("chain and rules", ["events"]),
        ("balances", ["balances", "grants", "cycles", "payments", "spending"]),
        ("snapshots", ["snapshots"]),
        ("usage", ["usage_log", "usage_days", "checkpoints"]),
        ("proofs", ["tree_tiles", "signed_checkpoints"]),
        (
            "people",
            [
                "users", "api_keys", "identities", "bonus_marks", "login_attempts", "login_codes", "sessions",
                "refresh_tokens", "budgets",
            ]
        ),
        ("request keys", ["request_keys"]),
        ("messages", ["provider_subscriptions", "provider_subscription_plans", "deliveries", "webhooks", "notices"]),
    ]

    /// The passes over ordinary tables; and what each of all passes has covered.
    mutating func verifyTables(_ view: LedgerView) throws {
        let found = try view.tables()
        let covered = Set(Self.tables.flatMap(\.tables))
        add(.schema, found.filter { !covered.contains($0) }.map { (nil, "no pass covers the table '\($0)'") })
        for (name, tables) in Self.tables {
            let own = tables.filter(found.contains)
            var pass = Pass(name: name, tables: own)
            switch name {
            case "people":
                let check = try view.checkPeople(own)
                add(.directory, check.problems)
                pass.rows = check.rows
            case "request keys":
                let check = try view.checkRequestKeys()
                add(.directory, check.problems)
                pass.rows = check.rows
            case "messages":
                let check = try view.checkMessages(own)
                add(.directory, check.problems)
                pass.rows = check.rows
            default:
                for table in own { pass.rows += try view.rowCount(table) }
            }
            passes.append(pass)
        }
    }
}
