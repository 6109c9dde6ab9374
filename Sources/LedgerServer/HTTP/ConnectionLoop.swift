import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTPTypesHTTP1

/// Runs tasks on the thread of an event loop.
///
/// A request is a handful of short steps, each set off by something that came over a connection of its loop: by default each step
/// would change from the loop's thread to the runtime's pool and back, which costs more than the step. What runs on a loop must not block,
/// and must not compute for long.
final class EventLoopTaskExecutor: TaskExecutor {
    private let loop: any EventLoop

    init(_ loop: any EventLoop) {
        self.loop = loop
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }

    /// Reads what is of `size` bytes: on the loop where that takes some microseconds, else on the runtime's pool, so that no long body
    /// holds up the streams of others.
    static func offLoop<R: Sendable, Failure: Error>(
        _ size: Int, _ body: @Sendable () throws(Failure) -> R
    ) async throws(Failure) -> R {
        if size <= 64 << 10 { return try body() }
        let result = await withTaskExecutorPreference(globalConcurrentExecutor) {
            Result { () throws(Failure) in try body() }
        }
        return try result.get()
    }
}

/// HTTP/1.1 connections whose requests are handled on the connection's own event loop.
struct LoopBoundHTTP1: ServerChildChannel {
    typealias Value = HTTP1Channel.Value

    let base: HTTP1Channel
    /// The longest body that any route takes.
    let longestBody: Int

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        base.setup(channel: channel, logger: logger).flatMapThrowing { value in
            let pipeline = channel.pipeline.syncOperations
            let codec = try pipeline.handler(type: HTTP1ToHTTPServerCodec.self)
            try pipeline.addHandler(HTTP1Conformance(longestBody: longestBody), position: .before(codec))
            return value
        }
    }

    func handle(value: Value, logger: Logger) async {
        await withTaskExecutorPreference(EventLoopTaskExecutor(value.channel.eventLoop)) {
            await base.handle(value: value, logger: logger)
        }
    }
}

/// Answers each request in a task of its own.
///
/// A task keeps as much memory as its deepest calls ever took until it ends; the connection's would keep what middleware, router and
/// admission once took for as long as it streams the answer.
struct TaskPerRequest<Base: HTTPResponder>: HTTPResponder where Base.Context: Sendable {
    typealias Context = Base.Context

    let base: Base

    func respond(to request: Request, context: Context) async throws -> Response {
        async let response = base.respond(to: request, context: context)
        return try await response
    }
}
