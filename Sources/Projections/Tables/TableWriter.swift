public import Ledger
import WireJSON

/// A column of a table that is written to a file: its name, and what it says.
public struct TableColumn: Hashable, Sendable {
    public let name: String
    public let meaning: String

    public init(_ name: String, _ meaning: String) {
        self.name = name
        self.meaning = meaning
    }
}

/// How a table is written.
public enum TableFormat: String, Sendable, CaseIterable {
    /// RFC 4180, with a head; safe against what spreadsheets take for formulas.
    case csv
    /// An object a line (https://jsonlines.org). Amounts are texts, so that no reader makes floating point numbers of them.
    case jsonl
}

/// Writes a table row by row, cell by cell in the order of its columns.
public struct TableWriter: Sendable {
    private let format: TableFormat
    /// For JSON: what stands before each cell's value, one behind the other, and where each ends.
    private var names: [UInt8] = []
    private var nameEnds: [Int] = []
    private var csv = CSVWriter()
    private var json: [UInt8] = []
    private var column = 0
    private var day: (number: Int64, text: [UInt8]) = (.min, [])

    /// Begins a table; CSV with its head.
    public init(_ format: TableFormat, _ columns: [TableColumn], withHead: Bool = true) {
        self.format = format
        for (index, column) in columns.enumerated() where format == .jsonl {
            names += "\(index == 0 ? "{" : ",")\"\(column.name)\":".utf8
            nameEnds.append(names.count)
        }
        if format == .csv, withHead { csv.row(columns.map(\.name)) }
    }

    /// How many bytes wait to be taken.
    public var count: Int { format == .csv ? csv.bytes.count : json.count }

    /// Takes what has been written.
    public mutating func take() -> [UInt8] {
        if format == .csv { return csv.takeBytes() }
        defer { json.removeAll(keepingCapacity: true) }
        return json
    }

    public mutating func endRow() {
        column = 0
        if format == .csv { return csv.endRow() }
        json.append(contentsOf: [0x7D, 0x0A])
    }

    // MARK: Cells

    public mutating func text(_ value: String?) {
        guard format == .jsonl else { return csv.cell(value) }
        name()
        guard let value else { return null() }
        // Nearly every text needs no escape, and no writer of its own.
        let isPlain = value.utf8.withContiguousStorageIfAvailable { utf8 in
            guard utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x22 && $0 != 0x5C }) else { return false }
            json.append(0x22)
            json.append(contentsOf: utf8)
            json.append(0x22)
            return true
        }
        if isPlain == true { return }
        var writer = JSONWriter(reserving: value.utf8.count + 2)
        writer.value(value)
        json.append(contentsOf: writer.bytes)
    }

    /// A word of ours, which needs no escape in either format.
    public mutating func word(_ value: String) {
        plain(quoted: true) { $0.append(contentsOf: value.utf8) }
    }

    public mutating func integer(_ value: Int64?) {
        guard let value else { return empty() }
        plain(quoted: false) { $0.append(decimal: Int128(value), fractionDigits: 0) }
    }

    /// `value / 10^fractionDigits`, exactly.
    public mutating func decimal(_ value: Int128?, fractionDigits: Int) {
        guard let value else { return empty() }
        plain(quoted: true) { $0.append(decimal: value, fractionDigits: fractionDigits) }
    }

    public mutating func credits(_ value: Credits?) {
        decimal(value.map { Int128($0.nanos) }, fractionDigits: 9)
    }

    public mutating func flag(_ value: Bool) {
        plain(quoted: false) { $0.append(contentsOf: (value ? "true" : "false").utf8) }
    }

    /// An instant in ISO 8601, in UTC, with microseconds.
    public mutating func instant(_ value: Timestamp?) {
        guard let value else { return empty() }
        let number = value.utcDay
        // Most instants of a table are of the day of the one before.
        if day.number != number { day = (number, Array(Timestamp.text(day: number).utf8)) }
        let (start, overflow) = number.multipliedReportingOverflow(by: 86_400_000_000)
        let text = day.text
        guard !overflow, text.count == 10 else { return self.text(value.description) }
        let micros = value.microseconds &- start
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000)
        plain(quoted: true) { bytes in
            bytes.append(addingCapacity: 32) { output in
                func put(_ number: Int64, _ unit: Int64) {
                    var unit = unit
                    while unit > 0 {
                        output.append(UInt8(truncatingIfNeeded: 0x30 + number / unit % 10))
                        unit /= 10
                    }
                }
                for byte in text { output.append(byte) }
                output.append(0x54)
                put(seconds / 3600, 10)
                output.append(0x3A)
                put(seconds / 60 % 60, 10)
                output.append(0x3A)
                put(seconds % 60, 10)
                output.append(0x2E)
                put(fraction, 100_000)
                for byte in "+00:00".utf8 { output.append(byte) }
            }
        }
    }

    private mutating func empty() {
        guard format == .jsonl else { return csv.cell(nil) }
        name()
        null()
    }

    private mutating func plain(quoted: Bool, _ write: (inout [UInt8]) -> Void) {
        guard format == .jsonl else { return csv.plain(write) }
        name()
        if quoted { json.append(0x22) }
        write(&json)
        if quoted { json.append(0x22) }
    }

    private mutating func name() {
        guard nameEnds.indices.contains(column) else { return }
        let range = (column == 0 ? 0 : nameEnds[column - 1])..<nameEnds[column]
        names.withUnsafeBufferPointer { json.append(contentsOf: UnsafeBufferPointer(rebasing: $0[range])) }
        column += 1
    }

    private mutating func null() { json.append(contentsOf: "null".utf8) }
}

extension [UInt8] {
    /// Appends `value / 10^fractionDigits` exactly, without trailing zeros, as ``Decimal64`` writes it; without building a text.
    mutating func append(decimal value: Int128, fractionDigits: Int) {
        if value < 0 { append(0x2D) }
        // Nearly every figure fits into 64 bits, with which it goes much faster.
        if let small = UInt64(exactly: value.magnitude) {
            append(digitsOf: small, fractionDigits: fractionDigits)
        } else {
            append(digitsOf: value.magnitude, fractionDigits: fractionDigits)
        }
    }

    private mutating func append(digitsOf number: some FixedWidthInteger & UnsignedInteger, fractionDigits: Int) {
        // The 39 digits of 128 bits, a point, and a zero in front; a fraction has twelve digits at most.
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { buffer in
            var left = number
            var start = buffer.count
            func put(_ byte: UInt8) {
                start -= 1
                buffer[start] = byte
            }
            // From the last digit on; the fraction's trailing zeros are never written.
            var isFraction = fractionDigits > 0
            var digits = 0
            while digits <= fractionDigits || left > 0 {
                let (quotient, digit) = left.quotientAndRemainder(dividingBy: 10)
                left = quotient
                if digits == fractionDigits, isFraction {
                    if start < buffer.count { put(0x2E) }
                    isFraction = false
                }
                if !isFraction || digit != 0 || start < buffer.count { put(0x30 + UInt8(truncatingIfNeeded: digit)) }
                digits += 1
            }
            append(contentsOf: UnsafeBufferPointer(rebasing: buffer[start...]))
        }
    }
}
