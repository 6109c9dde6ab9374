import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import WireJSON

/// `/v1/users/{id}/webhook`: where an account is told of things. An operator sets it, so that nobody else makes this server call addresses.
struct WebhookRoutes: Sendable {
    let authenticator: Authenticator
    let directory: Directory

    func add(to router: some RouterMethods<GatewayContext>) {
        router.get("/v1/users/:id/webhook", use: show)
        router.put("/v1/users/:id/webhook", use: set)
        router.delete("/v1/users/:id/webhook", use: remove)
    }

    @Sendable func show(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        let account = try await user(context)
        guard let target = try await directory.webhook(of: account) else { throw Self.notFound }
        return Self.answer(target, secret: nil)
    }

    /// Sets it, with a new secret where the body names none; the secret is only ever shown here.
    @Sendable func set(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.operate, request, context)
        let account = try await user(context)
        let fields = try await BodyFields(request)
        let url = try fields.requiredString("url")
        do {
            try ServerConfiguration.checkURL(url, key: "url", isLoopbackHTTPOnly: true)
        } catch {
            throw GatewayError.validation(
                kind: "url", field: "url",
                message: "Input should be an https address, or an http address of the machine itself")
        }
        let given = try fields.string("secret")
        if let given, !(16...256).contains(given.utf8.count) {
            throw GatewayError.validation(
                kind: "string_length", field: "secret", message: "Input should have 16 to 256 bytes")
        }
        let secret =
            given ?? "whsec_" + Data(SymmetricKey(size: .bits256).withUnsafeBytes(Array.init)).base64EncodedString()
        let target = NoticeTarget(account: account, url: url, secret: secret)
        try await directory.setWebhook(target, of: account)
        return Self.answer(target, secret: secret)
    }

    @Sendable func remove(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.operate, request, context)
        guard try await directory.removeWebhook(of: try await user(context)) else { throw Self.notFound }
        return Response(status: .noContent)
    }

    private static let notFound = GatewayError(.notFound, "webhook_not_found", "The user has no webhook")

    private func user(_ context: GatewayContext) async throws -> AccountID {
        let name = context.parameters.get("id")?.removingPercentEncoding ?? ""
        guard let id = AccountID(rawValue: name), try await directory.user(id) != nil else {
            throw GatewayError(.notFound, "user_not_found", "User with id '\(name)' not found")
        }
        return id
    }

    private static func answer(_ target: NoticeTarget, secret: String?) -> Response {
        Response.json { json in
            json.beginObject()
            json.field("url", target.url)
            json.optional("secret", secret)
            json.endObject()
        }
    }
}
