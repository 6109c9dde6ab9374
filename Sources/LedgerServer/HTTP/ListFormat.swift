import HTTPTypes
import Hummingbird
import NIOCore
import Projections

/// In which form a list is answered.
enum ListFormat: String {
    case json
    case csv

    /// What the query's `format` names; without it, the first form in the `Accept` header that we have.
    init(_ request: Request) throws {
        if let name = request.query("format") {
            guard let format = ListFormat(rawValue: name) else {
                throw GatewayError.query("format", kind: "enum", "Input should be 'json' or 'csv'")
            }
            self = format
            return
        }
        // The better one by quality (RFC 9110, section 12.5.1), of equal ones the first.
        let header: String = (request.headers[.accept] ?? "").lowercased().filter { $0 != " " }
        var best = (format: ListFormat.json, quality: 0.0)
        for type in header.split(separator: ",") {
            let parts = type.split(separator: ";")
            let weight = parts.dropFirst().first { $0.hasPrefix("q=") }.map { Double($0.dropFirst(2)) ?? 0 } ?? 1
            guard weight > best.quality else { continue }
            switch parts.first {
            case "text/csv": best = (.csv, weight)
            case "application/json", "*/*": best = (.json, weight)
            default: break
            }
        }
        self = best.format
    }
}

extension CSVWriter {
    /// Takes what has been written.
    mutating func take() -> ByteBuffer { ByteBuffer(bytes: takeBytes()) }
}

extension Response {
    /// An answer of CSV, to be kept as a file. `name` is of letters, digits and hyphens.
    static func csv(named name: String, _ body: ResponseBody) -> Response {
        let headers: HTTPFields = [
            .contentType: "text/csv; charset=utf-8; header=present",
            .contentDisposition: "attachment; filename=\"\(name).csv\"",
        ]
        return Response(status: .ok, headers: headers, body: body)
    }
}
