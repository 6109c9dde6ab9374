public import Ledger
import WireJSON

/// What has been seen of a provider's usage reports. Nothing is ever summed.
///
/// Per format, by what its provider documents:
/// - Chat completions, responses, embeddings: per figure the last report wins, but a later 0 never replaces a count. Only the last report is said to
///   be final; relays append empty ones.
/// - Anthropic: the counts of a stream are cumulative ("Streaming messages"), so per figure the greatest wins; but the output of `message_start` is only
///   a first figure, and any later one replaces it.
/// - Gemini: each report says everything up to its chunk, and absent figures are 0. So the last one wins as a whole; one that tells of no output does not
///   replace one that does.
///
/// Absent is not zero. A number that is negative, absurd or no number is not believed, and flagged.
public struct UsageReading: Sendable {
    /// Which figure it is.
    private enum Field {
        case input, output, reasoning, cached, written, writtenFiveMinutes, writtenHour, toolPrompt, total, searches
        case toolCalls, audio, audioCached, audioOutput, imageOutput
    }

    /// The figures as the provider names them.
    struct Counts: Sendable {
        /// What the provider calls prompt or input tokens: with or without those of caches and tools.
        var input: Int64?
        /// What it calls completion, output or candidates tokens: with or without reasoning.
        var output: Int64?
        /// Reasoning or thinking.
        var reasoning: Int64?
        /// Prompt tokens read from a cache.
        var cached: Int64?
        /// Prompt tokens written to caches in all, and to those that live five minutes or an hour.
        var written: Int64?
        var writtenFiveMinutes: Int64?
        var writtenHour: Int64?
        /// What tools brought into the prompt (Gemini).
        var toolPrompt: Int64?
        var total: Int64?
        /// Web searches, or the sources that one used.
        var searches: Int64?
        /// Calls of the provider's own tools (xAI).
        var toolCalls: Int64?
        /// Of the prompt, and of what was read from a cache: sound. Of the output: sound and pictures.
        var audio: Int64?
        var audioCached: Int64?
        var audioOutput: Int64?
        var imageOutput: Int64?

        /// Whether it tells of any output.
        var hasOutput: Bool { (output ?? 0) > 0 || (reasoning ?? 0) > 0 }
    }

    private(set) var counts = Counts()
    /// The sums of Anthropic's `iterations`, which are billed instead of the figures beside them.
    private(set) var iterations: Counts?
    /// What the provider says that it bills, in pico-USD.
    public private(set) var costPicoUSD: Int128?
    /// The first usage object, where the last does not repeat all that it says (Anthropic).
    private var opening: [UInt8]?
    /// The last usage object.
    private var last: [UInt8]?
    public private(set) var hasRejected = false
    /// How many usage objects have been seen.
    private(set) var reports = 0
    /// Whether the figure of the output is final: Anthropic's first report has a seed in it.
    private(set) var isFinal = false
    /// Whether the report that is being read is not the first.
    private var isLater = false
    private let names: Names
    /// Whether the counts of later reports include those of earlier ones.
    private let isCumulative: Bool

    /// By which names a format calls its figures. Some relays write those of two formats, of which one is right.
    private enum Names { case prompt, input, gemini }

    public init(_ shape: AnswerShape) {
        names =
            switch shape {
            case .chat, .embeddings: .prompt
            case .responses, .messages: .input
            case .gemini: .gemini
            }
        isCumulative = shape == .messages
    }

    /// Whether any usage object has been seen.
    public var isPresent: Bool { last != nil || opening != nil }

    /// Reasoning or thinking tokens, where the provider tells them apart.
    public var reasoning: Int64? { counts.reasoning }

    /// The longest report that is kept as it was written: it becomes part of an event.
    public static let maximumRawBytes = 16 << 10

    /// What the provider wrote, byte for byte; nil where it is too long to be kept. Of several objects that complete each other, an object of them by their event's name.
    public var raw: [UInt8]? {
        guard let opening else { return last.flatMap(Self.kept) }
        guard let last else { return Self.kept(opening) }
        return Self.kept(
            Array("{\"message_start\":".utf8) + opening + Array(",\"message_delta\":".utf8) + last + [0x7D])
    }

    private static func kept(_ raw: [UInt8]) -> [UInt8]? { raw.count <= maximumRawBytes ? raw : nil }

    // MARK: Reading

    /// Which of an answer's usage objects it is.
    enum Report { case opening, final }

    /// Reads the usage object of which `json` stands at the beginning.
    mutating func read(_ json: inout JSONScanner, _ report: Report = .final) throws(JSONError) {
        let range = try json.skip()
        let bytes = json.bytes(range)
        reports += 1
        isLater = report == .final
        var object = JSONScanner(bytes)
        guard names == .gemini else {
            switch report {
            case .opening: opening = Array(bytes)
            case .final: last = Array(bytes)
            }
            return try readFields(&object, .all)
        }
        let before = counts
        counts = Counts()
        try readFields(&object, .all)
        if before.hasOutput, !counts.hasOutput {
            counts = before
        } else {
            last = Array(bytes)
        }
    }

    /// What the figures of an object are of.
    private enum Side { case all, prompt, cached, completion }

    private mutating func readFields(_ json: inout JSONScanner, _ side: Side) throws(JSONError) {
        try json.enterObject()
        while let text = try json.nextMember() {
            let name = json.bytes(text.range)
            if let field = field(name, side) {
                try number(&json, into: field)
            } else if let inner = details(name), json.peek() == .object {
                try readFields(&json, inner)
            } else if let inner = modalities(name), json.peek() == .array {
                try readModalities(&json, inner)
            } else if name.equals("cost_in_usd_ticks"), json.peek() == .number {
                // 10¹⁰ ticks are a dollar (xAI), so that one is 100 pico-USD.
                cost(try json.number(), in: json, fractionDigits: 0, scale: 100)
            } else if name.equals("cost"), json.peek() == .number {
                cost(try json.number(), in: json, fractionDigits: 12, scale: 1)
            } else if name.equals("iterations"), json.peek() == .array {
                try readIterations(&json)
            } else {
                try json.skip()
            }
        }
    }

    /// Objects within a usage object that refine its figures, and what of.
    private func details(_ name: UnsafeBufferPointer<UInt8>) -> Side? {
        switch names {
        case .prompt:
            if name.equals("prompt_tokens_details") { return .prompt }
            if name.equals("completion_tokens_details") { return .completion }
        case .input:
            if name.equals("input_tokens_details") { return .prompt }
            if name.equals("output_tokens_details") { return .completion }
            if name.equals("cache_creation") || name.equals("server_tool_use") { return .all }
        case .gemini: break
        }
        return name.equals("cached_tokens_details") ? .cached : nil
    }

    /// Gemini's arrays of counts by modality, and what of.
    private func modalities(_ name: UnsafeBufferPointer<UInt8>) -> Side? {
        guard names == .gemini else { return nil }
        if name.equals("promptTokensDetails") || name.equals("toolUsePromptTokensDetails") { return .prompt }
        if name.equals("cacheTokensDetails") { return .cached }
        if name.equals("candidatesTokensDetails") { return .completion }
        return nil
    }

    /// Reads `[{"modality": "AUDIO", "tokenCount": 7}, …]`. A tool's sound comes beside that of the prompt.
    private mutating func readModalities(_ json: inout JSONScanner, _ side: Side) throws(JSONError) {
        try AnswerReading.elements(&json) { json throws(JSONError) in
            var field: Field?
            var digits: Range<Int>?
            try AnswerReading.members(&json) { name, json throws(JSONError) in
                if json.equals(name, "modality"), json.peek() == .string {
                    let text = try json.text()
                    if json.equals(text, "AUDIO") {
                        switch side {
                        case .prompt: field = .audio
                        case .cached: field = .audioCached
                        case .completion: field = .audioOutput
                        case .all: break
                        }
                    } else if json.equals(text, "IMAGE"), side == .completion {
                        field = .imageOutput
                    }
                } else if json.equals(name, "tokenCount"), json.peek() == .number {
                    digits = try json.number()
                } else {
                    try json.skip()
                }
            }
            guard let field, let digits else { return }
            // Within one report the parts of a modality add up.
            let before = field == .audio ? counts.audio : nil
            set(field, json.bytes(digits))
            if let before, let now = counts.audio { counts.audio = min(before + now, Usage.maximumTokens) }
        }
    }

    /// The figure that a member holds.
    private func field(_ name: UnsafeBufferPointer<UInt8>, _ side: Side) -> Field? {
        switch name.first {
        case UInt8(ascii: "a") where name.equals("audio_tokens"):
            switch side {
            case .prompt: return .audio
            case .cached: return .audioCached
            case .completion: return .audioOutput
            case .all: return nil
            }
        case UInt8(ascii: "p"):
            if name.equals(names == .prompt ? "prompt_tokens" : "promptTokenCount") { return .input }
            if name.equals("prompt_cache_hit_tokens") { return .cached }
        case UInt8(ascii: "i"):
            if names == .input, name.equals("input_tokens") { return .input }
            if side == .completion, name.equals("image_tokens") { return .imageOutput }
        case UInt8(ascii: "o"): if names == .input, name.equals("output_tokens") { return .output }
        case UInt8(ascii: "c"):
            if name.equals(names == .prompt ? "completion_tokens" : "candidatesTokenCount") { return .output }
            if name.equals("cached_tokens") || name.equals("cache_read_input_tokens")
                || name.equals("cachedContentTokenCount")
            {
                return .cached
            }
            if name.equals("cache_creation_input_tokens") || name.equals("cache_write_tokens") { return .written }
        case UInt8(ascii: "e"):
            if name.equals("ephemeral_5m_input_tokens") { return .writtenFiveMinutes }
            if name.equals("ephemeral_1h_input_tokens") { return .writtenHour }
        case UInt8(ascii: "r"): if name.equals("reasoning_tokens") { return .reasoning }
        case UInt8(ascii: "t"):
            if name.equals("total_tokens") || name.equals("totalTokenCount") { return .total }
            if name.equals("thoughtsTokenCount") { return .reasoning }
            if name.equals("toolUsePromptTokenCount") { return .toolPrompt }
        case UInt8(ascii: "w"): if name.equals("web_search_requests") { return .searches }
        case UInt8(ascii: "n"):
            if name.equals("num_sources_used") { return .searches }
            if name.equals("num_server_side_tools_used") { return .toolCalls }
        default: break
        }
        return nil
    }

    private mutating func number(_ json: inout JSONScanner, into field: Field) throws(JSONError) {
        guard json.peek() == .number else {
            if try !json.null() {
                try json.skip()
                hasRejected = true
            }
            return
        }
        set(field, json.bytes(try json.number()))
    }

    private mutating func set(_ field: Field, _ digits: UnsafeBufferPointer<UInt8>) {
        guard let value = Self.value(of: digits), (0...Usage.maximumTokens).contains(value) else {
            hasRejected = true
            return
        }
        switch field {
        case .input: replace(&counts.input, value)
        case .output:
            if isCumulative, isLater, !isFinal {
                // Unless it says nothing, it takes the place of the first figure.
                if value > 0 || counts.output == nil { counts.output = value }
            } else {
                replace(&counts.output, value)
            }
            isFinal = isFinal || isLater
        case .reasoning: replace(&counts.reasoning, value)
        case .cached: replace(&counts.cached, value)
        case .written: replace(&counts.written, value)
        case .writtenFiveMinutes: replace(&counts.writtenFiveMinutes, value)
        case .writtenHour: replace(&counts.writtenHour, value)
        case .toolPrompt: replace(&counts.toolPrompt, value)
        case .total: replace(&counts.total, value)
        case .searches: replace(&counts.searches, value)
        case .toolCalls: replace(&counts.toolCalls, value)
        case .audio: replace(&counts.audio, value)
        case .audioCached: replace(&counts.audioCached, value)
        case .audioOutput: replace(&counts.audioOutput, value)
        case .imageOutput: replace(&counts.imageOutput, value)
        }
    }

    /// Takes a figure of a later report, by the rule of the format.
    private func replace(_ figure: inout Int64?, _ value: Int64) {
        guard let before = figure else {
            figure = value
            return
        }
        if isCumulative ? value > before : value > 0 { figure = value }
    }

    /// A whole number, also where it is written with a point or an exponent.
    private static func value(of digits: UnsafeBufferPointer<UInt8>) -> Int64? {
        guard digits.count <= 18, digits.allSatisfy({ (0x30...0x39).contains($0) }) else {
            return Decimal64.parse(String(decoding: digits, as: UTF8.self), fractionDigits: 0)
        }
        return digits.reduce(0) { $0 * 10 + Int64($1 - 0x30) }
    }

    private mutating func cost(_ range: Range<Int>, in json: JSONScanner, fractionDigits: Int, scale: Int128) {
        let text = String(decoding: json.bytes(range), as: UTF8.self)
        guard let value = Decimal64.parse(text, fractionDigits: fractionDigits), value >= 0 else { return }
        costPicoUSD = Int128(value) * scale
    }

    private mutating func readIterations(_ json: inout JSONScanner) throws(JSONError) {
        var sums = Counts()
        try json.enterArray()
        while try json.nextElement() {
            guard json.peek() == .object else {
                try json.skip()
                continue
            }
            var one = UsageReading(.messages)
            try one.readFields(&json, .all)
            hasRejected = hasRejected || one.hasRejected
            // At most as many as there are bytes in an event: it cannot overflow.
            func add(_ value: Int64?, to sum: inout Int64?) { if let value { sum = (sum ?? 0) + value } }
            add(one.counts.input, to: &sums.input)
            add(one.counts.output, to: &sums.output)
            add(one.counts.cached, to: &sums.cached)
            add(one.counts.written, to: &sums.written)
            add(one.counts.writtenFiveMinutes, to: &sums.writtenFiveMinutes)
            add(one.counts.writtenHour, to: &sums.writtenHour)
        }
        iterations = sums.input == nil && sums.output == nil ? nil : sums
    }
}

// MARK: - What is billed

extension UsageReading {
    /// The figures in the classes that are priced; nil: not reported.
    public struct Billed: Equatable, Sendable {
        public var prompt: Int64?
        public var cached: Int64 = 0
        public var cacheWrite: Int64 = 0
        public var cacheWriteHour: Int64 = 0
        public var completion: Int64?
        public var searches: Int64 = 0
        /// What of it is no text.
        public var modal = ModalTokens.none
        /// The sum of prompt and completion, where neither was reported.
        public var total: Int64?
        /// Whether the report's own total says something else.
        public var contradictsTotal = false
        /// Whether a sum is beyond what is believed.
        public var isAbsurd = false
    }

    /// What is billed, by the rules of the format; `hasOutput`: whether anything of an output was delivered.
    public func billed(_ shape: AnswerShape, hasOutput: Bool) -> Billed {
        var billed = Billed()
        billed.cached = counts.cached ?? 0
        billed.searches = max(counts.searches ?? 0, counts.toolCalls ?? 0)
        // Each was checked when it was read.
        billed.modal =
            ModalTokens(
                audio: counts.audio ?? 0, audioCached: counts.audioCached ?? 0, audioOutput: counts.audioOutput ?? 0,
                imageOutput: counts.imageOutput ?? 0) ?? .none
        // Parts that are 0 beside a total that is not were not counted.
        var counts = counts
        if (counts.input ?? 0) == 0, (counts.output ?? 0) == 0, (counts.reasoning ?? 0) == 0, (counts.total ?? 0) > 0 {
            (counts.input, counts.output) = (nil, nil)
        }
        switch shape {
        case .chat(let rule):
            billed.prompt = counts.input
            billed.completion = counts.output
            billed.cacheWrite = counts.written ?? 0
            switch rule {
            case .standard: break
            case .reasoningBeside: billed.completion = Self.sum(counts.output, counts.reasoning)
            case .restOfTotal:
                if let total = counts.total, let input = counts.input { billed.completion = max(0, total - input) }
            }
            checkTotal(&billed, counts)
        case .responses:
            billed.prompt = counts.input
            billed.completion = counts.output
            checkTotal(&billed, counts)
        case .embeddings:
            // An embedding has no output: where a provider gives the total only, that is the prompt.
            billed.prompt = counts.input ?? counts.total
            billed.completion = 0
        case .gemini:
            billed.prompt = Self.sum(counts.input, counts.toolPrompt)
            // Absent fields are zero where something was reported, but what was delivered was generated. What the total has besides is output too:
            // a last report may lack the thoughts, which are in its total.
            let output = Self.sum(counts.output, counts.reasoning) ?? counts.reasoning
            let rest = counts.total.flatMap { total in billed.prompt.map { max(0, total - $0) } } ?? 0
            billed.completion =
                output.map { max($0, rest) } ?? (rest > 0 ? rest : counts.input != nil && !hasOutput ? 0 : nil)
            checkTotal(&billed, counts)
        case .messages:
            let counts = iterations ?? self.counts
            billed.cached = counts.cached ?? 0
            let written = counts.written ?? (counts.writtenFiveMinutes ?? 0) + (counts.writtenHour ?? 0)
            billed.cacheWriteHour = min(counts.writtenHour ?? 0, written)
            billed.cacheWrite = written - billed.cacheWriteHour
            billed.prompt = Self.sum(counts.input, written + billed.cached)
            billed.completion = isFinal ? counts.output : nil
        }
        for figure in [billed.prompt, billed.completion, billed.cached, billed.cacheWrite, billed.cacheWriteHour]
        where figure ?? 0 > Usage.maximumTokens {
            billed = Billed(searches: billed.searches, isAbsurd: true)
            break
        }
        if billed.searches > Usage.maximumSearches {
            billed.searches = 0
            billed.isAbsurd = true
        }
        return billed
    }

    private func checkTotal(_ billed: inout Billed, _ counts: Counts) {
        guard let total = counts.total else { return }
        switch (billed.prompt, billed.completion) {
        case (let prompt?, let completion?): billed.contradictsTotal = total != prompt + completion
        // The total and one of its parts give the other.
        case (let prompt?, nil) where total >= prompt: billed.completion = total - prompt
        case (nil, let completion?) where total >= completion: billed.prompt = total - completion
        case (nil, nil): billed.total = total
        default: billed.contradictsTotal = true
        }
    }

    /// A sum in which only the first must be known. Each is at most 2³¹ a report.
    private static func sum(_ first: Int64?, _ second: Int64?) -> Int64? {
        first.map { $0 + (second ?? 0) }
    }

    /// The report to be charged.
    ///
    /// What was not reported is estimated (``PromptSize/estimatedTokens``, and a token for each four bytes of delivered output), within the
    /// bounds that the request was admitted with. So is what came behind the last report: that says nothing of it.
    func report(_ reading: AnswerReading, prompt size: PromptSize, bounds hold: HoldPlaced) -> UsageReport {
        let (outputBytes, servedModel) = (reading.outputBytes, reading.servedModel)
        var billed = billed(reading.shape, hasOutput: outputBytes > 0)
        billed.searches = max(billed.searches, min(reading.searchCalls, Usage.maximumSearches))
        var flags: Set<UsageFlag> = []
        if hasRejected || billed.isAbsurd { flags.insert(.rejectedUsage) }
        if billed.prompt == nil || billed.completion == nil { flags.insert(.estimated) }
        if let total = billed.total {
            // How it is divided is estimated; the sum is not.
            let prompt = min(size.estimatedTokens, hold.promptBound, total)
            billed.prompt = prompt
            billed.completion = total - prompt
        }
        if isPresent, billed.prompt == 0, billed.completion == 0 { flags.insert(.zeroUsage) }
        // It says that there was no output, and there was.
        if billed.completion == 0, billed.prompt != 0, reading.reportedBytes > 0, reading.shape != .embeddings {
            flags.insert(.usageMismatch)
        }
        if let reported = billed.completion, outputBytes > reading.reportedBytes {
            let later = Int64(clamping: (outputBytes - reading.reportedBytes + 3) / 4)
            billed.completion = max(reported, min(reported + later, hold.outputBound))
            flags.insert(.estimated)
        }
        let prompt = billed.prompt ?? min(size.estimatedTokens, hold.promptBound)
        let completion = billed.completion ?? min(Int64(clamping: (outputBytes + 3) / 4), hold.outputBound)
        if billed.contradictsTotal || billed.cached + billed.cacheWrite + billed.cacheWriteHour > prompt
            || billed.modal.audio > prompt || billed.modal.audioOutput + billed.modal.imageOutput > completion
        {
            flags.insert(.usageMismatch)
        }
        // Its bound is its bytes, and what the provider is known to add.
        if size.isText, prompt > hold.promptBound { flags.insert(.promptBeyondBytes) }
        if completion > hold.outputBound { flags.insert(.outputBeyondBound) }
        // Each figure was checked above or comes from a hold, whose bounds were checked: there is always a usage.
        let usage =
            Usage(
                prompt: prompt, cached: billed.cached, cacheWrite: billed.cacheWrite,
                cacheWriteHour: billed.cacheWriteHour, completion: completion, searches: billed.searches,
                modal: billed.modal) ?? .zero
        let price = hold.priced.price
        if price.lacksRates(for: usage) { flags.insert(.unpricedModality) }
        if usage.searches > 0, price.webSearch == nil { flags.insert(.unpricedSearch) }
        let cost = price.cost(of: usage)
        if hold.rate.credits(forPicoUSD: cost).map({ $0 > hold.amount }) ?? true { flags.insert(.beyondBound) }
        // A provider that does not compute its cost says 0.
        if let stated = costPicoUSD, stated > 0 {
            let difference = stated - cost
            if abs(difference) > Self.costTolerance, abs(difference) * 100 > max(stated, cost) {
                flags.insert(.costMismatch)
            }
        }
        let other = servedModel.flatMap { $0 == hold.origin.model || hold.origin.model.hasSuffix(":" + $0) ? nil : $0 }
        if let other, !Self.isVersion(other, of: hold.origin.model) { flags.insert(.otherModel) }
        return UsageReport(usage: usage, flags: flags, costPicoUSD: costPicoUSD, raw: raw, servedModel: other)
    }

    /// How far a provider's own cost may be from ours whatever it is, in pico-USD, for its rounding: a nano-dollar. Beyond it, a hundredth.
    private static let costTolerance: Int128 = 1000

    /// Whether a provider's name for a model is that of a version of the one that was asked for: `gpt-4o-2024-08-06` of `openai:gpt-4o`.
    ///
    /// Before it may stand whose it is (`openai/…`, `models/…`), behind it a date or a number; "latest" stands for any.
    static func isVersion(_ served: String, of asked: String) -> Bool {
        func bare(_ name: Substring) -> Substring {
            name.lastIndex(of: "/").map { name[name.index(after: $0)...] } ?? name
        }
        let model = bare(asked.firstIndex(of: ":").map { asked[asked.index(after: $0)...] } ?? asked[...])
        let alias = model.hasSuffix("-latest") ? model.dropLast(7) : model
        let name = bare(served[...])
        guard name.hasPrefix(alias) else { return false }
        let rest = name.dropFirst(alias.count)
        if rest.isEmpty || rest == "-latest" { return true }
        guard rest.first == "-" || rest.first == "@" else { return false }
        return rest.dropFirst().allSatisfy { $0.isASCII && ($0.isNumber || $0 == "-") }
    }
}
