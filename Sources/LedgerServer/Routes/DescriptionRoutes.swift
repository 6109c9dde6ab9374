import COpenAPI
import HTTPTypes
import Hummingbird
import NIOCore

/// `GET /openapi.yaml`: the description of every route, for people and their tools.
struct DescriptionRoutes: Sendable {
    func add(to router: some RouterMethods<GatewayContext>) {
        router.get("/openapi.yaml") { _, _ in
            // RFC 9512.
            Response(
                status: .ok, headers: [.contentType: "application/yaml", .cacheControl: "public, max-age=300"],
                body: ResponseBody(byteBuffer: ByteBuffer(bytes: Self.document)))
        }
    }

    /// The document as it was written.
    private static let document: [UInt8] = {
        var length: UInt = 0
        let start = openapi_document(&length)
        return Array(UnsafeBufferPointer(start: start, count: Int(length)))
    }()
}
