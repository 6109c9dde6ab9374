/// Writes rows of CSV (RFC 4180): lines end with CR LF, and a cell that needs it is in quotation marks.
///
/// What is no text there (control characters, but for a tab and the ends of lines) is U+FFFD. A spreadsheet runs what begins like a formula. Such a cell gets an apostrophe in front, which makes it text there; a plain number is
/// left as it is, be it negative.
public struct CSVWriter: Sendable {

    public private(set) var bytes: [UInt8] = []
    private var isWithinRow = false

    public init() {}

    /// Writes a cell; nothing in it where there is no value.
    public mutating func cell(_ text: String?) {
        if isWithinRow { bytes.append(0x2C) }
        isWithinRow = true
        guard let text else { return }
        // Nearly every cell is of letters and digits, and is written in one go.
        let isPlain: Bool? = text.utf8.withContiguousStorageIfAvailable { utf8 in
            guard let first = utf8.first else { return true }
            guard first.isPlainInCSV, first != 0x2D else { return false }
            for byte in utf8 where !byte.isPlainInCSV { return false }
            bytes.append(contentsOf: utf8)
            return true
        }
        if isPlain != true { write(Self.printable(text)) }
    }

    private mutating func write(_ text: String) {
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

    private static func printable(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: \.isForbiddenInCSV) else { return text }
        var printable = ""
        for scalar in text.unicodeScalars {
            printable.unicodeScalars.append(scalar.isForbiddenInCSV ? "\u{FFFD}" : scalar)
        }
        return printable
    }

    /// Writes a cell of digits, or of other bytes that need no quotation marks and are no formula.
    mutating func plain(_ write: (inout [UInt8]) -> Void) {
        if isWithinRow { bytes.append(0x2C) }
        isWithinRow = true
        write(&bytes)
    }

    /// Ends a row.
    public mutating func endRow() {
        bytes.append(contentsOf: [0x0D, 0x0A])
        isWithinRow = false
    }

    /// Writes a row of texts.
    public mutating func row(_ cells: [String]) {
        for text in cells { cell(text) }
        endRow()
    }

    /// Takes what has been written.
    public mutating func takeBytes() -> [UInt8] {
        defer { bytes.removeAll(keepingCapacity: true) }
        return bytes
    }

    /// Whether a spreadsheet would take a text for a formula: it begins with `=`, `+`, `-`, `@`, a tab, a carriage return or a line feed, and
    /// is no plain number.
    private static func isFormula(_ text: String) -> Bool {
        guard let first = text.utf8.first, [0x3D, 0x2B, 0x2D, 0x40, 0x09, 0x0A, 0x0D].contains(first) else {
            return false
        }
        return first != 0x2D || !isPlainNumber(text.utf8.dropFirst())
    }

    /// Digits, and perhaps a point and digits behind it.
    private static func isPlainNumber(_ text: Substring.UTF8View) -> Bool {
        let parts = text.split(separator: 0x2E, maxSplits: 1, omittingEmptySubsequences: false)
        return parts.allSatisfy { part in !part.isEmpty && part.allSatisfy { (0x30...0x39).contains($0) } }
    }
}

extension Unicode.Scalar {
    /// Whether it is a control character that has no place in a cell (RFC 4180, section 2: TEXTDATA); a tab is one that readers take.
    fileprivate var isForbiddenInCSV: Bool {
        properties.generalCategory == .control && self != "\t" && self != "\r" && self != "\n"
    }
}

extension UInt8 {
    /// Whether the byte needs no care in a cell: not a control character, `"`, `,`, and none that a formula may begin with but `-`.
    fileprivate var isPlainInCSV: Bool {
        self >= 0x20 && self != 0x22 && self != 0x2C && self != 0x2B && self != 0x3D && self != 0x40
    }
}
