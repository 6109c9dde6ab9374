import Ledger

/// Whose usage export a file is: it says how its columns are called.
public enum UsageProvider: String, Sendable, CaseIterable {
    case openai, anthropic, gemini, xai

    /// The columns that are understood, the first that a file has counts.
    ///
    /// `date, model, requests, input_tokens, …` is the plain form, for providers whose consoles export no table by model and day. OpenAI's are
    /// those of its usage export and API ("Usage", completions), Anthropic's those of its console's usage export.
    fileprivate func names(of column: UsageColumn) -> [String] {
        switch (column, self) {
        case (.day, .openai): ["start_time_iso", "start_time", "date"]
        case (.day, .anthropic): ["usage_date_utc", "date"]
        case (.day, _): ["date"]
        case (.model, .anthropic): ["model_version", "model"]
        case (.model, _): ["model"]
        case (.requests, .openai): ["num_model_requests", "requests"]
        case (.requests, _): ["requests"]
        // Without what was read from a cache or written to one.
        case (.freshInput, .anthropic): ["usage_input_tokens_no_cache"]
        case (.freshInput, _): []
        case (.input, _): ["input_tokens", "prompt_tokens"]
        case (.cached, .openai): ["input_cached_tokens", "cached_tokens"]
        case (.cached, .anthropic): ["usage_input_tokens_cache_read", "cached_tokens"]
        case (.cached, _): ["cached_tokens"]
        case (.cacheWrite, .anthropic): ["usage_input_tokens_cache_write_5m", "cache_write_tokens"]
        case (.cacheWrite, _): ["cache_write_tokens"]
        case (.cacheWriteHour, .anthropic): ["usage_input_tokens_cache_write_1h", "cache_write_1h_tokens"]
        case (.cacheWriteHour, _): ["cache_write_1h_tokens"]
        case (.output, .anthropic): ["usage_output_tokens", "output_tokens", "completion_tokens"]
        case (.output, _): ["output_tokens", "completion_tokens"]
        }
    }
}

private enum UsageColumn: CaseIterable {
    case day, model, requests, freshInput, input, cached, cacheWrite, cacheWriteHour, output
}

/// What a provider says, or we say, was used of a model on a UTC day. Counts saturate.
public struct UsageTally: Hashable, Sendable {
    /// nil: not said.
    public var requests: Int64?
    /// All prompt tokens, cached ones and those written to a cache included.
    public var prompt: Int64 = 0
    public var cached: Int64 = 0
    public var completion: Int64 = 0

    public init(requests: Int64? = nil, prompt: Int64 = 0, cached: Int64 = 0, completion: Int64 = 0) {
        self.requests = requests
        self.prompt = prompt
        self.cached = cached
        self.completion = completion
    }

    mutating func add(_ other: UsageTally) {
        if let more = other.requests { requests = UsageDay.sum(requests ?? 0, more) }
        prompt = UsageDay.sum(prompt, other.prompt)
        cached = UsageDay.sum(cached, other.cached)
        completion = UsageDay.sum(completion, other.completion)
    }
}

/// A day and a model, as the provider calls it.
public struct UsageKey: Hashable, Comparable, Sendable {
    public let day: Int64
    public let model: String

    public init(day: Int64, model: String) {
        self.day = day
        self.model = model
    }

    public static func < (left: UsageKey, right: UsageKey) -> Bool {
        (left.day, left.model) < (right.day, right.model)
    }
}

/// A provider's usage export, added up by day and model.
public struct ProviderUsage: Sendable {
    public private(set) var tallies: [UsageKey: UsageTally] = [:]
    /// Rows that name no model and count something: they can be compared with nothing.
    public private(set) var unnamed = UsageTally()
    public private(set) var unnamedRows: Int64 = 0
    /// Whether the file has a count of requests, and of cached tokens.
    public let countsRequests: Bool
    public let countsCached: Bool

    /// Reads an export; throws where it has not the columns of the provider, or a cell that cannot be read.
    public init(_ bytes: [UInt8], from provider: UsageProvider) throws(CSVReader.Problem) {
        var reader = try CSVReader(bytes)
        var places: [UsageColumn: Int] = [:]
        for column in UsageColumn.allCases {
            for name in provider.names(of: column) where places[column] == nil {
                places[column] = reader.columns.firstIndex(of: name)
            }
        }
        for (column, isThere) in [
            (UsageColumn.day, places[.day] != nil), (.model, places[.model] != nil),
            (.input, places[.input] != nil || places[.freshInput] != nil), (.output, places[.output] != nil),
        ] where !isThere {
            let names = provider.names(of: column).joined(separator: "' or '")
            throw CSVReader.Problem(line: 1, what: "there is no column '\(names)'")
        }
        countsRequests = places[.requests] != nil
        countsCached = places[.cached] != nil
        while let cells = try reader.next() {
            let line = reader.rowLine
            func figure(_ column: UsageColumn) throws(CSVReader.Problem) -> Int64 {
                guard let place = places[column], !cells[place].isEmpty else { return 0 }
                // Some programs write whole numbers with decimals.
                guard let value = Decimal64.parse(cells[place], fractionDigits: 0), value >= 0 else {
                    throw CSVReader.Problem(line: line, what: "'\(cells[place])' is no count")
                }
                return value
            }
            func text(_ column: UsageColumn) -> String { places[column].map { cells[$0] } ?? "" }
            guard let day = Self.day(text(.day)) ?? (text(.model).isEmpty ? 0 : nil) else {
                throw CSVReader.Problem(line: line, what: "'\(text(.day))' is no day")
            }
            let (cached, write, writeHour) = (
                try figure(.cached), try figure(.cacheWrite), try figure(.cacheWriteHour)
            )
            var prompt = try figure(.input)
            if places[.freshInput] != nil {
                prompt = UsageDay.sum(
                    UsageDay.sum(try figure(.freshInput), cached), UsageDay.sum(write, writeHour))
            }
            let tally = UsageTally(
                requests: countsRequests ? try figure(.requests) : nil, prompt: prompt, cached: cached,
                completion: try figure(.output))
            if text(.model).isEmpty {
                // A day without use has such a row in some exports.
                guard tally.prompt != 0 || tally.completion != 0 || tally.requests ?? 0 != 0 else { continue }
                unnamed.add(tally)
                unnamedRows += 1
                continue
            }
            tallies[UsageKey(day: day, model: text(.model)), default: UsageTally()].add(tally)
        }
        // A file that was cut off, or of another period, agrees with nothing.
        guard !tallies.isEmpty else {
            throw CSVReader.Problem(line: reader.rowLine, what: "no row behind the head names a model")
        }
    }

    /// A date, an instant in ISO 8601, or seconds since 1970.
    private static func day(_ text: String) -> Int64? {
        // Seconds have had ten digits since 2001: fewer, or a sign, are something else.
        if text.utf8.count == 10, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let seconds = Int64(text) {
            return Timestamp(seconds: seconds)?.utcDay
        }
        return Timestamp(iso8601: text.replacing(" ", with: "T"))?.utcDay
    }
}
