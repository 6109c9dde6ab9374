/// What a request asks for and what it can cost, as far as it says so itself.
public struct RequestReading: Sendable {
    /// A text and where it stands, with its quotation marks.
    public var model: String?
    public var modelRange: Range<Int>?
    public var isStream = false
    /// Whom the client names as its user.
    public var user: String?
    /// Whether the member that the route is about is there.
    public var hasPrompt = false
    /// Whether the client asked for the extra usage chunk.
    public var wantsUsage = false
    /// `stream_options`: the whole value, and within it where `include_usage` is.
    public var streamOptions: Range<Int>?
    public var includeUsage: Range<Int>?
    public var streamOptionsIsEmpty = true
    /// The bounds of the output that the client gave, with where their names are.
    public var bounds: [(name: String, value: Int64, place: Range<Int>)] = []
    /// Those that are null, and where that is.
    public var nullBounds: [(name: String, range: Range<Int>)] = []
    /// How many answers.
    public var choices: Int64 = 1
    /// The bound of the calls of the provider's tools, and how many tools are bounded by it.
    public var maxToolCalls: Int64?
    public var calledTools: Int64 = 0
    /// What may be thought beyond the bound of the output, in tokens of each choice.
    public var thinking: Int64 = 0
    /// Of an embedding: how many inputs there are, and the bytes of all of them.
    public var inputs: Int64 = 0
    public var inputBytes: Int64 = 0
    /// Web searches that may be made, where each tool has a bound of its own.
    public var searches: Int64 = 0
    /// How often the provider may fetch a document, and the tokens that this may bring.
    public var fetches: Int64 = 0
    public var fetchedTokens: Int64 = 0
    /// Calls of the provider's tools in earlier answers that have no result yet.
    public var pendingCalls: Int64 = 0
    public var hasTools = false
    /// Tokens that the provider adds for tools of its own making.
    public var addedTokens: Int64 = 0
    /// The UTF-8 bytes of what the model reads, with names and punctuation.
    public var textBytes: Int64 = 0
    /// Tokens of pictures, sound and documents, and of token ids; and those of sound alone.
    public var mediaTokens: Int64 = 0
    public var audioTokens: Int64 = 0
    /// The first place of what may fill the context window; nil: there is none.
    public var unmeasured: String?
    /// What kinds of files are in it.
    public var kinds: Set<PartKind> = []
    /// How many parts there are of which that is so.
    public var unmeasuredParts: Int64 = 0
    /// Whether it may write its prompt to a cache.
    public var writesCache = false
    /// Whether it asks for sound.
    public var wantsAudio = false
    /// What is not sent on: the places, and the bytes to be left out.
    public var dropped: [(path: String, range: Range<Int>)] = []
    /// The offset of the closing brace.
    public var end = 0
}
