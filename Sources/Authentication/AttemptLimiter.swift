public import Ledger

/// Counts attempts of addresses: each may make so many at once, and so many a minute from then on.
///
/// A token bucket for each address, bounded in number. Pure: the instant comes in. What an address has used up, no other pays for; and what
/// it has used up comes back by itself, so that nobody is locked out for good.
public struct AttemptLimiter: Sendable {
    private struct Bucket {
        var left: Int64
        var filledAt: Timestamp
    }

    private let perMinute: Int64
    private let capacity: Int
    private var buckets: [String: Bucket] = [:]

    /// At most `perMinute` attempts a minute for each address; of `capacity` addresses at once. 0 a minute: no limit.
    public init(perMinute: Int, capacity: Int = 50_000) {
        self.perMinute = Int64(max(0, perMinute))
        self.capacity = max(1, capacity)
    }

    /// Whether an address may make another attempt; nil: it may, else the seconds until it may. Counts nothing.
    public mutating func wait(for address: String, at now: Timestamp) -> Int? {
        guard perMinute > 0 else { return nil }
        let bucket = refilled(address, at: now)
        return bucket.left >= unit ? nil : Int((unit - bucket.left + perMinute * 1000 - 1) / (perMinute * 1000))
    }

    /// Counts an attempt.
    public mutating func count(_ address: String, at now: Timestamp) {
        guard perMinute > 0 else { return }
        var bucket = refilled(address, at: now)
        bucket.left = max(0, bucket.left - unit)
        if buckets[address] == nil, buckets.count >= capacity { forget(at: now) }
        buckets[address] = bucket
    }

    /// What one attempt takes, in thousandths of a second times attempts a minute: whole numbers, that nothing drifts.
    private var unit: Int64 { 60_000 }

    private func refilled(_ address: String, at now: Timestamp) -> Bucket {
        let full = unit * perMinute
        guard let bucket = buckets[address] else { return Bucket(left: full, filledAt: now) }
        // A clock that was set back fills nothing, takes nothing, and is followed.
        guard now > bucket.filledAt else { return Bucket(left: bucket.left, filledAt: now) }
        let (elapsed, overflow) = now.microseconds.subtractingReportingOverflow(bucket.filledAt.microseconds)
        let milliseconds = overflow ? 60_000 : min(60_000, elapsed / 1000)
        guard milliseconds > 0 else { return bucket }
        return Bucket(left: min(full, bucket.left + milliseconds * perMinute), filledAt: now)
    }

    /// Makes room: who has everything back needs no bucket; where nobody has, all begin anew.
    private mutating func forget(at now: Timestamp) {
        let full = unit * perMinute
        for address in Array(buckets.keys) where refilled(address, at: now).left >= full { buckets[address] = nil }
        if buckets.count >= capacity { buckets.removeAll(keepingCapacity: true) }
    }
}
