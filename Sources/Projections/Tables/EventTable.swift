public import Ledger
import WireJSON

/// The tables that events are exported as: what each has a row for, and its columns, which only ever grow at the end.
///
/// A row never changes once its event is recorded: an export of a period that is over is the same for ever.
public enum EventTable: String, Sendable, CaseIterable {
    /// A row for each request that was settled.
    case usage
    /// A row for each charge, and for each reversal of one.
    case charges
    /// A row for all that gives or takes credits but charges, and for payments.
    case grants
    /// A row for each posting of the double-entry journal.
    case journal

    /// Whether an event of that type may have rows, by its stored name; so that others need not be read.
    public func concerns(_ type: UnsafeBufferPointer<UInt8>) -> Bool {
        func isOf(_ name: StaticString) -> Bool {
            let size = name.utf8CodeUnitCount
            return type.count > size && type[size] == 0x2E && JSONScanner(type).equals(0..<size, name)
        }
        switch self {
        case .usage: return isOf("request_charged") || isOf("hold_released") || isOf("usage_imported")
        case .charges: return isOf("request_charged") || isOf("charge_reversed")
        case .grants:
            return isOf("credits_granted") || isOf("grant_expired") || isOf("credits_withdrawn")
                || isOf("payment_recorded") || isOf("payment_refunded")
        case .journal:
            return isOf("request_charged") || isOf("charge_reversed") || EventTable.grants.concerns(type)
        }
    }

    /// The columns, in their order.
    public var columns: [TableColumn] {
        switch self {
        case .usage: Self.usageColumns
        case .charges: Self.chargeColumns
        case .grants: Self.grantColumns
        case .journal: Self.journalColumns
        }
    }

    /// Writes the rows of an event. `terms` finds what a grant of the event's account is.
    public func write(
        _ event: RecordedEvent, terms: (GrantID) throws -> GrantTerms, into table: inout TableWriter
    ) rethrows {
        switch self {
        case .usage: Self.writeUsage(event, &table)
        case .charges: try Self.writeCharge(event, terms, &table)
        case .grants: try Self.writeGrant(event, terms, &table)
        case .journal:
            guard let entry = try JournalEntry(event.event, terms: terms) else { return }
            for posting in entry.postings {
                table.integer(event.position)
                table.instant(event.recordedAt)
                table.text(event.account.rawValue)
                table.word(entry.kind.rawValue)
                table.word(posting.account.name)
                table.word(posting.commodity.rawValue)
                table.decimal(posting.amount, fractionDigits: posting.commodity.fractionDigits)
                table.endRow()
            }
        }
    }

    private static let position = TableColumn("position", "the event's place in the ledger; rows are in this order")
    private static let recordedAt = TableColumn("recorded_at", "when it was recorded, in UTC")
    private static let effectiveAt = TableColumn("effective_at", "from when it counts, in UTC")
    private static let account = TableColumn("account", "whose it is")
    private static let requestID = TableColumn("request_id", "the request")
    private static let keyID = TableColumn("key_id", "the id of the key that sent it; empty for the operator's")
    private static let model = TableColumn("model", "the model that was asked for, provider:model")

    private static let usageColumns = [
        position, recordedAt, effectiveAt, account, requestID, keyID, model,
        TableColumn("served_model", "the model that answered, where it named another"),
        TableColumn("endpoint", "the route"), TableColumn("status", "success (it was charged) or error"),
        TableColumn("detail", "how it ended"),
        TableColumn("prompt_tokens", "all prompt tokens, cached ones included"),
        TableColumn("cached_tokens", "of them read from a cache"),
        TableColumn("cache_write_tokens", "of them written to a five-minute cache"),
        TableColumn("cache_write_1h_tokens", "of them written to a one-hour cache"),
        TableColumn("completion_tokens", "output tokens, reasoning included"),
        TableColumn("searches", "web searches that were billed"),
        TableColumn("estimated", "whether the usage is our estimate, for the provider reported none"),
        TableColumn("cost_usd", "the exact cost in USD"), TableColumn("credits", "what was charged"),
        TableColumn("excess", "what the cost is beyond what was held, in credits: it is not charged"),
        TableColumn("audio_tokens", "prompt tokens of sound, cached ones included"),
        TableColumn("audio_cached_tokens", "of them read from a cache"),
        TableColumn("audio_output_tokens", "output tokens of sound"),
        TableColumn("image_output_tokens", "output tokens of pictures"),
        TableColumn("flags", "what deserves a look, separated by spaces"),
    ]

    private static func writeUsage(_ event: RecordedEvent, _ table: inout TableWriter) {
        guard let row = UsageRow(event) else { return }
        var usage = Usage.zero
        var served: String?
        var excess: Credits?
        var cost = row.costPicoUSD
        var flags: [UsageFlag] = []
        if case .requestCharged(let charge) = event.event {
            let report = charge.report
            usage = report.usage
            served = report.servedModel
            excess = charge.excess
            cost = charge.costPicoUSD
            flags = report.flags
        }
        table.integer(event.position)
        table.instant(event.recordedAt)
        table.instant(event.effectiveAt)
        table.text(event.account.rawValue)
        table.text(row.request.rawValue)
        table.text(row.keyID)
        table.text(row.model)
        table.text(served)
        table.text(row.endpoint)
        table.word(row.isSuccess ? "success" : "error")
        table.text(row.detail)
        table.integer(row.promptTokens)
        table.integer(row.cachedTokens)
        table.integer(usage.cacheWrite)
        table.integer(usage.cacheWriteHour)
        table.integer(row.completionTokens)
        table.integer(usage.searches)
        table.flag(row.isEstimated)
        table.decimal(cost, fractionDigits: 12)
        table.credits(row.credits)
        table.credits(excess ?? .zero)
        table.integer(usage.modal.audio)
        table.integer(usage.modal.audioCached)
        table.integer(usage.modal.audioOutput)
        table.integer(usage.modal.imageOutput)
        table.text(flags.isEmpty ? nil : flags.map(\.rawValue).joined(separator: " "))
        table.endRow()
    }

    private static let chargeColumns = [
        position, recordedAt, account, TableColumn("kind", "charge, or reversal (its amounts are below zero)"),
        requestID, keyID, model,
        TableColumn("price_version", "which event of the stream $prices priced it; 0: given away without a price"),
        TableColumn("cost_usd", "the exact cost in USD"), TableColumn("credits_per_usd", "the rate"),
        TableColumn("credits", "what was charged, or given back"),
        TableColumn("paid", "of it borne by credits that were paid for"),
        TableColumn("promotional", "of it borne by credits that were given away"),
        TableColumn("owed", "of it borne by nobody yet"), TableColumn("balance", "the account's balance after it"),
        TableColumn("reason", "why it was given back"), TableColumn("actor", "who gave it back"),
        TableColumn("excess", "what the cost is beyond what was held, in credits: it is the operator's"),
        TableColumn("excess_usd", "the same, of the exact cost in USD"),
    ]

    private static func writeCharge(
        _ event: RecordedEvent, _ terms: (GrantID) throws -> GrantTerms, _ table: inout TableWriter
    ) rethrows {
        guard let entry = try JournalEntry(event.event, terms: terms) else {
            // What costs nothing moves nothing, and is a charge all the same.
            if case .requestCharged(let charge) = event.event { write(charge, Parts(), event, &table) }
            return
        }
        let parts = Parts(entry.postings)
        switch event.event {
        case .requestCharged(let charge): write(charge, parts, event, &table)
        case .chargeReversed(let reversal):
            begin(event, "reversal", reversal.request, &table)
            table.text(nil)
            table.text(nil)
            table.integer(nil)
            table.decimal(nil, fractionDigits: 12)
            table.decimal(nil, fractionDigits: 6)
            table.decimal(-Int128(reversal.amount.nanos), fractionDigits: 9)
            write(parts, &table)
            table.credits(reversal.balance)
            table.text(reversal.reason)
            table.text(reversal.actor)
            table.credits(.zero)
            table.decimal(0, fractionDigits: 12)
            table.endRow()
        default: break
        }
    }

    private static func begin(
        _ event: RecordedEvent, _ kind: String, _ request: RequestID, _ table: inout TableWriter
    ) {
        table.integer(event.position)
        table.instant(event.recordedAt)
        table.text(event.account.rawValue)
        table.word(kind)
        table.text(request.rawValue)
    }

    /// Who bore a charge, or got it back.
    private struct Parts {
        var paid: Int128 = 0
        var promotional: Int128 = 0
        var owed: Int128 = 0

        init() {}

        init(_ postings: [Posting]) {
            for posting in postings {
                switch posting.account {
                case .usage(.credits(.paid)), .reversals(.credits(.paid)): paid -= posting.amount
                case .usage(.credits(.promotional)), .reversals(.credits(.promotional)): promotional -= posting.amount
                case .usage(.owed), .reversals(.owed): owed -= posting.amount
                default: break
                }
            }
        }
    }

    private static func write(_ parts: Parts, _ table: inout TableWriter) {
        for part in [parts.paid, parts.promotional, parts.owed] { table.decimal(part, fractionDigits: 9) }
    }

    private static func write(
        _ charge: RequestCharged, _ parts: Parts, _ event: RecordedEvent, _ table: inout TableWriter
    ) {
        begin(event, "charge", charge.request, &table)
        let origin = charge.origin
        table.text(origin.keyID)
        table.text(origin.model)
        table.integer(charge.priced.version)
        table.decimal(charge.costPicoUSD, fractionDigits: 12)
        table.decimal(Int128(charge.rate.microsPerUSD), fractionDigits: 6)
        table.credits(charge.credits)
        write(parts, &table)
        table.credits(charge.balance)
        table.text(nil)
        table.text(nil)
        table.credits(charge.excess ?? .zero)
        table.decimal(charge.excessPicoUSD, fractionDigits: 12)
        table.endRow()
    }

    private static let grantColumns = [
        position, recordedAt, effectiveAt, account,
        TableColumn("kind", "payment, granted, expired, withdrawn, refunded, or owed (used credits of a refund)"),
        TableColumn("grant", "the grant: the version of its event in the account's stream"),
        TableColumn("pool", "where the credits lie"), TableColumn("source", "why they were granted"),
        TableColumn("funding", "paid or promotional"), TableColumn("credits", "what was added; below zero: taken"),
        TableColumn("debt_repaid", "of a grant what repaid debt at once"),
        TableColumn("expires_at", "when a grant can no longer be spent"),
        TableColumn("usd", "of a payment what came in; below zero: what went back"),
        TableColumn("reference", "the payment, or what else it refers to"), TableColumn("reason", "why"),
        TableColumn("actor", "who did it"), TableColumn("balance", "the account's balance after it"),
    ]

    /// What differs between the rows of the table of grants.
    private struct GrantLine {
        var kind: String
        var grant: GrantID?
        var terms: GrantTerms?
        var credits: Int128?
        var debtRepaid: Credits?
        var expiresAt: Timestamp?
        var microUSD: Int128?
        var reference: String?
        var reason: String?
        var actor: String?
        var balance: Credits?
    }

    private static func writeGrant(
        _ event: RecordedEvent, _ terms: (GrantID) throws -> GrantTerms, _ table: inout TableWriter
    ) rethrows {
        for line in try grantLines(event, terms) {
            table.integer(event.position)
            table.instant(event.recordedAt)
            table.instant(event.effectiveAt)
            table.text(event.account.rawValue)
            table.word(line.kind)
            table.integer(line.grant)
            table.text(line.terms?.pool.rawValue)
            table.text(line.terms?.source.rawValue)
            table.text(line.terms?.funding.rawValue)
            table.decimal(line.credits, fractionDigits: 9)
            table.credits(line.debtRepaid)
            table.instant(line.expiresAt)
            table.decimal(line.microUSD, fractionDigits: 6)
            table.text(line.reference)
            table.text(line.reason)
            table.text(line.actor)
            table.credits(line.balance)
            table.endRow()
        }
    }

    private static func grantLines(
        _ recorded: RecordedEvent, _ terms: (GrantID) throws -> GrantTerms
    ) rethrows -> [GrantLine] {
        switch recorded.event {
        case .paymentRecorded(let event):
            return [
                GrantLine(
                    kind: "payment", microUSD: event.kind == .imported ? 0 : Int128(event.microUSD),
                    reference: event.payment.rawValue, actor: event.actor)
            ]
        case .creditsGranted(let event):
            return [
                GrantLine(
                    kind: "granted", grant: recorded.version,
                    terms: GrantTerms(pool: event.pool, source: event.source), credits: Int128(event.amount.nanos),
                    debtRepaid: event.debtRepaid, expiresAt: event.expiresAt, reference: event.reference,
                    reason: event.reason, actor: event.actor, balance: event.balance)
            ]
        case .grantExpired(let event):
            return [
                GrantLine(
                    kind: "expired", grant: event.grant, terms: try terms(event.grant),
                    credits: -Int128(event.amount.nanos), balance: event.balance)
            ]
        case .creditsWithdrawn(let event):
            return try event.allocations.map { part in
                GrantLine(
                    kind: "withdrawn", grant: part.grant, terms: try terms(part.grant),
                    credits: -Int128(part.amount.nanos), reason: event.reason, actor: event.actor,
                    balance: event.balance)
            }
        case .paymentRefunded(let event):
            var lines = try event.taken.map { part in
                GrantLine(
                    kind: "refunded", grant: part.grant, terms: try terms(part.grant),
                    credits: -Int128(part.amount.nanos))
            }
            if event.debtAdded > .zero {
                lines.append(GrantLine(kind: "owed", credits: -Int128(event.debtAdded.nanos)))
            }
            // Of a payment that has not bought anything yet, or of what is gone already, money alone goes back.
            if lines.isEmpty { lines.append(GrantLine(kind: "refunded", credits: 0)) }
            for index in lines.indices {
                lines[index].reference = event.payment.rawValue
                lines[index].reason = event.reason
                lines[index].actor = event.actor
                lines[index].balance = event.balance
            }
            lines[0].microUSD = -Int128(event.microUSD)
            return lines
        default: return []
        }
    }

    private static let journalColumns = [
        position, recordedAt, account, TableColumn("kind", "what happened"),
        TableColumn("ledger_account", "the account of the journal"), TableColumn("commodity", "CREDIT or USD"),
        TableColumn("amount", "debits are above zero, credits below; in each commodity an event's rows add up to zero"),
    ]
}
