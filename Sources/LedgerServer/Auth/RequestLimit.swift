import Authentication
import Ledger
import Synchronization

/// Bounds how often an address may call the routes of the login: those that cost disk writes and calls of providers by their number, those
/// that take a token or a code by what fails. Whoever has a token that is in force is not held up by what others send from the same address.
final class RequestLimit: Sendable {
    private let limiter: Mutex<AttemptLimiter>
    private let security: SecurityLog

    init(perMinute: Int, security: SecurityLog) {
        limiter = Mutex(AttemptLimiter(perMinute: perMinute))
        self.security = security
    }

    /// What is answered to a token or code that is not in force: `refusal`, which is counted, or 429.
    func refusal(_ refusal: GatewayError, _ context: GatewayContext) -> GatewayError {
        do throws(GatewayError) {
            try admit(context)
            return refusal
        } catch {
            return error
        }
    }

    /// Counts a call, or answers 429.
    func admit(_ context: GatewayContext) throws(GatewayError) {
        let now = SystemClock.uptime()
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
