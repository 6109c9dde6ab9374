import Foundation
import Synchronization

/// Shows how far a long run is, with its rate and what is left, on a terminal only.
struct ProgressLine {
    private let isTerminal = isatty(STDERR_FILENO) == 1
    private let unit: String
    private let start = ContinuousClock.now
    private var shown = ContinuousClock.now

    init(unit: String = "events") {
        self.unit = unit
    }

    mutating func update(_ done: Int64, of total: Int64) {
        guard isTerminal, ContinuousClock.now - shown > .milliseconds(500) else { return }
        shown = .now
        let seconds = max(0.001, (shown - start) / .seconds(1))
        let rate = max(1, Int64(Double(done) / seconds))
        let left = max(0, total - done) / rate
        FileHandle.standardError.write(Data("\r\(done) of \(total) \(unit), \(rate)/s, \(left) s left   ".utf8))
    }

    func end() {
        guard isTerminal else { return }
        FileHandle.standardError.write(Data("\r\u{1B}[K".utf8))
    }
}

/// A ``ProgressLine`` that several threads can hand on.
final class SharedProgress: Sendable {
    private let line = Mutex(ProgressLine())

    func update(_ done: Int64, of total: Int64) {
        line.withLock { $0.update(done, of: total) }
    }

    func end() {
        line.withLock { $0.end() }
    }
}
