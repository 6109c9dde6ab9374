import Synchronization

/// Hands elements from one sender to one receiver, with room for a few: a full mailbox holds the sender up, which is how a slow
/// client slows its upstream down.
///
/// Either side can leave: the sender by ``finish()``, the receiver by ``close()``, after which elements are dropped at once.
final class Mailbox<Element: Sendable>: Sendable {
    private struct State {
        var elements: [Element] = []
        var isFinished = false
        var isClosed = false
        var sender: CheckedContinuation<Void, Never>?
        var receiver: CheckedContinuation<Element?, Never>?
    }

    private let state = Mutex(State())
    private let capacity: Int

    init(capacity: Int) {
        self.capacity = capacity
    }

    /// Whether the receiver has left.
    var isClosed: Bool { state.withLock { $0.isClosed } }

    /// Gives an element; waits while there is no room. It does not follow cancellation: ``close()`` sets it free.
    func send(_ element: Element) async {
        let hasRoom: Bool = state.withLock { state in
            if state.isClosed { return true }
            if let receiver = state.receiver {
                state.receiver = nil
                receiver.resume(returning: element)
                return true
            }
            state.elements.append(element)
            return state.elements.count < capacity
        }
        if hasRoom { return }
        await withCheckedContinuation { continuation in
            let isFree: Bool = state.withLock { state in
                if state.isClosed || state.elements.count < capacity { return true }
                state.sender = continuation
                return false
            }
            if isFree { continuation.resume() }
        }
    }

    /// Nothing more will be sent.
    func finish() {
        let receiver = state.withLock { state in
            state.isFinished = true
            defer { state.receiver = nil }
            return state.elements.isEmpty ? state.receiver : nil
        }
        receiver?.resume(returning: nil)
    }

    /// Takes the next element; nil when there will be none.
    func next() async -> Element? {
        await withCheckedContinuation { continuation in
            let (element, isOver, sender): (Element?, Bool, CheckedContinuation<Void, Never>?) = state.withLock {
                state in
                if !state.elements.isEmpty {
                    let element = state.elements.removeFirst()
                    defer { state.sender = nil }
                    return (element, false, state.sender)
                }
                if state.isFinished || state.isClosed { return (nil, true, nil) }
                state.receiver = continuation
                return (nil, false, nil)
            }
            sender?.resume()
            if let element {
                continuation.resume(returning: element)
            } else if isOver {
                continuation.resume(returning: nil)
            }
        }
    }

    /// The receiver leaves.
    func close() {
        let (sender, receiver) = state.withLock { state in
            state.isClosed = true
            state.elements = []
            defer {
                state.sender = nil
                state.receiver = nil
            }
            return (state.sender, state.receiver)
        }
        sender?.resume()
        receiver?.resume(returning: nil)
    }
}
