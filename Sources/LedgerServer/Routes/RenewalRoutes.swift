import HTTPTypes
import Hummingbird
import LedgerSQLite
import WireJSON

/// `POST /v1/admin/renewals/trigger`: records what is due in all accounts now, and tries payment messages that wait again. Twice at once or again, each renewal is recorded once.
struct RenewalRoutes: Sendable {
    let authenticator: Authenticator
    let sweep: RenewalSweep
    let inbox: PaymentInbox

    func add(to router: some RouterMethods<GatewayContext>) {
        router.post("/v1/admin/renewals/trigger", use: trigger)
    }

    @Sendable func trigger(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.bill, request, context)
        let result = try await sweep.run()
        try await inbox.retryWaiting()
        return Response.json { json in
            json.beginObject()
            json.field("renewed", result.renewed)
            json.field("expired_accounts", result.expiredAccounts)
            json.endObject()
        }
    }
}
