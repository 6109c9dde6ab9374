import Auditing
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import NIOCore
import Projections

extension ProfileRoutes {
    /// One's statement of a month in UTC (`month=2026-03`; without it the present one so far): as JSON, or by `format` as CSV, text or a page
    /// that prints well.
    @Sendable func statement(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let user = try await user(of: request, context)
        let now = SystemClock.now()
        let wanted = try request.stated("month").map { text in
            guard let month = Month(text) else {
                throw GatewayError.query("month", kind: "month", "Input should be a month such as 2026-03")
            }
            return month
        }
        for name in ["from", "to", "known_at"] where request.query(name[...]) != nil {
            throw GatewayError.query(name, kind: "extra_forbidden", "A statement is of a month: month=2026-03")
        }
        let month = wanted ?? Month(day: now.utcDay)
        guard month.start <= now else {
            throw GatewayError.query("month", kind: "month", "\(month) has not begun: there is no statement of it yet")
        }
        let format = request.stated("format") ?? "json"
        guard ["json", "csv", "text", "html"].contains(format) else {
            throw GatewayError.query("format", kind: "enum", "Input should be 'json', 'csv', 'text' or 'html'")
        }
        let until = min(month.next.start, max(month.start, now))
        let found = try await desk.read { file in
            try file.statement(of: user.id, from: month.start, until: until, now: now)
        }
        guard let statement = found else {
            throw GatewayError(
                .notFound, "statement_not_found", "The account was opened after \(month): there is no statement of it")
        }
        func answer(_ type: String, _ bytes: [UInt8]) -> Response {
            Response(
                status: .ok,
                headers: [
                    .contentType: type, .contentSecurityPolicy: "default-src 'none'; style-src 'unsafe-inline'",
                ], body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
        }
        switch format {
        case "csv":
            var table = TableWriter(.csv, AccountStatement.columns)
            statement.write(to: &table)
            return Response.csv(
                named: "statement-\(month)", ResponseBody(byteBuffer: ByteBuffer(bytes: table.take())))
        case "text": return answer("text/plain; charset=utf-8", Array(statement.text.utf8))
        case "html": return answer("text/html; charset=utf-8", Array(statement.html.utf8))
        default: return Response.json { statement.write(to: &$0) }
        }
    }
}
