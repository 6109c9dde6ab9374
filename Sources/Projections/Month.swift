public import Ledger

/// A month of the calendar in UTC.
public struct Month: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Months since January of the year 0.
    private let number: Int64

    /// The month that a UTC day is in.
    public init(day: Int64) {
        let text = Timestamp.text(day: day)
        let parts = text.split(separator: "-")
        number = (Int64(parts.first ?? "") ?? 0) * 12 + (parts.count > 1 ? (Int64(parts[1]) ?? 1) - 1 : 0)
    }

    /// Reads `2026-03`; nil for anything else, and for years whose end cannot be written with four digits.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0].utf8.count == 4, parts[1].utf8.count == 2,
            parts.allSatisfy({ $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }), let year = Int64(parts[0]),
            let month = Int64(parts[1]), (1...12).contains(month), (1...9998).contains(year)
        else { return nil }
        number = year * 12 + month - 1
    }

    /// The month of a number that ``index`` gave.
    public init(index: Int64) { number = index }

    /// A number by which months are in order.
    public var index: Int64 { number }

    public var next: Month { Month(index: number + 1) }

    /// The first instant of the month.
    public var start: Timestamp { Timestamp(iso8601: "\(self)-01") ?? Timestamp(microseconds: 0) }

    /// The last UTC day of the month.
    public var lastDay: Int64 { next.start.utcDay - 1 }

    public static func < (left: Month, right: Month) -> Bool { left.number < right.number }

    /// `2026-03`
    public var description: String {
        let (year, month) = number.quotientAndRemainder(dividingBy: 12)
        let digits = String(year)
        return String(repeating: "0", count: max(0, 4 - digits.utf8.count)) + digits
            + (month < 9 ? "-0\(month + 1)" : "-\(month + 1)")
    }
}
