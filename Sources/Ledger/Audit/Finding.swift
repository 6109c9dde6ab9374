/// Something that is wrong with a ledger: where, whose, and what.
public struct Finding: Error, Hashable, Sendable, CustomStringConvertible {
    /// The position of the event; nil where it is not about one event.
    public let position: Int64?
    public let account: String?
    /// Which check failed: a stable name.
    public let check: Check
    public let detail: String

    /// The checks by name.
    public enum Check: String, Sendable, CaseIterable {
        case position, hash, time, encoding, version, key
        case rule
        case balance
        case projection
        case checkpoint
        case directory
        case schema, index
    }

    public init(position: Int64?, account: String?, check: Check, detail: String) {
        self.position = position
        self.account = account
        self.check = check
        self.detail = detail
    }

    public var description: String {
        let place = position.map { "position \($0)" } ?? "ledger"
        let whose = account.map { ", account '\($0)'" } ?? ""
        return "\(place)\(whose): [\(check.rawValue)] \(detail)"
    }
}
