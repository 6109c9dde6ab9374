import Ledger
import Testing

@Suite("Money")
struct MoneyTests {
    @Test(
        "decimals are read and written exactly",
        arguments: [
            ("0", Int64(0), "0"), ("1", 1_000_000_000, "1"), ("0.000000001", 1, "0.000000001"),
            ("-2.50", -2_500_000_000, "-2.5"),
            ("1e2", 100_000_000_000, "100"), ("1.5E-9", nil, ""), ("0.0000000001", nil, ""),
            ("0.1000000000", 100_000_000, "0.1"),
            ("9223372036.854775807", .max, "9223372036.854775807"),
            ("-9223372036.854775808", .min, "-9223372036.854775808"),
            ("9223372036.854775808", nil, ""), ("", nil, ""), (".5", 500_000_000, "0.5"), ("5.", 5_000_000_000, "5"),
            ("-", nil, ""),
            ("1,5", nil, ""), ("NaN", nil, ""), ("1e99", nil, ""), ("+1", nil, ""), ("1e", nil, ""), ("0x10", nil, ""),
            ("1e-9223372036854775808", nil, ""), ("1e9223372036854775807", nil, ""), ("1e64", nil, ""),
            ("0e-64", 0, "0"),
        ] as [(String, Int64?, String)])
    func decimals(text: String, nanos: Int64?, written: String) {
        let credits = Credits(decimal: text)
        #expect(credits?.nanos == nanos)
        if let credits { #expect(credits.description == written) }
    }

    @Test("sums that do not fit say so")
    func overflow() {
        #expect(Credits(nanos: .max).adding(Credits(nanos: 1)) == nil)
        #expect(Credits(nanos: .min).subtracting(Credits(nanos: 1)) == nil)
        #expect(Credits(whole: .max) == nil)
        #expect(Credits(nanos: 1).adding(Credits(nanos: 2)) == Credits(nanos: 3))
    }

    /// The charge of a request, at the extremes of tokens and prices. One credit is $0.1 at 10 credits a dollar.
    @Test(
        "a charge is rounded once, up to the next nano-credit",
        arguments: [
            // tokens, micro-USD per million, cost in pico-USD, nano-credits
            (0, 1, 0, 0),
            (1, 1, 1, 1),
            (1, 99, 99, 1),
            (1, 100, 100, 1),
            (1, 101, 101, 2),
            (7, 150_000, 1_050_000, 10_500),
            (1 << 31, 1, 2_147_483_648, 21_474_837),
            (1, 10_000_000_000, 10_000_000_000, 100_000_000),
            (1 << 31, 10_000_000_000, 21_474_836_480_000_000_000, 214_748_364_800_000_000),
        ] as [(Int64, Int64, Int128, Int64)])
    func rounding(tokens: Int64, price: Int64, cost: Int128, nanos: Int64) throws {
        let price = try #require(Price(input: price, output: price))
        let usage = try #require(Usage(prompt: tokens, completion: 0))
        #expect(price.cost(of: usage) == cost)
        #expect(CreditRate.standard.credits(forPicoUSD: cost) == Credits(nanos: nanos))
    }

    @Test("the dearest request in every class fits, at the highest rate")
    func dearest() throws {
        let most = Usage.maximumTokens
        let rates = TokenRates(input: Price.maximum, output: Price.maximum)
        let price = try #require(Price(rates: rates, webSearch: Price.maximum))
        let rate = try #require(CreditRate(microsPerUSD: CreditRate.maximum))
        let usage = try #require(
            Usage(
                prompt: most, cached: most, cacheWrite: most, cacheWriteHour: most, completion: most,
                searches: Usage.maximumSearches))
        #expect(rate.credits(forPicoUSD: price.cost(of: usage)) != nil)
    }

    @Test("tokens outside of 0 to 2^31 are no usage", arguments: [-1, (1 << 31) + 1, .max, .min] as [Int64])
    func tokens(count: Int64) {
        #expect(Usage(prompt: count, completion: 0) == nil)
        #expect(Usage(prompt: 0, completion: count) == nil)
        #expect(Usage(prompt: 0, cached: count, completion: 0) == nil)
    }

    @Test("cached tokens have their own price, else that of the input, and never exceed the prompt")
    func cached() throws {
        let price = try #require(Price(input: 1000, output: 0, cached: 100))
        let plain = try #require(Price(input: 1000, output: 0))
        let usage = try #require(Usage(prompt: 10, cached: 4, completion: 0))
        #expect(price.cost(of: usage) == 6 * 1000 + 4 * 100)
        #expect(plain.cost(of: usage) == 10_000)
        // A provider really reported more cached than prompt tokens.
        let odd = try #require(Usage(prompt: 7, cached: 161, completion: 0))
        #expect(odd.standard == 0)
        #expect(price.cost(of: odd) == 7 * 100)
    }

    /// Whatever a provider says of its caches, no more than the prompt is billed as prompt, and the dearest first.
    @Test(
        "the classes of a prompt never add up to more than the prompt",
        arguments: [
            // prompt, cached, write, write 1h; billed: standard, cached, write, write 1h
            (10, 0, 0, 0, 10, 0, 0, 0), (10, 4, 3, 2, 1, 4, 3, 2), (10, 11, 0, 0, 0, 10, 0, 0),
            (10, 10, 10, 10, 0, 0, 0, 10), (10, 9, 4, 3, 0, 3, 4, 3), (0, 5, 5, 5, 0, 0, 0, 0),
        ] as [(Int64, Int64, Int64, Int64, Int64, Int64, Int64, Int64)])
    func classes(
        prompt: Int64, cached: Int64, write: Int64, hour: Int64, standard: Int64, billedCached: Int64,
        billedWrite: Int64,
        billedHour: Int64
    ) throws {
        let usage = try #require(
            Usage(prompt: prompt, cached: cached, cacheWrite: write, cacheWriteHour: hour, completion: 0))
        #expect(usage.standard == standard)
        #expect(usage.billedCached == billedCached)
        #expect(usage.billedCacheWrite == billedWrite)
        #expect(usage.billedCacheWriteHour == billedHour)
    }

    @Test(
        "a long prompt moves the whole request to other rates, and one of exactly the bound does not",
        arguments: [
            (200_000, 100, 5, 200_000 - 100, 2), (200_001, 100, 5, 200_001 - 100, 4), (0, 0, 5, 0, 2),
        ] as [(Int64, Int64, Int64, Int64, Int64)])
    func longContext(prompt: Int64, cached: Int64, completion: Int64, standard: Int64, factor: Int64) throws {
        let tier = try #require(
            TokenRates(input: 4, output: 40, cached: 2).flatMap { Price.LongContext(above: 200_000, rates: $0) })
        let price = try #require(Price(rates: TokenRates(input: 2, output: 20, cached: 1), longContext: tier))
        let usage = try #require(Usage(prompt: prompt, cached: cached, completion: completion))
        let cost = standard * factor + cached * factor / 2 + completion * factor * 10
        #expect(price.cost(of: usage) == Int128(cost))
    }

    @Test("web searches cost what a thousand cost, divided by a thousand")
    func searches() throws {
        // $10 per thousand: a cent each, which is 10¹⁰ pico-USD.
        let price = try #require(Price(rates: TokenRates(input: 1, output: 1), webSearch: 10_000_000))
        let usage = try #require(Usage(prompt: 1, completion: 1, searches: 3))
        #expect(price.cost(of: usage) == 2 + 30_000_000_000)
        #expect(Usage(prompt: 0, completion: 0, searches: Usage.maximumSearches + 1) == nil)
        #expect(Usage(prompt: 0, completion: 0, searches: -1) == nil)
    }

    @Test("cache writes cost 1.25 and 2 times the input where no price is set")
    func cacheWrites() throws {
        let price = try #require(Price(input: 3, output: 0))
        let usage = try #require(Usage(prompt: 3, cacheWrite: 1, cacheWriteHour: 1, completion: 0))
        #expect(price.cost(of: usage) == 3 + 4 + 6)
    }

    @Test(
        "prices have at most six decimals and a bound",
        arguments: [
            ("0.15", 150_000), ("10", 10_000_000), ("0.000001", 1), ("0.0000001", nil), ("-1", nil),
            ("10000", 10_000_000_000),
            ("10000.000001", nil), ("free", nil),
        ] as [(String, Int64?)])
    func prices(text: String, figure: Int64?) {
        #expect(Price.figure(usdPerMillion: text) == figure)
    }

    @Test(
        "instants are read and written",
        arguments: [
            ("2026-01-01T00:00:00Z", 1_767_225_600_000_000), ("2026-01-01", 1_767_225_600_000_000),
            ("2026-01-01T01:30:00.25+01:30", 1_767_225_600_250_000), ("1969-12-31T23:59:59.999999Z", -1),
            ("2024-02-29T12:00:00", 1_709_208_000_000_000), ("2023-02-29", nil), ("2026-13-01", nil),
            ("2026-01-01T25:00:00Z", nil),
            ("yesterday", nil), ("2026-01-01T00:00:00Zz", nil), ("2026-01-01T00:00:00.Z", nil),
        ] as [(String, Int64?)])
    func instants(text: String, microseconds: Int64?) {
        let instant = Timestamp(iso8601: text)
        #expect(instant?.microseconds == microseconds)
        if let instant { #expect(Timestamp(iso8601: instant.description) == instant) }
    }
}

@Suite("Bounded texts")
struct BoundedTextTests {
    @Test(
        "a text is cut to bytes, between scalars, however few characters it has",
        arguments: [
            ("abc", 3, "abc"), ("abcd", 3, "abc"), ("äb", 1, ""), ("aä", 2, "a"), ("🦊🦊", 7, "🦊"), ("", 0, ""),
            ("abc", 0, ""),
        ])
    func cut(text: String, limit: Int, expected: String) {
        #expect(text.cut(toBytes: limit) == expected)
    }

    @Test("one character of a million bytes is not one that passes")
    func grapheme() {
        let text = "a" + String(repeating: "\u{301}", count: 500_000)
        #expect(text.count == 1 && text.cut(toBytes: 64).utf8.count <= 64)
    }
}
