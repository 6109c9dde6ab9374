import Auditing
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import NIOCore
import Projections
import Synchronization

/// `/v1/exports`: what `replay export` writes, byte for byte, for whoever has a master key that may read.
///
/// An answer is written as it is made, and can be resumed by a range of bytes: the position that it ends at is in its entity tag and in
/// `x-ledger-through`, and `through` asks for the same again.
struct ExportRoutes: Sendable {
    let authenticator: Authenticator
    let desk: LedgerDesk

    private static let through = HTTPField.Name("x-ledger-through")

    func add(to router: some RouterMethods<GatewayContext>) {
        router.get("/v1/exports/:kind", use: export)
    }

    @Sendable func export(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        let kind = context.parameters.get("kind") ?? ""
        guard let seat = try desk.seat() else { throw GatewayError.deskIsFull }
        let range = Self.firstByte(request)
        let asked = try Self.order(request, kind: kind)
        let (reading, last, hash) = try await seat.read { file in
            let exporter = try Exporter(file, asked.order(through: asked.through))
            let hash = try file.snapshot { try $0.hash(at: max(1, exporter.last)) }
            return (Reading(exporter), exporter.last, hash)
        }
        // What is asked for again is the same, as long as the ledger is.
        let tag =
            "\"\(kind)-\(asked.format)-\(asked.detail)-\(asked.from?.microseconds ?? 0)-\(last)-\(hash?.description.prefix(16) ?? "")\""
        var headers: HTTPFields = [
            .contentType: Self.contentType(asked.format), .eTag: tag, .acceptRanges: "bytes",
            .contentDisposition: "attachment; filename=\"\(kind).\(asked.format)\"", .cacheControl: "no-store",
        ]
        if let name = Self.through { headers[name] = String(last) }
        let order = asked.order(through: last)
        if request.method == .head {
            // What is written as it is made has no length that could be said before, unless it is asked for (RFC 9110, section 9.3.2).
            headers[.contentLength] = String(try await seat.read { file in try Self.length(Exporter(file, order)) })
            return Response(status: .ok, headers: headers)
        }
        // A range of something else would be no part of what the client has (RFC 9110, section 13.1.5). What ends at an instant that is
        // over stays the same.
        let isOver = asked.through != nil || asked.to.map { $0 <= SystemClock.now() } ?? false
        let isSame = request.headers[.ifRange].map { $0 == tag } ?? isOver
        guard let first = range, isSame else {
            return Response(status: .ok, headers: headers, body: Self.body(seat, reading, from: 0))
        }
        let total = try await seat.read { file in try Self.length(Exporter(file, order)) }
        guard first < total else {
            headers[.contentRange] = "bytes */\(total)"
            headers[.contentType] = nil
            headers[.contentDisposition] = nil
            return Response(status: .rangeNotSatisfiable, headers: headers)
        }
        headers[.contentRange] = "bytes \(first)-\(total - 1)/\(total)"
        return Response(status: .partialContent, headers: headers, body: Self.body(seat, reading, from: first))
    }

    /// What a request asks for.
    private struct Asked {
        let content: ExportOrder.Content
        let format: String
        let detail: String
        let from: Timestamp?
        let to: Timestamp?
        let through: Int64?

        func order(through: Int64?) -> ExportOrder {
            ExportOrder(content, from: from, to: to, through: through)
        }
    }

    private static func order(_ request: Request, kind: String) throws -> Asked {
        guard EventTable(rawValue: kind) != nil || kind == "roll-forward" else {
            throw GatewayError(
                .notFound, "export_not_found",
                "There is no export '\(kind)': usage, charges, grants, journal and roll-forward are")
        }
        let format = request.query("format") ?? "csv"
        let detail = request.query("by") ?? "day"
        guard detail == "day" || detail == "event" else {
            throw GatewayError.query("by", kind: "enum", "Input should be 'day' or 'event'")
        }
        guard let content = ExportOrder.Content(kind: kind, format: format, byEvent: detail == "event") else {
            throw GatewayError.query(
                "format", kind: "enum",
                "Input should be 'csv' or 'jsonl'" + (kind == "journal" ? ", 'hledger' or 'beancount'" : ""))
        }
        var through: Int64?
        if let text = request.query("through") {
            guard let position = Int64(text), position >= 0 else {
                throw GatewayError.query("through", kind: "int_parsing", "Input should be a position")
            }
            through = position
        }
        let (from, to) = (try instant("from", request), try instant("to", request))
        if let from, let to, from >= to {
            throw GatewayError(.badRequest, "invalid_range", "from must be before to", param: "from")
        }
        return Asked(content: content, format: format, detail: detail, from: from, to: to, through: through)
    }

    private static func instant(_ name: String, _ request: Request) throws -> Timestamp? {
        guard let text = request.query(name[...]) else { return nil }
        guard text.utf8.count <= 64, let instant = Timestamp(iso8601: text) else {
            throw GatewayError.query(name, kind: "datetime_parsing", "Input should be a date or an instant in ISO 8601")
        }
        return instant
    }

    /// The first byte of `bytes=N-`; nil for any other range, which is then answered as if it were not there.
    private static func firstByte(_ request: Request) -> Int64? {
        guard let range = request.headers[.range], range.hasPrefix("bytes="), range.hasSuffix("-") else { return nil }
        return Int64(range.dropFirst(6).dropLast()).flatMap { $0 >= 0 ? $0 : nil }
    }

    private static func contentType(_ format: String) -> String {
        switch format {
        case "csv": "text/csv; charset=utf-8; header=present"
        case "jsonl": "application/jsonl"
        default: "text/plain; charset=utf-8"
        }
    }

    private static func length(_ exporter: Exporter) throws -> Int64 {
        var exporter = exporter
        var total: Int64 = 0
        while let piece = try exporter.next() { total += Int64(piece.count) }
        return total
    }

    /// An export under way: it stays where it is, for what it remembers is not to be copied for each piece.
    private final class Reading: Sendable {
        private let exporter: Mutex<Exporter>

        init(_ exporter: Exporter) {
            self.exporter = Mutex(exporter)
        }

        func next() throws -> [UInt8]? { try exporter.withLock { try $0.next() } }
    }

    /// The export from a byte on, read piece by piece as the client takes it.
    private static func body(_ seat: LedgerDesk.Seat, _ reading: Reading, from first: Int64) -> ResponseBody {
        ResponseBody { writer in
            var skip = first
            while let piece = try await seat.read({ _ in try reading.next() }) {
                let dropped = Int(min(skip, Int64(piece.count)))
                skip -= Int64(dropped)
                if dropped < piece.count { try await writer.write(ByteBuffer(bytes: piece[dropped...])) }
            }
            try await writer.finish(nil)
        }
    }
}
