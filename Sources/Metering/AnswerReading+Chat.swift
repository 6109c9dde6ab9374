import WireJSON

/// Chat completions and their chunks; embeddings, which share their usage (OpenAI, API reference).
extension AnswerReading {
    /// Reads a chunk or an answer; false where it is neither.
    mutating func readChat(_ json: inout JSONScanner, _ document: inout Document) throws(JSONError) -> Bool {
        var isKnown = false
        while let name = try json.nextMember() {
            if json.equals(name, "choices"), json.peek() == .array {
                isKnown = true
                document.hasEmptyChoices = try choices(&json, &document)
                if !document.hasEmptyChoices { isRecognised = true }
            } else if json.equals(name, "usage"), json.peek() == .object {
                isKnown = true
                document.hasUsage = true
                try readUsage(&json)
            } else if json.equals(name, "x_groq"), json.peek() == .object {
                isKnown = true
                try json.enterObject()
                while let inner = try json.nextMember() {
                    if json.equals(inner, "usage"), json.peek() == .object {
                        try readUsage(&json)
                    } else {
                        try json.skip()
                    }
                }
            } else if json.equals(name, "model") {
                try readModel(&json)
            } else if json.equals(name, "error") {
                try readError(&json)
                isKnown = isKnown || hasError
            } else if json.equals(name, "data"), shape == .embeddings, json.peek() == .array {
                isRecognised = true
                isKnown = true
                try json.skip()
            } else {
                try json.skip()
            }
        }
        return isKnown
    }

    /// Reads `choices`, and says whether there were none.
    private mutating func choices(_ json: inout JSONScanner, _ document: inout Document) throws(JSONError) -> Bool {
        var isEmpty = true
        try json.enterArray()
        while try json.nextElement() {
            isEmpty = false
            guard json.peek() == .object else {
                try json.skip()
                continue
            }
            try json.enterObject()
            while let name = try json.nextMember() {
                if json.equals(name, "finish_reason"), json.peek() == .string {
                    if json.equals(try json.text(), "error") {
                        hasFailedChoice = true
                    } else {
                        hasFinishReason = true
                    }
                } else if json.equals(name, "error") {
                    let before = hasError
                    hasError = false
                    try readError(&json)
                    if hasError { hasFailedChoice = true }
                    hasError = before
                } else if json.equals(name, "delta") || json.equals(name, "message"), json.peek() == .object {
                    try message(&json)
                } else if json.equals(name, "text"), json.peek() == .string {
                    try count(&json)
                } else if json.equals(name, "usage"), json.peek() == .object {
                    // Moonshot's place for it.
                    document.hasUsage = true
                    try readUsage(&json)
                } else {
                    try json.skip()
                }
            }
        }
        return isEmpty
    }

    private mutating func message(_ json: inout JSONScanner) throws(JSONError) {
        try json.enterObject()
        while let name = try json.nextMember() {
            if json.equals(name, "role") {
                try json.skip()
            } else if json.equals(name, "tool_calls"), json.peek() == .array {
                try toolCalls(&json)
            } else {
                // content, reasoning_content, refusal: whatever a provider calls its text; and parts of content, an image, the older
                // `function_call`: output in a shape of its own.
                try countValue(&json)
            }
        }
    }

    private mutating func toolCalls(_ json: inout JSONScanner) throws(JSONError) {
        try json.enterArray()
        while try json.nextElement() {
            guard json.peek() == .object else {
                try json.skip()
                continue
            }
            try json.enterObject()
            while let name = try json.nextMember() {
                guard json.equals(name, "function") || json.equals(name, "custom"), json.peek() == .object else {
                    try json.skip()
                    continue
                }
                try json.enterObject()
                while try json.nextMember() != nil {
                    if json.peek() == .string { try count(&json) } else { try json.skip() }
                }
            }
        }
    }
}
