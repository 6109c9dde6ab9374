import AsyncHTTPClient
import Crypto
import Foundation
import Ledger
import LedgerSQLite
import Logging
import NIOCore
import NIOHTTP1
import Projections
import ServiceLifecycle
import WireJSON

/// Tells the operator and accounts of what happens to their credits: at least once, each under an id by which it can be recognised.
///
/// What is to be told follows from events behind a checkpoint, so nothing is lost by a crash; it is written down before it is sent, signed as
/// Standard Webhooks (1.0.0) has it, and sent again with growing pauses until it is taken, for three days.
struct NoticeService: Service {
    let configuration: NoticeConfiguration
    let events: any EventStore
    let directory: Directory
    let client: ProviderClient
    let logger: Logger

    /// After how many tries a notice is given up: with the pauses between them, more than three days.
    private static let attempts: Int64 = 40
    /// How long it is remembered.
    private static let memorySeconds: Int64 = 30 * 86_400

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var lastLook = Timestamp(microseconds: .min)
            while !Task.isCancelled {
                do {
                    let now = SystemClock.now()
                    let isUsed = try await isUsed()
                    var isMore = try await follow(isUsed: isUsed)
                    if isUsed {
                        // What comes by the clock alone is looked for now and then.
                        if lastLook.advanced(bySeconds: 60) <= now {
                            lastLook = now
                            try await lookAhead(at: now)
                            try await directory.pruneNotices(
                                createdBefore: now.advanced(bySeconds: -Self.memorySeconds))
                        }
                        if try await send() { isMore = true }
                    }
                    if isMore { continue }
                } catch is CancellationError {
                    return
                } catch {
                    logger.warning("notices cannot be prepared", metadata: ["error": "\(error)"])
                }
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }

    private func isUsed() async throws -> Bool {
        if configuration.target != nil { return true }
        return try await directory.hasWebhooks()
    }

    /// Looks at the next events; says whether there may be more. Where nobody is told, they are passed by.
    private func follow(isUsed: Bool) async throws -> Bool {
        let checkpoint = try await directory.noticeCheckpoint()
        let events = events
        let (from, isFirst) = (checkpoint ?? 0, checkpoint == nil)
        // What happened before anybody asked is not told.
        guard isUsed, !isFirst else {
            let head = try await Self.offLoop { try events.head().position }
            guard head > from || isFirst else { return false }
            try await queue([], from: checkpoint, through: head)
            return false
        }
        let read = try await Self.offLoop { try events.events(after: from, limit: 500) }
        let batch = read.prefix(read.count == 500 ? Notice.complete(read) : read.count)
        guard let last = batch.last else { return false }
        let notices = Notice.notices(of: batch, lowBalance: configuration.lowBalance)
        try await queue(notices, from: checkpoint, through: last.position)
        return read.count == 500
    }

    private func queue(_ notices: [Notice], from: Int64?, through position: Int64?) async throws {
        try await directory.queue(
            notices, forOperator: configuration.target != nil, from: from, through: position, at: SystemClock.now(),
            body: \.text)
    }

    private func lookAhead(at now: Timestamp) async throws {
        let soon = now.advanced(bySeconds: configuration.expiringSeconds)
        while true {
            let notices = try await directory.expiringGrants(
                from: now, to: soon, forOperator: configuration.target != nil)
            if notices.isEmpty { return }
            try await queue(notices, from: nil, through: nil)
            if notices.count < 500 { return }
        }
    }

    private static func offLoop<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global(qos: .utility).async { continuation.resume(with: Result(catching: body)) }
        }
    }

    // MARK: Sending

    /// Sends what is due, some at once; says whether there may be more.
    private func send() async throws -> Bool {
        let due = try await directory.dueNotices(at: SystemClock.now(), limit: 32)
        await withTaskGroup(of: Void.self) { group in
            for notice in due { group.addTask { await send(notice) } }
        }
        return due.count == 32
    }

    private func send(_ notice: PendingNotice) async {
        do {
            let target =
                notice.isOperators ? configuration.target : try await directory.webhook(of: notice.account)
            guard let target else {
                // Nobody is told any more.
                return try await directory.note(notice, deliveredAt: SystemClock.now(), next: nil)
            }
            let isTaken = try await post(notice, to: target)
            let now = SystemClock.now()
            if isTaken { return try await directory.note(notice, deliveredAt: now, next: nil) }
            // 5, 10, 20 … seconds, up to three hours, and up to a quarter more, so that many do not come at once.
            let pause = min(Int64(5) << min(notice.attempts, 12), 10_800)
            let seconds = pause + Int64.random(in: 0...pause / 4)
            let isGivenUp = notice.attempts >= Self.attempts
            if isGivenUp {
                logger.warning("a notice was not taken by anybody", metadata: ["notice": "\(notice.id)"])
            }
            try await directory.note(
                notice, deliveredAt: isGivenUp ? now : nil, next: now.advanced(bySeconds: seconds))
        } catch {
            logger.warning("a notice could not be sent", metadata: ["notice": "\(notice.id)", "error": "\(error)"])
        }
    }

    private func post(_ notice: PendingNotice, to target: NoticeTarget) async throws -> Bool {
        let id = notice.isOperators ? notice.id : "\(notice.id):own"
        let seconds = SystemClock.now().microseconds / 1_000_000
        var request = HTTPClientRequest(url: target.url)
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json")
        request.headers.add(name: "webhook-id", value: id)
        request.headers.add(name: "webhook-timestamp", value: String(seconds))
        request.headers.add(
            name: "webhook-signature",
            value: Self.signature(id: id, seconds: seconds, body: notice.body, secret: target.secret))
        request.body = .bytes(ByteBuffer(string: notice.body))
        do {
            return (200...299).contains(try await client.send(request).status)
        } catch {
            return false
        }
    }

    /// `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base 64 (Standard Webhooks 1.0.0, "Signature scheme"); the key is what a
    /// `whsec_` secret encodes, else the secret's own bytes.
    static func signature(id: String, seconds: Int64, body: String, secret: String) -> String {
        let prefix = "whsec_"
        let decoded = secret.hasPrefix(prefix) ? Data(base64Encoded: String(secret.dropFirst(prefix.count))) : nil
        let key = SymmetricKey(data: decoded ?? Data(secret.utf8))
        let code = HMAC<SHA256>.authenticationCode(for: Data("\(id).\(seconds).\(body)".utf8), using: key)
        return "v1," + Data(code).base64EncodedString()
    }
}

extension Notice {
    /// As it is sent.
    fileprivate var text: String {
        var json = JSONWriter()
        json.beginObject()
        json.field("id", id)
        json.field("type", kind.rawValue)
        json.field("timestamp", at.description)
        json.name("data")
        json.beginObject()
        json.field("user_id", account.rawValue)
        if let balance { json.field("balance", balance) }
        if kind == .beyondBound { json.optional("model", subject) } else { json.optional("plan", subject) }
        if let credits { json.field("credits", credits) }
        json.optional("expires_at", expiresAt?.description)
        json.endObject()
        json.endObject()
        return json.text
    }
}
