import Ledger
import Projections
import Testing

/// A provider's export against our charges: what is the same, what midnight explains, and what is neither.
@Suite("Reconciling")
struct ReconciliationTests {
    static let noon = Timestamp(iso8601: "2026-03-10T12:00:00Z") ?? Timestamp(microseconds: 0)

    static func charge(
        _ number: Int, at instant: Timestamp, prompt: Int64 = 100, completion: Int64 = 10, model: String = "openai:m",
        served: String? = nil
    ) throws -> RecordedEvent {
        let usage = try #require(Usage(prompt: prompt, completion: completion))
        let request = try #require(RequestID(rawValue: "req_\(number)"))
        let data = """
            {"request":"\(request)","model":"\(model)","endpoint":"/v1/chat/completions","outcome":"finished",\
            \(served.map { "\"served_model\":\"\($0)\"," } ?? "")"prompt_tokens":\(usage.prompt),"cached_tokens":0,\
            "cache_write_tokens":0,"cache_write_1h_tokens":0,"completion_tokens":\(usage.completion),"estimated":false,\
            "price":{"version":0,"input":0,"output":0},"micro_credits_per_usd":10000000,"cost_pico_usd":0,"credits":0,\
            "allocations":[],"shortfall":0,"balance":0}
            """
        let event = try LedgerEvent(type: "request_charged.v1", data: Array(data.utf8))
        let account = try #require(AccountID(rawValue: "alice"))
        return RecordedEvent(
            position: Int64(number), account: account, version: Int64(number), recordedAt: instant,
            effectiveAt: instant,
            key: "settle:\(request)", event: event)
    }

    static func verdicts(
        _ csv: String, _ charges: [RecordedEvent], partsPerMillion: Int64 = 0
    ) throws -> [String] {
        let usage = try ProviderUsage(Array(csv.utf8), from: .openai)
        var reconciliation = Reconciliation(provider: "openai", with: usage, partsPerMillion: partsPerMillion)
        for charge in charges { reconciliation.add(charge) }
        return reconciliation.lines().map {
            "\(Timestamp.text(day: $0.key.day)) \($0.key.model) \($0.verdict.rawValue)"
        }
    }

    static let head = "date,model,requests,input_tokens,output_tokens\n"

    @Test("equal, off by one, tolerated, only there and only here")
    func verdicts() throws {
        let charges = try [Self.charge(1, at: Self.noon), Self.charge(2, at: Self.noon)]
        func found(_ rows: String, _ tolerated: Int64 = 0) throws -> [String] {
            try Self.verdicts(Self.head + rows, charges, partsPerMillion: tolerated)
        }
        #expect(try found("2026-03-10,m,2,200,20\n") == ["2026-03-10 m equal"])
        #expect(try found("2026-03-10,m,2,201,20\n") == ["2026-03-10 m differs"])
        #expect(try found("2026-03-10,m,2,201,20\n", 10_000) == ["2026-03-10 m tolerated"])
        #expect(try found("2026-03-10,m,3,200,20\n", 10_000) == ["2026-03-10 m differs"])
        #expect(try found("2026-03-10,n,1,1,1\n") == ["2026-03-10 m only_here", "2026-03-10 n only_there"])
        // Other days than those of the file are not looked at.
        #expect(try found("2026-03-11,m,0,0,0\n") == ["2026-03-11 m only_there"])
    }

    @Test("rows that name no model and count something are told, and do not agree")
    func unnamed() throws {
        let charges = try [Self.charge(1, at: Self.noon), Self.charge(2, at: Self.noon)]
        func result(_ rows: String) throws -> Reconciliation {
            var result = Reconciliation(
                provider: "openai", with: try ProviderUsage(Array((Self.head + rows).utf8), from: .openai))
            for charge in charges { result.add(charge) }
            return result
        }
        #expect(try result("2026-03-10,m,2,200,20\n2026-03-11,,0,0,0\n,,,,\n").agrees)
        let odd = try result("2026-03-10,m,2,200,20\n2026-03-10,,1,7777,8\n,,,0,5\n")
        #expect(!odd.agrees)
        #expect(odd.unnamed.rows == 2 && odd.unnamed.tally.prompt == 7777 && odd.unnamed.tally.completion == 13)
    }

    @Test("within a period of one's own, days that the file lacks are compared, and others are not")
    func period() throws {
        let charges = try [Self.charge(1, at: Self.noon), Self.charge(2, at: Self.noon)]
        let day = Self.noon.utcDay
        func result(_ rows: String, _ period: ClosedRange<Int64>) throws -> Reconciliation {
            let usage = try ProviderUsage(Array((Self.head + rows).utf8), from: .openai)
            var result = Reconciliation(provider: "openai", with: usage, period: period)
            for charge in charges { result.add(charge) }
            return result
        }
        // The file has only the day before: all of ours are missing in it.
        let short = try result("2026-03-09,m,0,0,0\n", day - 1...day)
        #expect(!short.agrees)
        #expect(short.lines().map(\.verdict) == [.onlyThere, .onlyHere])
        let other = try result("2026-03-10,m,2,200,20\n2026-04-10,m,9,9,9\n", day...day)
        #expect(other.agrees && other.outside == 1)
    }

    @Test("what was settled right after midnight may have been counted the day before, and nothing else may")
    func midnight() throws {
        let midnight = try #require(Timestamp(iso8601: "2026-03-11T00:00:00Z"))
        let charges = try [
            Self.charge(1, at: Self.noon), Self.charge(2, at: midnight.advanced(bySeconds: 5)),
            Self.charge(3, at: midnight.advanced(bySeconds: 7200)),
        ]
        let there = Self.head + "2026-03-10,m,2,200,20\n2026-03-11,m,1,100,10\n"
        #expect(try Self.verdicts(there, charges) == ["2026-03-10 m midnight", "2026-03-11 m midnight"])
        let late = try [
            Self.charge(1, at: Self.noon), Self.charge(2, at: midnight.advanced(bySeconds: 901)),
            Self.charge(3, at: midnight.advanced(bySeconds: 7200)),
        ]
        #expect(try Self.verdicts(there, late) == ["2026-03-10 m differs", "2026-03-11 m differs"])
        // All of a day was settled right after midnight: the file need have no row of it.
        let early = try [Self.charge(1, at: Self.noon), Self.charge(2, at: midnight.advanced(bySeconds: 5))]
        let all = Self.head + "2026-03-10,m,2,200,20\n2026-03-11,n,0,0,0\n"
        #expect(try Self.verdicts(all, early).first == "2026-03-10 m midnight")
        #expect(try Self.verdicts(all, early).dropFirst().first == "2026-03-11 m midnight")
        let mixed = early + [try Self.charge(3, at: midnight.advanced(bySeconds: 7200))]
        #expect(try Self.verdicts(all, mixed).dropFirst().first == "2026-03-11 m only_here")
    }

    @Test("a model is the one that answered, where the file knows it, and else the one that was asked for")
    func names() throws {
        let charges = try [
            Self.charge(1, at: Self.noon, served: "m-2026-01-01"), Self.charge(2, at: Self.noon, served: "unknown"),
            Self.charge(3, at: Self.noon, model: "other:m"),
        ]
        let there = Self.head + "2026-03-10,m,1,100,10\n2026-03-10,m-2026-01-01,1,100,10\n"
        #expect(
            try Self.verdicts(there, charges) == ["2026-03-10 m equal", "2026-03-10 m-2026-01-01 equal"])
    }

    @Test("days are read as providers write them")
    func days() throws {
        let charges = try [Self.charge(1, at: Self.noon)]
        for (head, day) in [
            ("start_time_iso", "2026-03-10T00:00:00+00:00"), ("start_time", "1773100800"),
            ("start_time_iso", "2026-03-10 00:00:00"),
            ("date", "2026-03-10"),
        ] {
            let csv =
                "\u{FEFF}\(head),Model,num_model_requests,input_tokens,input_cached_tokens,output_tokens\r\n\(day),m,1.0,100.0,0.0,10\r\n\r\n"
            #expect(try Self.verdicts(csv, charges) == ["2026-03-10 m equal"], "\(day)")
        }
    }

    @Test(
        "what is no table, or has not the columns, is told with its line",
        arguments: [
            "", "\n", "date,model\n", "date,model,input_tokens,output_tokens\n2026-03-10,m,1\n",
            "date,model,input_tokens,output_tokens\n2026-03-10,m,x,1\n",
            "date,model,input_tokens,output_tokens\n2026-03-10,m,1.5,1\n",
            "date,model,input_tokens,output_tokens\n2026-03-10,m,-1,1\n",
            "date,model,input_tokens,output_tokens\nx,m,1,1\n",
            "date,model,input_tokens,output_tokens\n2026-03-10,m,99999999999999999999,1\n",
            "date,model,input_tokens,output_tokens\n\"2026-03-10,m,1,1\n", "date,model,input_tokens,output_tokens\n",
            "date,model,input_tokens,output_tokens\n2026-03-10,,1,1\n",
            "date,model,input_tokens,output_tokens\n20261210,m,1,1\n",
            "date,model,input_tokens,output_tokens\n-1,m,1,1\n",
        ])
    func broken(csv: String) {
        #expect(throws: CSVReader.Problem.self) { try ProviderUsage(Array(csv.utf8), from: .openai) }
    }

    @Test("a problem names the line on which its row begins", arguments: ["", "\n", "\r\n"])
    func lines(end: String) {
        let head = "date,model,input_tokens,output_tokens\n"
        for (rows, line) in [("2026-03-10,m,x,1", 2), ("2026-03-10,m,1,1\n2026-03-10,m,1", 3), ("\"\n\",m,1,1", 2)] {
            #expect {
                try ProviderUsage(Array((head + rows + end).utf8), from: .openai)
            } throws: { error in
                (error as? CSVReader.Problem)?.line == line
            }
        }
    }
}
