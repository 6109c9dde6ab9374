import Hummingbird
import Ledger
import NIOCore
import Synchronization

/// What is known of a request while it is handled.
struct GatewayContext: RequestContext, Sendable {
    var coreContext: CoreRequestContextStorage
    /// Names the request in answers (`x-request-id`), in the log and, where it reaches a model, in the ledger.
    let requestID: Ledger.RequestID
    /// The client's connection.
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
        requestID = Ledger.RequestID.random()
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
