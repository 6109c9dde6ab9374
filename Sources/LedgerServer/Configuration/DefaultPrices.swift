import Ledger

extension Price {
    /// The prices that a new gateway begins with, in micro-USD per million tokens, for the providers that are configured. The file's win over
    /// them, and the API's over both; `default_pricing: false` leaves them out.
    static let defaults: [String: Price] = {
        let rows: [(model: String, input: Int64, output: Int64, cached: Int64?)] = [
            ("gemini:gemini-2.5-flash", 150_000, 600_000, 40_000),
            ("gemini:gemini-2.5-pro", 1_250_000, 10_000_000, 310_000),
            ("gemini:gemini-2.0-flash", 100_000, 400_000, 30_000),
            ("xai:grok-3-mini", 300_000, 500_000, nil),
            ("xai:grok-3", 3_000_000, 15_000_000, nil),
            ("anthropic:claude-sonnet-4-5-20250929", 3_000_000, 15_000_000, 300_000),
            ("anthropic:claude-haiku-4-5-20251001", 800_000, 4_000_000, 80_000),
        ]
        return rows.reduce(into: [:]) { prices, row in
            prices[row.model] = Price(
                rates: TokenRates(input: row.input, output: row.output, cached: row.cached))
        }
    }()
}
