import NIOCore
import NIOHTTP1

/// What HTTP asks of a server and the framework leaves to its user: one for each connection, between the HTTP/1 codec and the rest.
///
/// - A client that waits for `100 (Continue)` gets it at once (RFC 9110 section 10.1.1): curl waits a second for it before it sends a
///   long prompt. One that announces a body beyond the limit gets its refusal instead.
/// - A client of HTTP/1.0 gets no chunked body (RFC 9112 section 6.1): its answer ends where the connection does.
///
/// It is used on the connection's event loop only.
final class HTTP1Conformance: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private let longestBody: Int
    private var isHTTP10 = false
    /// Requests that have begun and are not answered to their end.
    private var unanswered = 0

    init(longestBody: Int) {
        self.longestBody = longestBody
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = unwrapInboundIn(data) {
            unanswered += 1
            if (head.version.major, head.version.minor) < (1, 1) {
                isHTTP10 = true
            } else if unanswered == 1, head.headers["expect"].contains(where: { $0.lowercased() == "100-continue" }),
                head.headers.first(name: "content-length").flatMap({ Int($0) }) ?? 0 <= longestBody
            {
                // Behind an answer that is under way it would be taken for a part of that.
                let interim = HTTPResponseHead(version: head.version, status: .continue)
                context.writeAndFlush(wrapOutboundOut(.head(interim)), promise: nil)
            }
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head(var head) where isHTTP10:
            head.version = .http1_0
            head.headers.replaceOrAdd(name: "connection", value: "close")
            context.write(wrapOutboundOut(.head(head)), promise: promise)
        case .end:
            unanswered -= 1
            guard isHTTP10 else { return context.write(data, promise: promise) }
            let promise = promise ?? context.eventLoop.makePromise()
            let channel = context.channel
            promise.futureResult.whenSuccess { channel.close(mode: .output, promise: nil) }
            context.write(data, promise: promise)
        default: context.write(data, promise: promise)
        }
    }
}
