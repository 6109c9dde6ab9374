/// What a request to a model may say, place by place, and what each of it costs: for one kind of provider and one route.
///
/// A closed world: what is not in the table is refused before anything is held (or measured as prompt, where the operator has chosen so for a
/// provider). The tables are data, in a notation of their own (``init(_:)``), so that they can be read beside the provider's reference.
public struct RequestTable: Sendable {
    /// What a text counts that a provider puts in front of an input: instructions of embedding models are a sentence or two.
    static let prefixTokens = 64

    /// What a value is.
    indirect enum Rule: Sendable {
        /// Costs nothing: a scalar or an array of such; with `values` only these.
        case setting(values: [String]?, reason: String?)
        /// An object that the model does not read.
        case settings(Int)
        /// Costs nothing, whatever it is.
        case free
        /// A text that the model reads.
        case text
        /// Anything that the model reads.
        case read
        /// Token ids that the model reads: an array of whole numbers, or of such arrays.
        case tokens
        /// A file in Base64, as a data URL, or where it is. A remote one is a picture, or of unknown size.
        /// `as`: what alone may stand there, if that is so.
        case inline(as: PartKind?, remoteIsPicture: Bool)
        /// The declared type of the ``inline(as:remoteIsPicture:)`` beside it.
        case mime
        /// Of unknown size: it may fill the model's context window.
        case window
        case model, stream, usage, user
        /// Bounds the output.
        case bound
        /// How many answers: each is billed.
        case choices
        /// Bounds the calls of the provider's tools.
        case calls
        /// What may be thought beyond the bound of the output.
        case thinking
        /// Names a text that the provider puts in front of every input.
        case prefix
        /// Bounds the uses of the tool that it stands in, and the tokens that each brings.
        case uses, contentTokens
        /// Asks for the prompt to be written to a cache, which has a price.
        case cache
        /// Not sent on.
        case dropped
        case refused(reason: String)
        case object(Int)
        case list(Rule)
        /// One of these, by the value's type.
        case either([Rule])
    }

    /// What a variant of an object is beside its members.
    enum VariantRule: Sendable {
        /// `uses`: how often where the request does not say; nil: it has to.
        case search(uses: Int64?)
        case calls, fetch
        case window
        /// A call of the provider's tool in an earlier answer, and the result of one.
        case pending, result
        /// The provider adds so many tokens for it at most.
        case adds(Int64)
        case refused(reason: String)
    }

    struct Member: Sendable {
        let name: [UInt8]
        let rule: Rule
    }

    /// The members of an object, found by the length of their names.
    struct Members: Sendable {
        private(set) var all: [Member] = []
        private var byLength: [[Int]] = Array(repeating: [], count: 65)

        /// Adds a member; a later one of the same name takes the place of the first.
        mutating func add(_ member: Member) {
            if let known = all.firstIndex(where: { $0.name == member.name }) {
                all[known] = member
            } else {
                byLength[min(member.name.count, 64)].append(all.count)
                all.append(member)
            }
        }

        /// What every other member is; nil: there is no other.
        var others: Rule? { all.first { $0.name == [UInt8(ascii: "*")] }?.rule }

        /// The place of the member of that name.
        func find(_ name: UnsafeBufferPointer<UInt8>) -> Int? {
            byLength[min(name.count, 64)].first { all[$0].name.elementsEqual(name) }
        }
    }

    struct Variant: Sendable {
        /// Values of the discriminator; one that ends in `*` stands for all that begin so, `-` for its absence.
        var values: [String]
        var rule: VariantRule?
        var members = Members()
    }

    struct Definition: Sendable {
        let name: String
        /// The member whose value chooses the variant; nil: there is one form only.
        let discriminator: String?
        /// Of all variants.
        var common = Members()
        var variants: [Variant] = []
        /// Names as decoders that do not heed case see them, and what they are.
        private(set) var folded: [[UInt8]: String] = [:]
        /// Members by their names, whatever the variant: of several, one that is refused.
        private(set) var everywhere: [[UInt8]: Member] = [:]
        private var exact: [String: Int] = [:]

        init(name: String, discriminator: String?) {
            self.name = name
            self.discriminator = discriminator
        }

        /// Finds all that is looked up by name; to be called when the definition is complete.
        mutating func index() {
            for members in [common] + variants.map(\.members) {
                for member in members.all {
                    folded[member.text.foldedCase] = member.text
                    if case .refused? = everywhere[member.name]?.rule { continue }
                    everywhere[member.name] = member
                }
            }
            for (index, variant) in variants.enumerated() {
                for value in variant.values { exact[value] = index }
            }
        }

        /// The variant for a value: an exact one before one by its beginning, the longest of these first.
        func variant(_ value: String?) -> Int? {
            guard let value else { return exact["-"] }
            if value != "-", let exact = exact[value] { return exact }
            var best: (index: Int, length: Int)?
            for (index, variant) in variants.enumerated() {
                for pattern in variant.values where pattern.last == "*" && value.hasPrefix(pattern.dropLast()) {
                    if pattern.count > best?.length ?? 0 { best = (index, pattern.count) }
                }
            }
            return best?.index
        }
    }

    /// The first is the request itself.
    private(set) var definitions: [Definition] = []
    private var byName: [String: Int] = [:]

    /// Why a table cannot be read: a mistake in its text.
    public struct Problem: Error, Equatable, Sendable, CustomStringConvertible {
        public let line: Int
        public let what: String

        public var description: String { "line \(line): \(what)" }
    }

    /// Reads a table from its texts, of which a later one adds to an earlier, and wins where both say something of the same place.
    ///
    /// The notation, line by line; `#` begins a comment:
    ///
    ///     request:                                  an object
    ///       temperature, top_p   setting            its members: names, then what they are
    ///       service_tier         setting auto | default — another tier has another price
    ///       messages             list of message    an array of the object `message`
    ///     message by role:                          an object whose member `role` chooses its variant
    ///       name                 text               a member of every variant; `*` as a name: every other member
    ///       = user, developer                       a variant, by the values of `role`; `*` at the end: whatever follows; `-`: without it
    ///         content            text or list of part
    ///       = function           refused — functions are called tools now
    ///
    /// What a member is: `setting`, `setting a | b` (only these), `setting of NAME` (an object that is not read), `free`; `text`, `read`, `tokens`,
    /// `inline`, `inline image`, `inline picture` (also where it is elsewhere), `inline sound`, `mime`, `window`; `NAME`, `list of …`; `model`, `stream`, `usage`, `user`, `bound`, `choices`, `calls`,
    /// `uses`, `content_tokens`, `cache`; `dropped`, `refused — why`. Alternatives by the JSON type are joined by `or`. What a variant may
    /// be: `priced search`, `priced search N` (so often where nothing is said), `priced calls`, `priced fetch`, `window`, `pending`, `result`, `adds N`, `refused — why`.
    ///
    /// Throws a ``Problem``; every table of ours is read in the tests.
    public init(_ texts: [String]) throws {
        var parser = RequestTableParser()
        for text in texts { try parser.read(text) }
        self = try parser.finish()
    }

    init(definitions: [Definition]) {
        self.definitions = definitions
        for (index, definition) in definitions.enumerated() { byName[definition.name] = index }
    }

    /// Every place of the table that is refused, priced or measured, for documentation: `messages[].content[].file_id`.
    public var definitionNames: [String] { definitions.map(\.name) }
}
