import Dispatch
import Ledger
import LedgerSQLite
import Logging
import Projections
import ServiceLifecycle
import Synchronization

/// Keeps the usage read models up with the ledger, and knows how far they are behind.
final class UsageService: Service {
    private let follower: UsageFollower
    private let logger: Logger
    private let queue = DispatchQueue(label: "ledger.usage", qos: .utility)
    private let measured = Mutex<Int64?>(nil)

    init(follower: UsageFollower, logger: Logger) {
        self.follower = follower
        self.logger = logger
    }

    /// How many events the read models were behind when last looked at; nil: not known.
    var lag: Int64? { measured.withLock { $0 } }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                let applied = await self.step()
                // After a full batch there is more to do; else new events are looked for a few times a second.
                if applied < 1000 { try? await Task.sleep(for: .milliseconds(100)) }
            }
        }
        // What was settled last shall be in the log when the process ends.
        while await step() > 0 {}
    }

    /// Applies a batch, off the threads that serve requests.
    private func step() async -> Int {
        await withCheckedContinuation { continuation in
            queue.async {
                do {
                    let applied = try self.follower.step()
                    let lag = try self.follower.lag()
                    self.measured.withLock { $0 = lag }
                    continuation.resume(returning: applied)
                } catch {
                    self.measured.withLock { $0 = nil }
                    self.logger.error("the usage log cannot follow", metadata: ["error": "\(error)"])
                    continuation.resume(returning: 0)
                }
            }
        }
    }
}

/// Small writes that can wait: when keys were last used, and the forgetting of old request keys, logins and sessions.
struct HousekeepingService: Service {
    let authenticator: Authenticator
    let directory: Directory
    let limits: Limits
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                for _ in 0..<30 where !Task.isCancelled {
                    try? await Task.sleep(for: .seconds(1))
                    await emptyLog()
                }
                await tidy()
            }
        }
        await tidy()
    }

    /// Finishes an erasure that somebody's long reading was in the way of.
    private func emptyLog() async {
        do {
            _ = try await directory.emptyLogOfErased()
        } catch {
            logger.warning("the log of the database could not be emptied", metadata: ["error": "\(error)"])
        }
    }

    private func tidy() async {
        do {
            try await authenticator.flushUses()
            let oldest = SystemClock.now().advanced(bySeconds: -3600 * Int64(limits.idempotencyHours))
            _ = try await directory.pruneRequestKeys(before: oldest)
            try await directory.pruneDeliveries(receivedBefore: SystemClock.now().advanced(bySeconds: -90 * 86_400))
            var rounds = 0
            while try await directory.pruneLogins(at: SystemClock.now()), rounds < 100 { rounds += 1 }
        } catch {
            logger.warning("housekeeping failed", metadata: ["error": "\(error)"])
        }
    }
}

/// Closes the writer, last of all: everything that was submitted is on disk before the process ends.
struct WriterService: Service {
    let writer: LedgerWriter

    func run() async throws {
        try? await gracefulShutdown()
        await writer.close()
    }
}
