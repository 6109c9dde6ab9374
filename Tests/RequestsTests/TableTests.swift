import Requests
import Testing

@Suite("Tables of requests")
struct TableTests {
    @Test("every table can be read", arguments: RequestTables.all.map(\.name))
    func readable(name: String) throws {
        let table = try #require(RequestTables.all.first { $0.name == name })
        #expect(throws: Never.self) { try table.table.get() }
    }
}
