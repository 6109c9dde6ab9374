/// A value of many parts that never changes, behind one reference.
///
/// To hand on a struct retains every text in it; to hand on this retains one object. It is for the payloads of the two events of every
/// request, which are handed on many times between the decision and the disk, and by everything that reads a ledger.
final class Shared<Value: Hashable & Sendable>: Hashable, Sendable {
    let value: Value

    init(_ value: consuming Value) {
        self.value = value
    }

    static func == (left: Shared, right: Shared) -> Bool { left === right || left.value == right.value }

    func hash(into hasher: inout Hasher) { hasher.combine(value) }
}
