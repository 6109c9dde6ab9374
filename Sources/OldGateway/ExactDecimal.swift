/// A decimal number of as many digits as it takes: sums of old amounts are exact, whatever their exponents are.
public struct ExactDecimal: Hashable, Sendable {
    /// The longest text that is read, and the largest exponent: more than any binary floating point number needs.
    private static let longestText = 1100
    private static let largestExponent = 1100

    private let isNegative: Bool
    /// The digits, most significant first, without zeros at either end; none: zero.
    private let digits: [UInt8]
    /// The power of ten that the last digit counts.
    private let exponent: Int

    public static let zero = ExactDecimal(isNegative: false, digits: [], exponent: 0)

    private init(isNegative: Bool, digits: [UInt8], exponent: Int) {
        var significant = digits.drop { $0 == 0 }
        var exponent = exponent
        while significant.last == 0 {
            significant.removeLast()
            exponent += 1
        }
        self.isNegative = isNegative && !significant.isEmpty
        self.digits = Array(significant)
        self.exponent = significant.isEmpty ? 0 : exponent
    }

    /// Reads a decimal number in plain or exponent notation: `12.5`, `-1e-07`, `1.5E+16`.
    ///
    /// Nil where it is none (`NaN` and `Infinity` are none), or is longer than any number of a database that counts money.
    public init?(_ text: some StringProtocol) {
        var bytes = Array(text.utf8)[...]
        guard bytes.count <= Self.longestText else { return nil }
        var isNegative = false
        if let sign = bytes.first, sign == 0x2D || sign == 0x2B {
            isNegative = sign == 0x2D
            bytes.removeFirst()
        }
        var digits: [UInt8] = []
        var decimals = 0
        var seenPoint = false
        var power = 0
        while let byte = bytes.first {
            bytes.removeFirst()
            if byte == 0x2E, !seenPoint {
                seenPoint = true
            } else if (0x30...0x39).contains(byte) {
                digits.append(byte - 0x30)
                if seenPoint { decimals += 1 }
            } else if byte | 0x20 == 0x65, !digits.isEmpty {
                guard let read = Int(String(decoding: bytes, as: UTF8.self)),
                    (-Self.largestExponent...Self.largestExponent).contains(read)
                else { return nil }
                power = read
                bytes = []
            } else {
                return nil
            }
        }
        guard !digits.isEmpty else { return nil }
        self.init(isNegative: isNegative, digits: digits, exponent: power - decimals)
    }

    /// `value / 10^fractionDigits`, exactly.
    public init(_ value: Int128, fractionDigits: Int) {
        self.init(
            isNegative: value < 0, digits: String(value.magnitude).utf8.map { $0 - 0x30 }, exponent: -fractionDigits)
    }

    public var isZero: Bool { digits.isEmpty }
    /// Whether it is below zero.
    public var isBelowZero: Bool { isNegative }

    /// The number of the other sign.
    public var negated: ExactDecimal {
        ExactDecimal(isNegative: !isNegative, digits: digits, exponent: exponent)
    }

    // MARK: Sums

    public static func + (left: ExactDecimal, right: ExactDecimal) -> ExactDecimal {
        if left.isZero { return right }
        if right.isZero { return left }
        let exponent = min(left.exponent, right.exponent)
        let (first, second) = (left.digits(to: exponent), right.digits(to: exponent))
        if left.isNegative == right.isNegative {
            return ExactDecimal(isNegative: left.isNegative, digits: sum(first, second), exponent: exponent)
        }
        if isLess(first, second) {
            return ExactDecimal(isNegative: right.isNegative, digits: difference(second, first), exponent: exponent)
        }
        return ExactDecimal(isNegative: left.isNegative, digits: difference(first, second), exponent: exponent)
    }

    public static func - (left: ExactDecimal, right: ExactDecimal) -> ExactDecimal { left + right.negated }

    public static func += (left: inout ExactDecimal, right: ExactDecimal) { left = left + right }

    public static func -= (left: inout ExactDecimal, right: ExactDecimal) { left = left + right.negated }

    /// The digits with the last one counting `10^exponent`, which is not above this number's own exponent.
    private func digits(to exponent: Int) -> [UInt8] {
        digits + [UInt8](repeating: 0, count: max(0, self.exponent - exponent))
    }

    /// The digit that counts `10^place`, from the last one on; 0 beyond the first.
    private static func digit(_ digits: [UInt8], _ place: Int) -> UInt8 {
        place < digits.count ? digits[digits.count - 1 - place] : 0
    }

    private static func isLess(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        for place in (0..<max(left.count, right.count)).reversed() {
            let (one, other) = (digit(left, place), digit(right, place))
            if one != other { return one < other }
        }
        return false
    }

    private static func sum(_ left: [UInt8], _ right: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var carry: UInt8 = 0
        for place in 0..<max(left.count, right.count) {
            let sum = digit(left, place) + digit(right, place) + carry
            result.append(sum % 10)
            carry = sum / 10
        }
        result.append(carry)
        return result.reversed()
    }

    /// The difference of two rows of digits of which the first is not the lesser.
    private static func difference(_ left: [UInt8], _ right: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var borrow: UInt8 = 0
        for place in 0..<left.count {
            let have = digit(left, place) + 10
            let rest = have - digit(right, place) - borrow
            result.append(rest % 10)
            borrow = rest < 10 ? 1 : 0
        }
        return result.reversed()
    }

    // MARK: Rounding

    /// The nearest count of `10^-fractionDigits`, halves up (to the larger number), and whether it is exact; nil where 128 bits do not
    /// hold it.
    public func rounded(fractionDigits: Int) -> (value: Int128, isExact: Bool)? {
        let dropped = -fractionDigits - exponent
        if dropped <= 0 {
            guard digits.count - dropped <= 39, let value = Self.integer(digits(to: -fractionDigits)) else {
                return nil
            }
            return (isNegative ? -value : value, true)
        }
        // There are no zeros at the end: what is dropped is never nothing, and is a half only where it is the one digit 5.
        let first = Self.digit(digits, dropped - 1)
        let isHalf = first == 5 && dropped == 1
        let roundsAway = first >= 5 && !(isHalf && isNegative)
        guard let kept = Self.integer(Array(digits.dropLast(dropped))) else { return nil }
        let (magnitude, overflow) = kept.addingReportingOverflow(roundsAway ? 1 : 0)
        guard !overflow else { return nil }
        return (isNegative ? -magnitude : magnitude, false)
    }

    private static func integer(_ digits: [UInt8]) -> Int128? {
        var value: Int128 = 0
        for digit in digits {
            let (shifted, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = shifted.addingReportingOverflow(Int128(digit))
            if overflow || carry { return nil }
            value = sum
        }
        return value
    }
}

extension ExactDecimal: CustomStringConvertible {
    /// The number in plain notation, with all its digits: `0.0000001`, `-12.5`, `0`.
    public var description: String {
        if isZero { return "0" }
        let text = String(decoding: digits.map { $0 + 0x30 }, as: UTF8.self)
        let sign = isNegative ? "-" : ""
        if exponent >= 0 { return sign + text + String(repeating: "0", count: exponent) }
        let decimals = -exponent
        if decimals >= text.utf8.count {
            return sign + "0." + String(repeating: "0", count: decimals - text.utf8.count) + text
        }
        return sign + text.dropLast(decimals) + "." + text.suffix(decimals)
    }
}
