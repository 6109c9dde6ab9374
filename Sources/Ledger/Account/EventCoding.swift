public import WireJSON

// The stored form of events: `type` names the event and its schema version, `data` is a JSON object with exactly the fields
// below, in this order and without white space. Optional fields are left out where there is no value. Amounts are integers
// in the unit that the field names. ARCHITECTURE.md has the catalogue; `fixtures/events` has one of every version.

extension LedgerEvent {
    /// The stable wire name with its schema version.
    public var type: String {
        switch self {
        case .accountOpened(let event): event.first == nil ? "account_opened.v1" : "account_opened.v2"
        case .planChanged: "plan_changed.v1"
        case .creditsGranted: "credits_granted.v1"
        case .grantExpired: "grant_expired.v1"
        case .holdPlaced: "hold_placed.v1"
        case .holdReleased: "hold_released.v1"
        case .requestCharged(let event): event.excess == nil ? "request_charged.v1" : "request_charged.v2"
        case .chargeReversed(let event): event.refundDebt.isEmpty ? "charge_reversed.v1" : "charge_reversed.v2"
        case .creditsWithdrawn: "credits_withdrawn.v1"
        case .usageImported: "usage_imported.v1"
        case .accountBlocked: "account_blocked.v1"
        case .accountUnblocked: "account_unblocked.v1"
        case .accountErased: "account_erased.v1"
        case .priceSet: "price_set.v1"
        case .priceRemoved: "price_removed.v1"
        case .planSet: "plan_set.v1"
        case .renewalEvaluated: "renewal_evaluated.v1"
        case .planScheduled: "plan_scheduled.v1"
        case .paymentRecorded: "payment_recorded.v1"
        case .paymentRefunded: "payment_refunded.v1"
        case .paymentFailed: "payment_failed.v1"
        case .limitsSet: "limits_set.v1"
        case .budgetSet: "budget_set.v1"
        }
    }

    /// The bytes that are stored and hashed.
    public func encoded() -> [UInt8] {
        var json = JSONWriter()
        json.beginObject()
        switch self {
        case .accountOpened(let event): event.encode(into: &json)
        case .planChanged(let event): event.encode(into: &json)
        case .creditsGranted(let event): event.encode(into: &json)
        case .grantExpired(let event):
            json.field("grant", event.grant)
            json.field("amount", event.amount.nanos)
            json.field("balance", event.balance.nanos)
        case .holdPlaced(let event): event.encode(into: &json)
        case .holdReleased(let event):
            json.field("request", event.request.rawValue)
            event.origin.encode(into: &json)
            json.field("amount", event.amount.nanos)
            json.field("reason", event.reason.rawValue)
            json.optional("upstream_status", event.upstreamStatus)
        case .requestCharged(let event): event.encode(into: &json)
        case .chargeReversed(let event): event.encode(into: &json)
        case .creditsWithdrawn(let event):
            json.field("amount", event.amount.nanos)
            json.encode("allocations", event.allocations)
            json.field("reason", event.reason)
            json.field("actor", event.actor)
            json.field("balance", event.balance.nanos)
        case .usageImported(let event): event.encode(into: &json)
        case .accountBlocked(let event): json.field("actor", event.actor)
        case .accountUnblocked(let event): json.field("actor", event.actor)
        case .accountErased(let event): json.field("actor", event.actor)
        case .priceSet(let event):
            json.field("model", event.model)
            event.price.encode(into: &json)
            json.field("valid_from", event.validFrom.microseconds)
            json.field("actor", event.actor)
        case .priceRemoved(let event):
            json.field("model", event.model)
            json.field("valid_from", event.validFrom.microseconds)
            json.field("actor", event.actor)
        case .planSet(let event): event.plan.encode(into: &json)
        case .renewalEvaluated(let event): event.encode(into: &json)
        case .planScheduled(let event): event.encode(into: &json)
        case .paymentRecorded(let event): event.encode(into: &json)
        case .paymentRefunded(let event): event.encode(into: &json)
        case .paymentFailed(let event): event.encode(into: &json)
        case .limitsSet(let event): event.encode(into: &json)
        case .budgetSet(let event): event.encode(into: &json)
        }
        json.endObject()
        return json.bytes
    }

    /// Reads an event as it was stored. Older schema versions are upcast here.
    ///
    /// Throws where the type is unknown or the data are not exactly what ``encoded()`` writes.
    public init(type: UnsafeBufferPointer<UInt8>, data: UnsafeBufferPointer<UInt8>) throws(EventCodingError) {
        let name = JSONScanner(type)
        let all = 0..<name.count
        var json = JSONScanner(data)
        do throws(JSONError) {
            try json.enterObject()
            // The two events of every request come first: they are nearly all there are.
            if name.equals(all, "hold_placed.v1") {
                self = .holdPlaced(try HoldPlaced(from: &json))
            } else if name.equals(all, "request_charged.v2") {
                self = .requestCharged(try RequestCharged(from: &json, isBounded: true))
            } else if name.equals(all, "hold_released.v1") {
                self = .holdReleased(try HoldReleased(from: &json))
            } else if name.equals(all, "request_charged.v1") {
                self = .requestCharged(try RequestCharged(from: &json, isBounded: false))
            } else if name.equals(all, "credits_granted.v1") {
                self = .creditsGranted(try CreditsGranted(from: &json))
            } else if name.equals(all, "grant_expired.v1") {
                self = .grantExpired(
                    GrantExpired(
                        grant: try json.integer(field: "grant"), amount: try json.credits("amount"),
                        balance: try json.credits("balance")))
            } else if name.equals(all, "renewal_evaluated.v1") {
                self = .renewalEvaluated(try RenewalEvaluated(from: &json))
            } else if name.equals(all, "account_opened.v2") {
                self = .accountOpened(try AccountOpened(from: &json))
            } else if name.equals(all, "account_opened.v1") {
                self = .accountOpened(
                    AccountOpened(plan: try json.string(field: "plan"), rate: try json.rate(), first: nil))
            } else if name.equals(all, "plan_changed.v1") {
                self = .planChanged(try PlanChanged(from: &json))
            } else if name.equals(all, "plan_scheduled.v1") {
                self = .planScheduled(try PlanScheduled(from: &json))
            } else if name.equals(all, "payment_recorded.v1") {
                self = .paymentRecorded(try PaymentRecorded(from: &json))
            } else if name.equals(all, "payment_refunded.v1") {
                self = .paymentRefunded(try PaymentRefunded(from: &json))
            } else if name.equals(all, "payment_failed.v1") {
                self = .paymentFailed(try PaymentFailed(from: &json))
            } else if name.equals(all, "limits_set.v1") {
                self = .limitsSet(try LimitsSet(from: &json))
            } else if name.equals(all, "budget_set.v1") {
                self = .budgetSet(try BudgetSet(from: &json))
            } else if name.equals(all, "charge_reversed.v1") {
                self = .chargeReversed(try ChargeReversed(from: &json, settlesRefunds: false))
            } else if name.equals(all, "charge_reversed.v2") {
                self = .chargeReversed(try ChargeReversed(from: &json, settlesRefunds: true))
            } else if name.equals(all, "credits_withdrawn.v1") {
                self = .creditsWithdrawn(
                    CreditsWithdrawn(
                        amount: try json.credits("amount"), allocations: try json.allocations("allocations"),
                        reason: try json.string(field: "reason"), actor: try json.string(field: "actor"),
                        balance: try json.credits("balance")))
            } else if name.equals(all, "usage_imported.v1") {
                self = .usageImported(try UsageImported(from: &json))
            } else if name.equals(all, "account_blocked.v1") {
                self = .accountBlocked(AccountBlocked(actor: try json.string(field: "actor")))
            } else if name.equals(all, "account_unblocked.v1") {
                self = .accountUnblocked(AccountUnblocked(actor: try json.string(field: "actor")))
            } else if name.equals(all, "account_erased.v1") {
                self = .accountErased(AccountErased(actor: try json.string(field: "actor")))
            } else if name.equals(all, "price_set.v1") {
                self = .priceSet(
                    PriceSet(
                        model: try json.string(field: "model"), price: try Price(from: &json),
                        validFrom: Timestamp(microseconds: try json.integer(field: "valid_from")),
                        actor: try json.string(field: "actor")))
            } else if name.equals(all, "price_removed.v1") {
                self = .priceRemoved(
                    PriceRemoved(
                        model: try json.string(field: "model"),
                        validFrom: Timestamp(microseconds: try json.integer(field: "valid_from")),
                        actor: try json.string(field: "actor")))
            } else if name.equals(all, "plan_set.v1") {
                self = .planSet(PlanSet(plan: try Plan(from: &json)))
            } else {
                throw JSONError(.unexpectedField, at: -1)
            }
            try json.leaveObject()
            try json.end()
        } catch {
            if error.offset < 0 { throw .unknownType(String(decoding: type, as: UTF8.self)) }
            throw .malformedData(type: String(decoding: type, as: UTF8.self), error)
        }
    }

    /// Reads an event from strings; for tests and tools, where speed does not matter.
    public init(type: String, data: [UInt8]) throws(EventCodingError) {
        let result = Array(type.utf8).withUnsafeBufferPointer { name in
            data.withUnsafeBufferPointer { bytes in
                Result { () throws(EventCodingError) in try LedgerEvent(type: name, data: bytes) }
            }
        }
        self = try result.get()
    }
}

/// Why a stored event cannot be read.
public enum EventCodingError: Error, Equatable, Sendable, CustomStringConvertible {
    case unknownType(String)
    case invalidAccount(String)
    /// Microseconds since 1970 that no clock can have said.
    case invalidInstant(Int64)
    case malformedData(type: String, JSONError)

    public var description: String {
        switch self {
        case .unknownType(let type): "unknown event type '\(type)'"
        case .invalidAccount(let account): "'\(account)' is no account id"
        case .invalidInstant(let microseconds): "it is of an instant that is none (\(microseconds))"
        case .malformedData(let type, let error): "the data of an event '\(type)' are malformed: \(error)"
        }
    }
}
