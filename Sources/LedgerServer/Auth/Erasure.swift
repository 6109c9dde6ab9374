import Ledger
import LedgerSQLite

/// Erases people: what is known of them beside the ledger, with an event that it happened.
///
/// The events themselves hold nothing of a person, so the ledger verifies as before.
struct Erasure: Sendable {
    let writer: LedgerWriter
    let directory: Directory

    /// Blocks the account, records the erasure and erases; gives the hashes of the keys that are void now, or nil where there is no such
    /// person any more. Can be repeated: it is recorded once.
    func erase(_ user: User, actor: String) async throws -> [[UInt8]]? {
        try await directory.beginErasure(of: user.id)
        _ = try await writer.submit(Command(account: user.id, action: .block(actor: actor)))
        let command = EraseAccount(createdAt: user.createdAt, actor: actor)
        _ = try await writer.submit(Command(account: user.id, action: .erase(command)))
        let hashes = try await directory.erase(user.id, at: SystemClock.now())
        // Nearly always nobody reads for longer than this. Who does is not waited for: HousekeepingService goes on trying.
        var attempts = 0
        while try await !directory.emptyLogOfErased(), attempts < 20 {
            attempts += 1
            try await Task.sleep(for: .milliseconds(25))
        }
        return hashes
    }

    /// Finishes what a crash has interrupted.
    func finish() async throws {
        for user in try await directory.pendingErasures() { _ = try await erase(user, actor: "interrupted erasure") }
        _ = try await directory.emptyLogOfErased()
    }
}
