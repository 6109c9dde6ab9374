import Crypto
import Foundation
import Ledger
import LedgerSQLite
import Logging
import Projections

/// Turns what payment providers tell into commands of the ledger: each payment counts once, in whatever order, number and pace messages come.
///
/// A message is written down before anything is made of it, so a crash loses none. What it leads to has a key made of the provider's own
/// name of the payment: that it happens once is the ledger's rule, and not this table's. What needs something that has not come yet waits
/// for it; what nobody knows what to do with is kept for an operator.
struct PaymentInbox: Sendable {
    let providers: [String: any PaymentProvider]
    let writer: LedgerWriter
    let directory: Directory
    let balances: SQLiteBalances
    let logger: Logger

    /// How long a message waits for what it needs, before an operator is asked.
    private static let patienceSeconds: Int64 = 3 * 86_400
    /// How many messages about one subscription or order are tried again at once.
    private static let relatives = 100
    /// How much later than an invoice the change that it is for may be dated: the provider does both in one breath.
    private static let breathSeconds: Int64 = 600

    /// What became of a message.
    enum Outcome: Sendable {
        case done(String)
        case waiting(String)
        case dead(String)
    }

    // MARK: Messages

    /// Takes an authentic message; gives what is known of it when it has been dealt with.
    func receive(_ body: [UInt8], from provider: any PaymentProvider) async throws -> Delivery {
        let id = SHA256.hash(data: Array(provider.name.utf8) + [0] + body)
            .map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        if let known = try await directory.delivery(id), known.status == .done || known.status == .resolved {
            return known
        }
        let now = SystemClock.now()
        let (name, notice): (String, PaymentNotice)
        do {
            (name, notice) = try provider.read(body)
        } catch {
            // It is the provider's own, so it may be about money: nobody shall have to find out by themselves.
            let reason = (error as? GatewayError)?.message ?? "\(error)"
            let unread = Delivery(
                id: id, provider: provider.name, name: "unreadable", notice: "{}", status: .dead,
                detail: "the message cannot be read (\(reason)): look it up at the provider", receivedAt: now,
                attempts: 0)
            warn(unread, reason)
            return try await directory.receive(unread)
        }
        let delivery = try await directory.receive(
            Delivery(
                id: id, provider: provider.name, name: name, notice: notice.text, status: .waiting, detail: nil,
                receivedAt: now, attempts: 0, subject: notice.subject))
        try await handle(delivery)
        return try await directory.delivery(id) ?? delivery
    }

    /// Tries again some of what waits, in turn; what has waited too long is for an operator.
    func retryWaiting() async throws {
        for delivery in try await directory.waitingDeliveries(limit: 500) { try await handle(delivery) }
    }

    /// Deals with a delivery, and with what has waited for it. `account`: whose an operator says that it is.
    func handle(_ delivery: Delivery, account: AccountID? = nil, actor: String? = nil) async throws {
        guard try await attempt(delivery, account: account, actor: actor) else { return }
        let subjects = try await subjects(waitingFor: delivery)
        guard !subjects.isEmpty else { return }
        var isNews = true
        while isNews {
            isNews = false
            let waiting = try await directory.waitingDeliveries(
                about: subjects, of: delivery.provider, limit: Self.relatives)
            for other in waiting where other.id != delivery.id {
                if try await attempt(other) { isNews = true }
            }
        }
    }

    /// What messages are about that may have waited for this one: its subscription, and the order with which that began.
    private func subjects(waitingFor delivery: Delivery) async throws -> [String] {
        guard let notice = try? PaymentNotice(delivery.notice), let subject = notice.subject else { return [] }
        var order = notice.kind == .subscription ? notice.order : nil
        if order == nil, let id = notice.subscription {
            order = try await directory.subscription(id, of: delivery.provider)?.firstOrder
        }
        return [subject] + (order.map { [PaymentNotice.subject(ofOrder: $0)] } ?? [])
    }

    /// Tries to deal with a delivery, and writes down what became of it; says whether it is done.
    private func attempt(
        _ delivery: Delivery, account: AccountID? = nil, actor: String? = nil
    ) async throws -> Bool {
        let outcome: Outcome
        if let provider = providers[delivery.provider], var notice = try? PaymentNotice(delivery.notice) {
            if let account { notice.account = account }
            outcome = try await process(notice, name: delivery.name, provider, isForced: account != nil)
        } else {
            outcome = .dead(
                providers[delivery.provider] == nil
                    ? "the provider is not configured any more" : delivery.detail ?? "the message cannot be read")
        }
        let now = SystemClock.now()
        switch outcome {
        case .done(let detail):
            try await directory.update(delivery.id, to: .done, detail: detail, by: actor, at: now)
            return true
        case .waiting(let detail):
            let isLate = delivery.receivedAt.advanced(bySeconds: Self.patienceSeconds) < now
            if isLate { warn(delivery, detail) }
            try await directory.update(delivery.id, to: isLate ? .dead : .waiting, detail: detail, at: now)
        case .dead(let detail):
            warn(delivery, detail)
            try await directory.update(delivery.id, to: .dead, detail: detail, at: now)
        }
        return false
    }

    private func warn(_ delivery: Delivery, _ detail: String) {
        logger.warning(
            "a payment provider's message needs an operator: GET /v1/billing/deliveries?status=dead",
            metadata: ["delivery": "\(delivery.id)", "name": "\(delivery.name)", "detail": "\(detail)"])
    }

    // MARK: What they mean

    private func process(
        _ notice: PaymentNotice, name: String, _ provider: any PaymentProvider, isForced: Bool
    ) async throws -> Outcome {
        if notice.isTest, !provider.takesTests {
            return .dead("a test, in which no money moved (payments.\(provider.name).test_mode takes them)")
        }
        switch notice.kind {
        case .orderPaid: return try await orderPaid(notice, provider)
        case .invoicePaid: return try await invoicePaid(notice, provider)
        case .invoiceFailed: return try await invoiceFailed(notice, provider)
        case .orderRefunded, .invoiceRefunded: return try await refunded(notice, provider)
        case .subscription: return try await subscription(notice, provider, isForced: isForced)
        case .other: return .done("nothing that concerns credits")
        }
    }

    private func orderPaid(_ notice: PaymentNotice, _ provider: any PaymentProvider) async throws -> Outcome {
        guard let product = notice.product.flatMap({ provider.products[$0] }) else {
            return .dead("the product \(notice.product ?? "?") is not configured")
        }
        guard case .credits(let credits, let microUSD) = product.item else {
            return .done("the first order of a subscription: its invoices pay for the cycles")
        }
        guard notice.status == "paid" else { return .dead("the order is '\(notice.status)', not paid") }
        guard let account = notice.account else { return .dead("it names no user") }
        guard try await directory.user(account) != nil else { return .dead("there is no such user") }
        // The provider signs how many were bought; what one is, our configuration says.
        guard (1...1000).contains(notice.quantity) else { return .dead("a quantity of \(notice.quantity)") }
        let (nanos, overflow) = credits.nanos.multipliedReportingOverflow(by: notice.quantity)
        let (price, isTooDear) = microUSD.multipliedReportingOverflow(by: notice.quantity)
        guard !overflow, !isTooDear else { return .dead("a quantity of \(notice.quantity)") }
        return try await pay(
            "order-\(notice.id)", .credits(Credits(nanos: nanos), microUSD: price), by: account, provider)
    }

    private func invoicePaid(_ notice: PaymentNotice, _ provider: any PaymentProvider) async throws -> Outcome {
        guard let subscription = try await known(notice, provider) else {
            return .waiting("the subscription \(notice.subscription ?? "?") has not been told of yet")
        }
        guard notice.status == "paid" || notice.status.isEmpty else {
            return .dead("the invoice is '\(notice.status)', not paid")
        }
        // What it pays for is what the subscription was on when it was written, whatever has become of that since.
        let written = notice.changedAt.advanced(bySeconds: Self.breathSeconds)
        guard let plan = try await directory.plan(of: subscription, at: written) else {
            return .dead("the subscription's product is not configured")
        }
        let isUpgrade = notice.reason == "updated"
        if isUpgrade, let total = notice.total, total <= 0 { return .done("an invoice over nothing buys nothing") }
        let outcome = try await pay(
            "invoice-\(notice.id)", isUpgrade ? .upgrade(plan: plan) : .cycle(plan: plan), by: subscription.account,
            provider)
        if case .done = outcome, notice.reason == "initial",
            let payment = PaymentID(rawValue: "\(provider.name):invoice-\(notice.id)")
        {
            try await directory.remember(firstPayment: payment, of: subscription.id, at: provider.name)
        }
        return outcome
    }

    private func pay(
        _ id: String, _ purchase: Purchase, by account: AccountID, _ provider: any PaymentProvider
    ) async throws -> Outcome {
        guard let payment = PaymentID(rawValue: "\(provider.name):\(id)") else { return .dead("no name for a payment") }
        let command = RecordPayment(payment: payment, purchase: purchase, actor: provider.name)
        do throws(LedgerError) {
            let receipt = try await writer.submit(Command(account: account, action: .pay(command)))
            return .done(receipt.isRepeat ? "was recorded before as \(payment)" : "recorded as \(payment)")
        } catch {
            switch error {
            case .refused(.keyReused):
                // Recorded before, on the terms of then.
                guard try await balances.account(ofPayment: payment) == account else {
                    return .dead("\(payment) was recorded for another account")
                }
                return .done("was recorded before as \(payment)")
            case .refused(.nothingToUpgrade):
                return .waiting("nothing is known of a better plan to which the subscription has changed")
            case .refused(let refusal): return .dead("the ledger refuses it: \(refusal)")
            default: throw GatewayError(error)
            }
        }
    }

    private func invoiceFailed(_ notice: PaymentNotice, _ provider: any PaymentProvider) async throws -> Outcome {
        guard let subscription = try await known(notice, provider) else {
            return .waiting("the subscription \(notice.subscription ?? "?") has not been told of yet")
        }
        guard let payment = PaymentID(rawValue: "\(provider.name):invoice-\(notice.id)") else {
            return .dead("no name for a payment")
        }
        let command = RecordPaymentFailure(payment: payment, plan: subscription.plan, actor: provider.name)
        do throws(LedgerError) {
            _ = try await writer.submit(Command(account: subscription.account, action: .failPayment(command)))
        } catch {
            guard case .refused = error else { throw GatewayError(error) }
        }
        return .done("the plan ends where no payment follows")
    }

    private func refunded(_ notice: PaymentNotice, _ provider: any PaymentProvider) async throws -> Outcome {
        let kind = notice.kind == .orderRefunded ? "order" : "invoice"
        var payment = PaymentID(rawValue: "\(provider.name):\(kind)-\(notice.id)")
        if notice.kind == .orderRefunded,
            let subscription = try await directory.subscription(beganWith: notice.id, at: provider.name)
        {
            // A subscription's first order and its first invoice are one payment.
            payment = subscription.firstPayment
        }
        guard let payment, let account = try await balances.account(ofPayment: payment) else {
            return .waiting("the payment has not been told of yet")
        }
        let row = try await balances.payment(payment, of: account)
        var extent = RefundPayment.Extent.rest
        if let refunded = notice.refunded, let total = notice.total, total > 0, refunded < total {
            guard refunded > 0, let price = row?.microUSD else { return .dead("a refund of nothing") }
            extent = .upTo(microUSD: Int64(clamping: Int128(price) * Int128(refunded) / Int128(total)))
        }
        // The sum names the refund: the same sum again is the same refund.
        let command = RefundPayment(
            key: "refunded:\(payment):\(notice.refunded.map(String.init) ?? "all")", payment: payment, extent,
            reason: "refunded at \(provider.name)", actor: provider.name)
        do throws(LedgerError) {
            _ = try await writer.submit(Command(account: account, action: .refund(command)))
            return .done("refunded \(payment)")
        } catch {
            guard case .refused(let refusal) = error else { throw GatewayError(error) }
            return .dead("the ledger refuses it: \(refusal)")
        }
    }

    private func known(
        _ notice: PaymentNotice, _ provider: any PaymentProvider
    ) async throws -> ProviderSubscription? {
        guard let id = notice.subscription else { return nil }
        return try await directory.subscription(id, of: provider.name)
    }

    /// How a subscription is. It moves no money: what it can do is to end the plan at its boundary, to take that back, and to name a lesser plan.
    private func subscription(
        _ notice: PaymentNotice, _ provider: any PaymentProvider, isForced: Bool
    ) async throws -> Outcome {
        let before = try await directory.subscription(notice.id, of: provider.name)
        guard let account = before?.account ?? notice.account else { return .dead("it names no user") }
        guard try await directory.user(account) != nil else { return .dead("there is no such user") }
        var plan: String?
        if let product = notice.product.flatMap({ provider.products[$0] }), case .plan(let name) = product.item {
            plan = name
        }
        guard let plan else { return .dead("the product \(notice.product ?? "?") is not configured as a plan") }
        let now = try await directory.remember(
            ProviderSubscription(
                provider: provider.name, id: notice.id, account: account, plan: plan, status: notice.status,
                firstOrder: notice.order, changedAt: notice.changedAt))
        guard now.changedAt == notice.changedAt, now.status == notice.status else {
            return .done("something newer is known")
        }
        guard let balance = try await balances.balance(of: account, at: SystemClock.now()),
            let current = balance.plan, let running = writer.plans.plans[current]
        else { return .done("noted") }
        let isOver = Self.isOver(notice.status)
        let wanted: String
        if isOver {
            // Another subscription's plan is not this one's to end.
            guard current == plan || before?.plan == current else { return .done("the account is on another plan") }
            if try await isPaid(current, of: account, byOtherThan: now) {
                return .done("another subscription goes on with the plan")
            }
            wanted = Plan.freeName
        } else {
            // A better plan begins with its payment, and so does the first.
            guard running.isPaid, let terms = writer.plans.plans[plan], terms.cycleCredits <= running.cycleCredits
            else { return .done("noted: its payment begins it") }
            if plan != current, try await isPaid(current, of: account, byOtherThan: now) {
                return .done("another subscription goes on with the plan")
            }
            wanted = plan
        }
        let schedule = SchedulePlan(plan: wanted, actor: provider.name)
        do throws(LedgerError) {
            _ = try await writer.submit(Command(account: account, action: .schedulePlan(schedule)))
            return .done("the next cycle is on \(wanted)")
        } catch {
            guard case .refused(let refusal) = error else { throw GatewayError(error) }
            return .dead("the ledger refuses it: \(refusal)")
        }
    }
    private static func isOver(_ status: String) -> Bool { ["cancelled", "expired"].contains(status) }

    /// Whether an account has another subscription to a plan, which is not over.
    private func isPaid(
        _ plan: String, of account: AccountID, byOtherThan subscription: ProviderSubscription
    ) async throws -> Bool {
        try await directory.subscriptions(of: account).contains { other in
            (other.provider, other.id) != (subscription.provider, subscription.id) && other.plan == plan
                && !Self.isOver(other.status)
        }
    }
}
