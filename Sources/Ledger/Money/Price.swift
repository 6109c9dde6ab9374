/// What a model's tokens cost: signed 64-bit counts of micro-USD per million tokens, which is exactly pico-USD per token.
public struct Price: Hashable, Sendable {
    /// The dearest price that is accepted: $10,000 per million tokens.
    ///
    /// With it, and with ``CreditRate/maximum``, the charge of a request of ``Usage/maximumTokens`` in each class still fits
    /// into ``Credits``.
    public static let maximum: Int64 = 10_000_000_000

    /// Prompt tokens.
    public let input: Int64
    /// Output tokens, reasoning included.
    public let output: Int64
    /// Prompt tokens read from a cache; absent: as ``input``.
    public let cached: Int64?
    /// Prompt tokens written to a five-minute cache; absent: 1.25 times ``input``, rounded up.
    public let cacheWrite: Int64?
    /// Prompt tokens written to a one-hour cache; absent: twice ``input``.
    public let cacheWriteHour: Int64?

    /// A price of these figures, or nil where one is negative or above ``maximum``.
    public init?(
        input: Int64, output: Int64, cached: Int64? = nil, cacheWrite: Int64? = nil, cacheWriteHour: Int64? = nil
    ) {
        for figure in [input, output, cached ?? 0, cacheWrite ?? 0, cacheWriteHour ?? 0] {
            guard (0...Self.maximum).contains(figure) else { return nil }
        }
        self.input = input
        self.output = output
        self.cached = cached
        self.cacheWrite = cacheWrite
        self.cacheWriteHour = cacheWriteHour
    }

    private init(free: Void) {
        input = 0
        output = 0
        cached = nil
        cacheWrite = nil
        cacheWriteHour = nil
    }

    /// The price of what an operator has explicitly chosen to give away.
    public static let free = Price(free: ())

    /// Reads US dollars per million tokens, exactly; more than six decimals are refused.
    public static func figure(usdPerMillion text: some StringProtocol) -> Int64? {
        guard let figure = Decimal64.parse(text, fractionDigits: 6), (0...maximum).contains(figure) else { return nil }
        return figure
    }

    /// The exact cost of `usage` in pico-USD: Σ tokens × price.
    ///
    /// It cannot overflow: five classes of at most 2³¹ tokens at no more than twice ``maximum`` stay below 2⁶⁸.
    public func cost(of usage: Usage) -> Int128 {
        var cost = Int128(usage.standard) * Int128(input)
        cost += Int128(usage.billedCached) * Int128(cached ?? input)
        cost += Int128(usage.cacheWrite) * Int128(cacheWrite ?? (input * 5 + 3) / 4)
        cost += Int128(usage.cacheWriteHour) * Int128(cacheWriteHour ?? input * 2)
        cost += Int128(usage.completion) * Int128(output)
        return cost
    }

    /// The dearest that a prompt token can become, as far as this price says.
    var dearestInput: Int64 { max(input, cached ?? 0, cacheWrite ?? 0, cacheWriteHour ?? 0) }
}

/// How many credits a US dollar buys, in millionths of a credit: 10 credits a dollar are 10,000,000.
public struct CreditRate: Hashable, Sendable {
    /// The highest rate that is accepted: 100 credits a dollar.
    public static let maximum: Int64 = 100_000_000

    /// Millionths of a credit per US dollar.
    public let microsPerUSD: Int64

    /// A rate above zero and up to ``maximum``, else nil.
    public init?(microsPerUSD: Int64) {
        guard (1...Self.maximum).contains(microsPerUSD) else { return nil }
        self.microsPerUSD = microsPerUSD
    }

    private init(valid: Int64) { microsPerUSD = valid }

    /// Ten credits a dollar.
    public static let standard = CreditRate(valid: 10_000_000)

    /// The credits for an exact cost in pico-USD, rounded up to the next nano-credit: the one rounding of a charge.
    ///
    /// `credits[nano] = ⌈cost[pico-USD] × rate[10⁻⁶ credits/USD] ÷ 10⁹⌉`, so a positive cost is never 0 credits. Nil where the
    /// result does not fit or the cost is negative.
    public func credits(forPicoUSD cost: Int128) -> Credits? {
        guard cost >= 0 else { return nil }
        let (scaled, overflow) = cost.multipliedReportingOverflow(by: Int128(microsPerUSD))
        guard !overflow else { return nil }
        let (quotient, remainder) = scaled.quotientAndRemainder(dividingBy: 1_000_000_000)
        guard let nanos = Int64(exactly: remainder == 0 ? quotient : quotient + 1) else { return nil }
        return Credits(nanos: nanos)
    }

    /// The highest cost in pico-USD whose credits do not exceed `credits`; 0 for a negative amount.
    public func picoUSD(affordableWith credits: Credits) -> Int128 {
        max(0, Int128(credits.nanos)) * 1_000_000_000 / Int128(microsPerUSD)
    }
}
