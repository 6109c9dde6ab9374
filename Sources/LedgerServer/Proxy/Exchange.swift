import AsyncHTTPClient
import HTTPTypes
import Ledger
import Logging
import Metering
import NIOCore
import NIOHTTP1
import Synchronization

/// One admitted request, from its durable hold to its one settlement.
///
/// What a stream waits with must be small: there are thousands. What runs before and after the waiting is kept from being inlined into it,
/// as all its temporaries would be kept with it: an async frame is as large as everything in it (`make bench` measures a stream).
///
/// It runs in a task of its own that neither the client's connection nor the handler's cancellation ends: a client that leaves only
/// closes the mailbox. On every path it comes to exactly one charge or release, and only then lets the request go.
final class Exchange: Sendable {
    /// What the handler is told, in this order: a head, then for a stream its pieces and its end.
    enum Part: Sendable {
        /// The upstream streams: pieces follow.
        case stream(contentType: String, Attempt)
        case piece(ByteBuffer)
        /// The stream came to its proper end.
        case end
        /// The stream broke: what to tell the client before its connection is closed.
        case broken(GatewayError)
        /// The whole answer, charged.
        case answer(StoredAnswer, Attempt)
        /// There is no answer.
        case failure(GatewayError)
    }

    private let attempts: Attempts
    private let registry: RequestRegistry
    private let logger: Logger

    init(_ attempts: Attempts, registry: RequestRegistry, logger: Logger) {
        self.attempts = attempts
        self.registry = registry
        self.logger = logger
    }

    private var limits: Limits { attempts.admission.configuration.limits }
    private var writer: LedgerWriter { attempts.admission.writer }

    /// Runs the request on the event loop of its client's connection, from its first try on, and gives the mailbox in which its parts arrive.
    func start(
        _ attempt: Attempt, _ call: UpstreamCall, _ watch: RequestWatch, on loop: any EventLoop
    ) -> Mailbox<Part> {
        // Room for a few pieces: enough to write together what came together, little enough to bound what a stream holds.
        let mailbox = Mailbox<Part>(capacity: 8)
        let first = Mutex<UpstreamCall?>(call)
        let task = Task(executorPreference: EventLoopTaskExecutor(loop)) { [self] in
            watch.enter(.head)
            // Taken out: what a task's closure has captured lives as long as the task.
            let call = first.withLock { call in
                defer { call = nil }
                return call
            }
            if let call { await run(attempt, call, watch, mailbox) }
            mailbox.finish()
            registry.end(watch)
        }
        watch.own(task) { mailbox.close() }
        return mailbox
    }

    private func run(
        _ first: Attempt, _ call: UpstreamCall, _ watch: RequestWatch, _ mailbox: Mailbox<Part>
    ) async {
        guard let (attempt, response) = await open(first, call, watch, mailbox) else { return }
        attempts.end()
        // A stream was asked for; what says that it is something else is read as a whole answer, or as none. JSON can be translated all the same.
        let contentType = (response.headers.first(name: "content-type") ?? "text/event-stream").lowercased()
        let isTranslated = attempt.format.translation != nil && contentType.hasPrefix("application/json")
        if attempts.isStream, contentType.hasPrefix("text/event-stream") || isTranslated {
            await stream(attempt, response, watch, mailbox)
        } else {
            await answer(attempt, response, watch, mailbox)
        }
    }

    /// Sends the request in a task of its own, which ends here: a task keeps, to its end, as much memory as its deepest calls once took.
    @inline(never)
    private func open(
        _ first: Attempt, _ call: UpstreamCall, _ watch: RequestWatch, _ mailbox: Mailbox<Part>
    ) async -> (Attempt, HTTPClientResponse)? {
        async let opened = tryUpstreams(first, call, watch, mailbox)
        return await opened
    }

    /// Tries until an upstream answers. Where none does, the last try has been released and the client been told.
    private func tryUpstreams(
        _ first: Attempt, _ firstCall: UpstreamCall, _ watch: RequestWatch, _ mailbox: Mailbox<Part>
    ) async -> (Attempt, HTTPClientResponse)? {
        var (attempt, call) = (first, firstCall)
        while true {
            let failure: UpstreamFailure
            do {
                let response = try await attempt.upstream.send(
                    call, isStream: attempts.isStream, of: attempts.account
                ) { watch.enter(.upstream) }
                // What is compressed, although nothing else than the identity was asked for, can be neither metered nor passed on.
                guard response.headers["content-encoding"].allSatisfy({ $0.lowercased() == "identity" }) else {
                    throw UpstreamFailure.unusable
                }
                return (attempt, response)
            } catch let error as UpstreamFailure {
                failure = error
            } catch {
                await giveUp(attempt, watch.cutReason, nil, watch, mailbox)
                return nil
            }
            watch.enter(.head)
            // Nobody is there to be answered by another try.
            guard !mailbox.isClosed, !watch.isClientLeaving, let pause = attempts.pause(after: failure) else {
                await giveUp(attempt, nil, failure, watch, mailbox)
                return nil
            }
            logger.notice(
                "trying an upstream again",
                metadata: [
                    "request_id": "\(attempt.hold.request)", "provider": "\(attempt.upstream.configuration.name)",
                    "failure": "\(failure.error.code)",
                ])
            if pause > .zero, (try? await Task.sleep(for: pause)) == nil {
                await giveUp(attempt, watch.cutReason, failure, watch, mailbox)
                return nil
            }
            // Who has left meanwhile is not tried for.
            guard !mailbox.isClosed, !watch.isClientLeaving else {
                await giveUp(attempt, nil, failure, watch, mailbox)
                return nil
            }
            await release(attempt, failure.releaseReason, status: failure.status, watch)
            do {
                (attempt, call) = try await attempts.next()
                watch.enter(.head)
            } catch {
                // Whatever stands in the way of another try, the client asked for the first.
                await mailbox.send(.failure(failure.error.naming(attempt.hold.request)))
                return nil
            }
        }
    }

    /// Ends a request that no upstream answers.
    private func giveUp(
        _ attempt: Attempt, _ cut: CutReason?, _ failure: UpstreamFailure?, _ watch: RequestWatch,
        _ mailbox: Mailbox<Part>
    ) async {
        let failure = cut == nil ? failure ?? .unusable : .timeout
        await release(attempt, cut?.releaseReason ?? failure.releaseReason, status: failure.status, watch)
        let error = cut == .shutdown ? Self.shuttingDown : failure.error
        await mailbox.send(.failure(error.naming(attempt.hold.request)))
    }

    // MARK: An answer in one piece

    @inline(never)
    private func answer(
        _ attempt: Attempt, _ response: HTTPClientResponse, _ watch: RequestWatch, _ mailbox: Mailbox<Part>
    ) async {
        let format = attempt.format
        let bytes: [UInt8]
        switch await body(of: response, format.shape, watch) {
        case .whole(let whole): bytes = whole
        case .usage(let reading): return await chargeWithoutAnswer(attempt, reading, watch, mailbox)
        case .broken(let reading?) where reading.usage.isPresent:
            return await chargeWithoutAnswer(attempt, reading, watch, mailbox)
        case .broken: return await giveUp(attempt, watch.cutReason, .unusable, watch, mailbox)
        }
        let read = await EventLoopTaskExecutor.offLoop(bytes.count, { format.read(bytes) })
        guard let body = read.body else {
            return await chargeWithoutAnswer(attempt, read.reading, watch, mailbox)
        }
        let contentType = response.headers.first(name: "content-type") ?? "application/json"
        let answer = PendingAnswer(
            contentType: format.translation == nil ? contentType : "application/json", body: body)
        let kept = body.count <= limits.maxReplayBytes ? answer : nil
        let outcome: Outcome =
            mailbox.isClosed ? .clientGone : read.reading.hasError ? .upstreamFailed : .finished
        switch await charge(attempt, read.reading, outcome: outcome, answer: kept, watch) {
        case .success(let charge):
            let stored = StoredAnswer(
                contentType: answer.contentType, body: answer.body, charged: charge.credits, balance: charge.balance)
            await mailbox.send(.answer(stored, attempt))
        case .failure(let error):
            await mailbox.send(.failure(error.naming(attempt.hold.request)))
            await release(attempt, .internalError, status: 200, watch)
        }
    }

    /// Ends a request to which there is no answer that could be given. Where it says what it used, that is charged: the provider bills it.
    private func chargeWithoutAnswer(
        _ attempt: Attempt, _ reading: AnswerReading?, _ watch: RequestWatch, _ mailbox: Mailbox<Part>
    ) async {
        guard let reading, reading.usage.isPresent else {
            return await giveUp(attempt, nil, .unusable, watch, mailbox)
        }
        await settle(attempt, reading, isComplete: false, cut: nil, watch) { _ in
            await mailbox.send(.failure(Self.unusableAndCharged.naming(attempt.hold.request)))
        }
    }

    private static let unusableAndCharged = GatewayError(
        .badGateway, "upstream_failed",
        "The provider's answer cannot be given: it is an error, too long, or cannot be read; what it reports that it used was charged"
    )

    /// The body of an answer.
    private enum Body {
        case whole([UInt8])
        /// Longer than is kept, or a stream that was not asked for: read to its end for its usage.
        case usage(AnswerReading?)
        /// It broke off: with what it had said.
        case broken(AnswerReading?)
    }

    private func body(of response: HTTPClientResponse, _ shape: AnswerShape, _ watch: RequestWatch) async -> Body {
        var bytes: [UInt8] = []
        var long: LongAnswer?
        var events: StreamMeter?
        do {
            for try await piece in response.body {
                watch.enter(.upstream)
                if bytes.isEmpty, long == nil, events == nil, Self.beginsEvent(piece) {
                    events = StreamMeter(shape, .whole)
                }
                if events != nil {
                    piece.withUnsafeReadableBytes { _ = events?.consume($0.bindMemory(to: UInt8.self)) }
                    continue
                }
                if long == nil, bytes.count + piece.readableBytes > limits.maxAnswerBytes {
                    long = LongAnswer(shape)
                    bytes.withUnsafeBufferPointer { long?.consume($0) }
                    bytes = []
                }
                if long != nil {
                    piece.withUnsafeReadableBytes { long?.consume($0.bindMemory(to: UInt8.self)) }
                } else {
                    bytes.append(contentsOf: piece.readableBytesView)
                }
            }
            if var events {
                _ = events.finish()
                return .usage(events.reading)
            }
            return long.map { .usage($0.finish()) } ?? .whole(bytes)
        } catch {
            if let events { return .broken(events.reading) }
            var begun = long ?? LongAnswer(shape)
            if long == nil { bytes.withUnsafeBufferPointer { begun.consume($0) } }
            return .broken(begun.finish(isWhole: false))
        }
    }

    /// Whether an answer begins like an event (WHATWG HTML, "Server-sent events", a field's name or a comment), which no JSON does.
    private static func beginsEvent(_ piece: ByteBuffer) -> Bool {
        piece.readableBytesView.first.map { "deir:".utf8.contains($0) } ?? false
    }

    // MARK: A stream

    @inline(never)
    private func stream(
        _ attempt: Attempt, _ response: HTTPClientResponse, _ watch: RequestWatch, _ mailbox: Mailbox<Part>
    ) async {
        var meter = StreamMeter(attempt.format.shape, attempt.format.passage)
        let contentType = attempt.format.translation == nil ? response.headers.first(name: "content-type") : nil
        await mailbox.send(.stream(contentType: contentType ?? "text/event-stream", attempt))
        var broke = false
        do {
            watch.enter(.upstream)
            for try await piece in response.body {
                // What comes behind [DONE] has no meaning. It is read all the same, so that the connection can be used again.
                if meter.isDone { continue }
                let forward = piece.withUnsafeReadableBytes { meter.consume($0.bindMemory(to: UInt8.self)) }
                switch forward {
                case .piece: await deliver(piece, watch, mailbox)
                case .bytes(let bytes) where !bytes.isEmpty: await deliver(ByteBuffer(bytes: bytes), watch, mailbox)
                case .bytes: break
                }
                watch.enter(meter.isDone ? .ending : .upstream)
            }
        } catch {
            broke = true
        }
        let isWhole = meter.isAtEventEnd
        let rest = meter.finish()
        if !rest.isEmpty { await deliver(ByteBuffer(bytes: rest), watch, mailbox) }
        let reading = meter.reading
        // Behind [DONE], nothing that happens can make the answer less than whole.
        let cut = meter.isDone ? nil : watch.cutReason
        let isComplete =
            !reading.hasFailedChoice
            && ((meter.isDone && meter.isComplete) || (!broke && cut == nil && (meter.isComplete || reading.hasError)))
        let end = Part.end(of: isComplete ? nil : Self.failure(of: cut))
        await settle(attempt, reading, isComplete: isComplete, cut: cut, watch) { part in
            switch part ?? end {
            case .broken:
                // An event that broke off must be ended before another can be told.
                if !isWhole { await mailbox.send(.piece(ByteBuffer(string: "\n\n"))) }
            default:
                // What a translation says at the end, it says when the charge is durable.
                let ending = meter.ending()
                if !ending.isEmpty { await mailbox.send(.piece(ByteBuffer(bytes: ending))) }
            }
            await mailbox.send(part ?? end)
        }
    }

    @inline(never)
    private func deliver(_ piece: ByteBuffer, _ watch: RequestWatch, _ mailbox: Mailbox<Part>) async {
        guard !mailbox.isClosed else { return watch.clientGone() }
        watch.enter(.client)
        await mailbox.send(.piece(piece))
    }

    /// Settles a stream and ends it for the client: properly only when the charge is durable.
    ///
    /// What the client has received is charged, if need be after the disk has recovered; it is told at once that something broke.
    @inline(never)
    private func settle(
        _ attempt: Attempt, _ reading: AnswerReading, isComplete: Bool, cut: CutReason?, _ watch: RequestWatch,
        tell: (Part?) async -> Void
    ) async {
        let command: Command.Action
        // A model may answer with nothing, and say that it has finished.
        let isAnswer = isComplete && reading.hasFinishReason && !reading.hasError
        if reading.outputBytes == 0, !reading.usage.isPresent, !isAnswer {
            command = .releaseHold(
                ReleaseHold(
                    request: attempt.hold.request, reason: cut?.releaseReason ?? .upstreamFailed, upstreamStatus: 200))
        } else {
            let outcome: Outcome =
                cut?.outcome
                ?? (!isComplete || reading.hasError ? .upstreamFailed : watch.isClientGone ? .clientGone : .finished)
            command = .charge(
                ChargeRequest(request: attempt.hold.request, outcome: outcome, report: report(attempt, reading)))
        }
        watch.enter(.settling)
        do {
            note(try await submit(command, answer: nil), attempt, isOurBound: cut != nil)
            // A client that takes nothing is not waited for for ever.
            watch.enter(.client)
            await tell(nil)
        } catch {
            watch.enter(.client)
            await tell(.broken(GatewayError(error)))
            watch.enter(.settling)
            await settleLater(command, of: attempt.hold.request)
        }
    }

    private static func failure(of cut: CutReason?) -> GatewayError {
        switch cut {
        case .shutdown: shuttingDown
        case .idle, .duration:
            GatewayError(.gatewayTimeout, "upstream_timeout", "The provider stopped answering in time")
        case .drained, nil: GatewayError(.badGateway, "upstream_failed", "The provider's answer broke off")
        }
    }

    private static let shuttingDown = GatewayError(
        .serviceUnavailable, "shutting_down", "The gateway is shutting down; try again shortly")

    // MARK: Settlement

    @inline(never)
    private func report(_ attempt: Attempt, _ reading: AnswerReading) -> UsageReport {
        reading.report(prompt: attempt.prompt, bounds: attempt.hold)
    }

    /// Notes what a settlement means for the operator. `isOurBound`: the provider had the request, and it was a bound of ours that ended it.
    @inline(never)
    private func note(_ receipt: Receipt, _ attempt: Attempt, isOurBound: Bool) {
        let exposure = attempts.admission.exposure
        switch receipt.event?.event {
        case .requestCharged(let charge)?: exposure.note(charge, of: attempts.account)
        case .holdReleased(let release)? where isOurBound:
            exposure.noteUnbilled(
                attempt.hold, of: attempts.account, release.reason,
                isAccounts: release.reason == .timeout || release.reason == .clientGone)
        default: break
        }
    }

    @inline(never)
    private func submit(_ action: Command.Action, answer: PendingAnswer?) async throws(LedgerError) -> Receipt {
        if case .charge(let charge) = action {
            return try await writer.charge(
                charge, account: attempts.account, key: attempts.requestKey, answer: answer)
        }
        return try await writer.submit(Command(account: attempts.account, action: action))
    }

    /// Charges an answer before it is given. Where that fails it is not given, and so it is not charged later either.
    @inline(never)
    private func charge(
        _ attempt: Attempt, _ reading: AnswerReading, outcome: Outcome, answer: PendingAnswer?, _ watch: RequestWatch
    ) async -> Result<RequestCharged, GatewayError> {
        watch.enter(.settling)
        let charge = ChargeRequest(
            request: attempt.hold.request, outcome: outcome, report: report(attempt, reading))
        do {
            let receipt = try await submit(.charge(charge), answer: answer)
            guard case .requestCharged(let charge)? = receipt.event?.event else {
                return .failure(GatewayError(.internalServerError, "internal_error", "Internal server error"))
            }
            note(receipt, attempt, isOurBound: false)
            return .success(charge)
        } catch {
            return .failure(GatewayError(error))
        }
    }

    @inline(never)
    private func release(_ attempt: Attempt, _ reason: ReleaseReason, status: Int64?, _ watch: RequestWatch) async {
        watch.enter(.settling)
        let release = Command.Action.releaseHold(
            ReleaseHold(request: attempt.hold.request, reason: reason, upstreamStatus: status))
        // The provider had it, and did not say that it failed: whether it bills it is not known.
        let isOurBound = reason == .timeout || reason == .clientGone || reason == .shutdown
        do {
            note(try await submit(release, answer: nil), attempt, isOurBound: isOurBound)
        } catch {
            await settleLater(release, of: attempt.hold.request)
        }
    }

    /// Tries a settlement again until the ledger takes it: a disk that was full has room again. It gives up when the writer has
    /// stopped for good or the server is stopping; then the hold stays open, and the next start reports it.
    @inline(never)
    private func settleLater(_ action: Command.Action, of request: RequestID) async {
        logger.critical(
            "a request could not be settled: trying again",
            metadata: ["request_id": "\(request)", "account": "\(attempts.account)"])
        var action = action
        var pause = 1
        while !registry.isStopping {
            // A task that was cut off cannot sleep: it waits in another.
            let seconds = pause
            await Task.detached { try? await Task.sleep(for: .seconds(seconds)) }.value
            pause = min(pause * 2, 30)
            do {
                _ = try await submit(action, answer: nil)
                return
            } catch {
                switch error {
                case .refused:
                    // The rules take no such charge (its figures do not fit): the hold must not stay open for that.
                    guard case .charge = action else { return }
                    action = .releaseHold(ReleaseHold(request: request, reason: .internalError))
                case .stopped: return
                default: break
                }
            }
        }
    }
}

extension Exchange.Part {
    fileprivate static func end(of failure: GatewayError?) -> Exchange.Part {
        failure.map { .broken($0) } ?? .end
    }
}
