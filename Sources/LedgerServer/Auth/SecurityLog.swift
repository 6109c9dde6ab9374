import Logging

/// What an operator wants to know of logins, credentials and keys: one line each, with stable names, and without a secret or a person's data.
///
/// Lines of the logger `security`: the event's name is the message; user, session, key and address are metadata.
struct SecurityLog: Sendable {
    enum Event: String, Sendable {
        case loginStarted = "login_started"
        case loginSucceeded = "login_succeeded"
        case loginFailed = "login_failed"
        case codeExchanged = "login_code_exchanged"
        case codeReused = "login_code_reused"
        case refreshRefused = "refresh_refused"
        case tokenReused = "refresh_token_reused"
        case sessionRevoked = "session_revoked"
        case keyCreated = "key_created"
        case keyChanged = "key_changed"
        case keyDeleted = "key_deleted"
        case userErased = "user_erased"
        case credentialRefused = "credential_refused"
        case rightMissing = "right_missing"
        case limited = "rate_limited"
    }

    private let logger: Logger

    init(logger: Logger) {
        var own = Logger(label: "security")
        own.logLevel = logger.logLevel
        self.logger = own
    }

    func note(_ event: Event, _ context: GatewayContext, _ details: [String: String] = [:]) {
        var metadata: Logger.Metadata = [
            "request_id": "\(context.requestID)", "address": "\(context.clientAddress)",
        ]
        for (name, value) in details { metadata[name] = "\(value)" }
        let level: Logger.Level
        switch event {
        case .codeReused, .tokenReused: level = .warning
        case .credentialRefused, .limited, .loginFailed, .refreshRefused, .rightMissing: level = .notice
        default: level = .info
        }
        logger.log(level: level, "\(event.rawValue)", metadata: metadata)
    }
}
