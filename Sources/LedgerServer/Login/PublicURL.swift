import Synchronization

/// Where browsers reach this server: as it is configured, else where it listens, which is known when it does.
final class PublicURL: Sendable {
    private let configured: String?
    private let listening = Mutex("")

    init(_ configured: String?) {
        self.configured = configured
    }

    func listens(host: String, port: Int) {
        // Nobody can go to the address that stands for all.
        let name = ["0.0.0.0", "::", ""].contains(host) ? "127.0.0.1" : host
        listening.withLock { $0 = "http://\(name.contains(":") ? "[\(name)]" : name):\(port)" }
    }

    /// Without a slash at the end.
    var text: String { configured ?? listening.withLock { $0 } }
}
