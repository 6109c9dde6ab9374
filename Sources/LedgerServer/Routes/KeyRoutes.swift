import Authentication
import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import WireJSON

/// `/v1/keys`: virtual keys. Master key only.
struct KeyRoutes: Sendable {
    let authenticator: Authenticator
    let users: UserRoutes
    let directory: Directory

    func add(to router: some RouterMethods<GatewayContext>) {
        router.post("/v1/keys", use: create)
        router.get("/v1/keys", use: list)
        router.get("/v1/keys/:id", use: show)
        router.patch("/v1/keys/:id", use: update)
        router.delete("/v1/keys/:id", use: delete)
    }

    /// Makes a key, for a user that is created where it is unknown. The answer is the only place where the key is ever shown.
    @Sendable func create(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.operate, request, context).actor
        let fields = try await BodyFields(request)
        try fields.refuseOthers(than: ["key_name", "user_id", "expires_at", "metadata"])
        let id = UUID().uuidString.lowercased()
        let now = SystemClock.now()
        let user: AccountID
        if try fields.string("user_id") != nil {
            user = try AccountID(field: "user_id", fields)
        } else {
            guard let own = AccountID(rawValue: "apikey-\(id)") else { throw GatewayError.missing("user_id") }
            user = own
        }
        let token = SecretToken(.key)
        let key = APIKey(
            id: id, hash: token.hash, name: try fields.string("key_name"), user: user,
            metadata: try fields.object("metadata") ?? "{}", createdAt: now,
            expiresAt: try fields.instant("expires_at"))
        if try await directory.user(user) == nil {
            _ = try await users.create(User(id: user, createdAt: now), blocked: false, actor: actor)
        }
        try await directory.insert(key)
        authenticator.security.note(.keyCreated, context, ["key": key.id, "user": user.rawValue, "actor": actor])
        return Response.json(headers: [.cacheControl: "no-store"]) { json in
            json.beginObject()
            json.field("id", key.id)
            json.field("key", token.text)
            key.writeMembers(to: &json, withUse: false)
            json.endObject()
        }
    }

    @Sendable func list(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        let page = try Page(request)
        var user: AccountID?
        if let name = request.uri.queryParameters["user_id"] {
            guard let id = AccountID(rawValue: String(name)) else { return Response.json { $0.raw("[]") } }
            user = id
        }
        let keys = try await directory.keys(of: user, skip: page.skip, limit: page.limit)
        return Response.json { json in
            json.beginArray()
            for key in keys { key.write(to: &json) }
            json.endArray()
        }
    }

    @Sendable func show(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        let key = try await key(context)
        return Response.json { key.write(to: &$0) }
    }

    @Sendable func update(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.operate, request, context).actor
        let id = try await key(context).id
        let fields = try await BodyFields(request)
        try fields.refuseOthers(than: ["key_name", "is_active", "expires_at", "metadata"])
        let name = fields.has("key_name") ? Change(try fields.string("key_name")) : nil
        let expiry = fields.has("expires_at") ? Change(try fields.instant("expires_at")) : nil
        let (isActive, metadata) = (try fields.bool("is_active"), try fields.object("metadata"))
        let changed = try await directory.updateKey(id: id) { key in
            if let name { key.name = name.value }
            if let isActive { key.isActive = isActive }
            if let expiry { key.expiresAt = expiry.value }
            if let metadata { key.metadata = metadata }
        }
        guard let key = changed else { throw Self.notFound(id) }
        authenticator.forget([key.hash])
        authenticator.security.note(.keyChanged, context, ["key": key.id, "actor": actor])
        return Response.json { key.write(to: &$0) }
    }

    /// Voids a key. Its usage history stays.
    @Sendable func delete(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let actor = try await authenticator.demand(.operate, request, context).actor
        let key = try await key(context)
        guard try await directory.deleteKey(id: key.id, at: SystemClock.now()) else { throw Self.notFound(key.id) }
        authenticator.forget([key.hash])
        authenticator.security.note(.keyDeleted, context, ["key": key.id, "actor": actor])
        return Response(status: .noContent)
    }

    private func key(_ context: GatewayContext) async throws -> APIKey {
        let id = context.parameters.get("id")?.removingPercentEncoding ?? ""
        guard let key = try await directory.key(id: id) else { throw Self.notFound(id) }
        return key
    }

    private static func notFound(_ id: String) -> GatewayError {
        GatewayError(.notFound, "key_not_found", "API key with id '\(id)' not found")
    }
}

extension APIKey {
    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.field("id", id)
        writeMembers(to: &json, withUse: true)
        json.endObject()
    }

    fileprivate func writeMembers(to json: inout JSONWriter, withUse: Bool) {
        json.nullable("key_name", name)
        json.field("user_id", user.rawValue)
        json.nullable("created_at", createdAt)
        if withUse { json.nullable("last_used_at", lastUsedAt) }
        json.nullable("expires_at", expiresAt)
        json.field("is_active", isActive)
        json.name("metadata")
        json.raw(metadata)
    }
}
