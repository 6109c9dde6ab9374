import Crypto
import Foundation
import Ledger

/// LemonSqueezy (Lemon Squeezy, "Webhooks" and "API reference: orders, subscriptions, subscription invoices").
struct LemonSqueezy: PaymentProvider {
    let configuration: PaymentProviderConfiguration

    var name: String { configuration.name }
    var products: [String: ProductConfiguration] { configuration.products }
    var takesTests: Bool { configuration.takesTests }
    /// `X-Signature`: the HMAC-SHA256 of the raw body, in hexadecimal (Lemon Squeezy, "Signing requests").
    let signatureHeader = "x-signature"

    func isAuthentic(_ body: [UInt8], signature: String?) -> Bool {
        guard let code = signature.flatMap(Self.bytes(hex:)), code.count == 32 else { return false }
        var isValid = false
        // All secrets are tried, each in constant time: while one replaces another, both are in use.
        for secret in configuration.secrets {
            let key = SymmetricKey(data: Array(secret.utf8))
            if HMAC<SHA256>.isValidAuthenticationCode(code, authenticating: body, using: key) { isValid = true }
        }
        return isValid
    }

    private static func bytes(hex text: String) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard digits.count % 2 == 0, digits.count <= 128 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            let pair = String(decoding: digits[index...index + 1], as: UTF8.self)
            guard pair.utf8.allSatisfy({ $0.isASCIILetterOrDigit }), let byte = UInt8(pair, radix: 16) else {
                return nil
            }
            bytes.append(byte)
        }
        return bytes
    }

    func read(_ body: [UInt8]) throws -> (name: String, notice: PaymentNotice) {
        let message = try BodyFields(body)
        guard let meta = try message.fields("meta"), let data = try message.fields("data"),
            let attributes = try data.fields("attributes")
        else { throw GatewayError.missing("meta, data, data.attributes") }
        let event = try meta.requiredString("event_name")
        guard (1...64).contains(event.utf8.count) else { throw GatewayError.missing("meta.event_name") }
        let kind: PaymentNotice.Kind =
            switch event {
            case "order_created": .orderPaid
            case "order_refunded": .orderRefunded
            case "subscription_payment_success", "subscription_payment_recovered": .invoicePaid
            case "subscription_payment_failed": .invoiceFailed
            case "subscription_payment_refunded": .invoiceRefunded
            case "subscription_created", "subscription_updated", "subscription_cancelled", "subscription_resumed",
                "subscription_expired", "subscription_paused", "subscription_unpaused",
                "subscription_plan_changed":
                .subscription
            default: .other
            }
        guard let id = try data.identifier("id"), Self.isIdentifier(id) else { throw GatewayError.missing("data.id") }
        guard let changed = try attributes.instant("updated_at") ?? attributes.instant("created_at") else {
            throw GatewayError.missing("data.attributes.updated_at")
        }
        var notice = PaymentNotice(kind: kind, id: id, changedAt: changed)
        // What the checkout was given, comes back (Lemon Squeezy, "Passing custom data").
        notice.account = try meta.fields("custom_data")?.identifier("user_id").flatMap(AccountID.init(rawValue:))
        notice.status = try attributes.string("status") ?? ""
        notice.isTest = try attributes.bool("test_mode") ?? meta.bool("test_mode") ?? false
        switch kind {
        case .orderPaid, .orderRefunded:
            let item = try attributes.fields("first_order_item")
            notice.product = try item?.identifier("variant_id")
            notice.quantity = try item?.integer("quantity") ?? 1
        case .invoicePaid, .invoiceFailed, .invoiceRefunded:
            notice.subscription = try attributes.identifier("subscription_id")
            notice.reason = try attributes.string("billing_reason")
            notice.changedAt = try attributes.instant("created_at") ?? changed
            notice.total = try attributes.integer("total")
        case .subscription:
            notice.subscription = id
            notice.product = try attributes.identifier("variant_id")
            notice.order = try attributes.identifier("order_id")
        case .other: break
        }
        if kind == .orderRefunded || kind == .invoiceRefunded {
            // Both are sums; without them, or with the whole of it, everything went back.
            notice.refunded = try attributes.integer("refunded_amount")
            notice.total = try attributes.integer("total")
        }
        for part in [notice.product, notice.subscription, notice.order] {
            guard part.map(Self.isIdentifier) ?? true else { throw GatewayError.missing("an id") }
        }
        return (event, notice)
    }

    private static func isIdentifier(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count) && text.utf8.allSatisfy { $0.isASCIILetterOrDigit || $0 == 0x2D }
    }

    func checkoutURL(of product: ProductConfiguration, for account: AccountID) -> String? {
        guard let base = product.checkoutURL else { return nil }
        let unreserved = CharacterSet(
            charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
        guard let user = account.rawValue.addingPercentEncoding(withAllowedCharacters: unreserved) else { return nil }
        return base + (base.contains("?") ? "&" : "?") + "checkout%5Bcustom%5D%5Buser_id%5D=" + user
    }
}

extension BodyFields {
    /// An id, as a text or as a whole number: `9e2` is no order's.
    fileprivate func identifier(_ field: String) throws -> String? {
        do { return try string(field) } catch { return try integer(field).map(String.init) }
    }
}
