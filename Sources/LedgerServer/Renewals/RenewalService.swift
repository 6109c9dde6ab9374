import Ledger
import LedgerSQLite
import Logging
import ServiceLifecycle

/// Sweeps now and then; the first time after a part of the interval that is left to chance, so that many that start at once do not all sweep at once.
struct RenewalService: Service {
    let sweep: RenewalSweep
    let inbox: PaymentInbox
    let intervalSeconds: Int
    let logger: Logger

    func run() async throws {
        guard intervalSeconds > 0 else {
            try? await gracefulShutdown()
            return
        }
        await cancelWhenGracefulShutdown {
            var pause = Duration.milliseconds(Int.random(in: 0...min(intervalSeconds, 60) * 1000))
            while !Task.isCancelled {
                guard (try? await Task.sleep(for: pause)) != nil else { break }
                pause = .seconds(intervalSeconds)
                await once()
            }
        }
    }

    private func once() async {
        do {
            let result = try await sweep.run()
            if result.renewed > 0 || result.expiredAccounts > 0 {
                logger.info(
                    "recorded what was due",
                    metadata: [
                        "cycles": "\(result.renewed)", "accounts_with_expiries": "\(result.expiredAccounts)",
                    ])
            }
            try await inbox.retryWaiting()
        } catch is CancellationError {
        } catch {
            logger.warning("what is due could not be recorded", metadata: ["error": "\(error)"])
        }
    }
}
