/// Accounts that were touched lately, so that they need not be read again: bounded, and right to lose at any time.
///
/// Two generations: when the young one has filled its half of the room, it becomes the old one, and what was in the old one and
/// has not been touched since is forgotten. That is least-recently-used to within a factor of two, without a list to keep.
struct AccountCache {
    struct Entry {
        var account: Account
        /// The version at which the store has a snapshot.
        var snapshotVersion: Int64
    }

    private var young: [AccountID: Entry] = [:]
    private var old: [AccountID: Entry] = [:]
    private let generationSize: Int

    init(capacity: Int) {
        generationSize = max(1, capacity / 2)
    }

    /// Takes an account out, to be put back after it was worked on: so it is never copied.
    mutating func take(_ id: AccountID) -> Entry? {
        young.removeValue(forKey: id) ?? old.removeValue(forKey: id)
    }

    mutating func put(_ entry: Entry) {
        young[entry.account.id] = entry
        if young.count >= generationSize {
            old = young
            young = [:]
        }
    }

    mutating func remove(_ id: AccountID) {
        young[id] = nil
        old[id] = nil
    }

    var count: Int { young.count + old.count }
}
