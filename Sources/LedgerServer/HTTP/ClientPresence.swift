import NIOCore

/// Notices when a client sends no more, also while nothing is being written to it: one for each connection.
///
/// It is used on the connection's event loop only.
final class ClientPresence: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny

    private var isInputClosed = false
    private var onInputClosed: (@Sendable () -> Void)?

    /// Calls `body` when the client has closed its half of the connection or all of it; at once where it has already. Only the last body
    /// that was given is called: a connection serves one request at a time.
    func whenInputCloses(_ body: @escaping @Sendable () -> Void) {
        if isInputClosed { body() } else { onInputClosed = body }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed? = event as? ChannelEvent { inputClosed() }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        inputClosed()
        context.fireChannelInactive()
    }

    private func inputClosed() {
        isInputClosed = true
        onInputClosed?()
        onInputClosed = nil
    }
}

extension Channel {
    /// Calls `body` when the client sends no more. Returns at once.
    func whenClientInputCloses(_ body: @escaping @Sendable () -> Void) {
        let pipeline = pipeline
        eventLoop.execute {
            try? pipeline.syncOperations.handler(type: ClientPresence.self).whenInputCloses(body)
        }
    }
}
