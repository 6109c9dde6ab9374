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
        await emptyLog()
        return hashes
    }

    /// Tries to leave nothing in the database's log, either. Nearly always nobody reads an older state for longer than this takes; who does is
    /// not waited for, and `HousekeepingService` goes on trying. What is erased is erased: nothing here can fail it.
    private func emptyLog() async {
        for _ in 0..<20 {
            if (try? await directory.emptyLogOfErased()) ?? false { return }
            try? await Task.sleep(for: .milliseconds(25))
        }
    }

    /// Finishes what a crash has interrupted.
    func finish() async throws {
        for user in try await directory.pendingErasures() { _ = try await erase(user, actor: "interrupted erasure") }
        await emptyLog()
    }
}
