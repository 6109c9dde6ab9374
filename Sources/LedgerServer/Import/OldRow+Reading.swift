import Ledger
import OldGateway
import WireJSON

/// What is wrong with a row of the old database, so that it cannot be imported.
struct RowProblem: Error, Equatable, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// A figure of the old database, and what is kept of it.
struct ImportedFigure: Equatable, Sendable {
    /// The text that the old database has for it.
    let text: String
    let exact: ExactDecimal
    /// The count of `10^-fractionDigits` that it is rounded to.
    let value: Int128
    let fractionDigits: Int
    let isExact: Bool

    static func zero(fractionDigits: Int) -> ImportedFigure {
        ImportedFigure(text: "0", exact: .zero, value: 0, fractionDigits: fractionDigits, isExact: true)
    }

    /// What is kept of it, as a decimal.
    var kept: ExactDecimal { ExactDecimal(value, fractionDigits: fractionDigits) }
    /// What rounding has added to it; below zero where it took something away.
    var rounding: ExactDecimal { isExact ? .zero : kept - exact }
}

/// Values of old rows. Types vary with the database and its age: everything is read from text, and what cannot be read is a problem of
/// its row, never a guess.
extension OldRow {
    /// A text that has to be there.
    func required(_ column: String) throws(RowProblem) -> String {
        guard let text = self[column], !text.isEmpty else { throw RowProblem("it has no \(column)") }
        // What stands for bytes that are no UTF-8: two names could have become one.
        guard !text.unicodeScalars.contains("\u{FFFD}") else { throw RowProblem("its \(column) is no valid UTF-8") }
        return text
    }

    /// A text; nil where it is NULL or empty.
    func text(_ column: String) -> String? {
        guard let text = self[column], !text.isEmpty else { return nil }
        return text
    }

    /// The account of the row's user.
    func account() throws(RowProblem) -> AccountID {
        guard let account = AccountID(rawValue: try required("user_id")) else {
            throw RowProblem("its user_id is no valid account id here")
        }
        return account
    }

    func flag(_ column: String) throws(RowProblem) -> Bool? {
        switch self[column]?.lowercased() {
        case nil: return nil
        case "t", "true", "1": return true
        case "f", "false", "0": return false
        default: throw RowProblem("its \(column) is neither true nor false")
        }
    }

    /// An instant; without a zone it is in UTC, as the old gateway wrote it. `infinity` is none.
    func instant(_ column: String) throws(RowProblem) -> Timestamp? {
        guard let text = text(column), text != "infinity" else { return nil }
        guard let instant = Timestamp(iso8601: text) else { throw RowProblem("its \(column) is no instant: \(text)") }
        return instant
    }

    /// A figure, rounded to a count of `10^-fractionDigits`.
    func figure(_ column: String, fractionDigits: Int) throws(RowProblem) -> ImportedFigure? {
        guard let text = text(column) else { return nil }
        guard let exact = ExactDecimal(text) else { throw RowProblem("its \(column) is no number: \(text)") }
        guard let rounded = exact.rounded(fractionDigits: fractionDigits) else {
            throw RowProblem("its \(column) is too large: \(text)")
        }
        return ImportedFigure(
            text: text, exact: exact, value: rounded.value, fractionDigits: fractionDigits, isExact: rounded.isExact)
    }

    /// A figure that must not need rounding and fit into 64 bits.
    func count(_ column: String, fractionDigits: Int = 0) throws(RowProblem) -> Int64? {
        guard let figure = try figure(column, fractionDigits: fractionDigits) else { return nil }
        guard figure.isExact, let count = Int64(exactly: figure.value) else {
            throw RowProblem("its \(column) has more digits than fit: \(figure.text)")
        }
        return count
    }

    /// The row's metadata as a JSON object without white space; nil where they are none, or longer than 16 KiB.
    func metadata() -> String? {
        guard let text = text("metadata"), text != "null" else { return "{}" }
        guard text.utf8.count <= 16 << 10, let value = try? JSONValue(Array(text.utf8)), value.object != nil else {
            return nil
        }
        var json = JSONWriter()
        value.write(into: &json)
        return json.text
    }
}
