import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import WireJSON

/// `POST /v1/admin/renewals/trigger`: records what is due in all accounts, for an operator's timer.
///
/// Due are the expiries of grants: they count from their instant in any case, and are recorded here for accounts that nobody touches. Twice
/// at once or again, each is recorded once. No plan grants anything by itself yet, so `renewed` is how many were: none.
struct RenewalRoutes: Sendable {
    let authenticator: Authenticator
    let writer: LedgerWriter
    let balances: SQLiteBalances

    private static let accountsAtOnce = 500

    func add(to router: some RouterMethods<GatewayContext>) {
        router.post("/v1/admin/renewals/trigger", use: trigger)
    }

    @Sendable func trigger(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.bill, request, context)
        let now = SystemClock.now()
        var expired = 0
        var last: AccountID?
        while true {
            let accounts = try await balances.accountsWithLapsedGrants(
                at: now, behind: last, limit: Self.accountsAtOnce)
            for account in accounts {
                // nil: a request under way may still need what has lapsed.
                if try await writer.submit(Command(account: account, action: .expireDue)).event != nil { expired += 1 }
            }
            guard accounts.count == Self.accountsAtOnce else { break }
            last = accounts.last
        }
        let count = expired
        return Response.json { json in
            json.beginObject()
            json.field("renewed", 0)
            json.field("expired_accounts", count)
            json.endObject()
        }
    }
}
