import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import Projections
import WireJSON

/// `/v1/profile`: what people see of themselves, by their own key or session; a master key that may read names them by `user`.
struct ProfileRoutes: Sendable {
    let authenticator: Authenticator
    let writer: LedgerWriter
    let directory: Directory
    let balances: SQLiteBalances
    let usage: SQLiteUsage
    let desk: LedgerDesk

    func add(to router: some RouterMethods<GatewayContext>) {
        router.get("/v1/profile", use: profile)
        router.get("/v1/profile/usage", use: sums)
        router.get("/v1/profile/keys", use: keys)
        router.get("/v1/profile/logs", use: logs)
        router.get("/v1/profile/payments", use: payments)
        router.get("/v1/profile/statement", use: statement)
    }

    /// The user that a request is about; a 404 where there is none.
    func user(of request: Request, _ context: GatewayContext) async throws -> User {
        let id = try await authenticator.user(of: request, context)
        guard let user = try await directory.user(id) else { throw GatewayError.userNotFound }
        return user
    }

    /// Who one is, and what one has used today, this week and this month, by the clocks of the zone `tz` (UTC where none is stated).
    @Sendable func profile(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let user = try await user(of: request, context)
        let calendar = try UsageCalendar(request)
        let now = SystemClock.now()
        let windows = [UsageCalendar.Unit.day, .week, .month].map { calendar.period($0, at: now) }
        let sums = try await usage.fold(
            of: user.id, from: windows.map(\.start).min() ?? now, to: windows.map(\.end).max() ?? now,
            into: [UsageSum](repeating: UsageSum(), count: windows.count)
        ) { sums, figures in
            for (index, window) in windows.enumerated() where window.contains(figures.recordedAt) {
                sums[index].add(figures)
            }
        }
        let identities = try await directory.identities(of: user.id)
        let balance = try await CurrentBalance(writer: writer, balances: balances).of(user.id)
        let spend = try await usage.cost(of: user.id)
        return Response.json { json in
            json.beginObject()
            json.name("profile")
            json.beginObject()
            json.field("user_id", user.id.rawValue)
            json.nullable("provider", identities.lastUsed?.provider)
            json.nullable("role", user.role)
            json.nullable("name", user.name)
            json.nullable("email", user.email)
            json.nullable("avatar_url", user.avatarURL)
            // The old gateway gave the refresh token here. Nobody is given one that is not theirs to keep.
            json.nullable("refresh_token", String?.none)
            json.field("blocked", balance?.isBlocked ?? false)
            json.usd("spend", picoUSD: spend)
            json.name("metadata")
            json.raw(user.metadata)
            // The old gateway kept two objects; here a user has one.
            json.name("caret_metadata")
            json.raw("{}")
            json.nullable("last_login_at", user.lastLoginAt)
            json.endObject()
            json.name("usage")
            json.beginObject()
            for (name, sum) in zip(["today", "this_week", "this_month"], sums) {
                json.name(name)
                json.beginObject()
                json.members(sum)
                json.endObject()
            }
            json.endObject()
            json.endObject()
        }
    }

    /// One's virtual keys, in the order of their creation.
    @Sendable func keys(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let user = try await user(of: request, context)
        let page = try Page(request)
        let keys = try await directory.keys(of: user.id, skip: page.skip, limit: page.limit)
        return Response.json { json in
            json.beginArray()
            for key in keys { key.write(to: &json) }
            json.endArray()
        }
    }

    /// What was paid for, newest first.
    @Sendable func payments(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let user = try await user(of: request, context)
        let page = try Page(request)
        // What waited for a cycle that has begun meanwhile waits no more.
        let rate = try await CurrentBalance(writer: writer, balances: balances).of(user.id)?.plan
            .flatMap { writer.plans.plans[$0] }?.rate
        let payments = try await balances.payments(of: user.id, skip: page.skip, limit: page.limit)
        return Response.json { json in
            json.beginObject()
            json.field("success", true)
            json.name("data")
            json.beginObject()
            json.name("paymentTransactions")
            json.beginArray()
            for payment in payments {
                json.beginObject()
                json.field("paidAt", payment.paidAt.description)
                json.field("creatorId", user.id.rawValue)
                json.name("amountCents")
                // Where it was not recorded what was paid, it is what the credits cost.
                let microUSD = payment.microUSD ?? (rate ?? .standard).microUSD(for: payment.credits)
                json.raw(Decimal64.text(microUSD, fractionDigits: 4))
                json.field("credits", payment.credits)
                json.nullable("paymentId", payment.id?.rawValue)
                json.field("purchase", payment.kind.rawValue)
                json.nullable("plan", payment.plan)
                json.name("refundedCents")
                json.raw(Decimal64.text(payment.refundedMicroUSD, fractionDigits: 4))
                json.field("waitsForCycle", payment.isWaiting)
                json.endObject()
            }
            json.endArray()
            json.endObject()
            json.endObject()
        }
    }
}

extension [Identity] {
    /// The one that was used last to log in; nil where there is none.
    var lastUsed: Identity? {
        self.max { left, right in
            let (leftUse, rightUse): (Timestamp?, Timestamp?) = (left.lastLoginAt, right.lastLoginAt)
            return (leftUse?.microseconds ?? .min) < (rightUse?.microseconds ?? .min)
        }
    }
}

extension JSONWriter {
    /// The members of a sum of usage, exactly.
    mutating func members(_ sum: UsageSum) {
        field("requests", sum.requests)
        field("prompt_tokens", sum.promptTokens)
        field("completion_tokens", sum.completionTokens)
        field("total_tokens", sum.totalTokens)
        usd("cost", picoUSD: sum.costPicoUSD)
    }
}
