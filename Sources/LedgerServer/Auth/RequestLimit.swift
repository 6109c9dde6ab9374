import Authentication
import Ledger
import Synchronization

/// Bounds how often an address may call the routes of the login, which cost disk writes and calls of providers.
final class RequestLimit: Sendable {
    private let limiter: Mutex<AttemptLimiter>
    private let security: SecurityLog

    init(perMinute: Int, security: SecurityLog) {
        limiter = Mutex(AttemptLimiter(perMinute: perMinute))
        self.security = security
    }

    /// Counts a call, or answers 429.
    func admit(_ context: GatewayContext) throws {
        let now = SystemClock.now()
        let address = context.clientAddress.description
        let wait = limiter.withLock { limiter in
            let wait = limiter.wait(for: address, at: now)
            if wait == nil { limiter.count(address, at: now) }
            return wait
        }
        if let wait {
            security.note(.limited, context, ["what": "login"])
            throw Authenticator.limited(wait)
        }
    }
}
