import Hummingbird
import Ledger
import Logging
import Metering
import NIOCore
import Requests
import ServiceLifecycle
import WireJSON

/// The built-in upstream of kind `demo`: it needs no key, listens on the loopback only, and answers over real HTTP what can be
/// computed from the request alone. So the gateway can be tried at once, by the very path that a real provider takes.
struct DemoUpstream: Sendable {
    let base: DemoBase
    let logger: Logger

    /// The service that listens on a free port, and tells `base` which.
    func service() -> some Service {
        let router = Router(context: BasicRequestContext.self)
        router.post("/v1/chat/completions", use: complete)
        let base = base
        return Application(
            router: router, configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: 0)),
            onServerRunning: { channel in
                if let port = channel.localAddress?.port { base.set("http://127.0.0.1:\(port)/v1") }
            }, logger: logger)
    }

    @Sendable func complete(_ request: Request, _ context: BasicRequestContext) async throws -> Response {
        let body = try await request.body.collect(upTo: 64 << 20)
        var reader = RequestReader(
            try RequestTables.compatibleChat.get(), policy: RequestReader.Policy(passesUnknown: true),
            figures: PartFigures(model: "demo", imageTokens: 256, audioTokens: 256, fileTokens: 256),
            promptMember: "messages")
        try Array(body.readableBytesView).withUnsafeBufferPointer { try reader.read($0) }
        let chat = reader.reading
        let size = PromptSize(textBytes: chat.textBytes, mediaTokens: chat.mediaTokens)
        // A word is a token here: text and usage follow from the request, and the same request always gives the same.
        let limit = Int(clamping: chat.bounds.map(\.value).max() ?? 64)
        let text =
            "This is the demo model answering. It received a prompt of \(size.textBytes) bytes and replies with the same words each time, so that every token of this answer can be counted and its charge checked by hand."
        let words = text.split(separator: " ").prefix(limit).map(String.init)
        let isCut = words.count < text.split(separator: " ").count
        let answer = DemoAnswer(
            model: chat.model ?? "", words: words, finishReason: isCut ? "length" : "stop",
            promptTokens: size.estimatedTokens)
        guard chat.isStream else {
            return Response.json { $0.raw(answer.body()) }
        }
        let wantsUsage = chat.wantsUsage
        return Response(
            status: .ok, headers: [.contentType: "text/event-stream"],
            body: ResponseBody { writer in
                for chunk in answer.chunks(withUsage: wantsUsage) {
                    try await writer.write(ByteBuffer(string: "data: \(chunk)\n\n"))
                    // A pace at which a person can watch the text arrive.
                    try await Task.sleep(for: .milliseconds(15))
                }
                try await writer.write(ByteBuffer(string: "data: [DONE]\n\n"))
                try await writer.finish(nil)
            })
    }
}

/// An answer of the demo upstream in OpenAI's shapes.
private struct DemoAnswer: Sendable {
    let model: String
    let words: [String]
    let finishReason: String
    let promptTokens: Int64

    private func head(_ json: inout JSONWriter, object: String) {
        json.beginObject()
        json.field("id", "chatcmpl-demo")
        json.field("object", object)
        json.field("created", 0)
        json.field("model", model)
    }

    private func usage(_ json: inout JSONWriter) {
        json.name("usage")
        json.beginObject()
        json.field("prompt_tokens", promptTokens)
        json.field("completion_tokens", words.count)
        json.field("total_tokens", promptTokens + Int64(words.count))
        json.endObject()
    }

    func body() -> [UInt8] {
        var json = JSONWriter()
        head(&json, object: "chat.completion")
        json.name("choices")
        json.beginArray()
        json.beginObject()
        json.field("index", 0)
        json.name("message")
        json.beginObject()
        json.field("role", "assistant")
        json.field("content", words.joined(separator: " "))
        json.endObject()
        json.field("finish_reason", finishReason)
        json.endObject()
        json.endArray()
        usage(&json)
        json.endObject()
        return json.bytes
    }

    func chunks(withUsage: Bool) -> [String] {
        func chunk(_ content: String?, finish: String?) -> String {
            var json = JSONWriter()
            head(&json, object: "chat.completion.chunk")
            json.name("choices")
            json.beginArray()
            json.beginObject()
            json.field("index", 0)
            json.name("delta")
            json.beginObject()
            if content != nil, content == words.first { json.field("role", "assistant") }
            if let content { json.field("content", content) }
            json.endObject()
            json.nullable("finish_reason", finish)
            json.endObject()
            json.endArray()
            json.endObject()
            return json.text
        }
        var chunks = words.enumerated().map { chunk($0.offset == 0 ? $0.element : " " + $0.element, finish: nil) }
        chunks.append(chunk(nil, finish: finishReason))
        if withUsage {
            var json = JSONWriter()
            head(&json, object: "chat.completion.chunk")
            json.name("choices")
            json.beginArray()
            json.endArray()
            usage(&json)
            json.endObject()
            chunks.append(json.text)
        }
        return chunks
    }
}
