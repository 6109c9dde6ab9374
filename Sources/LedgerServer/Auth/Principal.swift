import Ledger
import LedgerSQLite

/// Who sends a request.
enum Principal: Sendable {
    case master(MasterKey)
    case key(APIKey)
    case session(Session)

    /// The user whose key or session it is; nil for the operator.
    var user: AccountID? {
        switch self {
        case .master: nil
        case .key(let key): key.user
        case .session(let session): session.user
        }
    }

    /// What is recorded as the key of a request: a key's id, a session's behind `session:`, nothing for the operator.
    var keyID: String? {
        switch self {
        case .master: nil
        case .key(let key): key.id
        case .session(let session): "session:\(session.id)"
        }
    }

    /// Who is recorded as having done something.
    var actor: String {
        switch self {
        case .master(let key): key.actor
        case .key(let key): "key:\(key.id)"
        case .session(let session): "session:\(session.id)"
        }
    }
}
