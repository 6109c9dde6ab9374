// Statements and explanations hold what others wrote: reasons, models, names. None of it may forge a line or speak to a terminal.

extension [String] {
    /// The lines as one text: within one, what breaks lines is a space, and what prints nothing is U+FFFD.
    var printable: String {
        var text = ""
        for line in self {
            for scalar in line.unicodeScalars {
                if scalar.properties.isWhitespace {
                    text.unicodeScalars.append(" ")
                } else {
                    text.unicodeScalars.append(scalar.isPrintable ? scalar : "\u{FFFD}")
                }
            }
            text += "\n"
        }
        return text
    }
}

extension Unicode.Scalar {
    /// Whether it stands for something: no control character, and none that turns the direction of what follows
    /// (Unicode 15, chapter 23: control codes; bidirectional ordering controls).
    var isPrintable: Bool {
        switch properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator, .surrogate: false
        case .format: !properties.isBidiControl
        default: true
        }
    }
}
