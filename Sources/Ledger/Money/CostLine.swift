/// A part of what a request cost: so many of a kind, at so much each.
public struct CostLine: Hashable, Sendable {
    public enum Kind: String, Sendable, CaseIterable {
        /// Prompt tokens at the ordinary price.
        case prompt
        /// Prompt tokens that were read from a cache.
        case cached
        /// Prompt tokens that were written to a five-minute cache.
        case cacheWrite = "cache_write"
        /// Prompt tokens that were written to a one-hour cache.
        case cacheWriteHour = "cache_write_1h"
        case completion
        case search
    }

    public let kind: Kind
    public let count: Int64
    /// Pico-USD for one; of tokens this is also micro-USD per million.
    public let picoUSDEach: Int64

    /// The exact product.
    public var picoUSD: Int128 { Int128(count) * Int128(picoUSDEach) }
}

extension Price {
    /// The parts that ``cost(of:)`` is the sum of, without those of which there is none.
    public func lines(of usage: Usage) -> [CostLine] {
        let rates = ratesApplied(to: usage)
        let lines = [
            CostLine(kind: .prompt, count: usage.standard, picoUSDEach: rates.input),
            CostLine(kind: .cached, count: usage.billedCached, picoUSDEach: rates.cached ?? rates.input),
            CostLine(kind: .cacheWrite, count: usage.billedCacheWrite, picoUSDEach: rates.billedCacheWrite),
            CostLine(
                kind: .cacheWriteHour, count: usage.billedCacheWriteHour, picoUSDEach: rates.billedCacheWriteHour),
            CostLine(kind: .completion, count: usage.completion, picoUSDEach: rates.output),
            // No price of a search is above 10^10 micro-USD per thousand.
            CostLine(kind: .search, count: usage.searches, picoUSDEach: (webSearch ?? 0) * 1000),
        ]
        return lines.filter { $0.count > 0 }
    }

    /// Whether the request's prompt was long enough for the dearer tier.
    public func isLongContext(_ usage: Usage) -> Bool { longContext.map { usage.prompt > $0.above } ?? false }

    /// The rates that a request of this usage is billed by.
    func ratesApplied(to usage: Usage) -> TokenRates {
        if let longContext, isLongContext(usage) { return longContext.rates }
        return rates
    }
}

extension CreditRate {
    /// What a cost is worth before the one rounding, in 10⁻¹⁸ of a credit.
    public func exactCredits(forPicoUSD cost: Int128) -> Int128 { cost * Int128(microsPerUSD) }
}
