import HTTPTypes
import Hummingbird

extension Request {
    /// A parameter of the query, with its escapes resolved; nil where it is not there.
    func query(_ name: Substring) -> String? {
        uri.queryParameters[name].map { String($0) }
    }

    /// A parameter of the query, unless it is empty.
    func stated(_ name: Substring) -> String? {
        query(name).flatMap { $0.isEmpty ? nil : $0 }
    }

    /// A parameter of the query as it was written, with its escapes; nil where it is absent or empty.
    func written(_ name: String) -> String? {
        for member in (uri.query ?? "").split(separator: "&") where member.hasPrefix(name + "=") {
            let value = member.dropFirst(name.utf8.count + 1)
            return value.isEmpty ? nil : String(value)
        }
        return nil
    }
}

extension GatewayError {
    /// A 422 for a parameter of the query.
    static func query(_ name: String, kind: String, _ message: String) -> GatewayError {
        validation(kind: kind, field: name, message: message, location: "query")
    }
}
