import Foundation
import Ledger
import Metering
import Testing

@testable import LedgerServer

@Suite("A chat request")
struct ModelRequestTests {
    /// Reads a request for a model of a provider: by default one's own machine, of which nothing is known.
    static func read(
        _ body: String, _ endpoint: Endpoint = .chat, to provider: String = "kind: openai, api_base: \"http://h/v1\"",
        window: Int? = nil, model: String = "m"
    ) throws -> ModelRequest {
        let yaml = "master_key: 12345678\nproviders: {p: {api_key: k, \(provider)}}"
        let configuration = try ServerConfiguration(yaml: yaml, environment: [:])
        var settings = configuration.defaultModel
        settings.contextTokens = window
        let provider = try #require(configuration.providers["p"])
        return try ModelRequest(Array(body.utf8), endpoint: endpoint, for: provider, settings, model: model)
    }

    static func upstream(_ body: String, bound: Int64? = nil) throws -> String {
        let chat = try read(body)
        return String(
            decoding: chat.upstreamBody(model: "m", outputBound: bound, boundFields: ["max_tokens"]), as: UTF8.self)
    }

    @Test(
        "only what must be exchanged is; every other byte stays",
        arguments: [
            (#"{"model":"up:m","messages":[]}"#, nil, #"{"model":"m","messages":[]}"#),
            (
                #"{ "messages" : [ ] , "x":1.50e0, "model" : "up:m" }"#, nil,
                #"{ "messages" : [ ] , "x":1.50e0, "model" : "m" }"#
            ),
            (#"{"model":"up:m","messages":[]}"#, 256, #"{"model":"m","messages":[],"max_tokens":256}"#),
            (
                #"{"model":"up:m","max_tokens":null,"messages":[]}"#, 256,
                #"{"model":"m","max_tokens":256,"messages":[]}"#
            ),
            (
                #"{"model":"up:m","messages":[],"stream":true}"#, nil,
                #"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#
            ),
            (
                #"{"model":"up:m","messages":[],"stream":true,"stream_options":{}}"#, nil,
                #"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#
            ),
            (
                #"{"model":"up:m","messages":[],"stream":true,"stream_options":{"other":1}}"#, nil,
                #"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true,"other":1}}"#
            ),
            (
                #"{"model":"up:m","messages":[],"stream":true,"stream_options":{"include_usage":false,"other":1}}"#,
                nil,
                #"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true,"other":1}}"#
            ),
            (
                #"{"model":"up:m","messages":[],"stream":true,"stream_options":null}"#, nil,
                #"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#
            ),
            (
                #"{"model":"up:m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#, nil,
                #"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#
            ),
            (#"{"mod\u0065l":"up:\u006d","messages":[]}"#, nil, #"{"mod\u0065l":"m","messages":[]}"#),
        ] as [(String, Int64?, String)])
    func edits(body: String, bound: Int64?, expected: String) throws {
        #expect(try Self.upstream(body, bound: bound) == expected)
    }

    @Test(
        "what cannot be understood is refused",
        arguments: [
            "", "[]", "null", "{", #"{"model":"a:b"}"#, #"{"messages":[]}"#, #"{"model":1,"messages":[]}"#,
            #"{"model":"a:b","messages":{}}"#,
            #"{"model":"a:b","model":"c:d","messages":[]}"#, #"{"model":"a:b","mod\u0065l":"c:d","messages":[]}"#,
            #"{"model":"a:b","messages":[],"max_tokens":0}"#, #"{"model":"a:b","messages":[],"max_tokens":-5}"#,
            #"{"model":"a:b","messages":[],"max_tokens":1.5}"#, #"{"model":"a:b","messages":[],"max_tokens":"9"}"#,
            #"{"model":"a:b","messages":[],"max_tokens":99999999999999999999}"#,
            #"{"model":"a:b","messages":[],"n":0}"#,
            #"{"model":"a:b","messages":[],"n":129}"#, #"{"model":"a:b","messages":[],"stream":"yes"}"#,
            #"{"model":"a:b","messages":[],"stream_options":{"include_usage":true,"include_usage":false}}"#,
            #"{"model":"a:b","messages":[]} x"#, String(repeating: "[", count: 10_000),
            #"{"model":"a:b","messages":"# + String(repeating: "[", count: 200) + String(repeating: "]", count: 200)
                + "}",
        ])
    func refused(body: String) {
        #expect(throws: GatewayError.self) { try Self.read(body) }
    }

    @Test("the prompt's size counts decoded text, and images by their figure")
    func size() throws {
        let escaped = #"{"model":"a:b","messages":[{"role":"user","content":"\u4e16\u754c"}]}"#
        let plain = #"{"model":"a:b","messages":[{"role":"user","content":"世界"}]}"#
        let sizes = try [escaped, plain].map {
            try Self.read($0).size
        }
        #expect(sizes[0] == sizes[1])
        #expect(sizes[0].textBytes >= 6)
        let image = String(repeating: "A", count: 100_000)
        let body =
            #"{"model":"a:b","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,\#(image)"}}]}]}"#
        let size = try Self.read(body, model: "openai/gpt-4o").size
        #expect(size.mediaTokens == 85 + 8 * 170 && size.textBytes < 200)
        // Settings are no prompt; unknown fields may be.
        let more = #"{"model":"a:b","messages":[],"logit_bias":{"a":"\#(image)"},"unknown":"\#(image)"}"#
        let counted = try Self.read(more).size.textBytes
        #expect((100_000..<101_000).contains(counted))
    }

    /// What a bound of the prompt must cover: the model may read it, whatever it is called.
    @Test(
        "nothing hides from the prompt's bound",
        arguments: [
            #"{"role":"assistant","tool_calls":[{"type":"image_url","image_url":1,"function":{"name":"f","arguments":"TEXT"}}]}"#,
            #"{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"},"text":"TEXT"}]}"#,
            #"{"role":"user","content":[{"type":"text","text":"TEXT","image_url":1}]}"#,
            #"{"role":"user","content":[{"type":"text","text":"x","more":[[["TEXT"]]]}]}"#,
            #"{"role":"user","content":[{"type":"document","source":{"type":"text","data":"TEXT"}}]}"#,
            #"{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"TEXT"}]}]}"#,
            #"{"role":"user","content":"TEXT"}"#,
        ])
    func hidden(message: String) throws {
        let text = String(repeating: "x", count: 50_000)
        let body =
            #"{"model":"a:b","messages":[\#(message)],"tools":[{"type":"function","function":{"parameters":{"type":"image_url","image_url":1,"description":"TEXT"}}}]}"#
            .replacingOccurrences(of: "TEXT", with: text)
        let size = try Self.read(body, window: 1_000_000).size
        #expect((size.textBytes > 100_000 && size.tokenBound > 100_000) || size.tokenBound == 1_000_000)
    }

    @Test(
        "a part that is no text has a figure by what it is, and what cannot be known fills the window",
        arguments: [
            (#"{"type":"image_url","image_url":{"url":"https://x"}}"#, nil),
            (
                #"{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"}}"#,
                255
            ),
            (#"{"type":"image_url","image_url":{"url":"data:video/mp4;base64,AAAAIGZ0eXBpc29t"}}"#, nil),
            (#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAAIGZ0eXBpc29t"}}"#, nil),
            (#"{"type":"image_url","image_url":{"url":"data:text/plain;base64,AAAA"}}"#, 1445),
            (#"{"type":"file","file":{"file_data":"data:text/plain;base64,AAAA"}}"#, 0),
            (#"{"type":"image_url","image_url":{"url":"data:application/pdf;base64,JVBERi0xLjc="}}"#, nil),
            (#"{"type":"input_audio","input_audio":{"data":"AAAA","format":"mp3"}}"#, nil),
            (#"{"type":"input_audio","input_audio":{"data":"//MYxAAA","format":"mp3"}}"#, 32),
            (#"{"type":"input_audio","input_audio":{"data":"AAAAIGZ0eXBpc29t","format":"wav"}}"#, nil),
            (#"{"type":"input_file","file_id":"abc"}"#, nil),
            (#"{"type":"video_url","video_url":{"url":"https://x/v.mp4"}}"#, nil),
            (#"{"type":"something_new","x":1}"#, nil),
            (#"{"type":"text","text":"x"}"#, 0),
        ] as [(String, Int64?)])
    func media(part: String, tokens: Int64?) throws {
        let body = #"{"model":"a:b","messages":[{"role":"user","content":[\#(part)]}]}"#
        let size = try Self.read(body, window: 777_777, model: "gpt-4o").size
        if let tokens {
            #expect(size.mediaTokens == tokens && size.tokenBound < 2000)
        } else {
            #expect(size.tokenBound == 777_777)
            let error = #expect(throws: GatewayError.self) { try Self.read(body) }
            #expect(error?.code == "unsupported_parameter" && error?.param?.hasPrefix("messages[0].content[0]") == true)
        }
    }

    @Test("sound is asked for by what a text says, however it is written")
    func modalities() throws {
        for (modalities, isAudio) in [
            (#"["text","audio"]"#, true), (#"["text","\u0061udio"]"#, true), (#"["text"]"#, false),
        ] {
            let body = #"{"model":"a:b","messages":[],"modalities":\#(modalities)}"#
            let request = try Self.read(body, to: "kind: azure, api_base: \"http://h/v1\"", model: "gpt-4o-audio")
            #expect(request.mayBeAudio == isAudio, "\(modalities)")
        }
    }

    @Test("what xAI's models think beyond the bound of a chat is held where nobody says how much")
    func thoughts() throws {
        let yaml = "master_key: 12345678\nproviders: {xai: {api_key: k}, own: {api_key: k, api_base: \"http://h/v1\"}}"
        let providers = try ServerConfiguration(yaml: yaml, environment: [:]).providers
        let (xai, own) = (try #require(providers["xai"]), try #require(providers["own"]))
        #expect(
            xai.reasoningTokens(of: "grok-4-0709", by: .chat) > 0
                && xai.reasoningTokens(of: "grok-3-mini", by: .chat) > 0)
        #expect(xai.reasoningTokens(of: "grok-4-fast-non-reasoning", by: .chat) == 0)
        #expect(
            xai.reasoningTokens(of: "grok-4", by: .responses) == 0 && own.reasoningTokens(of: "grok-4", by: .chat) == 0)
    }

    @Test("no prompt is longer than the model's window")
    func window() throws {
        let text = String(repeating: "世界", count: 50_000)
        let body = #"{"model":"a:b","messages":[{"role":"user","content":"\#(text)"}]}"#
        #expect(try Self.read(body).size.tokenBound > 300_000)
        #expect(try Self.read(body, window: 128_000).size.tokenBound == 128_000)
        // What a name stands for is certain at its maker only.
        #expect(try Self.read(body, model: "gpt-4o").size.tokenBound > 300_000)
        let maker = "kind: openai, api_base: \"https://eu.api.openai.com/v1\""
        #expect(try Self.read(body, to: maker, model: "gpt-4o").size.tokenBound == 128_000)
    }

    @Test("what a client leaves to us is dropped, wherever it stands, and told")
    func dropped() throws {
        let kept = #""model":"a:b","messages":[{"role":"user","content":"hi"}]"#
        for (body, sent) in [
            (#"{"metadata":{"a":1},\#(kept)}"#, #"{\#(kept)}"#), (#"{\#(kept),"metadata":{"a":1}}"#, #"{\#(kept)}"#),
            (#"{\#(kept) , "metadata" : {"a":1} , "seed":7 , "safety_identifier":"x" }"#, #"{\#(kept) }"#),
            (#"{"seed":7,"metadata":{},\#(kept)}"#, #"{\#(kept)}"#),
            (#"{\#(kept),"temperature":0.5}"#, #"{\#(kept),"temperature":0.5}"#),
        ] {
            let request = try Self.read(body, to: "kind: anthropic, api_base: \"http://h/v1\"", model: "claude-3")
            #expect(String(decoding: request.sentBody, as: UTF8.self) == sent)
            #expect((request.dropped == nil) == (body == sent))
        }
    }

    @Test("both bounds reach an upstream of which it is not known which it heeds")
    func bothBounds() throws {
        for (given, sent) in [
            (#""max_tokens":7"#, #""max_tokens":7,"max_completion_tokens":7"#),
            (#""max_completion_tokens":7"#, #""max_completion_tokens":7,"max_tokens":7"#),
            (#""max_tokens":5,"max_completion_tokens":7"#, #""max_tokens":5,"max_completion_tokens":7"#),
            (#""max_tokens":null"#, #""max_tokens":9,"max_completion_tokens":9"#),
        ] {
            let request = try Self.read(#"{"model":"a:b","messages":[],\#(given)}"#)
            let body = request.upstreamBody(
                model: "m", outputBound: request.maxTokens == nil ? 9 : nil, boundFields: Endpoint.chat.boundMembers)
            #expect(String(decoding: body, as: UTF8.self) == #"{"model":"m","messages":[],\#(sent)}"#)
        }
    }

    @Test(
        "a bound is sent under the name that the provider heeds",
        arguments: [
            (
                #"{"model":"u:m","messages":[],"max_completion_tokens":7}"#,
                #"{"model":"m","messages":[],"max_tokens":7}"#
            ),
            (#"{"model":"u:m","max_tokens":7,"messages":[]}"#, #"{"model":"m","max_tokens":7,"messages":[]}"#),
            (
                #"{"model":"u:m","max_tokens":null,"max_completion_tokens":7,"messages":[]}"#,
                #"{"model":"m","max_tokens":7,"max_completion_tokens":7,"messages":[]}"#
            ),
            (
                #"{"model":"u:m","max_tokens":5,"max_completion_tokens":7,"messages":[]}"#,
                #"{"model":"m","max_tokens":5,"max_completion_tokens":7,"messages":[]}"#
            ),
        ])
    func renamed(body: String, expected: String) throws {
        let request = try Self.read(body)
        let sent = request.upstreamBody(model: "m", outputBound: nil, boundFields: ["max_tokens"])
        #expect(String(decoding: sent, as: UTF8.self) == expected)
        let untouched = request.upstreamBody(model: "u:m", outputBound: nil, boundFields: [])
        #expect(String(decoding: untouched, as: UTF8.self) == body)
    }

    @Test("what the provider may search or fetch is a bound, and no estimate")
    func searched() throws {
        let plain = try Self.read(#"{"model":"a:b","input":"hi"}"#, .responses)
        let searching = try Self.read(
            #"{"model":"a:b","input":"hi","tools":[{"type":"web_search"}],"max_tool_calls":50}"#, .responses)
        // Each call makes the model read all again that came before.
        #expect(searching.size.tokenBound >= 50 * 51 / 2 * 20_000 && searching.searchBound == 50)
        let bounded = try Self.read(
            #"{"model":"a:b","input":"hi","tools":[{"type":"web_search"}],"max_tool_calls":50}"#, .responses,
            window: 100_000)
        #expect(bounded.size.tokenBound == 51 * 100_000)
        #expect(searching.size.estimatedTokens < plain.size.estimatedTokens + 40)
    }

    @Test("a prompt that the provider may cache of itself is admitted as one that writes")
    func cachesItself() throws {
        let body = #"{"model":"a:b","max_tokens":5,"cache_control":{"type":"ephemeral"},"messages":[]}"#
        #expect(try Self.read(body, .messages, to: "kind: anthropic, api_base: \"http://h/v1\"").writesCache)
    }

    @Test("the larger of two bounds counts")
    func bounds() throws {
        let body = #"{"model":"a:b","messages":[],"max_tokens":5,"max_completion_tokens":9}"#
        #expect(try Self.read(body).maxTokens == 9)
    }
}

@Suite("Configuration")
struct ConfigurationTests {
    static let minimal = "master_key: 12345678\n"

    @Test("the environment overrides limits that the file does not mention, and a wrong figure is refused")
    func limitsOfTheEnvironment() throws {
        let environment = ["GATEWAY_LIMITS_QUEUE_LENGTH": "17"]
        #expect(try Self.read(Self.minimal, environment).limits.queueLength == 17)
        #expect(throws: ConfigurationError.self) {
            try Self.read(Self.minimal, ["GATEWAY_LIMITS_QUEUE_LENGTH": "x"])
        }
    }

    @Test(
        "an upstream that could not be called is refused with its line",
        arguments: [
            "api_base: http://127.0.0.1:99999/v1\n    api_key: x", "api_base: http://127.0.0.1:0/v1\n    api_key: x",
            "api_base: http:///v1\n    api_key: x", "api_base: ftp://a/v1\n    api_key: x", "api_base: http://a/v1",
            "api_base: http://a/v1\n    api_key: \"a\\r\\nx-other: b\"", "api_base: http://a/v1\n    api_key: \"a b\"",
        ])
    func unreachable(provider: String) {
        let error = #expect(throws: ConfigurationError.self) {
            try Self.read(Self.minimal + "providers:\n  up:\n    " + provider + "\n")
        }
        #expect(error?.description.hasPrefix("line 3: 'providers.up.api_") == true, "\(error?.description ?? "")")
    }

    @Test("a wrong value is blamed on the variable that it came from")
    func blamed() {
        let error = #expect(throws: ConfigurationError.self) {
            try Self.read("port: 80\n" + Self.minimal, ["GATEWAY_PORT": "many"])
        }
        #expect(error?.description.hasPrefix("'GATEWAY_PORT' ") == true, "\(error?.description ?? "")")
    }

    @Test("a variable that overrides nothing is refused among the limits, and named elsewhere")
    func strayVariables() throws {
        #expect(throws: ConfigurationError.self) { try Self.read(Self.minimal, ["GATEWAY_LIMITS_QUEUE_LENGHT": "17"]) }
        let yaml = "master_key: ${GATEWAY_SECRET}\n"
        let read = try Self.read(
            yaml, ["GATEWAY_SECRET": "0123456789abcdef0123456789abcdef", "GATEWAY_PROT": "80", "GATEWAY_PORT": "81"])
        #expect(read.warnings.count == 1 && read.warnings[0].contains("GATEWAY_PROT"))
    }

    @Test("a body that says a member twice is refused")
    func twice() throws {
        #expect(throws: GatewayError.self) { try BodyFields(Array(#"{"amount":1,"amount":1000}"#.utf8)) }
        #expect(try BodyFields(Array(#"{"amount":1}"#.utf8)).decimal("amount") == "1")
    }

    @Test(
        "half a surrogate pair is no text: what differs must not become one",
        arguments: [
            (#"\ud800"#, nil), (#"\udfff"#, nil), (#"\uD83Dx\uDE00"#, nil), (#"\ud83d\ud83d\ude00"#, nil),
            (#"\uDE00\uD83D"#, nil),
            (#"a\ud83d"#, nil), (#"\ud83d\u0041"#, nil), (#"\uD83D\ude00"#, "😀"), (#"\\ud800"#, #"\ud800"#),
            (#"\ufffd"#, "\u{FFFD}"),
            (#"\n\u00e9"#, "\n\u{E9}"),
        ] as [(String, String?)])
    func surrogates(written: String, expected: String?) throws {
        let fields = try BodyFields(Array(#"{"id":"\#(written)"}"#.utf8))
        guard let expected else {
            #expect(throws: GatewayError.self) { try fields.string("id") }
            return
        }
        #expect(try fields.string("id") == expected)
    }

    static func read(_ yaml: String, _ environment: [String: String] = [:]) throws -> ServerConfiguration {
        try ServerConfiguration(yaml: yaml, environment: environment)
    }

    @Test("variables, defaults and overrides")
    func variables() throws {
        let yaml = "master_key: ${KEY}\nport: ${PORT:-9000}\nhost: ${EMPTY:-localhost}\n"
        let configuration = try Self.read(yaml, ["KEY": "12345678", "EMPTY": ""])
        #expect(
            configuration.port == 9000 && configuration.host == "localhost" && configuration.hasMasterKey("12345678"))
        #expect(try Self.read(Self.minimal, ["GATEWAY_PORT": "7"]).port == 7)
        #expect(
            try Self.read(Self.minimal + "limits: {queue_length: 5}", ["GATEWAY_LIMITS_QUEUE_LENGTH": "6"]).limits
                .queueLength == 6)
        #expect(
            try ServerConfiguration(yaml: Self.minimal + "port: 1", environment: ["GATEWAY_PORT": "2"], port: 3).port
                == 3)
    }

    @Test(
        "what is wrong is refused by its key",
        arguments: [
            ("", "master_key"), ("master_key: short", "master_key"), (minimal + "prot: 1", "prot"),
            (minimal + "port: many", "port"),
            (minimal + "port: 70000", "port"), (minimal + "host: ${NOT_SET}", "NOT_SET"),
            (minimal + "host: ${OPEN", "host"),
            (minimal + "database_url: mysql://x", "database_url"),
            (minimal + "database_url: sqlite:///", "database_url"), (minimal + "limits: {queue: 1}", "limits.queue"),
            (minimal + "limits: 5", "limits"),
            (minimal + "providers: {up: {api_base: ftp://x, api_key: k}}", "providers.up.api_base"),
            (minimal + "providers: {up: {api_base: http://x}}", "providers.up.api_key"),
            (minimal + "providers: {up: {kind: other, api_key: k}}", "providers.up.kind"),
            (
                minimal + "pricing: {\"up:m\": {input_price_per_million: 1, output_price_per_million: 1}}",
                "pricing.up:m"
            ),
            (
                minimal
                    + "providers: {d: {kind: demo}}\npricing: {\"d:m\": {input_price_per_million: 0.0000001, output_price_per_million: 1}}",
                "pricing.d:m.input_price_per_million"
            ),
            (minimal + "providers: {d: {kind: demo}}\npricing: {\"d:m\": {input_price_per_million: 1}}", "pricing.d:m"),
            (
                minimal
                    + "providers: {d: {kind: demo}}\npricing: {\"d:m\": {input_price_per_million: -1, output_price_per_million: 1}}",
                "pricing.d:m.input_price_per_million"
            ),
            (minimal + "model_map: {m: \"x:m\"}", "model_map.m"), (minimal + "port: [1", "YAML"), ("- 1", "mapping"),
        ])
    func refused(yaml: String, key: String) {
        do {
            _ = try Self.read(yaml)
            Issue.record("it was accepted")
        } catch {
            #expect("\(error)".contains(key), "\(error)")
        }
    }

    @Test(
        "where the ledger is",
        arguments: [
            ("sqlite:///a.sqlite", "a.sqlite", 1), ("sqlite:////var/a.sqlite", "/var/a.sqlite", 1),
            ("sqlite+aiosqlite:///a.db?check_same_thread=false", "a.db", 1),
            ("postgresql://u:p@db/gateway", "ledger.sqlite", 2),
            ("postgresql+asyncpg://u:p@db/gateway", "ledger.sqlite", 2),
        ])
    func databaseURL(url: String, path: String, warnings: Int) throws {
        let read = try Self.read(Self.minimal + "database_url: \"\(url)\"")
        #expect(read.databasePath == path && read.warnings.count == warnings)
        #expect(!read.warnings.contains { $0.contains("u:p") })
    }

    @Test("what is ignored is named, also where only the environment has it")
    func ignoredVariables() throws {
        let read = try Self.read(Self.minimal, ["GATEWAY_IMAGE_DUMP_ENABLED": "true"])
        #expect(read.warnings.contains { $0.contains("'image_dump_enabled'") })
    }

    @Test("the old gateway's file is read, and what has no effect is named")
    func oldFile() throws {
        let yaml = """
            database_url: "sqlite:///gateway.db"
            auto_migrate: true
            host: 0.0.0.0
            port: 8000
            master_key: 12345678
            jwt_secret: abc
            access_token_exp_minutes: 30
            refresh_token_exp_days: 14
            image_dump_enabled: false
            providers:
              openai:
                api_key: ${OPENAI_KEY:-none}
                client_args: {timeout: 60}
            pricing:
              "openai:gpt-4o":
                input_price_per_million: 2.5
                output_price_per_million: 10
                cached_price_per_million: 1.25
            """
        let configuration = try Self.read(yaml)
        #expect(configuration.warnings.count == 5)
        for word in ["auto_migrate", "image_dump_enabled", "client_args", "master_key", "jwt_secret"] {
            #expect(configuration.warnings.contains { $0.contains(word) }, "\(word)")
        }
        #expect(configuration.tokens?.accessSeconds == 1800)
        #expect(
            configuration.pricing["openai:gpt-4o"] == Price(input: 2_500_000, output: 10_000_000, cached: 1_250_000))
        #expect(configuration.providers["openai"]?.apiBase == "https://api.openai.com/v1")
    }
}

@Suite("A mailbox")
struct MailboxTests {
    @Test("elements arrive in order, the sender waits while it is full, and both sides can leave")
    func order() async {
        let mailbox = Mailbox<Int>(capacity: 2)
        let sending = Task {
            for number in 0..<1000 { await mailbox.send(number) }
            mailbox.finish()
        }
        var received: [Int] = []
        while true {
            let numbers = await mailbox.next()
            if numbers.isEmpty { break }
            #expect(numbers.count <= 3)
            received += numbers
        }
        await sending.value
        #expect(received == Array(0..<1000))
        let few = Mailbox<Int>(capacity: 8)
        for number in 0..<5 { await few.send(number) }
        #expect(await few.next(atMost: 1) == [0])
        #expect(await few.next() == [1, 2, 3, 4])
        let left = Mailbox<Int>(capacity: 1)
        let blocked = Task {
            for number in 0..<100 { await left.send(number) }
        }
        _ = await left.next()
        left.close()
        await blocked.value
        #expect(await left.next().isEmpty && left.isClosed)
    }
}
