import NIOCore

/// Notices when a client sends no more, or is gone, also while nothing is being written to it: one for each connection.
///
/// It is used on the connection's event loop only.
final class ClientPresence: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny

    /// What is known of the client.
    enum Absence: Sendable {
        /// It has closed its half of the connection: it may still read.
        case sendsNoMore
        /// The connection is closed: nothing reaches it any more.
        case gone
    }

    private var absence: Absence?
    private var onAbsence: (@Sendable (Absence) -> Void)?

    /// Calls `body` when the client closes its half of the connection, and when the connection is gone; at once where that is so already. Only the last
    /// body that was given is called: a connection serves one request at a time.
    func whenAbsent(_ body: @escaping @Sendable (Absence) -> Void) {
        onAbsence = body
        if let absence { body(absence) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed? = event as? ChannelEvent { note(.sendsNoMore) }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        note(.gone)
        onAbsence = nil
        context.fireChannelInactive()
    }

    private func note(_ absence: Absence) {
        self.absence = absence
        onAbsence?(absence)
    }
}

extension Channel {
    /// Calls `body` when the client sends no more, and when it is gone. Returns at once.
    func whenClientIsAbsent(_ body: @escaping @Sendable (ClientPresence.Absence) -> Void) {
        let pipeline = pipeline
        eventLoop.execute {
            try? pipeline.syncOperations.handler(type: ClientPresence.self).whenAbsent(body)
        }
    }
}
