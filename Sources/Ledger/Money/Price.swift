/// What tokens cost: signed 64-bit counts of micro-USD per million tokens, which is exactly pico-USD per token.
public struct TokenRates: Hashable, Sendable {
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
    /// What is no text, where it has a price of its own.
    public let modal: ModalRates

    /// Rates of these figures, or nil where one is negative or above ``Price/maximum``.
    public init?(
        input: Int64, output: Int64, cached: Int64? = nil, cacheWrite: Int64? = nil, cacheWriteHour: Int64? = nil,
        modal: ModalRates? = ModalRates.none
    ) {
        let accepted = 0...Price.maximum
        guard accepted.contains(input), accepted.contains(output), accepted.contains(cached ?? 0),
            accepted.contains(cacheWrite ?? 0), accepted.contains(cacheWriteHour ?? 0), let modal
        else { return nil }
        self.input = input
        self.output = output
        self.cached = cached
        self.cacheWrite = cacheWrite
        self.cacheWriteHour = cacheWriteHour
        self.modal = modal
    }

    private init() {
        input = 0
        output = 0
        cached = nil
        cacheWrite = nil
        cacheWriteHour = nil
        modal = .none
    }

    static let free = TokenRates()

    /// Σ tokens × rate, in pico-USD.
    func cost(of usage: Usage) -> Int128 {
        var cost = Int128(usage.standard) * Int128(input)
        cost += Int128(usage.billedCached) * Int128(billedCached)
        cost += Int128(usage.billedCacheWrite) * Int128(billedCacheWrite)
        cost += Int128(usage.billedCacheWriteHour) * Int128(billedCacheWriteHour)
        cost += Int128(usage.completion) * Int128(output)
        guard modal != .none, usage.modal != .none else { return cost }
        // What the parts that are no text cost beside, or less than, text.
        cost += Int128(usage.billedAudio) * Int128(billedAudio - input)
        cost += Int128(usage.billedAudioCached) * Int128(billedAudioCached - billedCached)
        cost += Int128(usage.billedAudioOutput) * Int128(billedAudioOutput - output)
        cost += Int128(usage.billedImageOutput) * Int128(billedImageOutput - output)
        return cost
    }

    var billedCached: Int64 { cached ?? input }
    var billedAudio: Int64 { modal.audio ?? input }
    /// As ``cached`` for text: without a price of its own, sound from a cache costs what other sound does.
    var billedAudioCached: Int64 { modal.audioCached ?? modal.audio ?? billedCached }
    var billedAudioOutput: Int64 { modal.audioOutput ?? output }
    var billedImageOutput: Int64 { modal.imageOutput ?? output }

    var billedCacheWrite: Int64 { cacheWrite ?? (input * 5 + 3) / 4 }
    var billedCacheWriteHour: Int64 { cacheWriteHour ?? input * 2 }

    /// The dearest that a prompt token can become; where the request writes to no cache, as far as these rates say.
    func dearestInput(writesCache: Bool) -> Int64 {
        let writes =
            writesCache ? max(billedCacheWrite, billedCacheWriteHour) : max(cacheWrite ?? 0, cacheWriteHour ?? 0)
        return max(input, cached ?? 0, writes)
    }

    /// The dearest that a token of sound in a prompt can become.
    func dearestAudio(writesCache: Bool) -> Int64 {
        max(dearestInput(writesCache: writesCache), billedAudio, billedAudioCached)
    }

    /// The dearest that an output token can become: pictures come unasked from models that make them, sound does not.
    func dearestOutput(mayBeAudio: Bool) -> Int64 {
        max(output, modal.imageOutput ?? 0, mayBeAudio ? modal.audioOutput ?? 0 : 0)
    }
}

/// What tokens that are no text cost, in the unit of ``TokenRates``; absent: as text of their class.
public struct ModalRates: Hashable, Sendable {
    /// Prompt tokens of sound.
    public let audio: Int64?
    /// Prompt tokens of sound read from a cache; absent: as ``audio``, and where that is absent too, as cached text.
    public let audioCached: Int64?
    /// Output tokens of sound.
    public let audioOutput: Int64?
    /// Output tokens of pictures.
    public let imageOutput: Int64?

    /// Rates of these figures, or nil where one is negative or above ``Price/maximum``.
    public init?(audio: Int64? = nil, audioCached: Int64? = nil, audioOutput: Int64? = nil, imageOutput: Int64? = nil) {
        let accepted = 0...Price.maximum
        guard accepted.contains(audio ?? 0), accepted.contains(audioCached ?? 0), accepted.contains(audioOutput ?? 0),
            accepted.contains(imageOutput ?? 0)
        else { return nil }
        self.audio = audio
        self.audioCached = audioCached
        self.audioOutput = audioOutput
        self.imageOutput = imageOutput
    }

    private init() {
        audio = nil
        audioCached = nil
        audioOutput = nil
        imageOutput = nil
    }

    /// Everything costs what text does.
    public static let none = ModalRates()
}

/// What a model costs: its tokens, dearer ones for long prompts, and web searches.
public struct Price: Hashable, Sendable {
    /// The dearest rate that is accepted: $10,000 per million tokens, or per thousand searches.
    ///
    /// With it, and with ``CreditRate/maximum``, the charge of a request of ``Usage/maximumTokens`` of prompt and of output and of
    /// ``Usage/maximumSearches`` still fits into ``Credits``.
    public static let maximum: Int64 = 10_000_000_000

    /// What tokens cost.
    public let rates: TokenRates
    /// What they cost where the prompt is long.
    public let longContext: LongContext?
    /// Web searches: micro-USD per thousand of them; absent: they cannot be sold.
    public let webSearch: Int64?

    /// The rates of long prompts: the whole request moves to them.
    public struct LongContext: Hashable, Sendable {
        /// They apply to more prompt tokens than these.
        public let above: Int64
        public let rates: TokenRates

        /// A tier above that many prompt tokens, or nil where the bound is none.
        public init?(above: Int64, rates: TokenRates) {
            guard (1...Usage.maximumTokens).contains(above) else { return nil }
            self.above = above
            self.rates = rates
        }
    }

    /// A price of these rates, or nil where a figure is negative or above ``maximum``.
    public init?(rates: TokenRates?, longContext: LongContext? = nil, webSearch: Int64? = nil) {
        guard let rates, (0...Self.maximum).contains(webSearch ?? 0) else { return nil }
        self.rates = rates
        self.longContext = longContext
        self.webSearch = webSearch
    }

    /// A price of tokens alone, or nil where a figure is negative or above ``maximum``.
    public init?(
        input: Int64, output: Int64, cached: Int64? = nil, cacheWrite: Int64? = nil, cacheWriteHour: Int64? = nil
    ) {
        self.init(
            rates: TokenRates(
                input: input, output: output, cached: cached, cacheWrite: cacheWrite, cacheWriteHour: cacheWriteHour))
    }

    private init(free: Void) {
        rates = .free
        longContext = nil
        webSearch = 0
    }

    /// The price of what an operator has explicitly chosen to give away.
    public static let free = Price(free: ())

    /// Reads US dollars per million tokens, exactly; more than six decimals are refused.
    public static func figure(usdPerMillion text: some StringProtocol) -> Int64? {
        guard let figure = Decimal64.parse(text, fractionDigits: 6), (0...maximum).contains(figure) else { return nil }
        return figure
    }

    /// The exact cost of `usage` in pico-USD: Σ tokens × rate, and the searches.
    ///
    /// It cannot overflow: 2³² tokens at no more than twice ``maximum``, and 2²⁰ searches at a thousand times ``maximum``, stay below 2⁶⁸.
    public func cost(of usage: Usage) -> Int128 {
        // Micro-USD per thousand, times a thousand, are pico-USD each.
        return ratesApplied(to: usage).cost(of: usage) + Int128(usage.searches) * Int128(webSearch ?? 0) * 1000
    }

    /// The dearest that a token can become: of text in a prompt of at most so many tokens, of sound in it, and of its output.
    func dearest(
        promptBound: Int64, writesCache: Bool, audioOutput: Bool
    ) -> (input: Int64, audio: Int64, output: Int64) {
        let tiers = longContext.flatMap { promptBound > $0.above ? [rates, $0.rates] : nil } ?? [rates]
        return tiers.reduce((input: 0, audio: 0, output: 0)) { dearest, rates in
            (
                max(dearest.input, rates.dearestInput(writesCache: writesCache)),
                max(dearest.audio, rates.dearestAudio(writesCache: writesCache)),
                max(dearest.output, rates.dearestOutput(mayBeAudio: audioOutput))
            )
        }
    }

    /// Whether sound has a price of its own where it is the output.
    var hasAudioOutput: Bool { rates.modal.audioOutput != nil || longContext?.rates.modal.audioOutput != nil }

    /// Whether tokens that are no text were used for which the rates that apply have no price of their own.
    public func lacksRates(for usage: Usage) -> Bool {
        let rates = ratesApplied(to: usage).modal
        return usage.billedAudio > 0 && rates.audio == nil
            || usage.billedAudioCached > 0 && rates.audioCached == nil && rates.audio == nil
            || usage.billedAudioOutput > 0 && rates.audioOutput == nil
            || usage.billedImageOutput > 0 && rates.imageOutput == nil
    }
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
        // Nearly every charge fits into 64 bits, which divide many times faster.
        if let small = Int64(exactly: scaled) {
            let (quotient, remainder) = small.quotientAndRemainder(dividingBy: 1_000_000_000)
            return Credits(nanos: remainder == 0 ? quotient : quotient + 1)
        }
        let (quotient, remainder) = scaled.quotientAndRemainder(dividingBy: 1_000_000_000)
        guard let nanos = Int64(exactly: remainder == 0 ? quotient : quotient + 1) else { return nil }
        return Credits(nanos: nanos)
    }

    /// The highest cost in pico-USD whose credits do not exceed `credits`; 0 for a negative amount.
    public func picoUSD(affordableWith credits: Credits) -> Int128 {
        max(0, Int128(credits.nanos)) * 1_000_000_000 / Int128(microsPerUSD)
    }

    /// What credits cost at this rate, in micro-USD, rounded up; for an amount that is not positive 0.
    public func microUSD(for credits: Credits) -> Int64 {
        let thousandths = max(0, Int128(credits.nanos)) * 1000
        return Int64(clamping: (thousandths + Int128(microsPerUSD) - 1) / Int128(microsPerUSD))
    }
}
