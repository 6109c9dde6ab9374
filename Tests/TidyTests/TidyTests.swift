import Foundation
import Testing

/// Rules of the house that no compiler checks.
@Suite("Tidy")
struct TidyTests {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    struct File {
        let path: String
        let text: String
        /// Its lines without comments.
        var code: [Substring] {
            text.split(separator: "\n", omittingEmptySubsequences: false).filter {
                !$0.drop(while: { $0 == " " }).hasPrefix("//")
            }
        }
    }

    static func sources() throws -> [File] {
        let folder = root.appending(path: "Sources")
        let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)?.allObjects ?? []
        return try files.compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }.map { file in
            File(
                path: String(file.path.dropFirst(folder.path.count + 1)),
                text: try String(contentsOf: file, encoding: .utf8))
        }
    }

    @Test(
        "nothing in Sources can stop the process on bad input",
        arguments: [
            "try!", " as!", "fatalError(", "unowned(unsafe)", "TODO", "FIXME",
        ])
    func banned(word: String) throws {
        for file in try Self.sources() {
            for line in file.code { #expect(!line.contains(word), "\(file.path): \(line)") }
        }
    }

    @Test(
        "no floating point number is near money",
        arguments: ["Ledger/", "LedgerSQLite/", "Projections/", "Auditing/", "Metering/", "WireJSON/"])
    func floats(folder: String) throws {
        for file in try Self.sources() where file.path.hasPrefix(folder) {
            for line in file.code where line.contains("Double") || line.contains("Float") {
                Issue.record("\(file.path): \(line)")
            }
        }
    }

    /// What each room may import of ours and of others; nothing else.
    static let imports: [String: Set<String>] = [
        "WireJSON": [],
        "Ledger": [
            "WireJSON", "Crypto", "CNettle", "FoundationEssentials", "Dispatch", "Synchronization", "Glibc", "Musl",
            "Darwin",
        ],
        "Metering": ["Ledger", "WireJSON", "Glibc", "Musl", "Darwin"],
        "Requests": ["CRequestTables", "WireJSON"],
        "Translation": ["Metering", "WireJSON"],
        "Projections": ["Ledger", "WireJSON"],
        "LedgerSQLite": [
            "Ledger", "Projections", "Crypto", "GRDB", "GRDBSQLite", "Foundation", "Synchronization", "Glibc", "Musl",
            "Darwin",
        ],
        "Auditing": ["Ledger", "LedgerSQLite", "Projections", "WireJSON", "Dispatch", "Synchronization"],
        "Authentication": ["Ledger", "WireJSON", "Crypto", "JWTKit", "Foundation"],
        "OldGateway": ["CPostgres", "GRDB", "Foundation"],
        "replay": [
            "Ledger", "LedgerSQLite", "Projections", "Auditing", "WireJSON", "ArgumentParser", "Foundation",
            "Synchronization",
        ],
    ]

    @Test("imports point one way", arguments: imports.keys.sorted())
    func direction(room: String) throws {
        let allowed = Self.imports[room] ?? []
        for file in try Self.sources() where file.path.hasPrefix(room + "/") {
            for line in file.code {
                let words = line.split(separator: " ")
                guard let index = words.firstIndex(of: "import"), index <= 1, words.count == index + 2 else { continue }
                #expect(allowed.contains(String(words[index + 1])), "\(file.path) imports \(words[index + 1])")
            }
        }
    }

    @Test("no file is a drawer")
    func drawers() throws {
        for file in try Self.sources() {
            for name in ["Utils", "Helpers", "Misc", "Common"] { #expect(!file.path.contains(name), "\(file.path)") }
            #expect(file.text.split(separator: "\n").count <= 500, "\(file.path) holds more than one idea")
        }
    }
}
