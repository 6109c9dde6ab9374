import Ledger
import LedgerSQLite
import OldGateway

// What a row of the old database becomes here. Pure: the same rows give the same values, and so the same commands under the same keys.

/// A user, and what concerns the account.
struct OldUser: Equatable {
    var user: ImportedUser
    var isBlocked: Bool
    /// Whether the user was deleted there: nothing of the person is imported.
    var isDeleted: Bool
    /// Whether there were metadata that are no JSON object.
    var lacksMetadata: Bool

    init(_ row: OldRow, now: Timestamp) throws(RowProblem) {
        let createdAt = try row.instant("created_at") ?? now
        let metadata = row.metadata()
        user = ImportedUser(
            id: try row.account(), alias: row.text("alias"), budgetID: row.text("budget_id"),
            metadata: metadata ?? "{}", createdAt: createdAt, updatedAt: try row.instant("updated_at") ?? createdAt)
        isBlocked = try row.flag("blocked") ?? false
        isDeleted = try row.instant("deleted_at") != nil
        lacksMetadata = metadata == nil
    }
}

extension ImportedIdentity {
    init(_ row: OldRow, now: Timestamp) throws(RowProblem) {
        // Of some people the old gateway knew the e-mail alone, and a portal still names them so.
        let byEmail = row.text("email").map { Identity.subject(ofEmail: $0, isVerified: false) }
        let subject: String
        if let own = row.text("provider_account_id") ?? byEmail {
            subject = own
        } else {
            throw RowProblem("it has neither provider_account_id nor email")
        }
        self.init(
            provider: try row.required("provider"), subject: subject,
            user: try row.account(), email: row.text("email"), name: row.text("name"),
            avatarURL: row.text("avatar_url"), role: row.text("role"), createdAt: try row.instant("created_at") ?? now,
            lastLoginAt: try row.instant("last_login_at"))
    }
}

extension APIKey {
    /// A key with the hash that the old gateway has of it, which is the one that is looked up here.
    init(_ row: OldRow, now: Timestamp) throws(RowProblem) {
        guard let hash = Self.bytes(hex: try row.required("key_hash")) else {
            throw RowProblem("its key_hash is no SHA-256 in hexadecimal digits: nobody can use it")
        }
        self.init(
            id: try row.required("id"), hash: hash, name: row.text("key_name"), user: try row.account(),
            isActive: try row.flag("is_active") ?? true, metadata: row.metadata() ?? "{}",
            createdAt: try row.instant("created_at") ?? now, expiresAt: try row.instant("expires_at"))
        lastUsedAt = try row.instant("last_used_at")
    }

    private static func bytes(hex: String) -> [UInt8]? {
        let digits = hex.utf8.map { byte -> UInt8? in
            switch byte {
            case 0x30...0x39: byte - 0x30
            case 0x41...0x46: byte - 0x41 + 10
            case 0x61...0x66: byte - 0x61 + 10
            default: nil
            }
        }
        guard digits.count == 64 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: 64, by: 2) {
            guard let high = digits[index], let low = digits[index + 1] else { return nil }
            bytes.append(high << 4 | low)
        }
        return bytes
    }
}

/// A budget and the figure that it was.
struct OldBudget {
    var budget: ImportedBudget
    var maximum: ImportedFigure?

    init(_ row: OldRow, now: Timestamp) throws(RowProblem) {
        maximum = try row.figure("max_budget", fractionDigits: 6)
        var microUSD: Int64?
        if let maximum {
            guard let value = Int64(exactly: maximum.value), value >= 0 else {
                throw RowProblem("its max_budget is below zero or too large: \(maximum.text)")
            }
            microUSD = value
        }
        let duration = try row.count("budget_duration_sec")
        if let duration, duration <= 0 { throw RowProblem("its budget_duration_sec is not above zero: \(duration)") }
        let createdAt = try row.instant("created_at") ?? now
        budget = ImportedBudget(
            id: try row.required("budget_id"), maximumMicroUSD: microUSD, durationSeconds: duration,
            createdAt: createdAt, updatedAt: try row.instant("updated_at") ?? createdAt)
    }
}

/// A price and the figures that it was.
struct OldPrice {
    let model: String
    let price: Price
    let figures: [(column: String, figure: ImportedFigure)]

    init(_ row: OldRow) throws(RowProblem) {
        guard let key = ModelKey(try row.required("model_key")) else {
            throw RowProblem("its model_key is not provider:model")
        }
        model = key.description
        var figures: [(column: String, figure: ImportedFigure)] = []
        var rates: [String: Int64] = [:]
        for column in ["input_price_per_million", "output_price_per_million", "cached_price_per_million"] {
            guard let figure = try row.figure(column, fractionDigits: 6) else { continue }
            guard let rate = Int64(exactly: figure.value) else {
                throw RowProblem("its \(column) is too large: \(figure.text)")
            }
            rates[column] = rate
            figures.append((column, figure))
        }
        guard let input = rates["input_price_per_million"], let output = rates["output_price_per_million"] else {
            throw RowProblem("it lacks the price of input or of output")
        }
        guard let price = Price(input: input, output: output, cached: rates["cached_price_per_million"]) else {
            throw RowProblem("its prices are not between 0 and 10000 USD per million tokens")
        }
        self.price = price
        self.figures = figures
    }
}

extension Plan {
    /// The terms of an old plan, where a plan here can say the same.
    ///
    /// A paid plan grants its monthly credits at each cycle; a free one fills the balance up to them.
    init(_ row: OldRow) throws(RowProblem) {
        let name = try row.required("name")
        if let bonus = try row.count("monthly_bonus_credits", fractionDigits: 9), bonus != 0 {
            throw RowProblem("plans have no monthly bonus here, it has \(row["monthly_bonus_credits"] ?? "one")")
        }
        let microUSD = try row.count("price_usd", fractionDigits: 6) ?? 0
        let credits = Credits(nanos: try row.count("monthly_credits", fractionDigits: 9) ?? 0)
        var rate = CreditRate.standard
        if let micros = try row.count("credits_per_usd", fractionDigits: 6) {
            guard let own = CreditRate(microsPerUSD: micros) else {
                throw RowProblem("its credits_per_usd is not above 0 and at most 100")
            }
            rate = own
        }
        let (seconds, overflow) = (try row.count("renew_interval_days") ?? 30).multipliedReportingOverflow(by: 86_400)
        guard !overflow,
            let plan = Plan(
                name: name, microUSD: microUSD, rate: rate, cycleCredits: microUSD > 0 ? credits : .zero,
                topUpTo: microUSD > 0 ? .zero : credits, cycleSeconds: seconds)
        else { throw RowProblem("its terms are below zero, or its name is longer than 64 bytes") }
        self = plan
    }

    /// What an account on it receives, for people.
    var terms: String {
        "\(Decimal64.text(microUSD, fractionDigits: 6)) USD, \(cycleCredits) credits and filled up to \(topUpTo)"
            + " every \(cycleSeconds) s, \(Decimal64.text(rate.microsPerUSD, fractionDigits: 6)) credits a USD"
    }
}

/// A request that the old gateway served.
struct OldUsage {
    let account: AccountID
    let command: ImportUsage

    init(_ row: OldRow, cost: ImportedFigure) throws(RowProblem) {
        account = try row.account()
        guard let request = RequestID(importedUsage: try row.required("id")) else {
            throw RowProblem("its id is longer than 121 characters, or not printable ASCII")
        }
        guard let at = try row.instant("timestamp") else { throw RowProblem("it has no timestamp") }
        let origin = RequestOrigin(
            model: Self.model(row), keyID: row.text("api_key_id"), endpoint: row.text("endpoint") ?? "unknown")
        let isSuccess = row["status"]?.lowercased() == "success"
        // The old message may quote what a person wrote: only that there was an error is kept.
        command = ImportUsage(
            usage: UsageImported(
                request: request, origin: origin, status: isSuccess ? .success : .error,
                promptTokens: try row.count("prompt_tokens") ?? 0, cachedTokens: try row.count("cached_tokens") ?? 0,
                completionTokens: try row.count("completion_tokens") ?? 0, costPicoUSD: cost.value,
                error: isSuccess ? nil : "error"), at: at)
    }

    /// `provider:model` where the row has both, else what it has.
    private static func model(_ row: OldRow) -> String {
        let model = row.text("model") ?? "unknown"
        guard let provider = row.text("provider") else { return model }
        return ModelKey(provider: provider, model: model)?.description ?? provider + ":" + model
    }
}
