import Foundation
import Fuzzing
import Ledger
import LedgerSQLite
import NIOCore
import Projections
import Testing

@testable import LedgerServer

@Suite("Days, weeks and months of a zone")
struct UsageCalendarTests {
    struct Example: Sendable, CustomTestStringConvertible {
        let zone: String
        let unit: UsageCalendar.Unit
        let instant: String
        let name: String
        let start: String
        let end: String

        init(
            _ zone: String, _ unit: UsageCalendar.Unit, _ instant: String, _ name: String, _ start: String,
            _ end: String
        ) {
            self.zone = zone
            self.unit = unit
            self.instant = instant
            self.name = name
            self.start = start
            self.end = end
        }

        var testDescription: String { "\(unit) of \(instant) in \(zone)" }
    }

    static let examples = [
        // Clocks that are put forward make a day of 23 hours, clocks that are put back one of 25.
        Example(
            "Europe/Berlin", .day, "2026-03-29T12:00:00Z", "2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        Example(
            "Europe/Berlin", .day, "2026-10-25T00:30:00Z", "2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        Example(
            "Europe/Berlin", .day, "2026-10-25T01:30:00Z", "2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        Example(
            "America/New_York", .day, "2026-03-08T12:00:00Z", "2026-03-08", "2026-03-08T05:00:00Z",
            "2026-03-09T04:00:00Z"),
        Example(
            "America/New_York", .day, "2026-11-01T05:59:59.999999Z", "2026-11-01", "2026-11-01T04:00:00Z",
            "2026-11-02T05:00:00Z"),
        Example(
            "Europe/Berlin", .week, "2026-03-29T21:59:59Z", "2026-03-23", "2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"
        ),
        Example(
            "Europe/Berlin", .month, "2026-03-31T21:59:59Z", "2026-03", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
        Example(
            "Europe/Berlin", .month, "2026-03-31T22:00:00Z", "2026-04", "2026-03-31T22:00:00Z", "2026-04-30T22:00:00Z"),
        // Midnight is skipped, and a whole date.
        Example(
            "America/Sao_Paulo", .day, "2018-11-04T03:00:00Z", "2018-11-04", "2018-11-04T03:00:00Z",
            "2018-11-05T02:00:00Z"),
        Example(
            "Pacific/Apia", .day, "2011-12-30T09:59:59.999999Z", "2011-12-29", "2011-12-29T10:00:00Z",
            "2011-12-30T10:00:00Z"),
        Example(
            "Pacific/Apia", .day, "2011-12-30T10:00:00Z", "2011-12-31", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"),
        // Leap days, the ends of years, the starts of weeks, and what was before 1970.
        Example(
            "UTC", .day, "2028-02-29T23:59:59.999999Z", "2028-02-29", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
        Example("UTC", .month, "2028-02-29T00:00:00Z", "2028-02", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        Example("UTC", .month, "2100-02-28T00:00:00Z", "2100-02", "2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z"),
        Example(
            "+09:00", .day, "2025-12-31T14:59:59.999999Z", "2025-12-31", "2025-12-30T15:00:00Z", "2025-12-31T15:00:00Z"),
        Example("+09:00", .day, "2025-12-31T15:00:00Z", "2026-01-01", "2025-12-31T15:00:00Z", "2026-01-01T15:00:00Z"),
        Example("+09:00", .month, "2025-12-31T15:00:00Z", "2026-01", "2025-12-31T15:00:00Z", "2026-01-31T15:00:00Z"),
        Example("+09:00", .week, "2025-12-31T15:00:00Z", "2025-12-29", "2025-12-28T15:00:00Z", "2026-01-04T15:00:00Z"),
        Example("-03:30", .month, "2026-12-15T00:00:00Z", "2026-12", "2026-12-01T03:30:00Z", "2027-01-01T03:30:00Z"),
        Example("UTC", .week, "2026-03-01T23:59:59Z", "2026-02-23", "2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z"),
        Example("UTC", .week, "2026-03-02T00:00:00Z", "2026-03-02", "2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z"),
        Example("UTC", .week, "1969-12-31T23:59:59Z", "1969-12-29", "1969-12-29T00:00:00Z", "1970-01-05T00:00:00Z"),
        Example(
            "UTC", .day, "1969-12-31T23:59:59.999999Z", "1969-12-31", "1969-12-31T00:00:00Z", "1970-01-01T00:00:00Z"),
    ]

    @Test("a period has the bounds that the zone's clocks give it", arguments: examples)
    func bounds(example: Example) throws {
        let calendar = try #require(UsageCalendar(zone: example.zone))
        let period = calendar.period(example.unit, at: try Self.instant(example.instant))
        let start = try Self.instant(example.start)
        let end = try Self.instant(example.end)
        #expect(period == UsagePeriod(name: example.name, start: start, end: end))
    }

    @Test("clocks that are put back over midnight do not bring the day before back")
    func backOverMidnight() throws {
        // St. John's, until 2011: at one minute past midnight, by an hour.
        let change: Int64 = 1_289_097_060
        let calendar = UsageCalendar { $0 < change ? -9000 : -12_600 }
        let midnight = try Self.instant("2010-11-07T02:30:00Z")
        for text in ["2010-11-07T02:30:00Z", "2010-11-07T02:31:00Z", "2010-11-07T03:29:59Z", "2010-11-08T03:29:59Z"] {
            let period = calendar.period(.day, at: try Self.instant(text))
            #expect(period.name == "2010-11-07" && period.start == midnight)
        }
        #expect(calendar.period(.day, at: try Self.instant("2010-11-07T02:29:59Z")).name == "2010-11-06")
    }

    @Test("the ends of time stop nothing", arguments: UsageCalendar.Unit.allCases)
    func endsOfTime(unit: UsageCalendar.Unit) {
        for microseconds in [Int64.min, .max] {
            let period = UsageCalendar.utc.period(unit, at: Timestamp(microseconds: microseconds))
            #expect(period.start <= period.end)
        }
    }

    @Test(
        "what is no zone is none",
        arguments: [
            "", "Mars/Olympus", "+25:00", "+16:00", "+9:00", "09:00", "+09:60", "+0900", "../etc/passwd",
            "Europe Berlin",
        ])
    func noZone(name: String) {
        #expect(UsageCalendar(zone: name) == nil)
    }

    static let zones = [
        "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo",
        "+09:00", "-03:30",
    ]

    @Test("the buckets are together the total, and each request is in the bucket of its date", arguments: zones)
    func sums(zone: String) throws {
        let seed = UInt64.random(in: .min ... .max)
        print("usage in \(zone): seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let calendar = try #require(UsageCalendar(zone: zone))
        let rows = try Self.rows(&random)
        var total = UsageSum()
        for row in rows { total.add(row) }
        for grouping in UsageGrouping.allCases {
            var buckets = UsageBuckets(grouping, calendar: calendar)
            for row in rows { buckets.add(row) }
            #expect(buckets.total == total, "seed \(seed)")
            var sum = UsageSum()
            for bucket in buckets.buckets { sum.add(bucket.sum) }
            #expect(sum == total, "\(grouping), seed \(seed)")
            // In another order, the same.
            var sorted = UsageBuckets(grouping, calendar: calendar)
            for row in rows.sorted(by: { $0.recordedAt < $1.recordedAt }) { sorted.add(row) }
            let (one, other) = (buckets.buckets, sorted.buckets)
            #expect(one.count == other.count, "\(grouping), seed \(seed)")
            for (left, right) in zip(one, other) {
                #expect(left.period == right.period && left.sum == right.sum, "\(grouping), seed \(seed)")
            }
        }
        for row in rows {
            for unit in UsageCalendar.Unit.allCases {
                let period = calendar.period(unit, at: row.recordedAt)
                #expect(period.contains(row.recordedAt), "\(unit) of \(row.recordedAt), seed \(seed)")
                #expect(calendar.period(unit, at: period.end).start == period.end, "\(period), seed \(seed)")
                #expect(calendar.period(unit, at: period.start) == period, "\(period), seed \(seed)")
            }
        }
    }

    @Test("the dates are those of another calendar", arguments: zones.filter { $0.contains("/") })
    func dates(zone: String) throws {
        let seed = UInt64.random(in: .min ... .max)
        print("dates in \(zone): seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let calendar = try #require(UsageCalendar(zone: zone))
        var other = Calendar(identifier: .gregorian)
        other.timeZone = try #require(TimeZone(identifier: zone))
        for row in try Self.rows(&random) {
            let date = Date(timeIntervalSince1970: TimeInterval(row.recordedAt.microseconds / 1_000_000))
            let parts = other.dateComponents([.year, .month, .day], from: date)
            let (year, month, day) = (parts.year ?? 0, parts.month ?? 0, parts.day ?? 0)
            let expected = "\(year)-\(month < 10 ? "0" : "")\(month)-\(day < 10 ? "0" : "")\(day)"
            #expect(calendar.period(.day, at: row.recordedAt).name == expected, "seed \(seed)")
            #expect(calendar.period(.month, at: row.recordedAt).name == String(expected.dropLast(3)), "seed \(seed)")
        }
    }

    @Test("of nothing, the total alone is a bucket")
    func nothing() {
        for grouping in UsageGrouping.allCases {
            let buckets = UsageBuckets(grouping, calendar: .utc)
            #expect(buckets.total == UsageSum())
            let periods = buckets.buckets.map { $0.period }
            #expect(periods == (grouping == .total ? ["total"] : []))
        }
    }

    /// Requests of five years, many of them about midnights and changes of the clocks.
    static func rows(_ random: inout SeededGenerator) throws -> [UsageFigures] {
        let changes = try [
            "2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z",
        ]
        .map { try instant($0).microseconds }
        let begin = try instant("2024-01-01T00:00:00Z").microseconds
        let hour: Int64 = 3_600_000_000
        var rows: [UsageFigures] = []
        for _ in 0..<400 {
            let about = changes.randomElement(using: &random) ?? begin
            var microseconds = Int64.random(in: 0..<(5 * 365 * 24 * hour), using: &random) + begin
            switch Int.random(in: 0..<3, using: &random) {
            case 0: microseconds = about + Int64.random(in: -30 * hour...30 * hour, using: &random)
            case 1:
                let quarter = microseconds / (hour / 4) * (hour / 4)
                microseconds = quarter + Int64.random(in: -1...1, using: &random)
            default: break
            }
            let model = ["a", "b", "ü", "=c"].randomElement(using: &random) ?? "a"
            let shift = Int.random(in: 0...40, using: &random)
            rows.append(
                UsageFigures(
                    recordedAt: Timestamp(microseconds: microseconds), model: "up:\(model)",
                    promptTokens: Int64.random(in: 0...2_147_483_648, using: &random),
                    completionTokens: Int64.random(in: 0...2_147_483_648, using: &random),
                    costPicoUSD: Int128(random.next()) << shift))
        }
        return rows
    }

    static func instant(_ text: String) throws -> Timestamp {
        try #require(Timestamp(iso8601: text))
    }
}

@Suite("Lists as CSV")
struct CSVTests {
    static func written(_ cells: [String?]) -> String {
        var csv = CSVWriter()
        for cell in cells { csv.cell(cell) }
        csv.endRow()
        return String(decoding: csv.bytes, as: UTF8.self)
    }

    @Test(
        "a cell is quoted where it must be, and no formula",
        arguments: [
            ("plain", "plain"), ("", ""), ("nul\0 esc\u{1B}[2J", "nul\u{FFFD} esc\u{FFFD}[2J"),
            ("=\u{7},", "\"'=\u{FFFD},\""), ("two words", "two words"), ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""), ("line\nline", "\"line\nline\""),
            ("line\r\nline", "\"line\r\nline\""),
            ("=1+1", "'=1+1"), ("+1", "'+1"), ("@SUM(A1)", "'@SUM(A1)"), ("-1+1", "'-1+1"), ("-", "'-"),
            ("-5.", "'-5."), ("--5", "'--5"), ("-1.2.3", "'-1.2.3"), ("\tx", "'\tx"), ("\rx", "\"'\rx\""),
            ("=A1,\"B\"", "\"'=A1,\"\"B\"\"\""), ("-5", "-5"), ("-0.000000001", "-0.000000001"), ("12.5", "12.5"),
            ("{\"a\":null}", "\"{\"\"a\"\":null}\""), ("Käse", "Käse"), ("1=1", "1=1"),
        ] as [(String, String)])
    func cell(text: String, expected: String) {
        #expect(Self.written([text]) == expected + "\r\n")
    }

    @Test("rows end with CR LF, and what is not there is nothing between two commas")
    func rows() {
        #expect(Self.written(["a", nil, "", "b"]) == "a,,,b\r\n")
        #expect(Self.written([nil, nil]) == ",\r\n")
        var csv = CSVWriter()
        csv.row(["a", "b"])
        csv.row(["c", "d"])
        let taken = csv.take()
        #expect(String(decoding: taken.readableBytesView, as: UTF8.self) == "a,b\r\nc,d\r\n")
        #expect(csv.bytes.isEmpty)
    }
}

@Suite("The log's cursor")
struct LogCursorTests {
    static let cursor = LogCursor(
        place: UsagePlace(recordedAt: Timestamp(microseconds: 1_767_225_600_123_456), position: 42),
        range: UsageRange(
            start: Timestamp(microseconds: -5), end: Timestamp(microseconds: 1_800_000_000_000_000)))

    @Test("it is read as it was written")
    func roundTrip() {
        #expect(LogCursor(Self.cursor.text) == Self.cursor)
    }

    @Test("what is no cursor is none")
    func refused() {
        let text = Self.cursor.text
        let texts: [String] = [
            "", "x", "l1", "l1....", "\(text.dropLast())!", "\(text).0", text.uppercased(), " \(text)",
            "l2\(text.dropFirst(2))", "l1.+\(text.dropFirst(3))", String(repeating: "9", count: 100),
            "l1.zzzzzzzzzzzzzz.1.1.1",
        ]
        for text in texts { #expect(LogCursor(text) == nil, "\(text)") }
    }
}
