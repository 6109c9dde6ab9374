import Ledger
import LedgerSQLite
import OldGateway

extension Importer {
    // MARK: Plans

    /// Plans of ours are there as a server's start makes them; old ones of other names are set, where a plan here can say the same.
    func importPlans() throws {
        _ = try submit(Plan.standard.map { Command.setPlan(SetPlan(plan: $0)) })
        plans = Set(Plan.standard.map(\.name))
        try tables.read(.plans, batch: Self.batchSize) { rows in
            for row in rows { try importPlan(row) }
        }
    }

    private func importPlan(_ row: OldRow) throws {
        let name = row.text("name")
        let old: Plan
        do throws(RowProblem) {
            old = try Plan(row)
        } catch {
            if let name, plans.contains(name) {
                keep(.plans, name, "the terms of \(name) stay those of this gateway: \(error)")
            } else {
                skip(.plans, name, "\(error); its accounts are opened on FREE")
            }
            return
        }
        if let ours = Plan.standard.first(where: { $0.name == old.name }) {
            countPresent(.plans)
            if ours.terms != old.terms {
                keep(.plans, old.name, "there: \(old.terms); here, and it stays so: \(ours.terms)")
            }
            return
        }
        let command = Command.setPlan(SetPlan(key: "import:plan:\(old.name)", plan: old))
        for result in try submit([command]) {
            switch result {
            case .success(let receipt):
                plans.insert(old.name)
                if receipt.event == nil || receipt.isRepeat { countPresent(.plans) } else { countImported(.plans) }
            case .failure(.keyReused):
                plans.insert(old.name)
                changed(.plans, old.name, "its terms are others there since it was imported: \(old.terms)")
            case .failure(let refusal): skip(.plans, old.name, text(of: refusal))
            }
        }
    }

    /// The plan of each user's active subscription, and until when it is paid; of several the one that began last.
    func subscribedPlans() throws -> (plans: [AccountID: String], paid: [AccountID: (until: Timestamp, id: String)]) {
        var names: [String: String] = [:]
        try tables.read(.plans, batch: Self.batchSize) { rows in
            for row in rows {
                guard let name = row.text("name") else { continue }
                names[row.text("id") ?? name] = name
            }
        }
        var subscribed: [AccountID: String] = [:]
        var paid: [AccountID: (until: Timestamp, id: String)] = [:]
        try tables.read(.subscriptions, batch: Self.batchSize) { rows in
            for row in rows {
                guard row["status"]?.uppercased() == "ACTIVE" else { continue }
                do throws(RowProblem) {
                    let account = try row.account()
                    let plan = try row.required("plan_id")
                    subscribed[account] = names[plan] ?? plan
                    if let until = try row.instant("renew_at") {
                        paid[account] = (until, row.text("id") ?? account.rawValue)
                    }
                } catch {
                    skip(.subscriptions, row.text("id"), error.description)
                }
            }
        }
        return (subscribed, paid)
    }

    // MARK: Prices

    /// The prices in force there are set, where the book does not say so already. One that the API has set here stays.
    func importPrices() throws {
        var latest: [String: OldPrice] = [:]
        try tables.read(.prices, batch: Self.batchSize) { rows in
            for row in rows {
                do throws(RowProblem) {
                    // Newer versions of the old gateway keep a price's history: rows are in its order.
                    if let from = try row.instant("effective_at"), from > now { continue }
                    let price = try OldPrice(row)
                    latest[price.model] = price
                } catch {
                    skip(.prices, row.text("model_key"), error.description)
                }
            }
        }
        for (model, price) in latest.sorted(by: { $0.key < $1.key }) { try importPrice(price, of: model) }
    }

    private func importPrice(_ old: OldPrice, of model: String) throws {
        for (column, figure) in old.figures { name(figure, column, .prices, model) }
        let key = "import:price:\(model)"
        if try ledger.event(key: key) == nil, let entry = writer.prices.entry(for: model, at: SystemClock.now()) {
            if entry.price == old.price {
                countPresent(.prices)
                return
            }
            guard entry.actor == "configuration" else {
                countPresent(.prices)
                keep(.prices, model, "a price that was set here stays")
                return
            }
        }
        let command = Command.setPrice(SetPrice(key: key, model: model, price: old.price, actor: Self.actor))
        for result in try submit([command]) {
            switch result {
            case .success(let receipt):
                if receipt.event == nil || receipt.isRepeat { countPresent(.prices) } else { countImported(.prices) }
            case .failure(.keyReused):
                changed(.prices, model, "it is another there since it was imported")
            case .failure(let refusal): skip(.prices, model, text(of: refusal))
            }
        }
    }

    // MARK: Budgets

    func importBudgets() throws {
        try tables.read(.budgets, batch: Self.batchSize) { rows in
            var budgets: [ImportedBudget] = []
            for row in rows {
                do throws(RowProblem) {
                    let old = try OldBudget(row, now: now)
                    if let maximum = old.maximum { name(maximum, "max_budget", .budgets, old.budget.id) }
                    budgets.append(old.budget)
                } catch {
                    skip(.budgets, row.text("budget_id"), error.description)
                }
            }
            for (budget, outcome) in zip(budgets, try directory.importBudgets(budgets)) {
                take(outcome, .budgets, budget.id, account: nil)
            }
        }
    }
}
