import Foundation
import Ledger
import WireJSON

/// What a payment provider tells, in words that are no provider's: all that is needed of a message, and nothing that says who somebody is.
struct PaymentNotice: Hashable, Sendable {
    enum Kind: String, Sendable, CaseIterable {
        /// A product was paid for once.
        case orderPaid = "order_paid"
        /// A subscription's invoice was paid.
        case invoicePaid = "invoice_paid"
        case invoiceFailed = "invoice_failed"
        case orderRefunded = "order_refunded"
        case invoiceRefunded = "invoice_refunded"
        /// How a subscription is.
        case subscription
        /// Nothing that concerns the ledger.
        case other
    }

    var kind: Kind
    /// What the provider calls it: of an order, an invoice or a subscription.
    var id: String
    /// When the provider last changed that; of an invoice, when it was written.
    var changedAt: Timestamp
    /// Whose it is, where the message says so.
    var account: AccountID?
    var product: String?
    /// How often the product was bought.
    var quantity: Int64 = 1
    /// The provider's word for how it is: `paid`, `active`, `cancelled` …
    var status = ""
    var subscription: String?
    /// The order that a subscription began with.
    var order: String?
    /// Why an invoice was written: `initial`, `renewal`, `updated`.
    var reason: String?
    /// How much has been given back in all, in the smallest unit of whatever currency; nil: everything.
    var refunded: Int64?
    /// What was to be paid, in the same unit.
    var total: Int64?
    /// Whether no money moved.
    var isTest = false

    /// What it is about, in one text: messages that wait for each other are about the same.
    var subject: String? {
        switch kind {
        case .orderPaid, .orderRefunded: Self.subject(ofOrder: id)
        case .invoicePaid, .invoiceFailed, .invoiceRefunded, .subscription: subscription.map { "subscription:\($0)" }
        case .other: nil
        }
    }

    static func subject(ofOrder id: String) -> String { "order:\(id)" }

    /// As JSON, to be read again by ``init(_:)``.
    var text: String {
        var json = JSONWriter()
        json.beginObject()
        json.field("kind", kind.rawValue)
        json.field("id", id)
        json.field("changed_at", changedAt.microseconds)
        json.optional("account", account?.rawValue)
        json.optional("product", product)
        json.field("quantity", quantity)
        json.field("status", status)
        json.optional("subscription", subscription)
        json.optional("order", order)
        json.optional("reason", reason)
        json.optional("refunded", refunded)
        json.optional("total", total)
        json.field("test", isTest)
        json.endObject()
        return json.text
    }
}

extension PaymentNotice {
    init(_ text: String) throws {
        let fields = try BodyFields(Array(text.utf8))
        guard let kind = Kind(rawValue: try fields.requiredString("kind")),
            let changedAt = try fields.integer("changed_at")
        else { throw GatewayError.missing("kind") }
        self.init(
            kind: kind, id: try fields.requiredString("id"), changedAt: Timestamp(microseconds: changedAt),
            account: try fields.string("account").flatMap(AccountID.init(rawValue:)),
            product: try fields.string("product"), quantity: try fields.integer("quantity") ?? 1,
            status: try fields.requiredString("status"), subscription: try fields.string("subscription"),
            order: try fields.string("order"), reason: try fields.string("reason"),
            refunded: try fields.integer("refunded"), total: try fields.integer("total"),
            isTest: try fields.bool("test") ?? false)
    }
}

/// A payment provider: what its messages look like. Everything else is the same for all (``PaymentInbox``).
protocol PaymentProvider: Sendable {
    /// As in the route of its messages, and before the colon of its payments' names.
    var name: String { get }
    var products: [String: ProductConfiguration] { get }
    /// Whether messages about which no money moved count; else they are for an operator to see.
    var takesTests: Bool { get }

    /// Whether a message is the provider's own: compared in constant time, over the bytes as they came.
    func isAuthentic(_ body: [UInt8], signature: String?) -> Bool

    /// The header that has the signature.
    var signatureHeader: String { get }

    /// What a message says, and what the provider calls it.
    func read(_ body: [UInt8]) throws -> (name: String, notice: PaymentNotice)

    /// Where somebody pays for a product, with what makes the message about it name the account.
    func checkoutURL(of product: ProductConfiguration, for account: AccountID) -> String?
}
