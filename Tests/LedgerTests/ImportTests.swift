import Ledger
import Testing

@Suite("What is imported")
struct ImportTests {
    static func usage(_ id: String, tokens: Int64 = 10, cost: Int128 = 5, error: String? = nil) throws -> UsageImported
    {
        UsageImported(
            request: try #require(RequestID(importedUsage: id)),
            origin: RequestOrigin(model: "old:model", keyID: "key", endpoint: "/v1/chat/completions"),
            status: error == nil ? .success : .error, promptTokens: tokens, cachedTokens: 0, completionTokens: tokens,
            costPicoUSD: cost, error: error)
    }

    static func opening(_ reference: String, _ amount: String, key: String? = nil) -> Command.Action {
        .grant(
            GrantCredits(
                key: key ?? GrantCredits.openingKey(reference), pool: .topup, source: .openingBalance,
                amount: .of(amount), reference: reference, actor: "import"))
    }

    @Test("old usage counts from when it was, is recorded once, and changes no balance")
    func history() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(Self.opening("1", "5"))
        ledger.now = .days(2)
        let usage = try Self.usage("u-1")
        try ledger.send(.importUsage(ImportUsage(usage: usage, at: .days(-400))))
        let recorded = try #require(ledger.events.last)
        #expect(recorded.effectiveAt == .days(-400))
        #expect(recorded.recordedAt == .days(2))
        #expect(recorded.key == "import:usage:u-1")
        #expect(ledger.alice.balance == .of("5"))
        #expect(ledger.alice.holds.isEmpty)
        // The same row again is nothing; with another figure or another time it is refused.
        let count = ledger.events.count
        try ledger.send(.importUsage(ImportUsage(usage: usage, at: .days(-400))))
        #expect(ledger.events.count == count)
        let changed = try Self.usage("u-1", cost: 6)
        for command in [ImportUsage(usage: changed, at: .days(-400)), ImportUsage(usage: usage, at: .days(-399))] {
            #expect(
                refusal { () throws(Refusal) in try ledger.send(.importUsage(command)) }
                    == .keyReused(key: "import:usage:u-1"))
        }
        #expect(Account(id: .alice, snapshot: ledger.alice.snapshot()) == ledger.alice)
    }

    @Test("old usage of a blocked account is history all the same")
    func blocked() throws {
        var ledger = try TestLedger.standard()
        try ledger.send(.block(actor: "import"))
        try ledger.send(.importUsage(ImportUsage(usage: try Self.usage("u-1", error: "error"), at: .days(-1))))
        #expect(ledger.events.last?.event.type == "usage_imported.v1")
    }

    @Test("what nobody can have used is refused")
    func refused() throws {
        var ledger = try TestLedger.standard()
        func refused(_ usage: UsageImported, at: Timestamp = .days(-1)) -> Refusal? {
            refusal { () throws(Refusal) in try ledger.send(.importUsage(ImportUsage(usage: usage, at: at))) }
        }
        #expect(refused(try Self.usage("u"), at: .days(1)) == .instantInTheFuture)
        #expect(refused(try Self.usage("u", tokens: -1)) == .boundOutOfRange)
        #expect(refused(try Self.usage("u", tokens: Usage.maximumTokens + 1)) == .boundOutOfRange)
        #expect(refused(try Self.usage("u", cost: -1)) == .boundOutOfRange)
        #expect(refused(try Self.usage("u", cost: UsageImported.maximumCostPicoUSD + 1)) == .boundOutOfRange)
        #expect(refused(try Self.usage("u", error: "Mail of bob@example.org")) == .boundOutOfRange)
        let own = UsageImported(
            request: .number(1), origin: RequestOrigin(model: "m", keyID: nil, endpoint: "/"), status: .success,
            promptTokens: 0, cachedTokens: 0, completionTokens: 0, costPicoUSD: 0)
        #expect(refused(own) == .invalidKey)
        #expect(RequestID(importedUsage: "") == nil)
        #expect(RequestID(importedUsage: "with space") == nil)
        #expect(
            refusal { () throws(Refusal) in
                try ledger.send(.importUsage(ImportUsage(usage: own, at: .days(-1))), to: .bob)
            } == .accountUnknown)
    }

    @Test("an opening balance is granted under the key of its old row, and under no other")
    func openingBalance() throws {
        var ledger = try TestLedger.standard()
        #expect(refusal { () throws(Refusal) in try ledger.send(Self.opening("7", "5", key: "g1")) } == .invalidKey)
        try ledger.send(Self.opening("7", "5"))
        try ledger.send(Self.opening("7", "5"))
        #expect(ledger.alice.balance == .of("5"))
        #expect(
            refusal { () throws(Refusal) in try ledger.send(Self.opening("7", "4")) }
                == .keyReused(key: "import:balance:7"))
        // A row below zero is withdrawn.
        try ledger.send(
            .adjust(
                AdjustCredits(
                    key: GrantCredits.openingKey("8"), amount: .of("-2"), reason: "below zero", actor: "import")))
        #expect(ledger.alice.balance == .of("3"))
    }

    /// An event that nobody can have decided, behind a sound history.
    func finding(_ event: LedgerEvent, key: String, effectiveAt: Timestamp) throws -> Finding? {
        let ledger = try TestLedger.standard()
        var auditor = Auditor { _ in nil }
        for event in ledger.events { #expect(auditor.check(event) == nil) }
        return auditor.check(
            RecordedEvent(
                position: Int64(ledger.events.count) + 1, account: .alice, version: ledger.alice.version + 1,
                recordedAt: .t0, effectiveAt: effectiveAt, key: key, event: event))
    }

    @Test("the auditor objects to imports that no import makes")
    func audited() throws {
        let usage = LedgerEvent.usageImported(try Self.usage("u-1"))
        #expect(try finding(usage, key: "import:usage:u-1", effectiveAt: .days(-1)) == nil)
        #expect(try finding(usage, key: "import:usage:u-1", effectiveAt: .days(1)) != nil)
        #expect(try finding(usage, key: "import:usage:u-2", effectiveAt: .days(-1)) != nil)
        let absurd = LedgerEvent.usageImported(try Self.usage("u-1", tokens: -1))
        #expect(try finding(absurd, key: "import:usage:u-1", effectiveAt: .days(-1)) != nil)
        // Nothing else counts from before it was recorded.
        var ledger = try TestLedger.standard()
        try ledger.send(Self.opening("7", "5"))
        let grant = try #require(ledger.events.last?.event)
        #expect(try finding(grant, key: "import:balance:7", effectiveAt: .t0) == nil)
        #expect(try finding(grant, key: "import:balance:7", effectiveAt: .days(-1)) != nil)
        #expect(try finding(grant, key: "topup:7", effectiveAt: .t0) != nil)
    }
}
