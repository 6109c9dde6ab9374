import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import NIOCore
import Projections
import WireJSON

extension ProfileRoutes {
    /// The longest range that is summed: ten years.
    private static let longestRange: Int64 = 3660
    private static let usualLimit = 30
    /// Rows that are read and written at a time, where all of them are wanted.
    private static let rowsAtOnce = 250

    /// One's usage in buckets: by day (unless `group_by` says otherwise), week, month, model, or in all; of the last 30 days unless `start`
    /// and `end` say otherwise; by the clocks of the zone `tz`. As JSON or as CSV.
    ///
    /// Buckets that nothing is in are left out. The first and the last hold what of them is in the range, so that the buckets are
    /// together the total, exactly.
    @Sendable func sums(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let user = try await user(of: request, context)
        let calendar = try UsageCalendar(request)
        var grouping = UsageGrouping.day
        if let name = request.query("group_by") {
            guard let found = UsageGrouping(rawValue: name) else {
                throw GatewayError.query(
                    "group_by", kind: "enum", "Input should be 'day', 'week', 'month', 'model' or 'total'")
            }
            grouping = found
        }
        let format = try ListFormat(request)
        let range = try UsageRange(request, calendar, days: 30, now: SystemClock.now())
        try range.check(atMostDays: Self.longestRange)
        let buckets = try await usage.fold(
            of: user.id, from: range.start, to: range.end, into: UsageBuckets(grouping, calendar: calendar)
        ) { buckets, figures in
            buckets.add(figures)
        }
        if format == .csv { return Self.csv(buckets, range) }
        let name = grouping.rawValue
        return Response.json { json in
            json.beginObject()
            json.field("group_by", name)
            json.field("start", range.start.description)
            json.field("end", range.end.description)
            json.name("buckets")
            json.beginArray()
            for (period, sum) in buckets.buckets {
                json.beginObject()
                json.field("period", period)
                json.members(sum)
                json.endObject()
            }
            json.endArray()
            json.name("total")
            json.beginObject()
            json.members(buckets.total)
            json.endObject()
            json.endObject()
        }
    }

    private static func csv(_ buckets: UsageBuckets, _ range: UsageRange) -> Response {
        var csv = CSVWriter()
        csv.row(["period", "requests", "prompt_tokens", "completion_tokens", "total_tokens", "cost"])
        for (period, sum) in buckets.buckets {
            csv.row([
                period, String(sum.requests), String(sum.promptTokens), String(sum.completionTokens),
                String(sum.totalTokens), Decimal64.text(sum.costPicoUSD, fractionDigits: 12),
            ])
        }
        return Response.csv(named: "usage-\(range.fileName)", ResponseBody(byteBuffer: csv.take()))
    }

    /// One's settled requests, newest first: of the last 7 days unless `start` and `end` say otherwise, those with the `model`, `status` and
    /// `api_key_id` that are named.
    ///
    /// As JSON in pages: `nextCursor` is the next page's `cursor`, to be sent with the same filters. What is recorded meanwhile moves no page.
    /// As CSV all of it (or `limit` rows), written as it is read.
    @Sendable func logs(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let user = try await user(of: request, context)
        let query = try LogQuery(request, now: SystemClock.now())
        if try ListFormat(request) == .csv { return csv(of: user.id, query) }
        let limit = query.limit ?? Self.usualLimit
        // One row more tells whether there is another page.
        let found = try await usage.log(of: user.id, where: query.filter, behind: query.place, limit: limit + 1)
        let rows = found.prefix(limit)
        var next: String?
        if found.count > limit, let last = rows.last {
            next = LogCursor(place: UsagePlace(last), range: query.range).text
        }
        let cursor = next
        return Response.json { json in
            json.beginObject()
            json.field("success", true)
            json.name("data")
            json.beginObject()
            json.name("items")
            json.beginArray()
            for row in rows {
                json.beginObject()
                for (name, value) in LogItem(row).members {
                    json.name(name)
                    value.write(to: &json)
                }
                json.endObject()
            }
            json.endArray()
            json.nullable("nextCursor", cursor)
            json.endObject()
            json.endObject()
        }
    }

    private func csv(of account: AccountID, _ query: LogQuery) -> Response {
        let usage = usage
        let body = ResponseBody { writer in
            var csv = CSVWriter()
            csv.row(LogItem.names)
            var place = query.place
            var left = query.limit ?? .max
            while left > 0 {
                let count = min(left, Self.rowsAtOnce)
                let rows = try await usage.log(of: account, where: query.filter, behind: place, limit: count)
                for row in rows {
                    for (_, value) in LogItem(row).members { csv.cell(value.text) }
                    csv.endRow()
                }
                let piece = csv.take()
                if piece.readableBytes > 0 { try await writer.write(piece) }
                guard let last = rows.last, rows.count == count else { break }
                place = UsagePlace(last)
                left -= rows.count
            }
            try await writer.finish(nil)
        }
        return Response.csv(named: "requests-\(query.range.fileName)", body)
    }
}

/// A settled request as the old gateway's log showed it; what it did not know is in `metadata`.
private struct LogItem {
    enum Value {
        case text(String?)
        /// Digits of ours, or an object.
        case json(String)

        /// As a cell of CSV.
        var text: String? {
            switch self {
            case .text(let text): text
            case .json(let json): json
            }
        }

        func write(to json: inout JSONWriter) {
            switch self {
            case .text(let text?): json.value(text)
            case .text(nil): json.null()
            case .json(let digits): json.raw(digits)
            }
        }
    }

    static let names = [
        "aiInferenceProviderName", "aiModelName", "aiModelTypeName", "completionTokens", "costUsd", "createdAt",
        "creditsUsed", "generationId", "id", "metadata", "organizationId", "promptTokens", "totalTokens", "userId",
    ]

    private let row: UsageRow

    init(_ row: UsageRow) {
        self.row = row
    }

    /// The members by their names, in the order of ``names``.
    var members: Zip2Sequence<[String], [Value]> {
        let name = ModelKey(row.model)
        let values: [Value] = [
            .text(name?.provider), .text(name?.model ?? row.model),
            .text(row.endpoint == Endpoint.embeddings.rawValue ? "embedding" : "chat"),
            .json(String(row.completionTokens)), .json(Decimal64.text(row.costPicoUSD, fractionDigits: 12)),
            .text(row.recordedAt.description),
            // The old gateway's unit: millionths of a dollar.
            .json(Decimal64.text(row.costPicoUSD, fractionDigits: 6)), .text(row.request.rawValue),
            .text(row.request.rawValue), .json(metadata), .text(nil), .json(String(row.promptTokens)),
            .json(String(row.promptTokens + row.completionTokens)), .text(row.account.rawValue),
        ]
        return zip(Self.names, values)
    }

    private var metadata: String {
        var json = JSONWriter()
        json.beginObject()
        json.field("endpoint", row.endpoint)
        json.field("status", row.isSuccess ? "success" : "error")
        json.nullable("errorMessage", row.isSuccess ? nil : row.detail)
        json.nullable("apiKeyId", row.keyID)
        json.field("cachedTokens", row.cachedTokens)
        json.field("estimated", row.isEstimated)
        json.field("credits", row.credits)
        json.field("creditsReversed", row.reversed)
        json.endObject()
        return json.text
    }
}
