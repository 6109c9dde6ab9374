import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import Projections
import WireJSON

/// `/health`: whether the process lives, and whether it can do its work.
struct HealthRoutes: Sendable {
    let writer: LedgerWriter
    let registry: RequestRegistry
    let follower: UsageService
    let upstreams: [String: Upstream]
    let exposure: Exposure
    let authenticator: Authenticator

    static let version = "0.1.0"

    func add(to router: some RouterMethods<GatewayContext>) {
        router.get("/health") { _, _ in
            Response.json { json in
                json.beginObject()
                json.field("status", "healthy")
                json.endObject()
            }
        }
        router.get("/health/liveness") { _, _ in Response.json { $0.value("I'm alive!") } }
        router.get("/health/readiness", use: readiness)
    }

    /// Ready: the writer writes and the server is not stopping. Tells how far the usage read models are behind, and which providers are given
    /// up for the moment; without one of them, the others are still there. To the operator's keys also what nobody was charged for: how much business is
    /// done is not for everybody.
    @Sendable func readiness(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let database: String
        switch writer.health {
        case .healthy: database = "connected"
        case .failing: database = "failing: the last write failed"
        case .stopped: database = "stopped: nothing is written until a restart"
        case .closed: database = "closed"
        }
        var isOperators = false
        if Authenticator.hasCredential(request),
            let principal = try? await authenticator.principal(of: request, context),
            case .master(let key) = principal
        {
            isOperators = key.role.has(.read)
        }
        let isReady = writer.health == .healthy && !registry.isStopping
        return Response.json(isReady ? .ok : .serviceUnavailable) { json in
            json.beginObject()
            json.field("status", isReady ? "healthy" : "unhealthy")
            json.field("database", database)
            json.field("version", Self.version)
            json.field("requests_under_way", registry.count)
            json.field("queue_length", writer.queueLength)
            json.nullable("usage_lag", follower.lag)
            json.name("providers")
            json.beginObject()
            for (name, upstream) in upstreams.sorted(by: { $0.key < $1.key }) {
                json.name(name)
                json.value(upstream.circuit.closedFor() == nil ? "available" : "unavailable")
            }
            json.endObject()
            if isOperators {
                json.name("exposure")
                exposure.write(to: &json)
            }
            json.endObject()
        }
    }
}
