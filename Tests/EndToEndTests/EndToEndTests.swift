import Foundation
import Testing

/// The real server and the real `replay`, as processes, in front of a stand-in provider that sends hostile bytes, driven by real clients.
///
/// The cases are written in Python (`harness/`): a second language with sockets of its own, so that nothing of what is tested is used to
/// test it. Each runs by itself too: `python3 Tests/EndToEndTests/harness/cases.py NAME`.
@Suite("End to end", .serialized)
struct EndToEndTests {
    static let harness = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "harness")
    static let environment = ProcessInfo.processInfo.environment

    static let cases = [
        "upstream", "streams", "stream_options", "whole_answers", "chunk_by_chunk", "recordings", "misbehaviour",
        "odd_answers",
        "connect_timeout", "stream_duration", "disconnect_boundaries", "disconnect_anywhere:1", "disconnect_anywhere:2",
        "drain_bound", "slow_reader", "concurrency_money_for_one", "names_that_look_alike", "admission", "old_status",
        "unpriced", "idempotency",
        "kill9:\(environment["KILL9_ROUNDS"] ?? "5")", "shutdown", "second_writer", "disk_full", "limits", "http",
        "stream_limit", "queue_limit", "auth", "keys_users_pricing", "balance_and_usage", "config_errors", "tamper",
        "profile", "profile_history", "budgets", "subscriptions", "cycles", "renewal_trigger", "corrections",
        "spending_limits", "budgets_bind", "notices",
        "shop_once", "shop_crash", "shop_orders", "shop_amounts", "shop_months", "shop_refunds", "shop_changes",
        "shop_patience",
        "reader_without_rights", "projections", "sdk",
        "translated_answers", "names_and_secrets", "translated_money", "tool_loops", "provider_features", "doors",
        "provider_errors",
        "recorded_providers",
        "import_postgres", "import_sqlite",
        "retries", "retry_interrupted", "fallbacks", "circuit", "openai_sdk", "anthropic_sdk", "agents",
        "login_oidc", "login_provider_faults", "login_jwks_rotation", "login_state", "login_redirects", "login_codes",
        "login_link_key", "login_discord", "login_linking", "portal_login", "tokens", "refresh", "sessions",
        "login_limits", "login_secrets", "login_crash", "login_sdk", "security_log", "login_by_the_operator",
        "login_looking_ahead", "login_hostile_ends",
        "auditing", "desk_edges", "verify_passes", "proofs", "key_rotation", "erasure", "backup_restore", "event_feed",
        "help_examples",
        "contract", "old_config", "rights", "openapi",
        "closed_world", "measured", "strict_billing:\(environment["STRICT_REQUESTS"] ?? "100000")", "beyond_bound",
        "usage_in_odd_answers", "strict_money_routes",
        "leaving", "leaving_bounds", "leaving_between_tries", "leaving_other_forms", "circuit_of_one",
    ]

    @Test("case", arguments: cases)
    func run(name: String) throws {
        // The test runner lies where the build puts the other products.
        let products = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent()
        let process = Process()
        process.executableURL = URL(filePath: Self.environment["E2E_PYTHON"] ?? "/usr/bin/python3")
        process.arguments = [Self.harness.appending(path: "cases.py").path, name]
        process.environment = Self.environment.merging([
            "LEDGER_SERVER": products.appending(path: "LedgerServer").path,
            "REPLAY": products.appending(path: "replay").path,
        ]) { $1 }
        let output = FileManager.default.temporaryDirectory.appending(path: "e2e-\(UUID().uuidString).log")
        _ = FileManager.default.createFile(atPath: output.path, contents: nil)
        let handle = try FileHandle(forWritingTo: output)
        defer { try? FileManager.default.removeItem(at: output) }
        process.standardOutput = handle
        process.standardError = handle
        try process.run()
        process.waitUntilExit()
        if process.terminationStatus != 0 {
            let text = try String(contentsOf: output, encoding: .utf8)
            Issue.record("\(name) failed:\n\(text.suffix(6000))")
        }
    }

    @Test("every case of the harness is run here")
    func complete() throws {
        let process = Process()
        process.executableURL = URL(filePath: Self.environment["E2E_PYTHON"] ?? "/usr/bin/python3")
        process.arguments = [Self.harness.appending(path: "cases.py").path, "--list"]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        let names = text.split(separator: "\n").compactMap {
            $0.split(whereSeparator: { " :".contains($0) }).first.map(String.init)
        }
        let run = Set(Self.cases.compactMap { $0.split(separator: ":").first.map(String.init) })
        #expect(Set(names) == run)
    }
}
