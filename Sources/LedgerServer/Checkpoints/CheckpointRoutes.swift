import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import NIOCore

/// The last checkpoint, and the keys to verify it and every proof by.
struct CheckpointRoutes: Sendable {
    let authenticator: Authenticator
    let desk: LedgerDesk
    /// nil: none are signed here.
    let configuration: CheckpointConfiguration?

    func add(to router: some RouterMethods<GatewayContext>) {
        router.get("/v1/ledger/checkpoint", use: checkpoint)
        router.get("/v1/ledger/keys", use: keys)
    }

    /// The last checkpoint that was signed, as a note. For whoever has a key or a session.
    @Sendable func checkpoint(_ request: Request, _ context: GatewayContext) async throws -> Response {
        _ = try await authenticator.principal(of: request, context)
        guard let note = try await desk.read({ file in try file.snapshot { try $0.lastCheckpoint() } }) else {
            throw GatewayError(.notFound, "checkpoint_not_found", "No checkpoint has been signed yet")
        }
        return Self.text(note)
    }

    /// The public keys, one a line; a line that begins with `#` is none. For anybody.
    @Sendable func keys(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let keys = configuration?.publicKeys.map { "\($0)\n" }.joined()
        return Self.text(keys ?? "# No checkpoints are signed here.\n")
    }

    private static func text(_ text: String) -> Response {
        Response(
            status: .ok, headers: [.contentType: "text/plain; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}
