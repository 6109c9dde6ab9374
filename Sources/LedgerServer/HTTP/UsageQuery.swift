import Foundation
import Hummingbird
import Ledger
import LedgerSQLite
import Projections

extension UsageCalendar {
    /// The calendar of the zone that a request names by `tz`; without it, of UTC.
    init(_ request: Request) throws {
        guard let name = request.query("tz") else {
            self = .utc
            return
        }
        guard let calendar = UsageCalendar(zone: name) else {
            throw GatewayError.query(
                "tz", kind: "timezone", "Input should be a time zone of IANA's, or an offset from UTC like +09:00")
        }
        self = calendar
    }

    /// The calendar of a zone named by IANA, or `±HH:MM`; nil where there is none of that name.
    init?(zone name: String) {
        if let seconds = Self.fixedOffset(name) {
            self.init(offset: { _ in seconds })
            return
        }
        let isPlausible = name.utf8.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                || [0x2B, 0x2D, 0x2F, 0x5F].contains(byte)
        }
        guard (1...64).contains(name.utf8.count), isPlausible, let zone = TimeZone(identifier: name) else {
            return nil
        }
        // Whole seconds, which a Date holds exactly.
        self.init(offset: { second in
            Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: TimeInterval(second))))
        })
    }

    /// The seconds of `±HH:MM`, up to 15:59, and of `Z` and `UTC`.
    private static func fixedOffset(_ name: String) -> Int64? {
        if name == "Z" || name == "UTC" { return 0 }
        let bytes = Array(name.utf8)
        guard bytes.count == 6, bytes[0] == 0x2B || bytes[0] == 0x2D, bytes[3] == 0x3A else { return nil }
        let digits = [bytes[1], bytes[2], bytes[4], bytes[5]]
        guard digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        let figures = digits.map { Int64($0) - 0x30 }
        let (hours, minutes) = (figures[0] * 10 + figures[1], figures[2] * 10 + figures[3])
        guard hours < 16, minutes < 60 else { return nil }
        return (hours * 3600 + minutes * 60) * (bytes[0] == 0x2D ? -1 : 1)
    }
}

/// The stretch of time that a request is about: `[start, end)`.
///
/// `start` and `end` are dates, which mean the beginning of that day in the request's zone (so `end` is the day *behind* the last one), or
/// instants in ISO 8601, in UTC where they have no offset. Without an end it is the present moment, without a start some days before the
/// end.
struct UsageRange: Equatable {
    let start: Timestamp
    let end: Timestamp

    init(start: Timestamp, end: Timestamp) {
        self.start = start
        self.end = end
    }

    /// Reads a request's range; a 422 for what cannot be read, a 400 where nothing can be in it.
    ///
    /// What the request does not state is that of `usual`, else the last `days` up to `now`.
    init(
        _ request: Request, _ calendar: UsageCalendar, days: Int64, now: Timestamp, usual: UsageRange? = nil
    ) throws {
        end = try Self.instant("end", of: request, calendar) ?? usual?.end ?? now
        start =
            try Self.instant("start", of: request, calendar) ?? usual?.start
            ?? end.advanced(bySeconds: -86_400 * days)
        guard start < end else {
            throw GatewayError(.badRequest, "invalid_range", "start must be before end", param: "start")
        }
    }

    /// A 422 where the range is longer than so many days.
    func check(atMostDays days: Int64) throws {
        guard start.advanced(bySeconds: 86_400 * days) >= end else {
            throw GatewayError.query("start", kind: "range", "start and end should be at most \(days) days apart")
        }
    }

    /// How it is called in the name of a file: the dates of its bounds in UTC.
    var fileName: String { "\(Timestamp.text(day: start.utcDay))-to-\(Timestamp.text(day: end.utcDay))" }

    private static func instant(
        _ name: String, of request: Request, _ calendar: UsageCalendar
    ) throws -> Timestamp? {
        guard let text = request.query(name[...]) else { return nil }
        guard text.utf8.count <= 64, let instant = Timestamp(iso8601: text) else {
            throw GatewayError.query(
                name, kind: "datetime_parsing", "Input should be a date or an instant in ISO 8601")
        }
        // A date alone has ten characters.
        return text.utf8.count == 10 ? calendar.start(ofDay: instant.utcDay) : instant
    }
}

/// Where a page of the log ended, and which stretch of time is paged through: opaque to clients.
///
/// It is no secret and no permission: whatever it says, only rows of the request's own account are read.
struct LogCursor: Equatable {
    let place: UsagePlace
    let range: UsageRange

    init(place: UsagePlace, range: UsageRange) {
        self.place = place
        self.range = range
    }

    /// Four integers in base 36 behind the version of the format.
    var text: String {
        let figures = [
            place.recordedAt.microseconds, place.position, range.start.microseconds, range.end.microseconds,
        ]
        return "l1." + figures.map { String($0, radix: 36) }.joined(separator: ".")
    }

    /// Reads what ``text`` wrote, and nothing else.
    init?(_ text: String) {
        guard text.utf8.count <= 80 else { return nil }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let figures = parts.dropFirst().compactMap { Int64($0, radix: 36) }
        guard parts.count == 5, figures.count == 4 else { return nil }
        place = UsagePlace(recordedAt: Timestamp(microseconds: figures[0]), position: figures[1])
        range = UsageRange(
            start: Timestamp(microseconds: figures[2]), end: Timestamp(microseconds: figures[3]))
        guard self.text == text else { return nil }
    }
}

/// Which part of the log a request asks for.
struct LogQuery {
    let filter: UsageFilter
    let range: UsageRange
    /// Behind which row it begins; nil: with the newest.
    let place: UsagePlace?
    /// How many rows at most; nil: the request names no figure.
    let limit: Int?

    static let days: Int64 = 7
    static let maximumLimit = 1000

    init(_ request: Request, now: Timestamp) throws {
        var cursor: LogCursor?
        if let text = request.query("cursor") {
            guard let found = LogCursor(text) else {
                throw GatewayError.query("cursor", kind: "cursor", "Input should be a cursor that a page has given")
            }
            cursor = found
        }
        place = cursor?.place
        range = try UsageRange(
            request, try UsageCalendar(request), days: Self.days, now: now, usual: cursor?.range)
        limit = try request.query("limit").map { text in
            guard let limit = Int(text), (1...Self.maximumLimit).contains(limit) else {
                throw GatewayError.query(
                    "limit", kind: "int_parsing", "Input should be a whole number from 1 to \(Self.maximumLimit)")
            }
            return limit
        }
        let isSuccess: Bool? = try request.stated("status").map { text in
            guard text == "success" || text == "error" else {
                throw GatewayError.query("status", kind: "enum", "Input should be 'success' or 'error'")
            }
            return text == "success"
        }
        filter = UsageFilter(
            from: range.start, to: range.end, model: request.stated("model"), isSuccess: isSuccess,
            keyID: request.stated("api_key_id"))
    }
}
