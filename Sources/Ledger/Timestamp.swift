/// An instant: microseconds since 1970-01-01T00:00:00Z. Leap seconds do not count (POSIX time).
public struct Timestamp: Hashable, Comparable, Sendable {
    public let microseconds: Int64

    public init(microseconds: Int64) {
        self.microseconds = microseconds
    }

    /// Whole seconds since 1970; nil where they do not fit.
    public init?(seconds: Int64) {
        let (value, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
        guard !overflow else { return nil }
        microseconds = value
    }

    /// The instants that ISO 8601 can name with the four digits of a year, in any zone. What is recorded as another was never written by a
    /// clock, and would have months and cycles without end to be gone through.
    static let nameable =
        Timestamp(
            microseconds: -62_167_305_600_000_000)...Timestamp(
            microseconds: 253_402_387_200_000_000)

    public static func < (left: Timestamp, right: Timestamp) -> Bool { left.microseconds < right.microseconds }

    /// The instant `seconds` later (or earlier), clamped to what 64 bits hold.
    public func advanced(bySeconds seconds: Int64) -> Timestamp {
        let (delta, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
        let (sum, carry) = microseconds.addingReportingOverflow(delta)
        return overflow || carry ? Timestamp(microseconds: seconds < 0 ? .min : .max) : Timestamp(microseconds: sum)
    }

    /// The number of the UTC day since 1970-01-01, which is day 0.
    public var utcDay: Int64 {
        let (quotient, remainder) = microseconds.quotientAndRemainder(dividingBy: 86_400_000_000)
        return remainder < 0 ? quotient - 1 : quotient
    }
}

extension Timestamp: CustomStringConvertible {
    /// ISO 8601 in UTC with microseconds: `2026-03-01T00:00:00.000000+00:00`.
    public var description: String {
        let day = utcDay
        // The day's start cannot overflow but in the first day that 64 bits can hold.
        let (start, overflow) = day.multipliedReportingOverflow(by: 86_400_000_000)
        let inDay = overflow ? 0 : microseconds - start
        let (seconds, micros) = inDay.quotientAndRemainder(dividingBy: 1_000_000)
        return Timestamp.text(day: day) + "T" + Self.padded(seconds / 3600, 2) + ":" + Self.padded(seconds / 60 % 60, 2)
            + ":" + Self.padded(seconds % 60, 2) + "." + Self.padded(micros, 6) + "+00:00"
    }

    /// The date of a UTC day number: `2026-03-01`.
    ///
    /// Proleptic Gregorian calendar, computed in 400-year eras of 146,097 days that begin on 1 March.
    public static func text(day: Int64) -> String {
        let shifted = day + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let dayOfMonth = dayOfYear - (153 * marchMonth + 2) / 5 + 1
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return padded(year, 4) + "-" + padded(month, 2) + "-" + padded(dayOfMonth, 2)
    }

    private static func padded(_ value: Int64, _ width: Int) -> String {
        let digits = String(value.magnitude)
        let zeros = String(repeating: "0", count: max(0, width - digits.utf8.count))
        return (value < 0 ? "-" : "") + zeros + digits
    }

    /// Reads ISO 8601: a date, or a date and a time with optional fraction and with `Z` or a numeric offset (none means UTC).
    public init?(iso8601 text: some StringProtocol) {
        var rest = Array(text.utf8)[...]
        func number(_ digits: Int) -> Int64? {
            guard rest.count >= digits else { return nil }
            var value: Int64 = 0
            for byte in rest.prefix(digits) {
                guard byte &- 0x30 < 10 else { return nil }
                value = value * 10 + Int64(byte &- 0x30)
            }
            rest = rest.dropFirst(digits)
            return value
        }
        func skip(_ byte: UInt8) -> Bool {
            guard rest.first == byte else { return false }
            rest = rest.dropFirst()
            return true
        }
        guard let year = number(4), skip(0x2D), let month = number(2), skip(0x2D), let day = number(2),
            (1...12).contains(month), (1...31).contains(day)
        else { return nil }
        let marchYear = month <= 2 ? year - 1 : year
        let era = (marchYear >= 0 ? marchYear : marchYear - 399) / 400
        let yearOfEra = marchYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        let dayNumber = era * 146_097 + dayOfEra - 719_468
        guard Timestamp.text(day: dayNumber) == String(text.prefix(10)) else { return nil }
        var micros = dayNumber * 86_400_000_000
        if !rest.isEmpty {
            guard skip(0x54) || skip(0x20), let hour = number(2), skip(0x3A), let minute = number(2),
                hour < 24, minute < 60
            else { return nil }
            var second: Int64 = 0
            if skip(0x3A) {
                guard let value = number(2), value < 60 else { return nil }
                second = value
            }
            micros += (hour * 3600 + minute * 60 + second) * 1_000_000
            if skip(0x2E) {
                var scale: Int64 = 100_000
                var digits = 0
                while let digit = number(1) {
                    micros += digit * scale
                    scale /= 10
                    digits += 1
                }
                guard digits > 0 else { return nil }
            }
            if !skip(0x5A), let sign = rest.first {
                rest = rest.dropFirst()
                guard sign == 0x2B || sign == 0x2D, let hours = number(2), hours < 24 else { return nil }
                _ = skip(0x3A)
                let minutes = rest.isEmpty ? 0 : (number(2) ?? 60)
                guard minutes < 60 else { return nil }
                micros -= (hours * 3600 + minutes * 60) * 1_000_000 * (sign == 0x2D ? -1 : 1)
            }
        }
        guard rest.isEmpty else { return nil }
        microseconds = micros
    }
}
