import Ledger
import Projections
import Testing

/// Tables as files: exact figures, in two formats, whatever stands in a text.
@Suite("Tables")
struct TableTests {
    static let columns = [TableColumn("a", "one"), TableColumn("b", "two")]

    static func written(_ format: TableFormat, _ body: (inout TableWriter) -> Void) -> String {
        var table = TableWriter(format, columns)
        body(&table)
        return String(decoding: table.take(), as: UTF8.self)
    }

    @Test(
        "a decimal is exact and without trailing zeros",
        arguments: [
            (Int128(0), 9, "0"), (1, 9, "0.000000001"), (-1, 9, "-0.000000001"), (1_000_000_000, 9, "1"),
            (1_500_000_000, 9, "1.5"), (-12_300, 2, "-123"), (100, 0, "100"), (0, 0, "0"), (10, 1, "1"),
            (Int128(Int64.max), 9, "9223372036.854775807"), (Int128(Int64.min), 6, "-9223372036854.775808"),
            (Int128.max, 12, "170141183460469231731687303.715884105727"),
            (Int128.min, 0, "-170141183460469231731687303715884105728"),
        ])
    func decimals(value: Int128, digits: Int, text: String) {
        let table = Self.written(.csv) {
            $0.decimal(value, fractionDigits: digits)
            $0.decimal(nil, fractionDigits: digits)
            $0.endRow()
        }
        #expect(table == "a,b\r\n\(text),\r\n")
        #expect(Decimal64.text(value, fractionDigits: digits) == text)
    }

    @Test("random decimals are what the slower way writes")
    func likeDecimal64() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            let value =
                Int128(Int64.random(in: .min ... .max, using: &random))
                * Int128(Int64.random(in: 1...9999, using: &random))
            let digits = Int.random(in: 0...18, using: &random)
            let table = Self.written(.jsonl) {
                $0.decimal(value, fractionDigits: digits)
                $0.integer(7)
                $0.endRow()
            }
            #expect(table == "{\"a\":\"\(Decimal64.text(value, fractionDigits: digits))\",\"b\":7}\n")
        }
    }

    @Test(
        "in CSV no cell is a formula, and what breaks a row is quoted",
        arguments: [
            ("plain text-1", "plain text-1"), ("=1+1", "'=1+1"), ("+1", "'+1"), ("-x", "'-x"), ("-1.5", "-1.5"),
            ("@a", "'@a"),
            ("\ta", "'\ta"), ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\""), ("a\nb", "\"a\nb\""), ("=a,b", "\"'=a,b\""),
            ("\n=a", "\"'\n=a\""),
            ("", ""), ("é=", "é="), ("a=b", "a=b"), ("--", "'--"), ("-", "'-"),
        ])
    func cells(text: String, cell: String) {
        let table = Self.written(.csv) {
            $0.text(text)
            $0.text(nil)
            $0.endRow()
        }
        #expect(table == "a,b\r\n\(cell),\r\n")
    }

    @Test("instants are written like everywhere, across days and before 1970")
    func instants() {
        for micros: Int64 in [
            0, 1, -1, 86_399_999_999, 86_400_000_000, 1_767_225_600_123_456, -62_135_596_800_000_000, .max,
        ] {
            let instant = Timestamp(microseconds: micros)
            let table = Self.written(.csv) {
                $0.instant(instant)
                $0.instant(nil)
                $0.endRow()
            }
            #expect(table == "a,b\r\n\(instant.description),\r\n")
        }
    }

    @Test("months follow each other, and are read only as they are written")
    func months() throws {
        let month = try #require(Month("2026-12"))
        #expect(month.next.description == "2027-01" && month.start.description.hasPrefix("2026-12-01T00:00:00"))
        #expect(Timestamp.text(day: month.lastDay) == "2026-12-31")
        #expect(Timestamp.text(day: try #require(Month("2024-02")).lastDay) == "2024-02-29")
        #expect(Month(day: month.start.utcDay) == month && Month(index: month.index) == month)
        #expect(Month(day: month.start.utcDay - 1).description == "2026-11")
        for wrong in [
            "", "2026", "2026-13", "2026-00", "2026-1", "26-01", "2026-01-01", "2026–01", "-026-01", "+026-01",
            "0000-01", "9999-12",
        ] {
            #expect(Month(wrong) == nil, "\(wrong)")
        }
    }
}
