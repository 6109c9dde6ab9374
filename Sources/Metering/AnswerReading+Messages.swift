import WireJSON

/// Anthropic's messages and the events of their streams (Anthropic, "Messages API" and "Streaming messages").
extension AnswerReading {
    mutating func readMessage(_ json: inout JSONScanner) throws(JSONError) {
        while let name = try json.nextMember() {
            if json.equals(name, "type"), json.peek() == .string {
                let text = try json.text()
                if json.equals(text, "message") {
                    isRecognised = true
                } else if json.equals(text, "message_stop") {
                    hasFinishReason = true
                    isOver = true
                } else if json.equals(text, "error") {
                    hasError = true
                }
            } else if json.equals(name, "message") {
                // message_start: its usage is a first figure.
                isRecognised = true
                try Self.members(&json) { name, json throws(JSONError) in
                    if json.equals(name, "usage"), json.peek() == .object {
                        try readUsage(&json, .opening)
                    } else if json.equals(name, "model") {
                        try readModel(&json)
                    } else {
                        try json.skip()
                    }
                }
            } else if json.equals(name, "usage"), json.peek() == .object {
                try readUsage(&json)
            } else if json.equals(name, "delta") || json.equals(name, "content_block") {
                try block(&json)
            } else if json.equals(name, "content") {
                try Self.elements(&json) { json throws(JSONError) in try block(&json) }
            } else if json.equals(name, "model") {
                try readModel(&json)
            } else if json.equals(name, "stop_reason"), json.peek() == .string {
                hasFinishReason = true
                try json.skip()
            } else if json.equals(name, "error") {
                try readError(&json)
            } else {
                try json.skip()
            }
        }
    }

    /// A block of content, or a delta of one.
    private mutating func block(_ json: inout JSONScanner) throws(JSONError) {
        try Self.members(&json) { name, json throws(JSONError) in
            if json.equals(name, "stop_reason") {
                if json.peek() == .string { hasFinishReason = true }
                try json.skip()
            } else if json.equals(name, "text") || json.equals(name, "thinking") || json.equals(name, "partial_json")
                || json.equals(name, "name")
            {
                try countValue(&json)
            } else if json.equals(name, "input"), json.peek() == .object {
                // `{}` opens a streamed call.
                let range = try json.skip()
                if range.count > 2 { countUnread(range.count) }
            } else {
                try json.skip()
            }
        }
    }
}
