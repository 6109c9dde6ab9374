/// The addresses to which a login may lead back, as the operator lists them.
///
/// An address is taken where it is one of the list, character for character; of a loopback address the port is the client's choice
/// (RFC 8252, section 7.3). Nothing is parsed loosely: what a browser and we could read differently is refused.
public struct CallbackList: Sendable {
    private let addresses: [String]

    /// The list; nil where an address is neither `https`, nor `http` to the machine itself, nor of a scheme of an application's own, or
    /// where it has a fragment, user information or odd characters.
    public init?(_ addresses: [String]) {
        for address in addresses {
            guard let parts = Parts(address), !address.contains("#"), parts.isListable else { return nil }
        }
        self.addresses = addresses
    }

    /// Whether a login may lead there.
    public func allows(_ address: String) -> Bool {
        guard address.utf8.count <= 2048, let parts = Parts(address) else { return false }
        return addresses.contains { listed in
            if listed == address { return true }
            guard let own = Parts(listed), own.isLoopback, own.port == nil else { return false }
            return parts.scheme == "http" && parts.host == own.host && parts.rest == own.rest
        }
    }

    /// Whether an address leads to an application on the person's own machine: by a scheme of its own, or by a loopback address.
    public static func isOnOwnMachine(_ address: String) -> Bool {
        guard let parts = Parts(address) else { return false }
        return parts.isLoopback || !["http", "https"].contains(parts.scheme)
    }

    /// An address with something added to its query, which is escaped.
    public static func appending(_ members: [(name: String, value: String)], to address: String) -> String {
        var result = address
        for (name, value) in members {
            result += result.contains("?") ? "&" : "?"
            result += name + "=" + percentEncoded(value)
        }
        return result
    }

    /// A text as it may stand in a query, whatever reads it: all but unreserved characters (RFC 3986, section 2.3) are escaped.
    public static func percentEncoded(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            if Base64URL.isDigit(byte) || byte == 0x2E || byte == 0x7E {
                bytes.append(byte)
            } else {
                bytes += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// An address in its parts, of the few forms that are listed at all.
    private struct Parts {
        let scheme: String
        let host: String
        let port: Int?
        /// Path and query.
        let rest: String

        init?(_ address: String) {
            guard address.utf8.allSatisfy({ (0x21...0x7E).contains($0) && !Array("\\\"<>^`{|}#@".utf8).contains($0) }),
                let colon = address.firstIndex(of: ":")
            else { return nil }
            scheme = String(address[..<colon])
            guard let first = scheme.utf8.first, (0x61...0x7A).contains(first),
                scheme.utf8.allSatisfy({
                    (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2B || $0 == 0x2D || $0 == 0x2E
                })
            else { return nil }
            var tail = address[address.index(after: colon)...]
            guard tail.hasPrefix("//") else { return nil }
            tail = tail.dropFirst(2)
            let authority = tail.prefix { $0 != "/" && $0 != "?" }
            rest = String(tail.dropFirst(authority.count))
            if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") {
                host = String(authority[...end])
                let behind = authority[authority.index(after: end)...]
                guard let port = Self.port(behind) else { return nil }
                self.port = port.value
            } else {
                let name = authority.prefix { $0 != ":" }
                host = String(name)
                guard !host.isEmpty, let port = Self.port(authority.dropFirst(name.count)) else { return nil }
                self.port = port.value
            }
        }

        private static func port(_ text: Substring) -> (value: Int?, Void)? {
            if text.isEmpty { return (nil, ()) }
            guard text.hasPrefix(":"), text.dropFirst().utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                let port = UInt16(text.dropFirst()), port > 0, text.utf8.count <= 6
            else { return nil }
            return (Int(port), ())
        }

        var isLoopback: Bool { scheme == "http" && ["127.0.0.1", "[::1]", "localhost"].contains(host) }

        /// Schemes that a browser runs or shows instead of following them are none of an application's own.
        var isListable: Bool {
            switch scheme {
            case "https": host.contains(".") || host == "localhost"
            case "http": isLoopback
            case "javascript", "data", "file", "vbscript", "blob", "about", "ftp", "ws", "wss", "view-source": false
            default: true
            }
        }
    }
}
