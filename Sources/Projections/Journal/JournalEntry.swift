public import Ledger

/// One line of a journal entry: debits are above zero, credits below.
public struct Posting: Hashable, Sendable {
    public let account: JournalAccount
    public let commodity: Commodity
    /// Nano-credits or micro-USD.
    public let amount: Int128

    public init(_ account: JournalAccount, _ amount: Int128, _ commodity: Commodity = .credit) {
        self.account = account
        self.amount = amount
        self.commodity = commodity
    }
}

/// An event in double entry: in each commodity, its postings add up to zero.
public struct JournalEntry: Sendable {
    /// What happened, for the books.
    public enum Kind: String, Sendable, CaseIterable {
        /// Money came in.
        case payment
        /// Credits that were paid for were granted.
        case sold
        /// Credits were given away.
        case given
        /// Credits came over from the gateway that this one replaces.
        case broughtOver = "brought_over"
        /// A request was charged.
        case consumed
        /// A charge was given back.
        case reversed
        /// Credits expired unused.
        case expired
        /// A payment was given back, and what was left of its credits taken.
        case refunded
        /// An operator withdrew credits.
        case withdrawn
    }

    public let kind: Kind
    public let postings: [Posting]

    /// The entry that an event leads to; nil for events that move nothing.
    ///
    /// `terms` finds what a grant of the event's account is.
    public init?(_ event: LedgerEvent, terms: (GrantID) throws -> GrantTerms) rethrows {
        switch event {
        case .paymentRecorded(let event):
            // What was paid for elsewhere brought no money here.
            guard event.kind != .imported, event.microUSD > 0 else { return nil }
            kind = .payment
            let usd = Int128(event.microUSD)
            postings = [Posting(.cash, usd, .usd), Posting(.conversion, -usd, .usd)]
        case .creditsGranted(let event):
            (kind, postings) = Self.granted(event)
        case .grantExpired(let event):
            kind = .expired
            let grant = try terms(event.grant)
            postings = Self.pair(
                .credits(grant.funding, grant.pool), .breakage(grant.funding), Int128(event.amount.nanos))
        case .requestCharged(let event):
            guard event.credits > .zero else { return nil }
            kind = .consumed
            var sums = Sums()
            for part in event.allocations {
                let (grant, amount) = (try terms(part.grant), Int128(part.amount.nanos))
                sums.add(.credits(grant.funding, grant.pool), amount)
                sums.add(.usage(.credits(grant.funding)), -amount)
            }
            sums.add(.debt, Int128(event.shortfall.nanos))
            sums.add(.usage(.owed), -Int128(event.shortfall.nanos))
            postings = sums.postings
        case .chargeReversed(let event):
            kind = .reversed
            var sums = Sums()
            for part in event.restored {
                let (grant, amount) = (try terms(part.grant), Int128(part.amount.nanos))
                sums.add(.credits(grant.funding, grant.pool), -amount)
                sums.add(.reversals(.credits(grant.funding)), amount)
            }
            // What was owed for a refund, those grants had borne; else what was owed was borne by no grant. What others have repaid of it
            // returns to them.
            for part in event.refundDebt {
                let (grant, amount) = (try terms(part.grant), Int128(part.amount.nanos))
                sums.add(.reversals(.credits(grant.funding)), amount)
                sums.add(.reversals(.owed), -amount)
            }
            sums.add(.debt, -Int128(event.debtReduced.nanos))
            sums.add(.reversals(.owed), Int128(event.debtReduced.nanos))
            for part in event.repaymentsReturned {
                let (grant, amount) = (try terms(part.grant), Int128(part.amount.nanos))
                sums.add(.credits(grant.funding, grant.pool), -amount)
                sums.add(.reversals(.owed), amount)
            }
            postings = sums.postings
        case .creditsWithdrawn(let event):
            kind = .withdrawn
            var sums = Sums()
            for part in event.allocations {
                let grant = try terms(part.grant)
                sums.add(.credits(grant.funding, grant.pool), Int128(part.amount.nanos))
                sums.add(.corrections, -Int128(part.amount.nanos))
            }
            postings = sums.postings
        case .paymentRefunded(let event):
            kind = .refunded
            var sums = Sums()
            for part in event.taken {
                let grant = try terms(part.grant)
                sums.add(.credits(grant.funding, grant.pool), Int128(part.amount.nanos))
                sums.add(.conversion, -Int128(part.amount.nanos))
            }
            sums.add(.debt, Int128(event.debtAdded.nanos))
            sums.add(.conversion, -Int128(event.debtAdded.nanos))
            let usd = Int128(event.microUSD)
            let money = usd == 0 ? [] : [Posting(.cash, -usd, .usd), Posting(.conversion, usd, .usd)]
            guard !sums.postings.isEmpty || !money.isEmpty else { return nil }
            postings = sums.postings + money
        default: return nil
        }
    }

    private static func granted(_ event: CreditsGranted) -> (Kind, [Posting]) {
        let grant = GrantTerms(pool: event.pool, source: event.source)
        let counter: JournalAccount
        let kind: Kind
        switch (event.source, grant.funding) {
        case (.openingBalance, _): (kind, counter) = (.broughtOver, .opening)
        case (_, .paid): (kind, counter) = (.sold, .conversion)
        case (_, .promotional): (kind, counter) = (.given, .promotion)
        }
        var sums = Sums()
        let repaid = Int128(event.debtRepaid.nanos)
        sums.add(counter, Int128(event.amount.nanos))
        sums.add(.credits(grant.funding, grant.pool), repaid - Int128(event.amount.nanos))
        sums.add(.debt, -repaid)
        return (kind, sums.postings)
    }

    private static func pair(_ debit: JournalAccount, _ credit: JournalAccount, _ amount: Int128) -> [Posting] {
        amount == 0 ? [] : [Posting(debit, amount), Posting(credit, -amount)]
    }

    /// Amounts of credits by account, in the order in which the accounts came.
    private struct Sums {
        /// There are a handful at most, so they are looked through.
        private var sums: [(account: JournalAccount, amount: Int128)] = []

        mutating func add(_ account: JournalAccount, _ amount: Int128) {
            if amount == 0 { return }
            if let index = sums.firstIndex(where: { $0.account == account }) {
                sums[index].amount += amount
            } else {
                sums.append((account, amount))
            }
        }

        var postings: [Posting] { sums.compactMap { $0.amount == 0 ? nil : Posting($0.account, $0.amount) } }
    }
}

/// Balances of the journal's accounts, by commodity. Their sum is zero in each.
public struct JournalBalances: Hashable, Sendable {
    public private(set) var amounts: [Commodity: [JournalAccount: Int128]] = [:]

    public init() {}

    public mutating func add(_ postings: [Posting]) {
        for posting in postings {
            amounts[posting.commodity, default: [:]][posting.account, default: 0] += posting.amount
        }
    }

    /// The accounts that have ever had something in a commodity, in the order of the chart, with what they have.
    public func lines(_ commodity: Commodity) -> [(account: JournalAccount, amount: Int128)] {
        JournalAccount.all.compactMap { account in amounts[commodity]?[account].map { (account, $0) } }
    }

    public var isEmpty: Bool { amounts.isEmpty }

    /// What customers have, less what they owe, in nano-credits: the sum of all accounts' balances.
    public var customers: Int128 {
        let credits = amounts[.credit] ?? [:]
        return credits.reduce(0) { sum, line in
            switch line.key {
            case .credits, .debt: sum - line.value
            default: sum
            }
        }
    }
}
