import OldGateway
import Testing

@Suite("Exact decimals")
struct ExactDecimalTests {
    /// The least number above zero of 64-bit floating point, in plain notation.
    static let least = "0." + String(repeating: "0", count: 323) + "5"
    /// 10²⁰ and 10⁻²⁰.
    static let wide = "100000000000000000000." + String(repeating: "0", count: 19) + "1"

    @Test(
        "what a database writes of a number is read to its last digit",
        arguments: [
            ("0", "0"), ("-0", "0"), ("0.0", "0"), ("-0e5", "0"), ("12.50", "12.5"), ("-12.5", "-12.5"), ("+3", "3"),
            ("007", "7"), (".5", "0.5"), ("5.", "5"), ("1e3", "1000"), ("1E+3", "1000"), ("1e-05", "0.00001"),
            ("9.999999999999998", "9.999999999999998"), ("0.30000000000000004", "0.30000000000000004"),
            ("1e-07", "0.0000001"), ("1.5e+16", "15000000000000000"), ("123456789012345678901234567890.5", nil),
            ("5e-324", least),
        ] as [(String, String?)])
    func reads(text: String, plain: String?) throws {
        #expect(try #require(ExactDecimal(text)).description == plain ?? text)
    }

    @Test(
        "what is no number is none",
        arguments: [
            "", "-", ".", "e5", "1e", "1e1.5", "NaN", "Infinity", "-Infinity", "inf", "1,5", "1.2.3", "0x10", "1e99999",
            "１",
        ])
    func refuses(text: String) {
        #expect(ExactDecimal(text) == nil)
    }

    @Test(
        "sums are exact, whatever the exponents are",
        arguments: [
            ("0.1", "0.2", "0.3"), ("1", "-1", "0"), ("1", "-0.000000001", "0.999999999"), ("-5", "3", "-2"),
            ("5", "-8", "-3"), ("999", "1", "1000"), ("0", "-7.5", "-7.5"), ("1e20", "1e-20", wide),
            ("9.999999999999998", "0.000000000000002", "10"),
        ])
    func sums(left: String, right: String, sum: String) throws {
        let (one, other) = (try #require(ExactDecimal(left)), try #require(ExactDecimal(right)))
        #expect((one + other).description == sum)
        #expect((other + one) == (one + other))
        #expect((one + other) - other == one)
        #expect((one - one).isZero)
    }

    @Test(
        "a figure is rounded once, halves up",
        arguments: [
            // text, decimals, the count, whether it is exact
            ("0", 9, 0, true), ("1", 9, 1_000_000_000, true), ("0.000000001", 9, 1, true),
            ("9.999999999999998", 9, 10_000_000_000, false), ("0.30000000000000004", 9, 300_000_000, false),
            ("1e-07", 9, 100, true), ("1e-10", 9, 0, false), ("5e-10", 9, 1, false), ("4.9e-10", 9, 0, false),
            ("5.0000000001e-10", 9, 1, false), ("-5e-10", 9, 0, false), ("-5.1e-10", 9, -1, false),
            ("-1.5", 0, -1, false), ("-2.5", 0, -2, false), ("1.5", 0, 2, false), ("2.5", 0, 3, false),
            ("5e-324", 12, 0, false), ("-5e-324", 12, 0, false), ("0.00012300000000000001", 12, 123_000_000, false),
            ("0.1234565", 6, 123_457, false), ("99.9999995", 6, 100_000_000, false),
        ] as [(String, Int, Int128, Bool)])
    func rounds(text: String, decimals: Int, count: Int128, isExact: Bool) throws {
        let number = try #require(ExactDecimal(text))
        let rounded = try #require(number.rounded(fractionDigits: decimals))
        #expect(rounded.value == count)
        #expect(rounded.isExact == isExact)
    }

    @Test(
        "what 128 bits do not hold is not rounded",
        arguments: ["1e30", "-1e30", "1e300", "170141183460469231731687303716"])
    func tooLarge(text: String) throws {
        #expect(try #require(ExactDecimal(text)).rounded(fractionDigits: 9) == nil)
    }

    @Test(
        "a count is the decimal that it counts",
        arguments: [(Int128(0), "0"), (-1, "-0.000000001"), (1_500_000_000, "1.5")])
    func counts(value: Int128, text: String) {
        #expect(ExactDecimal(value, fractionDigits: 9).description == text)
    }
}
