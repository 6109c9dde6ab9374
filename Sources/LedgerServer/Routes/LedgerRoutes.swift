import Auditing
import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import NIOCore
import Projections
import Synchronization
import WireJSON

/// `/v1/ledger`: the events for programs that follow them, and explanations of charges.
struct LedgerRoutes: Sendable {
    let authenticator: Authenticator
    let desk: LedgerDesk
    let registry: RequestRegistry

    private static let maximumLimit = 1000
    /// Whether the client of a live feed may have left.
    private final class Presence: Sendable {
        private let leaving = Atomic(false)

        var isLeaving: Bool { leaving.load(ordering: .relaxed) }
        func leave() { leaving.store(true, ordering: .relaxed) }
    }

    /// How long a live feed is silent at most: proxies end connections on which nothing comes.
    private static let heartbeat = Duration.seconds(15)
    private static let look = Duration.milliseconds(200)

    func add(to router: some RouterMethods<GatewayContext>) {
        router.get("/v1/ledger/charges/:id/explain", use: explain)
        router.get("/v1/ledger/events", use: events)
    }

    /// Why a request was charged what it was. For whose it is, and for master keys. As JSON, or in words with `Accept: text/plain`.
    @Sendable func explain(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try await authenticator.principal(of: request, context)
        if principal.user == nil { try authenticator.demand(.read, of: principal, context) }
        let name = context.parameters.get("id")?.removingPercentEncoding ?? ""
        let unknown = GatewayError(.notFound, "charge_not_found", "There is no charge for request '\(name)'")
        guard let id = Ledger.RequestID(rawValue: name) else { throw unknown }
        let owner = principal.user
        let found = try await desk.read { file -> ChargeExplanation? in
            // Of another's charge nothing is read.
            let account = try file.snapshot { $0.settlement(of: id)?.account }
            guard let account, owner == nil || owner == account else { return nil }
            return try file.explanation(of: id)
        }
        guard let explanation = found else { throw unknown }
        if (request.headers[.accept] ?? "").lowercased().hasPrefix("text/plain") {
            return Response(
                status: .ok, headers: [.contentType: "text/plain; charset=utf-8"],
                body: ResponseBody(byteBuffer: ByteBuffer(string: explanation.text)))
        }
        return Response.json { explanation.write(to: &$0) }
    }

    /// The events behind a position, in order: a page, or with `Accept: text/event-stream` all of them, and then each as it is recorded.
    @Sendable func events(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await authenticator.demand(.read, request, context)
        let isLive =
            request.method != .head && (request.headers[.accept] ?? "").lowercased().contains("text/event-stream")
        // A client that reconnects says what it got last (WHATWG HTML, section 9.2.4).
        let resumed = isLive ? HTTPField.Name("Last-Event-ID").flatMap { request.headers[$0] } : nil
        let after = try Self.number(resumed ?? request.query("after"), "after", in: 0...Int64.max) ?? 0
        let limit = try Self.number(request.query("limit"), "limit", in: 1...Int64(Self.maximumLimit)) ?? 100
        let (events, head) = try await desk.read { try $0.feed(after: after, limit: isLive ? 0 : Int(limit)) }
        guard after <= head else {
            throw GatewayError(
                .conflict, "position_not_reached",
                "The ledger ends at position \(head): it is an older copy than the one that was followed, or another ledger. Follow it anew from a position that you know to be the same",
                param: "after")
        }
        if isLive { return try stream(after: after, context) }
        return Response.json { json in
            json.beginObject()
            json.name("events")
            json.beginArray()
            for event in events { json.raw(event.json) }
            json.endArray()
            json.field("next_after", events.last?.position ?? after)
            json.field("head", head)
            json.field("has_more", (events.last?.position ?? after) < head)
            json.endObject()
        }
    }

    private static func number(_ text: String?, _ name: String, in range: ClosedRange<Int64>) throws -> Int64? {
        guard let text else { return nil }
        guard let number = Int64(text), range.contains(number) else {
            throw GatewayError.query(
                name, kind: "int_parsing",
                "Input should be a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    private func stream(after: Int64, _ context: GatewayContext) throws -> Response {
        guard let seat = try desk.seat() else { throw GatewayError.deskIsFull }
        let registry = registry
        let presence = Presence()
        context.channel.whenClientIsAbsent { _ in presence.leave() }
        let body = ResponseBody { writer in
            var position = after
            var silentSince = ContinuousClock.now
            while !registry.isStopping {
                let from = position
                let events = try await seat.read { try $0.feed(after: from, limit: 200).events }
                if let last = events.last {
                    var buffer = ByteBuffer()
                    for event in events {
                        buffer.writeString("id: \(event.position)\nevent: \(event.type)\ndata: ")
                        buffer.writeBytes(event.json)
                        buffer.writeString("\n\n")
                    }
                    position = last.position
                    try await writer.write(buffer)
                    silentSince = .now
                } else {
                    // Whoever sends no more may have gone: the next write tells.
                    let patience = presence.isLeaving ? Self.look : Self.heartbeat
                    if ContinuousClock.now - silentSince >= patience {
                        try await writer.write(ByteBuffer(string: ": nothing new\n\n"))
                        silentSince = .now
                    }
                    try await Task.sleep(for: Self.look)
                }
            }
            try await writer.finish(nil)
        }
        return Response(
            status: .ok, headers: [.contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-store"],
            body: body)
    }
}
