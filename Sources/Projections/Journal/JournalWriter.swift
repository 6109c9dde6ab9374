public import Ledger

/// How a journal is written for programs of accountants.
public enum JournalFormat: String, Sendable, CaseIterable {
    /// hledger's journal (https://hledger.org/hledger.html).
    case hledger
    /// Beancount's (https://beancount.github.io/docs/beancount_language_syntax.html).
    case beancount
}

/// Writes a journal: a chart of accounts, the balances that the period opens with, entries, and at the end of each month and of the
/// period a statement of every balance, which the reading program checks.
///
/// Entries are dated by the day on which their event was recorded (UTC). That never changes afterwards: a month that is over is over.
public struct JournalWriter: Sendable {
    private let format: JournalFormat
    /// Whether each event is an entry; else each day has one for each kind.
    private let byEvent: Bool
    private var text: [UInt8] = []
    private var balances: JournalBalances
    /// The day that entries are being added up of.
    private var day: Int64?
    private var sums: [JournalEntry.Kind: JournalBalances] = [:]
    private var counts: [JournalEntry.Kind: Int64] = [:]

    /// Begins a journal on a UTC day with what is on the accounts then.
    public init(_ format: JournalFormat, byEvent: Bool, from day: Int64, opening: JournalBalances) {
        self.format = format
        self.byEvent = byEvent
        balances = JournalBalances()
        writeHead(day, opening)
        self.day = nil
    }

    public var count: Int { text.count }

    public mutating func take() -> [UInt8] {
        defer { text.removeAll(keepingCapacity: true) }
        return text
    }

    /// Adds an entry. Days must not go back.
    public mutating func add(_ entry: JournalEntry, of event: RecordedEvent) {
        let today = event.recordedAt.utcDay
        if let day, day != today {
            endDay()
            // The balances of a month are stated when the next one has begun.
            if Month(day: day) != Month(day: today) { state(endOf: Month(day: day).lastDay) }
        }
        day = today
        if byEvent {
            let postings = entry.postings.map { ($0.account, $0.commodity, $0.amount) }
            write(today, "\(entry.kind.rawValue), event \(event.position)", postings)
            balances.add(entry.postings)
        } else {
            sums[entry.kind, default: JournalBalances()].add(entry.postings)
            counts[entry.kind, default: 0] += 1
        }
    }

    /// Ends the journal: the balances are stated at the end of its last day.
    public mutating func finish(lastDay: Int64) {
        endDay()
        if let day, Month(day: day) != Month(day: lastDay) { state(endOf: Month(day: day).lastDay) }
        state(endOf: lastDay)
    }

    private mutating func endDay() {
        guard let day, !byEvent else { return }
        for kind in JournalEntry.Kind.allCases {
            guard let sum = sums[kind], let count = counts[kind] else { continue }
            let lines = Commodity.allCases.flatMap { commodity in
                sum.lines(commodity).compactMap { $0.amount == 0 ? nil : ($0.account, commodity, $0.amount) }
            }
            balances.add(lines.map { Posting($0.0, $0.2, $0.1) })
            write(day, "\(kind.rawValue), \(count) events", lines)
        }
        sums = [:]
        counts = [:]
    }

    // MARK: Text

    private mutating func line(_ line: String = "") {
        text.append(contentsOf: line.utf8)
        text.append(0x0A)
    }

    private func name(_ account: JournalAccount) -> String {
        format == .hledger ? account.name : account.capitalizedName
    }

    private func amount(_ amount: Int128, _ commodity: Commodity) -> String {
        Decimal64.text(amount, fractionDigits: commodity.fractionDigits) + " " + commodity.rawValue
    }

    private mutating func writeHead(_ day: Int64, _ opening: JournalBalances) {
        let date = Timestamp.text(day: day)
        line("; Credits of customers, in double entry: debits are above zero. Dates are UTC days of recording.")
        switch format {
        case .hledger:
            line("decimal-mark .")
            line("commodity 0.000000000 CREDIT")
            line("commodity 0.000000 USD")
            for account in JournalAccount.all { line("account \(name(account))") }
        case .beancount:
            line("option \"title\" \"Credit ledger\"")
            line("option \"operating_currency\" \"USD\"")
            // Nothing is rounded, so nothing may be off by anything.
            line("option \"inferred_tolerance_multiplier\" \"0\"")
            for commodity in Commodity.allCases { line("1970-01-01 commodity \(commodity.rawValue)") }
            for account in JournalAccount.all { line("\(date) open \(name(account))") }
        }
        line()
        let lines = Commodity.allCases.flatMap { commodity in
            opening.lines(commodity).compactMap { $0.amount == 0 ? nil : ($0.account, commodity, $0.amount) }
        }
        guard !lines.isEmpty else { return }
        balances.add(lines.map { Posting($0.0, $0.2, $0.1) })
        write(day, "opening balances", lines)
    }

    private mutating func write(
        _ day: Int64, _ narration: String, _ lines: [(JournalAccount, Commodity, Int128)]
    ) {
        switch format {
        case .hledger: line("\(Timestamp.text(day: day)) * \(narration)")
        case .beancount: line("\(Timestamp.text(day: day)) * \"\(narration)\"")
        }
        for (account, commodity, value) in lines { line("  \(name(account))  \(amount(value, commodity))") }
        line()
    }

    /// States every balance at the end of a day.
    private mutating func state(endOf day: Int64) {
        switch format {
        case .hledger:
            guard !balances.isEmpty else { return }
            line("\(Timestamp.text(day: day)) * balances at the end of the day")
            for commodity in Commodity.allCases {
                for (account, value) in balances.lines(commodity) {
                    line("  \(name(account))  0 \(commodity.rawValue) = \(amount(value, commodity))")
                }
            }
            line()
        case .beancount:
            // It looks at balances at the beginning of a day.
            let date = Timestamp.text(day: day + 1)
            for commodity in Commodity.allCases {
                for (account, value) in balances.lines(commodity) {
                    let exact = Decimal64.text(value, fractionDigits: commodity.fractionDigits)
                    line("\(date) balance \(name(account))  \(exact) ~ 0 \(commodity.rawValue)")
                }
            }
            line()
        }
    }
}
