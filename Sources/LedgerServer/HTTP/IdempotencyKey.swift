import HTTPTypes
import Hummingbird

extension Request {
    /// The client's `Idempotency-Key`; nil where it sends none, a 400 where it cannot be one.
    func idempotencyKey() throws -> String? {
        guard let key = headers[.idempotencyKey] else { return nil }
        guard (1...255).contains(key.utf8.count), key.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else {
            throw GatewayError(
                .badRequest, "invalid_idempotency_key", "Idempotency-Key must be 1 to 255 printable ASCII characters")
        }
        return key
    }
}
