public import Ledger

/// A stretch of time that has a name: `[start, end)`.
public struct UsagePeriod: Hashable, Sendable {
    /// A day's date, the date of a week's Monday, or a month: `2026-03-01`, `2026-03`.
    public let name: String
    /// Its first instant.
    public let start: Timestamp
    /// The first instant that is no more of it.
    public let end: Timestamp

    public init(name: String, start: Timestamp, end: Timestamp) {
        self.name = name
        self.start = start
        self.end = end
    }

    public func contains(_ instant: Timestamp) -> Bool { start <= instant && instant < end }
}

/// Days, weeks and months as the clocks of a zone count them, given as instants.
///
/// Pure: what the zone's clocks show comes in as a function. Periods of a kind follow each other without gap and without overlap, whatever
/// the clocks do: a day has 23 hours or 25 where they are changed, and none where a date is left out.
public struct UsageCalendar: Sendable {
    /// The kinds of periods. Weeks begin on Monday.
    public enum Unit: Sendable, CaseIterable {
        case day
        case week
        case month
    }

    /// How many seconds the zone's clocks are ahead of UTC, at an instant in whole seconds since 1970.
    private let offset: @Sendable (Int64) -> Int64
    private static let secondsOfDay: Int64 = 86_400
    /// No clock was ever further from UTC than this.
    private static let farthestOffset: Int64 = 16 * 3600
    /// No day is further from 1970: an instant of 64 bits cannot be.
    private static let farthestDay: Int64 = 106_751_991

    /// The calendar of a zone. `offset` must give the same answer for the same instant, and be less than 16 hours.
    public init(offset: @escaping @Sendable (Int64) -> Int64) {
        self.offset = offset
    }

    /// The calendar of Universal Time.
    public static let utc = UsageCalendar { _ in 0 }

    /// The period in which an instant lies.
    public func period(_ unit: Unit, at instant: Timestamp) -> UsagePeriod {
        let day = day(at: instant)
        switch unit {
        case .day: return period(Timestamp.text(day: day), from: day, to: day + 1)
        case .week:
            // 1970-01-01 was a Thursday, three days after a Monday.
            let monday = day - ((day + 3) % 7 + 7) % 7
            return period(Timestamp.text(day: monday), from: monday, to: monday + 7)
        case .month:
            let first = Self.firstOfMonth(day)
            // 31 days after the first of any month the next one has begun.
            let next = Self.firstOfMonth(first + 31)
            return period(String(Timestamp.text(day: first).dropLast(3)), from: first, to: next)
        }
    }

    /// The first instant at which the zone's clocks show a date, given as the number of days from 1970-01-01 to it; where the clocks skip
    /// its midnight, the first instant behind.
    public func start(ofDay day: Int64) -> Timestamp {
        let midnight = min(max(day, -Self.farthestDay), Self.farthestDay) * Self.secondsOfDay
        let (early, late) = (midnight - Self.farthestOffset, midnight + Self.farthestOffset)
        let (before, after) = (offset(early), offset(late))
        guard before != after else { return Self.instant(midnight - before) }
        // The clocks are changed in between: at the first second that has no more the offset of before.
        var (unchanged, changed) = (early, late)
        while changed - unchanged > 1 {
            let middle = unchanged + (changed - unchanged) / 2
            if offset(middle) == before { unchanged = middle } else { changed = middle }
        }
        if midnight - before < changed { return Self.instant(midnight - before) }
        // Midnight comes by the clocks that were changed, or has been skipped by the change.
        return Self.instant(max(changed, midnight - after))
    }

    /// The day that has begun last at an instant.
    private func day(at instant: Timestamp) -> Int64 {
        // A 64-bit count of microseconds has seconds to spare for the offset.
        let (quotient, remainder) = instant.microseconds.quotientAndRemainder(dividingBy: 1_000_000)
        let second = remainder < 0 ? quotient - 1 : quotient
        let local = second + offset(second)
        let (days, left) = local.quotientAndRemainder(dividingBy: Self.secondsOfDay)
        let day = left < 0 ? days - 1 : days
        // Clocks that are put back over midnight show the day before once more: the day that has begun goes on.
        return start(ofDay: day + 1) <= instant ? day + 1 : day
    }

    private func period(_ name: String, from first: Int64, to next: Int64) -> UsagePeriod {
        UsagePeriod(name: name, start: start(ofDay: first), end: start(ofDay: next))
    }

    private static func firstOfMonth(_ day: Int64) -> Int64 {
        let dayOfMonth = Int64(Timestamp.text(day: day).suffix(2)) ?? 1
        return day - dayOfMonth + 1
    }

    private static func instant(_ second: Int64) -> Timestamp {
        Timestamp(seconds: second) ?? Timestamp(microseconds: second < 0 ? .min : .max)
    }
}
