/// Reads CSV (RFC 4180) with a head: rows as texts by their column.
public struct CSVReader {
    /// Why it is no table.
    public struct Problem: Error, Hashable, Sendable, CustomStringConvertible {
        public let line: Int
        public let what: String

        public var description: String { "line \(line): \(what)" }
    }

    /// The longest cell that is read, and the most columns.
    static let maximumCell = 1 << 16
    static let maximumColumns = 1000

    /// The names of the head, in lower case.
    public private(set) var columns: [String] = []
    private let bytes: [UInt8]
    private var offset = 0
    private var line = 1
    /// The line on which the last row began, the head's being 1.
    public private(set) var rowLine = 1

    /// Reads the head; a byte order mark in front does not count.
    public init(_ bytes: [UInt8]) throws(Problem) {
        self.bytes = bytes
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { offset = 3 }
        guard let head = try record(), head.contains(where: { !$0.isEmpty }) else {
            throw Problem(line: 1, what: "there is no head")
        }
        columns = head.map { $0.lowercased() }
    }

    /// The next row; nil behind the last. Empty lines are passed by.
    public mutating func next() throws(Problem) -> [String]? {
        while let cells = try record() {
            if cells == [""] { continue }
            guard cells.count == columns.count else {
                throw Problem(line: rowLine, what: "it has \(cells.count) cells, the head has \(columns.count)")
            }
            return cells
        }
        return nil
    }

    private mutating func record() throws(Problem) -> [String]? {
        guard offset < bytes.count else { return nil }
        var cells: [String] = []
        var cell: [UInt8] = []
        var isQuoted = false
        let start = line
        rowLine = start
        func text() throws(Problem) -> String {
            guard let text = String(validating: cell, as: UTF8.self) else {
                throw Problem(line: start, what: "it is not UTF-8")
            }
            return text
        }
        while offset < bytes.count {
            let byte = bytes[offset]
            offset += 1
            if byte == 0x0A { line += 1 }
            guard cell.count <= Self.maximumCell, cells.count < Self.maximumColumns else {
                throw Problem(line: start, what: "it is too long")
            }
            if isQuoted {
                if byte != 0x22 {
                    cell.append(byte)
                } else if offset < bytes.count, bytes[offset] == 0x22 {
                    cell.append(0x22)
                    offset += 1
                } else {
                    isQuoted = false
                }
                continue
            }
            switch byte {
            case 0x22 where cell.isEmpty: isQuoted = true
            case 0x2C:
                cells.append(try text())
                cell = []
            case 0x0D where offset < bytes.count && bytes[offset] == 0x0A: break
            case 0x0A:
                cells.append(try text())
                return cells
            default: cell.append(byte)
            }
        }
        if isQuoted { throw Problem(line: start, what: "a quotation mark is not closed") }
        cells.append(try text())
        return cells
    }
}
