import AsyncHTTPClient
import HTTPTypes
import Ledger
import Logging
import Metering
import NIOCore
import NIOHTTP1

/// One admitted request, from its durable hold to its one settlement.
///
/// What a stream waits with must be small: there are thousands. What runs before and after the waiting is kept from being inlined into it,
/// as all its temporaries would be kept with it: an async frame is as large as everything in it (`make bench` measures a stream).
///
/// It runs in a task of its own that neither the client's connection nor the handler's cancellation ends: a client that leaves only
/// closes the mailbox. On every path it comes to exactly one charge or release, and only then lets the request go.
struct Exchange: Sendable {
    /// What the handler is told, in this order: a head, then for a stream its pieces and its end.
    enum Part: Sendable {
        /// The upstream streams: pieces follow.
        case stream(contentType: String)
        case piece(ByteBuffer)
        /// The stream came to its proper end.
        case end
        /// The stream broke: what to tell the client before its connection is closed.
        case broken(GatewayError)
        /// The whole answer, charged.
        case answer(StoredAnswer)
        /// There is no answer.
        case failure(GatewayError)
    }

    let upstream: Upstream
    let writer: LedgerWriter
    let registry: RequestRegistry
    let limits: Limits
    let logger: Logger
    let account: AccountID
    let isStream: Bool
    /// Whether the client asked for the chunk with nothing but usage.
    let wantsUsageChunk: Bool
    let prompt: PromptSize
    let hold: HoldPlaced
    let requestKey: RequestKey?

    /// Runs the request on the event loop of its client's connection, and gives the mailbox in which its parts arrive.
    func start(body: [UInt8], _ watch: RequestWatch, on loop: any EventLoop) -> Mailbox<Part> {
        // Room for a few pieces: enough to write together what came together, little enough to bound what a stream holds.
        let mailbox = Mailbox<Part>(capacity: 8)
        let task = Task(executorPreference: EventLoopTaskExecutor(loop)) {
            watch.enter(.head)
            await run(body, watch, mailbox)
            mailbox.finish()
            registry.end(watch)
        }
        watch.own(task) { mailbox.close() }
        return mailbox
    }

    private func run(_ body: [UInt8], _ watch: RequestWatch, _ mailbox: Mailbox<Part>) async {
        do {
            let response = try await head(body)
            watch.enter(.upstream)
            guard response.status.code == 200 else {
                let body = try? await response.body.collect(upTo: UpstreamFailure.maximumErrorBytes)
                throw UpstreamFailure.refused(response, body: body.map { Array($0.readableBytesView) } ?? [])
            }
            // What is compressed, although nothing else than the identity was asked for, can be neither metered nor passed on.
            guard response.headers["content-encoding"].allSatisfy({ $0.lowercased() == "identity" }) else {
                throw UpstreamFailure.unusable
            }
            // A stream was asked for; what says that it is something else is read as a whole answer, or as none.
            let contentType = response.headers.first(name: "content-type") ?? "text/event-stream"
            if isStream, contentType.lowercased().hasPrefix("text/event-stream") {
                await stream(response, watch, mailbox)
            } else {
                try await answer(response, watch, mailbox)
            }
        } catch let failure as UpstreamFailure {
            await release(failure.releaseReason, status: failure.status, watch)
            await mailbox.send(.failure(failure.error))
        } catch {
            let cut = watch.cutReason
            await release(cut?.releaseReason ?? .upstreamFailed, status: nil, watch)
            let failure: UpstreamFailure = cut == nil ? .unusable : .timeout
            await mailbox.send(.failure(cut == .shutdown ? Self.shuttingDown : failure.error))
        }
    }

    /// Sends the request in a task of its own, which ends here: a task keeps, to its end, as much memory as its deepest calls once took.
    @inline(never)
    private func head(_ body: [UInt8]) async throws -> HTTPClientResponse {
        async let response = upstream.send(body: body, isStream: isStream)
        return try await response
    }

    // MARK: An answer in one piece

    @inline(never)
    private func answer(
        _ response: HTTPClientResponse, _ watch: RequestWatch, _ mailbox: Mailbox<Part>
    ) async throws {
        var bytes: [UInt8] = []
        do {
            for try await piece in response.body {
                watch.enter(.upstream)
                guard bytes.count + piece.readableBytes <= limits.maxAnswerBytes else { throw UpstreamFailure.unusable }
                bytes.append(contentsOf: piece.readableBytesView)
            }
        } catch let failure as UpstreamFailure {
            throw failure
        } catch {
            if watch.cutReason != nil { throw error }
            throw UpstreamFailure.unusable
        }
        let reading = await EventLoopTaskExecutor.offLoop(bytes.count) { [bytes] in
            var reading = AnswerReading(.chat(.standard))
            return bytes.withUnsafeBufferPointer({ reading.readBody($0) }) ? reading : nil
        }
        guard let reading else { throw UpstreamFailure.unusable }
        let contentType = response.headers.first(name: "content-type") ?? "application/json"
        let kept = bytes.count <= limits.maxReplayBytes ? PendingAnswer(contentType: contentType, body: bytes) : nil
        let outcome: Outcome = mailbox.isClosed ? .clientGone : .finished
        switch await charge(reading, outcome: outcome, answer: kept, watch) {
        case .success(let charge):
            await mailbox.send(
                .answer(
                    StoredAnswer(
                        contentType: contentType, body: bytes, charged: charge.credits, balance: charge.balance)))
        case .failure(let error):
            await mailbox.send(.failure(error))
            await release(.internalError, status: 200, watch)
        }
    }

    // MARK: A stream

    @inline(never)
    private func stream(_ response: HTTPClientResponse, _ watch: RequestWatch, _ mailbox: Mailbox<Part>) async {
        var meter = StreamMeter(.chat(.standard), wantsUsageChunk ? .whole : .withoutUsageChunk)
        await mailbox.send(.stream(contentType: response.headers.first(name: "content-type") ?? "text/event-stream"))
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
        let isComplete = meter.isDone || (!broke && cut == nil && (meter.isComplete || reading.hasError))
        let end = Part.end(of: isComplete ? nil : Self.failure(of: cut))
        await settle(reading, isComplete: isComplete, cut: cut, watch) { part in
            // An event that broke off must be ended before another can be told.
            if case .broken = part ?? end, !isWhole { await mailbox.send(.piece(ByteBuffer(string: "\n\n"))) }
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
        _ reading: AnswerReading, isComplete: Bool, cut: CutReason?, _ watch: RequestWatch,
        tell: (Part?) async -> Void
    ) async {
        let command: Command.Action
        // A model may answer with nothing, and say that it has finished.
        let isAnswer = isComplete && reading.hasFinishReason && !reading.hasError
        if reading.outputBytes == 0, !reading.usage.isPresent, !isAnswer {
            command = .releaseHold(
                ReleaseHold(
                    request: hold.request, reason: cut?.releaseReason ?? .upstreamFailed, upstreamStatus: 200))
        } else {
            let outcome: Outcome =
                cut?.outcome
                ?? (!isComplete || reading.hasError ? .upstreamFailed : watch.isClientGone ? .clientGone : .finished)
            command = .charge(ChargeRequest(request: hold.request, outcome: outcome, report: report(reading)))
        }
        watch.enter(.settling)
        do {
            _ = try await submit(command, answer: nil)
            await tell(nil)
        } catch {
            await tell(.broken(GatewayError(error)))
            await settleLater(command)
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
    private func report(_ reading: AnswerReading) -> UsageReport {
        reading.report(prompt: prompt, bounds: hold)
    }

    @inline(never)
    private func submit(_ action: Command.Action, answer: PendingAnswer?) async throws(LedgerError) -> Receipt {
        if case .charge(let charge) = action {
            return try await writer.charge(charge, account: account, key: requestKey, answer: answer)
        }
        return try await writer.submit(Command(account: account, action: action))
    }

    /// Charges an answer before it is given. Where that fails it is not given, and so it is not charged later either.
    @inline(never)
    private func charge(
        _ reading: AnswerReading, outcome: Outcome, answer: PendingAnswer?, _ watch: RequestWatch
    ) async -> Result<RequestCharged, GatewayError> {
        watch.enter(.settling)
        let charge = ChargeRequest(request: hold.request, outcome: outcome, report: report(reading))
        do {
            let receipt = try await submit(.charge(charge), answer: answer)
            guard case .requestCharged(let charge)? = receipt.event?.event else {
                return .failure(GatewayError(.internalServerError, "internal_error", "Internal server error"))
            }
            return .success(charge)
        } catch {
            return .failure(GatewayError(error))
        }
    }

    @inline(never)
    private func release(_ reason: ReleaseReason, status: Int64?, _ watch: RequestWatch) async {
        watch.enter(.settling)
        let release = Command.Action.releaseHold(
            ReleaseHold(request: hold.request, reason: reason, upstreamStatus: status))
        do {
            _ = try await submit(release, answer: nil)
        } catch {
            await settleLater(release)
        }
    }

    /// Tries a settlement again until the ledger takes it: a disk that was full has room again. It gives up when the writer has
    /// stopped for good or the server is stopping; then the hold stays open, and the next start reports it.
    @inline(never)
    private func settleLater(_ action: Command.Action) async {
        logger.critical(
            "a request could not be settled: trying again",
            metadata: ["request_id": "\(hold.request)", "account": "\(account)"])
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
                    action = .releaseHold(ReleaseHold(request: hold.request, reason: .internalError))
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
