import Hummingbird
import Ledger
import NIOCore

/// What is known of a request while it is handled.
struct GatewayContext: RequestContext, Sendable {
    var coreContext: CoreRequestContextStorage
    /// Names the request in answers (`x-request-id`), in the log and, where it reaches a model, in the ledger.
    let requestID: Ledger.RequestID
    /// The client's connection.
    let channel: any Channel
    /// Where the request comes from; the connection's, until the middleware has looked at the proxies' headers.
    var clientAddress: ClientAddress

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
        requestID = Ledger.RequestID.random()
        clientAddress = ClientAddress(source.channel.remoteAddress, forwardedFor: [], trusted: [])
    }
}

extension Ledger.RequestID {
    /// A new id out of the system's entropy.
    static func random() -> Ledger.RequestID {
        var generator = SystemRandomNumberGenerator()
        return Ledger.RequestID(
            at: SystemClock.now(),
            entropy: (UInt16.random(in: .min ... .max, using: &generator), generator.next()))
    }
}
