public import Ledger

/// Whether credits were paid for, or given away.
public enum Funding: String, Sendable, CaseIterable {
    case paid
    case promotional
}

/// What a grant is, for the books: where it lies and who paid for it. It never changes after the grant.
public struct GrantTerms: Hashable, Sendable {
    public let pool: Pool
    public let source: GrantSource

    public init(pool: Pool, source: GrantSource) {
        self.pool = pool
        self.source = source
    }

    /// Credits of a cycle or a pack were paid for; so was what lay in `TOPUP` in the gateway that this one replaces. All else was given.
    public var funding: Funding {
        switch source {
        case .subscription, .purchase: .paid
        case .openingBalance: pool == .topup ? .paid : .promotional
        case .signupBonus, .monthlyFree, .adjustment, .refund: .promotional
        }
    }
}

/// Who bears what was used: credits of either kind, or nobody yet.
public enum Bearer: Hashable, Sendable {
    case credits(Funding)
    /// A shortfall, which became debt.
    case owed

    var name: String {
        switch self {
        case .credits(let funding): funding.rawValue
        case .owed: "owed"
        }
    }
}

/// What amounts in the journal are of.
public enum Commodity: String, Sendable, CaseIterable {
    case credit = "CREDIT"
    case usd = "USD"

    /// How many decimals its amounts are counted in: nano-credits, micro-USD.
    public var fractionDigits: Int { self == .credit ? 9 : 6 }
}

/// An account of the double-entry journal.
public enum JournalAccount: Hashable, Sendable {
    /// Money that came in, in USD.
    case cash
    /// What customers owe: shortfalls that no grant has repaid.
    case debt
    /// What customers can still spend.
    case credits(Funding, Pool)
    /// Where USD become credits: the one side of what was sold for the other.
    case conversion
    /// What customers had in the gateway that this one replaces.
    case opening
    /// Withdrawals by an operator.
    case corrections
    /// Credits given away.
    case promotion
    /// Credits used.
    case usage(Bearer)
    /// Charges given back.
    case reversals(Bearer)
    /// Credits that expired unused.
    case breakage(Funding)

    /// Every account, in the order of a chart.
    public static let all: [JournalAccount] =
        [.cash, .debt]
        + Funding.allCases.flatMap { funding in Pool.allCases.map { .credits(funding, $0) } }
        + [.conversion, .opening, .corrections, .promotion]
        + [.credits(.paid), .credits(.promotional), .owed].flatMap { (bearer: Bearer) in
            [JournalAccount.usage(bearer), .reversals(bearer)]
        } + Funding.allCases.map { .breakage($0) }

    /// The name in hledger's way: `liabilities:credits:paid:topup`.
    public var name: String {
        switch self {
        case .cash: "assets:cash"
        case .debt: "assets:receivable:debt"
        case .credits(let funding, let pool): "liabilities:credits:\(funding.rawValue):\(pool.rawValue.lowercased())"
        case .conversion: "equity:conversion"
        case .opening: "equity:opening"
        case .corrections: "equity:corrections"
        case .promotion: "expenses:promotion"
        case .usage(let bearer): "income:usage:\(bearer.name)"
        case .reversals(let bearer): "income:reversals:\(bearer.name)"
        case .breakage(let funding): "income:breakage:\(funding.rawValue)"
        }
    }

    /// The name in Beancount's way: `Liabilities:Credits:Paid:Topup`.
    public var capitalizedName: String {
        name.split(separator: ":").map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined(separator: ":")
    }
}
