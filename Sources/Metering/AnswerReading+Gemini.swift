import WireJSON

/// Gemini's answers and the chunks of their streams, which have the same form (Google, "GenerateContentResponse").
extension AnswerReading {
    mutating func readGemini(_ json: inout JSONScanner) throws(JSONError) {
        while let name = try json.nextMember() {
            if json.equals(name, "usageMetadata"), json.peek() == .object {
                try readUsage(&json)
            } else if json.equals(name, "candidates") {
                isRecognised = true
                try Self.elements(&json) { json throws(JSONError) in try candidate(&json) }
            } else if json.equals(name, "promptFeedback") {
                // A blocked prompt has no candidates: it is answered with its reason.
                isRecognised = true
                try Self.members(&json) { name, json throws(JSONError) in
                    if json.equals(name, "blockReason"), json.peek() == .string { hasFinishReason = true }
                    try json.skip()
                }
            } else if json.equals(name, "modelVersion") {
                try readModel(&json)
            } else if json.equals(name, "error") {
                try readError(&json)
            } else {
                try json.skip()
            }
        }
    }

    private mutating func candidate(_ json: inout JSONScanner) throws(JSONError) {
        try Self.members(&json) { name, json throws(JSONError) in
            if json.equals(name, "finishReason"), json.peek() == .string {
                hasFinishReason = true
                try json.skip()
            } else if json.equals(name, "content") {
                try Self.members(&json) { name, json throws(JSONError) in
                    guard json.equals(name, "parts") else {
                        try json.skip()
                        return
                    }
                    try Self.elements(&json) { json throws(JSONError) in try part(&json) }
                }
            } else {
                try json.skip()
            }
        }
    }

    private mutating func part(_ json: inout JSONScanner) throws(JSONError) {
        try Self.members(&json) { name, json throws(JSONError) in
            // A signature is no output: it stands for thinking that was done.
            if json.equals(name, "thoughtSignature") { try json.skip() } else { try countValue(&json) }
        }
    }
}
