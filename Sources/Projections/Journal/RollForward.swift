public import Ledger

/// How what customers have came from the beginning of a month to its end: opening + movements = closing, paid and promotional apart.
///
/// By the time at which events were recorded, like the journal: a month that is over never changes.
public struct RollForward: Sendable {
    /// The lines between opening and closing, in this order.
    public static let movements: [JournalEntry.Kind] = [
        .sold, .given, .broughtOver, .consumed, .reversed, .expired, .refunded, .withdrawn,
    ]

    /// One line: nano-credits that were paid for, that were given away, and that are owed (below zero).
    public struct Amounts: Hashable, Sendable {
        public private(set) var paid: Int128 = 0
        public private(set) var promotional: Int128 = 0
        public private(set) var owed: Int128 = 0

        public init() {}

        public var total: Int128 { paid + promotional + owed }

        mutating func add(_ other: Amounts) {
            paid += other.paid
            promotional += other.promotional
            owed += other.owed
        }

        /// What the postings add to what customers have.
        mutating func add(_ postings: [Posting]) {
            for posting in postings {
                switch posting.account {
                case .credits(.paid, _): paid -= posting.amount
                case .credits(.promotional, _): promotional -= posting.amount
                case .debt: owed -= posting.amount
                default: break
                }
            }
        }
    }

    /// One month, or the part of it that is in the period.
    public struct Span: Sendable {
        public let month: Month
        public let opening: Amounts
        public fileprivate(set) var lines: [JournalEntry.Kind: Amounts] = [:]
        public fileprivate(set) var closing: Amounts
        /// Micro-USD that came in, and that went back.
        public fileprivate(set) var received: Int128 = 0
        public fileprivate(set) var returned: Int128 = 0
        /// What requests cost, by model.
        public fileprivate(set) var costs: [String: Cost] = [:]
    }

    /// What the requests of a model cost at its prices, in pico-USD.
    public struct Cost: Hashable, Sendable {
        /// All that providers reported.
        public fileprivate(set) var picoUSD: Int128 = 0
        /// What of it was beyond what was held, and so is the operator's.
        public fileprivate(set) var excessPicoUSD: Int128 = 0
        public fileprivate(set) var excessCredits: Int128 = 0
    }

    /// The months of the period, in order.
    public private(set) var spans: [Span] = []
    private var opening: Amounts

    /// Begins with what customers have then.
    public init(opening: JournalBalances = JournalBalances()) {
        var amounts = Amounts()
        amounts.add(opening.lines(.credit).map { Posting($0.account, $0.amount) })
        self.opening = amounts
    }

    /// Goes on to a month, also where nothing happens in it or in those before it.
    public mutating func reach(_ month: Month) {
        while spans.last.map({ $0.month < month }) ?? true {
            let opening = spans.last?.closing ?? opening
            let next = spans.last?.month.next ?? month
            spans.append(Span(month: next, opening: opening, closing: opening))
        }
    }

    /// Adds what a request cost. Months must not go back.
    public mutating func add(_ charge: RequestCharged, recordedAt: Timestamp) {
        guard charge.costPicoUSD > 0 else { return }
        reach(Month(day: recordedAt.utcDay))
        var cost = spans[spans.count - 1].costs[charge.origin.model] ?? Cost()
        cost.picoUSD += charge.costPicoUSD
        cost.excessPicoUSD += charge.excessPicoUSD
        cost.excessCredits += Int128((charge.excess ?? .zero).nanos)
        spans[spans.count - 1].costs[charge.origin.model] = cost
    }

    /// Adds an entry. Months must not go back.
    public mutating func add(_ entry: JournalEntry, recordedAt: Timestamp) {
        reach(Month(day: recordedAt.utcDay))
        let last = spans.count - 1
        for posting in entry.postings where posting.account == .cash {
            if posting.amount > 0 {
                spans[last].received += posting.amount
            } else {
                spans[last].returned -= posting.amount
            }
        }
        guard entry.kind != .payment else { return }
        var amounts = Amounts()
        amounts.add(entry.postings)
        spans[last].lines[entry.kind, default: Amounts()].add(amounts)
        spans[last].closing.add(amounts)
    }

    public static let columns = [
        TableColumn("month", "the month, in UTC"),
        TableColumn(
            "line",
            "opening, what moved (\(movements.map(\.rawValue).joined(separator: ", "))), closing; then by model what requests cost (cost), and what of it was beyond what was held and so is the operator's (excess)"
        ),
        TableColumn("paid", "credits that were paid for"), TableColumn("promotional", "credits that were given away"),
        TableColumn("owed", "what customers owe, below zero"), TableColumn("total", "the sum of the three"),
        TableColumn(
            "usd", "money that came in (sold) or went back (refunded), and what requests cost (below zero), in USD"),
        TableColumn("model", "the model, of the lines of costs"),
    ]

    /// Writes all months as a table.
    public func write(to table: inout TableWriter) {
        for span in spans {
            func line(_ name: String, _ amounts: Amounts, _ microUSD: Int128? = nil) {
                table.word(span.month.description)
                table.word(name)
                for amount in [amounts.paid, amounts.promotional, amounts.owed, amounts.total] {
                    table.decimal(amount, fractionDigits: 9)
                }
                table.decimal(microUSD, fractionDigits: 6)
                table.text(nil)
                table.endRow()
            }
            func cost(_ name: String, _ model: String, _ picoUSD: Int128, credits: Int128?) {
                table.word(span.month.description)
                table.word(name)
                for _ in 0..<3 { table.decimal(nil, fractionDigits: 9) }
                table.decimal(credits, fractionDigits: 9)
                table.decimal(-picoUSD, fractionDigits: 12)
                table.text(model)
                table.endRow()
            }
            line("opening", span.opening)
            for kind in Self.movements {
                let usd: Int128? = kind == .sold ? span.received : kind == .refunded ? -span.returned : nil
                line(kind.rawValue, span.lines[kind] ?? Amounts(), usd)
            }
            line("closing", span.closing)
            for (model, sum) in span.costs.sorted(by: { $0.key < $1.key }) {
                cost("cost", model, sum.picoUSD, credits: nil)
                if sum.excessPicoUSD > 0 { cost("excess", model, sum.excessPicoUSD, credits: sum.excessCredits) }
            }
        }
    }
}
