/// What parts of a prompt that are no text cost a model at most, in tokens: by the formulas of its family, unless the operator gives figures.
public struct PartFigures: Sendable {
    /// The model's context window, for parts that may fill it. nil: not known.
    public var contextTokens: Int64?
    /// Whether that is certain, so that no prompt is longer, whatever it measures.
    public let isWindowCertain: Bool
    /// Whether the model writes its prompts to a cache unasked, which has a price.
    public let writesCache: Bool
    /// The operator's own figures for one picture, one piece of sound, one document; nil: by the family.
    public var imageTokens: Int64?
    public var audioTokens: Int64?
    public var fileTokens: Int64?
    /// What one web search may add to a prompt.
    public var searchTokens: Int64
    private let pictures: PictureRule?

    /// Figures by the model's name, which may have its maker's before it. `isMaker`: whether its maker is asked, whose names are not somebody else's.
    public init(
        model: String, isMaker: Bool = false, contextTokens: Int64? = nil, imageTokens: Int64? = nil,
        audioTokens: Int64? = nil,
        fileTokens: Int64? = nil, searchTokens: Int64 = 20_000
    ) {
        let family = ModelFamily(model)
        self.contextTokens = contextTokens ?? family?.window
        isWindowCertain = contextTokens != nil || isMaker
        writesCache = family?.writesCache ?? false
        self.imageTokens = imageTokens
        self.audioTokens = audioTokens
        self.fileTokens = fileTokens
        self.searchTokens = searchTokens
        pictures = family?.pictures
    }

    /// The tokens of a picture; nil for `dimensions`: it is not known how large it is. nil: it may fill the window.
    func image(_ dimensions: (width: Int, height: Int)?) -> Int64? {
        if let imageTokens { return imageTokens }
        if let pictures { return pictures.tokens(dimensions) }
        // It may be any family's by another name. Open models take up to a token for each 14 × 14 pixels.
        guard let (width, height) = dimensions else { return nil }
        let open = Int64((width + 13) / 14) * Int64((height + 13) / 14) + 80
        return PictureRule.dearest.reduce(open) { max($0, $1.tokens(dimensions) ?? $0) }
    }

    /// The tokens of so many seconds of sound; nil: of sound that is of any length. No provider is known to take more than Gemini's 32 a second (Google, "Audio understanding").
    func audio(seconds: Int64?) -> Int64? {
        audioTokens ?? seconds.map { max(0, min($0, 1 << 26)) * 32 }
    }

    /// The tokens of a document: how much text its pages hold cannot be seen from outside.
    var document: Int64? { fileTokens }
}

/// How a family bills pictures. Each figure is the most that its provider's documentation gives, for the dimensions if they are known.
enum PictureRule: Sendable {
    /// OpenAI, "Images and vision": a base and so much a tile of 512 pixels, of at most eight.
    case tiles(base: Int64, each: Int64)
    /// OpenAI, "Images and vision": patches of 32 pixels, of at most so many, times a factor in hundredths.
    case patches(most: Int64?, factor: Int64)
    /// Anthropic, "Vision": patches of 28 pixels after scaling; measured figures are up to 80 higher than the formula.
    case claude(most: Int64)
    /// Google, "Image understanding": 258 for a small picture, else for each tile; a strip has the most tiles.
    case gemini
    /// Google, "Media resolution": a figure for every picture, the highest that can be asked for.
    case flat(Int64)

    /// Of each form the one that counts most.
    static let dearest: [PictureRule] = [
        .tiles(base: 2833, each: 5667), .patches(most: nil, factor: 246), .claude(most: 4900), .gemini, .flat(2240),
    ]

    func tokens(_ dimensions: (width: Int, height: Int)?) -> Int64? {
        func across(_ size: Int, _ step: Int) -> Int64 { Int64((size + step - 1) / step) }
        switch self {
        case .flat(let tokens): return tokens
        case .tiles(let base, let each):
            let tiles = dimensions.map { across(min($0.width, 2048), 512) * across(min($0.height, 2048), 512) }
            return base + each * min(8, tiles ?? 8)
        case .patches(let most, let factor):
            let patches = dimensions.map { across($0.width, 32) * across($0.height, 32) }
            guard let count = [most, patches].compactMap({ $0 }).min() else { return nil }
            return (count * factor + 99) / 100
        case .claude(let most):
            guard let (width, height) = dimensions else { return most }
            let pixels = Int64(width) * Int64(height)
            return min(most, 80 + max(across(width, 28) * across(height, 28), (pixels + 749) / 750))
        case .gemini:
            guard let (width, height) = dimensions else { return 6192 }
            if width <= 384, height <= 384 { return 258 }
            let longest = max(width, height)
            let scale = longest > 3072 ? 3072.0 / Double(longest) : 1
            let (scaledWidth, scaledHeight) = (Double(width) * scale, Double(height) * scale)
            let side = min(768, max(256, min(scaledWidth, scaledHeight) / 1.5))
            let tiles = (scaledWidth / side).rounded(.up) * (scaledHeight / side).rounded(.up)
            return 258 * min(24, max(1, Int64(tiles)))
        }
    }
}

/// What is known of models by the beginning of their names, or, before `$`, by the whole: the first that fits counts. Of providers' model pages, as of November 2026.
struct ModelFamily: Sendable {
    let prefix: String
    /// The context window in tokens.
    let window: Int64
    let pictures: PictureRule?
    /// OpenAI, "Prompt caching": from gpt-5.6 on, writing costs, and happens by itself.
    var writesCache: Bool { prefix.hasPrefix("gpt-5.6") || prefix.hasPrefix("gpt-6") }

    private init(_ prefix: String, _ window: Int64, _ pictures: PictureRule? = nil) {
        self.prefix = prefix
        self.window = window
        self.pictures = pictures
    }

    init?(_ model: String) {
        var name = (model.split(separator: "/").last.map(String.init) ?? model).lowercased()
        // A model of one's own making has the name of what it was made of (OpenAI, "Fine-tuning").
        if name.hasPrefix("ft:") { name = String(name.dropFirst(3)) }
        // Elsewhere these are written with a point.
        if name.hasPrefix("claude-") || name.hasPrefix("grok-") { name = name.replacing(".", with: "-") }
        guard
            let family = Self.all.first(where: {
                $0.prefix.last == "$" ? name + "$" == $0.prefix : name.hasPrefix($0.prefix)
            })
        else { return nil }
        self = family
    }

    private static let all: [ModelFamily] = [
        // OpenAI, "Models" and "Images and vision".
        ModelFamily("gpt-4o-audio", 128_000), ModelFamily("gpt-4o-mini-audio", 128_000),
        ModelFamily("gpt-audio", 128_000),
        ModelFamily("gpt-4o-mini", 128_000, .tiles(base: 2833, each: 5667)),
        ModelFamily("gpt-4o", 128_000, .tiles(base: 85, each: 170)),
        ModelFamily("chatgpt-4o", 128_000, .tiles(base: 85, each: 170)),
        ModelFamily("gpt-4.1-mini", 1_047_576, .patches(most: 1536, factor: 162)),
        ModelFamily("gpt-4.1-nano", 1_047_576, .patches(most: 1536, factor: 246)),
        ModelFamily("gpt-4.1", 1_047_576, .tiles(base: 85, each: 170)),
        ModelFamily("gpt-4.5", 128_000, .tiles(base: 85, each: 170)),
        ModelFamily("gpt-4-turbo", 128_000, .tiles(base: 85, each: 170)),
        ModelFamily("gpt-4-vision", 128_000, .tiles(base: 85, each: 170)), ModelFamily("gpt-4-32k", 32_768),
        ModelFamily("gpt-4$", 8192), ModelFamily("gpt-4-0314$", 8192), ModelFamily("gpt-4-0613$", 8192),
        ModelFamily("gpt-4-", 128_000), ModelFamily("gpt-3.5-turbo", 16_385),
        ModelFamily("gpt-5-chat", 128_000, .tiles(base: 70, each: 140)),
        ModelFamily("gpt-5-mini", 400_000, .patches(most: 1536, factor: 162)),
        ModelFamily("gpt-5-nano", 400_000, .patches(most: 1536, factor: 246)),
        ModelFamily("gpt-5.4-mini", 400_000, .patches(most: 1536, factor: 162)),
        ModelFamily("gpt-5.4-nano", 400_000, .patches(most: 1536, factor: 246)),
        ModelFamily("gpt-5.4", 1_050_000, .patches(most: 10_000, factor: 120)),
        ModelFamily("gpt-5.5", 1_050_000, .patches(most: 10_000, factor: 120)),
        ModelFamily("gpt-5.6", 1_050_000, .patches(most: nil, factor: 120)),
        ModelFamily("gpt-6", 1_050_000, .patches(most: nil, factor: 120)),
        ModelFamily("gpt-5.1", 400_000, .patches(most: 1536, factor: 162)),
        ModelFamily("gpt-5.2", 400_000, .patches(most: 1536, factor: 162)),
        ModelFamily("gpt-5.3", 400_000, .patches(most: 1536, factor: 162)),
        ModelFamily("gpt-5", 400_000, .tiles(base: 70, each: 140)),
        ModelFamily("o1-mini", 128_000), ModelFamily("o1", 200_000, .tiles(base: 75, each: 150)),
        ModelFamily("o3", 200_000, .tiles(base: 75, each: 150)),
        ModelFamily("o4", 200_000, .patches(most: 1536, factor: 172)),
        // An embedding's window is that of one input, of which a request has up to 2,048: none is given.
        // Anthropic, "Models overview" and "Vision".
        ModelFamily("claude-3", 200_000, .claude(most: 1700)),
        ModelFamily("claude-opus-4-7", 1_000_000, .claude(most: 4900)),
        ModelFamily("claude-opus-4-8", 1_000_000, .claude(most: 4900)),
        ModelFamily("claude-opus-4-6", 1_000_000, .claude(most: 1700)),
        ModelFamily("claude-sonnet-4-6", 1_000_000, .claude(most: 1700)),
        ModelFamily("claude-opus-4", 200_000, .claude(most: 1700)),
        // With the beta of a longer window, which is not passed on, it was five times as long.
        ModelFamily("claude-sonnet-4", 200_000, .claude(most: 1700)),
        ModelFamily("claude-haiku-4", 200_000, .claude(most: 1700)),
        ModelFamily("claude-4", 200_000, .claude(most: 1700)), ModelFamily("claude-", 1_000_000, .claude(most: 4900)),
        // Google, "Gemini models", "Image understanding" and "Media resolution".
        ModelFamily("gemini-1.5-pro", 2_097_152, .gemini), ModelFamily("gemini-1.5", 1_048_576, .gemini),
        ModelFamily("gemini-2.5-flash-image", 65_536, .gemini), ModelFamily("gemini-2", 1_048_576, .gemini),
        ModelFamily("gemini-3-pro-image", 65_536, .flat(2240)),
        ModelFamily("gemini-3.1-flash-image", 131_072, .flat(2240)), ModelFamily("gemini-3", 1_048_576, .flat(2240)),
        // xAI, "Models" and "Image understanding": tiles of 448 pixels, 256 each, at most six and one more.
        ModelFamily("grok-2-vision", 32_768, .flat(1792)), ModelFamily("grok-2", 131_072, .flat(1792)),
        ModelFamily("grok-3", 131_072, .flat(1792)), ModelFamily("grok-4-fast", 2_000_000, .flat(1792)),
        ModelFamily("grok-4-1", 2_000_000, .flat(1792)), ModelFamily("grok-4-2", 2_000_000, .flat(1792)),
        ModelFamily("grok-4-3", 1_000_000), ModelFamily("grok-4$", 256_000, .flat(1792)),
        ModelFamily("grok-4-0", 256_000, .flat(1792)), ModelFamily("grok-4-", 1_000_000),
        ModelFamily("grok-code", 256_000),
        // DeepSeek, "Models & pricing"; Mistral, "Models".
        // Both names now stand for models of the newest family.
        ModelFamily("deepseek-chat", 1_000_000), ModelFamily("deepseek-reasoner", 1_000_000),
        ModelFamily("deepseek-v4", 1_000_000), ModelFamily("deepseek-flash", 1_000_000),
        ModelFamily("mistral-", 262_144),
    ]
}
