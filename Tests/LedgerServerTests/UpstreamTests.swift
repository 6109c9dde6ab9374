import AsyncHTTPClient
import Foundation
import HTTPTypes
import Ledger
import Logging
import Metering
import NIOCore
import NIOHTTP1
import Requests
import Testing

@testable import LedgerServer

@Suite("A circuit")
struct CircuitTests {
    private let start = ContinuousClock.now

    private func after(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }

    @Test(
        "it opens after so many failures in a row, lets one try when its time is over, and closes when that is answered"
    )
    func course() {
        let circuit = Circuit(threshold: 3, openFor: .seconds(30))
        // A success in between begins the count again.
        for result in [Circuit.Result.dead, .dead, .alive, .dead, .dead] {
            #expect(circuit.enter(at: start))
            circuit.note(result, of: .someone(), at: start)
        }
        #expect(circuit.closedFor(at: start) == nil)
        circuit.note(.dead, of: .someone(), at: start)
        #expect(circuit.closedFor(at: after(10)) == .seconds(20))
        #expect(!circuit.enter(at: after(29)))
        // One tries; another must not.
        #expect(circuit.enter(at: after(30)) && !circuit.enter(at: after(30)))
        #expect(circuit.closedFor(at: after(30)) == .seconds(1))
        circuit.note(.dead, of: .someone(), at: after(31))
        #expect(circuit.closedFor(at: after(31)) == .seconds(30) && !circuit.enter(at: after(60)))
        // A try that is given up leaves room for the next.
        #expect(circuit.enter(at: after(61)))
        circuit.note(.unknown, of: .someone(), at: after(62))
        #expect(circuit.enter(at: after(62)))
        circuit.note(.alive, of: .someone(), at: after(63))
        #expect(circuit.closedFor(at: after(63)) == nil)
    }

    @Test("what was under way when it opened neither opens it for longer nor closes it unless it is answered")
    func late() {
        let circuit = Circuit(threshold: 1, openFor: .seconds(30))
        circuit.note(.dead, of: .someone(), at: start)
        #expect(circuit.enter(at: start) && circuit.enter(at: start) && circuit.enter(at: start))
        circuit.note(.dead, of: .someone(), at: start)
        circuit.note(.dead, of: .someone(), at: after(20))
        #expect(circuit.closedFor(at: after(20)) == .seconds(10))
        circuit.note(.alive, of: .someone(), at: after(21))
        #expect(circuit.enter(at: after(21)))
    }

    @Test("a try that takes its time does not keep others away for longer than the circuit is open")
    func slow() {
        let circuit = Circuit(threshold: 1, openFor: .seconds(30))
        for _ in 0..<2 { circuit.note(.dead, of: .someone(), at: start) }
        #expect(circuit.enter(at: after(30)) && !circuit.enter(at: after(59)))
        #expect(circuit.closedFor(at: after(60)) == nil && circuit.enter(at: after(60)))
        #expect(!circuit.enter(at: after(61)))
    }

    @Test("an account's own failures never open it, however many, and those of several do")
    func ofOneAccount() throws {
        let circuit = Circuit(threshold: 5, openFor: .seconds(30))
        let (one, other) = (AccountID.someone(), AccountID.someone())
        for _ in 0..<1000 { circuit.note(.dead, of: one, at: start) }
        #expect(circuit.closedFor(at: start) == nil)
        circuit.note(.dead, of: other, at: start)
        #expect(circuit.closedFor(at: start) == nil, "one of the other's is not enough")
        circuit.note(.dead, of: other, at: start)
        #expect(circuit.closedFor(at: start) == .seconds(30))
    }

    @Test("a threshold of zero never opens")
    func never() {
        let circuit = Circuit(threshold: 0, openFor: .seconds(30))
        for _ in 0..<100 { circuit.note(.dead, of: .someone(), at: start) }
        #expect(circuit.enter(at: start) && circuit.closedFor(at: start) == nil)
    }
}

extension AccountID {
    /// Another account each time.
    static func someone() -> AccountID { AccountID(rawValue: UUID().uuidString) ?? .prices }
}

@Suite("Exposure")
struct ExposureTests {
    @Test("an account that has requests ended by our bounds again and again waits; others do not")
    func slowed() throws {
        let data =
            #"{"request":"r","model":"up:served","endpoint":"e","prompt_bound":100,"output_bound":1000,"wanted_output":1000,"price":{"version":1,"input":1,"output":1},"micro_credits_per_usd":10000000,"amount":7}"#
        guard case .holdPlaced(let hold) = try LedgerEvent(type: "hold_placed.v1", data: Array(data.utf8)) else {
            return
        }
        let exposure = Exposure(perHour: 3, logger: Logger(label: "test"))
        let (one, other) = (AccountID.someone(), AccountID.someone())
        let start = ContinuousClock.now
        for minute in 0..<3 {
            #expect(exposure.delay(for: one, at: "up", now: start + .seconds(60 * minute)) == nil)
            exposure.noteUnbilled(hold, of: one, .timeout, isAccounts: true, at: start + .seconds(60 * minute))
            // What is not its doing does not count against it.
            exposure.noteUnbilled(hold, of: other, .shutdown, isAccounts: false, at: start)
        }
        #expect(exposure.delay(for: one, at: "up", now: start + .seconds(180)) == .seconds(3600 - 180))
        #expect(exposure.delay(for: other, at: "up", now: start + .seconds(180)) == nil)
        // When the first of the three is an hour old, the next may come.
        #expect(exposure.delay(for: one, at: "up", now: start + .seconds(3600)) == nil)
        let never = Exposure(perHour: 0, logger: Logger(label: "test"))
        for _ in 0..<100 { never.noteUnbilled(hold, of: one, .timeout, isAccounts: true, at: start) }
        #expect(never.delay(for: one, at: "up", now: start) == nil)
    }
}

@Suite("Trying again")
struct AttemptTests {
    @Test("waits grow, vary by half, and are bounded; what the provider demands is honoured or not waited for")
    func pauses() {
        let bound = Duration.seconds(10)
        for number in [1, 2, 3, 4, 5, 6, 20, 1000] {
            let most = Attempts.pause(try: number, retryAfter: nil, longest: bound, jitter: 1000) ?? .zero
            let least = Attempts.pause(try: number, retryAfter: nil, longest: bound, jitter: 0) ?? .zero
            #expect(most == min(.milliseconds(250 << min(number - 1, 8)), bound))
            #expect(least == most / 2)
        }
        #expect(Attempts.pause(try: 1, retryAfter: .seconds(7), longest: bound, jitter: 0) == .seconds(7))
        #expect(Attempts.pause(try: 1, retryAfter: .seconds(10), longest: bound, jitter: 0) == .seconds(10))
        #expect(Attempts.pause(try: 1, retryAfter: .milliseconds(10_001), longest: bound, jitter: 0) == nil)
        #expect(Attempts.pause(try: 1, retryAfter: .zero, longest: bound, jitter: 0) == .milliseconds(125))
        #expect(Attempts.pause(try: 9, retryAfter: nil, longest: .zero, jitter: 1000) == .zero)
    }
}

@Suite("What a provider refuses")
struct UpstreamFailureTests {
    /// An error answer, and what becomes of it.
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let status: Int
        var headers: [String: String] = [:]
        let body: String
        let told: Int
        let code: String
        let message: String
        var retryAfter: String?
        var isPassing = false
        var allowsFallback = false
        var meansDead = false
    }

    private static let credentials = "The provider refused the gateway's credentials; ask the operator"

    private static let cases: [Case] = [
        Case(
            testDescription: "OpenAI's shape passes", status: 400,
            body:
                #"{"error":{"message":"No such tool","type":"invalid_request_error","param":"tools","code":"bad_tool"}}"#,
            told: 400, code: "bad_tool", message: "No such tool"),
        Case(
            testDescription: "Anthropic's shape", status: 404,
            body: #"{"type":"error","error":{"type":"not_found_error","message":"model: x"}}"#, told: 404,
            code: "upstream_rejected", message: "model: x"),
        Case(
            testDescription: "Gemini's rate limit has its delay in the body", status: 429,
            body:
                #"[{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.4s"}]}}]"#,
            told: 429, code: "resource_exhausted", message: "Quota", retryAfter: "35", isPassing: true,
            allowsFallback: true),
        Case(
            testDescription: "milliseconds win over seconds, and are told in both", status: 429,
            headers: ["retry-after": "9", "retry-after-ms": "1500"], body: "{}", told: 429, code: "rate_limit_exceeded",
            message: "The provider limits the rate", retryAfter: "2", isPassing: true, allowsFallback: true),
        Case(
            testDescription: "a date is for the client", status: 503,
            headers: ["retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"], body: "busy", told: 503,
            code: "upstream_overloaded", message: "The provider is overloaded",
            retryAfter: "Wed, 21 Oct 2026 07:28:00 GMT", isPassing: true, allowsFallback: true, meansDead: true),
        Case(
            testDescription: "Anthropic's overload", status: 529,
            body: #"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, told: 503,
            code: "upstream_overloaded", message: "Overloaded", isPassing: true, allowsFallback: true),
        Case(
            testDescription: "who says that it is overloaded lives", status: 503,
            body: #"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#, told: 503,
            code: "unavailable", message: "The model is overloaded.", isPassing: true, allowsFallback: true),
        Case(
            testDescription: "OpenAI's empty account is the operator's", status: 429,
            body: #"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#, told: 502,
            code: "upstream_credentials", message: credentials, allowsFallback: true),
        Case(
            testDescription: "what the provider itself says is of no use is not tried again", status: 500,
            headers: ["x-should-retry": "false"], body: "{}", told: 502, code: "upstream_error",
            message: "The provider failed", allowsFallback: true),
        Case(
            testDescription: "a 500 may be this request's own", status: 500, body: #"{"error":"boom"}"#, told: 502,
            code: "upstream_error", message: "boom", isPassing: true, allowsFallback: true),
        Case(
            testDescription: "our key is none of the client's business", status: 401,
            body: #"{"error":{"message":"Incorrect API key provided: sk-secret-7"}}"#, told: 502,
            code: "upstream_credentials", message: credentials, allowsFallback: true),
        Case(
            testDescription: "Gemini refuses a key by a 400", status: 400,
            body:
                #"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
            told: 502, code: "upstream_credentials", message: credentials, allowsFallback: true),
        Case(
            testDescription: "Anthropic refuses an empty account by a 400", status: 400,
            body:
                #"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}}"#,
            told: 502, code: "upstream_credentials", message: credentials, allowsFallback: true),
        Case(
            testDescription: "a message never quotes our key", status: 422,
            body: #"{"error":{"message":"bad header x-api-key: sk-secret-7!"}}"#, told: 422, code: "upstream_rejected",
            message: "bad header x-api-key: [key]!"),
        Case(
            testDescription: "nor does anything else of it", status: 422,
            body: #"{"error":{"message":"m","code":"sk-secret-7","type":"sk-secret-7","param":"sk-secret-7"}}"#,
            told: 422, code: "[key]", message: "m"),
        Case(
            testDescription: "a page", status: 502, body: "<html>", told: 502, code: "upstream_error",
            message: "The provider failed", isPassing: true, allowsFallback: true, meansDead: true),
        Case(
            testDescription: "absurd delays", status: 429, headers: ["retry-after": "99999999999999999999"],
            body: #"{"error":{"details":[{"retryDelay":"-5s"},{"retryDelay":"xs"},{"retryDelay":7}]}}"#, told: 429,
            code: "rate_limit_exceeded", message: "The provider limits the rate",
            retryAfter: "99999999999999999999", isPassing: true, allowsFallback: true),
    ]

    @Test("errors of every shape", arguments: cases)
    func mapped(example: Case) {
        let response = HTTPClientResponse(
            status: HTTPResponseStatus(statusCode: example.status),
            headers: HTTPHeaders(example.headers.map { ($0, $1) }))
        let failure = UpstreamFailure.refused(response, body: Array(example.body.utf8), secret: "sk-secret-7")
        let error = failure.error
        #expect(error.status.code == example.told && error.code == example.code && error.message == example.message)
        #expect(error.headers[.retryAfter] == example.retryAfter)
        #expect(failure.isPassing == example.isPassing)
        #expect(failure.allowsFallback == example.allowsFallback)
        #expect(failure.meansDead == example.meansDead)
        #expect(!String(decoding: error.openAIBody, as: UTF8.self).contains("sk-secret"))
    }
}

@Suite("What a provider is sent")
struct UpstreamCallTests {
    /// A request by a route to a provider of a kind, and where it goes.
    struct Case: Sendable, CustomTestStringConvertible {
        let provider: String
        let endpoint: Endpoint
        let more: String
        let path: String
        let headers: [String]
        let body: String

        var testDescription: String { "\(endpoint) to \(provider)" }
    }

    private static let hi = #""messages":[{"role":"user","content":"hi"}]"#

    private static let cases: [Case] = [
        Case(
            provider: "openai", endpoint: .chat, more: "\(hi)", path: "/chat/completions",
            headers: ["authorization: Bearer k"], body: #"{"model":"m/1x?",\#(hi),"max_completion_tokens":99}"#),
        Case(
            provider: "xai", endpoint: .responses, more: #""input":"hi""#, path: "/responses",
            headers: ["authorization: Bearer k"],
            body: #"{"model":"m/1x?","input":"hi","max_output_tokens":99}"#),
        Case(
            provider: "openai", endpoint: .embeddings, more: #""input":["a","b"]"#, path: "/embeddings",
            headers: ["authorization: Bearer k"], body: #"{"model":"m/1x?","input":["a","b"]}"#),
        Case(
            provider: "anthropic", endpoint: .messages, more: #""max_tokens":5,\#(hi)"#, path: "/messages",
            headers: [
                "x-api-key: k", "anthropic-version: 2023-06-01",
                "anthropic-beta: context-management-2025-06-27,effort-2025-11-24",
            ],
            body: #"{"model":"m/1x?","max_tokens":5,\#(hi)}"#),
        Case(
            provider: "anthropic", endpoint: .chat, more: hi, path: "/messages",
            headers: ["x-api-key: k", "anthropic-version: 2023-06-01"],
            body:
                #"{"model":"m/1x?","max_tokens":99,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#
        ),
        Case(
            provider: "gemini", endpoint: .chat, more: hi, path: "/models/m%2F1x%3F:generateContent",
            headers: ["x-goog-api-key: k"],
            body: #"{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":99}}"#),
        Case(
            provider: "gemini", endpoint: .chat, more: #""stream":true,\#(hi)"#,
            path: "/models/m%2F1x%3F:streamGenerateContent?alt=sse", headers: ["x-goog-api-key: k"],
            body: #"{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":99}}"#),
        Case(
            provider: "azure", endpoint: .chat, more: hi,
            path: "/openai/deployments/m%2F1x%3F/chat/completions?api-version=2024-10-21", headers: ["api-key: k"],
            body: #"{"model":"m/1x?",\#(hi),"max_completion_tokens":99}"#),
        Case(
            provider: "azure", endpoint: .responses, more: #""input":"hi""#,
            path: "/openai/responses?api-version=2024-10-21", headers: ["api-key: k"],
            body: #"{"model":"m/1x?","input":"hi","max_output_tokens":99}"#),
    ]

    private static let configuration = """
        master_key: 12345678
        providers:
          openai: {api_key: k}
          xai: {api_key: k}
          anthropic: {api_key: k}
          gemini: {api_key: k}
          azure: {api_key: k, api_base: "https://x.openai.azure.com", api_version: 2024-10-21}
        """

    @Test("path, credential and body", arguments: cases)
    func call(example: Case) throws {
        let configuration = try ServerConfiguration(yaml: Self.configuration, environment: [:])
        let provider = try #require(configuration.providers[example.provider])
        #expect(UpstreamCall.supports(example.endpoint, provider.kind))
        let request = try ModelRequest(
            Array(#"{"model":"p:m",\#(example.more)}"#.utf8), endpoint: example.endpoint,
            for: provider, configuration.defaultModel, model: "m/1x?")
        let id = try #require(RequestID(rawValue: "r"))
        let call = try UpstreamCall(
            request, to: provider, model: "m/1x?", outputBound: 99, id: id,
            headers: [
                .anthropicVersion: "2024-01-01",
                .anthropicBeta:
                    "context-management-2025-06-27, context-1m-2025-08-07,fast-mode-2026-02-01 ,effort-2025-11-24",
            ])
        #expect(call.path == example.path)
        #expect(call.headers.map { "\($0.name): \($0.value)" } == example.headers)
        #expect(String(decoding: call.body, as: UTF8.self) == example.body)
    }

    @Test("each provider's own rule for usage")
    func shapes() throws {
        let expected: [(String, AnswerShape)] = [
            ("openai", .chat(.standard)), ("xai", .chat(.reasoningBeside)), ("gemini-openai", .chat(.restOfTotal)),
            ("anthropic", .messages), ("gemini", .gemini), ("azure", .chat(.standard)),
        ]
        for (kind, shape) in expected {
            let yaml = "master_key: 12345678\nproviders: {p: {kind: \(kind), api_key: k, api_base: \"http://h/v1\"}}"
            let configuration = try ServerConfiguration(yaml: yaml, environment: [:])
            let provider = try #require(configuration.providers["p"])
            let request = try ModelRequest(
                Array(#"{"model":"p:m",\#(Self.hi)}"#.utf8), endpoint: .chat, for: provider,
                configuration.defaultModel, model: "m")
            let call = try UpstreamCall(
                request, to: provider, model: "m", outputBound: 9,
                id: try #require(RequestID(rawValue: "r")), headers: [:])
            #expect(call.format.shape == shape)
        }
    }

    @Test("what cannot be translated is a 400 that names it")
    func untranslatable() throws {
        let configuration = try ServerConfiguration(yaml: Self.configuration, environment: [:])
        let provider = try #require(configuration.providers["anthropic"])
        func read(_ more: String) throws -> ModelRequest {
            try ModelRequest(
                Array(#"{"model":"p:m",\#(more),\#(Self.hi)}"#.utf8), endpoint: .chat, for: provider,
                configuration.defaultModel, model: "m")
        }
        let known = #expect(throws: GatewayError.self) { try read(#""n":2"#) }
        #expect(known?.status == .badRequest && known?.code == "unsupported_parameter" && known?.param == "n")
        let unknown = #expect(throws: GatewayError.self) { try read(#""nn":2"#) }
        #expect(unknown?.status == .badRequest && unknown?.code == "unsupported_parameter" && unknown?.param == "nn")
        let request = try read(#""temperature":1.5"#)
        let error = #expect(throws: GatewayError.self) {
            try UpstreamCall(
                request, to: provider, model: "m", outputBound: 9, id: try #require(RequestID(rawValue: "r")),
                headers: [:])
        }
        #expect(error?.status == .badRequest && error?.code == "unsupported_parameter" && error?.param == "temperature")
    }
}

@Suite("Providers in the configuration")
struct ProviderConfigurationTests {
    private static func providers(
        _ yaml: String, _ environment: [String: String] = [:]
    ) throws -> [String: ProviderConfiguration] {
        try ServerConfiguration(yaml: "master_key: 12345678\nproviders:\n  " + yaml, environment: environment).providers
    }

    @Test(
        "names, bases and kinds",
        arguments: [
            ("gemini: {api_key: k}", .gemini, "https://generativelanguage.googleapis.com/v1beta"),
            (
                "gemini: {api_key: k, api_base: \"https://generativelanguage.googleapis.com/\"}", .gemini,
                "https://generativelanguage.googleapis.com/v1beta"
            ),
            (
                "gemini: {api_key: k, api_base: \"https://generativelanguage.googleapis.com/v1beta/openai/\"}",
                .geminiOpenAI, "https://generativelanguage.googleapis.com/v1beta/openai"
            ),
            ("anthropic: {api_key: k}", .anthropic, "https://api.anthropic.com/v1"),
            (
                "anthropic: {api_key: k, api_base: \"https://api.anthropic.com\"}", .anthropic,
                "https://api.anthropic.com/v1"
            ),
            ("anthropic: {api_key: k, kind: openai, api_base: \"http://h\"}", .openai, "http://h"),
            ("xai: {api_key: k}", .xai, "https://api.x.ai/v1"),
            ("groq: {api_key: k}", .openai, "https://api.groq.com/openai/v1"),
            ("mine: {api_key: k, kind: xai, api_base: \"http://h/v1\"}", .xai, "http://h/v1"),
        ] as [(String, ProviderConfiguration.Kind, String)])
    func kinds(yaml: String, kind: ProviderConfiguration.Kind, base: String) throws {
        let provider = try #require(try Self.providers(yaml).values.first)
        #expect(provider.kind == kind && provider.apiBase == base)
    }

    @Test("a key comes from the file, from another file, or from the environment")
    func secrets() throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "secret-\(UUID().uuidString)")
        try "from-a-file\n".write(to: file, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(at: file) }
        #expect(try Self.providers("xai: {api_key_file: \"\(file.path)\"}")["xai"]?.apiKey == "from-a-file")
        #expect(try Self.providers("xai: {}", ["XAI_API_KEY": "from-there"])["xai"]?.apiKey == "from-there")
        #expect(try Self.providers("xai: {api_key: own}", ["XAI_API_KEY": "from-there"])["xai"]?.apiKey == "own")
        let master = try ServerConfiguration(yaml: "master_key_file: \"\(file.path)\"", environment: [:])
        #expect(master.hasMasterKey("from-a-file"))
        let variable = try ServerConfiguration(yaml: "{}", environment: ["GATEWAY_MASTER_KEY_FILE": file.path])
        #expect(variable.hasMasterKey("from-a-file"))
        for (yaml, key) in [
            ("xai: {api_key: a, api_key_file: \"\(file.path)\"}", "api_key_file"),
            ("xai: {api_key_file: /nowhere/at/all}", "api_key_file"),
            ("xai: {api_key_file: /dev/null}", "api_key_file"),
            ("xai: {}", "XAI_API_KEY"), ("xai: {api_key: k, api_version: 1}", "api_version"),
            ("azure: {api_key: k, api_base: \"http://h\", api_version: \"1/../2\"}", "api_version"),
        ] {
            let error = #expect(throws: ConfigurationError.self) { try Self.providers(yaml) }
            #expect(error?.description.contains(key) == true, "\(error?.description ?? "")")
        }
    }

    @Test("the default prices are there for the providers that are configured, and the file wins over them")
    func defaultPrices() throws {
        let yaml = "master_key: 12345678\nproviders: {gemini: {api_key: k}, anthropic: {api_key: k}}\n"
        let plain = try ServerConfiguration(yaml: yaml, environment: [:]).pricing
        #expect(plain.count == 5 && plain["xai:grok-3"] == nil)
        let flash = try #require(plain["gemini:gemini-2.5-flash"])
        #expect((flash.rates.input, flash.rates.output, flash.rates.cached) == (150_000, 600_000, 40_000))
        #expect(flash.rates.modal == ModalRates(audio: 1_000_000, audioCached: 100_000) && flash.longContext == nil)
        let pro = try #require(plain["gemini:gemini-2.5-pro"])
        #expect((pro.rates.input, pro.rates.output, pro.rates.cached) == (1_250_000, 10_000_000, 310_000))
        #expect(pro.longContext?.above == 200_000 && pro.longContext?.rates.output == 15_000_000)
        #expect(
            plain["anthropic:claude-haiku-4-5-20251001"] == Price(input: 800_000, output: 4_000_000, cached: 80_000))
        let own =
            yaml + "pricing: {\"gemini:gemini-2.5-flash\": {input_price_per_million: 1, output_price_per_million: 2}}\n"
        #expect(
            try ServerConfiguration(yaml: own, environment: [:]).pricing["gemini:gemini-2.5-flash"]
                == Price(input: 1_000_000, output: 2_000_000))
        #expect(try ServerConfiguration(yaml: yaml + "default_pricing: false", environment: [:]).pricing.isEmpty)
    }

    @Test("what parts count is the operator's word, else the family's")
    func media() throws {
        let yaml = """
            master_key: 12345678
            providers: {xai: {api_key: k}}
            models:
              "xai:grok-3": {image_tokens: 100, search_tokens: 9, context_tokens: 1000, refuse_parts: [audio, document]}
            """
        let read = try ServerConfiguration(yaml: yaml, environment: [:])
        let own = read.settings(of: try #require(ModelKey("xai:grok-3")))
        let figures = own.figures(of: "grok-3", isMaker: false)
        #expect(figures.imageTokens == 100 && figures.searchTokens == 9 && figures.contextTokens == 1000)
        #expect(own.refusedParts == [.audio, .document])
        #expect(read.defaultModel.figures(of: "grok-3", isMaker: false).contextTokens == 131_072)
        #expect(read.defaultModel.figures(of: "mine", isMaker: false).contextTokens == nil)
        for wrong in ["refuse_parts: [text]", "refuse_parts: [pictures]", "context_tokens: 0"] {
            #expect(throws: ConfigurationError.self) {
                try ServerConfiguration(
                    yaml: "master_key: 12345678\nproviders: {xai: {api_key: k}}\nmodels: {\"xai:a\": {\(wrong)}}",
                    environment: [:])
            }
        }
    }

    @Test("what no table knows passes at one's own machine only, unless the operator says otherwise")
    func unknownMembers() throws {
        for (yaml, passes) in [
            ("openai: {api_key: k}", false), ("groq: {api_key: k}", false), ("anthropic: {api_key: k}", false),
            ("mine: {api_key: k, api_base: \"http://h/v1\"}", true),
            ("mine: {api_key: k, api_base: \"https://api.openai.com/v1\"}", false),
            ("mine: {api_key: k, api_base: \"https://openrouter.ai/api/v1\"}", false),
            ("mine: {api_key: k, api_base: \"https://eu.api.openai.com/v1\"}", false),
            ("mine: {api_key: k, api_base: \"https://API.OpenAI.com./v1\"}", false),
            ("mine: {api_key: k, api_base: \"https://api.together.ai/v1\"}", false),
            ("deepseek: {api_key: k, api_base: \"https://api.deepseek.com\"}", false),
            ("mine: {api_key: k, api_base: \"https://notopenrouter.ai/api/v1\"}", true),
            ("mine: {api_key: k, kind: xai, api_base: \"http://h/v1\"}", false),
            ("mine: {api_key: k, api_base: \"http://h/v1\", unknown_members: refuse}", false),
            ("openai: {api_key: k, unknown_members: pass, allow: [x, messages.y]}", true),
        ] {
            let provider = try #require(try Self.providers(yaml).values.first)
            #expect(provider.passesUnknownMembers == passes, "\(yaml)")
        }
        #expect(throws: ConfigurationError.self) { try Self.providers("openai: {api_key: k, unknown_members: maybe}") }
        #expect(throws: ConfigurationError.self) { try Self.providers("openai: {api_key: k, allow: [model]}") }
    }

    @Test("the examples are read without a warning", arguments: ["gateway", "login", "providers", "billing"])
    func examples(name: String) throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../examples")
        let key = FileManager.default.temporaryDirectory.appending(path: "key-\(UUID().uuidString)")
        try "k".write(to: key, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(at: key) }
        let environment = [
            "GATEWAY_MASTER_KEY": "0123456789abcdef0123456789abcdef", "GEMINI_API_KEY": "k", "XAI_API_KEY": "k",
            "OPENAI_API_KEY": "k", "ANTHROPIC_KEY_FILE": key.path,
            "BILLING_KEY": "0123456789abcdef0123456789abcde1", "AUDITOR_KEY": "0123456789abcdef0123456789abcde2",
            "GATEWAY_JWT_SECRET": "0123456789abcdef0123456789abcde3", "GOOGLE_CLIENT_ID": "c",
            "GOOGLE_CLIENT_SECRET": "s", "DISCORD_CLIENT_ID": "c", "DISCORD_CLIENT_SECRET": "s",
            "LEMONSQUEEZY_SECRET": "shop-secret", "NOTICES_SECRET": "0123456789abcdef",
        ]
        let yaml = try String(contentsOf: folder.appending(path: name + ".yaml"), encoding: .utf8)
        let read = try ServerConfiguration(yaml: yaml, environment: environment)
        #expect(read.warnings.isEmpty && !read.pricing.isEmpty)
    }

    @Test("fallbacks are other models of providers that are configured")
    func fallbacks() throws {
        let yaml =
            "master_key: 12345678\nproviders: {xai: {api_key: k}, gemini: {api_key: k}}\nmodels: {\"xai:a\": {fallbacks: "
        let read = try ServerConfiguration(yaml: yaml + "[\"xai:b\", \"gemini:c\"]}}", environment: [:])
        let model = try #require(ModelKey("xai:a"))
        #expect(read.settings(of: model).fallbacks.map(\.description) == ["xai:b", "gemini:c"])
        for list in ["[\"xai:a\"]", "[\"openai:x\"]", "[\"xai:b\", \"xai:b\"]", "[b]", "{a: b}", "[[\"xai:b\"]]"] {
            let error = #expect(throws: ConfigurationError.self) {
                try ServerConfiguration(yaml: yaml + list + "}}", environment: [:])
            }
            #expect(error?.description.contains("models.xai:a.fallbacks") == true)
        }
    }
}
