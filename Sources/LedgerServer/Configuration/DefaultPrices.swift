import Ledger

extension Price {
    /// The prices that a new gateway begins with, in micro-USD per million tokens, for the providers that are configured. The file's win over
    /// them, and the API's over both; `default_pricing: false` leaves them out.
    ///
    /// What a model costs for text is part of operators' contracts with their customers, and is not changed here when a provider changes it
    /// (docs/billing.md says how to). What is beside it, dearer tiers and rates of sound, is what the providers publish.
    static let defaults: [String: Price] = {
        let rows: [(model: String, rates: TokenRates?, tier: LongContext?)] = [
            // Sound: $1.00, from a cache $0.10 (Google, "Gemini Developer API pricing", November 2026).
            (
                "gemini:gemini-2.5-flash",
                TokenRates(
                    input: 150_000, output: 600_000, cached: 40_000,
                    modal: ModalRates(audio: 1_000_000, audioCached: 100_000)), nil
            ),
            // Above 200,000 prompt tokens: $2.50, $15.00, from a cache $0.25; sound as text (the same page).
            (
                "gemini:gemini-2.5-pro", TokenRates(input: 1_250_000, output: 10_000_000, cached: 310_000),
                LongContext(above: 200_000, rates: TokenRates(input: 2_500_000, output: 15_000_000, cached: 250_000))
            ),
            // Sound: $0.70, from a cache $0.175 (the same page, as of July 2025; the model was shut down in June 2026).
            (
                "gemini:gemini-2.0-flash",
                TokenRates(
                    input: 100_000, output: 400_000, cached: 30_000,
                    modal: ModalRates(audio: 700_000, audioCached: 175_000)),
                nil
            ),
            // No tier and no other modality (xAI, "Models and pricing", July 2025).
            ("xai:grok-3-mini", TokenRates(input: 300_000, output: 500_000), nil),
            ("xai:grok-3", TokenRates(input: 3_000_000, output: 15_000_000), nil),
            // Above 200,000 prompt tokens, where the window is longer: $6.00, $22.50, from a cache $0.60, written $7.50 and $12.00 (Anthropic,
            // "Pricing", "Long context pricing", November 2026).
            (
                "anthropic:claude-sonnet-4-5-20250929",
                TokenRates(input: 3_000_000, output: 15_000_000, cached: 300_000),
                LongContext(
                    above: 200_000,
                    rates: TokenRates(
                        input: 6_000_000, output: 22_500_000, cached: 600_000, cacheWrite: 7_500_000,
                        cacheWriteHour: 12_000_000))
            ),
            // No tier (the same page).
            ("anthropic:claude-haiku-4-5-20251001", TokenRates(input: 800_000, output: 4_000_000, cached: 80_000), nil),
        ]
        return rows.reduce(into: [:]) { prices, row in
            prices[row.model] = Price(rates: row.rates, longContext: row.tier)
        }
    }()
}

extension Price.LongContext {
    fileprivate init?(above: Int64, rates: TokenRates?) {
        guard let rates else { return nil }
        self.init(above: above, rates: rates)
    }
}
