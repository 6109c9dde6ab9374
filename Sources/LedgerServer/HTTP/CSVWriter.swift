import HTTPTypes
import Hummingbird
import NIOCore

/// Writes rows of CSV (RFC 4180): lines end with CR LF, and a cell that needs it is in quotation marks.
///
/// A spreadsheet runs what begins like a formula. Such a cell gets an apostrophe in front, which makes it text there; a plain number is
/// left as it is, be it negative.
struct CSVWriter {
    private(set) var bytes: [UInt8] = []
    private var isWithinRow = false

    /// Writes a cell; nothing in it where there is no value.
    mutating func cell(_ text: String?) {
        if isWithinRow { bytes.append(0x2C) }
        isWithinRow = true
        guard let text else { return }
        let apostrophe: [UInt8] = Self.isFormula(text) ? [0x27] : []
        // A comma, a quotation mark, a carriage return or a line feed.
        guard text.utf8.contains(where: { $0 == 0x2C || $0 == 0x22 || $0 == 0x0D || $0 == 0x0A }) else {
            bytes.append(contentsOf: apostrophe)
            bytes.append(contentsOf: text.utf8)
            return
        }
        bytes.append(0x22)
        bytes.append(contentsOf: apostrophe)
        for byte in text.utf8 {
            if byte == 0x22 { bytes.append(0x22) }
            bytes.append(byte)
        }
        bytes.append(0x22)
    }

    /// Ends a row.
    mutating func endRow() {
        bytes.append(contentsOf: [0x0D, 0x0A])
        isWithinRow = false
    }

    /// Writes a row of texts.
    mutating func row(_ cells: [String]) {
        for text in cells { cell(text) }
        endRow()
    }

    /// Takes what has been written.
    mutating func take() -> ByteBuffer {
        defer { bytes.removeAll(keepingCapacity: true) }
        return ByteBuffer(bytes: bytes)
    }

    /// Whether a spreadsheet would take a text for a formula: it begins with `=`, `+`, `-`, `@`, a tab or a carriage return, and is no
    /// plain number.
    private static func isFormula(_ text: String) -> Bool {
        guard let first = text.utf8.first, [0x3D, 0x2B, 0x2D, 0x40, 0x09, 0x0D].contains(first) else { return false }
        return first != 0x2D || !isPlainNumber(text.utf8.dropFirst())
    }

    /// Digits, and perhaps a point and digits behind it.
    private static func isPlainNumber(_ text: Substring.UTF8View) -> Bool {
        let parts = text.split(separator: 0x2E, maxSplits: 1, omittingEmptySubsequences: false)
        return parts.allSatisfy { part in !part.isEmpty && part.allSatisfy { (0x30...0x39).contains($0) } }
    }
}

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
