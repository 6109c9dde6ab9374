import AsyncHTTPClient
import Dispatch
import Foundation
import Ledger
import LedgerSQLite
import Logging
import NIOCore
import NIOHTTP1
import ServiceLifecycle

/// Signs the state of the ledger now and then and when the server stops, and hands every checkpoint to where it shall also lie.
///
/// A history that no longer leads to an earlier checkpoint is never signed: that is an error in the log, and nothing else stops.
struct CheckpointService: Service {
    let configuration: CheckpointConfiguration
    let store: CheckpointStore
    let client: HTTPClient
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                await once()
                let pause = configuration.intervalSeconds == 0 ? 86_400 : configuration.intervalSeconds
                // What could not be published is tried again sooner.
                let isBehind = ((try? store.unpublished(limit: 1)) ?? []).isEmpty == false
                guard (try? await Task.sleep(for: .seconds(isBehind ? min(30, pause) : pause))) != nil else { break }
            }
        }
        await once()
    }

    private func once() async {
        do {
            let (store, configuration) = (store, configuration)
            _ = try await Self.offLoop {
                try store.sign(origin: configuration.origin, by: configuration.signers, at: SystemClock.now())
            }
        } catch {
            logger.error("no checkpoint is signed", metadata: ["error": "\(error)"])
            return
        }
        do {
            for (size, note) in try store.unpublished() {
                try await publish(size, note)
                try store.markPublished(size)
            }
        } catch {
            logger.warning(
                "a checkpoint could not be published, and is tried again",
                metadata: ["error": "\(error is CocoaError ? error.localizedDescription : "\(error)")"])
        }
    }

    private func publish(_ size: Int64, _ note: String) async throws {
        if let directory = configuration.directory {
            try Self.write(note, size: size, to: directory)
        }
        guard let url = configuration.url else { return }
        var request = HTTPClientRequest(url: url)
        request.method = .POST
        request.headers.add(name: "content-type", value: "text/plain; charset=utf-8")
        request.body = .bytes(ByteBuffer(string: note))
        let response = try await client.execute(request, timeout: .seconds(10))
        guard (200..<300).contains(response.status.code) else { throw Unpublished(status: response.status.code) }
    }

    private struct Unpublished: Error, CustomStringConvertible {
        let status: UInt
        var description: String { "the address answered \(status)" }
    }

    // MARK: The directory

    /// The file of the checkpoint of a size; files sort as their sizes do.
    static func name(_ size: Int64) -> String {
        let digits = String(size)
        return "checkpoint-" + String(repeating: "0", count: max(0, 19 - digits.utf8.count)) + digits
    }

    /// Writes a checkpoint as a whole: who reads it finds all of it or nothing.
    private static func write(_ note: String, size: Int64, to directory: String) throws {
        let folder = URL(filePath: directory, directoryHint: .isDirectory)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Data(note.utf8).write(to: folder.appending(path: name(size)), options: .atomic)
    }

    /// Refuses to begin on a ledger that ends before a checkpoint that lies in the directory, or does not lead to it: it is an older copy, or
    /// was changed.
    static func check(_ configuration: CheckpointConfiguration, _ file: LedgerFile) throws(ConfigurationError) {
        guard let directory = configuration.directory,
            let names = try? FileManager.default.contentsOfDirectory(atPath: directory),
            let newest = names.filter({ $0.hasPrefix("checkpoint-") }).max()
        else { return }
        let path = URL(filePath: directory, directoryHint: .isDirectory).appending(path: newest)
        guard let data = try? Data(contentsOf: path),
            let checkpoint = try? Checkpoint(SignedNote(Array(data)), signedByOneOf: configuration.publicKeys)
        else {
            throw ConfigurationError(
                "\(newest) in it is no checkpoint that a key named here has signed", key: "checkpoints.directory")
        }
        let found = try? file.snapshot { view in
            let size = try view.head().position
            return (size, size < checkpoint.size ? nil : try view.tree().root(of: checkpoint.size))
        }
        guard let (size, root) = found else {
            throw ConfigurationError("the ledger cannot be held against \(newest) in it", key: "checkpoints.directory")
        }
        if root == checkpoint.root { return }
        throw ConfigurationError(
            size < checkpoint.size
                ? "the ledger has \(size) events, and \(newest) is of \(checkpoint.size): it is an older copy, or was truncated. Restore a newer copy; to go on with this one, move the newer checkpoints elsewhere and say so to who relies on them"
                : "the ledger does not lead to \(newest): its history was changed",
            key: "checkpoints.directory")
    }

    /// Runs what reads and writes the database, off the threads that serve requests.
    private static func offLoop<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global(qos: .utility).async { continuation.resume(with: Result { try body() }) }
        }
    }
}
