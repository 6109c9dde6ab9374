import Fuzzing
import Testing
import WireJSON

@testable import Requests

@Suite("Reading requests by a table")
struct ReaderTests {
    /// A table of every rule there is.
    static let table = """
        request:
          model                    model
          messages                 list of message
          temperature              setting
          tier                     setting auto | default — another tier has another price
          stream                   stream
          stream_options           setting of stream_options
          max_tokens               bound
          n                        choices
          note                     free
          hint                     dropped
          models                   refused — another model may answer
          tools                    list of tool
          ids                      text or tokens or list of text
          map                      setting of map
        stream_options:
          include_usage            usage
        map:
          tags                     refused — it routes
          *                        free
        message by role:
          mark                     cache
          = user, system
            content                text or list of part
          = tool
            content                read
            place                  dropped
          = old                    refused — it is gone
        part by type:
          = text
            text                   text
          = file
            data                   inline
            kind                   mime
          = far                    window
            id                     text
          = x_*                    refused — what begins so is new
        tool by type:
          = -, function
            spec                   read
          = search                 priced search
            max_uses               uses
          = fetch                  priced fetch
            max_uses               uses
            most                   content_tokens
          = own                    adds 100
        """

    static func read(
        _ body: String, passes: Bool = false, allow: Set<String> = [], window: Int64? = nil
    ) throws -> RequestReading {
        var reader = RequestReader(
            try RequestTable([table]), policy: .init(passesUnknown: passes, allowed: allow),
            figures: PartFigures(model: "gpt-4o", contextTokens: window), promptMember: "messages")
        try Array(body.utf8).withUnsafeBufferPointer { try reader.read($0) }
        return reader.reading
    }

    @Test(
        "what is not known, not offered or wrong is refused with its place",
        arguments: [
            (#"{"x":1}"#, .unsupported, "x"), (#"{"Model":"m"}"#, .unsupported, "Model"),
            (#"{"meſſages":[]}"#, .unsupported, "meſſages"),
            (#"{"to\u006Fl\u017f":[]}"#, .unsupported, "to\\u006Fl\\u017f"),
            (#"{"model":"m","model":"m"}"#, .duplicate, "model"),
            (#"{"mod\u0065l":"m","model":"m"}"#, .duplicate, "model"),
            (#"{"models":["m"]}"#, .notOffered, "models"), (#"{"tier":"fast"}"#, .notOffered, "tier"),
            (#"{"tier":["auto","fast"]}"#, .notOffered, "tier"), (#"{"tier":{}}"#, .notOffered, "tier"),
            (#"{"temperature":{"a":1}}"#, .invalidValue, "temperature"),
            (#"{"stream":"yes"}"#, .invalidValue, "stream"),
            (#"{"max_tokens":0}"#, .invalidValue, "max_tokens"), (#"{"max_tokens":-1}"#, .invalidValue, "max_tokens"),
            (#"{"max_tokens":1e3}"#, .invalidValue, "max_tokens"), (#"{"n":129}"#, .invalidValue, "n"),
            (#"{"messages":{}}"#, .invalidValue, "messages"), (#"{"messages":[null]}"#, .invalidValue, "messages[0]"),
            (#"{"messages":[{"content":"x"}]}"#, .missing, "messages[0].role"),
            (#"{"messages":[{"role":"else"}]}"#, .unsupported, "messages[0].role"),
            (#"{"messages":[{"role":"old"}]}"#, .notOffered, "messages[0].role"),
            (#"{"messages":[{"role":1}]}"#, .invalidValue, "messages[0].role"),
            (#"{"messages":[{"role":"user","role":"tool"}]}"#, .duplicate, "messages[0].role"),
            (
                #"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","Text":"b"}]}]}"#,
                .unsupported, "messages[0].content[1].Text"
            ),
            (
                #"{"messages":[{"role":"user","content":[{"type":"x_new"}]}]}"#, .notOffered,
                "messages[0].content[0].type"
            ),
            (
                #"{"messages":[{"role":"user","content":[{"type":"TEXT","text":"a"}]}]}"#, .unsupported,
                "messages[0].content[0].type"
            ),
            (#"{"messages":[{"role":"user","place":1}]}"#, .unsupported, "messages[0].place"),
            (#"{"tools":[{"type":"search"}]}"#, .missing, "tools[0].max_uses"),
            (#"{"tools":[{"type":"fetch","max_uses":1}]}"#, .missing, "tools[0].max_content_tokens"),
            (#"{"map":{"Tags":1}}"#, .unsupported, "map.Tags"), (#"{"map":{"tags":1}}"#, .notOffered, "map.tags"),
            (#"{"map":{"a":1,"a":2}}"#, .duplicate, "map.a"),
            (#"{"stream_options":{"more":1}}"#, .unsupported, "stream_options.more"),
        ] as [(String, RequestRefusal.Code, String)])
    func refused(body: String, code: RequestRefusal.Code, param: String) {
        let refusal = #expect(throws: RequestRefusal.self) { try Self.read(body) }
        #expect(refusal?.code == code && refusal?.param == param, "\(refusal.map { "\($0)" } ?? "")")
    }

    @Test(
        "where unknown members pass they are measured, and what is refused is refused all the same",
        arguments: [
            (#"{"x":"0123456789"}"#, nil), (#"{"messages":[{"role":"user","x":"0123456789"}]}"#, nil),
            (#"{"models":["m"]}"#, "models"), (#"{"MODELS":["m"]}"#, "MODELS"), (#"{"x":1,"x":2}"#, "x"),
            (#"{"messages":[{"role":"old"}]}"#, "messages[0].role"),
        ] as [(String, String?)])
    func passing(body: String, param: String?) throws {
        if let param {
            let refusal = #expect(throws: RequestRefusal.self) { try Self.read(body, passes: true) }
            #expect(refusal?.param == param)
        } else {
            #expect(try Self.read(body, passes: true).textBytes >= 10)
        }
    }

    @Test("a part of an unknown kind may be anything: it fills the window")
    func unknownParts() throws {
        let body = #"{"messages":[{"role":"user","content":[{"type":"new","text":"0123456789"}]},{"role":"new"}]}"#
        let reading = try Self.read(body, passes: true)
        #expect(reading.unmeasured == "messages[0].content[0]" && reading.textBytes >= 10)
    }

    @Test("what the operator allows passes and is measured, by its path")
    func allowed() throws {
        #expect(try Self.read(#"{"models":["0123456789"]}"#, allow: ["models"]).textBytes >= 10)
        #expect(try Self.read(#"{"x":"0123456789"}"#, allow: ["x"]).textBytes >= 10)
        #expect(
            try Self.read(#"{"messages":[{"role":"user","y":"0123456789"}]}"#, allow: ["messages.y"]).textBytes >= 10)
        #expect(throws: RequestRefusal.self) { try Self.read(#"{"messages":[{"role":"user","y":1}]}"#, allow: ["y"]) }
    }

    @Test("what it asks for")
    func asked() throws {
        let reading = try Self.read(
            #"{"model":"m","n":3,"max_tokens":7,"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi","mark":{}}],"tools":[{"spec":{}},{"type":"search","max_uses":4},{"type":"fetch","max_uses":2,"most":50},{"type":"own"}],"ids":[[1,2],[3]]}"#
        )
        #expect(reading.model == "m" && reading.choices == 3 && reading.bounds.map(\.value) == [7])
        #expect(reading.isStream && reading.wantsUsage && reading.hasPrompt && reading.hasTools && reading.writesCache)
        #expect((reading.searches, reading.fetches, reading.fetchedTokens, reading.addedTokens) == (4, 2, 100, 100))
        #expect(reading.mediaTokens == 3 && reading.unmeasured == "tools[2]")
    }

    @Test("settings at the top are no prompt; all that is read is, however it is written")
    func measured() throws {
        let text = String(repeating: "x", count: 1000)
        #expect(try Self.read(#"{"temperature":"\#(text)","note":{"a":"\#(text)"},"hint":"\#(text)"}"#).textBytes == 0)
        for body in [
            #"{"messages":[{"role":"user","content":"\#(text)"}]}"#,
            #"{"messages":[{"role":"tool","content":{"\#(text)":1}}]}"#,
            #"{"tools":[{"spec":[["\#(text)"]]}]}"#, #"{"ids":"\#(text)"}"#, #"{"ids":["\#(text)"]}"#,
            #"{"messages":[{"role":"user","content":[{"type":"file","kind":"text/plain","data":"data:text/plain,\#(text)"}]}]}"#,
        ] {
            #expect((1000..<1200).contains(try Self.read(body).textBytes), "\(body.prefix(60))")
        }
        let escaped = #"{"messages":[{"role":"user","content":"\u00e9\n"}]}"#
        let plain = "{\"messages\":[{\"role\":\"user\",\"content\":\"é \"}]}"
        #expect(try Self.read(escaped).textBytes == Self.read(plain).textBytes)
    }

    /// Documents that are random in what they say and how deep, some with broken bytes: whatever comes, it is read or refused, and what is
    /// read has no less prompt than there are bytes of texts in its messages.
    @Test("random documents, and random bytes in them", arguments: 1...40 as ClosedRange<UInt64>)
    func random(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let tables = RequestTables.all.compactMap { try? $0.table.get() }
        var read = 0
        for _ in 0..<250 {
            guard let table = tables.randomElement(using: &random) else { return }
            var json = JSONWriter()
            RandomRequest(table).write(0, depth: 0, into: &json, &random)
            var bytes = json.bytes
            if Int.random(in: 0..<3, using: &random) == 0, !bytes.isEmpty {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = .random(in: .min ... .max, using: &random)
            }
            for passes in [false, true] {
                var reader = RequestReader(
                    table, policy: .init(passesUnknown: passes), figures: PartFigures(model: "m", contextTokens: 9),
                    promptMember: "messages")
                do {
                    try bytes.withUnsafeBufferPointer { try reader.read($0) }
                } catch is RequestRefusal {
                    continue
                } catch is JSONError {
                    continue
                }
                read += 1
                let document = try JSONValue(bytes)
                let texts = (document.object?["messages"]).map(Self.texts) ?? 0
                #expect(reader.reading.textBytes >= texts, "seed \(seed): \(String(decoding: bytes, as: UTF8.self))")
                for dropped in reader.reading.dropped { #expect(dropped.range.upperBound <= bytes.count) }
            }
        }
        #expect(read > 100, "too few were read to say anything")
    }

    /// The bytes of plain texts in a value that a model reads for certain.
    private static func texts(_ value: JSONValue) -> Int64 {
        switch value {
        case .array(let values): return values.reduce(0) { $0 + texts($1) }
        case .object(let object):
            return object.members.reduce(0) { sum, member in
                switch member.value {
                case .string(let text) where ["content", "text"].contains(member.name): sum + Int64(text.utf8.count)
                case .array where member.name == "content": sum + texts(member.value)
                default: sum
                }
            }
        default: return 0
        }
    }
}

/// Writes random requests that keep to a table, mostly.
private struct RandomRequest {
    private let table: RequestTable

    init(_ table: RequestTable) {
        self.table = table
    }

    func write(_ index: Int, depth: Int, into json: inout JSONWriter, _ random: inout SeededGenerator) {
        let definition = table.definitions[index]
        var members = definition.common
        json.beginObject()
        if let discriminator = definition.discriminator,
            let variant = definition.variants.randomElement(using: &random),
            let value = variant.values.randomElement(using: &random)
        {
            members = variant.members
            if value != "-" {
                json.name(discriminator)
                json.value(value.last == "*" ? value.dropLast() + "1" : value)
            }
        }
        for member in members.all {
            let isWanted = ["model", "messages", "input", "content"].contains(member.text)
            guard isWanted || Int.random(in: 0..<8, using: &random) == 0, member.text != definition.discriminator,
                member.text != "*"
            else { continue }
            if case .refused = member.rule, Int.random(in: 0..<20, using: &random) > 0 { continue }
            json.name(member.text)
            write(member.rule, depth: depth, into: &json, &random)
        }
        if Int.random(in: 0..<60, using: &random) == 0 { json.field("surprise", "x") }
        json.endObject()
    }

    private func write(
        _ rule: RequestTable.Rule, depth: Int, into json: inout JSONWriter, _ random: inout SeededGenerator
    ) {
        let words = ["hi", "世界", "é\"\\", "", String(repeating: "long ", count: 40)]
        switch rule {
        case .setting(let values?, _): write(values.randomElement(using: &random) ?? "x", into: &json)
        case .setting, .prefix, .free, .cache, .dropped, .refused: json.value(Int64.random(in: 0...9, using: &random))
        case .settings(let index), .object(let index):
            if depth < 8 { write(index, depth: depth + 1, into: &json, &random) } else { json.null() }
        case .text, .model, .user, .window, .mime: json.value(words.randomElement(using: &random) ?? "")
        case .read:
            json.beginObject()
            json.field("a", words.randomElement(using: &random) ?? "")
            json.endObject()
        case .tokens: json.raw("[1,2,3]")
        case .inline:
            let files = [
                "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ", "https://example.com/a.png",
                "AAAA",
                "data:text/plain,hello", "data:video/mp4;base64,AAAA", "data:,",
            ]
            json.value(files.randomElement(using: &random) ?? "")
        case .stream, .usage: json.value(Bool.random(using: &random))
        case .bound, .choices, .calls, .thinking, .uses, .contentTokens:
            json.value(Int64.random(in: 1...100, using: &random))
        case .list(let inner):
            json.beginArray()
            for _ in 0..<Int.random(in: 0...3, using: &random) where depth < 8 {
                write(inner, depth: depth + 1, into: &json, &random)
            }
            json.endArray()
        case .either(let rules):
            write(rules.randomElement(using: &random) ?? .text, depth: depth, into: &json, &random)
        }
    }

    private func write(_ value: String, into json: inout JSONWriter) {
        switch value {
        case "true", "false", "[]", "{}": json.raw(value)
        default: if Int64(value) != nil { json.raw(value) } else { json.value(value) }
        }
    }
}
