import WireJSON

/// OpenAI's responses and the events of their streams (OpenAI, API reference, "Responses" and "Streaming events").
extension AnswerReading {
    /// The events that end a stream; there is no `[DONE]`.
    private static let lastEvents: [StaticString] = ["response.completed", "response.incomplete", "response.failed"]

    mutating func readResponse(_ json: inout JSONScanner) throws(JSONError) {
        while let name = try json.nextMember() {
            if json.equals(name, "type"), json.peek() == .string {
                let text = try json.text()
                if json.equals(text, "error") { hasError = true }
                for last in Self.lastEvents where json.equals(text, last) { isOver = true }
            } else if json.equals(name, "response"), json.peek() == .object {
                isRecognised = true
                try json.enterObject()
                try response(&json, isStreamed: true)
            } else if json.equals(name, "delta") {
                try countValue(&json)
            } else {
                try member(name, &json)
            }
        }
    }

    private mutating func response(_ json: inout JSONScanner, isStreamed: Bool) throws(JSONError) {
        while let name = try json.nextMember() { try member(name, &json, isStreamed: isStreamed) }
    }

    /// A member of a response. What a stream has delivered in deltas is not counted again.
    private mutating func member(
        _ name: JSONText, _ json: inout JSONScanner, isStreamed: Bool = false
    ) throws(JSONError) {
        if json.equals(name, "usage"), json.peek() == .object {
            try readUsage(&json)
        } else if json.equals(name, "status"), json.peek() == .string {
            let text = try json.text()
            if json.equals(text, "completed") || json.equals(text, "incomplete") { hasFinishReason = true }
            if json.equals(text, "failed") || json.equals(text, "cancelled") { hasError = true }
        } else if json.equals(name, "model") {
            try readModel(&json)
        } else if json.equals(name, "error") {
            try readError(&json)
        } else if json.equals(name, "output"), json.peek() == .array {
            isRecognised = true
            let start = json
            let range = try json.skip()
            if !isStreamed, range.count > 2 { countUnread(range.count) }
            try countSearches(start)
        } else {
            try json.skip()
        }
    }

    /// Counts the searches among the items of an output: the last event of a stream has them all. Opening a page costs nothing.
    private mutating func countSearches(_ output: JSONScanner) throws(JSONError) {
        var (output, calls) = (output, Int64(0))
        try Self.elements(&output) { json throws(JSONError) in
            var isSearch = false
            var isOther = false
            try Self.members(&json) { name, json throws(JSONError) in
                if json.equals(name, "type"), json.peek() == .string {
                    isSearch = json.equals(try json.text(), "web_search_call")
                } else if json.equals(name, "action") {
                    try Self.members(&json) { name, json throws(JSONError) in
                        guard json.equals(name, "type"), json.peek() == .string else {
                            try json.skip()
                            return
                        }
                        isOther = !json.equals(try json.text(), "search")
                    }
                } else {
                    try json.skip()
                }
            }
            if isSearch, !isOther { calls += 1 }
        }
        searchCalls = calls
    }
}
