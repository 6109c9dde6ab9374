/// An amount of credits: a signed 64-bit count of nano-credits (10⁻⁹ of a credit).
///
/// There is no arithmetic that wraps or traps: every operation says when its result does not fit. Sums over accounts are
/// taken in `Int128`. No floating point number ever holds money.
public struct Credits: Hashable, Comparable, Sendable {
    /// The count of nano-credits.
    public let nanos: Int64

    public static let zero = Credits(nanos: 0)
    /// Nano-credits in a credit.
    public static let nanosPerCredit: Int64 = 1_000_000_000

    public init(nanos: Int64) {
        self.nanos = nanos
    }

    /// Whole credits; nil where they do not fit into 64 bits of nano-credits.
    public init?(whole: Int64) {
        let (nanos, overflow) = whole.multipliedReportingOverflow(by: Self.nanosPerCredit)
        guard !overflow else { return nil }
        self.nanos = nanos
    }

    public static func < (left: Credits, right: Credits) -> Bool { left.nanos < right.nanos }

    /// The sum, or nil where it does not fit.
    public func adding(_ other: Credits) -> Credits? {
        let (sum, overflow) = nanos.addingReportingOverflow(other.nanos)
        return overflow ? nil : Credits(nanos: sum)
    }

    /// The difference, or nil where it does not fit.
    public func subtracting(_ other: Credits) -> Credits? {
        let (difference, overflow) = nanos.subtractingReportingOverflow(other.nanos)
        return overflow ? nil : Credits(nanos: difference)
    }

    /// Clamps a wide sum to what 64 bits hold, for totals that are shown and never stored.
    public init(clamping nanos: Int128) {
        self.nanos = Int64(clamping: nanos)
    }
}

extension Credits: CustomStringConvertible {
    /// The amount in credits as an exact decimal without trailing zeros: `12.5`, `-0.000000001`, `0`.
    public var description: String { Decimal64.text(nanos, fractionDigits: 9) }

    /// Reads an exact decimal of credits with at most nine decimals.
    public init?(decimal text: some StringProtocol) {
        guard let nanos = Decimal64.parse(text, fractionDigits: 9) else { return nil }
        self.nanos = nanos
    }
}

/// Decimal text of integers that count a power of ten: the only way by which amounts enter and leave as text.
public enum Decimal64 {
    /// Writes `value / 10^fractionDigits` exactly, without trailing zeros.
    public static func text(_ value: some BinaryInteger, fractionDigits: Int) -> String {
        var digits = String(value.magnitude)
        let sign = value < 0 ? "-" : ""
        if digits.utf8.count <= fractionDigits {
            digits = String(repeating: "0", count: fractionDigits + 1 - digits.utf8.count) + digits
        }
        let split = digits.index(digits.endIndex, offsetBy: -fractionDigits)
        var fraction = digits[split...]
        while fraction.last == "0" { fraction.removeLast() }
        return sign + digits[..<split] + (fraction.isEmpty ? "" : "." + fraction)
    }

    /// Reads a decimal number, in plain or exponent notation, as a count of `10^-fractionDigits`.
    ///
    /// The value must be exact: more decimals than `fractionDigits` (other than zeros), or a value beyond 64 bits, gives nil.
    public static func parse(_ text: some StringProtocol, fractionDigits: Int) -> Int64? {
        var mantissa: Int128 = 0
        var digitCount = 0
        var decimals = 0
        var exponent = 0
        var negative = false
        var seenPoint = false
        var bytes = Array(text.utf8)[...]
        guard bytes.count <= 64 else { return nil }
        if bytes.first == 0x2D {
            negative = true
            bytes.removeFirst()
        }
        while let byte = bytes.first {
            if byte == 0x2E, !seenPoint {
                seenPoint = true
            } else if byte &- 0x30 < 10 {
                let (shifted, overflow) = mantissa.multipliedReportingOverflow(by: 10)
                let (sum, carry) = shifted.addingReportingOverflow(Int128(byte &- 0x30))
                if overflow || carry { return nil }
                mantissa = sum
                digitCount += 1
                if seenPoint { decimals += 1 }
            } else if byte | 0x20 == 0x65, digitCount > 0 {
                guard let power = Int(String(decoding: bytes.dropFirst(), as: UTF8.self)), (-64...64).contains(power)
                else {
                    return nil
                }
                exponent = power
                bytes = []
                break
            } else {
                return nil
            }
            bytes.removeFirst()
        }
        guard digitCount > 0 else { return nil }
        var shift = fractionDigits - decimals + exponent
        while shift > 0 {
            let (shifted, overflow) = mantissa.multipliedReportingOverflow(by: 10)
            if overflow { return nil }
            mantissa = shifted
            shift -= 1
        }
        while shift < 0 {
            guard mantissa % 10 == 0 else { return nil }
            mantissa /= 10
            shift += 1
        }
        return Int64(exactly: negative ? -mantissa : mantissa)
    }
}
