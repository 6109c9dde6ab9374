import Testing
import Translation

/// A chat request, and what becomes of it for a provider.
private struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let chat: String
    let body: String

    init(_ name: String, _ chat: String, _ body: String) {
        testDescription = name
        self.chat = chat
        self.body = body
    }
}

/// A chat request that cannot be translated, and what is named.
private struct Refused: Sendable, CustomTestStringConvertible {
    let chat: String
    let param: String

    init(_ chat: String, _ param: String) {
        self.chat = chat
        self.param = param
    }

    var testDescription: String { param }
}

private let hi = #""messages":[{"role":"user","content":"hi"}]"#
private let hiAnthropic = #""messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]"#
private let hiGemini = #""contents":[{"role":"user","parts":[{"text":"hi"}]}]"#
private let weather =
    #""tools":[{"type":"function","function":{"name":"weather","description":"d","parameters":{"type":"object","properties":{"city":{"type":"string"}}},"strict":true}},{"type":"function","function":{"name":"now"}}]"#
private let round =
    #"{"role":"user","content":"w?"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Bern\"}"}},{"id":"call_2","type":"function","function":{"name":"now","arguments":""}}]},{"role":"tool","tool_call_id":"call_1","name":"weather","content":"{\"c\":20.5}"},{"role":"tool","tool_call_id":"call_2","content":[{"type":"text","text":"noon"}]},{"role":"user","content":"so?"}"#

private func reason(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "translated"
    } catch let error as Untranslatable {
        return error.param
    } catch {
        return "\(error)"
    }
}

/// What no provider takes in translation.
private let neverTranslated = [
    Refused("[]", "body"), Refused("{", "body"), Refused(#"{"messages":1}"#, "messages"),
    Refused(#"{"messages":[1]}"#, "messages[0]"), Refused(#"{"messages":[{"content":"x"}]}"#, "messages[0].role"),
    Refused(#"{"messages":[{"role":"function","content":"x"}]}"#, "messages[0].role"),
    Refused(#"{"messages":[{"role":"user","content":7}]}"#, "messages[0].content"),
    Refused(#"{"messages":[{"role":"user","content":[{"type":"video","video":1}]}]}"#, "messages[0].content[0].type"),
    Refused(#"{"messages":[{"role":"user","content":"x","name":"bob"}]}"#, "messages[0].name"),
    Refused(#"{"messages":[{"role":"user","content":""}]}"#, "messages[0].content"),
    Refused(#"{"messages":[]}"#, "messages"), Refused(#"{"messages":[{"role":"system","content":"x"}]}"#, "messages"),
    Refused(
        #"{"messages":[{"role":"assistant","content":"x","thinking_blocks":["x"]}]}"#, "messages[0].thinking_blocks[0]"),
    Refused(
        #"{"messages":[{"role":"user","content":"x","thinking_blocks":[{"type":"thinking"}]}]}"#,
        "messages[0].thinking_blocks"),
    Refused(#"{"messages":[{"role":"assistant","content":"x","thinking_blocks":"x"}]}"#, "messages[0].thinking_blocks"),
    Refused(
        #"{"messages":[{"role":"user","content":"x","tool_calls":[{"id":"a","function":{"name":"f"}}]}]}"#,
        "messages[0].tool_calls"),
    Refused(#"{"messages":[{"role":"user","content":"x","tool_call_id":"a"}]}"#, "messages[0].tool_call_id"),
    Refused(
        #"{"messages":[{"role":"user","cache_control":{"type":"ephemeral"},"content":[{"type":"text","text":"x"}]}]}"#,
        "messages[0].cache_control"),
    Refused(
        #"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:;base64,AAAA"}}]}]}"#,
        "messages[0].content[0]"),
    Refused(#"{"messages":[{"role":"user","content":""}]}"#, "messages[0].content"),
    Refused(#"{"messages":[]}"#, "messages"), Refused(#"{"messages":[{"role":"system","content":"x"}]}"#, "messages"),
    Refused(
        #"{"messages":[{"role":"assistant","content":"x","thinking_blocks":["x"]}]}"#, "messages[0].thinking_blocks[0]"),
    Refused(
        #"{"messages":[{"role":"user","content":"x","thinking_blocks":[{"type":"thinking"}]}]}"#,
        "messages[0].thinking_blocks"),
    Refused(#"{"messages":[{"role":"assistant","content":"x","thinking_blocks":"x"}]}"#, "messages[0].thinking_blocks"),
    Refused(
        #"{"messages":[{"role":"user","content":"x","tool_calls":[{"id":"a","function":{"name":"f"}}]}]}"#,
        "messages[0].tool_calls"),
    Refused(#"{"messages":[{"role":"user","content":"x","tool_call_id":"a"}]}"#, "messages[0].tool_call_id"),
    Refused(
        #"{"messages":[{"role":"user","cache_control":{"type":"ephemeral"},"content":[{"type":"text","text":"x"}]}]}"#,
        "messages[0].cache_control"),
    Refused(
        #"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:;base64,AAAA"}}]}]}"#,
        "messages[0].content[0]"),
    Refused(#"{"messages":[{"role":"assistant","content":"x","audio":{"id":"a"}}]}"#, "messages[0].audio"),
    Refused(
        #"{"messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"[1]"}}]}]}"#,
        "messages[0].tool_calls[0].function.arguments"),
    Refused(#"{"messages":[{"role":"tool","content":"x"}]}"#, "messages[0].tool_call_id"),
    Refused(
        #"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]}"#,
        "messages[0].content[0].file.file_data"),
    Refused("{\(hi),\"logprobs\":true}", "logprobs"), Refused("{\(hi),\"logit_bias\":{\"5\":1}}", "logit_bias"),
    Refused("{\(hi),\"functions\":[]}", "functions"), Refused("{\(hi),\"prediction\":{}}", "prediction"),
    Refused("{\(hi),\"store\":true}", "store"), Refused("{\(hi),\"modalities\":[\"text\",\"audio\"]}", "modalities"),
    Refused("{\(hi),\"service_tier\":\"priority\"}", "service_tier"),
    Refused("{\(hi),\"some_new_thing\":1}", "some_new_thing"),
    Refused("{\(hi),\"reasoning_effort\":\"huge\"}", "reasoning_effort"),
    Refused("{\(hi),\"response_format\":{\"type\":\"grammar\"}}", "response_format.type"),
    Refused("{\(hi),\"stop\":[1]}", "stop"), Refused("{\(hi),\"top_p\":\"1\"}", "top_p"),
    Refused("{\(hi),\"tools\":[{\"type\":\"web_search\"}]}", "tools[0].type"),
    Refused(
        #"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA","detail":"low"}}]}]}"#,
        "messages[0].content[0].image_url.detail"),
    Refused(
        #"{"messages":[{"role":"user","content":[{"type":"text","text":"x","annotated":true}]}]}"#,
        "messages[0].content[0].annotated"),
    Refused(
        "{\(hi),\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"examples\":[]}}]}",
        "tools[0].function.examples"),
    Refused(
        "{\(hi),\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{},\"x\":1}}}",
        "response_format.json_schema.x"),
    Refused(#"{"messages":[{"role":"user","content":"x","name":"bob"}]}"#, "messages[0].name"),
    Refused(#"{"messages":[{"role":"user","content":""}]}"#, "messages[0].content"),
    Refused(#"{"messages":[]}"#, "messages"), Refused(#"{"messages":[{"role":"system","content":"x"}]}"#, "messages"),
    Refused(
        #"{"messages":[{"role":"assistant","content":"x","thinking_blocks":["x"]}]}"#, "messages[0].thinking_blocks[0]"),
    Refused(
        #"{"messages":[{"role":"user","content":"x","thinking_blocks":[{"type":"thinking"}]}]}"#,
        "messages[0].thinking_blocks"),
    Refused(#"{"messages":[{"role":"assistant","content":"x","thinking_blocks":"x"}]}"#, "messages[0].thinking_blocks"),
    Refused(
        #"{"messages":[{"role":"user","content":"x","tool_calls":[{"id":"a","function":{"name":"f"}}]}]}"#,
        "messages[0].tool_calls"),
    Refused(#"{"messages":[{"role":"user","content":"x","tool_call_id":"a"}]}"#, "messages[0].tool_call_id"),
    Refused(
        #"{"messages":[{"role":"user","cache_control":{"type":"ephemeral"},"content":[{"type":"text","text":"x"}]}]}"#,
        "messages[0].cache_control"),
    Refused(
        #"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:;base64,AAAA"}}]}]}"#,
        "messages[0].content[0]"),
    Refused("{\(hi),\(weather),\"tool_choice\":{\"type\":\"allowed_tools\"}}", "tool_choice"),
]

@Suite("Requests for Anthropic")
struct AnthropicRequestTests {
    private static let cases = [
        Case("the least", "{\(hi)}", #"{"model":"claude","max_tokens":2000,\#(hiAnthropic)}"#),
        Case(
            "what says nothing is left out",
            #"{\#(hi),"n":1,"temperature":null,"frequency_penalty":0,"logprobs":false,"store":false,"metadata":{},"logit_bias":{},"user":"bob","stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":7,"modalities":["text"]}"#,
            #"{"model":"claude","max_tokens":2000,\#(hiAnthropic)}"#),
        Case(
            "instructions from everywhere, in their order; neighbours of one role are one message",
            #"{"messages":[{"role":"system","content":"a"},{"role":"user","content":"1"},{"role":"user","content":[{"type":"text","text":"2","cache_control":{"type":"ephemeral"}},{"type":"text","text":""}]},{"role":"developer","content":[{"type":"text","text":"b"}]},{"role":"assistant","content":"3","refusal":null,"annotations":[],"reasoning_content":"thought"},{"role":"assistant","content":"4"}]}"#,
            #"{"model":"claude","max_tokens":2000,"system":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"messages":[{"role":"user","content":[{"type":"text","text":"1"},{"type":"text","text":"2","cache_control":{"type":"ephemeral"}}]},{"role":"assistant","content":[{"type":"text","text":"3"},{"type":"text","text":"4"}]}]}"#
        ),
        Case(
            "a conversation that another model began: its ids and its white space",
            #"{"messages":[{"role":"user","content":"1"},{"role":"assistant","content":"\n\n","tool_calls":[{"id":"functions.f:0","index":0,"type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"functions.f:0","content":"2"}]}"#,
            #"{"model":"claude","max_tokens":2000,"messages":[{"role":"user","content":[{"type":"text","text":"1"}]},{"role":"assistant","content":[{"type":"tool_use","id":"functions_f_0","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"functions_f_0","content":[{"type":"text","text":"2"}]}]}]}"#
        ),
        Case(
            "an earlier answer that was empty says nothing",
            #"{"messages":[{"role":"user","content":"1"},{"role":"assistant","content":""},{"role":"assistant","content":null},{"role":"user","content":"2"}]}"#,
            #"{"model":"claude","max_tokens":2000,"messages":[{"role":"user","content":[{"type":"text","text":"1"},{"type":"text","text":"2"}]}]}"#
        ),
        Case(
            "calls, and their results as the user's next message", #"{"messages":[\#(round)]}"#,
            #"{"model":"claude","max_tokens":2000,"messages":[{"role":"user","content":[{"type":"text","text":"w?"}]},{"role":"assistant","content":[{"type":"tool_use","id":"call_1","name":"weather","input":{"city":"Bern"}},{"type":"tool_use","id":"call_2","name":"now","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":[{"type":"text","text":"{\"c\":20.5}"}]},{"type":"tool_result","tool_use_id":"call_2","content":[{"type":"text","text":"noon"}]},{"type":"text","text":"so?"}]}]}"#
        ),
        Case(
            "tools and the choice among them",
            #"{\#(hi),\#(weather),"tool_choice":{"type":"function","function":{"name":"now"}},"parallel_tool_calls":false}"#,
            #"{"model":"claude","max_tokens":2000,\#(hiAnthropic),"tools":[{"name":"weather","description":"d","input_schema":{"type":"object","properties":{"city":{"type":"string"}}},"strict":true},{"name":"now","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"tool","name":"now","disable_parallel_tool_use":true}}"#
        ),
        Case(
            "the settings",
            #"{\#(hi),"temperature":0.70,"top_p":0.9,"top_k":5,"stop":"end","response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object"},"strict":true}},"reasoning_effort":"high"}"#,
            #"{"model":"claude","max_tokens":2000,\#(hiAnthropic),"temperature":0.70,"top_p":0.9,"top_k":5,"stop_sequences":["end"],"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}},"thinking":{"type":"enabled","budget_tokens":1024}}"#
        ),
        Case(
            "pictures and documents",
            #"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"Data: image/JPG;charset=x;BASE64,AAAA","detail":"auto"}},{"type":"image_url","image_url":{"url":"https://a.example/b.jpg"}},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,BBBB"}}]}]}"#,
            #"{"model":"claude","max_tokens":2000,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"AAAA"}},{"type":"image","source":{"type":"url","url":"https://a.example/b.jpg"}},{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"BBBB"},"title":"a.pdf"}]}]}"#
        ),
        Case(
            "thinking with its signature goes back before the calls that followed it",
            #"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"x","thinking_blocks":[{"type":"thinking","thinking":"t","signature":"s","index":0}]}]}"#,
            #"{"model":"claude","max_tokens":2000,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"text","text":"x"}]}]}"#
        ),
    ]

    @Test("each is translated to the letter", arguments: cases)
    fileprivate func translated(given: Case) throws {
        let request = try AnthropicRequest(Array(given.chat.utf8), model: "claude", maxTokens: 2000, isStream: false)
        #expect(String(decoding: request.body, as: UTF8.self) == given.body)
    }

    @Test(
        "what cannot be translated is refused by name",
        arguments: neverTranslated + [
            Refused("{\(hi),\"n\":2}", "n"), Refused("{\(hi),\"temperature\":1.01}", "temperature"),
            Refused("{\(hi),\"seed\":1}", "seed"), Refused("{\(hi),\"presence_penalty\":0.1}", "presence_penalty"),
            Refused("{\(hi),\"response_format\":{\"type\":\"json_object\"}}", "response_format.type"),
            Refused(
                #"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/tiff;base64,AA"}}]}]}"#,
                "messages[0].content[0]"),
            Refused(
                #"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"ftp://x"}}]}]}"#,
                "messages[0].content[0]"),
            Refused(
                #"{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}]}]}"#,
                "messages[0].content[0].input_audio"),
            Refused(
                #"{"messages":[{"role":"system","content":[{"type":"image_url","image_url":{"url":"https://x"}}]},{"role":"user","content":"x"}]}"#,
                "messages[0].content[0]"),
            Refused(
                #"{"messages":[{"role":"assistant","content":"","images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}]}"#,
                "messages[0].images[0]"),
        ])
    fileprivate func refused(given: Refused) {
        #expect(
            reason {
                _ = try AnthropicRequest(Array(given.chat.utf8), model: "claude", maxTokens: 2000, isStream: false)
            } == given.param)
    }

    @Test("thinking needs room")
    func thinking() {
        let chat = "{\(hi),\"reasoning_effort\":\"low\"}"
        #expect(
            reason { _ = try AnthropicRequest(Array(chat.utf8), model: "claude", maxTokens: 1024, isStream: false) }
                == "reasoning_effort")
        #expect(
            reason { _ = try AnthropicRequest(Array(chat.utf8), model: "claude", maxTokens: 1025, isStream: false) }
                == "translated")
    }
}

@Suite("Requests for Gemini")
struct GeminiRequestTests {
    private static let cases = [
        Case("the least", "{\(hi)}", #"{\#(hiGemini),"generationConfig":{"maxOutputTokens":2000}}"#),
        Case(
            "instructions stand apart, the assistant is the model",
            #"{"messages":[{"role":"system","content":"a"},{"role":"user","content":"1"},{"role":"developer","content":"b"},{"role":"assistant","content":"2"},{"role":"user","content":"3"}]}"#,
            #"{"systemInstruction":{"parts":[{"text":"a"},{"text":"b"}]},"contents":[{"role":"user","parts":[{"text":"1"}]},{"role":"model","parts":[{"text":"2"}]},{"role":"user","parts":[{"text":"3"}]}],"generationConfig":{"maxOutputTokens":2000}}"#
        ),
        Case(
            "calls and their results, by the functions' names", #"{"messages":[\#(round)]}"#,
            #"{"contents":[{"role":"user","parts":[{"text":"w?"}]},{"role":"model","parts":[{"functionCall":{"name":"weather","args":{"city":"Bern"},"id":"call_1"}},{"functionCall":{"name":"now","args":{},"id":"call_2"}}]},{"role":"user","parts":[{"functionResponse":{"name":"weather","id":"call_1","response":{"c":20.5}}},{"functionResponse":{"name":"now","id":"call_2","response":{"result":"noon"}}},{"text":"so?"}]}],"generationConfig":{"maxOutputTokens":2000}}"#
        ),
        Case(
            "an id of ours and the mark of a thought",
            #"{"messages":[{"role":"assistant","tool_calls":[{"id":"call_gw_r_0_0","type":"function","function":{"name":"now","arguments":"{}"},"extra_content":{"google":{"thought_signature":"sig"}}}]},{"role":"tool","tool_call_id":"call_gw_r_0_0","content":"noon"}]}"#,
            #"{"contents":[{"role":"model","parts":[{"functionCall":{"name":"now","args":{}},"thoughtSignature":"sig"}]},{"role":"user","parts":[{"functionResponse":{"name":"now","response":{"result":"noon"}}}]}],"generationConfig":{"maxOutputTokens":2000}}"#
        ),
        Case(
            "a picture of an earlier answer goes back with it",
            #"{"messages":[{"role":"user","content":"1"},{"role":"assistant","content":"2","images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}"#,
            #"{"contents":[{"role":"user","parts":[{"text":"1"}]},{"role":"model","parts":[{"text":"2"},{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}],"generationConfig":{"maxOutputTokens":2000}}"#
        ),
        Case(
            "tools and the choice among them",
            #"{\#(hi),\#(weather),"tool_choice":{"type":"function","function":{"name":"now"}}}"#,
            #"{\#(hiGemini),"tools":[{"functionDeclarations":[{"name":"weather","description":"d","parametersJsonSchema":{"type":"object","properties":{"city":{"type":"string"}}}},{"name":"now"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["now"]}},"generationConfig":{"maxOutputTokens":2000}}"#
        ),
        Case(
            "the settings",
            #"{\#(hi),"temperature":1.5,"top_p":0.9,"top_k":5,"seed":7,"presence_penalty":0.5,"frequency_penalty":-1,"n":2,"stop":["a","b"],"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object"}}},"reasoning_effort":"medium"}"#,
            #"{\#(hiGemini),"generationConfig":{"maxOutputTokens":2000,"temperature":1.5,"topP":0.9,"topK":5,"seed":7,"presencePenalty":0.5,"frequencyPenalty":-1,"candidateCount":2,"stopSequences":["a","b"],"responseMimeType":"application/json","responseJsonSchema":{"type":"object"},"thinkingConfig":{"thinkingBudget":1000,"includeThoughts":true}}}"#
        ),
        Case(
            "no thinking, and any JSON",
            #"{\#(hi),"response_format":{"type":"json_object"},"reasoning_effort":"none"}"#,
            #"{\#(hiGemini),"generationConfig":{"maxOutputTokens":2000,"responseMimeType":"application/json","thinkingConfig":{"thinkingBudget":0}}}"#
        ),
        Case(
            "pictures, sound and documents",
            #"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},{"type":"image_url","image_url":{"url":"https://generativelanguage.googleapis.com/v1beta/files/x"}},{"type":"input_audio","input_audio":{"data":"CCCC","format":"mp3"}},{"type":"file","file":{"file_data":"data:application/pdf;base64,BBBB"}}]}]}"#,
            #"{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/x"}},{"inlineData":{"mimeType":"audio/mp3","data":"CCCC"}},{"inlineData":{"mimeType":"application/pdf","data":"BBBB"}}]}],"generationConfig":{"maxOutputTokens":2000}}"#
        ),
    ]

    @Test("each is translated to the letter", arguments: cases)
    fileprivate func translated(given: Case) throws {
        let request = try GeminiRequest(Array(given.chat.utf8), maxTokens: 2000)
        #expect(String(decoding: request.body, as: UTF8.self) == given.body)
    }

    @Test(
        "what cannot be translated is refused by name",
        arguments: neverTranslated + [
            Refused("{\(hi),\(weather),\"parallel_tool_calls\":false}", "parallel_tool_calls"),
            Refused(
                #"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a.example/b.jpg"}}]}]}"#,
                "messages[0].content[0]"),
            Refused(#"{"messages":[{"role":"tool","tool_call_id":"none","content":"x"}]}"#, "messages[0].tool_call_id"),
            Refused(
                #"{"messages":[{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]}]}"#,
                "messages[0].content[0].cache_control"),
            Refused(
                #"{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AA","format":"ogg"}}]}]}"#,
                "messages[0].content[0].input_audio.format"),
        ])
    fileprivate func refused(given: Refused) {
        #expect(reason { _ = try GeminiRequest(Array(given.chat.utf8), maxTokens: 2000) } == given.param)
    }
}
