import HTTPTypes
import Hummingbird
import Synchronization

/// The server's routes, to tell a path that does not exist from one that has no such method (RFC 9110, sections 15.5.5 and 15.5.6).
final class RouteTable: Sendable {
    private struct Route {
        let segments: [Substring]
        let method: HTTPRequest.Method

        func matches(_ path: [Substring]) -> Bool {
            for (index, segment) in segments.enumerated() {
                guard index < path.count else { return false }
                if segment == "**" { return true }
                guard segment.hasPrefix("{") || segment == path[index] else { return false }
            }
            return segments.count == path.count
        }
    }

    private let routes = Mutex<[Route]>([])

    /// Takes the routes of a router, when all have been added.
    func fill(from router: Router<GatewayContext>) {
        let all = router.routes.map { Route(segments: Self.segments("\($0.path)"), method: $0.method) }
        routes.withLock { $0 = all }
    }

    /// The answer to a request that no route takes: 404, or 405 with what the path does take.
    func refusal(of request: Request) -> GatewayError {
        let path = Self.segments(request.uri.path)
        let methods = routes.withLock { routes in
            Set(routes.filter { $0.matches(path) }.map(\.method.rawValue))
        }
        guard !methods.isEmpty else { return GatewayError(.notFound, "not_found", "Not Found") }
        var error = GatewayError(.methodNotAllowed, "method_not_allowed", "Method Not Allowed")
        error.headers[.allow] = methods.sorted().joined(separator: ", ")
        return error
    }

    private static func segments(_ path: String) -> [Substring] { path.split(separator: "/") }
}
