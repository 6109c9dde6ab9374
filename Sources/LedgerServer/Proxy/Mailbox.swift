import Synchronization

/// Hands elements from one sender to one receiver, with room for a few: a full mailbox holds the sender up, which is how a slow
/// client slows its upstream down. The receiver takes all that is there at once.
///
/// Either side can leave: the sender by ``finish()``, the receiver by ``close()``, after which elements are dropped at once.
final class Mailbox<Element: Sendable>: Sendable {
    private struct State {
        var elements: [Element] = []
        var isFinished = false
        var isClosed = false
        var sender: CheckedContinuation<Void, Never>?
        var receiver: CheckedContinuation<Void, Never>?
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
        let (hasRoom, receiver): (Bool, CheckedContinuation<Void, Never>?) = state.withLock { state in
            if state.isClosed { return (true, nil) }
            state.elements.append(element)
            defer { state.receiver = nil }
            return (state.elements.count < capacity, state.receiver)
        }
        receiver?.resume()
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
            return state.receiver
        }
        receiver?.resume()
    }

    /// Takes the elements that are there, at least one and at most `limit`; none when there will be none.
    func next(atMost limit: Int = .max) async -> [Element] {
        while true {
            let (elements, isOver, sender): ([Element], Bool, CheckedContinuation<Void, Never>?) = state.withLock {
                state in
                let taken = Array(state.elements.prefix(limit))
                state.elements.removeFirst(taken.count)
                if state.elements.isEmpty { state.elements = [] }
                defer { state.sender = nil }
                return (taken, state.isFinished || state.isClosed, state.sender)
            }
            sender?.resume()
            if !elements.isEmpty || isOver { return elements }
            await withCheckedContinuation { continuation in
                let isReady: Bool = state.withLock { state in
                    if !state.elements.isEmpty || state.isFinished || state.isClosed { return true }
                    state.receiver = continuation
                    return false
                }
                if isReady { continuation.resume() }
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
        receiver?.resume()
    }
}
