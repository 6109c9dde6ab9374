import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import WireJSON

/// `/v1/billing/subscription`: what the portal tells of subscriptions that are paid for elsewhere.
///
/// The portal's webhooks come more than once, in any order and at the same time. So the keys of what they lead to are made of what the
/// account is at that moment: whatever comes again finds it done.
struct SubscriptionRoutes: Sendable {
    let authenticator: Authenticator
    let writer: LedgerWriter
    let directory: Directory
    let balances: SQLiteBalances

    private static let freePlan = "FREE"
    /// How long before the end of a cycle a call is taken for the payment of the next one: a calendar month can be shorter than a cycle.
    private static let earlySeconds: Int64 = 3 * 86_400

    func add(to router: some RouterMethods<GatewayContext>) {
        router.post("/v1/billing/subscription", use: subscribe)
        router.patch("/v1/billing/subscription/:user_id", use: update)
    }

    /// Puts an account on a plan, and grants the credits of a cycle that is paid.
    ///
    /// The portal's calls do not tell a payment from any other news of a subscription. A call pays where no cycle is running, and in a cycle's last
    /// three days for the next one, which ends a cycle after it. A change to a plan that grants more adds the difference to the running
    /// cycle. Everything else grants nothing, however often it comes.
    @Sendable func subscribe(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try await authenticator.demand(.bill, request, context)
        let header = try request.idempotencyKey()
        let fields = try await BodyFields(request)
        let id = try AccountID(field: "user_id", fields)
        let name = try fields.requiredString("plan_name")
        guard let plan = writer.plans.plans[name] else {
            throw GatewayError(.notFound, "plan_not_found", "Plan '\(name)' not found")
        }
        guard try await directory.user(id) != nil else { throw GatewayError.userNotFound }
        let change = try await change(id, to: name, key: header.map { "subscribe:\($0)" })
        try await grantCycle(of: plan, to: id, change, actor: principal.actor)
        return Self.response("Subscribed to \(name)", isRepeat: header != nil && change.isRepeat)
    }

    /// Ends a subscription: the account is on the free plan again, and keeps until its expiry what was paid for.
    @Sendable func update(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.bill, request, context)
        let header = try request.idempotencyKey()
        let fields = try await BodyFields(request)
        guard try fields.requiredString("status") == "CANCELLED" else {
            throw GatewayError.validation(kind: "enum", field: "status", message: "Input should be 'CANCELLED'")
        }
        let notFound = GatewayError(.notFound, "subscription_not_found", "Active subscription not found")
        let name = context.parameters.get("user_id")?.removingPercentEncoding ?? ""
        guard let id = AccountID(rawValue: name), try await directory.user(id) != nil else { throw notFound }
        let key = header.map { "cancel:\($0)" }
        // What comes again is answered as before, though there is no subscription any more.
        var isKnown = false
        if let key { isKnown = try await balances.isRecorded(key: key) }
        if !isKnown {
            guard let current = try await balances.plan(of: id, ifNot: Self.freePlan), isPaid(current.name) else {
                throw notFound
            }
        }
        let change = try await change(id, to: Self.freePlan, key: key)
        return Self.response("Status updated to CANCELLED", isRepeat: header != nil && change.isRepeat)
    }

    /// A plan that is on offer no more is taken for a paid one: it can be left.
    private func isPaid(_ name: String) -> Bool {
        guard let plan = writer.plans.plans[name] else { return true }
        return plan.microUSD > 0 || plan.cycleCredits > .zero
    }

    /// What became of a change of plans.
    private struct PlanChange {
        /// The event that recorded it; nil where the account was on the plan.
        var event: RecordedEvent?
        /// Whether it had been recorded before, under the client's key.
        var isRepeat = false
    }

    /// Puts an account on a plan.
    ///
    /// Without the client's key, the ledger's is made of the event that put the account on the plan that it leaves: of several that leave it
    /// for the same plan, one is recorded.
    private func change(_ id: AccountID, to plan: String, key: String?) async throws -> PlanChange {
        if let key {
            let command = ChangePlan(key: key, plan: plan)
            let receipt = try await writer.submit(Command(account: id, action: .changePlan(command)))
            return PlanChange(event: receipt.event, isRepeat: receipt.isRepeat)
        }
        var attempts = 1
        while true {
            guard let current = try await balances.plan(of: id, ifNot: plan) else { throw GatewayError.userNotFound }
            guard let since = current.since else { return PlanChange() }
            let command = ChangePlan(key: "plan-change:\(id):\(since)", plan: plan)
            do throws(LedgerError) {
                let receipt = try await writer.submit(Command(account: id, action: .changePlan(command)))
                return PlanChange(event: receipt.event)
            } catch {
                guard case .refused(.keyReused) = error, attempts < 5 else { throw error }
                // It has just left for a third plan: from there, then.
                attempts += 1
            }
        }
    }

    /// Grants the credits of a cycle, where the call is a payment of one, or what a better plan grants beyond the running one.
    ///
    /// Everything is looked at as it was at the change of the plan, so that a request that comes again, however late, finds what the first one
    /// found. The grant's key names the last grant before it: of several that find the same, one is recorded, and the others are refused or
    /// repeats.
    private func grantCycle(of plan: Plan, to id: AccountID, _ change: PlanChange, actor: String) async throws {
        guard plan.cycleCredits > .zero else { return }
        let now = change.event?.recordedAt ?? SystemClock.now()
        let version = change.event?.version ?? .max
        let last = try await balances.lastCycle(of: id, before: version)
        var (amount, until) = (plan.cycleCredits, now.advanced(bySeconds: plan.cycleSeconds))
        if let last, last.until > now {
            if last.until <= now.advanced(bySeconds: Self.earlySeconds) {
                until = last.until.advanced(bySeconds: plan.cycleSeconds)
            } else if change.event != nil, try await isUpgrade(to: plan, of: id, before: version),
                let granted = try await granted(last, to: id), let difference = plan.cycleCredits.subtracting(granted),
                difference > .zero
            {
                (amount, until) = (difference, last.until)
            } else {
                return
            }
        }
        let grant = GrantCredits(
            key: "subscription:\(id):\(last?.id ?? 0)", pool: .subscription, source: .subscription, amount: amount,
            expiresAt: until, reason: "subscribed to \(plan.name)", actor: actor)
        do throws(LedgerError) {
            _ = try await writer.submit(Command(account: id, action: .grant(grant)))
        } catch {
            switch error {
            // Another call has granted the cycle, or the one that was asked for is over.
            case .refused(.keyReused), .refused(.instantInThePast): return
            default: throw error
            }
        }
    }

    /// What was granted for a cycle: for one that an import has brought, what the plan that the account was opened on grants.
    private func granted(_ cycle: (id: GrantID, until: Timestamp, granted: Credits, isImported: Bool), to id: AccountID)
        async throws -> Credits?
    {
        guard cycle.isImported else { return cycle.granted }
        guard let name = try await balances.plan(of: id, before: 2), let plan = writer.plans.plans[name] else {
            return nil
        }
        return plan.cycleCredits.adding(cycle.granted)
    }

    /// Whether the plan that an account was on before a version of its stream is a paid one that grants less.
    private func isUpgrade(to plan: Plan, of id: AccountID, before version: Int64) async throws -> Bool {
        guard let name = try await balances.plan(of: id, before: version), let other = writer.plans.plans[name] else {
            return false
        }
        return other.cycleCredits > .zero && other.cycleCredits < plan.cycleCredits
    }

    private static func response(_ detail: String, isRepeat: Bool) -> Response {
        var headers: HTTPFields = [:]
        if isRepeat { headers[.idempotencyReplayed] = "true" }
        return Response.json(headers: headers) { json in
            json.beginObject()
            json.field("success", true)
            json.field("detail", detail)
            json.endObject()
        }
    }
}
