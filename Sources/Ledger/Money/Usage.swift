/// Tokens as billed, by the class that prices them.
///
/// Every class counts from 0 to ``Usage/maximumTokens``; the initialiser refuses anything else, so that a hostile or broken
/// upstream can neither credit an account nor make the arithmetic overflow.
public struct Usage: Hashable, Sendable {
    /// The most tokens of one class that are believed: 2³¹.
    public static let maximumTokens: Int64 = 1 << 31
    /// The most web searches that are believed.
    public static let maximumSearches: Int64 = 1 << 20

    /// All prompt tokens: those read from a cache or written to one are included.
    public let prompt: Int64
    /// Prompt tokens that were read from a cache.
    public let cached: Int64
    /// Prompt tokens that were written to a cache that lives five minutes.
    public let cacheWrite: Int64
    /// Prompt tokens that were written to a cache that lives an hour.
    public let cacheWriteHour: Int64
    /// Output tokens, reasoning included.
    public let completion: Int64
    /// Web searches, or sources that a search used: whatever the provider counts and bills.
    public let searches: Int64
    /// The tokens that are no text, as far as a price may tell them apart.
    public let modal: ModalTokens

    /// Usage of these counts, or nil where one is negative or beyond ``maximumTokens`` (or ``maximumSearches``).
    ///
    /// More cached than prompt tokens is what a provider really reported: it is kept as it is, and ``standard`` is clamped at 0.
    public init?(
        prompt: Int64, cached: Int64 = 0, cacheWrite: Int64 = 0, cacheWriteHour: Int64 = 0, completion: Int64,
        searches: Int64 = 0, modal: ModalTokens = .none
    ) {
        let believed = 0...Self.maximumTokens
        guard believed.contains(prompt), believed.contains(cached), believed.contains(cacheWrite),
            believed.contains(cacheWriteHour), believed.contains(completion),
            (0...Self.maximumSearches).contains(searches)
        else { return nil }
        self.prompt = prompt
        self.cached = cached
        self.cacheWrite = cacheWrite
        self.cacheWriteHour = cacheWriteHour
        self.completion = completion
        self.searches = searches
        self.modal = modal
    }

    private init() {
        prompt = 0
        cached = 0
        cacheWrite = 0
        cacheWriteHour = 0
        completion = 0
        searches = 0
        modal = .none
    }

    /// Nothing at all.
    public static let zero = Usage()

    // What is billed of the prompt is never more than the prompt, whatever a provider says of its caches: the dearest class counts
    // first.

    /// Prompt tokens written to a one-hour cache, as billed.
    public var billedCacheWriteHour: Int64 { min(cacheWriteHour, prompt) }

    /// Prompt tokens written to a five-minute cache, as billed.
    public var billedCacheWrite: Int64 { min(cacheWrite, prompt - billedCacheWriteHour) }

    /// Prompt tokens read from a cache, as billed.
    public var billedCached: Int64 { min(cached, prompt - billedCacheWriteHour - billedCacheWrite) }

    /// Prompt tokens that are neither read from a cache nor written to one.
    public var standard: Int64 { prompt - billedCacheWriteHour - billedCacheWrite - billedCached }

    // Of each class, no more can be sound or pictures than the class has.

    /// Of ``billedCached``, sound.
    public var billedAudioCached: Int64 { min(modal.audioCached, billedCached) }

    /// Of ``standard``, sound. Where a provider does not say which of the cached tokens were sound, they count as text as far as there is text: what
    /// is left of the prompt is then the dearer of the two.
    public var billedAudio: Int64 { min(modal.audio - min(modal.audioCached, modal.audio), standard) }

    /// Of ``completion``, pictures.
    public var billedImageOutput: Int64 { min(modal.imageOutput, completion) }

    /// Of ``completion``, sound.
    public var billedAudioOutput: Int64 { min(modal.audioOutput, completion - billedImageOutput) }

    /// Whether nothing was used at all.
    public var isZero: Bool {
        prompt == 0 && cached == 0 && cacheWrite == 0 && cacheWriteHour == 0 && completion == 0 && searches == 0
    }
}

/// Tokens that are no text, each part of a class of ``Usage``: a price may have rates of their own for them.
public struct ModalTokens: Hashable, Sendable {
    /// Prompt tokens of sound, those from a cache included.
    public let audio: Int64
    /// Of them, those that were read from a cache.
    public let audioCached: Int64
    /// Output tokens of sound.
    public let audioOutput: Int64
    /// Output tokens of pictures.
    public let imageOutput: Int64

    /// Tokens of these counts, or nil where one is negative or beyond ``Usage/maximumTokens``.
    public init?(audio: Int64 = 0, audioCached: Int64 = 0, audioOutput: Int64 = 0, imageOutput: Int64 = 0) {
        let believed = 0...Usage.maximumTokens
        guard believed.contains(audio), believed.contains(audioCached), believed.contains(audioOutput),
            believed.contains(imageOutput)
        else { return nil }
        self.audio = audio
        self.audioCached = audioCached
        self.audioOutput = audioOutput
        self.imageOutput = imageOutput
    }

    private init() {
        audio = 0
        audioCached = 0
        audioOutput = 0
        imageOutput = 0
    }

    /// All is text.
    public static let none = ModalTokens()
}
