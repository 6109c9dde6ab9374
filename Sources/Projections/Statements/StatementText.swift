import Ledger

// Statements for people: as text, and as a page that prints well.

/// A statement as it is read, section by section: what text and page have in common.
private struct StatementPage {
    struct Section {
        let title: String
        let head: [String]
        let rows: [[String]]
    }

    let title: String
    let period: String
    let summary: [(String, String)]
    let sections: [Section]
    let note: String

    init(_ statement: AccountStatement) {
        func credits(_ amount: Int128) -> String { Decimal64.text(amount, fractionDigits: 9) }
        func minute(_ at: Timestamp) -> String {
            let text = at.description
            return "\(text.prefix(10)) \(text.dropFirst(11).prefix(5))"
        }
        title = "Statement of account \(statement.account)"
        period = "\(minute(statement.from)) to \(minute(statement.until)) UTC"
        var summary = [("Opening balance", credits(statement.opening))]
        for kind in AccountStatement.Kind.allCases where statement.lines.contains(where: { $0.kind == kind }) {
            summary.append((Self.words(kind), credits(statement.sum(of: kind))))
        }
        summary.append(("Charged for \(statement.charged.requests) requests", credits(-statement.charged.credits)))
        summary.append(("Closing balance", credits(statement.closing)))
        self.summary = summary
        sections = [
            Section(
                title: "Credits in and out", head: ["Date (UTC)", "What", "Details", "Credits"],
                rows: statement.lines.map { line in
                    [
                        minute(line.at), Self.words(line.kind) + (line.isPending ? " (due)" : ""), Self.details(line),
                        credits(line.credits),
                    ]
                }),
            Section(
                title: "Charges by model",
                head: ["Model", "Requests", "Prompt tokens", "of them cached", "Output tokens", "USD", "Credits"],
                rows: statement.models.map { [$0.model] + Self.figures($0.sum) }),
            Section(
                title: "Charges by day",
                head: [
                    "Day (UTC)", "Model", "Requests", "Prompt tokens", "of them cached", "Output tokens", "USD",
                    "Credits",
                ],
                rows: statement.charges.map { [Timestamp.text(day: $0.day), $0.model] + Self.figures($0.sum) }),
        ].filter { !$0.rows.isEmpty }
        note =
            statement.isBalanced
            ? "Checked: the opening balance and everything above add up to the closing balance."
            : "THE LINES DO NOT ADD UP TO THE CLOSING BALANCE: the ledger is to be verified."
    }

    private static func figures(_ sum: AccountStatement.Charges) -> [String] {
        [
            String(sum.requests), String(sum.promptTokens), String(sum.cachedTokens), String(sum.completionTokens),
            Decimal64.text(sum.costPicoUSD, fractionDigits: 12), Decimal64.text(-sum.credits, fractionDigits: 9),
        ]
    }

    private static func words(_ kind: AccountStatement.Kind) -> String {
        switch kind {
        case .granted: "Credits received"
        case .expired: "Expired"
        case .deferred: "Expired, kept for a request under way"
        case .reversed: "Charges given back"
        case .refunded: "Taken for refunded payments"
        case .withdrawn: "Withdrawn"
        }
    }

    private static func details(_ line: AccountStatement.Line) -> String {
        var parts: [String] = []
        if let terms = line.terms {
            let source =
                switch terms.source {
                case .signupBonus: "sign-up bonus"
                case .monthlyFree: "monthly free credits"
                case .subscription: "subscription"
                case .purchase: "purchase"
                case .adjustment: "adjustment"
                case .refund: "refund"
                case .openingBalance: "brought over"
                }
            parts.append(source)
        }
        if let expiry = line.expiresAt { parts.append("until \(expiry.description.prefix(10))") }
        if let reference = line.reference { parts.append(reference) }
        if let reason = line.reason { parts.append(reason) }
        return parts.joined(separator: ", ")
    }
}

extension AccountStatement {
    /// The statement as text.
    public var text: String {
        let page = StatementPage(self)
        var lines = [page.title, page.period, ""]
        let width = page.summary.map(\.0.count).max() ?? 0
        for (name, amount) in page.summary {
            lines.append("  " + name + String(repeating: " ", count: width - name.count + 2) + amount)
        }
        for section in page.sections {
            lines += ["", section.title]
            let rows = [section.head] + section.rows
            let widths = section.head.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
            for row in rows {
                let cells = zip(row, widths).map { $0 + String(repeating: " ", count: max(0, $1 - $0.count)) }
                var line = "  " + cells.joined(separator: "  ")
                while line.last == " " { line.removeLast() }
                lines.append(line)
            }
        }
        return (lines + ["", page.note]).printable
    }

    /// The statement as a page of HTML that stands by itself, laid out for paper.
    public var html: String {
        let page = StatementPage(self)
        func row(_ cells: [String], _ tag: String) -> String {
            let marked = cells.map { "<\(tag)\(Self.isNumber($0) ? " class=\"n\"" : "")>\(Self.escaped($0))</\(tag)>" }
            return "<tr>\(marked.joined())</tr>"
        }
        var html = """
            <!DOCTYPE html>
            <html lang="en"><head><meta charset="utf-8"><title>\(Self.escaped(page.title))</title>
            <style>
            @page { size: A4; margin: 18mm }
            body { font: 10pt/1.4 sans-serif; color: #111; max-width: 180mm; margin: 0 auto }
            h1 { font-size: 16pt; margin-bottom: 0 } h2 { font-size: 12pt; margin: 8mm 0 2mm }
            table { border-collapse: collapse; width: 100% } thead { display: table-header-group }
            th, td { text-align: left; padding: 1mm 2mm; border-bottom: 0.2mm solid #ccc; vertical-align: top; overflow-wrap: anywhere }
            tr { break-inside: avoid } .n { text-align: right; font-variant-numeric: tabular-nums }
            </style></head><body>
            <h1>\(Self.escaped(page.title))</h1>
            <p>\(Self.escaped(page.period))</p>
            <table>

            """
        for (name, amount) in page.summary { html += row([name, amount], "td") + "\n" }
        html += "</table>\n"
        for section in page.sections {
            html += "<h2>\(Self.escaped(section.title))</h2>\n<table><thead>\(row(section.head, "th"))</thead>\n"
            for cells in section.rows { html += row(cells, "td") + "\n" }
            html += "</table>\n"
        }
        return html + "<p>\(Self.escaped(page.note))</p>\n</body></html>\n"
    }

    private static func isNumber(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.allSatisfy { (0x30...0x39).contains($0) || $0 == 0x2D || $0 == 0x2E }
            && !(text.utf8.count == 10 && text.utf8.filter { $0 == 0x2D }.count == 2)
    }

    private static func escaped(_ text: String) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            case "'": escaped += "&#39;"
            case "\n", "\r", "\t": escaped.unicodeScalars.append(scalar)
            default: escaped.unicodeScalars.append(scalar.isPrintable ? scalar : "\u{FFFD}")
            }
        }
        return escaped
    }
}
