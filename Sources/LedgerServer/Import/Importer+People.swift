import Ledger
import LedgerSQLite
import OldGateway

extension Importer {
    // MARK: Users

    /// Opens the accounts of all users and adds the users.
    ///
    /// The account comes first: who is blocked is so before there is a user whose key could be used.
    func importUsers() throws {
        let (subscribed, paid) = try subscribedPlans()
        let blockings = try ledger.lastBlockings()
        try tables.read(.users, batch: Self.batchSize) { rows in
            var users: [OldUser] = []
            for row in rows {
                do throws(RowProblem) {
                    users.append(try OldUser(row, now: now))
                } catch {
                    skip(.users, row.text("user_id"), error.description)
                }
            }
            let opened = try open(users, subscribed)
            try block(opened, blockings)
            try add(opened)
        }
        try importCycles(paid, on: subscribed)
    }

    /// Takes over the cycles that run there and are paid for. The accounts' other cycles begin with their opening here.
    private func importCycles(
        _ paid: [AccountID: (until: Timestamp, id: String)], on subscribed: [AccountID: String]
    ) throws {
        var commands: [Command] = []
        for (account, cycle) in paid.sorted(by: { $0.key.rawValue < $1.key.rawValue }) where cycle.until > now {
            guard let plan = subscribed[account], plans.contains(plan),
                let payment = PaymentID(rawValue: "import:\(cycle.id):\(cycle.until.microseconds)")
            else { continue }
            let command = ImportCycle(payment: payment, plan: plan, until: cycle.until, actor: Self.actor)
            commands.append(Command(account: account, action: .importCycle(command)))
        }
        for (command, result) in zip(commands, try submit(commands)) {
            guard case .failure(let refusal) = result else { continue }
            // A user who was skipped has no account; a free plan needs no payment.
            switch refusal {
            case .accountUnknown, .planNotForSale: continue
            default:
                let id = command.account.rawValue
                let detail = "its running cycle is not taken over: \(text(of: refusal))"
                report.note(ImportNote(.skipped, .subscriptions, account: id, detail: detail))
            }
        }
    }

    /// Opens accounts; gives the users whose accounts are open.
    private func open(_ users: [OldUser], _ subscribed: [AccountID: String]) throws -> [OldUser] {
        var wanted: [String] = []
        for user in users {
            let plan = subscribed[user.user.id] ?? "FREE"
            if !plans.contains(plan) {
                report.note(
                    ImportNote(
                        .skipped, .subscriptions, account: user.user.id.rawValue,
                        detail: "there is no plan '\(plan)' here: the account is opened on FREE"))
            }
            wanted.append(plans.contains(plan) ? plan : "FREE")
        }
        let commands = zip(users, wanted).map { Command(account: $0.user.id, action: .open(plan: $1)) }
        var opened: [OldUser] = []
        for ((user, plan), result) in zip(zip(users, wanted), try submit(commands)) {
            let id = user.user.id.rawValue
            switch result {
            case .success(let receipt):
                opened.append(user)
                // An account that was open before keeps the plan that it has.
                if receipt.isRepeat, case .accountOpened(let event)? = receipt.event?.event, event.plan != plan {
                    keep(.users, id, account: id, "it was opened on the plan \(event.plan), there it has \(plan)")
                }
            case .failure(let refusal): skip(.users, id, account: id, text(of: refusal))
            }
        }
        return opened
    }

    /// Blocks who is blocked there and unblocks whom only an import has blocked: what somebody has decided here stays.
    private func block(_ users: [OldUser], _ blockings: [String: (isBlocked: Bool, actor: String)]) throws {
        let commands = users.compactMap { user -> Command? in
            let shouldBe = user.isBlocked || user.isDeleted
            let last = blockings[user.user.id.rawValue]
            guard shouldBe != last?.isBlocked ?? false, last == nil || last?.actor == Self.actor else { return nil }
            let action: Command.Action = shouldBe ? .block(actor: Self.actor) : .unblock(actor: Self.actor)
            return Command(account: user.user.id, action: action)
        }
        for (command, result) in zip(commands, try submit(commands)) {
            if case .failure(let refusal) = result {
                let id = command.account.rawValue
                let detail = "neither blocked nor unblocked: \(text(of: refusal))"
                report.note(ImportNote(.skipped, .users, row: id, account: id, detail: detail))
            }
        }
    }

    private func add(_ users: [OldUser]) throws {
        for user in users where user.isDeleted {
            let id = user.user.id.rawValue
            countPresent(.users)
            keep(.users, id, account: id, "was deleted there: only the account is imported, blocked")
        }
        let living = users.filter { !$0.isDeleted }
        for (user, outcome) in zip(living, try directory.importUsers(living.map(\.user))) {
            let id = user.user.id.rawValue
            take(outcome, .users, id, account: id)
            if user.lacksMetadata, outcome == .added {
                report.note(
                    ImportNote(
                        .skipped, .users, row: id, account: id,
                        detail: "its metadata are no JSON object of up to 16384 bytes and are left out"))
            }
        }
    }

    // MARK: Identities and keys

    func importIdentities() throws {
        try tables.read(.identities, batch: Self.batchSize) { rows in
            var identities: [(row: String?, identity: ImportedIdentity)] = []
            for row in rows {
                do throws(RowProblem) {
                    identities.append((row.text("id"), try ImportedIdentity(row, now: now)))
                } catch {
                    skip(.identities, row.text("id"), account: row.text("user_id"), error.description)
                }
            }
            let outcomes = try directory.importIdentities(identities.map { $0.identity })
            for (old, outcome) in zip(identities, outcomes) {
                take(outcome, .identities, old.row, account: old.identity.user.rawValue)
            }
        }
    }

    /// Adds the keys, and deactivates those that an earlier import has brought and that are gone there: what was taken from somebody must not
    /// be given back by moving over. Where most of them are gone, it is another database, and nothing is taken from anybody.
    func importKeys() throws {
        guard try tables.has(.keys) else { return }
        var met: Set<String> = []
        try tables.read(.keys, batch: Self.batchSize) { rows in
            var keys: [APIKey] = []
            for row in rows {
                if let id = row.text("id") { met.insert(id) }
                do throws(RowProblem) {
                    keys.append(try APIKey(row, now: now))
                } catch {
                    skip(.keys, row.text("id"), account: row.text("user_id"), error.description)
                }
            }
            for (key, outcome) in zip(keys, try directory.importKeys(keys)) {
                take(outcome, .keys, key.id, account: key.user.rawValue)
            }
        }
        let (gone, count) = try directory.importedKeys(except: met)
        if gone.count > 3, gone.count * 2 > count {
            changed(
                .keys, nil,
                "\(gone.count) of the \(count) keys that were imported before are not in this database: is it the right one? None of them was deactivated"
            )
            return
        }
        for (id, user) in gone {
            changed(.keys, id, account: user, "is gone there since it was imported: it is deactivated here")
        }
        try directory.deactivateImportedKeys(gone.map(\.id))
    }
}
