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
        /// Prompt tokens of sound, and those that were read from a cache.
        case audio
        case audioCached = "audio_cached"
        /// Output tokens of sound and of pictures.
        case audioOutput = "audio_output"
        case imageOutput = "image_output"
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
        // What costs as much as text of its class is one line with it.
        let audio = rates.billedAudio == rates.input ? 0 : usage.billedAudio
        let audioCached = rates.billedAudioCached == rates.billedCached ? 0 : usage.billedAudioCached
        let audioOutput = rates.billedAudioOutput == rates.output ? 0 : usage.billedAudioOutput
        let imageOutput = rates.billedImageOutput == rates.output ? 0 : usage.billedImageOutput
        let lines = [
            CostLine(kind: .prompt, count: usage.standard - audio, picoUSDEach: rates.input),
            CostLine(kind: .audio, count: audio, picoUSDEach: rates.billedAudio),
            CostLine(kind: .cached, count: usage.billedCached - audioCached, picoUSDEach: rates.billedCached),
            CostLine(kind: .audioCached, count: audioCached, picoUSDEach: rates.billedAudioCached),
            CostLine(kind: .cacheWrite, count: usage.billedCacheWrite, picoUSDEach: rates.billedCacheWrite),
            CostLine(
                kind: .cacheWriteHour, count: usage.billedCacheWriteHour, picoUSDEach: rates.billedCacheWriteHour),
            CostLine(
                kind: .completion, count: usage.completion - audioOutput - imageOutput, picoUSDEach: rates.output),
            CostLine(kind: .audioOutput, count: audioOutput, picoUSDEach: rates.billedAudioOutput),
            CostLine(kind: .imageOutput, count: imageOutput, picoUSDEach: rates.billedImageOutput),
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
